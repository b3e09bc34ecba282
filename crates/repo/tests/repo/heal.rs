//! Three copies, one of them hurt at random: it comes back from the others, and every object is named.

use format::keys::Key;
use format::kind::Timestamp;
use format::snapshot::Snapshot;
use repo::check::{CheckOptions, ReadShare, check};
use repo::names;
use repo::reader::Reader;
use repo::rebuild::{Rebuilt, Remains};
use repo::repair::{How, RepairOptions, RepairReport, repair};
use repo::seed::Seed;
use repo::snapshots::SnapshotList;
use repo::sync::{SyncOptions, sync};
use repo::workers::Workers;
use repo::writer::WriterOptions;
use repo::{Credential, RepoError};
use std::sync::Arc;
use storage::{Faults, ObjectName, PutMode, Store};
use testkit::dice::Dice;
use testkit::files::{Files, edit, random_files};
use testkit::mini::{Backup, backup, restore};
use testkit::world::World;

fn inline() -> WriterOptions {
    WriterOptions { seal_workers: Workers(0), upload_workers: Workers(0), ..WriterOptions::default() }
}

struct Three {
    places: [World; 3],
    made: Vec<(Snapshot, Files)>,
}

fn three(seed: u64) -> Three {
    let a = World::new(seed);
    let (b, c) = (a.sibling(seed + 1000), a.sibling(seed + 2000));
    let mut dice = Dice::new(seed);
    let mut files = random_files(&mut dice, 120);
    let mut made: Vec<(Snapshot, Files)> = Vec::new();
    for round in 0..5 {
        let options = Backup { parent: made.last().map(|(s, _)| s), ..Backup::new(seed * 100 + round) };
        let done = backup(&a.reader().unwrap(), &files, &options).unwrap();
        made.push((done.snapshot, files.clone()));
        edit(&mut dice, &mut files, 25);
    }
    let places = [a, b, c];
    for target in [1, 2] {
        bring(&places[0], &places[target]);
    }
    Three { places, made }
}

fn bring(from: &World, to: &World) {
    let mut options = SyncOptions {
        snapshots: None,
        again: false,
        dry_run: false,
        read_back: false,
        now: Timestamp::default(),
        fetch_workers: Workers(0),
        writer: inline(),
        progress: &mut |_, _| {},
        cancelled: &|| false,
    };
    sync(&from.reader().unwrap(), &to.reader().unwrap(), &mut options, Seed::new([3; 32])).unwrap();
}

impl Three {
    /// Some objects of a place vanish, of others a byte changes. Returns their names.
    fn hurt(&self, place: usize, dice: &mut Dice, share: u64) -> Vec<(ObjectName, bool)> {
        let sim = &self.places[place].sim;
        let mut hurt = Vec::new();
        for (name, bytes) in sim.objects() {
            if name.as_str().starts_with("maint/") || dice.below(1000) >= share {
                continue;
            }
            let vanishes = dice.below(2) == 0;
            match vanishes {
                true => _ = sim.lose(&name),
                false => {
                    let at = dice.below(bytes.len() as u64) as usize;
                    sim.damage(&name, |bytes| bytes.iter_mut().skip(at).take(40).for_each(|b| *b ^= 0x5a));
                }
            }
            hurt.push((name, vanishes));
        }
        hurt
    }

    /// Loses every copy of the objects whose names end so.
    fn lose_all(&self, place: usize, ends: &[&str]) -> Vec<(ObjectName, bool)> {
        let sim = &self.places[place].sim;
        let hit = |n: &ObjectName| ends.iter().any(|end| names::first_copy(n).starts_with(end));
        let lost: Vec<ObjectName> = sim.objects().into_keys().filter(hit).collect();
        lost.iter().for_each(|name| _ = sim.lose(name));
        lost.into_iter().map(|name| (name, true)).collect()
    }

    /// As the program does before it opens a repository that is to be repaired.
    fn rebuild(&self, place: usize, from: usize) -> Option<Rebuilt> {
        let world = &self.places[place];
        let remains = Remains::of(Arc::new(world.sim.connect())).unwrap()?;
        let sibling = self.places[from].open().unwrap();
        let now = Timestamp { secs: 98, nanos: 0 };
        Some(
            remains
                .rebuild(&world.credential(), Some(&sibling), now, &mut Seed::new([place as u8; 32]))
                .unwrap(),
        )
    }

    fn repair(&self, place: usize, from: [usize; 2]) -> RepairReport {
        let siblings: Vec<Arc<Reader>> = from.map(|i| self.places[i].reader().unwrap()).to_vec();
        siblings[0].set_siblings(vec![siblings[1].clone()]);
        let mut options = RepairOptions {
            dry_run: false,
            read: ReadShare::Everything,
            workers: Workers(0),
            sample_seed: 1,
            now: Timestamp { secs: 99, nanos: 0 },
            sibling: Some(&siblings[0]),
            source: None,
            writer: inline(),
            progress: &mut |_, _| {},
        };
        repair(&self.places[place].reader().unwrap(), &mut options, Seed::new([5; 32])).unwrap()
    }

    fn assert_whole(&self, place: usize, case: &str) {
        let reader = self.places[place].reader().unwrap();
        let list = SnapshotList::read(reader.repo()).unwrap();
        for (snapshot, files) in &self.made {
            assert!(list.visible().any(|s| s == snapshot), "{case}: {} is lost", snapshot.id);
            assert!(restore(&reader, snapshot.root).unwrap() == *files, "{case}: other contents");
        }
        let mut options = CheckOptions {
            read: ReadShare::Everything,
            workers: Workers(0),
            sample_seed: 0,
            now: Timestamp::default(),
            progress: &mut |_, _| {},
        };
        let found = check(&reader, &mut options).unwrap().findings;
        let found: Vec<_> = found.iter().take(3).map(|f| (&f.what, &f.why)).collect();
        assert!(found.is_empty(), "{case}: {found:?}");
    }
}

#[test]
fn one_per_cent_of_everything_hurt_in_one_of_three_copies_comes_back_and_is_named() {
    let (mut hurt_in_all, mut kinds, mut configurations_lost) = (0, std::collections::BTreeSet::new(), 0);
    for seed in 0..60 {
        let three = three(seed);
        let mut dice = Dice::new(77 + seed);
        let place = (seed % 3) as usize;
        // At this size one per cent would be one object; every fourth time it is much more.
        let share = if seed % 4 == 3 { 150 } else { 30 };
        let mut hurt = three.hurt(place, &mut dice, share);
        if seed % 5 == 4 {
            // So rare by chance that it is seen to here: both configurations, and now and then all slots, too.
            let ends = if seed % 10 == 9 { &["config", "keys/"][..] } else { &["config"][..] };
            let lost = three.lose_all(place, ends);
            hurt.retain(|(name, _)| !lost.iter().any(|(gone, _)| gone == name));
            hurt.extend(lost);
        }
        hurt_in_all += hurt.len();
        kinds.extend(hurt.iter().map(|(n, _)| n.as_str().split('/').next().unwrap().to_string()));
        let case = format!("seed {seed}, {} objects: {hurt:?}", hurt.len());
        let rebuilt = three.rebuild(place, (place + 1) % 3);
        configurations_lost += u32::from(rebuilt.is_some());
        let report = three.repair(place, [(place + 1) % 3, (place + 2) % 3]);
        assert!(
            report.left.is_empty(),
            "{case}: {:?}",
            report.left.iter().map(|f| (&f.what, &f.why)).collect::<Vec<_>>()
        );
        // Of a snapshot whose two records vanished nothing here tells any more; a copy brings it.
        bring(&three.places[(place + 1) % 3], &three.places[place]);
        three.assert_whole(place, &case);
        for (name, vanished) in &hurt {
            // A lost segment has no name any more: the packs it listed are named, and indexed again.
            let is_nameless = *vanished && ["index", "gc"].iter().any(|f| name.as_str().starts_with(f));
            // With both a pack and the segment that listed it, its name is gone: its blobs are counted.
            let lost_a_segment = hurt.iter().any(|(n, gone)| *gone && n.as_str().starts_with("index/"));
            let is_pack = ["packs", "trees"].iter().any(|f| name.as_str().starts_with(f));
            let is_nameless =
                is_nameless || *vanished && is_pack && lost_a_segment && report.blobs_from_sibling > 0;
            // With the configuration and all slots nothing tells any more which slots there were.
            let is_nameless = is_nameless
                || rebuilt.is_some()
                    && ["config", "keys/"].iter().any(|c| names::first_copy(name).starts_with(c));
            let is_named = report.actions.iter().any(|action| action.what == name.as_str());
            let is_trust = name.as_str().starts_with("trust/");
            let twin = name.as_str().strip_prefix("mirror/").map_or(format!("mirror/{name}"), str::to_string);
            let is_nameless = is_nameless
                || name.as_str().contains("snapshots/")
                    && *vanished
                    && hurt.iter().any(|(n, gone)| *gone && n.as_str() == twin);
            assert!(
                is_named || is_nameless || (is_trust && *vanished),
                "{case}: {name} is not named: {:?}",
                report.actions
            );
        }
    }
    assert!(hurt_in_all > 100, "{hurt_in_all} objects");
    assert!(configurations_lost >= 12, "{configurations_lost} times");
    for kind in ["config", "index", "keys", "mirror", "packs", "snapshots", "trees"] {
        assert!(kinds.contains(kind), "{kind} was never hurt: {kinds:?}");
    }
}

#[test]
fn a_configuration_that_is_lost_is_told_by_what_is_left_and_never_taken_for_nothing() {
    let three = three(5);
    let world = &three.places[0];
    let before = world.open().unwrap();
    let (identity, parameters) = (before.identity().clone(), before.parameters().clone());
    assert!(Remains::of(Arc::new(world.sim.connect())).unwrap().is_none(), "nothing is lost yet");
    three.lose_all(0, &["config"]);
    assert!(matches!(world.open(), Err(RepoError::ConfigurationLost { .. })));
    let again = testkit::world::create_in(Arc::new(world.sim.connect()), 9, parameters.clone());
    assert!(matches!(again, Err(RepoError::ConfigurationLost { .. })), "a new one on top would hide the old");

    // A wrong key is told as such and changes nothing, with and without another copy.
    let objects = world.sim.objects();
    let sibling = three.places[1].open().unwrap();
    for sibling in [None, Some(&*sibling)] {
        let remains = Remains::of(Arc::new(world.sim.connect())).unwrap().unwrap();
        let wrong = Credential::Random(Key::new([8; 32]));
        let tried = remains.rebuild(&wrong, sibling, Timestamp::default(), &mut Seed::new([1; 32]));
        assert!(matches!(tried, Err(RepoError::WrongSecret { .. })));
        assert_eq!(objects, world.sim.objects());
    }
    // Its own key and slots are enough; its parameters come from another copy.
    let remains = Remains::of(Arc::new(world.sim.connect())).unwrap().unwrap();
    assert_eq!(remains.candidates(), [identity.repo]);
    let alone =
        remains.rebuild(&world.credential(), None, Timestamp::default(), &mut Seed::new([1; 32])).unwrap();
    assert!(!alone.is_new_member && !alone.made_slot);
    assert_eq!(world.open().unwrap().identity().family, identity.family);
    three.lose_all(0, &["config"]);
    let rebuilt = three.rebuild(0, 1).unwrap();
    assert!(!rebuilt.is_new_member && !rebuilt.made_slot);
    let now = world.open().unwrap();
    assert_eq!((now.identity().repo, &now.parameters().slots), (identity.repo, &parameters.slots));
    assert_eq!(now.parameters().pack_bytes, parameters.pack_bytes);
    assert!(now.parameters().generation > parameters.generation);
    three.assert_whole(0, "configuration");

    // Without slots the id is still proven by what the keys of the family open; without that, it is a new member.
    three.lose_all(0, &["config", "keys/"]);
    let rebuilt = three.rebuild(0, 1).unwrap();
    assert!(rebuilt.made_slot && !rebuilt.is_new_member);
    assert_eq!(rebuilt.repo.identity().repo, identity.repo);
    three.assert_whole(0, "configuration and slots");
    three.lose_all(0, &["config", "keys/", "index/", "gc/"]);
    let rebuilt = three.rebuild(0, 1).unwrap();
    assert!(rebuilt.made_slot && rebuilt.is_new_member);
    assert!(three.repair(0, [1, 2]).left.is_empty());
    three.assert_whole(0, "all that tells the id");

    // Nothing at all is no repository.
    let empty = storage::SimStore::new(1);
    assert!(Remains::of(Arc::new(empty.connect())).unwrap().is_none());
}

#[test]
fn a_reader_with_siblings_gives_what_is_right_and_says_what_is_wrong() {
    let three = three(3);
    let packs: Vec<ObjectName> = three.places[0]
        .sim
        .objects()
        .into_keys()
        .filter(|n| n.as_str().starts_with("packs/") || n.as_str().starts_with("trees/"))
        .collect();
    for (n, name) in packs.iter().enumerate() {
        match n % 2 {
            0 => _ = three.places[0].sim.lose(name),
            _ => _ = three.places[0].sim.damage(name, |bytes| bytes[64..].fill(0xee)),
        }
    }
    // The second has lost everything but the first half of its packs.
    for name in &packs[packs.len() / 2..] {
        three.places[1].sim.lose(name);
    }
    let reader = three.places[0].reader().unwrap();
    let (second, third) = (three.places[1].reader().unwrap(), three.places[2].reader().unwrap());
    reader.set_siblings(vec![second, third]);
    for (snapshot, files) in &three.made {
        assert!(restore(&reader, snapshot.root).unwrap() == *files);
    }
    let healed = reader.healed();
    assert!(healed.len() > 20, "{healed:?}");
    assert!(!reader.is_away());
    let before = three.places[0].sim.objects();
    assert_eq!(before, three.places[0].sim.objects(), "reading writes nothing");
    // Without siblings it is damage.
    assert!(restore(&three.places[0].reader().unwrap(), three.made[0].0.root).is_err());
}

#[test]
fn a_place_that_stops_answering_is_asked_once() {
    let three = three(4);
    let client = three.places[0].sim.connect();
    let reader = three.places[0].reader_over(Arc::new(client.clone())).unwrap();
    reader.set_siblings(vec![three.places[1].reader().unwrap()]);
    let requests = client.requests_made();
    client.set_faults(Faults { error_before_permille: 1000, ..Faults::default() });
    for (snapshot, files) in &three.made {
        assert!(restore(&reader, snapshot.root).unwrap() == *files);
    }
    assert!(reader.is_away() && reader.healed().is_empty());
    assert!(client.requests_made() <= requests + 5, "{}", client.requests_made() - requests);
}

#[test]
fn a_damaged_pack_that_no_segment_names_any_more_comes_from_another_copy() {
    let three = three(11);
    let sim = &three.places[1].sim;
    let objects = sim.objects();
    let is_pack = |name: &&ObjectName| name.as_str().starts_with("packs/");
    let biggest = objects.keys().filter(is_pack).max_by_key(|name| objects[*name].len()).unwrap();
    three.lose_all(1, &["index/"]);
    // Its directory still tells what it holds, its blocks no more the whole ids.
    sim.damage(biggest, |bytes| {
        let half = bytes.len() / 2;
        bytes[64..half].fill(0xee);
    });
    let report = three.repair(1, [2, 0]);
    assert!(report.left.is_empty(), "{:?}", report.left);
    assert!(sim.objects()[biggest] == objects[biggest]);
    three.assert_whole(1, "a damaged pack without a segment");
    let ways: Vec<How> =
        report.actions.iter().filter(|a| a.what == biggest.as_str()).map(|a| a.how).collect();
    assert_eq!(ways, [How::Sibling, How::Indexed]);
}

#[test]
fn packs_that_are_indexed_again_are_compared_with_their_names_and_mended_in_the_same_run() {
    let three = three(12);
    let whole = three.places[1].sim.objects();
    let of = |prefix: &str| whole.keys().filter(|name| name.as_str().starts_with(prefix)).collect::<Vec<_>>();
    for (percent, folders) in
        [(90, &["trees/"][..]), (98, &["trees/"]), (99, &["packs/"]), (98, &["trees/", "packs/"])]
    {
        let packs: Vec<&ObjectName> = folders.iter().flat_map(|folder| of(folder)).collect();
        for index in [of("index/"), of("index/").split_off(of("index/").len() - 1)] {
            let case = format!("{folders:?} at {percent} %, {} segments lost", index.len());
            let sim = &three.places[1].sim;
            whole.iter().for_each(|(name, bytes)| sim.put(name, bytes, PutMode::Replace).unwrap());
            index.iter().for_each(|name| sim.delete(name).unwrap());
            for pack in &packs {
                sim.damage(pack, |bytes| {
                    let at = bytes.len() * percent / 100;
                    bytes[at] ^= 4;
                });
            }
            let report = three.repair(1, [2, 0]);
            assert_eq!(report.left, [], "{case}");
            for pack in &packs {
                assert!(
                    report.actions.iter().any(|a| a.what == pack.as_str() && a.how != How::Indexed),
                    "{case}"
                );
                assert!(sim.objects()[*pack] == whole[*pack], "{case}: {pack}");
            }
            three.assert_whole(1, &case);
        }
    }
}

#[test]
fn a_data_pack_that_no_segment_lists_and_nothing_mends_is_named_with_what_it_held() {
    let three = three(13);
    let sim = &three.places[1].sim;
    let names: Vec<ObjectName> = sim.objects().into_keys().collect();
    let packs: Vec<_> = names.iter().filter(|name| name.as_str().starts_with("packs/")).collect();
    three.lose_all(1, &["index/"]);
    // Its directory is there, sealed: one bit, and nothing of it can be read.
    sim.damage(packs[0], |bytes| {
        let at = bytes.len() - 300;
        bytes[at] ^= 1;
    });
    let mut options = RepairOptions {
        dry_run: false,
        read: ReadShare::Everything,
        workers: Workers(0),
        sample_seed: 1,
        now: Timestamp { secs: 99, nanos: 0 },
        sibling: None,
        source: None,
        writer: inline(),
        progress: &mut |_, _| {},
    };
    let reader = three.places[1].reader().unwrap();
    let report = repair(&reader, &mut options, Seed::new([5; 32])).unwrap();
    assert!(report.left.iter().any(|f| f.what == packs[0].as_str()), "{:?}", report.left);
    assert!(report.left.iter().any(|f| !f.hurts.is_empty()), "{:?}", report.left);
}
