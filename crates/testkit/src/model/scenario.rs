//! What is modelled at one time: who acts, what is there at first, how fine the steps are, and which rule is
//! broken, if any.

use super::listing::{self, Ordered, Page, RootPage};
use super::state::{ACTORS, Pack, ROOTS, Rest, Root, State};
use super::variants::Variant;

/// What an actor does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Nothing.
    None,
    /// A backup of root 1 or 2.
    Writer {
        /// Its root.
        root: u8,
        /// How it learns what need not be stored.
        parent: Parent,
    },
    /// A copy of a snapshot from a sibling that has the bytes, and so the name, of pack 0.
    Syncer {
        /// Its root: 2, or 0 which was here before.
        root: u8,
    },
    /// Prunes, removes what is forgotten, aborts dead sessions.
    Pruner,
    /// Merges index segments and lists of condemned packs.
    Merger,
    /// Stores again what damage took.
    Repairer,
    /// Puts the second copy of a record where one of the two is missing.
    Mender,
}

/// Where a writer takes unread subtrees from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parent {
    /// Nowhere: everything is looked up in the index.
    None,
    /// From snapshot 0, which it reads at the place.
    Stored,
    /// From snapshot 0, which its cache holds.
    Cached,
    /// As `Cached`, and it remembers what snapshot 0's own re-check saw.
    Remembered,
}

/// How fine listings are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Grain {
    /// Index, packs and condemned lists in one step.
    Atomic,
    /// One step for each of them.
    Prefixes,
    /// One step for each segment and each list where those are merged, else for each folder of packs; and
    /// one for each root.
    Pages,
}

/// What mergers merge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Merges {
    /// Nothing. All segments count as one, and all lists of condemned packs.
    None,
    /// Index segments.
    Segments,
    /// Lists of condemned packs.
    Lists,
    /// Both.
    Both,
}

impl Merges {
    /// Whether these are merged.
    pub fn include(self, kind: Ordered) -> bool {
        match kind {
            Ordered::Segments => matches!(self, Merges::Segments | Merges::Both),
            Ordered::Lists => matches!(self, Merges::Lists | Merges::Both),
        }
    }
}

/// A pack of the first state.
#[derive(Clone, Copy, Debug)]
pub struct FirstPack {
    /// The blobs it claims to hold.
    pub content: u8,
    /// It does not hold them.
    pub bad: bool,
    /// It is listed in segment 0.
    pub indexed: bool,
    /// The condemned lists that name it, as bits.
    pub listed: u8,
}

impl FirstPack {
    /// A live pack that holds what it says.
    pub const fn holding(content: u8) -> Self {
        FirstPack { content, bad: false, indexed: true, listed: 0 }
    }
}

/// A bounded world.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// Who acts. Two pruners must be the last two.
    pub roles: [Role; ACTORS],
    /// Columns in use.
    pub packs_max: usize,
    /// Blobs that each root reaches; 0 for a root that does not occur.
    pub reaches: [u8; ROOTS],
    /// Packs at first.
    pub packs: Vec<FirstPack>,
    /// How fine listings are.
    pub grain: Grain,
    /// What is merged; only that is told apart.
    pub merges: Merges,
    /// How often somebody forgets, undoes or holds, or a pack is damaged.
    pub forgets: u8,
    /// See `forgets`.
    pub undos: u8,
    /// See `forgets`.
    pub damages: bool,
    /// A segment is lost once.
    pub loses_segment: bool,
    /// Pruners rewrite packs whose blobs are needed.
    pub compacts: bool,
    /// Pruners abort sessions that seem dead.
    pub aborts: bool,
    /// The place refuses to create what exists.
    pub creates_new: bool,
    /// Blob 0 is a tree node: without it nobody knows what a root reaches.
    pub has_tree: bool,
    /// The broken rule.
    pub variant: Option<Variant>,
    /// The requests of a listing; made by [`Scenario::paged`].
    pub pages: Vec<Page>,
    /// Alike, of roots.
    pub root_pages: Vec<RootPage>,
}

impl Scenario {
    /// A world in which nothing happens yet: one snapshot, one pack.
    pub fn new(name: &'static str) -> Self {
        Scenario {
            name,
            roles: [Role::None; ACTORS],
            packs_max: 4,
            reaches: [1, 0, 0],
            packs: vec![FirstPack::holding(1)],
            grain: Grain::Atomic,
            merges: Merges::None,
            forgets: 0,
            undos: 0,
            damages: false,
            loses_segment: false,
            compacts: true,
            aborts: false,
            creates_new: true,
            has_tree: false,
            variant: None,
            pages: Vec::new(),
            root_pages: Vec::new(),
        }
        .paged()
    }

    /// The same with its listings laid out; to be called after the last change.
    pub fn paged(mut self) -> Self {
        self.pages = listing::pages(&self);
        self.root_pages = listing::root_pages(&self);
        self
    }

    /// The same with a broken rule.
    pub fn breaking(mut self, variant: Variant) -> Self {
        self.variant = Some(variant);
        self.paged()
    }

    /// Whether this rule is broken.
    pub fn breaks(&self, variant: Variant) -> bool {
        self.variant == Some(variant)
    }

    /// The blobs that these roots reach.
    pub fn reached_by(&self, roots: u8) -> u8 {
        (0..ROOTS).filter(|k| roots >> k & 1 == 1).fold(0, |blobs, k| blobs | self.reaches[k])
    }

    /// Whether a snapshot is there: a copy of its record, unless its removal was confirmed. Confirmations stay
    /// for ever. So whoever slept before putting a copy of the record (its session the second one, a repair
    /// either of them) cannot bring back a snapshot whose blobs may be gone.
    pub fn is_snapshot(&self, root: Root) -> bool {
        if self.breaks(Variant::NotConfirmed) {
            return root.main() || root.mirror() && !root.removal();
        }
        (root.main() || root.mirror()) && (!root.gone() || self.breaks(Variant::RemovedCounts))
    }

    /// Two actors that nobody can tell apart.
    pub fn interchangeable(&self) -> Option<(usize, usize)> {
        let last_two = [self.roles[ACTORS - 2], self.roles[ACTORS - 1]];
        (last_two == [Role::Pruner; 2]).then_some((ACTORS - 2, ACTORS - 1))
    }

    /// The one form of this state.
    pub fn canonical(&self, mut state: State) -> State {
        state.drop_forgotten_packs();
        listing::close_gaps(&mut state, self);
        state.sorted(self.interchangeable())
    }

    /// The first state.
    pub fn first(&self) -> State {
        let mut state = State::default();
        for (column, first) in state.packs.iter_mut().zip(&self.packs) {
            let mut pack = Pack::default();
            pack.set_exists(true);
            pack.set_content(first.content);
            pack.set_bad(first.bad);
            pack.set_rows(first.indexed as u8);
            pack.set_lists(first.listed);
            pack.set_in_memory(first.indexed && self.remembers());
            *column = pack;
        }
        if let Some(syncer) = self.roles.iter().position(|r| matches!(r, Role::Syncer { .. })) {
            state.packs[0].note(syncer, super::state::view::MINE);
        }
        if self.reaches[0] != 0 {
            state.roots[0].set_main(true);
            state.roots[0].set_mirror(true);
            state.roots[0].set_claimed(true);
        }
        let mut rest = Rest::default();
        rest.set_forgets(self.forgets);
        rest.set_undos(self.undos);
        rest.set_may_damage(self.damages);
        rest.set_may_lose(self.loses_segment);
        state.rest = rest;
        self.canonical(state)
    }

    fn remembers(&self) -> bool {
        self.roles.iter().any(|r| matches!(r, Role::Writer { parent: Parent::Remembered, .. }))
    }
}
