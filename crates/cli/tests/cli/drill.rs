//! Test restores: what is stored comes back, what is damaged is found, and the evidence cannot be thinned out.

use crate::support::{Machine, Ran, missing, mounted, tool};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

fn run(machine: &Machine, code: i32, args: &[&str]) -> Ran {
    let ran = machine.run(args);
    assert_eq!(ran.code, code, "{args:?}\n{}{}", ran.out, ran.err);
    ran
}

fn object(ran: &Ran) -> Value {
    serde_json::from_slice(&ran.raw_out).unwrap_or_else(|e| panic!("{e}: {}", ran.out))
}

/// Thousands of small files in many folders, so that the tree has many leaves.
fn many_files(machine: &Machine) {
    for n in 0..1500 {
        let text: String =
            (0..20).map(|i| format!("{:x}", (n * 7919 + i * 104_729) as u64 * 2_654_435_761)).collect();
        machine.write(&format!("src/folder{}/file{n}", n % 30), text.as_bytes());
    }
}

fn packs(machine: &Machine, repository: &str) -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }
    let mut found = Vec::new();
    walk(&machine.path(repository).join("packs"), &mut found);
    found
}

fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let len = bytes.len();
    (len / 3..len / 3 + 2000).for_each(|i| bytes[i] ^= 0x55);
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_cycle_of_drills_restores_everything_and_the_evidence_is_kept() {
    let machine = Machine::new();
    many_files(&machine);
    machine.ok(&["backup", "--init", "-r", "repo", "src"]);
    let dry = run(&machine, 0, &["drill", "run", "-r", "repo", "--sample", "1/4", "-n"]);
    assert!(dry.out.contains("part 1 of 4"), "{}", dry.out);
    let mut files = 0;
    for part in 0..4 {
        let ran =
            run(&machine, 0, &["drill", "run", "-r", "repo", "--sample", "1/4", "--age", "newest", "--json"]);
        let evidence = object(&ran);
        assert_eq!((&evidence["part"]["k"], &evidence["result"]), (&part.into(), &"passed".into()));
        assert!(evidence["attributes"].as_u64() > evidence["entries"].as_u64());
        assert_eq!(evidence["live"]["equal"], evidence["files"], "the live files are compared, too");
        assert_eq!(evidence["bytes_hashed"], evidence["bytes"]);
        files += evidence["files"].as_u64().unwrap();
    }
    assert_eq!(files, 1502, "four quarters are all of it");
    let scratch = fs::read_dir(machine.path("home/.cache/lifeboat")).unwrap();
    assert!(scratch.flatten().all(|entry| !entry.file_name().to_string_lossy().starts_with("drill-")));
    let list = run(&machine, 0, &["drill", "list", "-r", "repo"]);
    assert_eq!(list.out.lines().count(), 5, "{}", list.out);
    let show = run(&machine, 0, &["drill", "show", "-r", "repo"]);
    assert!(show.out.contains("passed: part 4 of 4") && show.out.contains(": right"), "{}", show.out);
    let report =
        object(&run(&machine, 0, &["drill", "report", "-r", "repo", "--json", "--html", "report.html"]));
    let proof = &report["coverage"][0]["proof"];
    assert_eq!((&proof["bytes_share_of_newest"], &proof["snapshots_whole"]), (&1.0.into(), &1.into()));
    assert_eq!(report["log_is_whole"], true);
    let page = fs::read_to_string(machine.path("report.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("none is missing") && !page.contains("<script"));
    machine.ok(&["check", "-r", "repo"]);
}

#[test]
fn planted_corruption_is_found_within_a_cycle_and_named() {
    let machine = Machine::new();
    many_files(&machine);
    machine.ok(&["backup", "--init", "-r", "repo", "src"]);
    let path =
        packs(&machine, "repo").into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    damage(&path);
    let mut codes = Vec::new();
    let mut said = String::new();
    for _ in 0..4 {
        let ran = machine.run(&["drill", "run", "-r", "repo", "--sample", "1/4", "--age", "newest"]);
        codes.push(ran.code);
        said += &ran.out;
    }
    assert!(codes.contains(&5) && codes.iter().all(|code| [0, 5].contains(code)), "{codes:?} {said}");
    assert!(said.contains("ROOT/src/folder") && said.contains("damage found"), "{said}");
    let report = object(&run(&machine, 0, &["drill", "report", "-r", "repo", "--json"]));
    let proof = &report["coverage"][0]["proof"];
    assert!(proof["bytes_share_of_newest"].as_f64().unwrap() < 1.0, "damaged parts prove nothing");
}

/// Each day brings a new snapshot, and each drill takes another part of the newest: what did not change stays proven.
#[test]
fn what_is_unchanged_since_it_was_proven_is_proven_in_the_snapshot_of_today() {
    let machine = Machine::new();
    many_files(&machine);
    let proof = |machine: &Machine| {
        let report = object(&run(machine, 0, &["drill", "report", "-r", "repo", "--json"]));
        report["coverage"][0]["proof"].clone()
    };
    for day in 0..4 {
        machine.write("src/folder1/diary", format!("day {day}").as_bytes());
        machine.ok(&["backup", "--init", "-r", "repo", "src"]);
        run(&machine, 0, &["drill", "run", "-r", "repo", "--sample", "1/4", "--age", "newest"]);
    }
    let after = proof(&machine);
    let newest = after["bytes_share_of_newest"].as_f64().unwrap();
    assert!((0.3..1.0).contains(&newest), "all but the leaves that changed since: {after}");
    assert_eq!(after["snapshots"], 4);
    run(&machine, 0, &["drill", "run", "-r", "repo", "--whole", "--age", "newest"]);
    let after = proof(&machine);
    assert_eq!(after["bytes_share_of_newest"], 1.0, "{after}");
    let (whole, all) =
        (after["snapshots_whole"].as_u64().unwrap(), after["bytes_share_of_all"].as_f64().unwrap());
    assert!((1..4).contains(&whole) && (0.5..1.0).contains(&all), "{after}");
    machine.ok(&["rewrite", "-r", "repo", "--remove", machine.path("src/folder1").to_str().unwrap()]);
    let after = proof(&machine);
    let share = after["bytes_share_of_newest"].as_f64().unwrap();
    assert!(
        share > 0.3 && share < 1.0 && after["snapshots_whole"] == 0,
        "the rest of it is as before: {after}"
    );
}

#[test]
fn a_sample_is_no_smaller_than_a_leaf_and_a_path_may_end_with_a_slash() {
    let machine = Machine::with_snapshot();
    let ran =
        run(&machine, 0, &["drill", "run", "-r", "repo", "--sample", "1%", "--source", "src/", "--json"]);
    assert_eq!(object(&ran)["part"]["of"], 1);
    let ran = run(&machine, 1, &["drill", "run", "-r", "repo", "--host", "nobody", "--source", "src"]);
    assert!(ran.err.contains("src by nobody in "), "{}", ran.err);
    run(&machine, 2, &["drill", "run", "-r", "repo", "--age", "middle"]);
}

#[test]
fn goals_that_are_not_met_fail_the_drill() {
    let machine = Machine::with_repository();
    machine.ok(&["backup", "-r", "repo", "src", "--time", "2026-01-01 00:00"]);
    run(&machine, 0, &["drill", "run", "-r", "repo"]);
    let late = run(&machine, 6, &["drill", "run", "-r", "repo", "--rpo", "26h"]);
    assert!(late.out.contains("goal not met") && late.out.contains("too old"), "{}", late.out);
    run(&machine, 0, &["drill", "run", "-r", "repo", "--rto", "1h", "--whole"]);
    run(&machine, 1, &["drill", "run", "-r", "repo", "--host", "nobody"]);
    run(&machine, 2, &["drill", "run", "-r", "repo", "--sample", "0%"]);
}

#[test]
fn evidence_that_was_taken_away_or_changed_is_missed() {
    let machine = Machine::with_snapshot();
    for _ in 0..3 {
        run(&machine, 0, &["drill", "run", "-r", "repo"]);
    }
    let mut records: Vec<PathBuf> =
        fs::read_dir(machine.path("repo/log")).unwrap().map(|e| e.unwrap().path()).collect();
    records.sort();
    assert_eq!(records.len(), 4, "three drills, and that the repository was made");
    let newest = fs::read(&records[3]).unwrap();
    fs::remove_file(&records[3]).unwrap();
    let ran = run(&machine, 5, &["drill", "report", "-r", "repo"]);
    assert!(ran.out.contains("the newest record that this machine wrote is not there"), "{}", ran.out);
    fs::write(&records[3], &newest).unwrap();
    fs::remove_file(&records[2]).unwrap();
    let ran = run(&machine, 5, &["drill", "report", "-r", "repo"]);
    assert!(ran.out.contains("a record was taken away"), "{}", ran.out);
}

#[test]
fn the_restored_folder_of_a_killed_drill_is_removed_by_the_next() {
    let machine = Machine::with_snapshot();
    machine.write("home/.cache/lifeboat/drill-4194305-00112233/restored/secret", b"in the clear");
    machine.write("home/.cache/lifeboat/drill-notes/mine", b"mine");
    run(&machine, 0, &["drill", "run", "-r", "repo"]);
    assert!(!machine.path("home/.cache/lifeboat/drill-4194305-00112233").exists());
    assert!(machine.path("home/.cache/lifeboat/drill-notes/mine").exists());
}

/// A machine whose configuration drills its files, and its kit.
fn configured() -> Machine {
    let mut machine = Machine::new();
    let root = machine.root.display().to_string();
    let text = format!(
        "[machine]\nname = \"atlas\"\n[goals]\ncopies = 2\nmedia = 1\noffsite = 0\n\
         [repositories.main]\nurl = \"{root}/main\"\n[repositories.second]\nurl = \"{root}/second\"\n\
         [sources.src]\npaths = [\"{root}/src\"]\nrto = \"1h\"\n\
         [jobs.daily]\nsources = [\"src\"]\nto = [\"main\", \"second\"]\nschedule = \"daily\"\n\
         [drills.files]\nsource = \"src\"\ncritical = [\"{root}/src/a\"]\ncommand = [\"test\", \"-d\"]\nschedule = \"monthly\"\n\
         [drills.paper]\nkind = \"kit\"\n"
    );
    fs::write(machine.root.join("lifeboat.toml"), text).unwrap();
    machine.set("LIFEBOAT_CONFIG", &format!("{root}/lifeboat.toml"));
    machine.ok(&["init", "-r", "main"]);
    machine.ok(&["init", "-r", "second", "--copy-of", "main"]);
    machine.ok(&["run", "daily"]);
    machine
}

#[test]
fn drills_of_the_configuration_take_turns_and_status_knows_them() {
    let machine = configured();
    let drilled = |expected: bool| {
        let status = object(&machine.run(&["status", "--json"]));
        let pairs = status["sources"][0]["pairs"].as_array().unwrap().clone();
        assert_eq!(pairs.iter().filter(|pair| pair["drilled"].is_i64()).count() > 0, expected, "{status}");
        status
    };
    drilled(false);
    let first = object(&run(&machine, 0, &["drill", "run", "files", "--json"]));
    let second = object(&run(&machine, 0, &["drill", "run", "files", "--json"]));
    assert_ne!(first["location"], second["location"], "repositories take turns");
    assert_eq!((&first["source_name"], &first["asserts"][0]["ok"]), (&"src".into(), &true.into()));
    let status = drilled(true);
    let duty = status["duties"]
        .as_array()
        .unwrap()
        .iter()
        .find(|duty| duty["duty"] == "drill" && duty["subject"] == "files");
    assert!(duty.unwrap()["last_success"].is_string());
    assert!(machine.ok(&["schedule", "show"]).contains("drill files"));
    run(&machine, 2, &["drill", "run"]);
    run(&machine, 2, &["drill", "run", "nothing"]);
    let file = machine.path("lifeboat.toml");
    let text = fs::read_to_string(&file).unwrap().replace("[\"test\", \"-d\"]", "[\"test\", \"-f\"]");
    fs::write(&file, text).unwrap();
    let ran = run(&machine, 6, &["drill", "run", "files"]);
    assert!(ran.out.contains("NO: test -f"), "{}", ran.out);
    let status = machine.run(&["status", "--check"]);
    assert!(status.code == 4 && status.out.contains("failed"), "{}", status.out);
}

#[test]
fn a_drill_of_the_kit_says_whether_the_sheet_would_do() {
    let machine = configured();
    let ran = run(&machine, 6, &["drill", "run", "paper"]);
    assert!(
        ran.out.contains("NO: is the printed kit confirmed") && ran.out.contains("(missing)"),
        "{}",
        ran.out
    );
    machine.ok(&["kit", "--text", "kit.txt"]);
    let text = fs::read_to_string(machine.path("kit.txt")).unwrap();
    let words = text.split("IN WORDS").nth(1).unwrap().split("FIVE STEPS").next().unwrap();
    let words: Vec<&str> =
        words.split_whitespace().filter(|w| !w.bytes().any(|b| b.is_ascii_digit())).collect();
    machine.write("typed", words.join(" ").as_bytes());
    machine.ok(&["kit", "--confirm=typed"]);
    let ran = run(&machine, 0, &["drill", "run", "paper"]);
    assert!(ran.out.contains("yes: has the program beside the copy"), "{}", ran.out);
    for repository in ["main", "second"] {
        let tools = fs::read_dir(machine.path(repository).join("tools")).unwrap().map(|e| e.unwrap().path());
        let program = tools.into_iter().find(|path| !path.ends_with("readme.txt")).unwrap();
        let mut bytes = fs::read(&program).unwrap();
        bytes[1000] ^= 1;
        fs::remove_file(&program).unwrap();
        fs::write(&program, bytes).unwrap();
    }
    run(&machine, 6, &["drill", "run", "paper"]);
}

#[test]
fn a_machine_with_a_name_compares_its_live_files_and_lists_the_drills_of_all_repositories() {
    let mut machine = Machine::new();
    let root = machine.root.display().to_string();
    machine.set("XDG_CONFIG_HOME", &format!("{root}/home/.config"));
    let text = format!(
        "[machine]\nname = \"atlas\"\n[repositories.main]\nurl = \"{root}/main\"\n[repositories.second]\nurl = \"{root}/second\"\n\
         [sources.src]\npaths = [\"{root}/src\"]\n[jobs.daily]\nsources = [\"src\"]\nto = [\"main\", \"second\"]\nschedule = \"daily\"\n\
         [drills.files]\nsource = \"src\"\nsample = {{ whole = true }}\nschedule = \"weekly\"\n"
    );
    machine.write("home/.config/lifeboat/lifeboat.toml", text.as_bytes());
    machine.ok(&["init", "-r", "main"]);
    machine.ok(&["init", "-r", "second", "--copy-of", "main"]);
    machine.ok(&["run", "-q", "daily"]);
    for _ in 0..2 {
        let ran = machine.run(&["drill", "run", "files"]);
        assert!(ran.code == 0 && ran.out.contains(", 2 live files equal"), "{}{}", ran.out, ran.err);
    }
    let list = machine.run(&["drill", "list"]);
    assert_eq!(list.code, 0, "{}", list.err);
    for said in ["main (", "second (", "2 files, 12 B"] {
        assert!(list.out.contains(said), "{said}: {}", list.out);
    }
    assert_eq!(list.out.matches("1 drill").count(), 2, "each repository had its turn: {}", list.out);
    machine.ok(&["drill", "show", "latest"]);
    machine.ok(&["drill", "report", "--html", "report.html"]);
    let page = fs::read_to_string(machine.path("report.html")).unwrap();
    assert_eq!((page.matches("<p>Repository").count(), page.matches("<h1>").count()), (2, 1));
    let live = machine.run(&["diff", "-r", "main", "latest", "live"]);
    assert!(live.code == 0 && !live.err.contains("of the machine"), "{}{}", live.out, live.err);
    fs::rename(machine.path("second"), machine.path("drawer")).unwrap();
    let report = machine.run(&["drill", "report"]);
    assert!(report.code == 13 && report.err.contains("second is left out"), "{}{}", report.out, report.err);
    assert!(report.out.contains("the evidence is signed, chained and complete"), "{}", report.out);
}

#[test]
fn a_critical_path_that_is_not_there_fails_the_drill() {
    let machine = Machine::with_snapshot();
    let path = machine.path("src/not-there").display().to_string();
    let ran = run(&machine, 6, &["drill", "run", "-r", "repo", "--critical", &path]);
    assert!(ran.out.contains("it is critical, and not in this snapshot"), "{}", ran.out);
    let path = machine.path("src/a").display().to_string();
    run(&machine, 0, &["drill", "run", "-r", "repo", "--critical", &path]);
}

/// A disk that gives back other bytes than were written, below a file system that noticed nothing.
#[test]
fn a_live_file_that_claims_to_be_unchanged_and_is_not_fails_the_drill() {
    const BEFORE: &[u8] = b"what was written on the day of the backup";
    let machine = Machine::new();
    let (image, point) = (machine.root.join("disk.img"), machine.root.join("disk"));
    fs::File::create(&image).unwrap().set_len(32 << 20).unwrap();
    let made = tool(&["mkfs.ext4", "-q", image.to_str().unwrap()])
        && mounted(&image, &point, |point| {
            fs::write(point.join("ledger"), BEFORE.repeat(1000)).unwrap();
            machine.ok(&["backup", "--init", "-r", "repo", "disk"]);
            run(&machine, 0, &["drill", "run", "-r", "repo", "--whole"]);
        });
    if !made {
        return missing("e2fsprogs, and the right to mount");
    }
    let mut bytes = fs::read(&image).unwrap();
    let at = bytes.windows(BEFORE.len()).position(|part| part == BEFORE).expect("the file is on the disk");
    bytes[at] ^= 1;
    fs::write(&image, bytes).unwrap();
    assert!(mounted(&image, &point, |_| {
        let ran = run(&machine, 6, &["drill", "run", "-r", "repo", "--whole", "--age", "newest"]);
        let told = "ledger: the live file says it has not changed, and has other contents";
        assert!(ran.out.contains(told), "{}", ran.out);
    }));
}
