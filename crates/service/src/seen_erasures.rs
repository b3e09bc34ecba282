//! What this machine has erased from history, for copies that were away at the time: a file each in its state folder, sealed
//! with the keys of the family, so that it tells nothing to who has no key.
//!
//! A copy that comes back knows nothing of an erasure until the next sync tells it. Whoever opens it on this machine
//! before that is not shown what was erased. The files may be lost: then the copy is believed until that sync.

use crate::durable;
use crate::folders::Folders;
use ::repo::Repo;
use ::repo::erasures::sealed;
use ::repo::seed::Seed;
use format::erase::Erasure;
use format::gc::GcRecord;
use format::id::{ErasureId, FamilyId, RepoId};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// More files than this are not looked at.
const FILES_MAX: usize = 10_000;
/// A record of more bytes was not written here.
const FILE_BYTES_MAX: u64 = 16 << 20;

fn folder(folders: &Folders, family: &FamilyId) -> PathBuf {
    folders.state.join(format!("erased-{}", family.hex()))
}

/// Remembers an erasure of a repository.
///
/// # Errors
/// The file cannot be written.
pub fn remember(folders: &Folders, repo: &Repo, erasure: &Erasure, seed: &mut Seed) -> io::Result<()> {
    let (folder, identity) = (folder(folders, &repo.identity().family), repo.identity());
    durable::create_private(&folder)?;
    let name = format!("{}-{}", identity.repo.hex(), erasure.id.hex());
    durable::replace(&folder.join(name), &sealed(repo, erasure, seed))
}

/// What is remembered of the family of a repository, each erasure once. Files that cannot be read are told with the reason.
pub fn recall(folders: &Folders, repo: &Repo) -> (Vec<Erasure>, Vec<String>) {
    let (mut known, mut problems): (Vec<Erasure>, Vec<String>) = (Vec::new(), Vec::new());
    let entries = match std::fs::read_dir(folder(folders, &repo.identity().family)) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return (known, problems),
        Err(e) => return (known, vec![e.to_string()]),
    };
    for entry in entries.take(FILES_MAX).flatten() {
        let name = entry.file_name();
        let ids = name.to_str().and_then(|name| name.split_once('-'));
        let ids = ids.and_then(|(of, id)| Some((RepoId::from_hex(of)?, ErasureId::from_hex(id)?)));
        // A file that was being written when the machine went down has another name.
        let Some((of, id)) = ids else { continue };
        match read(&entry.path(), repo, &of) {
            Ok(erasure) if erasure.id == id => match known.iter_mut().find(|other| other.id == id) {
                Some(other) => _ = other.take_in(&erasure),
                None => known.push(erasure),
            },
            Ok(_) => problems.push(format!("{}: it stands under another's name", entry.path().display())),
            Err(why) => problems.push(format!("{}: {why}", entry.path().display())),
        }
    }
    (known, problems)
}

fn read(path: &Path, repo: &Repo, of: &RepoId) -> Result<Erasure, String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
    read.map_err(|e| e.to_string())?;
    Erasure::decode(&bytes, of, repo.keys()).map_err(|e| e.to_string())
}
