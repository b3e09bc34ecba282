//! At which places this machine has had repositories, a file each in its state folder.
//!
//! A drive that is not mounted leaves an empty folder, and a bucket that somebody emptied looks like a new one: there
//! `--init` must not begin anew without a word. The files may be lost: then nothing is known.

use crate::durable;
use crate::folders::Folders;
use format::id::RepoId;
use std::io;
use std::path::PathBuf;

/// A place is told by the hash of how it is written; relative paths by where they lead.
fn path(folders: &Folders, location: &str) -> PathBuf {
    let absolute = match location.contains("://") {
        true => None,
        false => std::path::absolute(location).ok(),
    };
    let spelled =
        absolute.map_or_else(|| location.as_bytes().to_vec(), |p| p.into_os_string().into_encoded_bytes());
    folders.state.join(format!("place-{}", &blake3::hash(&spelled).to_hex()[..32]))
}

/// Remembers which repository is at a place.
pub fn remember(folders: &Folders, location: &str, repo: &RepoId) -> io::Result<()> {
    match known(folders, location) == Some(*repo) {
        true => Ok(()),
        false => durable::replace(&path(folders, location), repo.hex().as_bytes()),
    }
}

/// Which repository was at a place when this machine last wrote there.
pub fn known(folders: &Folders, location: &str) -> Option<RepoId> {
    let text = std::fs::read_to_string(path(folders, location)).ok()?;
    RepoId::from_hex(text.trim())
}
