//! Payload → columns: what any sink that fills a table does alike. Knows JSON and names, no database and no SQL.
//!
//! A payload is one JSON object; its members become columns of exactly the same name. Digits are never lost: a number
//! keeps its text until a database's own code decides how to bind it.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::delivery::Batch;
use crate::json::{self, Text};

/// The column that is always the delivery's id.
pub const EVENT_ID: &str = "event_id";

/// Most unknown keys that are named in the log, for a sink's life.
const MAX_NAMED_UNKNOWN: usize = 256;
/// Most of them in one line, and so for one batch; the others are named with the batches after it.
const MAX_NAMED_AT_ONCE: usize = 16;

/// Longest part of an unknown key that is logged and remembered, in bytes.
const MAX_UNKNOWN_LEN: usize = 64;

/// What a member holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number of 64 bits.
    Integer(i64),
    /// Any other number, digits as they came.
    Number(String),
    /// A string, decoded. Lone surrogates read as U+FFFD; NUL characters are kept.
    Text(String),
    /// An object or array, as compact JSON.
    Json(String),
}

/// A payload's members, by name; of a name that is there twice, the last.
pub type Members = BTreeMap<String, Value>;

/// Why a payload cannot be a row.
pub(crate) type Why = Cow<'static, str>;

/// Reads a payload.
///
/// # Errors
/// Says what is wrong without showing any of it.
pub fn read(payload: &[u8]) -> Result<Members, &'static str> {
    const NOT_JSON: &str = "the payload is not JSON";
    let text = std::str::from_utf8(payload).map_err(|_| NOT_JSON)?;
    match serde_json::from_str::<Object<'_>>(text) {
        Ok(Object(members)) => Ok(members.into_iter().map(|(name, raw)| (name, value(raw.get()))).collect()),
        Err(error) if error.is_data() => Err("the payload is not a JSON object"),
        Err(_) => Err(NOT_JSON),
    }
}

/// Deliveries that can be rows, and those that cannot, with why. Where order is owed, a delivery that comes after a bad
/// one of its key is in neither.
pub(crate) fn sort_out(batch: &Batch, read: &[Result<Members, Why>]) -> (Vec<usize>, Vec<(usize, Why)>) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    let mut stopped = HashSet::new();
    for (i, (delivery, members)) in batch.deliveries.iter().zip(read).enumerate() {
        if batch.ordered && stopped.contains(&*delivery.key) {
            continue;
        }
        match members {
            Ok(_) => good.push(i),
            Err(why) => {
                stopped.insert(&*delivery.key);
                bad.push((i, why.clone()));
            }
        }
    }
    (good, bad)
}

/// The decimal as a float, where the float says the same number; whole numbers (no point, no exponent) never are one.
pub fn exact_f64(digits: &str) -> Option<f64> {
    if !digits.contains(['.', 'e', 'E']) {
        return None;
    }
    let float: f64 = digits.parse().ok().filter(|f: &f64| f.is_finite())?;
    (scientific(digits)? == scientific(&format!("{float:e}"))?).then_some(float)
}

/// Sign, significant digits and exponent, so that two ways to write one decimal are equal.
fn scientific(text: &str) -> Option<(bool, String, i64)> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i64 = exponent.parse().ok()?;
    let unsigned = mantissa.strip_prefix('-');
    let (whole, fraction) = unsigned.unwrap_or(mantissa).split_once('.').unwrap_or((unsigned.unwrap_or(mantissa), ""));
    let all = format!("{whole}{fraction}");
    let significant = all.trim_start_matches('0');
    let point = i64::try_from(whole.len()).ok()? - i64::try_from(all.len() - significant.len()).ok()?;
    let digits = significant.trim_end_matches('0').to_owned();
    let exponent = if digits.is_empty() { 0 } else { exponent.checked_add(point)? };
    Some((unsigned.is_some(), digits, exponent))
}

/// Reads one JSON value, which must be valid.
pub fn value(raw: &str) -> Value {
    match raw.as_bytes().first() {
        Some(b'n') => Value::Null,
        Some(b't') => Value::Bool(true),
        Some(b'f') => Value::Bool(false),
        // The text was checked when the object was read: it is a string, and decodes.
        Some(b'"') => Value::Text(serde_json::from_str(raw).map(|Text(text)| text).unwrap_or_default()),
        Some(b'{' | b'[') => {
            let mut compact = Vec::with_capacity(raw.len());
            json::strip_whitespace(raw.as_bytes(), &mut compact);
            Value::Json(String::from_utf8_lossy(&compact).into_owned())
        }
        _ => raw.parse().map_or_else(|_| Value::Number(raw.to_owned()), Value::Integer),
    }
}

/// A JSON object, its values unread. A list of pairs, because a map would have to choose among names that repeat.
struct Object<'p>(Vec<(String, &'p RawValue)>);

impl<'p> Deserialize<'p> for Object<'p> {
    fn deserialize<D: Deserializer<'p>>(from: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'p> Visitor<'p> for Pairs {
            type Value = Object<'p>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'p>>(self, mut map: A) -> Result<Object<'p>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(Text(name)) = map.next_key()? {
                    pairs.push((name, map.next_value()?));
                }
                Ok(Object(pairs))
            }
        }
        from.deserialize_map(Pairs)
    }
}

/// A delivery that is to become a row.
#[derive(Clone, Copy, Debug)]
pub struct Row<'r> {
    /// The delivery's id, for `event_id`.
    pub id: &'r str,
    /// Its ordering key.
    pub key: &'r str,
    /// Its payload.
    pub members: &'r Members,
}

/// Rows that one INSERT can hold, because they fill the same columns.
#[derive(Debug, PartialEq, Eq)]
pub struct Insert<'r> {
    /// Positions of the columns in the table, in the order of their names. The key (`event_id`, or `message_id` of one
    /// row a message), which comes first, is not among them.
    pub columns: Vec<usize>,
    /// The key, and a value per column.
    pub rows: Vec<(&'r str, Vec<&'r Value>)>,
}

/// Groups rows by the columns they fill, so that carrying the INSERTs out in order is as good as one row after another:
/// no id stands twice between two repeats of a key set, and (`ordered`) no row comes before an earlier one of its key.
///
/// `columns` holds the position of each column by name, without `event_id`. Names that are not in it go to `unknown`.
pub fn inserts<'r>(
    rows: impl IntoIterator<Item = Row<'r>>,
    columns: &HashMap<String, usize>,
    ordered: bool,
    unknown: &mut Unknown,
) -> Vec<Insert<'r>> {
    let mut inserts: Vec<Insert<'r>> = Vec::new();
    // Of the current run of INSERTs: where each key set is, the ids in it, and the last INSERT each key is in.
    let mut sets: HashMap<Vec<usize>, usize> = HashMap::new();
    let mut ids: HashSet<&str> = HashSet::new();
    let mut keys: HashMap<&str, usize> = HashMap::new();
    for row in rows {
        let (set, values) = fill(row.members, columns, unknown);
        let home = sets.get(&set).copied();
        let overtakes = ordered && home.is_some_and(|at| keys.get(row.key).is_some_and(|last| at < *last));
        if overtakes || ids.contains(row.id) {
            sets.clear();
            ids.clear();
            keys.clear();
        }
        let at = *sets.entry(set).or_insert_with_key(|set| {
            inserts.push(Insert { columns: set.clone(), rows: Vec::new() });
            inserts.len() - 1
        });
        ids.insert(row.id);
        keys.insert(row.key, at);
        if let Some(insert) = inserts.get_mut(at) {
            insert.rows.push((row.id, values));
        }
    }
    unknown.log_new();
    inserts
}

fn fill<'r>(
    members: &'r Members,
    columns: &HashMap<String, usize>,
    unknown: &mut Unknown,
) -> (Vec<usize>, Vec<&'r Value>) {
    // In the order of the names, so that the same keys always make the same set.
    let (mut set, mut values) = (Vec::with_capacity(members.len()), Vec::with_capacity(members.len()));
    for (name, value) in members {
        match columns.get(name) {
            Some(at) => {
                set.push(*at);
                values.push(value);
            }
            None if name == EVENT_ID => {}
            None => unknown.note(name),
        }
    }
    (set, values)
}

/// Keys of payloads that the table has no column for: named in the log once each, in one line for a batch.
#[derive(Debug)]
pub struct Unknown {
    sink: String,
    table: String,
    named: HashSet<String>,
    /// Yet to be named.
    new: Vec<String>,
    /// Whether the log says already that no more are named.
    ended: bool,
}

impl Unknown {
    /// None seen yet. The names of the sink and its table stand in the warnings.
    pub fn new(sink: &str, table: &str) -> Self {
        Self { sink: sink.to_owned(), table: table.to_owned(), named: HashSet::new(), new: Vec::new(), ended: false }
    }

    pub(crate) fn note(&mut self, key: &str) {
        let key = key.get(..key.floor_char_boundary(MAX_UNKNOWN_LEN)).unwrap_or_default();
        if self.ended || self.new.len() >= MAX_NAMED_AT_ONCE || self.named.contains(key) {
            return;
        }
        if self.named.len() >= MAX_NAMED_UNKNOWN {
            self.ended = true;
            let (sink, table) = (&self.sink, &self.table);
            tracing::warn!(sink, table, "further keys the table has no column for are not named");
            return;
        }
        self.named.insert(key.to_owned());
        self.new.push(key.to_owned());
    }

    /// Names those that are new.
    pub(crate) fn log_new(&mut self) {
        let keys = std::mem::take(&mut self.new);
        if !keys.is_empty() {
            let (sink, table) = (&self.sink, &self.table);
            tracing::warn!(sink, table, ?keys, "the table has no such columns: keys ignored");
        }
    }
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
