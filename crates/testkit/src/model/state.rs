//! One state of the model, in nine words.
//!
//! A pack is a column of bits: whether it is there, what it claims to hold, in which index segments and lists
//! of condemned packs it stands, and what each actor remembers of it. Packs have no identity beyond their
//! column, so two states that differ in the order of the columns are one state; the same holds for two
//! pruners. A pack that is gone and that nobody remembers leaves an empty column, which the next new pack
//! takes: so histories may be as long as they like, and only what is remembered at one time is bounded.

/// Columns of a state.
pub const PACKS: usize = 6;
/// Actors of a state.
pub const ACTORS: usize = 4;
/// Snapshots or sessions: 0 was committed before the history begins.
pub const ROOTS: usize = 3;
/// Index segments at one time, where they are told apart.
pub const SEGMENTS: u8 = 4;
/// Lists of condemned packs at one time, where they are told apart.
pub const LISTS: u8 = 3;

macro_rules! bits {
    ($(#[$doc:meta])* $name:ident($int:ty) flags { $($(#[$fdoc:meta])* $flag:ident $set_flag:ident $at:literal,)* }
     numbers { $($(#[$ndoc:meta])* $number:ident $set_number:ident $from:literal $width:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
        pub struct $name(pub $int);
        impl $name {
            $($(#[$fdoc])* pub fn $flag(self) -> bool { self.0 >> $at & 1 == 1 }
            #[allow(missing_docs, reason = "says what its reader says")]
            pub fn $set_flag(&mut self, on: bool) { self.0 = self.0 & !(1 << $at) | (on as $int) << $at; })*
            $($(#[$ndoc])* pub fn $number(self) -> u8 { (self.0 >> $from) as u8 & ((1u16 << $width) - 1) as u8 }
            #[allow(missing_docs, reason = "says what its reader says")]
            pub fn $set_number(&mut self, value: u8) {
                let mask: $int = ((1 << $width) - 1) << $from;
                self.0 = self.0 & !mask | (value as $int) << $from & mask;
            })*
        }
    };
}

bits! {
    /// One pack and what is remembered of it.
    Pack(u64) flags {
        /// The object is there.
        exists set_exists 0,
        /// It does not hold what it claims: planted, or damaged.
        bad set_bad 1,
        /// The re-check of snapshot 0 saw it.
        in_memory set_in_memory 2,
        /// The folder it is listed in.
        folder set_folder 3,
    } numbers {
        /// The blobs it claims to hold.
        content set_content 4 2,
        /// The index segments that list it, one bit a segment, in the order of names.
        rows set_rows 6 4,
        /// The lists of condemned packs that name it, alike.
        lists set_lists 10 3,
    }
}

/// What an actor remembers of a pack, as bits.
pub mod view {
    /// An index segment that it read lists the pack.
    pub const MAPPED: u8 = 1;
    /// A list that it read condemns the pack.
    pub const CONDEMNED: u8 = 2;
    /// It saw the pack in a listing.
    pub const SEEN: u8 = 4;
    /// The pack it works on: the one it writes, or its victim.
    pub const MINE: u8 = 8;
    /// What it saw at the beginning of its run.
    pub const OLD: u8 = 16;
    /// What one listing collects.
    pub const LISTED: u8 = MAPPED | CONDEMNED | SEEN;
    /// All of it.
    pub const ALL: u8 = 31;
}

const VIEW_FROM: usize = 16;
const VIEW_BITS: usize = 5;

impl Pack {
    /// What this actor remembers.
    pub fn view(self, actor: usize) -> u8 {
        (self.0 >> (VIEW_FROM + VIEW_BITS * actor)) as u8 & view::ALL
    }

    /// Whether the actor remembers all of these.
    pub fn has(self, actor: usize, bits: u8) -> bool {
        self.view(actor) & bits == bits
    }

    /// The actor remembers these as well.
    pub fn note(&mut self, actor: usize, bits: u8) {
        self.0 |= (bits as u64) << (VIEW_FROM + VIEW_BITS * actor);
    }

    /// The actor forgets these.
    pub fn unnote(&mut self, actor: usize, bits: u8) {
        self.0 &= !((bits as u64) << (VIEW_FROM + VIEW_BITS * actor));
    }

    fn is_remembered(self) -> bool {
        self.0 >> VIEW_FROM != 0
    }

    fn swap_views(&mut self, a: usize, b: usize) {
        let (of_a, of_b) = (self.view(a), self.view(b));
        self.unnote(a, view::ALL);
        self.unnote(b, view::ALL);
        self.note(a, of_b);
        self.note(b, of_a);
    }

    /// It would count as stored to somebody who read everything in this moment.
    pub fn is_live(self) -> bool {
        self.exists() && self.rows() != 0 && self.lists() == 0
    }

    /// It counts as stored by what the actor listed.
    pub fn is_live_to(self, actor: usize) -> bool {
        self.view(actor) & view::LISTED == view::MAPPED | view::SEEN
    }
}

bits! {
    /// Where an actor stands.
    Actor(u32) flags {
        /// The listing of roots is over.
        aside set_aside 31,
    } numbers {
        /// Its next step.
        step set_step 0 5,
        /// The next page of its listing.
        cursor set_cursor 5 4,
        /// Blobs it takes to be stored (a writer) or that some root reaches (a pruner).
        blobs set_blobs 9 2,
        /// Blobs it must store or rescue.
        need set_need 11 2,
        /// Segments or lists that it replaces, in the order of names.
        slots set_slots 13 4,
        /// The session or snapshot it works on.
        root set_root 17 2,
        /// Roots that its listing met.
        roots set_roots 19 3,
        /// Roots that its run walked before.
        walked set_walked 22 3,
        /// Which sort of merge it makes.
        mode set_mode 25 2,
    }
}

bits! {
    /// A session and the snapshot it becomes.
    Root(u16) flags {
        /// `pending/` has it.
        pending set_pending 0,
        /// `snapshots/` has it.
        main set_main 1,
        /// `mirror/snapshots/` has it.
        mirror set_mirror 2,
        /// An abort record stands at its place in `snapshots/`.
        aborted set_aborted 3,
        /// It is forgotten.
        tomb set_tomb 4,
        /// Its removal was announced.
        removal set_removal 5,
        /// Somebody holds it.
        hold set_hold 6,
        /// Its owner was told that it is safe.
        claimed set_claimed 7,
        /// Its removal was confirmed: whatever stands under its name counts for nothing.
        gone set_gone 8,
    } numbers {}
}

bits! {
    /// What is left.
    Rest(u16) flags {
        /// A pack that snapshot 0's re-check saw is gone.
        memory_broken set_memory_broken 0,
        /// A pack may still be damaged.
        may_damage set_may_damage 1,
        /// A segment may still be lost.
        may_lose set_may_lose 10,
        /// A segment was lost: packs are found by their own directories.
        index_lost set_index_lost 11,
    } numbers {
        /// How often somebody may still forget.
        forgets set_forgets 2 2,
        /// How often somebody may still undo, or hold.
        undos set_undos 4 2,
        /// What the undoing person does.
        person set_person 6 2,
        /// Blobs that damage took and nobody healed.
        lost set_lost 8 2,
    }
}

/// A state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct State {
    /// Packs, sorted.
    pub packs: [Pack; PACKS],
    /// Actors.
    pub actors: [Actor; ACTORS],
    /// Roots.
    pub roots: [Root; ROOTS],
    /// The rest.
    pub rest: Rest,
}

impl State {
    /// Changes all packs.
    pub fn each_pack(&mut self, mut change: impl FnMut(&mut Pack)) {
        self.packs.iter_mut().filter(|p| p.0 != 0).for_each(&mut change);
    }

    /// The blobs that packs of this kind claim to hold.
    pub fn blobs_in(&self, mut counts: impl FnMut(Pack) -> bool) -> u8 {
        self.packs.iter().filter(|p| counts(**p)).fold(0, |blobs, p| blobs | p.content())
    }

    /// The blobs that a reader finds: in packs that are there and sound, and that the index leads to, or that
    /// it looks through because a segment was lost.
    pub fn readable(&self) -> u8 {
        let finds = self.rest.index_lost();
        self.blobs_in(|p| p.exists() && !p.bad() && (p.rows() != 0 || finds))
    }

    /// The actor forgets this of all packs.
    pub fn unnote_all(&mut self, actor: usize, bits: u8) {
        self.each_pack(|p| p.unnote(actor, bits));
    }

    /// An empty column.
    pub fn free_column(&self, packs_max: usize) -> Option<usize> {
        self.packs[..].iter().position(|p| p.0 == 0).filter(|_| self.columns() < packs_max)
    }

    fn columns(&self) -> usize {
        self.packs.iter().filter(|p| p.0 != 0).count()
    }

    /// Empties the columns of packs that are gone and that nobody remembers. Their rows and their places in
    /// lists go too: no name is written twice, so what is gone is never read again.
    pub fn drop_forgotten_packs(&mut self) {
        for pack in &mut self.packs {
            if pack.0 != 0 && !pack.exists() && !pack.is_remembered() {
                if pack.in_memory() {
                    self.rest.set_memory_broken(true);
                }
                *pack = Pack::default();
            }
        }
    }

    /// The one form of all states that differ only in the order of packs and of these two actors.
    pub fn sorted(mut self, interchangeable: Option<(usize, usize)>) -> Self {
        self.packs.sort_unstable();
        let Some((a, b)) = interchangeable else { return self };
        let mut other = self;
        other.actors.swap(a, b);
        other.each_pack(|p| p.swap_views(a, b));
        other.packs.sort_unstable();
        self.min(other)
    }

    /// The words of the state.
    pub fn words(&self) -> [u64; PACKS + 3] {
        let mut words = [0; PACKS + 3];
        for (word, pack) in words.iter_mut().zip(&self.packs) {
            *word = pack.0;
        }
        let a = self.actors;
        words[PACKS] = a[0].0 as u64 | (a[1].0 as u64) << 32;
        words[PACKS + 1] = a[2].0 as u64 | (a[3].0 as u64) << 32;
        let r = self.roots.map(|r| r.0 as u64);
        words[PACKS + 2] = r[0] | r[1] << 16 | r[2] << 32 | (self.rest.0 as u64) << 48;
        words
    }
}
