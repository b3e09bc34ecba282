//! Who acts in a run. Each actor is the real code, run inline; each operation is a process of its own that
//! opens the repository, does one thing and ends.
//!
//! To add an actor: implement [`Actor`], and name it in [`cast`].

pub mod backup;
pub mod copies;
pub mod forget;
pub mod others;
pub mod prune;
pub mod repair;

use crate::dice::Dice;
use crate::simulation::history::{History, Rights, Watched};
use crate::simulation::oracle::Oracle;
use crate::simulation::weather::Weather;
use crate::turns::Seat;
use crate::world::World;
use format::id::PackId;
use format::kind::Timestamp;
use repo::RepoResult;
use repo::cache::Cache;
use repo::reader::Reader;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use storage::{CacheOptions, CacheStore, ObjectName, RetryOptions, RetryStore, SimStore, Store};

/// Somebody who does the same thing again and again.
pub trait Actor: Send {
    /// A word for reports.
    fn name(&self) -> &'static str;
    /// What it may do to the place, whatever happens.
    fn rights(&self) -> Rights;
    /// One operation.
    fn act(&mut self, desk: &mut Desk) -> RepoResult<()>;
}

/// What an actor has at hand.
pub struct Desk {
    /// The place and the key.
    pub world: Arc<World>,
    /// The actor's own client, for what goes past the store.
    pub sim: SimStore,
    /// The actor's store: turns, then the place, watched.
    pub watched: Watched,
    pub(super) seat: Seat,
    /// The model.
    pub oracle: Arc<Oracle>,
    /// What happened so far.
    pub history: History,
    /// The actor's own dice.
    pub dice: Dice,
    /// Which actor it is.
    pub number: usize,
    /// Which of its operations this is, from 0.
    pub round: u64,
    /// The weather.
    pub weather: Weather,
    /// Where files that save time lie, if anywhere.
    pub cache: Option<PathBuf>,
    /// What the actor believes the time to be.
    pub now: Timestamp,
}

impl Desk {
    /// The actor's store as the program would use it.
    pub fn store(&self) -> Arc<dyn Store> {
        let mut store = self.seat.store(Arc::new(self.watched.clone()));
        if self.weather.patient {
            store = Arc::new(RetryStore::new(store, without_waiting(self.number as u64)));
        }
        match &self.cache {
            Some(folder) => Arc::new(CacheStore::new(store, tree_cache(folder.join(OBJECTS)))),
            None => store,
        }
    }

    /// Opens the repository and loads its index.
    pub fn reader(&self) -> RepoResult<Arc<Reader>> {
        let repo = self.world.open_over(self.store())?;
        let cache = self.cache.clone().map_or_else(Cache::none, Cache::at);
        Reader::open(repo, cache).map(Arc::new)
    }

    /// Does something to the place at the actor's turn.
    pub fn at_turn<T>(&self, act: impl FnOnce() -> T) -> T {
        self.seat.take(act)
    }

    /// A number that no other operation of this run has.
    pub fn unique_seed(&self) -> u64 {
        (self.number as u64 + 1) << 16 | self.round
    }
}

/// Where in a cache folder whole objects lie.
pub const OBJECTS: &str = "objects";

/// Tree packs are kept at hand, as the program does with distant places.
fn tree_cache(folder: PathBuf) -> CacheOptions {
    let is_pack = |name: &ObjectName, bytes: &[u8]| {
        PackId::from_hex(name.file_name()).is_some_and(|id| format::pack::verify(bytes, &id, None).is_ok())
    };
    CacheOptions {
        folder,
        prefixes: vec![repo::names::TREES.to_string()],
        bytes_max: 10 << 20,
        object_bytes_max: 50_000,
        verify: Arc::new(is_pack),
    }
}

/// Retries that cost no time.
fn without_waiting(seed: u64) -> RetryOptions {
    RetryOptions { wait: Arc::new(|_| ControlFlow::Continue(())), seed, ..RetryOptions::default() }
}

/// The actors of a run.
pub fn cast(weather: &Weather, dice: &mut Dice) -> Vec<Box<dyn Actor>> {
    let mut actors: Vec<Box<dyn Actor>> = vec![Box::new(backup::Backups::new(dice))];
    if weather.single_writer {
        actors.push(Box::new(others::Restores));
        return actors;
    }
    if !dice.once_in(4) {
        actors.push(Box::new(backup::Backups::new(dice)));
    }
    if weather.prunes.is_none() && dice.once_in(2) {
        actors.push(Box::new(forget::Forgets::default()));
    }
    if weather.prunes.is_some() {
        actors.push(Box::new(forget::Forgets::default()));
        actors.push(Box::new(prune::Prunes));
        if dice.once_in(3) {
            actors.push(Box::new(prune::Prunes));
        }
    }
    match dice.below(4) {
        0 => actors.push(Box::new(others::Restores)),
        1 => actors.push(Box::new(others::Checks)),
        2 => actors.push(Box::new(others::Creates)),
        _ => {}
    }
    if weather.rot.is_some() {
        actors.push(Box::new(others::Rots::default()));
    }
    if dice.once_in(if weather.rot.is_some() { 2 } else { 4 }) {
        actors.push(Box::new(repair::Repairs));
    }
    if weather.intruder {
        actors.push(Box::new(others::Intrudes::default()));
    }
    // A roll of dice of their own: the histories without them stay as they are.
    let mut dice = dice.clone();
    if dice.once_in(4) {
        actors.push(Box::new(copies::Copies::new(&mut dice)));
    }
    actors
}
