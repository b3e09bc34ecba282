//! Disks with bad sectors: what the user types, and what comes back.

use crate::support::{Machine, walk};

#[test]
fn parity_of_data_packs_is_chosen_at_the_beginning_and_later() {
    let machine = Machine::new();
    machine.ok(&["init", "-r", "repo", "--parity", "6%"]);
    assert!(machine.ok(&["repo", "info", "-r", "repo"]).contains("data parity    6%"));
    assert_eq!(
        machine.ok(&["repo", "set", "-r", "repo", "--parity", "off"]),
        "data parity of new packs: off\n"
    );
    assert!(machine.ok(&["repo", "info", "-r", "repo"]).contains("data parity    off"));
    for wrong in ["21%", "-1", "much"] {
        let ran = machine.run(&["repo", "set", "-r", "repo", &format!("--parity={wrong}")]);
        assert_eq!(ran.code, 2, "{}", ran.err);
        assert!(ran.err.contains("write it like off, 3%"), "{}", ran.err);
    }
}

/// Changes one byte of the first object in a folder of the repository.
fn damage(machine: &Machine, folder: &str, at: usize) -> String {
    let mut found: Vec<_> = walk(&machine.path(&format!("repo/{folder}")));
    found.sort();
    let path = found.first().expect("there is such an object");
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    let name = path.strip_prefix(machine.path("repo")).unwrap().to_str().unwrap().to_string();
    let permissions = std::fs::metadata(path).unwrap().permissions();
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
    std::fs::set_permissions(path, permissions).unwrap();
    name
}

#[test]
fn a_scrub_needs_no_key_and_changes_nothing() {
    let machine = Machine::with_snapshot();
    std::fs::remove_dir_all(machine.path("home/.config")).unwrap();
    assert_eq!(machine.run(&["check", "-r", "repo"]).code, 12, "the key is gone");
    let clean = machine.run(&["scrub", "-r", "repo"]);
    assert_eq!((clean.code, clean.err.as_str()), (0, ""));
    assert!(clean.out.ends_with("no damage found\n"), "{}", clean.out);
    let config = damage(&machine, "keys", 50);
    let pack = damage(&machine, "packs", 200);
    let before: Vec<_> = walk(&machine.path("repo")).into_iter().map(|p| std::fs::read(p).unwrap()).collect();
    let ran = machine.run(&["scrub", "-r", "repo"]);
    assert_eq!(ran.code, 5, "{}", ran.out);
    let lines = String::from_utf8(ran.raw_out).unwrap();
    assert!(lines.contains(&format!("damaged: {config}: is damaged; its parity can mend it")), "{lines}");
    assert!(lines.contains(&format!("damaged: {pack}: its bytes do not match its name\n")), "{lines}");
    assert!(lines.contains("damage found: 2 objects, of which 1 can be mended"), "{lines}");
    let after: Vec<_> = walk(&machine.path("repo")).into_iter().map(|p| std::fs::read(p).unwrap()).collect();
    assert!(before == after);
    assert_eq!(machine.run(&["scrub", "-r", "src"]).code, 10);
    let json = machine.run(&["scrub", "-r", "repo", "--json"]);
    assert!(
        json.out.contains("\"mended_by\":\"parity\"") && json.out.contains("\"mendable\":1"),
        "{}",
        json.out
    );
}

fn contents(machine: &Machine, folder: &str) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut all: Vec<_> =
        walk(&machine.path(folder)).into_iter().map(|p| (p.clone(), std::fs::read(p).unwrap())).collect();
    all.sort();
    all
}

/// Removes every data pack.
fn lose_packs(machine: &Machine) {
    walk(&machine.path("repo/packs")).iter().for_each(|path| std::fs::remove_file(path).unwrap());
}

#[test]
fn a_lost_pack_comes_back_from_files_that_have_not_changed() {
    let machine = Machine::with_snapshot();
    let long: Vec<u8> = (0..3_000_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    machine.write("src/long", &long);
    machine.ok(&["backup", "-r", "repo", "src"]);
    lose_packs(&machine);
    assert_eq!(machine.run(&["check", "-r", "repo"]).code, 5);
    let before = contents(&machine, "repo");
    let dry = machine.run(&["repair", "-r", "repo", "--dry-run"]);
    assert!(dry.out.contains("would be found in files that have not changed"), "{}", dry.out);
    assert!(contents(&machine, "repo") == before, "a dry run changes nothing");
    let ran = machine.run(&["repair", "-r", "repo"]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(ran.out.ends_with("everything is whole again\n"), "{}", ran.out);
    assert_eq!(machine.run(&["check", "-r", "repo", "--read-data"]).code, 0);
    machine.ok(&["restore", "-r", "repo", "latest", "--target", "back"]);
    let back = machine.root.strip_prefix("/").unwrap().join("src/long");
    assert!(std::fs::read(machine.path("back").join(back)).unwrap() == long);
}

#[test]
fn what_one_pack_lost_is_told_at_once_and_each_piece_when_asked_for() {
    let machine = Machine::new();
    machine.ok(&["init", "-r", "repo"]);
    for n in 0..40u64 {
        let text: Vec<u8> = (0..50_000u64).map(|i| ((i * (n + 3) * 2_654_435_761) >> 13) as u8).collect();
        machine.write(&format!("src/file-{n:02}"), &text);
    }
    machine.ok(&["backup", "-r", "repo", "src"]);
    lose_packs(&machine);
    let ran = machine.run(&["check", "-r", "repo"]);
    assert_eq!(ran.code, 5);
    let blocks = ran.out.lines().filter(|line| line.starts_with("damaged: ")).count();
    let packs = ran.out.matches("pieces of files and folders").count();
    assert!(packs >= 1 && blocks <= 3 && ran.out.lines().count() < 25, "{}", ran.out);
    assert!(ran.out.contains("more (all are named with -v"), "{}", ran.out);
    assert!(ran.out.matches("ROOT/src/").count() <= 20, "{}", ran.out);
    let full = machine.run(&["check", "-r", "repo", "-v"]);
    let repaired = machine.run(&["repair", "-r", "repo", "--no-source"]);
    assert_eq!(repaired.code, 5);
    assert!(repaired.out.lines().count() < 30, "{}", repaired.out);
    for n in 0..40 {
        assert!(full.out.contains(&format!("ROOT/src/file-{n:02}")), "{}", full.out);
    }
}

#[test]
fn files_that_moved_are_found_below_a_folder_the_user_names() {
    let machine = Machine::with_snapshot();
    lose_packs(&machine);
    std::fs::rename(machine.path("src"), machine.path("elsewhere")).unwrap();
    let ran = machine.run(&["repair", "-r", "repo"]);
    assert_eq!(ran.code, 5, "{}", ran.out);
    assert!(ran.out.contains("no snapshot here has it whole"), "{}", ran.out);
    assert!(ran.out.contains("could not be repaired; all else can be restored"), "{}", ran.out);
    let ran = machine.run(&["repair", "-r", "repo", "--source", "elsewhere", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.out);
    assert!(ran.out.contains("\"blobs_from_source\":2") && ran.out.contains("unmarked"), "{}", ran.out);
    assert_eq!(machine.run(&["check", "-r", "repo", "--read-data"]).code, 0);
}

#[test]
fn a_good_version_is_named_with_the_command_that_gets_it() {
    let machine = Machine::with_snapshot();
    std::fs::write(machine.path("src/a"), "another text\n").unwrap();
    let first = walk(&machine.path("repo/packs"));
    machine.ok(&["backup", "-r", "repo", "src"]);
    std::fs::remove_file(walk(&machine.path("repo/packs")).iter().find(|p| !first.contains(p)).unwrap())
        .unwrap();
    let ran = machine.run(&["check", "-r", "repo"]);
    assert_eq!(ran.code, 5);
    assert!(ran.out.contains("ROOT/src/a; last good version: ID TIME"), "{}", ran.out);
    let hint = ran.raw_err.lines().find_map(|line| line.split("comes back with: lifeboat ").nth(1)).unwrap();
    let args = hint.replace("FOLDER", "good");
    let args: Vec<&str> = args.split(' ').map(|arg| arg.trim_matches('\'')).collect();
    machine.ok(&[&["-r", "repo"], &args[..]].concat());
    let restored = walk(&machine.path("good"));
    assert_eq!(std::fs::read(&restored[0]).unwrap(), b"hello\n");
}

#[test]
fn a_repository_with_other_keys_is_no_help() {
    let machine = Machine::with_snapshot();
    machine.ok(&["init", "-r", "stranger"]);
    let ran = machine.run(&["repair", "-r", "repo", "--from", "stranger"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("is of another family"), "{}", ran.err);
    assert_eq!(machine.run(&["repair", "-r", "repo", "--from", "repo"]).code, 2);
    assert_eq!(machine.run(&["repair", "-r", "repo", "--source", "nowhere"]).code, 2);
    assert_eq!(machine.ok(&["repair", "-r", "repo"]).lines().last(), Some("nothing was damaged"));
}

#[test]
fn a_key_slot_that_was_never_finished_is_named_and_is_no_damage() {
    let machine = Machine::with_snapshot();
    machine.ok(&["init", "-r", "stranger"]);
    // As a dead `key add` leaves it: one copy of a slot that the configuration does not list.
    let slot = walk(&machine.path("stranger/keys")).remove(0);
    let name = slot.file_name().unwrap().to_str().unwrap().to_string();
    std::fs::copy(&slot, machine.path("repo/keys").join(&name)).unwrap();
    let ran = machine.run(&["check", "-r", "repo"]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    let lines = String::from_utf8(ran.raw_out).unwrap();
    let expected = format!("left over: keys/{name}: no key of this repository, and in nobody's way\n");
    assert!(lines.contains(&expected), "{lines}");
    let json = machine.run(&["check", "-r", "repo", "--json"]);
    assert_eq!(json.code, 0);
    assert!(json.out.contains("\"message_type\":\"leftover\""), "{}", json.out);
    assert!(
        json.out.contains("\"num_leftovers\":1") && json.out.contains("\"num_errors\":0"),
        "{}",
        json.out
    );
    let quiet = machine.run(&["check", "-r", "repo", "-q"]);
    assert_eq!((quiet.code, quiet.out.as_str()), (0, ""));
}
