//! An index beside a sealed segment: which records are of an event, which are about a subject. To and from bytes; the
//! layout is specified at the top of `journal/mod.rs`. What it gives are candidates: whoever reads them compares.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::disk::{Disk, DiskFile, read_full};
use super::format::Cut;
use super::walk::{Step, Walker};
use super::{Find, SubjectOf, format};

/// First bytes of every index.
const MAGIC: [u8; 8] = *b"hookidx\x1a";
/// The version this build writes and reads. It also stands for what [`SubjectOf`] says: where that changes for any
/// payload there is, this rises.
const VERSION: u16 = 1;
/// Bytes of the header.
const HEADER: usize = 64;
/// Pairs of each block but the last one.
const BLOCK_PAIRS: usize = 511;
/// Bytes of a pair, and of a block with all its pairs.
const PAIR: usize = 8;
const BLOCK: usize = 4 + BLOCK_PAIRS * PAIR;
/// Bytes of the first read: mostly header and directory are in it.
const FIRST_READ: usize = 4096;
/// Most pairs of an index: they are sorted in memory, 64 MiB of it. A segment with more is scanned.
const MOST_PAIRS: usize = 8 << 20;
/// Pairs for which there is room at first.
const FIRST_PAIRS: usize = 512;
/// Records between two questions whether to go on.
const ASK_EVERY: usize = 1024;

/// Hash and offset, in that order: they sort as one number.
type Pair = u64;

fn hash(sort: u8, key: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&[sort]), key)
}

fn hash_of_event(id: &[u8; 16]) -> u32 {
    hash(b'e', id)
}

fn hash_of_subject(subject: &str) -> u32 {
    hash(b's', subject.as_bytes())
}

fn hash_of(what: &Find) -> u32 {
    match what {
        Find::Event(id) => hash_of_event(id),
        Find::Subject(subject) => hash_of_subject(subject),
    }
}

/// Which segment an index belongs to. Any other one's is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Of {
    /// Its salt.
    pub salt: u32,
    /// Its first sequence.
    pub base: u64,
    /// The sequence after its last record.
    pub next: u64,
    /// The byte after its last record.
    pub end: u64,
}

/// Why there is no index.
#[derive(Debug, thiserror::Error)]
pub(super) enum BuildError {
    /// The segment cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It holds more than an index may.
    #[error("it holds more than {} events", MOST_PAIRS / 2)]
    TooMany,
    /// There is something else to do.
    #[error("it was not gone on with")]
    Ended,
}

/// The bytes of a segment's index, read from its records from where `growing` has come. Asks from time to time whether
/// to go on; where it is not, `growing` may be gone on with.
pub(super) fn build(
    growing: &mut Growing,
    file: &dyn DiskFile,
    of: &Of,
    subject_of: SubjectOf,
    go_on: impl Fn() -> bool,
) -> Result<Vec<u8>, BuildError> {
    growing.grow(file, of.salt, of.end, subject_of, go_on)?;
    growing.pairs.sort_unstable();
    Ok(encode(of, &growing.pairs))
}

/// The pairs of a segment, as far as somebody has read them: of one that is still being written, or whose index is
/// being made.
pub(super) struct Growing {
    /// The segment's first sequence.
    pub base: u64,
    /// Most pairs.
    pub most: usize,
    /// Sequence and offset of the first record that has yet to be read.
    next: (u64, u64),
    /// In the order of their records; none where there were too many.
    pub pairs: Vec<Pair>,
    has_too_many: bool,
}

impl Growing {
    /// Of the segment that begins at `base`; nothing was read yet.
    pub fn new(base: u64) -> Self {
        let next = (base, format::RECORDS_AT);
        Self { base, most: MOST_PAIRS, next, pairs: Vec::new(), has_too_many: false }
    }

    /// Reads on to the byte `end`. Asks from time to time whether to go on. Where there are too many pairs, those there
    /// are go, and nothing is read any more.
    pub fn grow(
        &mut self,
        file: &dyn DiskFile,
        salt: u32,
        end: u64,
        subject_of: SubjectOf,
        go_on: impl Fn() -> bool,
    ) -> Result<(), BuildError> {
        if self.has_too_many {
            return Err(BuildError::TooMany);
        }
        let mut walker = Walker::new(file, salt, self.next, end).lenient();
        let mut records = 0_usize;
        loop {
            records += 1;
            if records.is_multiple_of(ASK_EVERY) && !go_on() {
                return Err(BuildError::Ended);
            }
            match walker.step()? {
                Step::Record(found) => {
                    self.next = (found.sequence + 1, found.offset + found.length);
                    let Some(fields) = walker.fields(&found) else { continue };
                    let hashes = [Some(hash_of_event(&fields.id)), subject_of(fields.payload).map(hash_of_subject)];
                    if !hashes.into_iter().flatten().all(|hash| self.add(hash, found.offset)) {
                        (self.pairs, self.has_too_many) = (Vec::new(), true);
                        return Err(BuildError::TooMany);
                    }
                }
                Step::Damaged(_) => {}
                Step::Rest(_) | Step::End => return Ok(()),
            }
        }
    }

    /// Adds a pair, where there is room for it.
    fn add(&mut self, hash: u32, offset: u64) -> bool {
        let room = self.most.saturating_sub(self.pairs.len());
        let Some(offset) = u32::try_from(offset).ok().filter(|_| room > 0) else { return false };
        if self.pairs.len() == self.pairs.capacity() {
            // It doubles, but never beyond the bound.
            self.pairs.reserve_exact(self.pairs.len().max(FIRST_PAIRS).min(room));
        }
        self.pairs.push(u64::from(hash) << 32 | u64::from(offset));
        true
    }

    /// Offsets of records that may be what is looked for, in order, as far as was read.
    pub fn candidates(&self, what: &Find) -> Vec<u64> {
        let hash = hash_of(what);
        self.pairs.iter().filter(|pair| upper(**pair) == hash).map(|pair| pair & u64::from(u32::MAX)).collect()
    }
}

fn encode(of: &Of, pairs: &[Pair]) -> Vec<u8> {
    let directory: Vec<u8> = pairs
        .chunks(BLOCK_PAIRS)
        .filter_map(|block| block.first())
        .flat_map(|pair| upper(*pair).to_le_bytes())
        .collect();
    let mut out = Vec::with_capacity(size(pairs.len()));
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&(HEADER as u16).to_le_bytes());
    out.extend_from_slice(&of.salt.to_le_bytes());
    [of.base, of.next, of.end].iter().for_each(|n| out.extend_from_slice(&n.to_le_bytes()));
    out.extend_from_slice(&(pairs.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c_append(of.salt, &directory).to_le_bytes());
    out.resize(HEADER - 4, 0);
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&directory);
    for block in pairs.chunks(BLOCK_PAIRS) {
        let both = |pair: &Pair| [upper(*pair), *pair as u32];
        let covered: Vec<u8> = block.iter().flat_map(both).flat_map(u32::to_le_bytes).collect();
        out.extend_from_slice(&crc32c::crc32c_append(of.salt, &covered).to_le_bytes());
        out.extend_from_slice(&covered);
    }
    out
}

/// The hash of a pair.
fn upper(pair: Pair) -> u32 {
    (pair >> 32) as u32
}

/// Where the blocks begin, behind header and directory.
fn blocks_at(blocks: usize) -> usize {
    HEADER + blocks * 4
}

/// Bytes of an index of so many pairs.
fn size(pairs: usize) -> usize {
    let blocks = pairs.div_ceil(BLOCK_PAIRS);
    blocks_at(blocks) + blocks * 4 + pairs * PAIR
}

/// An index that belongs to its segment, open; its blocks are looked at when they are asked.
pub(super) struct Index {
    file: Arc<dyn DiskFile>,
    salt: u32,
    /// The first hash of each block.
    directory: Vec<u32>,
    /// How many pairs there are.
    pairs: usize,
    /// Bytes of the file.
    pub size: u64,
}

impl Index {
    /// Opens the index at a path. `None`: there is none, or it is damaged, of another version, or not this segment's.
    pub fn open(disk: &dyn Disk, path: &Path, of: &Of) -> Option<Self> {
        let file = disk.open(path, false).ok()?;
        let mut head = vec![0; FIRST_READ];
        let got = read_full(&*file, &mut head, 0).ok()?;
        let (pairs, crc) = decode_header(head.get(..got.min(HEADER))?, of)?;
        let blocks = pairs.div_ceil(BLOCK_PAIRS);
        let size = size(pairs) as u64;
        if pairs > MOST_PAIRS || file.size().ok()? != size {
            return None;
        }
        head.resize(blocks_at(blocks), 0);
        if head.len() > got {
            read_full(&*file, &mut head, 0).ok()?;
        }
        let directory = head.get(HEADER..)?;
        if crc32c::crc32c_append(of.salt, directory) != crc {
            return None;
        }
        let mut cut = Cut(directory);
        let directory = std::iter::from_fn(|| cut.u32()).collect();
        Some(Self { file, salt: of.salt, directory, pairs, size })
    }

    /// Offsets of records that may be what is looked for, in order. `None`: the index is damaged.
    pub fn candidates(&self, what: &Find) -> Option<Vec<u64>> {
        let hash = hash_of(what);
        // A block may end with what the next one begins with.
        let from = self.directory.partition_point(|first| *first < hash).saturating_sub(1);
        let to = self.directory.partition_point(|first| *first <= hash);
        let mut offsets = Vec::new();
        for number in from..to {
            let pairs = self.block(number)?;
            offsets.extend(pairs.iter().filter(|(own, _)| *own == hash).map(|(_, offset)| u64::from(*offset)));
        }
        Some(offsets)
    }

    /// Whether all of it is whole.
    pub fn is_whole(&self) -> bool {
        (0..self.directory.len()).all(|number| self.block(number).is_some())
    }

    fn block(&self, number: usize) -> Option<Vec<(u32, u32)>> {
        let count = self.pairs.saturating_sub(number * BLOCK_PAIRS).min(BLOCK_PAIRS);
        let mut bytes = vec![0; 4 + count * PAIR];
        read_full(&*self.file, &mut bytes, (blocks_at(self.directory.len()) + number * BLOCK) as u64).ok()?;
        let mut cut = Cut(&bytes);
        let crc = cut.u32()?;
        let is_whole = crc == crc32c::crc32c_append(self.salt, cut.0);
        is_whole.then(|| std::iter::from_fn(|| Some((cut.u32()?, cut.u32()?))).collect())
    }
}

/// How many pairs there are, and the directory's checksum; `None` where it is not the header of that segment's index.
fn decode_header(bytes: &[u8], of: &Of) -> Option<(usize, u32)> {
    let (covered, crc) = bytes.split_last_chunk::<4>()?;
    if bytes.len() != HEADER || crc32c::crc32c(covered) != u32::from_le_bytes(*crc) {
        return None;
    }
    let mut cut = Cut(covered);
    let (magic, version, length) = (cut.array::<8>()?, cut.u16()?, cut.u16()?);
    let own = Of { salt: cut.u32()?, base: cut.u64()?, next: cut.u64()?, end: cut.u64()? };
    let is_ours = (magic, version, usize::from(length)) == (MAGIC, VERSION, HEADER) && own == *of;
    is_ours.then_some((cut.u32()? as usize, cut.u32()?))
}

/// The name of the index of the segment that begins at `base`.
pub(super) fn index_name(base: u64) -> String {
    format!("{base:020}.index")
}

/// The base in an index's name, also in that of one that was not finished; `None` for other files.
pub(super) fn index_base(name: &str) -> Option<u64> {
    let name = name.strip_suffix(UNFINISHED).unwrap_or(name);
    let digits = name.strip_suffix(".index")?;
    (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// What the name of an index ends with until it is whole.
pub(super) const UNFINISHED: &str = ".new";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::disk::RealDisk;

    const OF: Of = Of { salt: 9, base: 100, next: 2100, end: 90_000 };

    fn pairs(n: u32) -> Vec<Pair> {
        let mut pairs: Vec<Pair> = (0..n)
            .flat_map(|n| {
                let subject = if n.is_multiple_of(4) { "often".to_owned() } else { format!("m-{}", n / 3) };
                [hash_of_event(&u128::from(n).to_be_bytes()), hash_of_subject(&subject)]
                    .map(|hash| u64::from(hash) << 32 | u64::from(1024 + n * 40))
            })
            .collect();
        pairs.sort_unstable();
        pairs
    }

    fn opened(bytes: &[u8], of: &Of) -> Option<Index> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("i");
        std::fs::write(&path, bytes).unwrap();
        Index::open(&RealDisk, &path, of)
    }

    #[test]
    fn an_index_gives_the_places_of_every_key_also_of_one_that_fills_blocks() {
        for n in [0, 1, 255, 256, 2000] {
            let index = opened(&encode(&OF, &pairs(n)), &OF).unwrap();
            assert!(index.is_whole());
            let found = |what: Find| index.candidates(&what).unwrap();
            let offset = |n: u32| u64::from(1024 + n * 40);
            for id in 0..n {
                assert_eq!(found(Find::Event(u128::from(id).to_be_bytes())), [offset(id)], "{id} of {n}");
            }
            let often: Vec<u64> = (0..n).step_by(4).map(offset).collect();
            assert_eq!(found(Find::Subject("often".into())), often);
            assert_eq!(found(Find::Subject("nobody".into())), [0; 0]);
            let of_one: Vec<u64> = [15, 17].into_iter().filter(|one| *one < n).map(offset).collect();
            assert_eq!(found(Find::Subject("m-5".into())), of_one);
        }
    }

    #[test]
    fn another_segments_index_and_one_of_another_version_are_none() {
        let good = encode(&OF, &pairs(3));
        for of in [Of { salt: 8, ..OF }, Of { base: 99, ..OF }, Of { next: 2101, ..OF }, Of { end: 90_001, ..OF }] {
            assert!(opened(&good, &of).is_none(), "{of:?}");
        }
        let mut other = good.clone();
        other[8] = 2;
        let crc = crc32c::crc32c(&other[..HEADER - 4]);
        other[HEADER - 4..HEADER].copy_from_slice(&crc.to_le_bytes());
        assert!(opened(&other, &OF).is_none());
        assert!((0..good.len()).step_by(61).all(|len| opened(&good[..len], &OF).is_none()));
        assert!(opened(&[good, vec![0]].concat(), &OF).is_none());
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed() {
        let good = encode(&OF, &pairs(300));
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << (at % 8);
            let whole = opened(&bytes, &OF).is_some_and(|index| index.is_whole());
            assert!(!whole, "byte {at}");
        }
    }

    #[test]
    fn the_bytes_of_an_index_are_those_of_version_1() {
        let bytes = encode(&Of { salt: 1, base: 2, next: 3, end: 4 }, &[0x0000_0007_0000_0400]);
        let golden = "686f6f6b6964781a010040000100000002000000000000000300000000000000040000000000000001000000\
                      b559228c00000000000000000000000066553fd8 07000000 b36e93a1 0700000000040000";
        assert_eq!(hex::encode(&bytes), golden.replace(' ', ""));
        assert_eq!((hash_of_subject("m-1"), hash_of_event(&[7; 16])), (0xe772_5860, 0x8b4a_dc9f));
    }

    #[test]
    fn names_are_read_strictly() {
        assert_eq!(index_base(&index_name(17)), Some(17));
        assert_eq!(index_base(&format!("{}{UNFINISHED}", index_name(17))), Some(17));
        for name in ["17.index", "00000000000000000017.segment", "00000000000000000017.index.old"] {
            assert_eq!(index_base(name), None, "{name}");
        }
    }
}
