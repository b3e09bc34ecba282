//! The index: segments for packs that snapshots need and no readable segment lists, from the packs' own
//! directories. A segment that cannot be read is moved out of the way once every pack there is is listed
//! elsewhere; then it can have held nothing more.

use super::{How, Run};
use crate::check::walk::Walked;
use crate::clock;
use crate::error::{RepoError, RepoResult};
use crate::index::{Location, read_directory};
use crate::names;
use crate::reader::Reader;
use format::codec::{Compressor, Level};
use format::id::{BlobId, BlobKind, PackId, SnapshotId};
use format::index::{PackRow, SegmentBuilder};
use storage::{ErrorKind, ObjectName, PutMode};

/// Packs of one new segment at most.
const SEGMENT_PACKS: usize = 64;
const SEGMENT_BLOBS: usize = 1 << 20;

/// What the bytes of a pack tell for a segment.
enum Row {
    /// Its row and the whole ids of its blobs.
    Read(Box<(PackRow, Vec<BlobId>)>),
    /// The same, once it is mended.
    WouldBeRead,
    /// Not enough.
    Unreadable,
}

impl Run<'_, '_> {
    pub(super) fn repair_index(&mut self, walked: &Walked) -> RepoResult<()> {
        // Packs of interrupted runs that nothing needs are prune's; but a segment that cannot be read may
        // have listed any of them.
        let all = !self.bad_segments.is_empty();
        let listing = &self.listing;
        let mut unlisted = self.reader.with_index_read(|index| index.packs_without_segment(listing));
        unlisted.retain(|(_, id, _)| {
            (all || walked.unlisted.contains(id))
                && !listing.is_condemned(id)
                && !self.broken.contains_key(id)
        });
        let mut rows = Vec::new();
        let mut are_all_listed = self.broken.keys().all(|id| !walked.unlisted.contains(id));
        for (kind, id, len) in unlisted {
            match self.row_or_mend(kind, &id, len)? {
                Row::Read(row) => {
                    self.did(names::pack(kind, &id), How::Indexed);
                    rows.push(*row);
                }
                // A dry run stored no right bytes that could be read.
                Row::WouldBeRead => self.did(names::pack(kind, &id), How::Indexed),
                Row::Unreadable => {
                    are_all_listed = false;
                    if walked.unlisted.contains(&id) {
                        let why = "is in no index segment, and its directory alone does not tell all ids";
                        self.leave(names::pack(kind, &id), why);
                    }
                }
            }
        }
        self.write_segments(rows)?;
        for (name, why) in std::mem::take(&mut self.bad_segments) {
            match are_all_listed {
                true => self.set_aside(&name)?,
                false => self.leave(&name, why),
            }
        }
        Ok(())
    }

    /// A pack whose bytes tell no row is mended first: what its name is the hash of may be in another repository,
    /// and no segment has to tell that.
    fn row_or_mend(&mut self, kind: BlobKind, id: &PackId, len: u64) -> RepoResult<Row> {
        if let Some(row) = self.row_of(kind, id, len)? {
            return Ok(Row::Read(Box::new(row)));
        }
        let would_be_whole = self.options.dry_run && self.whole.contains(id);
        if !would_be_whole && !self.mend_pack(kind, id, len)? {
            return Ok(Row::Unreadable);
        }
        self.whole.insert(*id);
        if self.options.dry_run {
            return Ok(Row::WouldBeRead);
        }
        self.see_again()?;
        let len = self.listing.len_bytes(kind, id).unwrap_or(len);
        let row = self.row_of(kind, id, len)?;
        Ok(row.map_or(Row::Unreadable, |row| Row::Read(Box::new(row))))
    }

    /// A pack's row and the whole ids of its blobs; `None` where they cannot all be computed.
    fn row_of(&self, kind: BlobKind, id: &PackId, len: u64) -> RepoResult<Option<(PackRow, Vec<BlobId>)>> {
        let Some((row, cut_ids)) = read_directory(self.repo(), kind, id, len) else { return Ok(None) };
        let mut ids = Vec::new();
        match kind {
            BlobKind::Tree => {
                ids.extend(cut_ids.as_chunks::<{ BlobId::LEN }>().0.iter().map(|id| BlobId(*id)))
            }
            BlobKind::Data => {
                for block in &row.blocks {
                    let place = Location { pack: *id, kind, block: *block, rank: 0 };
                    match block_ids(self.reader, &place) {
                        Ok(found) if found.len() == block.blobs as usize => ids.extend(found),
                        Ok(_) => return Ok(None),
                        Err(e) if e.store_kind().is_some() && !e.is_damage() => return Err(e),
                        Err(_) => return Ok(None),
                    }
                }
            }
        }
        Ok(Some((row, ids)))
    }

    fn write_segments(&mut self, rows: Vec<(PackRow, Vec<BlobId>)>) -> RepoResult<()> {
        if self.options.dry_run || rows.is_empty() {
            return Ok(());
        }
        // The packs were written by several sessions; whose they were matters to nobody any more.
        let session = SnapshotId(self.seed.draw());
        let mut segment = SegmentBuilder::new(session);
        for (row, ids) in rows {
            segment.add(row, &ids);
            if segment.packs() >= SEGMENT_PACKS || segment.blobs() >= SEGMENT_BLOBS {
                self.put_segment(&mut segment)?;
            }
        }
        if segment.packs() > 0 {
            self.put_segment(&mut segment)?;
        }
        Ok(())
    }

    fn put_segment(&mut self, segment: &mut SegmentBuilder) -> RepoResult<()> {
        let repo = self.repo().clone();
        let mut compressor = Compressor::new(Level(3));
        let entropy = self.seed.draw();
        let bytes =
            segment.finish(&repo.identity().repo, repo.keys(), repo.suite(), entropy, &mut compressor);
        let number = self.reader.with_index_write(|index| index.next_number());
        repo.put(&names::segment(number, &bytes), &bytes, PutMode::CreateNew)?;
        repo.sync()
    }

    /// Whether nobody can still be completing this object. Who stores something tries again when a request failed,
    /// and acknowledges what is whole then: it must not be taken away in between.
    fn is_nobodys(&mut self, name: &ObjectName) -> RepoResult<bool> {
        let repo = self.repo().clone();
        let received = match repo.store().stat(name) {
            Ok(info) => info.received,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(repo.store_error(e)),
        };
        let now = match clock::store_now(&repo, &mut self.seed) {
            Err(e) if matches!(e.store_kind(), Some(ErrorKind::NoSpace | ErrorKind::Denied)) => None,
            other => other?.and_then(clock::system_time),
        };
        let age = now.zip(received).and_then(|(now, received)| now.duration_since(received).ok());
        Ok(age.is_some_and(|age| age >= clock::CUT_OFF_AFTER))
    }

    /// Its bytes are kept under another name: what cannot be read is not thrown away.
    pub(super) fn set_aside(&mut self, name: &ObjectName) -> RepoResult<()> {
        if self.options.dry_run {
            self.did(name, How::SetAside);
            return Ok(());
        }
        let repo = self.repo().clone();
        let max = format::limits::INDEX_BYTES_MAX as u64;
        let bytes = match repo.get_alike(name, max, |_| false) {
            Ok(bytes) => bytes,
            Err(e) if e.is_damage() => {
                self.leave(name, "cannot be read, not even to be moved out of the way");
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        if !self.is_nobodys(name)? {
            self.leave(
                name,
                "was cut off while it was written; it is moved out of the way when it is a day old",
            );
            return Ok(());
        }
        let aside = names::name(&format!("maint/aside-{}", name.file_name()));
        let moved = repo.put(&aside, &bytes, PutMode::Replace).and_then(|()| {
            repo.sync()?;
            repo.store().delete(name).map_err(|e| repo.store_error(e))
        });
        self.settle(name, How::SetAside, moved).map(|_| ())
    }
}

/// The ids of all blobs of a block, computed from their bytes.
fn block_ids(reader: &Reader, place: &Location) -> RepoResult<Vec<BlobId>> {
    let block = reader.fetch_block(place)?;
    let keys = reader.repo().keys();
    let ids = block.blobs().map(|blob| keys.blob_id(place.kind, blob));
    ids.collect::<Result<_, _>>().map_err(|e| RepoError::object(&"block", e))
}
