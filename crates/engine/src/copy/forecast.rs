//! What copying snapshots into a repository of another family would take, told before anything is done.
//!
//! Counts the distinct blocks that would be read. What is stored is at most as much: it is cut and compressed anew
//! in the same way, and what the target has already is not known before it was read.

use super::{is_copy, writer_of_copies};
use format::id::{BlobId, PackId};
use format::snapshot::Snapshot;
use repo::RepoResult;
use repo::browse::visit_blobs;
use repo::reader::Reader;
use repo::snapshots::SnapshotList;
use std::collections::HashSet;
use std::ops::ControlFlow;

/// The sums over all snapshots that were added.
pub struct Forecast<'r> {
    source: &'r Reader,
    target: &'r Reader,
    there: SnapshotList,
    nodes: HashSet<BlobId>,
    blocks: HashSet<(PackId, u32)>,
    /// Snapshots that would be made.
    pub snapshots: u64,
    /// Bytes of blocks to read; at most so many are stored.
    pub read_bytes: u64,
}

impl<'r> Forecast<'r> {
    /// Nothing yet.
    pub fn begin(source: &'r Reader, target: &'r Reader) -> RepoResult<Self> {
        let there = SnapshotList::read(target.repo())?;
        Ok(Forecast {
            source,
            target,
            there,
            nodes: HashSet::new(),
            blocks: HashSet::new(),
            snapshots: 0,
            read_bytes: 0,
        })
    }

    /// Adds a snapshot, unless it is there already: then false.
    pub fn add(&mut self, snapshot: &Snapshot) -> RepoResult<bool> {
        let writer = writer_of_copies(&snapshot.writer, &self.source.repo().identity().family);
        let copy = Snapshot { writer, ..snapshot.clone() };
        if self.there.snapshots.iter().any(|stored| is_copy(&stored.snapshot, &copy)) {
            return Ok(false);
        }
        let (source, blocks, read_bytes) = (self.source, &mut self.blocks, &mut self.read_bytes);
        visit_blobs(source, snapshot.root, &mut self.nodes, &mut |kind, id| {
            if let Some(place) = source.locate(kind, id).first()
                && blocks.insert((place.pack, place.block.offset))
            {
                *read_bytes += u64::from(place.block.stored_bytes);
            }
            ControlFlow::Continue(())
        })?;
        self.snapshots += 1;
        Ok(true)
    }

    /// Requests to the source: a read for each block.
    pub fn source_requests(&self) -> u64 {
        self.blocks.len() as u64
    }

    /// Requests to the target, at most: packs, and for each snapshot a segment, pending records, both copies of the
    /// record, and the confirmation.
    pub fn target_requests(&self) -> u64 {
        let pack_bytes = self.target.repo().parameters().pack_bytes.max(1);
        if self.snapshots == 0 { 0 } else { self.read_bytes.div_ceil(pack_bytes) + 10 * self.snapshots }
    }
}
