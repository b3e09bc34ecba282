//! What goes wrong, and what the program says then: the exit code, the thing, the next step.

use crate::support::{LIFEBOAT, Machine, missing};
use format::codec::{Compressor, Level};
use format::config::{Config, Identity};
use repo::{Credential, OpenOptions, Repo};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

#[test]
fn no_repository() {
    let machine = Machine::new();
    for place in ["none", "src"] {
        let ran = machine.run(&["snapshots", "-r", place]);
        let expected = format!(
            "error: cannot open {place}: there is no repository there\nhint: lifeboat init -r {place}\n"
        );
        assert_eq!((ran.code, ran.err), (10, expected));
    }
    let ran = machine.run(&["backup", "-r", "none", "src"]);
    assert_eq!(ran.code, 10);
    assert!(ran.err.ends_with("hint: lifeboat backup --init -r none SOURCE...\n"), "{}", ran.err);
    assert!(!machine.path("none").exists());
    // A new repository would be of no help: what was lost, or is to be copied, is in one that was there.
    machine.ok(&["init", "-r", "made"]);
    for line in [["repair", "-r", "made", "--from", "none"], ["init", "-r", "more", "--copy-of", "none"]] {
        let ran = machine.run(&line);
        assert_eq!(ran.code, 10, "{}", ran.err);
        assert!(
            ran.err.contains("there is no repository there") && !ran.err.contains("hint:"),
            "{}",
            ran.err
        );
    }
}

#[test]
fn no_place_is_named_or_too_many() {
    let machine = Machine::new();
    let ran = machine.run(&["snapshots"]);
    assert_eq!(ran.code, 2);
    assert_eq!(
        ran.err,
        "error: no repository is named\nhint: name it with -r PLACE, or in the variable LIFEBOAT_REPOSITORY\n"
    );
    let ran = machine.run(&["snapshots", "-r", "a", "-r", "b"]);
    assert_eq!((ran.code, ran.err.contains("more than once")), (2, true), "{}", ran.err);
}

#[test]
fn a_wrong_password() {
    let mut machine = Machine::new();
    machine.write("right", b"correct horse\n");
    machine.ok(&["init", "-r", "repo", "--password-file", "right", "--recovery-key-file", "recovery"]);
    machine.set("LIFEBOAT_PASSWORD", "wrong");
    let ran = machine.run(&["snapshots", "-r", "repo"]);
    assert_eq!(ran.code, 12);
    assert_eq!(
        ran.err,
        "error: cannot open repo: wrong password\nhint: lifeboat -r repo --recovery-key snapshots\n"
    );
    // Options beat the environment.
    machine.ok(&["snapshots", "-r", "repo", "--password-file", "right"]);
    machine.ok(&["snapshots", "-r", "repo", "--recovery-key=recovery"]);
    machine.ok(&["snapshots", "-r", "repo", "--password-command", "echo correct horse"]);
}

#[test]
fn nothing_to_unlock_with_and_nobody_to_ask() {
    let machine = Machine::with_repository();
    fs::remove_dir_all(machine.path("home/.config")).unwrap();
    let ran = machine.run(&["snapshots", "-r", "repo"]);
    assert_eq!(ran.code, 12);
    assert_eq!(
        ran.err,
        "error: no password or key for repo, and no terminal to ask at\n\
         hint: lifeboat -r repo --password-file FILE ... (or --key-file FILE)\n"
    );
}

#[test]
fn a_second_init_changes_nothing() {
    let machine = Machine::with_snapshot();
    let ran = machine.run(&["init", "-r", "repo"]);
    assert_eq!(ran.code, 1);
    assert_eq!(
        ran.err,
        "error: cannot make a repository at repo: there is one already\nhint: lifeboat snapshots -r repo\n"
    );
    assert_eq!(fs::read_dir(machine.path("home/.config/lifeboat/keys")).unwrap().count(), 2);
    assert!(machine.ok(&["snapshots", "-r", "repo"]).ends_with("1 snapshot\n"));
}

#[test]
fn a_repository_written_by_a_newer_version_is_not_called_damaged() {
    let machine = Machine::with_repository();
    let keys = fs::read_dir(machine.path("home/.config/lifeboat/keys")).unwrap();
    let key_file = keys.map(|e| e.unwrap().path()).find(|p| p.extension() == Some("key".as_ref())).unwrap();
    let text = fs::read_to_string(key_file).unwrap();
    let key = format::textkey::decode(text.strip_prefix("lifeboat-key-1").unwrap()).unwrap();
    let store = storage::LocalStore::open(&machine.path("repo"), &storage::LocalOptions::default()).unwrap();
    let repo = Repo::open(Arc::new(store), &Credential::Random(key), &OpenOptions::default()).unwrap();
    let identity = Identity { required_features: 1 << 40, ..repo.identity().clone() };
    let config = Config { identity, parameters: repo.parameters().clone() };
    let bytes = config.encode(repo.keys(), [7; 32], &mut Compressor::new(Level(3)));
    for name in ["repo/config", "repo/mirror/config"] {
        fs::remove_file(machine.path(name)).unwrap();
        fs::write(machine.path(name), &bytes).unwrap();
    }
    let ran = machine.run(&["snapshots", "-r", "repo"]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(ran.err.contains("newer version of lifeboat"), "{}", ran.err);
    assert!(ran.err.contains("hint: install the newest version"), "{}", ran.err);
}

#[test]
fn unreadable_files_are_named_and_the_rest_is_saved() {
    let mut machine = Machine::with_repository();
    machine.write("src/secret", b"mine");
    machine.write("src/closed/inside", b"mine");
    machine.become_nobody();
    fs::set_permissions(machine.path("src/secret"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(machine.path("src/closed"), fs::Permissions::from_mode(0o000)).unwrap();
    let ran = machine.run(&["backup", "-r", "repo", "src"]);
    fs::set_permissions(machine.path("src/closed"), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(ran.code, 3, "{}\n{}", ran.out, ran.err);
    assert!(ran.err.contains("  ROOT/src/secret\n"), "{}", ran.err);
    assert!(ran.err.contains("  ROOT/src/closed"), "{}", ran.err);
    assert!(ran.err.contains("Permission denied"), "{}", ran.err);
    assert!(ran.err.contains("hint: run it as root"), "{}", ran.err);
    assert!(ran.out.contains("snapshot ID saved"), "{}", ran.out);
    let listed = machine.ok(&["ls", "-r", "repo", "latest"]);
    assert!(listed.contains("ROOT/src/sub/b\n"), "{listed}");
    assert!(machine.ok(&["snapshots", "-r", "repo"]).contains("unreadable)"));

    // Whoever brings it back hears of it, and what comes after it in an archive is not lost.
    let part = format!("latest:{}", machine.path("src").display());
    let restored = machine.run(&["restore", "-r", "repo", &part, "--target", "out"]);
    assert_eq!(restored.code, 3, "{}", restored.err);
    assert!(restored.err.contains("no contents of it"), "{}", restored.err);
    let dumped = machine.run(&["dump", "-r", "repo", &part]);
    assert_eq!(dumped.code, 3, "{}", dumped.err);
    assert!(dumped.err.contains("secret is not in the archive"), "{}", dumped.err);
    let mut archive = tar::Archive::new(&dumped.raw_out[..]);
    let names = archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string());
    let names: Vec<String> = names.collect();
    assert!(names.contains(&"sub/b".to_string()) && !names.contains(&"secret".to_string()), "{names:?}");
    let printed = machine.run(&["cat", "-r", "repo", &format!("{part}/secret")]);
    assert_eq!((printed.code, printed.raw_out.len()), (3, 0), "{}", printed.err);
}

#[test]
fn missing_sources() {
    let machine = Machine::with_repository();
    let ran = machine.run(&["backup", "-r", "repo", "src", "gone"]);
    assert_eq!(ran.code, 3, "{}", ran.err);
    assert!(ran.err.contains("warning: the source ROOT/gone is not there"), "{}", ran.err);
    let ran = machine.run(&["backup", "-r", "repo", "gone", "away/too"]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(ran.err.contains("ROOT/"), "{}", ran.err);
    assert!(machine.ok(&["snapshots", "-r", "repo"]).ends_with("1 snapshot\n"));
}

#[test]
fn a_full_disk_loses_nothing() {
    let machine = Machine::new();
    let mut noise = vec![0; 12 << 20];
    let mut state = 1u64;
    noise.iter_mut().for_each(|byte| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        *byte = (state >> 56) as u8;
    });
    machine.write("big/noise", &noise);
    fs::create_dir(machine.path("disk")).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=4m none disk || exit 99
         {LIFEBOAT} backup -q --init -r disk/repo src || exit 98
         {LIFEBOAT} backup -r disk/repo big
         code=$?
         {LIFEBOAT} restore -q -r disk/repo latest:{root}/src --target back || exit 97
         {LIFEBOAT} check -r disk/repo || exit 96
         exit $code",
        root = machine.root.display()
    );
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", &script]).stdin(Stdio::null()).current_dir(&machine.root);
    command.env_clear().env("HOME", machine.path("home")).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let Ok(output) = command.output() else { return missing("unshare") };
    let ran = machine.ran(output);
    if ran.code == 99 || ran.err.contains("unshare") {
        return missing("the right to mount a file system of its own");
    }
    assert_eq!(ran.code, 15, "{}\n{}", ran.out, ran.err);
    assert!(ran.err.contains("no space left"), "{}", ran.err);
    assert!(ran.err.contains("hint: free some space there"), "{}", ran.err);
    assert_eq!(fs::read(machine.path("back/a")).unwrap(), b"hello\n");
}

#[test]
fn damage_is_named_down_to_the_path() {
    let machine = Machine::with_snapshot();
    let packs = machine.path("repo/packs");
    let folder = fs::read_dir(packs).unwrap().map(|e| e.unwrap().path()).find(|p| p.is_dir()).unwrap();
    let pack = fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 64;
    bytes[middle..middle + 64].iter_mut().for_each(|byte| *byte ^= 0x55);
    fs::set_permissions(&pack, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&pack, bytes).unwrap();
    let ran = machine.run(&["check", "--read-data", "-r", "repo"]);
    assert_eq!(ran.code, 5, "{}\n{}", ran.out, ran.err);
    assert!(ran.out.contains("damaged: packs/"), "{}", ran.out);
    assert!(ran.out.contains("hurts snapshot ID ROOT/src/a; no snapshot here has it whole\n"), "{}", ran.out);
    let ran = machine.run(&["restore", "latest", "-r", "repo", "--target", "back"]);
    assert_eq!(ran.code, 5, "{}\n{}", ran.out, ran.err);
    assert!(ran.err.contains("ROOT/src/a"), "{}", ran.err);
}

#[test]
fn hostile_names_cannot_steer_the_terminal() {
    let machine = Machine::with_repository();
    let name = std::ffi::OsStr::from_bytes(b"src/\x1b[2J\xff\n\xe2\x80\xaegpj");
    fs::write(machine.root.join(name), "x").unwrap();
    machine.ok(&["backup", "-r", "repo", "src"]);
    let listed = machine.ok(&["ls", "-r", "repo", "latest"]);
    assert!(listed.contains("ROOT/src/\\x1b[2J\\xff\\n\\u{202e}gpj\n"), "{listed}");
    let found = machine.ok(&["find", "-r", "repo", "*gpj"]);
    assert!(found.contains("\\x1b[2J\\xff\\n\\u{202e}gpj\n"), "{found}");
    let ran = machine.run(&["ls", "--json", "-r", "repo", "latest"]);
    assert!(ran.out.contains("\"name_bytes\":\"G1sySv8K4oCuZ3Bq\""), "{}", ran.out);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let machine = Machine::with_repository();
    (0..3000).for_each(|n| machine.write(&format!("src/a-name-that-fills-the-pipe-{n}"), b""));
    machine.ok(&["backup", "-r", "repo", "src"]);
    let mut command = machine.command();
    command.args(["ls", "-r", "repo", "latest"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let ran = machine.ran(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.err.as_str()), (141, ""));
}

#[test]
fn unknown_snapshots_and_paths() {
    let machine = Machine::with_snapshot();
    let ran = machine.run(&["ls", "-r", "repo", "latest~7"]);
    assert_eq!(ran.code, 1);
    assert_eq!(
        ran.err,
        "error: no snapshot matches \"latest~7\"\nhint: list them with: lifeboat snapshots\n"
    );
    let ran = machine.run(&["cat", "-r", "repo", "latest:/nowhere"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.starts_with("error: snapshot ID has no path /nowhere\nhint: "), "{}", ran.err);
    let ran = machine.run(&["restore", "-r", "repo", "latest:/nowhere", "--target", "back"]);
    assert_eq!(ran.code, 1);
    assert!(!machine.path("back").exists());
}

#[test]
fn an_address_nobody_listens_at() {
    let machine = Machine::new();
    let ran = machine.run(&["snapshots", "-r", "sftp://me@127.0.0.1:1/backup", "--retry-for", "8"]);
    let told = "sftp://me@127.0.0.1:1/backup does not answer; trying for up to 8 s";
    assert!(ran.err.contains(told), "{}", ran.err);
    let ran = machine.run(&["snapshots", "-r", "sftp://me@127.0.0.1:1/backup", "--retry-for", "0"]);
    assert_eq!(ran.code, 13, "{}", ran.err);
    assert!(ran.err.starts_with("error: cannot open sftp://me@127.0.0.1:1/"), "{}", ran.err);
}

#[test]
fn too_little_memory_is_refused_and_the_least_is_enough() {
    let machine = Machine::with_repository();
    let ran = machine.run(&["backup", "-r", "repo", "src", "--memory", "1M"]);
    assert_eq!((ran.code, ran.err.contains("at least 64 MiB are needed")), (2, true), "{}", ran.err);
    machine.ok(&["backup", "-r", "repo", "src", "--memory", "64M", "--upload-concurrency", "1"]);
    machine.ok(&["restore", "-r", "repo", "latest", "--target", "out", "--memory", "64M"]);
    assert!(machine.path("out").is_dir());
}

/// An empty mount point, or a bucket that somebody emptied, is not taken for a new place.
#[test]
fn a_known_repository_that_is_gone_is_not_begun_anew_without_a_word() {
    let machine = Machine::new();
    machine.ok(&["backup", "--init", "-r", "drive/repo", "src"]);
    std::fs::rename(machine.path("drive"), machine.path("unplugged")).unwrap();
    for args in [&["backup", "--init", "-r", "./drive/repo", "src"][..], &["init", "-r", "drive/repo"]] {
        let ran = machine.run(args);
        assert_eq!(ran.code, 14, "{}", ran.err);
        assert!(
            ran.err.contains("this machine knows one there") && ran.err.contains("--anew"),
            "{}",
            ran.err
        );
        assert!(!machine.path("drive/repo/config").exists());
    }
    machine.ok(&["init", "-r", "drive/repo", "--anew"]);
}

#[test]
fn a_dry_run_tells_of_places_that_are_not_there() {
    let machine = Machine::with_repository();
    let ran = machine.run(&["backup", "-n", "-r", "repo", "-r", "away", "src"]);
    assert!(ran.err.contains("away was left out"), "{}", ran.err);
}

#[test]
fn a_repository_inside_its_own_source_is_left_out_and_survives_a_restore_in_place() {
    let machine = Machine::new();
    let first = machine.run(&["backup", "-v", "--init", "-r", "src/inner repo", "src"]);
    assert_eq!(first.code, 0, "{}", first.err);
    assert!(first.err.contains("the repository itself is left out"), "{}", first.err);
    let listed = machine.ok(&["ls", "-r", "src/inner repo", "latest"]);
    assert!(listed.contains("src/a") && !listed.contains("inner repo"), "{listed}");
    machine.write("src/later", b"later");
    machine.ok(&["restore", "latest", "-r", "src/inner repo", "--in-place", "--delete"]);
    assert!(!machine.path("src/later").exists());
    machine.ok(&["check", "--read-data", "-r", "src/inner repo"]);
}

#[test]
fn a_source_without_a_file_is_told_and_missing_ones_count_once() {
    let machine = Machine::with_repository();
    std::fs::create_dir(machine.path("hollow")).unwrap();
    let ran = machine.run(&["backup", "-r", "repo", "hollow"]);
    assert!(ran.code == 0 && ran.err.contains("not one file was found"), "{}", ran.err);
    let ran = machine.run(&["backup", "-r", "repo", "src", "nowhere", "--json"]);
    let summary: serde_json::Value = serde_json::from_str(ran.out.lines().last().unwrap()).unwrap();
    assert_eq!((ran.code, &summary["errors"]), (3, &1.into()), "{summary}");
    assert_eq!(ran.err.matches("\"message_type\":\"error\"").count(), 1, "{}", ran.err);
}

#[test]
fn a_dump_appears_when_it_is_whole_and_zip_has_no_folder_with_a_length_behind_it() {
    let machine = Machine::with_repository();
    machine.ok(&["backup", "-r", "repo", "src"]);
    machine.ok(&["dump", "-r", "repo", "latest", "--archive", "zip", "-o", "all.zip"]);
    let zip = std::fs::read(machine.path("all.zip")).unwrap();
    let headers = zip.windows(4).enumerate().filter(|(_, four)| *four == b"PK\x03\x04");
    for (at, _) in headers {
        let name_len = usize::from(zip[at + 26]);
        let name = &zip[at + 30..at + 30 + name_len];
        // Bit 3 says that lengths follow the contents: then they do.
        if name.ends_with(b"/") && zip[at + 6] & 8 != 0 {
            let behind = &zip[at + 30 + name_len + usize::from(zip[at + 28])..];
            let described = behind.windows(4).take(8).any(|four| four == b"PK\x07\x08");
            assert!(described, "{}", String::from_utf8_lossy(name));
        }
    }
    let to_stdout = machine.run(&["dump", "-r", "repo", "latest", "-o", "-"]);
    assert!(to_stdout.code == 0 && to_stdout.raw_out.len() > 512);
    // Nothing is left of one that could not be finished.
    let damaged = machine.path("repo/packs");
    std::fs::remove_dir_all(damaged).unwrap();
    let ran = machine.run(&[
        "dump",
        "-r",
        "repo",
        &format!("latest:{}", machine.path("src/a").display()),
        "-o",
        "a",
    ]);
    assert_eq!(ran.code, 5, "{}", ran.err);
    let left: Vec<_> = std::fs::read_dir(&machine.root).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(!left.iter().any(|name| name == "a" || name.to_string_lossy().contains(".part-")), "{left:?}");
}
