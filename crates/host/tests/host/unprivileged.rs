//! What an ordinary user meets. Threads of a root process play that user: Linux keeps credentials per thread.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use host::read::open_for_read;
use host::{Attributes, Existing, FaultKind, Kind, Part, Target, TargetOptions, Walk, WalkOptions};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::support::{is_root, scratch};

const SOMEBODY: u32 = 54_321;
const THEIR_OTHER_GROUP: u32 = 54_322;

/// Runs something as an ordinary user with one group beside the own one.
fn as_somebody<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let gid = rustix::fs::Gid::from_raw(SOMEBODY);
            let uid = rustix::fs::Uid::from_raw(SOMEBODY);
            set_thread_groups(&[rustix::fs::Gid::from_raw(THEIR_OTHER_GROUP)]).unwrap();
            set_thread_res_gid(gid, gid, gid).unwrap();
            set_thread_res_uid(uid, uid, uid).unwrap();
            work()
        });
        thread.join().unwrap()
    })
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_is_closed_is_a_fault_and_everything_else_is_saved() {
    if !is_root() {
        return;
    }
    let (_guard, top) = scratch();
    // The way to the source can be passed but not listed.
    mode(&top, 0o711);
    fs::create_dir_all(top.join("way/source/closed/inside")).unwrap();
    fs::create_dir_all(top.join("way/source/open")).unwrap();
    fs::create_dir_all(top.join("way/source/names-only")).unwrap();
    fs::write(top.join("way/source/names-only/file"), "x").unwrap();
    fs::write(top.join("way/source/open/file"), "x").unwrap();
    fs::write(top.join("way/source/open/secret"), "x").unwrap();
    mode(&top.join("way"), 0o711);
    mode(&top.join("way/source/closed"), 0o700);
    mode(&top.join("way/source/names-only"), 0o744);
    mode(&top.join("way/source/open/secret"), 0o600);
    let source = top.join("way/source");
    let (shown, opened) = as_somebody(|| {
        let options = WalkOptions { inline: true, ..WalkOptions::default() };
        let mut walk = Walk::start(std::slice::from_ref(&source), Arc::default(), options).unwrap();
        assert!(walk.missing().is_empty());
        let (mut shown, mut opened) = (Vec::new(), Vec::new());
        while let Some(listing) = walk.next() {
            if listing.dir.depth() < source.iter().count() - 1 {
                continue;
            }
            let faults: Vec<_> =
                listing.faults.iter().map(|fault| (fault.name.is_some(), fault.kind)).collect();
            let name = String::from_utf8(listing.dir.name().to_vec()).unwrap();
            for (name, stat) in listing.iter().filter(|(_, stat)| stat.kind == Kind::File) {
                opened.push((name.to_vec(), open_for_read(&listing.dir, name, stat).is_ok()));
            }
            shown.push((name, listing.entries.len(), faults));
        }
        (shown, opened)
    });
    assert_eq!(
        shown,
        [
            ("source".to_string(), 3, vec![]),
            ("closed".to_string(), 0, vec![(false, FaultKind::Unreadable)]),
            ("names-only".to_string(), 0, vec![(true, FaultKind::Unreadable)]),
            ("open".to_string(), 2, vec![]),
        ]
    );
    assert_eq!(opened, [(b"file".to_vec(), true), (b"secret".to_vec(), false)]);
}

fn theirs(top: &Path) -> PathBuf {
    let path = top.join("target");
    mode(top, 0o755);
    fs::create_dir(&path).unwrap();
    chown(&path, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    path
}

#[test]
fn owners_that_cannot_be_given_are_counted_and_never_make_a_program_privileged() {
    if !is_root() {
        return;
    }
    let (_guard, top) = scratch();
    let path = theirs(&top);
    as_somebody(|| {
        let target = Target::open(&path, false, TargetOptions::default()).unwrap();
        let make = |name: &[u8], attributes: &Attributes<'_>| {
            let mut file = target.create_file(target.top(), name, attributes).unwrap();
            file.file.write_all(b"x").unwrap();
            target.finish_file(&file, attributes).into_iter().map(|left| left.part).collect::<Vec<_>>()
        };
        let own = Attributes { mode: 0o4751, uid: SOMEBODY, gid: SOMEBODY, ..Attributes::default() };
        assert_eq!(make(b"own", &own), []);
        assert_eq!(make(b"own-group", &Attributes { gid: THEIR_OTHER_GROUP, ..own }), []);
        assert_eq!(target.owners_skipped(), 0);
        assert_eq!(make(b"foreign", &Attributes { uid: 0, mode: 0o644, ..own }), []);
        assert_eq!(make(b"privileged", &Attributes { uid: 0, ..own }), [Part::SetIdBits]);
        assert_eq!(make(b"group", &Attributes { gid: 0, mode: 0o2755, ..own }), [Part::SetIdBits]);
        let link = target.symlink(target.top(), b"link", b"x", &Attributes { uid: 0, ..own }).unwrap();
        assert_eq!(link, []);
        assert_eq!(target.owners_skipped(), 4);
    });
    let look = |name: &str| {
        let stat = fs::symlink_metadata(path.join(name)).unwrap();
        (stat.mode() & 0o7777, stat.uid(), stat.gid())
    };
    assert_eq!(look("own"), (0o4751, SOMEBODY, SOMEBODY));
    assert_eq!(look("own-group"), (0o4751, SOMEBODY, THEIR_OTHER_GROUP));
    assert_eq!(look("foreign"), (0o644, SOMEBODY, SOMEBODY));
    assert_eq!(look("privileged"), (0o751, SOMEBODY, SOMEBODY));
    assert_eq!(look("group"), (0o755, SOMEBODY, SOMEBODY));
}

#[test]
fn an_interrupted_restore_can_be_continued_through_closed_folders() {
    if !is_root() {
        return;
    }
    let (_guard, top) = scratch();
    let path = theirs(&top);
    as_somebody(|| {
        let options = TargetOptions { existing: Existing::ReplaceFiles, ..TargetOptions::default() };
        let closed = Attributes { mode: 0, uid: SOMEBODY, gid: SOMEBODY, ..Attributes::default() };
        for contents in ["first", "second"] {
            let target = Target::open(&path, false, options.clone()).unwrap();
            let folder = target.directory(target.top(), b"closed").unwrap();
            let mut file = target.create_file(&folder, b"file", &closed).unwrap();
            file.file.write_all(contents.as_bytes()).unwrap();
            assert_eq!(target.finish_file(&file, &closed), []);
            assert_eq!(target.finish_directory(&folder, &closed).unwrap(), []);
        }
        let target = Target::open(&path, false, options).unwrap();
        assert_eq!(fs::metadata(path.join("closed")).unwrap().mode() & 0o7777, 0);
        target.remove(target.top(), b"closed").unwrap();
        assert!(!path.join("closed").exists());
    });
}
