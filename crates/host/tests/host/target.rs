//! Nothing outside the target is touched, whatever the snapshot names and whatever waits in the target.

use std::ffi::OsStr;
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use host::{Attributes, Existing, InPlace, Kind, Part, Target, TargetOptions, Timestamp, Xattr};

use crate::support::{Mounted, has_program, is_root, names, present, python, scratch};

const COMPARE: &str = include_str!("compare.py");

fn options(existing: Existing) -> TargetOptions {
    TargetOptions { existing, ..TargetOptions::default() }
}

fn file_attributes() -> Attributes<'static> {
    let mtime = Timestamp { secs: 1_000_000_000, nanos: 123_456_789 };
    Attributes {
        mode: 0o644,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        mtime,
        ..Attributes::default()
    }
}

fn write_file(
    target: &Target,
    parent: &host::TargetDir,
    name: &[u8],
    contents: &[u8],
) -> std::io::Result<()> {
    let mut file = target.create_file(parent, name, &file_attributes())?;
    file.file.write_all(contents)?;
    assert_eq!(target.finish_file(&file, &file_attributes()), []);
    Ok(())
}

/// A folder that must never change, and the means to see that it did not.
struct Victim {
    path: PathBuf,
    before: String,
}

impl Victim {
    fn new(top: &Path) -> Victim {
        let path = top.join("victim");
        fs::create_dir_all(path.join("folder")).unwrap();
        fs::write(path.join("file"), b"precious").unwrap();
        fs::write(path.join("folder/inner"), b"precious").unwrap();
        let before = python(COMPARE, &[&path]);
        Victim { path, before }
    }

    fn assert_unharmed(&self) {
        assert_eq!(python(COMPARE, &[&self.path]), self.before);
    }
}

#[test]
fn names_that_are_no_file_names_are_refused() {
    let (_guard, top) = scratch();
    let target = Target::open(&top.join("t"), true, options(Existing::ReplaceAll)).unwrap();
    let attributes = file_attributes();
    let hostile: [&[u8]; 9] = [b"", b".", b"..", b"/", b"/etc", b"a/b", b"../x", b"a\0b", b"x/"];
    let (parent, refused) = (target.top(), ErrorKind::InvalidInput);
    for name in hostile {
        assert_eq!(target.directory(parent, name).unwrap_err().kind(), refused);
        assert_eq!(target.create_file(parent, name, &attributes).unwrap_err().kind(), refused);
        assert_eq!(target.open_in_place(parent, name, &attributes).unwrap_err().kind(), refused);
        assert_eq!(target.symlink(parent, name, b"x", &attributes).unwrap_err().kind(), refused);
        assert_eq!(target.node(parent, name, Kind::Fifo, (0, 0), &attributes).unwrap_err().kind(), refused);
        assert_eq!(target.remove(parent, name).unwrap_err().kind(), refused);
        assert_eq!(target.stat(parent, name).unwrap_err().kind(), refused);
        write_file(&target, parent, b"good", b"").unwrap();
        let made = target.stat(parent, b"good").unwrap().unwrap();
        for (from, to) in [(&b"good"[..], name), (name, &b"good"[..])] {
            assert_eq!(target.hard_link(parent, from, &made, parent, to).unwrap_err().kind(), refused);
        }
        target.remove(parent, b"good").unwrap();
    }
    assert!(names(&top.join("t")).is_empty());
    assert_eq!(names(&top), [b"t"]);
}

#[test]
fn planted_links_are_never_followed_and_never_written_through() {
    if !has_program("python3") {
        return;
    }
    for existing in [Existing::Keep, Existing::ReplaceFiles, Existing::ReplaceAll] {
        let (_guard, top) = scratch();
        let victim = Victim::new(&top);
        let inside = top.join("t");
        fs::create_dir(&inside).unwrap();
        for name in ["as-directory", "as-link", "as-pipe", "to-remove"] {
            symlink(victim.path.join("folder"), inside.join(name)).unwrap();
        }
        for name in ["as-file", "in-place"] {
            symlink(victim.path.join("file"), inside.join(name)).unwrap();
        }
        symlink(victim.path.join("new"), inside.join("dangling")).unwrap();
        fs::hard_link(victim.path.join("file"), inside.join("hard")).unwrap();
        let victim = Victim { before: python(COMPARE, &[&victim.path]), ..victim };

        let target = Target::open(&inside, false, options(existing)).unwrap();
        let (parent, attributes) = (target.top(), file_attributes());
        let replaced = existing != Existing::Keep;
        let directory = target.directory(parent, b"as-directory");
        assert_eq!(directory.is_ok(), replaced);
        if let Ok(directory) = directory {
            write_file(&target, &directory, b"inner", b"evil").unwrap();
        }
        for name in ["as-file", "dangling", "hard"] {
            assert_eq!(write_file(&target, parent, name.as_bytes(), b"evil").is_ok(), replaced, "{name}");
        }
        for name in ["in-place", "dangling-too"] {
            let opened = target.open_in_place(parent, name.as_bytes(), &attributes).unwrap();
            assert!(matches!(opened, InPlace::CreateAnew));
        }
        assert_eq!(target.symlink(parent, b"as-link", b"elsewhere", &attributes).is_ok(), replaced);
        assert_eq!(target.node(parent, b"as-pipe", Kind::Fifo, (0, 0), &attributes).is_ok(), replaced);
        target.remove(parent, b"to-remove").unwrap();
        if !replaced {
            victim.assert_unharmed();
            continue;
        }
        assert_eq!(fs::read(inside.join("as-file")).unwrap(), b"evil");
        assert_eq!(fs::read(inside.join("as-directory/inner")).unwrap(), b"evil");
        assert_eq!(fs::read_link(inside.join("as-link")).unwrap(), Path::new("elsewhere"));
        // Its link count went down by the one that was replaced; nothing else may have changed.
        fs::hard_link(victim.path.join("file"), top.join("again")).unwrap();
        victim.assert_unharmed();
    }
}

#[test]
fn a_file_with_a_second_name_outside_is_not_written_in_place() {
    let (_guard, top) = scratch();
    fs::create_dir(top.join("t")).unwrap();
    fs::write(top.join("outside"), b"precious").unwrap();
    fs::hard_link(top.join("outside"), top.join("t/name")).unwrap();
    fs::write(top.join("t/alone"), b"old").unwrap();
    let target = Target::open(&top.join("t"), false, options(Existing::ReplaceFiles)).unwrap();
    let attributes = file_attributes();
    assert!(matches!(target.open_in_place(target.top(), b"name", &attributes).unwrap(), InPlace::CreateAnew));
    assert!(matches!(target.open_in_place(target.top(), b"gone", &attributes).unwrap(), InPlace::CreateAnew));
    let InPlace::Open(mut file, stat) = target.open_in_place(target.top(), b"alone", &attributes).unwrap()
    else {
        panic!("a plain file is opened")
    };
    assert_eq!(stat.size_bytes, 3);
    file.file.write_all(b"new!").unwrap();
    assert_eq!(target.finish_file(&file, &attributes), []);
    let now = fs::metadata(top.join("t/alone")).unwrap();
    assert_eq!((now.size(), now.mtime(), now.mtime_nsec()), (4, 1_000_000_000, 123_456_789));
    write_file(&target, target.top(), b"name", b"evil").unwrap();
    assert_eq!(fs::read(top.join("outside")).unwrap(), b"precious");
}

#[test]
fn a_directory_swapped_for_a_link_during_the_restore_is_not_entered() {
    let (_guard, top) = scratch();
    fs::create_dir(top.join("victim")).unwrap();
    let narrow = TargetOptions { open_directories_max: 1, ..options(Existing::ReplaceAll) };
    let target = Target::open(&top.join("t"), true, narrow).unwrap();
    let swapped = target.directory(target.top(), b"swapped").unwrap();
    let inner = target.directory(&swapped, b"inner").unwrap();
    // Opening others closes these two, so that they have to be found again.
    target.directory(target.top(), b"other").unwrap();
    fs::create_dir(top.join("victim/inner")).unwrap();
    fs::rename(top.join("t/swapped"), top.join("away")).unwrap();
    symlink(top.join("victim"), top.join("t/swapped")).unwrap();
    assert!(write_file(&target, &inner, b"file", b"evil").is_err());
    assert!(target.finish_directory(&inner, &file_attributes()).is_err());
    assert!(names(&top.join("victim/inner")).is_empty());
}

#[test]
fn a_hard_link_to_something_planted_is_taken_back() {
    let (_guard, top) = scratch();
    fs::write(top.join("outside"), b"precious").unwrap();
    let target = Target::open(&top.join("t"), true, options(Existing::Keep)).unwrap();
    write_file(&target, target.top(), b"first", b"").unwrap();
    let made = target.stat(target.top(), b"first").unwrap().unwrap();
    target.hard_link(target.top(), b"first", &made, target.top(), b"second").unwrap();
    assert_eq!(fs::metadata(top.join("t/second")).unwrap().nlink(), 2);
    fs::remove_file(top.join("t/first")).unwrap();
    fs::hard_link(top.join("outside"), top.join("t/first")).unwrap();
    assert!(target.hard_link(target.top(), b"first", &made, target.top(), b"third").is_err());
    assert_eq!(names(&top.join("t")), [&b"first"[..], b"second"]);
    assert_eq!(fs::metadata(top.join("outside")).unwrap().nlink(), 2);
}

#[test]
fn directories_are_replaced_only_when_empty_or_by_explicit_wish() {
    let (_guard, top) = scratch();
    for folder in ["t/empty", "t/full/inside"] {
        fs::create_dir_all(top.join(folder)).unwrap();
    }
    let careful = Target::open(&top.join("t"), false, options(Existing::ReplaceFiles)).unwrap();
    write_file(&careful, careful.top(), b"empty", b"").unwrap();
    assert!(write_file(&careful, careful.top(), b"full", b"").is_err());
    assert!(top.join("t/full/inside").is_dir());
    let thorough = Target::open(&top.join("t"), false, options(Existing::ReplaceAll)).unwrap();
    write_file(&thorough, thorough.top(), b"full", b"").unwrap();
    assert!(top.join("t/full").is_file());
}

#[test]
fn removal_reaches_the_bottom_of_any_tree_and_follows_no_link() {
    let (_guard, top) = scratch();
    fs::create_dir_all(top.join("victim/folder")).unwrap();
    let target = Target::open(&top.join("t"), true, options(Existing::Keep)).unwrap();
    let mut at = target.directory(target.top(), b"deep").unwrap();
    let name = [b'd'; 250];
    for _ in 0..200 {
        symlink(top.join("victim"), top.join("link")).unwrap();
        target.symlink(&at, b"out", top.join("victim").as_os_str().as_bytes(), &file_attributes()).unwrap();
        fs::remove_file(top.join("link")).unwrap();
        write_file(&target, &at, b"file", b"x").unwrap();
        at = target.directory(&at, &name).unwrap();
    }
    assert!(at.path().len() > 50_000);
    target.remove(target.top(), b"deep").unwrap();
    target.remove(target.top(), b"deep").unwrap();
    assert!(names(&top.join("t")).is_empty());
    assert!(top.join("victim/folder").is_dir());
}

#[test]
fn removal_stops_at_a_mounted_file_system() {
    let (_guard, top) = scratch();
    fs::create_dir_all(top.join("t/folder")).unwrap();
    if !is_root() {
        return;
    }
    let Some(_mounted) = Mounted::fresh("tmpfs", &top.join("t/folder/mount")) else { return };
    fs::write(top.join("t/folder/mount/precious"), b"").unwrap();
    let target = Target::open(&top.join("t"), false, options(Existing::ReplaceAll)).unwrap();
    let refused = target.remove(target.top(), b"folder").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::CrossesDevices);
    assert!(top.join("t/folder/mount/precious").exists());
}

#[test]
fn immutable_and_unreadable_leftovers_are_removed() {
    if !is_root() || !has_program("chattr") {
        return;
    }
    let (_guard, top) = scratch();
    fs::create_dir_all(top.join("t/old/locked")).unwrap();
    fs::write(top.join("t/old/locked/file"), b"").unwrap();
    let locked = ["t/old/locked/file", "t/old/locked"].map(|path| top.join(path));
    let flagged = std::process::Command::new("chattr").arg("+i").args(&locked).status().unwrap();
    if !present("a file system with inode flags", flagged.success()) {
        return;
    }
    let target = Target::open(&top.join("t"), false, options(Existing::ReplaceAll)).unwrap();
    write_file(&target, target.top(), b"old", b"").unwrap();
    assert!(top.join("t/old").is_file());
}

#[test]
fn what_the_folder_hands_on_is_not_kept() {
    if !is_root() || !has_program("python3") {
        return;
    }
    let (_guard, top) = scratch();
    let made = python(
        "import os, struct, sys\n\
         top = sys.argv[1]; os.mkdir(top); os.chown(top, 0, 55); os.chmod(top, 0o2755)\n\
         acl = struct.pack('<I', 2) + b''.join(struct.pack('<HHI', *e) for e in \
         ((1, 7, 2**32-1), (2, 7, 1234), (4, 7, 2**32-1), (16, 7, 2**32-1), (32, 7, 2**32-1)))\n\
         try: os.setxattr(top, 'system.posix_acl_default', acl); print('ok')\n\
         except OSError: print('no')",
        &[&top.join("t")],
    );
    if !present("a file system with ACLs", made == "ok\n") {
        return;
    }
    let target = Target::open(&top.join("t"), false, options(Existing::Keep)).unwrap();
    write_file(&target, target.top(), b"file", b"").unwrap();
    target.node(target.top(), b"pipe", Kind::Fifo, (0, 0), &file_attributes()).unwrap();
    let folder = target.directory(target.top(), b"folder").unwrap();
    write_file(&target, &folder, b"inner", b"").unwrap();
    target.finish_directory(&folder, &Attributes { mode: 0o755, ..file_attributes() }).unwrap();
    let shown = python(COMPARE, &[&top.join("t")]);
    let brief: Vec<_> =
        shown.lines().map(|line| line.split(' ').take(4).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        brief,
        [
            "b'file' 0o100644 0 0",
            "b'folder' 0o40755 0 0",
            "b'folder/inner' 0o100644 0 0",
            "b'pipe' 0o10644 0 0"
        ]
    );
    assert!(!shown.contains("posix_acl"), "{shown}");
}

#[test]
fn what_existed_loses_the_attributes_it_should_not_have() {
    if !has_program("python3") {
        return;
    }
    let (_guard, top) = scratch();
    let made = python(
        "import os, sys\n\
         os.makedirs(sys.argv[1] + '/folder')\n\
         open(sys.argv[1] + '/file', 'w').write('x')\n\
         try: [os.setxattr(sys.argv[1] + n, 'user.old', b'1') for n in ('/folder', '/file')]; print('ok')\n\
         except OSError: print('no')",
        &[&top.join("t")],
    );
    if !present("a file system with extended attributes", made == "ok\n") {
        return;
    }
    fs::set_permissions(top.join("t/file"), fs::Permissions::from_mode(0o600)).unwrap();
    let target = Target::open(&top.join("t"), false, options(Existing::ReplaceFiles)).unwrap();
    let xattrs = [Xattr { name: b"user.new"[..].into(), value: b"2"[..].into() }];
    let wanted = Attributes { xattrs: &xattrs, ..file_attributes() };
    let InPlace::Open(file, _) = target.open_in_place(target.top(), b"file", &wanted).unwrap() else {
        panic!()
    };
    assert_eq!(target.finish_file(&file, &wanted), []);
    let folder = target.directory(target.top(), b"folder").unwrap();
    assert!(!folder.is_fresh());
    assert_eq!(target.finish_directory(&folder, &Attributes { mode: 0o755, ..wanted }).unwrap(), []);
    let shown = python(COMPARE, &[&top.join("t")]);
    assert_eq!(shown.matches("user.new=32").count(), 2, "{shown}");
    assert!(!shown.contains("user.old"), "{shown}");
    assert!(shown.contains("b'file' 0o100644"), "{shown}");
}

#[test]
fn what_cannot_be_applied_is_named() {
    let (_guard, top) = scratch();
    let target = Target::open(&top.join("t"), true, options(Existing::Keep)).unwrap();
    let xattrs = [Xattr { name: b"nonsense.name"[..].into(), value: b""[..].into() }];
    let late = Timestamp { secs: i64::MAX, nanos: 0 };
    let wanted = Attributes { xattrs: &xattrs, mtime: late, flags: 0x80_0000 | 0x40, ..file_attributes() };
    let file = target.create_file(target.top(), b"file", &wanted).unwrap();
    let left = target.finish_file(&file, &wanted);
    let parts: Vec<_> = left.iter().map(|left| left.part.clone()).collect();
    assert!(parts.contains(&Part::Xattr(b"nonsense.name"[..].into())), "{left:?}");
    assert!(parts.contains(&Part::Times), "{left:?}");
    let strange = Attributes { mtime: Timestamp { secs: 0, nanos: 0x3fff_ffff }, ..file_attributes() };
    let left = target.symlink(target.top(), b"link", b"x", &strange).unwrap();
    assert_eq!(left.iter().map(|left| &left.part).collect::<Vec<_>>(), [&Part::Times]);
    let nobody = Attributes { uid: u32::MAX, mode: 0o4755, ..file_attributes() };
    let file = target.create_file(target.top(), b"nobody", &nobody).unwrap();
    let left = target.finish_file(&file, &nobody);
    assert_eq!(left.iter().map(|left| &left.part).collect::<Vec<_>>(), [&Part::Owner, &Part::SetIdBits]);
    assert_eq!(fs::metadata(top.join("t/nobody")).unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn a_name_as_long_as_allowed_works_and_a_longer_one_is_an_error() {
    let (_guard, top) = scratch();
    let target = Target::open(&top, false, options(Existing::Keep)).unwrap();
    write_file(&target, target.top(), &[b'n'; 255], b"").unwrap();
    assert!(write_file(&target, target.top(), &[b'n'; 256], b"").is_err());
    assert!(top.join(OsStr::from_bytes(&[b'n'; 255])).exists());
}
