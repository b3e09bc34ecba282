//! `lifeboat forget`: takes snapshots out of sight, and brings them back.

use crate::error::{Exit, Outcome};
use crate::session::{Session, seed};
use crate::snapspec::{Filter, SnapSpec};
use crate::time;
use ::repo::snapshots::{SnapshotList, StoredSnapshot, forget, remember};
use serde_json::json;
use std::ffi::OsString;

/// Forget snapshots
#[derive(clap::Args)]
#[command(after_help = "\
A forgotten snapshot is out of sight; what it holds stays stored and comes back with --undo.

Examples:
  lifeboat forget 4f21c09a -n
  lifeboat forget 4f21c09a latest~3
  lifeboat forget --undo 4f21c09a
  lifeboat snapshots --forgotten")]
pub(crate) struct Args {
    /// latest, latest~2, or the beginning of an id
    #[arg(value_name = "SNAPSHOT", required = true)]
    snapshots: Vec<OsString>,
    #[command(flatten)]
    filter: Filter,
    /// Bring them back
    #[arg(long)]
    undo: bool,
    /// Say what would be done; change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    let opened = session.open()?;
    let list = SnapshotList::read(&opened.repo)?;
    // All names are understood before anything is changed.
    let mut chosen: Vec<&StoredSnapshot> = Vec::new();
    for spec in &args.snapshots {
        let id = SnapSpec::parse(spec)?.find(&list, &args.filter)?.id;
        chosen.extend(list.snapshots.iter().find(|s| s.snapshot.id == id));
    }
    let mut seed = seed()?;
    for stored in chosen {
        let changes = stored.forgotten == args.undo;
        let id = &stored.snapshot.id;
        match (changes && !args.dry_run, args.undo) {
            (false, _) => {}
            (true, true) => remember(&opened.repo, id)?,
            (true, false) => forget(&opened.repo, id, time::now(), "by id", &mut seed)?,
        }
        tell(session, &args, stored, changes)?;
    }
    if !args.undo && !args.dry_run {
        session.out.info("bring them back with: lifeboat forget --undo SNAPSHOT");
    }
    Ok(Exit::Ok)
}

fn tell(session: &Session, args: &Args, stored: &StoredSnapshot, changes: bool) -> Outcome<()> {
    let snapshot = &stored.snapshot;
    let decision = if args.undo { "remember" } else { "forget" };
    if session.out.json {
        return session.out.object(&json!({
            "message_type": "retention", "snapshot_id": snapshot.id.hex(), "decision": decision,
            "changed": changes && !args.dry_run, "dry_run": args.dry_run, "reasons": ["by id"],
        }));
    }
    if session.out.quiet {
        return Ok(());
    }
    let what = match (changes, args.dry_run, args.undo) {
        (false, _, true) => "was not forgotten",
        (false, _, false) => "is forgotten already",
        (true, true, true) => "would be brought back",
        (true, true, false) => "would be forgotten",
        (true, false, true) => "is back",
        (true, false, false) => "forgotten",
    };
    session.out.line(format!("snapshot {} of {} {what}", snapshot.short_id(), time::shown(snapshot.time)))
}
