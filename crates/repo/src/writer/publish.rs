//! The order in which a snapshot becomes visible, and why nothing can be lost on the way.
//!
//! 1. packs, made durable. A crash leaves packs no index knows: found by a later maintenance.
//! 2. index segment, made durable. A crash leaves stored blobs that the next run finds: a free resume.
//! 3. pending record with the root. From here the tree is a root for every pruner.
//! 4. re-check: the index and the packs are listed *after* the pending record is visible. Whatever the
//!    tree relies on must be there. A pruner either sees our pending record, or we see what it condemned.
//! 5. snapshot record, created only if nobody else did. Now it counts; then its second copy.
//! 6. the pending records go.
//!
//! No clock is compared and nothing is locked: a run that slept for a month between two steps wakes up,
//! re-checks and repairs itself.

use crate::browse::visit_blobs;
use crate::cache::Cache;
use crate::error::{RepoError, RepoResult};
use crate::index::PackListing;
use crate::names;
use crate::reader::Reader;
use crate::writer::Writer;
use format::codec::{Compressor, Level};
use format::id::{PackId, SnapshotId};
use format::snapshot::{Pending, Snapshot};
use format::tree::Root;
use std::collections::HashSet;
use std::ops::ControlFlow;
use storage::{ErrorKind, PutMode};

/// How a publication ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Published {
    /// The snapshot is durable and complete. The hash chains the writer's next record to this one.
    Done {
        /// BLAKE3 of the record as stored.
        record_hash: [u8; 32],
    },
    /// Something the tree relies on is gone: store it again from the source, without this parent.
    Overtaken,
}

impl Writer {
    /// Stores everything that is still under way. After it every blob put so far is indexed and durable.
    pub fn flush(&mut self) -> RepoResult<()> {
        self.close_packs()?;
        self.write_segment()?;
        self.repo().sync()
    }

    /// Replaces the session's pending record.
    pub(super) fn put_pending(&mut self, root: Option<Root>) -> RepoResult<()> {
        let repo = self.repo().clone();
        let number = self.pending + 1;
        let record =
            Pending { session: self.session, number, root, packs: self.own_packs.clone(), start: self.start };
        let mut compressor = Compressor::new(Level(1));
        let entropy = self.record_seed.draw();
        let bytes = record.encode(&repo.identity().repo, repo.keys(), repo.suite(), entropy, &mut compressor);
        repo.put(&names::pending(&self.session, number), &bytes, PutMode::CreateNew)?;
        repo.sync()?;
        self.pending = number;
        self.drop_pending_below(number)
    }

    fn drop_pending_below(&self, number: u64) -> RepoResult<()> {
        let repo = self.repo();
        let Some(before) = number.checked_sub(1).filter(|n| *n > 0) else { return Ok(()) };
        match repo.store().delete(&names::pending(&self.session, before)) {
            // An append-only place keeps it; maintenance removes it once the snapshot exists.
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Denied) => Ok(()),
            other => other.map_err(|e| repo.store_error(e)),
        }
    }

    /// Steps 1 to 4. `parent` is the snapshot whose leaves the tree may have taken over unread.
    pub fn prepare(&mut self, root: Root, parent: Option<&SnapshotId>, thorough: bool) -> RepoResult<bool> {
        self.flush()?;
        self.put_pending(Some(root))?;
        let reader = self.reader.clone();
        reader.with_index_write(|index| index.refresh(reader.repo(), reader.cache()))?;
        let listing = PackListing::read(reader.repo())?;
        reader.with_index_write(|index| index.see_packs(&listing));
        let live = |id: &PackId| listing.packs.contains_key(id) && !listing.condemned.contains(id);
        if !self.own_packs.iter().chain(&self.relied_on).all(live) {
            return Ok(false);
        }
        let inherited = match parent {
            None => true,
            Some(parent) => !thorough && remembers(reader.cache(), parent, &listing),
        };
        if (!inherited || thorough) && !every_blob_is_stored(&reader, root)? {
            return Ok(false);
        }
        remember(reader.cache(), &self.session, &listing);
        Ok(true)
    }

    /// Steps 5 and 6: the snapshot counts from here.
    pub fn commit(&mut self, snapshot: &Snapshot) -> RepoResult<Published> {
        let repo = self.repo().clone();
        let entropy = self.record_seed.draw();
        let bytes = snapshot.encode(repo.keys(), repo.suite(), entropy, &mut Compressor::new(Level(3)));
        let name = names::snapshot(&snapshot.id);
        match repo.put(&name, &bytes, PutMode::CreateNew) {
            Err(e) if e.store_kind() == Some(ErrorKind::AlreadyExists) => {
                // Our own request may have been answered twice; anybody else's record means "aborted".
                let found = repo.store().get(&name, bytes.len() as u64).unwrap_or_default();
                if found != bytes {
                    return Err(RepoError::Overtaken);
                }
            }
            other => other?,
        }
        repo.sync()?;
        match repo.put(&names::mirror(&name), &bytes, PutMode::Replace) {
            Err(e) if e.store_kind() == Some(ErrorKind::Denied) => {}
            other => other?,
        }
        repo.sync()?;
        self.drop_pending_below(self.pending + 1)?;
        self.written.stored_bytes += 2 * bytes.len() as u64;
        Ok(Published::Done { record_hash: *blake3::hash(&bytes).as_bytes() })
    }

    /// Removes the pending record of a run that gives up on purpose.
    pub fn abandon(&mut self) -> RepoResult<()> {
        self.drop_pending_below(self.pending + 1)
    }
}

/// Whether everything a tree refers to has a mapping that counts.
fn every_blob_is_stored(reader: &Reader, root: Root) -> RepoResult<bool> {
    let mut all = true;
    let walked = visit_blobs(reader, root, &mut HashSet::new(), &mut |kind, id| {
        all = reader.with_index_read(|index| index.stored_in(kind, id)).is_some();
        if all { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    match walked {
        Err(e) if e.is_damage() => Ok(false),
        other => other.map(|()| all),
    }
}

fn memory_name(snapshot: &SnapshotId) -> String {
    format!("seen-{}", snapshot.hex())
}

/// Keeps the packs that were live when this session re-checked: 8 bytes each.
fn remember(cache: &Cache, session: &SnapshotId, listing: &PackListing) {
    let mut heads: Vec<[u8; 8]> = listing.live().map(head).collect();
    heads.sort_unstable();
    cache.store(&memory_name(session), heads.concat());
}

fn head(id: &PackId) -> [u8; 8] {
    id.0[..8].try_into().expect("a pack id has 32 bytes")
}

/// Whether every pack that was live when the parent was committed is live now. Then what the parent's tree
/// reaches is stored, and leaves taken over from it need not be walked. Without the memory: no.
fn remembers(cache: &Cache, parent: &SnapshotId, listing: &PackListing) -> bool {
    let Some(bytes) = cache.read(&memory_name(parent)) else { return false };
    let live: HashSet<[u8; 8]> = listing.live().map(head).collect();
    !bytes.is_empty() && bytes.len() % 8 == 0 && bytes.as_chunks::<8>().0.iter().all(|h| live.contains(h))
}
