//! The names over all snapshots against plain lists of paths, over random histories.

use format::id::{BlobId, FamilyId, SnapshotId};
use format::kind::{Kind, Timestamp};
use format::tree::{Class, Content, Entry, KeyPath, Marks, Owner, PathKey, Root, Xattrs};
use repo::browse::Change;
use service::catalog::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

type Tree = BTreeMap<Vec<u8>, Entry>;

const FAMILY: FamilyId = FamilyId([7; 16]);

fn entry(kind: Kind, version: i64) -> Entry {
    let owner = Owner { uid: 1000, gid: 100, user: (*b"me").into(), group: Box::default() };
    let class = Class { kind, mode: 0o640, owner, flags: 0, project: 0, mount: 0, xattrs: Xattrs::None };
    Entry {
        class: Arc::new(class),
        mtime: Timestamp { secs: version, nanos: 5 },
        ctime: Timestamp { secs: version, nanos: 6 },
        inode: 3,
        size_bytes: version as u64 * 10,
        link_group: None,
        rdev: 0,
        target: Box::default(),
        content: Content::None,
        marks: Marks::default(),
    }
}

fn key(path: &str) -> Vec<u8> {
    let parts: Vec<&[u8]> = path.split('/').filter(|p| !p.is_empty()).map(str::as_bytes).collect();
    let mut components: Vec<&[u8]> = vec![b"/"];
    components.extend(parts);
    PathKey::of(&components)
}

fn root(n: u8) -> Root {
    Root { id: BlobId([n; 24]), level: 1 }
}

fn changes<'t>(old: &'t Tree, new: &'t Tree) -> Vec<(&'t Vec<u8>, Change<'t>)> {
    let keys: BTreeSet<&Vec<u8>> = old.keys().chain(new.keys()).collect();
    let change = |key| match (old.get(key), new.get(key)) {
        (None, Some(new)) => Some((key, Change::Added(new))),
        (Some(old), None) => Some((key, Change::Removed(old))),
        (Some(old), Some(new)) if old != new => Some((key, Change::Changed(old, new))),
        _ => None,
    };
    keys.into_iter().filter_map(change).collect()
}

fn add(names: &mut Names, lane: &str, n: u8, old: &Tree, new: &Tree) {
    names
        .add_point(&FAMILY, lane.as_bytes(), &SnapshotId([n; 16]), root(n), &mut |point| {
            changes(old, new).into_iter().try_for_each(|(key, change)| point.take(key, change))
        })
        .unwrap();
}

/// Finds whatever has `word` in its last name.
fn find(names: &Names, word: &str, literals: Option<Vec<String>>) -> BTreeMap<u8, BTreeMap<Vec<u8>, i64>> {
    let contains = |name: &[u8]| name.windows(word.len()).any(|w| w == word.as_bytes());
    let query = Query {
        literals,
        name_fits: &contains,
        fits: &|parts, _| contains(parts.last().expect("a path has a name")),
    };
    let found = names.find(&FAMILY, &query).unwrap();
    let per_snapshot = |(id, found): (SnapshotId, Vec<Arc<Found>>)| {
        assert!(found.is_sorted_by(|a, b| a.key < b.key), "in the order of the walk");
        (id.0[0], found.iter().map(|f| (f.key.clone(), f.entry.mtime.secs)).collect())
    };
    found.into_iter().map(per_snapshot).collect()
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % below
    }
}

#[test]
fn random_histories_are_found_as_in_plain_lists() {
    for seed in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let mut names = Names::open(&folder.path().join(NAMES_FILE)).unwrap();
        let mut dice = Dice(seed);
        let words = ["report.txt", "Photo.jpg", "re.txt", "portrait", "a", "ärger", "x\"y.txt"];
        let mut lanes: BTreeMap<String, Vec<(u8, Tree)>> = BTreeMap::new();
        for n in 1..=12u8 {
            let lane = format!("lane{}", dice.roll(2));
            let history = lanes.entry(lane.clone()).or_default();
            let old = history.last().map(|(_, tree)| tree.clone()).unwrap_or_default();
            let mut new = old.clone();
            for _ in 0..dice.roll(12) {
                let word = words[dice.roll(words.len() as u64) as usize];
                let path = format!("/d{}/e{}/{word}", dice.roll(3), dice.roll(2));
                match dice.roll(3) {
                    0 => _ = new.remove(&key(&path)),
                    _ => _ = new.insert(key(&path), entry(Kind::File, i64::from(n))),
                }
            }
            add(&mut names, &lane, n, &old, &new);
            history.push((n, new));
        }
        let all: Vec<&(u8, Tree)> = lanes.values().flatten().collect();
        for (word, literals) in [
            ("port", Some(vec!["port".to_string()])),
            ("report", Some(vec!["report".to_string()])),
            ("port", None),
            ("a", None),
            ("ärger", Some(vec!["ärger".to_string()])),
            ("x\"y", Some(vec!["x\"y".to_string()])),
        ] {
            let mut expected = BTreeMap::new();
            for (n, tree) in &all {
                let fitting = tree.iter().filter(|(key, _)| {
                    let name = KeyPath::parse(key).unwrap().name;
                    String::from_utf8_lossy(name).contains(word)
                });
                let found: BTreeMap<_, _> = fitting.map(|(k, e)| (k.clone(), e.mtime.secs)).collect();
                if !found.is_empty() {
                    expected.insert(*n, found);
                }
            }
            assert_eq!(find(&names, word, literals), expected, "seed {seed}, {word}");
        }
        for path in all.iter().flat_map(|(_, tree)| tree.keys()) {
            let looks = names.looks(&FAMILY, path).unwrap();
            for (n, tree) in &all {
                assert_eq!(looks.contains_key(&SnapshotId([*n; 16])), tree.contains_key(path));
            }
            for (a, tree_a) in &all {
                for (b, tree_b) in &all {
                    let same = looks.get(&SnapshotId([*a; 16])).zip(looks.get(&SnapshotId([*b; 16])));
                    if same.is_some_and(|(a, b)| a == b) {
                        assert_eq!(tree_a[path], tree_b[path], "seed {seed}");
                    }
                }
            }
        }
        assert_eq!(names.known(&FAMILY).unwrap().len(), 12);
        assert!(names.known(&FamilyId([8; 16])).unwrap().is_empty());
    }
}

#[test]
fn what_fails_on_the_way_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut names = Names::open(&folder.path().join(NAMES_FILE)).unwrap();
    let one = Tree::from([(key("/a/report.txt"), entry(Kind::File, 1))]);
    add(&mut names, "lane", 1, &Tree::new(), &one);
    let failed = names.add_point(&FAMILY, b"lane", &SnapshotId([2; 16]), root(2), &mut |point| {
        point.take(&key("/a/report.txt"), Change::Removed(&one[&key("/a/report.txt")]))?;
        Err(CatalogError::File { path: "x".into(), source: std::io::Error::other("no") })
    });
    assert!(failed.is_err());
    assert_eq!(find(&names, "report", None).into_keys().collect::<Vec<_>>(), [1]);
    let none = Tree::new();
    add(&mut names, "lane", 3, &one, &none);
    assert_eq!(find(&names, "report", None).into_keys().collect::<Vec<_>>(), [1]);
}

#[test]
fn fault_records_and_strange_names_do_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let mut names = Names::open(&folder.path().join(NAMES_FILE)).unwrap();
    let fault = PathKey::child(b"/\0d\0", b"");
    let strange = PathKey::child(b"/\0", b"\xff\xfereport\xff");
    let tree = Tree::from([(fault, entry(Kind::Fault, 1)), (strange.clone(), entry(Kind::Symlink, 2))]);
    add(&mut names, "lane", 1, &Tree::new(), &tree);
    let found = find(&names, "report", Some(vec!["report".into()]));
    assert_eq!(found[&1].keys().collect::<Vec<_>>(), [&strange]);
    assert_eq!(find(&names, "d", None), BTreeMap::new());
}

#[test]
fn corrupt_names_are_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(NAMES_FILE);
    std::fs::write(&path, vec![b'x'; 5000]).unwrap();
    let names = Names::open(&path).unwrap();
    assert!(names.known(&FAMILY).unwrap().is_empty());
    let mut names = names.begin_anew().unwrap();
    let one = Tree::from([(key("/a"), entry(Kind::File, 1))]);
    add(&mut names, "lane", 1, &Tree::new(), &one);
    assert_eq!(names.known(&FAMILY).unwrap().len(), 1);
    drop(names);
    damage_middle(&path);
    let names = Names::open(&path).unwrap();
    // Damage inside is met when it is used, or was met already.
    let used = names.known(&FAMILY).map(drop).and_then(|()| {
        names.find(&FAMILY, &Query { literals: None, name_fits: &|_| true, fits: &|_, _| true }).map(drop)
    });
    assert!(used.as_ref().map_or_else(|e| e.is_damage(), |()| true), "{used:?}");
    assert!(names.begin_anew().unwrap().known(&FAMILY).unwrap().is_empty());
}

fn damage_middle(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    for page in bytes.chunks_mut(4096).skip(1) {
        page.fill(0x5a);
    }
    std::fs::write(path, bytes).unwrap();
}
