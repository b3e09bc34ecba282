//! One turn: everything that can happen next in a state.

use super::listing::Ordered;
use super::scenario::{Grain, Role, Scenario};
use super::state::{ACTORS, PACKS, ROOTS, State, view};
use super::{mender, merger, people, pruner, repairer, writer};

/// What happened, for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// The actor; `ACTORS` for people and the medium.
    pub actor: u8,
    /// What it did.
    pub what: &'static str,
}

/// The actor number of people and the medium.
pub const NOBODY: usize = ACTORS;

/// Collects the states that may follow one.
pub struct Turn<'a> {
    /// The world's bounds and rules.
    pub scenario: &'a Scenario,
    /// The state before.
    pub state: &'a State,
    /// What may follow.
    pub next: &'a mut Vec<(Event, State)>,
    /// Something could not happen because the world is too small.
    pub is_bounded: bool,
}

impl Turn<'_> {
    /// The state after.
    pub fn emit(&mut self, actor: usize, what: &'static str, state: State) {
        self.next.push((Event { actor: actor as u8, what }, state));
    }

    /// A new pack that the actor writes, in any folder. Every name is new.
    pub fn put_pack(&mut self, actor: usize, what: &'static str, mut state: State, content: u8) {
        let Some(column) = state.free_column(self.scenario.packs_max) else {
            self.is_bounded = true;
            return;
        };
        let pack = &mut state.packs[column];
        pack.set_exists(true);
        pack.set_content(content);
        pack.note(actor, view::MINE);
        self.emit(actor, what, state);
        if self.scenario.pages.contains(&super::listing::Page::Folder(true)) {
            state.packs[column].set_folder(true);
            self.emit(actor, what, state);
        }
    }

    /// A new segment or list that names these packs, at any place above the first `above`.
    pub fn put_named(
        &mut self,
        actor: usize,
        what: &'static str,
        state: State,
        kind: Ordered,
        packs: u8,
        above: u8,
    ) {
        let count = if self.scenario.merges.include(kind) { kind.count(&state) } else { 0 };
        // Where listings are one step, the order of names does not matter.
        let above = if self.scenario.grain == Grain::Pages { above } else { count };
        for place in above..=count.max(above) {
            match kind.put(&state, self.scenario, place, packs) {
                Some(state) => self.emit(actor, what, state),
                None => self.is_bounded = true,
            }
        }
    }
}

/// The columns that this holds for.
pub fn columns(state: &State, holds: impl Fn(usize) -> bool) -> u8 {
    (0..PACKS).filter(|i| state.packs[*i].0 != 0 && holds(*i)).fold(0, |mask, i| mask | 1 << i)
}

/// The pack that the actor works on.
pub fn mine(state: &State, actor: usize) -> Option<usize> {
    (0..PACKS).find(|i| state.packs[*i].has(actor, view::MINE))
}

/// Everything that can happen next. `true` if the bounds of the world forbade something.
pub fn successors(scenario: &Scenario, state: &State, next: &mut Vec<(Event, State)>) -> bool {
    let mut turn = Turn { scenario, state, next, is_bounded: false };
    for actor in 0..ACTORS {
        act(&mut turn, actor);
    }
    people::act(&mut turn);
    turn.is_bounded
}

/// What one actor can do next; a crash is one of it.
pub fn act(turn: &mut Turn, actor: usize) {
    match turn.scenario.roles[actor] {
        Role::None => {}
        Role::Writer { .. } | Role::Syncer { .. } => writer::act(turn, actor),
        Role::Pruner => pruner::act(turn, actor),
        Role::Merger => merger::act(turn, actor),
        Role::Repairer => repairer::act(turn, actor),
        Role::Mender => mender::act(turn, actor),
    }
}

/// What a state must not be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loss {
    /// A snapshot whose owner was told it is safe is not there any more.
    Snapshot,
    /// A snapshot is there and a blob of it is not.
    Blob,
}

/// Whether something that was promised is gone.
pub fn loss(scenario: &Scenario, state: &State) -> Option<Loss> {
    let stored = state.readable() | state.rest.lost();
    for k in 0..ROOTS {
        let root = state.roots[k];
        let is_there = scenario.is_snapshot(root);
        if root.claimed() && !is_there {
            return Some(Loss::Snapshot);
        }
        if is_there && scenario.reaches[k] & !stored != 0 {
            return Some(Loss::Blob);
        }
    }
    None
}
