//! The main job: back up, change, back up again, look, restore.

use crate::support::Machine;
use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::process::Stdio;

/// As whoever knows restic types it.
#[test]
fn a_path_may_stand_behind_the_snapshot_or_by_itself() {
    let machine = Machine::with_snapshot();
    let folder = machine.path("src").display().to_string();
    let joined = machine.ok(&["ls", "-r", "repo", &format!("latest:{folder}")]);
    assert_eq!(machine.ok(&["ls", "-r", "repo", "latest", &folder]), joined);
    assert_eq!(machine.ok(&["dump", "-r", "repo", "latest", &format!("{folder}/a")]), "hello\n");
    assert_eq!(machine.run(&["ls", "-r", "repo", &format!("latest:{folder}"), &folder]).code, 2);
    let stats = machine.ok(&["stats", "-r", "repo"]);
    assert!(stats.trim_end().ends_with(" blobs"), "{stats}");
}

#[test]
fn the_first_backup_is_one_command() {
    let machine = Machine::new();
    machine.age_source();
    let ran = machine.run(&["backup", "--init", "-r", "repo", "src"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert!(lines[0].starts_with("files    2 new, 0 changed, 0 unmodified"), "{}", ran.out);
    assert_eq!(lines[3], "read     2 files, 12 B in TOOK (full)");
    assert_eq!(lines[4], "snapshot ID saved");
    assert_eq!(
        ran.err,
        "created a repository at repo\n\
         bring it back with: lifeboat -r repo restore ID --target FOLDER\n\
         the key of this machine is ROOT/home/.config/lifeboat/keys/ID.key\n\
         the recovery key is in ROOT/home/.config/lifeboat/keys/ID.recovery: print it, keep it elsewhere, delete the file\n"
    );
    // The machine's key is found by itself from now on, and the repository is not made twice.
    machine.ok(&["backup", "--init", "--ignore-inode", "-r", "repo", "src"]);
    assert_eq!(
        machine.ok(&["snapshots", "-r", "repo"]),
        "id        time                 host  tags  mode         base      size  new  source\n\
         ID  TIME  HOST          full                   12 B  12 B  ROOT/src\n\
         ID  TIME  HOST          incremental  ID  12 B  0 B   ROOT/src\n\
         2 snapshots\n"
            .replace("size  new  source", "size  new   source")
    );
}

#[test]
fn what_was_backed_up_comes_back() {
    let machine = Machine::with_repository();
    symlink("a", machine.path("src/link")).unwrap();
    fs::hard_link(machine.path("src/a"), machine.path("src/same")).unwrap();
    machine.write("src/long", &vec![7; 3 << 20]);
    machine.ok(&["backup", "-r", "repo", "src"]);
    let ran = machine.run(&["restore", "-r", "repo", "latest", "--target", "back"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(
        ran.err.contains("hint: to put what is in the folder right into the target: lifeboat restore latest:ROOT/src --target back"),
        "{}",
        ran.err
    );
    let root = machine.root.to_str().unwrap();
    machine.ok(&["restore", "-r", "repo", &format!("latest:{root}/src"), "--target", "short", "--verify"]);
    for folder in [format!("back{root}/src"), "short".to_string()] {
        for name in ["a", "sub/b", "same", "long"] {
            let restored = fs::read(machine.path(&format!("{folder}/{name}"))).unwrap();
            assert_eq!(restored, fs::read(machine.path(&format!("src/{name}"))).unwrap(), "{folder}/{name}");
        }
        assert_eq!(fs::read_link(machine.path(&format!("{folder}/link"))).unwrap().to_str(), Some("a"));
    }
    // Again: everything is right already.
    let again = machine.ok(&["restore", "-r", "repo", "latest", "--target", "back"]);
    assert!(again.starts_with("restored 0 files"), "{again}");
}

#[test]
fn a_dry_run_writes_nothing() {
    let machine = Machine::with_snapshot();
    machine.write("src/new", b"new");
    let out = machine.ok(&["backup", "-n", "-r", "repo", "src"]);
    assert!(out.starts_with("new        ROOT/src/new\n") || out.contains("files    1 new"), "{out}");
    assert!(out.ends_with("nothing was stored: this was a dry run\n"), "{out}");
    assert!(machine.ok(&["snapshots", "-r", "repo"]).ends_with("1 snapshot\n"));
    let out = machine.ok(&["restore", "-n", "-r", "repo", "latest", "--target", "back"]);
    assert!(out.contains("would restore 2 files"), "{out}");
    assert!(!machine.path("back").exists());
    machine.ok(&["forget", "-n", "-r", "repo", "latest"]);
    assert!(machine.ok(&["snapshots", "-r", "repo"]).ends_with("1 snapshot\n"));
}

#[test]
fn include_and_exclude_choose_what_comes_back() {
    let machine = Machine::with_repository();
    machine.write("src/docs/deep/one.txt", b"1");
    machine.write("src/docs/two.jpg", b"2");
    machine.ok(&["backup", "-r", "repo", "src"]);
    let spec = format!("latest:{}/src", machine.root.display());
    machine.ok(&[
        "restore",
        "-r",
        "repo",
        &spec,
        "--target",
        "back",
        "--include",
        "docs",
        "--exclude",
        "*.jpg",
    ]);
    assert!(machine.path("back/docs/deep/one.txt").exists());
    assert!(!machine.path("back/docs/two.jpg").exists());
    assert!(!machine.path("back/a").exists());
    let ran = machine.run(&["restore", "-r", "repo", &spec, "--target", "none", "--include", "no-such-name"]);
    assert_ne!(ran.code, 0, "selecting nothing must not look like success: {}", ran.out);
}

#[test]
fn rules_leave_things_out_and_can_be_explained() {
    let machine = Machine::with_repository();
    machine.write("src/.lifeboatignore", b"*.tmp\n");
    machine.write("src/x.tmp", b"");
    machine.write("src/y.iso", b"");
    machine.write("src/keep.iso", b"");
    let rules = ["--exclude", "*.iso", "--include", "keep.iso"];
    let args: Vec<&str> = ["backup", "-r", "repo", "src"].into_iter().chain(rules).collect();
    machine.ok(&args);
    let listed = machine.ok(&["ls", "-r", "repo", "latest"]);
    assert!(
        listed.contains("src/keep.iso") && !listed.contains("y.iso") && !listed.contains("x.tmp"),
        "{listed}"
    );
    let args: Vec<&str> = ["excludes", "explain", "src/x.tmp", "src/y.iso", "src/a", "-s", "src"]
        .into_iter()
        .chain(rules)
        .collect();
    assert_eq!(
        machine.ok(&args),
        "ROOT/src/x.tmp: left out: ROOT/src/x.tmp: pattern \"*.tmp\" (ROOT/src/.lifeboatignore:1)\n\
         ROOT/src/y.iso: left out: ROOT/src/y.iso: pattern \"*.iso\" (--exclude)\n\
         ROOT/src/a: saved: no rule leaves it out\n"
    );
}

#[test]
fn modes_and_bases_are_recorded() {
    let machine = Machine::with_snapshot();
    machine.ok(&["backup", "-r", "repo", "src"]);
    machine.ok(&["backup", "--differential", "-r", "repo", "src"]);
    machine.ok(&["backup", "--full", "-r", "repo", "src"]);
    let ran = machine.run(&["snapshots", "--json", "-r", "repo"]);
    let list: serde_json::Value = serde_json::from_slice(&ran.raw_out).unwrap();
    let modes: Vec<&str> = list.as_array().unwrap().iter().map(|s| s["mode"].as_str().unwrap()).collect();
    assert_eq!(modes, ["full", "incremental", "differential", "full"]);
    assert_eq!(list[2]["base"], list[0]["id"], "a differential snapshot compares with the full one");
    let sequences: Vec<u64> =
        list.as_array().unwrap().iter().map(|s| s["sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequences, [1, 2, 3, 4]);
}

#[test]
fn an_unchanged_source_can_be_skipped() {
    let machine = Machine::with_repository();
    machine.age_source();
    machine.ok(&["backup", "-r", "repo", "src"]);
    let out = machine.ok(&["backup", "--skip-if-unchanged", "--ignore-inode", "-r", "repo", "src"]);
    assert!(out.ends_with("nothing changed: no snapshot was made\n"), "{out}");
    machine.write("src/a", b"other");
    let out = machine.ok(&["backup", "--skip-if-unchanged", "-r", "repo", "src"]);
    assert!(out.ends_with("snapshot ID saved\n"), "{out}");
}

#[test]
fn streams_are_saved_whole_or_not_at_all() {
    let machine = Machine::with_repository();
    let ran =
        machine.run_with_input(&["backup", "--stdin", "--stdin-filename", "db.sql", "-r", "repo"], b"dump");
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(machine.run(&["dump", "-r", "repo", "latest"]).raw_out, b"dump");
    assert_eq!(machine.run(&["cat", "-r", "repo", "latest:db.sql"]).raw_out, b"dump");
    let command = ["backup", "-r", "repo", "--stdin-from-command", "--"];
    let with = |script: &str| {
        let args: Vec<&str> = command.into_iter().chain(["sh", "-c", script]).collect();
        machine.run(&args)
    };
    let ran = with("echo half; echo broken >&2; exit 3");
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("broken\n") && ran.err.contains("nothing was committed"), "{}", ran.err);
    assert!(machine.ok(&["snapshots", "-r", "repo"]).ends_with("1 snapshot\n"));
    assert_eq!(with("echo whole").code, 0);
    assert_eq!(machine.run(&["cat", "-r", "repo", "latest:stdin"]).raw_out, b"whole\n");
}

#[test]
fn looking_into_history() {
    let machine = Machine::with_snapshot();
    machine.write("src/a", b"hello again\n");
    machine.write("src/c", b"new");
    fs::remove_file(machine.path("src/sub/b")).unwrap();
    machine.ok(&["backup", "-r", "repo", "src"]);
    assert_eq!(
        machine.ok(&["diff", "-r", "repo", "latest~1", "latest"]),
        "M    ROOT/src/a\n+    ROOT/src/c\n-    ROOT/src/sub/b\n\n\
         files    1 added, 1 removed, 1 changed\nfolders  0 added, 0 removed\nothers   0 added, 0 removed\n\
         bytes    15 B added, 12 B removed\n"
    );
    let versions = machine.ok(&["versions", "-r", "repo", "src/a"]);
    assert_eq!(versions.lines().count(), 3, "{versions}");
    let versions = machine.ok(&["versions", "-r", "repo", "src/sub/b"]);
    assert!(versions.ends_with("-     not there any more\n"), "{versions}");
    let found = machine.ok(&["find", "-r", "repo", "B", "-i", "--type", "f"]);
    assert_eq!(found, "in snapshot ID of TIME\n  file ROOT/src/sub/b\n");
    let stats = machine.ok(&["stats", "-r", "repo"]);
    assert!(stats.contains("2 snapshots restore 27 B"), "{stats}");
}

#[test]
fn forgotten_snapshots_come_back() {
    let machine = Machine::with_snapshot();
    assert_eq!(machine.ok(&["forget", "-r", "repo", "latest"]), "snapshot ID of TIME forgotten\n");
    assert!(machine.ok(&["snapshots", "-r", "repo"]).ends_with("no snapshots\n"));
    let hidden = machine.run(&["snapshots", "--forgotten", "--json", "-r", "repo"]);
    let list: serde_json::Value = serde_json::from_slice(&hidden.raw_out).unwrap();
    assert_eq!(list[0]["forgotten"], true);
    let id = list[0]["short_id"].as_str().unwrap();
    assert_eq!(machine.ok(&["forget", "--undo", "-r", "repo", id]), "snapshot ID of TIME is back\n");
    assert!(machine.ok(&["snapshots", "-r", "repo"]).ends_with("1 snapshot\n"));
}

#[test]
fn tags_are_changed_without_losing_the_snapshot() {
    let machine = Machine::with_snapshot();
    let tags = || {
        let ran = machine.run(&["snapshots", "--json", "-r", "repo"]);
        let list: serde_json::Value = serde_json::from_slice(&ran.raw_out).unwrap();
        (list.as_array().unwrap().len(), list[0]["tags"].clone(), list[0]["time"].clone())
    };
    let before = tags();
    machine.ok(&["tag", "--add", "keep,daily", "-n", "-r", "repo", "latest"]);
    assert_eq!(tags(), before);
    let told = machine.ok(&["tag", "--add", "keep,daily", "-r", "repo", "latest"]);
    assert_eq!(told, "snapshot ID is now ID with the tags: keep, daily\n");
    assert_eq!(tags(), (1, serde_json::json!(["keep", "daily"]), before.2.clone()));
    machine.ok(&["tag", "--remove", "daily", "-r", "repo", "latest"]);
    assert!(machine.ok(&["snapshots", "--tag", "keep", "-r", "repo"]).ends_with("1 snapshot\n"));
    assert!(machine.ok(&["snapshots", "--tag", "keep,daily", "-r", "repo"]).ends_with("no snapshots\n"));
    machine.ok(&["restore", "latest", "--tag", "keep", "--target", "back", "-r", "repo"]);
    machine.ok(&["check", "--read-data", "-r", "repo"]);
}

#[test]
fn what_one_machine_has_read_another_need_not_read_first() {
    let mut machine = Machine::with_snapshot();
    let other = machine.path("other");
    let copied = machine.command_of("cp").arg("-a").arg(machine.path("home")).arg(&other).status();
    assert!(copied.unwrap().success());
    machine.ok(&["check", "--read-data", "-r", "repo"]);
    machine.set("HOME", other.to_str().unwrap());
    let ran = machine.run(&["check", "--read-data=1/30", "-r", "repo", "--json"]);
    let summary: serde_json::Value =
        ran.out.lines().map(|l| serde_json::from_str(l).unwrap()).next_back().unwrap();
    assert_eq!((&summary["packs"], &summary["packs_read"]), (&2.into(), &1.into()), "{}", ran.out);
    assert_eq!(summary["never_verified_packs"], 0, "{}", ran.out);
    assert_eq!(fs::read_dir(machine.path("repo/attest")).unwrap().count(), 2);
}

#[test]
fn archives_hold_what_the_folder_held() {
    let machine = Machine::with_repository();
    let long_name = "n".repeat(200);
    machine.write(&format!("src/{long_name}"), b"long name");
    symlink("a", machine.path("src/link")).unwrap();
    machine.ok(&["backup", "-r", "repo", "src"]);
    let spec = format!("latest:{}/src", machine.root.display());
    let bytes = machine.run(&["dump", "-r", "repo", &spec]).raw_out;
    let mut archive = tar::Archive::new(&bytes[..]);
    let mut names = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut contents = String::new();
        entry.read_to_string(&mut contents).unwrap();
        names.push((entry.path().unwrap().to_str().unwrap().to_string(), contents));
    }
    let expected =
        [("a", "hello\n"), ("link", ""), (&long_name, "long name"), ("sub/", ""), ("sub/b", "world\n")];
    assert_eq!(names, expected.map(|(name, text)| (name.to_string(), text.to_string())));
    machine.ok(&["dump", "-r", "repo", &spec, "--archive", "zip", "-o", "out.zip"]);
    let mut zip = zip::ZipArchive::new(fs::File::open(machine.path("out.zip")).unwrap()).unwrap();
    let mut text = String::new();
    zip.by_name("sub/b").unwrap().read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), zip.len()), ("world\n", 5));
    let ran = machine.run(&["dump", "-r", "repo", &spec, "-o", "out.zip"]);
    assert_eq!(ran.code, 1, "an existing file is not replaced: {}", ran.err);
}

#[test]
fn an_interrupt_ends_the_run_and_leaves_no_snapshot() {
    let machine = Machine::with_repository();
    let mut command = machine.command();
    command.args(["backup", "-r", "repo", "--stdin"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    // Enough to be sure that the run is under way: a pipe holds 64 KiB.
    std::io::Write::write_all(&mut input, &vec![1; 1 << 20]).unwrap();
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    // What comes after the signal is not read for long; the pipe may be closed by then.
    std::io::Write::write_all(&mut input, &vec![2; 64 << 20]).ok();
    drop(input);
    let ran = machine.ran(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 130, "{}\n{}", ran.out, ran.err);
    assert!(ran.err.contains("cancelled"), "{}", ran.err);
    assert!(machine.ok(&["snapshots", "-r", "repo"]).ends_with("no snapshots\n"));
}

/// One stale line of a list must not cost the backup of all the others.
#[test]
fn a_line_of_a_list_that_stands_for_nothing_is_a_source_that_is_not_there() {
    let machine = Machine::with_repository();
    machine.write("list", b"src\ngone\nsrc/*.none\n");
    let ran = machine.run(&["backup", "-r", "repo", "--files-from", "list"]);
    assert_eq!(ran.code, 3, "{}", ran.err);
    assert!(ran.err.contains("ROOT/gone") && ran.err.contains("ROOT/src/*.none"), "{}", ran.err);
    assert!(machine.ok(&["ls", "latest", "-r", "repo"]).contains("ROOT/src/a\n"));
}

#[test]
fn patterns_that_leave_nothing_out_are_told() {
    let machine = Machine::with_repository();
    for (pattern, is_doubtful) in
        [("src/sub", true), ("sub/b", false), ("**/src/sub", false), ("usr/none", false), ("/none/x", false)]
    {
        let ran = machine.run(&["backup", "-n", "-r", "repo", "src", "--exclude", pattern]);
        assert_eq!((ran.code, ran.err.contains("fits nothing")), (0, is_doubtful), "{pattern}: {}", ran.err);
    }
    let ran = machine.run(&["backup", "-r", "repo", "src", "--exclude", "[bad"]);
    assert!(ran.code == 2 && ran.err.contains("bracket is never closed"), "{}", ran.err);
}

#[test]
fn what_is_gone_is_found_where_it_was_last() {
    let machine = Machine::with_snapshot();
    machine.write("src/a", b"second");
    machine.ok(&["backup", "-r", "repo", "src"]);
    fs::remove_file(machine.path("src/a")).unwrap();
    fs::remove_dir_all(machine.path("src/sub")).unwrap();
    machine.write("src/new", b"new");
    machine.ok(&["backup", "-r", "repo", "src"]);
    // Another source that never had them says nothing about them.
    machine.write("other/file", b"other");
    machine.ok(&["backup", "-r", "repo", "other"]);
    for cached in [&[][..], &["--no-cache"]] {
        let gone = |pattern: &str| {
            let args = ["find", "--deleted", "-r", "repo", pattern];
            machine.ok(&[&args[..], cached].concat())
        };
        assert_eq!(
            gone("*"),
            "in snapshot ID of TIME\n  file ROOT/src/a\n  dir  ROOT/src/sub\n  file ROOT/src/sub/b\n"
        );
        assert_eq!(gone("new"), "");
        assert_eq!(gone("file"), "");
    }
    let ran = machine.run(&["find", "--deleted", "--json", "-r", "repo", "a"]);
    let groups: serde_json::Value = serde_json::from_slice(&ran.raw_out).unwrap();
    assert_eq!(
        (groups.as_array().unwrap().len(), &groups[0]["matches"][0]["size"]),
        (1, &6.into()),
        "{groups}"
    );
}

#[test]
fn snapshots_are_listed_in_groups() {
    let machine = Machine::with_snapshot();
    machine.ok(&["backup", "-r", "repo", "src", "--tag", "a", "--tag", "b"]);
    machine.write("other/file", b"other");
    machine.ok(&["backup", "-r", "repo", "other", "-H", "nas"]);
    let sizes = |by: &str, key: &str| -> Vec<(serde_json::Value, usize)> {
        let ran = machine.run(&["snapshots", "--json", "-r", "repo", "--group-by", by]);
        let groups: serde_json::Value = serde_json::from_slice(&ran.raw_out).unwrap();
        let groups = groups.as_array().unwrap().iter();
        groups.map(|g| (g["group_key"][key].clone(), g["snapshots"].as_array().unwrap().len())).collect()
    };
    let mut by_source: Vec<usize> = sizes("source", "paths").iter().map(|(_, n)| *n).collect();
    by_source.sort();
    assert_eq!(by_source, [1, 2]);
    assert!(sizes("machine", "hostname").contains(&("nas".into(), 1)));
    assert_eq!(sizes("tag", "tags"), [(serde_json::json!([]), 2), (serde_json::json!(["a", "b"]), 1)]);
    let shown = machine.ok(&["snapshots", "-r", "repo", "--group-by", "machine"]);
    assert_eq!(shown.lines().filter(|line| line.starts_with("id ")).count(), 2, "{shown}");
    assert!(shown.lines().any(|line| line == "nas"), "{shown}");
}
