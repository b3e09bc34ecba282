//! `lifeboat setup`: the first configuration of a machine, the first backup, and the first files brought back.
//!
//! At a terminal it asks; everything it proposes can be taken with Enter. Without one, or with `--yes`, options
//! say all, and what they do not say is as proposed.

use super::init::{self, Family, NewOptions};
use crate::display::{safe, shell_word};
use crate::error::{Exit, Failure, Outcome, local};
use crate::session::Session;
use crate::{folders, prompt};
use rustix::process::geteuid;
use serde_json::json;
use service::config::Broken;
use service::config::load::{FILE_NAME, understand};
use service::config::problem::SourceFile;
use service::setup::discover::{self, FoundDatabase};
use service::setup::{Answers, NewPlace, NewSource, What, compose, leftovers, name_of};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use wishes::Wishes;

mod ask;
mod proof;
mod tell;
mod wishes;

/// Set up this machine: ask, back up once, and prove it
#[derive(clap::Args)]
#[command(after_help = "\
At a terminal it asks; without one, or with --yes, options say all.

Examples:
  lifeboat setup
  lifeboat setup --yes --to /mnt/disk/backup                          the home folder, daily
  lifeboat setup --yes --source /srv/photos --loss day --to /mnt/disk/backup --to sftp://me@nas/backup
  lifeboat setup --yes --database found --system --loss postgres=day --schedule postgres='every 6h' --to /mnt/disk/backup
  lifeboat setup --yes --to /mnt/disk/backup -n                       print the configuration, make nothing")]
pub(crate) struct Args {
    /// Protect these files and folders [default: the home folders]
    #[arg(long, value_name = "PATH")]
    source: Vec<PathBuf>,
    /// Protect the databases of this server, too: its address, or "found" for all that run here
    #[arg(long, value_name = "URL")]
    database: Vec<String>,
    /// Protect what this machine needs to be built again, too: /etc, packages, users, services, the layout of its disks
    #[arg(long)]
    system: bool,
    /// Keep copies there; may be given several times
    #[arg(long, value_name = "PLACE")]
    to: Vec<String>,
    #[command(flatten)]
    wishes: Wishes,
    /// Leave out what matches this pattern, beside what programs make again
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Leave out nothing but what --exclude says
    #[arg(long)]
    keep_caches: bool,
    /// Ask nothing
    #[arg(short, long)]
    yes: bool,
    /// Make no backup yet
    #[arg(long)]
    no_backup: bool,
    /// Print the configuration; make nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    #[command(flatten)]
    new: NewOptions,
}

/// Proposals smaller than this are not worth a question.
const LEFTOVER_BYTES_MIN: u64 = 10 << 20;
/// Looking for what can be left out takes no longer.
const LOOK_TIME: Duration = Duration::from_secs(20);

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    let path = target(session);
    if path.exists() && !args.dry_run {
        return Err(Failure::usage(format!(
            "there is a configuration already: {}",
            safe(&path.display().to_string())
        ))
        .hint("change it with: lifeboat config edit"));
    }
    // There is none yet, whatever names one.
    let session = &Session { loaded: Arc::new(OnceLock::from(None)), ..session.clone() };
    let asks = prompt::is_possible() && !args.yes && !session.out.json;
    let mut answers = if asks { ask::all(session, &args)? } else { answers(session, &args)? };
    prepare_unlocking(session, &path, &mut answers);
    let text = compose(&answers);
    check(&path, &text)?;
    if !asks {
        tell::derived(session, &answers)?;
    }
    if args.dry_run {
        return tell::configuration(session, &text).map(|()| Exit::Ok);
    }
    if asks {
        session.out.message(format!("\n{}", text.trim_end()));
        if !prompt::yes(&format!(
            "\nMake the repositories and write this to {}?",
            safe(&path.display().to_string())
        ))? {
            return Err(Failure::new(Exit::Skipped, "nothing was made"));
        }
    }
    make_places(session, &args, &answers)?;
    write(&path, &text)?;
    session.out.info(format!("wrote {}", safe(&path.display().to_string())));
    let configured = Session { loaded: Default::default(), ..session.clone() };
    let configured = with_config(configured, &path);
    let exit = if args.no_backup { Exit::Ok } else { proof::first_run(&configured)? };
    tell_next(session, &path, exit)?;
    Ok(exit)
}

/// Where the configuration goes: where it is named, or the machine's for root, the user's for others.
pub(super) fn target(session: &Session) -> PathBuf {
    let folders = folders::folders();
    let named = session.global.config.clone().or_else(|| folders::path_variable("LIFEBOAT_CONFIG"));
    named.unwrap_or_else(|| {
        match geteuid().is_root() && folders::path_variable("XDG_CONFIG_HOME").is_none() {
            true => folders.system_configuration.join(FILE_NAME),
            false => folders.configuration.join(FILE_NAME),
        }
    })
}

fn with_config(mut session: Session, path: &Path) -> Session {
    session.global.config = Some(path.to_path_buf());
    session.global.repo.clear();
    session
}

/// What was composed is compared with the schema like any other.
fn check(path: &Path, text: &str) -> Outcome<()> {
    let file = SourceFile { path: path.to_path_buf(), text: text.to_string() };
    understand(vec![file], &folders::folders().home).map(drop).map_err(|broken: Broken| broken.into())
}

fn write(path: &Path, text: &str) -> Outcome<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        service::durable::create_private(folder)
            .map_err(|e| local(format!("cannot make {}", folder.display()), e))?;
    }
    service::durable::write_secret(path, text.as_bytes())
}

// ---- without questions

fn answers(session: &Session, args: &Args) -> Outcome<Answers> {
    let places = match (&args.to[..], &session.global.repo[..]) {
        ([], []) => {
            return Err(Failure::usage("no place is named for the copies")
                .hint("lifeboat setup --yes --to /mnt/disk/backup (or run it at a terminal)"));
        }
        ([], named) => named.iter().map(|place| place.to_string_lossy().into_owned()).collect(),
        (named, _) => named.to_vec(),
    };
    let paths = if args.source.is_empty() { homes() } else { args.source.clone() };
    let paths = absolute(&paths);
    let name = if args.source.is_empty() { "home" } else { "files" };
    let exclude = args.exclude.iter().cloned().chain(leave_out(session, args, &paths)?).collect();
    let mut sources = vec![NewSource { exclude, ..NewSource::new(name, files(&paths)) }];
    if args.system {
        sources.push(NewSource::new("system", What::System));
    }
    let (wanted, left) = wanted_databases(args)?;
    for database in wanted {
        sources.push(database_source(&sources, database));
    }
    for FoundDatabase { kind, url } in left {
        session
            .out
            .info(format!("a {kind} server runs here and is left out: --database {}", shell_word(&url)));
    }
    args.wishes.apply(&mut sources)?;
    Ok(Answers { places: named(places), sources, goals: args.wishes.goals() })
}

/// What programs make again and is worth leaving out; told with its size.
fn leave_out(session: &Session, args: &Args, paths: &[PathBuf]) -> Outcome<Vec<String>> {
    if args.keep_caches {
        return Ok(Vec::new());
    }
    let found = leftovers::propose(paths, LEFTOVER_BYTES_MIN, LOOK_TIME);
    tell::left_out(session, &found)?;
    Ok(found.into_iter().map(|proposal| proposal.pattern).collect())
}

/// The databases that were asked for, and those that run here and were not.
fn wanted_databases(args: &Args) -> Outcome<(Vec<FoundDatabase>, Vec<FoundDatabase>)> {
    let found = discover::databases(Path::new("/"));
    let mut wanted = Vec::new();
    for url in &args.database {
        if url == "found" {
            wanted.extend(found.iter().cloned());
            continue;
        }
        let kind = discover::kind_of_database(url).ok_or_else(|| {
            Failure::usage(format!("--database: {} names no kind of server", safe(url)))
                .hint("postgresql:///?host=/run/postgresql, mysql://user@host, mongodb://host, redis://host, or found")
        })?;
        wanted.push(FoundDatabase { kind, url: url.clone() });
    }
    let left = found.into_iter().filter(|one| !wanted.contains(one)).collect();
    Ok((wanted, left))
}

/// A source for a server, with a name that no other has.
fn database_source(others: &[NewSource], FoundDatabase { kind, url }: FoundDatabase) -> NewSource {
    let is_free = |name: &String| others.iter().all(|other| other.name != *name);
    let numbered = (2..).map(|n| format!("{kind}{n}"));
    let name = std::iter::once(kind.to_string()).chain(numbered).find(is_free);
    NewSource::new(&name.expect("there are more numbers than names"), What::Database(kind.into(), url))
}

fn absolute(paths: &[PathBuf]) -> Vec<PathBuf> {
    paths.iter().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone())).collect()
}

fn files(paths: &[PathBuf]) -> What {
    What::Files(paths.iter().map(|path| path.to_string_lossy().into_owned()).collect())
}

fn homes() -> Vec<PathBuf> {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    discover::homes(&passwd, &folders::folders().home, geteuid().is_root())
}

fn named(urls: Vec<String>) -> Vec<NewPlace> {
    let mut taken = BTreeSet::new();
    let place = |url: String| {
        let name = name_of(&url, &taken);
        taken.insert(name.clone());
        // A folder is named from here, and the configuration is read from anywhere.
        let url = match storage::Location::parse(&url) {
            Ok(storage::Location::Local(folder)) => {
                std::path::absolute(&folder).unwrap_or(folder).to_string_lossy().into_owned()
            }
            _ => url,
        };
        NewPlace { name, url, ..NewPlace::default() }
    };
    urls.into_iter().map(place).collect()
}

/// What runs by itself has nobody to ask: each repository is opened by a file.
fn prepare_unlocking(session: &Session, path: &Path, answers: &mut Answers) {
    let keys = path.parent().unwrap_or(Path::new(".")).join("keys");
    for place in &mut answers.places {
        match (&session.global.password_file, &session.global.key_file) {
            (Some(path), _) => place.password_file = std::path::absolute(path).ok(),
            (None, Some(path)) => place.key_file = std::path::absolute(path).ok(),
            (None, None) => place.key_file = Some(keys.join(format!("{}.key", place.name))),
        }
    }
}

// ---- making it so

/// Makes the repositories that are not there yet, all of one family.
fn make_places(session: &Session, args: &Args, answers: &Answers) -> Outcome<()> {
    let mut family: Option<Family> = None;
    for place in &answers.places {
        let mut at = session.clone();
        at.global.repo = vec![OsString::from(&place.url)];
        if at.global.password_file.is_none() {
            at.global.key_file.clone_from(&place.key_file);
        }
        match at.open() {
            Ok(opened) => {
                session
                    .out
                    .info(format!("there is a repository at {} already; it is used", safe(&place.url)));
                family = family.or(Family::of(&opened.repo).ok());
            }
            Err(failure) if failure.exit == Exit::NoRepository => {
                // Each repository has a recovery key of its own, and the named file holds the first one's.
                let recovery_key_file = args.new.recovery_key_file.clone().filter(|path| !path.exists());
                let new = NewOptions {
                    anew: false,
                    recovery_key_file,
                    argon_memory: args.new.argon_memory,
                    parity: args.new.parity,
                };
                let created = init::create(&at, &at.location()?, &new, family.take())?;
                session.out.info(format!("made a repository at {}", safe(&place.url)));
                created.keys.tell(session);
                family = Some(Family::of(&created.repo)?);
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}

fn tell_next(session: &Session, path: &Path, exit: Exit) -> Outcome<()> {
    if session.out.json {
        session
            .out
            .object(&json!({ "message_type": "summary", "configuration": path, "exit": exit as i32 }))?;
        return Ok(());
    }
    let option = match session.global.config.is_some() {
        // Where it is by default it is found by itself.
        true => format!(" -c {}", shell_word(&path.to_string_lossy())),
        false => String::new(),
    };
    session.out.info(format!("look at what is wanted and not there yet with: lifeboat{option} config check"));
    session.out.info(format!("nothing runs by itself yet: let it with: lifeboat{option} schedule install"));
    session.out.info(format!("back up again at any time with: lifeboat{option} run --all"));
    Ok(())
}
