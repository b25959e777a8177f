//! A disk in memory that fails as disks do: it knows what a power cut would leave.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex};

use hearth_wal::{Disk, GroupWritten, Lsn, SegmentFile, WalError, WalEvents};

/// xorshift: enough for faults.
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n.max(1)
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

#[derive(Debug, Default, Clone)]
struct Inode {
    /// What the process sees.
    seen: Vec<u8>,
    /// What survives a power cut.
    durable: Vec<u8>,
    /// What the next sync writes. A failed sync forgets these: the pages are clean, the disk has nothing.
    dirty: Vec<Range<usize>>,
}

#[derive(Debug, Default, Clone)]
struct Inner {
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    next_inode: u64,
    /// Operations until one fails.
    fuse: Option<u64>,
    /// Everything fails: the process is dead.
    frozen: bool,
    short_writes: bool,
    /// Syncs are reported and not done.
    lies: bool,
    free: u64,
    random: Option<Random>,
}

#[derive(Debug, Clone)]
pub struct FaultyDisk(Arc<Mutex<Inner>>);

impl FaultyDisk {
    pub fn new(seed: u64) -> Self {
        let inner = Inner { free: u64::MAX / 2, random: Some(Random(seed | 1)), ..Inner::default() };
        Self(Arc::new(Mutex::new(inner)))
    }

    pub fn fail_after(&self, operations: u64) {
        self.0.lock().unwrap().fuse = Some(operations);
    }

    /// A call that was going to fail will not. Says whether one has failed already, so that all do.
    pub fn mend(&self) -> bool {
        let mut inner = self.0.lock().unwrap();
        inner.fuse = None;
        inner.frozen
    }

    pub fn short_writes(&self, on: bool) {
        self.0.lock().unwrap().short_writes = on;
    }

    pub fn set_free(&self, bytes: u64) {
        self.0.lock().unwrap().free = bytes;
    }

    /// From here on syncs are reported and not done.
    pub fn lie(&self) {
        self.0.lock().unwrap().lies = true;
    }

    /// A disk with the same content, which nobody has open: what the next process finds while the last one may still act.
    pub fn successor(&self) -> Self {
        Self(Arc::new(Mutex::new(self.0.lock().unwrap().clone())))
    }

    /// From here on every call fails.
    pub fn freeze(&self) {
        self.0.lock().unwrap().frozen = true;
    }

    /// The process is started again on the same machine: the page cache is as it was.
    pub fn restart(&self) {
        let mut inner = self.0.lock().unwrap();
        (inner.frozen, inner.fuse) = (false, None);
    }

    /// The machine is started again: only what was synced is there, and some of what was on its way.
    pub fn power_cut(&self) {
        let mut inner = self.0.lock().unwrap();
        (inner.frozen, inner.fuse) = (false, None);
        let mut random = inner.random.take().unwrap();
        inner.names = inner.durable_names.clone();
        for inode in inner.inodes.values_mut() {
            let from = inode.durable.len();
            if inode.seen.len() > from && !inode.dirty.is_empty() {
                // A part of the tail made it, then perhaps rubbish.
                let tail = inode.seen[from..].to_vec();
                let kept = random.below(tail.len() as u64 + 1) as usize;
                inode.durable.extend_from_slice(&tail[..kept]);
                if kept < tail.len() && random.chance(50) {
                    let rubbish = random.below((tail.len() - kept) as u64) as usize;
                    let fill = if random.chance(50) { 0 } else { random.next() as u8 };
                    inode.durable.extend(std::iter::repeat_n(fill, rubbish));
                }
            }
            inode.seen = inode.durable.clone();
            inode.dirty.clear();
        }
        inner.random = Some(random);
    }

    pub fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().names.keys().cloned().collect()
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        let inner = self.0.lock().unwrap();
        inner.inodes[&inner.names[name]].seen.clone()
    }

    /// Puts a file there, durably.
    pub fn plant(&self, name: &str, bytes: Vec<u8>) {
        let mut inner = self.0.lock().unwrap();
        let number = inner.next_inode;
        inner.next_inode += 1;
        inner.inodes.insert(number, Inode { durable: bytes.clone(), seen: bytes, dirty: Vec::new() });
        inner.names.insert(name.to_owned(), number);
        inner.durable_names.insert(name.to_owned(), number);
    }

    fn enter(&self) -> io::Result<std::sync::MutexGuard<'_, Inner>> {
        let mut inner = self.0.lock().unwrap();
        if inner.frozen {
            return Err(io::Error::other("the process is dead"));
        }
        if let Some(left) = &mut inner.fuse {
            if *left == 0 {
                inner.frozen = true;
                return Err(io::Error::from_raw_os_error(if inner.free.is_multiple_of(2) { 5 } else { 28 }));
            }
            *left -= 1;
        }
        Ok(inner)
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk for FaultyDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.enter()?.names.keys().cloned().collect())
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        let inner = self.enter()?;
        let number = inner.names.get(name).ok_or_else(missing)?;
        Ok(inner.inodes[number].seen.len() as u64)
    }

    fn read(&self, name: &str, limit: u64) -> io::Result<Vec<u8>> {
        let inner = self.enter()?;
        let number = inner.names.get(name).ok_or_else(missing)?;
        let seen = &inner.inodes[number].seen;
        Ok(seen[..seen.len().min(limit as usize)].to_vec())
    }

    fn read_range(&self, name: &str, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let inner = self.enter()?;
        let number = inner.names.get(name).ok_or_else(missing)?;
        let found = inner.inodes[number].seen.get(offset as usize..offset as usize + bytes);
        Ok(found.ok_or(io::ErrorKind::UnexpectedEof)?.to_vec())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn SegmentFile>> {
        let mut inner = self.enter()?;
        let number = inner.next_inode;
        inner.next_inode += 1;
        inner.inodes.insert(number, Inode::default());
        inner.names.insert(name.to_owned(), number);
        Ok(Box::new(FaultyFile { disk: self.clone(), number }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn SegmentFile>> {
        let number = *self.enter()?.names.get(name).ok_or_else(missing)?;
        Ok(Box::new(FaultyFile { disk: self.clone(), number }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.enter()?;
        let number = inner.names.remove(from).ok_or_else(missing)?;
        inner.names.insert(to.to_owned(), number);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.enter()?.names.remove(name).map(|_| ()).ok_or_else(missing)
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut inner = self.enter()?;
        inner.durable_names = inner.names.clone();
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().free)
    }
}

#[derive(Debug)]
struct FaultyFile {
    disk: FaultyDisk,
    number: u64,
}

impl SegmentFile for FaultyFile {
    fn append(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut inner = self.disk.enter()?;
        let mut bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        if inner.short_writes {
            let len = bytes.len() as u64;
            let random = inner.random.as_mut().unwrap();
            bytes.truncate((1 + random.below(len)) as usize);
        }
        let inode = inner.inodes.get_mut(&self.number).unwrap();
        let from = inode.seen.len();
        inode.seen.extend_from_slice(&bytes);
        inode.dirty.push(from..inode.seen.len());
        Ok(bytes.len())
    }

    fn rewrite(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.disk.enter()?;
        let inode = inner.inodes.get_mut(&self.number).unwrap();
        let range = offset as usize..offset as usize + bytes.len();
        inode.seen[range.clone()].copy_from_slice(bytes);
        inode.dirty.push(range);
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        let mut inner = self.disk.enter()?;
        let inode = inner.inodes.get_mut(&self.number).unwrap();
        inode.seen.truncate(len as usize);
        inode.durable.truncate(len as usize);
        inode.dirty.push(len as usize..len as usize);
        Ok(())
    }

    fn sync_data(&mut self) -> io::Result<()> {
        let entered = self.disk.enter().map(|_| ());
        let mut inner = self.disk.0.lock().unwrap();
        if inner.lies {
            return entered;
        }
        let inode = inner.inodes.get_mut(&self.number).unwrap();
        let dirty = std::mem::take(&mut inode.dirty);
        entered?;
        for range in dirty {
            let end = range.end.min(inode.seen.len());
            if end > inode.durable.len() {
                inode.durable.resize(end, 0);
            }
            let start = range.start.min(end);
            let bytes = inode.seen[start..end].to_vec();
            inode.durable[start..end].copy_from_slice(&bytes);
        }
        Ok(())
    }
}

/// Remembers what a log reports, and waits for it.
#[derive(Debug, Default)]
pub struct Told {
    state: Mutex<(u64, Option<String>, Vec<GroupWritten>)>,
    changed: Condvar,
}

impl Told {
    pub fn durable_upto(&self) -> u64 {
        self.state.lock().unwrap().0
    }

    pub fn failure(&self) -> Option<String> {
        self.state.lock().unwrap().1.clone()
    }

    pub fn groups(&self) -> Vec<GroupWritten> {
        self.state.lock().unwrap().2.clone()
    }

    /// Waits until the entry is durable or writing failed; says which.
    pub fn wait(&self, lsn: Lsn) -> bool {
        let state = self.state.lock().unwrap();
        let state = self.changed.wait_while(state, |s| s.0 < lsn.0 && s.1.is_none()).unwrap();
        state.0 >= lsn.0
    }
}

impl WalEvents for Told {
    fn durable(&self, upto: Lsn) {
        let mut state = self.state.lock().unwrap();
        assert!(upto.0 > state.0, "durable grows");
        assert!(state.1.is_none(), "nothing is durable after a failure");
        state.0 = upto.0;
        self.changed.notify_all();
    }

    fn failed(&self, error: &WalError) {
        let mut state = self.state.lock().unwrap();
        assert!(state.1.is_none(), "a failure is told once");
        state.1 = Some(error.to_string());
        self.changed.notify_all();
    }

    fn group(&self, group: GroupWritten) {
        self.state.lock().unwrap().2.push(group);
    }
}
