//! The last good version of what is hurt: which snapshot still has a path whole.

use super::walk::{At, Walked};
use super::{Good, Hurt};
use crate::browse::{Leaves, lookup, visit_entry};
use crate::error::RepoResult;
use crate::reader::Reader;
use crate::snapshots::SnapshotList;
use format::id::SnapshotId;
use format::snapshot::Snapshot;
use format::tree::{Entry, KeyPath, Marks};
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

/// Paths looked up in other snapshots at most; a repository that lost so much is beyond naming each.
const LOOKUPS_MAX: usize = 100_000;
/// Paths named for a lost node, from a snapshot that has that part of the tree.
const RANGE_PATHS_MAX: usize = 100;

/// A key and who has it whole.
type GoodKey = (Vec<u8>, Good);

/// Looks for good versions.
pub(crate) struct GoodVersions<'a> {
    reader: &'a Reader,
    walked: &'a Walked,
    /// Newest first.
    snapshots: Vec<&'a Snapshot>,
    keys: HashMap<Vec<u8>, Option<Good>>,
    ranges: HashMap<(Vec<u8>, Vec<u8>), Vec<GoodKey>>,
    lookups: usize,
}

impl<'a> GoodVersions<'a> {
    pub(crate) fn new(reader: &'a Reader, list: &'a SnapshotList, walked: &'a Walked) -> Self {
        let snapshots = list.visible().rev().collect();
        GoodVersions { reader, walked, snapshots, keys: HashMap::new(), ranges: HashMap::new(), lookups: 0 }
    }

    /// The paths of a place, each with its last good version. The paths below a lost node are those that
    /// another snapshot has there.
    pub(crate) fn hurts(&mut self, snapshot: SnapshotId, at: &At) -> Vec<Hurt> {
        match at {
            At::Key(key) => {
                vec![Hurt { snapshot, path: path_of(key), is_whole_part: false, good: self.of_key(key) }]
            }
            At::Range(after, up_to) => {
                let path = if up_to.is_empty() { b"/".to_vec() } else { path_of(up_to) };
                let part = Hurt { snapshot, path, is_whole_part: true, good: None };
                let below = self.of_range(after, up_to).iter().map(|(key, good)| Hurt {
                    snapshot,
                    path: path_of(key),
                    is_whole_part: false,
                    good: Some(good.clone()),
                });
                std::iter::once(part).chain(below).collect()
            }
        }
    }

    fn of_key(&mut self, key: &[u8]) -> Option<Good> {
        if let Some(known) = self.keys.get(key) {
            return known.clone();
        }
        let good = self.snapshots.clone().into_iter().find(|s| {
            self.lookups += 1;
            self.lookups <= LOOKUPS_MAX
                && lookup(self.reader, s.root, key).is_ok_and(|e| e.is_some_and(|e| self.is_whole(&e)))
        });
        let good = good.map(Good::of);
        self.keys.insert(key.to_vec(), good.clone());
        good
    }

    fn of_range(&mut self, after: &[u8], up_to: &[u8]) -> &[GoodKey] {
        let range = (after.to_vec(), up_to.to_vec());
        if !self.ranges.contains_key(&range) {
            let found = self.snapshots.iter().find_map(|s| {
                let keys = self.keys_between(s, after, up_to).ok()?;
                Some(keys.into_iter().map(|key| (key, Good::of(s))).collect())
            });
            self.ranges.insert(range.clone(), found.unwrap_or_default());
        }
        &self.ranges[&range]
    }

    /// The first keys of whole entries in a part of a tree; an error where that part cannot be read.
    fn keys_between(&self, snapshot: &Snapshot, after: &[u8], up_to: &[u8]) -> RepoResult<Vec<Vec<u8>>> {
        let mut leaves = Leaves::from_key(self.reader, snapshot.root, after)?;
        let mut keys = Vec::new();
        while let Some(placed) = leaves.next_leaf()? {
            for i in 0..placed.leaf.len() {
                let key = placed.leaf.key(i);
                if (!up_to.is_empty() && key > up_to) || keys.len() >= RANGE_PATHS_MAX {
                    return Ok(keys);
                }
                if key > after && self.is_whole(&placed.leaf.entries[i]) {
                    keys.push(key.to_vec());
                }
            }
        }
        Ok(keys)
    }

    fn is_whole(&self, entry: &Entry) -> bool {
        let mut is_whole = true;
        let visited = visit_entry(self.reader, entry, &mut HashSet::new(), &mut |kind, id| {
            is_whole &= !self.walked.lost.contains_key(&(kind, *id));
            if is_whole { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        visited.is_ok() && is_whole && !entry.marks.has(Marks::UNREADABLE)
    }
}

impl Good {
    fn of(snapshot: &Snapshot) -> Self {
        Good { snapshot: snapshot.id, time: snapshot.time }
    }
}

pub(crate) fn path_of(key: &[u8]) -> Vec<u8> {
    KeyPath::parse(key).map(|p| p.display_bytes()).unwrap_or_default()
}
