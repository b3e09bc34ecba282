//! Stores again what damage took, from a sibling or the source: in place where the pack counts, else under a
//! new name; and says *healed* only after a listing that shows a copy that counts.

use super::listing::{Ordered, read_page};
use super::state::{PACKS, State, view};
use super::turn::{Turn, columns, mine};
use super::variants::Variant;

const LOOK: u8 = 0;
const WRITE: u8 = 1;
const SEGMENT: u8 = 2;
const LIST: u8 = 3;

/// What the repairer can do next.
pub fn act(turn: &mut Turn, actor: usize) {
    match turn.state.actors[actor].step() {
        LOOK => look(turn, actor),
        WRITE => write(turn, actor),
        SEGMENT => segment(turn, actor),
        _ => list(turn, actor),
    }
}

fn at(state: &State, actor: usize, step: u8) -> State {
    let mut state = *state;
    state.actors[actor].set_step(step);
    state
}

/// Chooses the pack to write again, or none: then a new one.
fn look(turn: &mut Turn, actor: usize) {
    let lost = turn.state.rest.lost();
    if lost == 0 {
        return;
    }
    let mut state = at(turn.state, actor, WRITE);
    state.actors[actor].set_need(lost);
    turn.emit(actor, "will heal with a new pack", state);
    for i in 0..PACKS {
        let pack = turn.state.packs[i];
        let same_bytes = pack.content() & lost != 0;
        let counts = pack.is_live() && pack.bad();
        if same_bytes && (counts || turn.scenario.breaks(Variant::RepairInPlace)) {
            let mut state = state;
            state.packs[i].note(actor, view::MINE);
            turn.emit(actor, "will heal in place", state);
        }
    }
}

fn write(turn: &mut Turn, actor: usize) {
    let mut state = *turn.state;
    match mine(&state, actor) {
        None => {
            let need = state.actors[actor].need();
            turn.put_pack(actor, "puts a new pack", at(&state, actor, SEGMENT), need);
        }
        Some(column) => {
            state.packs[column].set_exists(true);
            state.packs[column].set_bad(false);
            if !turn.scenario.breaks(Variant::RepairInPlace) {
                state.packs[column].unnote(actor, view::MINE);
            }
            turn.emit(actor, "writes the pack again", at(&state, actor, LIST));
        }
    }
}

fn segment(turn: &mut Turn, actor: usize) {
    let mut state = at(turn.state, actor, LIST);
    let own = columns(&state, |i| state.packs[i].has(actor, view::MINE));
    state.unnote_all(actor, view::ALL);
    turn.put_named(actor, "puts its segment", state, Ordered::Segments, own, 0);
}

fn list(turn: &mut Turn, actor: usize) {
    let mut state = *turn.state;
    if !read_page(&mut state, turn.scenario, actor) {
        return turn.emit(actor, "looks whether it is healed", state);
    }
    let unread = |p: super::state::Pack| {
        turn.scenario.breaks(Variant::RepairInPlace) && p.has(actor, view::MINE | view::MAPPED)
    };
    let healed = state.blobs_in(|p| !p.bad() && (p.is_live_to(actor) || unread(p)));
    state.rest.set_lost(state.rest.lost() & !healed);
    state.unnote_all(actor, view::ALL);
    state.actors[actor].set_need(0);
    turn.emit(actor, "says what is healed", at(&state, actor, LOOK));
}
