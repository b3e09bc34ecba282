//! Space comes back, and nothing else changes: what prune does on a simulated place.

mod crash;
mod races;
mod turns;

use format::config::Parameters;
use format::kind::Timestamp;
use format::snapshot::Snapshot;
use repo::cache::Cache;
use repo::check::{CheckOptions, ReadShare, check};
use repo::prune::{PruneOptions, PruneReport, UnusedLimit, prune};
use repo::reader::Reader;
use repo::reserve;
use repo::seed::Seed;
use repo::snapshots::{SnapshotList, forget};
use repo::workers::Workers;
use repo::writer::WriterOptions;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use storage::{ObjectName, Store};
use testkit::dice::Dice;
use testkit::files::{Files, edit, random_files};
use testkit::mini::{self, Backup, backup, restore};
use testkit::world::World;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Everything at once, on one thread.
fn urgent() -> PruneOptions {
    let writer =
        WriterOptions { seal_workers: Workers(0), upload_workers: Workers(0), ..WriterOptions::default() };
    let time = Timestamp { secs: 1_700_000_000, nanos: 0 };
    let unused = UnusedLimit::Worthwhile;
    PruneOptions { writer, repack_bytes_max: Some(u64::MAX), unused, ..PruneOptions::urgent(time) }
}

fn run_over(world: &World, store: Arc<dyn Store>, options: &PruneOptions) -> repo::RepoResult<PruneReport> {
    let reader = world.reader_over(store)?;
    prune(&reader, options, fresh_seed(), &mut |_, _, _| {})
}

/// Equal seeds would make equal packs.
fn fresh_seed() -> Seed {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let mut seed = [9; 32];
    seed[..8].copy_from_slice(&RUNS.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    Seed::new(seed)
}

fn run(world: &World, options: &PruneOptions) -> PruneReport {
    run_over(world, Arc::new(world.sim.connect()), options).unwrap()
}

fn bury(world: &World, snapshot: &Snapshot) {
    let repo = world.open().unwrap();
    forget(&repo, &snapshot.id, Timestamp::default(), "test", &mut Seed::new([5; 32])).unwrap();
}

/// Some versions of a folder, each a snapshot with its parent.
fn versions(world: &World, count: u64, files: usize) -> Vec<(Snapshot, Files)> {
    let mut dice = Dice::new(17);
    let mut now = random_files(&mut dice, files);
    let mut made: Vec<(Snapshot, Files)> = Vec::new();
    for n in 0..count {
        let reader = world.reader().unwrap();
        let options = Backup { parent: made.last().map(|(snapshot, _)| snapshot), ..Backup::new(100 + n) };
        let done = backup(&reader, &now, &options).unwrap();
        made.push((done.snapshot, now.clone()));
        edit(&mut dice, &mut now, files / 5);
    }
    made
}

fn stored_bytes(world: &World) -> u64 {
    let packs =
        |name: &ObjectName| name.as_str().starts_with("packs/") || name.as_str().starts_with("trees/");
    world.sim.objects().iter().filter(|(name, _)| packs(name)).map(|(_, bytes)| bytes.len() as u64).sum()
}

/// Every one of these restores, and a check that reads everything finds nothing.
fn assert_whole(world: &World, expected: &[&(Snapshot, Files)], case: &str) {
    let reader = world.reader().unwrap();
    let list = SnapshotList::read(reader.repo()).unwrap();
    for (snapshot, files) in expected {
        assert!(list.visible().any(|s| s.id == snapshot.id), "{case}: a snapshot is gone");
        let restored = restore(&reader, snapshot.root).unwrap_or_else(|e| panic!("{case}: {e}"));
        assert!(restored == *files, "{case}: other contents");
    }
    let mut options = CheckOptions {
        read: ReadShare::Everything,
        workers: Workers(0),
        sample_seed: 0,
        now: format::kind::Timestamp::default(),
        progress: &mut |_, _| {},
    };
    let report = check(&reader, &mut options).unwrap();
    // What was cut off while it was written is no loss, and stays until it is a day old.
    let cut_off =
        |what: &str| ["gc/condemned", "gc/removed", "index/"].iter().any(|list| what.starts_with(list));
    let findings: Vec<_> = report.findings.iter().filter(|f| !cut_off(&f.what)).collect();
    assert!(findings.is_empty(), "{case}: {findings:?}");
}

#[test]
fn what_only_forgotten_snapshots_need_comes_back_at_once_when_asked() {
    let world = World::new(1);
    let made = versions(&world, 6, 120);
    let before = stored_bytes(&world);
    (0..3).for_each(|n| bury(&world, &made[n].0));
    let report = run(&world, &urgent());
    assert_eq!((report.removed_snapshots, report.doubts.len()), (3, 0));
    let after = stored_bytes(&world);
    assert!(report.deleted_bytes > 0 && after < before, "{report:?}");
    let kept: Vec<_> = made[3..].iter().collect();
    assert_whole(&world, &kept, "after pruning");
    // What is left is little more than the same snapshots need in a new repository.
    let fresh = World::new(2);
    for (n, (_, files)) in made[3..].iter().enumerate() {
        backup(&fresh.reader().unwrap(), files, &Backup::new(n as u64)).unwrap();
    }
    assert!(after <= stored_bytes(&fresh) * 5 / 4, "{after} bytes for what {} hold", stored_bytes(&fresh));
    // Nothing is left to do.
    let objects = world.sim.objects();
    let again = run(&world, &urgent());
    assert_eq!((again.deleted_packs, again.condemned_packs), (0, 0), "{again:?}");
    let packs = |objects: std::collections::BTreeMap<ObjectName, Vec<u8>>| {
        objects
            .into_keys()
            .filter(|name| name.as_str().contains("/") && !name.as_str().starts_with("maint/"))
            .collect::<Vec<_>>()
    };
    assert_eq!(packs(world.sim.objects()), packs(objects));
    // The next backup builds on it.
    let next = backup(&world.reader().unwrap(), &made[5].1, &Backup::new(999)).unwrap();
    assert_eq!(next.written.added_bytes, 0);
}

#[test]
fn a_dry_run_foretells_and_changes_nothing() {
    let world = World::new(1);
    let made = versions(&world, 5, 100);
    (0..3).for_each(|n| bury(&world, &made[n].0));
    let before = world.sim.objects();
    let foretold = run(&world, &PruneOptions { dry_run: true, ..urgent() });
    assert!(world.sim.objects() == before, "a dry run writes nothing");
    let done = run(&world, &urgent());
    assert_eq!(foretold.removed_snapshots, done.removed_snapshots);
    assert_eq!(foretold.condemned_packs, done.condemned_packs);
    assert_eq!(foretold.deleted_bytes, done.deleted_bytes);
    assert_eq!(foretold.rewritten_packs, done.rewritten_packs);
    assert!(foretold.requests > 0 && foretold.read_bytes > 0);
}

#[test]
fn windows_are_kept_by_the_clock_of_the_store() {
    let world = World::new(1);
    let start = SystemTime::UNIX_EPOCH + 20_000 * DAY;
    world.sim.set_time(start);
    let made = versions(&world, 3, 80);
    bury(&world, &made[0].0);
    let options = PruneOptions { undo_window: 7 * DAY, grace: DAY, ..urgent() };
    world.sim.set_time(start + 6 * DAY);
    let report = run(&world, &options);
    assert_eq!((report.removed_snapshots, report.forgotten_waiting, report.condemned_packs), (0, 1, 0));
    world.sim.set_time(start + 8 * DAY);
    let report = run(&world, &options);
    assert_eq!((report.removed_snapshots, report.deleted_packs), (1, 0));
    assert!(report.condemned_packs > 0 && report.waiting_packs == report.condemned_packs, "{report:?}");
    let waiting = report.waiting_packs;
    world.sim.set_time(start + 8 * DAY + DAY / 2);
    assert_eq!(run(&world, &options).deleted_packs, 0);
    world.sim.set_time(start + 9 * DAY);
    let report = run(&world, &options);
    assert_eq!((report.deleted_packs, report.waiting_packs), (waiting, 0), "{report:?}");
    assert_whole(&world, &[&made[1], &made[2]], "after the grace period");
}

#[test]
fn what_a_killed_run_left_goes_when_it_is_old() {
    let world = World::new(1);
    let start = SystemTime::UNIX_EPOCH + 20_000 * DAY;
    world.sim.set_time(start);
    let made = versions(&world, 1, 60);
    let files = random_files(&mut Dice::new(77), 60);
    for checkpoints in [0, 20] {
        // Ends without a word, before and after it stored a pending record.
        let reader = world.reader().unwrap();
        let options =
            Backup { checkpoint_files: checkpoints, segment_packs: 2, ..Backup::new(5 + checkpoints as u64) };
        let mut writer = mini::start(&reader, &options).unwrap();
        mini::write_tree(&reader, &mut writer, &files, &options).unwrap();
    }
    let full = stored_bytes(&world);
    let options = PruneOptions { grace: DAY, ..urgent() };
    world.sim.set_time(start + DAY / 2);
    assert_eq!(run(&world, &options).condemned_packs, 0, "it may still be running");
    world.sim.set_time(start + 8 * DAY);
    let report = run(&world, &options);
    assert!(report.ended_sessions > 0 && report.condemned_packs > 0, "{report:?}");
    world.sim.set_time(start + 10 * DAY);
    let cut_off = ObjectName::new("gc/removed-00000000000000ff-00112233445566778899aabbccddeeff").unwrap();
    world.sim.put(&cut_off, b"LBOB", storage::PutMode::CreateNew).unwrap();
    run(&world, &options);
    assert!(world.sim.objects().contains_key(&cut_off), "it may still be being written");
    world.sim.set_time(start + 12 * DAY);
    run(&world, &options);
    assert!(!world.sim.objects().contains_key(&cut_off));
    assert!(stored_bytes(&world) < full);
    assert_whole(&world, &[&made[0]], "after clearing away");
    assert!(!world.sim.objects().keys().any(|name| name.as_str().starts_with("pending/")));
}

#[test]
fn a_session_that_was_ended_while_it_slept_begins_anew() {
    let world = World::new(1);
    let files = random_files(&mut Dice::new(7), 50);
    let reader = world.reader().unwrap();
    let options = Backup { checkpoint_files: 10, segment_packs: 2, ..Backup::new(1) };
    let mut sleeper = mini::start(&reader, &options).unwrap();
    let root = mini::write_tree(&reader, &mut sleeper, &files, &options).unwrap();
    assert!(sleeper.prepare(root, None, false).unwrap());
    let report = run(&world, &PruneOptions { dead_after: Duration::ZERO, ..urgent() });
    assert_eq!(report.ended_sessions, 1);
    let snapshot = mini::record(&sleeper, root, None);
    assert_eq!(sleeper.commit(&snapshot).unwrap(), repo::writer::publish::Published::Overtaken);
    drop(sleeper);
    let done = backup(&world.reader().unwrap(), &files, &Backup::new(2)).unwrap();
    run(&world, &urgent());
    assert_whole(&world, &[&(done.snapshot, files)], "after waking up");
    // The word that it is over stays, and is no snapshot.
    assert_eq!(SnapshotList::read(&world.open().unwrap()).unwrap().snapshots.len(), 1);
}

#[test]
fn a_root_that_cannot_be_walked_stops_deletion_and_nothing_else() {
    let world = World::new(1);
    let made = versions(&world, 3, 80);
    bury(&world, &made[0].0);
    let repo = world.open().unwrap();
    let index = repo::index::Index::load(&repo, &Cache::none()).unwrap();
    let node = index.locate(format::id::BlobKind::Tree, &made[2].0.root.id)[0];
    let pack = repo::names::pack(node.kind, &node.pack);
    let bytes = world.sim.objects()[&pack].clone();
    world.sim.lose(&pack);
    let report = run(&world, &urgent());
    assert!(!report.doubts.is_empty());
    assert_eq!((report.deleted_packs, report.condemned_packs), (0, 0));
    // Given up by its owner, it stops nothing any more.
    bury(&world, &made[2].0);
    let still_needed = SnapshotList::read(&world.open().unwrap()).unwrap();
    assert!(still_needed.visible().any(|s| s.id == made[1].0.id));
    let report = run(&world, &urgent());
    match restore(&world.reader().unwrap(), made[1].0.root) {
        Ok(_) => assert_eq!(report.doubts, [] as [String; 0]),
        Err(_) => assert!(!report.doubts.is_empty(), "the lost pack held nodes of the other snapshot, too"),
    }
    drop(bytes);
}

#[test]
fn what_comes_back_while_it_is_removed_is_told_so() {
    let world = World::new(1);
    let made = versions(&world, 2, 40);
    bury(&world, &made[0].0);
    let repo = world.open().unwrap();
    let record = repo::names::snapshot(&made[0].0.id);
    let mirror = repo::names::mirror(&record);
    let late = world.sim.objects()[&mirror].clone();
    run(&world, &urgent());
    assert!(repo::removals::is_announced(&repo, &made[0].0.id).unwrap());
    let error = repo::snapshots::remember(&repo, &made[0].0.id).unwrap_err();
    assert!(matches!(error, repo::RepoError::TooLate(_)), "{error}");
    // A writer that slept before it put the second copy puts it now. It is no snapshot, no root and no damage,
    // and goes with the next run.
    world.sim.put(&mirror, &late, storage::PutMode::Replace).unwrap();
    assert_eq!(SnapshotList::read(&repo).unwrap().snapshots.len(), 1);
    assert_whole(&world, &[&made[1]], "beside a late second copy");
    // So does a repair that slept before it put the first copy again.
    world.sim.put(&record, &late, storage::PutMode::Replace).unwrap();
    let report = run(&world, &urgent());
    assert_eq!(report.doubts, [] as [String; 0]);
    let left = world.sim.objects();
    assert!(!left.contains_key(&mirror) && !left.contains_key(&record));
    // Announcements are for ever, in few lists.
    let mut known = repo::removals::Announced::read(&repo).unwrap().ids;
    assert!(known.remove(&made[0].0.id) && known.is_empty());
}

#[test]
fn blobs_that_two_runs_stored_at_once_are_kept_once() {
    let world = World::new(1);
    let files = random_files(&mut Dice::new(3), 90);
    // Both look before either stores.
    let readers = [world.reader().unwrap(), world.reader().unwrap()];
    let twins: Vec<_> = readers
        .iter()
        .enumerate()
        .map(|(n, reader)| (backup(reader, &files, &Backup::new(n as u64)).unwrap().snapshot, files.clone()))
        .collect();
    let before = stored_bytes(&world);
    let report = run(&world, &urgent());
    let after = stored_bytes(&world);
    assert!(after * 10 < before * 6, "{before} bytes became {after}: {report:?}");
    assert_whole(&world, &twins.iter().collect::<Vec<_>>(), "kept once");
}

#[test]
fn a_double_in_a_damaged_pack_is_no_copy() {
    for damaged in 0..2 {
        let world = World::new(1);
        let files = random_files(&mut Dice::new(3), 60);
        let readers = [world.reader().unwrap(), world.reader().unwrap()];
        let mut packs: Vec<Vec<ObjectName>> = Vec::new();
        let mut known: Vec<ObjectName> = Vec::new();
        let mut twins = Vec::new();
        for (n, reader) in readers.iter().enumerate() {
            let done = backup(reader, &files, &Backup::new(n as u64)).unwrap();
            twins.push((done.snapshot, files.clone()));
            let now: Vec<ObjectName> =
                world.sim.objects().into_keys().filter(|name| name.as_str().starts_with("packs/")).collect();
            packs.push(now.iter().filter(|name| !known.contains(name)).cloned().collect());
            known = now;
        }
        for name in &packs[damaged] {
            world.sim.damage(name, |bytes| bytes[200] ^= 1);
        }
        run(&world, &urgent());
        let reader = world.reader().unwrap();
        for (snapshot, files) in &twins {
            let restored = restore(&reader, snapshot.root);
            assert!(restored.is_ok_and(|restored| restored == *files), "packs of run {damaged} damaged");
        }
    }
}

#[test]
fn limits_are_kept() {
    let garbage = |options: PruneOptions| {
        let world = World::new(1);
        let made = versions(&world, 6, 150);
        (0..4).for_each(|n| bury(&world, &made[n].0));
        let report = run(&world, &options);
        assert_whole(&world, &[&made[4], &made[5]], "with limits");
        report
    };
    let none = garbage(PruneOptions { unused: UnusedLimit::Unlimited, ..urgent() });
    assert_eq!(none.rewritten_packs, 0);
    let all = garbage(PruneOptions { unused: UnusedLimit::Share(0.0), ..urgent() });
    let some = garbage(PruneOptions { unused: UnusedLimit::Bytes(none.unused_bytes / 2), ..urgent() });
    assert!(all.rewritten_packs > some.rewritten_packs && some.rewritten_packs > 0);
    assert_eq!(all.unused_bytes, 0);
    let little = garbage(PruneOptions { repack_bytes_max: Some(20_000), ..urgent() });
    assert!(little.read_bytes <= 60_000 && little.rewritten_packs < all.rewritten_packs, "{little:?}");
}

/// Of four hundred files in blocks of many, three in a hundred have a version that nobody needs any more.
#[test]
fn blocks_that_are_nearly_all_needed_are_taken_apart_only_where_the_place_is_full() {
    let stored_after = |is_full: bool| {
        let world = World::with_parameters(1, Parameters::default());
        let mut dice = Dice::new(3);
        let mut contents = || (0..4000).map(|_| dice.below(256) as u8).collect::<Vec<u8>>();
        let mut files: Files = (0..400).map(|n| (format!("file-{n:03}"), contents())).collect();
        let first = backup(&world.reader().unwrap(), &files, &Backup::new(1)).unwrap();
        (20..400).step_by(33).for_each(|n| _ = files.insert(format!("file-{n:03}"), contents()));
        let options = Backup { parent: Some(&first.snapshot), ..Backup::new(2) };
        let second = backup(&world.reader().unwrap(), &files, &options).unwrap();
        bury(&world, &first.snapshot);
        let repo = world.open().unwrap();
        match is_full {
            true => assert!(!reserve::release(&repo).unwrap(), "a new world has none"),
            false => assert!(reserve::refill(&repo, 1, &mut Seed::new([9; 32])).unwrap()),
        }
        run(&world, &PruneOptions { unused: UnusedLimit::Urgent, ..urgent() });
        assert_whole(&world, &[&(second.snapshot, files)], "after an urgent prune");
        stored_bytes(&world)
    };
    let (full, roomy) = (stored_after(true), stored_after(false));
    assert!(full + 8_000 < roomy && roomy < full + full / 20, "{full} {roomy}");
}

#[test]
fn a_maintainer_prunes_without_reading_contents() {
    let world = World::new(1);
    let made = versions(&world, 5, 120);
    (0..3).for_each(|n| bury(&world, &made[n].0));
    let before = stored_bytes(&world);
    let report = run_as_maintainer(&world, &urgent());
    assert_eq!(report.doubts, [] as [String; 0]);
    assert!(stored_bytes(&world) < before);
    assert_whole(&world, &[&made[3], &made[4]], "after a maintainer");
}

fn run_as_maintainer(world: &World, options: &PruneOptions) -> PruneReport {
    let key = format::keys::Key::new([0x3a; 32]);
    let mut owner = Arc::into_inner(world.open().unwrap()).unwrap();
    let slot = repo::NewSlot {
        credential: repo::Credential::Random(key.clone()),
        is_recovery: false,
        capability: format::keys::Capability::Maintain,
        cost: format::slot::ArgonCost::default(),
        label: "m".into(),
    };
    owner.add_slot(&slot, Timestamp::default(), &mut Seed::new([4; 32])).unwrap();
    let credential = repo::Credential::Random(key);
    let store: Arc<dyn Store> = Arc::new(world.sim.connect());
    let maintainer = repo::Repo::open(store, &credential, &repo::OpenOptions::default()).unwrap();
    let reader = Arc::new(Reader::open(Arc::new(maintainer), Cache::none()).unwrap());
    prune(&reader, options, fresh_seed(), &mut |_, _, _| {}).unwrap()
}

#[test]
fn what_was_cleaned_once_is_clean() {
    for unused in
        [UnusedLimit::Worthwhile, UnusedLimit::Urgent, UnusedLimit::Share(0.0), UnusedLimit::Share(0.1)]
    {
        for maintain in [false, true] {
            let world = World::new(1);
            let made = versions(&world, 7, 150);
            [0, 2, 3, 5].into_iter().for_each(|n| bury(&world, &made[n].0));
            let options = PruneOptions { unused, ..urgent() };
            let once = || match maintain {
                true => run_as_maintainer(&world, &options),
                false => run(&world, &options),
            };
            once();
            let again = once();
            assert_eq!(
                (again.rewritten_packs, again.condemned_packs),
                (0, 0),
                "{unused:?} {maintain}: {again:?}"
            );
        }
    }
}

#[test]
fn many_runs_leave_few_segments_and_lists() {
    let world = World::new(1);
    let mut dice = Dice::new(5);
    let mut files = random_files(&mut dice, 40);
    let mut last: Option<Snapshot> = None;
    for n in 0..30 {
        let reader = world.reader().unwrap();
        let done = backup(&reader, &files, &Backup { parent: last.as_ref(), ..Backup::new(n) }).unwrap();
        if let Some(old) = last.replace(done.snapshot) {
            bury(&world, &old);
        }
        if n % 2 == 1 {
            run(&world, &urgent());
        }
        edit(&mut dice, &mut files, 6);
    }
    let objects = world.sim.objects();
    let count = |folder: &str| objects.keys().filter(|name| name.as_str().starts_with(folder)).count();
    assert!(count("index/") <= 12 && count("gc/condemned") <= 12, "{} {}", count("index/"), count("gc/"));
    let last = last.unwrap();
    let reader = world.reader().unwrap();
    assert!(restore(&reader, last.root).is_ok());
}
