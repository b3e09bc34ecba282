//! `lifeboat tag`: changes the words a snapshot is selected by.
//!
//! A record never changes once it is stored. So a snapshot with other tags is a new one of the same tree,
//! published like any other, after which the old one is forgotten: at every moment at least one is there.

use super::backup::open_state;
use crate::error::{Exit, Failure, Outcome};
use crate::session::{Opened, Session, processors, seed};
use crate::snapspec::{Filter, SnapSpec};
use crate::time;
use crate::writer_state::WriterState;
use ::repo::index::PackListing;
use ::repo::reader::Reader;
use ::repo::snapshots::{SnapshotList, forget};
use ::repo::writer::publish::Published;
use ::repo::writer::{Writer, WriterOptions};
use format::id::WriterId;
use format::snapshot::Snapshot;
use serde_json::json;
use std::ffi::OsString;
use std::sync::Arc;

/// Change the tags of snapshots
#[derive(clap::Args)]
#[command(after_help = "\
A snapshot with other tags is a new one with a new id; the old one is forgotten, and comes back
with: lifeboat forget --undo ID

Examples:
  lifeboat tag --add keep,before-upgrade latest
  lifeboat tag --remove daily 4f21c09a
  lifeboat tag --set '' 4f21c09a             no tags at all")]
pub(crate) struct Args {
    /// latest, latest~2, or the beginning of an id
    #[arg(value_name = "SNAPSHOT", required = true)]
    snapshots: Vec<OsString>,
    #[command(flatten)]
    filter: Filter,
    /// Add these tags
    #[arg(long, value_name = "TAG[,TAG]", value_delimiter = ',', conflicts_with = "set", required_unless_present_any = ["remove", "set"])]
    add: Vec<String>,
    /// Remove these tags
    #[arg(long, value_name = "TAG[,TAG]", value_delimiter = ',', conflicts_with = "set")]
    remove: Vec<String>,
    /// Have these tags and no others
    #[arg(long, value_name = "TAG[,TAG]", value_delimiter = ',')]
    set: Option<Vec<String>>,
    /// Say what would be done; change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    let opened = session.open()?;
    let list = SnapshotList::read(&opened.repo)?;
    let mut chosen: Vec<&Snapshot> = Vec::new();
    for spec in &args.snapshots {
        let snapshot = SnapSpec::parse(spec)?.find(&list, &args.filter)?;
        if !chosen.iter().any(|s| s.id == snapshot.id) {
            chosen.push(snapshot);
        }
    }
    let reader = opened.reader()?;
    let state = open_state(session, args.dry_run)?;
    for old in chosen {
        let tags = tags(&args, &old.tags);
        let new = match tags != old.tags && !args.dry_run {
            true => Some(replace(session, &opened, &reader, state.as_ref(), old, &tags)?),
            false => None,
        };
        tell(session, &args, old, &tags, new.as_ref())?;
    }
    Ok(Exit::Ok)
}

/// The tags a snapshot gets, each once, in the order they were given.
fn tags(args: &Args, old: &[String]) -> Vec<String> {
    let all: Vec<&String> = match &args.set {
        Some(set) => set.iter().collect(),
        None => old.iter().filter(|tag| !args.remove.contains(tag)).chain(&args.add).collect(),
    };
    let mut tags: Vec<String> = Vec::new();
    for tag in all {
        if !tag.is_empty() && !tags.contains(tag) {
            tags.push(tag.clone());
        }
    }
    tags
}

/// Publishes the tree once more with other tags, then forgets the old record.
fn replace(
    session: &Session,
    opened: &Opened,
    reader: &Arc<Reader>,
    state: Option<&WriterState>,
    old: &Snapshot,
    tags: &[String],
) -> Outcome<Snapshot> {
    let mut seed = seed()?;
    let family = opened.repo.identity().family;
    let listing = PackListing::read(&opened.repo)?;
    let options = WriterOptions { seal_workers: processors(), ..WriterOptions::default() };
    let mut writer = Writer::start(reader.clone(), &listing, seed.clone(), time::now(), options);
    let gone = || {
        Failure::new(Exit::Damage, format!("snapshot {} relies on packs that are gone", old.short_id()))
            .hint("find out what it hurts with: lifeboat check")
    };
    if !writer.prepare(old.root, Some(&old.id), false)? {
        writer.abandon()?;
        return Err(gone());
    }
    let (sequence, previous) =
        state.and_then(|s| s.previous(&family)).map_or((1, [0; 32]), |(number, hash)| (number + 1, hash));
    let new = Snapshot {
        id: writer.session(),
        writer: state.map_or(WriterId(seed.draw()), |s| s.writer),
        sequence,
        previous,
        tags: tags.to_vec(),
        ..old.clone()
    };
    let Published::Done { record_hash } = writer.commit(&new)? else {
        return Err(gone());
    };
    if let Some(Err(e)) = state.map(|s| s.remember(&family, sequence, &record_hash)) {
        session.out.warn(format!("cannot remember the snapshot's number: {e}"));
    }
    forget(&opened.repo, &old.id, time::now(), &format!("tags changed: now {}", new.id.hex()), &mut seed)?;
    Ok(new)
}

fn tell(
    session: &Session,
    args: &Args,
    old: &Snapshot,
    tags: &[String],
    new: Option<&Snapshot>,
) -> Outcome<()> {
    if session.out.json {
        return session.out.object(&json!({
            "message_type": "changed", "old_snapshot_id": old.id.hex(), "tags": tags, "dry_run": args.dry_run,
            "new_snapshot_id": new.map(|s| s.id.hex()),
        }));
    }
    if session.out.quiet {
        return Ok(());
    }
    let id = old.short_id();
    let words = crate::display::safe(&tags.join(", "));
    session.out.line(match new {
        Some(new) => format!("snapshot {id} is now {} with the tags: {words}", new.short_id()),
        None if tags != old.tags => format!("snapshot {id} would get the tags: {words}"),
        None => format!("snapshot {id} has these tags already: {words}"),
    })
}
