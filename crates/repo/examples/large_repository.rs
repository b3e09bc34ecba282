//! Makes a repository that looks as if it held very many blobs, for measuring what its index costs:
//! `large_repository FOLDER MILLIONS`. The password is `x`. The packs are holes of the right length, and
//! nothing in them can be read; everything that only looks things up behaves as in a real one.

use format::codec::{Compressor, Level};
use format::config::Parameters;
use format::id::{BlobId, BlobKind, PackId, SnapshotId};
use format::index::{BlockPlace, PackRow, SegmentBuilder};
use format::keys::Capability;
use format::kind::Timestamp;
use format::seal::Suite;
use format::slot::ArgonCost;
use repo::seed::Seed;
use repo::{Credential, NewRepo, NewSlot, Repo, names};
use std::error::Error;
use std::fs::{File, create_dir_all};
use std::path::Path;
use std::sync::Arc;
use storage::{LocalOptions, LocalStore, PutMode};

const BLOBS_OF_SEGMENT: usize = 1 << 20;
const BLOBS_OF_PACK: usize = 16;
const BLOCK_BYTES: u32 = 1 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, millions] = &arguments[..] else {
        return Err("usage: large_repository FOLDER MILLIONS".into());
    };
    let (folder, blobs) = (Path::new(folder), millions.parse::<usize>()? * 1_000_000);
    create_dir_all(folder)?;
    let store = Arc::new(LocalStore::open(folder, &LocalOptions::default())?);
    let slot = NewSlot {
        credential: Credential::Password(b"x".to_vec().into()),
        is_recovery: false,
        capability: Capability::Owner,
        cost: ArgonCost::default(),
        label: "try".into(),
    };
    let new = NewRepo {
        parameters: Parameters::default(),
        slots: vec![slot],
        family: None,
        created: Timestamp::default(),
        seed: Seed::new([1; 32]),
    };
    let repo = Repo::create(store, new)?;
    let mut seed = Seed::new([2; 32]);
    for first in (0..blobs).step_by(BLOBS_OF_SEGMENT) {
        let count = BLOBS_OF_SEGMENT.min(blobs - first);
        add_segment(&repo, folder, 1 + (first / BLOBS_OF_SEGMENT) as u64, count, &mut seed)?;
    }
    Ok(())
}

fn add_segment(
    repo: &Repo,
    folder: &Path,
    number: u64,
    blobs: usize,
    seed: &mut Seed,
) -> Result<(), Box<dyn Error>> {
    let mut builder = SegmentBuilder::new(SnapshotId(seed.draw()));
    for _ in 0..blobs / BLOBS_OF_PACK {
        let id = PackId(seed.draw());
        let row = pack_row(id);
        let name = folder.join(names::pack(BlobKind::Data, &id).as_str());
        create_dir_all(name.parent().expect("packs lie in folders"))?;
        File::create(name)?.set_len(row.pack_bytes)?;
        let ids: Vec<BlobId> = (0..BLOBS_OF_PACK).map(|_| BlobId(seed.draw())).collect();
        builder.add(row, &ids);
    }
    let mut compressor = Compressor::new(Level(1));
    let bytes =
        builder.finish(&repo.identity().repo, repo.keys(), repo.suite(), seed.draw(), &mut compressor);
    repo.store().put(&names::segment(number, &bytes), &bytes, PutMode::CreateNew)?;
    Ok(())
}

fn pack_row(id: PackId) -> PackRow {
    let block = |n: usize| BlockPlace {
        offset: 64 + n as u32 * BLOCK_BYTES,
        stored_bytes: BLOCK_BYTES,
        raw_bytes: BLOCK_BYTES,
        suite: Suite::Aes256Gcm,
        key_ref: 0,
        blobs: 1,
    };
    let pack_bytes = 64 + BLOBS_OF_PACK as u64 * BLOCK_BYTES as u64 + 8192;
    let blocks = (0..BLOBS_OF_PACK).map(block).collect();
    PackRow { id, kind: BlobKind::Data, class: 0, pack_bytes, key_table: Vec::new(), blocks }
}
