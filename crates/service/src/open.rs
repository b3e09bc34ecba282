//! Opening a repository by the name of its place: the store with everything around it that the place needs,
//! the way to unlock it, and what this machine remembers of it.
//!
//! Commands, jobs and the daemon come through here, so that retries, limits of speed, caches, the probe's
//! findings and the check against a repository that went back in time are the same for all.

use crate::credentials;
use crate::display::{safe, shell_word};
use crate::environment::Environment;
use crate::failure::{Exit, Failure, Outcome, local};
use crate::folders::Folders;
use crate::person::Person;
use crate::seen_erasures;
use crate::seen_heads;
use crate::seen_places;
use crate::writer_state::WriterState;
use format::erase::Erasure;
use format::id::{PackId, RepoId};
use format::kind::Timestamp;
use format::snapshot::Snapshot;
use repo::cache::Cache;
use repo::heads::{Gone, Heads};
use repo::reader::Reader;
use repo::rebuild::{Rebuilt, Remains};
use repo::seed::Seed;
use repo::single_writer::OnlyWriter;
use repo::snapshots::SnapshotList;
use repo::workers::Workers;
use repo::{Credential, Repo, RepoError};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use storage::{
    CacheOptions, CacheStore, ErrorKind, Location, LookStore, Powers, ReadOnlyStore, RetryOptions, Store,
    StoreError, StoreResult, ThrottleOptions,
};

/// What the probe of a server noted that accepts "only if new" and replaces all the same.
pub const CREATE_NEW_REPLACES: &str = "create_new=replaces";
/// Bytes of tree packs kept on this machine for repositories elsewhere.
const TREE_CACHE_BYTES: u64 = 2 << 30;
const TREE_OBJECT_BYTES_MAX: u64 = 32 << 20;
/// From this waiting time on, a person is told about it.
const LONG_WAIT: Duration = Duration::from_secs(1);
/// How often a person may mistype a password.
const PASSWORD_TRIES: usize = 3;

/// Looks for what unlocks a place; `None` where nothing was named.
pub type Unlock = Arc<dyn Fn() -> Outcome<Option<Credential>> + Send + Sync>;

/// A place, and what is its own: how it is logged in to and unlocked, and how fast it may be used.
#[derive(Clone)]
pub struct Place {
    /// Where it is.
    pub location: Location,
    /// What unlocks it. Where this finds nothing, the key of this machine is tried, then a person is asked.
    pub unlock: Unlock,
    /// Limits of speed.
    pub throttle: ThrottleOptions,
    /// Limits of speed that change while it is open; instead of `throttle` where there are any.
    pub rates: Option<storage::Rates>,
    /// The login of this place, under the names of the environment variables that would hold it; what is not
    /// in here is looked up in the environment.
    pub login: Environment,
    /// A further file of known SSH hosts, which is only read.
    pub known_hosts: Option<PathBuf>,
    /// Connections at the same time, where the place has several.
    pub connections: Option<usize>,
    /// For how long it is tried again when it does not answer; as for all places where this is absent.
    pub retry_for: Option<Duration>,
    /// How archived packs are thawed.
    pub thaw: Option<crate::config::Thaw>,
    /// Whether the key of this machine is tried, too, where what unlocks it is not found: a password that was
    /// stored on a machine is gone with it.
    pub own_key_instead: bool,
}

impl Place {
    /// A place without anything of its own.
    pub fn at(location: Location) -> Self {
        Place {
            location,
            unlock: Arc::new(|| Ok(None)),
            throttle: ThrottleOptions::default(),
            rates: None,
            login: Environment::empty(),
            known_hosts: None,
            connections: None,
            retry_for: None,
            thaw: None,
            own_key_instead: false,
        }
    }

    /// The place in words. Holds no secret.
    pub fn shown(&self) -> String {
        self.location.to_string()
    }
}

/// Opens places for one installation.
#[derive(Clone)]
pub struct Opener {
    /// The environment, for logins.
    pub environment: Environment,
    /// This installation's own folders.
    pub folders: Folders,
    /// Certificates in PEM that are trusted beside the system's.
    pub cacert: Option<PathBuf>,
    /// Whether anything is kept on this machine that saves time.
    pub keeps_cache: bool,
    /// For how long a place is tried again that does not answer.
    pub retry_for: Duration,
    /// Goes on although a repository shows an older state than this machine has seen.
    pub accept_rollback: bool,
    /// Name of the user who runs the program, for logins that name none.
    pub user: String,
    /// Who is told and asked.
    pub person: Arc<dyn Person>,
}

/// A repository that is open.
pub struct Opened {
    /// The repository.
    pub repo: Arc<Repo>,
    /// What it was opened with.
    pub credential: Credential,
    cache: Cache,
}

impl Opened {
    /// Loads the index.
    pub fn reader(&self) -> Outcome<Arc<Reader>> {
        Ok(Arc::new(Reader::open(self.repo.clone(), self.cache.clone())?))
    }

    /// The repository for changing it: nothing else may hold it yet.
    pub fn into_repo(self) -> (Repo, Credential) {
        let repo = Arc::into_inner(self.repo).expect("no reader was made before the repository is changed");
        (repo, self.credential)
    }
}

impl Opener {
    /// Opens a place as a store. `begins` lets a missing folder be made.
    pub fn store(&self, place: &Place, begins: bool) -> Outcome<Arc<dyn Store>> {
        self.store_with(place, begins, false)
    }

    /// What the credential in use can do to a place, by one object below `scratch`.
    pub fn powers(&self, place: &Place, scratch: &str) -> Outcome<Powers> {
        self.reach(place, false, false, |options| storage::powers(&place.location, options, scratch))
    }

    fn store_with(&self, place: &Place, begins: bool, look_first: bool) -> Outcome<Arc<dyn Store>> {
        self.reach(place, begins, look_first, |options| storage::open(&place.location, options))
    }

    /// Goes to a place with everything around it that it needs.
    fn reach<T>(
        &self,
        place: &Place,
        begins: bool,
        look_first: bool,
        go: impl FnOnce(&storage::OpenOptions<'_>) -> StoreResult<T>,
    ) -> Outcome<T> {
        let pem = self.cacert.as_ref().map(std::fs::read).transpose();
        let pem = pem.map_err(|e| local("cannot read the certificates", e))?;
        let lookup = |name: &str| self.variable(place, name);
        let mut options = storage::OpenOptions {
            remote: storage::RemoteOptions {
                lookup: Some(&lookup),
                extra_roots_pem: pem.as_deref(),
                look_before_create: look_first,
                // Everything but file contents is read by every run, so it stays at hand.
                cold_prefix: Some(repo::names::PACKS),
                #[cfg(feature = "remote")]
                logins: Some(&|drive| crate::logins::find(&self.folders, &lookup, drive)),
                ..storage::RemoteOptions::default()
            },
            retry: self.retry(place),
            throttle: place.throttle,
            rates: place.rates.clone(),
            #[cfg(feature = "sftp")]
            sftp: self.sftp(place),
            ..storage::OpenOptions::default()
        };
        if begins {
            options = options.creating_folder();
        }
        go(&options).map_err(|e| cannot_open(place, e))
    }

    fn variable(&self, place: &Place, name: &str) -> Option<String> {
        place.login.variable(name).or_else(|| self.environment.variable(name))
    }

    /// Waits in small steps, so that a signal ends it.
    fn retry(&self, place: &Place) -> RetryOptions {
        let (person, told, budget) =
            (self.person.clone(), AtomicBool::new(false), place.retry_for.unwrap_or(self.retry_for));
        let shown = safe(&place.shown()).to_string();
        let wait = move |time: Duration| {
            if time > LONG_WAIT && !told.swap(true, Ordering::Relaxed) {
                let secs = budget.as_secs();
                person.info(&format!("{shown} does not answer; trying for up to {secs} s"));
            }
            let until = Instant::now() + time;
            while Instant::now() < until {
                if person.cancelled() {
                    return ControlFlow::Break(());
                }
                std::thread::sleep(
                    Duration::from_millis(50).min(until.saturating_duration_since(Instant::now())),
                );
            }
            ControlFlow::Continue(())
        };
        RetryOptions { budget, wait: Arc::new(wait), ..RetryOptions::default() }
    }

    #[cfg(feature = "sftp")]
    fn sftp(&self, place: &Place) -> storage::sftp::SftpOptions {
        use crate::person::UnknownHost;
        use storage::sftp::{HostKeyDecision, HostKeyInfo, Secret, SftpOptions};
        let mut options = SftpOptions::new(self.folders.configuration.join("known_hosts"));
        options.use_home(&self.folders.home);
        options.agent_socket = self.environment.path("SSH_AUTH_SOCK");
        options.password = self.variable(place, "LIFEBOAT_SFTP_PASSWORD").map(Secret::new);
        options.key_passphrase = self.variable(place, "LIFEBOAT_SFTP_KEY_PASSPHRASE").map(Secret::new);
        let path = |name| place.login.path(name).or_else(|| self.environment.path(name));
        if let Some(key) = path("LIFEBOAT_SFTP_KEY_FILE") {
            options.key_files.insert(0, key);
        }
        options.system_known_hosts.extend(place.known_hosts.clone());
        options.connections = place.connections.unwrap_or(options.connections);
        options.default_user = Some(self.user.clone());
        let person = self.person.clone();
        options.on_unknown_host = Arc::new(move |host: &HostKeyInfo| {
            let HostKeyInfo { host, port, key_type, fingerprint } = host;
            match person.trusts(&UnknownHost { host, port: *port, key_type, fingerprint }) {
                true => HostKeyDecision::Remember,
                false => HostKeyDecision::Refuse,
            }
        });
        options
    }

    /// Opens the repository of a place. Where another machine is the only one that may write, everything
    /// that would change something is refused.
    pub fn open(&self, place: &Place) -> Outcome<Opened> {
        let (repo, credential) = self.open_unguarded(place)?.into_repo();
        let cache = self.cache(&repo.identity().repo);
        Ok(Opened { repo: Arc::new(self.guarded(repo)), credential, cache })
    }

    /// Leaves the writing to the machine that the configuration names, and to the place that was copied.
    fn guarded(&self, repo: Repo) -> Repo {
        let only = OnlyWriter::of(repo.parameters())
            .filter(|only| WriterState::known(&self.folders.state) != Some(only.writer));
        match only.map(|only| only.refusal()).or_else(|| self.refusal_of_clone(&repo)) {
            Some(why) => repo.with_store(Arc::new(ReadOnlyStore::new(repo.store().clone(), why))),
            None => repo,
        }
    }

    /// Where this machine writes to a repository that was copied file by file, if that is another place than this.
    fn original_of(&self, repo: &Repo) -> Option<PathBuf> {
        seen_places::original(&self.folders, &repo.location(), &repo.identity().repo)
    }

    /// Why nothing is written to a repository that was copied file by file, while the other one is there.
    fn refusal_of_clone(&self, repo: &Repo) -> Option<String> {
        let original = self.original_of(repo)?.display().to_string();
        let (shown, word) = (safe(&original), shell_word(&original));
        Some(format!(
            "this is {shown} copied file by file, and whatever is written here would make that one look out of date. \
             A copy of its own is made with: lifeboat init -r NEW --copy-of {word} && lifeboat sync --from {word} --to NEW; \
             if {shown} is not used any more, move it away or delete it"
        ))
    }

    /// Opens the repository of a place, whoever may write there: for moving that right.
    pub fn open_unguarded(&self, place: &Place) -> Outcome<Opened> {
        let mut store = self.with_looks(self.store(place, false)?, place);
        match store.look() {
            // Who may not list everything may still open it.
            Err(e) if e.kind() == ErrorKind::Denied => {}
            other => other.map_err(|e| cannot_open(place, e))?,
        }
        let shown = place.shown();
        let given = (place.unlock)().or_else(|failure| {
            // Where there is no repository, a key that is not there yet is no mistake.
            let id = Repo::peek(&*store).map_err(|e| open_failure(&shown, e))?.repo;
            let own =
                place.own_key_instead.then(|| credentials::machine_key(&self.folders, &id)).transpose()?;
            let Some(key) = own.flatten() else { return Err(failure) };
            let why = failure.in_one_line();
            self.person.info(&format!("{}: {why}; the key of this machine opens it", safe(&shown)));
            Ok(Some(key))
        })?;
        let is_remote = !store.capabilities().local;
        let mut known_id = None;
        if given.is_none() || (is_remote && self.keeps_cache) {
            let id = Repo::peek(&*store).map_err(|e| open_failure(&shown, e))?.repo;
            known_id = Some(id);
            if is_remote {
                store = self.with_tree_cache(store, &id);
            }
        }
        let credential = match (given, known_id) {
            (Some(given), _) => Some(given),
            (None, Some(id)) => credentials::machine_key(&self.folders, &id)?,
            (None, None) => None,
        };
        let (repo, credential) = match credential {
            Some(credential) => (open_with(&store, &credential, &shown)?, credential),
            None => self.open_by_asking(&store, &shown)?,
        };
        let repo = self.minding_the_probe(repo, place)?;
        Ok(self.adopt(repo, credential))
    }

    /// What is left of a repository, where both copies of its configuration or of all key slots are lost.
    pub fn remains(&self, place: &Place) -> Outcome<Option<Remains>> {
        Remains::of(self.store(place, false)?).map_err(|e| open_failure(&place.shown(), e))
    }

    /// Makes that configuration anew, or a key slot.
    pub fn rebuild(
        &self,
        place: &Place,
        remains: Remains,
        sibling: Option<&Repo>,
        now: Timestamp,
        mut seed: Seed,
    ) -> Outcome<Rebuilt> {
        let shown = place.shown();
        let mut credential = (place.unlock)()?;
        for id in remains.candidates() {
            if credential.is_none() {
                credential = credentials::machine_key(&self.folders, id)?;
            }
        }
        let credential = match credential {
            Some(credential) => credential,
            None => {
                let password = self.person.password("Password");
                credentials::typed(password.unwrap_or_else(|| Err(credentials::nothing_given(&shown)))?)
            }
        };
        remains.rebuild(&credential, sibling, now, &mut seed).map_err(|e| open_failure(&shown, e))
    }

    /// Asks for the password, a few times.
    fn open_by_asking(&self, store: &Arc<dyn Store>, place: &str) -> Outcome<(Repo, Credential)> {
        let mut tries = 1;
        loop {
            let password = self.person.password("Password");
            let password = password.unwrap_or_else(|| Err(credentials::nothing_given(place)))?;
            let typed = password.clone();
            let credential = credentials::typed(password);
            match open_with(store, &credential, place) {
                Ok(repo) => return Ok((repo, credential)),
                Err(failure) if failure.exit == Exit::WrongPassword && tries < PASSWORD_TRIES => {
                    self.person.message(&credentials::not_it(&typed));
                    tries += 1;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Takes a repository that was just opened or made, with what this machine erased in copies of it.
    pub fn adopt(&self, repo: Repo, credential: Credential) -> Opened {
        let cache = self.cache(&repo.identity().repo);
        let (erasures, problems) = seen_erasures::recall(&self.folders, &repo);
        for problem in problems {
            self.person
                .warn(&format!("what was erased is not all remembered on this machine: {}", safe(&problem)));
        }
        Opened { repo: Arc::new(repo.knowing_erasures(erasures)), credential, cache }
    }

    /// All snapshots, unless the repository shows an older state than this machine has seen. Single ones that were
    /// lost are warned of.
    pub fn snapshots(&self, place: &Place, repo: &Repo) -> Outcome<SnapshotList> {
        Ok(self.snapshots_and_lost(place, repo)?.0)
    }

    /// The same, with the single ones that were lost.
    pub fn snapshots_and_lost(&self, place: &Place, repo: &Repo) -> Outcome<(SnapshotList, Vec<Gone>)> {
        let (list, gone) = self.snapshots_and_gone(repo)?;
        if let Some(newest) = gone.iter().find(|gone| gone.is_newest()) {
            return Err(seen_heads::refusal(&place.shown(), newest));
        }
        for lost in gone.iter().filter(|lost| seen_heads::is_news(&repo.identity().repo, lost)) {
            let shown = safe(&place.shown()).to_string();
            self.person.warn(&format!("{shown}: {}: see lifeboat check", seen_heads::why(lost)));
        }
        Ok((list, gone))
    }

    /// All snapshots, and those that this machine has seen and that are gone without having been forgotten: none of
    /// them once an older state is accepted. What a copy shows, made file by file of a
    /// repository that is there, says nothing about that one: it is neither refused nor remembered.
    pub fn snapshots_and_gone(&self, repo: &Repo) -> Outcome<(SnapshotList, Vec<Gone>)> {
        let list = SnapshotList::read(repo)?;
        let kept = seen_heads::of(&self.folders, &repo.identity().repo);
        let gone = kept.heads.gone_from(repo, &list)?;
        if let Some(original) = self.original_of(repo) {
            if !gone.is_empty() {
                let (here, original) = (repo.location(), original.display().to_string());
                let (here, original) = (safe(&here), safe(&original));
                self.person
                    .warn(&format!("{here} is {original} copied file by file, and older than that is now"));
            }
            return Ok((list, Vec::new()));
        }
        if gone.is_empty() || self.accept_rollback {
            self.keep(kept.update(&Heads::of(&list)));
            return Ok((list, Vec::new()));
        }
        if !gone.iter().any(Gone::is_newest) {
            let mut now = Heads::of(&list);
            gone.iter().for_each(|gone| now.miss(gone));
            self.keep(kept.update(&now));
        }
        Ok((list, gone))
    }

    /// Remembers a snapshot that this machine just made, so that nobody can hide it.
    pub fn remember_head(&self, repo: &Repo, snapshot: &Snapshot) {
        let kept = seen_heads::of(&self.folders, &repo.identity().repo);
        let mut heads = kept.heads.clone();
        heads.see(snapshot);
        self.keep(kept.update(&heads));
        self.remember_place(repo);
    }

    /// Remembers what was erased in a repository, for copies of it that are away.
    pub fn remember_erasure(&self, repo: &Repo, erasure: &Erasure, seed: &mut Seed) {
        self.keep(seen_erasures::remember(&self.folders, repo, erasure, seed));
    }

    /// Remembers that this machine just wrote to a repository there.
    pub fn remember_place(&self, repo: &Repo) {
        self.keep(seen_places::remember(&self.folders, &repo.location(), &repo.identity().repo));
    }

    /// A machine that can keep nothing loses the check, and says so to who wants to know.
    fn keep(&self, kept: std::io::Result<()>) {
        if let Err(e) = kept {
            self.person.detail(&format!("cannot remember what was seen of this repository: {e}"));
        }
    }

    /// A server that was seen to replace what must be new is looked at before each new object.
    fn minding_the_probe(&self, repo: Repo, place: &Place) -> Outcome<Repo> {
        if !repo.parameters().probed.iter().any(|word| word == CREATE_NEW_REPLACES) {
            return Ok(repo);
        }
        let store = self.with_looks(self.store_with(place, false, true)?, place);
        Ok(repo.with_store(self.with_tree_cache(store, &repo.identity().repo)))
    }

    /// The files on this machine that save time with a repository.
    pub fn cache(&self, repo: &RepoId) -> Cache {
        match self.keeps_cache {
            true => Cache::at(self.folders.cache.join(repo::names::cache_folder(repo))),
            false => Cache::none(),
        }
    }

    /// Distant places are listed as a whole, and what is small and the same as before is taken from this machine.
    fn with_looks(&self, store: Arc<dyn Store>, place: &Place) -> Arc<dyn Store> {
        if !self.keeps_cache || store.capabilities().local {
            return store;
        }
        let hash = blake3::hash(place.shown().as_bytes()).to_hex();
        let folder = self.folders.cache.join(format!("place-{}", &hash[..32]));
        let kept = ["config", "keys/", "mirror/", "snapshots/", "gc/", "holds/", "trust/"];
        let prefixes = kept.iter().map(|prefix| prefix.to_string()).collect();
        // A bad transfer must not be believed again and again: what a list of condemned packs says, least of all.
        let verify = |name: &storage::ObjectName, bytes: &[u8]| {
            let has_hash =
                name.as_str().starts_with("gc/condemned-") || name.as_str().starts_with("gc/removed-");
            format::envelope::verify(bytes).is_ok() && (!has_hash || repo::names::is_segment_of(name, bytes))
        };
        Arc::new(LookStore::new(store, folder, prefixes, Arc::new(verify)))
    }

    fn with_tree_cache(&self, store: Arc<dyn Store>, repo: &RepoId) -> Arc<dyn Store> {
        if !self.keeps_cache {
            return store;
        }
        let verify = |name: &storage::ObjectName, bytes: &[u8]| {
            PackId::from_hex(name.file_name()).is_some_and(|id| blake3::hash(bytes).as_bytes() == &id.0)
        };
        let options = CacheOptions {
            folder: self.folders.cache.join(repo::names::cache_folder(repo)).join("objects"),
            prefixes: vec![repo::names::TREES.to_string()],
            bytes_max: TREE_CACHE_BYTES,
            object_bytes_max: TREE_OBJECT_BYTES_MAX,
            verify: Arc::new(verify),
        };
        Arc::new(CacheStore::new(store, options))
    }
}

/// What helps where a server is not the right one, or not known to be it.
fn untrusted_hint(is_sftp: bool, error: &StoreError) -> &'static str {
    let why = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    match (is_sftp, why.contains("is not known")) {
        (false, _) => "a certificate that the system does not know is trusted with --cacert FILE",
        (true, true) => {
            "connect once at a terminal and compare the fingerprint, or add the key to ~/.ssh/known_hosts"
        }
        (true, false) => {
            "ask who runs it. Only if it has a new key on purpose: remove the line that is named, then connect once at a terminal"
        }
    }
}

fn cannot_open(place: &Place, error: StoreError) -> Failure {
    let place = place.shown();
    let is_sftp = place.starts_with("sftp:");
    let hint = match error.kind() {
        ErrorKind::NoSuchPlace => return no_repository(&place),
        ErrorKind::UntrustedServer => Some(untrusted_hint(is_sftp, &error)),
        ErrorKind::Unauthenticated if is_sftp => Some(
            "an SSH agent, LIFEBOAT_SFTP_KEY_FILE (with LIFEBOAT_SFTP_KEY_PASSPHRASE), LIFEBOAT_SFTP_PASSWORD, or `ssh` of the repository in \
             the configuration log in",
        ),
        ErrorKind::UnknownHost => Some(
            "is the name right, and is this the network on which it is known? An address in numbers does without a name",
        ),
        ErrorKind::Transient => {
            Some("--retry-for SECONDS waits longer for a storage that is away for a while")
        }
        _ => None,
    };
    let failure = Failure::from(error).during(format!("cannot open {}", safe(&place)));
    failure.hint_if_none(|| hint.map(str::to_string))
}

fn no_repository(place: &str) -> Failure {
    Failure::new(Exit::NoRepository, format!("cannot open {}: there is no repository there", safe(place)))
        .hint(format!("lifeboat init -r {}", shell_word(place)))
}

fn open_failure(place: &str, error: RepoError) -> Failure {
    match error {
        RepoError::NoRepository { .. } => no_repository(place),
        RepoError::WrongSecret { slots, tried, .. } => {
            let what = match slots {
                0 => format!("cannot open {}: none of its key slots opens with a {tried}", safe(place)),
                _ => format!("cannot open {}: wrong {tried}", safe(place)),
            };
            let hint = match tried {
                "password" => format!("lifeboat -r {} --recovery-key snapshots", shell_word(place)),
                _ => "is it of this repository, and the newest? A kit that was made with --retire ended the keys of older sheets".into(),
            };
            Failure::new(Exit::WrongPassword, what).hint(hint)
        }
        other => Failure::from(other).during(format!("cannot open {}", safe(place))),
    }
}

fn open_with(store: &Arc<dyn Store>, credential: &Credential, place: &str) -> Outcome<Repo> {
    let repo = Repo::open(store.clone(), credential, &repo::OpenOptions::default());
    let repo = repo.map_err(|e| open_failure(place, e))?;
    let place = store.capabilities();
    // A distant place answers many small requests at once as fast as one.
    let fetchers = if place.local { 0 } else { place.parallel_requests.clamp(1, 16) };
    Ok(repo.with_fetchers(Workers(fetchers)))
}
