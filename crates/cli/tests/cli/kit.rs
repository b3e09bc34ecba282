//! The recovery kit: a new key on paper that opens every copy, and that is nowhere else.

use crate::support::{Machine, Ran, missing};
use crate::terminal::Terminal;
use std::fs;
use std::path::Path;

/// Two repositories of one family would be two copies; two of any family do for a kit.
fn two_places() -> Machine {
    let machine = Machine::with_snapshot();
    machine.ok(&["init", "-r", "other"]);
    machine
}

fn kit(machine: &Machine, more: &[&str]) -> Ran {
    let args =
        ["kit", "-r", "repo", "-r", "other", "--no-program", "--html", "kit.html", "--text", "kit.txt"];
    machine.run(&[&args[..], more].concat())
}

/// The groups of the key on a kit.
fn groups(machine: &Machine) -> Vec<String> {
    let text = fs::read_to_string(machine.path("kit.txt")).unwrap();
    let rows = text.lines().skip_while(|line| !line.starts_with("THE RECOVERY KEY")).skip(1).take(2);
    rows.flat_map(|row| row.trim().split('-').map(str::to_string).collect::<Vec<_>>()).collect()
}

/// Types the two groups back that are asked for.
fn confirm(machine: &Machine) {
    let asked = machine.run(&["kit", "--confirm"]);
    assert_eq!(asked.code, 2, "{}", asked.err);
    let numbers: Vec<usize> =
        asked.err.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
    let groups = groups(machine);
    machine.write("typed", format!("{} {}", groups[numbers[0] - 1], groups[numbers[1] - 1]).as_bytes());
    machine.ok(&["kit", "--confirm=typed"]);
}

fn all_files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all_files(&path, found) } else { found.push(path) }
    }
}

#[test]
fn the_key_of_a_kit_opens_every_copy_and_is_nowhere_but_on_its_sheets() {
    let machine = two_places();
    let ran = kit(&machine, &[]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert_eq!(ran.out, "wrote kit.html\nwrote kit.txt\nits key opens 2 copies\n");
    assert_eq!((machine.mode("kit.html"), machine.mode("kit.txt")), (0o600, 0o600));
    let groups = groups(&machine);
    assert_eq!(groups.len(), 14);
    for place in ["repo", "other"] {
        machine.ok(&["snapshots", "-r", place, "--recovery-key=kit.html"]);
        machine.ok(&["snapshots", "-r", place, "--recovery-key=kit.txt"]);
    }
    let words = fs::read_to_string(machine.path("kit.txt")).unwrap();
    let words = words.split("IN WORDS").nth(1).unwrap().split("FIVE STEPS").next().unwrap();
    let words: Vec<&str> =
        words.split_whitespace().filter(|w| !w.bytes().any(|b| b.is_ascii_digit())).collect();
    machine.write("typed-words", words.join(" ").as_bytes());
    machine.ok(&["snapshots", "-r", "repo", "--recovery-key=typed-words"]);
    // What the program printed, and every other file of the machine, holds no group of the key.
    assert!(groups.iter().all(|group| !ran.out.contains(group) && !ran.raw_err.contains(group)));
    let mut files = Vec::new();
    all_files(&machine.root, &mut files);
    for path in files.iter().filter(|p| !p.ends_with("kit.html") && !p.ends_with("kit.txt")) {
        let bytes = fs::read(path).unwrap();
        let hit = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        let pair = format!("{}-{}", groups[0], groups[1]);
        let joined = groups.concat();
        assert!(!hit(pair.as_bytes()) && !hit(joined.as_bytes()), "{}", path.display());
    }
}

#[test]
fn a_kit_is_asked_for_until_it_is_confirmed_and_again_when_something_changes() {
    let machine = two_places();
    let check = |code: i32, says: &str| {
        let ran = machine.run(&["kit", "--check", "-r", "repo", "-r", "other"]);
        assert_eq!((ran.code, ran.out.contains(says)), (code, true), "{}{}", ran.out, ran.err);
    };
    check(4, "there is no recovery kit");
    assert_eq!(kit(&machine, &[]).code, 0);
    check(4, "not confirmed");
    machine.write("typed", b"AAAA BBBB");
    assert_eq!(machine.run(&["kit", "--confirm=typed"]).code, 12);
    confirm(&machine);
    check(0, "as they are now");
    machine.ok(&["key", "add", "-r", "repo", "--file", "new.key"]);
    check(0, "as they are now");
    let slots: serde_json::Value =
        serde_json::from_slice(&machine.run(&["key", "list", "--json", "-r", "other"]).raw_out).unwrap();
    let of_kit = |slot: &&serde_json::Value| slot["label"].as_str().unwrap().starts_with("kit of");
    let slot = slots.as_array().unwrap().iter().find(of_kit).unwrap()["id"].as_str().unwrap().to_string();
    machine.ok(&["key", "remove", "-r", "other", &slot]);
    check(4, "out of date");
    let status = machine.run(&["status", "--json", "-r", "repo"]);
    assert!(
        status.out.contains("\"kit\":\"out of date\""),
        "what was done here is known here: {}",
        status.out
    );
    let json = machine.run(&["kit", "--check", "--json", "-r", "repo", "-r", "other"]);
    assert!(json.out.contains("\"standing\":\"out of date\""), "{}", json.out);
}

#[test]
fn a_copy_that_is_away_gets_the_printed_key_when_it_is_there() {
    let machine = two_places();
    let root = machine.root.display();
    machine.write(
        "lifeboat.toml",
        format!(
            "[machine]\nname = \"atlas\"\n[repositories.near]\nurl = \"{root}/repo\"\n\
             [repositories.usb]\nurl = \"{root}/other\"\n[plan]\n[[plan.contacts]]\nname = \"Ann\"\n"
        )
        .as_bytes(),
    );
    fs::rename(machine.path("other"), machine.path("drawer")).unwrap();
    let kit = |args: &[&str]| machine.run(&[&["-c", "lifeboat.toml", "kit"], args].concat());
    let made = kit(&["--html", "kit.html", "--text", "kit.txt"]);
    assert_eq!(made.code, 0, "{}{}", made.out, made.err);
    assert!(made.out.contains("its key opens 1 copy\nit does not open usb yet"), "{}", made.out);
    for sheet in ["kit.html", "kit.txt"] {
        let sheet = fs::read_to_string(machine.path(sheet)).unwrap();
        assert!(
            sheet.to_lowercase().contains("kit of atlas")
                && sheet.contains("/other")
                && sheet.contains("kit --add"),
            "{sheet}"
        );
    }
    let again = kit(&["--add=kit.html"]);
    assert_eq!(again.code, 4, "{}{}", again.out, again.err);
    assert!(kit(&["--check"]).out.contains("does not open a copy that was away"));
    fs::rename(machine.path("drawer"), machine.path("other")).unwrap();
    machine.write("typed", b"not a key at all");
    let mistyped = kit(&["--add=typed"]);
    assert!(mistyped.code == 12 && mistyped.out.contains("the program lies beside"), "{}", mistyped.out);
    machine.ok(&["init", "-r", "third"]);
    machine.ok(&["kit", "-r", "third", "--no-program", "--text", "foreign.txt", "-n"]);
    let added = kit(&["--add=kit.txt"]);
    assert_eq!(added.code, 0, "{}{}", added.out, added.err);
    assert!(added.out.contains("the printed key opens"), "{}", added.out);
    machine.ok(&["snapshots", "-r", "other", "--recovery-key=kit.html"]);
    confirm(&machine);
    assert_eq!(kit(&["--check"]).code, 0);
    // Whom to call is printed, too; and a program that is gone is missed.
    let text = fs::read_to_string(machine.path("lifeboat.toml")).unwrap();
    machine.write("lifeboat.toml", text.replace("Ann", "Bob").as_bytes());
    assert!(kit(&["--check"]).out.contains("out of date"));
    machine.write("lifeboat.toml", text.as_bytes());
    fs::remove_dir_all(machine.path("other/tools")).unwrap();
    let check = kit(&["--check"]);
    assert!(check.code == 4 && check.out.contains("the program is not beside"), "{}", check.out);
    assert_eq!((kit(&["--add"]).code, kit(&["--check"]).code), (0, 0));
}

#[test]
fn a_key_where_a_file_belongs_is_not_shown_again() {
    let machine = Machine::with_snapshot();
    let key = "--recovery-key=ABCD-EFGH-JKMN-PQRS-TVWX-YZ01-2345-6789-ABCD-EFGH-JKMN-PQRS-TVWX-YZ01";
    let ran = machine.run(&["snapshots", "-r", "repo", key]);
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert!(!ran.raw_err.contains("JKMN") && ran.err.contains("never the key itself"), "{}", ran.err);
}

#[test]
fn a_new_kit_retires_the_old_one_and_never_overwrites_its_file() {
    let machine = two_places();
    assert_eq!(kit(&machine, &[]).code, 0);
    assert_eq!(kit(&machine, &[]).code, 1, "the files are there");
    fs::rename(machine.path("kit.txt"), machine.path("old.txt")).unwrap();
    fs::remove_file(machine.path("kit.html")).unwrap();
    let dry = kit(&machine, &["-n"]);
    assert_eq!((dry.code, machine.path("kit.html").exists()), (0, false));
    let ran = kit(&machine, &["--retire"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    machine.ok(&["snapshots", "-r", "repo", "--recovery-key=kit.txt"]);
    for place in ["repo", "other"] {
        assert_eq!(machine.run(&["snapshots", "-r", place, "--recovery-key=old.txt"]).code, 12);
    }
}

#[test]
fn a_place_that_cannot_be_opened_leaves_no_sheet_and_no_key() {
    let machine = Machine::with_snapshot();
    let args = ["kit", "-r", "repo", "-r", "nowhere", "--no-program", "--html", "kit.html"];
    assert_eq!(machine.run(&args).code, 10);
    assert!(!machine.path("kit.html").exists());
    let slots = machine.run(&["key", "list", "--json", "-r", "repo"]);
    let slots: serde_json::Value = serde_json::from_slice(&slots.raw_out).unwrap();
    assert_eq!(slots.as_array().unwrap().len(), 2);
    machine.ok(&["key", "add", "-r", "repo", "--file", "prune.key", "--role", "maintain"]);
    let args = ["kit", "-r", "repo", "--key-file", "prune.key", "--no-program", "--html", "kit.html"];
    assert_eq!(machine.run(&args).code, 14, "a maintainer makes no owner's key");
}

#[test]
fn two_of_three_shares_open_what_one_does_not_and_a_wrong_one_is_named() {
    let machine = Machine::with_snapshot();
    let split = ["kit", "split", "-r", "repo", "--shares", "3", "--threshold", "2", "--no-program", "--out"];
    machine.ok(&[&split[..], &["shares"]].concat());
    assert_eq!(machine.mode("shares"), 0o700);
    assert_eq!(machine.mode("shares/share-2-of-3.share"), 0o600);
    let open = |files: &[&str]| {
        let shares = files.iter().flat_map(|file| ["--recovery-share", file]);
        machine.run(&["snapshots", "-r", "repo"].into_iter().chain(shares).collect::<Vec<_>>())
    };
    let (one, two, three) =
        ("shares/share-1-of-3.share", "shares/share-2-of-3.share", "shares/share-3-of-3.share");
    assert_eq!(open(&[three, one]).code, 0);
    assert_eq!(open(&[one, two]).code, 0);
    let few = open(&[two]);
    assert_eq!(few.code, 12);
    assert!(few.err.contains("1 of the 2 shares"), "{}", few.err);
    let typed = fs::read_to_string(machine.path(one)).unwrap();
    let wrong = typed.lines().map(|line| match line.starts_with('#') {
        true => line.to_string(),
        false => line.replace('A', "B").replace('7', "8"),
    });
    machine.write("typed", wrong.collect::<Vec<_>>().join("\n").as_bytes());
    let ran = open(&["typed", two]);
    assert_eq!(ran.code, 12);
    assert!(ran.err.contains("typed is not a share") && ran.err.contains("line "), "{}", ran.err);
    machine.ok(&[&split[..], &["second"]].concat());
    let ran = open(&[one, "second/share-2-of-3.share"]);
    assert_eq!(ran.code, 12);
    assert!(ran.err.contains("second/share-2-of-3.share"), "{}", ran.err);
    assert_eq!(machine.run(&["kit", "--confirm", "-r", "repo"]).code, 2);
    machine.ok(&[
        "kit",
        "--confirm",
        "-r",
        "repo",
        "--recovery-share",
        "second/share-1-of-3.share",
        "--recovery-share",
        "second/share-3-of-3.share",
    ]);
}

#[test]
fn the_program_lies_beside_the_copy_with_the_hash_the_kit_tells() {
    let machine = Machine::with_snapshot();
    machine.ok(&["kit", "-r", "repo", "--text", "kit.txt"]);
    let text = fs::read_to_string(machine.path("kit.txt")).unwrap();
    let sha = text.lines().find_map(|line| line.trim().strip_prefix("its SHA-256")).unwrap().trim();
    let tools: Vec<_> =
        fs::read_dir(machine.path("repo/tools")).unwrap().map(|e| e.unwrap().path()).collect();
    let program = tools.iter().find(|path| !path.ends_with("readme.txt")).unwrap();
    assert!(text.contains(program.file_name().unwrap().to_str().unwrap()));
    use sha2::Digest;
    let found = sha2::Sha256::digest(fs::read(program).unwrap());
    assert_eq!(found.iter().map(|b| format!("{b:02x}")).collect::<String>(), sha);
    machine.ok(&["check", "-r", "repo"]);
}

#[test]
fn what_is_done_is_written_down_in_the_repository() {
    let machine = Machine::with_snapshot();
    machine.ok(&["hold", "add", "-r", "repo", "case 7", "latest"]);
    machine.ok(&["hold", "release", "-r", "repo", "case 7"]);
    machine.ok(&["forget", "-r", "repo", "latest"]);
    let written = || fs::read_dir(machine.path("repo/log")).unwrap().count();
    assert_eq!(written(), 4, "that it was made, too");
    machine.ok(&["prune", "-r", "repo", "--undo-window", "0", "--grace", "0"]);
    assert_eq!(written(), 5);
    machine.ok(&["prune", "-r", "repo", "--undo-window", "0", "--grace", "0"]);
    assert_eq!(written(), 5, "a prune that removed nothing is not worth a record");
    assert_eq!(machine.mode("home/.config/lifeboat/machine.key"), 0o600);
    machine.ok(&["check", "-r", "repo"]);
}

#[test]
fn shares_are_typed_line_by_line_and_a_mistyped_line_is_asked_for_again() {
    let machine = Machine::with_snapshot();
    let split = ["kit", "split", "-r", "repo", "--shares", "3", "--threshold", "2", "--no-program", "--out"];
    machine.ok(&[&split[..], &["shares"]].concat());
    assert_eq!(machine.run(&["snapshots", "-r", "repo", "--recovery-share", "-"]).code, 2, "nobody to ask");
    let Some(mut terminal) = Terminal::start(&machine, "snapshots -r repo --recovery-share -") else {
        return missing("script of util-linux");
    };
    let lines = |n: u8| -> Vec<String> {
        let text = fs::read_to_string(machine.path(&format!("shares/share-{n}-of-3.share"))).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_string).collect()
    };
    let one = lines(1);
    let of = one.len();
    terminal.answer("Share 1, line 1: ", "nothing of the kind\r");
    terminal.wait_for("once more");
    terminal.answer("Share 1, line 1: ", &format!("{}\r", one[0]));
    terminal.answer(&format!("Share 1, line 2 of {of}: "), &format!("{}\r", one[2]));
    terminal.wait_for("line 2 is mistyped, or not in its place; once more");
    for (n, line) in one.iter().enumerate().skip(1) {
        terminal.answer(&format!("Share 1, line {} of {of}: ", n + 1), &format!("{line}\r"));
    }
    let again = one.iter().chain(&lines(3)).cloned().collect::<Vec<_>>();
    for (n, line) in again.iter().enumerate() {
        let known = if n % of == 0 { String::new() } else { format!(" of {of}") };
        terminal.answer(&format!("Share 2 of 2, line {}{known}: ", n % of + 1), &format!("{line}\r"));
        if n + 1 == of {
            terminal.wait_for("this share was given already");
        }
    }
    let (code, seen) = terminal.end();
    assert!(code == 0 && seen.contains("1 snapshot") && !seen.contains(&one[1]), "{seen}");
}
