//! What a copy from a sibling promises: the same snapshots, byte for byte, whatever is cut off or goes on beside.

use format::block::BlockCoder;
use format::id::{BlobKind, SnapshotId};
use format::keys::{Capability, Key};
use format::kind::Timestamp;
use format::slot::ArgonCost;
use format::snapshot::Snapshot;
use repo::cache::Cache;
use repo::check::{CheckOptions, ReadShare, check};
use repo::index::PackListing;
use repo::prune::{PruneOptions, UnusedLimit, prune};
use repo::reader::Reader;
use repo::seed::Seed;
use repo::snapshots::{SnapshotList, forget};
use repo::sync::{Skipped, SyncOptions, SyncReport, sync};
use repo::workers::Workers;
use repo::writer::WriterOptions;
use repo::{Credential, NewSlot, OpenOptions, Repo, RepoResult, names, trust};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use storage::{Crash, CrashPoint, ObjectName, SimStore, Store};
use testkit::dice::Dice;
use testkit::files::{Files, edit, random_files};
use testkit::mini::{Backup, backup, restore};
use testkit::world::World;

struct Pair {
    a: World,
    b: World,
    made: Vec<(Snapshot, Files)>,
}

fn pair(count: u64, files: usize) -> Pair {
    let a = World::new(1);
    let b = a.sibling(2);
    let made = versions(&a, count, files);
    Pair { a, b, made }
}

fn versions(world: &World, count: u64, files: usize) -> Vec<(Snapshot, Files)> {
    let mut dice = Dice::new(17);
    let mut now = random_files(&mut dice, files);
    let mut made: Vec<(Snapshot, Files)> = Vec::new();
    for n in 0..count {
        let options = Backup { parent: made.last().map(|(snapshot, _)| snapshot), ..Backup::new(100 + n) };
        let done = backup(&world.reader().unwrap(), &now, &options).unwrap();
        made.push((done.snapshot, now.clone()));
        edit(&mut dice, &mut now, files / 5);
    }
    made
}

fn fresh_seed() -> Seed {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let mut seed = [4; 32];
    seed[..8].copy_from_slice(&RUNS.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    Seed::new(seed)
}

fn inline_writer() -> WriterOptions {
    let none = Workers(0);
    WriterOptions { seal_workers: none, upload_workers: none, segment_packs: 3, ..WriterOptions::default() }
}

fn options<'a>() -> SyncOptions<'a> {
    SyncOptions {
        snapshots: None,
        again: false,
        dry_run: false,
        read_back: false,
        now: Timestamp { secs: 77, nanos: 0 },
        fetch_workers: Workers(0),
        writer: inline_writer(),
        progress: Box::leak(Box::new(|_, _| {})),
        cancelled: &|| false,
    }
}

fn run_over(
    from: &World,
    to: &World,
    store: Arc<dyn Store>,
    options: &mut SyncOptions<'_>,
) -> RepoResult<SyncReport> {
    sync(&from.reader()?, &to.reader_over(store)?, options, fresh_seed())
}

fn run(from: &World, to: &World, options: &mut SyncOptions<'_>) -> SyncReport {
    run_over(from, to, Arc::new(to.sim.connect()), options).unwrap()
}

fn bury(world: &World, id: &SnapshotId) {
    let repo = world.open().unwrap();
    forget(&repo, id, Timestamp::default(), "test", &mut fresh_seed()).unwrap();
}

fn urgent() -> PruneOptions {
    let unused = UnusedLimit::Share(0.0);
    let time = Timestamp { secs: 1_700_000_000, nanos: 0 };
    PruneOptions {
        writer: inline_writer(),
        repack_bytes_max: Some(u64::MAX),
        unused,
        ..PruneOptions::urgent(time)
    }
}

fn prune_now(world: &World, options: &PruneOptions) {
    let report = prune(&world.reader().unwrap(), options, fresh_seed(), &mut |_, _, _| {}).unwrap();
    assert!(report.doubts.is_empty(), "{:?}", report.doubts);
}

fn findings(world: &World) -> Vec<String> {
    let mut options = CheckOptions {
        read: ReadShare::Everything,
        workers: Workers(0),
        sample_seed: 0,
        now: Timestamp::default(),
        progress: &mut |_, _| {},
    };
    let report = check(&world.reader().unwrap(), &mut options).unwrap();
    report.findings.iter().map(|f| format!("{}: {:?}", f.what, f)).collect()
}

fn assert_has(world: &World, made: &[(Snapshot, Files)], case: &str) {
    let reader = world.reader().unwrap();
    let list = SnapshotList::read(reader.repo()).unwrap();
    for (snapshot, files) in made {
        assert!(list.visible().any(|s| s == snapshot), "{case}: {} is not there", snapshot.id);
        assert!(restore(&reader, snapshot.root).unwrap() == *files, "{case}: other contents");
    }
    assert_eq!(findings(world), Vec::<String>::new(), "{case}");
}

fn objects_of(world: &World, prefix: &str) -> BTreeSet<ObjectName> {
    world.sim.objects().into_keys().filter(|name| name.as_str().starts_with(prefix)).collect()
}

#[test]
fn a_copy_has_the_same_records_and_packs_and_a_second_run_sends_nothing() {
    let Pair { a, b, made } = pair(4, 80);
    let report = run(&a, &b, &mut options());
    assert_eq!(report.copied.len(), 4);
    assert_has(&b, &made, "after the first run");
    for prefix in ["snapshots/", "mirror/snapshots/", "packs/", "trees/"] {
        let (there, here) = (objects_of(&b, prefix), objects_of(&a, prefix));
        assert_eq!(there, here, "the first copy takes every pack as it is");
        for name in there {
            assert_eq!(a.sim.object(&name), b.sim.object(&name), "{name}");
        }
    }
    assert!(objects_of(&b, "pending/").is_empty());
    let client = b.sim.connect();
    let again = run_over(&a, &b, Arc::new(client.clone()), &mut options()).unwrap();
    assert_eq!((again.copied.len(), again.stored_bytes), (0, 0));
    assert!(again.skipped.iter().all(|(_, why)| *why == Skipped::Present));
    assert_eq!(client.log().counts().puts, 0);
}

#[test]
fn a_key_that_cannot_read_copies_everything() {
    let Pair { a, b, made } = pair(3, 60);
    let maintain = Credential::Random(Key::new([9; 32]));
    for world in [&a, &b] {
        let mut repo =
            Repo::open(Arc::new(world.sim.connect()), &world.credential(), &OpenOptions::default()).unwrap();
        let slot = NewSlot {
            credential: maintain.clone(),
            is_recovery: false,
            capability: Capability::Maintain,
            cost: ArgonCost::default(),
            label: "maintain".into(),
        };
        repo.add_slot(&slot, Timestamp::default(), &mut fresh_seed()).unwrap();
    }
    let reader = |world: &World| {
        let repo = Repo::open(Arc::new(world.sim.connect()), &maintain, &OpenOptions::default()).unwrap();
        assert!(
            BlockCoder::new(format::codec::Compressor::new(format::codec::Level(1)))
                .open(repo.keys(), BlobKind::Data, repo.suite(), &[0; 100])
                .is_err()
        );
        Arc::new(Reader::open(Arc::new(repo), Cache::none()).unwrap())
    };
    let report = sync(&reader(&a), &reader(&b), &mut options(), fresh_seed()).unwrap();
    assert_eq!((report.copied.len(), report.blobs), (3, 0));
    assert_has(&b, &made, "copied with a maintain key");
    // Also where packs have to be taken apart.
    let c = a.sibling(3);
    let mut repo = Repo::open(Arc::new(c.sim.connect()), &c.credential(), &OpenOptions::default()).unwrap();
    let slot = NewSlot {
        credential: maintain.clone(),
        is_recovery: false,
        capability: Capability::Maintain,
        cost: ArgonCost::default(),
        label: "maintain".into(),
    };
    repo.add_slot(&slot, Timestamp::default(), &mut fresh_seed()).unwrap();
    let mut last = SyncOptions { snapshots: Some(BTreeSet::from([made[2].0.id])), ..options() };
    let report = sync(&reader(&a), &reader(&c), &mut last, fresh_seed()).unwrap();
    assert!(report.blocks > 0, "{report:?}");
    assert_has(&c, &made[2..], "one snapshot alone");
    assert_eq!(SnapshotList::read(&c.open().unwrap()).unwrap().visible().count(), 1);
}

#[test]
fn a_dry_run_foretells_and_changes_nothing() {
    let Pair { a, b, .. } = pair(3, 60);
    let before = b.sim.objects();
    let told = run(&a, &b, &mut SyncOptions { dry_run: true, ..options() });
    assert_eq!(b.sim.objects(), before);
    let (client, source) = (b.sim.connect(), a.sim.connect());
    let readers =
        (a.reader_over(Arc::new(source.clone())).unwrap(), b.reader_over(Arc::new(client.clone())).unwrap());
    client.log().clear();
    let done = sync(&readers.0, &readers.1, &mut options(), fresh_seed()).unwrap();
    assert_eq!(told.copied, done.copied);
    assert_eq!(told.whole_packs, done.whole_packs);
    assert_eq!(told.read_bytes, done.read_bytes);
    let counts = client.log().counts();
    let changes = counts.puts + counts.deletes;
    assert!(told.target_requests >= changes && told.target_requests <= 2 * changes, "{told:?} {counts:?}");
}

#[test]
fn a_crash_at_any_request_is_finished_by_the_next_run() {
    let Pair { a, made, .. } = pair(3, 40);
    let seed_of = |n: u64| 100 + n;
    let whole = {
        let b = a.sibling(seed_of(0));
        let client = b.sim.connect();
        run_over(&a, &b, Arc::new(client.clone()), &mut options()).unwrap();
        client.requests_made()
    };
    assert!(whole > 40, "{whole} requests make a copy");
    let mut resent = Vec::new();
    for at_request in 0..whole {
        for (n, point) in [CrashPoint::Before, CrashPoint::Torn, CrashPoint::After].into_iter().enumerate() {
            let power_loss = (at_request as usize + n).is_multiple_of(3);
            let b = a.sibling(seed_of(at_request));
            let client = b.sim.connect();
            client.set_crash(Crash { at_request, point, power_loss });
            let first = run_over(&a, &b, Arc::new(client.clone()), &mut options());
            let case = format!("{point:?} at {at_request}, power loss {power_loss}");
            // What is visible is whole, at any time.
            let reader = b.reader().unwrap();
            for snapshot in SnapshotList::read(reader.repo()).unwrap().visible() {
                let (_, files) = made.iter().find(|(s, _)| s == snapshot).expect("a snapshot of the source");
                assert!(restore(&reader, snapshot.root).unwrap() == *files, "{case}");
            }
            if let Ok(report) = &first {
                assert_eq!(report.copied.len(), 3, "{case}");
            }
            let again = run_over(&a, &b, Arc::new(b.sim.connect()), &mut options());
            let again = again.unwrap_or_else(|e| panic!("{case}: {e:?}"));
            resent.push((at_request, again.whole_packs));
            for (snapshot, files) in &made {
                assert!(restore(&b.reader().unwrap(), snapshot.root).unwrap() == *files, "{case}");
            }
            let list = SnapshotList::read(&b.open().unwrap()).unwrap();
            assert!(made.iter().all(|(s, _)| list.visible().any(|t| t == s)), "{case}");
        }
    }
    // Packs that were brought are not brought again.
    let packs = objects_of(&a, "packs/").len() as u64 + objects_of(&a, "trees/").len() as u64;
    let late: Vec<_> = resent.iter().filter(|(at, _)| *at > whole * 3 / 4).map(|(_, n)| *n).collect();
    assert!(late.iter().all(|n| *n <= packs / 3), "{packs} packs; brought again late: {late:?}");
}

#[test]
fn names_that_were_condemned_are_never_written_again() {
    let Pair { a, b, made } = pair(3, 80);
    run(&a, &b, &mut options());
    let ids: Vec<SnapshotId> = made.iter().map(|(s, _)| s.id).collect();
    ids.iter().for_each(|id| bury(&b, id));
    prune_now(&b, &urgent());
    assert!(objects_of(&b, "packs/").is_empty());
    let condemned: BTreeSet<ObjectName> =
        objects_of(&a, "packs/").union(&objects_of(&a, "trees/")).cloned().collect();
    // What was removed there stays removed.
    let report = run(&a, &b, &mut options());
    assert_eq!(report.copied, []);
    assert!(report.skipped.iter().all(|(_, why)| *why == Skipped::RemovedThere), "{:?}", report.skipped);
    // Unless somebody asks for it.
    let mut by_name =
        SyncOptions { snapshots: Some(ids.iter().copied().collect()), again: true, ..options() };
    let report = run(&a, &b, &mut by_name);
    assert_eq!(report.copied.len(), 3);
    assert!(report.copied.iter().all(|(old, new)| old != new), "their ids are over there");
    assert!(
        objects_of(&b, "packs/").is_disjoint(&condemned) && objects_of(&b, "trees/").is_disjoint(&condemned)
    );
    let renamed: Vec<(Snapshot, Files)> = made
        .iter()
        .zip(&report.copied)
        .map(|((s, files), (_, id))| (Snapshot { id: *id, ..s.clone() }, files.clone()))
        .collect();
    assert_has(&b, &renamed, "published again");
    // Once is enough, and nothing comes back to where the others are.
    let mut by_name = SyncOptions { snapshots: Some(ids.into_iter().collect()), again: true, ..options() };
    assert_eq!(run(&a, &b, &mut by_name).copied, []);
    assert_eq!(run(&b, &a, &mut options()).copied, []);
    prune_now(&b, &urgent());
    assert_has(&b, &renamed, "and pruned");
}

#[test]
fn an_id_that_was_ended_comes_back_under_another_that_everybody_computes() {
    let Pair { a, b, made } = pair(2, 40);
    // A copy dies before its first commit, and a prune takes it for dead.
    let client = b.sim.connect();
    let probe = a.sibling(9);
    let requests = {
        let client = probe.sim.connect();
        run_over(&a, &probe, Arc::new(client.clone()), &mut options()).unwrap();
        let log = client.log().requests();
        log.iter()
            .position(|r| r.name.starts_with("snapshots/") && r.kind == storage::RequestKind::Put)
            .unwrap()
    };
    client.set_crash(Crash { at_request: requests as u64 - 1, point: CrashPoint::Before, power_loss: false });
    run_over(&a, &b, Arc::new(client), &mut options()).unwrap_err();
    assert!(!objects_of(&b, "pending/").is_empty());
    prune_now(&b, &PruneOptions { dead_after: Duration::ZERO, ..urgent() });
    let ended: Vec<_> =
        made.iter().filter(|(s, _)| b.sim.object(&names::snapshot(&s.id)).is_some()).collect();
    assert!(!ended.is_empty(), "abort records stand there");
    let report = run(&a, &b, &mut options());
    assert_eq!(report.copied.len(), 2);
    let list = SnapshotList::read(&b.open().unwrap()).unwrap();
    for (old, new) in &report.copied {
        let (snapshot, files) = made.iter().find(|(s, _)| s.id == *old).unwrap();
        assert_eq!(old == new, !ended.iter().any(|(s, _)| s.id == *old));
        assert!(list.visible().any(|s| *s == Snapshot { id: *new, ..snapshot.clone() }));
        assert!(restore(&b.reader().unwrap(), snapshot.root).unwrap() == *files);
    }
    assert_eq!(run(&a, &b, &mut options()).copied, []);
    assert_eq!(run(&b, &a, &mut options()).copied, []);
}

#[test]
fn a_late_copy_says_that_its_siblings_received_it_in_time() {
    let a = World::new(1);
    let b = a.sibling(2);
    let day = 86_400;
    a.sim.set_time(UNIX_EPOCH + Duration::from_secs(5));
    let made = versions(&a, 2, 20);
    a.sim.set_time(UNIX_EPOCH + Duration::from_secs(300 * day));
    let late = backup(&a.reader().unwrap(), &made[0].1, &Backup::new(900)).unwrap();
    b.sim.set_time(UNIX_EPOCH + Duration::from_secs(301 * day));
    run(&a, &b, &mut options());
    let words = trust::read_all(&b.open().unwrap()).unwrap();
    for (snapshot, _) in &made {
        let word = &words[&snapshot.id];
        assert!(word.time && !word.contents);
        let stored = b.sim.object(&names::snapshot(&snapshot.id)).unwrap();
        assert_eq!(word.record, *blake3::hash(&stored).as_bytes());
    }
    // The source itself received this one long after the time it claims: nobody vouches for it.
    assert!(!words.contains_key(&late.snapshot.id));
}

#[test]
fn a_damaged_pack_of_the_source_is_named_and_hurts_only_what_needs_it() {
    let Pair { a, b, made } = pair(3, 80);
    // A pack that only the last snapshot needs.
    let before = {
        let fresh = World::new(1);
        versions(&fresh, 2, 80);
        objects_of(&fresh, "packs/")
    };
    let bad = objects_of(&a, "packs/").difference(&before).next().expect("the last one has its own").clone();
    a.sim.damage(&bad, |bytes| bytes[64..].fill(0xee));
    let report = run(&a, &b, &mut options());
    let copied: BTreeSet<_> = report.copied.iter().map(|(id, _)| *id).collect();
    assert_eq!(copied, made[..2].iter().map(|(s, _)| s.id).collect());
    assert_eq!(report.damaged.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [made[2].0.id]);
    assert!(
        report.source_damage.iter().any(|what| what.contains(bad.as_str())),
        "{:?}",
        report.source_damage
    );
    assert_has(&b, &made[..2], "what could be copied");
}

#[test]
fn a_prune_at_any_moment_between_two_requests_costs_time_and_nothing_else() {
    let Pair { a, made, .. } = pair(3, 40);
    let whole = {
        let b = a.sibling(50);
        let client = b.sim.connect();
        run_over(&a, &b, Arc::new(client.clone()), &mut options()).unwrap();
        client.requests_made()
    };
    for at in (0..whole).step_by(3) {
        let b = a.sibling(50);
        let other = b.sim.connect();
        let world = World::of(other.clone());
        let ended = PruneOptions { dead_after: Duration::ZERO, ..urgent() };
        let store = Between { inner: b.sim.connect(), at, then: Box::new(move || prune_now(&world, &ended)) };
        let report =
            run_over(&a, &b, Arc::new(store), &mut options()).unwrap_or_else(|e| panic!("at {at}: {e:?}"));
        assert_eq!(report.copied.len(), 3, "at {at}: {report:?}");
        let list = SnapshotList::read(&b.open().unwrap()).unwrap();
        for (old, new) in &report.copied {
            let (snapshot, files) = made.iter().find(|(s, _)| s.id == *old).unwrap();
            assert!(list.visible().any(|s| s.id == *new), "at {at}");
            assert!(restore(&b.reader().unwrap(), snapshot.root).unwrap() == *files, "at {at}");
        }
        prune_now(&World::of(b.sim.connect()), &urgent());
        for (_, new) in &report.copied {
            let list = SnapshotList::read(&b.open().unwrap()).unwrap();
            let root = list.visible().find(|s| s.id == *new).expect("it stays").root;
            restore(&b.reader().unwrap(), root).unwrap_or_else(|e| panic!("at {at}, pruned after: {e:?}"));
        }
    }
}

/// Something happens once, before the n-th request of this client.
struct Between {
    inner: SimStore,
    at: u64,
    then: Box<dyn Fn() + Send + Sync>,
}

impl Between {
    fn inner(&self) -> &SimStore {
        if self.inner.requests_made() == self.at {
            (self.then)();
        }
        &self.inner
    }
}

impl Store for Between {
    fn location(&self) -> String {
        self.inner.location()
    }
    fn capabilities(&self) -> storage::Capabilities {
        self.inner.capabilities()
    }
    fn put(&self, name: &ObjectName, bytes: &[u8], mode: storage::PutMode) -> storage::StoreResult<()> {
        self.inner().put(name, bytes, mode)
    }
    fn upload(&self, len: u64) -> storage::StoreResult<Box<dyn storage::Upload>> {
        self.inner().upload(len)
    }
    fn get(&self, name: &ObjectName, max: u64) -> storage::StoreResult<Vec<u8>> {
        self.inner().get(name, max)
    }
    fn get_range(&self, name: &ObjectName, range: std::ops::Range<u64>) -> storage::StoreResult<Vec<u8>> {
        self.inner().get_range(name, range)
    }
    fn list(
        &self,
        prefix: &str,
        visit: &mut dyn FnMut(storage::ObjectInfo) -> std::ops::ControlFlow<()>,
    ) -> storage::StoreResult<()> {
        self.inner().list(prefix, visit)
    }
    fn stat(&self, name: &ObjectName) -> storage::StoreResult<storage::ObjectInfo> {
        self.inner().stat(name)
    }
    fn delete(&self, name: &ObjectName) -> storage::StoreResult<()> {
        self.inner().delete(name)
    }
    fn sync(&self) -> storage::StoreResult<()> {
        self.inner().sync()
    }
}

#[test]
fn other_families_and_the_repository_itself_are_refused() {
    let Pair { a, .. } = pair(1, 5);
    let stranger = World::new(3);
    assert!(run_over(&a, &stranger, Arc::new(stranger.sim.connect()), &mut options()).is_err());
    assert!(run_over(&a, &a, Arc::new(a.sim.connect()), &mut options()).is_err());
    assert!(PackListing::read(&stranger.open().unwrap()).unwrap().packs().next().is_none());
    let _now: SystemTime = UNIX_EPOCH;
}
