//! Drills of databases: real servers of their own, the questions of the configuration, and dumps that nobody knew to be
//! broken.

use crate::support::{Machine, Ran};
use engine::{BackupRequest, MemoryBudget, Silent, Source, backup};
use format::codec::Level;
use format::id::WriterId;
use format::kind::Timestamp;
use format::snapshot::Mode;
use host::produce::{Contents, Facts, Grain, Producer, Sink};
use repo::OpenOptions;
use repo::cache::Cache;
use repo::reader::Reader;
use repo::seed::Seed;
use repo::workers::Workers;
use rusqlite::Connection;
use serde_json::Value;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use storage::{LocalOptions, LocalStore};
use testkit::servers::{mariadb, postgres};

const PASSWORD: &str = "correct horse";

fn machine(source: &str, drill: &str) -> Machine {
    let mut machine = Machine::new();
    let root = machine.root.display().to_string();
    let text = format!(
        "[machine]\nname = \"atlas\"\n[repositories.main]\nurl = \"{root}/main\"\n[sources.shop]\n{source}\n\
         [jobs.daily]\nsources = [\"shop\"]\nto = [\"main\"]\nschedule = \"daily\"\nretry = {{ attempts = 1 }}\n\
         [drills.shop]\nsource = \"shop\"\nschedule = \"monthly\"\n{drill}\n"
    );
    fs::write(machine.root.join("lifeboat.toml"), text).unwrap();
    machine.set("LIFEBOAT_CONFIG", &format!("{root}/lifeboat.toml"));
    machine.set("LIFEBOAT_PASSWORD", PASSWORD);
    machine.ok(&["init", "-r", "main"]);
    machine
}

fn drill(machine: &Machine, code: i32) -> Value {
    let ran: Ran = machine.run(&["drill", "run", "shop", "--json"]);
    assert_eq!(ran.code, code, "{}{}", ran.out, ran.err);
    serde_json::from_slice(&ran.raw_out).unwrap_or_else(|e| panic!("{e}: {}", ran.out))
}

fn rewrite_configuration(machine: &Machine, from: &str, to: &str) {
    let file = machine.path("lifeboat.toml");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(from));
    fs::write(&file, text.replace(from, to)).unwrap();
}

/// No server of a drill runs, and nothing that was restored lies about.
fn nothing_is_left(machine: &Machine) {
    for folder in [machine.path("home/.cache/lifeboat"), "/var/tmp/lifeboat-0".into()] {
        let left = fs::read_dir(folder).into_iter().flatten().flatten();
        let left: Vec<String> = left.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        let of_this = |name: &&String| {
            let process = name.strip_prefix("drill-").and_then(|rest| rest.split('-').next());
            process.is_some_and(|process| !Path::new("/proc").join(process).exists())
        };
        assert_eq!(left.iter().filter(of_this).count(), 0, "{left:?}");
    }
}

#[test]
fn a_postgres_database_is_tried_in_a_server_of_its_own_and_asked() {
    let Some(server) = postgres::Postgres::start() else { return };
    server.sql("postgres", "create database shop");
    server.sql("postgres", "create role shopkeeper");
    server
        .sql("shop", "create table orders as select n as id, now() as made from generate_series(1, 5000) n");
    server.sql("shop", "alter table orders owner to shopkeeper");
    let url = server.url("postgres");
    let machine = machine(
        &format!("type = \"postgres\"\nurl = \"{url}\"\ndatabases = [\"shop\"]\nrto = \"1h\"\nrpo = \"1d\""),
        "kind = \"postgres\"\nasserts = [\"select count(*) > 1000 from orders\", \"select max(made) > now() - interval '2 days' from orders\"]",
    );
    machine.ok(&["config", "check"]);
    machine.ok(&["run", "daily"]);
    let evidence = drill(&machine, 0);
    let answers = evidence["asserts"].as_array().unwrap();
    assert_eq!(answers.len(), 3, "{evidence}");
    assert_eq!(answers[0]["answer"], "1 table, 5000 rows");
    assert!(answers.iter().all(|a| a["ok"] == true) && answers[1]["answer"] == "t", "{evidence}");
    assert!(
        evidence["full_restore"]["met"] == true && evidence["full_restore"]["goal"] == 3600.0,
        "{evidence}"
    );
    assert_eq!(evidence["bytes_hashed"], evidence["bytes_total"]);
    nothing_is_left(&machine);
    let status = machine.run(&["status", "--json"]);
    let status: Value = serde_json::from_slice(&status.raw_out).unwrap();
    assert!(status["sources"][0]["pairs"][0]["drilled"].is_i64(), "{status}");
    // A question whose answer is no, and one that cannot be answered.
    rewrite_configuration(&machine, "count(*) > 1000", "count(*) > 9000");
    rewrite_configuration(&machine, "max(made)", "max(sold)");
    let evidence = drill(&machine, 6);
    let answers = evidence["asserts"].as_array().unwrap();
    assert!(answers[1]["ok"] == false && answers[1]["answer"] == "f", "{evidence}");
    assert!(answers[2]["answer"].as_str().unwrap().contains("sold"), "{evidence}");
    // Into another server, which is left as it was; never into the one it comes from.
    let other = postgres::Postgres::start().expect("one was started before");
    other.sql("postgres", "create role shopkeeper");
    rewrite_configuration(&machine, "max(sold)", "max(made)");
    rewrite_configuration(&machine, "count(*) > 9000", "count(*) = 5000");
    rewrite_configuration(
        &machine,
        "kind = \"postgres\"\n",
        &format!("kind = \"postgres\"\ninto = \"{}\"\n", other.url("postgres")),
    );
    let evidence = drill(&machine, 0);
    assert_eq!(evidence["asserts"][1]["answer"], "t", "{evidence}");
    assert_eq!(other.sql("postgres", "select count(*) from pg_database where not datistemplate"), "1");
    rewrite_configuration(&machine, &other.url("postgres"), &url);
    let refused = machine.run(&["drill", "run", "shop"]);
    assert!(refused.code == 2 && refused.err.contains("is the one that shop comes from"), "{}", refused.err);
    let check = machine.run(&["config", "check"]);
    assert!((check.out + &check.err).contains("always fails"));
}

/// Keeps files as they are given: what a tool gave that broke off without a word.
struct AsGiven(Vec<(Vec<String>, Vec<u8>)>);

impl Producer for AsGiven {
    fn produce(&mut self, sink: &mut dyn Sink) -> io::Result<()> {
        for (path, bytes) in &self.0 {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            sink.file(&path, Facts::PRIVATE, Contents::Stream(&mut &bytes[..], Grain::Fine))?;
        }
        Ok(())
    }
}

/// Takes the newest snapshot's files, changes them, and keeps them as a new snapshot of the same source.
fn keep_changed(machine: &Machine, paths: &[&str], change: impl Fn(&str, Vec<u8>) -> Vec<u8>) {
    let files = paths.iter().map(|path| {
        let ran =
            machine.run(&["dump", "-r", "main", &format!("latest:shop/{path}"), "--tag", "source:shop"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        (path.split('/').map(str::to_string).collect(), change(path, ran.raw_out))
    });
    let producer = Box::new(AsGiven(files.collect()));
    let store = LocalStore::open(&machine.path("main"), &LocalOptions::default()).unwrap();
    let credential = service::credentials::password_of(PASSWORD.to_string().into());
    let repo = repo::Repo::open(Arc::new(store), &credential, &OpenOptions::default()).unwrap();
    let reader = Arc::new(Reader::open(Arc::new(repo), Cache::none()).unwrap());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let time = Timestamp { secs: now.as_secs() as i64, nanos: now.subsec_nanos() };
    let request = BackupRequest {
        source: Source::Produced { name: "shop".into(), producer, paths: Vec::new() },
        rules: Arc::default(),
        excludes: Vec::new(),
        walk: Default::default(),
        mode: Mode::Full,
        parent: None,
        base: None,
        host: "atlas".into(),
        user: "me".into(),
        tags: vec!["source:shop".into()],
        description: String::new(),
        time,
        clock: Arc::new(move || time),
        writer: WriterId([7; 16]),
        previous: None,
        seed: Seed::new([now.subsec_nanos() as u8; 32]),
        level: Level(3),
        read_workers: Workers(1),
        read_workers_max: 0,
        seal_workers: Workers(1),
        upload_workers: Workers(1),
        memory: MemoryBudget::default(),
        fixed_chunks: Default::default(),
        ignore_inode: false,
        dry_run: false,
        skip_if_unchanged: false,
        program: "test".into(),
    };
    backup(&reader, request, &Silent).unwrap();
}

fn age(machine: &Machine) {
    // Ages take turns: the newest comes first.
    let list = machine.run(&["drill", "list", "-r", "main"]);
    assert!(list.out.contains("0 drills"), "{}", list.out);
}

#[test]
fn a_postgres_dump_that_broke_off_without_a_word_fails_the_drill() {
    let Some(server) = postgres::Postgres::start() else { return };
    server.sql("postgres", "create database shop");
    server.sql(
        "shop",
        "create table orders as select n as id, md5(n::text) as what from generate_series(1, 50000) n",
    );
    let source = format!("type = \"postgres\"\nurl = \"{}\"\ndatabases = [\"shop\"]", server.url("postgres"));
    let machine = machine(&source, "kind = \"postgres\"");
    machine.ok(&["run", "daily"]);
    age(&machine);
    keep_changed(&machine, &["about.json", "databases/shop.pgdump", "globals.sql"], |path, mut bytes| {
        if path.ends_with("pgdump") {
            bytes.truncate(bytes.len() * 6 / 10);
        }
        bytes
    });
    machine.ok(&["check", "-r", "main", "--read-data"]);
    let evidence = drill(&machine, 6);
    assert_eq!(evidence["result"], "failed", "{evidence}");
    assert!(evidence["problems"][0]["what"].as_str().unwrap().contains("pg_restore"), "{evidence}");
    nothing_is_left(&machine);
}

#[test]
fn damage_below_a_database_is_damage() {
    let Some(server) = postgres::Postgres::start() else { return };
    server.sql("postgres", "create database shop");
    server.sql(
        "shop",
        "create table orders as select n as id, md5(n::text) as what from generate_series(1, 90000) n",
    );
    let source = format!("type = \"postgres\"\nurl = \"{}\"\ndatabases = [\"shop\"]", server.url("postgres"));
    let mut machine = machine(&source, "kind = \"postgres\"");
    // Whoever is not root starts the server as himself.
    machine.become_nobody();
    machine.ok(&["run", "daily"]);
    assert_eq!(drill(&machine, 0)["asserts"][0]["answer"], "1 table, 90000 rows");
    let packs = crate::support::walk(&machine.path("main/packs"));
    let largest = packs.iter().map(|p| machine.path("main/packs").join(p)).filter(|p| p.is_file());
    let largest = largest.max_by_key(|p| fs::metadata(p).unwrap().len()).unwrap();
    let mut bytes = fs::read(&largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4000].iter_mut().for_each(|b| *b ^= 0x55);
    fs::remove_file(&largest).unwrap();
    fs::write(&largest, bytes).unwrap();
    let evidence = drill(&machine, 5);
    assert!(evidence["result"] == "damaged" && evidence["damage_count"] == 1, "{evidence}");
    nothing_is_left(&machine);
}

#[test]
fn the_data_files_of_a_server_carry_one_again() {
    let Some(server) = postgres::Postgres::start() else { return };
    server.sql("postgres", "create database shop");
    server.sql("shop", "create table orders as select n as id from generate_series(1, 500) n");
    let machine = machine(
        &format!("type = \"postgres\"\nmode = \"physical\"\nurl = \"{}\"", server.url("postgres")),
        "kind = \"postgres\"\nasserts = [\"shop: select count(*) = 500 from orders\", \"select true\"]",
    );
    machine.ok(&["run", "daily"]);
    let evidence = drill(&machine, 6);
    let answers = evidence["asserts"].as_array().unwrap();
    assert_eq!(answers[1]["answer"], "it has 2 databases", "{evidence}");
    assert_eq!((&answers[2]["answer"], &answers[2]["ok"]), (&"t".into(), &true.into()), "{evidence}");
    assert!(answers[3]["answer"].as_str().unwrap().contains("write which database is asked"), "{evidence}");
    nothing_is_left(&machine);
}

#[test]
fn a_mariadb_database_is_tried_and_one_that_lost_tables_is_found() {
    let Some(server) = mariadb::Mariadb::start() else { return };
    server.sql("", "create database shop");
    server.sql("shop", "create table orders (id int primary key, what varchar(50)) engine=innodb");
    server.sql("shop", "insert into orders select seq, md5(seq) from seq_1_to_3000");
    server.sql("shop", "create table people (id int primary key) engine=innodb");
    server.sql("shop", "insert into people values (1), (2)");
    let machine = machine(
        &format!(
            "type = \"mariadb\"\nurl = \"{}\"\npassword = {{ file = \"~/../db-password\" }}\ndatabases = [\"shop\"]",
            server.url()
        ),
        "kind = \"mariadb\"\nasserts = [\"select count(*) > 1000 from orders\"]",
    );
    machine.write("db-password", mariadb::PASSWORD.as_bytes());
    machine.ok(&["run", "daily"]);
    // Cut before the second table; the mark of the end stands there all the same.
    let cut = |path: &str, bytes: Vec<u8>| {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        match path.ends_with(".sql") && text.contains("CREATE TABLE `people`") {
            true => {
                let at = text.find("DROP TABLE IF EXISTS `people`").unwrap();
                format!("{}\n-- Dump completed\n", &text[..at]).into_bytes()
            }
            false => bytes,
        }
    };
    keep_changed(&machine, &["about.json", "databases/shop.sql"], cut);
    let evidence = drill(&machine, 6);
    let what = evidence["problems"][0]["what"].as_str().unwrap();
    assert!(what.contains("has 1 of 2 tables after it was loaded"), "{evidence}");
    // The next one is held with the oldest snapshot, which is right.
    let evidence = drill(&machine, 0);
    assert_eq!(evidence["asserts"][0]["answer"], "2 tables, 3002 rows", "{evidence}");
    assert_eq!(
        (&evidence["asserts"][1]["answer"], &evidence["asserts"][1]["ok"]),
        (&"1".into(), &true.into())
    );
    nothing_is_left(&machine);
}

#[test]
fn a_sqlite_file_is_checked_and_asked() {
    let machine = machine(
        "type = \"sqlite\"\npaths = [\"~/../src/app.db\"]",
        "kind = \"sqlite\"\nasserts = [\"select count(*) = 3 from t\", \"app.db: select min(a) from t\"]",
    );
    let connection = Connection::open(machine.path("src/app.db")).unwrap();
    connection.execute_batch("create table t (a int); insert into t values (1), (2), (3)").unwrap();
    drop(connection);
    machine.ok(&["run", "daily"]);
    let evidence = drill(&machine, 0);
    assert_eq!(evidence["asserts"][0]["answer"], "1 table, 3 rows", "{evidence}");
    nothing_is_left(&machine);
    rewrite_configuration(&machine, "min(a)", "a");
    let evidence = drill(&machine, 6);
    assert_eq!(evidence["asserts"][2]["answer"], "the answer is not one value", "{evidence}");
    // A drill of another kind than its source cannot be held.
    rewrite_configuration(&machine, "kind = \"sqlite\"", "kind = \"mariadb\"");
    let ran = machine.run(&["drill", "run", "shop"]);
    assert!(ran.code == 1 && ran.err.contains("the drill is of the kind mariadb"), "{}", ran.err);
}
