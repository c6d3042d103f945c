//! The rules of the house, checked on the tree as it stands. The rules themselves are pure and live in `tidy/rules.rs`
//! and `tidy/guides.rs`; this file reads the repository, runs them, and prints the figures that each change is compared
//! by.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

#[path = "tidy/circles.rs"]
mod circles;
#[path = "tidy/daemon.rs"]
mod daemon;
#[path = "tidy/errors.rs"]
mod errors;
#[path = "tidy/guides.rs"]
mod guides;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/subrooms.rs"]
mod subrooms;

use rules::{File, NOT_SINKS, SinkFolder};

/// Folders at the root that hold nothing of ours.
const NOT_OURS: &[&str] = &["target", "data", ".git"];
/// What is read as text.
const TEXT: &[&str] = &["rs", "toml", "md", "sh", "service", "socket", "sysusers", "tmpfiles"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every text file of the repository, sorted by path.
fn tree() -> Vec<File> {
    let mut files = Vec::new();
    walk(&root(), &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(files.iter().any(|file| file.path == "src/lib.rs"), "the tree was not found");
    files
}

fn walk(folder: &Path, files: &mut Vec<File>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            if !NOT_OURS.contains(&name.as_str()) && name != "tests/fixtures" {
                walk(&path, files);
            }
        } else if path.extension().is_none_or(|ext| TEXT.iter().any(|text| ext == *text)) {
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            files.push(File { text, path: name });
        }
    }
}

fn rust(files: &[File]) -> impl Iterator<Item = &File> {
    files.iter().filter(|file| file.path.ends_with(".rs"))
}

/// Folders under `sinks/`.
fn sink_folders() -> Vec<String> {
    let entries = fs::read_dir(root().join("sinks")).unwrap().map(|entry| entry.unwrap());
    let folders = entries.filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> = folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn sinks() -> Vec<String> {
    sink_folders().into_iter().filter(|name| !NOT_SINKS.contains(&name.as_str())).collect()
}

fn assert_clean(faults: impl Iterator<Item = String>) {
    let faults: Vec<String> = faults.collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn every_rust_file_opens_with_what_it_is_for() {
    assert_clean(rust(&tree()).flat_map(rules::opens_with_its_purpose));
}

#[test]
fn every_shipped_file_is_short_enough_to_read_at_once() {
    assert_clean(tree().iter().flat_map(rules::is_short_enough));
}

#[test]
fn no_line_is_too_long_to_read() {
    assert_clean(rust(&tree()).flat_map(rules::lines_are_short));
}

#[test]
fn imports_point_one_way() {
    assert_clean(rust(&tree()).flat_map(rules::imports_point_one_way));
}

#[test]
fn imports_inside_the_daemon_point_down() {
    assert_clean(rust(&tree()).flat_map(daemon::imports_point_down));
}

#[test]
fn rooms_inside_a_room_keep_apart() {
    assert_clean(rust(&tree()).flat_map(subrooms::subrooms_keep_apart));
}

#[test]
fn inside_a_sink_imports_go_one_way() {
    let files = tree();
    assert_clean(sink_folders().into_iter().flat_map(|name| {
        let folder = format!("sinks/{name}/src/");
        assert!(files.iter().any(|file| file.path.starts_with(&folder)), "{folder} was not found");
        circles::imports_go_round(&files, &folder)
    }));
}

#[test]
fn only_the_registry_names_sinks() {
    let folders = sink_folders();
    assert_clean(rust(&tree()).flat_map(|file| rules::sinks_are_named_once(file, &folders)));
}

#[test]
fn every_queue_has_a_bound() {
    assert_clean(rust(&tree()).flat_map(rules::queues_are_bounded));
}

#[test]
fn no_sink_sleeps() {
    assert_clean(rust(&tree()).flat_map(rules::sinks_do_not_sleep));
}

#[test]
fn nothing_is_left_undone() {
    assert_clean(tree().iter().flat_map(rules::nothing_is_left_undone));
}

#[test]
fn every_sink_is_listed_wherever_it_must_be() {
    let (registry, cargo, readme) = (read("src/registry.rs"), read("Cargo.toml"), read("README.md"));
    let of = |name: &str, file: &str| fs::read_to_string(root().join("sinks").join(name).join(file)).ok();
    assert_clean(sinks().into_iter().flat_map(|name| {
        let (own_readme, example) = (of(&name, "README.md"), of(&name, "example.toml"));
        let sink = SinkFolder { name: &name, readme: own_readme.as_deref(), example: example.as_deref() };
        rules::sink_is_listed(&sink, &registry, &cargo, &readme)
    }));
}

#[test]
fn the_readme_lists_no_sink_that_does_not_exist() {
    let mut listed = guides::table_of_sinks(&read("README.md"));
    listed.sort();
    assert_eq!(listed, sinks());
}

#[test]
fn every_path_named_in_a_guide_exists() {
    let entries = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap());
    let folders = entries.filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name().into_string().unwrap());
    let folders: Vec<String> = folders.filter(|name| !NOT_OURS.contains(&name.as_str())).collect();
    let guides = tree().into_iter().filter(|file| file.path.ends_with(".md"));
    assert_clean(guides.flat_map(|guide| {
        let beside = root().join(&guide.path).parent().unwrap().to_owned();
        // Only these speak of paths from the root; elsewhere links alone are looked at.
        let from_root = ["README.md", "src/ARCHITECTURE.md", "src/WALK.md"].contains(&guide.path.as_str());
        let named = guides::paths_named(&guide.text, if from_root { &folders } else { &[] }).into_iter();
        let missing = named.filter(move |(_, path)| !beside.join(path).exists() && !root().join(path).exists());
        missing.map(move |(line, path)| format!("{}:{line}: names `{path}`, which does not exist", guide.path))
    }));
}

#[test]
fn the_code_map_is_what_is_enforced() {
    assert_clean(guides::map_is_true(&read("src/ARCHITECTURE.md")).into_iter());
}

#[test]
fn the_walk_names_files_and_types_that_are_there() {
    let walk = read("src/WALK.md");
    assert!(guides::steps(&walk) > 20, "its tables were not found");
    assert_clean(guides::walk_is_true(&walk, |path| fs::read_to_string(root().join(path)).ok()).into_iter());
}

#[test]
fn the_operators_guide_explains_every_error_that_is_logged_and_no_other() {
    let files = tree();
    let shipped = rust(&files).filter(|file| rules::is_shipped(file) && !file.path.starts_with("sinks/testkit/"));
    let logged: std::collections::BTreeSet<String> =
        shipped.flat_map(|file| errors::logged(&rules::code_of(errors::outside_tests(file)))).collect();
    assert!(logged.len() > 40, "they were not found");
    assert_clean(errors::faults(&logged, &errors::explained(&read("docs/operating.md"))).into_iter());
}

#[test]
fn the_figures_of_the_tree_are_printed() {
    let files = tree();
    let shipped: Vec<&File> = rust(&files).filter(|file| rules::is_shipped(file)).collect();
    let tests: Vec<&File> = rust(&files).filter(|file| !rules::is_shipped(file)).collect();
    let lines = |files: &[&File]| files.iter().map(|file| file.text.lines().count()).sum::<usize>();
    let mut longest: Vec<(usize, &str)> = shipped.iter().map(|f| (f.text.lines().count(), f.path.as_str())).collect();
    longest.sort_by(|a, b| b.cmp(a));
    let count =
        |needle: &str| shipped.iter().map(|file| rules::outside_tests(file).matches(needle).count()).sum::<usize>();

    let mut out = format!("figures: {} shipped files, {} lines; ", shipped.len(), lines(&shipped));
    out += &format!("{} test files, {} lines\n", tests.len(), lines(&tests));
    out += &format!(
        "figures: outside tests {} unwrap, {} expect, {} panic\n",
        count(".unwrap()"),
        count(".expect("),
        count("panic!(")
    );
    for (lines, path) in longest.iter().take(5) {
        out += &format!("figures: {lines:4} lines in {path}\n");
    }
    // Straight to the terminal: the harness swallows only what the print macros write.
    std::io::stderr().write_all(out.as_bytes()).unwrap();
    assert!(!longest.is_empty(), "nothing was counted");
}
