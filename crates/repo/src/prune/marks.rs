//! Which blobs the roots reach: one bit for each row of the index.
//!
//! Reachability is a fact about immutable trees, so it may be kept from one listing to the next and added
//! to. What is *not* kept is any verdict about copies: that is made anew against the newest index.

use crate::browse::visit_blobs;
use crate::error::{RepoError, RepoResult};
use crate::index::{Index, PackListing, SegmentFile};
use crate::names;
use crate::prune::roots::{Roots, Tree};
use crate::reader::{Reader, chain};
use format::id::{BlobId, BlobKind, SnapshotId};
use format::index::IndexKey;
use format::tree::Root;
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use storage::ErrorKind;

/// Whether neither copy of a snapshot's record is there any more.
fn is_removed(reader: &Reader, id: &SnapshotId) -> RepoResult<bool> {
    let name = names::snapshot(id);
    for name in [names::mirror(&name), name] {
        match reader.repo().store().stat(&name) {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(reader.repo().store_error(e)),
            Ok(_) => return Ok(false),
        }
    }
    Ok(true)
}

/// One bit for each row of a segment.
struct Marked {
    file: Arc<SegmentFile>,
    bits: Vec<u64>,
}

impl Marked {
    fn new(file: Arc<SegmentFile>) -> Self {
        let bits = vec![0; file.blobs().div_ceil(64)];
        Marked { file, bits }
    }

    fn get(&self, row: usize) -> bool {
        self.bits[row / 64] >> (row % 64) & 1 == 1
    }

    /// Marks every row of a blob; says whether there is one.
    fn mark(&mut self, kind: BlobKind, key: &IndexKey) -> bool {
        let mut found = false;
        for row in self.file.find(key) {
            if self.file.pack_of(row).is_some_and(|pack| self.file.pack_kind(pack) == kind) {
                self.bits[row / 64] |= 1 << (row % 64);
                found = true;
            }
        }
        found
    }
}

/// What was reached so far.
#[derive(Default)]
pub(super) struct Marks {
    segments: Vec<Marked>,
    /// Tree nodes that were walked.
    seen: HashSet<BlobId>,
    /// Roots that were walked.
    walked: HashSet<BlobId>,
}

impl Marks {
    /// Takes in segments that were loaded since. What was reached before is reached there, too.
    pub(super) fn extend(&mut self, index: &Index) {
        for segment in index.segments() {
            if self.segments.iter().any(|known| Arc::ptr_eq(&known.file, segment.file)) {
                continue;
            }
            let file = segment.file;
            let mut marked = Marked::new(file.clone());
            for row in (0..file.blobs()).filter(|_| !self.walked.is_empty()) {
                if let Some(pack) = file.pack_of(row)
                    && self.is_reached(file.pack_kind(pack), &file.key(row))
                {
                    marked.bits[row / 64] |= 1 << (row % 64);
                }
            }
            self.segments.push(marked);
        }
    }

    /// Walks the roots that were not walked before. What a running session needs and was removed under it is
    /// no damage: it is about to find out (`busy`). Adds to `doubts` what could not be walked, or is in no
    /// segment: then nothing may be deleted, because what hangs below is not known.
    pub(super) fn walk(
        &mut self,
        reader: &Reader,
        roots: &Roots,
        doubts: &mut Vec<String>,
        busy: &mut Vec<String>,
    ) -> RepoResult<()> {
        for Tree { name, root, snapshot } in &roots.trees {
            if self.walked.contains(&root.id) {
                continue;
            }
            let (why, is_gone) = match self.walk_one(reader, *root) {
                Ok(None) => {
                    self.walked.insert(root.id);
                    continue;
                }
                Ok(Some(lost)) => (format!("{name} needs {lost}, which is in no index segment"), true),
                Err(e) if e.store_kind().is_some() && !e.is_damage() => return Err(e),
                Err(e) => {
                    let is_gone = matches!(e, RepoError::MissingBlob { .. });
                    (format!("{name} cannot be walked: {}", chain(&e)), is_gone)
                }
            };
            match snapshot {
                None if is_gone => busy.push(why),
                // Another prune removed it since its record was read: nothing needs what it held.
                Some(id) if is_gone && is_removed(reader, id)? => {}
                _ => doubts.push(why),
            }
        }
        Ok(())
    }

    /// Walks a tree; returns the first blob without a row.
    fn walk_one(&mut self, reader: &Reader, root: Root) -> Result<Option<String>, RepoError> {
        let segments = &mut self.segments;
        let mut lost = None;
        let walked = visit_blobs(reader, root, &mut self.seen, &mut |kind, id| {
            let key = IndexKey::from(id);
            let mut found = false;
            for segment in segments.iter_mut() {
                found |= segment.mark(kind, &key);
            }
            if found {
                return ControlFlow::Continue(());
            }
            lost = Some(id.hex());
            ControlFlow::Break(())
        });
        if lost.is_some() || walked.is_err() {
            // Nodes seen on the way were not walked to their ends.
            self.seen.clear();
        }
        walked.map(|()| lost)
    }

    /// Whether a root reaches this blob.
    pub(super) fn is_reached(&self, kind: BlobKind, key: &IndexKey) -> bool {
        self.segments.iter().any(|segment| {
            segment.file.find(key).any(|row| {
                segment.get(row)
                    && segment.file.pack_of(row).is_some_and(|pack| segment.file.pack_kind(pack) == kind)
            })
        })
    }

    /// Whether some blob that a root reaches has no place in a pack that is there with its length. Packs
    /// outside the index may then hold it: the segment that knew them may be lost.
    pub(super) fn has_lost_any(&self, listing: &PackListing) -> bool {
        let is_there = |file: &SegmentFile, row: usize| {
            file.pack_of(row).is_some_and(|pack| {
                let (kind, id) = (file.pack_kind(pack), file.pack_id(pack));
                listing.len_bytes(kind, &id) == Some(file.pack_bytes(pack))
            })
        };
        let has_place = |kind: BlobKind, key: &IndexKey| {
            self.segments.iter().any(|segment| {
                let of_kind = |row: usize| {
                    segment.file.pack_of(row).is_some_and(|pack| segment.file.pack_kind(pack) == kind)
                };
                segment.file.find(key).any(|row| of_kind(row) && is_there(&segment.file, row))
            })
        };
        self.segments.iter().any(|segment| {
            let file = &segment.file;
            let lost = |row: usize| {
                let pack = file.pack_of(row)?;
                (!has_place(file.pack_kind(pack), &file.key(row))).then_some(())
            };
            (0..file.blobs()).any(|row| segment.get(row) && !is_there(file, row) && lost(row).is_some())
        })
    }

    /// Whether this row of a known segment is marked.
    pub(super) fn is_marked(&self, file: &Arc<SegmentFile>, row: usize) -> bool {
        self.segments.iter().any(|segment| Arc::ptr_eq(&segment.file, file) && segment.get(row))
    }

    /// The bits of one segment.
    pub(super) fn bits_of(&self, file: &Arc<SegmentFile>) -> Option<impl Fn(usize) -> bool + '_> {
        let segment = self.segments.iter().find(|segment| Arc::ptr_eq(&segment.file, file))?;
        Some(|row| segment.get(row))
    }
}
