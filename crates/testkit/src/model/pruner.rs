//! A pruner: looks for victims, condemns, reads all roots again, rescues, deletes. It may die at any step and
//! begin anew; whoever comes next may delete what it condemned.

use super::listing::{Ordered, read_page, read_root_page};
use super::sessions;
use super::state::{PACKS, Pack, State, view};
use super::turn::{Turn, columns, mine};
use super::variants::Variant;

/// The next step of a pruner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
#[allow(missing_docs, reason = "explained in docs/protocol.md")]
pub enum Step {
    Idle,
    /// P1: lists and walks roots.
    Mark,
    /// P2: chooses a victim.
    Choose,
    Copy,
    CopySegment,
    /// P3.
    Condemn,
    /// P4: reads which packs are condemned: these it may delete.
    ReadCondemned,
    /// P4: lists and walks all roots again.
    MarkAgain,
    /// P4: reads index, packs and condemned lists.
    List,
    Rescue,
    RescueSegment,
    /// P5.
    Delete,
    /// P0.
    Announce,
    ReadTomb,
    Confirm,
    ClearPending,
    DropMirror,
    DropMain,
    DropTomb,
    /// Ends a dead session.
    PutAbort,
    DropPending,
    /// Only of a broken rule: the segment of what was rescued comes last.
    LateSegment,
}

const STEPS: [Step; 22] = [
    Step::Idle,
    Step::Mark,
    Step::Choose,
    Step::Copy,
    Step::CopySegment,
    Step::Condemn,
    Step::ReadCondemned,
    Step::MarkAgain,
    Step::List,
    Step::Rescue,
    Step::RescueSegment,
    Step::Delete,
    Step::Announce,
    Step::ReadTomb,
    Step::Confirm,
    Step::ClearPending,
    Step::DropMirror,
    Step::DropMain,
    Step::DropTomb,
    Step::PutAbort,
    Step::DropPending,
    Step::LateSegment,
];

/// Where a pruner stands.
pub fn step(state: &State, actor: usize) -> Step {
    STEPS[state.actors[actor].step() as usize]
}

/// What the pruner can do next.
pub fn act(turn: &mut Turn, actor: usize) {
    let now = step(turn.state, actor);
    if now != Step::Idle {
        turn.emit(actor, "dies", idle(turn.state, actor));
    }
    match now {
        Step::Idle => begin(turn, actor),
        Step::Mark | Step::MarkAgain => mark(turn, actor, now),
        Step::Choose => choose(turn, actor),
        Step::Copy => copy(turn, actor),
        Step::CopySegment => copy_segment(turn, actor),
        Step::Condemn => condemn(turn, actor),
        Step::ReadCondemned => read_condemned(turn, actor),
        Step::List => list(turn, actor),
        Step::Rescue => rescue(turn, actor),
        Step::RescueSegment | Step::LateSegment => rescue_segment(turn, actor, now),
        Step::Delete => delete(turn, actor),
        _ => sessions::act(turn, actor, now),
    }
}

/// The pruner has ended or died: it remembers nothing.
pub fn idle(state: &State, actor: usize) -> State {
    let mut state = *state;
    state.unnote_all(actor, view::ALL);
    state.actors[actor] = Default::default();
    state
}

/// The state with the pruner at another step.
pub fn at(state: &State, actor: usize, step: Step) -> State {
    let mut state = *state;
    state.actors[actor].set_step(step as u8);
    state
}

fn begin(turn: &mut Turn, actor: usize) {
    turn.emit(actor, "starts a run", at(turn.state, actor, Step::Mark));
    if turn.state.packs.iter().any(|p| p.lists() != 0 && p.exists()) {
        turn.emit(actor, "goes on with what is condemned", at(turn.state, actor, Step::ReadCondemned));
    }
    if turn.scenario.breaks(Variant::OrphansDeleted) {
        for i in (0..PACKS).filter(|i| turn.state.packs[*i].exists() && turn.state.packs[*i].rows() == 0) {
            let mut state = at(turn.state, actor, Step::Delete);
            state.packs[i].note(actor, view::CONDEMNED);
            turn.emit(actor, "finds a pack without index", state);
        }
    }
    sessions::begin(turn, actor);
}

/// Reads the next page of roots; after the last one walks them.
fn mark(turn: &mut Turn, actor: usize, now: Step) {
    let mut state = *turn.state;
    if !read_root_page(&mut state, turn.scenario, actor) {
        return turn.emit(actor, "lists roots", state);
    }
    let me = &mut state.actors[actor];
    let mut roots = me.roots();
    me.set_roots(0);
    if turn.scenario.breaks(Variant::OldVerdict) {
        match now {
            Step::Mark => me.set_walked(roots),
            _ => roots &= !me.walked(),
        }
    }
    if turn.scenario.has_tree && roots != 0 && state.readable() & 1 == 0 {
        if !turn.scenario.breaks(Variant::UnwalkableIsEmpty) {
            return turn.emit(actor, "cannot walk a root and stops", idle(turn.state, actor));
        }
        roots = 0;
    }
    state.actors[actor].set_blobs(turn.scenario.reached_by(roots));
    match now {
        Step::Mark => turn.emit(actor, "walks the roots", at(&state, actor, Step::Choose)),
        _ if turn.scenario.breaks(Variant::IndexBeforeRoots) => judge(turn, actor, state),
        _ => turn.emit(actor, "walks all roots again", at(&state, actor, Step::List)),
    }
}

/// Whether a copy of a blob counts: it was decoded and compared in this run.
fn counts(turn: &Turn, pack: Pack) -> bool {
    !pack.bad() || turn.scenario.breaks(Variant::CopiesUnverified)
}

/// One turn for each possible victim. What the pruner sees here is only a reason to condemn; the verdict
/// comes later, so one step may stand for the whole listing.
fn choose(turn: &mut Turn, actor: usize) {
    let needed = turn.state.actors[actor].blobs();
    let mut any = false;
    for i in 0..PACKS {
        let pack = turn.state.packs[i];
        if !pack.exists() || pack.lists() != 0 {
            continue;
        }
        let mut state = *turn.state;
        if turn.scenario.breaks(Variant::FirstIndex) {
            state.each_pack(|p| p.note(actor, if p.is_live() { view::OLD } else { 0 }));
        }
        state.packs[i].note(actor, view::MINE);
        let here = if pack.rows() == 0 { 0 } else { pack.content() & needed };
        let other = |j: usize, p: &Pack| i != j && p.is_live() && counts(turn, *p);
        let elsewhere = turn.state.packs.iter().enumerate().filter(|(j, p)| other(*j, p));
        let elsewhere = elsewhere.fold(0, |blobs, (_, p)| blobs | p.content());
        if here & !elsewhere == 0 {
            any = true;
            turn.emit(actor, "chooses a victim", at(&state, actor, Step::Condemn));
        } else if turn.scenario.compacts && !pack.bad() {
            any = true;
            state.actors[actor].set_need(here);
            turn.emit(actor, "chooses a pack to rewrite", at(&state, actor, Step::Copy));
        }
    }
    if !any {
        let condemned = turn.state.packs.iter().any(|p| p.exists() && p.lists() != 0);
        let rested = idle(turn.state, actor);
        let next = if condemned { at(&rested, actor, Step::ReadCondemned) } else { rested };
        turn.emit(actor, "finds no victim", next);
    }
}

/// The victim is marked with OLD while MINE marks the pack being written.
fn copy(turn: &mut Turn, actor: usize) {
    let mut state = at(turn.state, actor, Step::CopySegment);
    let victim = mine(&state, actor).expect("a victim was chosen");
    if !state.packs[victim].exists() {
        return turn.emit(actor, "finds the pack gone", idle(turn.state, actor));
    }
    state.packs[victim].unnote(actor, view::MINE);
    state.packs[victim].note(actor, view::SEEN);
    let content = state.actors[actor].need();
    turn.put_pack(actor, "puts a replacement", state, content);
}

fn copy_segment(turn: &mut Turn, actor: usize) {
    let mut state = at(turn.state, actor, Step::Condemn);
    let own = columns(&state, |i| state.packs[i].has(actor, view::MINE));
    state.unnote_all(actor, view::MINE);
    state.each_pack(|p| {
        if p.has(actor, view::SEEN) {
            p.note(actor, view::MINE);
            p.unnote(actor, view::SEEN);
        }
    });
    state.actors[actor].set_need(0);
    turn.put_named(actor, "puts the replacement's segment", state, Ordered::Segments, own, 0);
}

fn condemn(turn: &mut Turn, actor: usize) {
    let mut state = *turn.state;
    let victim = columns(&state, |i| state.packs[i].has(actor, view::MINE));
    if !judges_own_victim_only(turn) {
        state.unnote_all(actor, view::ALL);
    }
    state.actors[actor].set_blobs(0);
    if turn.scenario.breaks(Variant::NoSecondLook) {
        state.each_pack(|p| p.unnote(actor, view::ALL));
        for i in (0..PACKS).filter(|i| victim >> i & 1 == 1) {
            state.packs[i].note(actor, view::CONDEMNED);
        }
        state.actors[actor].set_step(Step::Delete as u8);
    } else {
        state.actors[actor].set_step(Step::ReadCondemned as u8);
    }
    turn.put_named(actor, "condemns", state, Ordered::Lists, victim, 0);
}

fn judges_own_victim_only(turn: &Turn) -> bool {
    turn.scenario.breaks(Variant::FirstIndex) || turn.scenario.breaks(Variant::OwnCondemnedOnly)
}

/// What may be deleted is settled before the roots are read: a root that appears after this relies on none of
/// it, and one that appeared before is met. Of a pack condemned later neither is true.
fn read_condemned(turn: &mut Turn, actor: usize) {
    let listed_first = turn.scenario.breaks(Variant::IndexBeforeRoots);
    let mut state = at(turn.state, actor, if listed_first { Step::List } else { Step::MarkAgain });
    if !judges_own_victim_only(turn) {
        state.each_pack(|p| p.note(actor, if p.lists() != 0 { view::OLD } else { 0 }));
    }
    turn.emit(actor, "reads what is condemned", state);
}

/// Reads index, packs and condemned lists; at the end of it judges.
fn list(turn: &mut Turn, actor: usize) {
    let mut state = *turn.state;
    if !read_page(&mut state, turn.scenario, actor) {
        turn.emit(actor, "lists index, packs and condemned", state);
    } else if turn.scenario.breaks(Variant::IndexBeforeRoots) {
        turn.emit(actor, "has listed index, packs and condemned", at(&state, actor, Step::MarkAgain));
    } else {
        judge(turn, actor, state);
    }
}

/// What dies, and what of it must be rescued first.
fn judge(turn: &mut Turn, actor: usize, mut state: State) {
    let dies = |p: &Pack| p.has(actor, view::CONDEMNED | view::SEEN) && is_settled(turn, *p, actor);
    let copies = state.blobs_in(|p| !dies(&p) && stays(turn, p, actor));
    // A pack that no segment lists is looked through: a lost segment must not make it worthless.
    let known = |p: &Pack| p.has(actor, view::MAPPED) || !turn.scenario.breaks(Variant::RowsOnly);
    let wanted = state.blobs_in(|p| dies(&p) && known(&p)) & state.actors[actor].blobs() & !copies;
    if wanted != 0 && turn.scenario.breaks(Variant::Uncondemn) {
        state.each_pack(|p| {
            if dies(p) && p.content() & wanted != 0 {
                p.set_lists(0)
            }
        });
        return turn.emit(actor, "takes the condemnation back", idle(&state, actor));
    }
    state.each_pack(|p| {
        let doomed = dies(p);
        p.unnote(actor, view::ALL);
        p.note(actor, if doomed { view::CONDEMNED } else { 0 });
    });
    let any = state.packs.iter().any(|p| p.has(actor, view::CONDEMNED));
    state.actors[actor].set_blobs(0);
    state.actors[actor].set_walked(0);
    state.actors[actor].set_need(wanted);
    match (any, wanted) {
        (false, _) => turn.emit(actor, "finds nothing condemned", idle(&state, actor)),
        (true, 0) => turn.emit(actor, "finds nothing to rescue", at(&state, actor, Step::Delete)),
        (true, _) => turn.emit(actor, "finds something to rescue", at(&state, actor, Step::Rescue)),
    }
}

/// Whether this run may delete the pack.
fn is_settled(turn: &Turn, pack: Pack, actor: usize) -> bool {
    if judges_own_victim_only(turn) {
        return pack.has(actor, view::MINE);
    }
    pack.has(actor, view::OLD) || turn.scenario.breaks(Variant::CondemnedAfterRoots)
}

/// Whether a pack will stay and hold what it claims, by what the pruner read.
fn stays(turn: &Turn, pack: Pack, actor: usize) -> bool {
    let live = match turn.scenario.variant {
        Some(Variant::FirstIndex) => pack.has(actor, view::OLD),
        Some(Variant::OwnCondemnedOnly) => pack.has(actor, view::MAPPED | view::SEEN),
        _ => pack.is_live_to(actor),
    };
    live && counts(turn, pack)
}

/// Copies one blob; several are rescued one after the other, and dying between them must harm nobody.
fn rescue(turn: &mut Turn, actor: usize) {
    let need = turn.state.actors[actor].need();
    let blob = need & need.wrapping_neg();
    let unverified = turn.scenario.breaks(Variant::RescueUnverified);
    let source = |p: Pack| p.exists() && (!p.bad() || unverified) && p.content() & blob != 0;
    if !turn.state.packs.iter().any(|p| source(*p)) {
        return turn.emit(actor, "cannot read what must be rescued and stops", idle(turn.state, actor));
    }
    let mut state = *turn.state;
    state.actors[actor].set_need(need & !blob);
    let late = turn.scenario.breaks(Variant::DeleteBeforeRescueIsIndexed);
    state = at(&state, actor, if late { Step::Delete } else { Step::RescueSegment });
    let from_bad = unverified && state.packs.iter().any(|p| p.bad() && source(*p));
    if from_bad {
        let Some(column) = state.free_column(turn.scenario.packs_max) else {
            turn.is_bounded = true;
            return;
        };
        state.packs[column].set_bad(true);
        state.packs[column].set_exists(true);
        state.packs[column].set_content(blob);
        state.packs[column].note(actor, view::MINE);
        return turn.emit(actor, "rescues what it did not compare", state);
    }
    turn.put_pack(actor, "rescues into a new pack", state, blob);
}

fn rescue_segment(turn: &mut Turn, actor: usize, now: Step) {
    let mut state = *turn.state;
    let own = columns(&state, |i| state.packs[i].has(actor, view::MINE));
    state.unnote_all(actor, view::MINE);
    let next = match (now, state.actors[actor].need()) {
        (Step::LateSegment, _) => Step::Idle,
        (_, 0) => Step::Delete,
        _ => Step::Rescue,
    };
    state.actors[actor].set_step(next as u8);
    turn.put_named(actor, "puts the segment of what it rescued", state, Ordered::Segments, own, 0);
}

/// Deletes one pack; between two of them it may die.
fn delete(turn: &mut Turn, actor: usize) {
    for i in (0..PACKS).filter(|i| turn.state.packs[*i].has(actor, view::CONDEMNED)) {
        let mut state = *turn.state;
        state.packs[i].set_exists(false);
        state.packs[i].unnote(actor, view::CONDEMNED);
        let more = state.packs.iter().any(|p| p.has(actor, view::CONDEMNED));
        let owes_segment = mine(&state, actor).is_some();
        let after = match (more, owes_segment) {
            (true, _) => state,
            (false, true) => at(&state, actor, Step::LateSegment),
            (false, false) => idle(&state, actor),
        };
        turn.emit(actor, "deletes", after);
    }
}
