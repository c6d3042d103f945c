//! The order of imports inside `src/daemon/`, as a pure function: text in, faults out.

use crate::rules::{File, outside_tests};

/// The files of `src/daemon/` from top to bottom: a file imports from the rows below its own, and neither from its own
/// row nor from above it.
const ROWS: &[&[&str]] = &[
    &["main_loop"],
    &["reload"],
    &["following", "replay_requests", "sink_requests"],
    &["data_folder", "inspecting", "world"],
    &["admin_listener", "open_ingress", "running_replays", "service_manager", "sinks", "skipping"],
    &["background", "control"],
    &["nodes", "resending"],
    &["explaining", "found_tail", "found_told", "found_trace", "scrape", "sending", "shown_config"],
    &["found_sent"],
    &["found"],
    &["found_fates", "found_ids"],
    &["found_reading", "found_rules", "found_shown"],
    &[
        "caught_up",
        "config_state",
        "dead_letters",
        "figures",
        "history",
        "options",
        "probing",
        "replay_outcome",
        "replay_plan",
    ],
    &["resends"],
    &["commanding", "own_events"],
    &["books", "config_reading", "store"],
    &[
        "config_watch",
        "counted",
        "descriptors",
        "disk_watch",
        "endings",
        "host",
        "reasons",
        "refusals",
        "requests",
        "status_line",
        "threads",
        "told_down",
        "trimming",
    ],
    &["error"],
];

/// Every file of the daemon imports downward (see [`ROWS`]), and nothing from `src/daemon.rs`, which stands above them
/// all.
pub fn imports_point_down(file: &File) -> Vec<String> {
    let below = file.path.strip_prefix("src/daemon/").and_then(|below| below.strip_suffix(".rs"));
    let Some(name) = below else { return vec![] };
    let Some(from) = row(name) else {
        return vec![format!("{}: stands in no row of tests/tidy/daemon.rs", file.path)];
    };
    let mut faults = Vec::new();
    for (n, line) in outside_tests(file).lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let mut fault = |why: String| faults.push(format!("{}:{}: {why}", file.path, n + 1));
        if code.contains("crate::daemon") {
            fault("names the daemon by `crate::daemon`: say `super::…`, so that it can be checked".into());
        }
        for path in code.split("super::").skip(1) {
            let to: String = path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            match row(&to) {
                Some(row) if row > from => {}
                Some(_) => fault(format!("`{name}` imports `{to}`, which does not stand below it")),
                None => fault(format!("`{name}` imports `{to}`, which is no file of src/daemon/")),
            }
        }
    }
    faults
}

fn row(name: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_from_above_beside_or_around_the_rows_is_a_fault() {
        let faults = |path: &str, text: &str| imports_point_down(&File::of(path, text));
        assert_eq!(faults("src/daemon/world.rs", "use super::store::Store;\n// super::reload\n"), Vec::<String>::new());
        assert_eq!(faults("src/journal/mod.rs", "use super::reload::X;\n"), Vec::<String>::new());
        for bad in [
            "use super::reload::X;",
            "use super::data_folder::X;",
            "use super::world::X;",
            "use super::DaemonError;",
            "use super::{books, store};",
            "fn f() { super::main_loop::run() }",
            "use crate::daemon::DaemonError;",
        ] {
            assert_eq!(faults("src/daemon/world.rs", &format!("//! x\n{bad}\n")).len(), 1, "{bad}");
        }
        assert_eq!(faults("src/daemon/other.rs", "").len(), 1, "a file that stands in no row");
        assert_eq!(faults("src/daemon/world.rs", "#[cfg(test)]\nuse super::reload::X;\n"), Vec::<String>::new());
    }
}
