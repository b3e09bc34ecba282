//! Trust records: the word of an owner or maintainer that a snapshot counts in retention.
//!
//! One that cannot be read, or that speaks of other bytes than those stored under the snapshot's name,
//! confirms nothing; that keeps more, never less.

use crate::clock::timestamp;
use crate::error::{RepoError, RepoResult};
use crate::names;
use crate::open::Repo;
use crate::reserve;
use crate::seed::Seed;
use format::FormatError;
use format::codec::{Compressor, Level};
use format::gc::GcRecord;
use format::id::SnapshotId;
use format::keep::Trust;
use format::kind::Timestamp;
use format::limits::RECORD_BYTES_MAX;
use format::snapshot::Snapshot;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::SystemTime;
use storage::{ErrorKind, ObjectName, PutMode};

/// How far a store's time may lie outside what a record claims: clocks are wrong, runs sleep.
pub const TOLERANCE_SECS: u64 = 86_400;

/// Whether a store received a record when it claims to have been made.
pub fn is_in_time(snapshot: &Snapshot, received: Option<SystemTime>) -> bool {
    let Some(received) = received.map(timestamp) else { return false };
    let secs_between = |a: Timestamp, b: Timestamp| u64::try_from(b.secs.saturating_sub(a.secs)).unwrap_or(0);
    secs_between(received, snapshot.time) <= TOLERANCE_SECS
        && secs_between(snapshot.end.max(snapshot.time), received) <= TOLERANCE_SECS
}

/// Reads all trust records that can be read.
pub fn read_all(repo: &Repo) -> RepoResult<BTreeMap<SnapshotId, Trust>> {
    let mut ids = Vec::new();
    repo.list(names::TRUST, |info| {
        ids.extend(names::parse_trust(&info.name));
        ControlFlow::Continue(())
    })?;
    let objects: Vec<ObjectName> = ids.iter().map(names::trust).collect();
    let mut records = BTreeMap::new();
    let mut ids = ids.into_iter();
    repo.get_many(&objects, RECORD_BYTES_MAX as u64, &mut |name, bytes| {
        let id = ids.next().expect("there are as many ids as names");
        let trust = bytes.and_then(|mut bytes| {
            let decoded = crate::open::mend_and_decode(&mut bytes, |bytes| decode(repo, &id, bytes));
            decoded.map_err(|e| RepoError::object(name, e))
        });
        match trust {
            Ok(trust) => _ = records.insert(id, trust),
            Err(e) if e.is_damage() || e.is_too_new() => {}
            Err(e) => return Err(e),
        }
        Ok(())
    })?;
    Ok(records)
}

fn decode(repo: &Repo, id: &SnapshotId, bytes: &[u8]) -> Result<Trust, FormatError> {
    let trust = Trust::decode(bytes, &repo.identity().repo, repo.keys())?;
    match trust.snapshot == *id {
        true => Ok(trust),
        false => Err(FormatError::Corrupt { what: "trust record", why: "it stands under another's name" }),
    }
}

/// Stores a trust record in place of any other about the same snapshot.
pub fn confirm(repo: &Repo, trust: &Trust, seed: &mut Seed) -> RepoResult<()> {
    let mut compressor = Compressor::new(Level(3));
    let bytes = trust.encode(&repo.identity().repo, repo.keys(), seed.draw(), &mut compressor);
    reserve::put(repo, &names::trust(&trust.snapshot), &bytes, PutMode::Replace)?;
    repo.sync()
}

/// Takes the word back.
pub fn withdraw(repo: &Repo, id: &SnapshotId) -> RepoResult<()> {
    match repo.store().delete(&names::trust(id)) {
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        other => other.map_err(|e| repo.store_error(e))?,
    }
    repo.sync()
}
