//! A snapshot's tree without some of its paths. Nothing is deleted here: a new tree is built from the old one's
//! entries, leaves that keep all of theirs are reused as they are, and publishing it is the caller's.

use crate::browse::{Leaves, PlacedLeaf, lookup};
use crate::erasures::ErasedHistory;
use crate::error::{RepoError, RepoResult};
use crate::reader::Reader;
use crate::writer::Writer;
use format::erase::{Erasure, below};
use format::id::BlobId;
use format::kind::Kind;
use format::snapshot::Snapshot;
use format::tree::{KeptLeaf, Root, TreeBuilder, TreeSink};
use std::sync::Arc;

/// What was left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Paths of any kind.
    pub entries: u64,
    /// Files among them.
    pub files: u64,
    /// Bytes of these files.
    pub bytes: u64,
}

struct Nodes<'w>(&'w mut Writer);

impl TreeSink for Nodes<'_> {
    type Error = RepoError;
    fn put_node(&mut self, node: &[u8]) -> RepoResult<BlobId> {
        self.0.put_node(node)
    }
}

/// Whether a tree holds any path that an erasure names, or anything below one.
pub fn holds(reader: &Reader, root: Root, erasure: &Erasure) -> RepoResult<bool> {
    for path in &erasure.paths {
        if lookup(reader, root, path)?.is_some() {
            return Ok(true);
        }
        let below = below(path);
        if let Some(PlacedLeaf { leaf, .. }) = Leaves::from_key(reader, root, &below)?.next_leaf()? {
            let i = leaf.lower_bound(&below);
            if i < leaf.len() && leaf.key(i).starts_with(&below) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// How many snapshots an erasure covers that hold what it names still: a hold or the minimum age keeps them, or nobody has
/// rewritten them yet.
pub fn holding<'s>(
    reader: &Reader,
    snapshots: impl Iterator<Item = &'s Snapshot>,
    erasure: &Erasure,
) -> RepoResult<usize> {
    let mut holding = 0;
    for snapshot in snapshots.filter(|snapshot| erasure.covers(snapshot)) {
        holding += usize::from(holds(reader, snapshot.root, erasure)?);
    }
    Ok(holding)
}

/// How many snapshots hold what was erased though nothing protects them: nobody has rewritten them yet, as in a copy
/// that was away.
pub fn not_rewritten<'s>(
    reader: &Reader,
    snapshots: impl Iterator<Item = &'s Snapshot>,
) -> RepoResult<usize> {
    let history = ErasedHistory::read(reader.repo())?;
    let mut left = 0;
    for snapshot in snapshots {
        for erasure in history.of(snapshot).erasures() {
            if holds(reader, snapshot.root, erasure)? {
                left += 1;
                break;
            }
        }
    }
    Ok(left)
}

/// What an erasure takes out of a tree. Reads the leaves that hold it only.
pub fn count(reader: &Reader, root: Root, erasure: &Erasure) -> RepoResult<LeftOut> {
    let mut left_out = LeftOut::default();
    for path in &erasure.paths {
        let mut add = |entry: &format::tree::Entry| {
            left_out.entries += 1;
            left_out.files += u64::from(entry.kind() == Kind::File);
            left_out.bytes += entry.size_bytes;
        };
        if let Some(entry) = lookup(reader, root, path)? {
            add(&entry);
        }
        crate::browse::visit_range(reader, root, &below(path), &mut |_, entry| {
            add(entry);
            Ok(std::ops::ControlFlow::Continue(()))
        })?;
    }
    Ok(left_out)
}

/// Builds the tree without what is erased; `None` when nothing is left of it.
pub fn without(
    reader: &Reader,
    writer: &mut Writer,
    root: Root,
    erasure: &Erasure,
) -> RepoResult<(Option<Root>, LeftOut)> {
    let mut builder = TreeBuilder::new(reader.repo().keys().boundaries());
    let mut leaves = Leaves::from_key(reader, root, &[])?;
    let mut left_out = LeftOut::default();
    // A damaged leaf ends it: what it held cannot be left out knowingly.
    while let Some(PlacedLeaf { leaf, child, is_last }) = leaves.next_leaf()? {
        let keys: Vec<Vec<u8>> = (0..leaf.len()).map(|i| leaf.key(i).to_vec()).collect();
        let kept = Arc::new(KeptLeaf { leaf, child, is_last });
        for (i, key) in keys.iter().enumerate() {
            let entry = &kept.leaf.entries[i];
            if erasure.erases(key) {
                left_out.entries += 1;
                left_out.files += u64::from(entry.kind() == Kind::File);
                left_out.bytes += entry.size_bytes;
            } else {
                builder.keep(&kept, i, &mut Nodes(writer))?;
            }
        }
    }
    Ok((builder.finish(&mut Nodes(writer))?, left_out))
}
