//! A run of the program: its options, its way to the user, and the repository it opens.
//!
//! Collects what the library crates must not look for themselves: environment, folders, credentials,
//! the name of this machine. How a place is opened is told in `service::open`.

use crate::arguments::Global;
use crate::credentials;
use crate::error::{Exit, Failure, Outcome};
use crate::folders;
use crate::output::Output;
use crate::prompt;
use crate::signals::Cancel;
use crate::sizes;
use format::id::RepoId;
use format::snapshot::Snapshot;
use repo::cache::Cache;
use repo::seed::Seed;
use repo::snapshots::SnapshotList;
use repo::workers::Workers;
use repo::{Credential, Repo};
use service::config::{Config, Loaded, Repository};
pub(crate) use service::open::Opened;
use service::open::{Opener, Place, Unlock};
use service::person::{Person, UnknownHost};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use storage::{Location, Store, ThrottleOptions};
use zeroize::Zeroizing;

/// A run of the program.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) global: Global,
    pub(crate) out: Output,
    pub(crate) cancel: Cancel,
    pub(crate) loaded: Arc<OnceLock<Option<Arc<Loaded>>>>,
}

/// Whether a word may be the name of a repository in the configuration.
fn may_be_name(word: &str) -> bool {
    !word.contains(['/', ':']) && !word.starts_with('.')
}

/// How the other repository of a command is unlocked.
#[derive(clap::Args, Clone, Default)]
pub(crate) struct OtherSecrets {
    /// Password of the other repository, in the first line of this file [default: as for -r]
    #[arg(hide_short_help = true, long, value_name = "FILE")]
    from_password_file: Option<PathBuf>,
    /// Password of the other repository, from this command's output
    #[arg(hide_short_help = true, long, value_name = "COMMAND", conflicts_with = "from_password_file")]
    from_password_command: Option<String>,
    /// Key of the other repository, in this file
    #[arg(hide_short_help = true, long, value_name = "FILE", conflicts_with_all = ["from_password_file", "from_password_command"])]
    from_key_file: Option<PathBuf>,
}

impl OtherSecrets {
    fn is_empty(&self) -> bool {
        self.from_password_file.is_none()
            && self.from_password_command.is_none()
            && self.from_key_file.is_none()
    }
}

impl Session {
    /// The one place a command works on.
    pub(crate) fn location(&self) -> Outcome<Location> {
        Ok(self.place()?.location)
    }

    /// Every place that is named, else every one of the configuration; with its name there, if it has one.
    pub(crate) fn all_places(&self) -> Outcome<Vec<(Option<String>, Place)>> {
        let loaded = self.loaded()?;
        let names: Vec<OsString> = match &self.global.repo[..] {
            [] => loaded.iter().flat_map(|l| l.config.repositories.keys()).map(OsString::from).collect(),
            named => named.to_vec(),
        };
        if names.is_empty() {
            return self.place().map(|place| vec![(None, place)]);
        }
        let is_known =
            |name: &&str| loaded.as_ref().is_some_and(|l| l.config.repositories.contains_key(*name));
        let known = |word: &OsStr| word.to_str().filter(is_known).map(str::to_string);
        names.iter().map(|word| Ok((known(word), self.place_named(word)?))).collect()
    }

    /// The one place a command works on, with how it is unlocked and how fast it may be used.
    pub(crate) fn place(&self) -> Outcome<Place> {
        match &self.global.repo[..] {
            [one] => self.place_named(one),
            [] => self.only_place(),
            _ => Err(Failure::usage("this command works on one repository; -r is given more than once")),
        }
    }

    /// The repository of the configuration, where it has just one.
    fn only_place(&self) -> Outcome<Place> {
        let names: Vec<String> = match self.loaded()? {
            Some(loaded) => loaded.config.repositories.keys().cloned().collect(),
            None => Vec::new(),
        };
        match &names[..] {
            [one] => self.place_named(OsStr::new(one)),
            [] => Err(Failure::usage("no repository is named")
                .hint("name it with -r PLACE, or in the variable LIFEBOAT_REPOSITORY")),
            _ => Err(Failure::usage("no repository is named")
                .hint(format!("name one of the configuration with -r: {}", names.join(", ")))),
        }
    }

    /// A place by its name in the configuration, or by its address. A folder that is called like a repository
    /// of the configuration is written `./NAME`.
    pub(crate) fn place_named(&self, word: &OsStr) -> Outcome<Place> {
        if let Some(name) = word.to_str().filter(|word| may_be_name(word))
            && let Some(loaded) = self.loaded()?
            && let Some(repository) = loaded.config.repositories.get(name)
        {
            let folders = folders::folders();
            let mut place =
                service::config::place::place(name, repository, &folders::environment(), &folders)?;
            let [first, last] = self.unlocks();
            place.unlock = service::config::place::first_of(vec![first, place.unlock, last]);
            // Who names a password means that one.
            place.own_key_instead &= !credentials::are_named(&self.global);
            let limits = self.throttle()?;
            place.throttle = ThrottleOptions {
                upload_bytes_per_s: limits.upload_bytes_per_s.or(place.throttle.upload_bytes_per_s),
                download_bytes_per_s: limits.download_bytes_per_s.or(place.throttle.download_bytes_per_s),
                requests_per_s: limits.requests_per_s.or(place.throttle.requests_per_s),
            };
            return Ok(place);
        }
        self.place_at(Location::parse_os(word)?)
    }

    /// What unlocks before the configuration is asked, and what where it names nothing.
    pub(crate) fn unlocks(&self) -> [Unlock; 2] {
        let global = self.global.clone();
        [Arc::new(move || credentials::from_options(&global)), Arc::new(credentials::from_environment)]
    }

    /// What the configuration says about the repository that `-r` names.
    pub(crate) fn described(&self) -> Outcome<Option<Repository>> {
        let name = match &self.global.repo[..] {
            [one] => one.to_str().filter(|word| may_be_name(word)).map(str::to_string),
            _ => None,
        };
        let (Some(name), Some(loaded)) = (name, self.loaded()?) else { return Ok(None) };
        Ok(loaded.config.repositories.get(&name).cloned())
    }

    /// Where the configuration is, if there is one.
    pub(crate) fn configuration_path(&self) -> Option<PathBuf> {
        service::config::find(self.global.config.as_deref(), &folders::environment(), &folders::folders())
    }

    /// The configuration, if there is one.
    pub(crate) fn loaded(&self) -> Outcome<Option<Arc<Loaded>>> {
        if let Some(loaded) = self.loaded.get() {
            return Ok(loaded.clone());
        }
        let loaded = match self.configuration_path() {
            Some(path) => Some(Arc::new(service::config::load(&path, &folders::folders())??)),
            None => None,
        };
        Ok(self.loaded.get_or_init(|| loaded).clone())
    }

    /// The configuration, which must be there.
    pub(crate) fn configuration(&self) -> Outcome<Arc<Loaded>> {
        self.loaded()?.ok_or_else(|| {
            let folders = folders::folders();
            let places: Vec<String> = service::config::load::candidates(&folders)
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            Failure::usage(format!("there is no configuration: neither {}", places.join(" nor ")))
                .hint("make one with: lifeboat setup; or name it with -c FILE")
        })
    }

    /// A place, unlocked as the options and the environment say.
    pub(crate) fn place_at(&self, location: Location) -> Outcome<Place> {
        let global = self.global.clone();
        Ok(Place {
            throttle: self.throttle()?,
            unlock: Arc::new(move || credentials::given(&global)),
            ..Place::at(location)
        })
    }

    /// The name of this machine: as the configuration gives it, else the system's.
    pub(crate) fn machine(&self) -> Outcome<String> {
        Ok(self.loaded()?.map_or_else(host_name, |loaded| machine_of(&loaded.config)))
    }

    /// Whether snapshots of this host were made here: those of jobs bear the configured name, others the system's.
    pub(crate) fn is_this_machine(&self, host: &str) -> Outcome<bool> {
        Ok(host == host_name() || host == self.machine()?)
    }

    /// What opens places for this run.
    pub(crate) fn opener(&self) -> Opener {
        let mut folders = folders::folders();
        if let Some(cache) = &self.global.cache_dir {
            folders.cache.clone_from(cache);
        }
        Opener {
            environment: folders::environment(),
            folders,
            cacert: self.global.cacert.clone(),
            keeps_cache: !self.global.no_cache,
            retry_for: Duration::from_secs(self.global.retry_for.into()),
            accept_rollback: self.global.accept_rollback,
            user: user_name(),
            person: Arc::new(Terminal { out: self.out.clone(), cancel: self.cancel.clone() }),
        }
    }

    /// Opens a place. `begins` lets a missing folder be made.
    pub(crate) fn store(&self, location: &Location, begins: bool) -> Outcome<Arc<dyn Store>> {
        let place = match self.place() {
            Ok(place) if place.location == *location => place,
            _ => self.place_at(location.clone())?,
        };
        self.opener().store(&place, begins)
    }

    fn throttle(&self) -> Outcome<ThrottleOptions> {
        let rate = |text: &Option<String>| match text.as_deref().map(sizes::parse).transpose()? {
            Some(0) => Err(Failure::usage("a limit of 0 bytes per second would never end")),
            other => Ok(other),
        };
        Ok(ThrottleOptions {
            upload_bytes_per_s: rate(&self.global.limit_upload)?,
            download_bytes_per_s: rate(&self.global.limit_download)?,
            requests_per_s: self.global.limit_requests.map(u64::from),
        })
    }

    /// Opens the repository.
    pub(crate) fn open(&self) -> Outcome<Opened> {
        self.opener().open(&self.place()?)
    }

    /// Opens another repository than the one that `-r` names: by a password or key of its own, else by the same.
    pub(crate) fn open_other(&self, place: &OsStr, secrets: &OtherSecrets) -> Outcome<Opened> {
        self.opener().open(&self.other_place(place, secrets)?).map_err(|failure| match failure.exit {
            // A new repository would be of no help.
            Exit::NoRepository => failure.without_hint(),
            _ => failure,
        })
    }

    /// Where that is, and how it is unlocked.
    pub(crate) fn other_place(&self, place: &OsStr, secrets: &OtherSecrets) -> Outcome<Place> {
        let mut other = self.clone();
        if !secrets.is_empty() {
            other.global.password_file.clone_from(&secrets.from_password_file);
            other.global.password_command.clone_from(&secrets.from_password_command);
            other.global.key_file.clone_from(&secrets.from_key_file);
            other.global.recovery_key = None;
        }
        other.place_named(place)
    }

    /// Takes a repository that was just made.
    pub(crate) fn adopt(&self, repo: Repo, credential: Credential) -> Opened {
        self.opener().adopt(repo, credential)
    }

    /// All snapshots, unless the repository shows an older state than this machine has seen.
    pub(crate) fn snapshots(&self, repo: &Repo) -> Outcome<SnapshotList> {
        self.opener().snapshots(&self.place()?, repo)
    }

    /// Remembers a snapshot that this machine just made, so that nobody can hide it.
    pub(crate) fn remember_head(&self, repo: &Repo, snapshot: &Snapshot) {
        self.opener().remember_head(repo, snapshot);
    }

    /// The files on this machine that save time with a repository.
    pub(crate) fn cache(&self, repo: &RepoId) -> Cache {
        self.opener().cache(repo)
    }
}

/// The person at this terminal, if there is one.
struct Terminal {
    out: Output,
    cancel: Cancel,
}

impl Person for Terminal {
    fn message(&self, text: &str) {
        self.out.message(text);
    }

    fn info(&self, text: &str) {
        self.out.info(text);
    }

    fn warn(&self, text: &str) {
        self.out.warn(text);
    }

    fn detail(&self, text: &str) {
        self.out.detail(text);
    }

    fn password(&self, question: &str) -> Option<Outcome<Zeroizing<String>>> {
        prompt::is_possible().then(|| prompt::secret(question))
    }

    fn trusts(&self, unknown: &UnknownHost<'_>) -> bool {
        use crate::display::safe;
        if !prompt::is_possible() {
            return false;
        }
        let UnknownHost { host, port, key_type, fingerprint } = unknown;
        self.out.message(format!(
            "The server {} (port {port}) is not known yet.\nIts {} key has the fingerprint {}",
            safe(host),
            safe(key_type),
            safe(fingerprint)
        ));
        self.out.bars().suspend(|| prompt::yes("Is that the right one?")).unwrap_or(false)
    }

    fn cancelled(&self) -> bool {
        self.cancel.is_set()
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

/// The name of this machine in the snapshots of its jobs.
pub(crate) fn machine_of(config: &Config) -> String {
    config.machine.name.clone().unwrap_or_else(host_name)
}

/// The name of this machine as the system has it.
pub(crate) fn host_name() -> String {
    String::from_utf8_lossy(rustix::system::uname().nodename().to_bytes()).into_owned()
}

/// The name of the user who runs the program.
pub(crate) fn user_name() -> String {
    service::audit::user(&folders::environment())
}
