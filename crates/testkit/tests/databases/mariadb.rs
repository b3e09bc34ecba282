//! MariaDB.

use crate::world::Shelter;
use host::databases::mysql::{Mysql, restore};
use host::databases::{About, Databases, Restore, Restored, Secret, Server};
use testkit::servers::mariadb::{Mariadb, PASSWORD};

fn address(server: &Mariadb) -> Server {
    let mut address = Server::at(&server.url()).unwrap();
    address.password = Some(Secret::new(PASSWORD));
    address
}

fn all(server: &Mariadb) -> Mysql {
    Mysql { server: address(server), databases: Databases::All, users: true, options: Vec::new() }
}

fn fill(server: &Mariadb) {
    server.sql("", "create database shop character set utf8mb4 collate utf8mb4_bin");
    server.sql("", "create database `odd-na``me`");
    server.sql("shop", "create table orders (id int primary key auto_increment, what varchar(80), raw blob); \
        insert into orders (what, raw) select md5(seq), unhex(md5(seq)) from seq_1_to_20000; \
        create view big as select * from orders where id > 10; \
        create procedure p() select 1; create trigger tr before insert on orders for each row set new.what = 'x'");
    server.sql("odd-na`me", "create table t (a int) engine = MyISAM; insert into t values (1), (2)");
    server
        .sql("", "create user clerk@localhost identified by 'c'; grant select on shop.* to clerk@localhost");
}

const SUM: &str =
    "select count(*), md5(group_concat(crc32(concat(id, what, hex(raw))) order by id)) from orders";

fn bring_back(shelter: &Shelter, server: &Server, what: &Restore) -> std::io::Result<Vec<Restored>> {
    let mut files = shelter.files();
    let about = About::read(&mut files).unwrap();
    restore(server, &about, &mut files, what, &mut |_| ())
}

#[test]
fn databases_come_back_on_another_server_with_their_users() {
    let (Some(server), Some(other)) = (Mariadb::start(), Mariadb::start()) else { return };
    let shelter = Shelter::new();
    fill(&server);
    shelter.keep(all(&server));
    let restored = bring_back(&shelter, &address(&other), &Restore::default()).unwrap();
    let names: Vec<_> = restored.iter().map(|r| (r.name.as_str(), r.tables, r.rows)).collect();
    assert_eq!(names, [("odd-na`me", 1, Some(2)), ("shop", 2, Some(20000))]);
    assert_eq!(other.sql("shop", SUM), server.sql("shop", SUM));
    let triggers = "select count(*) from information_schema.triggers where trigger_schema = 'shop'";
    assert_eq!(other.sql("", triggers), "1");
    assert!(other.sql("", "show create database shop").contains("utf8mb4_bin"));
    assert!(other.sql("", "show grants for clerk@localhost").contains("`shop`.*"));
}

#[test]
fn what_is_not_empty_is_refused_and_replaced_only_by_what_can_be_loaded() {
    let Some(server) = Mariadb::start() else { return };
    let shelter = Shelter::new();
    fill(&server);
    shelter.keep(all(&server));
    let before = server.sql("shop", SUM);
    server.sql("shop", "update orders set what = 'newer'");
    let newer = server.sql("shop", SUM);
    let only_shop = |replace| Restore { databases: vec!["shop".into()], replace, ..Restore::default() };
    let refused = bring_back(&shelter, &address(&server), &only_shop(false)).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::AlreadyExists);
    let about = About::read(&mut shelter.files()).unwrap();
    let mut broken = Broken(shelter.files());
    let failed = restore(&address(&server), &about, &mut broken, &only_shop(true), &mut |_| ());
    assert!(failed.unwrap_err().to_string().contains("is as it was"));
    assert_eq!(server.sql("shop", SUM), newer);
    bring_back(&shelter, &address(&server), &only_shop(true)).unwrap();
    assert_eq!(server.sql("shop", SUM), before);
    let beside = Restore { name: Some("shop of then".into()), ..only_shop(false) };
    bring_back(&shelter, &address(&server), &beside).unwrap();
    assert_eq!(server.sql("shop of then", SUM), before);
    let trials = "select count(*) from information_schema.schemata where schema_name like 'lifeboat%'";
    assert_eq!(server.sql("", trials), "0");
}

/// Files with a statement in their middle that no server takes.
struct Broken(engine::contents::StoredFiles<'static>);

impl host::databases::Files for Broken {
    fn write(&mut self, path: &[&str], out: &mut dyn std::io::Write) -> std::io::Result<u64> {
        out.write_all(b"create table first (a int);\nthis is no statement;\n")?;
        self.0.write(path, out)
    }
}

#[test]
fn a_wrong_password_or_an_absent_database_makes_no_snapshot() {
    let Some(server) = Mariadb::start() else { return };
    let shelter = Shelter::new();
    fill(&server);
    let mut wrong = all(&server);
    wrong.server.password = Some(Secret::new("wrong"));
    let failed = shelter.try_keep(wrong).err().unwrap().to_string();
    assert!(failed.contains("Access denied"), "{failed}");
    let absent = Mysql { databases: Databases::Named(vec!["gone".into()]), ..all(&server) };
    assert!(shelter.try_keep(absent).is_err());
    assert!(shelter.snapshots().is_empty());
}

#[test]
fn a_second_dump_after_a_few_changes_adds_little() {
    let Some(server) = Mariadb::start() else { return };
    let shelter = Shelter::new();
    server.sql("", "create database shop");
    server.sql(
        "shop",
        "create table orders (id int primary key, what varchar(80)); \
        insert into orders select seq, concat(md5(seq), md5(-seq)) from seq_1_to_100000",
    );
    let first = shelter.keep(all(&server)).written.added_bytes;
    server.sql("shop", "update orders set what = 'shorter than it was' where id between 40000 and 41000");
    server.sql("shop", "insert into orders select seq, md5(seq) from seq_100001_to_100500");
    let second = shelter.keep(all(&server)).written.added_bytes;
    assert!(second * 5 < first, "{second} bytes after {first}");
}
