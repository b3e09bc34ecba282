//! Rules that look as good as the right one, each broken by itself, and the world in which that shows.
//!
//! A checker that does not find these finds nothing: each has a test. Some are no mistakes, and the tests say
//! so: where an order does not matter, that is known and not guessed.

use super::scenario::{FirstPack, Grain, Merges, Parent, Role, Scenario};

macro_rules! variants {
    ($($(#[$doc:meta])* $variant:ident $name:literal,)*) => {
        /// A rule broken on purpose.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Variant { $($(#[$doc])* $variant,)* }

        /// All of them.
        pub const VARIANTS: &[Variant] = &[$(Variant::$variant,)*];

        impl Variant {
            /// Its name in reports.
            pub fn name(self) -> &'static str {
                match self { $(Variant::$variant => $name,)* }
            }
        }
    };
}

variants! {
    /// Roots are listed in the order in which a commit moves them.
    SnapshotsBeforePending "snapshots are listed before pending records",
    /// Pending records are no roots for a pruner.
    PendingNotListed "pending records are no roots",
    /// A session commits what it stored, without looking again.
    NoRecheck "commit without re-check",
    /// It looks again, but before its pending record is visible.
    RecheckBeforePending "re-check before the pending record is put",
    /// It looks only for packs condemned since its own beginning, and read its parent before that.
    RecheckSinceStart "re-check only of what was condemned since the start",
    /// The same with a parent from the cache, which may be long gone.
    RecheckSinceStartCached "re-check since the start, parent from the cache",
    /// The parent's memory counts packs that are there, condemned or not.
    MemoryIgnoresCondemned "the parent's memory ignores condemned packs",
    /// The session removes its pending record before the snapshot is there.
    PendingGoesFirst "the pending record goes before the snapshot comes",
    /// The segment is written last.
    SegmentAfterSnapshot "the segment comes after the snapshot",
    /// Before deleting, only roots not walked before are walked; the verdict about the others stands.
    OldVerdict "only new roots are judged before deleting",
    /// Before deleting, copies are judged by the index of the first listing.
    FirstIndex "copies are judged by the index read first",
    /// Before deleting, packs that others condemned count as copies.
    OwnCondemnedOnly "packs condemned by others count as copies",
    /// What was condemned is deleted without a second look at the roots.
    NoSecondLook "delete without reading the roots again",
    /// A condemned pack that is needed becomes live again.
    Uncondemn "a needed pack is un-condemned",
    /// Packs without index are deleted at once.
    OrphansDeleted "packs without index are deleted at once",
    /// Packs are deleted before the segment of what was rescued from them is there.
    DeleteBeforeRescueIsIndexed "delete before the rescued copy is indexed",
    /// A condemned pack that no segment lists holds nothing.
    RowsOnly "packs without index hold nothing",
    /// A copy counts because the index says so.
    CopiesUnverified "copies count without being decoded",
    /// A root that cannot be walked refers to nothing.
    UnwalkableIsEmpty "a root that cannot be walked refers to nothing",
    /// A pending record of a session that seems dead is removed.
    PlainExpiry "pending records expire",
    /// Abort records are removed after a while.
    AbortCollected "abort records are collected",
    /// Sessions are aborted where creating does not refuse.
    AbortByOverwriting "abort without conditional create",
    /// A copy writes a condemned name again and counts its own packs unread.
    OwnPacksUnchecked "a copy writes a condemned name",
    /// Names of deleted packs are forgotten.
    CondemnedDropped "names of deleted packs are dropped",
    /// Damage is repaired in place, condemned or not.
    RepairInPlace "repair in place of a condemned pack",
    /// Old segments go before the merged one is durable.
    MergeDeletesFirst "merge deletes before it writes",
    /// The merged object may sort before what it replaces.
    MergeSortsBefore "merged object sorts before what it replaces",
    /// A merge leaves out packs that its listing did not see.
    MergeDropsUnlisted "merge drops packs it did not see",
    /// A merge leaves out packs that are condemned and still there.
    MergeDropsCondemned "merge drops condemned packs that are still there",
    /// Old lists of condemned packs go before the merged one is durable.
    MergeDeletesListsFirst "merge of condemned lists deletes before it writes",
    /// What is rescued is copied without being compared.
    RescueUnverified "what is rescued is not compared",
    /// A copy brings back a snapshot id whose removal was announced.
    RemovedIdWritten "a copy brings back a removed snapshot id",
    /// Undo looks for the announcement first, then takes the tomb away.
    UndoLooksFirst "undo looks for the announcement before it takes the tomb away",
    /// The tomb is read once, then the snapshot goes.
    TombReadOnce "removal is not announced",
    /// The hold is looked for before the removal is announced, not after.
    HoldReadEarly "holds are read before the removal is announced",
    /// Forgetting removes the snapshot at once; undo takes the tomb away.
    ForgetRemoves "forget removes the snapshot at once",
    /// A record put again after the snapshot's removal counts.
    RemovedCounts "a record that comes back after its removal counts",
    /// Only a second copy without a first counts for nothing, from the announcement on. Repair may put the first.
    NotConfirmed "removals are announced and not confirmed, and repair puts first copies",
    /// Repair puts a damaged tomb again.
    TombMended "repair writes a tomb again",
    /// The roots are read first, then which packs are condemned; packs condemned between are deleted, too.
    CondemnedAfterRoots "packs condemned after the roots were read are deleted",
    /// Condemned lists are listed before the index. Harmless.
    CondemnedListedFirst "condemned lists are listed before the index",
    /// Before deleting, index, packs and condemned lists are read before the roots, and not after. Harmless.
    IndexBeforeRoots "the last index is read before the roots",
    /// The re-check does not list the packs: what is gone is condemned anyhow. Harmless.
    RecheckWithoutPacks "the re-check does not list the packs",
    /// Packs are listed before the index. Harmless.
    PacksListedFirst "packs are listed before the index",
}

const W1: Role = Role::Writer { root: 1, parent: Parent::None };
const P: Role = Role::Pruner;
const NONE: Role = Role::None;

impl Variant {
    /// Whether breaking this rule loses nothing.
    pub fn is_harmless(self) -> bool {
        use Variant::{CondemnedListedFirst, IndexBeforeRoots, PacksListedFirst, RecheckWithoutPacks};
        matches!(self, CondemnedListedFirst | PacksListedFirst | IndexBeforeRoots | RecheckWithoutPacks)
    }

    /// The smallest world known to show it; without the variant it is safe.
    pub fn world(self) -> Scenario {
        let base = Scenario::new(self.name());
        let world = match self {
            Variant::SnapshotsBeforePending => {
                backup(Scenario { grain: Grain::Prefixes, ..base }, Parent::None, 1)
            }
            Variant::PendingNotListed
            | Variant::NoRecheck
            | Variant::RecheckBeforePending
            | Variant::SegmentAfterSnapshot
            | Variant::PendingGoesFirst
            | Variant::OrphansDeleted
            | Variant::RecheckWithoutPacks => backup(base, Parent::None, 1),
            Variant::RecheckSinceStart => backup(base, Parent::Stored, 1),
            Variant::RecheckSinceStartCached => backup(base, Parent::Cached, 1),
            Variant::MemoryIgnoresCondemned => backup(base, Parent::Remembered, 1),
            Variant::OldVerdict | Variant::FirstIndex | Variant::OwnCondemnedOnly => {
                Scenario { roles: [NONE, NONE, P, P], packs: vec![FirstPack::holding(1); 2], ..base }
            }
            Variant::DeleteBeforeRescueIsIndexed => {
                Scenario { roles: [NONE, NONE, P, P], packs: vec![FirstPack::holding(1); 2], ..base }
            }
            Variant::RowsOnly => Scenario { roles: [NONE, NONE, NONE, P], loses_segment: true, ..base },
            Variant::CopiesUnverified => {
                let planted = FirstPack { bad: true, ..FirstPack::holding(1) };
                Scenario { roles: [NONE, NONE, NONE, P], packs: vec![FirstPack::holding(1), planted], ..base }
            }
            Variant::UnwalkableIsEmpty => Scenario {
                roles: [NONE, NONE, NONE, P],
                reaches: [3, 0, 0],
                packs: vec![FirstPack::holding(1), FirstPack::holding(2)],
                damages: true,
                has_tree: true,
                ..base
            },
            Variant::PlainExpiry | Variant::AbortCollected => {
                Scenario { aborts: true, ..backup(base, Parent::None, 1) }
            }
            Variant::AbortByOverwriting => {
                Scenario { aborts: true, creates_new: false, ..backup(base, Parent::None, 1) }
            }
            Variant::OwnPacksUnchecked => copying(base, 1),
            Variant::CondemnedDropped => copying(base, 2),
            Variant::RepairInPlace => Scenario {
                roles: [Role::Repairer, NONE, NONE, P],
                packs: vec![FirstPack::holding(1); 2],
                damages: true,
                packs_max: 5,
                ..base
            },
            Variant::MergeDeletesFirst => merging(Scenario { grain: Grain::Atomic, ..base }),
            Variant::MergeSortsBefore => Scenario {
                roles: [W1, Role::Merger, NONE, P],
                reaches: [0, 1, 0],
                packs: vec![
                    FirstPack { listed: 1, ..FirstPack::holding(1) },
                    FirstPack { listed: 2, ..FirstPack::holding(1) },
                ],
                merges: Merges::Lists,
                packs_max: 3,
                ..merging(base)
            },
            Variant::MergeDeletesListsFirst => Scenario {
                roles: [W1, Role::Merger, NONE, P],
                reaches: [0, 1, 0],
                packs: vec![FirstPack { listed: 1, ..FirstPack::holding(1) }],
                merges: Merges::Lists,
                packs_max: 3,
                ..merging(Scenario { grain: Grain::Prefixes, ..base })
            },
            Variant::MergeDropsCondemned => Scenario {
                roles: [W1, Role::Merger, NONE, P],
                reaches: [0, 1, 0],
                packs: vec![FirstPack::holding(1)],
                packs_max: 3,
                ..merging(Scenario { grain: Grain::Prefixes, ..base })
            },
            Variant::RescueUnverified => Scenario {
                roles: [NONE, NONE, NONE, P],
                packs: vec![
                    FirstPack { listed: 1, ..FirstPack::holding(1) },
                    FirstPack { listed: 1, bad: true, ..FirstPack::holding(1) },
                ],
                ..base
            },
            Variant::RemovedIdWritten => {
                Scenario { roles: [Role::Syncer { root: 0 }, NONE, P, P], forgets: 1, ..base }
            }
            Variant::MergeDropsUnlisted => {
                let world = merging(Scenario { grain: Grain::Prefixes, ..base });
                Scenario { roles: [W1, Role::Merger, NONE, NONE], reaches: [1, 2, 0], ..world }
            }
            Variant::TombReadOnce
            | Variant::HoldReadEarly
            | Variant::UndoLooksFirst
            | Variant::ForgetRemoves => {
                Scenario { roles: [NONE, NONE, NONE, P], forgets: 1, undos: 1, ..base }
            }
            Variant::RemovedCounts => backup(base, Parent::None, 1),
            Variant::NotConfirmed => {
                let world = backup(base, Parent::None, 1);
                Scenario { roles: [W1, Role::Mender, NONE, P], ..world }
            }
            Variant::TombMended => {
                Scenario { roles: [NONE, Role::Mender, NONE, P], forgets: 1, undos: 1, ..base }
            }
            Variant::Uncondemn
            | Variant::NoSecondLook
            | Variant::CondemnedAfterRoots
            | Variant::IndexBeforeRoots => {
                Scenario { packs_max: 3, forgets: 1, ..backup(base, Parent::None, 2) }
            }
            Variant::CondemnedListedFirst | Variant::PacksListedFirst => {
                Scenario { grain: Grain::Prefixes, ..backup(base, Parent::None, 1) }
            }
        };
        world.paged()
    }

    /// That world with the rule broken.
    pub fn broken(self) -> Scenario {
        let rule = match self {
            Variant::RecheckSinceStartCached => Variant::RecheckSinceStart,
            Variant::MergeDeletesListsFirst => Variant::MergeDeletesFirst,
            other => other,
        };
        self.world().breaking(rule)
    }
}

/// A backup beside pruners, while somebody forgets.
pub fn backup(base: Scenario, parent: Parent, pruners: usize) -> Scenario {
    let mut roles = [Role::Writer { root: 1, parent }, NONE, NONE, NONE];
    roles[4 - pruners..].fill(P);
    Scenario { roles, reaches: [1, 1, 0], forgets: 2, ..base }
}

/// A copy from a sibling beside pruners, while somebody forgets.
pub fn copying(base: Scenario, pruners: usize) -> Scenario {
    let mut roles = [Role::Syncer { root: 2 }, NONE, NONE, NONE];
    roles[4 - pruners..].fill(P);
    Scenario { roles, reaches: [1, 0, 1], forgets: 1, ..base }
}

/// Merges beside a pruner.
pub fn merging(base: Scenario) -> Scenario {
    let grain = if base.grain == Grain::Atomic { Grain::Pages } else { base.grain };
    Scenario {
        roles: [NONE, Role::Merger, NONE, P],
        packs: vec![FirstPack::holding(1); 2],
        merges: Merges::Segments,
        compacts: false,
        grain,
        ..base
    }
}
