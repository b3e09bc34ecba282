//! What the walk promises: its order, its completeness, and that the number of threads does not matter.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use host::{FaultKind, Kind, Listing, NotEntered, Rules, Walk, WalkOptions};
use proptest::prelude::*;

use crate::support::{Mounted, is_root, scratch};

fn inline() -> WalkOptions {
    WalkOptions { inline: true, ..WalkOptions::default() }
}

fn walk(sources: &[PathBuf], options: WalkOptions) -> Vec<Listing> {
    let mut walk = Walk::start(sources, Arc::new(Rules::default()), options).unwrap();
    std::iter::from_fn(|| walk.next()).collect()
}

/// The key under which a repository sorts entries: folders each followed by a NUL, a NUL, the name.
fn key(folders: &[&[u8]], name: &[u8]) -> Vec<u8> {
    let mut key = Vec::new();
    for folder in folders {
        key.extend_from_slice(folder);
        key.push(0);
    }
    key.push(0);
    key.extend_from_slice(name);
    key
}

fn keys(listings: &[Listing]) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    for listing in listings {
        let folders = listing.dir.components();
        keys.extend(listing.iter().map(|(name, _)| key(&folders, name)));
    }
    keys
}

/// Lists a tree with the standard library, sorted by key. `top` comes with its ancestors.
fn keys_expected(top: &Path) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut folders: Vec<&[u8]> = Vec::new();
    for component in top.iter().skip(1) {
        found.push(key(&folders, component.as_bytes()));
        folders.push(component.as_bytes());
    }
    let mut todo = vec![top.to_path_buf()];
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let folders: Vec<_> = folder.iter().skip(1).map(OsStr::as_bytes).collect();
            found.push(key(&folders, entry.file_name().as_bytes()));
            if entry.file_type().unwrap().is_dir() {
                todo.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// Names that sort badly when separators are forgotten: bytes around '/' and NUL, prefixes of one another.
fn odd_name() -> impl Strategy<Value = Vec<u8>> {
    let byte =
        prop_oneof![Just(1u8), Just(b'.'), Just(b'0'), Just(b'a'), Just(b'-'), Just(b'\n'), Just(0xff)];
    proptest::collection::vec(byte, 1..4).prop_filter("reserved", |name| name != b"." && name != b"..")
}

/// A tree as a list of paths; a path that is a prefix of others is a folder.
fn odd_tree() -> impl Strategy<Value = Vec<Vec<Vec<u8>>>> {
    proptest::collection::vec(proptest::collection::vec(odd_name(), 1..5), 0..40)
}

fn plant(top: &Path, tree: &[Vec<Vec<u8>>]) {
    for path in tree {
        let full = path.iter().fold(top.to_path_buf(), |at, name| at.join(OsStr::from_bytes(name)));
        // An earlier path may have made a file where this one wants a folder; the tree is random anyway.
        if fs::create_dir_all(full.parent().unwrap()).is_ok() && !full.exists() {
            fs::write(&full, b"x").unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn order_is_that_of_the_keys_and_threads_do_not_matter(tree in odd_tree(), open_max in 1usize..4) {
        let (_guard, top) = scratch();
        plant(&top, &tree);
        let expected = keys_expected(&top);
        let alone = walk(std::slice::from_ref(&top), WalkOptions { open_directories_max: open_max, ..inline() });
        prop_assert_eq!(keys(&alone), expected.clone());
        let narrow = WalkOptions {
            threads: 3, buffered_entries_max: 2, open_directories_max: open_max, ..WalkOptions::default()
        };
        for options in [WalkOptions::default(), narrow] {
            let together = walk(std::slice::from_ref(&top), options);
            prop_assert_eq!(keys(&together), expected.clone());
            prop_assert_eq!(together.len(), alone.len());
            for (a, b) in together.iter().zip(&alone) {
                prop_assert_eq!(a.dir.path(), b.dir.path());
                // What is above the tree belongs to everybody and changes meanwhile.
                prop_assert!(a.filtered || a.entries == b.entries);
                prop_assert_eq!((a.last, a.filtered, a.faults.len()), (b.last, b.filtered, b.faults.len()));
            }
        }
    }
}

#[test]
fn metadata_is_what_the_standard_library_reads() {
    let (_guard, top) = scratch();
    fs::write(top.join("file"), b"contents").unwrap();
    fs::hard_link(top.join("file"), top.join("second name")).unwrap();
    symlink("nowhere", top.join("link")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, top.join("pipe"), 0o640.into()).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(top.join("socket")).unwrap();
    let listings = walk(std::slice::from_ref(&top), inline());
    let listing = listings.last().unwrap();
    assert_eq!(listing.entries.len(), 5);
    for (name, stat) in listing.iter() {
        let real = fs::symlink_metadata(top.join(OsStr::from_bytes(name))).unwrap();
        let kind = match real.file_type() {
            t if t.is_file() => Kind::File,
            t if t.is_symlink() => Kind::Symlink,
            t if t.is_fifo() => Kind::Fifo,
            t if t.is_socket() => Kind::Socket,
            t => panic!("{t:?}"),
        };
        assert_eq!(stat.kind, kind);
        assert_eq!(u32::from(stat.mode), real.mode() & 0o7777);
        assert_eq!((stat.uid, stat.gid, u64::from(stat.nlink)), (real.uid(), real.gid(), real.nlink()));
        assert_eq!((stat.size_bytes, stat.blocks), (real.size(), real.blocks()));
        assert_eq!((stat.inode, stat.device, stat.rdev), (real.ino(), real.dev(), real.rdev()));
        assert_eq!((stat.mtime.secs, i64::from(stat.mtime.nanos)), (real.mtime(), real.mtime_nsec()));
        assert_eq!((stat.ctime.secs, i64::from(stat.ctime.nanos)), (real.ctime(), real.ctime_nsec()));
    }
}

#[test]
fn a_huge_directory_comes_in_sorted_runs_before_its_subdirectories() {
    let (_guard, top) = scratch();
    let count = 70_000;
    let folder = fs::File::open(&top).unwrap();
    for i in 0..count {
        // Scrambled, so that creation order is not name order.
        let name = format!("{:05}", (i * 7919) % count);
        rustix::fs::mknodat(&folder, name, rustix::fs::FileType::RegularFile, 0o600.into(), 0).unwrap();
    }
    fs::create_dir(top.join("00000-folder")).unwrap();
    fs::write(top.join("00000-folder/inside"), b"").unwrap();
    for options in [inline(), WalkOptions { buffered_entries_max: 100, ..WalkOptions::default() }] {
        let listings = walk(std::slice::from_ref(&top), options);
        let own: Vec<_> = listings.iter().filter(|l| l.dir.path() == top.as_os_str().as_bytes()).collect();
        assert_eq!(
            own.iter().map(|l| (l.entries.len(), l.last)).collect::<Vec<_>>(),
            [(65_536, false), (count + 1 - 65_536, true)]
        );
        let keys = keys(&listings);
        assert!(keys.is_sorted());
        assert!(keys.last().unwrap().ends_with(b"00000-folder\0\0inside"));
        assert_eq!(keys.len(), top.iter().count() - 1 + count + 2);
    }
}

#[test]
fn a_tree_deeper_than_the_longest_path_is_walked_to_its_end() {
    let (_guard, top) = scratch();
    let name = "d".repeat(200);
    let levels = 300;
    let mut at = fs::File::open(&top).unwrap();
    for _ in 0..levels {
        rustix::fs::mkdirat(&at, &name, 0o700.into()).unwrap();
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
        at = rustix::fs::openat(&at, &name, flags, rustix::fs::Mode::empty()).unwrap().into();
    }
    for options in [inline(), WalkOptions { open_directories_max: 3, ..WalkOptions::default() }] {
        let listings = walk(std::slice::from_ref(&top), options);
        let deepest = listings.last().unwrap();
        assert_eq!(deepest.dir.depth(), top.iter().count() - 1 + levels);
        assert!(deepest.dir.path().len() > 60_000);
        assert!(listings.iter().all(|l| l.faults.is_empty()));
        deepest.dir.open().unwrap();
    }
    // The guard's own removal is given the path as a whole; start below what the kernel takes.
    remove_deep(&top, &name, levels);
}

/// Removes a chain of directories by pulling the lower half out first, as a long path cannot be named.
fn remove_deep(top: &Path, name: &str, levels: usize) {
    for _ in 0..levels {
        let below = top.join(name).join(name);
        if !below.exists() {
            break;
        }
        fs::rename(&below, top.join("next")).unwrap();
        fs::remove_dir(top.join(name)).unwrap();
        fs::rename(top.join("next"), top.join(name)).unwrap();
    }
}

#[test]
fn only_what_leads_to_a_source_is_listed_above_it() {
    let (_guard, top) = scratch();
    for folder in ["a/x", "a/y", "b", "c"] {
        fs::create_dir_all(top.join(folder)).unwrap();
        fs::write(top.join(folder).join("file"), b"").unwrap();
    }
    symlink("c", top.join("link")).unwrap();
    let sources = ["link", "b/file", "a/x", "a"].map(|name| top.join(name));
    let listings = walk(&sources, inline());
    let below = top.iter().count() - 1;
    let shown: Vec<String> = listings
        .iter()
        .filter(|l| l.dir.depth() >= below)
        .map(|l| {
            let names: Vec<_> = l.iter().map(|(name, _)| String::from_utf8_lossy(name)).collect();
            let folder = l.dir.components()[below..].join(&b'/');
            format!(
                "{}[{}]{}",
                String::from_utf8_lossy(&folder),
                names.join(" "),
                if l.filtered { "?" } else { "" }
            )
        })
        .collect();
    assert_eq!(shown, ["[a b link]?", "a[x y]", "a/x[file]", "a/y[file]", "b[file]?"]);
    let mut with_gone = Walk::start(&[top.join("gone")], Arc::default(), inline()).unwrap();
    assert_eq!(with_gone.missing().len(), 1);
    let root = with_gone.next().unwrap();
    assert!(root.entries.is_empty() && root.filtered && root.last);
    assert!(with_gone.next().is_none());
}

#[test]
fn what_vanishes_or_is_replaced_during_the_walk_is_a_fault_of_its_directory() {
    let (_guard, top) = scratch();
    for folder in ["a", "b", "c", "d"] {
        fs::create_dir(top.join(folder)).unwrap();
        fs::write(top.join(folder).join("file"), b"").unwrap();
    }
    let mut walk = Walk::start(std::slice::from_ref(&top), Arc::default(), inline()).unwrap();
    let mut faults = BTreeMap::new();
    while let Some(listing) = walk.next() {
        if listing.dir.path() == top.as_os_str().as_bytes() {
            fs::remove_dir_all(top.join("a")).unwrap();
            fs::remove_dir_all(top.join("b")).unwrap();
            symlink("/etc", top.join("b")).unwrap();
            fs::rename(top.join("c"), top.join("old")).unwrap();
            fs::create_dir(top.join("c")).unwrap();
            fs::write(top.join("c/other"), b"").unwrap();
        }
        for fault in &listing.faults {
            assert!(fault.name.is_none());
            let name = String::from_utf8_lossy(listing.dir.name()).into_owned();
            faults.insert(name, (fault.kind, listing.entries.len()));
        }
    }
    let expected = [
        ("a".to_string(), (FaultKind::Vanished, 0)),
        ("b".to_string(), (FaultKind::Replaced, 0)),
        ("c".to_string(), (FaultKind::Replaced, 1)),
    ];
    assert_eq!(faults, BTreeMap::from(expected));
}

#[test]
fn other_file_systems_are_entries_but_not_entered_unless_they_are_sources() {
    if !is_root() {
        return;
    }
    let (_guard, top) = scratch();
    fs::create_dir_all(top.join("here")).unwrap();
    fs::write(top.join("here/file"), b"").unwrap();
    let mount = top.join("here/mount");
    let Some(_mounted) = Mounted::fresh("tmpfs", &mount) else { return };
    fs::create_dir_all(mount.join("inside/wanted")).unwrap();
    fs::write(mount.join("inside/file"), b"").unwrap();
    let one = WalkOptions { one_file_system: true, ..inline() };
    let shown = |sources: &[PathBuf], options: &WalkOptions| -> Vec<String> {
        let below = top.iter().count();
        let listings = walk(sources, options.clone());
        let deep = listings.iter().filter(|l| l.dir.depth() >= below);
        deep.map(|l| format!("{}={}{}", l.dir.name().escape_ascii(), l.entries.len(), not_entered(l)))
            .collect()
    };
    let here = top.join("here");
    assert_eq!(shown(std::slice::from_ref(&here), &inline()), ["here=2", "mount=1", "inside=2", "wanted=0"]);
    assert_eq!(shown(std::slice::from_ref(&here), &one), ["here=2", "mount=0 not entered"]);
    let with_mount = [here.clone(), mount.clone()];
    assert_eq!(shown(&with_mount, &one), ["here=2", "mount=1", "inside=2", "wanted=0"]);
    let with_inner = [here, mount.join("inside/wanted")];
    assert_eq!(shown(&with_inner, &one), ["here=2", "mount=1", "inside=1", "wanted=0"]);
}

fn not_entered(listing: &Listing) -> &'static str {
    match listing.not_entered {
        Some(NotEntered::OtherFileSystem) => " not entered",
        Some(NotEntered::Virtual(name)) => name,
        None => "",
    }
}

#[test]
fn virtual_file_systems_are_entered_only_if_they_are_a_source() {
    let listings = walk(&[PathBuf::from("/proc/sys/kernel/random")], inline());
    let last = listings.last().unwrap();
    assert!(last.iter().any(|(name, _)| name == b"boot_id"), "a source is always entered");
    assert_eq!(last.not_entered, None);
    let mut walk = Walk::start(&[PathBuf::from("/")], Arc::default(), inline()).unwrap();
    let mut seen = false;
    // `/` and what comes before "proc" may be large; look only as far as needed, at depth one.
    while let Some(listing) = walk.next() {
        if listing.dir.depth() == 0 {
            assert!(listing.iter().any(|(name, _)| name == b"proc"), "the mount point is an entry");
        }
        if listing.dir.path() == b"/proc" {
            assert_eq!(listing.not_entered, Some(NotEntered::Virtual("proc")));
            assert!(listing.entries.is_empty());
            seen = true;
            break;
        }
    }
    assert!(seen);
}

#[test]
fn dropping_a_walk_stops_its_threads() {
    let (_guard, top) = scratch();
    for i in 0..200 {
        fs::create_dir(top.join(format!("{i}"))).unwrap();
    }
    let narrow = WalkOptions { buffered_entries_max: 1, ..WalkOptions::default() };
    let mut walk = Walk::start(&[top], Arc::default(), narrow).unwrap();
    walk.next().unwrap();
    drop(walk);
}
