//! The parent snapshot as a stream of entries beside the walk.

use format::kind::Timestamp;
use format::tree::{Entry, KeptLeaf, Marks, Root};
use host::Stat;
use repo::RepoResult;
use repo::browse::{Leaves, PlacedLeaf};
use repo::reader::Reader;
use std::sync::Arc;
use storage::planted;

/// An entry of the parent snapshot: its leaf and its place therein.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) leaf: Arc<KeptLeaf>,
    pub(super) index: usize,
}

impl Known {
    pub(super) fn entry(&self) -> &Entry {
        &self.leaf.leaf.entries[self.index]
    }
}

/// Goes through a tree in key order, always forward.
pub(super) struct ParentCursor<'r> {
    leaves: Option<Leaves<'r>>,
    current: Option<Known>,
    /// Entries passed over: paths that are no longer there.
    pub(super) removed: u64,
    /// The entries passed over, where somebody wants them.
    passed: Option<Vec<Known>>,
}

impl<'r> ParentCursor<'r> {
    /// At the beginning of a tree; without one nothing is ever known.
    pub(super) fn open(reader: &'r Reader, root: Option<Root>) -> RepoResult<Self> {
        let leaves = root.map(|root| Leaves::from_key(reader, root, &[])).transpose()?;
        let mut cursor = ParentCursor { leaves, current: None, removed: 0, passed: None };
        cursor.next_leaf()?;
        Ok(cursor)
    }

    /// Keeps what is passed over until it is taken.
    pub(super) fn keeping_passed(mut self) -> Self {
        self.passed = Some(Vec::new());
        self
    }

    /// What was passed over since the last time.
    pub(super) fn take_passed(&mut self) -> Vec<Known> {
        self.passed.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn pass_over(&mut self) -> RepoResult<()> {
        self.removed += 1;
        if let (Some(passed), Some(known)) = (&mut self.passed, &self.current) {
            passed.push(known.clone());
        }
        self.step()
    }

    fn next_leaf(&mut self) -> RepoResult<()> {
        let next = self.leaves.as_mut().map(Leaves::next_leaf).transpose()?.flatten();
        self.current = next.map(|PlacedLeaf { leaf, child, is_last }| Known {
            leaf: Arc::new(KeptLeaf { leaf, child, is_last }),
            index: 0,
        });
        Ok(())
    }

    fn step(&mut self) -> RepoResult<()> {
        match &mut self.current {
            Some(known) if known.index + 1 < known.leaf.leaf.len() => {
                known.index += 1;
                Ok(())
            }
            _ => self.next_leaf(),
        }
    }

    /// The entry under this key, if the parent has one. Keys must be asked for in ascending order.
    pub(super) fn find(&mut self, key: &[u8]) -> RepoResult<Option<Known>> {
        while let Some(known) = &self.current {
            match known.leaf.leaf.key(known.index).cmp(key) {
                std::cmp::Ordering::Less => self.pass_over()?,
                std::cmp::Ordering::Greater => return Ok(None),
                std::cmp::Ordering::Equal => {
                    let found = known.clone();
                    self.step()?;
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    /// Counts what is left as removed.
    pub(super) fn finish(&mut self) -> RepoResult<()> {
        while self.current.is_some() {
            self.pass_over()?;
        }
        Ok(())
    }
}

/// A modification this close to the parent's start may have happened after the file was read then, within
/// one tick of the file system's clock.
const RACY_SECS: i64 = 2;

/// Whether a path is surely what the parent recorded.
///
/// Device numbers are not compared: they change with every mount of a snapshot or a network file system.
pub(super) fn unchanged(entry: &Entry, now: &Stat, parent_start: Timestamp, ignore_inode: bool) -> bool {
    let class = &entry.class;
    let same = class.kind == now.kind
        && entry.mtime == now.mtime
        && (class.kind != format::kind::Kind::File || entry.size_bytes == now.size_bytes)
        && !entry.marks.has(Marks::CHANGED)
        && !entry.marks.has(Marks::UNREADABLE);
    if !same {
        return false;
    }
    if ignore_inode {
        let kept = class.mode == now.mode && class.owner.uid == now.uid && class.owner.gid == now.gid;
        return kept && !is_racy(now.mtime, parent_start);
    }
    (entry.ctime == now.ctime || planted::is("change-time-ignored"))
        && entry.inode == now.inode
        && !is_racy(now.mtime, parent_start)
        && !is_racy(now.ctime, parent_start)
}

fn is_racy(time: Timestamp, start: Timestamp) -> bool {
    time.secs >= start.secs.saturating_sub(RACY_SECS)
}
