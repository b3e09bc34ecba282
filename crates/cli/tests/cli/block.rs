//! Disks as a whole: images with the file systems that are on them.

use crate::support::{Machine, mounted, tool};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;

fn machine(more: &str) -> Machine {
    let mut machine = Machine::new();
    let root = machine.root.display().to_string();
    let text = format!(
        "[machine]\nname = \"atlas\"\n[repositories.main]\nurl = \"{root}/main\"\n\
         [sources.disk]\ntype = \"block\"\ndevice = \"{root}/disk.img\"\n{more}\n\
         [jobs.daily]\nsources = [\"disk\"]\nto = [\"main\"]\nschedule = \"daily\"\nretry = {{ attempts = 1 }}\n"
    );
    fs::write(machine.root.join("lifeboat.toml"), text).unwrap();
    machine.set("LIFEBOAT_CONFIG", &format!("{root}/lifeboat.toml"));
    machine.ok(&["init", "-r", "main"]);
    machine
}

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

fn summary(machine: &Machine) -> serde_json::Value {
    let ran = machine.run(&["backup", "-s", "disk", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let last = ran.raw_out.trim_ascii().rsplit(|b| *b == b'\n').next().unwrap();
    serde_json::from_slice(last).unwrap()
}

/// A file system with a file that is kept and a long one that was removed: only the first is stored, and what
/// comes back is in order.
fn free_space_is_left_out(make: &[&str], size: u64, check: &[&str]) {
    let machine = machine("");
    let (image, point) = (machine.root.join("disk.img"), machine.root.join("mnt"));
    File::create(&image).unwrap().set_len(size).unwrap();
    let made = tool(&[make, &[image.to_str().unwrap()]].concat());
    let kept = noise(3 << 20, 7);
    let filled = made
        && mounted(&image, &point, |at| {
            fs::write(at.join("kept"), &kept).unwrap();
            fs::write(at.join("gone"), noise(40 << 20, 9)).unwrap();
            File::open(at.join("gone")).unwrap().sync_all().unwrap();
            fs::remove_file(at.join("gone")).unwrap();
        });
    if !filled {
        return testkit::servers::missing(&format!("{}, and the right to mount", make[0]));
    }
    assert!(
        fs::metadata(&image).unwrap().blocks() * 512 > 40 << 20,
        "what was removed is still in the image"
    );
    let first = summary(&machine);
    let stored = first["data_added"].as_u64().unwrap();
    // btrfs gives its free space back a gigabyte at a time: what was written there once stays.
    let most = if make[0] == "mkfs.btrfs" { 60 << 20 } else { 20 << 20 };
    assert!(stored > 3 << 20 && stored < most, "{first}");
    machine.ok(&["restore", "latest", "--tag", "source:disk", "--target", "back"]);
    let back = machine.root.join("back/disk/disk.img");
    assert_eq!(fs::metadata(&back).unwrap().len(), size);
    assert!(tool(&[check, &[back.to_str().unwrap()]].concat()), "{check:?} is not content");
    assert!(mounted(&back, &point, |at| {
        assert!(fs::read(at.join("kept")).unwrap() == kept);
        assert!(!at.join("gone").exists());
    }));

    // What changes little adds little.
    mounted(&image, &point, |at| fs::write(at.join("small"), "x").unwrap());
    let second = summary(&machine);
    assert!(second["data_added"].as_u64().unwrap() < 3 << 20, "{second}");
    assert_eq!(second["mode"], "incremental");

    // While it is mounted, what is free cannot be believed: everything is kept, and the run says why.
    assert!(tool(&["mount", "-o", "loop,ro", image.to_str().unwrap(), point.to_str().unwrap()]));
    let ran = machine.run(&["backup", "-s", "disk", "--json"]);
    assert!(tool(&["umount", point.to_str().unwrap()]));
    assert!(ran.code == 0 && ran.err.contains("free space is kept, too: it is mounted"), "{}", ran.err);
}

#[test]
fn what_ext4_does_not_use_is_left_out() {
    free_space_is_left_out(&["mkfs.ext4", "-q", "-F"], 96 << 20, &["e2fsck", "-fn"]);
}

#[test]
fn what_xfs_does_not_use_is_left_out() {
    free_space_is_left_out(&["mkfs.xfs", "-q", "-f"], 320 << 20, &["xfs_repair", "-n"]);
}

#[test]
fn what_btrfs_does_not_use_is_left_out() {
    free_space_is_left_out(&["mkfs.btrfs", "-q", "-f"], 256 << 20, &["btrfs", "check", "--readonly"]);
}

#[test]
fn an_image_of_anything_comes_back_with_its_holes_and_as_a_stream() {
    let machine = machine("");
    let image = machine.root.join("disk.img");
    let file = File::create(&image).unwrap();
    file.set_len(50 << 20).unwrap();
    let (a, b) = (noise(100_000, 1), noise(200_000, 2));
    std::os::unix::fs::FileExt::write_all_at(&file, &a, 1 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &b, 30 << 20).unwrap();
    drop(file);
    let ran = machine.run(&["backup", "-s", "disk"]);
    assert!(ran.code == 0 && ran.err.contains(" restore ") && !ran.err.contains("restore-db"), "{}", ran.err);
    machine.ok(&["restore", "latest", "--tag", "source:disk", "--target", "back"]);
    let back = machine.root.join("back/disk/disk.img");
    assert!(fs::read(&back).unwrap() == fs::read(&image).unwrap());
    assert!(fs::metadata(&back).unwrap().blocks() * 512 < 1 << 20, "its holes are holes");
    // docs/guide/disks.md: onto a device.
    let dumped = machine.run(&["dump", "latest:disk/disk.img", "--tag", "source:disk"]);
    assert!(dumped.raw_out == fs::read(&image).unwrap(), "{}", dumped.err);
}

#[test]
fn what_is_no_disk_or_cannot_be_frozen_is_refused() {
    let absent = machine("");
    let ran = absent.run(&["run", "daily"]);
    assert!(ran.code == 1 && ran.err.contains("disk.img"), "{}", ran.err);
    let frozen = machine("snapshot = \"lvm\"");
    fs::write(frozen.root.join("disk.img"), "x").unwrap();
    let ran = frozen.run(&["run", "daily"]);
    assert!(ran.code == 1 && ran.err.contains("cannot take a snapshot of the device"), "{}", ran.err);
    let empty = machine("");
    fs::write(empty.root.join("disk.img"), "").unwrap();
    let ran = empty.run(&["run", "daily"]);
    assert!(ran.code == 1 && ran.err.contains("it holds nothing"), "{}", ran.err);
}
