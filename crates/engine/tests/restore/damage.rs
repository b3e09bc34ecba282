//! Damaged repositories: what can be restored is, and what cannot is named.

use crate::world::{World, entry, files_below, noise};
use engine::Severity;
use format::kind::Kind;
use format::tree::{Content, Extent, PathKey};
use repo::workers::Workers;
use std::collections::BTreeSet;
use std::fs;

fn fill(world: &World) {
    for n in 0..400u64 {
        let dir = world.source().join(format!("d{}", n % 10));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("f{n}")), noise(n, 20_000)).unwrap();
    }
    fs::write(world.source().join("large"), noise(9, 6_000_000)).unwrap();
}

/// Compares each file with its source; returns those that are not as they were.
fn wrong_files(world: &World) -> BTreeSet<String> {
    let name = |path: &std::path::Path| path.display().to_string();
    let sources = files_below(&world.source());
    let wrong = sources.iter().filter(|path| {
        let copy = world.target().join(path.strip_prefix(world.source()).unwrap());
        fs::read(copy).ok() != fs::read(path).ok()
    });
    wrong.map(|path| name(path)).collect()
}

#[test]
fn files_in_damaged_blocks_are_named_and_all_others_restored() {
    let world = World::new();
    fill(&world);
    let snapshot = world.backup();
    world.damage_data(6_000_000);
    for workers in [0, 2] {
        let (outcome, ear) = world.restore(&snapshot, |r| r.workers = Workers(workers));
        let outcome = outcome.unwrap();
        let notes = ear.problems();
        let named: BTreeSet<String> =
            notes.iter().map(|n| String::from_utf8_lossy(&n.item).into_owned()).collect();
        assert!(notes.iter().all(|note| note.severity == Severity::Damage && note.during == "read contents"));
        assert_eq!(named, wrong_files(&world));
        assert!(!named.is_empty() && named.len() < 300, "{} of 401", named.len());
        assert_eq!(outcome.damaged, named.len() as u64);
        assert_eq!(outcome.problems, outcome.damaged);
        assert_eq!(outcome.files_restored, 401 - outcome.damaged);
        fs::remove_dir_all(world.target()).unwrap();
    }
}

#[test]
fn a_large_file_keeps_what_can_be_read_and_is_completed_by_a_later_run() {
    let world = World::new();
    fs::write(world.source().join("large"), noise(9, 9_000_000)).unwrap();
    let snapshot = world.backup();
    let packs = files_below(&world.top().join("repo/packs"));
    let sound: Vec<Vec<u8>> = packs.iter().map(|path| fs::read(path).unwrap()).collect();
    world.damage_data(9_000_000);
    let (outcome, ear) = world.restore(&snapshot, |_| {});
    assert_eq!((outcome.unwrap().damaged, ear.problems().len()), (1, 1));
    let (copy, original) = (fs::read(world.target().join("large")).unwrap(), noise(9, 9_000_000));
    assert_eq!(copy.len(), original.len());
    let right = copy.iter().zip(&original).filter(|(a, b)| a == b).count();
    assert!((4_000_000..9_000_000).contains(&right), "{right} bytes");
    for (path, bytes) in packs.iter().zip(&sound) {
        fs::remove_file(path).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let (outcome, _) = world.restore_well(&snapshot, |_| {});
    assert_eq!(outcome.files_restored, 1);
    assert!(outcome.bytes_written < 5_000_000, "only what was missing");
    assert!(wrong_files(&world).is_empty());
}

#[test]
fn lost_packs_are_damage_and_the_rest_is_restored() {
    let world = World::new();
    fill(&world);
    let snapshot = world.backup();
    for path in files_below(&world.top().join("repo/packs")) {
        fs::remove_file(path).unwrap();
    }
    let (outcome, ear) = world.restore(&snapshot, |_| {});
    assert_eq!((outcome.unwrap().damaged, ear.problems().len()), (401, 401));
    assert!(world.target().join("d9").is_dir(), "folders are restored");
}

#[test]
fn contents_that_do_not_fit_the_length_are_damage() {
    let world = World::new();
    let chunk = noise(1, 5000);
    let id = world.blob_id(&world.reader(), &chunk);
    let with = |size_bytes, content| format::tree::Entry { size_bytes, content, ..entry(Kind::File) };
    let data = |repeat| Extent::Data { id, len_bytes: 5000, repeat };
    let at = |name: &[u8]| PathKey::of(&[b"/", name]);
    let entries = vec![
        (PathKey::of(&[b"/"]), entry(Kind::Directory)),
        (at(b"longer"), with(4000, Content::Whole(id))),
        (at(b"shorter"), with(6000, Content::Whole(id))),
        (at(b"much longer"), with(9000, Content::Extents(vec![data(1000)]))),
        (at(b"much shorter"), with(90_000, Content::Extents(vec![data(2)]))),
        (at(b"without"), with(10, Content::None)),
        (at(b"sound"), with(5000, Content::Whole(id))),
    ];
    let snapshot = world.invent(entries, &[&chunk]);
    let (outcome, ear) = world.restore(&snapshot, |r| r.path = Vec::new());
    assert_eq!(outcome.unwrap().damaged, 5);
    assert_eq!(ear.problems().len(), 5);
    assert_eq!(fs::read(world.target().join("sound")).unwrap(), chunk);
    assert!(!world.target().join("without").exists() && !world.target().join("longer").exists());
}

#[test]
fn a_damaged_tree_hides_only_what_it_held() {
    let world = World::new();
    let mut entries = vec![(PathKey::of(&[b"/"]), entry(Kind::Directory))];
    for n in 0..12_000u64 {
        // Names that do not compress: the tree takes several blocks.
        let name = noise(n, 40).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        entries.push((PathKey::of(&[b"/", name.as_bytes()]), entry(Kind::File)));
    }
    let snapshot = world.invent(entries, &[]);
    // The first leaves stand first; the upper nodes, without which nothing is found, last.
    for path in files_below(&world.top().join("repo/trees")) {
        let mut bytes = fs::read(&path).unwrap();
        // More than parity mends.
        let third = bytes.len() / 3;
        bytes[1000..third].fill(0);
        fs::remove_file(&path).unwrap();
        fs::write(path, bytes).unwrap();
    }
    fs::create_dir(world.target()).unwrap();
    fs::write(world.target().join("extra"), b"not known to be extra").unwrap();
    let (outcome, ear) = world.restore(&snapshot, |r| (r.path, r.delete) = (vec![b"/".to_vec()], true));
    let outcome = outcome.unwrap();
    assert!(outcome.damaged > 0 && !ear.problems().is_empty());
    assert!((1000..11_000).contains(&outcome.files_restored), "{} files", outcome.files_restored);
    assert_eq!(outcome.deleted, 0);
    assert!(world.target().join("extra").exists());
    // The whole snapshot, too, although the entry of its root is in what is lost.
    let target = world.top().join("whole");
    let (again, _) = world.restore(&snapshot, |r| (r.path, r.target) = (Vec::new(), target.clone()));
    assert_eq!(again.unwrap().files_restored, outcome.files_restored);
}
