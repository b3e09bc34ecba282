//! Condemning, and deleting what was condemned.
//!
//! 1. *Condemn*: a list of packs becomes durable. From here no writer relies on them any more, and every
//!    writer that did finds out before it commits, because it looks again after its pending record.
//! 2. *Look again*: roots first, then index and listing ([`Run::look`]).
//! 3. *Rescue*: what a root reaches and only condemned packs hold is moved into a new pack, and made durable.
//!    A copy elsewhere counts only if it was compared: in this run, or when it was moved there.
//! 4. *Delete*.
//!
//! Whoever condemned a pack, anybody may do 2 to 4, at any later time, more than once, and stop anywhere.
//! Condemned is final: no step brings a pack back.

use crate::blocks::{Source, Wanted, keys_of};
use crate::error::{RepoError, RepoResult};
use crate::index::{Location, PackListing, SegmentFile};
use crate::names;
use crate::prune::Stage;
use crate::prune::doubles::Claim;
use crate::prune::run::Run;
use format::codec::{Compressor, Level};
use format::gc::{Condemned, GcRecord};
use format::id::{BlobId, BlobKind, PackId};
use format::index::IndexKey;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use storage::{ErrorKind, planted};

/// Packs named in one list at most: 32 bytes each.
const LIST_PACKS_MAX: usize = 1 << 20;

/// Packs by kind and id.
pub(super) type Packs = BTreeSet<(BlobKind, PackId)>;

/// A blob that only condemned packs hold: where it lies there.
#[derive(Clone)]
struct Endangered {
    file: Arc<SegmentFile>,
    pack: usize,
    block: usize,
}

impl Run<'_> {
    /// Makes it known that these packs will be deleted.
    pub(super) fn condemn(&mut self, packs: &[PackId], moved_into: &[PackId]) -> RepoResult<()> {
        for (n, packs) in packs.chunks(LIST_PACKS_MAX).enumerate() {
            let moved_into = if n == 0 { moved_into.to_vec() } else { Vec::new() };
            self.put_list(&Condemned { packs: packs.to_vec(), moved_into })?;
        }
        self.repo().sync()
    }

    pub(super) fn put_list(&mut self, list: &Condemned) -> RepoResult<storage::ObjectName> {
        let repo = self.repo().clone();
        let mut compressor = Compressor::new(Level(3));
        let bytes = list.encode(&repo.identity().repo, repo.keys(), self.seed.draw(), &mut compressor);
        self.listing.highest_condemned = self.listing.highest_condemned.saturating_add(1);
        let name = names::condemned(self.listing.highest_condemned, &bytes);
        self.put_record(&name, &bytes)?;
        Ok(name)
    }

    /// Of these condemned packs deletes those that nobody needs any more, after what is still needed was
    /// moved. The newest look must be later than their condemnation.
    pub(super) fn delete_condemned(&mut self, packs: &Packs) -> RepoResult<()> {
        let may_go = |pack: &&(BlobKind, PackId)| {
            self.listing.len_bytes(pack.0, &pack.1).is_some() && !self.unexplained.contains(pack)
        };
        let stored: Packs = packs.iter().filter(may_go).copied().collect();
        let in_doubt = !self.report.may_delete() && !planted::is("doubts-ignored");
        if stored.is_empty() || in_doubt {
            return Ok(());
        }
        let kept = if planted::is("nothing-rescued") { Packs::new() } else { self.rescue(&stored)? };
        self.tell(Stage::Delete, 0, stored.len() as u64);
        let mut done = 0;
        for (kind, id) in stored.difference(&kept) {
            if self.delete_pack(*kind, id)? {
                done += 1;
                self.tell(Stage::Delete, done, stored.len() as u64);
            }
        }
        self.repo().sync()
    }

    fn delete_pack(&mut self, kind: BlobKind, id: &PackId) -> RepoResult<bool> {
        let bytes = self.listing.len_bytes(kind, id).unwrap_or(0);
        match self.repo().store().delete(&names::pack(kind, id)) {
            Ok(()) => {
                self.report.deleted_packs += 1;
                self.report.deleted_bytes += bytes;
                Ok(true)
            }
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
            // An object lock, or a place that lets nothing be deleted: it stays condemned.
            Err(e) if e.kind() == ErrorKind::Denied => {
                self.report.refused_packs += 1;
                Ok(false)
            }
            Err(e) => Err(self.repo().store_error(e)),
        }
    }

    /// Whether a pack is no longer there: another prune moved what was needed of it, and deleted it.
    pub(super) fn is_gone(&self, kind: BlobKind, id: &PackId) -> bool {
        let stat = self.repo().store().stat(&names::pack(kind, id));
        matches!(stat, Err(e) if e.kind() == ErrorKind::NotFound)
    }

    /// Moves what is reached and only these packs hold. Returns packs that must stay because that failed.
    fn rescue(&mut self, packs: &Packs) -> RepoResult<Packs> {
        let endangered = self.endangered(packs);
        if endangered.is_empty() {
            return Ok(Packs::new());
        }
        let mut by_pack: BTreeMap<(BlobKind, PackId), (Endangered, BTreeSet<usize>)> = BTreeMap::new();
        for blob in endangered {
            let id = (blob.file.pack_kind(blob.pack), blob.file.pack_id(blob.pack));
            by_pack.entry(id).or_insert_with(|| (blob.clone(), BTreeSet::new())).1.insert(blob.block);
        }
        let mut kept = Packs::new();
        let mut writer = self.writer();
        let reader = self.reader;
        for ((kind, id), (at, blocks)) in by_pack {
            let pack_bytes = at.file.pack_bytes(at.pack);
            let source = Source { kind, id, pack_bytes, file: at.file.clone(), number: at.pack };
            let keys = keys_of(&at.file, &[at.pack]).remove(&at.pack).expect("its rows were asked for");
            let wanted: Vec<Wanted> = (0..keys.len())
                .map(|block| if blocks.contains(&block) { Wanted::Whole } else { Wanted::Nothing })
                .collect();
            match source.move_to(reader, &mut writer, &keys, &wanted) {
                Ok(moved) => {
                    self.report.rescued_packs += 1;
                    self.report.read_bytes += moved.read_bytes;
                }
                Err(e) if e.is_damage() && self.is_gone(kind, &id) => {}
                Err(e) if e.is_damage() || e.is_too_new() => {
                    self.report.damaged.push(format!(
                        "{}: {}",
                        names::pack(kind, &id),
                        crate::reader::chain(&e)
                    ));
                    kept.insert((kind, id));
                }
                Err(e) => return Err(e),
            }
        }
        writer.flush()?;
        self.ledger.extend(writer.own_packs());
        self.report.written_bytes += writer.written().stored_bytes;
        writer.abandon().ok();
        // Another prune may have met the new packs before their segment, and condemned them as leftovers. One
        // that does so later looks again after it, and then sees who needs them.
        let listing = PackListing::read(self.repo())?;
        if writer.own_packs().iter().any(|id| listing.is_condemned(id)) {
            return Ok(packs.clone());
        }
        Ok(kept)
    }

    /// Blobs of these packs that a root reaches and that have no compared copy elsewhere.
    fn endangered(&mut self, packs: &Packs) -> Vec<Endangered> {
        let mut found = Vec::new();
        let mut claims: Vec<Claim<Endangered>> = Vec::new();
        let files: Vec<Arc<SegmentFile>> =
            self.reader.with_index_read(|index| index.segments().map(|view| view.file.clone()).collect());
        for file in files {
            let concerned: Vec<bool> = (0..file.packs())
                .map(|pack| packs.contains(&(file.pack_kind(pack), file.pack_id(pack))))
                .collect();
            if !concerned.contains(&true) {
                continue;
            }
            for row in 0..file.blobs() {
                let Some(pack) = file.pack_of(row).filter(|pack| concerned[*pack]) else { continue };
                let (kind, key) = (file.pack_kind(pack), file.key(row));
                if !self.marks.is_marked(&file, row) && !self.marks.is_reached(kind, &key) {
                    continue;
                }
                let block = file.place(row).0 - file.blocks_of(pack).start;
                let blob = Endangered { file: file.clone(), pack, block };
                let copies = self.copies(kind, &key);
                if copies.iter().any(|place| self.is_sound(&key, place)) {
                    continue;
                }
                match copies.first() {
                    Some(place) => claims.push(Claim { key, place: *place, whom: blob }),
                    None => found.push(blob),
                }
            }
        }
        found.extend(self.disprove(claims));
        found
    }

    /// Places of a blob in packs that count as stored, in segments that others can see and trust.
    fn copies(&self, kind: BlobKind, key: &IndexKey) -> Vec<Location> {
        let mut id = BlobId([0; BlobId::LEN]);
        id.0[..key.0.len()].copy_from_slice(&key.0);
        self.reader.with_index_read(|index| index.stored_places(kind, &id))
    }
}

/// Whether a store refused to delete or to put.
pub(super) fn is_refusal(e: &RepoError) -> bool {
    e.store_kind() == Some(ErrorKind::Denied)
}
