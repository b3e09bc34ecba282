//! Forgetting by a policy, undoing, holding, confirming, and the minimum age.

use crate::support::{Machine, Ran};
use serde_json::Value;

/// A machine with a snapshot for each of these times, of which the owner chose each on purpose.
fn with_snapshots(times: &[&str]) -> Machine {
    let machine = Machine::with_repository();
    machine.age_source();
    for time in times {
        machine.ok(&["backup", "-r", "repo", "--host", "nas", "--time", time, "src"]);
    }
    machine
}

const DAYS: [&str; 6] = [
    "2026-01-01 08:00:00",
    "2026-01-01 20:00:00",
    "2026-01-02 08:00:00",
    "2026-02-01 08:00:00",
    "2026-03-01 08:00:00",
    "2026-03-02 08:00:00",
];

fn json(machine: &Machine, args: &[&str]) -> Value {
    let args: Vec<&str> = args.iter().copied().chain(["-r", "repo", "--json"]).collect();
    let ran = machine.run(&args);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    serde_json::from_slice(&ran.raw_out).unwrap()
}

fn ids(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap().to_string()).collect()
}

/// Which of the snapshots are in sight, by their numbers.
fn visible(machine: &Machine, all: &[String]) -> Vec<usize> {
    let seen = ids(&json(machine, &["snapshots"]));
    (0..all.len()).filter(|n| seen.contains(&all[*n])).collect()
}

fn all_ids(machine: &Machine) -> Vec<String> {
    ids(&json(machine, &["snapshots", "--forgotten"]))
}

fn plain(ran: &Ran) -> String {
    format!("{}{}", ran.out, ran.err)
}

#[test]
fn a_policy_says_why_each_snapshot_stays() {
    let machine = with_snapshots(&DAYS);
    let all = all_ids(&machine);
    let would = machine.run(&["forget", "-r", "repo", "--policy", "1 2d 3m", "-n"]);
    assert_eq!(
        would.out,
        "keep 1 last, 2 daily, 3 monthly\n\
         \n\
         host nas, source ROOT/src\n\
         \x20 would forget  ID  TIME  no rule keeps it\n\
         \x20 would forget  ID  TIME  no rule keeps it\n\
         \x20 keep          ID  TIME  monthly 2026-01\n\
         \x20 keep          ID  TIME  monthly 2026-02\n\
         \x20 keep          ID  TIME  daily DATE\n\
         \x20 keep          ID  TIME  last; daily DATE; monthly 2026-03\n\
         \n\
         4 snapshots would stay, 2 would be forgotten\n"
    );
    assert_eq!((would.code, would.err.as_str()), (0, ""));
    assert_eq!(visible(&machine, &all), [0, 1, 2, 3, 4, 5]);
    let done = machine.run(&["forget", "-r", "repo", "--policy", "1 2d 3m"]);
    assert!(done.out.ends_with("4 snapshots stay, 2 forgotten\n"), "{}", done.out);
    assert_eq!(
        done.err,
        "see what can be brought back with: lifeboat forget --undo\nfree the space with: lifeboat prune\n"
    );
    assert_eq!(visible(&machine, &all), [2, 3, 4, 5]);
    let again = machine.ok(&["forget", "-r", "repo", "--policy", "1 2d 3m"]);
    assert!(again.ends_with("\nnothing to forget: 4 snapshots stay\n"), "{again}");
}

#[test]
fn the_options_of_a_policy_add_up() {
    let machine = with_snapshots(&DAYS);
    let all = all_ids(&machine);
    let kept = |args: &[&str]| -> Vec<usize> {
        let args: Vec<&str> = ["forget", "-n"].iter().chain(args).copied().collect();
        let groups = json(&machine, &args);
        let kept = ids(&groups[0]["keep"]);
        (0..all.len()).filter(|n| kept.contains(&all[*n])).collect()
    };
    assert_eq!(kept(&["--keep-last", "2"]), [4, 5]);
    assert_eq!(kept(&["--policy", "9", "--keep-last", "2"]), [4, 5]);
    assert_eq!(kept(&["--keep-daily", "unlimited"]), [0, 1, 2, 3, 4, 5]);
    assert_eq!(kept(&["--keep-daily=-1", "--keep-last=1"]), [0, 1, 2, 3, 4, 5]);
    assert_eq!(kept(&["-m", "3"]), [2, 3, 5]);
    assert_eq!(kept(&["--keep-within", "1m2d"]), [3, 4, 5]);
    assert_eq!(kept(&["--keep-within-monthly", "1y"]), [0, 2, 3, 5]);
    assert_eq!(kept(&["--keep-hourly", "1", "--keep-weekly", "2", "--keep-yearly", "1"]), [4, 5]);
}

#[test]
fn a_policy_speaks_restics_json_and_more() {
    let machine = with_snapshots(&DAYS[..3]);
    let groups = json(&machine, &["forget", "--keep-daily", "1"]);
    assert_eq!(groups.as_array().unwrap().len(), 1);
    let group = &groups[0];
    assert_eq!((group["host"].as_str(), group["tags"].is_null()), (Some("nas"), true));
    assert_eq!(group["paths"][0].as_str(), machine.path("src").to_str());
    assert_eq!((ids(&group["keep"]).len(), ids(&group["remove"]).len()), (1, 2));
    assert_eq!(group["reasons"][0]["matches"], serde_json::json!(["daily snapshot"]));
    assert_eq!(group["reasons"][0]["words"], serde_json::json!(["daily 2026-01-02"]));
    assert_eq!(group["reasons"][0]["snapshot"]["id"], group["keep"][0]["id"]);
    let by_all = json(&machine, &["forget", "-n", "--keep-daily", "1", "--group-by", ""]);
    assert_eq!((&by_all[0]["host"], &by_all[0]["paths"]), (&Value::Null, &Value::Null));
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_done() {
    let machine = with_snapshots(&DAYS[..2]);
    for (args, error) in [
        (&["forget"][..], "error: nothing is named to forget, and no policy says what to keep\n"),
        (&["forget", "--keep-last", "0"], "error: this policy keeps nothing\n"),
        (&["forget", "--policy", ""], "error: this policy keeps nothing\n"),
        (&["forget", "--keep-tag", ""], "error: this policy keeps nothing\n"),
        (
            &["forget", "--keep-last", "1", "latest"],
            "error: snapshots are forgotten by their ids or by a policy",
        ),
        (&["forget", "--keep-last", "1", "--undo"], "error: --undo brings back single snapshots"),
        (&["forget", "--keep-last", "many"], "error: invalid value 'many' for '--keep-last <N>'"),
        (&["forget", "--policy", "7x"], "error: invalid value '7x' for '--policy <POLICY>'"),
        (&["forget", "--keep-within", "7"], "error: invalid value '7' for '--keep-within <SPAN>'"),
        (
            &["forget", "--keep-last", "1", "--group-by", "size"],
            "error: snapshots cannot be grouped by \"size\"\n",
        ),
        (&["hold", "add", "x"], "error: nothing is named to hold\n"),
        (&["hold", "add", "x", "--all", "--until", "2001-01-01"], "error: the hold would be over at once"),
        (&["repo", "set", "--minimum-age", "soon"], "error: invalid value 'soon' for '--minimum-age <AGE>'"),
    ] {
        let args: Vec<&str> = args.iter().copied().chain(["-r", "repo"]).collect();
        let ran = machine.run(&args);
        assert_eq!(ran.code, 2, "{args:?}: {}", plain(&ran));
        assert!(ran.err.starts_with(error), "{args:?}: {}", ran.err);
    }
    assert_eq!(visible(&machine, &all_ids(&machine)), [0, 1]);
}

#[test]
fn what_was_forgotten_is_listed_with_the_end_of_its_time_and_comes_back() {
    let machine = with_snapshots(&DAYS);
    let all = all_ids(&machine);
    assert_eq!(
        machine.ok(&["forget", "--undo", "-r", "repo"]),
        "nothing is forgotten that could be brought back\n"
    );
    machine.ok(&["forget", "--keep-last", "4", "-r", "repo"]);
    assert_eq!(
        machine.ok(&["forget", "--undo", "-r", "repo"]),
        "id        time                 host  comes back until     forgotten            source\n\
         ID  TIME  nas   TIME  policy: keep 4 last  ROOT/src\n\
         ID  TIME  nas   TIME  policy: keep 4 last  ROOT/src\n"
    );
    let list = json(&machine, &["forget", "--undo"]);
    assert_eq!(list[0]["forgotten_reason"], "policy: keep 4 last");
    let time = |name: &str| -> jiff::Timestamp { list[0][name].as_str().unwrap().parse().unwrap() };
    let days = (time("undo_until") - time("forgotten_time")).total(jiff::Unit::Hour).unwrap() / 24.0;
    assert!((6.9..7.1).contains(&days), "{days}");
    assert!(
        machine
            .ok(&["snapshots", "--forgotten", "-r", "repo"])
            .contains("(forgotten, comes back until TIME)")
    );
    machine.ok(&["forget", "--undo", &all[0], &all[1], "-n", "-r", "repo"]);
    assert_eq!(visible(&machine, &all), [2, 3, 4, 5]);
    machine.ok(&["forget", "--undo", &all[0], &all[1], "-r", "repo"]);
    assert_eq!(visible(&machine, &all), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn held_snapshots_stay_until_the_hold_is_released() {
    let machine = with_snapshots(&DAYS);
    let all = all_ids(&machine);
    let out =
        machine.ok(&["hold", "add", "case 7", &all[0], "latest~1", "--reason", "court order", "-r", "repo"]);
    assert_eq!(out, "\"case 7\" holds 2 snapshots\n");
    let out =
        machine.ok(&["hold", "add", "nas", "--host", "nas", "--until", "2099-01-01", "-n", "-r", "repo"]);
    assert_eq!(out, "\"nas\" would hold 6 snapshots, and those to come that fit\n");
    assert_eq!(
        machine.ok(&["hold", "list", "-r", "repo"]),
        "name    id        until           snapshots  covers          reason\n\
         case 7  ID  until released  2          what was named  court order\n"
    );
    let ran = machine.run(&["forget", &all[0], "-r", "repo"]);
    assert_eq!(ran.code, 14);
    assert_eq!(
        ran.err,
        "error: snapshot ID is held by \"case 7\" (court order)\n\
         hint: end the hold with: lifeboat hold release 'case 7'\n"
    );
    // Nothing of such a request is carried out, and another record of the same tree is no way around.
    assert_eq!(machine.run(&["forget", &all[2], &all[0], "-r", "repo"]).code, 14);
    assert_eq!(machine.run(&["tag", "--add", "x", &all[0], "-r", "repo"]).code, 14);
    let out = machine.ok(&["forget", "--keep-last", "1", "-r", "repo"]);
    assert!(out.contains("  keep    ID  TIME  held by \"case 7\"\n"), "{out}");
    assert_eq!(visible(&machine, &all), [0, 4, 5]);
    assert!(machine.ok(&["snapshots", "-r", "repo"]).contains("ROOT/src (held by case 7)\n"));
    assert_eq!(json(&machine, &["snapshots"])[0]["holds"][0]["reason"], "court order");
    let twice = machine.run(&["hold", "add", "case 7", "--all", "-r", "repo"]);
    assert_eq!(
        (twice.code, twice.err.lines().next()),
        (2, Some("error: there is a hold \"case 7\" already"))
    );
    assert_eq!(machine.ok(&["hold", "release", "case 7", "-r", "repo"]), "hold \"case 7\" is released\n");
    let gone = machine.run(&["hold", "release", "case 7", "-r", "repo"]);
    assert_eq!((gone.code, gone.err.lines().next()), (1, Some("error: there is no hold \"case 7\"")));
    machine.ok(&["forget", &all[0], "-r", "repo"]);
    assert_eq!(visible(&machine, &all), [4, 5]);
}

#[test]
fn a_minimum_age_is_ended_by_nothing() {
    let machine = with_snapshots(&DAYS[..2]);
    let all = all_ids(&machine);
    let out = machine.ok(&["repo", "set", "--minimum-age", "30d", "-r", "repo"]);
    assert_eq!(out, "minimum age of snapshots: 30 days\n");
    for lower in ["1d", "0"] {
        let ran = machine.run(&["repo", "set", "--minimum-age", lower, "-r", "repo"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert_eq!(ran.err, "a greater age stays in force for the snapshots that are there already\n");
        // By the age of its receipt, whatever time it claims.
        let ran = machine.run(&["forget", &all[0], "-r", "repo"]);
        assert_eq!(ran.code, 14, "{}", plain(&ran));
        assert_eq!(
            ran.err,
            "error: snapshot ID has not reached the minimum age of this repository\n\
             hint: only time ends that: it can be forgotten from TIME on\n"
        );
    }
    let out = machine.ok(&["forget", "--keep-last", "1", "-r", "repo"]);
    assert!(out.contains("  keep  ID  TIME  below the minimum age\n"), "{out}");
    assert_eq!(visible(&machine, &all), [0, 1]);
    assert!(machine.ok(&["repo", "info", "-r", "repo"]).contains("minimum age    none\n"));
    assert!(json(&machine, &["snapshots"])[0]["protected_until"].is_string());
    // What comes after the age was taken back may go.
    machine.ok(&["backup", "-r", "repo", "--host", "new", "src"]);
    machine.ok(&["forget", "latest", "-r", "repo"]);
}

#[test]
fn imports_count_when_they_are_confirmed() {
    let machine = with_snapshots(&DAYS);
    let all = all_ids(&machine);
    // The word of the owner is lost, as after a copy of the repository by other means.
    std::fs::remove_dir_all(machine.path("repo/trust")).unwrap();
    for id in &all {
        // Times of files are what a folder knows of receipt. All of them claim to end when they were made.
        let file = std::fs::File::open(machine.path(&format!("repo/snapshots/{id}"))).unwrap();
        let day = std::time::SystemTime::now() + std::time::Duration::from_secs(100 * 86_400);
        file.set_modified(day).unwrap();
        std::fs::remove_file(machine.path(&format!("repo/mirror/snapshots/{id}"))).unwrap();
    }
    let out = machine.ok(&["forget", "--keep-last", "1", "-r", "repo"]);
    assert_eq!(out.matches("keep  ID  TIME  unconfirmed: received ").count(), 6, "{out}");
    assert_eq!(visible(&machine, &all), [0, 1, 2, 3, 4, 5]);
    let listed = machine.ok(&["trust", "-r", "repo"]);
    assert_eq!(listed.matches("unconfirmed: received ").count(), 6, "{listed}");
    assert_eq!(machine.ok(&["trust", "--all", "--path", "/nowhere", "-r", "repo"]), "");
    assert_eq!(machine.ok(&["trust", "--all", "-r", "repo"]).matches(" is confirmed\n").count(), 6);
    machine.ok(&["forget", "--keep-last", "1", "-r", "repo"]);
    assert_eq!(visible(&machine, &all), [5]);
}

#[test]
fn a_confirmation_can_be_given_and_withdrawn() {
    let machine = with_snapshots(&DAYS[..2]);
    let all = all_ids(&machine);
    assert_eq!(machine.ok(&["trust", "-r", "repo"]), "no snapshot is doubtful\n");
    assert_eq!(machine.ok(&["trust", &all[0], "-r", "repo"]), "snapshot ID of TIME is confirmed\n");
    let out = machine.ok(&["trust", "--withdraw", &all[0], "-r", "repo"]);
    assert_eq!(out, "snapshot ID of TIME is not confirmed any more\n");
    let ran = machine.run(&["trust", "--all", &all[0], "-r", "repo"]);
    assert_eq!(ran.code, 2, "{}", plain(&ran));
}

#[test]
fn a_snapshot_with_much_less_in_it_takes_no_place() {
    let machine = Machine::with_repository();
    for n in 0..10 {
        machine.write(&format!("src/{n}"), b"0123456789");
    }
    machine.age_source();
    for _ in 0..3 {
        machine.ok(&["backup", "-r", "repo", "--host", "nas", "src"]);
    }
    let before = all_ids(&machine);
    for n in 0..8 {
        std::fs::remove_file(machine.path(&format!("src/{n}"))).unwrap();
    }
    machine.ok(&["backup", "-r", "repo", "--host", "nas", "src"]);
    let all = all_ids(&machine);
    let out = machine.run(&["forget", "--keep-last", "1", "-r", "repo"]);
    assert!(
        out.out.contains("keep    ID  TIME  suspicious: 67 % fewer files and 72 % fewer bytes than usual"),
        "{}",
        out.out
    );
    assert!(
        out.err.contains("say which of the doubtful ones are right with: lifeboat trust SNAPSHOT\n"),
        "{}",
        out.err
    );
    assert_eq!(visible(&machine, &all), [2, 3]);
    assert_eq!(all[..3], before[..]);
    assert!(machine.ok(&["snapshots", "-r", "repo"]).contains("(suspicious)\n"));
    machine.ok(&["trust", "latest", "-r", "repo"]);
    machine.ok(&["forget", "--keep-last", "1", "-r", "repo"]);
    assert_eq!(visible(&machine, &all), [3]);
}

#[test]
fn the_last_good_snapshot_of_each_source_stays_whatever_the_policy() {
    let machine = with_snapshots(&DAYS[..2]);
    machine.ok(&["backup", "-r", "repo", "--host", "other", "src"]);
    let out = machine.ok(&["forget", "--keep-tag", "nobody-has-it", "-r", "repo"]);
    assert_eq!(out.matches("last good one of its source").count(), 2, "{out}");
    assert!(out.ends_with("2 snapshots stay, 1 forgotten\n"), "{out}");
}

#[test]
fn forgetting_and_pruning_is_one_command() {
    let machine = with_snapshots(&DAYS[..1]);
    machine.write("src/large", &(0..400_000u32).flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>());
    machine.ok(&["backup", "-r", "repo", "--host", "nas", "--time", DAYS[1], "src"]);
    std::fs::remove_file(machine.path("src/large")).unwrap();
    machine.ok(&["backup", "-r", "repo", "--host", "nas", "--time", DAYS[2], "src"]);
    let stored = |machine: &Machine| json(machine, &["stats"])["bytes_stored"].as_u64().unwrap();
    let before = stored(&machine);
    let all = all_ids(&machine);
    let urgent = ["forget", "-r", "repo", &all[0], &all[1], "--prune", "--undo-window", "0", "--grace", "0"];
    let would = machine.run(&[&urgent[..], &["-n"]].concat());
    assert!(would.out.contains("would remove 2 forgotten snapshots"), "{}", would.out);
    assert!(would.out.contains("would free") && !would.out.contains("would free 0 B"), "{}", would.out);
    assert_eq!(stored(&machine), before);
    let ran = machine.run(&urgent);
    assert_eq!(ran.code, 0, "{}", plain(&ran));
    assert!(ran.out.contains("removed 2 forgotten snapshots"), "{}", ran.out);
    assert!(stored(&machine) < before);
    machine.ok(&["check", "--read-data", "-r", "repo"]);
    // How to prune makes no sense where nothing is pruned, and nothing is brought back by pruning.
    for wrong in [&["forget", "--keep-last", "1", "--grace", "0"][..], &["forget", "--undo", "--prune"]] {
        assert_eq!(machine.run(&[wrong, &["-r", "repo"]].concat()).code, 2, "{wrong:?}");
    }
}

#[test]
fn a_damaged_snapshot_takes_no_good_ones_place() {
    let machine = Machine::with_repository();
    machine.age_source();
    machine.ok(&["backup", "-r", "repo", "--host", "nas", "src"]);
    let packs = || -> Vec<std::path::PathBuf> {
        let folders = std::fs::read_dir(machine.path("repo/packs")).unwrap().map(|e| e.unwrap().path());
        folders.flat_map(|f| std::fs::read_dir(f).unwrap().map(|e| e.unwrap().path())).collect()
    };
    let old = packs();
    let noise: Vec<u8> = (0..200_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    machine.write("src/a", &noise);
    machine.ok(&["backup", "-r", "repo", "--host", "nas", "src"]);
    let all = all_ids(&machine);
    // What the second one needs is broken, and the source has it no more.
    machine.write("src/a", b"gone");
    let new = packs().into_iter().find(|pack| !old.contains(pack)).unwrap();
    let mut bytes = std::fs::read(&new).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(&new).unwrap();
    std::fs::write(&new, bytes).unwrap();
    assert_eq!(machine.run(&["repair", "-r", "repo"]).code, 5);
    assert!(machine.ok(&["snapshots", "-r", "repo"]).contains("ROOT/src (damaged)\n"));
    machine.ok(&["forget", "--keep-last", "1", "-r", "repo"]);
    assert_eq!(visible(&machine, &all), [0, 1]);
    machine.ok(&["backup", "-r", "repo", "--host", "nas", "src"]);
    machine.ok(&["forget", "--keep-last", "1", "-r", "repo"]);
    assert_eq!(visible(&machine, &all), [] as [usize; 0]);
}
