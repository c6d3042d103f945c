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
/// The rows: each daemon has a tenth of a processor; each has so many calls under way to a target that takes its time.
pub const BY_PROCESSOR: &str = "0.1 processors each";
pub const BY_TARGET: &str = "target takes 50 ms";
/// How long the slow target takes for an answer.
pub const TAKES: Duration = Duration::from_millis(50);
const SHARE: f64 = 0.1;
/// Longer than other parts: a daemon with a tenth of a processor takes few events a second.
const LONGER: u32 = 3;
/// Connections of each daemon's client.
const CONNECTIONS: u16 = 16;
/// Messages that the events are about: many more than are under way at once.
const KEYS: usize = 2_000;
/// Requests a second and daemon that the slow target cannot take.
const MORE: u32 = 190;
/// How long nothing must be told of shards until they are spread.
const CALM: Duration = Duration::from_secs(3);
/// What a daemon's log says when shards are its own.
const OWN: &str = "these shards are this daemon's";

/// What was measured.
pub const MEANS: &str = "One to three daemons with `[journal] kind = \"kafka\"` on three brokers of this machine, 24 \
                         shards. With 0.1 processors each: as many requests as go, until all events are in the file \
                         sinks. Slow target: an HTTP sink as shipped (8 calls under way), more events than it can \
                         deliver.";

/// Where so many daemons stand in the table.
pub fn daemons(daemons: usize) -> String {
    if daemons == 1 { "1 daemon".to_owned() } else { format!("{daemons} daemons") }
}

/// What the last of so many daemons adds, of what one does.
pub fn added(cells: &Cells, at: &str, number: usize) -> Option<f64> {
    let rate = |number| cells.median(Part::Several, at, &daemons(number), Figure::Leaving);
    Some((rate(number)? - rate(number - 1)?) / rate(1)?)
}

/// One round of both rows, with one, two and three daemons.
pub fn measure_round(folder: &Path, round: u32, window: Duration, cells: &mut Cells) -> Result<(), Box<dyn Error>> {
    let cluster = Cluster::of_three();
    let window = window * LONGER;
    for number in in_turn(DAEMONS.to_vec(), round) {
        let mut of_files = Several::start(&cluster, folder, number, 1, "")?;
        let rate = of_files.by_processor(window)?;
        cells.push(Part::Several, BY_PROCESSOR, &daemons(number), round, Values::from([(Figure::Leaving, rate)]));
        of_files.stop(folder)?;
    }
    for number in in_turn(DAEMONS.to_vec(), round) {
        let receiver = Contestant::start(&Recipe::slow_receiver(), folder)?;
        let slow = Several::start(&cluster, folder, number, 0, &everyday::http("slow", receiver.address))?;
        let rate = slow.by_target(&receiver, window)?;
        cells.push(Part::Several, BY_TARGET, &daemons(number), round, Values::from([(Figure::Leaving, rate)]));
        slow.stop(folder)?;
        receiver.stop()?;
    }
    Ok(())
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

    /// Events a second where each has its share of a processor, the time counted until all are in the files.
    fn by_processor(&mut self, window: Duration) -> Result<f64, Box<dyn Error>> {
        let quotas: Result<_, _> = self.daemons.iter().map(|daemon| Quota::of(daemon.pid(), SHARE)).collect();
        self.quotas = quotas?;
        let begun = Instant::now();
        let all = self.press(Load { keys: KEYS, ..Load::full(CONNECTIONS, window) })?;
        let files = &mut self.files;
        let arrived = || {
            files.iter_mut().try_for_each(SinkFile::count_on)?;
            Ok((files.iter().map(|file| file.lines).sum::<u64>() >= all).then(|| begun.elapsed()))
        };
        let took = wait_until(arrived, || format!("LOST: not all of {all} are in the file sinks"))?;
        Ok(all as f64 / took.as_secs_f64())
    }

    /// Events a second that a slow target takes while more are there than it can.
    fn by_target(&self, receiver: &Contestant, window: Duration) -> Result<f64, Box<dyn Error>> {
        let load = Load { rate: Some(MORE), keys: KEYS, ..Load::full(CONNECTIONS, window * 2) };
        let taken = || receiver.taken();
        std::thread::scope(|scope| {
            let pressing = scope.spawn(|| self.press(load).map_err(|error| error.to_string()));
            std::thread::sleep(window / 2);
            let (before, begun) = (taken()?, Instant::now());
            std::thread::sleep(window);
            let rate = (taken()? - before) as f64 / begun.elapsed().as_secs_f64();
            let all = pressing.join().map_err(|_| "the client panicked")??;
            // What waits is to come, too: every answer counts.
            wait_until(|| Ok((taken()? >= all).then_some(())), || format!("LOST: {all} were acknowledged"))?;
            Ok(rate)
        })
    }

    fn stop(self, folder: &Path) -> Result<(), Box<dyn Error>> {
        self.daemons.into_iter().try_for_each(Contestant::stop)?;
        proc::remove(folder)
    }
}
