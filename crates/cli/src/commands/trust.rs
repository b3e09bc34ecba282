//! `lifeboat trust`: says that doubtful snapshots are what they claim to be, so that they count in retention.

use super::snapshots::{columns, record_object};
use crate::display::safe;
use crate::error::{Exit, Failure, Outcome};
use crate::known;
use crate::session::{Session, seed};
use crate::snapspec::{Filter, SnapSpec};
use crate::time;
use ::repo::snapshots::StoredSnapshot;
use ::repo::trust;
use engine::retention::Doubt;
use format::keep::Trust;
use serde_json::json;
use std::ffi::OsString;

/// Confirm doubtful snapshots
#[derive(clap::Args)]
#[command(after_help = "\
A snapshot is doubtful when the storage received it at another time than it claims (an import, a copy
that came late, a forgery), when it does not follow the others of its machine, or when there is much
less in it than usual. It then takes no other's place when old snapshots are forgotten. Without
SNAPSHOT and --all, the doubtful ones are listed.

Examples:
  lifeboat trust
  lifeboat trust 4f21c09a
  lifeboat trust --all --host nas        after the repository was copied to another disk, say
  lifeboat trust --withdraw 4f21c09a")]
pub(crate) struct Args {
    /// latest, latest~2, or the beginning of an id
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<OsString>,
    #[command(flatten)]
    filter: Filter,
    /// All doubtful ones that fit
    #[arg(long, conflicts_with_all = ["snapshots", "withdraw"])]
    all: bool,
    /// Take the word back
    #[arg(long, requires = "snapshots")]
    withdraw: bool,
    /// Say what would be confirmed; change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    let opened = session.open()?;
    let known = known::read(session, &opened.repo)?;
    known::warn_unreadable(session, &known);
    let doubts = known.doubts();
    let doubtful: Vec<(&StoredSnapshot, &[Doubt])> = known
        .list
        .snapshots
        .iter()
        .filter(|stored| !stored.forgotten && args.filter.accepts(&stored.snapshot))
        .map(|stored| (stored, &doubts[&stored.snapshot.id][..]))
        .filter(|(_, doubts)| !doubts.is_empty())
        .collect();
    if args.snapshots.is_empty() && !args.all {
        list(session, &doubtful)?;
        return Ok(Exit::Ok);
    }
    let mut chosen = Vec::new();
    for spec in &args.snapshots {
        let id = SnapSpec::parse(spec)?.find(&known.list, &args.filter)?.id;
        chosen.extend(known.list.snapshots.iter().find(|stored| stored.snapshot.id == id));
    }
    if args.all {
        chosen.extend(doubtful.iter().map(|(stored, _)| *stored));
    }
    let mut seed = seed()?;
    for stored in chosen {
        if !args.dry_run {
            match args.withdraw {
                true => trust::withdraw(&opened.repo, &stored.snapshot.id)?,
                false => trust::confirm(&opened.repo, &word(stored), &mut seed)?,
            }
            let action = if args.withdraw { "withdrawn" } else { "confirmed" };
            let body = serde_json::json!({ action: stored.snapshot.id.hex() });
            crate::audit::record(session, &opened.repo, "trust", &body);
        }
        tell(session, &args, stored)?;
    }
    Ok(Exit::Ok)
}

fn word(stored: &StoredSnapshot) -> Trust {
    let (snapshot, record) = (stored.snapshot.id, stored.record_hash);
    Trust { snapshot, record, time: true, contents: true, made: time::now() }
}

fn list(session: &Session, doubtful: &[(&StoredSnapshot, &[Doubt])]) -> Outcome<()> {
    if session.out.json {
        let objects = doubtful.iter().map(|(stored, doubts)| {
            let mut object = record_object(&stored.snapshot);
            object["received"] = stored.received.map(|t| time::rfc3339(time::from_system(t))).into();
            object["doubts"] = doubts.iter().map(ToString::to_string).collect::<Vec<_>>().into();
            object
        });
        return session.out.object(&objects.collect());
    }
    if doubtful.is_empty() {
        return session.out.line("no snapshot is doubtful");
    }
    let mut rows = vec![["id", "time", "received", "host", "why"].map(String::from)];
    rows.extend(doubtful.iter().map(|(stored, doubts)| {
        let why: Vec<_> = doubts.iter().map(ToString::to_string).collect();
        [
            stored.snapshot.short_id(),
            time::shown(stored.snapshot.time),
            stored.received.map(|t| time::shown(time::from_system(t))).unwrap_or_default(),
            safe(&stored.snapshot.host),
            why.join("; "),
        ]
    }));
    columns(&rows).into_iter().try_for_each(|line| session.out.line(line))?;
    session.out.info("if they are right: lifeboat trust SNAPSHOT");
    Ok(())
}

fn tell(session: &Session, args: &Args, stored: &StoredSnapshot) -> Outcome<()> {
    let snapshot = &stored.snapshot;
    if session.out.json {
        return session.out.object(&json!({
            "message_type": "trust", "snapshot_id": snapshot.id.hex(), "confirmed": !args.withdraw,
            "dry_run": args.dry_run,
        }));
    }
    if session.out.quiet {
        return Ok(());
    }
    let what = match (args.withdraw, args.dry_run) {
        (false, false) => "is confirmed",
        (false, true) => "would be confirmed",
        (true, false) => "is not confirmed any more",
        (true, true) => "would not be confirmed any more",
    };
    session.out.line(format!("snapshot {} of {} {what}", snapshot.short_id(), time::shown(snapshot.time)))
}

/// Confirms a snapshot whose time its maker chose on purpose. That the snapshot is there counts more.
pub(super) fn confirm_own(session: &Session, repo: &::repo::Repo, word: &Trust) {
    let confirmed = seed().and_then(|mut seed| Ok(trust::confirm(repo, word, &mut seed)?));
    confirmed.unwrap_or_else(|e: Failure| {
        let id = &word.snapshot.hex()[..8];
        session.out.warn(format!(
            "the time of the snapshot is not confirmed: {}; do it with: lifeboat trust {id}",
            e.message()
        ));
    });
}
