//! Every rule about guides, seen to fail on bad input and to pass on good.

use super::*;

const README: &str = "| sink | what |\n| --- | --- |\n| [`file`](sinks/file/README.md) | lines in files |\n";

#[test]
fn the_table_of_sinks_is_read_row_by_row() {
    assert_eq!(table_of_sinks(README), ["file"]);
    assert_eq!(table_of_sinks("See [file](sinks/file/README.md)."), Vec::<String>::new());
}

#[test]
fn paths_named_in_markdown_are_found_as_links_and_as_quoted_paths() {
    let folders = ["src".to_owned(), "sinks".to_owned()];
    let text = "a [b](src/ARCHITECTURE.md#map) `sinks/none` `make test`\n\
                [web](https://a.example/b) `data/x` `src/*.rs` [c](#d)\n";
    assert_eq!(paths_named(text, &folders), [(1, "src/ARCHITECTURE.md".to_owned()), (1, "sinks/none".to_owned())]);
}

/// A code map as it must be.
fn map() -> String {
    let rooms =
        (1..).zip(TIERS).flat_map(|(n, rooms)| rooms.iter().map(move |room| format!("| {n} | `{room}` | x |\n")));
    let siblings = SIBLINGS.iter().map(|(from, to)| format!("- `{from}` → `{to}`: x\n"));
    rooms.chain(siblings).collect()
}

#[test]
fn a_code_map_that_is_not_what_is_enforced_is_found() {
    assert_eq!(map_is_true(&map()), [""; 0]);
    for (from, to, fault) in [
        ("| 9 | `journal` | x |\n", "", "lacks the room 9 `journal`"),
        ("| 9 | `journal`", "| 8 | `journal`", "lacks the room 9 `journal`"),
        ("| 9 | `journal`", "| 9 | `attic` | x |\n| 9 | `journal`", "has the room 9 `attic`, not enforced"),
        (
            "| 9 | `journal` | x |\n",
            "| 9 | `journal` | x |\n| 9 | `journal` | x |\n",
            "has each the room once and in order",
        ),
        ("- `deliver` → `ingress`", "- `ingress` → `deliver`", "lacks the import `deliver` → `ingress`"),
    ] {
        let stated = map().replace(from, to);
        assert_ne!(stated, map(), "{from}");
        assert!(map_is_true(&stated).iter().any(|found| found.contains(fault)), "{fault}: {:?}", map_is_true(&stated));
    }
}

#[test]
fn a_step_that_names_a_file_or_type_that_is_not_there_is_found() {
    let read = |path: &str| (path == "src/a.rs").then(|| "use x::{Event, Bytes};".to_owned());
    let row = |types: &str, path: &str| format!("# Walk\n\n| 1. read | {types} | `{path}` | nothing |\n");
    assert_eq!(walk_is_true(&row("`Bytes` → `Event`", "src/a.rs"), read), [""; 0]);
    assert_eq!(walk_is_true("| step | carried by | in | on disk |\n| --- | --- | --- | --- |\n", read), [""; 0]);
    let missing = walk_is_true(&row("`Bytes`", "src/b.rs"), read);
    assert_eq!(missing, ["src/WALK.md:3: names `src/b.rs`, which does not exist"]);
    // A part of a name is none.
    let missing = walk_is_true(&row("`Byte` → `Event`", "src/a.rs"), read);
    assert_eq!(missing, ["src/WALK.md:3: `src/a.rs` does not name `Byte`"]);
    assert_eq!((steps(&row("`Bytes`", "src/a.rs")), steps("no table")), (1, 0));
}
