//! Restores over what stands there already, and of nothing.

use crate::support::Machine;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::time::SystemTime;

/// Three megabytes that do not compress: a file of several pieces.
fn noise() -> Vec<u8> {
    let mut bytes = vec![0; 3 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

/// A machine with a long and a short file in a snapshot, restored into `out`.
fn restored() -> (Machine, String) {
    let machine = Machine::with_repository();
    machine.write("src/long", &noise());
    machine.ok(&["backup", "-r", "repo", "src"]);
    let part = format!("latest:{}", machine.path("src").display());
    machine.ok(&["restore", "-r", "repo", &part, "--target", "out"]);
    (machine, part)
}

#[test]
fn what_is_rotten_under_its_old_time_is_put_right() {
    let (machine, part) = restored();
    for name in ["a", "long"] {
        let path = machine.path("out").join(name);
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes[2] ^= 1;
        fs::write(&path, bytes).unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    }
    // Trusting length and time is what the other rules are for.
    machine.ok(&["restore", "-r", "repo", &part, "--target", "out", "--overwrite", "if-changed"]);
    assert_ne!(fs::read(machine.path("out/long")).unwrap(), noise());
    machine.ok(&["restore", "-r", "repo", &part, "--target", "out"]);
    assert_eq!(fs::read(machine.path("out/long")).unwrap(), noise());
    assert_eq!(fs::read(machine.path("out/a")).unwrap(), b"hello\n");
}

#[test]
fn a_file_that_a_dead_restore_left_is_finished_whatever_the_rule() {
    for rule in ["if-newer", "never", "if-changed"] {
        let (machine, part) = restored();
        let long = machine.path("out/long");
        // As a restore leaves it that dies after the first piece: at full length, young, and marked.
        let mut bytes = noise();
        bytes[1 << 20..].fill(0);
        fs::write(&long, bytes).unwrap();
        fs::set_permissions(&long, fs::Permissions::from_mode(0o1600)).unwrap();
        File::options().write(true).open(&long).unwrap().set_modified(SystemTime::now()).unwrap();
        machine.ok(&["restore", "-r", "repo", &part, "--target", "out", "--overwrite", rule]);
        assert_eq!(fs::read(&long).unwrap(), noise(), "{rule}");
        assert_eq!(fs::metadata(&long).unwrap().permissions().mode() & 0o7000, 0, "{rule}");
    }
}

#[test]
fn a_killed_restore_leaves_the_mark_and_the_next_one_takes_it_away() {
    let (machine, part) = restored();
    let done = fs::metadata(machine.path("out/long")).unwrap().permissions().mode();
    assert_eq!(done & 0o7000, 0, "a finished file has no mark");
    fs::remove_dir_all(machine.path("out")).unwrap();
    // The limit on the length of files cuts the restore off in the middle of the long one.
    let restore = format!(
        "ulimit -f 2000; exec {} restore -r repo {part} --target out",
        env!("CARGO_BIN_EXE_lifeboat")
    );
    let killed = machine.command_of("/bin/sh").args(["-c", &restore]).output().unwrap();
    assert!(!killed.status.success());
    if machine.path("out/long").exists() {
        let left = fs::metadata(machine.path("out/long")).unwrap().permissions().mode();
        assert_ne!(left & 0o1000, 0, "what is not finished is marked");
    }
    machine.ok(&["restore", "-r", "repo", &part, "--target", "out", "--overwrite", "never"]);
    assert_eq!(fs::read(machine.path("out/long")).unwrap(), noise());
}

#[test]
fn rules_that_leave_nothing_are_an_error_and_leave_nothing() {
    let machine = Machine::with_snapshot();
    for words in [["--include", "nothing-such"], ["--exclude", "*"]] {
        let ran = machine.run(&["restore", "-r", "repo", "latest", "--target", "none", words[0], words[1]]);
        assert_eq!(ran.code, 1, "{}", ran.err);
        assert!(
            ran.err.contains("the rules leave out everything") && ran.err.contains("hint: "),
            "{}",
            ran.err
        );
        assert!(!machine.path("none").exists());
    }
}

#[test]
fn a_recovery_key_is_shown_however_the_first_run_ends() {
    let mut machine = Machine::new();
    machine.set("LIFEBOAT_PASSWORD", "correct horse");
    let ran = machine.run(&["backup", "--init", "-r", "repo", "--stdin-from-command", "--", "false"]);
    assert_ne!(ran.code, 0);
    assert!(ran.err.contains("created a repository") && ran.err.contains("recovery key"), "{}", ran.err);
}

#[test]
fn folders_of_the_system_on_the_way_are_no_problem_of_an_ordinary_user() {
    let mut machine = Machine::with_repository();
    machine.become_nobody();
    machine.ok(&["backup", "-r", "repo", "src"]);
    // Among what comes back are the folders above, which belong to root.
    let ran = machine.run(&["restore", "-r", "repo", "latest", "--target", "out"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let back = machine.path("out").join(machine.path("src").strip_prefix("/").unwrap());
    assert_eq!(fs::read(back.join("a")).unwrap(), b"hello\n");
}

/// What `restore --delete` removes is named in full, before and after; what the backup left out stays.
#[test]
fn deleting_names_all_that_goes_and_spares_what_the_backup_left_out() {
    let machine = Machine::with_repository();
    machine.write("src/gone", b"a file that becomes a folder\n");
    machine.write("src/film.iso", b"left out by its name");
    machine.write("src/cache/CACHEDIR.TAG", b"Signature: 8a477f597d28d172789f06886806bc55\n");
    machine.write("src/cache/page", b"left out as a cache");
    machine.write("src/ignoring/.lifeboatignore", b"local\n");
    machine.write("src/ignoring/local", b"left out by a file");
    machine.ok(&["backup", "-r", "repo", "--exclude", "*.iso", "--exclude-caches", "src"]);
    fs::remove_file(machine.path("src/gone")).unwrap();
    machine.write("src/gone/deep/work", b"made since");
    machine.write("src/new/sub/one", b"made since");
    machine.write("src/build/disk.iso", b"made since, and left out");
    let args = ["restore", "latest", "-r", "repo", "--in-place", "--delete"];
    let named = ["src/gone/deep\n", "src/gone/deep/work", "src/new\n", "src/new/sub\n", "src/new/sub/one"];
    let spared = ["src/film.iso", "src/cache/page", "src/ignoring/local", "src/build/disk.iso"];
    for dry in [&["-n"][..], &["-v", "-v"]] {
        let ran = machine.run(&[&args[..], dry].concat());
        assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
        let told = format!("{}{}", ran.out, ran.err);
        let deleted = |path: &&str| {
            told.lines().any(|line| line.starts_with("deleted") && format!("{line}\n").contains(*path))
        };
        assert!(named.iter().all(deleted), "{told}");
        assert!(!spared.iter().any(deleted), "{told}");
        assert!(told.contains("4 paths stay that the backup left out"), "{told}");
        assert!(spared.iter().all(|path| machine.path(path).exists()));
    }
    assert!(machine.path("src/gone").is_file() && !machine.path("src/new").exists());
    let ran = machine.run(&[&args[..], &["--delete-excluded"]].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(!spared.iter().any(|path| machine.path(path).exists()));
    // A rule that cannot be read any more may have left out anything.
    machine.write("src/x", b"x");
    machine.write("rules", b"*.x\n");
    let rules = machine.path("rules").display().to_string();
    machine.write("src/a.x", b"left out");
    machine.ok(&["backup", "-r", "repo", "--exclude-file", &rules, "src"]);
    fs::remove_file(machine.path("rules")).unwrap();
    let refused = machine.run(&args);
    assert_eq!(refused.code, 14, "{}", refused.err);
    assert!(refused.err.contains("--delete-excluded"), "{}", refused.err);
    assert!(machine.path("src/a.x").exists());
}

#[test]
fn a_tree_that_is_lost_is_damage_and_not_an_empty_selection() {
    let machine = Machine::with_snapshot();
    for pack in crate::support::walk(&machine.path("repo/trees")).iter().filter(|path| path.is_file()) {
        fs::remove_file(pack).unwrap();
    }
    let ran = machine.run(&["--no-cache", "restore", "-r", "repo", "latest", "--target", "out"]);
    assert_eq!(ran.code, 5, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("tree node"), "{}", ran.err);
}
