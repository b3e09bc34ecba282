//! Coming back from nothing: an empty home, one surviving repository, and the printed kit.

use crate::support::{Machine, Ran};
use std::fs;
use testkit::servers::{mariadb, postgres};

/// A machine that protects its files and the words of a command, in two places, and has a printed kit.
fn protected() -> Machine {
    let mut machine = Machine::new();
    let root = machine.root.display().to_string();
    machine.set("XDG_CONFIG_HOME", &format!("{root}/home/.config"));
    let text = format!(
        "[machine]\nname = \"atlas\"\n[repositories.main]\nurl = \"{root}/main\"\n[repositories.second]\nurl = \"{root}/second\"\n\
         [sources.src]\npaths = [\"{root}/src\"]\ndepends_on = [\"words\"]\nrto = \"2h\"\n\
         [sources.photos]\npaths = [\"{root}/photos\"]\npriority = 1\n\
         [sources.words]\ntype = \"command\"\ncommand = [\"echo\", \"hello\"]\nrestore_command = [\"tee\", \"{root}/words\"]\n\
         [jobs.daily]\nsources = [\"src\", \"words\", \"photos\"]\nto = [\"main\", \"second\"]\nschedule = \"daily\"\n"
    );
    machine.write("home/.config/lifeboat/lifeboat.toml", text.as_bytes());
    machine.write("photos/one", b"the only one");
    machine.ok(&["init", "-r", "main"]);
    machine.ok(&["init", "-r", "second", "--copy-of", "main"]);
    machine.ok(&["run", "daily"]);
    machine.ok(&["kit", "--no-program", "--text", "kit.txt"]);
    machine
}

/// Everything but one repository and the printed sheet is gone.
fn lose(machine: &Machine, repository: &str) {
    for gone in ["home", "src", "photos", repository] {
        fs::remove_dir_all(machine.path(gone)).unwrap();
    }
    fs::create_dir(machine.path("home")).unwrap();
}

/// The words on the sheet, typed into a file: there is no terminal here.
fn type_words(machine: &Machine) {
    let text = fs::read_to_string(machine.path("kit.txt")).unwrap();
    let words = text.split("IN WORDS").nth(1).unwrap().split("FIVE STEPS").next().unwrap();
    let words: Vec<&str> =
        words.split_whitespace().filter(|w| !w.bytes().any(|b| b.is_ascii_digit())).collect();
    machine.write("typed", words.join(" ").as_bytes());
    fs::remove_file(machine.path("kit.txt")).unwrap();
}

fn run(machine: &Machine, code: i32, args: &[&str]) -> Ran {
    let ran = machine.run(args);
    assert_eq!(ran.code, code, "{args:?}\n{}{}", ran.out, ran.err);
    ran
}

#[test]
fn configuration_keys_and_files_are_back_in_six_commands_from_an_empty_home() {
    let machine = protected();
    lose(&machine, "main");
    type_words(&machine);
    let listed = run(&machine, 0, &["recover", "second", "--recovery-key=typed"]);
    fs::remove_file(machine.path("typed")).unwrap();
    let expected = "second is open (repository ID)\n\
         the configuration of atlas as of TIME is back: ROOT/home/.config/lifeboat/lifeboat.toml\n\
         it runs these commands; look at them before a job does:\n  echo hello\n\
         key of main: NOT made: there is no repository; if it is gone for good, make it again: lifeboat init -r main --copy-of second\n\
         key of second: made, ROOT/home/.config/lifeboat/keys/ID.key\n";
    assert!(listed.out.starts_with(expected), "{}", listed.out);
    let order: Vec<usize> =
        ["1.  photos", "2.  words", "3.  src"].iter().map(|line| listed.out.find(line).unwrap()).collect();
    assert!(order.is_sorted(), "{}", listed.out);
    assert!(listed.out.contains("2 files, 12 B") && listed.out.contains("goal 2 h"), "{}", listed.out);
    // No key is typed from here on.
    run(&machine, 0, &["recover", "second", "--all", "--in-place", "--replace"]);
    assert_eq!(fs::read(machine.path("src/sub/b")).unwrap(), b"world\n");
    assert_eq!(fs::read(machine.path("photos/one")).unwrap(), b"the only one");
    assert_eq!(fs::read(machine.path("words")).unwrap(), b"hello\n", "the command took its output back");
    run(&machine, 0, &["init", "-r", "main", "--copy-of", "second"]);
    run(&machine, 0, &["run", "daily"]);
    run(&machine, 0, &["kit", "--no-program", "--text", "new.txt", "--retire"]);
    run(&machine, 0, &["snapshots", "-r", "main", "--recovery-key=new.txt"]);
}

#[test]
fn the_file_of_a_kit_names_the_places_and_the_first_that_answers_is_taken() {
    let machine = protected();
    lose(&machine, "main");
    let ran = run(&machine, 0, &["recover", "kit.txt", "--all", "--target", "back", "-n"]);
    assert!(ran.err.contains("main is left out"), "{}", ran.err);
    assert!(
        !machine.path("back").exists() && !machine.path("home/.config").exists(),
        "a dry run writes nothing"
    );
    run(&machine, 0, &["recover", "kit.txt", "--all", "--target", "back"]);
    let back = machine.path("back").join(machine.root.strip_prefix("/").unwrap());
    assert_eq!(fs::read(back.join("photos/one")).unwrap(), b"the only one");
    assert_eq!(fs::read(machine.path("back/words")).unwrap(), b"hello\n");
    let again = run(&machine, 0, &["recover", "kit.txt", "src", "--target", "back"]);
    assert!(again.out.contains("2 files were right already"), "{}", again.out);
    let json = run(&machine, 0, &["recover", "kit.txt", "--json"]);
    let object: serde_json::Value = serde_json::from_slice(&json.raw_out).unwrap();
    assert_eq!(object["sources"].as_array().unwrap().len(), 3);
    assert_eq!(object["configuration"]["machine"], "atlas");
}

#[test]
fn another_configuration_is_left_alone_and_what_cannot_be_done_is_said() {
    let machine = protected();
    lose(&machine, "main");
    machine.write("home/.config/lifeboat/lifeboat.toml", b"# mine\n");
    let ran = run(&machine, 0, &["recover", "kit.txt"]);
    assert!(
        ran.out.contains("was NOT written: ROOT/home/.config/lifeboat/lifeboat.toml says something else"),
        "{}",
        ran.out
    );
    assert!(!ran.out.contains("key of"), "{}", ran.out);
    assert_eq!(fs::read(machine.path("home/.config/lifeboat/lifeboat.toml")).unwrap(), b"# mine\n");
    run(&machine, 2, &["recover", "kit.txt", "nothing", "--in-place"]);
    run(&machine, 2, &["recover", "kit.txt", "src"]);
    run(&machine, 2, &["recover", "kit.txt", "--machine", "other"]);
    run(&machine, 10, &["recover", "main", "--recovery-key=kit.txt"]);
    run(&machine, 1, &["recover", "kit.txt", "--before", "2020-01-01"]);
    let words = run(&machine, 3, &["recover", "kit.txt", "words", "--in-place"]);
    assert!(words.err.contains("nobody knows what the command replaces"), "{}", words.err);
    run(&machine, 2, &["recover", "photos/none.txt", "--recovery-key=kit.txt", "src"]);
}

#[test]
fn without_a_stored_configuration_snapshots_come_back_by_machine_and_paths() {
    let machine = Machine::with_snapshot();
    let ran = machine.run(&["recover", "repo", "--json"]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    let object: serde_json::Value = serde_json::from_slice(&ran.raw_out).unwrap();
    let name = object["sources"][0]["source"].as_str().unwrap().to_string();
    assert!(object["configuration"].is_null() && name.ends_with("/src"), "{object}");
    fs::remove_dir_all(machine.path("src")).unwrap();
    machine.ok(&["recover", "repo", &name, "--in-place"]);
    assert_eq!(fs::read(machine.path("src/a")).unwrap(), b"hello\n");
}

#[test]
fn two_database_servers_are_back_beside_the_files_in_five_commands() {
    let (Some(postgres), Some(mariadb)) = (postgres::Postgres::start(), mariadb::Mariadb::start()) else {
        return;
    };
    postgres.sql("postgres", "create database shop");
    postgres
        .sql("shop", "create table orders as select n, md5(n::text) as text from generate_series(1, 5000) n");
    mariadb.sql("", "create database wiki");
    mariadb.sql("wiki", "create table pages (title text); insert into pages values ('first'), ('second')");
    let mut machine = Machine::new();
    let root = machine.root.display().to_string();
    machine.set("XDG_CONFIG_HOME", &format!("{root}/home/.config"));
    let text = format!(
        "[machine]\nname = \"atlas\"\n[repositories.main]\nurl = \"{root}/main\"\n[sources.src]\npaths = [\"{root}/src\"]\n\
         depends_on = [\"shop\", \"wiki\"]\npriority = 1\n\
         [sources.shop]\ntype = \"postgres\"\nurl = \"{}\"\ndatabases = [\"shop\"]\npassword = {{ file = \"{root}/shop-password\" }}\n\
         [sources.wiki]\ntype = \"mariadb\"\nurl = \"{}\"\ndatabases = [\"wiki\"]\npassword = {{ file = \"{root}/wiki-password\" }}\n\
         [jobs.daily]\nsources = [\"src\", \"shop\", \"wiki\"]\nto = [\"main\"]\nschedule = \"daily\"\n",
        postgres.url_with_password("postgres"),
        mariadb.url()
    );
    machine.write("home/.config/lifeboat/lifeboat.toml", text.as_bytes());
    machine.write("shop-password", postgres::PASSWORD.as_bytes());
    machine.write("wiki-password", mariadb::PASSWORD.as_bytes());
    machine.ok(&["init", "-r", "main"]);
    machine.ok(&["run", "daily"]);
    machine.ok(&["kit", "--no-program", "--text", "kit.txt"]);
    // The machine burns; on the new one there are empty servers.
    postgres.sql("postgres", "drop database shop");
    mariadb.sql("", "drop database wiki");
    for gone in ["home", "src"] {
        fs::remove_dir_all(machine.path(gone)).unwrap();
    }
    fs::create_dir(machine.path("home")).unwrap();
    type_words(&machine);
    let listed = run(&machine, 0, &["recover", "main", "--recovery-key=typed"]);
    let order: Vec<usize> =
        ["1.  shop", "2.  wiki", "3.  src"].iter().map(|line| listed.out.find(line).unwrap()).collect();
    assert!(order.is_sorted(), "{}", listed.out);
    let back = run(&machine, 0, &["recover", "main", "--all", "--in-place"]);
    assert!(
        back.out.contains("shop is back: shop into") && back.out.contains("wiki is back: wiki into"),
        "{}",
        back.out
    );
    assert_eq!(fs::read(machine.path("src/a")).unwrap(), b"hello\n");
    assert_eq!(postgres.sql("shop", "select count(*), min(length(text)) from orders"), "5000|32");
    assert_eq!(mariadb.sql("wiki", "select count(*) from pages"), "2");
    let again = run(&machine, 3, &["recover", "main", "--all", "--in-place"]);
    assert!(
        again.err.contains("is not empty") && again.out.contains("src is back"),
        "{}{}",
        again.out,
        again.err
    );
    run(&machine, 0, &["run", "daily"]);
    run(&machine, 0, &["kit", "--no-program", "--text", "new.txt", "--retire"]);
}

#[test]
fn a_password_that_was_lost_with_the_machine_stops_nothing() {
    let mut machine = Machine::new();
    let root = machine.root.display().to_string();
    machine.set("XDG_CONFIG_HOME", &format!("{root}/home/.config"));
    machine.write("home/secret", b"correct horse\n");
    let password = format!("password = {{ file = \"{root}/home/secret\" }}");
    let text = format!(
        "[repositories.main]\nurl = \"{root}/main\"\n{password}\n[repositories.away]\nurl = \"{root}/away\"\n{password}\n\
         [sources.src]\npaths = [\"{root}/src\"]\n[jobs.daily]\nsources = [\"src\"]\nto = [\"main\", \"away\"]\nschedule = \"daily\"\n"
    );
    machine.write("home/.config/lifeboat/lifeboat.toml", text.as_bytes());
    machine.ok(&["init", "-r", "main"]);
    machine.ok(&["init", "-r", "away", "--copy-of", "main"]);
    machine.ok(&["kit", "--no-program", "--text", "kit.txt"]);
    machine.ok(&["run", "-q", "daily"]);
    for gone in ["home", "src", "main"] {
        fs::remove_dir_all(machine.path(gone)).unwrap();
    }
    fs::create_dir(machine.path("home")).unwrap();
    let away = format!("{root}/away");
    let back = machine.run(&["recover", &away, "--recovery-key=kit.txt"]);
    assert_eq!(back.code, 0, "{}{}", back.out, back.err);
    assert!(back.out.contains("its password is not where the configuration says"), "{}", back.out);
    // From here on nobody types a key, and the configuration still names the password that is gone.
    machine.ok(&["recover", &away, "src", "--in-place"]);
    assert_eq!(fs::read_to_string(machine.path("src/a")).unwrap(), "hello\n");
    let made = machine.run(&["init", "-r", "main", "--copy-of", "away"]);
    assert_eq!(made.code, 0, "{}{}", made.out, made.err);
    machine.ok(&["sync", "--from", "away", "--to", "main"]);
    let run = machine.run(&["run", "--all"]);
    assert_eq!(run.code, 0, "{}{}", run.out, run.err);
    machine.ok(&["kit", "--no-program", "--text", "new.txt", "--retire"]);
    // Who names a password on the command line means that one.
    let named = machine.run(&["snapshots", "-r", "main", "--password-file", "nowhere"]);
    assert_ne!(named.code, 0);
    // Once it is back it opens the copy that outlived the machine.
    machine.write("home/secret", b"correct horse\n");
    machine.ok(&["snapshots", "-r", "away"]);
}

#[test]
fn a_place_that_is_not_there_is_not_offered_to_be_begun_anew() {
    let machine = Machine::new();
    let ran = machine.run(&["recover", "kit1.txx", "--recovery-key=none"]);
    assert!(
        ran.code == 10 && !ran.err.contains("init") && ran.err.contains("The kit names all copies"),
        "{}",
        ran.err
    );
}
