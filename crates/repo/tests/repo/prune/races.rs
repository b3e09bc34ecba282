//! What the simulation found: prune beside writers at the worst moments, and with the index hurt.

use super::{bury, fresh_seed, run, urgent, versions};
use format::id::PackId;
use format::kind::Timestamp;
use repo::check::{CheckOptions, ReadShare, check};
use repo::damage::read_marks;
use repo::index::PackListing;
use repo::prune::{PruneOptions, UnusedLimit, prune};
use repo::reader::Reader;
use repo::repair::{RepairOptions, repair};
use repo::snapshots::SnapshotList;
use repo::workers::Workers;
use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use storage::{Capabilities, Faults, ObjectInfo, ObjectName, PutMode, SimStore, Store, StoreResult, Upload};
use testkit::dice::Dice;
use testkit::files::random_files;
use testkit::mini::{Backup, backup, restore};
use testkit::world::World;

/// Does something once, right before a request.
struct Before {
    inner: SimStore,
    moment: Moment,
    requests: AtomicU64,
    act: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

/// Before which request.
enum Moment {
    /// The first put into this folder.
    PutInto(&'static str),
    /// This one, counted from the moment the store is given away.
    Request(u64),
}

impl Before {
    fn new(inner: SimStore, moment: Moment, act: impl FnOnce() + Send + 'static) -> Self {
        Before { inner, moment, requests: AtomicU64::new(0), act: Mutex::new(Some(Box::new(act))) }
    }

    fn meet(&self, put: Option<&ObjectName>) {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let is_now = match self.moment {
            Moment::PutInto(folder) => put.is_some_and(|name| name.as_str().starts_with(folder)),
            Moment::Request(at) => number == at,
        };
        if is_now && let Some(act) = self.act.lock().unwrap().take() {
            act();
        }
    }
}

impl Store for Before {
    fn location(&self) -> String {
        self.inner.location()
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    fn put(&self, name: &ObjectName, bytes: &[u8], mode: PutMode) -> StoreResult<()> {
        self.meet(Some(name));
        self.inner.put(name, bytes, mode)
    }
    fn upload(&self, len_hint_bytes: u64) -> StoreResult<Box<dyn Upload>> {
        self.meet(None);
        self.inner.upload(len_hint_bytes)
    }
    fn get(&self, name: &ObjectName, max_bytes: u64) -> StoreResult<Vec<u8>> {
        self.meet(None);
        self.inner.get(name, max_bytes)
    }
    fn get_range(&self, name: &ObjectName, range: Range<u64>) -> StoreResult<Vec<u8>> {
        self.meet(None);
        self.inner.get_range(name, range)
    }
    fn list(&self, prefix: &str, visit: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>) -> StoreResult<()> {
        self.meet(None);
        self.inner.list(prefix, visit)
    }
    fn stat(&self, name: &ObjectName) -> StoreResult<ObjectInfo> {
        self.meet(None);
        self.inner.stat(name)
    }
    fn delete(&self, name: &ObjectName) -> StoreResult<()> {
        self.meet(None);
        self.inner.delete(name)
    }
}

#[test]
fn a_snapshot_removed_between_its_two_copies_does_not_come_back_without_its_data() {
    let world = Arc::new(World::new(1));
    let files = random_files(&mut Dice::new(1), 30);
    let pruner = world.clone();
    let act = move || {
        let list = SnapshotList::read(&pruner.open().unwrap()).unwrap();
        let snapshot = list.visible().next_back().unwrap().clone();
        bury(&pruner, &snapshot);
        // The writer's pending record is not asked: whoever says 0 takes everything.
        let options = repo::prune::PruneOptions { dead_after: std::time::Duration::ZERO, ..urgent() };
        prune(&pruner.reader().unwrap(), &options, fresh_seed(), &mut |_, _, _| {}).unwrap();
    };
    let store = Before::new(world.sim.connect(), Moment::PutInto("mirror/snapshots/"), act);
    let done = backup(&world.reader_over(Arc::new(store)).unwrap(), &files, &Backup::new(1)).unwrap();
    let reader = world.reader().unwrap();
    let list = SnapshotList::read(reader.repo()).unwrap();
    let visible: Vec<_> = list.visible().collect();
    assert_eq!(visible.len(), 1, "the run began anew");
    assert_eq!(visible[0].id, done.snapshot.id);
    assert!(restore(&reader, done.snapshot.root).unwrap() == files);
}

#[test]
fn packs_whose_segment_is_lost_stay_when_something_is_in_no_other() {
    let world = World::new(1);
    let files = random_files(&mut Dice::new(1), 30);
    backup(&world.reader().unwrap(), &files, &Backup::new(1)).unwrap();
    let of = |folder: &str| -> Vec<ObjectName> {
        world.sim.objects().into_keys().filter(|name| name.as_str().starts_with(folder)).collect()
    };
    // The first packs are lost and stored again; then the second segment is lost. The first one still names
    // every blob, in packs that are gone.
    let first_segment = of("index/");
    for name in of("packs/") {
        world.sim.lose(&name);
    }
    let done = backup(&world.reader().unwrap(), &files, &Backup::new(2)).unwrap();
    for name in of("index/").iter().filter(|name| !first_segment.contains(name)) {
        world.sim.lose(name);
    }
    for _ in 0..2 {
        run(&world, &urgent());
    }
    assert!(restore(&world.reader().unwrap(), done.snapshot.root).unwrap() == files);
}

#[test]
fn a_list_that_arrives_spoilt_does_not_set_condemned_packs_free() {
    let world = World::new(1);
    let condemned = PackId([7; 32]);
    crate::damage::condemn(&world, &[condemned]);
    crate::damage::condemn(&world, &[PackId([8; 32])]);
    let repo = world.open().unwrap();
    let (mut read, mut refused) = (0, 0);
    for flips in [true, false].repeat(100) {
        let faults = match flips {
            true => Faults { flip_read_permille: 300, ..Faults::default() },
            false => Faults { misdirected_read_permille: 30, short_read_permille: 200, ..Faults::default() },
        };
        world.sim.set_faults(faults);
        match PackListing::read(&repo) {
            Ok(listing) => {
                assert!(listing.is_condemned(&condemned));
                read += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(read > 150, "{read} lists arrived, {refused} did not");
}

/// Runs something over a place where another machine's prune takes a forgotten snapshot away and packs anew what
/// is left, right before each request in turn. The snapshot was forgotten before, or just then.
fn beside_a_prune_at_every_moment(case: &str, run: impl Fn(&Arc<Reader>)) {
    for is_forgotten in [true, false] {
        beside_a_prune(&format!("{case}, forgotten before: {is_forgotten}"), is_forgotten, &run);
    }
}

fn beside_a_prune(case: &str, is_forgotten: bool, run: &impl Fn(&Arc<Reader>)) {
    for at in 0.. {
        let world = Arc::new(World::new(1));
        let made = versions(&world, 3, 20);
        if is_forgotten {
            bury(&world, &made[0].0);
        }
        let (pruner, first) = (world.clone(), made[0].0.clone());
        let store = Arc::new(Before::new(world.sim.connect(), Moment::Request(at), move || {
            if !is_forgotten {
                bury(&pruner, &first);
            }
            let options = PruneOptions { unused: UnusedLimit::Bytes(0), ..urgent() };
            let report = prune(&pruner.reader().unwrap(), &options, fresh_seed(), &mut |_, _, _| {}).unwrap();
            assert_eq!(report.removed_snapshots, 1);
            assert!(report.deleted_packs > 1);
        }));
        run(&world.reader_over(store.clone()).unwrap());
        let marks = read_marks(world.reader().unwrap().repo()).unwrap();
        assert!(marks.snapshots.is_empty() && marks.packs.is_empty(), "{case} at {at}: {marks:?}");
        let list = SnapshotList::read(world.reader().unwrap().repo()).unwrap();
        assert!(store.act.lock().unwrap().is_some() || list.snapshots.len() == 2, "{case} at {at}");
        for (snapshot, files) in &made[1..] {
            assert!(restore(&world.reader().unwrap(), snapshot.root).unwrap() == *files, "{case} at {at}");
        }
        if store.act.lock().unwrap().is_some() {
            assert!(at > 30, "{at} requests");
            return;
        }
    }
}

#[test]
fn what_a_prune_takes_away_while_a_check_runs_is_no_damage() {
    for read in [ReadShare::Nothing, ReadShare::Everything] {
        beside_a_prune_at_every_moment("check", |reader| {
            let mut options = CheckOptions {
                read,
                workers: Workers(0),
                sample_seed: 1,
                now: Timestamp::default(),
                progress: &mut |_, _| {},
            };
            assert_eq!(check(reader, &mut options).unwrap().findings, []);
        });
    }
}

#[test]
fn what_a_prune_takes_away_while_a_repair_runs_is_neither_left_nor_marked() {
    for read in [ReadShare::Nothing, ReadShare::Everything] {
        beside_a_prune_at_every_moment("repair", |reader| {
            let mut options = RepairOptions {
                dry_run: false,
                read,
                workers: Workers(0),
                sample_seed: 1,
                now: Timestamp::default(),
                sibling: None,
                source: None,
                writer: urgent().writer,
                progress: &mut |_, _| {},
            };
            let report = repair(reader, &mut options, fresh_seed()).unwrap();
            assert_eq!((report.left, report.actions), (vec![], vec![]));
        });
    }
}
