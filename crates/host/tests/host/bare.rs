//! A system onto an image: partitions, file systems, tables and names, and what a BIOS and UEFI start.

use host::bare::{self, Disk, Firmware, Kept, Layout, Renaming};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

const UUID: &str = "0b5f4a3e-1c2d-4e5f-8a9b-0c1d2e3f4a5b";

fn missing(part: &str) {
    assert!(std::env::var("LIFEBOAT_TEST_REQUIRE").as_deref() != Ok("all"), "this test needs {part}");
    writeln!(std::io::stderr(), "passed over: this test needs {part}").ok();
}

/// Whether everything is here; says what is not.
fn is_possible() -> bool {
    if !rustix::process::geteuid().is_root() {
        missing("root, to make file systems on loop devices");
        return false;
    }
    let there = |path: &str| Path::new(path).exists();
    let needed = [
        ("/usr/bin/grub-mkimage", "grub-common"),
        ("/usr/lib/grub/i386-pc/boot.img", "grub-pc-bin"),
        ("/usr/lib/grub/x86_64-efi/moddep.lst", "grub-efi-amd64-bin"),
        ("/usr/bin/mcopy", "mtools"),
        ("/dev/loop-control", "loop devices"),
    ];
    for (path, package) in needed {
        if !there(path) {
            missing(package);
            return false;
        }
    }
    for (program, package) in [("sfdisk", "fdisk"), ("mkfs.vfat", "dosfstools"), ("mkfs.ext4", "e2fsprogs")] {
        if !["/sbin", "/usr/sbin"].iter().any(|folder| there(&format!("{folder}/{program}"))) {
            missing(package);
            return false;
        }
    }
    true
}

/// A file system with an id that another device has gets a new one: two of these worlds at once would meet.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

struct World {
    folder: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl World {
    fn new() -> World {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let world = World { folder: tempfile::tempdir().unwrap(), _turn: turn };
        File::create(world.image()).unwrap().set_len(256 << 20).unwrap();
        world
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("disk.img")
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    fn layout(&self) -> Layout {
        let fstab = format!("UUID={UUID} / ext4 errors=remount-ro 0 1\nUUID=77 /data ext4 nofail 0 2\n");
        let disk = Disk::open(&self.image()).unwrap();
        bare::plan(&Kept { fstab, ..Kept::default() }, disk.bytes(), Firmware::Both).unwrap()
    }
}

fn put(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn sh(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).env("LC_ALL", "C").output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_system_is_put_onto_an_image_that_a_bios_and_uefi_can_start() {
    if !is_possible() {
        return;
    }
    let world = World::new();
    let disk = Disk::open(&world.image()).unwrap();
    assert!(disk.is_empty().unwrap() && disk.is_image());
    let layout = world.layout();
    let prepared = disk.prepare(&layout, &world.root()).unwrap();
    let root = prepared.root().to_path_buf();
    put(&root.join("boot/vmlinuz-6.1.0"), "kernel");
    put(&root.join("etc/network/interfaces"), "auto eth0\niface eth0 inet dhcp\n");
    let outside = world.folder.path().join("outside");
    put(&outside, "eth0");
    std::os::unix::fs::symlink(&outside, root.join("etc/dhcpcd.conf")).unwrap();
    put(
        &root.join("etc/fstab"),
        &format!("UUID={UUID} / ext4 errors=remount-ro 0 1\nUUID=77 /data ext4 nofail 0 2\n"),
    );
    let renaming = Renaming::from([("eth0".to_string(), "ens3".to_string())]);
    let finished = prepared.finish(&renaming).unwrap();
    assert!(finished.warnings.is_empty(), "{finished:?}");
    assert!(!sh("cat /proc/mounts").contains(root.to_str().unwrap()), "everything is unmounted");
    assert!(!sh("losetup -a").contains(world.image().to_str().unwrap()), "no loop device is left");
    assert_eq!(fs::read_to_string(&outside).unwrap(), "eth0", "links out of the system are not followed");

    // What is on the disk, as other programs see it.
    let image = world.image().display().to_string();
    sh(&format!(
        "sfdisk --verify {image} && sfdisk --json {image} | grep -q 21686148-6449-6E6F-744E-656564454649"
    ));
    let start = |number: usize| -> u64 {
        let table: serde_json::Value = serde_json::from_str(&sh(&format!("sfdisk --json {image}"))).unwrap();
        table["partitiontable"]["partitions"][number]["start"].as_u64().unwrap()
    };
    let mut file = File::open(world.image()).unwrap();
    let mut sector = [0; 512];
    file.read_exact(&mut sector).unwrap();
    assert_eq!(sector[0x5c..0x64], start(0).to_le_bytes(), "the first sector loads the core");
    assert_eq!(sector[510..], [0x55, 0xaa]);
    file.seek(SeekFrom::Start(start(0) * 512)).unwrap();
    file.read_exact(&mut sector).unwrap();
    assert_eq!(sector[500..508], (start(0) + 1).to_le_bytes(), "and the core the rest of itself");
    let efi = format!("-i {image}@@{}", start(1) * 512);
    let program = world.folder.path().join("BOOTX64.EFI");
    sh(&format!("mcopy {efi} ::/EFI/BOOT/BOOTX64.EFI {}", program.display()));
    assert!(fs::read(program).unwrap().starts_with(b"MZ"));
    let point = world.folder.path().join("look");
    fs::create_dir(&point).unwrap();
    sh(&format!("mount -o ro,loop,offset={} {image} {}", start(2) * 512, point.display()));
    let read = |name: &str| fs::read_to_string(point.join(name)).unwrap();
    let (table, menu, networks) =
        (read("etc/fstab"), read("boot/grub/grub.cfg"), read("etc/network/interfaces"));
    let has_modules = point.join("boot/grub/i386-pc/normal.mod").is_file();
    let left: Vec<_> = fs::read_dir(point.join("boot/efi")).unwrap().collect();
    sh(&format!("umount {}", point.display()));
    assert!(
        table.contains(&format!("UUID={UUID} / ext4")) && table.contains("# not on this machine: UUID=77"),
        "{table}"
    );
    assert!(table.contains(" /boot/efi vfat umask=0077,nofail 0 2"), "{table}");
    assert!(menu.contains(&format!("linux /boot/vmlinuz-6.1.0 root=UUID={UUID} ro")), "{menu}");
    assert_eq!(networks, "auto ens3\niface ens3 inet dhcp\n");
    assert!(has_modules && left.is_empty());
}

#[test]
fn nothing_stays_mounted_when_it_ends_early_and_no_disk_in_use_is_touched() {
    if !is_possible() {
        return;
    }
    let world = World::new();
    let layout = world.layout();
    let prepared = Disk::open(&world.image()).unwrap().prepare(&layout, &world.root()).unwrap();
    let root = prepared.root().display().to_string();
    assert!(sh("cat /proc/mounts").contains(&root));
    drop(prepared);
    assert!(!sh("cat /proc/mounts").contains(&root) && !sh("losetup -a").contains("lifeboat-no-such"));
    // Without a kernel nothing could start; it is said, and everything is unmounted all the same.
    let again = Disk::open(&world.image()).unwrap();
    assert!(!again.is_empty().unwrap());
    let failed = again.prepare(&layout, &world.root()).unwrap().finish(&Renaming::new()).unwrap_err();
    assert!(failed.to_string().contains("no kernel"), "{failed}");
    assert!(!sh("cat /proc/mounts").contains(&root));
    // A folder with something in it is no place to mount a system at.
    put(&world.root().join("mine"), "");
    let refused = Disk::open(&world.image()).unwrap().prepare(&layout, &world.root()).unwrap_err();
    assert!(refused.to_string().contains("is not empty"), "{refused}");
    assert!(Disk::open(world.folder.path()).is_err(), "a folder is no disk");
    let device = sh("awk '$2 == \"/\" && $1 ~ \"^/dev/\" { print $1 }' /proc/mounts");
    if let Some(device) = device.lines().next().filter(|d| Path::new(d).exists()) {
        assert!(Disk::open(Path::new(device)).unwrap_err().to_string().contains("in use"));
    }
}
