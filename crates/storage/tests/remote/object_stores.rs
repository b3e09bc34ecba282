//! Object stores over the wire: an S3 server inside of the test, others when their emulators are there.

use crate::servers::s3::{Door, KEY_ID, S3Server, SECRET};
use crate::servers::{judge, name, with_causes};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use storage::conformance::{self, Scope};
use storage::thaw::{ThawOptions, archived, await_thaw};
use storage::{
    CreateNew, CreateNewKept, ErrorKind, Location, OpenOptions, Powers, PutMode, RemoteOptions, RemoteStore,
    RetryOptions, RetryStore, Store, Versions, open, powers, probe,
};

#[test]
fn s3_keeps_its_promises() {
    let server = S3Server::start(Door::default());
    judge(&server.store());
}

#[test]
fn s3_behind_retries_keeps_its_promises() {
    let server = S3Server::start(Door::default());
    let store = RetryStore::new(Arc::new(server.store()), RetryOptions::default());
    let report = conformance::run(&store, "maint/test-1", Scope::Quick);
    assert!(report.is_good(), "{report:#?}");
}

#[test]
fn the_usual_requests_cost_one_round_trip_each() {
    let server = S3Server::start(Door::default());
    let store = server.store();
    store.put(&name("packs/4/4f"), &[7; 100_000], PutMode::CreateNew).unwrap();
    assert_eq!(server.requests(), ["PUT"]);
    store.get(&name("packs/4/4f"), 200_000).unwrap();
    assert_eq!(server.requests(), ["GET"]);
    store.get_range(&name("packs/4/4f"), 10..20).unwrap();
    assert_eq!(server.requests(), ["GET"]);
    store.list("packs/", &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(server.requests(), ["GET"]);
    store.stat(&name("packs/4/4f")).unwrap();
    assert_eq!(server.requests(), ["HEAD"]);
    store.delete(&name("packs/4/4f")).unwrap();
    assert_eq!(server.requests(), ["HEAD", "DELETE"]);
}

#[test]
fn objects_of_many_parts_are_kept_and_new_ones_refused() {
    let server = S3Server::start(Door::default());
    let store = server.store();
    let bytes: Vec<u8> = (0..70_u32 << 20).map(|at| (at % 251) as u8).collect();
    store.put(&name("packs/4/4f"), &bytes, PutMode::CreateNew).unwrap();
    assert!(store.get(&name("packs/4/4f"), 80 << 20).unwrap() == bytes);
    let refused = store.put(&name("packs/4/4f"), &bytes, PutMode::CreateNew).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
}

#[test]
fn the_probe_tells_a_server_that_refuses_from_one_that_replaces() {
    let good = S3Server::start(Door::default());
    let found = probe(&good.store(), "maint/probe-1").unwrap();
    assert_eq!(found.create_new, CreateNewKept::Atomic);
    assert!(found.suits_many_writers() && found.can_replace && found.can_delete);
    assert!(found.range_reads && found.received_time);

    let careless = S3Server::start(Door { ignores_if_none_match: true, ..Door::default() });
    let found = probe(&careless.store(), "maint/probe-1").unwrap();
    assert_eq!(found.create_new, CreateNewKept::Replaces);
}

#[test]
fn a_server_that_replaces_is_looked_at_beforehand() {
    let server = S3Server::start(Door { ignores_if_none_match: true, ..Door::default() });
    let lookup = |name: &str| match name {
        "AWS_ACCESS_KEY_ID" => Some(KEY_ID.to_owned()),
        "AWS_SECRET_ACCESS_KEY" => Some(SECRET.to_owned()),
        _ => None,
    };
    let options =
        RemoteOptions { lookup: Some(&lookup), look_before_create: true, ..RemoteOptions::default() };
    let store = RemoteStore::open(&server.location("bucket"), options).unwrap();
    assert_eq!(store.capabilities().create_new, CreateNew::BestEffort);
    assert_eq!(probe(&store, "maint/probe-1").unwrap().create_new, CreateNewKept::BestEffort);
}

#[test]
fn a_server_that_knows_no_condition_is_found_out_at_the_first_put() {
    let server = S3Server::start(Door { knows_no_if_none_match: true, ..Door::default() });
    let store = server.store();
    store.put(&name("a"), b"first", PutMode::CreateNew).unwrap();
    assert_eq!(store.capabilities().create_new, CreateNew::BestEffort);
    let refused = store.put(&name("a"), b"second", PutMode::CreateNew).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
    assert_eq!(store.get(&name("a"), 10).unwrap(), b"first");
}

#[test]
fn a_wrong_login_and_a_missing_bucket_are_told_as_such_and_without_secrets() {
    let server = S3Server::start(Door::default());
    let cases = [
        ("bucket", KEY_ID, "a-wrong-secret", ErrorKind::Unauthenticated),
        ("bucket", "NOBODY", SECRET, ErrorKind::Unauthenticated),
        ("no-such-bucket", KEY_ID, SECRET, ErrorKind::NoSuchPlace),
    ];
    for (bucket, id, secret, wanted) in cases {
        let store = server.store_as(bucket, id, secret).unwrap();
        let mut errors = vec![store.list("", &mut |_| ControlFlow::Continue(())).unwrap_err()];
        if bucket == "bucket" {
            // This server, unlike real ones, makes a missing bucket at the first put.
            errors.push(store.put(&name("a"), b"x", PutMode::CreateNew).unwrap_err());
        }
        for error in errors {
            assert_eq!(error.kind(), wanted, "{bucket} {id} {secret}: {}", with_causes(&error));
            assert!(!with_causes(&error).contains(secret), "{}", with_causes(&error));
        }
    }
}

#[test]
fn a_busy_server_and_cut_lines_are_outlasted() {
    let server = S3Server::start(Door::default());
    let options = RetryOptions { wait: Arc::new(|_| ControlFlow::Continue(())), ..RetryOptions::default() };
    let store = RetryStore::new(Arc::new(server.store()), options);
    server.door.busy.store(3, Ordering::SeqCst);
    store.put(&name("a"), b"first", PutMode::CreateNew).unwrap();
    // The server stores the object, but nobody hears of it: the second try meets its own work.
    server.door.cut.store(2, Ordering::SeqCst);
    store.put(&name("b"), b"second", PutMode::CreateNew).unwrap();
    server.door.cut.store(1, Ordering::SeqCst);
    assert_eq!(store.get(&name("b"), 10).unwrap(), b"second");
    let taken = store.put(&name("a"), b"other", PutMode::CreateNew).unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AlreadyExists);
}

#[test]
fn a_server_out_of_reach_is_worth_another_try_until_patience_ends() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let location = Location::parse(&format!("s3:http://{closed}/bucket")).unwrap();
    let lookup =
        |name: &str| name.starts_with("AWS_").then(|| "x".to_owned()).filter(|_| name.contains("_KEY"));
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = tries.clone();
    let retry = RetryOptions {
        budget: Duration::from_secs(5),
        wait: Arc::new(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            ControlFlow::Continue(())
        }),
        ..RetryOptions::default()
    };
    let remote = RemoteOptions { lookup: Some(&lookup), ..RemoteOptions::default() };
    let store = open(&location, &OpenOptions { remote, retry, ..OpenOptions::default() }).unwrap();
    let error = store.get(&name("config"), 10).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{}", with_causes(&error));
    assert!(with_causes(&error).contains("refused"), "{}", with_causes(&error));
    assert!((4..20).contains(&tries.load(Ordering::SeqCst)), "{tries:?}");
}

#[test]
fn a_server_with_an_unknown_certificate_is_not_talked_to_unless_it_is_trusted() {
    let server = S3Server::start_tls(Door::default());
    let lookup = |name: &str| match name {
        "AWS_ACCESS_KEY_ID" => Some(KEY_ID.to_owned()),
        "AWS_SECRET_ACCESS_KEY" => Some(SECRET.to_owned()),
        _ => None,
    };
    let mut options = RemoteOptions { lookup: Some(&lookup), ..RemoteOptions::default() };
    let store = RemoteStore::open(&server.location("bucket"), options).unwrap();
    let refused = store.put(&name("a"), b"x", PutMode::CreateNew).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::UntrustedServer, "{}", with_causes(&refused));
    assert!(server.requests().is_empty());

    let certificate = server.certificate_pem.clone().unwrap();
    options.extra_roots_pem = Some(certificate.as_bytes());
    let store = RemoteStore::open(&server.location("bucket"), options).unwrap();
    store.put(&name("a"), b"x", PutMode::CreateNew).unwrap();
    assert_eq!(store.get(&name("a"), 1).unwrap(), b"x");
}

#[test]
fn half_a_login_is_refused_before_anything_is_sent() {
    let location = Location::parse("s3://bucket").unwrap();
    let lookup = |name: &str| (name == "AWS_ACCESS_KEY_ID").then(|| "x".to_owned());
    let options = RemoteOptions { lookup: Some(&lookup), ..RemoteOptions::default() };
    assert_eq!(RemoteStore::open(&location, options).err().unwrap().kind(), ErrorKind::Config);
}

fn login(name: &str) -> Option<String> {
    match name {
        "AWS_ACCESS_KEY_ID" => Some(KEY_ID.to_owned()),
        "AWS_SECRET_ACCESS_KEY" => Some(SECRET.to_owned()),
        _ => None,
    }
}

fn powers_at(server: &S3Server) -> Powers {
    let remote = RemoteOptions { lookup: Some(&login), ..RemoteOptions::default() };
    let options = OpenOptions { remote, ..OpenOptions::default() };
    powers(&server.location("bucket"), &options, "maint/powers-1").unwrap()
}

#[test]
fn what_a_credential_can_take_away_is_tried_and_not_believed() {
    let open = powers_at(&S3Server::start(Door::default()));
    assert_eq!(open, Powers { can_replace: true, can_delete: true, versions: Versions::NotKept });
    assert!(!open.proves_immutable());
    let append_only = powers_at(&S3Server::start(Door { is_append_only: true, ..Door::default() }));
    assert_eq!(append_only, Powers { can_replace: false, can_delete: false, versions: Versions::NotKept });
    assert!(append_only.proves_immutable());
    let versioned = powers_at(&S3Server::start(Door { versions_held: Some(false), ..Door::default() }));
    assert_eq!(versioned.versions, Versions::Removed);
    assert!(!versioned.proves_immutable(), "versions alone hold nothing");
    let locked = powers_at(&S3Server::start(Door { versions_held: Some(true), ..Door::default() }));
    assert_eq!(locked, Powers { can_replace: true, can_delete: true, versions: Versions::Held });
    assert!(locked.proves_immutable());
}

/// A store whose packs are archived as they come.
fn cold(server: &S3Server) -> RemoteStore {
    let location = format!("s3:{}/bucket/some/where?storage_class=STANDARD", server.endpoint);
    let options =
        RemoteOptions { lookup: Some(&login), cold_prefix: Some("packs/"), ..RemoteOptions::default() };
    RemoteStore::open(&Location::parse(&location).unwrap(), options).unwrap()
}

#[test]
fn packs_are_archived_and_everything_else_stays_at_hand() {
    let server = S3Server::start(Door::default());
    let store = cold(&server);
    for object in ["packs/4/4f", "trees/5/5a", "index/1", "config"] {
        store.put(&name(object), b"contents", PutMode::CreateNew).unwrap();
    }
    for object in ["trees/5/5a", "index/1", "config"] {
        assert_eq!(store.get(&name(object), 10).unwrap(), b"contents");
    }
    let pack = name("packs/4/4f");
    for error in [store.get(&pack, 10).unwrap_err(), store.get_range(&pack, 0..3).unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Archived, "{}", with_causes(&error));
    }
    // It is not missing: it is listed, has its length, and its name is taken.
    assert_eq!(store.stat(&pack).unwrap().len_bytes, 8);
    let mut listed = 0;
    let mut count = |_| {
        listed += 1;
        ControlFlow::Continue(())
    };
    store.list("packs/", &mut count).unwrap();
    assert_eq!(listed, 1);
    let taken = store.put(&pack, b"other", PutMode::CreateNew).unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AlreadyExists, "{}", with_causes(&taken));
}

#[test]
fn thawing_is_awaited_until_everything_can_be_read_or_patience_ends() {
    let server = S3Server::start(Door::default());
    let store = cold(&server);
    let packs: Vec<_> = (0..20).map(|number| name(&format!("packs/4/{number:02}"))).collect();
    for pack in &packs {
        store.put(pack, b"contents", PutMode::CreateNew).unwrap();
    }
    store.put(&name("trees/1"), b"x", PutMode::CreateNew).unwrap();
    let mut asked = packs.clone();
    asked.extend([name("trees/1"), name("packs/4/absent")]);
    let found = archived(&store, &asked).unwrap();
    assert_eq!(found, packs);
    let door = server.door.clone();
    let thaw_some = move |_| {
        let mut left = door.archived.lock().unwrap();
        let some: Vec<String> = left.iter().take(8).cloned().collect();
        some.iter().for_each(|path| assert!(left.remove(path)));
        ControlFlow::Continue(())
    };
    let mut options = ThawOptions {
        look_every: Duration::from_secs(60),
        patience: Duration::from_secs(120),
        wait: Arc::new(thaw_some),
    };
    let mut told = Vec::new();
    let late = await_thaw(&store, found.clone(), &options, &mut |left| told.push(left)).unwrap_err();
    assert_eq!((late.kind(), &told[..]), (ErrorKind::Archived, &[12, 4][..]));
    options.patience = Duration::from_secs(600);
    await_thaw(&store, found, &options, &mut |left| told.push(left)).unwrap();
    assert_eq!(told, [12, 4, 0]);
    assert_eq!(store.get(&packs[7], 10).unwrap(), b"contents");
}
