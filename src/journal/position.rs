//! Places in a journal. A journal has one shard or more, each an ordered log of its own: the order of two positions of
//! different shards means nothing, so a [`Position`] has no order, and how far a reader has come is a position in every
//! shard: [`Marks`].

use std::collections::BTreeMap;

/// A place in the journal. Opaque outside `journal/`: only the order of two positions of one shard means anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// Which log (the local journal has one: 0).
    pub shard: u32,
    /// Place in it. Never given twice, even where the first holder was never written.
    pub offset: u64,
}

impl Position {
    /// Where one reads on behind the record that stands here.
    #[must_use]
    pub fn behind(self) -> Self {
        Self { offset: self.offset.saturating_add(1), ..self }
    }
}

/// One position in each shard. A shard that is not named is marked at its beginning.
#[derive(Clone, Debug, Default)]
pub struct Marks(BTreeMap<u32, u64>);

impl Marks {
    /// The mark in a shard.
    pub fn at(&self, shard: u32) -> Position {
        Position { shard, offset: self.offset(shard) }
    }

    fn offset(&self, shard: u32) -> u64 {
        self.0.get(&shard).copied().unwrap_or_default()
    }

    /// The marks, one for each shard that is named.
    pub fn iter(&self) -> impl Iterator<Item = Position> + '_ {
        self.0.iter().map(|(shard, offset)| Position { shard: *shard, offset: *offset })
    }

    /// Moves the mark of one shard, forward or back.
    pub fn set(&mut self, position: Position) {
        self.0.insert(position.shard, position.offset);
    }

    /// Names no other shards than these any more.
    pub fn keep(&mut self, shards: impl Fn(u32) -> bool) {
        self.0.retain(|shard, _| shards(*shard));
    }

    /// Whether a position stands before the mark of its shard.
    pub fn is_past(&self, position: Position) -> bool {
        position.offset < self.offset(position.shard)
    }

    /// Whether nothing stands between these marks and the others, in any shard.
    pub fn reaches(&self, other: &Self) -> bool {
        other.iter().all(|position| self.offset(position.shard) >= position.offset)
    }

    /// In each shard the mark that stands further on.
    #[must_use]
    pub fn later(&self, other: &Self) -> Self {
        let mut later = self.clone();
        for position in other.iter().filter(|position| !self.is_past(*position)) {
            later.set(position);
        }
        later
    }

    /// In each shard that the others name, the mark that stands less far on.
    #[must_use]
    pub fn earlier(&self, other: &Self) -> Self {
        let earlier = |position: Position| if self.is_past(position) { position } else { self.at(position.shard) };
        other.iter().map(earlier).collect()
    }
}

/// The same marks, whether a shard that stands at its beginning is named or not.
impl PartialEq for Marks {
    fn eq(&self, other: &Self) -> bool {
        self.reaches(other) && other.reaches(self)
    }
}

impl Eq for Marks {}

impl From<Position> for Marks {
    fn from(position: Position) -> Self {
        std::iter::once(position).collect()
    }
}

impl FromIterator<Position> for Marks {
    fn from_iter<T: IntoIterator<Item = Position>>(positions: T) -> Self {
        Self(positions.into_iter().map(|position| (position.shard, position.offset)).collect())
    }
}

/// For log lines and people: `5`, or `5 1:7` where there are more shards than the first.
impl std::fmt::Display for Marks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.offset(0))?;
        self.0.iter().filter(|(shard, _)| **shard > 0).try_for_each(|(shard, offset)| write!(f, " {shard}:{offset}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(offsets: [u64; 2]) -> Marks {
        (0..).zip(offsets).map(|(shard, offset)| Position { shard, offset }).collect()
    }

    #[test]
    fn marks_are_compared_shard_by_shard() {
        let (a, b) = (marks([5, 7]), marks([6, 3]));
        assert!(!a.reaches(&b) && !b.reaches(&a) && a.reaches(&a));
        assert_eq!((a.later(&b), a.earlier(&b)), (marks([6, 7]), marks([5, 3])));
        assert!(a.is_past(Position { shard: 1, offset: 6 }) && !a.is_past(Position { shard: 1, offset: 7 }));
        assert!(!a.is_past(Position { shard: 2, offset: 0 }), "at its beginning");
        assert_eq!(marks([0, 7]), Marks::from(Position { shard: 1, offset: 7 }));
        assert_eq!((Marks::default().to_string(), a.to_string()), ("0".into(), "5 1:7".into()));
    }
}
