//! When each pack was last read and found whole, as this machine remembers it.
//!
//! A file in the cache, and as disposable: without it everything counts as never verified, and a share is
//! drawn at random. Order goes by numbered runs, so that a clock set back changes nothing but what is shown. The
//! numbers are those of the attestations of all machines: a run comes after every one its machine knew.

use crate::cache::Cache;
use format::id::PackId;
use format::kind::Timestamp;
use std::collections::{BTreeMap, HashSet};

/// What was compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Bytes with their name; needs no key.
    Bytes,
    /// Every blob with its id.
    Contents,
}

/// The last time a pack was whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    run: u64,
    secs: i64,
}

pub(crate) const ROW_BYTES: usize = 32 + 8 + 8;

/// What this machine remembers.
pub(crate) struct Ledger {
    cache: Cache,
    name: &'static str,
    rows: BTreeMap<PackId, Row>,
    run: u64,
    unsaved_bytes: u64,
}

/// After so much was read the ledger is written: an interrupted run is taken up again about there.
const SAVE_EVERY_BYTES: u64 = 1 << 30;

impl Ledger {
    /// Reads the ledger and begins a new run.
    pub(crate) fn load(cache: &Cache, depth: Depth) -> Self {
        let name = match depth {
            Depth::Bytes => "verified-bytes",
            Depth::Contents => "verified-contents",
        };
        let rows = cache.read(name).and_then(|bytes| decode(&bytes)).unwrap_or_default();
        let run = rows.values().map(|row| row.run).max().unwrap_or(0).saturating_add(1);
        Ledger { cache: cache.clone(), name, rows, run, unsaved_bytes: 0 }
    }

    /// The run in which a pack was last whole, 0 for never.
    pub(crate) fn last_run(&self, pack: &PackId) -> u64 {
        self.rows.get(pack).map_or(0, |row| row.run)
    }

    /// The number of this run.
    pub(crate) fn run(&self) -> u64 {
        self.run
    }

    /// Takes another machine's word that a pack was whole in a run.
    pub(crate) fn learn(&mut self, pack: PackId, run: u64, secs: i64) {
        if run > self.last_run(&pack) {
            self.rows.insert(pack, Row { run, secs });
            self.run = self.run.max(run.saturating_add(1));
        }
    }

    /// Notes that a pack was read: whole, or not. One that was not comes first next time.
    pub(crate) fn note(&mut self, pack: PackId, pack_bytes: u64, is_whole: bool, now: Timestamp) {
        match is_whole {
            true => _ = self.rows.insert(pack, Row { run: self.run, secs: now.secs }),
            false => _ = self.rows.remove(&pack),
        }
        self.unsaved_bytes += pack_bytes;
        if self.unsaved_bytes >= SAVE_EVERY_BYTES {
            self.save();
        }
    }

    /// Leaves packs out that are not there any more, and writes the ledger.
    pub(crate) fn finish(&mut self, listed: &HashSet<PackId>) -> Coverage {
        self.rows.retain(|id, _| listed.contains(id));
        self.save();
        Coverage {
            never_verified: listed.len() - self.rows.len(),
            oldest_secs: self.rows.values().map(|row| row.secs).min(),
        }
    }

    /// Writes the ledger.
    pub(crate) fn save(&mut self) {
        let mut bytes = Vec::with_capacity(self.rows.len() * ROW_BYTES + 32);
        for (id, row) in &self.rows {
            bytes.extend_from_slice(&id.0);
            bytes.extend_from_slice(&row.run.to_le_bytes());
            bytes.extend_from_slice(&row.secs.to_le_bytes());
        }
        let check = blake3::hash(&bytes);
        bytes.extend_from_slice(check.as_bytes());
        self.cache.store(self.name, bytes);
        self.unsaved_bytes = 0;
    }
}

/// Reads the file; `None` if it is not whole.
pub(crate) fn decode(bytes: &[u8]) -> Option<BTreeMap<PackId, Row>> {
    let (rows, check) = bytes.split_last_chunk::<32>()?;
    if blake3::hash(rows) != *check {
        return None;
    }
    let (rows, rest) = rows.as_chunks::<ROW_BYTES>();
    let word = |row: &[u8; ROW_BYTES], at: usize| {
        u64::from_le_bytes(row[at..at + 8].try_into().expect("a row has 48 bytes"))
    };
    let read = |row: &[u8; ROW_BYTES]| {
        let id = PackId(row[..32].try_into().expect("a row has 48 bytes"));
        (id, Row { run: word(row, 32), secs: word(row, 40) as i64 })
    };
    rest.is_empty().then(|| rows.iter().map(read).collect())
}

/// How much of a repository this machine has verified, at whatever time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Packs never found whole here.
    pub never_verified: usize,
    /// When the pack was whole that was verified longest ago; seconds since 1970.
    pub oldest_secs: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_remembers_and_a_damaged_one_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().into());
        let (a, b) = (PackId([1; 32]), PackId([2; 32]));
        let now = Timestamp { secs: 7, nanos: 0 };
        let mut ledger = Ledger::load(&cache, Depth::Bytes);
        ledger.note(a, 10, true, now);
        ledger.note(b, 10, true, now);
        ledger.finish(&HashSet::from([a, b]));
        let mut ledger = Ledger::load(&cache, Depth::Bytes);
        assert_eq!((ledger.last_run(&a), ledger.last_run(&b)), (1, 1));
        assert_eq!(Ledger::load(&cache, Depth::Contents).last_run(&a), 0, "another depth is another matter");
        ledger.note(a, 10, false, now);
        let coverage = ledger.finish(&HashSet::from([a, b]));
        assert_eq!(coverage, Coverage { never_verified: 1, oldest_secs: Some(7) });
        assert_eq!(Ledger::load(&cache, Depth::Bytes).last_run(&a), 0);
        assert_eq!(Ledger::load(&cache, Depth::Bytes).last_run(&b), 1);
        let path = folder.path().join("verified-bytes");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[40] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(Ledger::load(&cache, Depth::Bytes).last_run(&b), 0);
    }
}
