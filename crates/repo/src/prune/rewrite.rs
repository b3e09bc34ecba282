//! Writing packs anew so that their garbage can go: needed blocks are moved, in batches.
//!
//! A block of which enough is needed moves as it is, cipher text and all; of others the needed blobs are
//! stored again. Each batch is durable before its packs are condemned, so a run may end after any of them.

use crate::blocks::{KeysOfPack, Source, Wanted, keys_of};
use crate::error::RepoResult;
use crate::index::SegmentFile;
use crate::names;
use crate::prune::condemn::Packs;
use crate::prune::doubles::Claim;
use crate::prune::run::Run;
use crate::prune::usage::{PackUse, Usage, WholeShares};
use crate::prune::{Stage, UnusedLimit};
use crate::reader::chain;
use crate::reserve;
use format::id::{BlobKind, PackId};
use format::index::IndexKey;
use format::keys::Capability;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use storage::ErrorKind;

/// A partly needed block is moved as it is when this share of its blobs is needed, so that the garbage it
/// carries stays below the share at which its new pack would be rewritten.
const WHOLE_SHARE: f64 = 0.85;
/// The same where space is wanted at once.
const URGENT_WHOLE_SHARE: f64 = 0.95;
/// Bytes of packs in one batch. What a batch replaces can be deleted before the next begins, so a place needs
/// no more room than this beside what it holds.
const BATCH_BYTES: u64 = 1 << 30;
/// Where space is to be freed at once, batches are smaller.
const URGENT_BATCH_BYTES: u64 = 64 << 20;

/// What a row of a pack that is written anew is needed for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Nobody,
    Here,
    /// Somebody needs it, but its primary place is elsewhere.
    Elsewhere,
}

/// What is needed of a pack: by block, by rank.
type Needs = Vec<Vec<Need>>;

impl Run<'_> {
    /// Rewrites these packs. Stops early, with what was done so far in force, when the place is full: but first the
    /// reserve is given up, and what is left goes pack by pack, the one that needs the least room first. Each then
    /// frees more than it took.
    pub(super) fn rewrite(&mut self, usage: &Usage, packs: &[PackUse]) -> RepoResult<()> {
        let total: u64 = packs.iter().map(|pack| pack.needed_bytes).sum();
        let frees = self.options.grace.is_zero();
        let mut limit = if frees { URGENT_BATCH_BYTES } else { BATCH_BYTES };
        let mut done = 0;
        let mut by_need: Vec<PackUse>;
        let mut rest = packs;
        while !rest.is_empty() && self.report.may_delete() {
            let mut bytes = 0;
            let fits = |pack: &&PackUse| {
                bytes += pack.pack_bytes;
                bytes <= limit
            };
            let n = rest.iter().take_while(fits).count().max(1);
            let (batch, later) = rest.split_at(n);
            self.tell(Stage::Move, done, total);
            match self.rewrite_batch(usage, batch) {
                Err(e) if e.store_kind() == Some(ErrorKind::NoSpace) && limit > 0 && frees => {
                    reserve::release(self.repo())?;
                    by_need = rest.to_vec();
                    by_need.sort_by_key(|pack| (pack.needed_bytes, pack.id));
                    (rest, limit) = (&by_need, 0);
                    continue;
                }
                Err(e) if e.store_kind() == Some(ErrorKind::NoSpace) => {
                    self.report.ran_out_of_space = true;
                    return Ok(());
                }
                other => other?,
            }
            done += batch.iter().map(|pack| pack.needed_bytes).sum::<u64>();
            self.tell(Stage::Move, done, total);
            rest = later;
        }
        Ok(())
    }

    fn rewrite_batch(&mut self, usage: &Usage, batch: &[PackUse]) -> RepoResult<()> {
        let rows = rows_of(usage, batch);
        let mut needs: Vec<Needs> = Vec::with_capacity(batch.len());
        for (pack, keys) in batch.iter().zip(&rows) {
            needs.push(self.needs_of(usage, pack, keys));
        }
        self.settle_doubles(usage, batch, &rows, &mut needs);
        let mut writer = self.writer();
        let mut replaced = Vec::new();
        for ((pack, keys), needs) in batch.iter().zip(&rows).zip(&needs) {
            let (file, number) = usage.rows_of(pack);
            let source = Source {
                kind: pack.kind,
                id: pack.id,
                pack_bytes: pack.pack_bytes,
                file: file.clone(),
                number,
            };
            let wanted: Vec<Wanted> = needs.iter().map(|needs| self.wanted(pack.kind, needs)).collect();
            match source.move_to(self.reader, &mut writer, keys, &wanted) {
                Ok(moved) => {
                    self.report.read_bytes += moved.read_bytes;
                    replaced.push(pack);
                }
                Err(e) if e.is_damage() && self.is_gone(pack.kind, &pack.id) => {}
                Err(e) if e.is_damage() || e.is_too_new() => {
                    self.report.damaged.push(format!("{}: {}", names::pack(pack.kind, &pack.id), chain(&e)));
                }
                Err(e) => {
                    writer.abandon().ok();
                    return Err(e);
                }
            }
        }
        let flushed = writer.flush();
        writer.abandon().ok();
        flushed?;
        self.report.written_bytes += writer.written().stored_bytes;
        self.ledger.extend(writer.own_packs());
        let replaced_ids: Vec<PackId> = replaced.iter().map(|pack| pack.id).collect();
        self.condemn(&replaced_ids, writer.own_packs())?;
        self.report.condemn(replaced.iter().map(|pack| pack.pack_bytes));
        if self.options.grace.is_zero() {
            self.look()?;
            let packs: Packs = replaced.iter().map(|pack| (pack.kind, pack.id)).collect();
            self.delete_condemned(&packs)?;
        }
        Ok(())
    }

    fn wanted(&self, kind: BlobKind, needs: &[Need]) -> Wanted {
        let here: Vec<u16> =
            (0..needs.len()).filter(|rank| needs[*rank] == Need::Here).map(|rank| rank as u16).collect();
        match here.len() {
            0 => Wanted::Nothing,
            n if n as f64 >= self.whole_shares().of(kind) * needs.len() as f64 => Wanted::Whole,
            _ => Wanted::Blobs(here),
        }
    }

    fn needs_of(&self, usage: &Usage, pack: &PackUse, keys: &KeysOfPack) -> Needs {
        let of_place = |block: usize, rank: usize, key: &Option<IndexKey>| match key {
            Some(key) if self.marks.is_reached(pack.kind, key) => {
                if usage.is_primary_at(pack, key, block, rank) { Need::Here } else { Need::Elsewhere }
            }
            _ => Need::Nobody,
        };
        let of_block = |(block, keys): (usize, &Vec<Option<IndexKey>>)| {
            keys.iter().enumerate().map(|(rank, key)| of_place(block, rank, key)).collect()
        };
        keys.iter().enumerate().map(of_block).collect()
    }

    /// What is said to be elsewhere is read there and compared; where that fails, it is needed here. A
    /// primary place in a pack of this batch moves with it, and so is compared on the way.
    fn settle_doubles(&mut self, usage: &Usage, batch: &[PackUse], rows: &[KeysOfPack], needs: &mut [Needs]) {
        let may_drop = self.may_drop_doubles();
        let in_batch: HashSet<PackId> = batch.iter().map(|pack| pack.id).collect();
        let mut claims = Vec::new();
        let mut needed = Vec::new();
        for (p, pack) in batch.iter().enumerate() {
            for (b, keys) in rows[p].iter().enumerate() {
                for (r, key) in keys.iter().enumerate() {
                    let whom = (p, b, r);
                    if needs[p][b][r] != Need::Elsewhere {
                        continue;
                    }
                    match key.and_then(|key| usage.primary_place(pack.kind, &key).map(|place| (key, place))) {
                        Some((key, place)) if may_drop && !in_batch.contains(&place.pack) => {
                            claims.push(Claim { key, place, whom });
                        }
                        Some(_) if may_drop => {}
                        _ => needed.push(whom),
                    }
                }
            }
        }
        needed.extend(self.disprove(claims));
        for (p, b, r) in needed {
            needs[p][b][r] = Need::Here;
        }
    }

    /// Contents can be taken apart only by who can open them. Where a limit was set, no garbage is carried.
    pub(super) fn whole_shares(&self) -> WholeShares {
        let share = match self.options.unused {
            UnusedLimit::Worthwhile => WHOLE_SHARE,
            UnusedLimit::Urgent if !self.is_tight => URGENT_WHOLE_SHARE,
            _ => 1.0,
        };
        let data = if self.repo().capability() == Capability::Owner { share } else { 0.0 };
        WholeShares { data, tree: share }
    }

    /// Contents can be compared only by who can open them.
    pub(super) fn may_drop_doubles(&self) -> bool {
        self.repo().capability() == Capability::Owner
    }
}

/// The keys of the blobs of each pack, reading each segment once.
fn rows_of(usage: &Usage, batch: &[PackUse]) -> Vec<KeysOfPack> {
    let mut by_file: HashMap<*const SegmentFile, (Arc<SegmentFile>, Vec<usize>)> = HashMap::new();
    for pack in batch {
        let (file, number) = usage.rows_of(pack);
        by_file.entry(Arc::as_ptr(file)).or_insert_with(|| (file.clone(), Vec::new())).1.push(number);
    }
    let mut found: HashMap<*const SegmentFile, BTreeMap<usize, KeysOfPack>> =
        by_file.into_iter().map(|(at, (file, numbers))| (at, keys_of(&file, &numbers))).collect();
    let take = |pack: &PackUse| {
        let (file, number) = usage.rows_of(pack);
        found.get_mut(&Arc::as_ptr(file)).and_then(|keys| keys.remove(&number)).unwrap_or_default()
    };
    batch.iter().map(take).collect()
}
