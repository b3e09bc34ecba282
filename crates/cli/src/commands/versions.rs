//! `lifeboat versions`: every distinct version of one path over all snapshots.

use super::ls::{mode_word, node_object};
use super::names;
use super::snapshots::columns;
use crate::display::DisplayName;
use crate::error::{Exit, Failure, Outcome, local};
use crate::session::Session;
use crate::snapspec::{self, Filter};
use crate::time;
use ::repo::browse;
use ::repo::erasures::ErasedHistory;
use format::id::{FamilyId, SnapshotId};
use format::snapshot::Snapshot;
use format::tree::{Entry, PathKey};
use service::catalog::Names;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// List the versions of one file
#[derive(clap::Args)]
#[command(after_help = "\
Each version is named by the first snapshot that has it.

Example:
  lifeboat versions ~/notes.txt
  lifeboat cat 4f21c09a:/home/me/notes.txt")]
pub(crate) struct Args {
    /// The path, as it was when it was saved
    #[arg(value_name = "PATH")]
    path: PathBuf,
    #[command(flatten)]
    filter: Filter,
}

/// A version, or the absence of one.
struct Version<'l> {
    snapshot: &'l Snapshot,
    entry: Option<Entry>,
}

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    let full = std::path::absolute(&args.path).map_err(|e| local("cannot find the current folder", e))?;
    let opened = session.open()?;
    let list = session.snapshots(&opened.repo)?;
    let reader = opened.reader()?;
    let mut looks = Looks::open(session, &opened.repo.identity().family);
    let erased = ErasedHistory::read(&opened.repo)?;
    let mut versions: Vec<Version<'_>> = Vec::new();
    for snapshot in list.visible().filter(|s| args.filter.accepts(s)) {
        let is_stream = snapshot.sources.iter().all(|s| !s.starts_with(b"/"));
        let path = if is_stream { &args.path } else { &full };
        let components = snapspec::components(snapshot, path.as_os_str().as_bytes());
        let look_up = |key: &[u8]| Ok(browse::lookup(&reader, snapshot.root, key)?);
        let entry = match erased.of(snapshot).covers(&components) {
            true => None,
            false => looks.entry(&PathKey::of(&components), &snapshot.id, &look_up)?,
        };
        let last = versions.last().map(|v| &v.entry);
        let is_new = match (last, &entry) {
            (None | Some(None), None) => false,
            (_, None) if !covers(snapshot, full.as_os_str().as_bytes()) => false,
            (Some(Some(old)), Some(new)) => !same(old, new),
            _ => true,
        };
        if is_new {
            versions.push(Version { snapshot, entry });
        }
    }
    if versions.is_empty() {
        let name = DisplayName(full.as_os_str().as_bytes()).to_string();
        return Err(Failure::new(Exit::Failed, format!("no snapshot has {name}"))
            .hint("look for it by its name with: lifeboat find NAME"));
    }
    tell(session, full.as_os_str().as_bytes(), &versions)
}

/// What the catalog of names knows: in which snapshots a path looks the same, so that it is looked up once.
struct Looks {
    names: Option<(Names, FamilyId, HashSet<SnapshotId>)>,
    by_key: HashMap<Vec<u8>, BTreeMap<SnapshotId, usize>>,
    entries: HashMap<(Vec<u8>, usize), Option<Entry>>,
}

impl Looks {
    fn open(session: &Session, family: &FamilyId) -> Self {
        let names = names::open(session).and_then(|names| {
            let known = names.known(family).ok()?;
            Some((names, *family, known))
        });
        Looks { names, by_key: HashMap::new(), entries: HashMap::new() }
    }

    fn entry(
        &mut self,
        key: &[u8],
        snapshot: &SnapshotId,
        look_up: &dyn Fn(&[u8]) -> Outcome<Option<Entry>>,
    ) -> Outcome<Option<Entry>> {
        let Some((names, family, _)) = self.names.as_ref().filter(|(.., known)| known.contains(snapshot))
        else {
            return look_up(key);
        };
        if !self.by_key.contains_key(key) {
            match names.looks(family, key) {
                Ok(looks) => _ = self.by_key.insert(key.to_vec(), looks),
                Err(_) => {
                    self.names = None;
                    return look_up(key);
                }
            }
        }
        let Some(look) = self.by_key[key].get(snapshot) else { return Ok(None) };
        let look = (key.to_vec(), *look);
        if let Some(entry) = self.entries.get(&look) {
            return Ok(entry.clone());
        }
        let entry = look_up(key)?;
        self.entries.insert(look, entry.clone());
        Ok(entry)
    }
}

/// Whether a path that is not in the snapshot was not there: other sources say nothing about it.
fn covers(snapshot: &Snapshot, path: &[u8]) -> bool {
    snapshot.sources.iter().any(|source| {
        let rest = path.strip_prefix(&source[..]);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/") || source.ends_with(b"/"))
    })
}

/// Whether a user would call both the same: what the system counts for itself is not looked at.
pub(crate) fn same(a: &Entry, b: &Entry) -> bool {
    a.content == b.content && same_metadata(a, b)
}

/// Kind, mode, owner, times, size, links and attributes.
pub(crate) fn same_metadata(a: &Entry, b: &Entry) -> bool {
    let class = |e: &Entry| {
        let c = &e.class;
        (c.kind, c.mode, c.owner.clone(), c.flags, c.project, c.xattrs.clone())
    };
    class(a) == class(b)
        && (a.mtime, a.size_bytes, a.rdev, &a.target, a.link_group)
            == (b.mtime, b.size_bytes, b.rdev, &b.target, b.link_group)
}

fn tell(session: &Session, path: &[u8], versions: &[Version<'_>]) -> Outcome<Exit> {
    if session.out.json {
        for version in versions {
            let mut object = match &version.entry {
                Some(entry) => node_object(path, entry),
                None => serde_json::json!({"deleted": true, "path": String::from_utf8_lossy(path)}),
            };
            object["message_type"] = "version".into();
            object["snapshot_id"] = version.snapshot.id.hex().into();
            object["snapshot_time"] = time::rfc3339(version.snapshot.time).into();
            session.out.object(&object)?;
        }
        return Ok(Exit::Ok);
    }
    let mut rows = vec![["snapshot", "saved", "size", "modified", "mode"].map(String::from)];
    for Version { snapshot, entry } in versions {
        let (id, saved) = (snapshot.short_id(), time::shown(snapshot.time));
        rows.push(match entry {
            Some(e) => [id, saved, e.size_bytes.to_string(), time::shown(e.mtime), mode_word(e)],
            None => [id, saved, "-".into(), "not there any more".into(), String::new()],
        });
    }
    columns(&rows).into_iter().try_for_each(|line| session.out.line(line))?;
    Ok(Exit::Ok)
}
