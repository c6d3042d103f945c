//! Runs as few bytes, and back. Pure.
//!
//! In bytes a run is: what it is and how many events (one byte below 64), then for each ending what it is (one byte),
//! when (difference to the ending before), how long the call took. Events between two runs were owed nothing. Numbers
//! are LEB128 (<https://dwarfstd.org/doc/DWARF5.pdf>, 7.6), differences zigzag on top of it. Names are written out
//! where they come first, and numbered from then on.

use std::sync::Arc;

use super::runs::{Call, Ended, Run, Skip};

/// The kinds of what a head byte begins, in its two lowest bits: events of which nothing is owed, events with one
/// ending, and with several.
const NOTHING: u8 = 0;
const ONE: u8 = 1;
const SEVERAL: u8 = 2;
/// The number of events stands in the other bits; from this one on it stands behind the byte.
const MANY: u64 = 63;

/// The kinds of endings, in the three lowest bits of their byte.
const DELIVERED: u8 = 0;
const FILTERED: u8 = 1;
const HELD: u8 = 2;
const BY_HAND: u8 = 3;
const DELETED: u8 = 4;
const KIND: u8 = 7;
/// Set where a suffix follows.
const NAMED: u8 = 8;
/// Set where the number of calls follows; there was one otherwise.
const AGAIN: u8 = 16;

/// Reads or writes runs one after the other: what one byte means depends on those before.
#[derive(Debug)]
pub struct Coder {
    /// The place behind the last run.
    next: u64,
    tick: i64,
    names: Vec<Box<str>>,
}

impl Coder {
    /// Begins at that place and time, in [`TICK`]s.
    pub fn new(first: u64, tick: i64) -> Self {
        Self { next: first, tick, names: Vec::new() }
    }

    /// Writes a run behind what was written or read.
    pub fn write(&mut self, run: &Run, out: &mut Vec<u8>) {
        if let Some(between) = run.first.checked_sub(self.next).filter(|between| *between > 0) {
            write_head(NOTHING, between, out);
        }
        self.next = run.end();
        write_head(if run.ended.len() == 1 { ONE } else { SEVERAL }, run.events, out);
        if run.ended.len() != 1 {
            write_number(run.ended.len() as u64, out);
        }
        run.ended.iter().for_each(|ended| self.write_ended(ended, out));
    }

    fn write_ended(&mut self, ended: &Ended, out: &mut Vec<u8>) {
        match ended {
            Ended::Delivered { suffix, call, attempts } => {
                let again = if *attempts == 1 { 0 } else { AGAIN };
                self.write_kind(DELIVERED | again, suffix, out);
                self.write_tick(call.tick, out);
                write_number(u64::from(call.took), out);
                if again > 0 {
                    write_number(u64::from(*attempts), out);
                }
            }
            Ended::Filtered { route, tick } => {
                out.push(FILTERED);
                self.write_name(route, out);
                self.write_tick(*tick, out);
            }
            Ended::Held { suffix } => self.write_kind(HELD, suffix, out),
            Ended::Skipped { why, tick } => {
                out.push(if *why == Skip::ByHand { BY_HAND } else { DELETED });
                self.write_tick(*tick, out);
            }
        }
    }

    /// A suffix is a route's name and the number of an output: so that a name is written once.
    fn write_kind(&mut self, kind: u8, suffix: &str, out: &mut Vec<u8>) {
        if suffix.is_empty() {
            return out.push(kind);
        }
        let number = |(name, number): (&str, &str)| {
            let n: u64 = number.parse().ok()?;
            (n >= 2 && n.to_string() == number).then(|| (name.to_owned(), n))
        };
        let (name, n) = suffix.rsplit_once('-').and_then(number).unwrap_or_else(|| (suffix.to_owned(), 1));
        out.push(kind | NAMED);
        self.write_name(&name, out);
        write_number(n, out);
    }

    fn write_name(&mut self, name: &str, out: &mut Vec<u8>) {
        if let Some(known) = self.names.iter().position(|known| **known == *name) {
            return write_number(known as u64 + 1, out);
        }
        write_number(0, out);
        write_number(name.len() as u64, out);
        out.extend_from_slice(name.as_bytes());
        self.names.push(name.into());
    }

    fn write_tick(&mut self, tick: i64, out: &mut Vec<u8>) {
        let difference = tick.wrapping_sub(std::mem::replace(&mut self.tick, tick));
        write_number((difference.wrapping_shl(1) ^ (difference >> 63)).cast_unsigned(), out);
    }

    /// Reads the next run; `Ok(None)` at the end, an error where these are no runs.
    pub fn read(&mut self, bytes: &mut &[u8]) -> Result<Option<Run>, Damaged> {
        while let Some((head, rest)) = bytes.split_first() {
            *bytes = rest;
            let inline = u64::from(head >> 2);
            let events = if inline < MANY { inline + 1 } else { read_number(bytes)?.saturating_add(MANY + 1) };
            let first = self.next;
            self.next = first.saturating_add(events);
            let endings = match head & 3 {
                NOTHING => continue,
                ONE => 1,
                SEVERAL => read_number(bytes)?,
                _ => return Err(Damaged),
            };
            let mut ended = Vec::new();
            for _ in 0..endings {
                ended.push(self.read_ended(bytes)?);
            }
            return Ok(Some(Run { first, events, ended }));
        }
        Ok(None)
    }

    fn read_ended(&mut self, bytes: &mut &[u8]) -> Result<Ended, Damaged> {
        let kind = read_byte(bytes)?;
        Ok(match kind & KIND {
            DELIVERED => {
                let suffix = self.read_suffix(kind, bytes)?;
                let tick = self.read_tick(bytes)?;
                let took = read_u32(bytes)?;
                let attempts = if kind & AGAIN > 0 { read_u32(bytes)? } else { 1 };
                Ended::Delivered { suffix, call: Call { tick, took }, attempts }
            }
            FILTERED => Ended::Filtered { route: Arc::from(self.read_name(bytes)?), tick: self.read_tick(bytes)? },
            HELD => Ended::Held { suffix: self.read_suffix(kind, bytes)? },
            BY_HAND => Ended::Skipped { why: Skip::ByHand, tick: self.read_tick(bytes)? },
            DELETED => Ended::Skipped { why: Skip::Deleted, tick: self.read_tick(bytes)? },
            _ => return Err(Damaged),
        })
    }

    fn read_suffix(&mut self, kind: u8, bytes: &mut &[u8]) -> Result<Box<str>, Damaged> {
        if kind & NAMED == 0 {
            return Ok(Box::default());
        }
        let name = self.read_name(bytes)?;
        let n = read_number(bytes)?;
        Ok(if n > 1 { format!("{name}-{n}").into() } else { name })
    }

    fn read_name(&mut self, bytes: &mut &[u8]) -> Result<Box<str>, Damaged> {
        if let Some(known) = read_number(bytes)?.checked_sub(1) {
            let known = usize::try_from(known).map_err(|_| Damaged)?;
            return self.names.get(known).cloned().ok_or(Damaged);
        }
        let length = usize::try_from(read_number(bytes)?).map_err(|_| Damaged)?;
        let (name, rest) = bytes.split_at_checked(length).ok_or(Damaged)?;
        *bytes = rest;
        let name: Box<str> = std::str::from_utf8(name).map_err(|_| Damaged)?.into();
        self.names.push(name.clone());
        Ok(name)
    }

    fn read_tick(&mut self, bytes: &mut &[u8]) -> Result<i64, Damaged> {
        let zigzag = read_number(bytes)?;
        let difference = (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed();
        self.tick = self.tick.wrapping_add(difference);
        Ok(self.tick)
    }
}

/// What stands in the place of runs are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these are no runs")]
pub struct Damaged;

/// `n` is at least one.
fn write_head(kind: u8, n: u64, out: &mut Vec<u8>) {
    let n = n.saturating_sub(1);
    let inline = u8::try_from(n.min(MANY)).unwrap_or_default();
    out.push(kind | inline << 2);
    if let Some(more) = n.checked_sub(MANY) {
        write_number(more, out);
    }
}

fn write_number(mut n: u64, out: &mut Vec<u8>) {
    while n > 0x7f {
        out.push(n.to_le_bytes()[0] | 0x80);
        n >>= 7;
    }
    out.push(n.to_le_bytes()[0]);
}

fn read_byte(bytes: &mut &[u8]) -> Result<u8, Damaged> {
    let (first, rest) = bytes.split_first().ok_or(Damaged)?;
    *bytes = rest;
    Ok(*first)
}

fn read_number(bytes: &mut &[u8]) -> Result<u64, Damaged> {
    let mut n = 0;
    for shift in (0..64).step_by(7) {
        let byte = read_byte(bytes)?;
        n |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(n);
        }
    }
    Err(Damaged)
}

fn read_u32(bytes: &mut &[u8]) -> Result<u32, Damaged> {
    u32::try_from(read_number(bytes)?).map_err(|_| Damaged)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn delivered(suffix: &str, tick: i64, took: u32, attempts: u32) -> Ended {
        Ended::Delivered { suffix: suffix.into(), call: Call { tick, took }, attempts }
    }

    fn read_all(first: u64, tick: i64, bytes: &[u8]) -> Result<Vec<Run>, Damaged> {
        let (mut coder, mut bytes, mut runs) = (Coder::new(first, tick), bytes, Vec::new());
        while let Some(run) = coder.read(&mut bytes)? {
            runs.push(run);
        }
        Ok(runs)
    }

    #[test]
    fn what_goes_straight_takes_a_few_bytes_for_a_batch_and_for_a_call() {
        let (mut coder, mut out) = (Coder::new(7, 100), Vec::new());
        coder.write(&Run { first: 7, events: 500, ended: vec![delivered("", 101, 90, 1)] }, &mut out);
        assert_eq!(out.len(), 6, "{out:?}");
        out.clear();
        coder.write(&Run { first: 507, events: 1, ended: vec![delivered("", 101, 110, 1)] }, &mut out);
        assert_eq!(out, [ONE, DELIVERED, 0, 110]);
    }

    fn ending() -> impl Strategy<Value = Ended> {
        let suffix = prop::sample::select(vec!["", "-2", "-a", "-a-2", "-a-02", "-a-1", "--", "-b-12", "-ü"]);
        let tick = prop_oneof![Just(0), any::<i64>(), 17_000_000_000_i64..17_000_000_100];
        prop_oneof![
            (suffix.clone(), tick.clone(), any::<u32>(), 0..5_u32).prop_map(|(s, t, took, n)| delivered(s, t, took, n)),
            (suffix.clone(), tick.clone()).prop_map(|(s, tick)| Ended::Filtered { route: s.into(), tick }),
            suffix.prop_map(|suffix| Ended::Held { suffix: suffix.into() }),
            (any::<bool>(), tick).prop_map(|(by_hand, tick)| {
                Ended::Skipped { why: if by_hand { Skip::ByHand } else { Skip::Deleted }, tick }
            }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again_also_where_it_was_written_in_parts(
            first in 0..1_000_000_u64,
            tick in any::<i64>(),
            runs in prop::collection::vec((0..200_u64, 1..200_u64, prop::collection::vec(ending(), 0..4)), 0..30),
            part in 0..30_usize,
        ) {
            let mut at = first;
            let runs: Vec<Run> = runs.into_iter().map(|(between, events, ended)| {
                let first = at + between;
                at = first + events;
                Run { first, events, ended }
            }).collect();
            let (mut coder, mut out) = (Coder::new(first, tick), Vec::new());
            for (n, run) in runs.iter().enumerate() {
                if n == part {
                    // Whoever goes on has read what there is.
                    let mut rest = &out[..];
                    coder = Coder::new(first, tick);
                    while coder.read(&mut rest).unwrap().is_some() {}
                }
                coder.write(run, &mut out);
            }
            prop_assert_eq!(read_all(first, tick, &out).unwrap(), runs);
        }

        #[test]
        fn any_bytes_are_runs_or_damage_and_never_more(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_all(5, 5, &bytes);
        }
    }
}
