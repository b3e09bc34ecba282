//! Keeping lists short: many small index segments become few, many lists of condemned packs one.
//!
//! What is merged is durable under a greater name before what it replaces goes. A listing in name order
//! then meets one or the other, whenever it passes.

use crate::clock;
use crate::error::RepoResult;
use crate::index::{decode_segment, store_segment};
use crate::names;
use crate::open::{Repo, mend_and_decode};
use crate::prune::roots::list;
use crate::prune::run::Run;
use crate::removals::Announced;
use format::codec::{Compressor, Level};
use format::gc::{Condemned, GcRecord, Removed};
use format::id::{BlobId, BlobKind, PackId, SnapshotId};
use format::index::{PackRow, Segment, SegmentBuilder};
use format::limits::{INDEX_BYTES_MAX, RECORD_BYTES_MAX};
use std::collections::BTreeSet;
use storage::{ErrorKind, ObjectName, PutMode, planted};

/// Segments are merged when there are so many small ones.
const SEGMENTS_MIN: usize = 8;
/// Merged segments hold up to so many blobs: some 20 MiB, and 120 MiB of memory for who reads one first. Those
/// with less than half are small.
const SEGMENT_BLOBS: usize = 1 << 20;
/// Lists of condemned packs are merged when there are so many of packs that are gone.
const LISTS_MIN: usize = 8;
/// Names in one merged list.
const LIST_PACKS_MAX: usize = 1 << 20;

/// A segment that is there to be merged.
struct Small {
    name: ObjectName,
    blobs: usize,
}

impl Run<'_> {
    /// Merges small segments, and drops those whose packs are all gone for good.
    pub(super) fn merge_index(&mut self) -> RepoResult<()> {
        let (empty, small) = self.sort_segments();
        for name in &empty {
            self.delete(name)?;
        }
        if small.len() < SEGMENTS_MIN {
            return Ok(());
        }
        let mut group: Vec<Small> = Vec::new();
        for segment in small {
            let blobs: usize = group.iter().map(|s| s.blobs).sum();
            if blobs + segment.blobs > SEGMENT_BLOBS && !group.is_empty() {
                self.merge_group(&std::mem::take(&mut group))?;
            }
            group.push(segment);
        }
        self.merge_group(&group)
    }

    /// Segments all of whose packs are condemned and gone, and small ones worth merging.
    fn sort_segments(&self) -> (Vec<ObjectName>, Vec<Small>) {
        let (mut empty, mut small) = (Vec::new(), Vec::new());
        let listing = &self.listing;
        self.reader.with_index_read(|index| {
            for view in index.segments().filter(|view| view.listed && view.file.trusted()) {
                let file = view.file;
                let is_gone = |pack: usize| {
                    let (kind, id) = (file.pack_kind(pack), file.pack_id(pack));
                    listing.len_bytes(kind, &id).is_none() && listing.is_condemned(&id)
                };
                if (0..file.packs()).all(is_gone) {
                    empty.push(view.name.clone());
                } else if file.blobs() < SEGMENT_BLOBS / 2 {
                    small.push(Small { name: view.name.clone(), blobs: file.blobs() });
                }
            }
        });
        (empty, small)
    }

    fn merge_group(&mut self, group: &[Small]) -> RepoResult<()> {
        if group.len() < 2 {
            return Ok(());
        }
        let repo = self.repo().clone();
        let mut builder = SegmentBuilder::new(SnapshotId(self.seed.draw()));
        let mut packs = BTreeSet::new();
        for small in group {
            let max = INDEX_BYTES_MAX as u64;
            let mut bytes = match repo.store().get(&small.name, max) {
                Ok(bytes) => bytes,
                // Another prune is merging them.
                Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
                Err(e) => return Err(repo.store_error(e)),
            };
            let segment = mend_and_decode(&mut bytes, |bytes| decode_segment(&repo, &small.name, bytes));
            let segment = segment.map_err(|e| crate::error::RepoError::object(&small.name, e))?;
            self.add_segment(&mut builder, segment, &mut packs);
        }
        if builder.packs() > 0 {
            let mut compressor = Compressor::new(Level(1));
            let (id, entropy) = (&repo.identity().repo, self.seed.draw());
            let bytes = builder.finish(id, repo.keys(), repo.suite(), entropy, &mut compressor);
            let number = self.reader.with_index_write(|index| index.next_number());
            let name = names::segment(number, &bytes);
            if planted::is("merged-after-delete") {
                group.iter().try_for_each(|small| self.delete(&small.name))?;
            }
            repo.put(&name, &bytes, PutMode::CreateNew)?;
            repo.sync()?;
            let segment = decode_segment(&repo, &name, &bytes);
            let segment = segment.map_err(|e| crate::error::RepoError::SelfTest(e.to_string()))?;
            let file = store_segment(self.reader.cache(), &name, &segment);
            self.reader.with_index_write(|index| index.add_own(name, file));
        }
        for small in group {
            self.delete(&small.name)?;
        }
        self.report.merged_segments += group.len();
        repo.sync()
    }

    /// Takes over the rows of packs that are there or may come back; each pack once.
    fn add_segment(
        &self,
        builder: &mut SegmentBuilder,
        segment: Segment,
        packs: &mut BTreeSet<(BlobKind, PackId)>,
    ) {
        let mut ids: Vec<Vec<BlobId>> = Vec::with_capacity(segment.packs.len());
        let mut starts = Vec::new();
        for (number, pack) in segment.packs.iter().enumerate() {
            let mut blobs = 0;
            for block in &pack.blocks {
                starts.push((number, blobs));
                blobs += block.blobs as usize;
            }
            ids.push(vec![BlobId([0; BlobId::LEN]); blobs]);
        }
        for blob in &segment.blobs {
            let (pack, start) = starts[blob.block as usize];
            ids[pack][start + blob.rank as usize].0[..blob.key.0.len()].copy_from_slice(&blob.key.0);
        }
        for (pack, ids) in segment.packs.into_iter().zip(ids) {
            if !self.is_gone_for_good(&pack) && packs.insert((pack.kind, pack.id)) {
                builder.add(pack, &ids);
            }
        }
    }

    fn is_gone_for_good(&self, pack: &PackRow) -> bool {
        self.listing.len_bytes(pack.kind, &pack.id).is_none() && self.listing.is_condemned(&pack.id)
    }

    /// Removes lists that were cut off while they were written, on places that show what is not whole yet:
    /// their writers never went on, and nobody can read them.
    pub(super) fn clear_cut_off(&mut self) -> RepoResult<()> {
        let repo = self.repo().clone();
        let listed = self.listing.condemned_lists.iter().map(|list| list.name.clone());
        let readable: BTreeSet<ObjectName> = listed.chain(Announced::read(&repo)?.lists).collect();
        for info in list(&repo, names::GC)? {
            let name = &info.name;
            let is_list = names::is_condemned(name) || names::parse_removed(name).is_some();
            let is_old = self.age(info.received).is_some_and(|age| age >= clock::CUT_OFF_AFTER);
            if is_list && is_old && !readable.contains(name) && is_damaged(&repo, name)? {
                self.delete(name)?;
            }
        }
        Ok(())
    }

    /// Merges announcements of removals, which are kept for ever.
    pub(super) fn merge_removed(&mut self) -> RepoResult<()> {
        let repo = self.repo().clone();
        let mut announced = Announced::read(&repo)?;
        if announced.lists.len() < LISTS_MIN {
            return Ok(());
        }
        announced.merge(&repo, &mut self.seed)?;
        for name in &announced.lists {
            self.delete(name)?;
        }
        repo.sync()
    }

    /// Merges lists of packs that are all gone. Their names are kept for ever; lists of packs that are still
    /// there stay as they are, because the time the store received them is what the grace period counts from.
    pub(super) fn merge_condemned(&mut self) -> RepoResult<()> {
        let is_there = |id: &PackId| {
            [BlobKind::Data, BlobKind::Tree].iter().any(|kind| self.listing.len_bytes(*kind, id).is_some())
        };
        let lists = self.listing.condemned_lists.iter();
        let done: Vec<_> = lists.filter(|list| !list.record.packs.iter().any(is_there)).cloned().collect();
        let packs: BTreeSet<PackId> =
            done.iter().flat_map(|list| list.record.packs.iter().copied()).collect();
        if done.len() < LISTS_MIN || packs.len() > LIST_PACKS_MAX {
            return Ok(());
        }
        let moved: BTreeSet<PackId> =
            done.iter().flat_map(|list| list.record.moved_into.iter().copied()).filter(is_there).collect();
        let merged =
            Condemned { packs: packs.into_iter().collect(), moved_into: moved.into_iter().collect() };
        self.put_list(&merged)?;
        self.repo().sync()?;
        for list in &done {
            self.delete(&list.name)?;
        }
        self.repo().sync()
    }
}

/// Whether nobody can read this list any more; not what is too new.
fn is_damaged(repo: &Repo, name: &ObjectName) -> RepoResult<bool> {
    let (keys, id) = (repo.keys(), &repo.identity().repo);
    let read = repo.get_mended(name, RECORD_BYTES_MAX as u64, |bytes| match names::is_condemned(name) {
        true => Condemned::decode(bytes, id, keys).map(|_| ()),
        false => Removed::decode(bytes, id, keys).map(|_| ()),
    });
    match read {
        Err(e) if e.is_damage() => Ok(true),
        Err(e) if !e.is_too_new() => Err(e),
        _ => Ok(false),
    }
}
