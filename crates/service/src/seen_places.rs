//! At which places this machine has had repositories, a file each in its state folder.
//!
//! A drive that is not mounted leaves an empty folder, and a bucket that somebody emptied looks like a new one: there
//! `--init` must not begin anew without a word. And a repository that was copied file by file is two with one name: if
//! both are written to, each shows less than was seen of it. The files may be lost: then nothing is known.

use crate::durable;
use crate::folders::Folders;
use ::repo::Repo;
use format::id::RepoId;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use storage::Location;

/// More files than this are not looked at.
const FILES_MAX: usize = 10_000;

/// The folder of a place on this machine.
fn absolute(location: &str) -> Option<PathBuf> {
    if location.contains("://") { None } else { std::path::absolute(location).ok() }
}

/// A place is told by the hash of how it is written; relative paths by where they lead.
fn path(folders: &Folders, location: &str) -> PathBuf {
    let spelled = absolute(location)
        .map_or_else(|| location.as_bytes().to_vec(), |p| p.into_os_string().into_encoded_bytes());
    folders.state.join(format!("place-{}", &blake3::hash(&spelled).to_hex()[..32]))
}

/// Remembers which repository is at a place, and how the place is written.
pub fn remember(folders: &Folders, location: &str, repo: &RepoId) -> io::Result<()> {
    let path = path(folders, location);
    let text = format!("{}\n{}\n", repo.hex(), absolute(location).unwrap_or_default().display());
    match std::fs::read_to_string(&path).is_ok_and(|known| known == text) {
        true => Ok(()),
        false => durable::replace(&path, text.as_bytes()),
    }
}

/// Which repository was at a place when this machine last wrote there.
pub fn known(folders: &Folders, location: &str) -> Option<RepoId> {
    let text = std::fs::read_to_string(path(folders, location)).ok()?;
    RepoId::from_hex(text.lines().next()?)
}

/// The folder that a repository was copied from file by file: another one where this machine wrote to it and where it
/// still is, when it never wrote to it at this place. A folder that is seen by two ways is one.
pub fn original(folders: &Folders, location: &str, repo: &RepoId) -> Option<PathBuf> {
    let here = absolute(location)?;
    if known(folders, location) == Some(*repo) {
        return None;
    }
    let entries = std::fs::read_dir(&folders.state).ok()?.take(FILES_MAX).flatten();
    let files = entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"place-"));
    let places = files.filter_map(|entry| {
        let text = std::fs::read_to_string(entry.path()).ok()?;
        let (id, folder) = text.split_once('\n')?;
        let folder = PathBuf::from(folder.trim_end_matches('\n'));
        (RepoId::from_hex(id) == Some(*repo) && folder.is_absolute()).then_some(folder)
    });
    places.filter(|there| is_another(&here, there) && holds(there, repo)).min()
}

/// Whether two folders are two, and both are there. Who copies a file can give the copy everything but the time of its
/// last change, which the file system keeps for itself.
fn is_another(here: &Path, there: &Path) -> bool {
    let changed = |folder: &Path| {
        let found = folder.join(::repo::names::CONFIG).metadata().ok()?;
        Some((found.ctime(), found.ctime_nsec()))
    };
    changed(here).zip(changed(there)).is_some_and(|(here, there)| here != there)
}

fn holds(folder: &Path, repo: &RepoId) -> bool {
    let store = storage::open(&Location::Local(folder.to_path_buf()), &storage::OpenOptions::default());
    store.is_ok_and(|store| Repo::peek(&*store).is_ok_and(|found| found.repo == *repo))
}
