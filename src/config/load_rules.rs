//! The part of reading a config that is about rules: `[[routes]]` and `[[tests]]`, and what both say of the sources and
//! sinks that were read before them.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use toml::de::DeValue;

use super::load::{Loader, Table};
use super::load_resends::Around;
use super::sinks::{SinkEntry, with_article};
use super::slips;
use crate::route::cases::Case;
use crate::route::doubts::doubts;
use crate::route::{Implicit, JqEval, RouteConfig, RuleSet};

impl<'t> Loader<'t> {
    /// The routes, compiled where they can be, with those that stand in no file; and as they are written.
    pub fn routes(&mut self, around: &Around<'_>, implicit: &[Implicit]) -> (Option<RuleSet>, Vec<RouteConfig>) {
        let Around { sources, known, sink_names, sinks } = *around;
        let (mut routes, mut tables, mut complete) = (Vec::new(), Vec::new(), true);
        for table in self.list("routes") {
            let header = table.1.clone();
            match self.read_on::<RouteConfig>("routes", table, |_| vec![]) {
                Some((route, kept)) => {
                    routes.push(route);
                    tables.push((kept, header));
                }
                None => complete = false,
            }
        }
        let mut sink_list: Vec<&str> = sink_names.iter().map(|(name, _)| name.as_str()).collect();
        let mut source_list: Vec<&str> = sources.iter().map(String::as_str).collect();
        // Where the sinks or sources could not be read, no route is at fault for naming one of them.
        if self.unread.contains(&"sinks") {
            sink_list.extend(routes.iter().flat_map(|route| route.to.iter().map(String::as_str)));
        }
        if self.unread.contains(&"sources") {
            source_list.extend(routes.iter().filter_map(|route| route.source.as_deref()));
        }
        let rules = RuleSet::compile_with(&routes, implicit, &sink_list, &source_list, Arc::new(JqEval));
        let doubts = rules.as_ref().map_or_else(|_| vec![], |rules| doubts(rules, &routes, known));
        for (index, doubt) in doubts {
            if let Some((kept, header)) = tables.get(index) {
                self.report.doubt("routes", doubt, kept, header);
            }
        }
        if let Err(faults) = &rules {
            for (index, fault) in faults {
                if let Some((kept, header)) = tables.get(*index) {
                    self.report.faults("routes", vec![fault.clone()], kept, header);
                }
            }
        }
        let written: Vec<_> = routes.iter().zip(&tables).map(|(route, (kept, header))| (route, kept, header)).collect();
        self.loops(&written, around);
        // Commands have a message sent, without a route of the file.
        let sends = sinks.iter().any(|sink| sink.kind.sends);
        if complete && routes.is_empty() && !sink_names.is_empty() && !sends {
            self.report.warning("", 0..0, "no route is defined: no sink is given anything", None);
        } else if complete {
            self.idle_sinks(&routes, sink_names, sinks);
        }
        self.answers_of_none(sink_names, sinks);
        (rules.ok().map(|rules| rules.knowing(known.iter().copied())), routes)
    }

    /// The tests of the rules.
    pub fn tests(&mut self, sources: &[String], sinks: &[(String, Range<usize>)]) -> Vec<Case> {
        let sinks: Vec<&str> = sinks.iter().map(|(name, _)| name.as_str()).collect();
        let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
        let mut tests = Vec::new();
        for table in self.list("tests") {
            let is_judged = self.unread.is_empty();
            let check = |case: &Case| case.check(&sinks, &sources).err().filter(|_| is_judged).unwrap_or_default();
            tests.extend(self.read_on::<Case>("tests", table, check).map(|(case, _)| case));
        }
        tests
    }

    /// Warns of sinks that no route names.
    fn idle_sinks(&mut self, routes: &[RouteConfig], names: &[(String, Range<usize>)], sinks: &[SinkEntry]) {
        let named: HashSet<&String> = routes.iter().flat_map(|route| &route.to).collect();
        let is_fine = |sink: &&SinkEntry| !sink.keys.enabled || sink.kind.sends;
        let off: HashSet<&String> = sinks.iter().filter(is_fine).map(|sink| &sink.name).collect();
        for (name, header) in names {
            if !off.contains(name) && !named.contains(name) {
                let message = "no route names this sink: it is given nothing";
                self.report.warning(&format!("sinks.{name}"), header.clone(), message, None);
            }
        }
    }

    /// Warns of sinks that are to keep what a target says, where targets of the kind say nothing.
    fn answers_of_none(&mut self, names: &[(String, Range<usize>)], sinks: &[SinkEntry]) {
        for sink in sinks.iter().filter(|sink| sink.keys.keep_answer && !sink.kind.answers) {
            let Some((name, header)) = names.iter().find(|(name, _)| *name == sink.name) else { continue };
            let message =
                format!("`keep_answer` keeps nothing here: a target of kind `{}` says nothing", sink.kind.name);
            self.report.warning(&format!("sinks.{name}"), header.clone(), message, Some("leave it out".into()));
        }
    }

    /// Takes the tables of a `[[name]]` out of the root.
    fn list(&mut self, name: &str) -> Vec<Table<'t>> {
        let Some(value) = self.root.remove(name) else { return vec![] };
        let span = value.span();
        match value.into_inner() {
            DeValue::Array(all) => all.into_iter().filter_map(|one| self.table(name, one)).collect(),
            other => {
                let message = format!("`{name}` is {}, expected tables [[{name}]]", with_article(&other));
                // Of several [name] the parser keeps the last; the fault is shown at the first.
                let first = matches!(other, DeValue::Table(_)).then(|| slips::header_of(self.text, name)).flatten();
                self.report.error(
                    "",
                    first.unwrap_or(span),
                    message,
                    Some(format!("write [[{name}]] with two brackets")),
                );
                vec![]
            }
        }
    }
}
