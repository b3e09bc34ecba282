//! What a pruner does with sessions and forgotten snapshots: removes a snapshot whose undo window is over,
//! aborts a session that seems dead, removes the pending record of one that has committed. Which window is
//! over and which session seems dead is a guess that time makes; it may be wrong.

use super::pruner::{Step, at, idle};
use super::state::ROOTS;
use super::turn::Turn;
use super::variants::Variant;

/// What a pruner may begin here.
pub fn begin(turn: &mut Turn, actor: usize) {
    for k in 0..ROOTS {
        let root = turn.state.roots[k];
        let of_root = |step: Step| {
            let mut state = at(turn.state, actor, step);
            state.actors[actor].set_root(k as u8);
            state
        };
        if root.tomb() && (root.main() || root.mirror()) {
            let early = turn.scenario.breaks(Variant::HoldReadEarly);
            if !(early && root.hold()) {
                let trusts = turn.scenario.breaks(Variant::TombReadOnce);
                let next = of_root(if trusts { Step::Confirm } else { Step::Announce });
                turn.emit(actor, "finds a tomb whose undo window is over", next);
            }
        }
        if root.pending() && root.main() {
            let mut state = *turn.state;
            state.roots[k].set_pending(false);
            turn.emit(actor, "removes the pending record of a snapshot", state);
        }
        if root.pending() && !root.main() && aborts(turn) {
            let step =
                if turn.scenario.breaks(Variant::PlainExpiry) { Step::DropPending } else { Step::PutAbort };
            let next = of_root(step);
            turn.emit(actor, "takes a session for dead", next);
        }
        if root.aborted() && turn.scenario.breaks(Variant::AbortCollected) {
            let mut state = *turn.state;
            state.roots[k].set_aborted(false);
            turn.emit(actor, "removes an abort record", state);
        }
    }
    if turn.scenario.breaks(Variant::CondemnedDropped) {
        let mut state = *turn.state;
        state.each_pack(|p| {
            if !p.exists() {
                p.set_lists(0)
            }
        });
        if state != *turn.state {
            turn.emit(actor, "drops the names of packs that are gone", state);
        }
    }
}

fn aborts(turn: &Turn) -> bool {
    let may = turn.scenario.creates_new || turn.scenario.breaks(Variant::AbortByOverwriting);
    turn.scenario.aborts && may
}

/// The steps after that.
pub fn act(turn: &mut Turn, actor: usize, now: Step) {
    let mut state = *turn.state;
    let k = state.actors[actor].root() as usize;
    let root = &mut state.roots[k];
    match now {
        Step::Announce => {
            root.set_removal(true);
            turn.emit(actor, "announces a removal", at(&state, actor, Step::ReadTomb));
        }
        Step::ReadTomb => {
            let held = root.hold() && !turn.scenario.breaks(Variant::HoldReadEarly);
            if root.tomb() && !held {
                turn.emit(actor, "reads the tomb again", at(&state, actor, Step::Confirm));
            } else {
                turn.emit(actor, "finds tomb gone or hold, and leaves it", idle(&state, actor));
            }
        }
        Step::Confirm => {
            root.set_gone(true);
            turn.emit(actor, "confirms the removal", at(&state, actor, Step::ClearPending));
        }
        // Where its session could not remove it, it would stay a root.
        Step::ClearPending => {
            root.set_pending(false);
            turn.emit(actor, "removes what is left of its session", at(&state, actor, Step::DropMirror));
        }
        Step::DropMirror => {
            root.set_mirror(false);
            turn.emit(actor, "removes the second copy", at(&state, actor, Step::DropMain));
        }
        Step::DropMain => {
            root.set_main(false);
            turn.emit(actor, "removes the snapshot", at(&state, actor, Step::DropTomb));
        }
        Step::DropTomb => {
            root.set_tomb(false);
            turn.emit(actor, "removes the tomb", idle(&state, actor));
        }
        Step::PutAbort => put_abort(turn, actor, k),
        Step::DropPending => {
            root.set_pending(false);
            turn.emit(actor, "removes the dead session's pending record", idle(&state, actor));
        }
        _ => unreachable!("the other steps are the pruner's own"),
    }
}

fn put_abort(turn: &mut Turn, actor: usize, k: usize) {
    let mut state = *turn.state;
    let root = &mut state.roots[k];
    if root.main() && turn.scenario.creates_new {
        return turn.emit(actor, "finds the session committed", idle(&state, actor));
    }
    root.set_main(false);
    root.set_aborted(true);
    turn.emit(actor, "puts an abort record", at(&state, actor, Step::DropPending));
}
