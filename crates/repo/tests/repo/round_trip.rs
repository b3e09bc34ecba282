//! What goes in comes out, from every kind of place, with and without a cache; threads change no byte.

use format::id::BlobKind;
use format::snapshot::Snapshot;
use proptest::prelude::*;
use repo::cache::Cache;
use repo::reader::Reader;
use repo::snapshots::SnapshotList;
use repo::workers::Workers;
use std::sync::Arc;
use storage::{LocalOptions, LocalStore, SimStore, Store};
use testkit::dice::Dice;
use testkit::files::{Files, edit, random_files};
use testkit::mini::{self, Backup, backup, restore};
use testkit::world::{World, create_in, tiny_parameters};

#[test]
fn snapshots_come_back_from_memory_with_and_without_a_cache() {
    let sim = SimStore::new(1);
    four_rounds_at(&|| Arc::new(sim.connect()));
}

#[test]
fn snapshots_come_back_from_a_folder_with_and_without_a_cache() {
    let folder = tempfile::tempdir().unwrap();
    let options = LocalOptions { create_root: true, ..LocalOptions::default() };
    four_rounds_at(&|| Arc::new(LocalStore::open(&folder.path().join("place"), &options).unwrap()));
}

/// Backs up four versions, each on top of the one before, and reads all of them back.
fn four_rounds_at(place: &dyn Fn() -> Arc<dyn Store>) {
    let folder = tempfile::tempdir().unwrap();
    let cache = || Cache::at(folder.path().join("cache"));
    create_in(place(), 1, tiny_parameters()).unwrap();
    let world = World::of(SimStore::new(0));
    let mut dice = Dice::new(1);
    let mut files = random_files(&mut dice, 300);
    let mut kept: Vec<(Files, Snapshot)> = Vec::new();
    for round in 0..4 {
        let cache = if round % 2 == 0 { cache() } else { Cache::none() };
        let reader = Arc::new(Reader::open(world.open_over(place()).unwrap(), cache).unwrap());
        let parent = kept.last().map(|(_, snapshot)| snapshot.clone());
        let options = Backup { parent: parent.as_ref(), ..Backup::new(round) };
        let done = backup(&reader, &files, &options).unwrap();
        kept.push((files.clone(), done.snapshot));
        edit(&mut dice, &mut files, 20);
    }
    for cache in [cache(), cache(), Cache::none()] {
        let repo = world.open_over(place()).unwrap();
        let list = SnapshotList::read(&repo).unwrap();
        assert!(list.unreadable.is_empty());
        assert!(list.visible().eq(kept.iter().map(|k| &k.1)));
        let reader = Reader::open(repo, cache).unwrap();
        for (files, snapshot) in &kept {
            assert!(restore(&reader, snapshot.root).unwrap() == *files);
        }
    }
}

#[test]
fn equal_seeds_make_equal_objects_whatever_the_threads_do() {
    let mut dice = Dice::new(5);
    let mut versions = vec![random_files(&mut dice, 250)];
    for _ in 0..2 {
        let mut next = versions.last().unwrap().clone();
        edit(&mut dice, &mut next, 30);
        versions.push(next);
    }
    let run = |workers: usize| {
        let world = World::new(3);
        let mut parent = None;
        for (n, files) in versions.iter().enumerate() {
            let options = Backup {
                parent: parent.as_ref(),
                workers: Workers(workers),
                checkpoint_files: 37,
                segment_packs: 3,
                ..Backup::new(n as u64)
            };
            let done = backup(&world.reader().unwrap(), files, &options).unwrap();
            parent = Some(done.snapshot);
        }
        world.sim.objects()
    };
    let inline = run(0);
    assert!(inline.len() > 40, "{} objects are enough to compare", inline.len());
    for workers in [1, 4] {
        let threaded = run(workers);
        assert!(inline.keys().eq(threaded.keys()), "names differ with {workers} threads");
        assert!(inline == threaded, "bytes differ with {workers} threads");
    }
}

#[test]
fn blobs_of_all_lengths_round_trip() {
    let world = World::new(9);
    let reader = world.reader().unwrap();
    let options = Backup { workers: Workers(2), ..Backup::new(1) };
    let mut writer = mini::start(&reader, &options).unwrap();
    let mut dice = Dice::new(2);
    let lengths =
        (0..70).chain([127, 128, 255, 256, 2047, 2048, 2049, 16_383, 16_384, 65_536, 100_000, 16 << 20]);
    let blobs: Vec<Vec<u8>> = lengths.map(|len| dice.bytes(len)).collect();
    let keys = reader.repo().keys().clone();
    for (n, blob) in blobs.iter().enumerate() {
        let kind = if n % 3 == 0 { BlobKind::Tree } else { BlobKind::Data };
        let id = keys.blob_id(kind, blob).unwrap();
        let stored = if n % 2 == 0 { writer.put(kind, &id, blob) } else { writer.put_alone(kind, &id, blob) };
        assert!(stored.unwrap(), "length {}", blob.len());
        assert!(!writer.put(kind, &id, blob).unwrap(), "stored once only");
        assert!(writer.has(kind, &id));
    }
    writer.flush().unwrap();
    let fresh = world.reader().unwrap();
    for (n, blob) in blobs.iter().enumerate() {
        let kind = if n % 3 == 0 { BlobKind::Tree } else { BlobKind::Data };
        let id = keys.blob_id(kind, blob).unwrap();
        assert!(fresh.read(kind, &id).unwrap()[..] == blob[..]);
        assert!(writer.has(kind, &id), "also after its segment was written");
        let other = if kind == BlobKind::Tree { BlobKind::Data } else { BlobKind::Tree };
        assert!(!writer.has(other, &id), "a blob of one kind is not one of the other");
    }
}

#[test]
fn a_second_run_of_an_interrupted_one_uploads_only_the_rest() {
    let world = World::new(4);
    let files = random_files(&mut Dice::new(8), 400);
    let reader = world.reader().unwrap();
    let options = Backup { checkpoint_files: 50, ..Backup::new(1) };
    let mut writer = mini::start(&reader, &options).unwrap();
    mini::write_tree(&reader, &mut writer, &files, &options).unwrap();
    drop(writer); // killed before anything was published
    let done = backup(&world.reader().unwrap(), &files, &Backup::new(2)).unwrap();
    let whole: u64 = files.values().map(|f| f.len() as u64).sum();
    assert!(done.written.added_bytes < whole / 4, "{} of {whole} bytes again", done.written.added_bytes);
    assert!(restore(&world.reader().unwrap(), done.snapshot.root).unwrap() == files);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    #[test]
    fn the_root_depends_on_the_map_alone(seed: u64, count in 1usize..1500, edits in 0usize..60) {
        let mut dice = Dice::new(seed);
        let mut files = random_files(&mut dice, count);
        let world = World::new(1);
        let mut parent = backup(&world.reader().unwrap(), &files, &Backup::new(1)).unwrap().snapshot;
        for round in 2..4 {
            edit(&mut dice, &mut files, edits);
            if files.is_empty() {
                break;
            }
            let options = Backup { parent: Some(&parent), ..Backup::new(round) };
            let edited = backup(&world.reader().unwrap(), &files, &options).unwrap().snapshot;
            let fresh_world = World::new(1);
            let fresh = backup(&fresh_world.reader().unwrap(), &files, &Backup::new(9)).unwrap().snapshot;
            prop_assert_eq!(edited.root, fresh.root);
            prop_assert!(restore(&world.reader().unwrap(), edited.root).unwrap() == files);
            parent = edited;
        }
    }
}
