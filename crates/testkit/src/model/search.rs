//! Every state that can be reached, nearest first; so the first loss found is a shortest one.
//!
//! The set of visited states holds 64-bit hashes. With n states, two of them share a hash with probability
//! n^2 / 2^65: 1 in 30 million for a million states, 1 in 3,000 for a hundred million; a state skipped that
//! way would matter only if every way to a loss led through it. Only the states of two neighbouring depths
//! are held whole. A trace is found by searching again, this time with predecessors.

use super::scenario::Scenario;
use super::state::State;
use super::turn::{Event, Loss, loss, successors};

/// What a search found.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was lost, and how; `None` when nothing was.
    pub lost: Option<(Loss, Vec<(Event, State)>)>,
    /// States visited.
    pub states: u64,
    /// Steps from the first state to the farthest one visited.
    pub depth: usize,
    /// All reachable states were visited, not only as many as allowed.
    pub is_complete: bool,
    /// Somewhere a new object did not fit into the state.
    pub is_bounded: bool,
}

/// Visits at most so many states.
pub fn search(scenario: &Scenario, states_max: u64) -> Report {
    search_with(scenario, states_max, &mut |_| {})
}

/// The same, and shows every state once.
pub fn search_with(scenario: &Scenario, states_max: u64, visit: &mut dyn FnMut(&State)) -> Report {
    let mut seen = Hashes::default();
    let mut level = vec![scenario.first()];
    seen.insert(hash(&level[0]));
    let mut report = Report { lost: None, states: 1, depth: 0, is_complete: true, is_bounded: false };
    let (mut next, mut following) = (Vec::new(), Vec::new());
    visit(&level[0]);
    while !level.is_empty() {
        for state in &level {
            following.clear();
            report.is_bounded |= successors(scenario, state, &mut following);
            for (_, state) in &following {
                let state = scenario.canonical(*state);
                if !seen.insert(hash(&state)) {
                    continue;
                }
                report.states += 1;
                visit(&state);
                if let Some(lost) = loss(scenario, &state) {
                    report.depth += 1;
                    report.lost = Some((lost, trace(scenario, &state)));
                    return report;
                }
                next.push(state);
            }
            if report.states > states_max {
                report.is_complete = false;
                return report;
            }
        }
        report.depth += !next.is_empty() as usize;
        level.clear();
        std::mem::swap(&mut level, &mut next);
    }
    report
}

/// The way to a state, by a second search that remembers where each state came from.
fn trace(scenario: &Scenario, goal: &State) -> Vec<(Event, State)> {
    let mut seen = Hashes::default();
    let mut found: Vec<(u32, Event, State)> = Vec::new();
    let first = scenario.first();
    let start = Event { actor: super::turn::NOBODY as u8, what: "in the beginning" };
    found.push((0, start, first));
    seen.insert(hash(&first));
    let (mut at, mut following) = (0, Vec::new());
    while found.last().is_some_and(|(_, _, last)| last != goal) {
        following.clear();
        successors(scenario, &found[at].2, &mut following);
        for (event, state) in &following {
            let state = scenario.canonical(*state);
            if seen.insert(hash(&state)) {
                found.push((at as u32, *event, state));
                if state == *goal {
                    break;
                }
            }
        }
        at += 1;
    }
    let mut way = Vec::new();
    let mut at = found.len() - 1;
    while at != 0 {
        way.push((found[at].1, found[at].2));
        at = found[at].0 as usize;
    }
    way.reverse();
    way
}

fn hash(state: &State) -> u64 {
    let fold = |a: u64, b: u64| {
        let product = a as u128 * b as u128;
        product as u64 ^ (product >> 64) as u64
    };
    let mixed = state.words().into_iter().fold(0x9e37_79b9_7f4a_7c15, |hash: u64, word| {
        fold(hash.rotate_left(23) ^ word ^ 0x2d35_8dcc_aa6c_78a5, 0x8bb8_4b93_962e_acc9)
    });
    fold(mixed ^ 0x4b33_a62e_d433_d4a3, 0x4d5a_2da5_1de1_aa47).max(1)
}

/// A set of hashes, none of them 0: a table with linear probing, at most three quarters full, 8 bytes a place.
#[derive(Default)]
struct Hashes {
    places: Vec<u64>,
    used: usize,
}

impl Hashes {
    /// Whether the hash is new.
    fn insert(&mut self, hash: u64) -> bool {
        if self.used * 4 >= self.places.len() * 3 {
            self.grow();
        }
        let is_new = Self::place(&mut self.places, hash);
        self.used += is_new as usize;
        is_new
    }

    fn place(places: &mut [u64], hash: u64) -> bool {
        let mask = places.len() - 1;
        let mut at = hash as usize & mask;
        while places[at] != 0 {
            if places[at] == hash {
                return false;
            }
            at = (at + 1) & mask;
        }
        places[at] = hash;
        true
    }

    fn grow(&mut self) {
        let mut larger = vec![0; (self.places.len() * 2).max(1 << 12)];
        for hash in self.places.drain(..).filter(|h| *h != 0) {
            Self::place(&mut larger, hash);
        }
        self.places = larger;
    }
}
