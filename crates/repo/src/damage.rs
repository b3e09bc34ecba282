//! What is known to be damaged beyond mending: marks under `gc/`, put and taken away by `repair`.
//!
//! A snapshot's mark warns whoever relies on it; a pack's keeps new snapshots from relying on what it holds.
//! Marks take nothing away, so one that cannot be read is only left out of account.

use crate::error::RepoResult;
use crate::names;
use crate::open::Repo;
use crate::seed::Seed;
use format::codec::{Compressor, Level};
use format::damage::{DamageMark, Subject};
use format::gc::GcRecord;
use format::id::{BlobKind, PackId, SnapshotId};
use format::kind::Timestamp;
use format::limits::RECORD_BYTES_MAX;
use format::{FormatError, FormatResult};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use storage::{ErrorKind, ObjectName, PutMode};

/// A snapshot that cannot be restored completely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotMark {
    /// Entries that are hurt; a part of the tree that is lost counts as one.
    pub hurt: u64,
    /// The first of their paths.
    pub paths: Vec<Vec<u8>>,
    /// When that was found.
    pub time: Timestamp,
}

/// All marks of a repository.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    /// Damaged snapshots.
    pub snapshots: BTreeMap<SnapshotId, SnapshotMark>,
    /// Damaged packs.
    pub packs: BTreeMap<PackId, BlobKind>,
    /// Marks that cannot be read.
    pub unreadable: Vec<String>,
}

/// Reads all marks.
pub fn read_marks(repo: &Repo) -> RepoResult<Marks> {
    let mut found = Vec::new();
    repo.list(names::GC, |info| {
        if names::is_damage_mark(&info.name) {
            found.push(info.name);
        }
        ControlFlow::Continue(())
    })?;
    let mut marks = Marks::default();
    for name in found {
        marks.take(repo, &name)?;
    }
    Ok(marks)
}

impl Marks {
    fn take(&mut self, repo: &Repo, name: &ObjectName) -> RepoResult<()> {
        match read(repo, name) {
            Ok(DamageMark { subject: Subject::Snapshot { id, hurt, paths }, time }) => {
                self.snapshots.insert(id, SnapshotMark { hurt, paths, time });
            }
            Ok(DamageMark { subject: Subject::Pack { id, kind }, .. }) => _ = self.packs.insert(id, kind),
            Err(e) if e.store_kind() == Some(ErrorKind::NotFound) => {} // taken away meanwhile
            Err(e) if e.is_damage() || e.is_too_new() => self.unreadable.push(name.to_string()),
            Err(e) => return Err(e),
        }
        Ok(())
    }
}

/// Reads one mark, which must be about what its name says.
pub(crate) fn read(repo: &Repo, name: &ObjectName) -> RepoResult<DamageMark> {
    repo.get_mended(name, RECORD_BYTES_MAX as u64, |bytes| decode(repo, name, bytes))
}

pub(crate) fn decode(repo: &Repo, name: &ObjectName, bytes: &[u8]) -> FormatResult<DamageMark> {
    let mark = DamageMark::decode(bytes, &repo.identity().repo, repo.keys())?;
    match name_of(&mark.subject) == *name {
        true => Ok(mark),
        false => Err(FormatError::Corrupt { what: "damage mark", why: "it stands under another's name" }),
    }
}

fn name_of(subject: &Subject) -> ObjectName {
    match subject {
        Subject::Snapshot { id, .. } => names::damage_mark(id),
        Subject::Pack { id, .. } => names::pack_damage_mark(id),
    }
}

/// Puts a mark, in place of an older one.
pub(crate) fn put_mark(repo: &Repo, subject: Subject, time: Timestamp, seed: &mut Seed) -> RepoResult<()> {
    let name = name_of(&subject);
    let mark = DamageMark { subject, time };
    let mut compressor = Compressor::new(Level(3));
    let bytes = mark.encode(&repo.identity().repo, repo.keys(), seed.draw(), &mut compressor);
    repo.put(&name, &bytes, PutMode::Replace)
}

/// Takes a mark away.
pub(crate) fn remove_mark(repo: &Repo, name: &ObjectName) -> RepoResult<()> {
    match repo.store().delete(name) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(repo.store_error(e)),
        _ => Ok(()),
    }
}
