//! `lifeboat diff`: what changed from one snapshot to another, or to the files as they are now.

mod live;

use super::versions::same_metadata;
use crate::display::{DisplayName, insert_path};
use crate::error::{Exit, Failure, Outcome};
use crate::session::Session;
use crate::sizes;
use crate::snapspec::{Filter, SnapSpec, components, full_path};
use ::repo::browse::{self, Change};
use ::repo::erasures::ErasedHistory;
use format::kind::Kind;
use format::snapshot::Snapshot;
use format::tree::{Entry, KeyPath, PathKey, dir_prefix};
use live::{Direction, LIVE};
use serde_json::{Map, Value, json};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Compare two snapshots, or one with the files as they are now
#[derive(clap::Args)]
#[command(after_help = "\
`live` stands for the files of this machine as they are now, below the sources of the snapshot and under
the rules it was made by.

+ added   - removed   M contents changed   T became another kind   U only metadata changed (--metadata)

Examples:
  lifeboat diff latest~1 latest
  lifeboat diff 4f21c09a 77b1a02e /etc --metadata
  lifeboat diff latest live ~/letters

Exit code 3: some files could not be read, and so not be compared; they are named.")]
pub(crate) struct Args {
    /// The older one, or live
    #[arg(value_name = "SNAPSHOT")]
    old: OsString,
    /// The newer one, or live
    #[arg(value_name = "SNAPSHOT")]
    new: OsString,
    /// Only this path and what is below it
    path: Option<OsString>,
    #[command(flatten)]
    filter: Filter,
    /// Also name paths whose metadata changed and nothing else
    #[arg(long)]
    metadata: bool,
}

/// Counts of one direction.
#[derive(Default)]
struct Side {
    files: u64,
    dirs: u64,
    others: u64,
    bytes: u64,
}

#[derive(Default)]
struct Sums {
    added: Side,
    removed: Side,
    changed_files: u64,
}

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    let (old, new) = (SnapSpec::parse(&args.old)?, SnapSpec::parse(&args.new)?);
    if old.path.is_some() || new.path.is_some() {
        return Err(Failure::usage(
            "paths of snapshots are compared with: lifeboat diff SNAPSHOT SNAPSHOT PATH",
        ));
    }
    match (old.snapshot == LIVE, new.snapshot == LIVE) {
        (false, false) => two_snapshots(session, &args, &old, &new),
        (false, true) => live::run(session, &args, &old, Direction::FromSnapshot),
        (true, false) => live::run(session, &args, &new, Direction::ToSnapshot),
        (true, true) => Err(Failure::usage("live is compared with a snapshot")
            .hint("for what changed since the newest one: lifeboat diff latest live")),
    }
}

fn two_snapshots(session: &Session, args: &Args, old: &SnapSpec, new: &SnapSpec) -> Outcome<Exit> {
    let opened = session.open()?;
    let list = session.snapshots(&opened.repo)?;
    let (old, new) = (old.find(&list, &args.filter)?, new.find(&list, &args.filter)?);
    let reader = opened.reader()?;
    let part = part(args, new);
    let history = ErasedHistory::read(&opened.repo)?;
    let erased = [history.of(old), history.of(new)];
    let wanted = |key: &[u8]| part.has(key) && !erased.iter().any(|erased| erased.covers_key(key));
    let mut sums = Sums::default();
    let mut told = Ok(());
    browse::diff(&reader, old.root, new.root, &mut |key, change| {
        if told.is_ok() && wanted(key) {
            told = one(session, args, &mut sums, key, change);
        }
        Ok(())
    })?;
    told?;
    let names = (old.id.hex(), new.id.hex());
    summary(session, &sums, &names).map(|()| Exit::Ok)
}

/// What is looked at: everything, or a path and what is below it.
struct Part(Option<(Vec<u8>, Vec<u8>)>);

fn part(args: &Args, snapshot: &Snapshot) -> Part {
    Part(path_in(args, snapshot).map(|path| (PathKey::of(&path), dir_prefix(&path))))
}

/// The path that was asked for, as components. Among the files of a machine it counts from the current folder.
fn path_in(args: &Args, snapshot: &Snapshot) -> Option<Vec<Vec<u8>>> {
    let path = Path::new(args.path.as_ref()?);
    let is_of_files = snapshot.sources.iter().any(|source| source.starts_with(b"/"));
    let path = if is_of_files { full_path(path) } else { path.to_path_buf() };
    Some(components(snapshot, path.as_os_str().as_bytes()))
}

impl Part {
    fn has(&self, key: &[u8]) -> bool {
        self.0.as_ref().is_none_or(|(path, below)| key == path || key.starts_with(below))
    }
}

fn one(session: &Session, args: &Args, sums: &mut Sums, key: &[u8], change: Change<'_>) -> Outcome<()> {
    let Some(letter) = judge(sums, change) else { return Ok(()) };
    if letter == 'U' && !args.metadata {
        return Ok(());
    }
    let mut path = KeyPath::parse(key).map(|p| p.display_bytes()).unwrap_or_default();
    let (Change::Added(entry) | Change::Removed(entry) | Change::Changed(_, entry)) = change;
    if entry.kind() == Kind::Directory && path != b"/" {
        path.push(b'/');
    }
    if session.out.json {
        let mut object = Map::new();
        object.insert("message_type".into(), "change".into());
        insert_path(&mut object, "path", &path);
        object.insert("modifier".into(), letter.to_string().into());
        return session.out.object(&object.into());
    }
    session.out.line(format!("{letter}    {}", DisplayName(&path)))
}

/// The letter for a change, and its place in the sums; `None` when a user would see none.
fn judge(sums: &mut Sums, change: Change<'_>) -> Option<char> {
    match change {
        Change::Added(entry) | Change::Removed(entry) if entry.kind() == Kind::Fault => None,
        Change::Added(entry) => {
            sums.added.count(entry);
            Some('+')
        }
        Change::Removed(entry) => {
            sums.removed.count(entry);
            Some('-')
        }
        Change::Changed(old, new) if old.kind() != new.kind() => {
            sums.removed.count(old);
            sums.added.count(new);
            Some('T')
        }
        Change::Changed(old, new) if old.content != new.content => {
            sums.changed_files += 1;
            sums.removed.bytes += old.size_bytes;
            sums.added.bytes += new.size_bytes;
            Some('M')
        }
        Change::Changed(old, new) => (!same_metadata(old, new)).then_some('U'),
    }
}

impl Side {
    fn count(&mut self, entry: &Entry) {
        match entry.kind() {
            Kind::File => self.files += 1,
            Kind::Directory => self.dirs += 1,
            _ => self.others += 1,
        }
        self.bytes += entry.size_bytes;
    }

    fn object(&self) -> Value {
        json!({"files": self.files, "dirs": self.dirs, "others": self.others, "bytes": self.bytes})
    }
}

fn summary(session: &Session, sums: &Sums, names: &(String, String)) -> Outcome<()> {
    let Sums { added, removed, changed_files } = sums;
    if session.out.json {
        return session.out.object(&json!({
            "message_type": "statistics", "source_snapshot": names.0, "target_snapshot": names.1,
            "changed_files": changed_files, "added": added.object(), "removed": removed.object(),
        }));
    }
    if session.out.quiet {
        return Ok(());
    }
    session.out.line(format!(
        "\nfiles    {} added, {} removed, {changed_files} changed\n\
         folders  {} added, {} removed\nothers   {} added, {} removed\n\
         bytes    {} added, {} removed",
        added.files,
        removed.files,
        added.dirs,
        removed.dirs,
        added.others,
        removed.others,
        sizes::shown(added.bytes),
        sizes::shown(removed.bytes),
    ))
}
