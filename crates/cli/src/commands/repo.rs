//! `lifeboat repo`: what a repository is, what its place keeps, and logins to drives.

#[cfg(feature = "remote")]
mod connect;

use super::snapshots::columns;
use crate::credentials;
use crate::display::safe;
use crate::error::{Exit, Failure, Outcome, local};
use crate::folders;
use crate::session::{Session, host_name, seed};
use crate::{sizes, time};
use ::repo::index::PackListing;
use ::repo::protection::set_minimum_age;
use ::repo::single_writer::{OnlyWriter, shows_late};
use clap::Subcommand;
use engine::retention::{PolicyError, Span};
use format::id::hex;
use serde_json::json;
use service::catalog::PlaceFacts;
use service::writer_state::WriterState;
use storage::Versions;
use storage::conformance::{self, Outcome as Kept, Scope};

/// Show or set how a repository works, or test its place
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  lifeboat repo info
  lifeboat repo set --parity 6%                 new packs mend themselves up to 6 % damage
  lifeboat repo set --minimum-age 30d           no snapshot goes before it is 30 days old
  lifeboat repo connect gdrive --client-id ID   log in to a drive
  lifeboat repo test -r s3://bucket/machine     does this place keep what a repository relies on?")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    Info(Info),
    Set(Set),
    Test(Test),
    #[cfg(feature = "remote")]
    Connect(connect::Args),
}

/// Show what it is and how it works
#[derive(clap::Args)]
#[command(after_help = "\
A place that shows new objects late, such as Google Drive, is written to by one machine only: the one
that made the repository. --take-over moves that right to this machine. First make sure that the other
one has stopped: nothing here could notice that it writes at the same time.

Examples:
  lifeboat repo info
  lifeboat repo info --take-over")]
struct Info {
    /// Make this the only machine that writes, at a place where only one may
    #[arg(long)]
    take_over: bool,
}

/// Change how a repository works from now on
#[derive(clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
With --parity 6%, damage in one piece of up to 6 % of a new data pack can be mended from the pack
itself. It costs 7.5 % more space. Packs stored before keep what they have. Everything but file
contents carries parity always.

With --minimum-age 30d, no snapshot is forgotten or removed before 30 days have passed since the
storage received it, by its own clock. Nothing else ends that: a greater age holds for all snapshots,
a smaller one only for those to come.

Examples:
  lifeboat repo set --parity 6%
  lifeboat repo set --minimum-age 30d
  lifeboat repo set --minimum-age 0
  lifeboat repo set --parity off"
)]
struct Set {
    /// Let new packs survive damage of this share of their length: off, 3%, 6%, 10%, at most 20%
    #[arg(long, value_name = "SHARE", value_parser = sizes::parse_parity)]
    parity: Option<u8>,
    /// Let no snapshot be forgotten before it has this age: 36h, 30d, 8w, 6m, 10y, or 0
    #[arg(long, value_name = "AGE", value_parser = minimum_age)]
    minimum_age: Option<u64>,
}

/// Seconds. A month counts as 31 days and a year as 366: never less than the calendar says.
fn minimum_age(text: &str) -> Result<u64, PolicyError> {
    if text == "0" { Ok(0) } else { text.parse::<Span>().map(|span| span.secs_at_most()) }
}

fn shown_age(secs: u64) -> String {
    match (secs, secs % 86_400) {
        (0, _) => "none".into(),
        (_, 0) => format!("{} days", secs / 86_400),
        _ => format!("{} hours", secs / 3_600),
    }
}

/// Try what a repository relies on, with objects that are removed again
#[derive(clap::Args)]
#[command(after_help = "\
Also replaces and deletes an object of its own with the credential in use, and, where the place keeps
versions, a version: what is refused is proven to be immutable, everything else is a claim.

Example:
  lifeboat repo test -r sftp://me@nas/backup --full")]
struct Test {
    /// Also with 20 MiB in one object and 1,100 objects
    #[arg(long)]
    full: bool,
}

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    match args.action {
        Action::Info(args) if args.take_over => take_over(session),
        Action::Info(_) => info(session),
        Action::Set(args) => set(session, &args),
        Action::Test(args) => test(session, &args),
        #[cfg(feature = "remote")]
        Action::Connect(args) => connect::run(session, &args),
    }
}

/// This installation as the one machine that writes.
pub(super) fn this_machine() -> Outcome<OnlyWriter> {
    let state = WriterState::open(folders::folders().state, credentials::random()?)
        .map_err(|e| local("cannot keep who this installation is", e))?;
    Ok(OnlyWriter { writer: state.writer, name: host_name() })
}

fn take_over(session: &Session) -> Outcome<Exit> {
    let (mut repo, _) = session.opener().open_unguarded(&session.place()?)?.into_repo();
    let before = OnlyWriter::of(repo.parameters());
    if before.is_none() && !shows_late(repo.parameters()) {
        return Err(Failure::usage("any machine may write here; there is nothing to take over"));
    }
    this_machine()?.take_over(&mut repo, &mut seed()?)?;
    let body = json!({"from": before.as_ref().map(|only| &only.name), "only_writer": host_name()});
    crate::audit::record(session, &repo, "take-over", &body);
    if session.out.json {
        let before = before.map(|only| only.name);
        session.out.object(&json!({
            "message_type": "taken_over", "from": before, "only_writer": host_name(),
        }))?;
        return Ok(Exit::Ok);
    }
    let from = before.map(|only| format!(" instead of {}", safe(&only.name))).unwrap_or_default();
    session.out.human(format!("from now on this machine writes here{from}"))?;
    Ok(Exit::Ok)
}

fn info(session: &Session) -> Outcome<Exit> {
    let opened = session.open()?;
    let (repo, p) = (&opened.repo, opened.repo.parameters());
    let identity = repo.identity();
    let list = session.snapshots(repo)?;
    let listing = PackListing::read(repo)?;
    let (packs, stored) = super::stats::stored(&listing);
    let slots = repo.slots()?;
    let snapshots = list.visible().count();
    if session.out.json {
        session.out.object(&json!({
            "message_type": "repository", "id": identity.repo.hex(), "family": identity.family.hex(),
            "repository": repo.location(), "created": time::rfc3339(identity.created),
            "format": format::limits::FORMAT_VERSION, "role": repo.capability().as_str(),
            "snapshots": snapshots, "packs": packs, "bytes_stored": stored, "keys": slots.len(),
            "block_bytes": p.block_bytes, "pack_bytes": p.pack_bytes, "tree_pack_bytes": p.tree_pack_bytes,
            "whole_file_bytes_max": p.whole_file_bytes_max,
            "minimum_age_seconds": p.minimum_ages.last().map_or(0, |age| age.secs),
            "data_parity_percent": p.data_parity_percent, "probed": p.probed,
            "only_writer": OnlyWriter::of(p).map(|only| only.name),
        }))?;
        return Ok(Exit::Ok);
    }
    let row = |name: &str, value: String| [name.to_string(), value];
    let rows = [
        row("repository", safe(&repo.location())),
        row("id", identity.repo.hex()),
        row("family", identity.family.hex()),
        row("created", time::shown(identity.created)),
        row("format", format::limits::FORMAT_VERSION.to_string()),
        row("unlocked as", repo.capability().as_str().to_string()),
        row("keys", slots.len().to_string()),
        row("snapshots", snapshots.to_string()),
        row("stored", format!("{} in {} packs", sizes::shown(stored), packs)),
        row("blocks, packs", format!("{}, {}", sizes::shown(p.block_bytes), sizes::shown(p.pack_bytes))),
        row("minimum age", shown_age(p.minimum_ages.last().map_or(0, |age| age.secs))),
        row("data parity", sizes::shown_parity(p.data_parity_percent)),
        row("place", safe(&p.probed.join(" "))),
        row("writers", OnlyWriter::of(p).map_or("any".into(), |only| safe(&only.name))),
    ];
    columns(&rows).into_iter().try_for_each(|line| session.out.line(line))?;
    Ok(Exit::Ok)
}

fn set(session: &Session, args: &Set) -> Outcome<Exit> {
    let (mut repo, _) = session.open()?.into_repo();
    if let Some(percent) = args.parity {
        repo.update_parameters(&mut seed()?, |p| p.data_parity_percent = percent)?;
    }
    if let Some(secs) = args.minimum_age {
        set_minimum_age(&mut repo, secs, time::now(), &mut seed()?)?;
    }
    let body = json!({"data_parity_percent": args.parity, "minimum_age_seconds": args.minimum_age});
    crate::audit::record(session, &repo, "repo set", &body);
    let percent = repo.parameters().data_parity_percent;
    let age = repo.parameters().minimum_ages.last().map_or(0, |age| age.secs);
    if session.out.json {
        session.out.object(&json!({
            "message_type": "repository_set", "data_parity_percent": percent, "minimum_age_seconds": age,
        }))?;
        return Ok(Exit::Ok);
    }
    if args.parity.is_some() {
        session.out.human(format!("data parity of new packs: {}", sizes::shown_parity(percent)))?;
    }
    if args.minimum_age.is_some() {
        session.out.human(format!("minimum age of snapshots: {}", shown_age(age)))?;
        if repo.parameters().minimum_ages.len() > 1 {
            session.out.info("a greater age stays in force for the snapshots that are there already");
        }
    }
    Ok(Exit::Ok)
}

/// Says what this credential can take away.
fn test_powers(session: &Session, location: &storage::Location, scratch: &str) -> Outcome<()> {
    let found = session.opener().powers(&session.place_at(location.clone())?, scratch)?;
    remember_powers(session, found.proves_immutable());
    let versions = match found.versions {
        Versions::NotKept => None,
        Versions::Removed => Some(true),
        Versions::Held => Some(false),
    };
    if session.out.json {
        session.out.object(&json!({
            "message_type": "powers", "can_replace": found.can_replace, "can_delete": found.can_delete,
            "can_delete_versions": versions, "immutable_proven": found.proves_immutable(),
        }))?;
        return Ok(());
    }
    let may = |yes: bool| if yes { "may" } else { "MAY NOT" };
    session.out.line(format!("this machine {} replace objects here", may(found.can_replace)))?;
    session.out.line(format!("this machine {} delete objects here", may(found.can_delete)))?;
    if let Some(removed) = versions {
        session.out.line(format!("this machine {} delete older versions of objects here", may(removed)))?;
    }
    session.out.line(match found.proves_immutable() {
        true => "immutable: proven, for as long as the place keeps its rule",
        false => "immutable: no; whoever holds this machine can delete this copy",
    })?;
    Ok(())
}

/// Lets `status` know of a repository of the configuration what was tried here. What cannot be remembered is
/// tried again some day.
fn remember_powers(session: &Session, proven: bool) {
    let [word] = &session.global.repo[..] else { return };
    let is_named = |name: &&str| {
        let loaded = session.loaded().ok().flatten();
        loaded.is_some_and(|loaded| loaded.config.repositories.contains_key(*name))
    };
    let Some(name) = word.to_str().filter(is_named) else { return };
    let Ok(catalog) = super::status::open_catalog(session) else { return };
    let (at, facts) = catalog.place(name).ok().flatten().unwrap_or_default();
    let facts = PlaceFacts { immutable_proven: Some(proven), deletable: Some(!proven), ..facts };
    catalog.record_place(name, at, &facts).ok();
}

/// Needs no key: nothing of the repository is read.
fn test(session: &Session, args: &Test) -> Outcome<Exit> {
    let location = session.location()?;
    let store = session.store(&location, false)?;
    let scratch = format!("maint/test-{}", hex(&credentials::random::<8>()?));
    let scope = if args.full { Scope::Full } else { Scope::Quick };
    let report = conformance::run(&*store, &scratch, scope);
    for check in &report.checks {
        let (word, detail) = match &check.outcome {
            Kept::Kept => ("kept", String::new()),
            Kept::Broken(how) => ("BROKEN", how.clone()),
            Kept::NotTried(why) => ("not tried", (*why).to_string()),
        };
        if session.out.json {
            session.out.object(&json!({
                "message_type": "promise", "promise": check.promise, "outcome": word.to_lowercase(), "detail": detail,
            }))?;
        } else {
            let detail = if detail.is_empty() { detail } else { format!(" ({})", safe(&detail)) };
            session.out.line(format!("{word:<9}  {}{detail}", check.promise))?;
        }
    }
    test_powers(session, &location, &scratch)?;
    let broken = report.broken().count();
    session.out.human(match broken {
        0 => "this place keeps what a repository relies on".to_string(),
        n => format!("{n} promises are broken: do not keep a repository here"),
    })?;
    Ok(if report.is_good() { Exit::Ok } else { Exit::Failed })
}
