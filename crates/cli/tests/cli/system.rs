//! A machine, described by itself, and built again by the script that comes with it.

use crate::support::Machine;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A machine whose system was backed up and restored; the folder with the script.
fn restored() -> (Machine, PathBuf) {
    let mut machine = Machine::new();
    let root = machine.root.display().to_string();
    let text = format!(
        "[machine]\nname = \"atlas\"\n[repositories.main]\nurl = \"{root}/main\"\n[sources.system]\ntype = \"system\"\n\
         [jobs.daily]\nsources = [\"system\"]\nto = [\"main\"]\nschedule = \"daily\"\nretry = {{ attempts = 1 }}\n"
    );
    fs::write(machine.root.join("lifeboat.toml"), text).unwrap();
    machine.set("LIFEBOAT_CONFIG", &format!("{root}/lifeboat.toml"));
    machine.ok(&["init", "-r", "main"]);
    let ran = machine.run(&["run", "daily"]);
    // Who is not root may not read all of /etc.
    let expected: &[i32] = if rustix::process::geteuid().is_root() { &[0] } else { &[0, 3] };
    assert!(expected.contains(&ran.code), "{}", ran.err);
    let ran = machine.run(&["restore", "latest", "--tag", "source:system", "--target", "kept"]);
    assert!(expected.contains(&ran.code), "{}", ran.err);
    let here = machine.root.join("kept/system");
    (machine, here)
}

fn script(here: &Path, arguments: &[&str]) -> Output {
    Command::new("sh").arg(here.join("rebuild.sh")).args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_script_says_and_does_what_was_kept() {
    let (machine, here) = restored();
    assert!(machine.root.join("kept/etc/passwd").exists());
    for file in ["users/passwd.txt", "boot/mounts.txt", "absent.txt", "about.json"] {
        assert!(here.join(file).exists(), "{file}");
    }
    let usage = script(&here, &[]);
    assert!(usage.status.code() == Some(2) && text(&usage).contains("Usage: rebuild.sh"), "{}", text(&usage));
    assert!(!script(&here, &["everything"]).status.success());
    let told = script(&here, &["-n", "all", "boot", "network", "partitions"]);
    assert!(told.status.success(), "{}", text(&told));
    for word in ["== users", "== packages", "== services", "== crontabs", "== boot", "== network", "== disks"]
    {
        assert!(text(&told).contains(word), "{word} in {}", text(&told));
    }
    if here.join("packages/dpkg.tsv").exists() {
        assert!(text(&told).contains("would run: apt-get install"), "{}", text(&told));
        assert!(text(&told).contains(" dpkg:"), "{}", text(&told));
    }

    // A new system, with some users of its own.
    let new = machine.root.join("new");
    fs::create_dir_all(new.join("etc")).unwrap();
    fs::write(new.join("etc/passwd"), "root:x:0:0::/root:/bin/new\n").unwrap();
    fs::write(new.join("etc/group"), "root:x:0:\n").unwrap();
    let root = new.to_str().unwrap();
    let told = script(&here, &["-n", "--root", root, "users"]);
    assert!(text(&told).contains("would add to") && text(&told).contains("daemon"), "{}", text(&told));
    assert_eq!(fs::read_to_string(new.join("etc/passwd")).unwrap().lines().count(), 1);
    for _ in 0..2 {
        let done = script(&here, &["--root", root, "users", "crontabs"]);
        assert!(done.status.success(), "{}", text(&done));
        let users = fs::read_to_string(new.join("etc/passwd")).unwrap();
        assert_eq!(users.matches("root:x:0:0").count(), 1);
        assert!(users.starts_with("root:x:0:0::/root:/bin/new\n"), "who is there stays");
        assert_eq!(users.matches("\ndaemon:x:").count(), 1, "also when it is done again");
    }

    // It is no database.
    let ran = machine.run(&["restore-db", "latest", "--tag", "source:system"]);
    assert!(ran.code == 2 && ran.err.contains("holds no database"), "{}", ran.err);
}

#[test]
fn a_partition_table_goes_onto_a_disk_that_is_named() {
    let (machine, here) = restored();
    let image = |name: &str| {
        let path = machine.root.join(name);
        fs::File::create(&path).unwrap().set_len(64 << 20).unwrap();
        path.to_str().unwrap().to_string()
    };
    let (old, new) = (image("old.img"), image("new.img"));
    let made = Command::new("sh")
        .args(["-c", &format!("printf 'label: gpt\n,10M\n;\n' | sfdisk --quiet {old}")])
        .status();
    if !made.is_ok_and(|status| status.success()) {
        return testkit::servers::missing("sfdisk (Debian: fdisk)");
    }
    let dump = |path: &str| Command::new("sfdisk").args(["--dump", path]).output().unwrap().stdout;
    fs::create_dir_all(here.join("partitions")).unwrap();
    fs::write(here.join("partitions/new.img.sfdisk"), dump(&old)).unwrap();
    let told = script(&here, &["-n", "--disk", &new, "partitions"]);
    assert!(text(&told).contains("would run: sfdisk"), "{}", text(&told));
    assert!(dump(&new).is_empty());
    let done = script(&here, &["--disk", &new, "partitions"]);
    assert!(done.status.success(), "{}", text(&done));
    let shown = String::from_utf8(dump(&new)).unwrap().replace("new.img", "old.img");
    assert_eq!(shown, String::from_utf8(dump(&old)).unwrap());
}
