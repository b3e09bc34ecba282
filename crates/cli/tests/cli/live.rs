//! `diff SNAPSHOT live`: what changed on this machine since a snapshot.

use crate::support::{Machine, Ran};
use std::fs;
use std::os::unix::fs::PermissionsExt;

fn diff(machine: &Machine, args: &[&str]) -> Ran {
    machine.run(&[&["diff", "-r", "repo"], args].concat())
}

/// The lines of changes, without the sums.
fn changes(ran: &Ran) -> String {
    assert_eq!(ran.code, 0, "{}", ran.err);
    ran.out.split("\n\n").next().unwrap().trim_start().to_string()
}

#[test]
fn what_changed_since_a_snapshot_is_told_with_the_letters_and_sums_of_two_snapshots() {
    let machine = Machine::with_repository();
    machine.write("src/gone/x", b"12345");
    machine.write("src/kind", b"file");
    machine.write("src/touched", b"same");
    machine.ok(&["backup", "-r", "repo", "src"]);
    machine.write("src/a", b"hello again\n");
    machine.write("src/new", b"abc");
    fs::remove_dir_all(machine.path("src/gone")).unwrap();
    fs::remove_file(machine.path("src/kind")).unwrap();
    fs::create_dir(machine.path("src/kind")).unwrap();
    machine.write("src/touched", b"same");
    let touched = fs::File::open(machine.path("src/touched")).unwrap();
    touched.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();

    let live = diff(&machine, &["latest", "live"]);
    assert_eq!(live.code, 0, "{}", live.err);
    assert_eq!(
        live.out,
        "M    ROOT/src/a\n-    ROOT/src/gone/\nT    ROOT/src/kind/\n+    ROOT/src/new\n-    ROOT/src/gone/x\n\n\
         files    1 added, 2 removed, 1 changed\nfolders  1 added, 1 removed\nothers   0 added, 0 removed\n\
         bytes    15 B added, 15 B removed\n"
    );
    let metadata = diff(&machine, &["latest", "live", "--metadata"]);
    assert!(metadata.out.contains("U    ROOT/src/touched\n"), "{}", metadata.out);
    let back = diff(&machine, &["live", "latest"]);
    assert!(
        back.out.starts_with("M    ROOT/src/a\n+    ROOT/src/gone/\nT    ROOT/src/kind\n-    ROOT/src/new\n"),
        "{}",
        back.out
    );
    let json = diff(&machine, &["latest", "live", "--json"]);
    let last: serde_json::Value =
        serde_json::from_slice(json.raw_out.split(|b| *b == b'\n').rfind(|l| !l.is_empty()).unwrap())
            .unwrap();
    assert_eq!(last["target_snapshot"], "live");
    assert_eq!((last["changed_files"].as_u64(), last["added"]["files"].as_u64()), (Some(1), Some(1)));

    // A path counts from where one stands.
    for ways in [["latest", "live"], ["live", "latest"]] {
        let part = diff(&machine, &[ways[0], ways[1], "src/new"]);
        assert!(part.out.contains("ROOT/src/new\n") && !part.out.contains("ROOT/src/a"), "{}", part.out);
    }

    // The same as a backup and a comparison with it, and nothing was stored meanwhile.
    assert!(machine.ok(&["snapshots", "-r", "repo"]).ends_with("1 snapshot\n"));
    machine.ok(&["backup", "-r", "repo", "src"]);
    // Only the source: the folder in which tests make theirs changes all the time.
    let source = machine.path("src");
    let source = source.to_str().unwrap();
    for more in [&[source][..], &[source, "--metadata"][..]] {
        let with = |newer: &str| diff(&machine, &[&["latest~1", newer], more].concat()).out;
        assert_eq!(with("live"), with("latest"));
    }
    let unchanged = diff(&machine, &["latest", "live", "--metadata"]);
    assert!(unchanged.out.starts_with("\nfiles    0 added, 0 removed, 0 changed\n"), "{}", unchanged.out);
}

#[test]
fn what_the_rules_of_the_snapshot_leave_out_is_not_new() {
    let machine = Machine::with_repository();
    machine.write("src/.lifeboatignore", b"ignored\n");
    machine.write("src/ignored", b"1");
    machine.write("src/x.iso", b"2");
    machine.write("src/keep.iso", b"3");
    machine.write("src/long", &[0; 3000]);
    machine.write("patterns", b"*.bak\n");
    machine.write("src/y.bak", b"4");
    machine.ok(&[
        "backup",
        "-r",
        "repo",
        "src",
        "--exclude",
        "*.iso",
        "--include",
        "keep.iso",
        "--exclude-larger-than",
        "2K",
        "--exclude-file",
        "patterns",
    ]);
    let unchanged = diff(&machine, &["latest", "live"]);
    assert!(unchanged.out.starts_with("\nfiles    0 added, 0 removed, 0 changed\n"), "{}", unchanged.out);
    machine.write("src/new.iso", b"5");
    machine.write("src/new", b"6");
    assert_eq!(changes(&diff(&machine, &["latest", "live"])), "+    ROOT/src/new");

    machine.ok(&["backup", "-r", "repo", "src", "--no-ignore-files"]);
    let unchanged = diff(&machine, &["latest", "live"]);
    assert!(unchanged.out.starts_with("\nfiles    0 added, 0 removed, 0 changed\n"), "{}", unchanged.out);
}

#[test]
fn what_cannot_be_read_is_named_and_is_no_change() {
    let mut machine = Machine::with_repository();
    machine.write("src/closed/inside", b"1");
    machine.write("src/secret", b"2");
    machine.become_nobody();
    machine.ok(&["backup", "-r", "repo", "src"]);
    fs::set_permissions(machine.path("src/secret"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(machine.path("src/closed"), fs::Permissions::from_mode(0o000)).unwrap();
    let ran = diff(&machine, &["latest", "live"]);
    assert_eq!(ran.code, 3, "{}", ran.err);
    assert!(ran.out.starts_with("\nfiles    0 added, 0 removed, 0 changed\n"), "{}", ran.out);
    assert!(ran.err.contains("ROOT/src/closed\n") && ran.err.contains("ROOT/src/secret\n"), "{}", ran.err);
    // What is not asked for is not read.
    assert_eq!(diff(&machine, &["latest", "live", machine.path("src/a").to_str().unwrap()]).code, 0);
    fs::set_permissions(machine.path("src/closed"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn one_path_and_a_source_that_is_gone() {
    let machine = Machine::with_snapshot();
    machine.write("src/a", b"other");
    machine.write("src/sub/b", b"longer than before");
    let part = machine.path("src/sub");
    assert_eq!(changes(&diff(&machine, &["latest", "live", part.to_str().unwrap()])), "M    ROOT/src/sub/b");
    fs::remove_dir_all(machine.path("src")).unwrap();
    let gone = changes(&diff(&machine, &["latest", "live"]));
    assert_eq!(gone, "-    ROOT/src/\n-    ROOT/src/a\n-    ROOT/src/sub/\n-    ROOT/src/sub/b");
}

#[test]
fn only_files_have_a_live_side() {
    let machine = Machine::with_repository();
    machine.run_with_input(&["backup", "--stdin", "--stdin-filename", "db.sql", "-r", "repo"], b"dump");
    let ran = diff(&machine, &["latest", "live"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("has no live side") && ran.err.contains("hint: "), "{}", ran.err);
    let ran = diff(&machine, &["live", "live"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("lifeboat diff latest live"), "{}", ran.err);
}
