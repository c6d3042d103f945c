//! Turns the config's text into a [`Config`], or into all of its faults at once. Composition only: the type that reads
//! a table belongs to the room that uses it.

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
use super::load_resends::{Around, implicit};
use super::load_senders::SenderBounds;
use super::location::{self, Lines};
use super::sinks::{self, SinkEntry, with_article};
use super::slips::{self, TOP};
use super::written::{Written, folder_of};
use super::{Config, limits};
use crate::admin::{AdminConfig, AdminKeys};
use crate::deliver::DeliveryConfig;
use crate::ingress::http::check::check_server;
use crate::ingress::source::check::{check_paths, lacks_secret};
use crate::ingress::{SourceConfig, SourcePlan};
use crate::journal::{JournalConfig, JournalError, Kind};
use crate::ledger::DeadLetterKeys;
use crate::route::INTERNAL_SOURCE;
use crate::route::doubts::Known;
use crate::telemetry::config::LogConfig;
use crate::times::Zone;
use crate::traces::TracingConfig;

/// Longest name of a source or sink.
const MAX_NAME: usize = 64;

/// A config's text has a place: what it is called, where its paths start, and what of it is overlooked.
#[derive(Clone, Copy)]
pub(super) struct Place<'t> {
    /// The text's name in faults.
    pub name: &'t Path,
    /// The config file: relative paths start in its folder.
    pub file: &'t Path,
    /// The data folder, whatever the text says.
    pub data_dir: Option<&'t Path>,
    /// What is no fault.
    pub overlooked: Overlooked,
}

/// What is no fault. Each includes those before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Overlooked {
    /// All faults are.
    Nothing,
    /// A file with variables that cannot be read, and lines in it that set none: a warning tells them.
    Variables,
    /// Text that is no TOML: what the parser made of it is read.
    Syntax,
}

impl<'t> Place<'t> {
    /// The text of that file, where it stands.
    pub fn of(file: &'t Path) -> Self {
        Self { name: file, file, data_dir: None, overlooked: Overlooked::Nothing }
    }
}

/// Reads a config. `file` is its name in faults, and relative paths start in its folder. Touches nothing but what `env`
/// gives it.
///
/// # Errors
/// All faults, in the order of the file.
pub fn load(text: &str, file: &Path, env: &dyn Env, kinds: &[SinkKind]) -> Result<Config, Faults> {
    load_at(text, &Place::of(file), env, kinds)
}

/// The same, for a text of any place.
pub(super) fn load_at(text: &str, place: &Place<'_>, env: &dyn Env, kinds: &[SinkKind]) -> Result<Config, Faults> {
    Loader::new(text, place, env, kinds, TOP)?.load(place, env)
}

/// Reads only what is needed to reach a running daemon: `data_dir` and `[admin]`.
///
/// # Errors
/// The faults of these two, and faults of syntax.
pub fn load_admin(text: &str, file: &Path, env: &dyn Env) -> Result<AdminConfig, Faults> {
    load_admin_at(text, &Place { overlooked: Overlooked::Variables, ..Place::of(file) }, env)
}

/// The same, for a text of any place.
pub(super) fn load_admin_at(text: &str, place: &Place<'_>, env: &dyn Env) -> Result<AdminConfig, Faults> {
    let mut loader = Loader::new(text, place, env, &[], &["data_dir", "admin"])?;
    let data_dir = loader.data_dir();
    let admin = loader.admin(&data_dir);
    loader.report.finish().map(|_| admin)
}

/// Reads only by whose clock times are read and shown.
///
/// # Errors
/// The faults of `timezone`, and faults of syntax.
pub(super) fn load_zone_at(text: &str, place: &Place<'_>, env: &dyn Env) -> Result<Zone, Faults> {
    let mut loader = Loader::new(text, place, env, &[], &["timezone"])?;
    let zone = loader.zone();
    loader.report.finish().map(|_| zone)
}

/// Reads only which folders the daemon keeps its data in.
///
/// # Errors
/// The faults of `data_dir` and `[journal]`, and faults of syntax.
pub fn load_dirs(text: &str, file: &Path, env: &dyn Env) -> Result<Dirs, Faults> {
    let place = Place { overlooked: Overlooked::Variables, ..Place::of(file) };
    let mut loader = Loader::new(text, &place, env, &[], &["data_dir", "journal"])?;
    let data = loader.data_dir();
    let journal = loader.journal(Size(0), 0..0);
    let folder = |dir: &Path| if dir.as_os_str().is_empty() { data.join("journal") } else { loader.base_dir.join(dir) };
    let journal = journal.folder(Path::new("")).map(folder);
    loader.report.finish().map(|_| Dirs { data, journal })
}

/// The folders in which the daemon keeps what it must not lose; absolute paths.
#[derive(Debug)]
pub struct Dirs {
    /// `data_dir`.
    pub data: PathBuf,
    /// The journal's folder; an error where it is in none.
    pub journal: Result<PathBuf, JournalError>,
}

/// A config's text while it is read.
pub(super) struct Loader<'t> {
    pub text: &'t str,
    kinds: &'t [SinkKind],
    base_dir: PathBuf,
    data_dir: Option<&'t Path>,
    pub report: Report<'t>,
    pub root: DeTable<'t>,
    fixed: Vec<FixedKey>,
    /// Those of `sources` and `sinks` that could not be read as tables at all. A route that names one of their entries
    /// is then not at fault.
    pub unread: Vec<&'static str>,
    /// What bounds the sinks that send.
    pub bounds: Vec<SenderBounds>,
}

/// A table, and the bytes of its header.
pub(super) type Table<'t> = (Spanned<DeTable<'t>>, Range<usize>);

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
    pub fn new(
        text: &'t str,
        place: &Place<'t>,
        env: &dyn Env,
        kinds: &'t [SinkKind],
        wanted: &[&str],
    ) -> Result<Self, Faults> {
        let base_dir = folder_of(place.file);
        let is_fault = place.overlooked == Overlooked::Nothing;
        let mut report = Report::new(text, place.name);
        let problems = env.problems();
        let told = problems.len();
        problems.into_iter().for_each(|problem| report.elsewhere(problem, is_fault));
        let (mut root, errors) = DeTable::parse_recoverable(text);
        if place.overlooked < Overlooked::Syntax
            && !slips::syntax(text, &Lines::of(text), root.get_ref(), &errors, &mut report)
        {
            return report.finish().and_then(|_| Err(Faults::of_file(place.name, "is not TOML")));
        }
        let mut filler = Filler { env, dir: &base_dir, report: &mut report, fixed: vec![] };
        filler.env_file(root.get_mut(), is_fault);
        env.problems().into_iter().skip(told).for_each(|problem| filler.report.elsewhere(problem, is_fault));
        for other in TOP.iter().filter(|key| !wanted.contains(key)) {
            root.get_mut().remove(*other);
        }
        filler.fill(root.get_mut());
        let fixed = filler.fixed;
        let (root, data_dir) = (root.into_inner(), place.data_dir);
        Ok(Self { text, kinds, base_dir, data_dir, report, root, fixed, unread: vec![], bounds: vec![] })
    }

    /// `[admin]`.
    fn admin(&mut self, data_dir: &Path) -> AdminConfig {
        let read = self.take("admin").and_then(|table| self.read_on::<AdminKeys>("admin", table, AdminKeys::check));
        read.map(|(keys, _)| keys).unwrap_or_default().resolve(&self.base_dir, data_dir)
    }

    /// A table that needs nothing but itself; its defaults where it is not there, or cannot be read.
    fn plain<T: DeserializeOwned + Default>(&mut self, name: &str, check: impl Fn(&T) -> Vec<Fault>) -> T {
        let table = self.take(name);
        table.and_then(|table| self.read_on(name, table, check)).map(|(keys, _)| keys).unwrap_or_default()
    }

    fn load(mut self, place: &Place<'_>, env: &dyn Env) -> Result<Config, Faults> {
        self.unknown_tables();
        let data_dir = self.data_dir();
        let timezone = self.zone();
        let server = self.server();
        let tls = server.tls(env, &mut self.report);
        let log = self.plain("log", LogConfig::check);
        let tracing = self.plain("tracing", TracingConfig::check);
        let mut journal = self.journal(server.config.max_body, server.max_body_at.clone());
        let admin = self.admin(&data_dir);
        server.admin(&admin, &mut self.report);
        let SourcesRead { plans: sources, tables: source_tables, names: source_names } = self.sources();
        server.health(&source_tables, &mut self.report);
        let (mut sinks, sink_names) = self.sinks();
        let kinds: Vec<_> = source_tables.iter().map(|(name, own)| (name.as_str(), own.kind)).collect();
        let known: Vec<Known<'_>> = kinds.iter().map(|(name, kind)| (*name, kind.types())).collect();
        let around = Around { sources: &source_names, known: &known, sink_names: &sink_names, sinks: &sinks };
        let resends = self.resends(&around, &timezone);
        self.add_follower(&kinds, &resends, &sink_names, &mut sinks);
        let around = Around { sources: &source_names, known: &known, sink_names: &sink_names, sinks: &sinks };
        let (rules, routes) = self.routes(&around, &implicit(&kinds, &sinks));
        let tests = self.tests(&source_names, &sink_names);
        let delivery = self.plain("delivery", DeliveryConfig::check);
        let dead_letters = self.plain("dead_letters", DeadLetterKeys::check);
        if self.report.has_errors() {
            return self.report.finish().and_then(|_| Err(Faults::of_file(place.name, "is refused")));
        }
        let (warnings, masks) = self.report.finish()?;
        let Some(rules) = rules else { return Err(Faults::of_file(place.name, "its routes cannot be compiled")) };
        journal.dir = Some(journal.dir.map_or_else(|| data_dir.join("journal"), |dir| self.base_dir.join(dir)));
        Ok(Config {
            file: place.file.to_owned(),
            written: Written::new(self.text),
            fixed: self.fixed,
            base_dir: self.base_dir,
            data_dir,
            timezone,
            server: server.config,
            tls,
            log,
            tracing,
            journal,
            admin,
            delivery,
            dead_letters,
            sources,
            sinks,
            routes,
            rules: Arc::new(rules),
            resends: Arc::new(resends),
            tests,
            warnings,
            masks,
        })
    }

    /// Reports keys of the root that nobody knows.
    pub fn unknown_tables(&mut self) {
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
        self.data_dir.map_or_else(|| self.base_dir.join(dir), Path::to_owned)
    }

    fn zone(&mut self) -> Zone {
        let Some(value) = self.root.remove("timezone") else { return Zone::utc() };
        let fault = match value.get_ref().as_str().map(str::parse) {
            Some(Ok(zone)) => return zone,
            Some(Err(fault)) => fault,
            None => "`timezone` is not a name, expected one such as \"Asia/Kolkata\"".to_owned(),
        };
        let (message, help) = fault.split_once('\n').unwrap_or((&fault, ""));
        let help = (!help.is_empty()).then(|| help.to_owned());
        self.report.error("", value.span(), message, help);
        Zone::utc()
    }

    /// Takes a table out of the root. It is a fault if another type of value stands there.
    fn take(&mut self, name: &str) -> Option<Table<'t>> {
        let value = self.root.remove(name)?;
        self.table(name, value)
    }

    /// A value as a table.
    pub fn table(&mut self, name: &str, value: Spanned<DeValue<'t>>) -> Option<Table<'t>> {
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
    pub fn read_on<T: DeserializeOwned>(
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
            let span = kept.get("overflow_max").map_or(max_body_at.clone(), Spanned::span);
            self.report.error("", span, message, None);
        }
        if journal.kind == Kind::Kafka && max_body > limits::MAX_KAFKA_BODY {
            let most = limits::MAX_KAFKA_BODY;
            let message = format!("`max_body` of [server] is more than a journal on Kafka takes, at most {most}");
            self.report.error("", max_body_at, message, None);
        }
        journal
    }

    /// The entries of `[sources]`, `[sinks]` or `[resend]` in the order of the file: each one's name, the bytes of its
    /// header, and its table. A bad name is a fault. So is an entry that is no table; it has `None`.
    pub fn named(&mut self, name: &'static str) -> Vec<(String, Range<usize>, Option<Table<'t>>)> {
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
                let kept = table.get_ref().clone();
                let entry = sinks::read(&name, table, header.clone(), self.kinds, &mut self.report);
                if let Some(entry) = entry.as_ref().filter(|entry| entry.kind.sends) {
                    self.sending_sink(entry, &kept, &header);
                }
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
}
