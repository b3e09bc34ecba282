//! Making and opening a repository.

use crate::error::{RepoError, RepoResult};
use crate::names;
use crate::seed::Seed;
use crate::slots::{self, NewSlot};
use crate::workers::{Ordered, Workers};
use format::codec::{Compressor, Level};
use format::config::{Config, Identity, Parameters};
use format::envelope;
use format::erase::Erasure;
use format::id::{FamilyId, RepoId};
use format::keys::{Capability, Key, Keys};
use format::kind::Timestamp;
use format::limits::RECORD_BYTES_MAX;
use format::seal::Suite;
use format::slot::Secret;
use format::{FormatError, FormatResult};
use std::ops::ControlFlow;
use std::sync::Arc;
use storage::{ErrorKind, ObjectInfo, ObjectName, PutMode, Store, StoreError, planted};
use zeroize::Zeroizing;

/// What a user has to unlock a repository with.
#[derive(Clone)]
pub enum Credential {
    /// A password.
    Password(Zeroizing<Vec<u8>>),
    /// The random key of a key file or of the recovery sheet.
    Random(Key),
}

impl Credential {
    /// For the functions that compute with it.
    pub(crate) fn secret(&self) -> Secret<'_> {
        match self {
            Credential::Password(password) => Secret::Password(password),
            Credential::Random(key) => Secret::Random(key),
        }
    }

    pub(crate) fn word(&self) -> &'static str {
        match self {
            Credential::Password(_) => "password",
            Credential::Random(_) => "key",
        }
    }
}

/// What a new repository is to be.
pub struct NewRepo {
    /// How it cuts and packs.
    pub parameters: Parameters,
    /// Its first ways to unlock.
    pub slots: Vec<NewSlot>,
    /// The keys of the family to join; a new family otherwise.
    pub family: Option<Arc<Keys>>,
    /// Now.
    pub created: Timestamp,
    /// Randomness for ids and keys.
    pub seed: Seed,
}

/// How to open.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// Cipher for new blocks; the fastest here when absent.
    pub suite: Option<Suite>,
}

/// How often a record is read that must not be misunderstood, and how often it must be the same.
const READS_MAX: usize = 12;
const SAME_READS: usize = 3;

/// Takes an object that was asked for, or why it could not be read.
pub(crate) type ObjectTaker<'t> = dyn FnMut(&ObjectName, RepoResult<Vec<u8>>) -> RepoResult<()> + 't;

/// An unlocked repository.
pub struct Repo {
    store: Arc<dyn Store>,
    config: Config,
    keys: Arc<Keys>,
    suite: Suite,
    fetchers: Workers,
    known_erasures: Vec<Erasure>,
}

impl Repo {
    /// Makes a repository in an empty place and opens it.
    pub fn create(store: Arc<dyn Store>, mut new: NewRepo) -> RepoResult<Self> {
        let first_copy = match read_config(&*store) {
            Err(RepoError::NoRepository { .. }) => PutMode::CreateNew,
            Err(e @ RepoError::ConfigurationLost { .. }) => return Err(e),
            Err(e) if e.is_damage() && holds_nothing(&*store)? => PutMode::Replace,
            Err(e) if !e.is_damage() && !e.is_too_new() => return Err(e),
            _ if planted::is("create-overwrites") => PutMode::Replace,
            _ => return Err(RepoError::AlreadyExists { location: store.location() }),
        };
        let seed = &mut new.seed;
        let keys = match new.family {
            Some(keys) => keys,
            None => Arc::new(Keys::owner(FamilyId(seed.draw()), Key::new(seed.draw()))),
        };
        let repo = RepoId(seed.draw());
        let mut parameters = new.parameters;
        for slot in &new.slots {
            let slot = slots::make(&repo, &keys, slot, new.created, seed)?;
            slots::store(&*store, &repo, &slot)?;
            parameters.slots.push(slot.id);
        }
        let identity = Identity {
            repo,
            family: keys.family(),
            required_features: 0,
            optional_features: 0,
            created: new.created,
        };
        let repo = Repo {
            store,
            config: Config { identity, parameters },
            keys,
            suite: Suite::fastest(),
            fetchers: Workers(0),
            known_erasures: Vec::new(),
        };
        repo.store_new_config(seed, first_copy)?;
        Ok(repo)
    }

    /// Opens a repository.
    ///
    /// Of the two copies of the configuration the readable one with the greater generation counts.
    pub fn open(store: Arc<dyn Store>, credential: &Credential, options: &OpenOptions) -> RepoResult<Self> {
        let copies = read_config(&*store)?;
        let mut failure = None;
        let mut best: Option<(Config, Arc<Keys>)> = None;
        let mut tried = None;
        for copy in copies {
            let ids = (copy.identity.repo, copy.identity.family);
            let keys = match &best {
                Some((config, keys)) if config.identity.repo == ids.0 => Ok(keys.clone()),
                _ if tried.replace(ids) == Some(ids) => continue, // stretching a wrong password once is enough
                _ => slots::unlock(&*store, &copy.identity, credential).map(Arc::new),
            };
            let opened = keys.and_then(|keys| {
                let config = Config::decode(&copy.bytes, &keys);
                config.map(|c| (c, keys)).map_err(|e| RepoError::object(&names::CONFIG, e))
            });
            match opened {
                Ok((config, keys)) => {
                    let generation = |(config, _): &(Config, _)| config.parameters.generation;
                    if best.as_ref().is_none_or(|b| generation(b) < config.parameters.generation) {
                        best = Some((config, keys));
                    }
                }
                Err(e) if e.is_too_new() => return Err(e),
                Err(e) => failure = failure.or(Some(e)),
            }
        }
        match best {
            Some((config, keys)) => {
                let suite = options.suite.unwrap_or_else(Suite::fastest);
                Ok(Repo { store, config, keys, suite, fetchers: Workers(0), known_erasures: Vec::new() })
            }
            None => Err(failure.unwrap_or(RepoError::NoRepository { location: store.location() })),
        }
    }

    /// A repository of which all is known.
    pub(crate) fn from_parts(store: Arc<dyn Store>, config: Config, keys: Arc<Keys>) -> Self {
        Repo {
            store,
            config,
            keys,
            suite: Suite::fastest(),
            fetchers: Workers(0),
            known_erasures: Vec::new(),
        }
    }

    /// Whether a place holds a repository, and which. Needs no key.
    pub fn peek(store: &dyn Store) -> RepoResult<Identity> {
        let copies = read_config(store)?;
        Ok(copies.into_iter().next().expect("at least one copy was read").identity)
    }

    /// The same repository behind another store (a decorated one).
    pub fn with_store(&self, store: Arc<dyn Store>) -> Self {
        let (config, keys) = (self.config.clone(), self.keys.clone());
        let known_erasures = self.known_erasures.clone();
        Repo { store, config, keys, suite: self.suite, fetchers: self.fetchers, known_erasures }
    }

    /// The same repository, fetching so many small objects at a time: a distant place answers each after a
    /// while, but many at once. One after the other otherwise.
    pub fn with_fetchers(self, fetchers: Workers) -> Self {
        Repo { fetchers, ..self }
    }

    /// The same repository, with erasures that whoever opens it knows from another copy: this one may have been away when
    /// they were made, and honours them all the same.
    pub fn knowing_erasures(self, known_erasures: Vec<Erasure>) -> Self {
        Repo { known_erasures, ..self }
    }

    /// Erasures that are known from another copy, whether or not this one has them.
    pub fn known_erasures(&self) -> &[Erasure] {
        &self.known_erasures
    }

    /// The place.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The place in words.
    pub fn location(&self) -> String {
        self.store.location()
    }

    /// The keys.
    pub fn keys(&self) -> &Arc<Keys> {
        &self.keys
    }

    /// Who it is.
    pub fn identity(&self) -> &Identity {
        &self.config.identity
    }

    /// How it behaves.
    pub fn parameters(&self) -> &Parameters {
        &self.config.parameters
    }

    /// Cipher for what is written.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Changes parameters and stores them. They are read again before: another machine may have changed them
    /// since this one opened the repository.
    pub fn update_parameters(
        &mut self,
        seed: &mut Seed,
        change: impl FnOnce(&mut Parameters),
    ) -> RepoResult<()> {
        self.store.end_look();
        for copy in read_config(&*self.store)? {
            if let Ok(config) = Config::decode(&copy.bytes, &self.keys)
                && config.identity.repo == self.config.identity.repo
                && config.parameters.generation > self.config.parameters.generation
            {
                self.config = config;
            }
        }
        change(&mut self.config.parameters);
        self.config.parameters.generation += 1;
        self.store_config(seed)
    }

    /// Replaces the configuration. The mirror goes first: if the run ends in between, it has the greater
    /// generation and counts.
    fn store_config(&self, seed: &mut Seed) -> RepoResult<()> {
        let bytes = self.config.encode(&self.keys, seed.draw(), &mut Compressor::new(Level(3)));
        let name = names::name(names::CONFIG);
        self.put(&names::mirror(&name), &bytes, PutMode::Replace)?;
        self.sync()?;
        self.put(&name, &bytes, PutMode::Replace)?;
        self.sync()
    }

    /// Stores the first configuration. The mirror goes last: until the first copy is there, nothing here is
    /// taken for a repository.
    pub(crate) fn store_new_config(&self, seed: &mut Seed, first_copy: PutMode) -> RepoResult<()> {
        let bytes = self.config.encode(&self.keys, seed.draw(), &mut Compressor::new(Level(3)));
        let name = names::name(names::CONFIG);
        match self.put(&name, &bytes, first_copy) {
            // Our own request may have been answered twice; anybody else's configuration stays.
            Err(e) if e.store_kind() == Some(ErrorKind::AlreadyExists) => {
                if self.store.get(&name, bytes.len() as u64).ok().as_ref() != Some(&bytes) {
                    return Err(RepoError::AlreadyExists { location: self.location() });
                }
            }
            other => other?,
        }
        self.put(&names::mirror(&name), &bytes, PutMode::Replace)?;
        self.sync()
    }

    /// Longer packs are made by nobody who follows the parameters: none is fetched whole to be mended. Room is
    /// left for the last block, directory and parity.
    pub(crate) fn pack_bytes_max(&self) -> u64 {
        let p = self.parameters();
        p.pack_bytes.max(p.tree_pack_bytes) * 3 / 2 + (48 << 20)
    }

    /// Wraps a store's error with this place.
    pub fn store_error(&self, e: StoreError) -> RepoError {
        store_error(&*self.store, e)
    }

    /// Stores an object.
    pub fn put(&self, name: &ObjectName, bytes: &[u8], mode: PutMode) -> RepoResult<()> {
        self.store.put(name, bytes, mode).map_err(|e| self.store_error(e))
    }

    /// Says that several folders are listed now.
    pub(crate) fn look(&self) -> RepoResult<()> {
        self.store.look().map_err(|e| self.store_error(e))
    }

    /// Makes what was stored survive power loss.
    pub fn sync(&self) -> RepoResult<()> {
        if planted::is("sync-skipped") {
            return Ok(());
        }
        self.store.sync().map_err(|e| self.store_error(e))
    }

    /// Lists a folder.
    pub fn list(&self, prefix: &str, mut visit: impl FnMut(ObjectInfo) -> ControlFlow<()>) -> RepoResult<()> {
        match self.store.list(prefix, &mut visit) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            other => other.map_err(|e| self.store_error(e)),
        }
    }

    /// Reads objects whole, several at a time, and hands them out in the order of their names here.
    pub(crate) fn get_many(
        &self,
        names: &[ObjectName],
        max_bytes: u64,
        take: &mut ObjectTaker<'_>,
    ) -> RepoResult<()> {
        let fetchers = Workers(self.fetchers.0.min(names.len().saturating_sub(1)));
        let mut stage = Ordered::new("fetch", fetchers, || {
            let store = self.store.clone();
            Box::new(move |name: ObjectName| store.get(&name, max_bytes))
        });
        let mut waiting = names.iter();
        for name in names {
            while stage.outstanding() <= fetchers.0 {
                let Some(next) = waiting.next() else { break };
                stage.give(next.clone());
            }
            let bytes = stage.take().expect("each name was given");
            take(name, bytes.map_err(|e| self.store_error(e)))?;
        }
        Ok(())
    }

    /// Reads a small object and decodes it. A damaged one is mended in memory by its parity; the stored
    /// bytes stay as they are, because reading never writes.
    pub fn get_mended<T>(
        &self,
        name: &ObjectName,
        max_bytes: u64,
        decode: impl Fn(&[u8]) -> FormatResult<T>,
    ) -> RepoResult<T> {
        let mut bytes = self.store.get(name, max_bytes).map_err(|e| self.store_error(e))?;
        mend_and_decode(&mut bytes, decode).map_err(|e| RepoError::object(name, e))
    }

    /// Like [`Repo::get_mended`] for records whose lack lets something be deleted. What cannot be understood
    /// is read until the same bytes arrived three times in a row: a bad transfer, or an answer that belongs to
    /// another object, must not pass for a bad record.
    pub(crate) fn get_surely<T>(
        &self,
        name: &ObjectName,
        max_bytes: u64,
        decode: impl Fn(&[u8]) -> FormatResult<T>,
    ) -> RepoResult<T> {
        let (mut before, mut equal) = (Vec::new(), 0);
        for _ in 0..READS_MAX {
            let bytes = self.store.get(name, max_bytes).map_err(|e| self.store_error(e))?;
            equal = if equal > 0 && bytes == before { equal + 1 } else { 1 };
            match mend_and_decode(&mut bytes.clone(), &decode) {
                Err(FormatError::Corrupt { .. } | FormatError::NotAuthentic { .. }) if equal < SAME_READS => {
                    before = bytes;
                }
                other => return other.map_err(|e| RepoError::object(name, e)),
            }
        }
        Err(RepoError::Local(format!("{name} is different each time it is read")))
    }

    /// Reads until the bytes are good, or the same bytes arrived three times in a row, or there was no end of
    /// different ones: then the last. What a bad transfer did must not be taken for damage.
    pub(crate) fn get_alike(
        &self,
        name: &ObjectName,
        max_bytes: u64,
        is_good: impl Fn(&[u8]) -> bool,
    ) -> RepoResult<Vec<u8>> {
        let (mut before, mut equal) = (None, 0);
        for again in 1.. {
            let read = self.store.get(name, max_bytes).map_err(|e| self.store_error(e));
            match &read {
                Ok(bytes) if is_good(bytes) => return read,
                Err(e) if !e.is_damage() => return read,
                _ => {}
            }
            let found = read.as_ref().ok().map(|bytes| *blake3::hash(bytes).as_bytes());
            equal = if equal > 0 && found == before { equal + 1 } else { 1 };
            if equal >= SAME_READS || again >= READS_MAX {
                return read;
            }
            before = found;
        }
        unreachable!("the last reading returns")
    }

    /// Like [`Repo::get_mended`] for objects that are stored twice.
    pub fn get_mirrored<T>(
        &self,
        name: &ObjectName,
        decode: impl Fn(&[u8]) -> FormatResult<T>,
    ) -> RepoResult<T> {
        let max = RECORD_BYTES_MAX as u64;
        self.get_mended(name, max, &decode).or_else(|first| match &first {
            RepoError::Object { source: FormatError::TooNew { .. }, .. } => Err(first),
            _ if planted::is("mirror-unread") => Err(first),
            _ => self.get_mended(&names::mirror(name), max, &decode).map_err(|second| {
                match first.store_kind() {
                    // Damage of the one copy there is says more than the lack of the other.
                    Some(ErrorKind::NotFound) => second,
                    _ => first,
                }
            }),
        })
    }

    /// What these keys allow.
    pub fn capability(&self) -> Capability {
        self.keys.capability()
    }
}

/// Decodes; where that fails by damage, repairs by parity and decodes again.
pub(crate) fn mend_and_decode<T>(
    bytes: &mut [u8],
    decode: impl Fn(&[u8]) -> FormatResult<T>,
) -> FormatResult<T> {
    decode(bytes).or_else(|first| match &first {
        FormatError::TooNew { .. } | FormatError::NotAllowed { .. } => Err(first),
        _ if planted::is("parity-unread") => Err(first),
        _ => match envelope::repair(bytes) {
            Ok(true) => decode(bytes),
            _ => Err(first),
        },
    })
}

pub(crate) fn store_error(store: &dyn Store, source: StoreError) -> RepoError {
    RepoError::Store { location: store.location(), source }
}

pub(crate) struct ConfigBytes {
    pub(crate) bytes: Vec<u8>,
    pub(crate) identity: Identity,
}

/// Whether nothing was ever stored here: a configuration that cannot be read is then the torn beginning of
/// one, which has no second copy yet. With that or anything else beside it, it is a damaged repository, or a
/// whole one whose bytes did not arrive whole; nothing may write over it.
pub(crate) fn holds_nothing(store: &dyn Store) -> RepoResult<bool> {
    let mut copies = 0;
    let config = names::name(names::CONFIG);
    for name in [names::mirror(&config), config] {
        match store.stat(&name) {
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NoSuchPlace) => {}
            other => copies += other.map(|_| 1).map_err(|e| store_error(store, e))?,
        }
    }
    let mut is_empty = copies < 2;
    for folder in [names::SNAPSHOTS, names::PACKS, names::TREES, names::INDEX, "mirror/snapshots/"] {
        let listed = store.list(folder, &mut |_| {
            is_empty = false;
            ControlFlow::Break(())
        });
        match listed {
            Err(e) if !matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NoSuchPlace) => {
                return Err(store_error(store, e));
            }
            _ => {}
        }
    }
    Ok(is_empty)
}

/// Reads both copies of the configuration; at least one is returned. They are not authentic yet.
pub(crate) fn read_config(store: &dyn Store) -> RepoResult<Vec<ConfigBytes>> {
    let name = names::name(names::CONFIG);
    let mut copies = Vec::new();
    let mut problem = None;
    let copies_read = if planted::is("config-mirror-unread") { 1 } else { 2 };
    for name in [name.clone(), names::mirror(&name)].into_iter().take(copies_read) {
        match store.get(&name, RECORD_BYTES_MAX as u64) {
            Ok(mut bytes) => match mend_and_decode(&mut bytes, Identity::decode) {
                Ok(identity) => copies.push(ConfigBytes { bytes, identity }),
                Err(e @ FormatError::TooNew { .. }) => return Err(RepoError::object(&name, e)),
                Err(e) => problem = problem.or(Some(RepoError::object(&name, e))),
            },
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NoSuchPlace) => {}
            Err(e) => problem = problem.or(Some(store_error(store, e))),
        }
    }
    match copies.is_empty() {
        false => Ok(copies),
        true => Err(problem.unwrap_or_else(|| nothing_found(store))),
    }
}

/// Why a place has no configuration: none was ever made, or it is lost. To take one for the other would make a
/// new repository on top of an old one. Who may not list cannot tell.
fn nothing_found(store: &dyn Store) -> RepoError {
    let location = store.location();
    match holds_nothing(store) {
        Ok(false) => RepoError::ConfigurationLost { location },
        _ => RepoError::NoRepository { location },
    }
}
