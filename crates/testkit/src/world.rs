//! A place, a repository in it, and the key to it.

use format::chunk::ChunkSizes;
use format::config::Parameters;
use format::keys::{Capability, Key, Keys};
use format::kind::Timestamp;
use format::slot::ArgonCost;
use repo::cache::Cache;
use repo::reader::Reader;
use repo::seed::Seed;
use repo::{Credential, NewRepo, NewSlot, OpenOptions, Repo, RepoResult};
use std::sync::Arc;
use storage::{SimStore, Store};

/// Limits so small that a few files make many objects.
pub fn tiny_parameters() -> Parameters {
    Parameters {
        chunks: ChunkSizes { min_bytes: 64, average_bytes: 256, max_bytes: 1024 },
        whole_file_bytes_max: 1024,
        block_bytes: 2 << 10,
        pack_bytes: 12 << 10,
        tree_pack_bytes: 12 << 10,
        ..Parameters::default()
    }
}

/// A simulated place with a repository in it, opened by a key file: no password is stretched.
pub struct World {
    /// The place.
    pub sim: SimStore,
    key: Key,
}

impl World {
    /// Makes a place and a repository.
    pub fn new(seed: u64) -> Self {
        Self::with_parameters(seed, tiny_parameters())
    }

    /// Makes a place and a repository of these parameters.
    pub fn with_parameters(seed: u64, parameters: Parameters) -> Self {
        let world = World { sim: SimStore::new(seed), key: Key::new([7; 32]) };
        create_in(Arc::new(world.sim.clone()), seed, parameters).expect("a good place takes a repository");
        world
    }

    /// Another place of the same family, with a repository in it: a copy of this one.
    pub fn sibling(&self, seed: u64) -> Self {
        self.sibling_with(self.open().expect("the first place opens").keys().clone(), seed)
    }

    /// The same with keys that are known already.
    pub fn sibling_with(&self, family: Arc<Keys>, seed: u64) -> Self {
        let world = World { sim: SimStore::new(seed), key: self.key.clone() };
        let new = NewRepo { family: Some(family), ..new_repo(seed, tiny_parameters()) };
        Repo::create(Arc::new(world.sim.clone()), new).expect("a good place takes a repository");
        world
    }

    /// The world of a place that holds a repository made by [`create_in`].
    pub fn of(sim: SimStore) -> Self {
        World { sim, key: Key::new([7; 32]) }
    }

    /// What opens it.
    pub fn credential(&self) -> Credential {
        Credential::Random(self.key.clone())
    }

    /// Opens the repository as a client of its own.
    pub fn open(&self) -> RepoResult<Arc<Repo>> {
        self.open_over(Arc::new(self.sim.connect()))
    }

    /// Opens the repository through this store.
    pub fn open_over(&self, store: Arc<dyn Store>) -> RepoResult<Arc<Repo>> {
        Repo::open(store, &self.credential(), &OpenOptions::default()).map(Arc::new)
    }

    /// A reader without any cache folder.
    pub fn reader(&self) -> RepoResult<Arc<Reader>> {
        self.reader_over(Arc::new(self.sim.connect()))
    }

    /// A reader through this store.
    pub fn reader_over(&self, store: Arc<dyn Store>) -> RepoResult<Arc<Reader>> {
        Reader::open(self.open_over(store)?, Cache::none()).map(Arc::new)
    }
}

/// What opens every [`World`].
pub fn credential() -> Credential {
    Credential::Random(Key::new([7; 32]))
}

/// Makes a repository that is opened by the key file of every [`World`].
pub fn create_in(store: Arc<dyn Store>, seed: u64, parameters: Parameters) -> RepoResult<Repo> {
    Repo::create(store, new_repo(seed, parameters))
}

fn new_repo(seed: u64, parameters: Parameters) -> NewRepo {
    let mut bytes = [0xc; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let slot = NewSlot {
        credential: credential(),
        is_recovery: false,
        capability: Capability::Owner,
        cost: ArgonCost::default(),
        label: "test".into(),
    };
    NewRepo {
        parameters,
        slots: vec![slot],
        family: None,
        created: Timestamp::default(),
        seed: Seed::new(bytes),
    }
}
