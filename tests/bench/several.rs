//! One, two and three daemons on one Kafka of three brokers: what each added daemon brings where daemons are what
//! bounds it. On one machine that takes bounds of their own: a share of a processor for each daemon, or a target that
//! takes its time, of which each daemon may have so many calls under way.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sink_testkit::kafka::Cluster;

use crate::client::{self, Aim, Load};
use crate::contestant::{Contestant, SinkFile};
use crate::everyday;
use crate::figures::{Cells, Figure, Values};
use crate::front::in_turn;
use crate::options::Part;
use crate::proc::{self, wait_until};
use crate::quota::Quota;
use crate::recipe::{Recipe, file_of};

/// Daemons at once.
pub const DAEMONS: [usize; 3] = [1, 2, 3];
/// The rows: each daemon has a twentieth of a processor; each has so many calls under way to a target that takes its
/// time; one daemon alone may do what it can.
pub const BY_PROCESSOR: &str = "0.05 processors each";
pub const BY_TARGET: &str = "target takes 200 ms";
const UNBOUND: &str = "no bound";
/// How long the slow target takes for an answer.
pub const TAKES: Duration = Duration::from_millis(200);
/// With brokers, client and all on a small machine, three times that is to be little enough that daemons are the limit.
const SHARE: f64 = 0.05;
/// Longer than other parts: a daemon with so little takes few events a second.
const LONGER: u32 = 6;
/// How long brokers are loaded before anything is measured.
const WARM: Duration = Duration::from_secs(30);
/// Connections of each daemon's client, and of the one that may do what it can.
const CONNECTIONS: u16 = 16;
const MANY_CONNECTIONS: u16 = 256;
/// Messages that the events are about: many more than are under way at once.
const KEYS: usize = 2_000;
/// Requests a second and daemon that the slow target cannot take.
const MORE: u32 = 50;
/// How long nothing must be told of shards until they are spread.
const CALM: Duration = Duration::from_secs(3);
/// What a daemon's log says when shards are its own.
const OWN: &str = "these shards are this daemon's";

/// What was measured.
pub const MEANS: &str = "One to three daemons with `[journal] kind = \"kafka\"` on three brokers of this machine, 24 \
                         shards. With 0.05 processors each: as many requests as go, until all events are in the file \
                         sinks. Slow target: an HTTP sink as shipped (8 calls under way), more events than it can \
                         deliver. No bound: as the first, by 256 connections. Processor time is that of the daemons, \
                         an event; where no processor is idle, daemons were not the limit.";

/// Where so many daemons stand in the table.
pub fn daemons(daemons: usize) -> String {
    if daemons == 1 { "1 daemon".to_owned() } else { format!("{daemons} daemons") }
}

/// What the last of so many daemons adds, of what one does.
pub fn added(cells: &Cells, at: &str, number: usize) -> Option<f64> {
    let rate = |number| cells.median(Part::Several, at, &daemons(number), Figure::Leaving);
    Some((rate(number)? - rate(number - 1)?) / rate(1)?)
}

/// One round of all rows.
pub fn measure_round(folder: &Path, round: u32, window: Duration, cells: &mut Cells) -> Result<(), Box<dyn Error>> {
    let cluster = Cluster::of_three();
    let window = window * LONGER;
    if round == 1 {
        warm(&cluster, folder)?;
    }
    let mut push = |at, number, values| cells.push(Part::Several, at, &daemons(number), round, values);
    for number in in_turn(DAEMONS.to_vec(), round) {
        let mut of_files = Several::start(&cluster, folder, number, 1, "")?;
        push(BY_PROCESSOR, number, of_files.by_processor(Some(SHARE), CONNECTIONS, window)?);
        of_files.stop(folder)?;
    }
    for number in in_turn(DAEMONS.to_vec(), round) {
        let receiver = Contestant::start(&Recipe::slow_receiver(), folder)?;
        let slow = Several::start(&cluster, folder, number, 0, &everyday::http("slow", receiver.address))?;
        push(BY_TARGET, number, slow.by_target(&receiver, window)?);
        slow.stop(folder)?;
        receiver.stop()?;
    }
    let mut alone = Several::start(&cluster, folder, 1, 1, "")?;
    push(UNBOUND, 1, alone.by_processor(None, MANY_CONNECTIONS, window)?);
    alone.stop(folder)
}

/// Loads brokers until they run as they do after some time: a JVM that has just been started compiles what it runs.
fn warm(cluster: &Cluster, folder: &Path) -> Result<(), Box<dyn Error>> {
    let daemons = Several::start(cluster, folder, 2, 1, "")?;
    daemons.press(Load { keys: KEYS, ..Load::full(CONNECTIONS, WARM) })?;
    daemons.stop(folder)
}

/// A stretch of time in which events are counted.
struct Stretch {
    begun: Instant,
    idle: Duration,
    cpu: Duration,
}

impl Stretch {
    fn begin(daemons: &[Contestant]) -> Result<Self, Box<dyn Error>> {
        Ok(Self { begun: Instant::now(), idle: proc::idle_time()?, cpu: cpu_time(daemons)? })
    }

    /// So many events a second, what each cost the daemons, and how much of the machine was left, which says whether
    /// the daemons were the limit.
    fn end(self, daemons: &[Contestant], events: u64) -> Result<Values, Box<dyn Error>> {
        let (took, cpu) = (self.begun.elapsed().as_secs_f64(), cpu_time(daemons)?.saturating_sub(self.cpu));
        let idle = proc::idle_time()?.saturating_sub(self.idle);
        Ok(Values::from([
            (Figure::Leaving, events as f64 / took),
            (Figure::Cpu, cpu.as_secs_f64() * 1e6 / events.max(1) as f64),
            (Figure::Idle, idle.as_secs_f64() / took),
        ]))
    }
}

fn cpu_time(daemons: &[Contestant]) -> Result<Duration, Box<dyn Error>> {
    daemons.iter().map(|daemon| proc::cpu_time(daemon.pid())).sum()
}

/// Daemons that are one relay.
struct Several {
    daemons: Vec<Contestant>,
    files: Vec<SinkFile>,
    /// Let go of when the daemons have ended.
    quotas: Vec<Quota>,
}

impl Several {
    /// Starts them, and waits until each has its share.
    fn start(
        cluster: &Cluster,
        folder: &Path,
        number: usize,
        sinks: u16,
        tables: &str,
    ) -> Result<Self, Box<dyn Error>> {
        // Each relay has topics and groups of its own.
        let name = format!("bench-{}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos());
        let (mut all, mut files, mut logs) = (Vec::new(), Vec::new(), Vec::new());
        for n in 1..=number {
            let journal = format!(
                "{tables}[journal]\nkind = \"kafka\"\nbrokers = \"{}\"\ncluster = \"{name}\"\nnode = \"node-{n}\"\n",
                cluster.brokers()
            );
            let own = folder.join(format!("node-{n}"));
            all.push(Contestant::start(&Recipe::with(&daemons(number), sinks, journal), &own)?);
            files.extend((sinks > 0).then(|| SinkFile::new(own.join(file_of(1)))));
            logs.push(own.join("daemon.log"));
        }
        let told = || -> Result<Vec<usize>, Box<dyn Error>> {
            logs.iter().map(|log| Ok(std::fs::read_to_string(log)?.matches(OWN).count())).collect()
        };
        let mut last = (told()?, Instant::now());
        let calm = || {
            let now = told()?;
            if now != last.0 {
                last = (now, Instant::now());
            }
            Ok((!last.0.contains(&0) && last.1.elapsed() > CALM).then_some(()))
        };
        wait_until(calm, || "the shards are not spread over the daemons".to_owned())?;
        Ok(Self { daemons: all, files, quotas: vec![] })
    }

    /// Loads all of them at once; how many answers all gave.
    fn press(&self, load: Load) -> Result<u64, Box<dyn Error>> {
        let press = |daemon: &Contestant| {
            let aim = Aim::own(daemon.address);
            std::thread::spawn(move || client::press(&aim, &load).map(|answers| answers.all))
        };
        let threads: Vec<_> = self.daemons.iter().map(press).collect();
        let mut all = 0;
        for thread in threads {
            all += thread.join().map_err(|_| "a client's thread panicked")??;
        }
        Ok(all)
    }

    /// What each does with its share of a processor, the time counted until all events are in the files.
    fn by_processor(
        &mut self,
        share: Option<f64>,
        connections: u16,
        window: Duration,
    ) -> Result<Values, Box<dyn Error>> {
        if let Some(share) = share {
            let quotas: Result<_, _> = self.daemons.iter().map(|daemon| Quota::of(daemon.pid(), share)).collect();
            self.quotas = quotas?;
        }
        let stretch = Stretch::begin(&self.daemons)?;
        let all = self.press(Load { keys: KEYS, ..Load::full(connections, window) })?;
        let files = &mut self.files;
        let arrived = || {
            files.iter_mut().try_for_each(SinkFile::count_on)?;
            Ok((files.iter().map(|file| file.lines).sum::<u64>() >= all).then_some(()))
        };
        wait_until(arrived, || format!("LOST: not all of {all} are in the file sinks"))?;
        stretch.end(&self.daemons, all)
    }

    /// What a slow target takes while more events are there than it can take.
    fn by_target(&self, receiver: &Contestant, window: Duration) -> Result<Values, Box<dyn Error>> {
        let load = Load { rate: Some(MORE), keys: KEYS, ..Load::full(CONNECTIONS, window * 2) };
        let taken = || receiver.taken();
        std::thread::scope(|scope| {
            let pressing = scope.spawn(|| self.press(load).map_err(|error| error.to_string()));
            std::thread::sleep(window / 2);
            let (before, stretch) = (taken()?, Stretch::begin(&self.daemons)?);
            std::thread::sleep(window);
            let values = stretch.end(&self.daemons, taken()? - before)?;
            let all = pressing.join().map_err(|_| "the client panicked")??;
            // What waits is to come, too: every answer counts.
            wait_until(|| Ok((taken()? >= all).then_some(())), || format!("LOST: {all} were acknowledged"))?;
            Ok(values)
        })
    }

    fn stop(self, folder: &Path) -> Result<(), Box<dyn Error>> {
        self.daemons.into_iter().try_for_each(Contestant::stop)?;
        proc::remove(folder)
    }
}
