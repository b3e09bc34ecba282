//! `lifeboat snapshots`: what there is to restore.

use crate::counts::count;
use crate::display::{DisplayName, safe};
use crate::error::{Exit, Outcome};
use crate::known::{self, Known};
use crate::session::Session;
use crate::snapspec::{Filter, SnapSpec};
use crate::{sizes, time};
use ::repo::snapshots::{SnapshotList, StoredSnapshot};
use clap::ValueEnum;
use engine::retention::Doubt;
use format::snapshot::{Completeness, Snapshot};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::ffi::OsString;

/// List snapshots
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  lifeboat snapshots
  lifeboat snapshots --host nas --tag daily --latest 3
  lifeboat snapshots --group-by source
  lifeboat snapshots --json latest | jq -r '.[0].id'")]
pub(crate) struct Args {
    /// Only these: latest, latest~2, or the beginning of an id
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<OsString>,
    #[command(flatten)]
    filter: Filter,
    /// Only the newest N of each machine and source
    #[arg(long, value_name = "N")]
    latest: Option<usize>,
    /// Also those that were forgotten and can still be brought back
    #[arg(long)]
    forgotten: bool,
    /// A table for each machine, each source of a machine, or each set of tags
    #[arg(long, value_name = "WHAT", value_enum)]
    group_by: Option<GroupBy>,
}

#[derive(Clone, Copy, ValueEnum)]
enum GroupBy {
    /// What was saved, and where
    Source,
    /// Where it was saved
    Machine,
    /// All tags together
    Tag,
}

/// A snapshot to list, with what speaks against it.
type Listed<'l> = (&'l StoredSnapshot, &'l [Doubt]);

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    let opened = session.open()?;
    let known = known::read(session, &opened.repo)?;
    let doubts = known.doubts();
    let chosen = choose(&args, &known.list)?;
    let chosen: Vec<Listed<'_>> =
        chosen.into_iter().map(|stored| (stored, &doubts[&stored.snapshot.id][..])).collect();
    match args.group_by {
        Some(by) => tell_groups(session, &known, &chosen, by)?,
        None if session.out.json => session.out.object(&objects(&known, &chosen))?,
        None => table(session, &known, &chosen)?,
    }
    known::warn_unreadable(session, &known);
    Ok(if known.list.unreadable.is_empty() { Exit::Ok } else { Exit::Damage })
}

fn choose<'l>(args: &Args, list: &'l SnapshotList) -> Outcome<Vec<&'l StoredSnapshot>> {
    let mut named = Vec::new();
    for spec in &args.snapshots {
        named.push(SnapSpec::parse(spec)?.find(list, &args.filter)?.id);
    }
    let mut left: BTreeMap<(&str, &[Vec<u8>]), usize> = BTreeMap::new();
    let mut chosen = Vec::new();
    for stored in list.snapshots.iter().rev() {
        let record = &stored.snapshot;
        let is_named = named.contains(&record.id);
        let is_listed =
            named.is_empty() && args.filter.accepts(record) && (args.forgotten || !stored.forgotten);
        let left = left.entry((&record.host, &record.sources)).or_insert(args.latest.unwrap_or(usize::MAX));
        if (is_named || is_listed) && *left > 0 {
            *left -= 1;
            chosen.push(stored);
        }
    }
    chosen.reverse();
    Ok(chosen)
}

/// A snapshot as JSON: restic's field names, and more.
pub(crate) fn record_object(s: &Snapshot) -> Value {
    let paths: Vec<_> = s.sources.iter().map(|p| String::from_utf8_lossy(p)).collect();
    let n = &s.stats;
    json!({
        "id": s.id.hex(), "short_id": s.short_id(), "time": time::rfc3339(s.time), "end": time::rfc3339(s.end),
        "hostname": s.host, "username": s.user, "paths": paths, "tags": s.tags, "tree": s.root.id.hex(),
        "parent": s.parent.map(|id| id.hex()), "base": s.base.map(|id| id.hex()), "mode": s.mode.as_str(),
        "complete": s.completeness == Completeness::Complete, "description": s.description,
        "excludes": s.excludes, "program_version": s.program, "writer": s.writer.hex(), "sequence": s.sequence,
        "summary": {
            "files_new": n.files_new, "files_changed": n.files_changed, "files_unmodified": n.files_unmodified,
            "dirs_new": n.dirs_new, "dirs_changed": n.dirs_changed, "dirs_unmodified": n.dirs_unmodified,
            "data_added": n.added_bytes, "bytes_stored": n.stored_bytes, "bytes_new": n.new_bytes,
            "total_files_processed": n.files_new + n.files_changed + n.files_unmodified,
            "total_bytes_processed": n.source_bytes, "errors": n.faults, "excluded": n.excluded,
        },
    })
}

fn object(known: &Known, stored: &StoredSnapshot, doubts: &[Doubt]) -> Value {
    let mut object = record_object(&stored.snapshot);
    known.add_flags(&mut object, stored, doubts);
    object["forgotten"] = stored.forgotten.into();
    object["received"] = stored.received.map(|t| time::rfc3339(time::from_system(t))).into();
    object
}

fn objects(known: &Known, chosen: &[Listed<'_>]) -> Value {
    chosen.iter().map(|(stored, doubts)| object(known, stored, doubts)).collect::<Vec<_>>().into()
}

/// What all snapshots of a group have in common, as JSON names it.
fn group_key(s: &Snapshot, by: GroupBy) -> Vec<(&'static str, Vec<String>)> {
    let host = ("hostname", vec![s.host.clone()]);
    let shown = |path: &Vec<u8>| DisplayName(path).to_string();
    match by {
        GroupBy::Source => vec![host, ("paths", s.sources.iter().map(shown).collect())],
        GroupBy::Machine => vec![host],
        GroupBy::Tag => vec![("tags", s.tags.clone())],
    }
}

fn tell_groups(session: &Session, known: &Known, chosen: &[Listed<'_>], by: GroupBy) -> Outcome<()> {
    let mut groups: BTreeMap<_, Vec<Listed<'_>>> = BTreeMap::new();
    for listed in chosen {
        groups.entry(group_key(&listed.0.snapshot, by)).or_default().push(*listed);
    }
    if session.out.json {
        let object = |(key, listed): (&Vec<(&str, Vec<String>)>, &Vec<Listed<'_>>)| {
            let key = key.iter().map(|(name, values)| match *name {
                "hostname" => (name.to_string(), values[0].clone().into()),
                _ => (name.to_string(), values.clone().into()),
            });
            json!({"group_key": key.collect::<Map<_, _>>(), "snapshots": objects(known, listed)})
        };
        return session.out.object(&groups.iter().map(object).collect::<Vec<_>>().into());
    }
    for (i, (key, listed)) in groups.iter().enumerate() {
        if i > 0 {
            session.out.line("")?;
        }
        let words: Vec<_> = key.iter().map(|(_, values)| safe(&values.join(", "))).collect();
        let title = words.join(": ");
        session.out.line(if title.is_empty() { "without tags" } else { &title })?;
        table(session, known, listed)?;
    }
    match groups.is_empty() {
        true => table(session, known, &[]),
        false => Ok(()),
    }
}

fn table(session: &Session, known: &Known, chosen: &[Listed<'_>]) -> Outcome<()> {
    let mut rows =
        vec![["id", "time", "host", "tags", "mode", "base", "size", "new", "source"].map(String::from)];
    rows.extend(chosen.iter().map(|(stored, doubts)| row(stored, &known.flags(stored, doubts))));
    for line in columns(&rows) {
        session.out.line(line)?;
    }
    session.out.line(match chosen.len() {
        0 => "no snapshots".to_string(),
        n => count(n, "snapshot"),
    })
}

fn row(stored: &StoredSnapshot, flags: &[String]) -> [String; 9] {
    let s = &stored.snapshot;
    let sources: Vec<_> = s.sources.iter().map(|p| DisplayName(p).to_string()).collect();
    let mut source = sources.join(", ");
    if s.completeness == Completeness::Partial {
        source.push_str(&format!(" ({} unreadable)", s.stats.faults));
    }
    for flag in flags {
        source.push_str(&format!(" ({flag})"));
    }
    [
        s.short_id(),
        time::shown(s.time),
        safe(&s.host),
        safe(&s.tags.join(",")),
        s.mode.as_str().to_string(),
        s.base.map(|id| id.hex()[..8].to_string()).unwrap_or_default(),
        sizes::shown(s.stats.source_bytes),
        sizes::shown(s.stats.new_bytes),
        source,
    ]
}

/// Rows with their columns under one another, the last one as long as it is.
pub(crate) fn columns<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let width = |i: usize| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_string()
    };
    rows.iter().map(line).collect()
}
