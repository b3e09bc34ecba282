//! At which places this machine has had repositories, a file each in its state folder.
//!
//! A drive that is not mounted leaves an empty folder, and a bucket that somebody emptied looks like a new one: there
//! `--init` must not begin anew without a word. And a repository that was copied file by file is two with one name: if
//! both are written to, each shows less than was seen of it. The files may be lost: then nothing is known.

use crate::durable;
use crate::folders::Folders;
use ::repo::Repo;
use format::id::RepoId;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
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

/// Remembers that this machine wrote to a repository at a place: which, how the place is written, and, by the time of
/// the file, that it was now.
pub fn remember(folders: &Folders, location: &str, repo: &RepoId) -> io::Result<()> {
    let mut text = format!("{}\n", repo.hex()).into_bytes();
    // A place elsewhere has no folder here.
    text.extend(absolute(location).into_iter().flat_map(|folder| folder.into_os_string().into_vec()));
    durable::replace(&path(folders, location), &text)
}

/// Which repository was at a place when this machine last wrote there.
pub fn known(folders: &Folders, location: &str) -> Option<RepoId> {
    read(&path(folders, location)).map(|written| written.repo)
}

/// What a file says.
struct Written {
    repo: RepoId,
    folder: PathBuf,
    at: SystemTime,
}

fn read(path: &Path) -> Option<Written> {
    let at = path.metadata().ok()?.modified().ok()?;
    let text = std::fs::read(path).ok()?;
    let mut parts = text.splitn(2, |byte| *byte == b'\n');
    let repo = RepoId::from_hex(str::from_utf8(parts.next()?).ok()?)?;
    let folder = PathBuf::from(OsStr::from_bytes(parts.next().unwrap_or_default()));
    Some(Written { repo, folder, at })
}

/// The other folder that has a repository, where one of the two was copied from the other file by file: the one of them
/// to which this machine wrote last, if that is not this one. A folder that is seen by two ways is one.
pub fn original(folders: &Folders, location: &str, repo: &RepoId) -> Option<PathBuf> {
    let here = absolute(location)?;
    let written_here = read(&path(folders, location)).filter(|here| here.repo == *repo).map(|here| here.at);
    let entries = std::fs::read_dir(&folders.state).ok()?.take(FILES_MAX).flatten();
    let files = entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"place-"));
    let later = files.filter_map(|entry| read(&entry.path())).filter(|there| {
        there.repo == *repo && there.folder.is_absolute() && written_here.is_none_or(|at| at < there.at)
    });
    let present = later.filter(|there| is_another(&here, &there.folder) && holds(&there.folder, repo));
    present.max_by_key(|there| there.at).map(|there| there.folder)
}

/// Whether two folders are two, and both are there. Who copies a folder can give the copy everything but the times of its
/// last changes, which the file system keeps for itself.
fn is_another(here: &Path, there: &Path) -> bool {
    let changed = |folder: &Path| {
        let time = |path: &Path| path.metadata().ok().map(|found| (found.ctime(), found.ctime_nsec()));
        Some((time(folder)?, time(&folder.join(::repo::names::CONFIG))?))
    };
    changed(here).zip(changed(there)).is_some_and(|(here, there)| here != there)
}

fn holds(folder: &Path, repo: &RepoId) -> bool {
    let store = storage::open(&Location::Local(folder.to_path_buf()), &storage::OpenOptions::default());
    store.is_ok_and(|store| Repo::peek(&*store).is_ok_and(|found| found.repo == *repo))
}
