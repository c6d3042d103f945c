//! Bytes of the journal, version 1: segment headers and records, to and from memory. Pure; the layout is specified at
//! the top of `journal/mod.rs`.

use std::sync::Arc;

use bytes::Bytes;

use super::{Made, Record};

/// First bytes of every segment.
pub(super) const MAGIC: [u8; 8] = *b"hookrel\x1a";
/// The version this build writes and reads.
pub(super) const VERSION: u16 = 1;
/// Bytes of one copy of the header.
const HEADER: usize = 64;
/// Where the header's second copy stands: in another sector, so that one bad sector does not take both.
const SECOND_COPY: usize = 512;
/// Where records begin.
pub(super) const RECORDS_AT: u64 = 1024;
/// Bytes before the part of a record that its length counts.
const PREFIX: usize = 16;
/// Fewest bytes of any record: prefix, kind, flags, place, head length.
pub(super) const MIN_RECORD: u64 = 24;
/// Bytes of a head up to its variable part.
const FIXED_HEAD: usize = 40;
/// How much of a record tells whether it can be one at all.
pub(super) const SHAPE: usize = PREFIX + FIXED_HEAD;
/// Most bytes of one record on disk.
pub(super) const MAX_RECORD: u64 = 128 << 20;
/// The one kind of record there is: an event.
const EVENT: u8 = 1;
/// Flag: the head has a fingerprint.
const HAS_FINGERPRINT: u8 = 1;

/// A segment's predecessor, and where its durable part ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Before {
    /// Base of the predecessor; 0 where there is none.
    pub base: u64,
    /// The sequence after its last durable record; without a predecessor, where this journal began.
    pub end: u64,
    /// The byte after its last durable record.
    pub bytes: u64,
}

/// What stands at the head of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Sequence of its first record.
    pub base: u64,
    /// When it was made, microseconds.
    pub created: i64,
    /// Where every checksum in it starts from.
    pub salt: u32,
    /// What it follows.
    pub before: Before,
}

/// What a header turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderState {
    /// Read.
    Good(Header),
    /// Whole, but of a version this build does not know.
    Newer(u16),
    /// Neither copy is whole.
    Damaged,
}

impl Header {
    /// The whole first kilobyte: two copies, zeros between.
    pub fn encode(&self) -> Vec<u8> {
        let mut one = Vec::with_capacity(HEADER);
        one.extend_from_slice(&MAGIC);
        one.extend_from_slice(&VERSION.to_le_bytes());
        one.extend_from_slice(&(HEADER as u16).to_le_bytes());
        one.extend_from_slice(&self.salt.to_le_bytes());
        one.extend_from_slice(&self.base.to_le_bytes());
        one.extend_from_slice(&self.created.to_le_bytes());
        one.extend_from_slice(&self.before.base.to_le_bytes());
        one.extend_from_slice(&self.before.end.to_le_bytes());
        one.extend_from_slice(&self.before.bytes.to_le_bytes());
        one.extend_from_slice(&0u32.to_le_bytes());
        let crc = crc32c::crc32c(&one);
        one.extend_from_slice(&crc.to_le_bytes());
        let mut all = one.clone();
        all.resize(SECOND_COPY, 0);
        all.extend_from_slice(&one);
        all.resize(RECORDS_AT as usize, 0);
        all
    }

    /// Reads a segment's first kilobyte (or what there is of it): the first copy that is whole counts.
    pub fn decode(bytes: &[u8]) -> HeaderState {
        let copies = [bytes, bytes.get(SECOND_COPY..).unwrap_or_default()];
        copies.into_iter().find_map(Self::decode_copy).unwrap_or(HeaderState::Damaged)
    }

    fn decode_copy(bytes: &[u8]) -> Option<HeaderState> {
        let mut cut = Cut(bytes);
        if cut.array::<8>()? != MAGIC {
            return None;
        }
        let (version, length) = (cut.u16()?, usize::from(cut.u16()?));
        let (covered, crc) = bytes.get(..length)?.split_last_chunk::<4>()?;
        if crc32c::crc32c(covered) != u32::from_le_bytes(*crc) {
            return None;
        }
        if version != VERSION {
            return Some(HeaderState::Newer(version));
        }
        let (salt, base, created) = (cut.u32()?, cut.u64()?, cut.i64()?);
        let before = Before { base: cut.u64()?, end: cut.u64()?, bytes: cut.u64()? };
        Some(HeaderState::Good(Header { base, created, salt, before }))
    }
}

/// Bytes a record takes on disk, or `Err(its size)` where that is more than a record may have.
pub(super) fn record_len(record: &Record) -> Result<u64, usize> {
    let names = record.source.len() + record.kind.len() + record.key.len();
    let fingerprint = if record.fingerprint.is_some() { 16 } else { 0 };
    let total = SHAPE + fingerprint + names + record.payload.len();
    let named = record.source.len() <= usize::from(u16::MAX) && record.kind.len() <= usize::from(u16::MAX);
    if named && total as u64 <= MAX_RECORD { Ok(total as u64) } else { Err(total) }
}

/// Appends a record that [`record_len`] has let pass. `place` is its place in its batch.
pub(super) fn encode_record(buf: &mut Vec<u8>, salt: u32, sequence: u64, place: u16, record: &Record) {
    let start = buf.len();
    let fingerprint = record.fingerprint.as_ref().map_or(&[][..], |f| &f[..]);
    let names = record.source.len() + record.kind.len() + record.key.len();
    let head = FIXED_HEAD + fingerprint.len() + names;
    let mut fixed = [0u8; SHAPE];
    let mut out = &mut fixed[..];
    put(&mut out, &((head + record.payload.len()) as u32).to_le_bytes());
    put(&mut out, &[0; 4]);
    put(&mut out, &sequence.to_le_bytes());
    put(&mut out, &[EVENT, if fingerprint.is_empty() { 0 } else { HAS_FINGERPRINT }]);
    put(&mut out, &place.to_le_bytes());
    put(&mut out, &(head as u32).to_le_bytes());
    put(&mut out, &record.time.to_le_bytes());
    put(&mut out, &record.id);
    put(&mut out, &(record.source.len() as u16).to_le_bytes());
    put(&mut out, &(record.kind.len() as u16).to_le_bytes());
    put(&mut out, &(record.key.len() as u32).to_le_bytes());
    buf.extend_from_slice(&fixed);
    buf.extend_from_slice(fingerprint);
    buf.extend_from_slice(record.source.as_bytes());
    buf.extend_from_slice(record.kind.as_bytes());
    buf.extend_from_slice(record.key.as_bytes());
    buf.extend_from_slice(&record.payload);
    let crc = crc32c::crc32c_append(salt, buf.get(start + 8..).unwrap_or_default());
    if let Some(place) = buf.get_mut(start + 4..start + 8) {
        place.copy_from_slice(&crc.to_le_bytes());
    }
}

fn put(out: &mut &mut [u8], bytes: &[u8]) {
    let (head, rest) = std::mem::take(out).split_at_mut(bytes.len());
    head.copy_from_slice(bytes);
    *out = rest;
}

/// What the first bytes of a record claim, before the checksum has been looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// All of its bytes.
    pub total: u64,
    /// Its sequence.
    pub sequence: u64,
    /// Its place in its batch.
    pub place: u16,
}

/// Whether a record can begin here; `None` where its lengths contradict each other.
pub(super) fn shape(bytes: &[u8]) -> Option<Shape> {
    let mut cut = Cut(bytes);
    let (length, _crc, sequence) = (u64::from(cut.u32()?), cut.u32()?, cut.u64()?);
    let total = length + PREFIX as u64;
    let ([kind, flags], place, head) = (cut.array::<2>()?, cut.u16()?, u64::from(cut.u32()?));
    if !(MIN_RECORD..=MAX_RECORD).contains(&total) || head > length || head < 8 {
        return None;
    }
    if kind == EVENT {
        let (_time, _id) = (cut.u64()?, cut.array::<16>()?);
        let names = u64::from(cut.u16()?) + u64::from(cut.u16()?) + u64::from(cut.u32()?);
        let fingerprint = if flags & HAS_FINGERPRINT == 0 { 0 } else { 16 };
        if FIXED_HEAD as u64 + fingerprint + names > head {
            return None;
        }
    }
    Some(Shape { total, sequence, place })
}

/// Whether the checksum of a record, exactly all of its bytes, is right.
pub(super) fn is_whole(record: &[u8], salt: u32) -> bool {
    let mut cut = Cut(record);
    let (_length, crc) = (cut.u32(), cut.u32());
    crc == Some(crc32c::crc32c_append(salt, cut.0))
}

/// The fields of an event's record, in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fields<'a> {
    pub id: [u8; 16],
    pub time: i64,
    pub source: &'a str,
    pub kind: &'a str,
    pub key: &'a str,
    pub fingerprint: Option<[u8; 16]>,
    pub payload: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields of a record in memory.
    pub fn of(record: &'a Record) -> Self {
        let Record { id, time, source, kind, key, fingerprint, payload, made: _ } = record;
        Self { id: *id, time: *time, source, kind, key, fingerprint: *fingerprint, payload }
    }

    /// The fields of a whole record; `None` for a kind this build does not know, which a reader passes over.
    pub fn decode(record: &'a [u8]) -> Option<Self> {
        let mut cut = Cut(record);
        cut.array::<PREFIX>()?;
        let after_prefix = cut.0;
        let ([kind, flags], _place, head) = (cut.array::<2>()?, cut.u16()?, cut.u32()?);
        if kind != EVENT {
            return None;
        }
        let (time, id) = (cut.i64()?, cut.array::<16>()?);
        let (source, kind, key) = (cut.u16()?, cut.u16()?, cut.u32()?);
        let fingerprint = if flags & HAS_FINGERPRINT == 0 { None } else { Some(cut.array::<16>()?) };
        let source = cut.text(usize::from(source))?;
        let kind = cut.text(usize::from(kind))?;
        let key = cut.text(key as usize)?;
        // What stands between the key and the end of the head is of a later build; it does not concern this one.
        let payload = after_prefix.get(head as usize..)?;
        Some(Self { id, time, source, kind, key, fingerprint, payload })
    }

    /// A record of its own. `names` gives the shared text for a source or type.
    pub fn to_record(self, mut names: impl FnMut(&str) -> Arc<str>) -> Record {
        Record {
            id: self.id,
            time: self.time,
            source: names(self.source),
            kind: names(self.kind),
            key: Arc::from(self.key),
            fingerprint: self.fingerprint,
            payload: Bytes::copy_from_slice(self.payload),
            made: Made::default(),
        }
    }
}

/// Takes little-endian values off the front of bytes; `None` where there are too few.
pub(super) struct Cut<'a>(pub &'a [u8]);

impl<'a> Cut<'a> {
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    pub fn text(&mut self, len: usize) -> Option<&'a str> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        std::str::from_utf8(head).ok()
    }
}

/// The name of the segment that begins at `base`.
pub(super) fn segment_name(base: u64) -> String {
    format!("{base:020}.segment")
}

/// The base in a segment's name; `None` for other files.
pub(super) fn segment_base(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".segment")?;
    (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header { base: 9, created: -5, salt: 7, before: Before { base: 1, end: 8, bytes: 4000 } }
    }

    fn record() -> Record {
        Record {
            id: *b"0123456789abcdef",
            time: 1_790_000_000_000_000,
            source: "interakt".into(),
            kind: "message_api_sent".into(),
            key: "schlüssel".into(),
            fingerprint: Some([3; 16]),
            payload: Bytes::from_static(b"{\"a\":1}"),
            made: Made::default(),
        }
    }

    #[test]
    fn a_header_is_read_from_either_copy_and_from_no_damaged_one() {
        let good = header().encode();
        assert_eq!(good.len() as u64, RECORDS_AT);
        for at in 0..HEADER {
            for copies in [&[0][..], &[SECOND_COPY], &[0, SECOND_COPY]] {
                let mut bytes = good.clone();
                copies.iter().for_each(|copy| bytes[copy + at] ^= 0x10);
                let expected = if copies.len() == 2 { HeaderState::Damaged } else { HeaderState::Good(header()) };
                assert_eq!(Header::decode(&bytes), expected, "byte {at}, copies {copies:?}");
            }
        }
        (0..HEADER).for_each(|len| assert_eq!(Header::decode(&good[..len]), HeaderState::Damaged));
    }

    #[test]
    fn a_whole_header_of_a_later_version_is_told_from_damage() {
        let mut bytes = header().encode();
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..HEADER - 4]);
        bytes[HEADER - 4..HEADER].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Header::decode(&bytes), HeaderState::Newer(2));
    }

    #[test]
    fn a_record_comes_back_as_it_went_in_with_and_without_fingerprint() {
        for fingerprint in [None, Some([3; 16])] {
            let record = Record { fingerprint, ..record() };
            let mut bytes = Vec::new();
            encode_record(&mut bytes, 77, 42, 5, &record);
            assert_eq!(Ok(bytes.len() as u64), record_len(&record));
            let claimed = shape(&bytes).unwrap();
            assert_eq!(claimed, Shape { total: bytes.len() as u64, sequence: 42, place: 5 });
            assert!(is_whole(&bytes, 77) && !is_whole(&bytes, 78));
            assert!(Fields::decode(&bytes).unwrap().to_record(|name| Arc::from(name)) == record);
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_in_a_record_is_noticed() {
        let mut good = Vec::new();
        encode_record(&mut good, 77, 42, 5, &record());
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let whole =
                shape(&bytes).is_some_and(|s| bytes.get(..s.total as usize).is_some_and(|record| is_whole(record, 77)));
            assert!(!whole, "bit {bit}");
        }
    }

    #[test]
    fn what_a_later_build_adds_to_the_head_is_passed_over() {
        let mut bytes = Vec::new();
        encode_record(&mut bytes, 0, 1, 0, &record());
        let payload = record().payload.len();
        let at = bytes.len() - payload;
        bytes.splice(at..at, [9, 9, 9]);
        bytes[20] += 3;
        bytes[0] += 3;
        assert!(shape(&bytes).is_some());
        assert_eq!(Fields::decode(&bytes).unwrap().payload, &record().payload[..]);
    }

    #[test]
    fn names_are_read_strictly() {
        assert_eq!(segment_base(&segment_name(17)), Some(17));
        for name in ["LOCK", "17.segment", "00000000000000000017.segment.old", "+0000000000000000017.segment"] {
            assert_eq!(segment_base(name), None, "{name}");
        }
    }
}
