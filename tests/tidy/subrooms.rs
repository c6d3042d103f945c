//! What rooms inside a room may import of the room around them, as a pure function: text in, faults out.

use crate::rules::{File, outside_tests};

/// Rooms inside a room that keep apart: the room, the one inside it, and what that may name of the room around it.
/// Whatever lies on top of them in the same room may name them all.
const SUBROOMS: &[(&str, &str, &[&str])] =
    &[("ingress", "http", &["http", "counts", "throttle"]), ("ingress", "source", &["source"])];

/// A room inside a room names of the one around it only what [`SUBROOMS`] lists.
pub fn subrooms_keep_apart(file: &File) -> Vec<String> {
    let inside = |(room, own, _): &&(&str, &str, &[&str])| file.path.starts_with(&format!("src/{room}/{own}/"));
    let Some(&(room, own, allowed)) = SUBROOMS.iter().find(inside) else { return vec![] };
    let mut roots = vec![format!("{room}::")];
    // In `mod.rs` the room around it is the parent.
    if file.path == format!("src/{room}/{own}/mod.rs") {
        roots.push("super::".to_owned());
    }
    let mut faults = Vec::new();
    for (n, line) in outside_tests(file).lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        for name in roots.iter().flat_map(|root| names_behind(root, code)) {
            if !allowed.contains(&name.as_str()) {
                faults.push(format!("{}:{}: `{room}/{own}` imports `{room}/{name}`", file.path, n + 1));
            }
        }
    }
    faults
}

/// The names that follow a path such as `super::` in a line; of a group in braces the group, which no list holds, so
/// that each name of it is written out.
fn names_behind(root: &str, code: &str) -> Vec<String> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let whole = code.match_indices(root).filter(|(at, _)| !code[..*at].ends_with(is_part));
    whole
        .map(|(at, _)| code[at + root.len()..].chars().take_while(|c| is_part(*c) || "{}, ".contains(*c)).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_inside_a_room_that_looks_at_its_neighbour_or_its_parent_is_found() {
        let at = |path: &str, text: &str| subrooms_keep_apart(&File { path: path.to_owned(), text: text.to_owned() });
        assert_eq!(
            at("src/ingress/http/listener.rs", "//! x\nuse crate::ingress::source::kinds;\n"),
            ["src/ingress/http/listener.rs:2: `ingress/http` imports `ingress/source`"]
        );
        for (path, bad) in [
            ("src/ingress/source/plan.rs", "use crate::ingress::throttle::Throttle;"),
            ("src/ingress/source/plan.rs", "use crate::ingress::{source, http};"),
            ("src/ingress/source/plan.rs", "use crate::{event, ingress::http::remote};"),
            ("src/ingress/http/connection.rs", "fn f() { crate::ingress::intake::answer() }"),
            ("src/ingress/http/mod.rs", "use super::intake;"),
        ] {
            assert_eq!(at(path, bad).len(), 1, "{path}: {bad}");
        }
        for (path, fine) in [
            ("src/ingress/http/listener.rs", "use super::reply; use crate::ingress::counts::Counter;"),
            ("src/ingress/http/mod.rs", "use self::reply::Answer; // not super::intake"),
            ("src/ingress/source/plan.rs", "use crate::event::Event; use super::kinds;"),
            ("src/ingress/intake.rs", "use super::http::Handler; use super::source::plan;"),
            ("src/ingress/tests/kinds.rs", "use crate::ingress::{http, source};"),
            ("src/ingress/source/plan.rs", "#[cfg(test)]\nmod tests {\n    use crate::ingress::http;\n}\n"),
        ] {
            assert_eq!(at(path, fine), Vec::<String>::new(), "{path}");
        }
    }
}
