//! The damage matrix: every class of object, damaged in every way, one at a time.
//!
//! Small objects and tree packs survive by their second copy, by parity, or by what other objects say;
//! a lost pack is named and hurts nobody else; nothing is ever read back wrong; a check finds it.

use format::codec::{Compressor, Level};
use format::gc::{Condemned, GcRecord};
use format::id::{PackId, SnapshotId};
use format::kind::Timestamp;
use format::snapshot::Snapshot;
use repo::check::{CheckOptions, CheckReport, ReadShare, check};
use repo::reader::Reader;
use repo::seed::Seed;
use repo::snapshots::{self, SnapshotList};
use repo::workers::Workers;
use std::collections::BTreeMap;
use std::sync::Arc;
use storage::{ObjectName, PutMode, SimStore, Store};
use testkit::dice::Dice;
use testkit::files::{Files, edit, random_files};
use testkit::mini::{self, Backup, backup, restore_what_can_be};
use testkit::world::World;

type Objects = BTreeMap<ObjectName, Vec<u8>>;

/// A repository with one object of every class at least.
struct Sound {
    objects: Objects,
    kept: Vec<(Snapshot, Files)>,
}

fn sound(seed: u64) -> Sound {
    let world = World::new(seed);
    let mut dice = Dice::new(seed);
    let mut files = random_files(&mut dice, 50);
    let mut kept = Vec::new();
    for round in 0..3 {
        let done = backup(&world.reader().unwrap(), &files, &Backup::new(seed + 100 * round)).unwrap();
        kept.push((done.snapshot, files.clone()));
        edit(&mut dice, &mut files, 10);
    }
    let reader = world.reader().unwrap();
    let now = Timestamp::default();
    snapshots::forget(reader.repo(), &kept[0].0.id, now, "test", &mut Seed::new([9; 32])).unwrap();
    condemn(&world, &[PackId([0xab; 32])]);
    // A session that was killed after a checkpoint leaves a pending record.
    let options = Backup { segment_packs: 1, ..Backup::new(seed + 77) };
    let mut writer = mini::start(&reader, &options).unwrap();
    mini::write_tree(&reader, &mut writer, &random_files(&mut dice, 200), &options).unwrap();
    writer.checkpoint().unwrap();
    Sound { objects: world.sim.objects(), kept }
}

pub(crate) fn condemn(world: &World, packs: &[PackId]) {
    let repo = world.open().unwrap();
    let record = Condemned { packs: packs.to_vec(), moved_into: Vec::new() };
    let mut compressor = Compressor::new(Level(1));
    let bytes = record.encode(&repo.identity().repo, repo.keys(), [3; 32], &mut compressor);
    let hash = blake3::hash(&bytes).to_hex();
    let name = ObjectName::new(&format!("gc/condemned-{:016x}-{}", 1, &hash[..32])).unwrap();
    world.sim.put(&name, &bytes, PutMode::Replace).unwrap();
}

fn place(objects: &Objects) -> World {
    let sim = SimStore::new(1);
    for (name, bytes) in objects {
        sim.put(name, bytes, PutMode::CreateNew).unwrap();
    }
    World::of(sim)
}

fn class_of(name: &ObjectName) -> String {
    let text = name.as_str();
    let folder = match text.rsplit_once('/') {
        Some((folder, _)) if text.starts_with("packs/") || text.starts_with("trees/") => &folder[..5],
        Some((folder, _)) => folder,
        None => text,
    };
    let gc = if text.contains("tomb-") { "-tomb" } else { "" };
    format!("{folder}{gc}")
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Harm {
    Flip(usize),
    Cut(usize),
    Extend,
    Zero,
    Swap,
    Delete,
}

fn harms(len: usize) -> Vec<Harm> {
    let mut all = vec![Harm::Extend, Harm::Zero, Harm::Swap, Harm::Delete];
    all.extend([0, 1, len / 2, len - 1].map(Harm::Cut));
    let steps = 9;
    all.extend((0..=steps).map(|i| Harm::Flip((len - 1) * i / steps)));
    all
}

/// The objects after the harm.
fn harmed(sound: &Sound, other: &Sound, name: &ObjectName, harm: Harm) -> Objects {
    let mut objects = sound.objects.clone();
    let bytes = objects.get_mut(name).unwrap();
    match harm {
        Harm::Flip(at) => bytes[at] ^= 0x20,
        Harm::Cut(len) => bytes.truncate(len),
        Harm::Extend => bytes.push(0),
        Harm::Zero => bytes.fill(0),
        Harm::Swap => {
            let of_class = |n: &&ObjectName| class_of(n) == class_of(name) && *n != name;
            let mine = sound.objects.keys().find(of_class).map(|n| sound.objects[n].clone());
            let foreign =
                || other.objects.iter().find(|(n, _)| class_of(n) == class_of(name)).unwrap().1.clone();
            *bytes = mine.unwrap_or_else(foreign);
        }
        Harm::Delete => _ = objects.remove(name),
    }
    objects
}

fn checked(reader: &Arc<Reader>, read: ReadShare) -> CheckReport {
    let mut options = CheckOptions {
        read,
        workers: Workers(0),
        sample_seed: 1,
        now: Timestamp::default(),
        progress: &mut |_, _| {},
    };
    check(reader, &mut options).unwrap()
}

/// Reads all that can be read; asserts that it is right and returns how many files were lost, or `None`
/// where a tree was.
fn lost_files(world: &World, sound: &Sound, case: &str) -> Option<usize> {
    let reader = world.reader().unwrap_or_else(|e| panic!("{case}: does not open: {e:?}"));
    let list = SnapshotList::read(reader.repo()).unwrap_or_else(|e| panic!("{case}: does not list: {e:?}"));
    assert!(list.unreadable.is_empty(), "{case}: {:?}", list.unreadable);
    assert_eq!(list.snapshots.len(), sound.kept.len(), "{case}");
    let mut lost = Some(0);
    for (snapshot, files) in &sound.kept {
        assert!(list.snapshots.iter().any(|s| s.snapshot == *snapshot), "{case}");
        match restore_what_can_be(&reader, snapshot.root) {
            Ok((found, missing)) => {
                assert_eq!(found.len() + missing.len(), files.len(), "{case}");
                assert!(found.iter().all(|(path, bytes)| files[path] == *bytes), "{case}: wrong data");
                assert!(missing.iter().all(|(_, e)| e.is_damage()), "{case}: {missing:?}");
                lost = lost.map(|n| n + missing.len());
            }
            Err(e) => {
                assert!(e.is_damage(), "{case}: {e:?}");
                lost = None;
            }
        }
    }
    lost
}

#[test]
fn any_harm_to_any_object_is_survived_or_named() {
    let (sound, other) = (sound(1), sound(2));
    let mut per_class: BTreeMap<String, Vec<ObjectName>> = BTreeMap::new();
    for name in sound.objects.keys() {
        per_class.entry(class_of(name)).or_default().push(name.clone());
    }
    let classes: Vec<_> = per_class.keys().map(String::as_str).collect();
    let expected = [
        "config",
        "gc",
        "gc-tomb",
        "index",
        "keys",
        "mirror",
        "mirror/keys",
        "mirror/snapshots",
        "packs",
        "pending",
        "snapshots",
        "trees",
    ];
    assert_eq!(classes, expected);
    assert_eq!(checked(&place(&sound.objects).reader().unwrap(), ReadShare::Everything).findings, []);
    for (class, names) in &per_class {
        let is_pack = class == "packs" || class == "trees";
        let count = if is_pack || class == "mirror/snapshots" { 4 } else { 1 };
        for name in names.iter().take(count) {
            for harm in harms(sound.objects[name].len()) {
                let case = format!("{harm:?} of {name}");
                let world = place(&harmed(&sound, &other, name, harm));
                let lost = lost_files(&world, &sound, &case);
                let mendable = matches!(harm, Harm::Flip(_) | Harm::Extend);
                if class != "packs" && (class != "trees" || mendable) {
                    assert_eq!(lost, Some(0), "{case}");
                }
                // What was taken away without a trace is only known to whoever put it there.
                // So is the second copy of a snapshot that is forgotten: somebody may be removing it.
                let is_leaving = class == "mirror/snapshots" && {
                    let id = repo::names::parse_snapshot(name).unwrap();
                    sound.objects.contains_key(&repo::names::tomb(&id))
                };
                let traceless = harm == Harm::Delete
                    && (is_leaving || ["gc", "gc-tomb", "pending"].contains(&class.as_str()));
                let report = checked(&world.reader().unwrap(), ReadShare::Everything);
                assert!(traceless || !report.findings.is_empty(), "{case}: a check finds nothing");
                if harm == Harm::Delete && !traceless {
                    let quick = checked(&world.reader().unwrap(), ReadShare::Nothing);
                    assert!(!quick.findings.is_empty(), "{case}: a quick check finds nothing");
                }
            }
        }
    }
}

/// The newest snapshot from which a path can be restored.
fn last_good(world: &World, sound: &Sound, path: &str) -> Option<SnapshotId> {
    let reader = world.reader().unwrap();
    let list = SnapshotList::read(reader.repo()).unwrap();
    let has_it = |s: &&Snapshot| {
        let files = restore_what_can_be(&reader, s.root).unwrap().0;
        sound
            .kept
            .iter()
            .any(|(kept, all)| kept.id == s.id && files.get(path).is_some_and(|f| *f == all[path]))
    };
    list.visible().rev().find(has_it).map(|s| s.id)
}

#[test]
fn a_lost_data_pack_is_named_down_to_the_paths() {
    let sound = sound(3);
    let is_data = |n: &&ObjectName| n.as_str().starts_with("packs/");
    let mut named = 0;
    for name in sound.objects.keys().filter(is_data) {
        let mut objects = sound.objects.clone();
        objects.remove(name);
        let world = place(&objects);
        let report = checked(&world.reader().unwrap(), ReadShare::Nothing);
        assert!(report.findings.iter().any(|f| f.what == name.as_str()), "the pack is named");
        let mut hurt: Vec<(String, String)> = Vec::new();
        for found in report.findings.iter().flat_map(|f| &f.hurts) {
            let path = String::from_utf8(found.path.clone()).unwrap();
            let path = path.trim_start_matches('/').to_string();
            assert_eq!(found.good.as_ref().map(|g| g.snapshot), last_good(&world, &sound, &path), "{path}");
            hurt.push((found.snapshot.hex()[..8].to_string(), path));
        }
        hurt.sort();
        hurt.dedup();
        let reader = world.reader().unwrap();
        let mut lost = Vec::new();
        for (snapshot, _) in &sound.kept {
            let (_, missing) = restore_what_can_be(&reader, snapshot.root).unwrap();
            lost.extend(missing.into_iter().map(|(path, _)| (snapshot.short_id(), path)));
        }
        lost.sort();
        assert_eq!(hurt, lost, "what a check names is what a restore misses");
        named += lost.len();
    }
    assert!(named > 50);
}

#[test]
fn the_whole_index_may_be_lost() {
    let sound = sound(4);
    let mut objects = sound.objects.clone();
    objects.retain(|name, _| !name.as_str().starts_with("index/"));
    let world = place(&objects);
    assert_eq!(lost_files(&world, &sound, "no index"), Some(0));
    let report = checked(&world.reader().unwrap(), ReadShare::Nothing);
    assert!(report.findings.iter().any(|f| f.why.contains("a segment was lost")));
    assert!(report.findings.iter().all(|f| f.hurts.is_empty()), "no file is lost");
    let needed = report.findings.iter().filter(|f| f.why.contains("a segment was lost")).count();
    let packs = objects.keys().filter(|name| ["packs", "trees"].iter().any(|f| name.as_str().starts_with(f)));
    assert_eq!(report.orphan_packs, packs.count() - needed, "what snapshots need is not left over");
    // The next run stores everything again, in segments of its own, and heals the repository.
    let (_, files) = &sound.kept[2];
    let done = backup(&world.reader().unwrap(), files, &Backup::new(500)).unwrap();
    assert!(mini::restore(&world.reader().unwrap(), done.snapshot.root).unwrap() == *files);
}

#[test]
fn data_packs_with_parity_are_mended() {
    let parameters =
        format::config::Parameters { data_parity_percent: 6, ..testkit::world::tiny_parameters() };
    let world = World::with_parameters(1, parameters);
    let files = random_files(&mut Dice::new(1), 60);
    let done = backup(&world.reader().unwrap(), &files, &Backup::new(1)).unwrap();
    for name in world.sim.objects().keys().filter(|n| n.as_str().starts_with("packs/")) {
        world.sim.damage(name, |bytes| bytes[100..400].fill(7));
    }
    let reader = world.reader().unwrap();
    assert!(mini::restore(&reader, done.snapshot.root).unwrap() == files);
    assert!(!reader.mended_packs().is_empty());
}

#[test]
fn a_maintainer_checks_without_reading_contents() {
    use format::keys::{Capability, Key};
    let sound = sound(5);
    let world = place(&sound.objects);
    let credential = repo::Credential::Random(Key::new([9; 32]));
    let slot = repo::NewSlot {
        credential: credential.clone(),
        is_recovery: false,
        capability: Capability::Maintain,
        cost: format::slot::ArgonCost::default(),
        label: "maintainer".into(),
    };
    let store = || Arc::new(world.sim.connect());
    let mut owner = repo::Repo::open(store(), &world.credential(), &Default::default()).unwrap();
    owner.add_slot(&slot, Timestamp::default(), &mut Seed::new([4; 32])).unwrap();
    let reader = || {
        let repo = repo::Repo::open(store(), &credential, &Default::default()).unwrap();
        Arc::new(Reader::open(Arc::new(repo), repo::cache::Cache::none()).unwrap())
    };
    let report = checked(&reader(), ReadShare::Everything);
    assert_eq!(report.findings, []);
    assert!(report.packs_read > 5 && report.blobs_verified > 0);
    let (_, refused) = restore_what_can_be(&reader(), sound.kept[0].0.root).unwrap();
    assert!(refused.len() > 20 && refused.iter().all(|(_, e)| !e.is_damage()), "not allowed is not lost");
    let packs: Vec<_> = sound.objects.keys().filter(|n| n.as_str().starts_with("packs/")).collect();
    packs.iter().for_each(|name| assert!(world.sim.damage(name, |bytes| bytes[200] ^= 1)));
    let report = checked(&reader(), ReadShare::Everything);
    assert!(packs.iter().all(|name| report.findings.iter().any(|f| f.what == name.as_str())));
    assert!(report.findings.iter().any(|f| !f.hurts.is_empty()), "what may be hurt is named");
}
