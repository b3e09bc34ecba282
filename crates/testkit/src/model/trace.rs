//! A history in words.

use super::scenario::{Role, Scenario};
use super::state::{Pack, State};
use super::turn::Event;

/// What happened and how things stand after it. Packs are sorted in every state, so their order says nothing.
pub fn line(scenario: &Scenario, event: &Event, state: &State) -> String {
    let who = match scenario.roles.get(event.actor as usize) {
        Some(Role::Writer { root, .. }) => format!("backup {root}"),
        Some(Role::Syncer { .. }) => "copy".into(),
        Some(Role::Pruner) => format!("pruner {}", event.actor),
        Some(Role::Merger) => "merger".into(),
        Some(Role::Repairer) => "repairer".into(),
        Some(Role::Mender) => "mender".into(),
        Some(Role::None) | None => "-".into(),
    };
    let packs: Vec<String> = state.packs.iter().filter(|p| p.exists()).map(|p| pack(*p)).collect();
    let roots: Vec<String> = (0..state.roots.len()).filter_map(|k| root(scenario, state, k)).collect();
    format!("{who:9} {:48} packs: {}; roots: {}", event.what, packs.join(", "), roots.join(", "))
}

fn pack(pack: Pack) -> String {
    let state = match (pack.lists() != 0, pack.rows() != 0) {
        (true, _) => "condemned",
        (false, true) => "live",
        (false, false) => "unindexed",
    };
    let bad = if pack.bad() { " bad" } else { "" };
    format!("{state}{bad} {:02b}", pack.content())
}

fn root(scenario: &Scenario, state: &State, k: usize) -> Option<String> {
    let root = state.roots[k];
    let mut words = Vec::new();
    let facts = [
        (root.pending(), "pending"),
        (scenario.is_snapshot(root), "snapshot"),
        (root.tomb(), "tomb"),
        (root.removal(), "announced"),
        (root.gone(), "gone"),
        (root.hold(), "hold"),
        (root.aborted(), "aborted"),
    ];
    words.extend(facts.iter().filter(|(is, _)| *is).map(|(_, word)| *word));
    (!words.is_empty()).then(|| format!("{k} {}", words.join("+")))
}
