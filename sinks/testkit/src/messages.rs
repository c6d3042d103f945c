//! Rows for a table of one row a message: random ones, in random order, each as often as it comes, and what they must
//! come to by [`sink_api::ladder`].

use std::collections::BTreeMap;

use sink_api::ladder::{self, COLUMNS, Holds, MESSAGE_ID, Row, STATUSES};
use sink_api::rows::Value;

/// A table's rows as texts: message → column → value.
pub type Table = BTreeMap<String, BTreeMap<String, Option<String>>>;

/// Texts whose order differs by locale, letter case or normal form.
const TEXTS: [&str; 7] = ["a", "B", "b", "é", "e\u{301}", "10", "9"];

/// Numbers that look random and are the same for the same seed (splitmix64).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let most = u64::try_from(sides.max(1)).unwrap_or(u64::MAX);
        usize::try_from((z ^ (z >> 31)) % most).unwrap_or_default()
    }

    fn one_of(&mut self, words: &[&'static str]) -> &'static str {
        words.get(self.roll(words.len())).copied().unwrap_or_default()
    }
}

/// So many payloads about a few messages. Some keys are null, some are not there, and some rows have two columns alone.
pub fn payloads(dice: &mut Dice, count: usize) -> Vec<String> {
    (0..count).map(|_| payload(dice)).collect()
}

fn payload(dice: &mut Dice) -> String {
    let mut members = vec![format!("\"{MESSAGE_ID}\":\"m-{}\"", dice.roll(4))];
    let short = dice.roll(5) == 0;
    for (name, holds) in COLUMNS {
        if short && !["resends", "updated_at"].contains(name) {
            continue;
        }
        let value = match (dice.roll(4), holds) {
            // A key that is null overrules a default, so that one is left out.
            (0, _) | (1, Holds::Count) => continue,
            (1, _) => "null".to_owned(),
            (_, Holds::Status) => quoted(dice.one_of(&STATUSES)),
            (_, Holds::Count) => dice.roll(12).to_string(),
            (_, Holds::Text) => quoted(dice.one_of(&TEXTS)),
            (_, Holds::Earliest | Holds::Latest) => quoted(&time(dice)),
        };
        members.push(format!("\"{name}\":{value}"));
    }
    format!("{{{}}}", members.join(","))
}

/// One of a few times, in one of three ways to write it.
fn time(dice: &mut Dice) -> String {
    let second = dice.roll(6);
    match dice.roll(3) {
        0 => format!("2026-01-13T10:30:0{second}Z"),
        1 => format!("2026-01-13T16:00:0{second}.000+05:30"),
        _ => format!("2026-01-13T10:30:0{second}.000001"),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

/// Each payload once or more often, in another order, in batches of different sizes.
pub fn batches(dice: &mut Dice, payloads: &[String]) -> Vec<Vec<String>> {
    let mut all: Vec<String> = Vec::new();
    for payload in payloads {
        let times = 1 + dice.roll(2);
        all.extend(std::iter::repeat_n(payload.clone(), times));
    }
    for last in (1..all.len()).rev() {
        all.swap(last, dice.roll(last + 1));
    }
    let mut batches = Vec::new();
    while !all.is_empty() {
        let size = (1 + dice.roll(8)).min(all.len());
        batches.push(all.drain(..size).collect());
    }
    batches
}

/// What payloads come to, whatever their order. `resends` has the built-in table's default where nothing is said.
pub fn expected(payloads: &[String]) -> Table {
    let rows: Vec<_> = payloads.iter().map(|payload| ladder::read(payload.as_bytes()).unwrap_or_default()).collect();
    let mut merged: BTreeMap<String, Row<'_>> = BTreeMap::new();
    for row in &rows {
        let Some(Value::Text(id)) = row.get(MESSAGE_ID) else { continue };
        let row = row.iter().map(|(name, value)| (name.as_str(), value)).collect();
        ladder::merge(merged.entry(id.clone()).or_default(), &row);
    }
    let text = |row: &Row<'_>, name: &str| match row.get(name) {
        Some(Value::Text(text)) => Some(text.clone()),
        Some(Value::Integer(n)) => Some(n.to_string()),
        _ => (name == "resends").then(|| "0".to_owned()),
    };
    let shown = |row: &Row<'_>| COLUMNS.iter().map(|(name, _)| ((*name).to_owned(), text(row, name))).collect();
    merged.into_iter().map(|(id, row)| (id, shown(&row))).collect()
}

/// Rows that a query of `message_id` and [`COLUMNS`] gave, as a table.
pub fn table(rows: impl IntoIterator<Item = Vec<Option<String>>>) -> Table {
    let row = |cells: Vec<Option<String>>| {
        let mut cells = cells.into_iter();
        let id = cells.next().flatten().unwrap_or_default();
        (id, COLUMNS.iter().map(|(name, _)| (*name).to_owned()).zip(cells).collect())
    };
    rows.into_iter().map(row).collect()
}
