//! Merges index segments, or lists of condemned packs: the merged object is put under a name that sorts
//! behind all it replaces, and is durable before the first of them goes.

use super::listing::{Ordered, read_page};
use super::state::{State, view};
use super::turn::{Turn, columns};
use super::variants::Variant;

const IDLE: u8 = 0;
const LIST: u8 = 1;
const PUT: u8 = 2;
const DELETE: u8 = 3;

/// What the merger can do next.
pub fn act(turn: &mut Turn, actor: usize) {
    if turn.state.actors[actor].step() != IDLE {
        turn.emit(actor, "dies", super::pruner::idle(turn.state, actor));
    }
    let step = |step: u8| {
        let mut state = *turn.state;
        state.actors[actor].set_step(step);
        state
    };
    match turn.state.actors[actor].step() {
        IDLE => {
            let mut state = step(LIST);
            if turn.scenario.merges.include(Ordered::Segments) {
                turn.emit(actor, "begins to merge segments", state);
            }
            state.actors[actor].set_mode(1);
            if turn.scenario.merges.include(Ordered::Lists) {
                turn.emit(actor, "begins to merge condemned lists", state);
            }
        }
        LIST => {
            let mut state = *turn.state;
            let done = read_page(&mut state, turn.scenario, actor);
            if done && state.actors[actor].slots() == 0 {
                state = super::pruner::idle(&state, actor);
            } else if done {
                let first = if deletes_first(turn) { DELETE } else { PUT };
                state.actors[actor].set_step(first);
            }
            turn.emit(actor, "lists what it merges", state);
        }
        PUT => put(turn, actor),
        _ => delete(turn, actor),
    }
}

fn kind(state: &State, actor: usize) -> Ordered {
    if state.actors[actor].mode() == 1 { Ordered::Lists } else { Ordered::Segments }
}

fn deletes_first(turn: &Turn) -> bool {
    turn.scenario.breaks(Variant::MergeDeletesFirst)
}

/// What the merged object names. Rows of packs that are condemned and gone are left out; no name is left out
/// of a merged list.
fn merged(turn: &Turn, actor: usize) -> u8 {
    let packs = &turn.state.packs;
    let keeps = |i: usize| {
        let gone = !packs[i].has(actor, view::SEEN);
        match kind(turn.state, actor) {
            Ordered::Lists => packs[i].has(actor, view::CONDEMNED),
            Ordered::Segments if turn.scenario.breaks(Variant::MergeDropsUnlisted) => {
                packs[i].has(actor, view::MAPPED) && !gone
            }
            Ordered::Segments if turn.scenario.breaks(Variant::MergeDropsCondemned) => {
                packs[i].has(actor, view::MAPPED) && !packs[i].has(actor, view::CONDEMNED)
            }
            Ordered::Segments => {
                packs[i].has(actor, view::MAPPED) && !(gone && packs[i].has(actor, view::CONDEMNED))
            }
        }
    };
    columns(turn.state, keeps)
}

fn put(turn: &mut Turn, actor: usize) {
    let mut state = *turn.state;
    let (kind, packs) = (kind(&state, actor), merged(turn, actor));
    let slots = state.actors[actor].slots();
    let seen = state.packs;
    state.unnote_all(actor, view::ALL);
    state.actors[actor].set_step(if deletes_first(turn) { IDLE } else { DELETE });
    if packs == 0 {
        return turn.emit(actor, "has nothing left to name", state);
    }
    debug_assert!(seen.iter().any(|p| p.view(actor) != 0), "a merger read something");
    let above =
        if turn.scenario.breaks(Variant::MergeSortsBefore) { 0 } else { 8 - slots.leading_zeros() as u8 };
    turn.put_named(actor, "puts the merged object", state, kind, packs, above);
}

fn delete(turn: &mut Turn, actor: usize) {
    let mut state = *turn.state;
    let slots = state.actors[actor].slots();
    if slots == 0 {
        let after = if deletes_first(turn) {
            state.actors[actor].set_step(PUT);
            state
        } else {
            super::pruner::idle(&state, actor)
        };
        return turn.emit(actor, "has deleted all it replaces", after);
    }
    let place = slots.trailing_zeros() as u8;
    kind(&state, actor).delete(&mut state, place);
    state.actors[actor].set_slots(slots & !(1 << place));
    turn.emit(actor, "deletes what is replaced", state);
}
