//! People and the medium: forgetting, undoing, holding, damage.
//!
//! Undo and hold have two steps, and claim success only at the end of the second: first they change their own
//! record, then they look whether a removal was announced. A pruner announces first and looks for their
//! records then. So at least one of the two sees the other.

use super::state::{PACKS, ROOTS, State};
use super::turn::{NOBODY, Turn};
use super::variants::Variant;

const AWAY: u8 = 0;
const UNDOES: u8 = 1;
const HOLDS: u8 = 2;

/// What they can do next.
pub fn act(turn: &mut Turn) {
    forget(turn);
    undo_or_hold(turn);
    finish(turn);
    damage(turn);
    lose_segment(turn);
}

fn forget(turn: &mut Turn) {
    for k in 0..ROOTS {
        let root = turn.state.roots[k];
        if turn.state.rest.forgets() == 0 || !turn.scenario.is_snapshot(root) || root.tomb() {
            continue;
        }
        let mut state = *turn.state;
        state.rest.set_forgets(state.rest.forgets() - 1);
        state.roots[k].set_tomb(true);
        state.roots[k].set_claimed(false);
        if turn.scenario.breaks(Variant::ForgetRemoves) {
            state.roots[k].set_main(false);
            state.roots[k].set_mirror(false);
        }
        turn.emit(NOBODY, "somebody forgets a snapshot", state);
    }
}

/// Of snapshot 0 only, to keep the state small.
fn undo_or_hold(turn: &mut Turn) {
    let root = turn.state.roots[0];
    if turn.state.rest.undos() == 0 || turn.state.rest.person() != AWAY || !root.tomb() {
        return;
    }
    let mut state = *turn.state;
    state.rest.set_undos(state.rest.undos() - 1);
    let mut undone = state;
    undone.rest.set_person(UNDOES);
    if turn.scenario.breaks(Variant::UndoLooksFirst) {
        if root.main() && !root.removal() {
            turn.emit(NOBODY, "somebody looks for an announcement, finds none", undone);
        }
        return;
    }
    undone.roots[0].set_tomb(false);
    turn.emit(NOBODY, "somebody takes the tomb away", undone);
    if !root.hold() {
        state.rest.set_person(HOLDS);
        state.roots[0].set_hold(true);
        turn.emit(NOBODY, "somebody puts a hold", state);
    }
}

fn finish(turn: &mut Turn) {
    if turn.state.rest.person() == AWAY {
        return;
    }
    let mut state = *turn.state;
    state.rest.set_person(AWAY);
    if turn.scenario.breaks(Variant::UndoLooksFirst) {
        state.roots[0].set_tomb(false);
        state.roots[0].set_claimed(true);
        return turn.emit(NOBODY, "and takes the tomb away", state);
    }
    let root = state.roots[0];
    let protected = root.hold() || !root.tomb();
    let announced = root.removal() && !turn.scenario.breaks(Variant::TombReadOnce);
    let is_there = turn.scenario.is_snapshot(root) || turn.scenario.breaks(Variant::ForgetRemoves);
    if is_there && !announced && protected {
        state.roots[0].set_claimed(true);
        turn.emit(NOBODY, "and is told that the snapshot stays", state);
    } else {
        turn.emit(NOBODY, "and is told that it is too late", state);
    }
}

/// A pack that can be read cannot any more. What has no other copy that counts is excused until healed.
fn damage(turn: &mut Turn) {
    if !turn.state.rest.may_damage() {
        return;
    }
    for i in (0..PACKS).filter(|i| turn.state.packs[*i].is_live()) {
        let mut state = *turn.state;
        state.rest.set_may_damage(false);
        state.packs[i].set_bad(true);
        let gone = state.packs[i].content() & !copies(&state);
        state.rest.set_lost(state.rest.lost() | gone);
        turn.emit(NOBODY, "the medium damages a pack", state);
    }
}

/// The segment of a pack is lost.
fn lose_segment(turn: &mut Turn) {
    if !turn.state.rest.may_lose() {
        return;
    }
    for i in (0..PACKS).filter(|i| turn.state.packs[*i].rows() != 0) {
        let mut state = *turn.state;
        state.rest.set_may_lose(false);
        state.rest.set_index_lost(true);
        state.packs[i].set_rows(0);
        turn.emit(NOBODY, "the medium loses a segment", state);
    }
}

/// Blobs in packs that can be read and that nobody condemned.
pub fn copies(state: &State) -> u8 {
    state.blobs_in(|p| p.is_live() && !p.bad())
}
