//! What a snapshot holds comes back: contents, holes, names, attributes, and no more than was asked for.

use crate::world::{World, entry, inventory, noise};
use engine::{Action, Severity};
use format::id::BlobKind;
use format::kind::{Kind, Timestamp};
use format::tree::{Class, Content, Entry, Extent, Marks, PathKey, XattrSet, Xattrs};
use host::Rules;
use repo::RepoError;
use repo::workers::Workers;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

/// Files of every size class, links, empty folders, odd modes.
fn fill(world: &World) {
    let top = world.source();
    for n in 0..200u64 {
        let dir = top.join(format!("d{}/e{}", n % 7, n % 3));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("f{n}")), noise(n, (n * 97 % 9000) as usize)).unwrap();
    }
    fs::create_dir(top.join("empty")).unwrap();
    fs::write(top.join("large"), noise(1000, 5_000_000)).unwrap();
    fs::write(top.join("zeros"), vec![0; 3_000_000]).unwrap();
    fs::write(top.join("d1/no bytes"), b"").unwrap();
    symlink("d1/e1", top.join("link")).unwrap();
    symlink("nowhere", top.join("d2/broken link")).unwrap();
    fs::hard_link(top.join("large"), top.join("d3/second name")).unwrap();
    fs::hard_link(top.join("large"), top.join("third name")).unwrap();
    fs::set_permissions(top.join("d4"), fs::Permissions::from_mode(0o550)).unwrap();
    fs::set_permissions(top.join("zeros"), fs::Permissions::from_mode(0o4711)).unwrap();
}

#[test]
fn a_folder_comes_back_as_it_was_with_and_without_threads() {
    let world = World::new();
    fill(&world);
    let snapshot = world.backup();
    for workers in [0, 1, 2, 5] {
        let target = world.top().join(format!("target{workers}"));
        let (outcome, ear) = world.restore_well(&snapshot, |r| {
            r.target = target.clone();
            r.workers = Workers(workers);
            r.verify = workers % 2 == 1;
            r.sync = workers == 2;
        });
        assert_eq!(inventory(&target), inventory(&world.source()));
        assert_eq!(outcome.files_restored, 205);
        assert_eq!(outcome.problems + outcome.files_unchanged + outcome.deleted, 0);
        let small: u64 = (0..200).map(|n| n * 97 % 9000).sum();
        assert_eq!(outcome.bytes_selected, 3 * 5_000_000 + 3_000_000 + small);
        assert_eq!(ear.actions(Action::New).len() as u64, outcome.files_restored + outcome.others_restored);
    }
}

#[test]
fn a_whole_snapshot_comes_back_under_its_full_path() {
    let world = World::new();
    fill(&world);
    let snapshot = world.backup();
    let (outcome, _) = world.restore_well(&snapshot, |r| r.path = Vec::new());
    assert_eq!(outcome.files_restored, 205);
    let copy = world.target().join(world.source().strip_prefix("/").unwrap());
    assert_eq!(inventory(&copy), inventory(&world.source()));
}

#[test]
fn one_file_comes_back_alone() {
    let world = World::new();
    fill(&world);
    let snapshot = world.backup();
    for (path, name) in [(&["large"][..], "large"), (&["d1", "e1", "f1"][..], "f1"), (&["link"][..], "link")]
    {
        world.restore_well(&snapshot, |r| r.path.extend(path.iter().map(|name| name.as_bytes().to_vec())));
        let from: std::path::PathBuf =
            std::iter::once(world.source()).chain(path.iter().map(Into::into)).collect();
        let meta = |path: &Path| {
            let meta = fs::symlink_metadata(path).unwrap();
            (meta.mode(), meta.len(), meta.mtime_nsec(), meta.mtime())
        };
        assert_eq!(meta(&world.target().join(name)), meta(&from));
        assert_eq!(fs::read_dir(world.target()).unwrap().count(), 1);
        fs::remove_dir_all(world.target()).unwrap();
    }
}

#[test]
fn holes_come_back_where_they_were_and_written_zeros_stay() {
    let world = World::new();
    let path = world.source().join("sparse");
    let file = File::create(&path).unwrap();
    file.set_len(64 << 20).unwrap();
    file.write_all_at(&noise(1, 100_000), 1 << 20).unwrap();
    file.write_all_at(&vec![0; 2 << 20], 8 << 20).unwrap();
    file.write_all_at(b"x", 40 << 20).unwrap();
    drop(file);
    fs::File::create(world.source().join("all hole")).unwrap().set_len(10 << 20).unwrap();
    let snapshot = world.backup();
    world.restore_well(&snapshot, |r| r.verify = true);
    let map = |path: &Path| {
        let file = File::open(path).unwrap();
        host::read::data_ranges(&file, file.metadata().unwrap().len()).unwrap()
    };
    for name in ["sparse", "all hole"] {
        assert_eq!(map(&world.target().join(name)), map(&world.source().join(name)), "{name}");
    }
    assert_eq!(inventory(&world.target()), inventory(&world.source()));
    // Something is written where a hole belongs.
    let target = File::options().write(true).open(world.target().join("sparse")).unwrap();
    target.write_all_at(&[7; 1 << 20], 20 << 20).unwrap();
    target.set_len(100 << 20).unwrap();
    world.restore_well(&snapshot, |r| r.verify = true);
    assert_eq!(map(&world.target().join("sparse")), map(&world.source().join("sparse")));
    assert_eq!(inventory(&world.target()), inventory(&world.source()));
}

#[test]
fn selection_by_rules_takes_back_what_lies_below_what_is_left_out() {
    let world = World::new();
    for path in ["a/keep.txt", "a/drop.log", "b/c/deep.txt", "b/other.log", "top.txt"] {
        let path = world.source().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, path.as_os_str().as_encoded_bytes()).unwrap();
    }
    fs::set_permissions(world.source().join("b"), fs::Permissions::from_mode(0o711)).unwrap();
    let snapshot = world.backup();
    let restored = |build: &dyn Fn(&mut Rules)| {
        let mut rules = Rules::default();
        build(&mut rules);
        let (outcome, _) = world.restore(&snapshot, |r| r.rules = Arc::new(rules));
        let paths = match outcome {
            Ok(_) => crate::world::files_below(&world.target()),
            Err(RepoError::NothingSelected(_)) => Vec::new(),
            Err(e) => panic!("{e}"),
        };
        let mut names: Vec<String> =
            paths.iter().map(|p| p.strip_prefix(world.target()).unwrap().display().to_string()).collect();
        names.sort();
        if world.target().join("b").exists() {
            assert_eq!(fs::metadata(world.target().join("b")).unwrap().mode() & 0o777, 0o711);
        }
        fs::remove_dir_all(world.target()).ok();
        names
    };
    assert_eq!(
        restored(&|rules| rules.exclude(b"*.log", "test", false).unwrap()),
        ["a/keep.txt", "b/c/deep.txt", "top.txt"]
    );
    assert_eq!(
        restored(&|rules| rules.exclude(b"/b", "test", false).unwrap()),
        ["a/drop.log", "a/keep.txt", "top.txt"]
    );
    let only = |pattern: &'static [u8]| {
        move |rules: &mut Rules| {
            rules.exclude(b"/*", "test", false).unwrap();
            rules.include(pattern, "test", false).unwrap();
        }
    };
    assert_eq!(restored(&only(b"deep.txt")), ["b/c/deep.txt"]);
    assert_eq!(restored(&only(b"/b/c")), ["b/c/deep.txt"]);
    assert_eq!(restored(&only(b"*.log")), ["a/drop.log", "b/other.log"]);
    assert_eq!(restored(&only(b"nothing")), [""; 0]);
}

#[test]
fn selecting_nothing_is_an_error_and_leaves_nothing_behind() {
    let world = World::new();
    fs::write(world.source().join("file"), b"x").unwrap();
    let snapshot = world.backup();
    let (outcome, _) = world.restore(&snapshot, |r| r.path.push(b"no such".to_vec()));
    let Err(RepoError::NoPath(path)) = outcome else { panic!("{outcome:?}") };
    assert!(path.ends_with("/source/no such"));
    assert!(!world.target().exists());
    let mut rules = Rules::default();
    rules.exclude(b"file", "test", false).unwrap();
    let (outcome, _) = world.restore(&snapshot, |r| r.rules = Arc::new(rules));
    assert!(matches!(outcome, Err(RepoError::NothingSelected(_))));
    assert!(!world.target().exists());
}

fn root_key() -> (Vec<u8>, Entry) {
    (PathKey::of(&[b"/"]), entry(Kind::Directory))
}

fn at(path: &[&str]) -> Vec<u8> {
    let components: Vec<&[u8]> =
        std::iter::once(&b"/"[..]).chain(path.iter().map(|name| name.as_bytes())).collect();
    PathKey::of(&components)
}

fn with_class(mut entry: Entry, change: impl FnOnce(&mut Class)) -> Entry {
    change(Arc::make_mut(&mut entry.class));
    entry
}

#[test]
fn times_of_four_centuries_come_back() {
    let world = World::new();
    let times = [-2_147_483_647, -1, 0, 1, 2_147_483_647, 2_147_483_648, 10_413_792_000];
    let mut entries = vec![root_key()];
    for (n, secs) in times.iter().enumerate() {
        let mtime = Timestamp { secs: *secs, nanos: 123_456_789 };
        for kind in [Kind::File, Kind::Directory, Kind::Symlink, Kind::Fifo] {
            let target = if kind == Kind::Symlink { b"x"[..].into() } else { Box::default() };
            entries.push((at(&[&format!("{kind:?}{n}")]), Entry { mtime, target, ..entry(kind) }));
        }
    }
    let snapshot = world.invent(entries, &[]);
    let (_, ear) = world.restore(&snapshot, |r| r.path = vec![b"/".to_vec()]);
    let told = ear.problems();
    for (n, secs) in times.iter().enumerate() {
        for kind in ["File", "Directory", "Symlink", "Fifo"] {
            let name = format!("{kind}{n}");
            let meta = fs::symlink_metadata(world.target().join(&name)).unwrap();
            let right = (meta.mtime(), meta.mtime_nsec()) == (*secs, 123_456_789);
            // A file system that cannot hold a time is told apart from one that can.
            let named = told.iter().any(|note| note.item.ends_with(name.as_bytes()));
            assert!(right != named, "{name}: {right} {named}");
        }
    }
    assert!(told.len() <= 8, "this file system holds most of them: {told:?}");
}

#[test]
fn extended_attributes_and_names_of_every_kind_of_inode_come_back() {
    let world = World::new();
    let pairs = vec![(b"user.lifeboat".to_vec(), b"value".to_vec()), (b"user.other".to_vec(), noise(1, 300))];
    let xattrs = Xattrs::Inline(XattrSet::new(pairs).unwrap().encode().into());
    let contents = noise(5, 2000);
    let mut file = with_class(entry(Kind::File), |class| class.xattrs = xattrs.clone());
    file.size_bytes = 2000;
    file.content = Content::Whole(world.blob_id(&world.reader(), &contents));
    file.link_group = Some([1; 8]);
    let folder = with_class(entry(Kind::Directory), |class| class.xattrs = xattrs);
    let linked = |kind, group| {
        let target = if kind == Kind::Symlink { b"there"[..].into() } else { Box::default() };
        Entry { link_group: Some([group; 8]), target, ..entry(kind) }
    };
    let entries = vec![
        root_key(),
        (at(&["d"]), folder),
        (at(&["d", "file2"]), file.clone()),
        (at(&["file1"]), file),
        (at(&["fifo1"]), linked(Kind::Fifo, 2)),
        (at(&["d", "fifo2"]), linked(Kind::Fifo, 2)),
        (at(&["link1"]), linked(Kind::Symlink, 3)),
        (at(&["d", "link2"]), linked(Kind::Symlink, 3)),
        (at(&["socket1"]), linked(Kind::Socket, 4)),
        (at(&["d", "socket2"]), linked(Kind::Socket, 4)),
    ];
    let snapshot = world.invent(entries, &[&contents]);
    let (outcome, _) = world.restore_well(&snapshot, |r| r.path = Vec::new());
    let inode =
        |name: &str| fs::symlink_metadata(world.target().join(name)).map(|m| (m.ino(), m.nlink())).unwrap();
    for (first, second) in
        [("file1", "file2"), ("fifo1", "fifo2"), ("link1", "link2"), ("socket1", "socket2")]
    {
        assert_eq!(inode(first), inode(&format!("d/{second}")));
        assert_eq!(inode(first).1, 2, "{first}");
    }
    assert_eq!((outcome.files_restored, outcome.others_restored), (2, 7));
    let mut value = [0; 400];
    for name in ["file1", "d"] {
        let n = rustix::fs::getxattr(world.target().join(name), "user.other", &mut value[..]).unwrap();
        assert_eq!(value[..n], noise(1, 300));
    }
    let again = world.restore_well(&snapshot, |r| r.path = Vec::new()).0;
    assert_eq!((again.files_restored, again.files_unchanged), (0, 2));
    for (first, second) in
        [("file1", "file2"), ("fifo1", "fifo2"), ("link1", "link2"), ("socket1", "socket2")]
    {
        assert_eq!(inode(first), inode(&format!("d/{second}")), "after another restore");
    }
}

#[test]
fn what_forbids_changes_comes_last_of_all() {
    const IMMUTABLE: u32 = 0x10;
    let world = World::new();
    let immutable = |entry| with_class(entry, |class| class.flags = IMMUTABLE);
    let linked = |group| Entry { link_group: Some([group; 8]), ..immutable(entry(Kind::File)) };
    let entries = vec![
        root_key(),
        (at(&["d"]), immutable(entry(Kind::Directory))),
        (at(&["d", "e"]), immutable(entry(Kind::Directory))),
        (at(&["d", "e", "file"]), immutable(entry(Kind::File))),
        (at(&["d", "e", "second"]), linked(1)),
        (at(&["first"]), linked(1)),
    ];
    let snapshot = world.invent(entries, &[]);
    let (outcome, ear) = world.restore(&snapshot, |r| r.path = Vec::new());
    let outcome = outcome.unwrap();
    let flags = |name: &str| {
        let file = File::open(world.target().join(name)).unwrap();
        rustix::fs::ioctl_getflags(&file).map_or(0, |flags| flags.bits() & IMMUTABLE)
    };
    let names = ["d", "d/e", "d/e/file", "first"];
    let set: Vec<u32> = names.iter().map(|name| flags(name)).collect();
    // Again, over what cannot be changed.
    let again = world.restore(&snapshot, |r| (r.path, r.verify) = (Vec::new(), true)).0.unwrap();
    let set_again: Vec<u32> = names.iter().map(|name| flags(name)).collect();
    let all: Vec<_> = crate::world::files_below(&world.target());
    for path in all.iter().map(|p| p.as_path()).chain(names.iter().map(|n| Path::new(*n))) {
        if let Ok(file) = File::open(world.target().join(path)) {
            rustix::fs::ioctl_setflags(&file, rustix::fs::IFlags::empty()).ok();
        }
    }
    assert_eq!(all.len(), 3);
    assert_eq!(fs::metadata(world.target().join("first")).unwrap().nlink(), 2);
    if rustix::process::geteuid().is_root() && ear.problems().is_empty() {
        assert_eq!(set, [IMMUTABLE; 4]);
        assert_eq!(set_again, [IMMUTABLE; 4]);
        assert_eq!((outcome.problems, again.problems), (0, 0));
    } else {
        assert_eq!(outcome.problems, 4, "each path without its flag is counted");
    }
}

#[test]
fn what_the_snapshot_itself_lacks_is_told_and_not_invented() {
    let world = World::new();
    let contents = noise(1, 500);
    let mut changed = entry(Kind::File);
    changed.size_bytes = 500;
    changed.content = Content::Whole(world.blob_id(&world.reader(), &contents));
    changed.marks = Marks::CHANGED;
    let unreadable = Entry { marks: Marks::UNREADABLE, size_bytes: 7, ..entry(Kind::File) };
    let fault = Entry { target: b"permission denied"[..].into(), ..entry(Kind::Fault) };
    let entries = vec![
        root_key(),
        (at(&["d"]), entry(Kind::Directory)),
        (PathKey::child(b"/\0d\0", b""), fault),
        (at(&["d", "changed"]), changed),
        (at(&["d", "unreadable"]), unreadable),
    ];
    let snapshot = world.invent(entries, &[&contents]);
    fs::create_dir_all(world.target().join("d")).unwrap();
    fs::write(world.target().join("d/perhaps saved"), b"x").unwrap();
    let (outcome, ear) = world.restore(&snapshot, |r| (r.path, r.delete) = (Vec::new(), true));
    let outcome = outcome.unwrap();
    assert_eq!((outcome.files_restored, outcome.deleted, outcome.problems), (1, 0, 2));
    assert!(!world.target().join("d/unreadable").exists());
    assert!(world.target().join("d/perhaps saved").exists(), "an incomplete folder proves nothing");
    let mut told: Vec<String> = ear
        .notes
        .lock()
        .unwrap()
        .iter()
        .map(|note| {
            let path = String::from_utf8(note.item.clone()).unwrap();
            // What changed while it was saved is there; the other two are not.
            let wanted = if path == "/d/changed" { Severity::Info } else { Severity::Problem };
            assert_eq!(note.severity, wanted, "{path}");
            path
        })
        .collect();
    told.sort();
    assert_eq!(told, ["/d", "/d/changed", "/d/unreadable"]);
}

#[test]
fn a_stream_comes_back_as_a_file_of_its_name() {
    let world = World::new();
    let contents = noise(1, 500);
    let mut file = entry(Kind::File);
    file.size_bytes = 500;
    file.content = Content::Whole(world.blob_id(&world.reader(), &contents));
    let snapshot = world.invent(vec![(PathKey::of(&[b"stream:db.sql"]), file)], &[&contents]);
    for path in [Vec::new(), vec![b"stream:db.sql".to_vec()]] {
        world.restore_well(&snapshot, |r| r.path = path);
        assert_eq!(fs::read(world.target().join("db.sql")).unwrap(), contents);
        fs::remove_dir_all(world.target()).unwrap();
    }
}

#[test]
fn thousands_of_equal_pieces_are_written_from_one_blob() {
    let world = World::new();
    let chunk = noise(3, 64 << 10);
    let id = world.blob_id(&world.reader(), &chunk);
    let mut file = entry(Kind::File);
    let data = Extent::Data { id, len_bytes: 64 << 10, repeat: 300 };
    let hole = Extent::Hole { len_bytes: 5 << 20 };
    file.content = Content::Extents(vec![hole, data, hole]);
    file.size_bytes = (300 * (64 << 10)) + (10 << 20);
    let snapshot = world.invent(vec![root_key(), (at(&["image"]), file)], &[&chunk]);
    let (outcome, _) = world.restore_well(&snapshot, |r| (r.path, r.verify) = (Vec::new(), true));
    assert!(outcome.bytes_fetched < 100_000, "the block is fetched once");
    let bytes = fs::read(world.target().join("image")).unwrap();
    assert!(bytes[5 << 20..][..300 * (64 << 10)].chunks(64 << 10).all(|c| c == chunk));
    assert_eq!(bytes.len(), (300 * (64 << 10)) + (10 << 20));
    assert!(world.reader().locate(BlobKind::Data, &id).len() == 1);
}
