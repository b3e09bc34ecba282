//! The damage matrix: class of object x kind of damage x what happens next.
//!
//! Every damage is found. Configuration, keys, snapshots, holds and index survive any damage to one object;
//! packs survive what their parity mends; a lost pack is named down to path and comes back from another
//! repository. Nothing that happens next makes it worse: a backup, a check, a repair, or forgetting and
//! pruning. After a repair a check finds nothing, or exactly what the repair said it had to leave.

use format::config::Parameters;
use format::damage::{DamageMark, Subject};
use format::envelope;
use format::erase::Erasure;
use format::gc::{Condemned, GcRecord, Removed};
use format::id::{PackId, SnapshotId};
use format::keep::{Covers, Hold, Trust};
use format::kind::Timestamp;
use format::log::LogKind;
use format::pack;
use format::snapshot::Snapshot;
use format::tree::PathKey;
use repo::Repo;
use repo::attest::Attester;
use repo::check::{CheckOptions, CheckReport, Depth, ReadShare, Verified, check};
use repo::log::NewRecord;
use repo::prune::{PruneOptions, prune};
use repo::repair::{RepairOptions, RepairReport, repair};
use repo::seed::Seed;
use repo::snapshots::{SnapshotList, forget};
use repo::workers::Workers;
use repo::writer::WriterOptions;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};
use storage::{ObjectName, PutMode, SimStore, Store};
use testkit::dice::Dice;
use testkit::files::{Files, edit, random_files};
use testkit::mini::{self, Backup, backup, restore, restore_what_can_be};
use testkit::world::{World, tiny_parameters};

type Objects = BTreeMap<ObjectName, Vec<u8>>;

struct Sound {
    objects: Objects,
    kept: Vec<(Snapshot, Files)>,
    /// What a killed session left, which no snapshot needs.
    leftover: BTreeSet<ObjectName>,
}

/// A repository with every class of object, whose data packs survive 6 %.
fn sound() -> Sound {
    let world = World::with_parameters(1, Parameters { data_parity_percent: 6, ..tiny_parameters() });
    let mut dice = Dice::new(1);
    let mut files = random_files(&mut dice, 30);
    let mut kept = Vec::new();
    for round in 0..3 {
        let done = backup(&world.reader().unwrap(), &files, &Backup::new(1 + 100 * round)).unwrap();
        kept.push((done.snapshot, files.clone()));
        edit(&mut dice, &mut files, 8);
    }
    let reader = world.reader().unwrap();
    let repo = reader.repo();
    let (now, mut seed) = (Timestamp::default(), Seed::new([9; 32]));
    forget(repo, &kept[0].0.id, now, "test", &mut seed).unwrap();
    crate::damage::condemn(&world, &[PackId([0xab; 32])]);
    let hold = Hold {
        id: format::id::HoldId([5; 8]),
        name: "court".into(),
        reason: String::new(),
        made: now,
        end: None,
        covers: Covers::Snapshots(vec![kept[2].0.id]),
    };
    repo::holds::add(repo, &hold, &mut seed).unwrap();
    let trust = Trust { snapshot: kept[1].0.id, record: [1; 32], time: true, contents: true, made: now };
    repo::trust::confirm(repo, &trust, &mut seed).unwrap();
    erase_and_remove(repo, &mut seed);
    write_log(repo, &mut seed);
    attest(repo, &mut seed);
    let before = world.sim.objects();
    // A session that was killed after a checkpoint leaves a pending record.
    let options = Backup { segment_packs: 1, ..Backup::new(77) };
    let mut writer = mini::start(&reader, &options).unwrap();
    mini::write_tree(&reader, &mut writer, &random_files(&mut dice, 150), &options).unwrap();
    writer.checkpoint().unwrap();
    let objects = world.sim.objects();
    let leftover = objects.keys().filter(|name| !before.contains_key(*name)).cloned().collect();
    Sound { objects, kept, leftover }
}

/// What was erased on a machine that has no snapshot here, the removal of a snapshot nobody has, and a mark of
/// a pack that is long gone.
fn erase_and_remove(repo: &Repo, seed: &mut Seed) {
    let (id, keys) = (&repo.identity().repo, repo.keys());
    let mut compressor = format::codec::Compressor::new(format::codec::Level(1));
    let erasure = Erasure {
        id: format::id::ErasureId([6; 8]),
        paths: vec![PathKey::of(&["/", "old"])],
        time: Timestamp::default(),
        hosts: vec!["another".into()],
        reason: String::new(),
        by: String::new(),
        replaced: Vec::new(),
    };
    repo::erasures::put(repo, &erasure, seed).unwrap();
    let gone = SnapshotId([0xee; 16]);
    let removed = Removed { snapshots: vec![gone], confirmed: vec![gone] };
    let bytes = removed.encode(id, keys, seed.draw(), &mut compressor);
    repo.put(&repo::names::removed(1, &bytes), &bytes, PutMode::CreateNew).unwrap();
    let pack = PackId([0x5d; 32]);
    let subject = Subject::Pack { id: pack, kind: format::id::BlobKind::Data };
    let mark = DamageMark { subject, time: Timestamp::default() };
    let bytes = mark.encode(id, keys, seed.draw(), &mut compressor);
    repo.put(&repo::names::pack_damage_mark(&pack), &bytes, PutMode::CreateNew).unwrap();
}

/// Three records, of which each but the last is named by the next.
fn write_log(repo: &Repo, seed: &mut Seed) {
    for subject in ["forget", "hold", "prune"] {
        let new = NewRecord {
            kind: LogKind::Action,
            time: Timestamp::default(),
            machine: "test",
            user: "test",
            subject,
            body: "{}".into(),
        };
        repo::log::append(repo, new, &format::keys::Key::new([4; 32]), seed).unwrap();
    }
}

/// Two packs that nobody has were verified.
fn attest(repo: &Repo, seed: &mut Seed) {
    let signing = format::keys::Key::new([4; 32]);
    let by = Attester { machine: "test", user: "test", time: Timestamp::default(), signing: &signing };
    let packs = vec![PackId([0x11; 32]), PackId([0x22; 32])];
    let verified = Verified { depth: Depth::Contents, run: 1, packs };
    repo::attest::put(repo, &verified, &by, seed).unwrap();
}

fn place(objects: &Objects) -> World {
    let sim = SimStore::new(1);
    for (name, bytes) in objects {
        sim.put(name, bytes, PutMode::CreateNew).unwrap();
    }
    World::of(sim)
}

/// The folder of a name, and what kind of object stands there.
fn class_of(name: &ObjectName) -> String {
    let text = name.as_str();
    match text.rsplit_once('/') {
        Some(_) if is_pack(name) => text[..5].to_string(),
        Some(("gc", file)) => format!("gc/{}", file.split('-').next().unwrap()),
        Some((folder, _)) => folder.to_string(),
        None => text.to_string(),
    }
}

fn is_pack(name: &ObjectName) -> bool {
    name.as_str().starts_with("packs/") || name.as_str().starts_with("trees/")
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Harm {
    Flip(usize),
    Cut(usize),
    Extend,
    Zero,
    Replace,
    Duplicate,
    Delete,
}

fn harms(len: usize, dice: &mut Dice) -> Vec<Harm> {
    let mut all = vec![Harm::Extend, Harm::Zero, Harm::Replace, Harm::Duplicate, Harm::Delete];
    all.extend([0, 1, len / 2, len - 1].map(Harm::Cut));
    all.extend((0..4).map(|_| Harm::Flip(dice.below(len as u64) as usize)));
    all
}

/// Whether parity alone undoes it.
fn is_mendable(harm: Harm, len: usize) -> bool {
    match harm {
        Harm::Flip(_) => true,
        // Where the true length is known, one lost byte is no more than a flipped one.
        Harm::Cut(cut) => cut == len - 1,
        Harm::Extend => true,
        _ => false,
    }
}

impl Sound {
    fn other_of_class(&self, name: &ObjectName) -> Vec<u8> {
        let other = self.objects.iter().find(|(n, _)| class_of(n) == class_of(name) && *n != name);
        // Of a class with one object: somebody else's bytes.
        let mine = &self.objects[name];
        let foreign = || self.objects.values().find(|bytes| *bytes != mine).unwrap().clone();
        other.map_or_else(foreign, |(_, bytes)| bytes.clone())
    }

    fn harmed(&self, name: &ObjectName, harm: Harm) -> Objects {
        let mut objects = self.objects.clone();
        let other = self.other_of_class(name);
        let bytes = objects.get_mut(name).unwrap();
        match harm {
            Harm::Flip(at) => bytes[at] ^= 0x20,
            Harm::Cut(len) => bytes.truncate(len),
            Harm::Extend => bytes.push(0),
            Harm::Zero => bytes.fill(0),
            Harm::Replace => *bytes = other,
            Harm::Duplicate => {
                let copy = bytes.clone();
                objects.insert(another_name(name), copy);
            }
            Harm::Delete => _ = objects.remove(name),
        }
        objects
    }
}

/// A name of the same class that nobody uses.
fn another_name(name: &ObjectName) -> ObjectName {
    let (folder, file) = name.as_str().rsplit_once('/').unwrap_or(("", name.as_str()));
    let swap = |c: char| match c {
        '0'..='8' => ((c as u8) + 1) as char,
        '9' => '0',
        c => c,
    };
    let file: String = file.chars().map(swap).collect();
    let folder = if is_pack(name) { format!("{}/{}", &folder[..5], &file[..1]) } else { folder.to_string() };
    ObjectName::new(format!("{folder}/{file}").trim_start_matches('/')).unwrap()
}

fn checked(world: &World) -> CheckReport {
    let mut options = CheckOptions {
        read: ReadShare::Everything,
        workers: Workers(0),
        sample_seed: 1,
        now: Timestamp::default(),
        progress: &mut |_, _| {},
    };
    check(&world.reader().unwrap(), &mut options).unwrap()
}

fn repaired(world: &World, sibling: Option<&World>) -> RepairReport {
    // What was cut off is a day old by now.
    world.sim.set_time(SystemTime::UNIX_EPOCH + Duration::from_secs(1_780_000_000 + 2 * 86_400));
    let sibling = sibling.map(|world| world.reader().unwrap());
    let mut options = RepairOptions {
        dry_run: false,
        read: ReadShare::Everything,
        workers: Workers(0),
        sample_seed: 1,
        now: Timestamp::default(),
        sibling: sibling.as_deref(),
        source: None,
        writer: WriterOptions { seal_workers: Workers(0), upload_workers: Workers(0), ..Default::default() },
        progress: &mut |_, _| {},
    };
    repair(&world.reader().unwrap(), &mut options, Seed::new([3; 32])).unwrap()
}

/// Paths of a snapshot that can be restored, all of them right; `None` where its tree cannot be read.
type Readable = Option<BTreeSet<String>>;

/// Opens, lists and restores everything.
fn readable(world: &World, sound: &Sound, case: &str) -> BTreeMap<SnapshotId, Readable> {
    let reader = world.reader().unwrap_or_else(|e| panic!("{case}: does not open: {e:?}"));
    let list = SnapshotList::read(reader.repo()).unwrap_or_else(|e| panic!("{case}: does not list: {e:?}"));
    let mut found = BTreeMap::new();
    for (snapshot, files) in &sound.kept {
        if !list.snapshots.iter().any(|s| s.snapshot == *snapshot) {
            continue;
        }
        let paths = match restore_what_can_be(&reader, snapshot.root) {
            Ok((restored, _)) => {
                assert!(restored.iter().all(|(path, bytes)| files[path] == *bytes), "{case}: wrong data");
                Some(restored.into_keys().collect())
            }
            Err(e) => {
                assert!(e.is_damage(), "{case}: {e:?}");
                None
            }
        };
        found.insert(snapshot.id, paths);
    }
    found
}

fn everything(sound: &Sound) -> BTreeMap<SnapshotId, Readable> {
    sound.kept.iter().map(|(s, files)| (s.id, Some(files.keys().cloned().collect()))).collect()
}

/// Whether nothing readable before is unreadable now.
fn is_no_worse(before: &BTreeMap<SnapshotId, Readable>, now: &BTreeMap<SnapshotId, Readable>) -> bool {
    now.iter().all(|(id, now)| match (before.get(id), now) {
        (Some(Some(before)), Some(now)) => before.is_subset(now),
        (Some(Some(_)), None) => false,
        _ => true,
    })
}

struct Case<'a> {
    sound: &'a Sound,
    name: &'a ObjectName,
    harm: Harm,
    objects: Objects,
    text: String,
    before: BTreeMap<SnapshotId, Readable>,
}

impl Case<'_> {
    fn class(&self) -> String {
        class_of(self.name)
    }

    fn survives(&self) -> bool {
        let len = self.sound.objects[self.name].len();
        !is_pack(self.name) || self.harm == Harm::Duplicate || is_mendable(self.harm, len)
    }

    fn read(&self) {
        if self.survives() {
            assert!(self.before == everything(self.sound), "{}: something is lost", self.text);
        }
        assert_eq!(self.before.len(), self.sound.kept.len(), "{}: all snapshots are listed", self.text);
    }

    fn check(&self) {
        // What was taken away without a trace is known only to whoever put it there; a second pack, list or
        // configuration under another name harms nobody.
        let class = self.class();
        let unnamed = ["attest", "gc/tomb", "gc/condemned", "gc/removed", "gc/damaged", "pending", "trust"];
        let is_last = |class: &str| self.sound.objects.keys().rev().find(|n| class_of(n) == class);
        let traceless = unnamed.contains(&class.as_str()) || is_last("log") == Some(self.name);
        // One copy of a record may be missing while its snapshot is being removed.
        let is_leaving = self.name.as_str().ends_with(&self.sound.kept[0].0.id.hex());
        let is_exempt = match self.harm {
            Harm::Delete => {
                traceless || is_leaving || (class == "index" && self.sound.leftover.contains(self.name))
            }
            Harm::Duplicate => {
                is_pack(self.name)
                    || ["gc/condemned", "gc/removed"].contains(&class.as_str())
                    || self.name.as_str() == "config"
                    || class == "mirror"
            }
            // Another list of condemned packs, with a right hash in its name only by chance.
            _ => false,
        };
        let report = checked(&place(&self.objects));
        // A key slot under a name that the configuration does not list hurts nothing, and is named.
        let is_named = !report.findings.is_empty() || !report.leftovers.is_empty();
        assert!(is_exempt || is_named, "{}: a check finds nothing", self.text);
        if is_pack(self.name) && !self.survives() {
            let named: BTreeSet<String> = (report.findings.iter().flat_map(|f| &f.hurts))
                .map(|h| String::from_utf8_lossy(&h.path).trim_start_matches('/').to_string())
                .collect();
            for (id, lost) in lost(self.sound, &self.before) {
                assert!(lost.is_subset(&named), "{}: {} is not named in full", self.text, id.hex());
            }
        }
    }

    /// The next run ends well, if need be without its parent.
    fn back_up(&self) {
        let world = place(&self.objects);
        let reader = world.reader().unwrap();
        let (parent, files) = &self.sound.kept[2];
        let with_parent = Backup { parent: Some(parent), ..Backup::new(900) };
        let done = match backup(&reader, files, &with_parent) {
            Err(e) if e.is_damage() => backup(&reader, files, &Backup::new(901)),
            other => other,
        };
        let done = done.unwrap_or_else(|e| panic!("{}: the next backup fails: {e:?}", self.text));
        // Damage that nobody has looked for may be relied on; what is known or missing never is.
        let restored = restore(&world.reader().unwrap(), done.snapshot.root);
        let is_silent = is_pack(self.name) && !self.survives() && self.harm != Harm::Delete;
        match restored {
            Ok(restored) => assert!(restored == *files, "{}", self.text),
            Err(e) => assert!(is_silent && e.is_damage(), "{}: {e:?}", self.text),
        }
        assert!(is_no_worse(&self.before, &readable(&world, self.sound, &self.text)), "{}", self.text);
    }

    fn repair(&self) {
        let world = place(&self.objects);
        let report = repaired(&world, None);
        let now = readable(&world, self.sound, &self.text);
        assert!(is_no_worse(&self.before, &now), "{}: a repair made it worse", self.text);
        // Both copies of what is beyond help are named by a check, the thing itself by a repair.
        let what = |name: &str| name.trim_start_matches("mirror/").to_string();
        let left: BTreeSet<String> = report.left.iter().map(|f| what(&f.what)).collect();
        let found: BTreeSet<String> = checked(&world).findings.iter().map(|f| what(&f.what)).collect();
        assert!(found.is_subset(&left), "{}: left {left:?}, found {found:?}", self.text);
        // A tomb is never written again, because its snapshot may be coming back at this moment.
        // A log record that is gone stays named: that it is missing is evidence.
        let is_evidence = self.class() == "log" && !matches!(self.harm, Harm::Flip(_));
        let is_left = self.class() == "pending" || self.name.as_str().contains("tomb") || is_evidence;
        if self.survives() && !is_left {
            let is_planted = matches!(self.harm, Harm::Duplicate | Harm::Replace);
            assert!(is_planted || left.is_empty(), "{}: {left:?}", self.text);
        }
        let objects = world.sim.objects();
        let has_twin = ["config", "keys", "snapshots", "holds"].iter().any(|c| self.class().ends_with(c))
            || self.class() == "mirror";
        // So does the mark of a pack that is gone.
        let is_forgotten = self.name.as_str().contains(&self.sound.kept[0].0.id.hex())
            || self.name.as_str().contains("damaged");
        let comes_back = has_twin
            || is_mendable(self.harm, self.sound.objects[self.name].len()) && is_pack(self.name)
            || matches!(self.harm, Harm::Flip(_));
        if comes_back && !is_forgotten {
            assert!(objects[self.name] == self.sound.objects[self.name], "{}: other bytes", self.text);
        }
        let again = repaired(&world, None);
        assert_eq!((again.actions, again.moved_blobs), (vec![], 0), "{}: a second repair", self.text);
    }

    /// What this place lost, another one gives back, byte for byte.
    fn heal_from_sibling(&self, sibling: &World) {
        if !is_pack(self.name) || self.survives() {
            return;
        }
        let world = place(&self.objects);
        let report = repaired(&world, Some(sibling));
        assert!(report.left.is_empty(), "{}: {:?}", self.text, report.left);
        assert!(world.sim.objects()[self.name] == self.sound.objects[self.name], "{}", self.text);
        assert!(readable(&world, self.sound, &self.text) == everything(self.sound), "{}", self.text);
    }

    fn forget_and_prune(&self) {
        let world = place(&self.objects);
        let reader = world.reader().unwrap();
        let forgotten = forget(
            reader.repo(),
            &self.sound.kept[1].0.id,
            Timestamp::default(),
            "test",
            &mut Seed::new([8; 32]),
        );
        forgotten.unwrap_or_else(|e| panic!("{}: {e:?}", self.text));
        let writer =
            WriterOptions { seal_workers: Workers(0), upload_workers: Workers(0), ..Default::default() };
        let options = PruneOptions {
            writer,
            repack_bytes_max: Some(u64::MAX),
            ..PruneOptions::urgent(Timestamp { secs: 1_700_000_000, nanos: 0 })
        };
        let pruned = prune(&reader, &options, Seed::new([7; 32]), &mut |_, _, _| {});
        pruned.unwrap_or_else(|e| panic!("{}: prune fails: {e:?}", self.text));
        let mut now = readable(&world, self.sound, &self.text);
        let last = self.sound.kept[2].0.id;
        assert!(now.contains_key(&last), "{}: a snapshot that was not forgotten is gone", self.text);
        now.retain(|id, _| *id == last);
        assert!(is_no_worse(&self.before, &now), "{}: a prune made it worse", self.text);
    }
}

/// Which paths of each snapshot are lost; only of those whose tree can be read.
fn lost(sound: &Sound, readable: &BTreeMap<SnapshotId, Readable>) -> BTreeMap<SnapshotId, BTreeSet<String>> {
    let of = |(snapshot, files): &(Snapshot, Files)| {
        let readable = readable[&snapshot.id].as_ref()?;
        Some((snapshot.id, files.keys().filter(|path| !readable.contains(*path)).cloned().collect()))
    };
    sound.kept.iter().filter_map(of).collect()
}

#[test]
fn every_damage_is_found_and_survived_or_named_whatever_happens_next() {
    let sound = sound();
    let sibling = place(&sound.objects);
    assert_eq!(checked(&place(&sound.objects)).findings, []);
    let mut per_class: BTreeMap<String, Vec<&ObjectName>> = BTreeMap::new();
    for name in sound.objects.keys() {
        per_class.entry(class_of(name)).or_default().push(name);
    }
    let classes: Vec<&str> = per_class.keys().map(String::as_str).collect();
    let expected = [
        "attest",
        "config",
        "gc/condemned",
        "gc/damaged",
        "gc/erased",
        "gc/removed",
        "gc/tomb",
        "holds",
        "index",
        "keys",
        "log",
        "mirror",
        "mirror/gc",
        "mirror/holds",
        "mirror/keys",
        "mirror/snapshots",
        "packs",
        "pending",
        "snapshots",
        "trees",
        "trust",
    ];
    assert_eq!(classes, expected);
    let mut dice = Dice::new(4);
    for (class, names) in &per_class {
        // The last records are those of snapshots that are not forgotten, or may be.
        let count = if class == "packs" || class == "trees" { 3 } else { 2 };
        for name in names.iter().rev().take(count) {
            for harm in harms(sound.objects[*name].len(), &mut dice) {
                let objects = sound.harmed(name, harm);
                let text = format!("{harm:?} of {name}");
                let before = readable(&place(&objects), &sound, &text);
                let case = Case { sound: &sound, name, harm, objects, text, before };
                case.read();
                case.check();
                case.back_up();
                case.repair();
                case.heal_from_sibling(&sibling);
                case.forget_and_prune();
            }
        }
    }
}

#[test]
fn every_flipped_bit_of_a_small_object_and_a_thousand_of_each_pack_are_found_and_undone() {
    let sound = sound();
    let mut dice = Dice::new(5);
    for (name, good) in &sound.objects {
        let bits = good.len() as u64 * 8;
        let id = PackId::from_hex(name.file_name());
        let chosen: Vec<u64> = match id {
            // A debug build would take minutes for all of them; the format's own tests do one object's.
            _ if good.len() <= 2048 => {
                (0..bits).step_by(if cfg!(debug_assertions) { 7 } else { 1 }).collect()
            }
            _ => (0..1000).map(|_| dice.below(bits)).collect(),
        };
        for bit in chosen {
            let mut bad = good.clone();
            bad[bit as usize / 8] ^= 1 << (bit % 8);
            let mended = match &id {
                Some(id) if is_pack(name) => pack::repair(&mut bad, id),
                _ => envelope::repair(&mut bad),
            };
            assert_eq!(mended, Ok(true), "{name}: bit {bit}");
            assert!(bad == *good, "{name}: bit {bit}");
        }
    }
}

#[test]
fn two_damaged_condemned_lists_do_not_stop_anything() {
    let sound = sound();
    let world = place(&sound.objects);
    let repo = world.open().unwrap();
    let record = Condemned { packs: vec![PackId([0xcd; 32])], moved_into: Vec::new() };
    let mut compressor = format::codec::Compressor::new(format::codec::Level(1));
    let mut bytes = record.encode(&repo.identity().repo, repo.keys(), [4; 32], &mut compressor);
    let name = format!("gc/condemned-{:016x}-{}", 9, &blake3::hash(&bytes).to_hex()[..32]);
    let half = bytes.len() / 2;
    bytes.truncate(half);
    world.sim.put(&ObjectName::new(&name).unwrap(), &bytes, PutMode::Replace).unwrap();
    assert!(!checked(&world).findings.is_empty());
    assert!(repaired(&world, None).left.is_empty());
    assert_eq!(checked(&world).findings, [], "what was cut off while it was written is cleared away");
}
