//! Packs that no readable segment knows: found in the listing, read through their own directories.
//!
//! Data ids are cut to 8 bytes in a directory, so what is found here is a candidate: reading proves it,
//! and nothing is deduplicated against it.

use crate::index::Location;
use crate::names;
use crate::open::Repo;
use format::envelope::Footer;
use format::id::{BlobId, BlobKind, PackId};
use format::index::PackRow;
use format::pack;
use std::collections::HashMap;

/// Blobs of packs outside the index.
#[derive(Default)]
pub struct Orphans {
    places: HashMap<[u8; 8], Vec<Location>>,
}

impl Orphans {
    /// Reads the directories of these packs. One that cannot be read holds nothing that can be.
    pub(super) fn read(repo: &Repo, packs: Vec<(PackId, u64)>) -> Self {
        let mut orphans = Orphans::default();
        for (id, len) in packs {
            for kind in [BlobKind::Data, BlobKind::Tree] {
                if let Some((row, ids)) = read_directory(repo, kind, &id, len) {
                    orphans.add(&row, &ids);
                }
            }
        }
        orphans
    }

    fn add(&mut self, row: &PackRow, ids: &[u8]) {
        let mut ids = ids.chunks_exact(pack::directory_id_bytes(row.kind));
        for block in &row.blocks {
            for (rank, id) in ids.by_ref().take(block.blobs as usize).enumerate() {
                let head = id[..8].try_into().expect("ids keep at least 8 bytes");
                let location = Location { pack: row.id, kind: row.kind, block: *block, rank: rank as u16 };
                self.places.entry(head).or_default().push(location);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(super) fn locate(&self, kind: BlobKind, id: &BlobId) -> Vec<Location> {
        let head: [u8; 8] = id.0[..8].try_into().expect("an id has 24 bytes");
        let places = self.places.get(&head).map_or(&[][..], |p| p);
        places.iter().filter(|l| l.kind == kind).copied().collect()
    }
}

/// The row and the ids of a pack, from its own directory.
pub(crate) fn read_directory(
    repo: &Repo,
    kind: BlobKind,
    id: &PackId,
    pack_bytes: u64,
) -> Option<(PackRow, Vec<u8>)> {
    let name = names::pack(kind, id);
    let store = repo.store();
    let tail_from = pack_bytes.checked_sub(Footer::TAIL_BYTES as u64)?;
    let tail = store.get_range(&name, tail_from..pack_bytes).ok()?;
    let footer = Footer::from_tail(&tail, pack_bytes).ok()?;
    let head = store.get_range(&name, 0..pack::HEADER_BYTES as u64).ok()?;
    let sealed = store.get_range(&name, pack::directory_range(&footer).ok()?).ok()?;
    let (header, directory) = pack::open_directory(&head, &sealed, &footer, repo.keys()).ok()?;
    let row = PackRow::new(*id, &header, pack_bytes, &directory);
    (header.kind == kind).then_some((row, directory.ids))
}
