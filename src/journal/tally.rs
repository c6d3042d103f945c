//! What stood in a segment that was deleted although sinks were owed it: for every record its source and type, in
//! order, so that it can be counted from any cursor on. About four bytes a record at most. Pure.
//!
//! ```text
//! names  count u32, each: source (length u16, UTF-8), type (the same)
//! runs   count u32, each: name u16 (its place above; ffff: not known), records in a row u16
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use super::footer::{put_len, put_text, take_text};
use super::format::Cut;

/// The name of a record that could not be read.
const UNKNOWN: u16 = u16::MAX;

/// Most sources and types told apart in one segment.
const MAX_NAMES: usize = 4096;

type Name = (Arc<str>, Arc<str>);

/// Sources and types of the records from a sequence on.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    base: u64,
    next: u64,
    names: Vec<Name>,
    runs: Vec<(u16, u16)>,
}

/// How many records, by source and type; and of how many that is not known.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub known: HashMap<Name, u64>,
    pub unknown: u64,
}

impl Tally {
    /// Of no records yet, the first of which would be `base`.
    pub fn new(base: u64) -> Self {
        Self { base, next: base, ..Self::default() }
    }

    /// Takes in a record; they come in order, those left out are not known.
    pub fn add(&mut self, sequence: u64, source: &str, kind: &str) {
        self.pad(sequence);
        self.add_some(source, kind, 1);
    }

    /// Takes in so many records, wherever they stand: good for those who count all of the segment or nothing of it.
    pub fn add_some(&mut self, source: &str, kind: &str, records: u64) {
        let name = self.name(source, kind);
        self.push(name, records);
    }

    fn name(&mut self, source: &str, kind: &str) -> u16 {
        // A handful where senders behave; one that makes up types gets its records counted as not known.
        let found = self.names.iter().position(|(s, k)| &**k == kind && &**s == source);
        let place = found.unwrap_or(self.names.len());
        if place >= MAX_NAMES {
            return UNKNOWN;
        }
        if found.is_none() {
            self.names.push((source.into(), kind.into()));
        }
        place as u16
    }

    /// Everything up to here was taken in or cannot be read.
    pub fn pad(&mut self, next: u64) {
        self.push(UNKNOWN, next.saturating_sub(self.next));
    }

    fn push(&mut self, name: u16, mut records: u64) {
        self.next += records;
        if let Some((_, n)) = self.runs.last_mut().filter(|(last, _)| *last == name) {
            let more = records.min(u64::from(u16::MAX - *n));
            *n += more as u16;
            records -= more;
        }
        while records > 0 {
            let part = records.min(u64::from(u16::MAX));
            self.runs.push((name, part as u16));
            records -= part;
        }
    }

    /// Counts the records from `from` to `to` (not included) of those there are.
    pub fn count(&self, from: u64, to: u64, into: &mut Counted) {
        let mut at = self.base;
        for (name, records) in &self.runs {
            let end = at + u64::from(*records);
            let events = end.min(to).saturating_sub(at.max(from));
            at = end;
            match self.names.get(usize::from(*name)) {
                _ if events == 0 => {}
                Some(name) => *into.known.entry(name.clone()).or_default() += events,
                None => into.unknown += events,
            }
        }
    }

    /// Its bytes; the first sequence is not among them.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.runs.len() * 4 + 256);
        put_len(&mut out, self.names.len());
        for (source, kind) in &self.names {
            put_text(&mut out, source);
            put_text(&mut out, kind);
        }
        put_len(&mut out, self.runs.len());
        for (name, records) in &self.runs {
            out.extend_from_slice(&name.to_le_bytes());
            out.extend_from_slice(&records.to_le_bytes());
        }
        out
    }

    /// From its bytes; `None` where they are not whole.
    pub fn decode(base: u64, bytes: &[u8]) -> Option<Self> {
        let (mut cut, mut tally) = (Cut(bytes), Self::new(base));
        for _ in 0..cut.u32()? {
            tally.names.push((take_text(&mut cut)?, take_text(&mut cut)?));
        }
        for _ in 0..cut.u32()? {
            let run = (cut.u16()?, cut.u16()?);
            tally.next += u64::from(run.1);
            tally.runs.push(run);
        }
        Some(tally)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_comes_back_whole_and_counts_from_any_place_to_any_other() {
        let mut tally = Tally::new(100);
        let kind = |n: u64| ["sent", "read", "read"][n as usize % 3];
        let lost = |n: u64| (150..170).contains(&n) || n >= 390;
        (100..400).filter(|n| !lost(*n)).for_each(|n| tally.add(n, "interakt", kind(n)));
        tally.pad(400);
        let back = Tally::decode(100, &tally.encode()).unwrap();
        assert_eq!(back, tally);
        for (from, to) in [(0, u64::MAX), (100, 400), (101, 152), (160, 161), (399, 400), (400, 500), (7, 100)] {
            let mut counted = Counted::default();
            back.count(from, to, &mut counted);
            let mut expected = Counted::default();
            for n in from.max(100)..to.min(400) {
                match lost(n) {
                    true => expected.unknown += 1,
                    false => *expected.known.entry(("interakt".into(), kind(n).into())).or_default() += 1,
                }
            }
            assert_eq!(counted, expected, "{from}..{to}");
        }
        let bytes = tally.encode();
        assert!((0..bytes.len()).all(|len| Tally::decode(100, &bytes[..len]).is_none()));
    }

    #[test]
    fn a_long_run_and_too_many_types_are_still_counted() {
        let mut tally = Tally::new(1);
        (1..=70_000).for_each(|n| tally.add(n, "s", "t"));
        tally.names.resize(MAX_NAMES, ("s".into(), "u".into()));
        tally.add(70_001, "s", "one more");
        let mut counted = Counted::default();
        tally.count(0, u64::MAX, &mut counted);
        assert_eq!(counted.known, HashMap::from([(("s".into(), "t".into()), 70_000)]));
        assert_eq!(counted.unknown, 1);
    }
}
