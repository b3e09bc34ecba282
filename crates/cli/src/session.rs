//! A run of the program: its options, its way to the user, and the repository it opens.
//!
//! Collects what the library crates must not look for themselves: environment, folders, credentials,
//! the name of this machine.

use crate::arguments::Global;
use crate::credentials;
use crate::display::{safe, shell_word};
use crate::error::{Exit, Failure, Outcome, local};
use crate::folders;
use crate::output::Output;
use crate::prompt;
use crate::signals::Cancel;
use crate::sizes;
use format::id::{PackId, RepoId};
use repo::cache::Cache;
use repo::reader::Reader;
use repo::seed::Seed;
use repo::workers::Workers;
use repo::{Credential, OpenOptions, Repo, RepoError};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use storage::{
    CacheOptions, CacheStore, ErrorKind, Location, RetryOptions, Store, StoreError, ThrottleOptions,
};

/// What the probe of a server noted that accepts "only if new" and replaces all the same.
pub(crate) const CREATE_NEW_REPLACES: &str = "create_new=replaces";
/// Bytes of tree packs kept on this machine for repositories elsewhere.
const TREE_CACHE_BYTES: u64 = 2 << 30;
const TREE_OBJECT_BYTES_MAX: u64 = 32 << 20;
/// From this waiting time on, a person is told about it.
const LONG_WAIT: Duration = Duration::from_secs(1);
/// How often a person may mistype a password.
const PASSWORD_TRIES: usize = 3;

/// A run of the program.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) global: Global,
    pub(crate) out: Output,
    pub(crate) cancel: Cancel,
}

/// A repository that is open.
pub(crate) struct Opened {
    pub(crate) repo: Arc<Repo>,
    pub(crate) credential: Credential,
    cache: Cache,
}

impl Opened {
    /// Loads the index.
    pub(crate) fn reader(&self) -> Outcome<Arc<Reader>> {
        Ok(Arc::new(Reader::open(self.repo.clone(), self.cache.clone())?))
    }

    /// The repository for changing it: nothing else holds it yet.
    pub(crate) fn into_repo(self) -> (Repo, Credential) {
        let repo = Arc::into_inner(self.repo).expect("no reader was made before the repository is changed");
        (repo, self.credential)
    }
}

impl Session {
    /// The one place a command works on.
    pub(crate) fn location(&self) -> Outcome<Location> {
        match &self.global.repo[..] {
            [one] => Ok(Location::parse_os(one)?),
            [] => Err(Failure::usage("no repository is named")
                .hint("name it with -r PLACE, or in the variable LIFEBOAT_REPOSITORY")),
            _ => Err(Failure::usage("this command works on one repository; -r is given more than once")),
        }
    }

    /// Opens a place. `begins` lets a missing folder be made.
    pub(crate) fn store(&self, location: &Location, begins: bool) -> Outcome<Arc<dyn Store>> {
        self.store_with(location, begins, false)
    }

    fn store_with(&self, location: &Location, begins: bool, look_first: bool) -> Outcome<Arc<dyn Store>> {
        let pem = self.global.cacert.as_ref().map(std::fs::read).transpose();
        let pem = pem.map_err(|e| local("cannot read the certificates", e))?;
        let lookup = |name: &str| folders::variable(name);
        let mut options = storage::OpenOptions {
            remote: storage::RemoteOptions {
                lookup: Some(&lookup),
                extra_roots_pem: pem.as_deref(),
                look_before_create: look_first,
            },
            retry: self.retry(),
            throttle: self.throttle()?,
            #[cfg(feature = "sftp")]
            sftp: self.sftp(),
            ..storage::OpenOptions::default()
        };
        if begins {
            options = options.creating_folder();
        }
        storage::open(location, &options).map_err(|e| self.cannot_open(location, e))
    }

    fn cannot_open(&self, location: &Location, error: StoreError) -> Failure {
        let place = location.to_string();
        let hint = match error.kind() {
            ErrorKind::NoSuchPlace => return no_repository(&place),
            ErrorKind::UntrustedServer => Some(
                "connect once at a terminal and compare the fingerprint, or add the key to ~/.ssh/known_hosts",
            ),
            ErrorKind::Transient => {
                Some("--retry-for SECONDS waits longer for a storage that is away for a while")
            }
            _ => None,
        };
        let failure = Failure::from(error).during(format!("cannot open {}", safe(&place)));
        failure.hint_if_none(|| hint.map(str::to_string))
    }

    /// Waits in small steps, so that a signal ends it.
    fn retry(&self) -> RetryOptions {
        let (cancel, out, told) = (self.cancel.clone(), self.out.clone(), AtomicBool::new(false));
        let budget = Duration::from_secs(self.global.retry_for.into());
        let wait = move |time: Duration| {
            if time > LONG_WAIT && !told.swap(true, Ordering::Relaxed) {
                out.info(format!("the storage does not answer; trying for up to {} s", budget.as_secs()));
            }
            let until = Instant::now() + time;
            while Instant::now() < until {
                if cancel.is_set() {
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

    fn throttle(&self) -> Outcome<ThrottleOptions> {
        let rate = |text: &Option<String>| match text.as_deref().map(sizes::parse).transpose()? {
            Some(0) => Err(Failure::usage("a limit of 0 bytes per second would never end")),
            other => Ok(other),
        };
        Ok(ThrottleOptions {
            upload_bytes_per_s: rate(&self.global.limit_upload)?,
            download_bytes_per_s: rate(&self.global.limit_download)?,
        })
    }

    #[cfg(feature = "sftp")]
    fn sftp(&self) -> storage::sftp::SftpOptions {
        use storage::sftp::{HostKeyDecision, HostKeyInfo, Secret, SftpOptions};
        let mut options = SftpOptions::new(folders::configuration().join("known_hosts"));
        options.use_home(&folders::home());
        options.agent_socket = folders::path_variable("SSH_AUTH_SOCK");
        options.password = folders::variable("LIFEBOAT_SFTP_PASSWORD").map(Secret::new);
        options.key_passphrase = folders::variable("LIFEBOAT_SFTP_KEY_PASSPHRASE").map(Secret::new);
        if let Some(key) = folders::path_variable("LIFEBOAT_SFTP_KEY_FILE") {
            options.key_files.insert(0, key);
        }
        options.default_user = Some(user_name());
        let out = self.out.clone();
        options.on_unknown_host = Arc::new(move |host: &HostKeyInfo| {
            if !prompt::is_possible() {
                return HostKeyDecision::Refuse;
            }
            let HostKeyInfo { host, port, key_type, fingerprint } = host;
            out.message(format!(
                "The server {} (port {port}) is not known yet.\nIts {} key has the fingerprint {}",
                safe(host),
                safe(key_type),
                safe(fingerprint)
            ));
            match out.bars().suspend(|| prompt::yes("Is that the right one?")) {
                Ok(true) => HostKeyDecision::Remember,
                _ => HostKeyDecision::Refuse,
            }
        });
        options
    }

    /// Opens the repository.
    pub(crate) fn open(&self) -> Outcome<Opened> {
        let location = self.location()?;
        let mut store = self.store(&location, false)?;
        let place = location.to_string();
        let given = credentials::given(&self.global).or_else(|failure| {
            // Where there is no repository, a key that is not there yet is no mistake.
            Repo::peek(&*store).map_err(|e| open_failure(&place, e))?;
            Err(failure)
        })?;
        let is_remote = !store.capabilities().local;
        let mut known_id = None;
        if given.is_none() || (is_remote && !self.global.no_cache) {
            let id = Repo::peek(&*store).map_err(|e| open_failure(&place, e))?.repo;
            known_id = Some(id);
            if is_remote {
                store = self.with_tree_cache(store, &id);
            }
        }
        let credential = match (given, known_id) {
            (Some(given), _) => Some(given),
            (None, Some(id)) => credentials::machine_key(&id)?,
            (None, None) => None,
        };
        let (repo, credential) = match credential {
            Some(credential) => (open_with(&store, &credential, &place)?, credential),
            None => self.open_by_asking(&store, &place)?,
        };
        let repo = self.minding_the_probe(repo, &location)?;
        Ok(self.adopt(repo, credential))
    }

    /// Asks for the password, a few times.
    fn open_by_asking(&self, store: &Arc<dyn Store>, place: &str) -> Outcome<(Repo, Credential)> {
        if !prompt::is_possible() {
            return Err(credentials::nothing_given(place));
        }
        let mut tries = 1;
        loop {
            let credential = credentials::password_of(prompt::secret("Password")?);
            match open_with(store, &credential, place) {
                Ok(repo) => return Ok((repo, credential)),
                Err(failure) if failure.exit == Exit::WrongPassword && tries < PASSWORD_TRIES => {
                    self.out.message("that is not the password");
                    tries += 1;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Takes a repository that was just made.
    pub(crate) fn adopt(&self, repo: Repo, credential: Credential) -> Opened {
        let cache = self.cache(&repo.identity().repo);
        Opened { repo: Arc::new(repo), credential, cache }
    }

    /// A server that was seen to replace what must be new is looked at before each new object.
    fn minding_the_probe(&self, repo: Repo, location: &Location) -> Outcome<Repo> {
        if !repo.parameters().probed.iter().any(|word| word == CREATE_NEW_REPLACES) {
            return Ok(repo);
        }
        let store = self.store_with(location, false, true)?;
        Ok(repo.with_store(self.with_tree_cache(store, &repo.identity().repo)))
    }

    /// The files on this machine that save time with a repository.
    pub(crate) fn cache(&self, repo: &RepoId) -> Cache {
        if self.global.no_cache {
            return Cache::none();
        }
        Cache::at(self.cache_folder().join(repo::names::cache_folder(repo)))
    }

    fn cache_folder(&self) -> std::path::PathBuf {
        self.global.cache_dir.clone().unwrap_or_else(folders::cache)
    }

    fn with_tree_cache(&self, store: Arc<dyn Store>, repo: &RepoId) -> Arc<dyn Store> {
        if self.global.no_cache {
            return store;
        }
        let verify = |name: &storage::ObjectName, bytes: &[u8]| {
            PackId::from_hex(name.file_name()).is_some_and(|id| blake3::hash(bytes).as_bytes() == &id.0)
        };
        let options = CacheOptions {
            folder: self.cache_folder().join(repo::names::cache_folder(repo)).join("objects"),
            prefixes: vec![repo::names::TREES.to_string()],
            bytes_max: TREE_CACHE_BYTES,
            object_bytes_max: TREE_OBJECT_BYTES_MAX,
            verify: Arc::new(verify),
        };
        Arc::new(CacheStore::new(store, options))
    }
}

/// Randomness from the system.
pub(crate) fn seed() -> Outcome<Seed> {
    Ok(Seed::new(credentials::random()?))
}

/// Threads for work that keeps processors busy.
pub(crate) fn processors() -> Workers {
    Workers(std::thread::available_parallelism().map_or(2, |n| n.get()))
}

/// The name of this machine.
pub(crate) fn host_name() -> String {
    String::from_utf8_lossy(rustix::system::uname().nodename().to_bytes()).into_owned()
}

/// The name of the user who runs the program.
pub(crate) fn user_name() -> String {
    let names = ["USER", "LOGNAME"].iter().find_map(|name| folders::variable(name));
    names.unwrap_or_else(|| match rustix::process::getuid() {
        uid if uid.is_root() => "root".to_string(),
        uid => uid.as_raw().to_string(),
    })
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
            let hint = format!("lifeboat -r {} --recovery-key snapshots", shell_word(place));
            Failure::new(Exit::WrongPassword, what).hint(hint)
        }
        other => Failure::from(other).during(format!("cannot open {}", safe(place))),
    }
}

fn open_with(store: &Arc<dyn Store>, credential: &Credential, place: &str) -> Outcome<Repo> {
    let repo = Repo::open(store.clone(), credential, &OpenOptions::default());
    let repo = repo.map_err(|e| open_failure(place, e))?;
    let place = store.capabilities();
    // A distant place answers many small requests at once as fast as one.
    let fetchers = if place.local { 0 } else { place.parallel_requests.clamp(1, 16) };
    Ok(repo.with_fetchers(Workers(fetchers)))
}
