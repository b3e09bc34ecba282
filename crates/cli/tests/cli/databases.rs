//! Databases of the configuration: real servers, dumped by the program and brought back.

use crate::support::{Machine, walk};
use rusqlite::Connection;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use testkit::servers::{mariadb, postgres};

/// A machine with one repository and these sources, all in one job.
fn machine(sources: &str) -> Machine {
    let mut machine = Machine::new();
    let root = machine.root.display().to_string();
    let table =
        |line: &str| line.strip_prefix("[sources.").and_then(|l| l.strip_suffix(']')).map(str::to_string);
    let names: Vec<String> = sources.lines().filter_map(table).collect();
    let text = format!(
        "[machine]\nname = \"atlas\"\n[repositories.main]\nurl = \"{root}/main\"\n{sources}\n\
         [jobs.daily]\nsources = {names:?}\nto = [\"main\"]\nschedule = \"daily\"\nretry = {{ attempts = 1 }}\n"
    );
    fs::write(machine.root.join("lifeboat.toml"), text).unwrap();
    machine.set("LIFEBOAT_CONFIG", &format!("{root}/lifeboat.toml"));
    machine.ok(&["init", "-r", "main"]);
    machine
}

fn with_password(machine: &Machine, password: &str) {
    fs::write(machine.root.join("db-password"), format!("{password}\n")).unwrap();
}

/// Whether a text stands in the arguments of any process until `over` says so.
fn shows_in_arguments(text: &str, over: &AtomicBool) -> bool {
    let mut shown = false;
    while !over.load(Ordering::Relaxed) {
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            shown |= String::from_utf8_lossy(&line).contains(text);
        }
    }
    shown
}

fn snapshots(machine: &Machine, source: &str) -> usize {
    let list = machine.run(&["snapshots", "--tag", &format!("source:{source}"), "--json"]);
    let list: serde_json::Value = serde_json::from_slice(&list.raw_out).unwrap();
    list.as_array().unwrap().len()
}

#[test]
fn a_postgres_server_is_backed_up_by_a_job_and_its_password_shows_nowhere() {
    let Some(server) = postgres::Postgres::start() else { return };
    server.sql("postgres", "create database shop");
    server.sql("shop", "create table t as select n, md5(n::text) from generate_series(1, 50000) n");
    let url = server.url_with_password("postgres");
    let machine = machine(&format!(
        "[sources.shop]\ntype = \"postgres\"\nurl = \"{url}\"\npassword = {{ file = \"~/../db-password\" }}\n\
         databases = [\"shop\"]\n[sources.files]\ntype = \"postgres\"\nurl = \"{url}\"\nmode = \"physical\"\n\
         password = {{ file = \"~/../db-password\" }}"
    ));
    with_password(&machine, postgres::PASSWORD);
    let over = AtomicBool::new(false);
    let shown = std::thread::scope(|scope| {
        let watch = scope.spawn(|| shows_in_arguments(postgres::PASSWORD, &over));
        machine.ok(&["run", "daily"]);
        over.store(true, Ordering::Relaxed);
        watch.join().unwrap()
    });
    assert!(!shown, "the password was an argument");
    let files = machine.ok(&["ls", "latest", "--tag", "source:shop", "--recursive"]);
    assert!(files.contains("databases/shop.pgdump") && files.contains("globals.sql"), "{files}");
    assert!(files.contains("about.json"), "{files}");
    let files = machine.ok(&["ls", "latest", "--tag", "source:files", "--recursive"]);
    assert!(files.contains("data/backup_manifest"), "{files}");
    // docs/guide/databases.md, "Back by hand".
    let dump = machine.run(&["dump", "latest:shop/databases/shop.pgdump", "--tag", "source:shop"]);
    assert!(dump.raw_out.starts_with(b"PGDMP"), "{}", dump.err);
    machine.ok(&["restore", "latest:files/data", "--tag", "source:files", "--target", "main"]);
    assert!(machine.root.join("main/PG_VERSION").exists());

    restored_beside_and_elsewhere(&machine, &server);

    // By hand, to the repositories of its job; a second snapshot of the same source.
    let ran = machine.run(&["backup", "-s", "shop", "--tag", "before-update", "-v"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(snapshots(&machine, "shop"), 2);
    assert!(ran.out.contains("incremental"), "{}", ran.out);

    with_password(&machine, "wrong");
    let ran = machine.run(&["backup", "-s", "shop"]);
    assert!(ran.code == 1 && ran.err.contains("password authentication failed"), "{}", ran.err);
    drop(server);
    let ran = machine.run(&["run", "daily"]);
    assert!(ran.code == 1 && ran.err.contains("shop into main: failed"), "{}", ran.err);
    assert_eq!(snapshots(&machine, "shop"), 2);
}

/// In place, under another name, and into another server; with `shop` and `files` backed up once.
fn restored_beside_and_elsewhere(machine: &Machine, server: &postgres::Postgres) {
    let sum = "select count(*), md5(string_agg(n || md5, ',' order by n)) from t";
    let (before, database) = (server.sql("shop", sum), ["--database", "shop"]);
    server.sql("shop", "delete from t where n > 10");
    let ran = machine.run(&["restore-db", "shop"]);
    assert!(ran.code == 1 && ran.err.contains("is not empty: it has tables (1)"), "{}", ran.err);
    assert!(ran.err.contains("--replace"), "{}", ran.err);
    let out = machine.ok(&["restore-db", "shop", "--replace", "-n"]);
    assert_eq!(out, "shop would be replaced: 1 table\nnothing was changed: this was a dry run\n");
    let out = machine.ok(&[&["restore-db", "shop", "--as", "shop of then"][..], &database].concat());
    assert_eq!(out, "shop of then brought back: 1 table, 50000 rows\n");
    assert_eq!(
        (server.sql("shop of then", sum), server.sql("shop", "select count(*) from t")),
        (before.clone(), "10".into())
    );
    let ran = machine.run(&["restore-db", "shop", "--replace", "--json"]);
    let last = ran.raw_out.trim_ascii().rsplit(|b| *b == b'\n').next().unwrap();
    let summary: serde_json::Value = serde_json::from_slice(last).unwrap();
    assert_eq!(
        (summary["databases"][0]["rows"].as_u64(), summary["databases"][0]["replaced"].as_bool()),
        (Some(50000), Some(true))
    );
    assert_eq!(server.sql("shop", sum), before);
    let absent = machine.run(&["restore-db", "shop", "--database", "shpo"]);
    assert!(absent.code == 1 && absent.err.contains("it has: shop"), "{}", absent.err);

    let other = postgres::Postgres::start().expect("one was started before");
    let into = other.url_with_password("postgres");
    let shown = into.replace("postgres@", &format!("postgres:{}@", "hunter2"));
    let refused = machine.run(&["restore-db", "shop", "--into", &shown]);
    assert!(refused.code == 2 && refused.err.contains("--into-password-file"), "{}", refused.err);
    machine.ok(&["restore-db", "shop", "--into", &into, "--into-password-file", "db-password"]);
    assert_eq!(other.sql("shop", sum), before);
    let wrong = machine.run(&["restore-db", "shop", "--into", "mysql://127.0.0.1"]);
    assert!(wrong.code == 2 && wrong.err.contains("of the kind postgres, not mysql"), "{}", wrong.err);

    let refused = machine.run(&["restore-db", "files"]);
    assert!(refused.code == 2 && refused.err.contains("--into FOLDER"), "{}", refused.err);
    let out = machine.ok(&["restore-db", "files", "--into", "cluster"]);
    assert!(out.starts_with("cluster brought back:"), "{out}");
    let refused = machine.run(&["restore-db", "files", "--into", "cluster"]);
    assert!(refused.code == 1 && refused.err.contains("is not empty"), "{}", refused.err);
    fs::write(machine.root.join("cluster/postmaster.pid"), "1").unwrap();
    let refused = machine.run(&["restore-db", "files", "--into", "cluster", "--replace"]);
    assert!(refused.code == 14 && refused.err.contains("a server runs on"), "{}", refused.err);
    let none = machine.run(&["restore-db", "latest", "--tag", "source:nothing"]);
    assert_ne!(none.code, 0);
}

#[test]
fn a_damaged_dump_is_damage_and_replaces_nothing() {
    let Some(server) = postgres::Postgres::start() else { return };
    server.sql("postgres", "create database shop");
    server.sql("shop", "create table t as select n, md5(n::text) from generate_series(1, 50000) n");
    let machine = machine(&format!(
        "[sources.shop]\ntype = \"postgres\"\nurl = \"{}\"\ndatabases = [\"shop\"]",
        server.url("postgres")
    ));
    machine.ok(&["backup", "-s", "shop"]);
    let mut packs: Vec<_> = walk(&machine.path("main/packs"));
    packs.sort_by_key(|pack| fs::metadata(pack).unwrap().len());
    let pack = packs.last().unwrap();
    let mut bytes = fs::read(pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 1000].fill(0x55);
    fs::write(pack, bytes).unwrap();
    server.sql("shop", "delete from t where n > 10");
    let ran = machine.run(&["restore-db", "shop", "--replace"]);
    assert_eq!(ran.code, 5, "{}", ran.err);
    assert_eq!(server.sql("shop", "select count(*) from t"), "10");
    let names = "select string_agg(datname, ',' order by datname) from pg_database where not datistemplate";
    assert_eq!(server.sql("postgres", names), "postgres,shop");
}

#[test]
fn mariadb_and_sqlite_are_backed_up_beside_one_another() {
    let Some(server) = mariadb::Mariadb::start() else { return };
    server.sql("", "create database wiki");
    server.sql(
        "wiki",
        "create table pages (id int primary key, body text); insert into pages values (1, 'hello')",
    );
    let machine = machine(&format!(
        "[sources.wiki]\ntype = \"mariadb\"\nurl = \"{}\"\npassword = {{ file = \"~/../db-password\" }}\n\
         [sources.vault]\ntype = \"sqlite\"\npaths = [\"~/*.sqlite3\"]",
        server.url()
    ));
    with_password(&machine, mariadb::PASSWORD);
    let ran = machine.run(&["run", "daily"]);
    assert!(ran.code != 0 && ran.err.contains("matches nothing"), "{}", ran.err);
    let db = Connection::open(machine.root.join("home/db.sqlite3")).unwrap();
    db.execute_batch("pragma journal_mode = wal; create table t (a); insert into t values (7)").unwrap();
    machine.ok(&["run", "daily"]);
    assert_eq!((snapshots(&machine, "wiki"), snapshots(&machine, "vault")), (2, 1));
    let files = machine.ok(&["ls", "latest", "--tag", "source:wiki", "--recursive"]);
    assert!(files.contains("databases/wiki.sql") && files.contains("users.sql"), "{files}");
    let files = machine.ok(&["ls", "latest", "--tag", "source:vault", "--recursive"]);
    assert!(files.contains("db.sqlite3"), "{files}");

    server.sql("wiki", "update pages set body = 'vandals'");
    let out = machine.ok(&["restore-db", "wiki", "--database", "wiki", "--as", "then"]);
    assert_eq!(out, "then brought back: 1 table, 1 row\n");
    assert_eq!(server.sql("then", "select body from pages"), "hello");
    assert_eq!(machine.run(&["restore-db", "wiki"]).code, 1);
    machine.ok(&["restore-db", "wiki~1", "--replace"]);
    assert_eq!(server.sql("wiki", "select body from pages"), "hello");
    db.execute_batch("update t set a = 8").unwrap();
    assert_eq!(machine.run(&["restore-db", "vault"]).code, 1);
    machine.ok(&["restore-db", "vault", "--into", "look"]);
    machine.ok(&["restore-db", "vault", "--replace"]);
    for path in ["home/db.sqlite3", "look/db.sqlite3"] {
        let db = Connection::open(machine.root.join(path)).unwrap();
        assert_eq!(db.query_row("select a from t", [], |row| row.get::<_, i64>(0)).unwrap(), 7, "{path}");
    }
}

#[test]
fn a_source_is_named_alone_and_as_it_is_written() {
    let machine = machine("[sources.words]\ntype = \"command\"\ncommand = [\"echo\", \"hello\"]");
    let ran = machine.run(&["backup", "-s", "wrods"]);
    assert!(
        ran.code == 2 && ran.err.contains("there is no source \"wrods\"") && ran.err.contains("words"),
        "{}",
        ran.err
    );
    let ran = machine.run(&["backup", "-s", "words", "src"]);
    assert_eq!(ran.code, 2);
    let ran = machine.run(&["backup", "-s", "words", "--exclude", "x"]);
    assert!(ran.code == 2 && ran.err.contains("lifeboat config edit"), "{}", ran.err);
    machine.ok(&["backup", "-s", "words"]);
    machine.ok(&["run", "daily"]);
    assert_eq!(snapshots(&machine, "words"), 2);
}

#[test]
fn the_output_of_a_command_goes_back_to_the_command_that_takes_it() {
    let machine = machine(
        "[sources.words]\ntype = \"command\"\ncommand = [\"echo\", \"hello\"]\n\
         restore_command = [\"sh\", \"-c\", \"cat > $HOME/back\"]\n[sources.lost]\ntype = \"command\"\ncommand = [\"echo\", \"x\"]",
    );
    machine.ok(&["run", "daily"]);
    let refused = machine.run(&["restore-db", "words"]);
    assert_eq!(refused.code, 2, "nobody knows what it replaces");
    assert!(refused.err.contains("lifeboat restore-db words --replace\n"), "{}", refused.err);
    machine.ok(&["restore-db", "words", "--replace"]);
    assert_eq!(fs::read_to_string(machine.root.join("home/back")).unwrap(), "hello\n");
    let ran = machine.run(&["restore-db", "lost", "--replace"]);
    assert!(ran.code == 2 && ran.err.contains("restore_command"), "{}", ran.err);
    machine.ok(&["backup", "-r", "main", "src"]);
    let ran = machine.run(&["restore-db", "latest", "--path", "src"]);
    assert!(ran.code == 2 && ran.err.contains("holds no database"), "{}", ran.err);
}

#[test]
fn a_command_whose_judge_refuses_makes_no_snapshot() {
    let judged = |end: &str| {
        machine(&format!(
            "[sources.words]\ntype = \"command\"\ncommand = [\"echo\", \"hello\"]\nvalidate = [\"sh\", \"-c\", \"{end}\"]"
        ))
    };
    let machine = judged("grep -q hello");
    machine.ok(&["run", "daily"]);
    let dumped = machine.run(&["dump", "latest", "--tag", "source:words"]);
    assert_eq!(String::from_utf8_lossy(&dumped.raw_out), "hello\n");
    let machine = judged("cat >/dev/null; echo no trailer >&2; exit 1");
    let ran = machine.run(&["run", "daily"]);
    assert!(ran.code == 1 && ran.err.contains("no trailer"), "{}", ran.err);
    assert_eq!(snapshots(&machine, "words"), 0);
}
