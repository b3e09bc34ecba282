//! Somebody who may add objects adds them everywhere: nothing that was there before becomes unreadable, no
//! later run is stopped, and what is strange is reported.

use format::id::{BlobKind, PackId, SlotId, SnapshotId};
use repo::index::PackListing;
use repo::names;
use repo::snapshots::SnapshotList;
use storage::{ObjectName, PutMode, Store};
use testkit::dice::Dice;
use testkit::files::{Files, random_files};
use testkit::mini::{Backup, backup, restore};
use testkit::world::World;

struct Kept {
    world: World,
    files: Files,
    done: testkit::mini::Done,
}

fn kept() -> Kept {
    let world = World::new(1);
    let files = random_files(&mut Dice::new(1), 60);
    let done = backup(&world.reader().unwrap(), &files, &Backup::new(1)).unwrap();
    Kept { world, files, done }
}

impl Kept {
    fn add(&self, name: &str, bytes: &[u8]) {
        self.world.sim.put(&ObjectName::new(name).unwrap(), bytes, PutMode::Replace).unwrap();
    }

    /// Everything older can be read, and the next run ends well.
    fn check(&self, case: &str) {
        let reader = self.world.reader().unwrap_or_else(|e| panic!("{case}: {e:?}"));
        let list = SnapshotList::read(reader.repo()).unwrap_or_else(|e| panic!("{case}: {e:?}"));
        assert!(list.visible().any(|s| *s == self.done.snapshot), "{case}");
        assert!(restore(&reader, self.done.snapshot.root).unwrap() == self.files, "{case}");
        let next = backup(&reader, &self.files, &Backup::new(2)).unwrap_or_else(|e| panic!("{case}: {e:?}"));
        assert_eq!(next.written.added_bytes, 0, "{case}: everything is still known");
    }
}

fn names_of(prefix: &str, dice: &mut Dice) -> Vec<String> {
    let mut hex =
        |digits: usize| dice.bytes(digits / 2).iter().map(|b| format!("{b:02x}")).collect::<String>();
    let pack = hex(64);
    vec![match prefix {
        "keys/" | "mirror/keys/" => format!("{prefix}{}", hex(16)),
        "snapshots/" | "mirror/snapshots/" => format!("{prefix}{}", hex(32)),
        "pending/" => format!("{prefix}{}.{}", hex(32), hex(8)),
        "index/" => format!("{prefix}{}-{}", hex(16), hex(32)),
        "gc/tomb-" => format!("{prefix}{}", hex(32)),
        "gc/condemned-" => format!("{prefix}{}-{}", hex(16), hex(32)),
        "packs/" | "trees/" => format!("{prefix}{}/{pack}", &pack[..1]),
        _ => format!("{prefix}{}", hex(10)),
    }]
}

const PREFIXES: [&str; 12] = [
    "keys/",
    "mirror/keys/",
    "snapshots/",
    "mirror/snapshots/",
    "pending/",
    "index/",
    "gc/tomb-",
    "gc/condemned-",
    "packs/",
    "trees/",
    "mirror/",
    "other/",
];

#[test]
fn noise_under_every_prefix_hurts_nothing() {
    let kept = kept();
    let mut dice = Dice::new(5);
    for prefix in PREFIXES {
        for len in [0, 1, 31, 200, 5000] {
            for name in names_of(prefix, &mut dice) {
                let bytes = dice.bytes(len);
                kept.add(&name, &bytes);
            }
        }
        kept.check(prefix);
    }
    let list = SnapshotList::read(&kept.world.open().unwrap()).unwrap();
    assert_eq!(list.unreadable.len(), 10, "strange records are reported");
    assert_eq!(list.unreadable_tombs.len(), 5);
    let listing = PackListing::read(&kept.world.open().unwrap()).unwrap();
    assert_eq!(listing.unreadable.len(), 5);
}

#[test]
fn objects_of_another_repository_hurt_nothing() {
    let kept = kept();
    let other = World::new(99);
    let files = random_files(&mut Dice::new(9), 30);
    let done = backup(&other.reader().unwrap(), &files, &Backup::new(3)).unwrap();
    let repo = other.open().unwrap();
    repo::snapshots::forget(
        &repo,
        &done.snapshot.id,
        Default::default(),
        "x",
        &mut repo::seed::Seed::new([1; 32]),
    )
    .unwrap();
    super::damage::condemn(&other, &[PackId([1; 32])]);
    for (name, bytes) in other.sim.objects() {
        if !name.as_str().ends_with("config") {
            kept.add(name.as_str(), &bytes);
        }
    }
    kept.check("foreign objects");
}

#[test]
fn own_objects_under_other_names_hurt_nothing() {
    let kept = kept();
    let mut dice = Dice::new(6);
    for (name, bytes) in kept.world.sim.objects() {
        for prefix in PREFIXES {
            if prefix.split('/').next() == name.as_str().split('/').next() {
                names_of(prefix, &mut dice).iter().for_each(|other| kept.add(other, &bytes));
            }
        }
    }
    kept.check("copies under other names");
    let list = SnapshotList::read(&kept.world.open().unwrap()).unwrap();
    assert_eq!(list.snapshots.len(), 2, "a copy of a record is no snapshot");
}

#[test]
fn the_greatest_number_of_all_segments_may_be_taken() {
    let kept = kept();
    kept.add(&format!("index/{}-{}", "f".repeat(16), "0".repeat(32)), b"noise");
    kept.check("a segment with the greatest number");
    let mut dice = Dice::new(4);
    let files = random_files(&mut dice, 40);
    let done = backup(&kept.world.reader().unwrap(), &files, &Backup::new(8)).unwrap();
    assert!(restore(&kept.world.reader().unwrap(), done.snapshot.root).unwrap() == files);
}

#[test]
fn many_added_slots_hide_no_real_one() {
    let kept = kept();
    kept.world
        .sim
        .set_time(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_900_000_000));
    let slot = kept.world.sim.objects().into_iter().find(|(n, _)| n.as_str().starts_with("keys/")).unwrap().1;
    for n in 0..300u64 {
        let name = names::slot(&SlotId(n.to_be_bytes()));
        kept.add(name.as_str(), &slot);
        kept.add(names::mirror(&name).as_str(), b"noise");
    }
    kept.check("many slots");
}

#[test]
fn an_object_with_a_packs_name_in_another_folder_hides_no_loss() {
    let kept = kept();
    let packs: Vec<ObjectName> =
        kept.world.sim.objects().into_keys().filter(|n| n.as_str().starts_with("packs/")).collect();
    for name in &packs {
        let other = name.as_str().replace("packs/", "trees/");
        let bytes = kept.world.sim.objects()[name].clone();
        kept.add(&other, &bytes[..bytes.len() - 1]);
        kept.add(&format!("packs/z/{}", name.file_name()), &bytes);
    }
    kept.check("packs under two names");
    for name in &packs {
        kept.world.sim.lose(name);
    }
    let reader = kept.world.reader().unwrap();
    let next = backup(&reader, &kept.files, &Backup::new(5)).unwrap();
    assert!(next.written.added_bytes > 0, "what is gone is stored again");
    assert!(restore(&kept.world.reader().unwrap(), next.snapshot.root).unwrap() == kept.files);
    assert_eq!(names::parse_pack(&packs[0]).unwrap().0, BlobKind::Data);
}

#[test]
fn a_tomb_needs_the_key_and_the_right_name() {
    let kept = kept();
    let id = kept.done.snapshot.id;
    kept.add(names::tomb(&id).as_str(), b"noise");
    kept.check("noise as a tomb");
    let repo = kept.world.open().unwrap();
    // Forgetting replaces the noise; a tomb moved to another name buries nothing.
    repo::snapshots::forget(&repo, &id, Default::default(), "x", &mut repo::seed::Seed::new([2; 32]))
        .unwrap();
    assert!(!SnapshotList::read(&repo).unwrap().visible().any(|s| s.id == id));
    let tomb = kept.world.sim.objects()[&names::tomb(&id)].clone();
    repo::snapshots::remember(&repo, &id).unwrap();
    kept.add(names::tomb(&SnapshotId([1; 16])).as_str(), &tomb);
    assert!(SnapshotList::read(&repo).unwrap().visible().any(|s| s.id == id));
}
