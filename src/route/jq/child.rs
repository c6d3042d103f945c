//! The worker process: one thread reads requests, runs programs and answers; a second thread ends the process when a
//! program takes more than its share. The process holds nothing but the rules' texts: no environment except for a
//! setting of its allocator, no files, no sockets.

use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jaq_json::Val;
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::frame::{self, Answer, MAX_FRAME, Request, Step};
use super::program::{self, Filter};
use super::{CPU, MAX_OUTPUT, MAX_PAYLOADS, MEMORY, value};

/// Exit code of a process that took too much CPU time.
pub const OUT_OF_TIME: i32 = 101;
/// Exit code of a process that took too much memory.
pub const OUT_OF_MEMORY: i32 = 102;
/// Longest time that an answer is kept back to be written together with the next ones.
const KEEP_BACK: Duration = Duration::from_millis(100);
/// How often the watcher looks.
const LOOK: Duration = Duration::from_millis(10);
/// Longest text of a value shown by `explain`, in bytes.
const MAX_SHOWN: usize = 200;

/// Serves until standard input ends. Does not return if a program takes more than its share: the process ends.
pub fn serve() -> io::Result<()> {
    limit();
    let begun = Watch::start().and_then(|watch| {
        let runner = thread::Builder::new().name("jq".to_owned()).stack_size(program::STACK);
        runner.spawn(move || answer_all(io::stdin().lock(), io::stdout().lock(), &watch))
    });
    match begun {
        Ok(runner) => runner.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked"))),
        Err(error) => say(&mut io::stdout().lock(), format!("its threads cannot be started: {error}").as_bytes()),
    }
}

fn say(output: &mut impl Write, content: &[u8]) -> io::Result<()> {
    let mut sealed = Vec::with_capacity(content.len() + 4);
    frame::seal(content, &mut sealed);
    output.write_all(&sealed)?;
    output.flush()
}

/// Reads and runs a program whose result nobody needs, so that the memory and stack for that are there before the
/// process is asked about any event.
fn rehearse() {
    let steps = vec![Step { condition: None, transform: Some(0), is_final: true }];
    let nothing = Bytes::from_static(b"{}");
    let request = Request { steps, show: false, time: 0, event: nothing.clone(), body: nothing };
    drop(answer(&[Known::new(".".to_owned())], &request));
}

/// Limits the address space, against one giant allocation that the watcher would see too late, and forbids core dumps,
/// which would hold a body. If the system refuses, or has lower limits already, there is only the watcher.
fn limit() {
    for (what, most) in [(Resource::As, MEMORY * 2), (Resource::Core, 0)] {
        let _ = setrlimit(what, Rlimit { current: Some(most), maximum: Some(most) });
    }
}

fn answer_all(input: impl Read, output: impl Write, watch: &Watch) -> io::Result<()> {
    let (mut input, mut output) = (BufReader::with_capacity(1 << 16, input), BufWriter::with_capacity(1 << 16, output));
    let Some(first) = read_frame(&mut input)? else { return Ok(()) };
    let texts: Vec<String> = serde_json::from_slice(&first)?;
    let programs: Vec<Known> = texts.into_iter().map(Known::new).collect();
    rehearse();
    say(&mut output, b"")?;
    let mut flushed = Instant::now();
    loop {
        let is_idle = input.buffer().is_empty();
        if is_idle || flushed.elapsed() >= KEEP_BACK {
            output.flush()?;
            flushed = Instant::now();
        }
        if is_idle {
            watch.rest();
        }
        let Some(content) = read_frame(&mut input)? else { return Ok(()) };
        let request = frame::read_request(content.into()).ok_or(io::ErrorKind::InvalidData)?;
        watch.begin();
        let answers = answer(&programs, &request);
        let mut content = Vec::new();
        frame::response(&answers, &mut content);
        let mut sealed = Vec::with_capacity(content.len() + 4);
        frame::seal(&content, &mut sealed);
        output.write_all(&sealed)?;
    }
}

fn read_frame(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    if input.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let mut length = [0; 4];
    input.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_FRAME {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut content = vec![0; length];
    input.read_exact(&mut content)?;
    Ok(Some(content))
}

/// A program, which is compiled when it is first asked.
pub struct Known {
    text: String,
    filter: OnceCell<Result<Filter, String>>,
}

impl Known {
    /// A program of that text.
    pub fn new(text: String) -> Self {
        Self { text, filter: OnceCell::new() }
    }

    fn filter(&self) -> Result<&Filter, String> {
        let compiled = self.filter.get_or_init(|| program::read("rule", &self.text).map_err(|fault| fault.message));
        compiled.as_ref().map_err(Clone::clone)
    }
}

/// What the programs answer about one event. The body is parsed once, and only if a program is asked.
pub fn answer(programs: &[Known], request: &Request) -> Vec<(u32, Answer)> {
    let input: OnceCell<Result<(Val, Val), String>> = OnceCell::new();
    let input = || input.get_or_init(|| Ok((value::read(&request.body)?, value::read(&request.event)?)));
    #[expect(clippy::cast_precision_loss, reason = "jq's `now` is a float")]
    let now = request.time as f64 / 1e6;
    let run = |number: u32, is_transform: bool| {
        let work = || {
            let (body, event) = input().clone()?;
            let known = programs.get(number as usize).ok_or("no such program")?;
            let outputs = known.filter()?.run(body, event, now);
            if is_transform { payloads(outputs) } else { condition(outputs, request.show) }
        };
        let done = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err("the program broke jq itself".into()));
        done.unwrap_or_else(|message| Answer::Failed(is_transform, message))
    };
    let mut answers: Vec<(u32, Answer)> = Vec::new();
    let mut ask = |number: u32, is_transform: bool| {
        let same = |answer: &Answer| match answer {
            Answer::Condition(..) => !is_transform,
            Answer::Payloads(_) => is_transform,
            Answer::Failed(of_transform, _) => *of_transform == is_transform,
        };
        if let Some((_, known)) = answers.iter().find(|(n, answer)| *n == number && same(answer)) {
            return matches!(known, Answer::Condition(true, _));
        }
        let said = run(number, is_transform);
        let holds = matches!(said, Answer::Condition(true, _));
        answers.push((number, said));
        holds
    };
    for step in &request.steps {
        if !step.condition.is_none_or(|number| ask(number, false)) {
            continue;
        }
        if let Some(number) = step.transform {
            ask(number, true);
        }
        if step.is_final {
            break;
        }
    }
    answers
}

/// A condition holds if any output is neither `false` nor `null`. Outputs behind that one are not computed.
fn condition(outputs: impl Iterator<Item = Result<Val, String>>, show: bool) -> Result<Answer, String> {
    let mut last = None;
    let mut holds = false;
    for output in outputs {
        let output = output?;
        holds = !matches!(output, Val::Null | Val::Bool(false));
        last = Some(output);
        if holds {
            break;
        }
    }
    let shown = if show { last.map_or_else(|| "nothing".to_owned(), |value| shown(&value)) } else { String::new() };
    Ok(Answer::Condition(holds, shown))
}

fn shown(value: &Val) -> String {
    let mut out = Vec::new();
    if let Err(why) = value::write(value, &mut out) {
        return why;
    }
    let mut text = String::from_utf8_lossy(&out).into_owned();
    if text.len() > MAX_SHOWN {
        text.truncate(text.floor_char_boundary(MAX_SHOWN));
        text.push('…');
    }
    text
}

fn payloads(outputs: impl Iterator<Item = Result<Val, String>>) -> Result<Answer, String> {
    let (mut payloads, mut bytes): (Vec<Bytes>, usize) = (Vec::new(), 0);
    for output in outputs {
        if payloads.len() == MAX_PAYLOADS {
            return Err(format!("yields more than {MAX_PAYLOADS} payloads"));
        }
        let mut out = Vec::new();
        value::write(&output?, &mut out)?;
        bytes += out.len();
        if bytes > MAX_OUTPUT {
            return Err(format!("yields more than {} MiB", MAX_OUTPUT >> 20));
        }
        payloads.push(out.into());
    }
    Ok(Answer::Payloads(payloads))
}

/// Ends the process when one event takes more than its share of CPU time or memory.
struct Watch {
    watcher: Thread,
    shared: &'static Shared,
}

/// The process's CPU time when work on the event began, in nanoseconds; `u64::MAX` while no event is worked on.
struct Shared(AtomicU64);

impl Watch {
    fn start() -> io::Result<Self> {
        static SHARED: Shared = Shared(AtomicU64::new(u64::MAX));
        let memory = File::open("/proc/self/statm").ok();
        let watcher = thread::Builder::new().name("watch".to_owned()).stack_size(1 << 18);
        let watcher = watcher.spawn(move || watch(&SHARED, memory.as_ref()))?.thread().clone();
        Ok(Self { watcher, shared: &SHARED })
    }

    /// Work on an event begins.
    fn begin(&self) {
        if self.shared.0.swap(cpu(), Ordering::Relaxed) == u64::MAX {
            self.watcher.unpark();
        }
    }

    /// Work on an event has ended.
    fn rest(&self) {
        self.shared.0.store(u64::MAX, Ordering::Relaxed);
    }
}

fn watch(shared: &Shared, memory: Option<&File>) {
    let share = u64::try_from(CPU.as_nanos()).unwrap_or(u64::MAX);
    loop {
        match shared.0.load(Ordering::Relaxed) {
            u64::MAX => thread::park(),
            begun if cpu().saturating_sub(begun) > share => std::process::exit(OUT_OF_TIME),
            _ if memory.and_then(resident).is_some_and(|bytes| bytes > MEMORY) => std::process::exit(OUT_OF_MEMORY),
            _ => thread::sleep(LOOK),
        }
    }
}

/// The CPU time that this process has taken, in nanoseconds.
fn cpu() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    seconds.unwrap_or_default() * 1_000_000_000 + nanos.unwrap_or_default()
}

/// The memory that this process uses, in bytes, from `/proc/self/statm`.
fn resident(statm: &File) -> Option<u64> {
    let mut text = [0; 128];
    let length = statm.read_at(&mut text, 0).ok()?;
    let pages: u64 = std::str::from_utf8(text.get(..length)?).ok()?.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
