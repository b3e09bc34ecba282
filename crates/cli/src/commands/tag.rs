//! `lifeboat tag`: changes the words a snapshot is selected by.
//!
//! A record never changes once it is stored. So a snapshot with other tags is a new one of the same tree,
//! published like any other, after which the old one is forgotten: at every moment at least one is there.

use super::backup::open_state;
use super::successor::Successor;
use crate::error::{Exit, Outcome};
use crate::known::{self, refusal};
use crate::session::Session;
use crate::snapspec::{Filter, SnapSpec};
use ::repo::snapshots::StoredSnapshot;
use format::snapshot::Snapshot;
use serde_json::json;
use std::ffi::OsString;

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
    let known = known::read_to_act(session, &opened.repo, args.dry_run)?;
    let mut chosen: Vec<&StoredSnapshot> = Vec::new();
    for spec in &args.snapshots {
        let id = SnapSpec::parse(spec)?.find(&known.list, &args.filter)?.id;
        if !chosen.iter().any(|s| s.snapshot.id == id) {
            chosen.extend(known.list.snapshots.iter().find(|s| s.snapshot.id == id));
        }
    }
    // The old record is to be forgotten; what protects it is known before anything is changed.
    for stored in &chosen {
        if let Some(protection) = known.protections_of(stored).first() {
            return Err(refusal(&stored.snapshot.short_id(), protection));
        }
    }
    let doubts = known.doubts();
    let reader = opened.reader()?;
    let state = open_state(session, args.dry_run)?;
    for stored in chosen {
        let old = &stored.snapshot;
        let tags = tags(&args, &old.tags);
        let new = match tags != old.tags && !args.dry_run {
            true => {
                let word = known.word(stored, &doubts[&old.id]);
                let new = Snapshot { tags: tags.clone(), ..old.clone() };
                let why = |new: &Snapshot| format!("tags changed: now {}", new.id.hex());
                Some(
                    Successor::begin(session, &opened, &reader, state.as_ref())?
                        .replace(old, new, word, why)?,
                )
            }
            false => None,
        };
        if let Some(new) = &new {
            let why = format!("tags changed: now {}", new.id.hex());
            let mut body = service::audit::forgotten(std::iter::once(old), &why);
            body["tags"] = json!(tags);
            crate::audit::record(session, &opened.repo, "tag", &body);
        }
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
