//! `lifeboat init`: makes a repository with two ways to unlock it, one for every day and one to recover.
//!
//! The recovery key is shown once, at a terminal, or written to a file only its owner may read; it never
//! goes to a log or to JSON. Key files are durable before the repository exists, so none is born locked.

use crate::credentials::{self, write_key_file, write_recovery_file};
use crate::display::{safe, shell_word};
use crate::error::{Exit, Failure, Outcome, local};
use crate::session::{OtherSecrets, Session, seed};
use crate::{folders, prompt, sizes, time};
use clap::Args as ClapArgs;
use format::config::Parameters;
use format::id::{RepoId, hex};
use format::keys::{Capability, Key, Keys};
use format::slot::ArgonCost;
use format::textkey;
use repo::{Credential, NewRepo, NewSlot, Repo, reserve};
use serde_json::json;
use service::seen_places;
use std::ffi::OsString;
use std::io::{IsTerminal, stderr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::{Location, Store};

/// Make a new repository
#[derive(ClapArgs)]
#[command(after_help = "\
Without a password, a key file and a terminal to ask at, a key file for this machine is made in
~/.config/lifeboat/keys and found by itself from then on.

Examples:
  lifeboat init -r /mnt/disk/backup
  lifeboat init -r sftp://me@nas/backup --password-file ~/.backup-password
  lifeboat init -r s3://bucket/machine --key-file ~/machine.key
  lifeboat init -r /mnt/usb/backup --parity 6%      a single disk: mend bad sectors
  lifeboat init -r /mnt/usb/backup --copy-of /mnt/disk/backup
                                                    a second place for the same snapshots: same keys, so that
                                                    what is sent is the same bytes; the password may be another")]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) new: NewOptions,

    /// Share the keys of this repository, so that each is a copy of the other
    #[arg(long, value_name = "PLACE")]
    copy_of: Option<OsString>,
    #[command(flatten)]
    other: OtherSecrets,
}

/// What a copy shares with the repository it is a copy of.
pub(crate) struct Family {
    keys: Arc<Keys>,
    parameters: Parameters,
    /// A recovery key that this run wrote into the file that was asked for: one sheet is for all its copies.
    recovery_key: Option<Key>,
}

impl Family {
    /// Members of a family must cut alike; everything else is each one's own.
    pub(crate) fn of(repo: &Repo) -> Outcome<Self> {
        if repo.capability() != Capability::Owner {
            return Err(Failure::new(Exit::Refused, "this key may not make copies: it is not an owner's"));
        }
        let slots = Vec::new();
        let fresh = Parameters { slots, generation: 1, ..repo.parameters().clone() };
        let parameters = Parameters { minimum_ages: Vec::new(), ..fresh };
        Ok(Family { keys: repo.keys().clone(), parameters, recovery_key: None })
    }

    /// Whose new member is recovered with this key, too.
    pub(crate) fn with_recovery_key(self, key: Option<Key>) -> Self {
        Family { recovery_key: key, ..self }
    }
}

/// How a new repository is made.
#[derive(ClapArgs, Default)]
pub(crate) struct NewOptions {
    /// Write the recovery key of a new repository to this new file instead of showing it
    #[arg(long, value_name = "FILE")]
    pub(crate) recovery_key_file: Option<PathBuf>,

    /// Make a new repository also where this machine knows another one that is not there any more
    #[arg(long)]
    pub(crate) anew: bool,

    /// Memory that trying one password costs, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u32).range(64..=1024))]
    pub(crate) argon_memory: u32,

    /// Let packs of a new repository survive damage of this share of their length [default: off]
    #[arg(long, value_name = "SHARE", value_parser = sizes::parse_parity)]
    pub(crate) parity: Option<u8>,
}

/// A repository that was just made, and what its owner must be told.
pub(crate) struct Created {
    pub(crate) repo: Repo,
    pub(crate) credential: Credential,
    pub(crate) keys: NewKeys,
}

/// Where the keys of a new repository are.
pub(crate) struct NewKeys {
    recovery: Recovery,
    key_file: Option<PathBuf>,
}

enum Recovery {
    Show(Key),
    Written(PathBuf),
}

/// The everyday way in, and the key file that was made for it.
struct Primary {
    credential: Credential,
    file: Option<KeyFile>,
}

enum KeyFile {
    /// Where the user wants it.
    Named(PathBuf),
    /// This machine's own; gets its name from the repository.
    Machine(PathBuf),
}

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    let location = session.location()?;
    let family = match &args.copy_of {
        Some(place) => Some(Family::of(&session.open_other(place, &args.other)?.repo)?),
        None => None,
    };
    let created = create(session, &location, &args.new, family)?;
    let id = created.repo.identity().repo.hex();
    if session.out.json {
        session.out.object(&json!({
            "message_type": "initialized", "id": id, "repository": location.to_string(),
            "family": created.repo.identity().family.hex(),
            "key_file": created.keys.key_file, "recovery_key_file": created.keys.recovery_file(),
        }))?;
    } else if !session.out.quiet {
        session.out.line(format!("created repository {} at {}", &id[..8], safe(&location.to_string())))?;
    }
    created.keys.tell(session);
    let place = shell_word(&location.to_string()).to_string();
    match &args.copy_of {
        Some(other) => session.out.info(format!(
            "bring over what is there with: lifeboat sync --from {} --to {place}",
            shell_word(&other.to_string_lossy())
        )),
        None => session.out.info(format!("back up with: lifeboat backup -r {place} ~")),
    }
    Ok(Exit::Ok)
}

impl NewKeys {
    fn recovery_file(&self) -> Option<&Path> {
        match &self.recovery {
            Recovery::Written(path) => Some(path),
            Recovery::Show(_) => None,
        }
    }

    /// Tells where the keys are. The recovery key itself goes to the terminal alone.
    pub(crate) fn tell(&self, session: &Session) {
        if let Some(path) = &self.key_file {
            session.out.info(format!("the key of this machine is {}", safe(&path.display().to_string())));
        }
        match &self.recovery {
            Recovery::Written(path) => session.out.info(format!(
                "the recovery key is in {}: print it, keep it elsewhere, delete the file",
                safe(&path.display().to_string())
            )),
            Recovery::Show(key) => show_recovery_key(session, key),
        }
    }
}

fn show_recovery_key(session: &Session, key: &Key) {
    let text = textkey::encode(key);
    let (first, second) = text.split_at(text.len() / 2);
    session.out.message(format!(
        "\nRecovery key, shown only now. Write it down and keep it away from this machine:\n\n    {}\n    {}\n",
        first.trim_matches('-'),
        second.trim_matches('-')
    ));
}

/// Makes a repository.
pub(crate) fn create(
    session: &Session,
    location: &Location,
    options: &NewOptions,
    family: Option<Family>,
) -> Outcome<Created> {
    let place = location.to_string();
    let store = session.store(location, true)?;
    refuse_existing(&*store, &place)?;
    refuse_lost(session, &store.location(), options)?;
    let described = session.described()?;
    let parity = options.parity.or(described.as_ref().and_then(|d| d.parity).map(|parity| parity.0));
    let parity = parity.unwrap_or(0);
    let parameters = Parameters {
        probed: probe(session, &store)?,
        data_parity_percent: parity,
        ..family.as_ref().map(|family| family.parameters.clone()).unwrap_or_default()
    };
    let fresh = hex(&credentials::random::<8>()?);
    let primary = primary(session, &fresh, family.is_some())?;
    let shared = family.as_ref().and_then(|family| family.recovery_key.clone());
    let is_shared = shared.is_some();
    let recovery_key = shared.map_or_else(credentials::random_key, Ok)?;
    let recovery_file = match is_shared {
        true => options.recovery_key_file.clone(),
        false => recovery_file(session, options, &recovery_key, &fresh, &place)?,
    };
    let is_shared_family = family.is_some();
    let keys = family.map(|family| family.keys);
    let made = make(store, parameters, keys, &primary, &recovery_key, options);
    let mut written: Vec<&PathBuf> = recovery_file.iter().filter(|_| !is_shared).collect();
    if let Some(KeyFile::Named(path) | KeyFile::Machine(path)) = &primary.file {
        written.push(path);
    }
    let repo = made.inspect_err(|_| {
        // Keys of a repository that was not made open nothing.
        written.iter().for_each(|path| _ = std::fs::remove_file(path));
    })?;
    make_reserve(session, &repo);
    let id = repo.identity().repo;
    let key_file = primary.file.map(|file| file.settle(&id)).transpose()?;
    let recovery = match recovery_file {
        None => Recovery::Show(recovery_key),
        Some(path) if options.recovery_key_file.is_some() => Recovery::Written(path),
        Some(path) => {
            Recovery::Written(rename(&path, &path.with_file_name(format!("{}.recovery", id.hex())))?)
        }
    };
    let body = json!({"family": repo.identity().family.hex(), "is_copy": is_shared_family});
    crate::audit::record(session, &repo, "init", &body);
    session.opener().remember_place(&repo);
    Ok(Created { repo, credential: primary.credential, keys: NewKeys { recovery, key_file } })
}

/// A repository without the reserve is a good one: only freeing a full place becomes harder.
fn make_reserve(session: &Session, repo: &Repo) {
    let refilled = seed().and_then(|mut seed| Ok(reserve::refill(repo, 0, &mut seed)?));
    match refilled {
        Ok(true) => {}
        Ok(false) => session.out.warn("there is no room for the reserve that lets a full place be freed"),
        Err(e) => session
            .out
            .warn(format!("cannot make the reserve that lets a full place be freed: {}", e.message())),
    }
}

fn refuse_existing(store: &dyn Store, place: &str) -> Outcome<()> {
    match Repo::peek(store) {
        Err(repo::RepoError::NoRepository { .. }) => Ok(()),
        Err(e) => Err(Failure::from(e).during(format!("cannot make a repository at {}", safe(place)))),
        Ok(_) => Err(Failure::new(
            Exit::Failed,
            format!("cannot make a repository at {}: there is one already", safe(place)),
        )
        .hint(format!("lifeboat snapshots -r {}", shell_word(place)))),
    }
}

/// A drive that is not mounted looks like an empty place.
fn refuse_lost(session: &Session, place: &str, options: &NewOptions) -> Outcome<()> {
    let known = seen_places::known(&session.opener().folders, place);
    let Some(known) = known.filter(|_| !options.anew) else { return Ok(()) };
    let what = format!(
        "cannot make a repository at {}: this machine knows one there ({}), and it is not there now",
        safe(place),
        &known.hex()[..8]
    );
    Err(Failure::new(Exit::Refused, what).hint(
        "is its drive mounted, is the server the right one? If it was removed on purpose, add --anew: all that was in it is gone",
    ))
}

/// Two slots from the start.
fn make(
    store: Arc<dyn Store>,
    parameters: Parameters,
    family: Option<Arc<Keys>>,
    primary: &Primary,
    recovery: &Key,
    options: &NewOptions,
) -> Outcome<Repo> {
    let slot = |credential: Credential, is_recovery: bool, label: String| NewSlot {
        credential,
        is_recovery,
        capability: Capability::Owner,
        cost: cost(options.argon_memory),
        label,
    };
    let slots = vec![
        slot(primary.credential.clone(), false, crate::session::host_name()),
        slot(Credential::Random(recovery.clone()), true, "recovery".into()),
    ];
    let new = NewRepo { parameters, slots, family, created: time::now(), seed: seed()? };
    Repo::create(store, new).map_err(Failure::from)
}

/// The cost of trying a password, with this much memory.
pub(crate) fn cost(memory_mib: u32) -> ArgonCost {
    ArgonCost { memory_kib: memory_mib << 10, ..ArgonCost::default() }
}

/// What the place was seen to keep, as words for the configuration. Where new objects are shown late, this
/// machine becomes the only one that may write.
pub(crate) fn probe(session: &Session, store: &Arc<dyn Store>) -> Outcome<Vec<String>> {
    let scratch = format!("maint/probe-{}", hex(&credentials::random::<8>()?));
    let seen = storage::probe(&**store, &scratch)?;
    let mut words = seen.words();
    if !seen.suits_many_writers() {
        session.out.warn("this place shows new objects late: only this machine may write to it");
        words.push(super::repo::this_machine()?.word());
    }
    if !seen.can_delete {
        session.out.info("this place deletes nothing: what is forgotten stays stored");
    }
    Ok(words)
}

/// From options and environment; else asked for; else a key file for this machine.
fn primary(session: &Session, fresh: &str, is_copy: bool) -> Outcome<Primary> {
    let named = credentials::key_file_to_make(&session.global)
        .map_or_else(|| key_file_described(session), |path| Ok(Some(path)))?;
    if let Some(path) = named {
        let key = credentials::random_key()?;
        write_key_file(&path, &key)?;
        return Ok(Primary { credential: Credential::Random(key), file: Some(KeyFile::Named(path)) });
    }
    if session.global.recovery_key.is_some() {
        return Err(Failure::usage("a new repository gets a recovery key of its own")
            .hint("name a file to write it to with --recovery-key-file FILE"));
    }
    let place = session.place()?;
    match (place.unlock)() {
        Ok(Some(credential)) => return Ok(Primary { credential, file: None }),
        Ok(None) => {}
        // A machine that came back has not got all its passwords again.
        Err(failure) if place.own_key_instead && is_copy => session.out.warn(format!(
            "{}; it opens with the key of this machine, and with its password once that is back: lifeboat key add -r {}",
            failure.in_one_line(),
            shell_word(&place.shown())
        )),
        Err(failure) => return Err(failure),
    }
    // One of the configuration that names nothing else is opened by this machine's own key, as its jobs do it.
    if session.described()?.is_none() && prompt::is_possible() {
        let password = prompt::new_password()?;
        return Ok(Primary { credential: credentials::password_of(password), file: None });
    }
    let key = credentials::random_key()?;
    let path = keys_folder().join(format!("new-{fresh}.key"));
    write_key_file(&path, &key)?;
    Ok(Primary { credential: Credential::Random(key), file: Some(KeyFile::Machine(path)) })
}

/// The key file that the configuration names for this repository, where it is missing and no option says
/// otherwise.
fn key_file_described(session: &Session) -> Outcome<Option<PathBuf>> {
    let Some(path) = session.described()?.and_then(|described| described.key_file) else { return Ok(None) };
    let path = service::config::load::full_path(&folders::folders().home, &path.to_string_lossy());
    let given = credentials::from_options(&session.global)?.is_some();
    Ok((!given && !path.exists()).then_some(path))
}

impl KeyFile {
    /// Gives the machine's key file its name.
    fn settle(self, repo: &RepoId) -> Outcome<PathBuf> {
        match self {
            KeyFile::Named(path) => Ok(path),
            KeyFile::Machine(path) => {
                rename(&path, &credentials::machine_key_path(&folders::folders(), repo))
            }
        }
    }
}

fn keys_folder() -> PathBuf {
    folders::folders().configuration.join("keys")
}

fn rename(from: &Path, to: &Path) -> Outcome<PathBuf> {
    std::fs::rename(from, to).map_err(|e| local(format!("cannot rename {}", from.display()), e))?;
    Ok(to.to_path_buf())
}

/// The file with the recovery key: where the user wants it, or beside the keys when nobody could see it.
fn recovery_file(
    session: &Session,
    options: &NewOptions,
    key: &Key,
    fresh: &str,
    place: &str,
) -> Outcome<Option<PathBuf>> {
    let path = match &options.recovery_key_file {
        Some(path) => path.clone(),
        None if stderr().is_terminal() && !session.out.json => return Ok(None),
        None => keys_folder().join(format!("new-{fresh}.recovery")),
    };
    write_recovery_file(&path, key, &safe(place))?;
    Ok(Some(path))
}
