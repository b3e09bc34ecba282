//! Records of snapshots that are there once although they are stored twice, because a run was cut off.
//!
//! A run stores a record, then its second copy, then removes its pending record; whoever removes a forgotten
//! snapshot removes the second copy, then the record, then the tomb. So while a pending record or a tomb
//! stands, a missing second copy is work somebody has not finished, and no damage.

use crate::error::RepoResult;
use crate::names;
use crate::open::{Repo, store_error};
use crate::snapshots::{Record, read_second_copy};
use format::envelope;
use format::id::SnapshotId;
use format::limits::RECORD_BYTES_MAX;
use std::ops::ControlFlow;
use storage::{ErrorKind, ObjectName, PutMode, Store, planted};

/// How often a record is put at a name that is said to be taken although nothing stands there.
const PUTS_MAX: usize = 3;

/// Whether somebody who was cut off, or is still at work, explains that this copy is not there.
///
/// A run that ended between the look at the copies and this call is no explanation any more: look again then.
pub(crate) fn explains_missing_copy(store: &dyn Store, copy: &ObjectName) -> RepoResult<bool> {
    let session = names::parse_snapshot(copy).filter(|_| copy.as_str().starts_with(names::MIRROR));
    let Some(session) = session else { return Ok(false) };
    let mut stands = false;
    let pending = format!("{}{}.", names::PENDING, session.hex());
    store
        .list(&pending, &mut |_| {
            stands = true;
            ControlFlow::Break(())
        })
        .map_err(|e| store_error(store, e))?;
    Ok(stands || is_there(store, &names::tomb(&session))?)
}

/// Stores the second copy of a snapshot's record where it is missing and the first one can be read. A place
/// that is full or lets nothing be stored goes without.
///
/// Returns whether it is durable now.
pub(crate) fn put_second_copy(repo: &Repo, id: &SnapshotId) -> RepoResult<bool> {
    let name = names::snapshot(id);
    let mirror = names::mirror(&name);
    if is_there(&**repo.store(), &mirror)? {
        return Ok(true);
    }
    let mut bytes = match repo.store().get(&name, RECORD_BYTES_MAX as u64) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(true), // the record went, too
        Err(e) => return Err(repo.store_error(e)),
    };
    if envelope::repair(&mut bytes).is_err() {
        return Ok(false);
    }
    match repo.put(&mirror, &bytes, PutMode::CreateNew) {
        Err(e) if e.store_kind() == Some(ErrorKind::AlreadyExists) => {}
        Err(e) if matches!(e.store_kind(), Some(ErrorKind::NoSpace | ErrorKind::Denied)) => return Ok(false),
        other => other?,
    }
    repo.sync()?;
    Ok(true)
}

/// Puts the second copy of a record that was just committed. One of two copies is enough to say that its session is
/// over: then `false`, and the first is taken back, because somebody ended the session and that word was lost.
pub(crate) fn put_committed_copy(repo: &Repo, id: &SnapshotId, bytes: &[u8]) -> RepoResult<bool> {
    let name = names::snapshot(id);
    let mirror = names::mirror(&name);
    let put = match repo.put(&mirror, bytes, PutMode::CreateNew) {
        Err(e) if e.store_kind() == Some(ErrorKind::AlreadyExists) => {
            match read_second_copy(repo, id)? {
                Some((Record::Ended, _)) => {
                    repo.store().delete(&name).map_err(|e| repo.store_error(e))?;
                    return Ok(false);
                }
                // Somebody who was at it, too, put it; that it can be read by its parity is enough for now.
                Some((_, mended)) if mended == bytes => Ok(()),
                _ => repo.put(&mirror, bytes, PutMode::Replace),
            }
        }
        other => other,
    };
    match put {
        Err(e) if e.store_kind() == Some(ErrorKind::Denied) => {}
        Err(_) if planted::is("mirror-error-ignored") => {}
        other => other?,
    }
    repo.sync()?;
    Ok(true)
}

/// What stands at the name of a record that was refused because something stood there. Where nothing does after all - a
/// server was mistaken, or the copy was lost since - the record is put, again only if nothing is there: somebody may
/// end the session at this moment. `None` if the second copy says that it is over.
pub(crate) fn found_or_put(
    repo: &Repo,
    id: &SnapshotId,
    name: &ObjectName,
    ours: &[u8],
) -> RepoResult<Option<Vec<u8>>> {
    let mut refused = None;
    for _ in 0..PUTS_MAX {
        match repo.store().get(name, RECORD_BYTES_MAX as u64) {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            other => return other.map(Some).map_err(|e| repo.store_error(e)),
        }
        if matches!(read_second_copy(repo, id)?, Some((Record::Ended, _))) {
            return Ok(None);
        }
        match repo.put(name, ours, PutMode::CreateNew) {
            Err(e) if e.store_kind() == Some(ErrorKind::AlreadyExists) => refused = Some(e),
            other => return other.map(|()| Some(ours.to_vec())),
        }
    }
    Err(refused.expect("it was refused each time"))
}

fn is_there(store: &dyn Store, name: &ObjectName) -> RepoResult<bool> {
    match store.stat(name) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(store_error(store, e)),
    }
}
