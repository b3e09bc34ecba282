//! A drive that comes and goes, played by a loop device; needs root, and says so otherwise.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;
use storage::conformance::{self, Scope};
use storage::removable::{MediaOptions, Medium, look};
use storage::{ErrorKind, Location, ObjectName, OpenOptions, PutMode, Store, open};

const UUID: &str = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";

/// An image of a drive and, while it is plugged in, its device.
struct Drive {
    folder: tempfile::TempDir,
    device: Option<PathBuf>,
    mounted: Vec<PathBuf>,
}

fn ran(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

impl Drive {
    /// A drive with a file system, not plugged in; `None` where this machine lets us make none.
    fn new(mib: u64) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        std::fs::File::create(&image).unwrap().set_len(mib << 20).unwrap();
        std::fs::create_dir(folder.path().join("by-uuid")).unwrap();
        let mut drive = Self { folder, device: None, mounted: Vec::new() };
        let made = ran("mkfs.ext4", &["-q", "-U", UUID, text(&image)]).and_then(|_| drive.plug_in());
        if made.is_none() {
            let required = std::env::var_os("LIFEBOAT_TEST_REQUIRE").is_some_and(|value| value == "all");
            assert!(!required, "no loop device: run as root, with e2fsprogs and util-linux");
            let _ = writeln!(std::io::stderr(), "not run: loop devices need root, mkfs.ext4 and losetup");
            return None;
        }
        drive.unplug();
        Some(drive)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn plug_in(&mut self) -> Option<()> {
        let device = ran("losetup", &["--find", "--show", text(&self.at("image"))])?;
        // What udev does elsewhere, in capital letters as for exFAT.
        let link = self.at("by-uuid").join(UUID.to_ascii_uppercase());
        std::os::unix::fs::symlink(&device, link).unwrap();
        self.device = Some(device.into());
        Some(())
    }

    fn mount(&mut self, name: &str) -> PathBuf {
        let path = self.at(name);
        std::fs::create_dir_all(&path).unwrap();
        ran("mount", &[text(self.device.as_ref().unwrap()), text(&path)]).unwrap();
        self.mounted.push(path.clone());
        path
    }

    fn unmount(&mut self) {
        for path in self.mounted.drain(..) {
            ran("umount", &[text(&path)]).unwrap();
        }
    }

    fn unplug(&mut self) {
        self.unmount();
        if let Some(device) = self.device.take() {
            ran("losetup", &["-d", text(&device)]).unwrap();
            std::fs::remove_file(self.at("by-uuid").join(UUID.to_ascii_uppercase())).unwrap();
        }
    }

    fn media(&self) -> MediaOptions {
        MediaOptions { by_uuid: self.at("by-uuid"), mount_below: self.at("media"), ..MediaOptions::default() }
    }

    fn look(&self) -> Medium {
        look(UUID, &self.media()).unwrap()
    }

    fn open(&self, place: &str, creates: bool) -> Result<std::sync::Arc<dyn Store>, ErrorKind> {
        let options = OpenOptions { media: self.media(), ..OpenOptions::default() };
        let options = if creates { options.creating_folder() } else { options };
        open(&Location::parse(place).unwrap(), &options).map_err(|error| error.kind())
    }
}

impl Drop for Drive {
    fn drop(&mut self) {
        for path in self.mounted.drain(..) {
            let _ = ran("umount", &["-l", text(&path)]);
        }
        if let Some(device) = self.device.take() {
            let _ = ran("losetup", &["-d", text(&device)]);
        }
    }
}

fn name(text: &str) -> ObjectName {
    ObjectName::new(text).unwrap()
}

#[test]
fn a_drive_is_found_wherever_it_is_mounted_today() {
    let Some(mut drive) = Drive::new(64) else { return };
    let place = format!("removable:{UUID}/back%20up");
    assert_eq!(drive.look(), Medium::Away);
    assert_eq!(drive.open(&place, true).err(), Some(ErrorKind::Away));
    drive.plug_in().unwrap();
    assert_eq!(drive.look(), Medium::PluggedIn(drive.device.clone().unwrap()));
    assert_eq!(drive.open(&place, true).err(), Some(ErrorKind::Away), "nobody asked to mount it");
    let top = drive.mount("a mount");
    assert_eq!(drive.look(), Medium::Mounted(top.clone()));
    assert_eq!(drive.open(&place, false).err(), Some(ErrorKind::NoSuchPlace));
    let store = drive.open(&place, true).unwrap();
    assert_eq!(store.location(), place);
    store.put(&name("a"), b"x", PutMode::CreateNew).unwrap();
    assert_eq!(std::fs::read(top.join("back up/a")).unwrap(), b"x");
    drop(store);
    drive.unplug();
    assert_eq!(drive.open(&place, true).err(), Some(ErrorKind::Away));
    assert_eq!(std::fs::read_dir(&top).unwrap().count(), 0, "nothing is written to the empty mount folder");
    drive.plug_in().unwrap();
    drive.mount("elsewhere");
    assert_eq!(drive.open(&place, false).unwrap().get(&name("a"), 1).unwrap(), b"x");
    drive.unplug();
}

#[test]
fn a_drive_is_mounted_on_demand_and_unmounted_afterwards() {
    let Some(mut drive) = Drive::new(96) else { return };
    drive.plug_in().unwrap();
    let place = format!("removable:{}/b?mount=yes", UUID.to_ascii_uppercase());
    let store = drive.open(&place, true).unwrap();
    let Medium::Mounted(top) = drive.look() else { panic!("it is mounted") };
    assert_eq!(top, drive.at("media").join(UUID));
    let report = conformance::run(&*store, "maint/test-1", Scope::Quick);
    assert!(report.is_good(), "{report:#?}");
    store.put(&name("a"), b"x", PutMode::CreateNew).unwrap();
    // A second run uses the same mount and does not end it.
    let second = drive.open(&place, false).unwrap();
    assert_eq!(second.get(&name("a"), 1).unwrap(), b"x");
    drop(second);
    assert!(matches!(drive.look(), Medium::Mounted(_)));
    drop(store);
    assert_eq!(drive.look(), Medium::PluggedIn(drive.device.clone().unwrap()));
    assert!(!top.exists());
    drive.unplug();
}

#[test]
fn a_second_run_outlives_the_one_that_mounted() {
    let Some(mut drive) = Drive::new(64) else { return };
    drive.plug_in().unwrap();
    let place = format!("removable:{UUID}/b?mount=yes");
    let first = drive.open(&place, true).unwrap();
    first.put(&name("a"), b"x", PutMode::CreateNew).unwrap();
    let second = drive.open(&place, false).unwrap();
    drop(first);
    assert_eq!(second.get(&name("a"), 1).unwrap(), b"x");
    second.put(&name("b"), b"y", PutMode::CreateNew).unwrap();
    second.sync().unwrap();
    drop(second);
    let third = drive.open(&place, false).unwrap();
    assert_eq!(third.get(&name("b"), 1).unwrap(), b"y");
    drop(third);
    drive.unplug();
}

#[test]
fn a_full_drive_says_so_and_keeps_what_it_has() {
    let Some(mut drive) = Drive::new(16) else { return };
    drive.plug_in().unwrap();
    let store = drive.open(&format!("removable:{UUID}/b?mount=yes"), true).unwrap();
    let mut stored = 0;
    let full = loop {
        match store.put(&name(&format!("{stored:03}")), &[7; 1 << 20], PutMode::CreateNew) {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), ErrorKind::NoSpace, "{full:?}");
    assert!(stored > 4);
    let mut listed = 0;
    store
        .list("", &mut |info| {
            assert_eq!(info.len_bytes, 1 << 20);
            listed += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(listed, stored);
    drop(store);
    drive.unplug();
}
