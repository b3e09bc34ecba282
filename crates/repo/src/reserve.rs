//! Space that is given up first when a full place must be freed.
//!
//! Forgetting, undoing and pruning write before they free: a tomb, a list of condemned packs. On a place
//! without one byte left they could not begin. So every repository keeps an object without meaning, and
//! whoever must write a small object there gives it up and tries once more ([`put`]). Maintenance puts it
//! back when it is done ([`refill`]).
//!
//! Nothing relies on it: it may be missing, shorter or damaged at any time, and two machines may give it up
//! or put it back at once.

use crate::error::RepoResult;
use crate::names;
use crate::open::Repo;
use crate::seed::Seed;
use storage::{ErrorKind, ObjectName, PutMode};

/// Enough for the tombs of some hundred snapshots, each an object of less than 1 KiB in a file system whose
/// smallest file takes 4 KiB, and for a first list of condemned packs.
const BYTES_MIN: u64 = 1 << 20;
/// A list of condemned packs needs 32 bytes for each; it is written while the reserve is gone, and beside it
/// a merged one of all that were condemned before.
const BYTES_A_PACK: u64 = 64;

/// How long the reserve of a repository with so many packs is.
pub fn wanted_bytes(packs: u64) -> u64 {
    (packs * BYTES_A_PACK).max(BYTES_MIN)
}

/// Puts the reserve back, or makes it longer where the repository grew. Returns whether it is there now, as
/// long as it should be: a place that is full gets what fits, one that lets nothing be replaced keeps what it has.
///
/// It is made of random bytes: zeros would be a hole on some file systems, and compressed away on others.
pub fn refill(repo: &Repo, packs: u64, seed: &mut Seed) -> RepoResult<bool> {
    let name = names::name(names::RESERVE);
    let wanted = wanted_bytes(packs);
    let held = found_bytes(repo, &name)?;
    if held >= wanted {
        return Ok(true);
    }
    // On a full place what was given up does not fit again: a tomb took a part of it. A smaller one will do.
    for len in [wanted, wanted / 2, wanted / 4, wanted / 8].into_iter().filter(|len| *len > held) {
        match repo.put(&name, &noise(len, seed), PutMode::Replace) {
            Err(e) if e.store_kind() == Some(ErrorKind::NoSpace) => {}
            Err(e) if e.store_kind() == Some(ErrorKind::Denied) => return Ok(false),
            other => return other.map(|()| len == wanted),
        }
    }
    Ok(false)
}

/// Whether the reserve is there. Where it is not, somebody met the end of the space since the last maintenance.
pub(crate) fn is_there(repo: &Repo) -> RepoResult<bool> {
    found_bytes(repo, &names::name(names::RESERVE)).map(|bytes| bytes > 0)
}

/// How long the reserve is; 0 if there is none.
fn found_bytes(repo: &Repo, name: &ObjectName) -> RepoResult<u64> {
    match repo.store().stat(name) {
        Ok(found) => Ok(found.len_bytes),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(0),
        Err(e) => Err(repo.store_error(e)),
    }
}

fn noise(len: u64, seed: &mut Seed) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(len).expect("64 bytes for each pack fit into memory")];
    blake3::Hasher::new_keyed(&seed.draw()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Gives the reserve up. Returns whether there was one, and so whether another try may succeed.
pub fn release(repo: &Repo) -> RepoResult<bool> {
    match repo.store().delete(&names::name(names::RESERVE)) {
        Ok(()) => {}
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Denied) => return Ok(false),
        Err(e) => return Err(repo.store_error(e)),
    }
    // Some file systems hand the space out only once the deletion is durable.
    repo.sync()?;
    Ok(true)
}

/// Stores a small object that takes something away or protects it; on a full place the reserve is given up
/// for it.
pub fn put(repo: &Repo, name: &ObjectName, bytes: &[u8], mode: PutMode) -> RepoResult<()> {
    match repo.put(name, bytes, mode) {
        Err(e) if e.store_kind() == Some(ErrorKind::NoSpace) => match release(repo)? {
            true => repo.put(name, bytes, mode),
            false => Err(e),
        },
        other => other,
    }
}
