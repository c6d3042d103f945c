//! The file sink keeps the sink contract, over many files and while it rotates and compresses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sink_api::{BuildError, Sink, SinkConfig, async_trait};
use sink_file::KIND;
use sink_testkit::{EventBuilder, Has, Repeats, Subject, context, event, read_example, read_table, run_all};

struct Archive {
    dir: tempfile::TempDir,
    config: Box<dyn SinkConfig>,
    poison: EventBuilder,
}

impl Archive {
    fn new(table: &str, poison: EventBuilder) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), config: read_table(&KIND, table).unwrap(), poison }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Files in the order their lines were written, where that can be told by their names.
    fn files(&self) -> BTreeMap<(String, String, u32), PathBuf> {
        let mut files = BTreeMap::new();
        for path in walk(&self.path("out")).into_iter().chain(walk(&self.path("out.away"))) {
            let name = path.file_name().unwrap().to_str().unwrap().trim_end_matches(".zst").trim_end_matches(".jsonl");
            let rotated = name.rsplit_once('.').and_then(|(stem, rest)| Some((stem, rest.rsplit_once('-')?)));
            let key = match rotated.and_then(|(stem, (stamp, n))| Some((stem, stamp, n.parse().ok()?))) {
                Some((stem, stamp, n)) => (stem.to_owned(), stamp.to_owned(), n),
                None => (name.to_owned(), "last".to_owned(), 0),
            };
            // While a file is being compressed both may be there for a moment; they hold the same.
            files.insert(key, path);
        }
        files.retain(|_, path| path.extension().is_some_and(|e| e == "jsonl" || e == "zst"));
        files
    }
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|e| e.unwrap().path());
    paths.flat_map(|p| if p.is_dir() { walk(&p) } else { vec![p] }).collect()
}

fn read(path: &Path) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    let bytes = if path.extension()? == "zst" { zstd::decode_all(bytes.as_slice()).unwrap() } else { bytes };
    Some(String::from_utf8(bytes).unwrap())
}

#[async_trait]
impl Subject for Archive {
    fn config(&self) -> &dyn SinkConfig {
        self.config.as_ref()
    }

    async fn open(&self) -> Result<Box<dyn Sink>, BuildError> {
        self.config.build(&context("archive", self.dir.path())).await
    }

    async fn delivered(&self) -> Vec<String> {
        // The background renames files: read until nothing changed meanwhile.
        loop {
            let before = self.files();
            let texts: Option<Vec<String>> = before.values().map(|path| read(path)).collect();
            if let (Some(texts), true) = (texts, self.files() == before) {
                let lines = texts.iter().flat_map(|text| text.lines());
                return lines.map(|line| line.split("\"id\":\"").nth(1).unwrap()[..36].to_owned()).collect();
            }
        }
    }

    fn poison(&self) -> Has<EventBuilder> {
        Has::Yes(self.poison.clone())
    }

    fn pipelines(&self) -> bool {
        true
    }

    async fn take_down(&self) -> Has<()> {
        fs::rename(self.path("out"), self.path("out.away")).unwrap();
        fs::write(self.path("out"), "not a folder").unwrap();
        Has::Yes(())
    }

    async fn bring_up(&self) {
        if self.path("out.away").exists() {
            fs::remove_file(self.path("out")).unwrap();
            fs::rename(self.path("out.away"), self.path("out")).unwrap();
        }
    }

    fn repeats(&self) -> Repeats {
        Repeats::MayDuplicate
    }
}

#[tokio::test]
async fn many_files_few_of_them_open_keep_the_contract() {
    // A name of two long values is more than a file system takes.
    let poison = event(&"t".repeat(150)).subject(&"s".repeat(150));
    let archive = Archive::new("path = \"out/{source}/{type}-{subject}.jsonl\"\nmax_open = 8", poison);
    let summary = run_all(&archive).await.unwrap();
    assert!(summary.excused.is_empty(), "{summary:?}");
}

#[tokio::test]
async fn raw_lines_in_a_file_that_is_rotated_and_compressed_all_the_time_keep_the_contract() {
    let table = "path = \"out/all.jsonl\"\nformat = \"raw\"\nrotate = { size = \"1KiB\", compress = \"zstd\" }";
    let archive = Archive::new(table, event("unparsable").body("two\nlines"));
    let summary = run_all(&archive).await.unwrap();
    assert!(summary.excused.is_empty(), "{summary:?}");
    assert!(archive.files().len() > 5, "nothing was rotated: {:?}", archive.files());
}

#[test]
fn the_example_is_read() {
    let config = read_example(&KIND).unwrap();
    let target = config.target(&event("message_api_sent").time("2026-01-13T23:05:00Z").build()).unwrap();
    assert_eq!(target.get("path"), Some("data/events/message_api_sent/2026-01-13.jsonl"));
    assert_eq!(config.claims(), ["file:data/events/{type}/{date}.jsonl"]);
}

#[test]
fn faults_name_the_key_and_what_was_expected() {
    for (table, word) in [
        ("path = \"out/{tpe}.jsonl\"", "did you mean `{type}`?"),
        ("path = \"out/{type}/../x\"", "`path` has an empty part"),
        ("path = \"out/{type}/\"", "`path` has an empty part"),
        ("path = \"\"", "`path` has an empty part"),
        ("path = \"out/a\\nb\"", "control character"),
        ("path = \"a\"\nrotate = {}", "neither `size` nor `every`"),
        ("path = \"a\"\nrotate = { size = 0 }", "`rotate.size` is 0"),
        ("path = \"a\"\nrotate = { every = \"10ms\" }", "`rotate.every` is out of bounds, expected \"1s\" to"),
        ("path = \"a\"\nrotate = { sise = 1 }", "unknown key `sise`"),
        ("path = \"a\"\nrotate = { size = \"1MiB\" }\nmax_total = \"1MiB\"", "`max_total` must be more"),
        ("path = \"a\"\nkeep = \"0s\"", "`keep` is 0"),
        ("path = \"a\"\nmax_open = 0", "`max_open` is out of range"),
        ("path = \"a\"\nfrmat = \"raw\"", "unknown key `frmat`"),
        ("format = \"raw\"", "missing key `path`"),
    ] {
        let faults = read_table(&KIND, table).expect_err(table);
        assert!(faults.iter().any(|fault| fault.message.contains(word)), "{table}: {faults:?}");
    }
    let several = read_table(&KIND, "path = \"a/\"\nkeep = \"0s\"\nmax_open = 0").unwrap_err();
    assert_eq!(several.len(), 3, "{several:?}");
}
