//! Which packs go, and which are written anew so that their garbage goes. Pure: decides, touches nothing.
//!
//! A pack of which nothing is needed goes without being read. Of the others, rewriting one frees its
//! garbage and costs reading and writing the rest. With `d` the garbage's share, each freed byte costs
//! `(1-d)/d` bytes read and written; it is worth it where storing the garbage for a year costs more, which
//! is from [`LOCAL_SHARE`] or [`REMOTE_SHARE`] on. (For a place of 0.023 per GB and month that charges 0.09
//! per GB read, the break-even is a quarter.) Tree packs are small, and read by everything: from 30 % on.

use crate::prune::usage::PackUse;
use format::id::{BlobKind, PackId};
use std::collections::HashSet;
use std::time::{Duration, SystemTime};

/// From this share of garbage on, a data pack on a disk of ours is rewritten: a fifth costs four bytes
/// copied for one freed.
const LOCAL_SHARE: f64 = 0.2;
/// The same for a place that charges for what is read.
const REMOTE_SHARE: f64 = 0.25;
/// The same for tree packs.
const TREE_SHARE: f64 = 0.3;
/// Packs shorter than a quarter of the target are put together when there are so many of them.
const SMALL_PACKS_MIN: usize = 10;

/// The share of everything needed that may stay unused where space is wanted at once, and moving what is
/// needed is its price.
const URGENT_UNUSED_SHARE: f64 = 0.01;

/// How much garbage may stay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum UnusedLimit {
    /// What is not worth its cost, by the rule of this module.
    Worthwhile,
    /// For space that is wanted at once: a hundredth of what is needed; and, unless the place is full, what lies
    /// in blocks that are needed but for a twentieth: twenty bytes would be compressed again for each one freed.
    Urgent,
    /// This share of everything needed, from 0 to 1.
    Share(f64),
    /// So many bytes.
    Bytes(u64),
    /// Any: nothing is rewritten.
    Unlimited,
}

/// What the plan goes by.
pub(crate) struct Rules<'a> {
    pub(crate) unused: UnusedLimit,
    /// Most bytes of needed blocks that are moved.
    pub(crate) repack_bytes_max: u64,
    /// Packs that the store received less than this ago are left alone: a running session may need them.
    pub(crate) grace: Duration,
    /// Now, by the store's clock.
    pub(crate) now: Option<SystemTime>,
    pub(crate) is_local: bool,
    /// Packs that running sessions wrote.
    pub(crate) protected: &'a HashSet<PackId>,
    /// Target lengths of packs.
    pub(crate) pack_bytes: u64,
    pub(crate) tree_pack_bytes: u64,
}

/// What is to be done.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Packs of which nothing is needed.
    pub(crate) dead: Vec<PackUse>,
    /// Packs whose needed blobs are all in other packs, too.
    pub(crate) doubles: Vec<PackUse>,
    /// Packs that are written anew.
    pub(crate) rewrite: Vec<PackUse>,
    /// Packs without any index row.
    pub(crate) unindexed: Vec<(BlobKind, PackId, u64)>,
    /// Bytes that could go but are too young.
    pub(crate) young_bytes: u64,
    /// Garbage that stays.
    pub(crate) unused_after_bytes: u64,
}

impl Rules<'_> {
    /// Whether a session that is still running may have stored the pack, or be about to rely on it.
    fn is_young(&self, received: Option<SystemTime>) -> bool {
        if self.grace.is_zero() {
            return false;
        }
        match (self.now, received) {
            // Of the future by the store's own clock: that clock was set back. It counts as new.
            (Some(now), Some(received)) => now.duration_since(received).unwrap_or_default() < self.grace,
            _ => true,
        }
    }

    fn may_go(&self, id: &PackId, received: Option<SystemTime>) -> bool {
        !self.protected.contains(id) && !self.is_young(received)
    }

    fn worthwhile_share(&self, kind: BlobKind) -> f64 {
        match kind {
            BlobKind::Tree => TREE_SHARE,
            BlobKind::Data if self.is_local => LOCAL_SHARE,
            BlobKind::Data => REMOTE_SHARE,
        }
    }

    fn is_small(&self, pack: &PackUse) -> bool {
        let target = match pack.kind {
            BlobKind::Data => self.pack_bytes,
            BlobKind::Tree => self.tree_pack_bytes,
        };
        pack.pack_bytes < target / 4
    }
}

/// A pack of the listing that no segment knows, and when the store received it.
pub(crate) type UnindexedPack = (BlobKind, PackId, u64, Option<SystemTime>);

/// Makes the plan.
pub(crate) fn plan(packs: &[PackUse], unindexed: &[UnindexedPack], rules: &Rules<'_>) -> Plan {
    let mut plan = Plan::default();
    for (kind, id, pack_bytes, received) in unindexed {
        match rules.may_go(id, *received) {
            true => plan.unindexed.push((*kind, *id, *pack_bytes)),
            false => plan.young_bytes += pack_bytes,
        }
    }
    let mut partly = Vec::new();
    for pack in packs {
        let may_go = rules.may_go(&pack.id, pack.received);
        match (pack.needed_bytes == 0, may_go) {
            (true, false) => plan.young_bytes += pack.pack_bytes,
            (true, true) if pack.is_dead() => plan.dead.push(pack.clone()),
            (true, true) if !pack.is_foreign => plan.doubles.push(pack.clone()),
            _ if !pack.is_foreign && !rules.protected.contains(&pack.id) => partly.push(pack.clone()),
            _ => {}
        }
    }
    choose_rewrites(&mut plan, packs, partly, rules);
    plan
}

/// The fullest of garbage first, so that each byte moved frees most; then small packs, if there are many.
fn choose_rewrites(plan: &mut Plan, all: &[PackUse], mut partly: Vec<PackUse>, rules: &Rules<'_>) {
    let unused = |pack: &PackUse| pack.block_bytes.saturating_sub(pack.needed_bytes);
    let mut left: u64 = partly.iter().map(unused).sum();
    // Of what is needed, which stays the same: a share of what is stored would shrink with every run.
    let needed: u64 = all.iter().map(|pack| pack.needed_bytes.min(pack.block_bytes)).sum();
    let limit = match rules.unused {
        UnusedLimit::Worthwhile => None,
        UnusedLimit::Urgent => Some((needed as f64 * URGENT_UNUSED_SHARE) as u64),
        UnusedLimit::Share(share) => Some((needed as f64 * share) as u64),
        UnusedLimit::Bytes(bytes) => Some(bytes),
        UnusedLimit::Unlimited => Some(u64::MAX),
    };
    partly.sort_by(|a, b| b.unused_share().total_cmp(&a.unused_share()).then(a.id.cmp(&b.id)));
    let is_small = |pack: &PackUse| rules.is_small(pack);
    let many_small = [BlobKind::Data, BlobKind::Tree].map(|kind| {
        let count = partly.iter().filter(|pack| pack.kind == kind && is_small(pack)).count();
        count >= SMALL_PACKS_MIN && rules.unused != UnusedLimit::Unlimited
    });
    let mut moved = 0;
    for pack in partly {
        let share = pack.unused_share();
        let is_worth_it = share > 0.0
            && match limit {
                None => share >= rules.worthwhile_share(pack.kind),
                Some(limit) => left > limit,
            };
        let is_merged = many_small[pack.kind as usize] && is_small(&pack);
        if (is_worth_it || is_merged) && moved + pack.needed_bytes <= rules.repack_bytes_max {
            moved += pack.needed_bytes;
            left -= unused(&pack).min(left);
            plan.rewrite.push(pack);
        }
    }
    plan.unused_after_bytes = left;
}
