//! Blobs that are in more than one pack: a place counts as a copy only after it was read and compared.
//!
//! Whoever may add objects can claim any blob to be anywhere, and a disk may have lost what it was given.

use crate::index::Location;
use crate::prune::run::Run;
use crate::reader::Reader;
use format::id::BlobKind;
use format::index::IndexKey;
use std::cmp::Reverse;

/// A blob, and a place that is to stand for it.
pub(super) struct Claim<T> {
    pub(super) key: IndexKey,
    pub(super) place: Location,
    /// Whom it concerns.
    pub(super) whom: T,
}

impl Run<'_> {
    /// Reads every place and compares; returns those for whom it failed. Each block is read once.
    pub(super) fn disprove<T>(&mut self, mut claims: Vec<Claim<T>>) -> Vec<T> {
        claims.sort_by_key(|claim| Reverse((claim.place.pack, claim.place.block.offset)));
        let mut failed = Vec::new();
        while let Some(claim) = claims.pop() {
            match holds(self.reader, claim.place.kind, &claim.key, &claim.place) {
                true => _ = self.confirmed.insert((claim.place.pack, claim.key)),
                false => failed.push(claim.whom),
            }
        }
        failed
    }

    /// Whether a blob is known to be sound in a place of its own: it was moved there and compared, or was
    /// read in this run.
    pub(super) fn is_sound(&self, key: &IndexKey, place: &Location) -> bool {
        self.ledger.contains(&place.pack) || self.confirmed.contains(&(place.pack, *key))
    }
}

/// Whether the place holds the blob, by its contents.
fn holds(reader: &Reader, kind: BlobKind, key: &IndexKey, place: &Location) -> bool {
    let Ok(block) = reader.block(place) else { return false };
    let Some(bytes) = block.blob(place.rank as usize) else { return false };
    reader.repo().keys().blob_id(kind, bytes).is_ok_and(|id| IndexKey::from(&id) == *key)
}
