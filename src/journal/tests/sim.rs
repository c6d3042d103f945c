//! A disk in memory that can lose its power. What was not flushed is lost then in any combination of sectors; names
//! that were not flushed are there or not; a flush that fails leaves any part of it on the disk and forgets the rest,
//! so that the next flush says yes to what is gone. Errors and a full disk can be had at any operation.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::faulty::{EIO, ENOSPC};
use crate::journal::JournalError;
use crate::journal::disk::{Disk, DiskFile, FolderLock, Identity};

/// What a disk writes whole or not at all, mostly.
const SECTOR: usize = 512;

/// An operation that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Write,
    Sync,
    Create,
    SyncDir,
    Truncate,
    Unlink,
    Rename,
}

/// Random numbers, the same for the same seed (splitmix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % below.max(1) as u64) as usize
    }
}

/// One change since the last flush: whole sectors, and the file's size after it.
struct Change {
    first: usize,
    bytes: Vec<u8>,
    size: usize,
}

#[derive(Default)]
struct Node {
    /// What a reader sees.
    now: Vec<u8>,
    /// What is surely on the disk.
    kept: Vec<u8>,
    /// What may be, in the order it was done.
    dirty: Vec<Change>,
}

impl Node {
    fn write(&mut self, bytes: &[u8], at: usize) {
        let end = at + bytes.len();
        self.now.resize(self.now.len().max(end), 0);
        self.now[at..end].copy_from_slice(bytes);
        self.note(at, end);
    }

    fn truncate(&mut self, len: usize) {
        let old = self.now.len();
        self.now.resize(len, 0);
        self.note(len.min(old), old.max(len));
    }

    /// The cache holds whole sectors: those of this stretch go to the disk as they are now.
    fn note(&mut self, from: usize, to: usize) {
        let first = from / SECTOR;
        let mut bytes = self.now.get(first * SECTOR..).unwrap_or_default().to_vec();
        bytes.resize(to.div_ceil(SECTOR).max(first) * SECTOR - first * SECTOR, 0);
        self.dirty.push(Change { first, bytes, size: self.now.len() });
    }

    /// A sector after the first `done` changes.
    fn sector(&self, n: usize, done: usize, blank: &[u8]) -> Vec<u8> {
        let last = self.dirty[..done].iter().rev().find_map(|change| {
            let at = n.checked_sub(change.first)? * SECTOR;
            change.bytes.get(at..at + SECTOR)
        });
        let was = || self.kept.get(n * SECTOR..).unwrap_or_default();
        let mut sector = last.unwrap_or_else(was).to_vec();
        sector.truncate(SECTOR);
        let have = sector.len();
        // Beyond its end a file has zeros, or what stood in those blocks before.
        sector.extend_from_slice(&blank[have..]);
        sector
    }

    fn size(&self, done: usize) -> usize {
        done.checked_sub(1).map_or(self.kept.len(), |last| self.dirty[last].size)
    }

    /// What is on the disk if the power goes now.
    fn torn(&self, dice: &mut Dice, stale: &[u8]) -> Vec<u8> {
        let all = self.dirty.len();
        let mode = dice.roll(6);
        let done = match mode {
            0 => 0,
            1 => all,
            _ => dice.roll(all + 1),
        };
        let sizes = (0..=all).map(|n| self.size(n));
        let (least, most) = (sizes.clone().min().unwrap_or(0), sizes.max().unwrap_or(0));
        let size = match mode {
            0 | 1 => self.size(done),
            2 => least + dice.roll(most - least + 1),
            _ => self.size(dice.roll(all + 1)),
        };
        let mut image = Vec::with_capacity(size + SECTOR);
        for n in 0..size.div_ceil(SECTOR) {
            let start = dice.roll(stale.len().saturating_sub(SECTOR) / SECTOR + 1) * SECTOR;
            let old = stale.get(start..start + SECTOR).filter(|_| mode == 5);
            let blank = old.unwrap_or(&[0; SECTOR]);
            let mut sector = self.sector(n, if mode < 3 { done } else { dice.roll(all + 1) }, blank);
            if mode == 4 && dice.roll(4) == 0 {
                // Even a sector may be torn: its beginning from before, its end from after, or the other way round.
                let at = dice.roll(SECTOR);
                let other = self.sector(n, dice.roll(all + 1), blank);
                sector[at..].copy_from_slice(&other[at..]);
            }
            image.extend(sector);
        }
        image.truncate(size);
        image
    }
}

/// A change of a folder that was not flushed.
struct Move {
    gone: Option<PathBuf>,
    come: Option<PathBuf>,
    node: usize,
}

impl Move {
    fn is_in(&self, dir: &Path) -> bool {
        [&self.gone, &self.come].into_iter().flatten().any(|path| path.parent() == Some(dir))
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        if let Some(gone) = self.gone.as_ref().filter(|gone| names.get(*gone) == Some(&self.node)) {
            names.remove(gone);
        }
        if let Some(come) = &self.come {
            names.insert(come.clone(), self.node);
        }
    }
}

struct Fault {
    kind: Kind,
    /// How many of them pass before.
    skip: usize,
    errno: i32,
}

struct State {
    nodes: Vec<Node>,
    names: BTreeMap<PathBuf, usize>,
    kept_names: BTreeMap<PathBuf, usize>,
    moves: Vec<Move>,
    faults: Vec<Fault>,
    /// Bytes that still fit.
    room: usize,
    /// The power goes at this operation from now.
    cut: Option<usize>,
    dead: bool,
    lies: bool,
    failed_syncs: usize,
    dice: Dice,
}

impl State {
    /// Whether an operation goes on, or its error.
    fn before(&mut self, kind: Kind) -> Result<(), i32> {
        if self.dead {
            return Err(EIO);
        }
        if let Some(left) = self.cut {
            self.cut = left.checked_sub(1);
            self.dead = left == 0;
        }
        if self.dead {
            return Err(EIO);
        }
        let mut of_kind = self.faults.iter_mut().enumerate().filter(|(_, fault)| fault.kind == kind);
        let due = of_kind.find_map(|(place, fault)| match fault.skip.checked_sub(1) {
            Some(left) => {
                fault.skip = left;
                None
            }
            None => Some(place),
        });
        due.map_or(Ok(()), |place| Err(self.faults.remove(place).errno))
    }

    fn stale(&mut self) -> Vec<u8> {
        let one = self.dice.roll(self.nodes.len());
        self.nodes.get(one).map(|node| node.now.clone()).unwrap_or_default()
    }

    fn flush(&mut self, node: usize) -> Result<(), i32> {
        let done = self.before(Kind::Sync);
        if self.lies {
            return Ok(());
        }
        let stale = self.stale();
        let (state, dice) = (&mut self.nodes[node], &mut self.dice);
        match done {
            Ok(()) => {
                state.kept = state.now.clone();
                state.dirty.clear();
            }
            // Some systems keep for a later try what they could not write; most forget it.
            Err(_) if self.dead || dice.roll(3) == 0 => self.failed_syncs += 1,
            Err(_) => {
                state.kept = state.torn(dice, &stale);
                state.dirty.clear();
                self.failed_syncs += 1;
            }
        }
        done
    }

    fn write(&mut self, node: usize, bytes: &[u8], at: usize) -> Result<(), i32> {
        let done = self.before(Kind::Write);
        let grows = (at + bytes.len()).saturating_sub(self.nodes[node].now.len());
        let done = if grows > self.room { done.and(Err(ENOSPC)) } else { done };
        let fits = bytes.len() - grows.saturating_sub(self.room).min(bytes.len());
        let part = if done.is_ok() { bytes.len() } else { self.dice.roll(fits + 1) };
        if part > 0 {
            self.room -= (at + part).saturating_sub(self.nodes[node].now.len()).min(self.room);
            self.nodes[node].write(&bytes[..part], at);
        }
        done
    }

    fn moved(&mut self, change: Move) {
        change.apply(&mut self.names);
        self.moves.push(change);
    }
}

/// The disk.
pub struct SimDisk(Mutex<State>);

impl SimDisk {
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            nodes: Vec::new(),
            names: BTreeMap::new(),
            kept_names: BTreeMap::new(),
            moves: Vec::new(),
            faults: Vec::new(),
            room: usize::MAX,
            cut: None,
            dead: false,
            lies: false,
            failed_syncs: 0,
            dice: Dice(seed),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// One operation of a kind fails, after `skip` others of it.
    pub fn fail(&self, kind: Kind, skip: usize, errno: i32) {
        self.state().faults.push(Fault { kind, skip, errno });
    }

    /// Only so many bytes more fit.
    pub fn room(&self, bytes: usize) {
        self.state().room = bytes;
    }

    /// The power goes in the middle of an operation, after so many others.
    pub fn cut_after(&self, operations: usize) {
        self.state().cut = Some(operations);
    }

    /// From now on a flush says yes and does nothing.
    pub fn lie(&self) {
        self.state().lies = true;
    }

    pub fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// How many flushes have failed so far.
    pub fn failed_syncs(&self) -> usize {
        self.state().failed_syncs
    }

    /// What would still go wrong no longer does.
    pub fn heal(&self) {
        let mut state = self.state();
        state.faults.clear();
        (state.cut, state.room) = (None, usize::MAX);
    }

    /// The power goes, and comes again.
    pub fn lose_power(&self, seed: u64) {
        self.heal();
        let mut guard = self.state();
        let state = &mut *guard;
        (state.dead, state.dice) = (false, Dice(seed));
        let stale = state.stale();
        for node in &mut state.nodes {
            let image = node.torn(&mut state.dice, &stale);
            (node.now, node.kept) = (image.clone(), image);
            node.dirty.clear();
        }
        for change in std::mem::take(&mut state.moves) {
            if state.dice.roll(2) == 0 {
                change.apply(&mut state.kept_names);
            }
        }
        state.names = state.kept_names.clone();
    }
}

struct SimFile {
    disk: Arc<SimDisk>,
    node: usize,
}

fn os(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

impl DiskFile for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.state();
        if state.dead {
            return Err(os(EIO));
        }
        let rest = state.nodes[self.node].now.get(offset as usize..).unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.state().write(self.node, bytes, offset as usize).map_err(os)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.state().flush(self.node).map_err(os)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.before(Kind::Truncate).map_err(os)?;
        state.nodes[self.node].truncate(len as usize);
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        let state = self.disk.state();
        if state.dead { Err(os(EIO)) } else { Ok(state.nodes[self.node].now.len() as u64) }
    }

    fn identity(&self) -> io::Result<Identity> {
        Ok((1, self.node as u64))
    }

    fn is_linked(&self) -> io::Result<bool> {
        Ok(self.disk.state().names.values().any(|node| *node == self.node))
    }
}

/// The disk as the journal gets it.
pub struct Plug(pub Arc<SimDisk>);

impl Plug {
    fn file(&self, node: usize) -> Arc<dyn DiskFile> {
        Arc::new(SimFile { disk: Arc::clone(&self.0), node })
    }
}

impl Disk for Plug {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.0.state();
        state.before(Kind::Create).map_err(os)?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.nodes.push(Node::default());
        let node = state.nodes.len() - 1;
        state.moved(Move { gone: None, come: Some(path.to_owned()), node });
        Ok(self.file(node))
    }

    fn open(&self, path: &Path, _write: bool) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.0.state();
        if state.dead {
            return Err(os(EIO));
        }
        let node = state.names.get(path).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(node))
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.state();
        state.before(Kind::Unlink).map_err(os)?;
        let node = state.names.get(path).copied().ok_or(io::ErrorKind::NotFound)?;
        state.moved(Move { gone: Some(path.to_owned()), come: None, node });
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.state();
        state.before(Kind::Rename).map_err(os)?;
        let node = state.names.get(from).copied().ok_or(io::ErrorKind::NotFound)?;
        state.moved(Move { gone: Some(from.to_owned()), come: Some(to.to_owned()), node });
        Ok(())
    }

    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        // Flushed by itself, as the seam promises.
        if self.0.is_dead() { Err(os(EIO)) } else { Ok(()) }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut guard = self.0.state();
        let state = &mut *guard;
        state.before(Kind::SyncDir).map_err(os)?;
        let (flushed, rest) = std::mem::take(&mut state.moves).into_iter().partition(|change| change.is_in(dir));
        state.moves = rest;
        let flushed: Vec<Move> = flushed;
        flushed.iter().for_each(|change| change.apply(&mut state.kept_names));
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.0.state();
        if state.dead {
            return Err(os(EIO));
        }
        let inside = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn free_space(&self, _dir: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    fn identity(&self, path: &Path) -> io::Result<Identity> {
        let state = self.0.state();
        let is_folder = state.names.keys().all(|name| name != path) && path.extension().is_none();
        match state.names.get(path) {
            _ if state.dead => Err(os(EIO)),
            _ if is_folder => Ok((0, 0)),
            Some(node) => Ok((1, *node as u64)),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn lock(&self, _dir: &Path) -> Result<FolderLock, JournalError> {
        Ok(Box::new(()))
    }
}
