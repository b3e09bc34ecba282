//! A client dies at every request of its life, in every way. Afterwards nothing published is lost, nobody
//! has to clean up, and what was stored is found again.
//!
//! Durable and atomic: an acknowledged snapshot reads back whole, an unacknowledged one is whole or absent.
//! Live: the next run of anybody succeeds.

use format::id::SnapshotId;
use format::kind::Timestamp;
use repo::check::{CheckOptions, ReadShare, check};
use repo::snapshots::SnapshotList;
use repo::workers::Workers;
use std::sync::Arc;
use storage::{Crash, CrashPoint, SimStore};
use testkit::dice::Dice;
use testkit::files::{Files, edit, random_files};
use testkit::mini::{Backup, backup, restore, session_of};
use testkit::world::World;

const FIRST: u64 = 1;
const SECOND: u64 = 2;

struct Life {
    versions: [Files; 2],
}

impl Life {
    fn new() -> Self {
        let mut dice = Dice::new(11);
        let first = random_files(&mut dice, 45);
        let mut second = first.clone();
        edit(&mut dice, &mut second, 12);
        Life { versions: [first, second] }
    }

    fn of(&self, id: SnapshotId) -> &Files {
        match id {
            id if id == session_of(FIRST) => &self.versions[0],
            id if id == session_of(SECOND) => &self.versions[1],
            _ => panic!("nobody made this snapshot"),
        }
    }

    /// Opens and backs up twice; returns what was acknowledged before the client died.
    fn live(&self, world: &World, client: &SimStore) -> Vec<SnapshotId> {
        let mut acknowledged = Vec::new();
        let Ok(reader) = world.reader_over(Arc::new(client.clone())) else { return acknowledged };
        let options = Backup { checkpoint_files: 10, segment_packs: 2, ..Backup::new(FIRST) };
        let Ok(first) = backup(&reader, &self.versions[0], &options) else { return acknowledged };
        acknowledged.push(first.snapshot.id);
        let options = Backup { parent: Some(&first.snapshot), ..Backup::new(SECOND) };
        if let Ok(second) = backup(&reader, &self.versions[1], &options) {
            acknowledged.push(second.snapshot.id);
        }
        acknowledged
    }

    /// Everything that must hold after a death, `case` says which.
    fn check_after(&self, world: &World, acknowledged: &[SnapshotId], case: &str) {
        // What is cut short is no damage, as long as no object was torn.
        if !case.contains("Torn") {
            let found = check(&world.reader().unwrap(), &mut everything(&mut |_, _| {})).unwrap().findings;
            assert!(found.is_empty(), "{case}: {found:?}");
        }
        let reader = world.reader().unwrap_or_else(|e| panic!("{case}: does not open: {e}"));
        let list = SnapshotList::read(reader.repo()).unwrap();
        for id in acknowledged {
            assert!(list.visible().any(|s| s.id == *id), "{case}: {id} was acknowledged and is gone");
        }
        for snapshot in list.visible() {
            let files = restore(&reader, snapshot.root).unwrap_or_else(|e| panic!("{case}: {e:?}"));
            assert!(files == *self.of(snapshot.id), "{case}: other contents");
        }
        let next =
            backup(&reader, &self.versions[1], &Backup::new(3)).unwrap_or_else(|e| panic!("{case}: {e:?}"));
        assert!(restore(&world.reader().unwrap(), next.snapshot.root).unwrap() == self.versions[1], "{case}");
        if acknowledged.len() == 2 {
            assert_eq!(next.written.added_bytes, 0, "{case}: everything was stored already");
        }
    }
}

fn everything<'a>(progress: &'a mut dyn FnMut(u64, u64)) -> CheckOptions<'a> {
    let now = Timestamp::default();
    CheckOptions { read: ReadShare::Everything, workers: Workers(0), sample_seed: 0, now, progress }
}

#[test]
fn a_crash_at_any_request_loses_nothing_published() {
    let life = Life::new();
    let world = World::new(1);
    let client = world.sim.connect();
    assert_eq!(life.live(&world, &client).len(), 2);
    let requests = client.requests_made();
    assert!(requests > 60, "{requests} requests make a life");
    let mut deaths_between = 0;
    for at_request in 0..requests {
        let points = [CrashPoint::Before, CrashPoint::Torn, CrashPoint::After];
        // Losing the power matters where something is unsynced; a third of the cases has it.
        for (n, point) in points.into_iter().enumerate() {
            for power_loss in [false, true] {
                if power_loss && !(at_request as usize + n).is_multiple_of(3) {
                    continue;
                }
                let world = World::new(at_request);
                let client = world.sim.connect();
                client.set_crash(Crash { at_request, point, power_loss });
                let acknowledged = life.live(&world, &client);
                assert!(client.has_crashed() || point == CrashPoint::After);
                deaths_between += (acknowledged.len() == 1) as u32;
                let case = format!("{point:?} at {at_request}, power loss {power_loss}");
                life.check_after(&world, &acknowledged, &case);
            }
        }
    }
    assert!(deaths_between > 50, "{deaths_between} deaths between the two snapshots");
}

#[test]
fn a_crash_late_in_a_first_run_costs_little_of_it() {
    let life = Life::new();
    let world = World::new(1);
    let client = world.sim.connect();
    let reader = world.reader_over(Arc::new(client.clone())).unwrap();
    let opening = client.requests_made();
    let options = Backup { checkpoint_files: 10, segment_packs: 2, ..Backup::new(FIRST) };
    let whole = backup(&reader, &life.versions[0], &options).unwrap().written.added_bytes;
    let requests = client.requests_made();
    let mut again = Vec::new();
    for at_request in opening..requests {
        let world = World::new(1);
        let client = world.sim.connect();
        client.set_crash(Crash { at_request, point: CrashPoint::Before, power_loss: false });
        assert!(life.live(&world, &client).len() <= 1);
        let second = backup(&world.reader().unwrap(), &life.versions[0], &Backup::new(3)).unwrap();
        again.push(second.written.added_bytes);
    }
    assert_eq!(again.first(), Some(&whole), "nothing was stored when it began");
    assert_eq!(again.last(), Some(&0), "everything was stored when it ended");
    let middle = again[again.len() / 2];
    assert!(middle < whole * 3 / 4, "half a run saves {} of {whole} bytes", whole - middle);
}

#[test]
fn creating_a_repository_may_be_cut_anywhere() {
    use testkit::world::{create_in, tiny_parameters};
    let sim = SimStore::new(1);
    create_in(Arc::new(sim.clone()), 1, tiny_parameters()).unwrap();
    let requests = sim.requests_made();
    for at_request in 0..requests {
        for point in [CrashPoint::Before, CrashPoint::Torn, CrashPoint::After] {
            let sim = SimStore::new(at_request);
            sim.set_crash(Crash { at_request, point, power_loss: false });
            create_in(Arc::new(sim.clone()), 1, tiny_parameters()).err();
            let world = World::of(sim.connect());
            let case = format!("{point:?} at {at_request}");
            // Either it is a repository, or one can be made.
            if world.reader().is_err() {
                create_in(Arc::new(sim.connect()), 2, tiny_parameters())
                    .unwrap_or_else(|e| panic!("{case}: {e:?}"));
            }
            let files = random_files(&mut Dice::new(1), 5);
            let done = backup(&world.reader().unwrap(), &files, &Backup::new(1)).unwrap();
            assert!(restore(&world.reader().unwrap(), done.snapshot.root).unwrap() == files, "{case}");
        }
    }
}
