//! Carrying packs and blocks over.
//!
//! Whole packs are fetched ahead by threads that compare each with its name; one thread hands them to the
//! writer in the order of the plan. What turns out damaged is read blob by blob, wherever else the source (or its
//! siblings) has it.

use super::plan::{Needed, NeededRows, Plan, Way};
use super::{CANCELLED, Run};
use crate::blocks::{BlockIds, KeysOfPack, Source, Wanted, keys_of};
use crate::error::{RepoError, RepoResult};
use crate::index::{OpenedPack, PackListing, open_whole};
use crate::names;
use crate::reader::{Reader, chain};
use crate::workers::Ordered;
use crate::writer::Writer;
use format::FormatError;
use format::id::{BlobId, BlobKind, PackId};
use format::index::{IndexKey, PackRow};
use format::keys::Capability;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use storage::ErrorKind;

/// Packs whose rows are looked up at a time: each look goes through a whole segment.
const GROUP: usize = 64;
/// A block of which less is needed is opened, by who can open it.
const WHOLE_BLOCK_PERCENT: usize = 50;

/// A pack to be fetched, from the source or from where it stands already.
type Fetch = (BlobKind, PackId, u64, Way);
/// Its bytes, if they are right; `None` if they are not.
type Fetched = RepoResult<Option<Vec<u8>>>;

/// Blobs whose pack could not be taken from.
type Loose = BTreeSet<(BlobKind, IndexKey)>;

impl Run<'_, '_> {
    pub(super) fn carry(&mut self, plan: &Plan, writer: &mut Writer) -> RepoResult<()> {
        let total = plan.sums().bytes;
        let mut done = 0;
        let mut loose = Loose::new();
        (self.options.progress)(0, total);
        let mut stage = self.fetchers();
        let mut ahead = plan.packs.iter().filter(|p| p.way != Way::Blocks);
        for group in plan.packs.chunks(GROUP) {
            let mut keys = rows_of(plan, group);
            for (n, pack) in group.iter().enumerate() {
                if (self.options.cancelled)() {
                    return Err(RepoError::Local(CANCELLED.into()));
                }
                let keys = keys.remove(&n).unwrap_or_default();
                let rows = &plan.segments[pack.segment];
                if pack.way == Way::Blocks {
                    self.move_blocks(pack, rows, &keys, writer, &mut loose)?;
                } else {
                    while stage.outstanding() <= self.options.fetch_workers.0 {
                        let Some(next) = ahead.next() else { break };
                        stage.give((next.kind, next.id, next.pack_bytes, next.way));
                    }
                    let fetched = stage.take().expect("each pack was asked for");
                    self.take(pack, rows, &keys, fetched, writer, &mut loose)?;
                }
                done += pack.bytes();
                (self.options.progress)(done, total);
            }
        }
        self.read_loose(plan, &loose, writer)
    }

    fn fetchers(&self) -> Ordered<Fetch, Fetched> {
        let (source, target) = (self.source.clone(), self.target.clone());
        Ordered::new("fetch", self.options.fetch_workers, move || {
            let (source, target) = (source.clone(), target.clone());
            Box::new(move |(kind, id, len, way): Fetch| {
                let reader = if way == Way::Adopt { &target } else { &source };
                fetch(reader, kind, &id, len)
            })
        })
    }

    /// A whole pack goes to the target; one that is not right is left, and its blobs are looked for elsewhere.
    fn take(
        &mut self,
        pack: &Needed,
        rows: &NeededRows,
        keys: &KeysOfPack,
        fetched: Fetched,
        writer: &mut Writer,
        loose: &mut Loose,
    ) -> RepoResult<()> {
        let bytes = match fetched {
            Ok(bytes) => bytes,
            Err(e) if e.is_damage() => None,
            Err(e) => return Err(e),
        };
        let opened = bytes.as_ref().and_then(|bytes| whole_row(self.source, pack, keys, bytes));
        match (bytes, opened, pack.way) {
            (Some(_), Some((row, ids)), Way::Adopt) => {
                self.report.adopted_packs += 1;
                writer.adopt_pack(row, ids)
            }
            (Some(bytes), Some((row, ids)), _) => {
                self.report.read_bytes += bytes.len() as u64;
                self.report.whole_packs += 1;
                writer.take_pack(row, ids, std::sync::Arc::new(bytes))
            }
            // What stands at the target under that name is not it: the blocks get a new name.
            (_, _, Way::Adopt) => self.move_blocks(pack, rows, keys, writer, loose),
            _ => {
                self.report.source_damage.insert(names::pack(pack.kind, &pack.id).to_string());
                // Its parity, or single blocks of it, may still be good.
                self.move_blocks(pack, rows, keys, writer, loose)
            }
        }
    }

    fn move_blocks(
        &mut self,
        pack: &Needed,
        rows: &NeededRows,
        keys: &KeysOfPack,
        writer: &mut Writer,
        loose: &mut Loose,
    ) -> RepoResult<()> {
        let (kind, id, pack_bytes) = (pack.kind, pack.id, pack.pack_bytes);
        let source = Source { kind, id, pack_bytes, file: rows.file.clone(), number: pack.number };
        let wanted = self.wanted(pack, rows, keys);
        match source.move_to(self.source, writer, keys, &wanted) {
            Ok(moved) => {
                self.report.read_bytes += moved.read_bytes;
                self.report.blocks += wanted.iter().filter(|w| **w != Wanted::Nothing).count() as u64;
                Ok(())
            }
            Err(e) if e.is_damage() || e.is_too_new() => {
                self.report.source_damage.insert(format!("{}: {}", names::pack(kind, &id), chain(&e)));
                let needed = |key: &IndexKey| needs(rows, pack, key);
                loose.extend(
                    keys.iter().flatten().flatten().filter(|key| needed(key)).map(|key| (kind, *key)),
                );
                Ok(())
            }
            Err(e) => Err(e),
        }
    }

    /// Of each block what is needed: all of it where most is, or where these keys cannot open it.
    fn wanted(&self, pack: &Needed, rows: &NeededRows, keys: &KeysOfPack) -> Vec<Wanted> {
        let opens = pack.kind == BlobKind::Tree || self.source.repo().capability() == Capability::Owner;
        let of_block = |keys: &Vec<Option<IndexKey>>| {
            let is_needed = |key: &Option<IndexKey>| key.is_some_and(|key| needs(rows, pack, &key));
            let ranks: Vec<u16> =
                (0..keys.len()).filter(|r| is_needed(&keys[*r])).map(|r| r as u16).collect();
            match ranks.len() {
                0 => Wanted::Nothing,
                n if !opens || n * 100 >= keys.len() * WHOLE_BLOCK_PERCENT => Wanted::Whole,
                _ => Wanted::Blobs(ranks),
            }
        };
        keys.iter().map(of_block).collect()
    }

    /// Blobs that came in no pack or block are read, each from wherever it can be.
    fn read_loose(&mut self, plan: &Plan, loose: &Loose, writer: &mut Writer) -> RepoResult<()> {
        let mut ids: BTreeSet<(BlobKind, BlobId)> = plan.loose.clone();
        ids.extend(self.whole_ids(loose)?);
        for (kind, id) in ids {
            match self.source.read(kind, &id) {
                Ok(blob) => {
                    self.report.read_bytes += blob.len() as u64;
                    if self.target.repo().keys().block_key(kind).is_ok() && writer.put(kind, &id, &blob)? {
                        self.report.blobs += 1;
                    }
                }
                // The snapshots that need it stay incomplete, and are named when they cannot be published.
                Err(e) if e.is_damage() || e.is_too_new() || e.store_kind().is_none() => {
                    self.report.source_damage.insert(chain(&e));
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Segments keep 16 bytes of an id; trees know the rest.
    fn whole_ids(&self, loose: &Loose) -> RepoResult<BTreeSet<(BlobKind, BlobId)>> {
        let mut ids = BTreeSet::new();
        if loose.is_empty() {
            return Ok(ids);
        }
        let list = crate::snapshots::SnapshotList::read(self.source.repo())?;
        let mut seen = std::collections::HashSet::new();
        for stored in &list.snapshots {
            let walked =
                crate::browse::visit_blobs(self.source, stored.snapshot.root, &mut seen, &mut |kind, id| {
                    if loose.contains(&(kind, IndexKey::from(id))) {
                        ids.insert((kind, *id));
                    }
                    ControlFlow::Continue(())
                });
            match walked {
                Err(e) if e.store_kind().is_some() && !e.is_damage() => return Err(e),
                Err(_) => seen.clear(),
                Ok(()) => {}
            }
        }
        Ok(ids)
    }

    /// Reads back what was stored.
    pub(super) fn read_back(&mut self, writer: &Writer) -> RepoResult<()> {
        let listing = PackListing::read(self.target.repo())?;
        let own: BTreeSet<PackId> = writer.own_packs().iter().copied().collect();
        for (kind, id, len) in listing.live().filter(|(_, id, _)| own.contains(id)) {
            if fetch(self.target, kind, &id, len)?.is_none() {
                return Err(RepoError::object(
                    &names::pack(kind, &id),
                    FormatError::Corrupt {
                        what: "pack",
                        why: "what was stored just now is not what is read back",
                    },
                ));
            }
            self.report.read_back_packs += 1;
        }
        Ok(())
    }
}

fn needs(rows: &NeededRows, pack: &Needed, key: &IndexKey) -> bool {
    let mut found = rows.file.find(key);
    found.any(|row| rows.get(row) && rows.file.pack_of(row) == Some(pack.number))
}

/// The bytes of a pack, compared with its name.
fn fetch(reader: &Reader, kind: BlobKind, id: &PackId, len: u64) -> Fetched {
    let repo = reader.repo();
    match repo.store().get(&names::pack(kind, id), len) {
        Ok(bytes) => Ok((*blake3::hash(&bytes).as_bytes() == id.0).then_some(bytes)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(repo.store_error(e)),
    }
}

/// The row of a pack for the target's index: blocks by its own directory, ids by the source's index, where
/// both agree.
fn whole_row(
    source: &Reader,
    pack: &Needed,
    keys: &KeysOfPack,
    bytes: &[u8],
) -> Option<(PackRow, Vec<BlobId>)> {
    let (header, directory): OpenedPack = open_whole(source.repo(), pack.kind, bytes)?;
    if directory.blocks.len() != keys.len() {
        return None;
    }
    let of_blocks = BlockIds::new(pack.kind, &directory);
    let mut ids = Vec::new();
    for (block, keys) in keys.iter().enumerate() {
        ids.extend(of_blocks.of(block, keys)?);
    }
    Some((PackRow::new(pack.id, &header, pack.pack_bytes, &directory), ids))
}

/// The keys of the blobs of these packs, by their place in the group.
fn rows_of(plan: &Plan, group: &[Needed]) -> BTreeMap<usize, KeysOfPack> {
    let segments: BTreeSet<usize> = group.iter().map(|pack| pack.segment).collect();
    let mut found = BTreeMap::new();
    for segment in segments {
        let of_segment: Vec<(usize, usize)> =
            (0..group.len()).filter(|n| group[*n].segment == segment).map(|n| (n, group[n].number)).collect();
        let numbers: Vec<usize> = of_segment.iter().map(|(_, number)| *number).collect();
        let mut keys = keys_of(&plan.segments[segment].file, &numbers);
        found.extend(of_segment.into_iter().filter_map(|(n, number)| Some((n, keys.remove(&number)?))));
    }
    found
}
