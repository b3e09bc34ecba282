//! `lifeboat ls`: what is in a snapshot.

use crate::contents;
use crate::display::{DisplayName, insert_path};
use crate::error::{Exit, Outcome};
use crate::session::Session;
use crate::snapspec::{self, Filter, SnapSpec};
use crate::time;
use ::repo::browse;
use format::kind::Kind;
use format::tree::{Entry, KeyPath, dir_prefix};
use serde_json::{Map, Value, json};
use std::ffi::OsString;
use std::ops::ControlFlow;

/// List the files of a snapshot
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  lifeboat ls latest
  lifeboat ls -l latest:/home/me/docs
  lifeboat ls --no-recursive 4f21c09a:/etc")]
pub(crate) struct Args {
    /// latest, latest~2, or the beginning of an id; :PATH for a part of it
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    snapshot: OsString,
    /// The part, where it does not stand behind the snapshot
    #[arg(value_name = "PATH")]
    path: Option<OsString>,
    #[command(flatten)]
    filter: Filter,
    /// Also mode, owner, size and time
    #[arg(short, long)]
    long: bool,
    /// List what is in folders, too [default]
    #[arg(short = 'R', long, overrides_with = "no_recursive")]
    recursive: bool,
    /// List one folder only
    #[arg(long)]
    no_recursive: bool,
}

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    let opened = session.open()?;
    let spec = SnapSpec::parse(&snapspec::joined(&args.snapshot, args.path.as_deref())?)?;
    let list = session.snapshots(&opened.repo)?;
    let snapshot = spec.find(&list, &args.filter)?;
    let reader = opened.reader()?;
    let path = spec.components(snapshot);
    let erased = contents::erased(&reader, snapshot, &path)?;
    if session.out.json {
        let mut object = super::snapshots::record_object(snapshot);
        object["message_type"] = "snapshot".into();
        session.out.object(&object)?;
    }
    let tell = |key: &[u8], entry: &Entry| -> Outcome<()> {
        let path = KeyPath::parse(key).map(|p| p.display_bytes()).unwrap_or_default();
        line(session, &args, &path, entry)
    };
    let mut told = Ok(());
    let mut visit = |key: &[u8], entry: &Entry| {
        let wanted = (!args.no_recursive || is_child(key, &path)) && !erased.covers_key(key);
        told = if wanted { tell(key, entry) } else { Ok(()) };
        Ok(if told.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    };
    if !path.is_empty() {
        let entry = snapspec::entry(&reader, snapshot, &path)?;
        if entry.kind() != Kind::Directory || !args.no_recursive {
            line(session, &args, &snapspec::written(&path), &entry)?;
        }
    }
    browse::visit_range(&reader, snapshot.root, &dir_prefix(&path), &mut visit)?;
    told.map(|()| Exit::Ok)
}

/// Whether the key names something directly in the folder.
fn is_child(key: &[u8], folder: &[Vec<u8>]) -> bool {
    KeyPath::parse(key).is_ok_and(|path| path.folders().count() == folder.len())
}

fn line(session: &Session, args: &Args, path: &[u8], entry: &Entry) -> Outcome<()> {
    if session.out.json {
        return session.out.object(&node_object(path, entry));
    }
    let name = DisplayName(path);
    if entry.kind() == Kind::Fault {
        return session.out.line(format!("{name}: could not be read: {}", DisplayName(&entry.target)));
    }
    if !args.long {
        return session.out.line(name);
    }
    session.out.line(long_line(path, entry))
}

/// Mode, owner, size, time and name, as `ls -l` writes them.
pub(crate) fn long_line(path: &[u8], entry: &Entry) -> String {
    let owner = &entry.class.owner;
    let who = |name: &[u8], number: u32| match name.is_empty() {
        true => number.to_string(),
        false => DisplayName(name).to_string(),
    };
    let link = match entry.kind() {
        Kind::Symlink => format!(" -> {}", DisplayName(&entry.target)),
        _ => String::new(),
    };
    format!(
        "{} {:>8} {:>8} {:>12} {} {}{link}",
        mode_word(entry),
        who(&owner.user, owner.uid),
        who(&owner.group, owner.gid),
        entry.size_bytes,
        time::shown(entry.mtime),
        DisplayName(path),
    )
}

/// `drwxr-xr-x`.
pub(crate) fn mode_word(entry: &Entry) -> String {
    let kind = match entry.kind() {
        Kind::File => '-',
        Kind::Directory => 'd',
        Kind::Symlink => 'l',
        Kind::Fifo => 'p',
        Kind::Socket => 's',
        Kind::CharDevice => 'c',
        Kind::BlockDevice => 'b',
        Kind::Fault => '?',
    };
    let mode = entry.class.mode;
    let mut word = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        word.push(if bits & 4 != 0 { 'r' } else { '-' });
        word.push(if bits & 2 != 0 { 'w' } else { '-' });
        word.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    word
}

/// The word for a kind in JSON, as restic has it.
pub(crate) fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Directory => "dir",
        Kind::Symlink => "symlink",
        Kind::Fifo => "fifo",
        Kind::Socket => "socket",
        Kind::CharDevice => "chardev",
        Kind::BlockDevice => "dev",
        Kind::Fault => "fault",
    }
}

/// An entry as JSON: restic's field names, and more.
pub(crate) fn node_object(path: &[u8], entry: &Entry) -> Value {
    let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
    let class = &entry.class;
    let mut object = Map::new();
    object.insert("message_type".into(), "node".into());
    insert_path(&mut object, "name", name);
    insert_path(&mut object, "path", path);
    let rest = json!({
        "type": kind_word(entry.kind()), "size": entry.size_bytes, "mode": class.mode,
        "permissions": mode_word(entry), "uid": class.owner.uid, "gid": class.owner.gid,
        "user": String::from_utf8_lossy(&class.owner.user), "group": String::from_utf8_lossy(&class.owner.group),
        "mtime": time::rfc3339(entry.mtime), "ctime": time::rfc3339(entry.ctime), "inode": entry.inode,
    });
    if let Value::Object(rest) = rest {
        object.extend(rest);
    }
    match entry.kind() {
        Kind::Symlink => insert_path(&mut object, "linktarget", &entry.target),
        Kind::Fault => insert_path(&mut object, "fault", &entry.target),
        _ => {}
    }
    object.into()
}
