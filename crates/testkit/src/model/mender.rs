//! Repair of small objects: of a record that should stand twice and stands once it puts the other copy. It looks
//! first and puts later, maybe much later. Tombs it leaves alone: one put again would bury what was undone.

use super::state::{ROOTS, State};
use super::turn::Turn;
use super::variants::Variant;

const LOOK: u8 = 0;
const PUT: u8 = 1;

/// What the mender can do next.
pub fn act(turn: &mut Turn, actor: usize) {
    if turn.state.actors[actor].step() == PUT {
        return put(turn, actor);
    }
    for k in 0..ROOTS {
        let root = turn.state.roots[k];
        let is_single = root.main() != root.mirror() && !root.tomb() && !root.gone();
        let is_tomb = root.tomb() && turn.scenario.breaks(Variant::TombMended);
        if is_single || is_tomb {
            let mut state: State = *turn.state;
            state.actors[actor].set_step(PUT);
            state.actors[actor].set_root(k as u8);
            state.actors[actor].set_mode(is_tomb as u8);
            turn.emit(
                actor,
                if is_tomb { "reads a damaged tomb" } else { "finds a record that stands once" },
                state,
            );
        }
    }
}

fn put(turn: &mut Turn, actor: usize) {
    let mut state = *turn.state;
    let me = state.actors[actor];
    state.actors[actor].set_step(LOOK);
    state.actors[actor].set_root(0);
    state.actors[actor].set_mode(0);
    let root = &mut state.roots[me.root() as usize];
    if me.mode() == 1 {
        root.set_tomb(true);
        return turn.emit(actor, "puts the tomb again", state);
    }
    root.set_main(true);
    root.set_mirror(true);
    turn.emit(actor, "puts the other copy", state);
}
