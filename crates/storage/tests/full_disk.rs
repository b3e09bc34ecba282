//! A local store on a disk that is really full, and on one that may not be written.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use storage::{ErrorKind, LocalOptions, LocalStore, ObjectName, PutMode, Store};

/// A small file system of its own, which only root may mount.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new(bytes: u64) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={bytes}");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(folder));
        }
        let missing = "mounting a small disk is not allowed here (run as root)";
        assert!(std::env::var_os("LIFEBOAT_TEST_REQUIRE").is_none_or(|value| value != "all"), "{missing}");
        let _ = writeln!(std::io::stderr(), "not run: {missing}");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).output();
    }
}

fn name(text: &str) -> ObjectName {
    ObjectName::new(text).expect("names in tests are well formed")
}

#[test]
fn a_full_disk_is_told_leaves_no_rubbish_and_space_can_be_freed() {
    let Some(disk) = Mounted::new(4 << 20) else { return };
    let store = LocalStore::open(disk.path(), &LocalOptions::default()).unwrap();
    store.put(&name("packs/4/4f"), &vec![7; 2 << 20], PutMode::CreateNew).unwrap();
    let full = store.put(&name("packs/5/5f"), &vec![7; 3 << 20], PutMode::CreateNew).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::NoSpace);
    assert_eq!(store.stat(&name("packs/5/5f")).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(std::fs::read_dir(disk.path().join("tmp")).unwrap().count(), 0);
    assert_eq!(store.get(&name("packs/4/4f"), 2 << 20).unwrap(), vec![7; 2 << 20]);

    // Not one byte left: deleting must still work, and what was freed can be used at once.
    let rest = std::fs::File::create(disk.path().join("rest")).unwrap();
    while (&rest).write_all(&[0; 4096]).is_ok() {}
    assert_eq!(store.put(&name("a"), b"x", PutMode::CreateNew).unwrap_err().kind(), ErrorKind::NoSpace);
    store.delete(&name("packs/4/4f")).unwrap();
    store.sync().unwrap();
    store.put(&name("a"), b"x", PutMode::CreateNew).unwrap();
}

#[test]
fn a_disk_mounted_read_only_is_read_and_refuses_writes() {
    let Some(disk) = Mounted::new(4 << 20) else { return };
    let store = LocalStore::open(disk.path(), &LocalOptions::default()).unwrap();
    store.put(&name("config"), b"x", PutMode::CreateNew).unwrap();
    drop(store);
    let remounted = Command::new("mount").args(["-o", "remount,ro"]).arg(disk.path()).status().unwrap();
    assert!(remounted.success());
    let store = LocalStore::open(disk.path(), &LocalOptions::default()).unwrap();
    assert_eq!(store.get(&name("config"), 1).unwrap(), b"x");
    assert_eq!(store.put(&name("a"), b"x", PutMode::CreateNew).unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(store.delete(&name("config")).unwrap_err().kind(), ErrorKind::Denied);
}
