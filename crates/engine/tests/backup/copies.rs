//! One run, several repositories: everything is read once, each commits by itself, none holds up another.

use crate::world::noise;
use engine::{BackupOutcome, BackupRequest, CopyState, Monitor, Phase, Progress, Silent, Source, backup_to};
use format::kind::Timestamp;
use format::snapshot::{Mode, Snapshot};
use repo::RepoResult;
use repo::check::{CheckOptions, ReadShare, check};
use repo::prune::{PruneOptions, prune};
use repo::reader::Reader;
use repo::seed::Seed;
use repo::snapshots::{SnapshotList, forget};
use repo::workers::Workers;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use storage::{Crash, CrashPoint, Faults, ObjectName, SimStore};
use testkit::disk::{backup_request, time_of};
use testkit::world::World;

struct Family {
    folder: tempfile::TempDir,
    places: [World; 3],
}

impl Family {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        fs::create_dir(&source).unwrap();
        for n in 0..40u64 {
            fs::write(source.join(format!("f{n}")), noise(n, 300 + n as usize * 40)).unwrap();
        }
        let a = World::new(1);
        let (b, c) = (a.sibling(2), a.sibling(3));
        Family { folder, places: [a, b, c] }
    }

    fn source(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join("source")
    }

    fn change(&self, round: u64) {
        for n in 0..6u64 {
            let path = self.source().join(format!("f{}", round * 3 + n));
            fs::write(path, noise(1000 * round + n, 2000)).unwrap();
        }
    }

    /// Runs with these clients of the three places; a place that does not even open is left out by the caller.
    fn run(
        &self,
        clients: &[SimStore],
        round: u8,
        adjust: impl FnOnce(&mut BackupRequest),
    ) -> RepoResult<BackupOutcome> {
        let mut readers: Vec<Arc<Reader>> = Vec::new();
        for (client, place) in clients.iter().zip(&self.places) {
            if let Ok(reader) = place.reader_over(Arc::new(client.clone())) {
                readers.push(reader);
            }
        }
        let list = SnapshotList::read(readers[0].repo()).ok();
        let parent = list.and_then(|list| list.visible().last().cloned());
        let mut request = request(&self.source(), round, parent);
        adjust(&mut request);
        backup_to(&readers, request, &Silent)
    }

    fn clients(&self) -> Vec<SimStore> {
        self.places.iter().map(|place| place.sim.connect()).collect()
    }

    fn snapshots(&self, place: usize) -> Vec<Snapshot> {
        let list = SnapshotList::read(&self.places[place].open().unwrap()).unwrap();
        list.visible().cloned().collect()
    }

    fn assert_whole(&self, place: usize, case: &str) {
        let mut options = CheckOptions {
            read: ReadShare::Everything,
            workers: Workers(0),
            sample_seed: 0,
            now: Timestamp::default(),
            progress: &mut |_, _| {},
        };
        let report = check(&self.places[place].reader().unwrap(), &mut options).unwrap();
        let found: Vec<_> = report.findings.iter().take(3).map(|f| (&f.what, &f.why)).collect();
        assert!(found.is_empty(), "{case}, place {place}: {} findings, {found:?}", report.findings.len());
    }

    fn objects(&self, place: usize, prefix: &str) -> Vec<ObjectName> {
        self.places[place].sim.objects().into_keys().filter(|n| n.as_str().starts_with(prefix)).collect()
    }
}

fn request(source: &Path, round: u8, parent: Option<Snapshot>) -> BackupRequest {
    let source = Source::Paths(vec![source.to_path_buf()]);
    let mode = Mode::Incremental;
    BackupRequest { mode, parent, ..backup_request(source, time_of(round.into()), [round; 32]) }
}

fn with_threads(request: &mut BackupRequest) {
    request.seal_workers = Workers(2);
    request.upload_workers = Workers(2);
    request.read_workers = Workers(2);
}

#[test]
fn three_places_get_the_same_snapshot_of_the_same_packs() {
    for threads in [false, true] {
        let family = Family::new();
        for round in 1..=3u8 {
            let outcome = family
                .run(&family.clients(), round, |r| {
                    if threads {
                        with_threads(r)
                    }
                })
                .unwrap();
            assert!(outcome.copies.iter().all(|c| matches!(c, CopyState::Committed)), "{:?}", outcome.copies);
            family.change(u64::from(round));
        }
        for folder in ["snapshots/", "mirror/snapshots/", "packs/", "trees/"] {
            let names = family.objects(0, folder);
            assert!(!names.is_empty());
            for place in 1..3 {
                assert_eq!(family.objects(place, folder), names);
                for name in &names {
                    assert_eq!(
                        family.places[place].sim.object(name),
                        family.places[0].sim.object(name),
                        "{name}"
                    );
                }
            }
        }
        (0..3).for_each(|place| {
            family.assert_whole(place, "three rounds");
            assert!(family.objects(place, "pending/").is_empty());
            assert_eq!(family.snapshots(place).len(), 3);
        });
    }
}

/// Counts what is read of it.
struct Counted(Arc<AtomicU64>, io::Cursor<Vec<u8>>);

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.1.read(buffer)?;
        self.0.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

#[test]
fn the_source_is_read_once_and_sealed_once() {
    let family = Family::new();
    let read = Arc::new(AtomicU64::new(0));
    let bytes = noise(5, 400_000);
    let stream = |read: &Arc<AtomicU64>| Source::Stream {
        name: "dump".into(),
        reader: Box::new(Counted(read.clone(), io::Cursor::new(bytes.clone()))),
    };
    let outcome = family.run(&family.clients(), 1, |r| r.source = stream(&read)).unwrap();
    assert_eq!(read.load(Ordering::Relaxed), bytes.len() as u64);
    assert!(outcome.written.packed_bytes < 2 * bytes.len() as u64, "{:?}", outcome.written);
    (0..3).for_each(|place| family.assert_whole(place, "a stream"));
}

#[test]
fn whatever_dies_at_any_request_the_others_commit_and_the_next_run_completes_it() {
    // How many requests each place gets in a whole run.
    let whole: Vec<u64> = {
        let family = Family::new();
        family.run(&family.clients(), 1, |_| {}).unwrap();
        family.change(1);
        let clients = family.clients();
        family.run(&clients, 2, |_| {}).unwrap();
        clients.iter().map(SimStore::requests_made).collect()
    };
    for (dying, requests) in whole.iter().enumerate() {
        for at_request in (0..*requests).step_by(2) {
            for threads in [false, true] {
                if threads && !at_request.is_multiple_of(8) {
                    continue;
                }
                let family = Family::new();
                let adjust = |r: &mut BackupRequest| {
                    if threads {
                        with_threads(r)
                    }
                };
                family.run(&family.clients(), 1, adjust).unwrap();
                family.change(1);
                let clients = family.clients();
                let point = [CrashPoint::Before, CrashPoint::After][(at_request / 2 % 2) as usize];
                clients[dying].set_crash(Crash { at_request, point, power_loss: false });
                let case =
                    format!("place {dying} dies {point:?} {at_request} of {requests}, threads {threads}");
                let second = family.run(&clients, 2, adjust).unwrap_or_else(|e| panic!("{case}: {e:?}"));
                let id = second.snapshot.unwrap().id;
                for place in (0..3).filter(|place| *place != dying) {
                    assert!(family.snapshots(place).iter().any(|s| s.id == id), "{case}: {place} has it");
                    family.assert_whole(place, &case);
                }
                family.change(2);
                let third =
                    family.run(&family.clients(), 3, adjust).unwrap_or_else(|e| panic!("{case}: {e:?}"));
                assert!(third.copies.iter().all(CopyState::is_there), "{case}: {:?}", third.copies);
                for place in 0..3 {
                    assert_eq!(family.snapshots(place).len(), 3, "{case}: place {place}");
                    family.assert_whole(place, &case);
                }
            }
        }
    }
}

#[test]
fn a_place_that_lacks_what_the_others_have_gets_it_and_they_get_no_doubles() {
    let family = Family::new();
    let two = family.clients();
    family.run(&two[..2], 1, |_| {}).unwrap();
    let before = [family.objects(0, "packs/"), family.objects(1, "packs/")];
    // The third is new. A full run reads everything, but only the third needs it.
    let outcome = family.run(&family.clients(), 2, |r| r.mode = Mode::Full).unwrap();
    assert!(outcome.copies.iter().all(CopyState::is_there), "{:?}", outcome.copies);
    assert_eq!([family.objects(0, "packs/"), family.objects(1, "packs/")], before);
    assert!(!family.objects(2, "packs/").is_empty());
    family.assert_whole(2, "a new place");
    // It got what was made now, and nothing it was not asked for.
    assert_eq!(family.snapshots(2).len(), 1);
}

#[test]
fn an_inherited_part_that_a_place_lacks_comes_from_a_sibling() {
    let family = Family::new();
    family.run(&family.clients()[..2], 1, |_| {}).unwrap();
    family.change(1);
    let outcome = family.run(&family.clients(), 2, |_| {}).unwrap();
    assert!(matches!(outcome.copies[2], CopyState::Completed { snapshots: 1 }), "{:?}", outcome.copies);
    family.assert_whole(2, "completed");
    assert!(family.objects(2, "pending/").is_empty());
}

#[test]
fn a_full_place_is_left_behind_and_named() {
    let family = Family::new();
    let clients = family.clients();
    clients[1].set_faults(Faults { space_bytes: Some(20_000), ..Faults::default() });
    let outcome = family.run(&clients, 1, |_| {}).unwrap();
    let CopyState::Behind(why) = &outcome.copies[1] else { panic!("{:?}", outcome.copies) };
    assert_eq!(why.store_kind(), Some(storage::ErrorKind::NoSpace));
    assert!(outcome.copies[0].is_there() && outcome.copies[2].is_there());
    clients[1].heal();
    family.change(1);
    let next = family.run(&family.clients(), 2, |_| {}).unwrap();
    assert!(next.copies.iter().all(CopyState::is_there), "{:?}", next.copies);
    family.assert_whole(1, "there is room again");
}

#[test]
fn strangers_and_twins_are_refused() {
    let family = Family::new();
    let stranger = World::new(9);
    let readers = |worlds: [&World; 2]| worlds.map(|w| w.reader().unwrap());
    let run = |worlds| backup_to(&readers(worlds), request(&family.source(), 1, None), &Silent);
    assert!(run([&family.places[0], &stranger]).is_err());
    assert!(run([&family.places[0], &family.places[0]]).is_err());
}

/// Somebody forgets everything and prunes at the moment a run begins to look at its source.
struct PrunedMeanwhile<'f> {
    place: &'f World,
    done: AtomicBool,
}

impl Monitor for PrunedMeanwhile<'_> {
    fn progress(&self, progress: &Progress) {
        if progress.phase != Phase::Work || self.done.swap(true, Ordering::Relaxed) {
            return;
        }
        let repo = self.place.open().unwrap();
        for snapshot in SnapshotList::read(&repo).unwrap().visible() {
            forget(&repo, &snapshot.id, Timestamp::default(), "test", &mut Seed::new([8; 32])).unwrap();
        }
        let options = PruneOptions::urgent(Timestamp { secs: 4_100_000_000, nanos: 0 });
        let report = prune(&self.place.reader().unwrap(), &options, Seed::new([6; 32]), &mut |_, _, _| {});
        assert!(report.unwrap().deleted_packs > 0);
    }
}

#[test]
fn entries_of_a_parent_that_is_pruned_meanwhile_are_saved_again_also_in_leaves_that_change() {
    let family = Family::new();
    let first = family.run(&family.clients()[..1], 1, |_| {}).unwrap();
    family.change(1);
    let place = &family.places[0];
    let monitor = PrunedMeanwhile { place, done: AtomicBool::new(false) };
    let request = request(&family.source(), 2, first.snapshot);
    let outcome = backup_to(&[place.reader().unwrap()], request, &monitor).unwrap();
    assert!(monitor.done.load(Ordering::Relaxed));
    assert_eq!(family.snapshots(0), [outcome.snapshot.unwrap()]);
    family.assert_whole(0, "pruned meanwhile");
}

/// A checkpoint is due after each pack where the clock runs fast enough.
#[test]
fn a_run_that_is_killed_costs_the_next_one_little() {
    let first = |client: &SimStore, family: &Family| {
        let reader = family.places[0].reader_over(Arc::new(client.clone()))?;
        let seconds = std::sync::atomic::AtomicI64::new(0);
        let clock = move || Timestamp {
            secs: seconds.fetch_add(1000, std::sync::atomic::Ordering::Relaxed),
            nanos: 0,
        };
        backup_to(
            &[reader],
            BackupRequest { clock: Arc::new(clock), ..request(&family.source(), 1, None) },
            &Silent,
        )
    };
    let family = Family::new();
    let client = family.places[0].sim.connect();
    let whole = first(&client, &family).unwrap().written.added_bytes;
    let requests = client.requests_made();
    let mut again = Vec::new();
    for at_request in (0..requests).step_by(3) {
        let family = Family::new();
        let client = family.places[0].sim.connect();
        client.set_crash(Crash { at_request, point: CrashPoint::Before, power_loss: false });
        first(&client, &family).err();
        let outcome = family.run(&family.clients()[..1], 2, |_| {}).unwrap();
        again.push(outcome.written.added_bytes);
        family.assert_whole(0, &format!("killed at request {at_request}"));
    }
    assert!(again[0].abs_diff(whole) < 100, "nothing was stored when it began: {} of {whole}", again[0]);
    let middle = again[again.len() / 2];
    assert!(middle < whole * 3 / 4, "half a run saves {} of {whole} bytes", whole - middle);
}
