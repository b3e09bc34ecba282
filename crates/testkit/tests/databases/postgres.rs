//! PostgreSQL: logical dumps and data files.

use crate::world::Shelter;
use host::databases::postgres::{Postgres as Dumps, restore};
use host::databases::postgres_files::{PostgresFiles, verify_folder};
use host::databases::{About, Databases, Restore, Restored, Secret, Server};
use testkit::servers::postgres::{PASSWORD, Postgres};

fn all(server: &Postgres) -> Dumps {
    Dumps {
        server: Server::at(&server.url("postgres")).unwrap(),
        databases: Databases::All,
        globals: true,
        options: Vec::new(),
    }
}

/// A shop: two databases with odd names, a role that owns one, rows, a view, a large object.
fn fill(server: &Postgres) {
    server.sql("postgres", "create role shopkeeper login password 'x'");
    server.sql("postgres", "create database shop owner shopkeeper");
    server.sql("postgres", "create database \"odd/na'me\"");
    server.sql(
        "shop",
        "create table orders (id int primary key, what text); \
        insert into orders select n, md5(n::text) from generate_series(1, 20000) n; \
        create view big as select * from orders where id > 10; alter table orders owner to shopkeeper; \
        select lo_from_bytea(0, 'large object'); alter database shop set work_mem = '5MB'",
    );
    server.sql("odd/na'me", "create table t (a int); insert into t values (1), (2)");
}

const SUM: &str = "select count(*), md5(string_agg(id || what, ',' order by id)) from orders";

fn bring_back(shelter: &Shelter, server: &Server, what: &Restore) -> std::io::Result<Vec<Restored>> {
    let mut files = shelter.files();
    let about = About::read(&mut files).unwrap();
    restore(server, &about, &mut files, what, &mut |_| ())
}

#[test]
fn databases_come_back_on_another_server_with_their_roles() {
    let (Some(server), Some(other)) = (Postgres::start(), Postgres::start()) else { return };
    let shelter = Shelter::new();
    fill(&server);
    let snapshot = shelter.keep(all(&server)).snapshot.unwrap();
    assert_eq!(snapshot.sources, [b"stream:db".to_vec()]);
    let into = Server::at(&other.url("postgres")).unwrap();
    let restored = bring_back(&shelter, &into, &Restore::default()).unwrap();
    let names: Vec<_> = restored.iter().map(|r| (r.name.as_str(), r.tables, r.rows)).collect();
    assert_eq!(names, [("odd/na'me", 1, Some(2)), ("postgres", 0, Some(0)), ("shop", 1, Some(20000))]);
    assert_eq!(other.sql("shop", SUM), server.sql("shop", SUM));
    let owner = "select tableowner from pg_tables where tablename = 'orders'";
    assert_eq!(other.sql("shop", owner), "shopkeeper");
    assert_eq!(other.sql("shop", "show work_mem"), "5MB");
    assert_eq!(
        other.sql("shop", "select convert_from(lo_get(oid), 'UTF8') from pg_largeobject_metadata"),
        "large object"
    );
    // The password of a role that was there stays: the one of `postgres` still opens the port.
    let mut by_port = Server::at(&other.url_with_password("postgres")).unwrap();
    by_port.password = Some(Secret::new(PASSWORD));
    assert!(
        bring_back(&shelter, &by_port, &Restore { dry_run: true, replace: true, ..Restore::default() })
            .is_ok()
    );
}

#[test]
fn what_is_not_empty_is_refused_and_replaced_only_by_what_is_whole() {
    let Some(server) = Postgres::start() else { return };
    let shelter = Shelter::new();
    fill(&server);
    shelter.keep(all(&server));
    let there = Server::at(&server.url("postgres")).unwrap();
    let only_shop = |replace| Restore { databases: vec!["shop".into()], replace, ..Restore::default() };
    let before = server.sql("shop", SUM);
    server.sql("shop", "update orders set what = 'newer'");
    let newer = server.sql("shop", SUM);
    let refused = bring_back(&shelter, &there, &only_shop(false)).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(server.sql("shop", SUM), newer);

    // A dump that cannot be loaded whole replaces nothing.
    let mut cut = Cut(shelter.files());
    let about = About::read(&mut shelter.files()).unwrap();
    let failed = restore(&there, &about, &mut cut, &only_shop(true), &mut |_| ()).unwrap_err().to_string();
    assert!(failed.contains("is as it was"), "{failed}");
    assert_eq!(server.sql("shop", SUM), newer, "and it can be connected to");

    let restored = bring_back(&shelter, &there, &only_shop(true)).unwrap();
    assert!(restored[0].replaced && restored.len() == 1);
    assert_eq!(server.sql("shop", SUM), before);
    let names = server.sql("postgres", "select count(*) from pg_database where datname like '%before%'");
    assert_eq!(names, "0");
    // Beside the one that is there.
    let beside = Restore { name: Some("shop of then".into()), ..only_shop(false) };
    let restored = bring_back(&shelter, &there, &beside).unwrap();
    assert_eq!((restored[0].name.as_str(), restored[0].rows), ("shop of then", Some(20000)));
    assert_eq!(server.sql("shop of then", SUM), before);
    let two = Restore { databases: Vec::new(), ..beside };
    assert_eq!(bring_back(&shelter, &there, &two).unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    let absent = Restore { databases: vec!["no".into()], ..Restore::default() };
    assert!(bring_back(&shelter, &there, &absent).unwrap_err().to_string().contains("no database \"no\""));
}

/// Files of which each ends after some bytes.
struct Cut(engine::contents::StoredFiles<'static>);

impl host::databases::Files for Cut {
    fn write(&mut self, path: &[&str], out: &mut dyn std::io::Write) -> std::io::Result<u64> {
        let mut whole = Vec::new();
        self.0.write(path, &mut whole)?;
        out.write_all(&whole[..whole.len() / 2])?;
        Err(std::io::Error::other("the pack is damaged"))
    }
}

#[test]
fn a_password_is_given_privately_and_a_wrong_one_makes_no_snapshot() {
    let Some(server) = Postgres::start() else { return };
    let shelter = Shelter::new();
    fill(&server);
    let with = |password: &str| {
        let mut address = Server::at(&server.url_with_password("shop")).unwrap();
        address.password = Some(Secret::new(password));
        Dumps {
            server: address,
            databases: Databases::Named(vec!["shop".into()]),
            globals: true,
            options: Vec::new(),
        }
    };
    let failed = shelter.try_keep(with("wrong")).err().unwrap().to_string();
    assert!(failed.contains("password authentication failed"), "{failed}");
    assert!(shelter.snapshots().is_empty());
    shelter.keep(with(PASSWORD));
    let about = About::read(&mut shelter.files()).unwrap();
    assert!(!format!("{about:?}{:?}", shelter.texts()).contains(PASSWORD));
    assert_eq!(about.databases[0].tables, Some(1));
    let absent = Dumps { databases: Databases::Named(vec!["gone".into()]), ..with(PASSWORD) };
    assert!(shelter.try_keep(absent).is_err());
    assert_eq!(shelter.snapshots().len(), 1);
}

#[test]
fn a_server_that_goes_away_makes_no_snapshot() {
    let Some(server) = Postgres::start() else { return };
    let shelter = Shelter::new();
    fill(&server);
    let dumps = all(&server);
    drop(server);
    assert!(shelter.try_keep(dumps).is_err());
    assert!(shelter.snapshots().is_empty());
}

#[test]
fn a_second_dump_after_a_few_changes_adds_little() {
    let Some(server) = Postgres::start() else { return };
    let shelter = Shelter::new();
    server.sql("postgres", "create database shop");
    server.sql(
        "shop",
        "create table orders (id int primary key, what text) with (fillfactor = 90); \
        insert into orders select n, md5(n::text) || md5((-n)::text) from generate_series(1, 100000) n",
    );
    let first = shelter.keep(all(&server)).written.added_bytes;
    server.sql("shop", "update orders set what = md5(what) where id between 40000 and 41000");
    server.sql("shop", "insert into orders select n, md5(n::text) from generate_series(100001, 100500) n");
    let second = shelter.keep(all(&server)).written.added_bytes;
    assert!(second * 10 < first, "{second} bytes after {first}");
}

#[test]
fn data_files_are_kept_one_by_one_and_a_server_starts_on_them() {
    let Some(server) = Postgres::start() else { return };
    let shelter = Shelter::new();
    fill(&server);
    let files =
        || PostgresFiles { server: Server::at(&server.url("postgres")).unwrap(), fast_checkpoint: true };
    let first = shelter.keep(files()).written.added_bytes;
    let sum = server.sql("shop", SUM);
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("data");
    shelter.restore_folder(&["data"], &target);
    verify_folder(&target).unwrap();
    let revived = Postgres::on_files(|data| shelter.restore_folder(&["data"], data));
    assert_eq!(revived.sql("shop", SUM), sum);
    // A file that changed afterwards is found by the tool.
    std::fs::write(target.join("PG_VERSION"), "14\n").unwrap();
    assert!(verify_folder(&target).is_err());
    server.sql("shop", "update orders set what = 'x' where id = 77");
    let second = shelter.keep(files()).written.added_bytes;
    assert!(second * 2 < first, "{second} bytes after {first}");
}
