//! Erasing paths from history: in every copy, for good, and never over a hold.

use crate::support::{Machine, Ran, walk};
use std::fs;

fn run(machine: &Machine, code: i32, args: &[&str]) -> Ran {
    let ran = machine.run(args);
    assert_eq!(ran.code, code, "{args:?}\n{}{}", ran.out, ran.err);
    ran
}

/// Two copies with three snapshots each; `src/anna` is in all but the first.
fn two_copies() -> Machine {
    let machine = Machine::with_repository();
    machine.ok(&["init", "-r", "second", "--copy-of", "repo"]);
    machine.ok(&["backup", "-r", "repo", "-r", "second", "src"]);
    machine.write("src/anna/diary", b"dear diary");
    machine.write("src/anna/letters/one", b"dear friend");
    machine.ok(&["backup", "-r", "repo", "-r", "second", "src"]);
    machine.write("src/c", b"more");
    machine.ok(&["backup", "-r", "repo", "-r", "second", "src"]);
    machine
}

fn anna(machine: &Machine) -> String {
    machine.path("src/anna").display().to_string()
}

fn ids(machine: &Machine, repository: &str) -> Vec<String> {
    let list = machine.run(&["snapshots", "-r", repository, "--json"]);
    let list: serde_json::Value = serde_json::from_slice(&list.raw_out).unwrap();
    list.as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap().to_string()).collect()
}

fn holds(machine: &Machine, repository: &str, snapshot: &str) -> bool {
    machine.ok(&["ls", "-r", repository, snapshot, "--recursive"]).contains("anna")
}

#[test]
fn a_path_is_gone_from_every_snapshot_of_every_copy_and_nothing_else_is() {
    let machine = two_copies();
    let before = ids(&machine, "repo");
    let dry = run(&machine, 0, &["rewrite", "--remove", &anna(&machine), "-r", "repo", "-r", "second", "-n"]);
    assert_eq!(dry.out.matches("would lose 2 files, 21 B").count(), 4, "{}", dry.out);
    assert_eq!(ids(&machine, "repo"), before);
    let ran = run(
        &machine,
        0,
        &["rewrite", "--remove", &anna(&machine), "--reason", "asked for", "-r", "repo", "-r", "second"],
    );
    assert!(ran.out.contains("as in the first copy"), "{}", ran.out);
    assert!(ran.err.contains("is still on this machine"), "{}", ran.err);
    let after = ids(&machine, "repo");
    assert_eq!((after.len(), &after[0]), (3, &before[0]), "what held nothing of it is as it was");
    assert_eq!(after, ids(&machine, "second"), "both copies have the same snapshots");
    for repository in ["repo", "second"] {
        assert!(after.iter().all(|id| !holds(&machine, repository, id)));
        machine.ok(&["check", "--read-data", "-r", repository]);
        // The old ones are forgotten; even brought back they give the path to nobody.
        machine.ok(&["forget", "--undo", &before[2], "-r", repository]);
        let target = format!("back-{repository}");
        machine.ok(&["restore", &before[2], "-r", repository, "--target", &target]);
        let back = machine.path(&target).join(machine.path("src").strip_prefix("/").unwrap());
        assert!(back.join("c").exists() && back.join("sub/b").exists() && !back.join("anna").exists());
        let diary = format!("{}:{}/diary", before[2], anna(&machine));
        for command in ["cat", "dump"] {
            let ran = run(&machine, 14, &[command, "-r", repository, &diary]);
            assert!(ran.err.contains("was erased") && ran.raw_out.is_empty(), "{}", ran.err);
        }
        // Nor does any list name it.
        assert!(!holds(&machine, repository, &before[2]));
        let ran = run(&machine, 14, &["ls", "-r", repository, &format!("{}:{}", before[2], anna(&machine))]);
        assert!(ran.err.contains("was erased"), "{}", ran.err);
        for more in [&[][..], &["--no-cache"]] {
            let found = run(&machine, 0, &[&["find", "-r", repository, "diary", "one"][..], more].concat());
            assert!(!found.out.contains("anna"), "{}", found.out);
            let path = format!("{}/diary", anna(&machine));
            let ran = run(&machine, 1, &[&["versions", "-r", repository, &path][..], more].concat());
            assert!(ran.err.contains("no snapshot has"), "{}", ran.err);
        }
        let changed = run(&machine, 0, &["diff", "-r", repository, &before[0], &before[2]]);
        assert!(changed.out.contains("src/c") && !changed.out.contains("anna"), "{}", changed.out);
        let archive = run(&machine, 0, &["dump", "-r", repository, &before[2]]);
        assert!(!String::from_utf8_lossy(&archive.raw_out).contains("dear diary"));
        machine.ok(&["forget", "-r", repository, &before[2]]);
        machine.ok(&["prune", "-r", repository, "--undo-window", "0", "--grace", "0"]);
    }
    let list = run(&machine, 0, &["rewrite", "--list", "-r", "second"]);
    assert!(list.out.contains("2 snapshots replaced") && list.out.contains("(asked for)"), "{}", list.out);
    // A backup that has it again has it because somebody wants it.
    machine.ok(&["backup", "-r", "repo", "src"]);
    assert!(holds(&machine, "repo", "latest"));
    machine.ok(&["restore", "latest", "-r", "repo", "--target", "wanted"]);
    assert!(walk(&machine.path("wanted")).iter().any(|path| path.ends_with("diary")));
}

#[test]
fn a_hold_wins_until_it_is_released() {
    let machine = two_copies();
    let held = ids(&machine, "repo")[1].clone();
    machine.ok(&["hold", "add", "-r", "repo", "case 7", &held]);
    let ran = run(&machine, 14, &["rewrite", "--remove", &anna(&machine), "-r", "repo"]);
    assert!(ran.out.contains("case 7") && ran.out.contains("1 kept"), "{}", ran.out);
    assert!(ids(&machine, "repo").contains(&held));
    let list = machine.ok(&["rewrite", "--list", "-r", "repo"]);
    assert!(list.ends_with(", 1 snapshot here holds it still\n"), "{list}");
    machine.ok(&["restore", &held, "-r", "repo", "--target", "held"]);
    assert!(walk(&machine.path("held")).iter().any(|path| path.ends_with("diary")), "a hold keeps all of it");
    machine.ok(&["hold", "release", "-r", "repo", "case 7"]);
    run(&machine, 0, &["rewrite", "--reapply", "-r", "repo"]);
    assert!(ids(&machine, "repo").iter().all(|id| *id != held && !holds(&machine, "repo", id)));
    let again = run(&machine, 0, &["rewrite", "--reapply", "-r", "repo"]);
    assert!(again.out.contains("no snapshot holds it"), "{}", again.out);
}

#[test]
fn a_hold_is_put_into_every_copy_and_one_that_is_in_one_of_them_wins_in_all() {
    let machine = two_copies();
    let (both, held) = (["-r", "repo", "-r", "second"], ids(&machine, "repo")[1].clone());
    let with_both = |words: &[&str]| machine.run(&[words, &both[..]].concat());
    let ran = with_both(&["hold", "add", "case 7", &held]);
    assert_eq!((ran.code, ran.out.lines().count()), (0, 2), "{}", ran.out);
    assert!(with_both(&["hold", "list"]).out.matches("case 7").count() == 2);
    machine.ok(&["hold", "release", "-r", "second", "case 7"]);
    let anna = anna(&machine);
    let ran = with_both(&["rewrite", "--remove", &anna]);
    assert_eq!((ran.code, ran.out.matches("case 7").count()), (14, 2), "{}", ran.out);
    for repository in ["repo", "second"] {
        assert!(ids(&machine, repository).contains(&held), "{repository}");
        machine.ok(&["restore", &held, "-r", repository, "--target", repository.to_uppercase().as_str()]);
        let back = walk(&machine.path(&repository.to_uppercase()));
        assert!(
            back.iter().any(|path| path.ends_with("diary")),
            "a held snapshot comes back whole from both"
        );
    }
    assert_eq!(with_both(&["hold", "release", "case 7"]).code, 0);
    assert_eq!(with_both(&["hold", "release", "case 7"]).code, 1);
    assert_eq!(with_both(&["rewrite", "--reapply"]).code, 0);
    for repository in ["repo", "second"] {
        assert!(ids(&machine, repository).iter().all(|id| !holds(&machine, repository, id)), "{repository}");
    }
    fs::rename(machine.path("second"), machine.path("away")).unwrap();
    let ran = with_both(&["hold", "add", "case 8", "--all"]);
    assert!(ran.code == 13 && ran.err.contains("second was not reached"), "{}", ran.err);
}

#[test]
fn a_path_that_no_snapshot_holds_is_an_error_and_leaves_no_trace() {
    let machine = two_copies();
    for extra in [&[][..], &["-n"]] {
        let ran =
            run(&machine, 1, &[&["rewrite", "--remove", "/no/such/path", "-r", "repo"], extra].concat());
        assert!(ran.err.contains("no snapshot holds /no/such/path"), "{}", ran.err);
    }
    assert_eq!(machine.ok(&["rewrite", "--list", "-r", "repo"]), "");
}

/// What is printed is enough: nothing of it is left in any pack.
#[test]
fn the_command_that_is_printed_takes_the_bytes_out_at_once() {
    let machine = two_copies();
    let before = walk(&machine.path("repo/packs")).len();
    let ran = run(&machine, 0, &["rewrite", "--remove", &anna(&machine), "-r", "repo"]);
    let printed = ran.out.lines().find_map(|line| line.trim().strip_prefix("at once: lifeboat ")).unwrap();
    let words: Vec<&str> = printed.split_whitespace().map(|word| word.trim_matches('\'')).collect();
    machine.ok(&words);
    let stats = machine.ok(&["prune", "-r", "repo", "-n", "--max-unused", "0"]);
    assert!(!stats.contains("would be rewritten") || stats.contains(" 0 packs"), "{before}: {stats}");
}

#[test]
fn this_machine_remembers_what_it_erased_for_a_copy_that_was_away() {
    let machine = two_copies();
    let old = ids(&machine, "second")[2].clone();
    run(&machine, 0, &["rewrite", "--remove", &anna(&machine), "-r", "repo"]);
    // Nothing has told the other copy, and its record of erasures is empty.
    machine.ok(&["restore", &old, "-r", "second", "--target", "back"]);
    assert!(!walk(&machine.path("back")).iter().any(|path| path.ends_with("diary")));
    run(&machine, 0, &["rewrite", "--reapply", "-r", "second"]);
    assert!(ids(&machine, "second").iter().all(|id| !holds(&machine, "second", id)));
    // Nobody without the key learns from this machine what it was.
    let state = machine.path("home/.local/state/lifeboat");
    let kept = walk(&state).into_iter().filter(|path| path.to_string_lossy().contains("erased-"));
    let kept: Vec<Vec<u8>> = kept.filter(|path| path.is_file()).map(|path| fs::read(path).unwrap()).collect();
    assert!(!kept.is_empty() && kept.iter().all(|bytes| !bytes.windows(4).any(|part| part == b"anna")));
}

#[test]
fn a_copy_that_was_away_learns_of_it_and_brings_nothing_back() {
    let machine = two_copies();
    run(&machine, 0, &["rewrite", "--remove", &anna(&machine), "-r", "repo"]);
    machine.ok(&["prune", "-r", "repo", "--undo-window", "0", "--grace", "0"]);
    // What was replaced does not come back from a copy that did not know.
    let back = run(&machine, 0, &["sync", "--from", "second", "--to", "repo"]);
    assert!(back.out.contains("2 snapshots are left out"), "{}", back.out);
    assert!(ids(&machine, "repo").iter().all(|id| !holds(&machine, "repo", id)));
    let old = ids(&machine, "second")[2].clone();
    let there = run(&machine, 0, &["sync", "--from", "repo", "--to", "second"]);
    assert!(there.out.contains("1 erasure brought"), "{}", there.out);
    machine.ok(&["restore", &old, "-r", "second", "--target", "back"]);
    assert!(!walk(&machine.path("back")).iter().any(|path| path.ends_with("diary")));
    run(&machine, 0, &["rewrite", "--reapply", "-r", "second"]);
    assert!(ids(&machine, "second").iter().all(|id| !holds(&machine, "second", id)));
    // A snapshot that nobody knew of when the path was erased is named.
    machine.ok(&["init", "-r", "third", "--copy-of", "repo"]);
    machine.ok(&["backup", "-r", "third", "src", "--time", "2020-01-01 00:00"]);
    let ran = run(&machine, 0, &["sync", "--from", "third", "--to", "repo"]);
    assert!(
        ran.err.contains("1 snapshot that was brought holds erased paths") && ran.err.contains("--reapply"),
        "{}",
        ran.err
    );
    run(&machine, 0, &["rewrite", "--reapply", "-r", "repo"]);
    assert!(ids(&machine, "repo").iter().all(|id| !holds(&machine, "repo", id)));
}

#[test]
fn what_would_erase_everything_is_refused_and_what_holds_nothing_else_is_forgotten() {
    let machine = Machine::with_snapshot();
    run(&machine, 2, &["rewrite", "--remove", "/", "-r", "repo"]);
    run(&machine, 2, &["rewrite", "-r", "repo"]);
    machine.ok(&["key", "add", "-r", "repo", "--file", "prune.key", "--role", "maintain"]);
    run(&machine, 14, &["rewrite", "--remove", "/x", "-r", "repo", "--key-file", "prune.key"]);
    let first = machine.root.components().nth(1).unwrap().as_os_str().to_str().unwrap().to_string();
    let ran = run(&machine, 0, &["rewrite", "--remove", &format!("/{first}"), "-r", "repo"]);
    assert!(ran.out.contains("without 2 files") || ran.out.contains("held nothing else"), "{}", ran.out);
    run(&machine, 0, &["check", "-r", "repo"]);
    assert!(fs::read_dir(machine.path("repo/log")).unwrap().count() > 0, "it is written down");
}

#[test]
fn a_copy_that_is_not_there_keeps_nobody_from_the_others_and_is_named() {
    let machine = two_copies();
    fs::rename(machine.path("second"), machine.path("away")).unwrap();
    let args = ["rewrite", "--remove", &anna(&machine), "-r", "repo", "-r", "second"];
    let ran = run(&machine, 13, &args);
    assert!(ran.err.contains("second holds it still"), "{}", ran.err);
    assert!(ran.out.contains("and their bytes after"), "{}", ran.out);
    assert!(ids(&machine, "repo").iter().all(|id| !holds(&machine, "repo", id)));
    fs::rename(machine.path("away"), machine.path("second")).unwrap();
    // One copy that knows tells the others.
    let ran = run(&machine, 0, &["rewrite", "--reapply", "-r", "second", "-r", "repo", "--json"]);
    let lines: Vec<serde_json::Value> =
        ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["snapshots"].as_array().unwrap().len(), 2, "{}", ran.out);
    assert!(lines[0]["bytes_remain_until"].as_str() > lines[0]["undo_until"].as_str(), "{}", ran.out);
    assert!(ids(&machine, "second").iter().all(|id| !holds(&machine, "second", id)));
}

#[test]
fn status_reminds_of_a_copy_that_was_away_until_it_is_rewritten() {
    let mut machine = Machine::new();
    machine.write("src/anna/diary", b"dear diary");
    machine.write("src/a", b"a");
    let root = machine.root.display().to_string();
    let text = format!(
        "[repositories.main]\nurl = \"{root}/main\"\n[repositories.second]\nurl = \"{root}/second\"\n\
         [sources.src]\npaths = [\"{root}/src\"]\n\
         [jobs.daily]\nsources = [\"src\"]\nto = [\"main\", \"second\"]\nschedule = \"daily\"\nretry = {{ attempts = 1 }}\n"
    );
    fs::write(machine.root.join("lifeboat.toml"), text).unwrap();
    machine.set("LIFEBOAT_CONFIG", &format!("{root}/lifeboat.toml"));
    machine.ok(&["init", "-r", "main"]);
    machine.ok(&["init", "-r", "second", "--copy-of", "main"]);
    machine.ok(&["run", "daily"]);
    let says = |wanted: &str| {
        let status = machine.run(&["status", "--look", "never"]).out;
        assert!(status.contains(wanted), "{status}");
        status
    };
    fs::rename(machine.path("second"), machine.path("away")).unwrap();
    run(&machine, 13, &["rewrite", "--remove", &anna(&machine)]);
    let status = says("second: was away when paths were erased, and holds them still");
    assert!(status.contains("lifeboat rewrite --reapply -r second"), "{status}");
    fs::rename(machine.path("away"), machine.path("second")).unwrap();
    fs::remove_dir_all(machine.path("src/anna")).unwrap();
    machine.ok(&["run", "daily"]);
    says("second: 1 snapshot holds erased paths still");
    run(&machine, 0, &["rewrite", "--reapply", "-r", "second"]);
    assert!(!machine.run(&["status", "--look", "never"]).out.contains("erased paths"));
}
