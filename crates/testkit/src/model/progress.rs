//! Nobody can be stuck: an actor left alone always comes to an end, and a pruner left alone frees what is
//! free. (While others act, a session may have to store something again and again; each time it does,
//! somebody else got ahead.)

use super::scenario::{Role, Scenario};
use super::state::{ACTORS, State, view};
use super::turn::{Event, Turn, act};
use super::{listing, pruner, writer};

/// More steps than any actor needs for one run alone.
const STEPS_MAX: usize = 80;

/// How somebody fared alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Alone {
    /// It came to its end.
    Ended,
    /// The bounds of the model left no room for an object.
    NoRoom,
    /// Neither.
    Stuck,
}

/// The state in which this session, left alone, ends.
pub fn finish_session(scenario: &Scenario, state: &State, actor: usize) -> Alone {
    let ended = |s: &State| matches!(writer::step(s, actor), writer::Step::Done | writer::Step::Aborted);
    run(scenario, state, actor, ended).1
}

/// Sessions that have begun and are not over.
pub fn sessions_alive(scenario: &Scenario, state: &State) -> impl Iterator<Item = usize> {
    let over = [writer::Step::Start, writer::Step::Done, writer::Step::Aborted];
    let is_session = |i: &usize| matches!(scenario.roles[*i], Role::Writer { .. } | Role::Syncer { .. });
    (0..ACTORS).filter(is_session).filter(move |i| !over.contains(&writer::step(state, *i)))
}

/// Lets one pruner work alone until nothing is left to free. The others sleep for ever.
pub fn free_all(scenario: &Scenario, state: &State, actor: usize) -> (State, Alone) {
    let scenario = Scenario { compacts: false, ..scenario.clone() };
    let mut state = pruner::idle(state, actor);
    for _ in 0..STEPS_MAX {
        let mut at_work = state;
        at_work.actors[actor].set_step(pruner::Step::Mark as u8);
        let is_idle = |s: &State| pruner::step(s, actor) == pruner::Step::Idle;
        let (after, how) = run(&scenario, &at_work, actor, is_idle);
        if how != Alone::Ended || after == state {
            return (after, how);
        }
        state = after;
    }
    (state, Alone::Stuck)
}

/// Packs that nobody needs: condemned, without index, or holding nothing that a root reaches.
pub fn waste(scenario: &Scenario, state: &State) -> usize {
    let is_root = |k: &usize| state.roots[*k].pending() || scenario.is_snapshot(state.roots[*k]);
    let reached = (0..state.roots.len()).filter(is_root).fold(0, |b, k| b | scenario.reaches[k]);
    let is_waste = |p: &&super::state::Pack| p.exists() && (!p.is_live() || p.content() & reached == 0);
    state.packs.iter().filter(is_waste).count()
}

fn run(scenario: &Scenario, state: &State, actor: usize, ended: impl Fn(&State) -> bool) -> (State, Alone) {
    let mut state = *state;
    let mut next: Vec<(Event, State)> = Vec::new();
    for _ in 0..STEPS_MAX {
        if ended(&state) {
            return (state, Alone::Ended);
        }
        next.clear();
        let mut turn = Turn { scenario, state: &state, next: &mut next, is_bounded: false };
        act(&mut turn, actor);
        let is_bounded = turn.is_bounded;
        let Some((_, after)) = next.iter().find(|(event, _)| event.what != "dies") else {
            return (state, if is_bounded { Alone::NoRoom } else { Alone::Stuck });
        };
        state = *after;
        state.drop_forgotten_packs();
        listing::close_gaps(&mut state, scenario);
    }
    (state, Alone::Stuck)
}

/// Makes all others forget what they saw, as if they had died long ago; their records and packs stay.
pub fn leave_alone(state: &State, actor: usize) -> State {
    let mut state = *state;
    (0..ACTORS).filter(|i| *i != actor).for_each(|i| state.unnote_all(i, view::ALL));
    state.drop_forgotten_packs();
    state
}
