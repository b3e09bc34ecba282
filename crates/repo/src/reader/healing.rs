//! What one repository of a family cannot give, another one may.
//!
//! A blob that is damaged or gone here is read from a sibling: its id proves that it is the same. A place that
//! did not answer once is not asked again: each question costs the whole time of trying again.

use crate::error::{RepoError, RepoResult};
use crate::reader::{Blob, Reader, chain, unpoisoned};
use format::id::{BlobId, BlobKind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use storage::{ErrorKind, StoreError};

/// A blob that came from a sibling because it is damaged here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Healed {
    /// File contents or a tree node.
    pub kind: BlobKind,
    /// The blob.
    pub id: BlobId,
    /// What is wrong with it here.
    pub why: String,
    /// Who had it.
    pub from: String,
}

/// Other repositories of the family, and what they had to help with.
#[derive(Default)]
pub(super) struct Siblings {
    readers: OnceLock<Vec<Arc<Reader>>>,
    is_away: AtomicBool,
    healed: Mutex<Vec<Healed>>,
}

/// So many are named one by one.
const HEALED_MAX: usize = 10_000;

impl Reader {
    /// Lets these repositories of the family help out, the nearest first. Can be said once.
    pub fn set_siblings(&self, siblings: Vec<Arc<Reader>>) {
        let family = self.repo.identity().family;
        let others = siblings.into_iter().filter(|s| s.repo.identity().family == family);
        self.siblings.readers.set(others.collect()).ok();
    }

    /// Repositories that help out.
    pub fn siblings(&self) -> &[Arc<Reader>] {
        self.siblings.readers.get().map_or(&[], |readers| readers)
    }

    /// Whether this place did not answer, so that everything comes from its siblings.
    pub fn is_away(&self) -> bool {
        self.siblings.is_away.load(Ordering::Relaxed)
    }

    /// Blobs that are damaged here and came from a sibling.
    pub fn healed(&self) -> Vec<Healed> {
        let mut healed = unpoisoned(self.siblings.healed.lock()).clone();
        healed.sort();
        healed.dedup_by(|a, b| (a.kind, a.id) == (b.kind, b.id));
        healed
    }

    /// Fails at once where the place is known not to answer.
    pub(super) fn must_answer(&self) -> RepoResult<()> {
        match self.is_away() {
            true => {
                Err(self.repo.store_error(StoreError::new(ErrorKind::Transient, "did not answer before")))
            }
            false => Ok(()),
        }
    }

    /// Reads a blob.
    pub fn read(&self, kind: BlobKind, id: &BlobId) -> RepoResult<Blob> {
        let error = match self.must_answer().and_then(|()| self.read_here(kind, id)) {
            Ok(blob) => return Ok(blob),
            Err(e) => e,
        };
        self.note_trouble(&error);
        for sibling in self.siblings() {
            if let Ok(blob) = sibling.must_answer().and_then(|()| sibling.read_here(kind, id)) {
                self.note_healed(kind, id, &error, sibling);
                return Ok(blob);
            }
        }
        Err(error)
    }

    /// Notes a place that does not answer; only who has siblings can do without it.
    pub fn note_trouble(&self, error: &RepoError) {
        let is_line_trouble = error.store_kind().is_some() && !error.is_damage();
        if is_line_trouble && !self.siblings().is_empty() {
            self.siblings.is_away.store(true, Ordering::Relaxed);
        }
    }

    fn note_healed(&self, kind: BlobKind, id: &BlobId, error: &RepoError, from: &Reader) {
        let mut healed = unpoisoned(self.siblings.healed.lock());
        if error.is_damage() && healed.len() < HEALED_MAX {
            healed.push(Healed { kind, id: *id, why: chain(error), from: from.repo.location() });
        }
    }
}
