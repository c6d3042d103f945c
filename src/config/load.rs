//! Turns the config's text into a [`Config`], or into all of its faults at once. Composition only: the type that reads
//! a table belongs to the room that uses it.

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use sink_api::fault::nearest;
use sink_api::{Fault, Settings, SinkKind, Size};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::env::Env;
use super::faults::{Faults, Report};
use super::front::ServerRead;
use super::interpolate::{Filler, FixedKey};
use super::location::{self, Lines};
use super::sinks::{self, SinkEntry, with_article};
use super::slips::{self, TOP};
use super::{Config, limits};
use crate::admin::{AdminConfig, AdminKeys};
use crate::ingress::http::check::check_server;
use crate::ingress::source::check::{check_paths, lacks_secret};
use crate::ingress::{SourceConfig, SourcePlan};
use crate::journal::JournalConfig;
use crate::ledger::DeadLetterKeys;
use crate::route::cases::Case;
use crate::route::doubts::{Known, doubts};
use crate::route::{INTERNAL_SOURCE, JqEval, RouteConfig, RuleSet};

/// Longest name of a source or sink.
const MAX_NAME: usize = 64;

/// Reads a config. `file` is its name in faults, and relative paths start in its folder. Touches nothing but what `env`
/// gives it.
///
/// # Errors
/// All faults, in the order of the file.
pub fn load(text: &str, file: &Path, env: &dyn Env, kinds: &[SinkKind]) -> Result<Config, Faults> {
    Loader::new(text, file, env, kinds, TOP)?.load(file, env)
}

/// Reads only what is needed to reach a running daemon: `data_dir` and `[admin]`.
///
/// # Errors
/// The faults of these two, and faults of syntax.
pub fn load_admin(text: &str, file: &Path, env: &dyn Env) -> Result<AdminConfig, Faults> {
    let mut loader = Loader::new(text, file, env, &[], &["data_dir", "admin"])?;
    let data_dir = loader.data_dir();
    let admin = loader.admin(&data_dir);
    loader.report.finish().map(|_| admin)
}

/// Reads only which folders the daemon keeps its data in.
///
/// # Errors
/// The faults of `data_dir` and `[journal]`, and faults of syntax.
pub fn load_dirs(text: &str, file: &Path, env: &dyn Env) -> Result<Dirs, Faults> {
    let mut loader = Loader::new(text, file, env, &[], &["data_dir", "journal"])?;
    let data = loader.data_dir();
    let journal = loader.journal(Size(0), 0..0);
    let journal = journal.dir.map_or_else(|| data.join("journal"), |dir| loader.base_dir.join(dir));
    loader.report.finish().map(|_| Dirs { data, journal })
}

/// The folders in which the daemon keeps what it must not lose; absolute paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dirs {
    /// `data_dir`.
    pub data: PathBuf,
    /// The journal's folder.
    pub journal: PathBuf,
}

struct Loader<'t> {
    text: &'t str,
    kinds: &'t [SinkKind],
    base_dir: PathBuf,
    report: Report<'t>,
    root: DeTable<'t>,
    fixed: Vec<FixedKey>,
    /// Those of `sources` and `sinks` that could not be read as tables at all. A route that names one of their entries
    /// is then not at fault.
    unread: Vec<&'static str>,
}

/// A table, and the bytes of its header.
type Table<'t> = (Spanned<DeTable<'t>>, Range<usize>);

/// The sources of a config, as far as they could be read.
#[derive(Default)]
struct SourcesRead {
    /// Plans of the sources without faults.
    plans: Vec<Arc<SourcePlan>>,
    /// Tables of the sources without faults of shape.
    tables: Vec<(String, SourceConfig)>,
    /// Names of all sources.
    names: Vec<String>,
}

impl<'t> Loader<'t> {
    /// Parses the file, drops all known keys but those of `wanted`, and fills in `${…}` in what is left.
    fn new(
        text: &'t str,
        file: &'t Path,
        env: &dyn Env,
        kinds: &'t [SinkKind],
        wanted: &[&str],
    ) -> Result<Self, Faults> {
        let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        let base_dir = absolute.parent().unwrap_or(Path::new("/")).to_owned();
        let mut report = Report::new(text, file);
        let problems = env.problems();
        let told = problems.len();
        problems.into_iter().for_each(|problem| report.elsewhere(problem, true));
        let (mut root, errors) = DeTable::parse_recoverable(text);
        if !slips::syntax(text, &Lines::of(text), root.get_ref(), &errors, &mut report) {
            return report.finish().and_then(|_| Err(Faults::of_file(file, "is not TOML")));
        }
        let mut filler = Filler { env, dir: &base_dir, report: &mut report, fixed: vec![] };
        filler.env_file(root.get_mut(), true);
        env.problems().into_iter().skip(told).for_each(|problem| filler.report.elsewhere(problem, true));
        for other in TOP.iter().filter(|key| !wanted.contains(key)) {
            root.get_mut().remove(*other);
        }
        filler.fill(root.get_mut());
        let fixed = filler.fixed;
        Ok(Self { text, kinds, base_dir, report, root: root.into_inner(), fixed, unread: vec![] })
    }

    /// `[admin]`.
    fn admin(&mut self, data_dir: &Path) -> AdminConfig {
        let read = self.take("admin").and_then(|table| self.read_on::<AdminKeys>("admin", table, AdminKeys::check));
        read.map(|(keys, _)| keys).unwrap_or_default().resolve(&self.base_dir, data_dir)
    }

    /// `[dead_letters]`.
    fn dead_letters(&mut self) -> DeadLetterKeys {
        let table = self.take("dead_letters");
        let read = table.and_then(|table| self.read_on("dead_letters", table, DeadLetterKeys::check));
        read.map(|(keys, _)| keys).unwrap_or_default()
    }

    fn load(mut self, file: &Path, env: &dyn Env) -> Result<Config, Faults> {
        self.unknown_tables();
        let data_dir = self.data_dir();
        let server = self.server();
        let tls = server.tls(env, &mut self.report);
        let mut journal = self.journal(server.config.max_body, server.max_body_at.clone());
        let admin = self.admin(&data_dir);
        let SourcesRead { plans: sources, tables: source_tables, names: source_names } = self.sources();
        server.health(&source_tables, &mut self.report);
        let (sinks, sink_names) = self.sinks();
        let known: Vec<Known<'_>> = source_tables.iter().map(|(name, own)| (name.as_str(), own.kind.types())).collect();
        let (rules, routes) = self.routes(&source_names, &known, &sink_names, &sinks);
        let tests = self.tests(&source_names, &sink_names);
        let dead_letters = self.dead_letters();
        if self.report.has_errors() {
            return self.report.finish().and_then(|_| Err(Faults::of_file(file, "is refused")));
        }
        let (warnings, masks) = self.report.finish()?;
        let Some(rules) = rules else { return Err(Faults::of_file(file, "its routes cannot be compiled")) };
        journal.dir = Some(journal.dir.map_or_else(|| data_dir.join("journal"), |dir| self.base_dir.join(dir)));
        Ok(Config {
            file: file.to_owned(),
            fixed: self.fixed,
            base_dir: self.base_dir,
            data_dir,
            server: server.config,
            tls,
            journal,
            admin,
            dead_letters,
            sources,
            sinks,
            routes,
            rules: Arc::new(rules),
            tests,
            warnings,
            masks,
        })
    }

    fn unknown_tables(&mut self) {
        slips::singulars(&mut self.root, &mut self.report);
        let list = TOP.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
        let mut strangers: Vec<_> = self.root.keys().filter(|key| !TOP.contains(&key.get_ref().as_ref())).collect();
        strangers.sort_by_key(|key| key.span().start);
        for key in strangers {
            if self.report.is_full() {
                self.report.count(1);
                continue;
            }
            let name = key.get_ref().as_ref();
            let help = nearest(name, TOP.iter().copied()).map(|near| format!("did you mean `{near}`?"));
            self.report.error("", key.span(), format!("unknown key `{name}`, expected one of {list}"), help);
        }
    }

    fn data_dir(&mut self) -> PathBuf {
        let value = self.root.remove("data_dir");
        let dir = match &value {
            None => "data",
            Some(value) => value.get_ref().as_str().unwrap_or_default(),
        };
        if let (true, Some(value)) = (dir.is_empty(), &value) {
            self.report.error("", value.span(), "`data_dir` is not a path, expected the path of a folder", None);
        }
        self.base_dir.join(dir)
    }

    /// Takes a table out of the root. It is a fault if another type of value stands there.
    fn take(&mut self, name: &str) -> Option<Table<'t>> {
        let value = self.root.remove(name)?;
        self.table(name, value)
    }

    fn table(&mut self, name: &str, value: Spanned<DeValue<'t>>) -> Option<Table<'t>> {
        let header = value.span();
        // An array of tables: somebody wrote [[name]].
        let twice =
            value.get_ref().as_array().is_some_and(|all| all.iter().all(|one| one.get_ref().as_table().is_some()));
        match value.into_inner() {
            DeValue::Table(mut table) => {
                let end = location::widen(&mut table).max(header.end);
                Some((Spanned::new(header.start..end, table), header))
            }
            other => {
                let message = format!("`{name}` is {}, expected a table [{name}]", with_article(&other));
                let help = twice.then(|| format!("there is one of it: write [{name}] with one pair of brackets"));
                self.report.error("", header, message, help);
                None
            }
        }
    }

    /// Reads a table as `T` and checks it. Keys at fault are mended or left out, so that the others are still checked:
    /// one bad key does not hide further faults. The table is given back as it was read.
    fn read_on<T: DeserializeOwned>(
        &mut self,
        name: &str,
        (table, header): Table<'t>,
        check: impl Fn(&T) -> Vec<Fault>,
    ) -> Option<(T, DeTable<'t>)> {
        let (span, kept) = (table.span(), table.get_ref().clone());
        let (value, kept, left_out) = match Settings::new(table).read::<T>() {
            Ok(value) => (value, kept, vec![]),
            Err(faults) => {
                let (mended, left_out) = slips::mended(&kept, &faults);
                self.report.faults(name, faults, &kept, &header);
                let from = toml::de::Deserializer::from(Spanned::new(span, mended.clone()));
                (T::deserialize(from).ok()?, mended, left_out)
            }
        };
        // A fault that speaks of a key that was left out may follow from that.
        let follows = |fault: &Fault| left_out.iter().any(|key| fault.message.contains(key.as_str()));
        let faults = check(&value).into_iter().filter(|fault| !follows(fault)).collect();
        self.report.faults(name, faults, &kept, &header);
        Some((value, kept))
    }

    /// Reads `[server]`.
    fn server(&mut self) -> ServerRead<'t> {
        let Some((table, header)) = self.take("server") else { return ServerRead::default() };
        let has_max_body = table.get_ref().contains_key("max_body");
        let Some((mut config, kept)) = self.read_on("server", (table, header.clone()), check_server) else {
            return ServerRead::default();
        };
        if has_max_body && !kept.contains_key("max_body") {
            // It was at fault, so that nothing can be compared with it.
            config.max_body = Size(0);
        }
        let max_body_at = kept.get("max_body").map_or_else(|| header.clone(), Spanned::span);
        ServerRead { config: config.resolved(&self.base_dir), max_body_at, table: (kept, header) }
    }

    fn journal(&mut self, max_body: Size, max_body_at: Range<usize>) -> JournalConfig {
        let (table, header) = self.take("journal").unwrap_or((Spanned::new(0..0, DeTable::new()), 0..0));
        let Some((journal, kept)) = self.read_on("journal", (table, header), limits::journal) else {
            return JournalConfig::default();
        };
        if journal.overflow_max < max_body {
            let message = "`overflow_max` of [journal] is smaller than `max_body` of [server]: the largest body could \
                           never be queued";
            let span = kept.get("overflow_max").map_or(max_body_at, Spanned::span);
            self.report.error("", span, message, None);
        }
        journal
    }

    /// The entries of `[sources]` or `[sinks]` in the order of the file: each one's name, the bytes of its header, and
    /// its table. A bad name is a fault. So is an entry that is no table; it has `None`.
    fn named(&mut self, name: &'static str) -> Vec<(String, Range<usize>, Option<Table<'t>>)> {
        if let Some((value, (message, help))) = self.root.get(name).and_then(|v| Some((v, slips::unnamed(name, v)?))) {
            self.report.error("", value.span(), message, help);
            self.root.remove(name);
            self.unread.push(name);
        }
        let Some((tables, _)) = self.take(name) else { return vec![] };
        let mut tables: Vec<_> = tables.into_inner().into_iter().collect();
        tables.sort_by_key(|(key, _)| key.span().start);
        let mut out = Vec::new();
        for (key, value) in tables {
            let own = key.get_ref().as_ref();
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
            if own.is_empty() || own.len() > MAX_NAME || !own.chars().all(plain) {
                let message =
                    format!("`{own}` cannot be a name in `{name}`, expected 1 to {MAX_NAME} of A-Z a-z 0-9 _ -");
                self.report.error("", key.span(), message, None);
            }
            let path = format!("{name}.{own}");
            let slip = slips::below_a_table(name, &format!("unknown key `{own}`"));
            match slip.filter(|_| value.get_ref().as_table().is_none()) {
                Some((message, help)) => self.report.error("", key.span(), message, help),
                None => {
                    let (own, header) = (own.to_owned(), value.span());
                    out.push((own, header, self.table(&path, value)));
                }
            }
        }
        out
    }

    /// Reads the sources.
    fn sources(&mut self) -> SourcesRead {
        let span = self.root.get("sources").map_or(0..0, Spanned::span);
        let tables = self.named("sources");
        if tables.is_empty() && !self.unread.contains(&"sources") {
            let help = "add [sources.interakt] with kind = \"interakt\", path = \"/webhooks/interakt\" and a secret";
            self.report.error("", span, "no source is defined: nothing could be received", Some(help.into()));
        }
        let (mut sources, mut places) = (SourcesRead::default(), Vec::new());
        for (name, _, table) in tables {
            sources.names.push(name.clone());
            let Some((table, header)) = table else { continue };
            let place = format!("sources.{name}");
            if name == INTERNAL_SOURCE {
                let message = format!("the name `{INTERNAL_SOURCE}` is kept for the daemon's own events");
                self.report.error(&place, header.clone(), message, None);
            }
            let lacking = lacks_secret(table.get_ref());
            let faults = |config: &SourceConfig| SourcePlan::read(&name, config).err().unwrap_or_default();
            let read = self.read_on::<SourceConfig>(&place, (table, header.clone()), faults);
            if let (None, Some(fault)) = (&read, lacking) {
                self.report.faults(&place, vec![fault], &DeTable::new(), &header);
            }
            if let Some((config, kept)) = read {
                sources.plans.extend(SourcePlan::read(&name, &config).ok().map(Arc::new));
                sources.tables.push((name, config));
                places.push((kept, header));
            }
        }
        for (name, fault) in check_paths(&sources.tables) {
            let place = sources.tables.iter().zip(&places).find(|((own, _), _)| *own == name);
            if let Some((_, (kept, header))) = place {
                self.report.faults(&format!("sources.{name}"), vec![fault], kept, header);
            }
        }
        sources
    }

    /// Reads the sinks. Gives those without faults, and the names of all.
    fn sinks(&mut self) -> (Vec<SinkEntry>, Vec<(String, Range<usize>)>) {
        let (mut sinks, mut names) = (Vec::new(), Vec::new());
        for (name, header, table) in self.named("sinks") {
            if let Some((table, header)) = table {
                let entry = sinks::read(&name, table, header.clone(), self.kinds, &mut self.report);
                sinks.extend(entry.map(|entry| (entry, header)));
            }
            names.push((name, header));
        }
        sinks::claim_faults(&sinks, &self.base_dir, &mut self.report);
        if names.is_empty() {
            self.report.warning("", 0..0, "no sink is defined: events are kept in the journal and go nowhere", None);
        }
        (sinks.into_iter().map(|(entry, _)| entry).collect(), names)
    }

    fn routes(
        &mut self,
        sources: &[String],
        known: &[Known<'_>],
        sink_names: &[(String, Range<usize>)],
        sinks: &[SinkEntry],
    ) -> (Option<RuleSet>, Vec<RouteConfig>) {
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
        let rules = RuleSet::compile(&routes, &sink_list, &source_list, Arc::new(JqEval));
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
        if complete && routes.is_empty() && !sink_names.is_empty() {
            self.report.warning("", 0..0, "no route is defined: no sink is given anything", None);
        } else if complete {
            self.idle_sinks(&routes, sink_names, sinks);
        }
        (rules.ok().map(|rules| rules.knowing(known.iter().copied())), routes)
    }

    fn tests(&mut self, sources: &[String], sinks: &[(String, Range<usize>)]) -> Vec<Case> {
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
        let off: HashSet<&String> = sinks.iter().filter(|sink| !sink.keys.enabled).map(|sink| &sink.name).collect();
        for (name, header) in names {
            if !off.contains(name) && !named.contains(name) {
                let message = "no route names this sink: it is given nothing";
                self.report.warning(&format!("sinks.{name}"), header.clone(), message, None);
            }
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
