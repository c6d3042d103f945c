//! The compiled rules: the globs of all routes in one set, all programs read, all sinks known to exist.
//!
//! This module answers what can be answered without an event's body: which sinks an event of a source and type may go
//! to, and through how many routes. [`router`](super::router) goes on from there.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use globset::GlobSet;
use sink_api::Fault;
use sink_api::fault::nearest;

use super::builtin;
use super::config::{Implicit, RouteConfig};
use super::counting::RouteCounts;
use super::eval::{Eval, Program};
use super::glob;
use super::table::{Row, Table};
pub use crate::news::SOURCE as INTERNAL_SOURCE;
use crate::news::{COMMANDS, TYPES};

/// What a glob has that means commands: `*` alone does not.
const NAMES_COMMANDS: &str = "message.";

/// One route, compiled.
pub(super) struct Route {
    pub name: String,
    pub source: Option<String>,
    pub condition: Option<Program>,
    pub transform: Option<Program>,
    pub to: Vec<String>,
    pub is_final: bool,
    /// The route's globs, as indices into [`RuleSet::globs`].
    globs: Range<usize>,
    /// Where it stands in no file.
    pub implicit: Option<Implicit>,
}

/// What jq is to be asked about an event for one route to a sink. Built-in transforms need no question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The route's `where`.
    pub condition: Option<Program>,
    /// The route's `transform`, if the route names the sink.
    pub transform: Option<Program>,
    /// Whether later routes do not matter if the condition holds.
    pub is_final: bool,
}

/// Whether a route takes events of a source and type, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit<'r> {
    /// This glob matches, and the source is right.
    Glob(&'r str),
    /// No glob matches.
    NoGlob,
    /// The route wants this other source; `None` where the route names no source and the event is internal.
    Source(Option<&'r str>),
    /// The earlier route of this index matches, is final, and has no condition.
    AfterFinal(usize),
}

/// The routes of a config, ready for use by any number of threads. Immutable, but for what its table remembers and what
/// is counted.
pub struct RuleSet {
    pub(super) routes: Vec<Route>,
    /// For each sink the first route in the file that names it. The deliveries of that route have the bare event id.
    pub(super) firsts: HashMap<String, usize>,
    pub(super) eval: Arc<dyn Eval>,
    /// Whether any route has a jq program.
    asks: bool,
    globs: Vec<String>,
    set: GlobSet,
    table: Table,
    /// The types that sources are known to send, for those sources whose types are known. Only explanations use it.
    known: HashMap<String, &'static [&'static str]>,
    /// What came of each route.
    counts: OnceLock<Vec<Arc<RouteCounts>>>,
}

impl fmt::Debug for RuleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.routes.iter().map(|r| &r.name)).finish()
    }
}

impl RuleSet {
    /// Compiles the routes of a config that defines sinks and sources of these names.
    ///
    /// # Errors
    /// Every fault at once, each with the index of its route and the key it lies under.
    pub fn compile(
        routes: &[RouteConfig],
        sinks: &[&str],
        sources: &[&str],
        eval: Arc<dyn Eval>,
    ) -> Result<Self, Vec<(usize, Fault)>> {
        Self::compile_with(routes, &[], sinks, sources, eval)
    }

    /// The same with routes that stand in no file. They come behind those of the file, so that indices are the file's.
    ///
    /// # Errors
    /// Those of [`compile`](Self::compile).
    pub fn compile_with(
        routes: &[RouteConfig],
        implicit: &[Implicit],
        sinks: &[&str],
        sources: &[&str],
        eval: Arc<dyn Eval>,
    ) -> Result<Self, Vec<(usize, Fault)>> {
        let names = names(routes);
        let mut compiled = Compiler { sinks, sources, eval: &*eval, globs: Vec::new(), set: GlobSet::builder() };
        let mut faults = name_faults(routes, &names);
        let mut out = Vec::with_capacity(routes.len());
        for (index, (config, name)) in routes.iter().zip(&names).enumerate() {
            let mut own = Vec::new();
            out.push(compiled.route(config, name.clone(), &mut own));
            faults.extend(own.into_iter().map(|fault| (index, fault)));
        }
        faults.extend(id_faults(&out));
        for own in implicit {
            let written = own.as_written();
            let mut none = Vec::new();
            let route = compiled.route(&written, written.name.clone().unwrap_or_default(), &mut none);
            out.push(Route { implicit: Some(own.clone()), ..route });
        }
        let set = compiled.set.build().map_err(|e| Fault::at_key("match", format!("key `match`: {e}")));
        match set {
            Ok(set) if faults.is_empty() => {
                let firsts = firsts(&out);
                let mut rules = Self {
                    routes: out,
                    firsts,
                    asks: false,
                    globs: compiled.globs,
                    set,
                    eval,
                    table: Table::default(),
                    known: HashMap::new(),
                    counts: OnceLock::new(),
                };
                let asks = rules.programs().next().is_some();
                rules.asks = asks;
                Ok(rules)
            }
            Ok(_) => Err(faults),
            Err(fault) => {
                faults.push((0, fault));
                Err(faults)
            }
        }
    }

    /// Adds the types that sources are known to send, by the source's name, for explanations.
    #[must_use]
    pub fn knowing<'c>(mut self, sources: impl IntoIterator<Item = (&'c str, &'static [&'static str])>) -> Self {
        self.known = sources.into_iter().map(|(name, types)| (name.to_owned(), types)).collect();
        self.known.insert(INTERNAL_SOURCE.to_owned(), TYPES);
        self
    }

    /// The globs of a route, each with the known types of a source that it matches; nothing where those are not known.
    pub(super) fn known_of(&self, route: usize, source: &str) -> Vec<(&str, Vec<&'static str>)> {
        let types = self.known.get(source).copied().unwrap_or_default();
        let globs = self.routes.get(route).and_then(|route| self.globs.get(route.globs.clone()));
        let globs = globs.filter(|_| !types.is_empty()).unwrap_or_default();
        globs.iter().map(|text| (text.as_str(), glob::matching(text, types))).collect()
    }

    /// Whether this sink may get anything from an event of that source and type. What it says no to can be skipped
    /// without decoding.
    pub fn wants(&self, sink: &str, source: &str, kind: &str) -> bool {
        self.owed(sink, source, kind) > 0
    }

    /// Whether any sink may, by a route of the file.
    pub fn matched(&self, source: &str, kind: &str) -> bool {
        self.row(source, kind).is_matched()
    }

    /// Through how many routes: what counts as accepted before conditions and transforms have been asked.
    pub fn owed(&self, sink: &str, source: &str, kind: &str) -> u32 {
        self.row(source, kind).owed(sink)
    }

    /// Most deliveries that an event of any type can owe a sink: the routes that name it.
    pub fn most_owed(&self, sink: &str) -> u32 {
        let routes = self.routes.iter().filter(|route| route.to.iter().any(|to| to == sink)).count();
        u32::try_from(routes).unwrap_or(u32::MAX)
    }

    /// Whether jq may have to be asked about events at this sink: by a route that names it, or one that may end the
    /// search.
    pub fn asks(&self, sink: &str) -> bool {
        let names = |route: &Route| route.to.iter().any(|to| to == sink);
        self.routes.iter().any(|route| {
            let transforms = route.transform.as_ref().is_some_and(is_jq);
            (names(route) && (transforms || route.condition.is_some())) || (route.is_final && route.condition.is_some())
        })
    }

    /// What jq has to be asked before an event is routed to a sink; nothing where no route on its way has a program.
    pub fn questions(&self, sink: &str, source: &str, kind: &str) -> Vec<Question> {
        if !self.asks {
            return vec![];
        }
        let row = self.row(source, kind);
        let stops = row.stops(sink).iter().filter_map(|stop| Some((stop.named, self.routes.get(stop.route)?)));
        let questions: Vec<Question> = stops
            .map(|(named, route)| Question {
                condition: route.condition.clone(),
                transform: route.transform.clone().filter(|program| named && is_jq(program)),
                is_final: route.is_final,
            })
            .collect();
        let asks = questions.iter().any(|q| q.condition.is_some() || q.transform.is_some());
        if asks { questions } else { vec![] }
    }

    /// The `where` of a route.
    pub(super) fn condition(&self, route: usize) -> Option<&Program> {
        self.routes.get(route).and_then(|route| route.condition.as_ref())
    }

    /// All jq programs, each once.
    pub fn programs(&self) -> impl Iterator<Item = &Program> {
        let mut seen = HashSet::new();
        let all = self.routes.iter().flat_map(|route| [route.condition.as_ref(), route.transform.as_ref()]).flatten();
        all.filter(|program| is_jq(program)).filter(move |program| seen.insert(program.text()))
    }

    /// The first of the routes to that sink: the ids of its deliveries do not name it.
    pub fn first_route(&self, sink: &str) -> Option<&str> {
        self.firsts.get(sink).and_then(|first| self.routes.get(*first)).map(|route| route.name.as_str())
    }

    /// The names of the file's routes, in its order; `route<n>` (from 1) for those without one.
    pub fn route_names(&self) -> impl Iterator<Item = &str> {
        self.routes.iter().filter(|route| route.implicit.is_none()).map(|r| r.name.as_str())
    }

    /// The names of all routes: behind those of the file the ones that stand in none.
    pub(super) fn all_names(&self) -> impl Iterator<Item = &str> {
        self.routes.iter().map(|route| route.name.as_str())
    }

    /// Whether a route stands in no file.
    pub(super) fn is_implicit(&self, route: usize) -> bool {
        self.routes.get(route).is_some_and(|route| route.implicit.is_some())
    }

    /// What came of each route, in the order of `all_names`.
    pub fn counts(&self) -> &[Arc<RouteCounts>] {
        self.counts.get_or_init(|| self.routes.iter().map(|_| Arc::default()).collect())
    }

    /// Goes on with the counts of the rules before, where a route has kept its name. Without effect once something was
    /// counted by these.
    pub fn count_on(&self, before: &Self) {
        let of = |name: &str| before.all_names().zip(before.counts()).find(|(old, _)| *old == name);
        let go_on = |name: &str| of(name).map(|(_, counts)| Arc::clone(counts)).unwrap_or_default();
        self.counts.get_or_init(|| self.all_names().map(go_on).collect());
    }

    /// Which routes match by glob and source, as remembered from the last event of this source and type.
    pub(super) fn row(&self, source: &str, kind: &str) -> Arc<Row> {
        self.table.get_or(source, kind, || {
            let fits = self.fits(source, kind);
            let matching = self.routes.iter().enumerate().zip(fits).filter(|(_, fit)| matches!(fit, Fit::Glob(_)));
            Row::of(matching.map(|(route, _)| route))
        })
    }

    /// Whether each route matches by glob and source, and why; always worked out anew.
    pub(super) fn fits<'r>(&'r self, source: &str, kind: &str) -> Vec<Fit<'r>> {
        let mut matching = self.set.matches(kind);
        if source == INTERNAL_SOURCE && COMMANDS.iter().any(|(command, _)| *command == kind) {
            // They hold phones and values: no `*` that is meant for news gets them.
            matching.retain(|glob| self.globs.get(*glob).is_some_and(|text| text.contains(NAMES_COMMANDS)));
        }
        let mut after = None;
        self.routes
            .iter()
            .enumerate()
            .map(|(index, route)| {
                if let Some(last) = after.filter(|_| route.implicit.is_none()) {
                    return Fit::AfterFinal(last);
                }
                let fit = self.fit(route, source, &matching);
                if matches!(fit, Fit::Glob(_)) && route.is_final && route.condition.is_none() {
                    after = Some(index);
                }
                fit
            })
            .collect()
    }

    /// Whether one route matches. `matching` are the indices of all globs that match the type, in order.
    fn fit<'r>(&'r self, route: &'r Route, source: &str, matching: &[usize]) -> Fit<'r> {
        let wanted = route.source.as_deref();
        if wanted.map_or(source == INTERNAL_SOURCE, |wanted| wanted != source) {
            return Fit::Source(wanted);
        }
        let first = matching.partition_point(|glob| *glob < route.globs.start);
        match matching.get(first).filter(|glob| route.globs.contains(glob)).and_then(|glob| self.globs.get(*glob)) {
            Some(glob) => Fit::Glob(glob),
            None => Fit::NoGlob,
        }
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.table.len()
    }
}

fn is_jq(program: &Program) -> bool {
    builtin::find(program.text()).is_none()
}

/// What all routes share while they are compiled.
struct Compiler<'c> {
    sinks: &'c [&'c str],
    sources: &'c [&'c str],
    eval: &'c dyn Eval,
    globs: Vec<String>,
    set: globset::GlobSetBuilder,
}

impl Compiler<'_> {
    fn route(&mut self, config: &RouteConfig, name: String, faults: &mut Vec<Fault>) -> Route {
        let globs = self.globs(&config.globs, faults);
        if let Some(source) = &config.source {
            let known = || self.sources.iter().copied().chain([INTERNAL_SOURCE]);
            if !known().any(|s| s == source) {
                faults.push(unknown("source", source, known()));
            }
        }
        self.check_sinks(&config.to, faults);
        let mut read = |text: &Option<String>, read: &dyn Fn(&str) -> Result<Program, Fault>| {
            text.as_deref().and_then(|text| read(text).map_err(|fault| faults.push(fault)).ok())
        };
        Route {
            name,
            globs,
            source: config.source.clone(),
            condition: read(&config.condition, &|text| self.eval.read_condition(text)),
            transform: read(&config.transform, &|text| self.eval.read_transform(text)),
            to: config.to.clone(),
            is_final: config.is_final,
            implicit: None,
        }
    }

    fn globs(&mut self, globs: &[String], faults: &mut Vec<Fault>) -> Range<usize> {
        let start = self.globs.len();
        if globs.is_empty() {
            faults.push(
                Fault::at_key("match", "key `match`: expected at least one glob over the event type")
                    .help("write `match = \"*\"` for every type"),
            );
        }
        for text in globs {
            match glob::read(text) {
                Ok(_) if text.is_empty() => {
                    faults.push(Fault::at_key("match", "key `match`: an empty glob matches no event type"));
                }
                Ok(glob) => {
                    self.set.add(glob);
                    self.globs.push(text.clone());
                }
                Err(why) => faults.push(Fault::at_key("match", format!("key `match`: {why}"))),
            }
        }
        start..self.globs.len()
    }

    fn check_sinks(&self, to: &[String], faults: &mut Vec<Fault>) {
        if to.is_empty() {
            faults.push(Fault::at_key("to", "key `to`: expected at least one sink"));
        }
        let mut seen = HashSet::new();
        for sink in to {
            if !self.sinks.contains(&sink.as_str()) {
                faults.push(unknown("to", sink, self.sinks.iter().copied()));
            } else if !seen.insert(sink) {
                faults.push(Fault::at_key("to", format!("key `to`: sink `{sink}` is named twice")));
            }
        }
    }
}

fn unknown<'n>(key: &str, name: &str, known: impl Iterator<Item = &'n str> + Clone) -> Fault {
    let what = if key == "to" { "sink" } else { key };
    let list: Vec<String> = known.clone().map(|n| format!("`{n}`")).collect();
    let expected =
        if list.is_empty() { "none is defined".into() } else { format!("expected one of {}", list.join(", ")) };
    let fault = Fault::at_key(key, format!("key `{key}`: unknown {what} `{name}`, {expected}"));
    match nearest(name, known) {
        Some(near) => fault.help(format!("did you mean `{near}`?")),
        None => fault,
    }
}

fn names(routes: &[RouteConfig]) -> Vec<String> {
    let implicit = |n: usize| format!("route{}", n + 1);
    routes.iter().enumerate().map(|(n, route)| route.name.clone().unwrap_or_else(|| implicit(n))).collect()
}

/// The faults of names that are empty or taken. Where the `route<n>` of an unnamed route is taken, the fault is at the
/// route that has it as its name.
fn name_faults(routes: &[RouteConfig], names: &[String]) -> Vec<(usize, Fault)> {
    let mut faults = Vec::new();
    let mut owners: HashMap<&str, usize> = HashMap::new();
    let unnamed = |n: &usize| routes.get(*n).is_some_and(|r| r.name.is_none());
    for index in (0..names.len()).filter(unnamed).chain((0..names.len()).filter(|n| !unnamed(n))) {
        let Some(name) = names.get(index) else { continue };
        if name.is_empty() {
            faults.push((index, Fault::at_key("name", "key `name`: expected a name that is not empty")));
        } else if let Some(owner) = owners.insert(name, index) {
            let whose = if unnamed(&owner) { "the name that" } else { "also the name of" };
            let tail = if unnamed(&owner) { " has for want of another" } else { "" };
            let message = format!("key `name`: `{name}` is {whose} route number {}{tail}; names are unique", owner + 1);
            faults.push((index, Fault::at_key("name", message)));
        }
    }
    faults.sort_by_key(|(index, _)| *index);
    faults
}

/// The faults of routes to one sink that would give two deliveries the same id: the second output of a transform in `a`
/// has the id `<event>-a-2`, and so has the first output of a route named `a-2`.
fn id_faults(routes: &[Route]) -> Vec<(usize, Fault)> {
    let firsts = firsts(routes);
    let is_first = |sink: &String, index: usize| firsts.get(sink) == Some(&index);
    let mut many: HashMap<(&str, &str), usize> = HashMap::new();
    for (index, route) in routes.iter().enumerate().filter(|(_, r)| r.transform.is_some()) {
        for sink in &route.to {
            many.insert((sink, if is_first(sink, index) { "" } else { &route.name }), index);
        }
    }
    let mut faults = Vec::new();
    for (index, route) in routes.iter().enumerate() {
        let (stem, number) = match route.name.rsplit_once('-') {
            Some(("", _)) => continue,
            Some(split) => split,
            None => ("", route.name.as_str()),
        };
        let is_output = number.parse::<u32>().is_ok_and(|n| n >= 2 && n.to_string() == number);
        let later = |sink: &&String| !is_first(sink, index);
        let clash = route.to.iter().filter(later).find_map(|sink| many.get(&(sink.as_str(), stem)).map(|o| (sink, o)));
        if let (true, Some((sink, other))) = (is_output, clash) {
            let message = format!(
                "key `name`: at sink `{sink}` the ids of `{}` would be those of output {number} of route number {}",
                route.name,
                other + 1
            );
            faults.push((index, Fault::at_key("name", message)));
        }
    }
    faults
}

/// Those that stand in no file come before those that do: what is asked of a sink by a command has the command's id.
fn firsts(routes: &[Route]) -> HashMap<String, usize> {
    let mut firsts = HashMap::new();
    let own = |is_own: bool| routes.iter().enumerate().filter(move |(_, route)| route.implicit.is_some() == is_own);
    for (index, route) in own(true).chain(own(false)) {
        for sink in &route.to {
            firsts.entry(sink.clone()).or_insert(index);
        }
    }
    firsts
}
