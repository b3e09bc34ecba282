//! A session that publishes: a backup, or a copy from a sibling.
//!
//! Packs, segment, pending record, re-check, snapshot, second copy, pending record away. A crash is a session
//! that never takes its next step; nothing waits for it.

use super::listing::{Ordered, read_page};
use super::scenario::{Parent, Role};
use super::state::{State, view};
use super::turn::{Turn, columns, mine};
use super::variants::Variant;

/// The next step of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
#[allow(missing_docs, reason = "the steps of repo::writer::publish")]
pub enum Step {
    Start,
    Look,
    StorePack,
    StoreSegment,
    PutPending,
    Recheck,
    Commit,
    PutMirror,
    DropPending,
    Done,
    Aborted,
    /// Only of a broken rule: the segment comes after the snapshot.
    LateSegment,
}

const STEPS: [Step; 12] = [
    Step::Start,
    Step::Look,
    Step::StorePack,
    Step::StoreSegment,
    Step::PutPending,
    Step::Recheck,
    Step::Commit,
    Step::PutMirror,
    Step::DropPending,
    Step::Done,
    Step::Aborted,
    Step::LateSegment,
];

/// Where a session stands.
pub fn step(state: &State, actor: usize) -> Step {
    STEPS[state.actors[actor].step() as usize]
}

/// Its root and where it takes unread subtrees from.
pub fn session(role: Role) -> (usize, Parent) {
    match role {
        Role::Writer { root, parent } => (root as usize, parent),
        Role::Syncer { root } => (root as usize, Parent::None),
        _ => unreachable!("only sessions have a root"),
    }
}

/// What the session can do next.
pub fn act(turn: &mut Turn, actor: usize) {
    let mut state = *turn.state;
    let (root, parent) = session(turn.scenario.roles[actor]);
    let mut to = |step: Step| state.actors[actor].set_step(step as u8);
    match step(turn.state, actor) {
        Step::Start => {
            if may_begin(turn, actor) {
                to(Step::Look);
                turn.emit(actor, "begins", state);
            }
        }
        Step::Look => look(turn, actor, root, parent),
        Step::StorePack => store_pack(turn, actor),
        Step::StoreSegment => store_segment(turn, actor),
        Step::PutPending => {
            to(if turn.scenario.breaks(Variant::NoRecheck) || recheck_came_first(turn) {
                Step::Commit
            } else {
                Step::Recheck
            });
            state.roots[root].set_pending(true);
            turn.emit(actor, "puts its pending record", state);
        }
        Step::Recheck => recheck(turn, actor, root, parent),
        Step::Commit => commit(turn, actor, root),
        Step::PutMirror => {
            to(Step::DropPending);
            state.roots[root].set_mirror(true);
            turn.emit(actor, "puts the second copy", state);
        }
        Step::DropPending => {
            to(if turn.scenario.breaks(Variant::SegmentAfterSnapshot) {
                Step::LateSegment
            } else {
                Step::Done
            });
            state.roots[root].set_pending(false);
            turn.emit(actor, "removes its pending record", state);
        }
        Step::LateSegment => {
            to(Step::Done);
            put_own_segment(turn, actor, state);
        }
        Step::Done | Step::Aborted => {}
    }
}

/// A copy of a snapshot that was removed here is refused: its id is never written again, as somebody who
/// began to remove it may be asleep.
fn may_begin(turn: &Turn, actor: usize) -> bool {
    let record = turn.state.roots[0];
    match turn.scenario.roles[actor] {
        Role::Writer { parent: Parent::Stored, .. } => record.main(),
        Role::Syncer { root: 0 } => {
            !record.main() && (!record.removal() || turn.scenario.breaks(Variant::RemovedIdWritten))
        }
        _ => true,
    }
}

fn recheck_came_first(turn: &Turn) -> bool {
    turn.scenario.breaks(Variant::RecheckBeforePending)
}

/// Looks up what is stored; inherited blobs are not looked up.
fn look(turn: &mut Turn, actor: usize, root: usize, parent: Parent) {
    let mut state = *turn.state;
    let inherited = if parent == Parent::None { 0 } else { turn.scenario.reaches[0] };
    let stored = inherited | state.blobs_in(|p| p.is_live());
    if turn.scenario.breaks(Variant::RecheckSinceStart) {
        state.each_pack(|p| p.note(actor, if p.lists() != 0 { view::OLD } else { 0 }));
    }
    if let Role::Syncer { .. } = turn.scenario.roles[actor] {
        return look_for_name(turn, actor, state, root);
    }
    go_on(turn, actor, state, turn.scenario.reaches[root] & !stored, "reads the index");
}

/// A copy puts the pack under its own name, unless this place has ever condemned that name.
fn look_for_name(turn: &mut Turn, actor: usize, mut state: State, root: usize) {
    let column = mine(&state, actor).expect("a copy knows its pack's name");
    let takes_name = state.packs[column].lists() == 0 || turn.scenario.breaks(Variant::OwnPacksUnchecked);
    if !takes_name {
        state.packs[column].unnote(actor, view::MINE);
    }
    let needed = turn.scenario.reaches[root];
    go_on(turn, actor, state, needed, "looks for the pack's name");
}

/// Stores what is missing, else goes on to publish.
fn go_on(turn: &mut Turn, actor: usize, mut state: State, missing: u8, what: &'static str) {
    state.actors[actor].set_need(missing);
    let step = match missing {
        0 if recheck_came_first(turn) => Step::Recheck,
        0 => Step::PutPending,
        _ => Step::StorePack,
    };
    state.actors[actor].set_step(step as u8);
    turn.emit(actor, what, state);
}

fn store_pack(turn: &mut Turn, actor: usize) {
    let mut state = *turn.state;
    let content = state.actors[actor].need();
    state.actors[actor].set_step(Step::StoreSegment as u8);
    match mine(&state, actor) {
        Some(column) => {
            state.packs[column].set_exists(true);
            turn.emit(actor, "puts the sibling's pack", state);
        }
        None => turn.put_pack(actor, "puts a new pack", state, content),
    }
}

fn store_segment(turn: &mut Turn, actor: usize) {
    let mut state = *turn.state;
    let step = if recheck_came_first(turn) { Step::Recheck } else { Step::PutPending };
    state.actors[actor].set_step(step as u8);
    state.actors[actor].set_need(0);
    if turn.scenario.breaks(Variant::SegmentAfterSnapshot) {
        turn.emit(actor, "keeps its segment for later", state);
    } else {
        put_own_segment(turn, actor, state);
    }
}

fn put_own_segment(turn: &mut Turn, actor: usize, mut state: State) {
    let own = columns(&state, |i| state.packs[i].has(actor, view::MINE));
    if own == 0 {
        return turn.emit(actor, "has nothing to index", state);
    }
    let counts_unread = turn.scenario.breaks(Variant::OwnPacksUnchecked);
    state.each_pack(|p| {
        if p.has(actor, view::MINE) && counts_unread {
            p.note(actor, view::OLD);
        }
        p.unnote(actor, view::MINE);
    });
    turn.put_named(actor, "puts its segment", state, Ordered::Segments, own, 0);
}

/// Lists index, packs and condemned lists; at the end of it judges.
fn recheck(turn: &mut Turn, actor: usize, root: usize, parent: Parent) {
    let mut state = *turn.state;
    if !read_page(&mut state, turn.scenario, actor) {
        return turn.emit(actor, "re-checks: reads on", state);
    }
    let missing = turn.scenario.reaches[root] & !counts_as_stored(turn, &state, actor, parent);
    state.unnote_all(actor, view::LISTED);
    if missing == 0 {
        let owes_segment = turn.scenario.breaks(Variant::SegmentAfterSnapshot);
        state.unnote_all(actor, if owes_segment { view::OLD } else { view::ALL });
        let step = if recheck_came_first(turn) { Step::PutPending } else { Step::Commit };
        state.actors[actor].set_step(step as u8);
        state.actors[actor].set_need(0);
        turn.emit(actor, "re-checks: all is there", state);
    } else {
        go_on(turn, actor, state, missing, "re-checks: something is gone");
    }
}

fn counts_as_stored(turn: &Turn, state: &State, actor: usize, parent: Parent) -> u8 {
    let unseen = turn.scenario.breaks(Variant::RecheckWithoutPacks);
    let is_mapped = |p: super::state::Pack| p.view(actor) & (view::MAPPED | view::CONDEMNED) == view::MAPPED;
    let live = state.blobs_in(|p| p.is_live_to(actor) || unseen && is_mapped(p));
    if turn.scenario.breaks(Variant::RecheckSinceStart) {
        let news = |p: super::state::Pack| p.has(actor, view::CONDEMNED) && !p.has(actor, view::OLD);
        return if state.packs.iter().any(|p| news(*p)) { live } else { 3 };
    }
    if turn.scenario.breaks(Variant::OwnPacksUnchecked) {
        return live | state.blobs_in(|p| p.has(actor, view::OLD | view::SEEN));
    }
    if turn.scenario.breaks(Variant::SegmentAfterSnapshot) {
        return live
            | state.blobs_in(|p| p.has(actor, view::MINE | view::SEEN) && !p.has(actor, view::CONDEMNED));
    }
    if parent == Parent::Remembered && memory_holds(turn, state, actor) {
        return live | turn.scenario.reaches[0];
    }
    live
}

/// Whether everything that snapshot 0's own re-check saw is still there.
fn memory_holds(turn: &Turn, state: &State, actor: usize) -> bool {
    let held = |p: super::state::Pack| match turn.scenario.variant {
        Some(Variant::MemoryIgnoresCondemned) => p.has(actor, view::SEEN),
        _ => p.is_live_to(actor),
    };
    !state.rest.memory_broken() && state.packs.iter().all(|p| !p.in_memory() || held(*p))
}

fn commit(turn: &mut Turn, actor: usize, root: usize) {
    let mut state = *turn.state;
    if turn.scenario.breaks(Variant::PendingGoesFirst) && state.roots[root].pending() {
        state.roots[root].set_pending(false);
        return turn.emit(actor, "removes its pending record", state);
    }
    if state.roots[root].aborted() && turn.scenario.creates_new {
        state.actors[actor].set_step(Step::Aborted as u8);
        state.unnote_all(actor, view::ALL);
        return turn.emit(actor, "finds itself aborted", state);
    }
    state.actors[actor].set_step(Step::PutMirror as u8);
    let record = &mut state.roots[root];
    record.set_aborted(false);
    record.set_main(true);
    record.set_claimed(true);
    record.set_tomb(false);
    turn.emit(actor, "commits", state);
}
