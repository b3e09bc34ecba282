//! SQLite, Redis, commands, and MongoDB's tools as they were recorded.

use crate::world::Shelter;
use host::databases::command;
use host::databases::mongodb::{self, Mongodb};
use host::databases::redis::{self, Redis as Snapshots, Target};
use host::databases::sqlite::{self, Sqlite};
use host::databases::{About, Databases, Files, Patience, Restore, Secret, Server};
use rusqlite::Connection;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use testkit::servers::redis::{PASSWORD, Redis};

fn fresh(path: &Path, rows: u32) -> Connection {
    let db = Connection::open(path).unwrap();
    db.execute_batch("pragma journal_mode = wal; create table t (id integer primary key, what text)")
        .unwrap();
    db.execute(
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < ?1) \
         insert into t select i, hex(randomblob(40)) from n",
        [rows],
    )
    .unwrap();
    db
}

fn replace() -> Restore {
    Restore { replace: true, ..Restore::default() }
}

#[test]
fn a_sqlite_database_in_use_is_kept_whole_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite3");
    let writer = fresh(&path, 20_000);
    // Each pair of rows is written in one transaction: a copy never has half of one.
    let stop = AtomicBool::new(false);
    let shelter = Shelter::new();
    let pairs = "insert into t (what) values ('pair'), ('pair')";
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let writer = Connection::open(&path).unwrap();
            while !stop.load(Ordering::Relaxed) {
                writer.execute(pairs, []).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
        });
        let source =
            Sqlite { paths: vec![path.clone()], scratch: folder.path().into(), patience: Default::default() };
        shelter.try_keep(source).map(|_| ()).inspect_err(|_| stop.store(true, Ordering::Relaxed)).unwrap();
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "no copy is left");
    let other = tempfile::tempdir().unwrap();
    let mut files = shelter.files();
    let about = About::read(&mut files).unwrap();
    let restored = sqlite::restore(Some(other.path()), &about, &mut files, &Restore::default()).unwrap();
    let rows = restored[0].rows.unwrap();
    assert!(rows >= 20_000 && rows.is_multiple_of(2), "{rows}");
    let refused = sqlite::restore(Some(other.path()), &about, &mut files, &Restore::default());
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
    // In its place, while another program has it open.
    let restored = sqlite::restore(None, &about, &mut files, &replace()).unwrap();
    assert!(restored[0].replaced);
    let now: i64 = writer.query_row("select count(*) from t", [], |r| r.get(0)).unwrap();
    assert_eq!(now as u64, rows);
}

#[test]
fn a_damaged_or_missing_sqlite_database_makes_no_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    drop(fresh(&path, 5_000));
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8192].fill(0x55);
    std::fs::write(&path, bytes).unwrap();
    let shelter = Shelter::new();
    for path in [path, folder.path().join("absent")] {
        assert!(
            shelter
                .try_keep(Sqlite {
                    paths: vec![path],
                    scratch: folder.path().into(),
                    patience: Default::default()
                })
                .is_err()
        );
    }
    assert!(shelter.snapshots().is_empty());
}

#[test]
fn a_redis_server_comes_back_on_another() {
    let (Some(server), Some(other)) = (Redis::start(), Redis::start()) else { return };
    let address = |server: &Redis, password: &str| {
        let mut address = Server::at(&server.url()).unwrap();
        address.password = Some(Secret::new(password));
        address
    };
    server.ask(&["mset", "a", "1", "b", "2"]);
    server.ask(&["rpush", "list", "x", "y", "z"]);
    let shelter = Shelter::new();
    assert!(shelter.try_keep(Snapshots { server: address(&server, "wrong") }).is_err());
    assert!(shelter.snapshots().is_empty());
    shelter.keep(Snapshots { server: address(&server, PASSWORD) });
    let (mut files, scratch) = (shelter.files(), tempfile::tempdir().unwrap());
    let about = About::read(&mut files).unwrap();
    other.ask(&["set", "in the way", "1"]);
    let into = address(&other, PASSWORD);
    let mut restore =
        |what: &Restore| redis::restore(&Target::Server(&into), scratch.path(), &about, &mut files, what);
    assert_eq!(restore(&Restore::default()).unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(restore(&replace()).unwrap()[0].tables, 3);
    assert_eq!(other.ask(&["lrange", "list", "0", "-1"]), "x\ny\nz");
    assert!(other.ask(&["info", "replication"]).contains("role:master"));
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
    let folder = Target::Folder(scratch.path());
    redis::restore(&folder, scratch.path(), &about, &mut files, &Restore::default()).unwrap();
    assert!(scratch.path().join("dump.rdb").exists());
}

#[test]
fn what_a_command_prints_is_whole_if_its_judge_says_so_and_is_given_back() {
    let words = |text: &str| vec!["sh".to_string(), "-c".into(), text.into()];
    let patience = Patience::default();
    let read = |judge: &str| {
        let mut out = Vec::new();
        let long = [&[b'x'; 300_000][..], b"end\n"].concat();
        command::Judged::new(&long[..], &words(judge), &patience)?.read_to_end(&mut out)?;
        Ok::<_, std::io::Error>(out.len())
    };
    assert_eq!(read("tail -c 4 | grep -q end").unwrap(), 300_004);
    assert_eq!(read("head -c 1 | grep -q x").unwrap(), 300_004, "it has seen enough");
    assert!(
        read("cat > /dev/null; echo it is cut off >&2; exit 1").unwrap_err().to_string().contains("cut off")
    );

    let mut files = Known(b"dn\nend\n".to_vec());
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let back = words(&format!("cat > {}", out.display()));
    let refused = command::restore(&back, &[], &mut files, &Restore::default(), &patience);
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
    command::restore(&back, &[], &mut files, &replace(), &patience).unwrap();
    assert_eq!(std::fs::read_to_string(out).unwrap(), "dn\nend\n");
    let fails = words("cat > /dev/null; exit 4");
    assert!(command::restore(&fails, &[], &mut files, &replace(), &patience).is_err());
}

/// A file with known contents.
struct Known(Vec<u8>);

impl Files for Known {
    fn write(&mut self, _: &[&str], out: &mut dyn std::io::Write) -> std::io::Result<u64> {
        out.write_all(&self.0).map(|()| self.0.len() as u64)
    }
}

/// Writes a program that stands for one of MongoDB's tools and does what the tool was seen to do.
fn tool(folder: &Path, name: &str, script: &str) {
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn mongodbs_archive_is_kept_whole_and_fed_back() {
    let folder = tempfile::tempdir().unwrap();
    let archive = r"printf '\155\342\231\201prelude'; printf '\377\377\377\377'";
    let asks = |end: &str| {
        format!(
            "case \"$*\" in *--version*) echo 'mongodump version: 100.9.4'; exit;; *hunter2*) exit 9;; esac\n\
             case \"$1\" in --config=*) grep -q 'password: \"hunter2\"' \"${{1#--config=}}\" || exit 8;; esac\n{end}"
        )
    };
    tool(folder.path(), "mongodump", &asks(archive));
    let got = folder.path().join("got");
    let takes =
        format!("case \"$*\" in *hunter2*) exit 9;; esac\necho \"$*\" > {0}.args; cat > {0}", got.display());
    tool(folder.path(), "mongorestore", &takes);
    let server = || {
        let mut server = Server::at("mongodb://me:hunter2@db.lan:27017").unwrap();
        server.tools = Some(folder.path().into());
        server
    };
    let shelter = Shelter::new();
    let all = || Mongodb { server: server(), databases: Databases::All, oplog: true };
    shelter.keep(all());
    let mut files = shelter.files();
    let about = About::read(&mut files).unwrap();
    assert_eq!(about.tool, "mongodump version: 100.9.4");
    mongodb::restore(&server(), &about, &mut files, &replace()).unwrap();
    assert_eq!(std::fs::read(&got).unwrap(), b"\x6d\xe2\x99\x81prelude\xff\xff\xff\xff");
    let arguments = std::fs::read_to_string(got.with_extension("args")).unwrap();
    assert!(arguments.contains("--drop") && arguments.contains("--archive"), "{arguments}");
    // Cut off, or ended badly after a whole archive.
    for end in [r"printf '\155\342\231\201prel'", &format!("{archive}; exit 1")] {
        tool(folder.path(), "mongodump", &asks(end));
        assert!(shelter.try_keep(all()).is_err());
    }
    assert_eq!(shelter.snapshots().len(), 1);
}
