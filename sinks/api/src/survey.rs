//! Every fault of a table, where serde stops at the first one. After each fault the key or value at fault is removed,
//! or a missing one is given a stand-in, and the table is read again. The number of readings is bounded by the table's
//! size. The survey works on a copy of the table in which every key and value has a number instead of its position in
//! the file, so that an error of serde's says for certain which of them it is about.

use std::collections::{BTreeSet, HashSet};
use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use crate::fault::{Fault, nearest};

/// Most faults that are reported of one table.
const MAX_FAULTS: usize = 100;
/// Most readings of one table: each finds a fault, or tries a stand-in.
const MAX_READINGS: usize = 10 * MAX_FAULTS;
/// Fewest readings of one table, however large.
const MIN_READINGS: usize = 4;
/// Most keys and values read in all, as far as [`MIN_READINGS`] allows.
const MAX_WORK: usize = 2_000_000;
/// The table itself.
const ROOT: usize = 0;
/// What is tried in the place of a missing value, after an empty string; where serde's error gives an example, that
/// comes instead of the first of these. Where a type takes none of them, the missing keys that its struct declares
/// behind that field are reported only once the field is there.
const STAND_INS: &[&str] = &["'1s'", "1", "true", "0.5", "[]", "{}", "'::1'"];

/// All faults of a table that cannot be read as `T`, as far as [`MAX_FAULTS`].
pub(crate) fn every_fault<T: DeserializeOwned>(table: &Spanned<DeTable<'_>>) -> Vec<Fault> {
    let mut survey = Survey::new(table);
    let most = readings(survey.nodes.len());
    for _ in 0..most {
        let read = T::deserialize(toml::de::Deserializer::from(survey.table.clone()));
        let Err(error) = read else { return survey.into_faults() };
        if survey.is_full() || !survey.go_on_after(&error) {
            return survey.into_faults();
        }
    }
    // A small table is read that often only where no stand-in helps: all its other faults have been found by then.
    survey.is_cut = most < MAX_READINGS;
    survey.into_faults()
}

/// How often a table of so many keys and values is read.
fn readings(nodes: usize) -> usize {
    (MAX_WORK / nodes.max(1)).clamp(MIN_READINGS, MAX_READINGS)
}

/// A key or a value.
struct Node {
    /// Its position in the file.
    at: Range<usize>,
    /// The table or array it stands in.
    parent: usize,
    /// For a stand-in: how many of [`STAND_INS`] have been tried.
    stand_in: Option<usize>,
}

struct Survey<'i> {
    /// What is left to be read. Its spans are positions in `nodes`.
    table: Spanned<DeTable<'i>>,
    nodes: Vec<Node>,
    /// Keys that were removed, with the table they were in: they are not missing, whatever serde says.
    removed: BTreeSet<(usize, String)>,
    /// Tables that the survey has changed: a fault of such a table as a whole may be of the survey's making.
    changed: HashSet<usize>,
    faults: Vec<Fault>,
    /// Whether there may be more faults.
    is_cut: bool,
}

impl<'i> Survey<'i> {
    fn new(table: &Spanned<DeTable<'i>>) -> Self {
        let nodes = vec![Node { at: table.span(), parent: ROOT, stand_in: None }];
        let nothing = Spanned::new(number(ROOT), DeTable::new());
        let mut survey = Self {
            table: nothing,
            nodes,
            removed: BTreeSet::new(),
            changed: HashSet::new(),
            faults: Vec::new(),
            is_cut: false,
        };
        *survey.table.get_mut() = survey.numbered(table.get_ref().clone(), ROOT);
        survey
    }

    fn add(&mut self, at: Range<usize>, parent: usize, stand_in: Option<usize>) -> usize {
        self.nodes.push(Node { at, parent, stand_in });
        self.nodes.len() - 1
    }

    fn numbered(&mut self, table: DeTable<'i>, own: usize) -> DeTable<'i> {
        let mut out = DeTable::new();
        for (key, value) in table {
            let key_number = self.add(key.span(), own, None);
            out.insert(Spanned::new(number(key_number), key.into_inner()), self.numbered_value(value, own));
        }
        out
    }

    fn numbered_value(&mut self, value: Spanned<DeValue<'i>>, parent: usize) -> Spanned<DeValue<'i>> {
        let own = self.add(value.span(), parent, None);
        let inner = match value.into_inner() {
            DeValue::Table(table) => DeValue::Table(self.numbered(table, own)),
            DeValue::Array(mut all) => {
                for one in all.iter_mut() {
                    let taken = std::mem::replace(one, Spanned::new(0..0, DeValue::Boolean(false)));
                    *one = self.numbered_value(taken, own);
                }
                DeValue::Array(all)
            }
            plain => plain,
        };
        Spanned::new(number(own), inner)
    }

    /// Notes the fault, and changes the table so that the next reading gets past it; false where that is impossible.
    fn go_on_after(&mut self, error: &toml::de::Error) -> bool {
        let own = error.span().map_or(ROOT, |span| span.start);
        let message = error.message();
        if let Some(key) = missing_field(message)
            && self.stand_in(own, key)
        {
            // A stand-in lacks nothing, and a key that was removed has been reported already.
            let is_written = self.nodes.get(own).is_some_and(|node| node.stand_in.is_none());
            if is_written && !self.removed.contains(&(own, key.to_owned())) {
                self.note(own, message);
            }
            return true;
        }
        match self.nodes.get(own) {
            Some(Node { stand_in: Some(_), parent, .. }) => {
                let parent = *parent;
                self.next_stand_in(own, message) || self.remove(parent)
            }
            Some(_) => {
                if self.remove_unknown_keys(own, message) {
                    return true;
                }
                if !self.changed.contains(&own) {
                    self.note(own, message);
                }
                self.remove(own)
            }
            None => false,
        }
    }

    /// Notes all unknown keys of a table at once, as serde has named the known ones with the first of them; false where
    /// the fault is another one.
    fn remove_unknown_keys(&mut self, first: usize, message: &str) -> bool {
        let Some((_, rest)) = message.strip_prefix("unknown field `").and_then(|text| text.split_once('`')) else {
            return false;
        };
        let Some(parent) = self.nodes.get(first).map(|node| node.parent) else { return false };
        let Some(table) = find_table(self.table.get_mut(), ROOT, parent) else { return false };
        let known: HashSet<&str> = quoted(rest).collect();
        let mut strangers: Vec<(usize, String)> = Vec::new();
        for key in table.keys().filter(|key| !known.contains(key.get_ref().as_ref())) {
            strangers.push((key.span().start, key.get_ref().to_string()));
        }
        if !strangers.iter().any(|(own, _)| *own == first) {
            return false;
        }
        for (_, key) in &strangers {
            table.remove(key.as_str());
        }
        strangers.sort_by_key(|(own, _)| self.nodes.get(*own).map_or(0, |node| node.at.start));
        for (own, key) in strangers {
            if !self.is_full() {
                self.note(own, &format!("unknown field `{key}`{rest}"));
            }
            self.removed.insert((parent, key));
        }
        self.changed.insert(parent);
        true
    }

    fn is_full(&mut self) -> bool {
        self.is_cut |= self.faults.len() >= MAX_FAULTS;
        self.is_cut
    }

    fn into_faults(mut self) -> Vec<Fault> {
        if self.is_cut {
            self.note(ROOT, "there are more faults in this table; mend these first");
        }
        self.faults
    }

    fn note(&mut self, own: usize, message: &str) {
        let at = self.nodes.get(own).map_or(0..0, |node| node.at.clone());
        let (message, help) = reword(message);
        self.faults.push(Fault { help, ..Fault::at_span(at, message) });
    }

    /// Puts a stand-in where a key is missing; false where there is no such table, or the key is there.
    fn stand_in(&mut self, table: usize, key: &str) -> bool {
        let Some(at) = self.nodes.get(table).map(|node| node.at.clone()) else { return false };
        let own = self.add(at, table, Some(0));
        match find_table(self.table.get_mut(), ROOT, table) {
            Some(found) if !found.contains_key(key) => {
                let value = Spanned::new(number(own), DeValue::String("".into()));
                found.insert(Spanned::new(number(own), key.to_owned().into()), value);
                true
            }
            _ => false,
        }
    }

    /// Tries another stand-in; false where none is left.
    fn next_stand_in(&mut self, own: usize, message: &str) -> bool {
        let Some(Node { stand_in: Some(tried), .. }) = self.nodes.get_mut(own) else { return false };
        let example = example(message).filter(|_| *tried == 0).map(|text| DeValue::String(text.to_owned().into()));
        let plain = || Some(DeValue::parse(STAND_INS.get(*tried)?).ok()?.into_inner());
        let value = example.or_else(plain);
        *tried += 1;
        match (value, find_value(self.table.get_mut(), own)) {
            (Some(value), Some(slot)) => {
                *slot.get_mut() = value;
                true
            }
            _ => false,
        }
    }

    /// Removes a key or value; false where it is the table itself.
    fn remove(&mut self, own: usize) -> bool {
        let Some(parent) = self.nodes.get(own).map(|node| node.parent) else { return false };
        if own == ROOT || !remove(self.table.get_mut(), ROOT, own, &mut self.removed) {
            return false;
        }
        self.changed.insert(parent);
        true
    }
}

fn number(own: usize) -> Range<usize> {
    own..own + 1
}

/// The table of that number below (or at) this one.
fn find_table<'t, 'i>(table: &'t mut DeTable<'i>, own: usize, wanted: usize) -> Option<&'t mut DeTable<'i>> {
    if own == wanted {
        return Some(table);
    }
    match find_value(table, wanted)?.get_mut() {
        DeValue::Table(table) => Some(table),
        _ => None,
    }
}

/// The value of that number below this table.
fn find_value<'t, 'i>(table: &'t mut DeTable<'i>, wanted: usize) -> Option<&'t mut Spanned<DeValue<'i>>> {
    table.iter_mut().find_map(|(_, value)| find_in(value, wanted))
}

fn find_in<'t, 'i>(value: &'t mut Spanned<DeValue<'i>>, wanted: usize) -> Option<&'t mut Spanned<DeValue<'i>>> {
    if value.span().start == wanted {
        return Some(value);
    }
    match value.get_mut() {
        DeValue::Table(table) => find_value(table, wanted),
        DeValue::Array(all) => all.iter_mut().find_map(|one| find_in(one, wanted)),
        _ => None,
    }
}

/// Takes the key or value of that number out, wherever it is below this table.
fn remove(table: &mut DeTable<'_>, own: usize, wanted: usize, removed: &mut BTreeSet<(usize, String)>) -> bool {
    let is_it = |span: Range<usize>| span.start == wanted;
    let key = table.iter().find(|(key, value)| is_it(key.span()) || is_it(value.span()));
    if let Some(key) = key.map(|(key, _)| key.get_ref().to_string()) {
        table.remove(key.as_str());
        removed.insert((own, key));
        return true;
    }
    table.iter_mut().any(|(_, value)| remove_in(value, wanted, removed))
}

fn remove_in(value: &mut Spanned<DeValue<'_>>, wanted: usize, removed: &mut BTreeSet<(usize, String)>) -> bool {
    let own = value.span().start;
    match value.get_mut() {
        DeValue::Table(table) => remove(table, own, wanted, removed),
        DeValue::Array(all) => {
            let before = all.len();
            let kept = std::mem::replace(all, DeArray::new()).into_iter().filter(|one| one.span().start != wanted);
            kept.for_each(|one| all.push(one));
            all.len() < before || all.iter_mut().any(|one| remove_in(one, wanted, removed))
        }
        _ => false,
    }
}

fn missing_field(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.strip_suffix('`')
}

/// What a fault says would do: the first name or text it gives behind `expected`.
fn example(message: &str) -> Option<&str> {
    let (_, expected) = message.rsplit_once("expected ")?;
    let quote = expected.find(['`', '"'])?;
    let (quote, rest) = expected.get(quote..)?.split_at_checked(1)?;
    rest.split_once(quote).map(|(text, _)| text)
}

/// The words between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// serde's wording with the nearest of the expected names as the way out.
fn reword(message: &str) -> (String, Option<String>) {
    let help = ["unknown field `", "unknown variant `"].iter().find_map(|prefix| {
        let (typo, rest) = message.strip_prefix(prefix)?.split_once('`')?;
        nearest(typo, quoted(rest)).map(|name| format!("did you mean `{name}`?"))
    });
    // Messages of our own bring the way out along.
    if let Some((message, help)) = message.split_once('\n') {
        return (message.to_owned(), Some(help.to_owned()));
    }
    let message = match missing_field(message) {
        Some(name) => format!("missing key `{name}`"),
        None => message.replacen("unknown field", "unknown key", 1).replacen("unknown variant", "unknown value", 1),
    };
    (message, help)
}

#[cfg(test)]
#[path = "survey_tests.rs"]
mod tests;
