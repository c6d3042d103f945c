//! One row a message: rows of the same `message_id` become one, and it is the same row whatever order they come in, and
//! however often each. Every column keeps the smallest or the largest of what it is told, never the first or the last.
//! Pure; [`crate::ladder_sql`] says the same in SQL.
//!
//! - `status` climbs: Received < Sent < Failed < Delivered < Read. A message that failed may be delivered after all,
//!   and one that was read is never delivered again.
//! - `sent_at`, `delivered_at`, `read_at` and `failed_at` keep the earliest time, `clicked_at` (with its `last_button`)
//!   and `updated_at` the latest; `resends` keeps the largest number.
//! - Texts, and columns of the user's own, keep the larger text, byte by byte. What all events of a message say alike
//!   needs no better rule. "The one that came last" would depend on the order; "the one of the latest event" would need
//!   a time beside every column, because an event that says nothing of a column must not hide an earlier one that does.
//! - `error_code` and `failure_reason` are one value: a code never stands beside the reason of another failure.
//! - Null, and a key that is not there, say nothing.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::rows::{self, EVENT_ID, Insert, Members, Unknown, Value};

/// The column that there is one row for each value of.
pub const MESSAGE_ID: &str = "message_id";

/// What a column holds, and so which of two values stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// A word of [`STATUSES`]; the later one in that list stands.
    Status,
    /// A time; the earliest stands.
    Earliest,
    /// A time; the latest stands.
    Latest,
    /// A whole number from 0; the largest stands.
    Count,
    /// A text; the larger one stands.
    Text,
}

/// The columns that the transform `interakt.message` fills, in its order, without [`MESSAGE_ID`].
pub const COLUMNS: &[(&str, Holds)] = &[
    ("customer_phone", Holds::Text),
    ("customer_id", Holds::Text),
    ("customer_name", Holds::Text),
    ("status", Holds::Status),
    ("failure_reason", Holds::Text),
    ("error_code", Holds::Text),
    ("sent_at", Holds::Earliest),
    ("delivered_at", Holds::Earliest),
    ("read_at", Holds::Earliest),
    ("failed_at", Holds::Earliest),
    ("clicked_at", Holds::Latest),
    ("last_button", Holds::Text),
    ("campaign_id", Holds::Text),
    ("callback_data", Holds::Text),
    ("template", Holds::Text),
    ("resends", Holds::Count),
    ("updated_at", Holds::Latest),
];

/// The rungs, from the lowest.
pub const STATUSES: [&str; 5] = ["Received", "Sent", "Failed", "Delivered", "Read"];

/// Columns that stand or fall together: the first decides, and where it is equal the next.
const TOGETHER: [&[&str]; 2] = [&["error_code", "failure_reason"], &["clicked_at", "last_button"]];

static NULL: Value = Value::Null;

/// A row, as far as it says something: column → value.
pub type Row<'r> = BTreeMap<&'r str, &'r Value>;

/// What a column of that name holds; a column of the user's own, a text.
pub fn holds(column: &str) -> Holds {
    COLUMNS.iter().find(|(name, _)| *name == column).map_or(Holds::Text, |(_, holds)| *holds)
}

/// The columns that stand or fall together with this one, itself among them.
pub(crate) fn together<'c>(column: &'c &'c str) -> &'c [&'c str] {
    TOGETHER.iter().find(|all| all.contains(column)).map_or(std::slice::from_ref(column), |all| *all)
}

/// Reads a payload, and writes its values as they can be compared: times in UTC with six fraction digits, statuses in
/// the provider's case, numbers in texts' places as their digits.
///
/// # Errors
/// Says what is wrong without showing any of it.
pub fn read(payload: &[u8]) -> Result<Members, Cow<'static, str>> {
    let mut members = rows::read(payload)?;
    if !matches!(members.get(MESSAGE_ID), Some(Value::Text(id)) if !id.is_empty()) {
        return Err(
            "message_id is missing, or no text: on_conflict = \"ladder\" keeps one row a message (the transform \
                    interakt.message fills it)"
                .into(),
        );
    }
    for (name, value) in &mut members {
        if let Value::Text(text) = value
            && text.contains('\0')
        {
            *text = text.replace('\0', "\u{FFFD}");
        }
        if let Some((_, holds)) = COLUMNS.iter().find(|(column, _)| column == name) {
            *value = settled(*holds, value).ok_or_else(|| format!("{name} is not {}", expected(*holds)))?;
        }
    }
    Ok(members)
}

/// The value as it can be compared; `None` where it is not what the column holds.
fn settled(holds: Holds, value: &Value) -> Option<Value> {
    Some(match (holds, value) {
        (_, Value::Null) => Value::Null,
        (Holds::Status, Value::Text(word)) => {
            Value::Text((*STATUSES.iter().find(|status| status.eq_ignore_ascii_case(word))?).to_owned())
        }
        (Holds::Earliest | Holds::Latest, Value::Text(text)) => Value::Text(format!("{:.6}", time(text)?)),
        (Holds::Count, Value::Integer(n)) if *n >= 0 => Value::Integer(*n),
        (Holds::Text, Value::Text(_)) => value.clone(),
        (Holds::Text, Value::Integer(n)) => Value::Text(n.to_string()),
        (Holds::Text, Value::Number(digits)) => Value::Text(digits.clone()),
        _ => return None,
    })
}

fn expected(holds: Holds) -> &'static str {
    match holds {
        Holds::Status => "one of Received, Sent, Failed, Delivered, Read",
        Holds::Earliest | Holds::Latest => "a time (RFC 3339)",
        Holds::Count => "a whole number from 0",
        Holds::Text => "a text",
    }
}

/// A time with its zone, or without one in UTC.
fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| TimeZone::UTC.to_timestamp(text.parse::<DateTime>().ok()?).ok())
}

/// Makes one row of two.
pub fn merge<'r>(kept: &mut Row<'r>, other: &Row<'r>) {
    for name in other.keys() {
        let all = together(name);
        // Once for columns that go together, at the first of them that the other row has.
        if all.iter().find(|one| other.contains_key(**one)) != Some(name) {
            continue;
        }
        let stands = stands(all, kept, other);
        for one in all {
            // What the row that stands does not say is no leftover of the other one's.
            match (other.get_key_value(*one), stands) {
                (Some((&name, &value)), Ordering::Less) => {
                    kept.insert(name, value);
                }
                (Some((&name, _)), _) => {
                    kept.entry(name).or_insert(&NULL);
                }
                (None, Ordering::Less) => {
                    if let Some(value) = kept.get_mut(*one) {
                        *value = &NULL;
                    }
                }
                (None, _) => {}
            }
        }
    }
}

/// Whether the first row's values of these columns stand (`Greater`) or the other's (`Less`).
fn stands(columns: &[&str], kept: &Row<'_>, other: &Row<'_>) -> Ordering {
    let one = |name: &&str| compare(holds(name), said(kept, name), said(other, name));
    columns.iter().map(one).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

fn said<'r>(row: &Row<'r>, column: &str) -> &'r Value {
    row.get(column).copied().unwrap_or(&NULL)
}

/// Which of two values of a column stands: `Greater`, the first.
fn compare(holds: Holds, one: &Value, other: &Value) -> Ordering {
    match (one, other) {
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) => Ordering::Less,
        (_, Value::Null) => Ordering::Greater,
        _ => match holds {
            Holds::Status => rank(one).cmp(&rank(other)),
            Holds::Earliest => as_text(other).cmp(&as_text(one)),
            Holds::Latest | Holds::Text => as_text(one).cmp(&as_text(other)),
            Holds::Count => count(one).cmp(&count(other)),
        },
    }
}

fn rank(value: &Value) -> Option<usize> {
    STATUSES.iter().position(|status| matches!(value, Value::Text(word) if word == status))
}

fn count(value: &Value) -> i64 {
    if let Value::Integer(n) = value { *n } else { 0 }
}

/// As a database writes it out; where two kinds of value are written alike, their kinds tell them apart.
fn as_text(value: &Value) -> (Cow<'_, str>, u8) {
    match value {
        Value::Null => ("".into(), 0),
        Value::Bool(is) => (if *is { "true" } else { "false" }.into(), 1),
        Value::Integer(n) => (n.to_string().into(), 2),
        Value::Number(digits) => (digits.as_str().into(), 3),
        Value::Text(text) => (text.as_str().into(), 4),
        Value::Json(json) => (json.as_str().into(), 5),
    }
}

/// What fills a table with these columns (without `message_id`): one row a message, in the order of their ids, so that
/// two batches that write some of the same rows never wait for each other in a circle.
///
/// Names that the table has no column for go to `unknown`.
pub(crate) fn inserts<'r>(
    rows: impl IntoIterator<Item = &'r Members>,
    columns: &HashMap<String, usize>,
    unknown: &mut Unknown,
) -> Vec<Insert<'r>> {
    let mut merged: BTreeMap<&'r str, Row<'r>> = BTreeMap::new();
    for members in rows {
        let Some(Value::Text(id)) = members.get(MESSAGE_ID) else { continue };
        let row = filled(members, columns, unknown);
        merged.entry(id).and_modify(|kept| merge(kept, &row)).or_insert(row);
    }
    unknown.log_new();
    let mut inserts: Vec<Insert<'r>> = Vec::new();
    for (id, row) in merged {
        let set: Vec<usize> = row.keys().filter_map(|name| columns.get(*name).copied()).collect();
        let values = row.into_values().collect();
        match inserts.last_mut() {
            Some(last) if last.columns == set => last.rows.push((id, values)),
            _ => inserts.push(Insert { columns: set, rows: vec![(id, values)] }),
        }
    }
    inserts
}

/// What of a payload the table has columns for. Of columns that go together, those that the payload does not fill are
/// null: they are no leftovers of another value.
fn filled<'r>(members: &'r Members, columns: &HashMap<String, usize>, unknown: &mut Unknown) -> Row<'r> {
    let mut row = Row::new();
    for (name, value) in members {
        match name.as_str() {
            MESSAGE_ID => {}
            name if columns.contains_key(name) => {
                row.insert(name, value);
            }
            EVENT_ID => {}
            name => unknown.note(name),
        }
    }
    for all in TOGETHER {
        if all.iter().any(|name| row.contains_key(name)) {
            for name in all.iter().filter(|name| columns.contains_key(**name)) {
                row.entry(name).or_insert(&NULL);
            }
        }
    }
    row
}

#[cfg(test)]
#[path = "ladder_tests.rs"]
mod tests;
