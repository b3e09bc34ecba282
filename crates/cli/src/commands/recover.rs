//! `lifeboat recover`: from nothing but one surviving repository and its key back to a machine that works.
//!
//! The configuration comes first, then keys of this machine's own, then a list of what can come back. What was
//! chosen is restored in the order of recovery. It can be run again at any point; what is right is left alone.

mod keys;
mod open;
mod system;
mod tell;

use super::setup;
use crate::display::{safe, shell_word};
use crate::error::{Exit, Failure, Outcome};
use crate::folders;
use crate::progress::Reporter;
use crate::session::{Session, processors};
use crate::time;
use ::repo::reader::Reader;
use engine::{Overwrite, RestoreRequest};
use format::kind::Timestamp;
use format::snapshot::Snapshot;
use host::Rules;
use host::databases::Restore;
use open::Here;
use service::config::{Config, Loaded};
use service::known::Known;
use service::recovery::found::{self, How, Until};

use service::recovery::{Back, Stored, Written, measure};
use service::restore_db::{self, Target, Way};
use service::stored_config;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// Come back from nothing: a repository and its key are enough
#[derive(clap::Args)]
#[command(after_help = "\
Without SOURCE it brings the configuration back, makes keys for this machine, and lists what can come back, in which order
and how long it takes. Nothing is ever written over another configuration.

Examples:
  lifeboat recover /mnt/usb/backup --recovery-key            asks for the key of the printed kit
  lifeboat recover kit.html                                  places and key from the file of a kit
  lifeboat recover webdavs://nas.lan/backup --ca nas.pem --recovery-share a.share --recovery-share b.share
  lifeboat recover /mnt/usb/backup home shop --in-place      files to where they were, databases into their server
  lifeboat recover /mnt/usb/backup --all --target /srv/back --before '2026-11-20 08:00'
  lifeboat recover /mnt/usb/backup --recovery-key --system --disk /dev/sda -n      a whole machine onto an empty disk

Exit code 3: something has no copy here, or could not be restored completely; it is named. 5: damage was found.")]
pub(crate) struct Args {
    /// The repository, or the file of a kit
    #[arg(value_name = "PLACE|KIT")]
    from: OsString,
    /// Restore these, by their names in the list
    #[arg(value_name = "SOURCE", conflicts_with = "all")]
    sources: Vec<String>,
    /// Restore everything
    #[arg(long)]
    all: bool,
    /// Restore below this folder
    #[arg(short, long, value_name = "FOLDER")]
    target: Option<PathBuf>,
    /// Restore to where it was
    #[arg(long, conflicts_with = "target")]
    in_place: bool,
    /// Replace databases that hold something
    #[arg(long)]
    replace: bool,
    /// The machine that comes back, where the repository holds several
    #[arg(long, value_name = "NAME")]
    machine: Option<String>,
    /// Only from snapshots that are not younger
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    before: Option<Timestamp>,
    #[command(flatten)]
    system: system::SystemArgs,
    /// Bring no configuration back
    #[arg(long)]
    no_configuration: bool,
    /// Say what would be done; write nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    time::parse(text).map_err(|failure| failure.message())
}

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    if !args.sources.is_empty() || args.all {
        if args.target.is_none() && !args.in_place {
            return Err(Failure::usage("it is not said where to")
                .hint("add --in-place (to where it was) or --target FOLDER"));
        }
    } else if args.target.is_some() || args.in_place {
        return Err(Failure::usage("it is not said what is to come back")
            .hint("name sources of the list, or add --all"));
    }
    // Before it is back there is none, whatever names one.
    let bare = Session { loaded: Arc::new(OnceLock::from(None)), ..session.clone() };
    let session = if setup::target(session).exists() { session } else { &bare };
    let here = open::open(session, &args.from)?;
    let known = Known::read(&session.opener(), &here.place, &here.opened.repo, time::now())?;
    let reader = here.opened.reader()?;
    let brought = match args.no_configuration {
        true => None,
        false => bring_configuration(session, &args, &known, &reader)?,
    };
    let until = Until(args.before);
    let home = folders::folders().home;
    let config = brought.as_ref().and_then(|b| b.loaded.as_deref()).map(|loaded| &loaded.config);
    let backs = match (config, &brought) {
        (Some(config), Some(b)) => found::of_configuration(config, &b.machine, &home, &known, until),
        _ => found::without_configuration(&known, until),
    };
    if backs.iter().all(|back| back.snapshot.is_none()) {
        let when =
            args.before.map_or_else(String::new, |until| format!(" from {} or before", time::shown(until)));
        return Err(Failure::new(Exit::Failed, format!("there is no snapshot{when} that could come back"))
            .hint(format!("lifeboat snapshots -r {}", shell_word(&here.place.shown()))));
    }
    if args.system.system {
        return system::run(session, &args, &here, &reader, config, &backs);
    }
    if args.all || !args.sources.is_empty() {
        return restore(session, &args, &here, &reader, config, &backs);
    }
    let keys = match (config, &brought) {
        (Some(config), Some(b)) if !args.dry_run && b.is_here() => keys::give(session, config, &here)?,
        _ => Vec::new(),
    };
    let rate = rate(&backs, &reader)?;
    tell::list(
        session,
        &tell::List {
            here: &here,
            brought: brought.as_ref(),
            config,
            keys: &keys,
            backs: &backs,
            rate,
            new_kit: tell::new_kit(session),
        },
    )?;
    Ok(if backs.iter().any(|back| back.snapshot.is_none()) { Exit::Partial } else { Exit::Ok })
}

/// A configuration that was brought back.
struct Brought {
    machine: String,
    taken: Timestamp,
    /// What became of its files; none in a dry run.
    written: Option<Written>,
    /// None where this version cannot use it.
    loaded: Option<Arc<Loaded>>,
    /// Why it cannot be used.
    problem: Option<String>,
}

impl Brought {
    /// Whether this machine has this very configuration now.
    fn is_here(&self) -> bool {
        matches!(self.written, Some(Written::New(_) | Written::Same(_)))
    }
}

fn bring_configuration(
    session: &Session,
    args: &Args,
    known: &Known,
    reader: &Reader,
) -> Outcome<Option<Brought>> {
    let Some(snapshot) = stored(args, known)? else { return Ok(None) };
    let stored = Stored::read(reader, snapshot)?;
    let main = setup::target(session);
    let understood = stored.understand(&main, &folders::folders().home);
    // With a whole machine its configuration comes back among its files, not onto the one that works here.
    let written = if args.dry_run || args.system.system { None } else { Some(stored.write(&main)?) };
    let (loaded, problem) = match understood {
        Ok(loaded) => (Some(Arc::new(loaded)), None),
        Err(broken) => (None, Some(Failure::from(broken).in_one_line())),
    };
    Ok(Some(Brought { machine: stored.machine, taken: stored.snapshot.time, written, loaded, problem }))
}

/// The newest configuration of the machine that comes back.
fn stored<'k>(args: &Args, known: &'k Known) -> Outcome<Option<&'k Snapshot>> {
    let found = match args.before {
        Some(before) => stored_config::newest_until(&known.list, before),
        None => stored_config::newest(&known.list),
    };
    let names =
        |found: &[&Snapshot]| found.iter().map(|s| safe(&s.host).to_string()).collect::<Vec<_>>().join(", ");
    if let Some(machine) = &args.machine {
        return match found.iter().find(|snapshot| snapshot.host == *machine) {
            Some(one) => Ok(Some(one)),
            None => Err(Failure::usage(format!("no configuration of {} is stored here", safe(machine)))
                .hint(format!("there are those of: {}", names(&found)))),
        };
    }
    match &found[..] {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        several => Err(Failure::usage("several machines have their configuration here")
            .hint(format!("say which with --machine: {}", names(several)))),
    }
}

fn rate(backs: &[Back], reader: &Reader) -> Outcome<Option<f64>> {
    let largest = backs.iter().filter_map(|back| back.snapshot.as_ref()).max_by_key(|s| s.stats.source_bytes);
    let begin = Instant::now();
    Ok(largest.map(|snapshot| measure(reader, snapshot, &|| begin.elapsed())).transpose()?.flatten())
}

/// Restores what was chosen, in the order of recovery. One that fails does not keep the others from coming back.
fn restore(
    session: &Session,
    args: &Args,
    here: &Here,
    reader: &Arc<Reader>,
    config: Option<&Config>,
    backs: &[Back],
) -> Outcome<Exit> {
    let unknown: Vec<String> = args
        .sources
        .iter()
        .filter(|name| !backs.iter().any(|back| back.name == **name))
        .map(|name| safe(name).to_string())
        .collect();
    if !unknown.is_empty() {
        return Err(Failure::usage(format!("nothing here is called {}", unknown.join(", ")))
            .hint(format!("lifeboat recover {}", shell_word(&here.place.shown()))));
    }
    let mut worst = Exit::Ok;
    for back in backs.iter().filter(|back| args.all || args.sources.contains(&back.name)) {
        if session.cancel.is_set() {
            break;
        }
        let came = match (&back.snapshot, found::how(config, back, &here.word)) {
            (None, _) => {
                session.out.warn(format!("{}: there is no copy of it here", safe(&back.name)));
                Ok(Exit::Partial)
            }
            (Some(_), How::ByHand(command)) if args.in_place => {
                session.out.warn(format!("{}: it is not said where to; with: {command}", safe(&back.name)));
                Ok(Exit::Partial)
            }
            (Some(snapshot), How::Database) if args.in_place => {
                restore_databases(session, args, reader, config, back, snapshot)
            }
            (Some(snapshot), _) => restore_one(session, args, reader, back, snapshot),
        };
        let exit = came.unwrap_or_else(|failure| {
            session.out.failure(&failure.during(safe(&back.name).to_string()));
            Exit::Partial
        });
        worst = if worst == Exit::Ok || exit == Exit::Damage { exit } else { worst };
    }
    if let Some(exit) = session.cancel.exit() {
        return Err(Failure::new(exit, "cancelled; run it again to go on"));
    }
    Ok(worst)
}

/// Databases into the server they came from, which must not hold them yet unless `--replace` says so.
fn restore_databases(
    session: &Session,
    args: &Args,
    reader: &Arc<Reader>,
    config: Option<&Config>,
    back: &Back,
    snapshot: &Snapshot,
) -> Outcome<Exit> {
    let what = Restore { replace: args.replace, dry_run: args.dry_run, ..Restore::default() };
    let (opener, reporter) = (session.opener(), Reporter::new(&session.out, &session.cancel));
    let way = Way {
        config,
        opener: &opener,
        workers: processors(),
        memory: session.global.memory,
        monitor: &reporter,
    };
    let brought = restore_db::bring_back(reader, snapshot, Target::Origin, &what, &way);
    let brought = brought.inspect_err(|_| reporter.finish())?;
    reporter.conclude();
    tell::databases(session, args, back, snapshot, &brought, reporter.elapsed())?;
    Ok(Exit::Ok)
}

fn restore_one(
    session: &Session,
    args: &Args,
    reader: &Arc<Reader>,
    back: &Back,
    snapshot: &Snapshot,
) -> Outcome<Exit> {
    let request = RestoreRequest {
        snapshot,
        path: Vec::new(),
        target: args.target.clone().unwrap_or_else(|| PathBuf::from("/")),
        rules: Arc::new(Rules::default()),
        overwrite: Overwrite::Always,
        delete: false,
        kept: None,
        dry_run: args.dry_run,
        verify: false,
        sync: true,
        numeric_ids: false,
        workers: processors(),
        memory: session.global.memory,
    };
    let reporter = Reporter::new(&session.out, &session.cancel);
    let outcome = engine::restore(reader, &request, &reporter).inspect_err(|_| reporter.finish())?;
    let told = reporter.conclude().map_or(Exit::Ok, Exit::from);
    tell::restored(session, args, back, snapshot, &outcome, reporter.elapsed())?;
    Ok(super::restore::exit(&outcome, told))
}
