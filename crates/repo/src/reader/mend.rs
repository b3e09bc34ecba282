//! Packs that their parity mends, in memory: reading never writes.
//!
//! One mended pack is kept, because damage is rarely alone. Packs that cannot be mended are remembered, so
//! that each is fetched whole once. Knows nothing of blobs: whoever reads proves what it finds.

use crate::index::Location;
use crate::names;
use crate::reader::{Reader, unpoisoned};
use format::id::{BlobKind, PackId};
use format::pack;
use std::collections::HashSet;
use std::sync::{Arc, Mutex};

type KeptPack = (PackId, Arc<Vec<u8>>);

/// Mends packs.
#[derive(Default)]
pub(super) struct Mender {
    kept: Mutex<Option<KeptPack>>,
    hopeless: Mutex<HashSet<PackId>>,
    mended: Mutex<Vec<(BlobKind, PackId)>>,
}

impl Mender {
    /// The whole pack of a place as it was written, if it can be had.
    pub(super) fn mended(&self, reader: &Reader, place: &Location) -> Option<Arc<Vec<u8>>> {
        // Held while the pack is fetched: threads that meet the same damage wait instead of fetching it, too.
        let mut kept = unpoisoned(self.kept.lock());
        if let Some((id, bytes)) = &*kept
            && *id == place.pack
        {
            return Some(bytes.clone());
        }
        if unpoisoned(self.hopeless.lock()).contains(&place.pack) {
            return None;
        }
        let pack_bytes = reader.with_index_read(|index| index.pack_bytes(place.kind, &place.pack))?;
        let max = reader.repo().pack_bytes_max();
        if pack_bytes > max {
            return None; // mending needs all of it in memory
        }
        let mut bytes = reader.repo().store().get(&names::pack(place.kind, &place.pack), max).ok()?;
        // What was cut off counts as lost; what was appended does not count.
        bytes.resize(pack_bytes as usize, 0);
        match pack::repair(&mut bytes, &place.pack) {
            Ok(was_damaged) => {
                if was_damaged {
                    unpoisoned(self.mended.lock()).push((place.kind, place.pack));
                }
                let bytes = Arc::new(bytes);
                *kept = Some((place.pack, bytes.clone()));
                Some(bytes)
            }
            Err(_) => {
                unpoisoned(self.hopeless.lock()).insert(place.pack);
                None
            }
        }
    }

    pub(super) fn packs(&self) -> Vec<(BlobKind, PackId)> {
        let mut packs = unpoisoned(self.mended.lock()).clone();
        packs.sort();
        packs.dedup();
        packs
    }
}
