//! Modules of one crate, or of one folder of it, must not import each other in a circle: who reads one of them then
//! needs only those below it. Pure; `tidy.rs` hands in the files.

use std::collections::{BTreeMap, BTreeSet};

use super::rules::{File, code_of, outside_tests};

/// A module: the names on the way to it from the root of the crate, none for the root itself.
type Module = Vec<String>;

/// For each module those it imports, and the line of its file that says so first.
type Graph = BTreeMap<Module, BTreeMap<Module, usize>>;

/// Circles of imports among the modules whose files lie under `folder` (`sinks/file/src/`); one fault for each set of
/// modules that all reach one another. Unit tests may import what they like.
pub fn imports_go_round(files: &[File], folder: &str) -> Vec<String> {
    let files: Vec<(&File, Module)> =
        files.iter().filter_map(|file| Some((file, module_of(file.path.strip_prefix(folder)?)?))).collect();
    let modules: BTreeSet<Module> = files.iter().map(|(_, module)| module.clone()).collect();
    let mut graph = Graph::new();
    let mut path_of: BTreeMap<Module, &str> = BTreeMap::new();
    for (file, module) in &files {
        path_of.insert(module.clone(), &file.path);
        let imported = graph.entry(module.clone()).or_default();
        for (line, path) in paths(&code_of(outside_tests(file)), module, &modules) {
            if let Some(other) = owner(&path, &modules).filter(|other| other != module) {
                imported.entry(other).or_insert(line);
            }
        }
    }
    circles(&graph)
        .into_iter()
        .map(|circle| {
            let steps = circle.iter().zip(circle.iter().cycle().skip(1));
            let told = steps.map(|(from, to)| format!("{}:{} imports `{}`", path_of[from], graph[from][to], name(to)));
            format!("{folder}: a circle of imports: {}", told.collect::<Vec<_>>().join(", "))
        })
        .collect()
}

/// `store.rs` → `store`, `rows/mod.rs` → `rows`, `lib.rs` → the root. Nothing for a file of unit tests.
fn module_of(path: &str) -> Option<Module> {
    let mut names: Module = path.strip_suffix(".rs")?.split('/').map(str::to_owned).collect();
    if names.iter().any(|name| name == "tests" || name.ends_with("_tests")) {
        return None;
    }
    if names.last().is_some_and(|last| last == "mod") || path == "lib.rs" || path == "main.rs" {
        names.pop();
    }
    Some(names)
}

fn name(module: &Module) -> String {
    if module.is_empty() { "the root of the crate".to_owned() } else { module.join("::") }
}

/// The module that a path leads into: the longest beginning of it that is one.
fn owner(path: &[String], modules: &BTreeSet<Module>) -> Option<Module> {
    (0..=path.len()).rev().map(|n| path[..n].to_vec()).find(|beginning| modules.contains(beginning))
}

/// Paths into the crate that a module's code names, each with its line, from the root: behind `crate::`, `super::` and
/// `self::`, and behind the name of a child. A group in braces is several paths.
fn paths(code: &str, module: &Module, modules: &BTreeSet<Module>) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    let mut starts: Vec<(String, Module)> = vec![("crate::".to_owned(), vec![]), ("self::".to_owned(), module.clone())];
    if let Some((_, parent)) = module.split_last() {
        starts.push(("super::".to_owned(), parent.to_vec()));
    }
    let children = modules.iter().filter(|m| m.len() == module.len() + 1 && m.starts_with(module));
    starts.extend(children.filter_map(|child| Some((format!("{}::", child.last()?), child.clone()))));
    for (word, base) in &starts {
        for (at, _) in code.match_indices(word.as_str()) {
            let before = code[..at].chars().next_back().unwrap_or(' ');
            // Not the end of a longer name, and not a later part of another path.
            if before.is_alphanumeric() || before == '_' || before == ':' {
                continue;
            }
            let line = code[..at].matches('\n').count() + 1;
            let ends = tree(&mut code[at + word.len()..].chars().peekable());
            found.extend(ends.into_iter().map(|end| (line, climbed(base, end))));
        }
    }
    found
}

/// The path with each further `super` carried out.
fn climbed(base: &Module, end: Vec<String>) -> Vec<String> {
    let mut path = base.clone();
    for name in end {
        if name == "super" {
            path.pop();
        } else {
            path.push(name);
        }
    }
    path
}

/// `a::{b, c::{self, d}}` → `a::b`, `a::c`, `a::c::d`. What comes behind the path is left alone.
fn tree(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Vec<Vec<String>> {
    let skip_blanks = |rest: &mut std::iter::Peekable<std::str::Chars<'_>>| {
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
    };
    if rest.next_if_eq(&'{').is_some() {
        let mut all = Vec::new();
        loop {
            skip_blanks(rest);
            if rest.next_if_eq(&'}').is_some() || rest.peek().is_none() {
                return all;
            }
            all.extend(tree(rest));
            // `as other`, a comma, or what is no path at all.
            while rest.peek().is_some_and(|c| !matches!(c, ',' | '}')) {
                rest.next();
            }
            rest.next_if_eq(&',');
        }
    }
    let mut word = String::new();
    while let Some(c) = rest.next_if(|c| c.is_alphanumeric() || *c == '_') {
        word.push(c);
    }
    let mut is_followed = false;
    if rest.next_if_eq(&':').is_some() {
        is_followed = rest.next_if_eq(&':').is_some();
    }
    let this = if word.is_empty() || word == "self" { vec![] } else { vec![word] };
    if !is_followed {
        return vec![this];
    }
    tree(rest).into_iter().map(|end| [this.clone(), end].concat()).collect()
}

/// One circle out of each set of modules that reach one another: a shortest way from the set's first module back to it.
fn circles(graph: &Graph) -> Vec<Vec<Module>> {
    let mut told: BTreeSet<&Module> = BTreeSet::new();
    let mut found = Vec::new();
    for start in graph.keys() {
        if told.contains(start) {
            continue;
        }
        if let Some(circle) = way_back(graph, start) {
            // Whatever the start reaches that reaches the start is in the same set.
            told.extend(graph.keys().filter(|other| reaches(graph, start, other) && reaches(graph, other, start)));
            found.push(circle);
        }
    }
    found
}

/// A shortest way from a module back to itself, without its end.
fn way_back(graph: &Graph, start: &Module) -> Option<Vec<Module>> {
    let mut ways: Vec<Vec<Module>> = vec![vec![start.clone()]];
    let mut seen: BTreeSet<Module> = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for next in graph.get(way.last()?).into_iter().flat_map(BTreeMap::keys) {
                if next == start {
                    return Some(way);
                }
                if seen.insert(next.clone()) {
                    longer.push([way.clone(), vec![next.clone()]].concat());
                }
            }
        }
        ways = longer;
    }
    None
}

fn reaches(graph: &Graph, from: &Module, to: &Module) -> bool {
    let (mut seen, mut todo) = (BTreeSet::new(), vec![from]);
    while let Some(module) = todo.pop() {
        for next in graph.get(module).into_iter().flat_map(BTreeMap::keys) {
            if next == to {
                return true;
            }
            if seen.insert(next) {
                todo.push(next);
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let files = files.iter().map(|(name, text)| File::of(&format!("sinks/x/src/{name}"), text));
        imports_go_round(&files.collect::<Vec<File>>(), "sinks/x/src/")
    }

    #[test]
    fn two_modules_that_import_each_other_are_found_in_every_way_of_writing_it() {
        let config = ("config.rs", "//! x\n\nuse crate::sink::FileSink;\n");
        for back in [
            "use crate::config::FileConfig;",
            "use super::config::{A, B};",
            "use crate::{\n    other,\n    config::{self, A},\n};",
            "fn f(a: &crate::config::FileConfig) {}",
        ] {
            let faults = found(&[config, ("sink.rs", back), ("other.rs", "")]);
            assert_eq!(faults.len(), 1, "{back}: {faults:?}");
            assert!(faults[0].contains("sinks/x/src/config.rs:3 imports `sink`"), "{faults:?}");
            assert!(faults[0].contains("imports `config`"), "{faults:?}");
        }
        for fine in ["// see crate::config", "use crate::other;", "use not_crate::config;", "use sink_api::config;"] {
            assert!(found(&[config, ("sink.rs", fine), ("other.rs", "")]).is_empty(), "{fine}");
        }
        let in_tests = "#[cfg(test)]\nmod tests {\n    use crate::config::FileConfig;\n}\n";
        assert!(found(&[config, ("sink.rs", in_tests), ("sink_tests.rs", "use crate::config;")]).is_empty());
        assert!(found(&[config, ("sink.rs", ""), ("tests/mod.rs", "use crate::config;")]).is_empty());
    }

    #[test]
    fn a_circle_over_several_modules_is_told_once_and_step_by_step() {
        let a = ("a.rs", "use crate::{b::c::D, e};");
        let c = ("b/c.rs", "use super::super::e;\nuse crate::e::F;");
        let all = [a, ("b/mod.rs", ""), c, ("e.rs", "use crate::a;")];
        let faults = found(&all);
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].ends_with("src/a.rs:1 imports `e`, sinks/x/src/e.rs:1 imports `a`"), "{faults:?}");
        assert!(found(&all[..3]).is_empty());
    }

    #[test]
    fn a_parent_and_its_child_are_a_circle_too_and_what_lists_the_modules_is_none() {
        let faults = found(&[("lib.rs", "mod a;\npub use a::B;\n"), ("a.rs", "use crate::KIND;")]);
        assert!(faults.len() == 1 && faults[0].contains("the root of the crate"), "{faults:?}");
        assert_eq!(found(&[("a/mod.rs", "mod b;\nuse b::C;"), ("a/b.rs", "use super::D;")]).len(), 1);
        assert!(found(&[("lib.rs", "mod a;\npub use a::B;\n"), ("a.rs", "use crate::c::D;"), ("c.rs", "")]).is_empty());
    }
}
