//! How much of each pack is needed: counted from the marks and the newest index and listing.
//!
//! Every blob has one *primary* place, the one it will stay in; its other places are *doubles*. Doubles may
//! only go after the primary place was read and compared in this very run ([`crate::prune::doubles`]), and
//! where these keys cannot open contents every place of a needed blob is primary.
//!
//! The index knows lengths of blocks, not of blobs: what a partly needed block is worth is estimated by
//! the number of blobs needed. A block that would be moved as it is counts as needed whole: rewriting its
//! pack does not free its garbage, and must not be tried again and again.

use crate::index::{Index, Location, PackListing, SegmentFile};
use crate::prune::marks::Marks;
use format::id::{BlobKind, PackId};
use format::index::IndexKey;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

/// A place of a blob: which of the counted segments, and which row.
type RowRef = (usize, usize);

/// A pack that counts as stored.
#[derive(Clone, Debug)]
pub(crate) struct PackUse {
    pub(crate) kind: BlobKind,
    pub(crate) id: PackId,
    pub(crate) pack_bytes: u64,
    pub(crate) received: Option<SystemTime>,
    /// Bytes of all its blocks.
    pub(crate) block_bytes: u64,
    /// Of these, what is needed here.
    pub(crate) needed_bytes: u64,
    /// Of these, what is needed but is in another pack, too.
    pub(crate) double_bytes: u64,
    /// Whether a block is sealed with a key of a newer version, or no owner or maintainer vouches for the ids:
    /// then its blobs are not taken over into a pack of ours.
    pub(crate) is_foreign: bool,
    segment: usize,
    number: usize,
}

impl PackUse {
    /// What rewriting the pack would free, as a share of its blocks.
    pub(crate) fn unused_share(&self) -> f64 {
        1.0 - self.needed_bytes as f64 / self.block_bytes.max(1) as f64
    }

    /// Whether no root needs anything of it.
    pub(crate) fn is_dead(&self) -> bool {
        self.needed_bytes == 0 && self.double_bytes == 0
    }
}

/// From which share of needed blobs on a block is moved as it is, for each kind of pack: opening and
/// compressing it again costs ten times as much as copying it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WholeShares {
    pub(crate) data: f64,
    pub(crate) tree: f64,
}

impl WholeShares {
    pub(crate) fn of(self, kind: BlobKind) -> f64 {
        match kind {
            BlobKind::Data => self.data,
            BlobKind::Tree => self.tree,
        }
    }
}

/// One segment with what is needed of each of its blocks.
struct Counted {
    file: Arc<SegmentFile>,
    trusted: bool,
    /// Blobs of each block that are needed here.
    needed: Vec<u32>,
    /// Blobs of each block that are needed, but not here.
    doubles: Vec<u32>,
    /// Of each pack, whether this segment speaks for it.
    owns: Vec<bool>,
    /// Of each pack, how many needed blobs it holds, doubles included.
    popularity: Vec<u32>,
}

/// What every stored pack is needed for.
pub(crate) struct Usage {
    segments: Vec<Counted>,
    pub(crate) packs: Vec<PackUse>,
}

impl Usage {
    /// Counts. With `may_drop_doubles` a blob in several packs is needed in one of them only.
    pub(crate) fn count(
        index: &Index,
        listing: &PackListing,
        marks: &Marks,
        may_drop_doubles: bool,
        whole: WholeShares,
    ) -> Self {
        let mut usage = Usage { segments: owners(index), packs: Vec::new() };
        usage.count_popularity(marks);
        usage.count_rows(marks, may_drop_doubles);
        usage.sum_packs(listing, whole);
        usage
    }

    fn count_popularity(&mut self, marks: &Marks) {
        for segment in &mut self.segments {
            let Some(is_marked) = marks.bits_of(&segment.file) else { continue };
            for row in (0..segment.file.blobs()).filter(|row| is_marked(*row)) {
                if let Some(pack) = segment.file.pack_of(row) {
                    segment.popularity[pack] += 1;
                }
            }
        }
    }

    fn count_rows(&mut self, marks: &Marks, may_drop_doubles: bool) {
        for s in 0..self.segments.len() {
            let file = self.segments[s].file.clone();
            let Some(is_marked) = marks.bits_of(&file) else { continue };
            for row in (0..file.blobs()).filter(|row| is_marked(*row)) {
                let Some(pack) = file.pack_of(row).filter(|pack| self.segments[s].owns[*pack]) else {
                    continue;
                };
                let (block, _) = file.place(row);
                let is_needed_here =
                    !may_drop_doubles || self.primary(file.pack_kind(pack), &file.key(row)) == Some((s, row));
                match is_needed_here {
                    true => self.segments[s].needed[block] += 1,
                    false => self.segments[s].doubles[block] += 1,
                }
            }
        }
    }

    /// The place where a blob will stay: in a trusted segment if possible, and there in the pack of which
    /// most is needed, so that garbage gathers in the others.
    fn primary(&self, kind: BlobKind, key: &IndexKey) -> Option<RowRef> {
        let places = self.segments.iter().enumerate().flat_map(|(s, counted)| {
            counted.file.find(key).filter_map(move |row| {
                let pack = counted.file.pack_of(row)?;
                let fits = counted.owns[pack] && counted.file.pack_kind(pack) == kind;
                fits.then(|| {
                    (counted.trusted, counted.popularity[pack], counted.file.pack_id(pack), (s, row))
                })
            })
        });
        places.max().map(|(_, _, _, place)| place)
    }

    fn sum_packs(&mut self, listing: &PackListing, whole: WholeShares) {
        for (s, counted) in self.segments.iter().enumerate() {
            for number in (0..counted.file.packs()).filter(|n| counted.owns[*n]) {
                let (kind, id) = (counted.file.pack_kind(number), counted.file.pack_id(number));
                let mut pack = PackUse {
                    kind,
                    id,
                    pack_bytes: counted.file.pack_bytes(number),
                    received: listing.received(kind, &id),
                    block_bytes: 0,
                    needed_bytes: 0,
                    double_bytes: 0,
                    is_foreign: !counted.trusted,
                    segment: s,
                    number,
                };
                for block in counted.file.blocks_of(number) {
                    counted.add_block(block, &mut pack, whole.of(kind));
                }
                self.packs.push(pack);
            }
        }
        self.packs.sort_by_key(|pack| (pack.kind, pack.id));
    }

    /// The segment that speaks for a pack, and its number there.
    pub(crate) fn rows_of(&self, pack: &PackUse) -> (&Arc<SegmentFile>, usize) {
        (&self.segments[pack.segment].file, pack.number)
    }

    /// The primary place of a blob.
    pub(crate) fn primary_place(&self, kind: BlobKind, key: &IndexKey) -> Option<Location> {
        let (segment, row) = self.primary(kind, key)?;
        self.segments[segment].file.location(row).map(|(_, place)| place)
    }

    /// Whether the primary place of a blob is this one: in the block of this number of the pack, at this rank. A
    /// rescue may have put a blob into one pack several times.
    pub(crate) fn is_primary_at(&self, pack: &PackUse, key: &IndexKey, block: usize, rank: usize) -> bool {
        let (file, number) = self.rows_of(pack);
        let here = file.block(file.blocks_of(number).start + block).map(|place| place.offset);
        self.primary_place(pack.kind, key).is_some_and(|place| {
            place.pack == pack.id && Some(place.block.offset) == here && usize::from(place.rank) == rank
        })
    }
}

impl Counted {
    fn add_block(&self, block: usize, pack: &mut PackUse, whole_share: f64) {
        let Some(place) = self.file.block(block) else { return };
        let stored = place.stored_bytes as u64;
        // Even a block of which next to nothing is needed is needed.
        let share = |n: u32| match n {
            0 => 0,
            _ if n as f64 >= whole_share * place.blobs as f64 => stored,
            _ => (stored * n as u64 / place.blobs as u64).max(1),
        };
        let needed = share(self.needed[block]);
        pack.block_bytes += stored;
        pack.needed_bytes += needed;
        pack.double_bytes += share(self.doubles[block]).min(stored - needed);
        pack.is_foreign |= place.key_ref != 0;
    }
}

/// The segments, each with the packs it speaks for: of several that list one pack, the first trusted one.
fn owners(index: &Index) -> Vec<Counted> {
    let mut segments: Vec<Counted> = Vec::new();
    let mut owned: HashSet<(BlobKind, PackId)> = HashSet::new();
    for wants_trusted in [true, false] {
        for view in index.segments() {
            if view.file.trusted() != wants_trusted {
                continue;
            }
            let file = view.file;
            let owns = (0..file.packs()).map(|i| {
                let pack = (file.pack_kind(i), file.pack_id(i));
                view.listed && view.stored[i] && owned.insert(pack)
            });
            segments.push(Counted {
                owns: owns.collect(),
                popularity: vec![0; file.packs()],
                needed: vec![0; file.blocks()],
                doubles: vec![0; file.blocks()],
                trusted: wants_trusted,
                file: file.clone(),
            });
        }
    }
    segments
}
