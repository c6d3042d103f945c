//! The sink with a clock and a disk in the test's hands, on real files in a temporary folder.

mod crash;
mod failure;
mod rotation;

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::io::Errno;
use sink_api::{Batch, BuildError, Delivery, DiskFloor, Outcome, Sink, SinkContext, Timestamp};
use sink_testkit::{EventBuilder, batch, context, event, wait_until};

use crate::FileConfig;
use crate::env::{Disk, Env};
use crate::sink::FileSink;

/// A disk that fails on demand.
#[derive(Default)]
struct TestDisk {
    /// Fail writes of lines that hold this text, half-way.
    fail_write_of: Mutex<Option<&'static str>>,
    /// Fail this many flushes.
    fail_flushes: Mutex<usize>,
    flushes: Mutex<usize>,
}

impl Disk for TestDisk {
    fn append(&self, mut file: &File, lines: &[u8]) -> io::Result<()> {
        let fails =
            self.fail_write_of.lock().unwrap().is_some_and(|text| String::from_utf8_lossy(lines).contains(text));
        let part = if fails { lines.len() - 3 } else { lines.len() };
        file.write_all(&lines[..part])?;
        if fails { Err(Errno::NOSPC.into()) } else { Ok(()) }
    }

    fn flush(&self, file: &File) -> io::Result<()> {
        *self.flushes.lock().unwrap() += 1;
        let mut left = self.fail_flushes.lock().unwrap();
        if *left > 0 {
            *left -= 1;
            return Err(Errno::IO.into());
        }
        file.sync_data()
    }
}

/// A folder, a config and a world for one sink.
struct World {
    dir: tempfile::TempDir,
    config: FileConfig,
    now: Arc<Mutex<Timestamp>>,
    disk: Arc<TestDisk>,
    floor: DiskFloor,
}

impl World {
    /// `table`: the inside of the sink's table.
    fn new(table: &str) -> Self {
        let config = sink_api::Settings::new(parse(table)).read().unwrap();
        let now = Arc::new(Mutex::new(Timestamp::now()));
        Self { dir: tempfile::tempdir().unwrap(), config, now, disk: Arc::default(), floor: DiskFloor::default() }
    }

    fn context(&self) -> SinkContext {
        SinkContext { floor: self.floor, ..context("archive", self.dir.path()) }
    }

    async fn try_open(&self) -> Result<Box<FileSink>, BuildError> {
        let now = Arc::clone(&self.now);
        let disk: Arc<dyn Disk> = Arc::clone(&self.disk) as _;
        let env = Env { now: Arc::new(move || *now.lock().unwrap()), disk };
        FileSink::open(&self.config, &self.context(), env).await.map(Box::new)
    }

    async fn open(&self) -> Box<FileSink> {
        self.try_open().await.unwrap()
    }

    fn delivery(&self, builder: EventBuilder) -> Delivery {
        builder.delivery_for(&self.config).unwrap()
    }

    /// A batch of raw bodies, each `(type, key, body)`.
    fn batch(&self, all: &[(&str, &str, &'static str)]) -> Batch {
        batch(all.iter().map(|(kind, key, body)| self.delivery(event(kind).key(key).body(*body))))
    }

    async fn deliver(&self, sink: &FileSink, all: &[(&str, &str, &'static str)]) -> Vec<Option<Outcome>> {
        sink.deliver(&self.batch(all)).await.into_slots()
    }

    /// Delivers one line, which must succeed.
    async fn put(&self, sink: &FileSink, kind: &str, body: &'static str) {
        assert_eq!(self.deliver(sink, &[(kind, "k", body)]).await, [Some(Outcome::Delivered)]);
    }

    fn advance(&self, by: Duration) {
        *self.now.lock().unwrap() += by;
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Names of all files under `out`, sorted, without the folder.
    fn names(&self) -> Vec<String> {
        let root = self.path("out");
        let mut names: Vec<String> =
            walk(&root).iter().map(|p| p.strip_prefix(&root).unwrap().display().to_string()).collect();
        names.sort();
        names
    }
}

fn parse(table: &str) -> toml::Spanned<toml::de::DeTable<'_>> {
    toml::de::DeTable::parse(table).unwrap()
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|e| e.unwrap().path());
    paths.flat_map(|p| if p.is_dir() { walk(&p) } else { vec![p] }).collect()
}

fn unpack(path: &Path) -> String {
    let mut text = String::new();
    zstd::Decoder::new(File::open(path).unwrap()).unwrap().read_to_string(&mut text).unwrap();
    text
}

fn retried(slot: &Option<Outcome>, code: &str) -> bool {
    matches!(slot, Some(Outcome::Retry { why, .. }) if why.code == code)
}

const RAW: &str = "path = \"out/{type}.jsonl\"\nformat = \"raw\"";

#[tokio::test]
async fn files_and_folders_are_for_their_owner_only() {
    let world = World::new("path = \"out/{source}/{type}.jsonl\"");
    let sink = world.open().await;
    world.put(&sink, "a", "{}").await;
    let mode = |name: &str| fs::metadata(world.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("out"), mode("out/interakt"), mode("out/interakt/a.jsonl")), (0o700, 0o700, 0o600));
    assert_eq!(mode("archive-state/manifest"), 0o600);
}

#[tokio::test]
async fn a_batch_costs_one_flush_per_file() {
    let world = World::new(RAW);
    let sink = world.open().await;
    let slots = world.deliver(&sink, &[("a", "1", "x"), ("b", "2", "y"), ("a", "3", "z"), ("a", "1", "u")]).await;
    assert!(slots.iter().all(|s| *s == Some(Outcome::Delivered)), "{slots:?}");
    assert_eq!(*world.disk.flushes.lock().unwrap(), 2);
    assert_eq!((world.text("out/a.jsonl"), world.text("out/b.jsonl")), ("x\nz\nu\n".into(), "y\n".into()));
}

#[tokio::test]
async fn sync_none_does_not_flush() {
    let world = World::new(&format!("{RAW}\nsync = \"none\""));
    let sink = world.open().await;
    world.put(&sink, "a", "x").await;
    assert_eq!((*world.disk.flushes.lock().unwrap(), world.text("out/a.jsonl")), (0, "x\n".into()));
}

#[tokio::test]
async fn more_types_than_open_files_all_get_their_lines() {
    let world = World::new(RAW);
    let sink = world.open().await;
    let kinds: Vec<String> = (0..150).map(|i| format!("type-{i}")).collect();
    for body in ["first", "second"] {
        let all: Vec<_> = kinds.iter().map(|kind| (kind.as_str(), kind.as_str(), body)).collect();
        let slots = world.deliver(&sink, &all).await;
        assert!(slots.iter().all(|s| *s == Some(Outcome::Delivered)), "{slots:?}");
        assert_eq!(sink.store.lock().await.open.len(), 64);
    }
    assert!(kinds.iter().all(|kind| world.text(&format!("out/{kind}.jsonl")) == "first\nsecond\n"));
}

#[tokio::test]
async fn no_type_leaves_the_folder() {
    let world = World::new(RAW);
    let sink = world.open().await;
    for kind in ["../../escape", "..", ".", "/etc/passwd", "a/../../b"] {
        world.put(&sink, kind, "x").await;
    }
    assert_eq!(walk(world.dir.path()).iter().filter(|p| p.extension().is_some_and(|e| e == "jsonl")).count(), 5);
    assert_eq!(world.names().len(), 5);
}

#[tokio::test]
async fn a_target_outside_the_folder_goes_where_the_template_says() {
    let world = World::new(RAW);
    let sink = world.open().await;
    for bad in ["elsewhere/a.jsonl", "out/../a.jsonl", "/a.jsonl", "out//a.jsonl", "out/", "out/a\nb"] {
        let mut delivery = world.delivery(event("a").body("x"));
        delivery.target = sink_api::Target::of("path", bad);
        assert_eq!(sink.deliver(&batch([delivery])).await.into_slots(), [Some(Outcome::Delivered)], "{bad}");
    }
    assert_eq!((world.names(), world.text("out/a.jsonl")), (vec!["a.jsonl".to_owned()], "x\n".repeat(6)));
    // One inside it is kept, whatever the template says today.
    let mut delivery = world.delivery(event("a").body("x"));
    delivery.target = sink_api::Target::of("path", "out/old/a.jsonl");
    let _ = sink.deliver(&batch([delivery])).await;
    assert_eq!(world.text("out/old/a.jsonl"), "x\n");
}
