//! Whether what is to be backed up is really there.
//!
//! An empty folder where a disk should be mounted is the oldest way to lose a backup: the snapshot is empty,
//! looks right, and in time displaces the good ones. So a source is looked at before it is read, and compared
//! with what it used to be afterwards.

use crate::config::sources::Common;
use crate::display::DisplayName;
use crate::failure::{Exit, Failure, Outcome};
use format::snapshot::Snapshot;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Snapshots that say what is usual.
const USUAL_OF: usize = 5;
/// So many per cent less than usual are suspicious unless the source says otherwise.
const SHRINK_PERCENT: u8 = 30;

fn gone(what: String) -> Failure {
    Failure::new(Exit::Partial, what)
        .hint("nothing was stored, so that no empty snapshot looks like a backup")
}

/// Refuses paths that are missing, no longer mounted, or empty where they were not.
pub(super) fn look(
    paths: &[PathBuf],
    mount_uuid: Option<&str>,
    before: Option<&Snapshot>,
    may_be_empty: bool,
) -> Outcome<()> {
    let shown = |path: &Path| DisplayName(path.as_os_str().as_bytes()).to_string();
    for path in paths {
        if let Err(e) = std::fs::symlink_metadata(path) {
            return Err(gone(format!("{} is not there", shown(path))).because(e));
        }
        if let Some(folder) = lost_mount(path, before).filter(|_| !may_be_empty) {
            return Err(gone(format!("{} is empty and nothing is mounted there", shown(&folder)))
                .hint("it was the beginning of a file system when it was last backed up; if it may be empty, write min_size = \"0\" into the source"));
        }
    }
    if let Some(uuid) = mount_uuid {
        for path in paths {
            is_on(path, uuid)
                .map_err(|why| gone(format!("{} is not on its file system: {why}", shown(path))))?;
        }
    }
    if !may_be_empty && !paths.is_empty() && paths.iter().all(|path| is_empty(path)) {
        let names: Vec<String> = paths.iter().map(|path| shown(path)).collect();
        return Err(gone(format!("there is nothing in {}", names.join(", ")))
            .hint("is something not mounted? If it may be empty, write min_size = \"0\" into the source"));
    }
    Ok(())
}

fn is_empty(path: &Path) -> bool {
    std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

/// A folder at or above a path that was a mount point when it was last backed up, and is an empty folder now.
/// One that holds something was moved on purpose; whether enough is left is judged by its size.
fn lost_mount(path: &Path, before: Option<&Snapshot>) -> Option<PathBuf> {
    let folders = before?.mounts.iter().map(|mount| {
        let folder = mount.split(|byte| *byte == 0).next().unwrap_or_default();
        PathBuf::from(OsStr::from_bytes(folder))
    });
    let mut relevant = folders.filter(|folder| folder.is_absolute() && path.starts_with(folder));
    relevant.find(|folder| folder.parent().is_some() && is_empty(folder) && !is_mount_point(folder))
}

/// Whether another file system begins here, or the same one is mounted here a second time.
fn is_mount_point(folder: &Path) -> bool {
    let Some(parent) = folder.parent() else { return true };
    match (std::fs::metadata(folder), std::fs::metadata(parent)) {
        (Ok(here), Ok(above)) if here.dev() != above.dev() => true,
        _ => mounts().iter().any(|(at, _)| at == folder),
    }
}

/// Mount points and what is mounted there.
fn mounts() -> Vec<(PathBuf, PathBuf)> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let line = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let at = unescaped(before.split(' ').nth(4)?);
        Some((at, unescaped(after.split(' ').nth(1)?)))
    };
    table.lines().filter_map(line).collect()
}

/// The table writes blanks and the like as `\040`.
fn unescaped(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let code = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match (byte, code.and_then(|digits| u8::from_str_radix(digits, 8).ok())) {
            (b'\\', Some(code)) => {
                bytes.push(code);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsStr::from_bytes(&bytes))
}

/// Whether a path lies on the file system with this UUID.
fn is_on(path: &Path, uuid: &str) -> Result<(), String> {
    let device = std::fs::canonicalize(Path::new("/dev/disk/by-uuid").join(uuid))
        .map_err(|_| format!("no disk with the UUID {uuid} is there"))?;
    let path = std::fs::canonicalize(path).map_err(|e| e.to_string())?;
    let mounts = mounts();
    let nearest =
        mounts.iter().filter(|(at, _)| path.starts_with(at)).max_by_key(|(at, _)| at.components().count());
    let mounted = nearest.map(|(_, what)| std::fs::canonicalize(what).unwrap_or_else(|_| what.clone()));
    match mounted {
        Some(mounted) if mounted == device => Ok(()),
        Some(mounted) => Err(format!("{} is mounted there", mounted.display())),
        None => Err("nothing is mounted there".into()),
    }
}

/// What is wrong with the size of a new snapshot of a source, compared with the newest before it.
pub fn shrunk<'s>(
    new: &Snapshot,
    before: impl DoubleEndedIterator<Item = &'s Snapshot>,
    common: &Common,
) -> Option<String> {
    let (min_bytes, max_shrink_percent) = (common.min_size.map(|size| size.0), common.max_shrink);
    let bytes = new.stats.source_bytes;
    if let Some(least) = min_bytes.filter(|least| bytes < *least) {
        let (bytes, least) = (crate::sizes::shown(bytes), crate::sizes::shown(least));
        return Some(format!("it holds {bytes}, and should never hold less than {least}"));
    }
    let mut usual: Vec<u64> = before.rev().take(USUAL_OF).map(|s| s.stats.source_bytes).collect();
    usual.sort_unstable();
    let usual = *usual.get(usual.len() / 2)?;
    let percent = u128::from(100 - max_shrink_percent.unwrap_or(SHRINK_PERCENT).min(100));
    let least = u128::from(usual) * percent / 100;
    (u128::from(bytes) < least).then(|| {
        format!("it holds {}, and usually {}", crate::sizes::shown(bytes), crate::sizes::shown(usual))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let full = folder.path().join("full");
        let empty = folder.path().join("empty");
        std::fs::create_dir(&full).unwrap();
        std::fs::create_dir(&empty).unwrap();
        std::fs::write(full.join("a"), "a").unwrap();
        assert!(look(std::slice::from_ref(&full), None, None, false).is_ok());
        assert!(look(&[full.clone(), empty.clone()], None, None, false).is_ok());
        assert!(look(&[full.clone(), folder.path().join("gone")], None, None, false).is_err());
        assert!(look(std::slice::from_ref(&empty), None, None, false).is_err());
        assert!(look(std::slice::from_ref(&empty), None, None, true).is_ok());
        let uuid = "00000000-dead-beef-0000-000000000000";
        let refused = look(&[full], Some(uuid), None, false).unwrap_err();
        assert!(refused.message().contains("no disk with the UUID"), "{}", refused.message());
    }

    #[test]
    fn the_table_of_mounts_is_understood() {
        assert!(mounts().iter().any(|(at, _)| at == Path::new("/proc")));
        assert_eq!(unescaped("/a\\040b"), Path::new("/a b"));
        assert!(is_mount_point(Path::new("/proc")) && !is_mount_point(Path::new("/proc/self")));
    }
}
