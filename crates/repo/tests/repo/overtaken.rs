//! Packs vanish or are condemned while a session relies on them: it notices before it publishes.

use super::damage::condemn;
use format::id::PackId;
use format::snapshot::Snapshot;
use repo::cache::Cache;
use repo::names;
use repo::reader::Reader;
use std::path::Path;
use std::sync::Arc;
use storage::{ObjectName, RecordStore, RequestLog};
use testkit::dice::Dice;
use testkit::files::{Files, random_files};
use testkit::mini::{self, Backup, backup, restore};
use testkit::world::World;

fn packs(world: &World, folder: &str) -> Vec<ObjectName> {
    world.sim.objects().into_keys().filter(|n| n.as_str().starts_with(folder)).collect()
}

fn reader_at(world: &World, cache: &Path) -> (Arc<Reader>, RequestLog) {
    let store = Arc::new(RecordStore::new(Arc::new(world.sim.connect())));
    let log = store.log();
    let repo = world.open_over(store).unwrap();
    (Arc::new(Reader::open(repo, Cache::at(cache.to_path_buf())).unwrap()), log)
}

/// A repository with one snapshot, made with a cache in this folder.
fn kept(cache: &Path) -> (World, Files, Snapshot) {
    let world = World::new(1);
    let files = random_files(&mut Dice::new(3), 600);
    let (reader, _) = reader_at(&world, cache);
    let done = backup(&reader, &files, &Backup::new(1)).unwrap();
    (world, files, done.snapshot)
}

enum Loss {
    Removed,
    Condemned,
    Truncated,
}

fn lose(world: &World, name: &ObjectName, loss: &Loss) {
    match loss {
        Loss::Removed => assert!(world.sim.lose(name)),
        Loss::Condemned => condemn(world, &[names::parse_pack(name).unwrap().1]),
        Loss::Truncated => assert!(world.sim.damage(name, |bytes| _ = bytes.pop())),
    }
}

#[test]
fn a_pack_lost_under_a_running_session_is_noticed_and_stored_again() {
    for loss in [Loss::Removed, Loss::Condemned, Loss::Truncated] {
        for folder in ["packs/", "trees/"] {
            let cache = tempfile::tempdir().unwrap();
            let (world, files, _) = kept(cache.path());
            let (reader, _) = reader_at(&world, cache.path());
            let options = Backup::new(2);
            let mut writer = mini::start(&reader, &options).unwrap();
            let root = mini::write_tree(&reader, &mut writer, &files, &options).unwrap();
            assert_eq!(writer.written().blobs, 0, "everything was there");
            lose(&world, &packs(&world, folder)[0], &loss);
            assert!(!writer.prepare(root, None, false).unwrap());
            // The same session goes on: what is gone is stored again, once.
            let again = mini::write_tree(&reader, &mut writer, &files, &options).unwrap();
            assert_eq!(again, root);
            assert!(writer.written().blobs > 0);
            assert!(writer.prepare(root, None, false).unwrap());
            let snapshot = mini::record(&writer, root, None);
            writer.commit(&snapshot).unwrap();
            if matches!(loss, Loss::Condemned) {
                world.sim.lose(&packs(&world, folder).into_iter().find(|n| is_condemned(&world, n)).unwrap());
            }
            assert!(restore(&world.reader().unwrap(), root).unwrap() == files);
        }
    }
}

fn is_condemned(world: &World, name: &ObjectName) -> bool {
    let listing = repo::index::PackListing::read(&world.open().unwrap()).unwrap();
    listing.is_condemned(&names::parse_pack(name).unwrap().1)
}

#[test]
fn leaves_taken_over_from_a_parent_are_proven() {
    let cache = tempfile::tempdir().unwrap();
    let (world, files, parent) = kept(cache.path());
    let options = Backup { parent: Some(&parent), ..Backup::new(2) };
    let reads_of_prepare = |cache: &Path, thorough: bool| {
        let (reader, log) = reader_at(&world, cache);
        let mut writer = mini::start(&reader, &options).unwrap();
        let root = mini::write_tree(&reader, &mut writer, &files, &options).unwrap();
        let reader = reader_at(&world, cache).0; // nothing decoded is at hand
        drop(reader);
        log.clear();
        assert!(writer.prepare(root, Some(&parent.id), thorough).unwrap());
        writer.abandon().unwrap();
        log.counts().total()
    };
    // index, pending, packs, trees, gc; the pending record and its removal
    assert!(reads_of_prepare(cache.path(), false) <= 8);
    // With the memory gone, cut short or damaged, and with packs gone, the tree is walked.
    let memory = std::fs::read_dir(cache.path()).unwrap().flatten();
    let memory = memory.map(|e| e.path()).find(|p| p.ends_with(format!("seen-{}", parent.id))).unwrap();
    let bytes = std::fs::read(&memory).unwrap();
    std::fs::write(&memory, &bytes[bytes.len() - 32..]).unwrap();
    let name = &packs(&world, "packs/")[0];
    let lost = world.sim.objects()[name].clone();
    world.sim.lose(name);
    let prepared = |cache: &Path| {
        let (reader, _) = reader_at(&world, cache);
        let mut writer = mini::start(&reader, &options).unwrap();
        let root = mini::write_tree(&reader, &mut writer, &files, &options).unwrap();
        let prepared = writer.prepare(root, Some(&parent.id), false).unwrap();
        writer.abandon().unwrap();
        prepared
    };
    assert!(!prepared(cache.path()), "a memory cut short is not believed");
    std::fs::write(&memory, &bytes).unwrap();
    assert!(!prepared(cache.path()), "a pack of the parent is gone");
    let elsewhere = tempfile::tempdir().unwrap();
    assert!(!prepared(elsewhere.path()), "without a memory, too");
    storage::Store::put(&world.sim, name, &lost, storage::PutMode::CreateNew).unwrap();
    assert!(prepared(cache.path()));
    assert!(prepared(elsewhere.path()), "a walk proves it, too");
    assert!(reads_of_prepare(cache.path(), true) >= 5);
}

#[test]
fn a_lost_segment_of_the_parent_is_noticed_and_made_good() {
    let cache = tempfile::tempdir().unwrap();
    let (world, files, parent) = kept(cache.path());
    let (reader, _) = reader_at(&world, cache.path());
    let segment = packs(&world, "index/").remove(0);
    let options = Backup { parent: Some(&parent), ..Backup::new(2) };
    let mut writer = mini::start(&reader, &options).unwrap();
    let root = mini::write_tree(&reader, &mut writer, &files, &options).unwrap();
    world.sim.lose(&segment);
    assert!(!writer.prepare(root, Some(&parent.id), false).unwrap());
    drop(writer);
    let done = backup(&reader, &files, &Backup { parent: Some(&parent), ..Backup::new(3) }).unwrap();
    assert!(done.written.blobs > 0, "stored again, with a segment");
    let lonely = World::of(world.sim.connect());
    assert!(restore(&lonely.reader().unwrap(), done.snapshot.root).unwrap() == files);
}

#[test]
fn a_condemned_pack_is_not_relied_on_from_the_start() {
    let cache = tempfile::tempdir().unwrap();
    let (world, files, first) = kept(cache.path());
    let all: Vec<PackId> = ["packs/", "trees/"]
        .iter()
        .flat_map(|folder| packs(&world, folder))
        .map(|n| names::parse_pack(&n).unwrap().1)
        .collect();
    condemn(&world, &all);
    let done = backup(&world.reader().unwrap(), &files, &Backup::new(2)).unwrap();
    assert!(done.written.blobs > 0);
    // As long as they are there they can be read; afterwards the new snapshot stands alone.
    assert!(restore(&world.reader().unwrap(), first.root).unwrap() == files);
    for name in packs(&world, "packs/").iter().chain(&packs(&world, "trees/")) {
        if all.contains(&names::parse_pack(name).unwrap().1) {
            world.sim.lose(name);
        }
    }
    assert!(restore(&world.reader().unwrap(), done.snapshot.root).unwrap() == files);
}

#[test]
fn a_record_of_somebody_else_ends_the_session() {
    use format::codec::{Compressor, Level};
    use repo::writer::publish::Published;
    use storage::{PutMode, Store};
    let world = World::new(1);
    let files = random_files(&mut Dice::new(3), 20);
    let reader = world.reader().unwrap();
    let mut writer = mini::start(&reader, &Backup::new(1)).unwrap();
    let root = mini::write_tree(&reader, &mut writer, &files, &Backup::new(1)).unwrap();
    assert!(writer.prepare(root, None, false).unwrap());
    let snapshot = mini::record(&writer, root, None);
    let mut other = snapshot.clone();
    other.host = "somebody else".into();
    let repo = reader.repo();
    let bytes = other.encode(repo.keys(), repo.suite(), [1; 32], &mut Compressor::new(Level(1)));
    world.sim.put(&names::snapshot(&snapshot.id), &bytes, PutMode::CreateNew).unwrap();
    assert_eq!(writer.commit(&snapshot).unwrap(), Published::Overtaken);
    // The same record sealed by an earlier try of ours counts as ours.
    let bytes = snapshot.encode(repo.keys(), repo.suite(), [2; 32], &mut Compressor::new(Level(1)));
    world.sim.put(&names::snapshot(&snapshot.id), &bytes, PutMode::Replace).unwrap();
    let record_hash = *blake3::hash(&bytes).as_bytes();
    assert_eq!(writer.commit(&snapshot).unwrap(), Published::Done { record_hash });
    // The torn beginning of a try is completed.
    let mut writer = mini::start(&reader, &Backup::new(2)).unwrap();
    let root = mini::write_tree(&reader, &mut writer, &files, &Backup::new(2)).unwrap();
    assert!(writer.prepare(root, None, false).unwrap());
    let snapshot = mini::record(&writer, root, None);
    world.sim.put(&names::snapshot(&snapshot.id), b"", PutMode::CreateNew).unwrap();
    assert!(matches!(writer.commit(&snapshot).unwrap(), Published::Done { .. }));
    let list = repo::snapshots::SnapshotList::read(&world.open().unwrap()).unwrap();
    assert_eq!((list.snapshots.len(), list.unreadable.len()), (2, 0));
}

#[test]
fn a_listing_older_than_the_loss_does_not_bring_a_pack_back() {
    let cache = tempfile::tempdir().unwrap();
    let (world, files, _) = kept(cache.path());
    let (reader, _) = reader_at(&world, cache.path());
    let old = repo::index::PackListing::read(reader.repo()).unwrap();
    let options = Backup::new(2);
    let mut writer = mini::start(&reader, &options).unwrap();
    let root = mini::write_tree(&reader, &mut writer, &files, &options).unwrap();
    assert!(world.sim.lose(&packs(&world, "packs/")[0]));
    assert!(!writer.prepare(root, None, false).unwrap());
    writer.abandon().unwrap();
    let (seed, start) = (repo::seed::Seed::new([5; 32]), Default::default());
    let mut second = repo::writer::Writer::start(reader.clone(), &old, seed, start, Default::default());
    let again = mini::write_tree(&reader, &mut second, &files, &options).unwrap();
    assert!(second.written().blobs > 0, "what was lost is stored");
    assert!(second.prepare(again, None, false).unwrap());
}
