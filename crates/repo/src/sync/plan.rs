//! What must be brought, and how: as a whole pack, or block by block.
//!
//! Memory: one bit for each blob of the source's index, and the ids of tree nodes on the way.

use super::select::Chosen;
use crate::browse::visit_blobs_below;
use crate::error::RepoResult;
use crate::index::{PackListing, SegmentFile};
use crate::reader::{Reader, chain};
use format::id::{BlobId, BlobKind, PackId, SnapshotId};
use format::index::IndexKey;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

/// A pack is taken as it is if so much of what it holds is needed.
const WHOLE_PERCENT: u64 = 80;

/// How a pack's blobs are brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// As it is, under its own name.
    Whole,
    /// It stands at the target already, in no index yet.
    Adopt,
    /// Block by block, into new packs.
    Blocks,
}

/// A pack of which something is needed.
pub(super) struct Needed {
    /// Which of the plan's segments lists it, and its number there.
    pub(super) segment: usize,
    pub(super) number: usize,
    pub(super) kind: BlobKind,
    pub(super) id: PackId,
    pub(super) pack_bytes: u64,
    pub(super) way: Way,
    /// Blocks of which something is needed, and their bytes.
    pub(super) blocks: u64,
    pub(super) block_bytes: u64,
}

impl Needed {
    /// Bytes that are fetched for it.
    pub(super) fn bytes(&self) -> u64 {
        match self.way {
            Way::Whole => self.pack_bytes,
            Way::Adopt => 0,
            Way::Blocks => self.block_bytes,
        }
    }
}

/// One segment of the source with a bit for each row that is needed from there.
pub(super) struct NeededRows {
    pub(super) file: Arc<SegmentFile>,
    bits: Vec<u64>,
    /// Of each pack: whether it may be taken from.
    sound: Vec<bool>,
}

impl NeededRows {
    /// Whether a row is needed from here.
    pub(super) fn get(&self, row: usize) -> bool {
        self.bits[row / 64] >> (row % 64) & 1 == 1
    }
}

/// What is to be brought.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) segments: Vec<NeededRows>,
    pub(super) packs: Vec<Needed>,
    /// Blobs that no sound pack of the source's index holds: they are read one by one.
    pub(super) loose: BTreeSet<(BlobKind, BlobId)>,
    /// Snapshots that cannot be walked.
    pub(super) damaged: BTreeMap<SnapshotId, String>,
}

/// Sums over a plan.
#[derive(Default)]
pub(super) struct Sums {
    pub(super) whole_packs: u64,
    pub(super) adopted_packs: u64,
    pub(super) opened_packs: u64,
    pub(super) blocks: u64,
    pub(super) block_bytes: u64,
    pub(super) bytes: u64,
}

impl Plan {
    /// Walks the snapshots at the source. Unless `deep`, what hangs below a node that the target has is taken
    /// to be there, too: before anything is published, it is looked for.
    pub(super) fn make(
        source: &Reader,
        target: &Reader,
        target_listing: &PackListing,
        chosen: &[Chosen],
        deep: bool,
    ) -> RepoResult<Self> {
        let mut plan = Plan { segments: segments_of(source), ..Plan::default() };
        let mut seen = HashSet::new();
        for chosen in chosen {
            let walked = plan.walk(source, target, chosen, deep, &mut seen);
            match walked {
                Ok(()) => {}
                Err(e) if e.store_kind().is_some() && !e.is_damage() => return Err(e),
                Err(e) => {
                    plan.damaged.insert(chosen.id(), chain(&e));
                    seen.clear(); // nodes seen on the way were not walked to their ends
                }
            }
        }
        plan.choose_ways(target, target_listing);
        Ok(plan)
    }

    fn walk(
        &mut self,
        source: &Reader,
        target: &Reader,
        chosen: &Chosen,
        deep: bool,
        seen: &mut HashSet<BlobId>,
    ) -> RepoResult<()> {
        let root = chosen.stored.snapshot.root;
        let is_there =
            |kind, id: &BlobId| target.with_index_read(|index| index.stored_in(kind, id)).is_some();
        visit_blobs_below(source, root, seen, &mut |kind, id| {
            match is_there(kind, id) {
                true if kind == BlobKind::Tree && !deep => return ControlFlow::Break(()),
                true => {}
                false => self.need(kind, id),
            }
            ControlFlow::Continue(())
        })
    }

    /// Marks the first sound place.
    fn need(&mut self, kind: BlobKind, id: &BlobId) {
        let key = IndexKey::from(id);
        for rows in &mut self.segments {
            let file = rows.file.clone();
            let sound = |row: &usize| {
                file.pack_of(*row).is_some_and(|pack| rows.sound[pack] && file.pack_kind(pack) == kind)
            };
            if let Some(row) = file.find(&key).find(sound) {
                rows.bits[row / 64] |= 1 << (row % 64);
                return;
            }
        }
        self.loose.insert((kind, *id));
    }

    fn choose_ways(&mut self, target: &Reader, listing: &PackListing) {
        let unlisted: HashSet<PackId> = target
            .with_index_read(|index| index.packs_without_segment(listing))
            .into_iter()
            .map(|(_, id, _)| id)
            .collect();
        for (segment, rows) in self.segments.iter().enumerate() {
            let mut blobs: Vec<u32> = vec![0; rows.file.blocks()];
            for row in (0..rows.file.blobs()).filter(|row| rows.get(*row)) {
                blobs[rows.file.place(row).0] += 1;
            }
            for number in 0..rows.file.packs() {
                let found = needed(rows, segment, number, &blobs, target, listing, &unlisted);
                self.packs.extend(found);
            }
        }
        // Trees first, in the order of names: a run that is cut off and begun again goes the same way.
        self.packs.sort_by_key(|p| (std::cmp::Reverse(p.kind as u8), p.id));
        self.packs.dedup_by_key(|p| (p.segment, p.number));
    }

    pub(super) fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        for pack in &self.packs {
            sums.bytes += pack.bytes();
            match pack.way {
                Way::Whole => sums.whole_packs += 1,
                Way::Adopt => sums.adopted_packs += 1,
                Way::Blocks => {
                    sums.opened_packs += 1;
                    sums.blocks += pack.blocks;
                    sums.block_bytes += pack.block_bytes;
                }
            }
        }
        sums
    }
}

fn needed(
    rows: &NeededRows,
    segment: usize,
    number: usize,
    blobs: &[u32],
    target: &Reader,
    listing: &PackListing,
    unlisted: &HashSet<PackId>,
) -> Option<Needed> {
    let file = &rows.file;
    let (mut blocks, mut block_bytes, mut worth, mut all) = (0, 0, 0, 0);
    for block in file.blocks_of(number) {
        let place = file.block(block)?;
        let stored = place.stored_bytes as u64;
        all += stored;
        if blobs[block] > 0 {
            blocks += 1;
            block_bytes += stored;
            worth += stored * blobs[block] as u64 / place.blobs.max(1) as u64;
        }
    }
    if blocks == 0 {
        return None;
    }
    let (kind, id, pack_bytes) = (file.pack_kind(number), file.pack_id(number), file.pack_bytes(number));
    let is_worth_it = worth * 100 >= all * WHOLE_PERCENT && pack_bytes <= target.repo().pack_bytes_max();
    let way = match listing.len_bytes(kind, &id) {
        // A name that was ever condemned is never written again, nor relied on.
        _ if listing.is_condemned(&id) || !is_worth_it => Way::Blocks,
        None => Way::Whole,
        Some(len) if len == pack_bytes && unlisted.contains(&id) && !listing.is_damaged(&id) => Way::Adopt,
        Some(_) => Way::Blocks,
    };
    Some(Needed { segment, number, kind, id, pack_bytes, way, blocks, block_bytes })
}

/// The source's segments. Packs are taken from only where an owner or maintainer vouches for the ids in them,
/// they are there with their length, unmarked and not condemned.
fn segments_of(source: &Reader) -> Vec<NeededRows> {
    source.with_index_read(|index| {
        let rows = index.segments().map(|view| {
            let file = view.file.clone();
            let is_sound = |i: usize| {
                view.file.trusted()
                    && view.stored[i]
                    && !index.is_marked_damaged(&file.pack_id(i))
                    && file.pack_blocks(i).iter().all(|block| block.key_ref == 0)
            };
            let sound = (0..file.packs()).map(is_sound).collect();
            NeededRows { bits: vec![0; file.blobs().div_ceil(64)], sound, file }
        });
        rows.collect()
    })
}
