//! Listings that are read page by page while others act, and the names that decide what they meet.
//!
//! Segments and lists have no names here but their places in the order of names. An object put between two
//! others moves those behind it up, and with them the place where every listing under way stands.

use super::scenario::{Grain, Role, Scenario};
use super::state::{LISTS, ROOTS, SEGMENTS, State, view};
use super::variants::Variant;

/// What one request of a listing reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Page {
    /// Everything.
    All,
    /// All segments.
    Segments,
    /// The segment at this place.
    Segment(u8),
    /// All packs.
    Packs,
    /// The packs of a folder.
    Folder(bool),
    /// All lists of condemned packs.
    Lists,
    /// The list at this place.
    List(u8),
}

/// What one request of a listing of roots reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RootPage {
    /// Of `pending/`, else of `snapshots/` and its mirror.
    pub pending: bool,
    /// Which roots' names lie in it.
    pub roots: u8,
}

/// The requests of a listing of index, packs and condemned lists, in order.
pub fn pages(scenario: &Scenario) -> Vec<Page> {
    let fine = scenario.grain == Grain::Pages;
    let segments: Vec<Page> = match fine && scenario.merges.include(Ordered::Segments) {
        true => (0..SEGMENTS).map(Page::Segment).collect(),
        false => vec![Page::Segments],
    };
    let folders = fine && scenario.merges == super::scenario::Merges::None;
    let packs = if folders { vec![Page::Folder(false), Page::Folder(true)] } else { vec![Page::Packs] };
    let lists: Vec<Page> = match fine && scenario.merges.include(Ordered::Lists) {
        true => (0..LISTS).map(Page::List).collect(),
        false => vec![Page::Lists],
    };
    if scenario.grain == Grain::Atomic {
        vec![Page::All]
    } else if scenario.breaks(Variant::CondemnedListedFirst) {
        [lists, segments, packs].concat()
    } else if scenario.breaks(Variant::PacksListedFirst) || scenario.breaks(Variant::MergeDropsUnlisted) {
        [packs, segments, lists].concat()
    } else {
        [segments, packs, lists].concat()
    }
}

/// The requests of a listing of roots, in order: pending first, since a commit moves a root from there to
/// `snapshots/`, and the other order can miss it in both.
pub fn root_pages(scenario: &Scenario) -> Vec<RootPage> {
    let used: Vec<u8> = (0..ROOTS).filter(|k| scenario.reaches[*k] != 0).map(|k| 1 << k).collect();
    let groups = match scenario.grain {
        Grain::Pages => used,
        _ => vec![used.iter().sum()],
    };
    let of =
        |pending| groups.iter().map(move |roots| RootPage { pending, roots: *roots }).collect::<Vec<_>>();
    if scenario.breaks(Variant::SnapshotsBeforePending) {
        [of(false), of(true)].concat()
    } else if scenario.breaks(Variant::PendingNotListed) {
        of(false)
    } else {
        [of(true), of(false)].concat()
    }
}

/// Reads the actor's next page of index, packs and lists. `true` when it was the last.
pub fn read_page(state: &mut State, scenario: &Scenario, actor: usize) -> bool {
    let at = state.actors[actor].cursor();
    let page = scenario.pages[at as usize];
    let mut slots = state.actors[actor].slots();
    let merges_lists = state.actors[actor].mode() == 1;
    for pack in state.packs.iter_mut().filter(|p| p.0 != 0) {
        let (rows, lists) = match page {
            Page::All => (pack.rows(), pack.lists()),
            Page::Segments => (pack.rows(), 0),
            Page::Lists => (0, pack.lists()),
            Page::Segment(slot) => (pack.rows() & 1 << slot, 0),
            Page::List(slot) => (0, pack.lists() & 1 << slot),
            Page::Packs | Page::Folder(_) => (0, 0),
        };
        let sees = match page {
            Page::All | Page::Packs => pack.exists(),
            Page::Folder(folder) => pack.exists() && pack.folder() == folder,
            _ => false,
        };
        let bit = |on: bool, bit: u8| if on { bit } else { 0 };
        let noted = bit(rows != 0, view::MAPPED) | bit(lists != 0, view::CONDEMNED) | bit(sees, view::SEEN);
        pack.note(actor, noted);
        slots |= if merges_lists { lists } else { rows };
    }
    if scenario.roles[actor] == Role::Merger {
        state.actors[actor].set_slots(slots);
    }
    let is_last = at as usize + 1 == scenario.pages.len();
    state.actors[actor].set_cursor(if is_last { 0 } else { at + 1 });
    is_last
}

/// Reads the actor's next page of roots. `true` when it was the last.
pub fn read_root_page(state: &mut State, scenario: &Scenario, actor: usize) -> bool {
    let at = state.actors[actor].cursor();
    let page = scenario.root_pages[at as usize];
    let mut roots = state.actors[actor].roots();
    for (k, root) in state.roots.iter().enumerate().filter(|(k, _)| page.roots >> k & 1 == 1) {
        let is_there = if page.pending { root.pending() } else { scenario.is_snapshot(*root) };
        roots |= (is_there as u8) << k;
    }
    state.actors[actor].set_roots(roots);
    let is_last = at as usize + 1 == scenario.root_pages.len();
    state.actors[actor].set_cursor(if is_last { 0 } else { at + 1 });
    is_last
}

/// Which of the two kinds of objects whose names are ordered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ordered {
    /// Index segments.
    Segments,
    /// Lists of condemned packs.
    Lists,
}

impl Ordered {
    fn max(self) -> u8 {
        match self {
            Ordered::Segments => SEGMENTS,
            Ordered::Lists => LISTS,
        }
    }

    fn bits(self, pack: super::state::Pack) -> u8 {
        match self {
            Ordered::Segments => pack.rows(),
            Ordered::Lists => pack.lists(),
        }
    }

    fn set_bits(self, pack: &mut super::state::Pack, bits: u8) {
        match self {
            Ordered::Segments => pack.set_rows(bits),
            Ordered::Lists => pack.set_lists(bits),
        }
    }

    /// The places in use.
    pub fn used(self, state: &State) -> u8 {
        state.packs.iter().fold(0, |used, p| used | self.bits(*p))
    }

    /// How many objects there are; they lie at the first places.
    pub fn count(self, state: &State) -> u8 {
        self.used(state).count_ones() as u8
    }

    /// The same state with one more object that names these packs, put at `place`; `None` when it would be
    /// one too many.
    pub fn put(self, state: &State, scenario: &Scenario, place: u8, packs: u8) -> Option<State> {
        let mut state = *state;
        if !scenario.merges.include(self) {
            self.name(&mut state, 0, packs);
            return Some(state);
        }
        if self.count(&state) == self.max() {
            return None;
        }
        let below = (1u8 << place) - 1;
        let shift = |bits: u8| bits & below | (bits & !below) << 1;
        state.each_pack(|p| self.set_bits(p, shift(self.bits(*p))));
        self.each_reader(&mut state, scenario, |cursor, slots| {
            let moved = cursor > place && cursor + 1 < self.max();
            (if moved { cursor + 1 } else { cursor }, shift(slots))
        });
        self.name(&mut state, place, packs);
        Some(state)
    }

    fn name(self, state: &mut State, place: u8, packs: u8) {
        for (i, pack) in state.packs.iter_mut().enumerate().filter(|(i, _)| packs >> i & 1 == 1) {
            debug_assert!(pack.0 != 0, "column {i} is in use");
            self.set_bits(pack, self.bits(*pack) | 1 << place);
        }
    }

    /// Takes one object away; the others keep their places until [`close_gaps`].
    pub fn delete(self, state: &mut State, place: u8) {
        state.each_pack(|p| self.set_bits(p, self.bits(*p) & !(1 << place)));
    }

    fn each_reader(self, state: &mut State, scenario: &Scenario, change: impl Fn(u8, u8) -> (u8, u8)) {
        let first = scenario.pages.iter().position(|p| match self {
            Ordered::Segments => *p == Page::Segment(0),
            Ordered::Lists => *p == Page::List(0),
        });
        for (role, actor) in scenario.roles.iter().zip(&mut state.actors) {
            let inside = first.and_then(|f| actor.cursor().checked_sub(f as u8));
            let (cursor, slots) = change(inside.unwrap_or(0), actor.slots());
            if let (Some(before), true) = (inside, reads_pages(*role, actor.step())) {
                actor.set_cursor(actor.cursor() - before + cursor);
            }
            if *role == Role::Merger && (actor.mode() == 1) == (self == Ordered::Lists) {
                actor.set_slots(slots);
            }
        }
    }
}

/// Whether an actor's cursor stands in a listing of index, packs and lists, not in one of roots.
fn reads_pages(role: Role, step: u8) -> bool {
    match role {
        Role::Pruner => step == super::pruner::Step::List as u8,
        _ => true,
    }
}

/// Moves objects down over places that nobody uses any more.
pub fn close_gaps(state: &mut State, scenario: &Scenario) {
    let kinds = [Ordered::Segments, Ordered::Lists];
    for kind in kinds.into_iter().filter(|kind| scenario.merges.include(*kind)) {
        for place in (0..kind.max()).rev() {
            let used = kind.used(state);
            if used >> place & 1 == 0 {
                let is_last = used >> place == 0;
                let below = (1u8 << place) - 1;
                let shift = |bits: u8| bits & below | bits >> 1 & !below;
                state.each_pack(|p| kind.set_bits(p, shift(kind.bits(*p))));
                kind.each_reader(state, scenario, |cursor, slots| {
                    let moved = !is_last && cursor > place && cursor < kind.max();
                    (if moved { cursor - 1 } else { cursor }, shift(slots & !(1 << place)))
                });
            }
        }
    }
}
