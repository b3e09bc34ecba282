//! What one machine has read and found whole, others need not read first.

use format::id::PackId;
use format::keys::Key;
use format::kind::Timestamp;
use repo::attest::{self, Attester};
use repo::cache::Cache;
use repo::check::{CheckOptions, CheckReport, Coverage, Depth, ReadShare, check};
use repo::names;
use repo::reader::Reader;
use repo::seed::Seed;
use repo::workers::Workers;
use std::collections::BTreeSet;
use std::sync::Arc;
use storage::{PutMode, Store};
use testkit::dice::Dice;
use testkit::files::random_files;
use testkit::mini::{Backup, backup};
use testkit::world::World;

const THIRD: ReadShare = ReadShare::Part { part: 1, of: 3 };

struct Machine {
    folder: tempfile::TempDir,
    number: u8,
    checks: u64,
}

impl Machine {
    fn new(number: u8) -> Self {
        Machine { folder: tempfile::tempdir().unwrap(), number, checks: 0 }
    }

    fn reader(&self, world: &World) -> Arc<Reader> {
        Reader::open(world.open().unwrap(), Cache::at(self.folder.path().into())).map(Arc::new).unwrap()
    }

    /// Learns, checks a third, and tells.
    fn check(&mut self, world: &World) -> CheckReport {
        let reader = self.reader(world);
        attest::learn(&reader).unwrap();
        self.checks += 1;
        let mut options = CheckOptions {
            read: THIRD,
            workers: Workers(0),
            sample_seed: self.checks,
            // The clocks of the machines are years apart.
            now: Timestamp { secs: 1_700_000_000 - i64::from(self.number) * 100_000_000, nanos: 0 },
            progress: &mut |_, _| {},
        };
        let report = check(&reader, &mut options).unwrap();
        self.tell(world, &report);
        report
    }

    fn tell(&self, world: &World, report: &CheckReport) {
        let signing = Key::new([self.number; 32]);
        let time = Timestamp { secs: 7, nanos: 0 };
        let by = Attester { machine: "test", user: "test", time, signing: &signing };
        let mut seed = Seed::new([self.number ^ self.checks as u8; 32]);
        attest::put(&world.open().unwrap(), report.verified.as_ref().unwrap(), &by, &mut seed).unwrap();
    }
}

fn world() -> World {
    let world = World::new(1);
    let files = random_files(&mut Dice::new(1), 120);
    backup(&world.reader().unwrap(), &files, &Backup::new(1)).unwrap();
    world
}

fn packs(report: &CheckReport) -> BTreeSet<PackId> {
    report.verified.as_ref().unwrap().packs.iter().copied().collect()
}

#[test]
fn shares_go_round_among_machines_that_never_met() {
    let world = world();
    let mut machines = [Machine::new(1), Machine::new(2), Machine::new(3)];
    let mut read = Vec::new();
    for turn in 0..6 {
        let report = machines[turn % 3].check(&world);
        assert_eq!(report.findings, []);
        assert_eq!(report.verified.as_ref().unwrap().depth, Depth::Contents);
        read.push(packs(&report));
    }
    let all = read[0].len() + read[1].len() + read[2].len();
    assert!(all >= 9, "{all} packs");
    let first: BTreeSet<PackId> = read[..3].iter().flatten().copied().collect();
    let reader = world.reader().unwrap();
    let mut known = BTreeSet::new();
    reader.with_index_read(|index| index.visit_packs(&mut |id, _, _, _| _ = known.insert(id)));
    assert_eq!(first, known, "three thirds of three machines are everything");
    let again = read[1].union(&read[2]).filter(|pack| read[3].contains(pack)).count();
    assert!(again <= 2, "the second round begins with what was read first: {again}");
}

#[test]
fn a_machine_that_lost_its_cache_goes_on_where_it_was() {
    let world = world();
    let mut machine = Machine::new(1);
    let first = machine.check(&world);
    let second = machine.check(&world);
    machine.folder = tempfile::tempdir().unwrap();
    let third = machine.check(&world);
    let known: BTreeSet<PackId> = packs(&first).union(&packs(&second)).copied().collect();
    let again = packs(&third).intersection(&known).count();
    assert!(again <= 2, "what is left of the last third is read of what came first: {again}");
    assert_eq!(third.coverage, Some(Coverage { never_verified: 0, oldest_secs: Some(7) }));
}

#[test]
fn a_damaged_attestation_costs_reading_again_and_nothing_else() {
    let world = world();
    let mut machine = Machine::new(1);
    let first = machine.check(&world);
    let name = world.sim.objects().into_keys().find(|name| name.as_str().starts_with(names::ATTEST)).unwrap();
    let bytes = world.sim.object(&name).unwrap();
    assert!(!bytes.windows(8).any(|window| window == &first.verified.as_ref().unwrap().packs[0].0[..8]));
    world.sim.put(&name, &bytes[..bytes.len() / 2], PutMode::Replace).unwrap();
    machine.folder = tempfile::tempdir().unwrap();
    let report = machine.check(&world);
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    assert_eq!(report.findings[0].what, name.as_str());
    assert!(report.coverage.unwrap().never_verified > 0);
}

#[test]
fn the_greatest_number_is_no_end() {
    let world = world();
    let mut machine = Machine::new(1);
    let mut report = machine.check(&world);
    report.verified.as_mut().unwrap().run = u64::MAX;
    machine.tell(&world, &report);
    for _ in 0..3 {
        assert_eq!(machine.check(&world).findings, []);
    }
}
