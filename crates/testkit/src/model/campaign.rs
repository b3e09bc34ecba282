//! Worlds too large for the tests: as many states as one has time for, and what they covered.

use super::scenario::{FirstPack, Grain, Merges, Parent, Role, Scenario};
use super::search::{Report, search};
use super::state::{PACKS, ROOTS};
use super::turn::Loss;
use super::variants::{VARIANTS, Variant};

const W1: Role = Role::Writer { root: 1, parent: Parent::None };
const HEIR: Role = Role::Writer { root: 1, parent: Parent::Cached };
const KNOWING_HEIR: Role = Role::Writer { root: 1, parent: Parent::Remembered };
const W2: Role = Role::Writer { root: 2, parent: Parent::None };
const P: Role = Role::Pruner;
const NONE: Role = Role::None;

/// The worlds of the campaign, the smaller ones first. All follow the right rules.
pub fn worlds() -> Vec<Scenario> {
    let base = Scenario::new("");
    let pages = Scenario { grain: Grain::Pages, ..base.clone() };
    let prefixes = Scenario { grain: Grain::Prefixes, ..base.clone() };
    let merging = Scenario { merges: Merges::Both, compacts: false, ..pages.clone() };
    vec![
        Scenario {
            name: "one backup, one pruner, aborts, forget and undo, listings by prefix",
            roles: [W1, NONE, NONE, P],
            reaches: [1, 1, 0],
            forgets: 2,
            undos: 1,
            aborts: true,
            ..prefixes.clone()
        },
        Scenario {
            name: "one backup from a remembered parent, one pruner, listings by page",
            roles: [KNOWING_HEIR, NONE, NONE, P],
            reaches: [1, 1, 0],
            forgets: 1,
            ..pages.clone()
        },
        Scenario {
            name: "one backup from a cached parent, two blobs, one pruner",
            roles: [HEIR, NONE, NONE, P],
            reaches: [1, 3, 0],
            forgets: 1,
            aborts: true,
            packs_max: 5,
            ..base.clone()
        },
        Scenario {
            name: "two backups (one inherits, one deduplicates), one pruner, aborts",
            roles: [HEIR, W2, NONE, P],
            reaches: [1, 1, 1],
            forgets: 1,
            aborts: true,
            ..base.clone()
        },
        Scenario {
            name: "repair beside one pruner, damage, a lost segment, two blobs of which one is a tree node",
            roles: [Role::Repairer, NONE, NONE, P],
            reaches: [3, 0, 0],
            packs: vec![FirstPack::holding(1), FirstPack::holding(2)],
            damages: true,
            loses_segment: true,
            has_tree: true,
            packs_max: 5,
            ..base.clone()
        },
        Scenario {
            name: "a backup beside repair of records and one pruner, forget, undo and hold",
            roles: [W1, Role::Mender, NONE, P],
            reaches: [1, 1, 0],
            forgets: 2,
            undos: 1,
            ..base.clone()
        },
        Scenario {
            name: "a backup where creating does not refuse, one pruner, forget and undo",
            roles: [W1, NONE, NONE, P],
            reaches: [1, 1, 0],
            forgets: 2,
            undos: 1,
            aborts: true,
            creates_new: false,
            ..prefixes.clone()
        },
        Scenario {
            name: "a copy from a sibling beside two pruners",
            roles: [Role::Syncer { root: 2 }, NONE, P, P],
            reaches: [1, 0, 1],
            forgets: 1,
            ..base.clone()
        },
        Scenario {
            name: "a copy from a sibling, a backup and one pruner, listings by prefix",
            roles: [Role::Syncer { root: 2 }, W1, NONE, P],
            reaches: [1, 1, 1],
            forgets: 1,
            ..prefixes.clone()
        },
        Scenario {
            name: "one backup, two pruners, forget, undo and hold",
            roles: [W1, NONE, P, P],
            reaches: [1, 1, 0],
            forgets: 1,
            undos: 1,
            ..base.clone()
        },
        Scenario {
            name: "a backup beside merges of condemned lists and one pruner, listings by page",
            roles: [W1, Role::Merger, NONE, P],
            reaches: [1, 1, 0],
            forgets: 1,
            merges: Merges::Lists,
            ..merging.clone()
        },
        Scenario {
            name: "merges beside one pruner that rewrites, listings by page",
            roles: [NONE, Role::Merger, NONE, P],
            compacts: true,
            ..merging.clone()
        },
        Scenario {
            name: "a backup beside merges and one pruner, listings by page",
            roles: [W1, Role::Merger, NONE, P],
            reaches: [1, 1, 0],
            forgets: 1,
            ..merging
        },
        Scenario {
            name: "two backups and two pruners, aborts, listings by prefix",
            roles: [HEIR, W2, P, P],
            reaches: [1, 1, 1],
            forgets: 1,
            aborts: true,
            packs_max: 5,
            ..prefixes
        },
        Scenario {
            name: "a backup of two blobs and two pruners, six packs, aborts, undo, listings by page",
            roles: [HEIR, NONE, P, P],
            reaches: [1, 3, 0],
            forgets: 2,
            undos: 1,
            aborts: true,
            packs_max: PACKS,
            ..pages
        },
    ]
    .into_iter()
    .map(Scenario::paged)
    .chain([Variant::MergeSortsBefore.world()])
    .collect()
}

/// One line about a search.
pub fn describe(scenario: &Scenario, report: &Report) -> String {
    let roots = (0..ROOTS).filter(|k| scenario.reaches[*k] != 0).count();
    let reach = match report.is_complete {
        true => "all",
        false => "the first",
    };
    let verdict = match &report.lost {
        None => "nothing lost",
        Some(_) => "LOSS",
    };
    format!(
        "{verdict}: {}: {reach} {} states, {} steps deep, {} packs at a time, {roots} roots",
        scenario.name, report.states, report.depth, scenario.packs_max
    )
}

/// A line of the table in docs/protocol.md: the rule, what it loses, in how many steps.
pub fn table_line(variant: Variant, report: &Report) -> String {
    match &report.lost {
        Some((Loss::Blob, way)) => format!("| {} | a blob | {} |", variant.name(), way.len()),
        Some((Loss::Snapshot, way)) => format!("| {} | a snapshot | {} |", variant.name(), way.len()),
        None => format!("| {} | nothing | - |", variant.name()),
    }
}

/// Shows how each of these rules loses; no trace of those that are not named.
pub fn explain(named: &str, tell: &mut dyn FnMut(&str)) {
    for variant in VARIANTS.iter().filter(|v| v.name().contains(named)) {
        let world = variant.broken();
        let report = search(&world, STATES_MAX);
        tell(&table_line(*variant, &report));
        for (event, state) in report.lost.iter().filter(|_| !named.is_empty()).flat_map(|(_, way)| way) {
            tell(&format!("    {}", super::trace::line(&world, event, state)));
        }
    }
}

/// Enough for every world of a variant to be searched to its end.
pub const STATES_MAX: u64 = 12_000_000;

/// Searches every world, at most `states_max` states each. `tell` gets a line for each, and the trace of a
/// loss. `false` if there was one.
pub fn run(states_max: u64, tell: &mut dyn FnMut(&str)) -> bool {
    let mut safe = true;
    for world in worlds() {
        let report = search(&world, states_max);
        tell(&describe(&world, &report));
        for (event, state) in report.lost.iter().flat_map(|(_, way)| way) {
            tell(&format!("    {}", super::trace::line(&world, event, state)));
        }
        safe &= report.lost.is_none();
    }
    safe
}
