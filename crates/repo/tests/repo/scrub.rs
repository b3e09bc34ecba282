//! A scrub has no key and must find every changed byte all the same.

use format::config::Parameters;
use format::kind::Timestamp;
use repo::cache::Cache;
use repo::check::ReadShare;
use repo::scrub::{Mend, ScrubOptions, ScrubReport, scrub};
use repo::workers::Workers;
use std::ops::ControlFlow;
use std::sync::Arc;
use storage::{ObjectName, Store};
use testkit::dice::Dice;
use testkit::files::{edit, random_files};
use testkit::mini::{Backup, backup};
use testkit::world::{World, tiny_parameters};

fn scrubbed(world: &World, cache: &Cache, read: ReadShare) -> ScrubReport {
    let store: Arc<dyn Store> = Arc::new(world.sim.connect());
    let mut options = ScrubOptions {
        read,
        workers: Workers(0),
        sample_seed: 1,
        now: Timestamp { secs: 5, nanos: 0 },
        progress: &mut |_, _| ControlFlow::Continue(()),
    };
    scrub(&store, cache, &mut options).unwrap()
}

fn world(percent: u8) -> World {
    let world = World::with_parameters(1, Parameters { data_parity_percent: percent, ..tiny_parameters() });
    let mut dice = Dice::new(1);
    let mut files = random_files(&mut dice, 100);
    for round in 0..2 {
        backup(&world.reader().unwrap(), &files, &Backup::new(round)).unwrap();
        edit(&mut dice, &mut files, 10);
    }
    world
}

#[test]
fn every_flipped_byte_is_found_and_what_mends_it_is_said() {
    let world = world(6);
    let clean = scrubbed(&world, &Cache::none(), ReadShare::Everything);
    assert_eq!(clean.damaged, []);
    assert_eq!(clean.packs, clean.packs_read);
    let objects = world.sim.objects();
    assert_eq!(clean.objects + clean.packs, objects.len());
    let mut dice = Dice::new(2);
    for (name, good) in objects.iter().filter(|(name, _)| !name.as_str().starts_with("maint/")) {
        for _ in 0..12 {
            let at = dice.below(good.len() as u64) as usize;
            assert!(world.sim.damage(name, |bytes| bytes[at] ^= 1 << dice.below(8)));
            let report = scrubbed(&world, &Cache::none(), ReadShare::Everything);
            let found: Vec<_> = report.damaged.iter().map(|d| (d.name.as_str(), d.mend)).collect();
            assert_eq!(found, [(name.as_str(), Mend::Parity)], "byte {at}");
            world.sim.damage(name, |bytes| bytes.clone_from(good));
        }
        world.sim.damage(name, |bytes| bytes.truncate(good.len() / 2));
        let report = scrubbed(&world, &Cache::none(), ReadShare::Everything);
        assert_eq!(report.damaged.len(), 1, "{name} cut in half");
        assert_eq!(report.damaged[0].name, name.as_str());
        world.sim.damage(name, |bytes| bytes.clone_from(good));
    }
    assert_eq!(world.sim.objects(), objects, "a scrub writes nothing");
}

#[test]
fn a_missing_second_copy_is_named() {
    let world = world(0);
    let objects = world.sim.objects();
    let twin = |n: &&ObjectName| n.as_str() == "config" || n.as_str().starts_with("mirror/");
    let mut missed = 0;
    for name in objects.keys().filter(twin) {
        world.sim.delete(name).unwrap();
        let report = scrubbed(&world, &Cache::none(), ReadShare::Nothing);
        let found: Vec<_> = report.damaged.iter().map(|d| (d.name.as_str(), d.mend)).collect();
        assert_eq!(found, [(name.as_str(), Mend::OtherCopy)]);
        world.sim.put(name, &objects[name], storage::PutMode::CreateNew).unwrap();
        missed += 1;
    }
    assert_eq!(missed, 5, "configuration and its mirror, a slot, two snapshots");
}

#[test]
fn a_part_a_day_finds_damage_anywhere_within_the_month() {
    let world = world(0);
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path().into());
    let part = ReadShare::Part { part: 1, of: 7 };
    let mut read = 0;
    for day in 0..7 {
        let report = scrubbed(&world, &cache, part);
        read += report.packs_read;
        assert_eq!(report.coverage.never_verified == 0, read >= report.packs, "day {day}");
    }
    let packs: Vec<_> =
        world.sim.objects().into_keys().filter(|n| n.as_str().starts_with("packs/")).collect();
    assert!(packs.len() > 2);
    for pack in packs {
        world.sim.damage(&pack, |bytes| bytes[100] ^= 1);
        let found = (0..7).find(|_| !scrubbed(&world, &cache, part).damaged.is_empty());
        assert!(found.is_some(), "{pack} is read within seven parts");
        let again = scrubbed(&world, &cache, part);
        assert_eq!(again.damaged.len(), 1, "what was found damaged is read again first");
        world.sim.damage(&pack, |bytes| bytes[100] ^= 1);
    }
}
