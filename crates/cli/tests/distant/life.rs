//! The same life in places of every kind: begun, added to, checked, restored from, thinned out and checked again.

use crate::program::{self, Program};
use crate::sshd::{Sshd, user_name};
use crate::support::Machine;
use crate::{assert_equal, noise};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Nothing that a place does may show in what comes back, or end any of these with another code than 0.
fn live(machine: &Machine) {
    machine.write("src/big", &noise(3 << 20));
    machine.ok(&["backup", "--init", "--recovery-key-file", "recovery", "src"]);
    machine.write("src/a", b"hello again, and longer\n");
    machine.write("src/big", &noise(5 << 20)[1..]);
    machine.ok(&["backup", "src"]);
    machine.ok(&["check", "--read-data"]);
    machine.ok(&["restore", &format!("latest:{}", machine.path("src").display()), "--target", "out"]);
    assert_equal(&machine.path("src"), &machine.path("out"));
    machine.ok(&["forget", "--keep-last", "1"]);
    let freed = machine.ok(&["prune", "--undo-window", "0", "--grace", "0"]);
    assert!(!freed.contains("freed 0 B"), "{freed}");
    machine.ok(&["check", "--read-data", "--no-cache"]);
    assert_eq!(machine.ok(&["snapshots", "--json"]).matches("short_id").count(), 1);
    let tested = machine.ok(&["repo", "test"]);
    assert!(tested.contains("this place keeps what a repository relies on"), "{tested}");
}

#[test]
fn a_folder_behind_webdav_lives_a_whole_life() {
    let Some(rclone) = program::find("rclone", "Debian: apt install rclone") else { return };
    let folder = tempfile::tempdir().unwrap();
    let server = Program::start(|address| {
        let mut command = Command::new(rclone);
        command.args(["serve", "webdav", "--user", "me", "--pass", "not-a-secret", "--addr"]);
        command.arg(address.to_string()).arg(folder.path()).env("RCLONE_CONFIG", "/nonexistent/rclone.conf");
        command
    });
    let mut machine = Machine::new();
    machine.set("LIFEBOAT_PASSWORD", "correct horse");
    machine.set("LIFEBOAT_REPOSITORY", &format!("webdav://me@{}/some/boat", server.address));
    let refused = machine.run(&["backup", "--init", "src"]);
    assert_eq!(refused.code, 13, "{}", refused.err);
    machine.set("LIFEBOAT_WEBDAV_PASSWORD", "not-a-secret");
    live(&machine);
}

#[test]
fn a_folder_behind_openssh_lives_a_whole_life() {
    let Some(sshd) = Sshd::start() else { return };
    let mut machine = Machine::new();
    machine.set("LIFEBOAT_PASSWORD", "correct horse");
    machine.set("LIFEBOAT_SFTP_KEY_FILE", sshd.file("user").to_str().unwrap());
    let place =
        format!("sftp://{}@127.0.0.1:{}{}/boat", user_name(), sshd.port, sshd.file("store").display());
    machine.set("LIFEBOAT_REPOSITORY", &place);
    let unknown = machine.run(&["backup", "--init", "src"]);
    assert_ne!(unknown.code, 0, "a host that nobody vouched for is not spoken to: {}", unknown.err);
    assert!(unknown.err.contains("SHA256:"), "{}", unknown.err);
    let key = fs::read_to_string(sshd.file("host_ed25519.pub")).unwrap();
    machine.write("home/.ssh/known_hosts", format!("[127.0.0.1]:{} {key}", sshd.port).as_bytes());
    live(&machine);
}

/// A disk in a file with a file system that has neither hard links nor owners, by a program in user space.
struct Stick(PathBuf);

impl Stick {
    /// None where it cannot be made here.
    fn new(machine: &Machine) -> Option<Stick> {
        let (image, point) = (machine.root.join("stick.img"), machine.root.join("stick"));
        fs::create_dir(&point).unwrap();
        fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        let (image, point_name) = (image.to_str().unwrap(), point.to_str().unwrap());
        let made = tool(&["mkfs.exfat", image])?;
        let device = tool(&["losetup", "--find", "--show", image])?;
        let mounted = tool(&["mount.exfat-fuse", device.trim(), point_name]);
        if made.is_empty() || mounted.is_none() {
            let _ = tool(&["losetup", "--detach", device.trim()]);
            return None;
        }
        // The loop device goes with the file system.
        let _ = tool(&["losetup", "--detach", device.trim()]);
        Some(Stick(point))
    }
}

impl Drop for Stick {
    fn drop(&mut self) {
        let _ = tool(&["umount", self.0.to_str().unwrap()]);
    }
}

/// What a program of the system says, or nothing where it is missing or fails.
fn tool(words: &[&str]) -> Option<String> {
    let path = "/usr/sbin:/usr/bin:/sbin:/bin";
    let output = Command::new(words[0]).args(&words[1..]).env("PATH", path).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_stick_with_exfat_lives_a_whole_life() {
    let mut machine = Machine::new();
    let Some(stick) = Stick::new(&machine) else {
        return program::say(
            "not run: exFAT (Debian: apt install exfatprogs exfat-fuse; and the right to mount)",
        );
    };
    machine.set("LIFEBOAT_PASSWORD", "correct horse");
    machine.set("LIFEBOAT_REPOSITORY", stick.0.join("boat").to_str().unwrap());
    live(&machine);
    // Full: the run says so, and what was there is as good as before.
    machine.write("src/huge", &noise(80 << 20));
    let full = machine.run(&["backup", "src"]);
    assert_eq!(full.code, 15, "{}", full.err);
    fs::remove_file(machine.path("src/huge")).unwrap();
    machine.ok(&["check", "--read-data"]);
    machine.ok(&["prune", "--undo-window", "0", "--grace", "0"]);
    machine.ok(&["backup", "src"]);
}
