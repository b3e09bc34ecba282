//! `lifeboat find`: paths in all snapshots that fit a pattern.
//!
//! The catalog of names answers where there is one; it learns new snapshots by what changed in them. Otherwise,
//! and with `--no-cache`, the trees are searched, the parts that snapshots share once.

mod deleted;

use super::ls::{kind_word, long_line, node_object};
use super::names;
use crate::display::DisplayName;
use crate::error::{Exit, Failure, Outcome};
use crate::session::{Opened, Session};
use crate::snapspec::{Filter, SnapSpec};
use crate::time;
use ::repo::browse::read_node;
use ::repo::erasures::ErasedHistory;
use ::repo::reader::Reader;
use ::repo::snapshots::SnapshotList;
use format::id::{BlobId, SnapshotId};
use format::kind::{Kind, Timestamp};
use format::snapshot::Snapshot;
use format::tree::{Entry, KeyPath, Node};
use host::Rules;
use serde_json::{Value, json};
use service::catalog::{Ends, FoundBySnapshot, Query, literal};
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;
use std::sync::Arc;

/// Find files in all snapshots
#[derive(clap::Args)]
#[command(after_help = "\
Patterns are written as in gitignore: a name fits at any depth, a pattern with a slash counts from /.

Examples:
  lifeboat find '*.kdbx'
  lifeboat find -i 'tax*' --type f --newer 2026-01-01 -l
  lifeboat find /etc/fstab --snapshot latest
  lifeboat find --deleted '*.odt'       what the newest snapshot has no more, where it was last")]
pub(crate) struct Args {
    /// What to look for
    #[arg(value_name = "PATTERN", required = true)]
    patterns: Vec<OsString>,
    /// Whatever the letters' case
    #[arg(short, long)]
    ignore_case: bool,
    /// Only in this snapshot
    #[arg(short, long, value_name = "SNAPSHOT")]
    snapshot: Vec<OsString>,
    #[command(flatten)]
    filter: Filter,
    /// Only what changed after this time
    #[arg(long, value_name = "TIME")]
    newer: Option<String>,
    /// Only what changed before this time
    #[arg(long, value_name = "TIME")]
    older: Option<String>,
    /// Only files (f), folders (d), links (l), or anything else (o)
    #[arg(long = "type", value_name = "TYPE", value_parser = ["f", "d", "l", "o"])]
    kind: Option<String>,
    /// Only what the newest snapshot of its source does not have any more, in the last one that has it
    #[arg(long)]
    deleted: bool,
    /// Also mode, owner, size and time
    #[arg(short, long)]
    long: bool,
}

/// What was found under a tree node, by key.
type Found = Rc<Vec<(Vec<u8>, Entry)>>;

/// What is looked for.
struct Wish {
    patterns: Rules,
    newer: Option<Timestamp>,
    older: Option<Timestamp>,
    kind: Option<String>,
}

/// A search in the repository.
struct Search<'r> {
    opened: &'r Opened,
    /// Loaded when it is first needed: the catalog may have answered everything.
    reader: Option<Arc<Reader>>,
    wish: &'r Wish,
    /// By tree node.
    known: HashMap<BlobId, Found>,
}

/// What the catalog of names answered.
struct Remembered {
    known: HashSet<SnapshotId>,
    found: FoundBySnapshot,
}

impl Remembered {
    fn of(&self, snapshot: &SnapshotId) -> Found {
        let found = self.found.get(snapshot).into_iter().flatten();
        Rc::new(found.map(|found| (found.key.clone(), found.entry.clone())).collect())
    }
}

/// Asks the catalog of names, which first learns what it does not know yet. None where there is no catalog, or
/// it cannot answer: the repository always can.
fn remembered(
    session: &Session,
    opened: &Opened,
    list: &SnapshotList,
    args: &Args,
    wish: &Wish,
) -> Option<Remembered> {
    let family = opened.repo.identity().family;
    let mut names = names::open(session)?;
    let last = last_names(args);
    let ends: Option<Vec<Ends>> =
        args.patterns.iter().map(|p| Ends::of(p.as_bytes(), args.ignore_case)).collect();
    let may_fit = |name: &[u8]| ends.as_ref().is_none_or(|ends| ends.iter().any(|ends| ends.fits(name)));
    let asked = names::learn(session, &mut names, opened, list).and_then(|()| {
        let query = Query {
            literals: args.patterns.iter().map(|p| literal(p.as_bytes(), args.ignore_case)).collect(),
            name_fits: &|name| {
                may_fit(name)
                    && last.as_ref().is_none_or(|last| last.judge_saved(&[name], true) == Some(true))
            },
            fits: &|parts, entry| wish.fits(parts, entry),
        };
        Ok(Remembered { known: names.known(&family)?, found: names.find(&family, &query)? })
    });
    names::usable(session, names, asked)
}

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    let patterns = patterns(&args)?;
    let newer = args.newer.as_deref().map(time::parse).transpose()?;
    let older = args.older.as_deref().map(time::parse).transpose()?;
    let opened = session.open()?;
    let list = session.snapshots(&opened.repo)?;
    let snapshots = chosen(&args, &list)?;
    let wish = Wish { patterns, newer, older, kind: args.kind.clone() };
    let remembered = remembered(session, &opened, &list, &args, &wish);
    let erased = ErasedHistory::read(&opened.repo)?;
    let search = Search { opened: &opened, reader: None, wish: &wish, known: HashMap::new() };
    let mut finds = Finds { search, remembered, erased: &erased };
    let mut tell = Teller { session, args: &args, groups: Vec::new() };
    if args.deleted {
        for (snapshot, found) in deleted::last_seen(&mut finds, &list, snapshots)? {
            tell.one(snapshot, &found)?;
        }
    } else {
        for snapshot in snapshots {
            tell.one(snapshot, &finds.of(snapshot)?)?;
        }
    }
    tell.end()
}

/// What fits in one snapshot after another, from the catalog where it knows the snapshot.
struct Finds<'r> {
    search: Search<'r>,
    remembered: Option<Remembered>,
    erased: &'r ErasedHistory,
}

impl Finds<'_> {
    fn of(&mut self, snapshot: &Snapshot) -> Outcome<Found> {
        let mut found = match &self.remembered {
            Some(remembered) if remembered.known.contains(&snapshot.id) => remembered.of(&snapshot.id),
            _ => self.search.node(&snapshot.root.id)?,
        };
        let erased = self.erased.of(snapshot);
        if !erased.is_empty() {
            Rc::make_mut(&mut found).retain(|(key, _)| !erased.covers_key(key));
        }
        Ok(found)
    }
}

/// Prints what was found, in JSON all of it at the end.
struct Teller<'s> {
    session: &'s Session,
    args: &'s Args,
    groups: Vec<Value>,
}

impl Teller<'_> {
    fn one(&mut self, snapshot: &Snapshot, found: &Found) -> Outcome<()> {
        match self.session.out.json {
            _ if found.is_empty() => Ok(()),
            true => {
                self.groups.push(group(snapshot, found));
                Ok(())
            }
            false => tell(self.session, self.args, snapshot, found),
        }
    }

    fn end(self) -> Outcome<Exit> {
        if self.session.out.json {
            self.session.out.object(&self.groups.into())?;
        }
        Ok(Exit::Ok)
    }
}

fn patterns(args: &Args) -> Outcome<Rules> {
    let mut rules = Rules::default();
    for pattern in &args.patterns {
        let added = rules.exclude(pattern.as_bytes(), "pattern", args.ignore_case);
        added.map_err(|e| Failure::usage("cannot use a pattern").because(e))?;
    }
    Ok(rules)
}

/// What the last name of whatever fits must look like, so that most of a million names are passed over at once; none
/// where a pattern leaves that open. Never says no to what fits.
fn last_names(args: &Args) -> Option<Rules> {
    let mut rules = Rules::default();
    for pattern in args.patterns.iter().map(|pattern| pattern.as_bytes()) {
        if pattern.starts_with(b"!") {
            continue;
        }
        let last = pattern.strip_suffix(b"/").unwrap_or(pattern).rsplit(|b| *b == b'/').next()?;
        // A bracket may hold a slash, and a backslash may make one plain.
        let is_open = pattern.iter().any(|b| matches!(b, b'[' | b'\\'));
        if is_open || last.is_empty() || last == b"**" || matches!(last[0], b'!' | b'#') {
            return None;
        }
        rules.exclude(last, "pattern", args.ignore_case).ok()?;
    }
    Some(rules)
}

fn chosen<'l>(args: &Args, list: &'l SnapshotList) -> Outcome<Vec<&'l Snapshot>> {
    if args.snapshot.is_empty() {
        return Ok(list.visible().filter(|s| args.filter.accepts(s)).collect());
    }
    args.snapshot.iter().map(|spec| SnapSpec::parse(spec)?.find(list, &args.filter)).collect()
}

impl Search<'_> {
    fn reader(&mut self) -> Outcome<Arc<Reader>> {
        Ok(match &self.reader {
            Some(reader) => reader.clone(),
            None => self.reader.insert(self.opened.reader()?).clone(),
        })
    }

    /// Everything below a node that fits.
    fn node(&mut self, id: &BlobId) -> Outcome<Found> {
        if let Some(found) = self.known.get(id) {
            return Ok(found.clone());
        }
        let mut found = Vec::new();
        let reader = self.reader()?;
        match read_node(&reader, id)? {
            Node::Leaf(leaf) => {
                let fitting = (0..leaf.len()).filter(|i| self.wish.fits_key(leaf.key(*i), &leaf.entries[*i]));
                found.extend(fitting.map(|i| (leaf.key(i).to_vec(), leaf.entries[i].clone())));
            }
            Node::Index { children, .. } => {
                for child in &children {
                    found.extend(self.node(&child.id)?.iter().cloned());
                }
            }
        }
        let found = Rc::new(found);
        self.known.insert(*id, found.clone());
        Ok(found)
    }
}

impl Wish {
    fn fits_key(&self, key: &[u8], entry: &Entry) -> bool {
        let Ok(path) = KeyPath::parse(key) else { return false };
        self.fits(&path.components().collect::<Vec<_>>(), entry)
    }

    /// Whether a path fits: its components, volume first.
    fn fits(&self, parts: &[&[u8]], entry: &Entry) -> bool {
        let mut parts = parts;
        if parts.first() == Some(&&b"/"[..]) {
            parts = &parts[1..];
        }
        let of_kind = match (self.kind.as_deref(), entry.kind()) {
            (_, Kind::Fault) => false,
            (None, _)
            | (Some("f"), Kind::File)
            | (Some("d"), Kind::Directory)
            | (Some("l"), Kind::Symlink) => true,
            (Some("o"), kind) => !matches!(kind, Kind::File | Kind::Directory | Kind::Symlink),
            _ => false,
        };
        of_kind
            && self.newer.is_none_or(|time| entry.mtime > time)
            && self.older.is_none_or(|time| entry.mtime < time)
            && !parts.is_empty()
            && self.patterns.judge_saved(parts, entry.kind() == Kind::Directory) == Some(true)
    }
}

fn path_of(key: &[u8]) -> Vec<u8> {
    KeyPath::parse(key).map(|path| path.display_bytes()).unwrap_or_default()
}

fn group(snapshot: &Snapshot, found: &Found) -> Value {
    let matches: Vec<Value> = found.iter().map(|(key, entry)| node_object(&path_of(key), entry)).collect();
    json!({"snapshot": snapshot.id.hex(), "hits": matches.len(), "matches": matches})
}

fn tell(session: &Session, args: &Args, snapshot: &Snapshot, found: &Found) -> Outcome<()> {
    session.out.line(format!("in snapshot {} of {}", snapshot.short_id(), time::shown(snapshot.time)))?;
    for (key, entry) in found.iter() {
        let path = path_of(key);
        match args.long {
            true => session.out.line(format!("  {}", long_line(&path, entry)))?,
            false => session.out.line(format!("  {:<4} {}", kind_word(entry.kind()), DisplayName(&path)))?,
        }
    }
    Ok(())
}
