//! Snapshots as users name them: `latest`, `latest~2`, the beginning of an id, each with `:PATH` behind it.

use crate::error::{Exit, Failure, Outcome};
use clap::Args;
use format::snapshot::Snapshot;
use format::tree::{Entry, PathKey};
use repo::browse;
use repo::reader::Reader;
use repo::snapshots::SnapshotList;
use service::stored_config;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// What the volume of a stream begins with.
const STREAM: &[u8] = b"stream:";

/// Which snapshots are looked at.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Filter {
    /// Only snapshots of this machine
    #[arg(short = 'H', long, value_name = "NAME")]
    pub(crate) host: Vec<String>,
    /// Only snapshots with all of these tags, separated by commas
    #[arg(long, value_name = "TAG[,TAG]")]
    pub(crate) tag: Vec<String>,
    /// Only snapshots of this source
    #[arg(id = "of_source", long = "path", value_name = "PATH")]
    pub(crate) path: Vec<PathBuf>,
}

impl Filter {
    /// Whether nothing was asked for.
    pub(crate) fn is_empty(&self) -> bool {
        self.host.is_empty() && self.tag.is_empty() && self.path.is_empty()
    }

    /// Whether a snapshot is looked at: one of the machines, one of the tag lists, all of the paths.
    pub(crate) fn accepts(&self, snapshot: &Snapshot) -> bool {
        let has_all = |list: &String| list.split(',').all(|tag| snapshot.tags.iter().any(|t| t == tag));
        let has_path =
            |path: &PathBuf| snapshot.sources.iter().any(|s| s == full_path(path).as_os_str().as_bytes());
        (self.host.is_empty() || self.host.contains(&snapshot.host))
            && (self.tag.is_empty() || self.tag.iter().any(has_all))
            && self.path.iter().all(has_path)
    }
}

/// A path as a snapshot names its sources.
pub(crate) fn full_path(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// `SNAPSHOT[:PATH]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SnapSpec {
    pub(crate) snapshot: String,
    /// The path as written, if there is one.
    pub(crate) path: Option<Vec<u8>>,
}

/// A snapshot and a path that were given one after the other, as one word.
pub(crate) fn joined(snapshot: &OsStr, path: Option<&OsStr>) -> Outcome<OsString> {
    let Some(path) = path else { return Ok(snapshot.to_os_string()) };
    if snapshot.as_bytes().contains(&b':') {
        return Err(Failure::usage("the path is given twice: behind the snapshot and by itself"));
    }
    let mut both = snapshot.to_os_string();
    both.push(":");
    both.push(path);
    Ok(both)
}

impl SnapSpec {
    /// Splits at the first colon; ids have none.
    pub(crate) fn parse(text: &OsStr) -> Outcome<Self> {
        let bytes = text.as_bytes();
        let (snapshot, path) = match bytes.iter().position(|b| *b == b':') {
            Some(at) => (&bytes[..at], Some(bytes[at + 1..].to_vec())),
            None => (bytes, None),
        };
        let snapshot = String::from_utf8(snapshot.to_vec())
            .map_err(|_| Failure::usage("the name of a snapshot is not text"))?;
        Ok(SnapSpec { snapshot, path: path.filter(|p| !p.is_empty()) })
    }

    /// The snapshot that is meant. Nobody means the configuration by `latest`, unless there is nothing else or a tag
    /// or source says so.
    pub(crate) fn find<'l>(&self, list: &'l SnapshotList, filter: &Filter) -> Outcome<&'l Snapshot> {
        let is_meant = |s: &Snapshot| {
            let is_configuration = s.tags.iter().any(|tag| tag == stored_config::TAG);
            !is_configuration || !filter.tag.is_empty() || !filter.path.is_empty()
        };
        let found = list.find(&self.snapshot, |s| filter.accepts(s) && is_meant(s));
        Ok(found.or_else(|_| list.find(&self.snapshot, |s| filter.accepts(s)))?)
    }

    /// The components of the path, the volume first; none for everything.
    pub(crate) fn components(&self, snapshot: &Snapshot) -> Vec<Vec<u8>> {
        self.path.as_deref().map(|path| components(snapshot, path)).unwrap_or_default()
    }
}

/// A path inside a snapshot as components, the volume first. In the snapshot of a stream the name alone
/// is enough; elsewhere paths count from `/`.
pub(crate) fn components(snapshot: &Snapshot, path: &[u8]) -> Vec<Vec<u8>> {
    let mut parts: Vec<Vec<u8>> = path
        .split(|b| *b == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .map(<[u8]>::to_vec)
        .collect();
    let is_stream = !snapshot.sources.is_empty() && snapshot.sources.iter().all(|s| s.starts_with(STREAM));
    match parts.first_mut() {
        Some(name) if is_stream && !name.starts_with(STREAM) => *name = [STREAM, name].concat(),
        Some(_) if is_stream => {}
        _ => parts.insert(0, b"/".to_vec()),
    }
    parts
}

/// The entry of a path, which must be there.
pub(crate) fn entry(reader: &Reader, snapshot: &Snapshot, path: &[Vec<u8>]) -> Outcome<Entry> {
    let found = browse::lookup(reader, snapshot.root, &PathKey::of(path))?;
    found.ok_or_else(|| no_path(snapshot, path))
}

/// The path as people write it.
pub(crate) fn written(path: &[Vec<u8>]) -> Vec<u8> {
    format::tree::KeyPath::parse(&PathKey::of(path)).map(|key| key.display_bytes()).unwrap_or_default()
}

fn no_path(snapshot: &Snapshot, path: &[Vec<u8>]) -> Failure {
    let name = crate::display::DisplayName(&written(path)).to_string();
    Failure::new(Exit::Failed, format!("snapshot {} has no path {name}", snapshot.short_id()))
        .hint(format!("look for it with: lifeboat ls {}", snapshot.short_id()))
}

/// A path from bytes.
pub(crate) fn to_path(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshot_and_path_are_split_at_the_first_colon() {
        let parse = |text: &str| SnapSpec::parse(OsStr::new(text)).unwrap();
        assert_eq!(parse("latest~2").path, None);
        assert_eq!(parse("latest:").path, None);
        let spec = parse("4f21:/home/a:b");
        assert_eq!((spec.snapshot.as_str(), spec.path.as_deref()), ("4f21", Some(&b"/home/a:b"[..])));
    }
}
