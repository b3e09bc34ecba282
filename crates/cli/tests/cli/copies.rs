//! Several places for the same snapshots: made, filled, and filled again.

use crate::support::Machine;
use std::fs;
use std::path::{Path, PathBuf};

fn walk(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let entries = entries.map(|e| e.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

fn names(machine: &Machine, folder: &str) -> Vec<PathBuf> {
    let root = machine.path(folder);
    let mut names: Vec<_> =
        walk(&root).into_iter().map(|p| p.strip_prefix(&root).unwrap().to_path_buf()).collect();
    names.sort();
    names
}

#[test]
fn a_copy_has_keys_in_common_and_a_password_of_its_own() {
    let mut machine = Machine::with_snapshot();
    machine.write("password", b"another secret\n");
    let made = machine.run(&[
        "init",
        "-r",
        "usb",
        "--copy-of",
        "repo",
        "--password-file",
        "password",
        "--from-key-file",
        &key_of(&machine),
    ]);
    assert_eq!(made.code, 0, "{}", made.err);
    assert!(
        made.err.contains("bring over what is there with: lifeboat sync --from repo --to"),
        "{}",
        made.err
    );
    machine.set("LIFEBOAT_PASSWORD_FILE", "password");
    let key = key_of(&machine);
    let dry = machine.ok(&["sync", "--from", "repo", "--from-key-file", &key, "--to", "usb", "--dry-run"]);
    assert!(dry.contains("would be brought") && dry.contains("requests to the source"), "{dry}");
    assert!(names(&machine, "usb/snapshots").is_empty());
    let out = machine.ok(&["sync", "--from", "repo", "--from-key-file", &key, "--to", "usb", "--read-back"]);
    assert!(out.contains("1 snapshot brought"), "{out}");
    for folder in ["snapshots", "packs", "trees"] {
        assert_eq!(names(&machine, &format!("usb/{folder}")), names(&machine, &format!("repo/{folder}")));
    }
    let again = machine.ok(&["sync", "--from", "repo", "--from-key-file", &key, "-r", "usb"]);
    assert!(again.contains("has everything already"), "{again}");
    fs::remove_dir_all(machine.path("repo")).unwrap();
    machine.ok(&["restore", "latest", "-r", "usb", "--target", "back"]);
    let back = machine.path("back").join(machine.path("src/a").strip_prefix("/").unwrap());
    assert_eq!(fs::read(back).unwrap(), b"hello\n");
    assert_eq!(machine.run(&["check", "--read-data", "-r", "usb"]).code, 0);
}

fn key_of(machine: &Machine) -> String {
    let keys = walk(&machine.path("home/.config/lifeboat/keys"));
    let key = keys.iter().find(|p| p.extension().is_some_and(|e| e == "key")).expect("the machine has a key");
    key.to_str().unwrap().to_string()
}

#[test]
fn what_is_missing_or_of_another_family_is_said_with_what_helps() {
    let machine = Machine::with_snapshot();
    let ran = machine.run(&["sync", "--from", "repo", "--to", "nowhere"]);
    assert_eq!(ran.code, 10);
    assert!(ran.err.contains("hint: lifeboat init -r nowhere --copy-of"), "{}", ran.err);
    machine.ok(&["init", "-r", "stranger"]);
    let ran = machine.run(&["sync", "--from", "repo", "--to", "stranger"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("is of another family"), "{}", ran.err);
    assert_eq!(machine.run(&["sync", "--from", "repo"]).code, 2);
    // One target that fails keeps nothing from the other.
    machine.ok(&["init", "-r", "usb", "--copy-of", "repo"]);
    let ran = machine.run(&["sync", "--from", "repo", "--to", "nowhere", "--to", "usb"]);
    assert_eq!(ran.code, 10, "{}", ran.err);
    assert_eq!(names(&machine, "usb/snapshots").len(), 1);
    let json = machine.ok(&["sync", "--from", "repo", "--to", "usb", "--json"]);
    assert!(json.contains("\"snapshots_present\":1") && json.contains("\"bytes_stored\":0"), "{json}");
}

#[test]
fn one_run_makes_three_copies_and_one_that_was_away_catches_up() {
    let machine = Machine::new();
    let three = ["-r", "disk", "-r", "nas", "-r", "usb"];
    let backup = |extra: &[&str]| {
        let args: Vec<&str> = ["backup"].iter().chain(&three).chain(extra).chain(&["src"]).copied().collect();
        machine.run(&args)
    };
    let first = backup(&["--init"]);
    assert_eq!(first.code, 0, "{}", first.err);
    assert_eq!(first.out.matches(": saved").count(), 3, "{}", first.out);
    assert_eq!(names(&machine, "nas/packs"), names(&machine, "disk/packs"));
    // The second is away, the third full of rights that are not ours.
    fs::rename(machine.path("nas"), machine.path("away")).unwrap();
    machine.write("src/new", b"new\n");
    let second = backup(&[]);
    assert_eq!(second.code, 10, "{}", second.err);
    assert!(
        second.out.contains("disk: saved") && second.err.contains("nas was left out"),
        "{}{}",
        second.out,
        second.err
    );
    fs::rename(machine.path("away"), machine.path("nas")).unwrap();
    machine.write("src/newer", b"newer\n");
    let third = backup(&["--json"]);
    assert_eq!(third.code, 0, "{}", third.err);
    assert!(third.out.contains("\"snapshots_brought\":"), "{}", third.out);
    for place in ["disk", "nas", "usb"] {
        assert_eq!(names(&machine, &format!("{place}/snapshots")).len(), 3, "{place}");
        assert_eq!(machine.run(&["check", "--read-data", "-r", place]).code, 0, "{place}");
    }
    assert_eq!(names(&machine, "nas/snapshots"), names(&machine, "usb/snapshots"));
    machine.ok(&["init", "-r", "stranger"]);
    let refused = machine.run(&["backup", "-r", "disk", "-r", "stranger", "src"]);
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("are not copies of one another"), "{}", refused.err);
}

#[test]
fn a_configuration_that_is_lost_altogether_is_made_anew_and_never_taken_for_an_empty_place() {
    let machine = Machine::new();
    machine.ok(&["backup", "--init", "-r", "disk", "-r", "nas", "src"]);
    let lose = || ["disk/config", "disk/mirror/config"].map(|n| fs::remove_file(machine.path(n)).unwrap());
    lose();
    let packs = names(&machine, "disk/packs");
    let fresh = machine.run(&["init", "-r", "disk"]);
    assert_eq!(fresh.code, 5, "{}", fresh.err);
    assert!(fresh.err.contains("configuration is lost"), "{}", fresh.err);
    machine.write("src/more", b"more\n");
    let backup = machine.run(&["backup", "--init", "-r", "disk", "-r", "nas", "src"]);
    assert_eq!(backup.code, 5, "{}", backup.err);
    assert!(backup.out.contains("nas: saved"), "{}", backup.out);
    assert!(backup.err.contains("lifeboat repair -r disk --from"), "{}", backup.err);
    assert!(names(&machine, "disk").iter().all(|n| !n.ends_with("config")), "nothing is made on top of it");

    let dry = machine.ok(&["repair", "-r", "disk", "--from", "nas", "--dry-run"]);
    assert!(dry.contains("config: would be made anew"), "{dry}");
    assert!(!machine.path("disk/config").exists());
    let mended = machine.run(&["repair", "-r", "disk", "--from", "nas"]);
    assert_eq!(mended.code, 0, "{}{}", mended.out, mended.err);
    assert!(mended.out.contains("mirror/config: made anew"), "{}", mended.out);
    assert_eq!(
        packs.len(),
        names(&machine, "disk/packs").len() - 1,
        "the second snapshot came from the other"
    );
    assert_eq!(machine.run(&["check", "--read-data", "-r", "disk"]).code, 0);
    machine.ok(&["backup", "-r", "disk", "-r", "nas", "src"]);
    // Its own keys are enough.
    lose();
    let alone = machine.run(&["repair", "-r", "disk"]);
    assert_eq!(alone.code, 0, "{}{}", alone.out, alone.err);
    assert!(alone.err.contains("the defaults are in force"), "{}", alone.err);
    machine.ok(&["restore", "latest", "-r", "disk", "--target", "back"]);
}

#[test]
fn key_slots_that_are_all_lost_come_again_from_another_copy_and_the_configuration_stays() {
    let machine = Machine::new();
    machine.ok(&["backup", "--init", "-r", "disk", "-r", "nas", "src"]);
    let lose = || ["disk/keys", "disk/mirror/keys"].map(|n| fs::remove_dir_all(machine.path(n)).unwrap());
    lose();
    let opened = machine.run(&["snapshots", "-r", "disk"]);
    assert_eq!(opened.code, 5, "no other password helps: {}", opened.err);
    assert!(opened.err.contains("key slots are all lost"), "{}", opened.err);
    assert!(opened.err.contains("lifeboat repair -r disk --from"), "{}", opened.err);
    assert_eq!(machine.run(&["repair", "-r", "disk"]).code, 5, "nothing here knows the keys");
    let dry = machine.ok(&["repair", "-r", "disk", "--from", "nas", "--dry-run"]);
    assert!(dry.contains("mirror/keys/: would be made anew"), "{dry}");
    assert!(!machine.path("disk/keys").exists());

    let identity = || machine.ok(&["repo", "info", "-r", "disk"]);
    let mended = machine.run(&["repair", "-r", "disk", "--from", "nas"]);
    assert_eq!(mended.code, 0, "{}{}", mended.out, mended.err);
    assert!(mended.out.contains("mirror/keys/: made anew"), "{}", mended.out);
    let before = identity();
    assert_eq!(machine.run(&["check", "--read-data", "-r", "disk"]).code, 0);
    // Of several, each is opened by itself: what is wrong with one keeps nobody from the other.
    lose();
    let pack = names(&machine, "nas/packs").remove(0);
    fs::remove_file(machine.path("nas/packs").join(&pack)).unwrap();
    let both = machine.run(&["repair", "-r", "nas", "-r", "disk", "--no-source"]);
    assert!(both.out.contains("mirror/keys/: made anew"), "{}{}", both.out, both.err);
    let both = machine.run(&["repair", "-r", "nas", "-r", "disk", "--no-source"]);
    assert_eq!(both.code, 0, "{}{}", both.out, both.err);
    assert!(machine.path("nas/packs").join(&pack).exists());
    assert_eq!(machine.run(&["check", "--read-data", "-r", "disk", "-r", "nas"]).code, 0);
    assert_eq!(identity(), before);
}

#[test]
fn snapshots_whose_records_are_all_gone_are_damage_and_come_back_from_another_copy() {
    let machine = Machine::new();
    machine.ok(&["backup", "--init", "-r", "disk", "-r", "nas", "src"]);
    machine.write("src/new", b"new\n");
    machine.ok(&["backup", "-r", "disk", "-r", "nas", "src"]);
    let all = names(&machine, "disk/snapshots");
    let lose = |which: &[PathBuf]| {
        for name in which {
            fs::remove_file(machine.path("disk/snapshots").join(name)).unwrap();
            fs::remove_file(machine.path("disk/mirror/snapshots").join(name)).unwrap();
        }
    };
    lose(&all);
    let checked = machine.run(&["check", "-r", "disk"]);
    assert_eq!(checked.code, 5, "{}{}", checked.out, checked.err);
    assert!(checked.out.contains("is gone, and was not forgotten"), "{}", checked.out);
    assert!(checked.err.contains("lifeboat repair --from"), "{}", checked.err);
    assert_eq!(machine.run(&["repair", "-r", "disk"]).code, 5, "nothing here tells what they were");
    let both = machine.run(&["check", "-r", "disk", "-r", "nas"]);
    assert!(
        both.code == 5 && both.err.contains("disk lacks 2 snapshots that another copy has"),
        "{}",
        both.err
    );
    let dry = machine.run(&["repair", "-r", "disk", "--from", "nas", "--dry-run"]);
    assert!(dry.out.contains("2 snapshots would be brought"), "{}{}", dry.out, dry.err);
    let mended = machine.run(&["repair", "-r", "disk", "--from", "nas"]);
    assert_eq!(mended.code, 0, "{}{}", mended.out, mended.err);
    assert!(mended.out.contains("2 snapshots brought from another repository"), "{}", mended.out);
    assert_eq!(names(&machine, "disk/snapshots"), all);
    assert_eq!(machine.run(&["check", "-r", "disk", "--read-data"]).code, 0);
    // What was forgotten is not gone.
    machine.ok(&["forget", "-r", "disk", "latest"]);
    let checked = machine.run(&["check", "-r", "disk", "-r", "nas"]);
    assert!(checked.code == 0 && !checked.err.contains("lacks"), "{}{}", checked.out, checked.err);
    machine.ok(&["prune", "-r", "disk", "--undo-window", "0", "--grace", "0"]);
    assert_eq!(machine.run(&["check", "-r", "disk"]).code, 0);
    // Somebody who put an older state back says so once.
    let rest = names(&machine, "disk/snapshots");
    lose(&rest);
    assert_eq!(machine.run(&["check", "-r", "disk"]).code, 5);
    assert_eq!(machine.run(&["check", "-r", "disk", "--accept-rollback"]).code, 0);
    assert_eq!(machine.run(&["check", "-r", "disk"]).code, 0);
}

#[test]
fn copies_made_in_one_run_share_the_recovery_key_that_was_asked_for() {
    let machine = Machine::new();
    machine.ok(&["backup", "--init", "--recovery-key-file", "sheet", "-r", "disk", "-r", "nas", "src"]);
    for place in ["disk", "nas"] {
        machine.ok(&["snapshots", "-r", place, "--recovery-key=sheet"]);
    }
    // A sheet of another time is not written over.
    let later =
        machine.run(&["backup", "--init", "--recovery-key-file", "sheet", "-r", "disk", "-r", "usb", "src"]);
    assert_ne!(later.code, 0);
    assert!(!machine.path("usb/config").exists());
}

#[test]
fn what_one_copy_lost_comes_from_another_is_told_and_is_mended() {
    let machine = Machine::new();
    machine.write("src/large", &vec![7; 300_000]);
    machine.ok(&["backup", "--init", "-r", "disk", "-r", "nas", "src"]);
    let lost = names(&machine, "disk/packs");
    for name in &lost {
        fs::remove_file(machine.path("disk/packs").join(name)).unwrap();
    }
    assert_eq!(machine.run(&["restore", "latest", "-r", "disk", "--target", "alone"]).code, 5);
    let both = machine.run(&["restore", "latest", "-r", "disk", "-r", "nas", "--target", "back"]);
    assert_eq!(both.code, 0, "{}", both.err);
    let back = machine.path("back").join(machine.path("src/a").strip_prefix("/").unwrap());
    assert_eq!(fs::read(back).unwrap(), b"hello\n");
    let damaged = |machine: &Machine, place: &str| {
        let status = machine.run(&["status", "-r", place, "--json"]);
        let status: serde_json::Value = serde_json::from_str(&status.out).unwrap();
        status["repositories"][0]["damaged"].is_i64()
    };
    assert!(damaged(&machine, "disk"), "a restore that could not read it found damage");
    // Which of two local copies is nearer is a matter of microseconds.
    if both.err.contains("damaged pieces came from another copy") {
        assert!(both.err.contains("lifeboat repair -r disk --from nas"), "{}", both.err);
        let mended = machine.run(&["repair", "-r", "disk", "--from", "nas", "--dry-run", "--no-source"]);
        assert!(mended.err.contains("were noted by earlier reads"), "{}", mended.err);
    }
    let checked = machine.run(&["check", "-r", "disk", "-r", "nas"]);
    assert_eq!(checked.code, 5);
    assert!(checked.err.contains("lifeboat repair -r disk -r nas"), "{}", checked.err);
    assert!(checked.out.contains("nas has 3 of 3 damaged pieces of disk whole"), "{}", checked.out);
    // What was found waits for a repair, and status says so.
    let queued = machine.run(&["repair", "-r", "disk", "--from", "nas", "--dry-run", "--no-source"]);
    assert!(queued.err.contains("were noted by earlier reads"), "{}", queued.err);
    let status = machine.run(&["status", "-r", "disk"]);
    assert!(status.out.contains("damage"), "{}", status.out);
    let objects = machine.run(&["check", "-r", "disk", "-r", "nas", "--json"]);
    let objects: Vec<serde_json::Value> =
        objects.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(objects.iter().all(|object| object["repository"].is_string()), "each names its repository");
    let of = |kind: &str| objects.iter().filter(|object| object["message_type"] == kind).collect::<Vec<_>>();
    assert_eq!(
        of("damage").iter().filter(|object| object["repository"] == "disk").count(),
        of("damage").len()
    );
    assert_eq!(of("summary").len(), 2);
    let help = of("help");
    assert!(
        help.len() == 1 && help[0]["from"] == "nas" && help[0]["pieces_whole"] == help[0]["pieces_asked"]
    );
    let mended = machine.run(&["repair", "-r", "disk", "-r", "nas", "--no-source"]);
    assert_eq!(mended.code, 0, "{}\n{}", mended.out, mended.err);
    assert_eq!(names(&machine, "disk/packs"), lost);
    assert_eq!(machine.run(&["check", "--read-data", "-r", "disk", "-r", "nas"]).code, 0);
    // A snapshot of which both records are gone is brought back, too; so is the newest of several.
    machine.write("src/new", b"new\n");
    machine.ok(&["backup", "-r", "disk", "-r", "nas", "src"]);
    let listed = machine.run(&["snapshots", "latest", "--json", "-r", "nas"]).raw_out;
    let listed = String::from_utf8(listed).unwrap();
    // Its parent is named there, too.
    let is_newest = |name: &PathBuf| listed.contains(&format!("\"id\":\"{}\"", name.to_str().unwrap()));
    let newest = names(&machine, "disk/snapshots").into_iter().find(is_newest);
    let newest = newest.expect("both have it");
    fs::remove_file(machine.path("disk/snapshots").join(&newest)).unwrap();
    fs::remove_file(machine.path("disk/mirror/snapshots").join(&newest)).unwrap();
    let mended = machine.run(&["repair", "-r", "disk", "--from", "nas", "--no-source", "--accept-rollback"]);
    assert_eq!(mended.code, 0, "{}", mended.err);
    assert_eq!(names(&machine, "disk/snapshots"), names(&machine, "nas/snapshots"));
    assert!(machine.path("disk/snapshots").join(newest).exists());
}

/// What `cp -a` or rsync made of a repository helps it like any other copy.
#[test]
fn a_folder_that_was_copied_as_it_is_mends_the_repository_it_came_from() {
    let machine = Machine::new();
    machine.write("src/large", &vec![7; 300_000]);
    machine.ok(&["backup", "--init", "-r", "disk", "src"]);
    let (from, to) = (machine.path("disk"), machine.path("clone"));
    assert!(std::process::Command::new("cp").arg("-a").args([&from, &to]).status().unwrap().success());
    for name in names(&machine, "disk/packs") {
        fs::remove_file(machine.path("disk/packs").join(&name)).unwrap();
    }
    let itself = machine.run(&["repair", "-r", "disk", "--from", "./disk/../disk", "--no-source"]);
    assert_eq!(itself.code, 2);
    assert!(itself.err.contains("is the repository to be repaired"), "{}", itself.err);
    machine.ok(&["repair", "-r", "disk", "--from", "clone", "--no-source"]);
    assert_eq!(names(&machine, "disk/packs"), names(&machine, "clone/packs"));
    machine.ok(&["check", "--read-data", "-r", "disk"]);
    // It brings snapshots that are lost, too.
    let before = names(&machine, "disk/snapshots");
    for name in names(&machine, "disk/snapshots") {
        fs::remove_file(machine.path("disk/snapshots").join(&name)).unwrap();
        fs::remove_file(machine.path("disk/mirror/snapshots").join(&name)).unwrap();
    }
    machine.ok(&["repair", "-r", "disk", "--from", "clone", "--no-source", "--accept-rollback"]);
    assert_eq!(names(&machine, "disk/snapshots"), before);
    machine.ok(&["check", "--read-data", "-r", "disk"]);
    machine.ok(&["sync", "--from", "clone", "--to", "disk"]);
    let itself = machine.run(&["sync", "--from", "disk", "--to", "./disk/../disk"]);
    assert!(itself.code == 2 && itself.err.contains("is the repository to bring from"), "{}", itself.err);
}

/// Written to at both places, one repository would be two that each look out of date.
#[test]
fn a_folder_that_was_copied_as_it_is_is_read_and_not_written_while_the_other_is_there() {
    let machine = Machine::new();
    machine.write("src/a", b"one");
    machine.ok(&["backup", "--init", "-r", "disk", "src"]);
    let copy = |from: &str, to: &str| {
        let [from, to] = [from, to].map(|name| machine.path(name));
        assert!(std::process::Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
    };
    copy("disk", "clone");
    for command in [&["backup", "-r", "clone", "src"][..], &["forget", "-r", "clone", "latest"]] {
        let ran = machine.run(command);
        assert_eq!(ran.code, 14, "{command:?}: {}", ran.err);
        for part in ["copied file by file", "init -r NEW --copy-of", "move it away"] {
            assert!(ran.err.contains(part), "{}", ran.err);
        }
        assert!(!ran.err.contains("mounted read-only"), "{}", ran.err);
    }
    assert_eq!(names(&machine, "clone/snapshots"), names(&machine, "disk/snapshots"));
    machine.ok(&["check", "--read-data", "-r", "clone"]);
    machine.ok(&["restore", "latest", "-r", "clone", "--target", "back"]);
    // One folder by two ways is one repository; and the first place goes on.
    std::os::unix::fs::symlink(machine.path("disk"), machine.path("other-way")).unwrap();
    machine.ok(&["backup", "-r", "other-way", "src"]);
    machine.ok(&["backup", "-r", "disk", "src"]);
    // What the hint says leads to a copy of its own.
    machine.ok(&["init", "-r", "own", "--copy-of", "disk"]);
    machine.ok(&["sync", "--from", "disk", "--to", "own"]);
    machine.ok(&["backup", "-r", "disk", "-r", "own", "src"]);
    // A disk that goes on in another place, with all that was on it.
    fs::remove_dir_all(machine.path("clone")).unwrap();
    copy("disk", "moved");
    fs::rename(machine.path("disk"), machine.path("old")).unwrap();
    machine.ok(&["backup", "-r", "moved", "src"]);
}

/// A machine that knows of no place yet learns one by what it brings there.
#[test]
fn the_target_of_a_sync_is_known_when_it_was_copied_as_it_is() {
    let mut machine = Machine::new();
    machine.write("src/a", b"one");
    machine.ok(&["backup", "--init", "-r", "disk", "src"]);
    machine.ok(&["init", "-r", "own", "--copy-of", "disk"]);
    machine.set("XDG_STATE_HOME", &machine.path("fresh").display().to_string());
    machine.ok(&["sync", "--from", "disk", "--to", "own"]);
    let [own, clone] = ["own", "clone"].map(|name| machine.path(name));
    assert!(std::process::Command::new("cp").arg("-a").args([own, clone]).status().unwrap().success());
    assert_eq!(machine.run(&["backup", "-r", "clone", "src"]).code, 14);
}

/// What a copy shows says nothing about the place it was copied from.
#[test]
fn a_folder_that_was_copied_as_it_is_stays_readable_and_hides_nothing_of_the_other() {
    let machine = Machine::new();
    let cp = |how: &str, from: &str, to: &str| {
        let [from, to] = [from, to].map(|name| machine.path(name));
        assert!(std::process::Command::new("cp").arg(how).args([from, to]).status().unwrap().success());
    };
    machine.write("src/a", b"one");
    machine.ok(&["backup", "--init", "-r", "disk", "src"]);
    cp("-a", "disk", "clone");
    cp("-a", "disk", "older");
    machine.ok(&["backup", "-r", "disk", "src"]);
    for command in [&["snapshots"][..], &["check"], &["restore", "latest", "--target", "back"]] {
        for accept in [&[][..], &["--accept-rollback"]] {
            let ran = machine.run(&[command, &["-r", "clone"], accept].concat());
            assert!(ran.code == 0 && ran.err.contains("older than that is now"), "{command:?}: {}", ran.err);
        }
    }
    // The first one is set back, in its own place.
    fs::rename(machine.path("disk"), machine.path("newer")).unwrap();
    fs::rename(machine.path("older"), machine.path("disk")).unwrap();
    let ran = machine.run(&["snapshots", "-r", "disk"]);
    assert!(ran.code == 1 && ran.err.contains("shows an older state"), "{}", ran.err);
    fs::remove_dir_all(machine.path("disk")).unwrap();
    fs::rename(machine.path("newer"), machine.path("disk")).unwrap();
    // Hard links are a copy, too.
    cp("-al", "disk", "linked");
    assert_eq!(machine.run(&["backup", "-r", "linked", "src"]).code, 14);
    // One goes on while the other is away: from then on that one is written to.
    fs::remove_dir_all(machine.path("clone")).unwrap();
    cp("-a", "disk", "clone");
    fs::rename(machine.path("disk"), machine.path("away")).unwrap();
    fs::remove_dir_all(machine.path("linked")).unwrap();
    machine.ok(&["backup", "-r", "clone", "src"]);
    fs::rename(machine.path("away"), machine.path("disk")).unwrap();
    for _ in 0..2 {
        let ran = machine.run(&["backup", "-r", "disk", "src"]);
        assert!(ran.code == 14 && ran.err.contains("ROOT/clone copied file by file"), "{}", ran.err);
        machine.ok(&["backup", "-r", "clone", "src"]);
        machine.ok(&["snapshots", "-r", "disk"]);
    }
    let both = machine.run(&["backup", "-r", "clone", "-r", "disk", "src"]);
    assert!(both.code != 0 && both.err.contains("copied file by file"), "{}", both.err);
}

/// From where each action of this kind brought something, as the log of the repository says.
fn written_down(machine: &Machine, repository: &str, action: &str) -> Vec<String> {
    let report = machine.run(&["report", "compliance", "-r", repository, "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&report.raw_out).unwrap();
    let actions = report["repositories"][0]["actions"].as_array().unwrap();
    let of_kind = actions.iter().filter(|one| one["action"] == action);
    of_kind.map(|one| one["detail"]["from"].as_str().unwrap().to_string()).collect()
}

#[test]
fn chosen_snapshots_go_to_a_stranger_encrypted_anew_and_only_once() {
    let machine = Machine::new();
    machine.write("src/large", &(0..900_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect::<Vec<u8>>());
    fs::hard_link(machine.path("src/a"), machine.path("src/twin")).unwrap();
    machine.ok(&["backup", "--init", "-r", "disk", "src"]);
    machine.write("src/new", b"new\n");
    machine.ok(&["backup", "-r", "disk", "src"]);
    machine.ok(&["init", "-r", "friend"]);
    assert_eq!(machine.run(&["copy", "--from", "disk", "--to", "friend"]).code, 2);
    let dry = machine.ok(&["copy", "--from", "disk", "--to", "friend", "--dry-run", "latest"]);
    assert!(dry.contains("1 snapshot would be copied: ") && dry.contains(" requests"), "{dry}");
    let dry = ["copy", "--from", "disk", "--to", "friend", "-n", "--json", "latest~1", "latest"];
    let ran = String::from_utf8(machine.run(&dry).raw_out).unwrap();
    let sums: serde_json::Value = serde_json::from_str(ran.lines().last().unwrap()).unwrap();
    let stored = sums["bytes_stored_at_most"].as_u64().unwrap();
    assert!(sums["snapshots"] == 2 && sums["source_requests"].as_u64().unwrap() >= 4, "{sums}");
    assert!(names(&machine, "friend/snapshots").is_empty());
    machine.ok(&["copy", "--from", "disk", "--to", "friend", "latest~1", "latest"]);
    assert_eq!(names(&machine, "friend/snapshots").len(), 2);
    let packs = |folder: &str| -> u64 {
        walk(&machine.path(folder)).iter().filter_map(|file| Some(file.metadata().ok()?.len())).sum()
    };
    // Padding, directories and parity come on top of blocks.
    let there = packs("friend/packs") + packs("friend/trees");
    assert!(there < stored + stored / 4 + 40_000 && there > stored / 2, "{there} {stored}");
    let ran = String::from_utf8(machine.run(&dry).raw_out).unwrap();
    assert!(ran.contains("\"is_new\":false") && ran.contains("\"snapshots\":0"), "{ran}");
    let again = machine.ok(&["copy", "--from", "disk", "--to", "friend", "latest"]);
    assert!(again.contains("is there already"), "{again}");
    assert_eq!(machine.run(&["check", "--read-data", "-r", "friend"]).code, 0);
    machine.ok(&["restore", "latest", "-r", "friend", "--target", "back"]);
    for name in ["a", "sub/b", "large", "new", "twin"] {
        let back = machine.path("back").join(machine.path("src").strip_prefix("/").unwrap()).join(name);
        assert_eq!(fs::read(&back).unwrap(), fs::read(machine.path("src").join(name)).unwrap(), "{name}");
    }
    // The next backup of the same source there stores no contents again: they were cut alike.
    let json = machine.run(&["backup", "-r", "friend", "--full", "src", "--json"]);
    let summary = String::from_utf8(json.raw_out).unwrap();
    let added: u64 =
        summary.split("\"data_added\":").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
    assert!(added < 20_000, "{added} bytes were stored again");
    // Nothing speaks against the copies, although they came late and follow no record there.
    let listed = machine.run(&["snapshots", "-r", "friend"]);
    assert!(!listed.out.contains("unconfirmed") && !listed.out.contains("out of sequence"), "{}", listed.out);
    // It is written down once: the second time nothing was brought.
    assert_eq!(written_down(&machine, "friend", "copy"), ["disk"]);
    // In the family the id stays, and what was removed there comes back when it is named.
    machine.ok(&["init", "-r", "usb", "--copy-of", "disk"]);
    machine.ok(&["copy", "--from", "disk", "--to", "usb", "latest"]);
    machine.ok(&["forget", "latest", "-r", "usb", "--prune", "--undo-window", "0", "--grace", "0"]);
    assert!(names(&machine, "usb/snapshots").is_empty());
    let kept = machine.ok(&["sync", "--from", "disk", "--to", "usb", "latest"]);
    assert!(kept.contains("removed there, and stay so"), "{kept}");
    assert!(written_down(&machine, "usb", "sync").is_empty(), "nothing was brought");
    machine.ok(&["init", "-r", "nas", "--copy-of", "disk"]);
    machine.ok(&["sync", "--from", "disk", "--to", "nas", "-n"]);
    machine.ok(&["sync", "--from", "disk", "--to", "nas"]);
    assert_eq!(written_down(&machine, "nas", "sync"), ["disk"]);
    let back = machine.ok(&["copy", "--from", "disk", "--to", "usb", "latest"]);
    assert!(back.contains("its own id is over there"), "{back}");
    assert_eq!(names(&machine, "usb/snapshots").len(), 1);
    assert_eq!(machine.run(&["check", "--read-data", "-r", "usb"]).code, 0);
}

/// docs/guide/copies.md, "Pulled by a second machine".
#[test]
fn a_copy_that_is_pulled_survives_whoever_holds_the_first_machine() {
    let laptop = Machine::with_snapshot();
    let vault = Machine::new();
    let source = laptop.path("repo").to_str().unwrap().to_string();
    let owner = key_of(&laptop);
    // Once, with an owner's key at hand; what an owner could open the copy with goes to a medium.
    fs::create_dir(vault.path("stick")).unwrap();
    vault.ok(&[
        "init",
        "-r",
        "backup",
        "--copy-of",
        &source,
        "--from-key-file",
        &owner,
        "--key-file",
        "stick/vault-owner.key",
        "--recovery-key-file",
        "stick/vault.recovery",
    ]);
    vault.ok(&[
        "key",
        "add",
        "-r",
        "backup",
        "--key-file",
        "stick/vault-owner.key",
        "--role",
        "maintain",
        "--file",
        "vault.key",
    ]);
    vault.ok(&[
        "key",
        "add",
        "-r",
        &source,
        "--key-file",
        &owner,
        "--role",
        "maintain",
        "--file",
        "laptop.key",
    ]);
    // The medium is taken away: no owner's key is left here.
    let stick = laptop.path("stick");
    fs::rename(vault.path("stick"), &stick).unwrap();
    let is_key = |path: &std::path::PathBuf| path.extension().is_some_and(|e| e == "key" || e == "recovery");
    let mut left: Vec<_> = walk(&vault.root).into_iter().filter(is_key).collect();
    left.sort();
    // The machine's own signs what is written into logs, and opens nothing.
    let mut of_no_owner =
        ["laptop.key", "vault.key", "home/.config/lifeboat/machine.key"].map(|name| vault.path(name));
    of_no_owner.sort();
    assert_eq!(left, of_no_owner);
    let pull = || {
        vault.run(&[
            "sync",
            "--from",
            &source,
            "--from-key-file",
            "laptop.key",
            "-r",
            "backup",
            "--key-file",
            "vault.key",
        ])
    };
    let first = pull();
    assert_eq!(first.code, 0, "{}", first.err);
    laptop.write("src/more", b"more\n");
    laptop.ok(&["backup", "-r", "repo", "src"]);
    assert_eq!(pull().code, 0);
    assert_eq!(names(&vault, "backup/snapshots").len(), 2);
    // The vault cannot read contents.
    assert_ne!(
        vault.run(&["restore", "latest", "-r", "backup", "--key-file", "vault.key", "--target", "x"]).code,
        0
    );
    assert!(!vault.path("x").join(laptop.path("src/a").strip_prefix("/").unwrap()).exists());
    // The intruder forgets and frees everything, saves rubbish, and the vault pulls.
    fs::write(laptop.path("src/a"), "rubbish").unwrap();
    laptop.ok(&[
        "forget",
        "latest",
        "latest~1",
        "-r",
        "repo",
        "--prune",
        "--undo-window",
        "0",
        "--grace",
        "0",
    ]);
    laptop.ok(&["backup", "-r", "repo", "src"]);
    let after = pull();
    assert_eq!(after.code, 0, "{}", after.err);
    assert_eq!(names(&vault, "backup/snapshots").len(), 3, "nothing went");
    fs::remove_dir_all(laptop.path("repo")).unwrap();
    assert_ne!(pull().code, 0);
    assert_eq!(names(&vault, "backup/snapshots").len(), 3);
    // With the owner's key of the family everything comes back from there.
    let place = vault.path("backup").to_str().unwrap().to_string();
    let recovery = format!("--recovery-key={}", stick.join("vault.recovery").display());
    laptop.ok(&["restore", "latest~1", "-r", &place, &recovery, "--target", "back"]);
    assert_eq!(
        laptop.run(&["check", "-r", &place, "--key-file", vault.path("vault.key").to_str().unwrap()]).code,
        0
    );
}

/// docs/guide/copies.md, "Disks in turn".
#[test]
fn disks_in_turn_keep_what_the_intruder_does_not_reach_and_complete_each_other() {
    let machine = Machine::new();
    machine.ok(&["init", "-r", "red"]);
    machine.ok(&["init", "-r", "blue", "--copy-of", "red"]);
    let run = || machine.run(&["backup", "-r", "red", "-r", "blue", "src"]);
    let (plug, unplug) = (
        |disk: &str| fs::rename(machine.path(&format!("drawer-{disk}")), machine.path(disk)).unwrap(),
        |disk: &str| fs::rename(machine.path(disk), machine.path(&format!("drawer-{disk}"))).unwrap(),
    );
    unplug("blue");
    assert_eq!(run().code, 10, "the absent one is named");
    unplug("red");
    plug("blue");
    machine.write("src/second", b"second week\n");
    assert_eq!(run().code, 10);
    plug("red");
    machine.write("src/third", b"both are here\n");
    let both = run();
    assert_eq!(both.code, 0, "{}", both.err);
    assert_eq!(names(&machine, "red/snapshots").len(), 3, "it got the week that it missed");
    assert_eq!(names(&machine, "blue/snapshots").len(), 2);
    // The red one goes into the drawer; the intruder destroys what is plugged in.
    unplug("red");
    fs::remove_dir_all(machine.path("blue")).unwrap();
    plug("red");
    machine.ok(&["restore", "latest", "-r", "red", "--target", "back"]);
    let back = machine.path("back").join(machine.path("src/third").strip_prefix("/").unwrap());
    assert_eq!(fs::read(back).unwrap(), b"both are here\n");
}

#[test]
fn damage_that_a_restore_met_reaches_the_status_however_the_copy_is_named() {
    let mut machine = Machine::new();
    let root = machine.root.display().to_string();
    fs::write(
        machine.path("lifeboat.toml"),
        format!("[repositories.red]\nurl = \"{root}/disk\"\n[repositories.blue]\nurl = \"{root}/nas\"\n"),
    )
    .unwrap();
    machine.ok(&["backup", "--init", "-r", "disk", "-r", "nas", "src"]);
    // Each lost something, so that whichever is nearer is helped by the other.
    let lose = |place: &str, which: usize| {
        let names = names(&machine, &format!("{place}/packs"));
        let name = &names[which.min(names.len() - 1)];
        fs::remove_file(machine.path(&format!("{place}/packs")).join(name)).unwrap();
    };
    machine.write("src/more", b"more\n");
    machine.ok(&["backup", "-r", "disk", "-r", "nas", "src"]);
    lose("disk", 0);
    lose("nas", 1);
    machine.set("LIFEBOAT_CONFIG", &format!("{root}/lifeboat.toml"));
    for pair in [["disk", "nas"], ["red", "blue"]] {
        fs::remove_file(machine.path("home/.local/state/lifeboat/catalog.sqlite")).ok();
        let ran =
            machine.run(&["restore", "latest", "-r", pair[0], "-r", pair[1], "--target", "back", "--json"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        fs::remove_dir_all(machine.path("back")).unwrap();
        let objects: Vec<serde_json::Value> =
            ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let healed: Vec<_> = objects.iter().filter(|object| object["message_type"] == "healed").collect();
        assert!(!healed.is_empty(), "{}", ran.out);
        assert_eq!(objects.last().unwrap()["healed"], healed.len());
        let status = machine.run(&["status", "-r", pair[0], "-r", pair[1], "--json"]);
        let status: serde_json::Value = serde_json::from_str(&status.out).unwrap();
        let places = status["repositories"].as_array().unwrap();
        let known = places.iter().filter(|place| place["damaged"].is_i64()).collect::<Vec<_>>();
        assert!(known.len() == 1 && known[0]["repository"] == healed[0]["repository"], "{status}");
    }
}
