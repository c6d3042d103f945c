//! What is known of a segment without reading its bodies: counts, fingerprints, time range, index. Gathered while
//! records are written (or scanned), kept in the footer of a sealed segment. Pure.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};

use super::Fingerprint;
use super::format::{Cut, Fields, RECORDS_AT, VERSION};

/// First bytes of a footer, and the mark in its trailer.
pub(super) const FOOTER_MAGIC: [u8; 8] = *b"hookfoot";
/// Bytes of the trailer, the last ones of a sealed segment.
pub(super) const TRAILER: usize = 64;
/// About how many bytes lie between two entries of the index.
const INDEX_EVERY: u64 = 64 << 10;
/// Most bytes a footer's core or fingerprints may claim: what a segment with the largest records cannot reach.
const MAX_PART: u64 = 1 << 30;

/// A stretch of a segment that holds no record that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    /// First byte.
    pub from: u64,
    /// The byte after the last.
    pub to: u64,
    /// Sequence of the first record that stood there.
    pub first: u64,
    /// How many records stood there; 0 where that is not known.
    pub lost: u64,
}

/// One source's types and their counts.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    name: Arc<str>,
    types: HashMap<Arc<str>, u64>,
}

/// One row of the fingerprint table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    fingerprint: [u8; 16],
    id: [u8; 16],
    time: i64,
    source: u32,
}

/// All that is known of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    /// Sequence of its first record.
    pub base: u64,
    /// The sequence after its last durable record.
    pub next: u64,
    /// The byte after its last durable record.
    pub end: u64,
    /// How many records it holds.
    pub records: u64,
    /// Oldest and newest time of its records, microseconds.
    pub times: Option<(i64, i64)>,
    /// What could not be read when it was sealed.
    pub damage: Vec<Damage>,
    sources: Vec<Source>,
    index: Vec<(u64, u64)>,
    rows: Vec<Row>,
}

impl Summary {
    /// Of a segment without records.
    pub fn new(base: u64) -> Self {
        Self {
            base,
            next: base,
            end: RECORDS_AT,
            records: 0,
            times: None,
            damage: Vec::new(),
            sources: Vec::new(),
            index: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// Takes in the record at `offset`; records come in order.
    pub fn add(&mut self, sequence: u64, offset: u64, length: u64, fields: &Fields<'_>) {
        self.pass(sequence, offset, length);
        self.records += 1;
        let time = fields.time;
        self.times = Some(self.times.map_or((time, time), |(min, max)| (min.min(time), max.max(time))));
        let place = self.sources.iter().position(|s| &*s.name == fields.source).unwrap_or_else(|| {
            self.sources.push(Source { name: fields.source.into(), types: HashMap::new() });
            self.sources.len() - 1
        });
        if let Some(source) = self.sources.get_mut(place) {
            match source.types.get_mut(fields.kind) {
                Some(n) => *n += 1,
                None => _ = source.types.insert(fields.kind.into(), 1),
            }
        }
        if let Some(fingerprint) = fields.fingerprint {
            self.rows.push(Row { fingerprint, id: fields.id, time, source: place as u32 });
        }
    }

    /// Takes in the place of a record, and nothing else of it.
    pub fn pass(&mut self, sequence: u64, offset: u64, length: u64) {
        if self.index.last().is_none_or(|(_, at)| offset - at >= INDEX_EVERY) {
            self.index.push((sequence, offset));
        }
        self.next = sequence + 1;
        self.end = offset + length;
    }

    /// Where to begin reading for a sequence: the sequence and offset of a record at or before it.
    pub fn nearest(&self, sequence: u64) -> (u64, u64) {
        let after = self.index.partition_point(|(s, _)| *s <= sequence);
        self.index.get(after.wrapping_sub(1)).copied().unwrap_or((self.base, RECORDS_AT))
    }

    /// Events by source and type, in no order.
    pub fn counts(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, u64)> {
        self.sources.iter().flat_map(|s| s.types.iter().map(|(kind, n)| (&s.name, kind, *n)))
    }

    /// Fingerprints, oldest first.
    pub fn fingerprints(&self) -> impl DoubleEndedIterator<Item = Fingerprint> {
        self.rows.iter().filter_map(|row| {
            let source = Arc::clone(&self.sources.get(row.source as usize)?.name);
            Some(Fingerprint { source, fingerprint: row.fingerprint, id: row.id, time: row.time })
        })
    }

    /// The footer that follows the last record, trailer included.
    pub fn encode(&self, salt: u32) -> Vec<u8> {
        let mut prints = FOOTER_MAGIC.to_vec();
        put_len(&mut prints, self.rows.len());
        for row in &self.rows {
            prints.extend_from_slice(&row.fingerprint);
            prints.extend_from_slice(&row.id);
            prints.extend_from_slice(&row.time.to_le_bytes());
            prints.extend_from_slice(&row.source.to_le_bytes());
        }
        let core = self.encode_core();
        let mut trailer = Vec::with_capacity(TRAILER);
        for n in [self.end, prints.len() as u64, core.len() as u64, self.base] {
            trailer.extend_from_slice(&n.to_le_bytes());
        }
        for n in [crc32c::crc32c_append(salt, &prints), crc32c::crc32c_append(salt, &core), salt] {
            trailer.extend_from_slice(&n.to_le_bytes());
        }
        trailer.extend_from_slice(&VERSION.to_le_bytes());
        trailer.extend_from_slice(&(TRAILER as u16).to_le_bytes());
        trailer.extend_from_slice(&FOOTER_MAGIC);
        trailer.extend_from_slice(&0u32.to_le_bytes());
        let crc = crc32c::crc32c(&trailer);
        trailer.extend_from_slice(&crc.to_le_bytes());
        [prints, core, trailer].concat()
    }

    fn encode_core(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.index.len() * 16 + 256);
        for n in [self.base, self.next, self.end, self.records] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        let (oldest, newest) = self.times.unwrap_or_default();
        out.extend_from_slice(&oldest.to_le_bytes());
        out.extend_from_slice(&newest.to_le_bytes());
        put_len(&mut out, self.sources.len());
        for source in &self.sources {
            put_text(&mut out, &source.name);
            put_len(&mut out, source.types.len());
            // In order of name, so that the same records make the same bytes.
            let mut types: Vec<_> = source.types.iter().collect();
            types.sort_unstable();
            for (kind, n) in types {
                put_text(&mut out, kind);
                out.extend_from_slice(&n.to_le_bytes());
            }
        }
        put_len(&mut out, self.index.len());
        for (sequence, offset) in &self.index {
            out.extend_from_slice(&sequence.to_le_bytes());
            out.extend_from_slice(&offset.to_le_bytes());
        }
        put_len(&mut out, self.damage.len());
        for d in &self.damage {
            for n in [d.from, d.to, d.first, d.lost] {
                out.extend_from_slice(&n.to_le_bytes());
            }
        }
        out
    }

    /// Reads the core of a footer; the fingerprints come apart, with [`Self::add_fingerprints`].
    pub fn decode_core(bytes: &[u8]) -> Option<Self> {
        let mut cut = Cut(bytes);
        let mut summary = Self::new(cut.u64()?);
        summary.next = cut.u64()?;
        summary.end = cut.u64()?;
        summary.records = cut.u64()?;
        let times = (cut.i64()?, cut.i64()?);
        summary.times = (summary.records > 0).then_some(times);
        for _ in 0..cut.u32()? {
            let mut source = Source { name: take_text(&mut cut)?, types: HashMap::new() };
            for _ in 0..cut.u32()? {
                source.types.insert(take_text(&mut cut)?, cut.u64()?);
            }
            summary.sources.push(source);
        }
        for _ in 0..cut.u32()? {
            summary.index.push((cut.u64()?, cut.u64()?));
        }
        for _ in 0..cut.u32()? {
            let (from, to, first, lost) = (cut.u64()?, cut.u64()?, cut.u64()?, cut.u64()?);
            summary.damage.push(Damage { from, to, first, lost });
        }
        Some(summary)
    }

    /// Adds the fingerprints of the same footer.
    pub fn add_fingerprints(&mut self, bytes: &[u8]) -> Option<()> {
        let mut cut = Cut(bytes);
        (cut.array()? == FOOTER_MAGIC).then_some(())?;
        for _ in 0..cut.u32()? {
            let (fingerprint, id, time, source) = (cut.array()?, cut.array()?, cut.i64()?, cut.u32()?);
            self.rows.push(Row { fingerprint, id, time, source });
        }
        Some(())
    }
}

/// The last bytes of a sealed segment: where the parts of its footer stand, and their checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trailer {
    /// Where the footer begins: the end of the records.
    pub records_end: u64,
    /// Bytes of the fingerprints, which come first.
    pub prints: u64,
    /// Bytes of the core, which follows.
    pub core: u64,
    /// The segment's base.
    pub base: u64,
    /// Checksum of the fingerprints.
    pub prints_crc: u32,
    /// Checksum of the core.
    pub core_crc: u32,
    /// The segment's salt.
    pub salt: u32,
}

impl Trailer {
    /// Reads the last [`TRAILER`] bytes of a file of `size` bytes; `None` where that is not a sealed segment's end.
    pub fn decode(bytes: &[u8], size: u64) -> Option<Self> {
        let (covered, crc) = bytes.split_last_chunk::<4>()?;
        if bytes.len() != TRAILER || crc32c::crc32c(covered) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut cut = Cut(bytes);
        let trailer = Self {
            records_end: cut.u64()?,
            prints: cut.u64()?,
            core: cut.u64()?,
            base: cut.u64()?,
            prints_crc: cut.u32()?,
            core_crc: cut.u32()?,
            salt: cut.u32()?,
        };
        let (version, _length, magic) = (cut.u16()?, cut.u16()?, cut.array::<8>()?);
        let sane = trailer.prints <= MAX_PART && trailer.core <= MAX_PART && magic == FOOTER_MAGIC;
        let fits = trailer.records_end.checked_add(trailer.prints + trailer.core + TRAILER as u64) == Some(size);
        (sane && version == VERSION && fits).then_some(trailer)
    }
}

pub(super) fn put_len(out: &mut Vec<u8>, n: usize) {
    out.extend_from_slice(&(n as u32).to_le_bytes());
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

pub(super) fn take_text(cut: &mut Cut<'_>) -> Option<Arc<str>> {
    let len = usize::from(cut.u16()?);
    cut.text(len).map(Arc::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Summary {
        let mut summary = Summary::new(100);
        for n in 0..300u64 {
            let kind = format!("type-{}", n % 3);
            let fingerprint = (n % 2 == 0).then_some([n as u8; 16]);
            let source = if n % 5 == 0 { "other" } else { "interakt" };
            let (id, time) = ([n as u8; 16], 1000 - n as i64);
            let fields = Fields { id, time, source, kind: &kind, key: "k", fingerprint, payload: b"" };
            summary.add(100 + n, RECORDS_AT + n * 1000, 1000, &fields);
        }
        summary.damage.push(Damage { from: 1, to: 2, first: 3, lost: 4 });
        summary
    }

    #[test]
    fn a_footer_comes_back_whole_and_is_found_from_the_end() {
        let summary = sample();
        let bytes = summary.encode(9);
        let size = summary.end + bytes.len() as u64;
        let trailer = Trailer::decode(&bytes[bytes.len() - TRAILER..], size).unwrap();
        assert_eq!((trailer.records_end, trailer.base, trailer.salt), (summary.end, 100, 9));
        let (prints, rest) = bytes.split_at(trailer.prints as usize);
        let core = &rest[..trailer.core as usize];
        assert_eq!(trailer.prints_crc, crc32c::crc32c_append(9, prints));
        assert_eq!(trailer.core_crc, crc32c::crc32c_append(9, core));
        let mut back = Summary::decode_core(core).unwrap();
        back.add_fingerprints(prints).unwrap();
        assert_eq!(back, summary);
        assert_eq!(back.times, Some((701, 1000)));
        assert_eq!(back.fingerprints().count(), 150);
        assert!(Trailer::decode(&bytes[bytes.len() - TRAILER..], size + 1).is_none());
    }

    #[test]
    fn the_index_leads_to_a_record_at_most_64_kib_before() {
        let summary = sample();
        for sequence in 100..400 {
            let (found, offset) = summary.nearest(sequence);
            assert!(found <= sequence && sequence - found <= 66, "{sequence} {found}");
            assert_eq!(offset, RECORDS_AT + (found - 100) * 1000);
        }
        assert_eq!(summary.nearest(5), (100, RECORDS_AT));
    }

    #[test]
    fn any_flipped_bit_in_the_trailer_is_noticed() {
        let summary = sample();
        let bytes = summary.encode(9);
        let size = summary.end + bytes.len() as u64;
        for bit in 0..TRAILER * 8 {
            let mut trailer = bytes[bytes.len() - TRAILER..].to_vec();
            trailer[bit / 8] ^= 1 << (bit % 8);
            assert!(Trailer::decode(&trailer, size).is_none(), "bit {bit}");
        }
    }
}
