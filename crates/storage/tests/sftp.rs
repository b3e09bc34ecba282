//! The SFTP store against OpenSSH itself: logins, trust, durability, cut connections, odd servers.

#![cfg(unix)]

#[path = "sftp/other_server.rs"]
mod other_server;
#[path = "remote/servers/proxy.rs"]
mod proxy;
#[path = "sftp/sshd.rs"]
mod sshd;
#[path = "remote/servers/storms.rs"]
mod storms;

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use other_server::{Asks, OtherServer, PASSWORD};
use sshd::{Agent, Sshd, make_key, remembering};
use storage::conformance::{self, Scope};
use storage::sftp::{Secret, SftpOptions};
use storage::{CreateNew, ErrorKind, ObjectName, PutMode, Store, StoreError, StoreResult};

fn name(text: &str) -> ObjectName {
    ObjectName::new(text).expect("names in tests are well formed")
}

fn listed(store: &dyn Store, prefix: &str) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    let visit = &mut |info: storage::ObjectInfo| {
        assert!(info.received.is_some());
        found.push((info.name.to_string(), info.len_bytes));
        ControlFlow::Continue(())
    };
    store.list(prefix, visit).unwrap();
    found
}

fn names(store: &dyn Store, prefix: &str) -> Vec<String> {
    listed(store, prefix).into_iter().map(|(name, _)| name).collect()
}

/// Bytes that no short pattern can fake.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| step()).collect()
}

/// The whole chain of an error, as users see it.
fn chain(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

fn refusal<T>(result: StoreResult<T>, kind: ErrorKind) -> String {
    let error = result.err().expect("refused");
    let text = chain(&error);
    assert_eq!(error.kind(), kind, "{text}");
    text
}

/// Once more after a cut: the request that finds the line dead fails.
fn again<T>(request: impl Fn() -> StoreResult<T>) -> StoreResult<T> {
    match request() {
        Err(error) if error.kind() == ErrorKind::Transient => request(),
        first => first,
    }
}

/// Temporary files are removed without waiting for the answer, so they may be there for a moment.
fn assert_no_leftovers(store: &Path) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while fs::read_dir(store.join("tmp")).unwrap().count() > 0 {
        assert!(Instant::now() < deadline, "temporary files are left");
        std::thread::yield_now();
    }
}

fn open(server: &Sshd, options: SftpOptions) -> StoreResult<Arc<dyn Store>> {
    storage::sftp::open(&server.location(), &options)
}

#[test]
fn objects_come_back_as_they_were_put() {
    let Some(server) = Sshd::start() else { return };
    let store = server.open();
    assert_eq!(store.capabilities().create_new, CreateNew::Atomic);
    // Around the sizes of requests and of the whole flight.
    for len in [0, 1, 32 * 1024, 255 * 1024, 255 * 1024 + 1, 9_000_000] {
        let (object, bytes) = (name(&format!("packs/4/{len:08}")), noise(len));
        store.put(&object, &bytes, PutMode::CreateNew).unwrap();
        assert!(store.get(&object, len as u64).unwrap() == bytes, "{len}");
        assert_eq!(store.stat(&object).unwrap().len_bytes, len as u64);
        assert_eq!(fs::read(server.file("store").join(object.as_str())).unwrap().len(), len);
    }
    store.sync().unwrap();
    let (object, bytes) = (name("packs/4/09000000"), noise(9_000_000));
    for range in [0..0, 0..1, 8_999_999..9_000_000, 100_000..700_001, 9_000_000..9_000_000] {
        let wanted = &bytes[range.start as usize..range.end as usize];
        assert!(store.get_range(&object, range.clone()).unwrap() == wanted, "{range:?}");
    }
    refusal(store.get_range(&object, 8_999_999..9_000_001), ErrorKind::Truncated);
    refusal(store.get_range(&object, 0..u64::MAX), ErrorKind::Truncated);
    refusal(store.get(&object, 8_999_999), ErrorKind::TooLarge);
    assert_no_leftovers(&server.file("store"));
}

#[test]
fn every_promise_of_a_store_is_kept() {
    let Some(server) = Sshd::start() else { return };
    let report = conformance::run(&*server.open(), "maint/test-0", Scope::Full);
    assert!(report.is_good(), "{:#?}", report.broken().collect::<Vec<_>>());
    let without = ["hardlink", "posix-rename", "fsync", "statvfs", "limits"];
    let Some(plain) = OtherServer::start(Asks::Password, &without) else { return };
    let store = storage::sftp::open(&plain.location(), &plain.working_options()).unwrap();
    let report = conformance::run(&*store, "maint/test-0", Scope::Quick);
    assert!(report.is_good(), "{:#?}", report.broken().collect::<Vec<_>>());
}

#[test]
fn taken_names_are_refused_and_replaced_only_on_request() {
    let Some(server) = Sshd::start() else { return };
    let (store, object) = (server.open(), name("config"));
    store.put(&object, b"first", PutMode::CreateNew).unwrap();
    refusal(store.put(&object, b"second", PutMode::CreateNew), ErrorKind::AlreadyExists);
    assert_eq!(store.get(&object, 100).unwrap(), b"first");
    store.put(&object, b"third", PutMode::Replace).unwrap();
    assert_eq!(store.get(&object, 100).unwrap(), b"third");
    store.delete(&object).unwrap();
    refusal(store.delete(&object), ErrorKind::NotFound);
    refusal(store.get(&object, 100), ErrorKind::NotFound);
    refusal(store.stat(&object), ErrorKind::NotFound);
    store.put(&object, b"fourth", PutMode::Replace).unwrap();
    store.sync().unwrap();
    refusal(store.put(&name("tmp/x"), b"", PutMode::Replace), ErrorKind::Config);
    assert_no_leftovers(&server.file("store"));
    let mode = |file: &str| fs::metadata(server.file(file)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("store/config"), mode("store/tmp")), (0o600, 0o700));
}

#[test]
fn lists_are_complete_in_name_order_and_free_of_foreign_names() {
    let Some(server) = Sshd::start() else { return };
    let store = server.open();
    let mut wanted = Vec::new();
    // More files than one answer of the server holds, more folders than are read at a time.
    for at in 0..250 {
        wanted.push(format!("packs/0/{at:064x}"));
    }
    for at in 0..40 {
        wanted.push(format!("index/{at:02x}/x"));
    }
    wanted.extend(["a", "b-c", "b/c", "b.c", "b0", "packs/00", "index/0a0"].map(str::to_owned));
    for text in &wanted {
        let file = server.file("store").join(text);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    wanted.sort();
    fs::create_dir_all(server.file("store/tmp")).unwrap();
    for foreign in ["packs/Thumbs.db", "packs/0/a b", "tmp/0123", "packs/0/\u{e9}"] {
        fs::write(server.file("store").join(foreign), "x").unwrap();
    }
    std::os::unix::fs::symlink("/etc/passwd", server.file("store/packs/aa")).unwrap();
    std::os::unix::fs::symlink("..", server.file("store/packs/endless")).unwrap();
    fs::create_dir(server.file("moved")).unwrap();
    fs::write(server.file("moved/x"), "x").unwrap();
    std::os::unix::fs::symlink("../moved", server.file("store/snapshots")).unwrap();
    wanted.push("snapshots/x".to_owned());
    assert_eq!(names(&*store, ""), wanted);
    for prefix in ["packs/", "packs/0", "packs/00", "index/0a", "b", "zzz", "none/x", "tmp/", "packs/0/00"] {
        let wanted: Vec<_> = wanted.iter().filter(|name| name.starts_with(prefix)).cloned().collect();
        assert_eq!(names(&*store, prefix), wanted, "{prefix}");
    }
    assert_eq!(listed(&*store, "a"), [("a".to_owned(), 1)]);
    let mut seen = 0;
    let visit = &mut |_| {
        seen += 1;
        if seen < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    store.list("", visit).unwrap();
    assert_eq!(seen, 3);
    for foreign in ["packs/aa", "packs/0", "packs"] {
        refusal(store.get(&name(foreign), 100), ErrorKind::NotFound);
        refusal(store.stat(&name(foreign)), ErrorKind::NotFound);
    }
    refusal(store.delete(&name("packs/0")), ErrorKind::NotFound);
}

#[test]
fn a_missing_folder_is_no_such_place_unless_it_may_be_made() {
    let Some(server) = Sshd::start() else { return };
    let mut location = server.location();
    location.path = server.file("new/deep").to_str().unwrap().to_owned();
    let open = |create_root| {
        let options = SftpOptions { create_root, ..server.working_options() };
        storage::sftp::open(&location, &options)
    };
    refusal(open(false), ErrorKind::NoSuchPlace);
    assert!(!server.file("new").exists());
    let store = open(true).unwrap();
    store.put(&name("packs/4/x"), b"x", PutMode::CreateNew).unwrap();
    store.sync().unwrap();
    // A disk that is pulled out must not look like a store that lost its objects.
    fs::rename(server.file("new"), server.file("gone")).unwrap();
    refusal(store.get(&name("packs/4/x"), 9), ErrorKind::NoSuchPlace);
    refusal(store.stat(&name("packs/4/x")), ErrorKind::NoSuchPlace);
    refusal(store.delete(&name("packs/4/x")), ErrorKind::NoSuchPlace);
    refusal(store.put(&name("packs/4/y"), b"y", PutMode::CreateNew), ErrorKind::NoSuchPlace);
    refusal(store.list("packs/", &mut |_| ControlFlow::Continue(())), ErrorKind::NoSuchPlace);
}

#[test]
fn folders_that_vanish_are_made_again() {
    let Some(server) = Sshd::start() else { return };
    let store = server.open();
    store.put(&name("packs/4/x"), b"x", PutMode::CreateNew).unwrap();
    store.sync().unwrap();
    fs::remove_dir_all(server.file("store/packs")).unwrap();
    fs::remove_dir_all(server.file("store/tmp")).unwrap();
    store.put(&name("packs/4/x"), b"again", PutMode::CreateNew).unwrap();
    assert_eq!(store.get(&name("packs/4/x"), 9).unwrap(), b"again");
}

#[test]
fn paths_without_a_slash_count_from_the_login_folder() {
    let Some(server) = Sshd::start_with("", "internal-sftp -d /tmp") else { return };
    let mut location = server.location();
    location.path = location.path.strip_prefix("/tmp/").expect("temporary folders are in /tmp").to_owned();
    let store = storage::sftp::open(&location, &server.working_options()).unwrap();
    store.put(&name("packs/4/x"), b"x", PutMode::CreateNew).unwrap();
    store.sync().unwrap();
    assert_eq!(names(&*store, ""), ["packs/4/x"]);
    assert!(server.file("store/packs/4/x").exists());
}

/// What the server did with files, one request a line, with the random part of temporary names left out.
fn deeds(log: &Path) -> Vec<String> {
    let verbs = ["fsync \"", "hardlink ", "posix-rename ", "remove "];
    let is_random = |word: &str| word.len() == 32 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let shorten = |line: &str| {
        let words = line.split(['/', '"']).filter(|word| !word.is_empty());
        let words: Vec<&str> = words.map(|word| if is_random(word) { "*" } else { word }).collect();
        words.join("/")
    };
    let text = fs::read_to_string(log).unwrap();
    let deeds = text.lines().filter(|line| verbs.iter().any(|verb| line.starts_with(verb)));
    deeds.map(shorten).collect()
}

#[test]
fn bytes_are_synced_before_they_have_a_name_and_names_at_the_sync() {
    let Some(program) = sshd::program("sftp-server") else { return };
    let log = tempfile::NamedTempFile::new().unwrap();
    let subsystem = format!("{} -e -l VERBOSE 2>>{}", program.display(), log.path().display());
    let Some(server) = Sshd::start_with("", &subsystem) else { return };
    let (store, root) = (server.open(), server.file("store").display().to_string());
    let root = root.trim_matches('/');
    store.put(&name("packs/4/x"), b"x", PutMode::CreateNew).unwrap();
    store.put(&name("config"), b"x", PutMode::Replace).unwrap();
    let before = [
        format!("fsync /{root}/tmp/*"),
        format!("hardlink old /{root}/tmp/*/ new /{root}/packs/4/x"),
        format!("remove name /{root}/tmp/*"),
        format!("fsync /{root}/tmp/*"),
        format!("posix-rename old /{root}/tmp/*/ new /{root}/config"),
    ];
    assert_eq!(deeds(log.path()), before);
    store.sync().unwrap();
    let folders = ["", "/packs", "/packs/4"].map(|folder| format!("fsync /{root}{folder}"));
    assert_eq!(deeds(log.path())[before.len()..], folders);
    store.delete(&name("packs/4/x")).unwrap();
    store.sync().unwrap();
    assert_eq!(deeds(log.path()).last(), folders.last());
    assert_eq!(deeds(log.path()).len(), before.len() + folders.len() + 2);
}

#[test]
fn uploads_are_invisible_until_finished_and_leave_nothing_when_dropped() {
    let Some(server) = Sshd::start() else { return };
    let store = server.open();
    let mut upload = store.upload(0).unwrap();
    upload.write(&noise(3_000_000)).unwrap();
    assert!(names(&*store, "").is_empty());
    drop(upload);
    let mut upload = store.upload(0).unwrap();
    for piece in noise(1_000_000).chunks(777) {
        upload.write(piece).unwrap();
    }
    upload.finish(&name("packs/4/x"), PutMode::CreateNew).unwrap();
    assert!(store.get(&name("packs/4/x"), 1_000_000).unwrap() == noise(1_000_000));
    assert_no_leftovers(&server.file("store"));
}

#[test]
fn leftovers_go_after_two_days_and_younger_ones_stay() {
    let Some(server) = Sshd::start() else { return };
    fs::create_dir(server.file("store/tmp")).unwrap();
    let ages = [("0", 49), ("1", 47), ("2.old", 49)];
    for (digit, age_h) in ages {
        let file = server.file("store/tmp").join(format!("{:0>32}", digit));
        fs::write(&file, "left").unwrap();
        let when = SystemTime::now() - Duration::from_secs(age_h * 3600);
        fs::File::options().write(true).open(&file).unwrap().set_modified(when).unwrap();
    }
    let store = server.open();
    store.put(&name("config"), b"x", PutMode::CreateNew).unwrap();
    let left: Vec<bool> = ages
        .iter()
        .map(|(digit, _)| server.file("store/tmp").join(format!("{:0>32}", digit)).exists())
        .collect();
    assert_eq!(left, [false, true, true]);
}

#[test]
fn of_racing_writers_exactly_one_gets_the_name() {
    let Some(server) = Sshd::start() else { return };
    let store = open(&server, SftpOptions { connections: 4, ..server.working_options() }).unwrap();
    for round in 0..5 {
        let object = name(&format!("snapshots/{round}"));
        let put = |writer: u8| store.put(&object, &[writer; 100_000], PutMode::CreateNew);
        let results: Vec<_> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..8).map(|writer| scope.spawn(move || put(writer))).collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        let won: Vec<_> = (0..8).filter(|writer| results[*writer].is_ok()).collect();
        assert_eq!(won.len(), 1);
        assert_eq!(store.get(&object, 100_000).unwrap(), [won[0] as u8; 100_000]);
        for error in results.into_iter().filter_map(Result::err) {
            assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{}", chain(&error));
        }
    }
    store.sync().unwrap();
    assert_no_leftovers(&server.file("store"));
    assert!((2..=4).contains(&server.connections()), "{}", server.connections());
}

#[test]
fn a_cut_connection_is_transient_and_the_next_request_recovers() {
    let Some(server) = Sshd::start() else { return };
    let store = server.open();
    store.put(&name("packs/4/x"), b"x", PutMode::CreateNew).unwrap();
    let mut upload = store.upload(0).unwrap();
    upload.write(&noise(2_000_000)).unwrap();
    server.cut();
    let cut =
        upload.write(&noise(8_000_000)).and_then(|()| upload.finish(&name("packs/4/y"), PutMode::CreateNew));
    refusal(cut, ErrorKind::Transient);
    assert_eq!(store.get(&name("packs/4/x"), 9).unwrap(), b"x");
    assert_eq!(names(&*store, ""), ["packs/4/x"]);
    store.put(&name("packs/4/y"), b"y", PutMode::CreateNew).unwrap();
    store.sync().unwrap();
    // A request that is under way while the line is cut.
    let big = noise(64 << 20);
    std::thread::scope(|scope| {
        let put = scope.spawn(|| store.put(&name("packs/5/z"), &big, PutMode::CreateNew));
        while fs::read_dir(server.file("store/tmp")).unwrap().count() < 2 {
            std::thread::yield_now();
        }
        server.cut();
        refusal(put.join().unwrap(), ErrorKind::Transient);
    });
    assert_eq!(names(&*store, ""), ["packs/4/x", "packs/4/y"]);
}

#[test]
fn a_server_that_is_gone_is_transient_and_an_unknown_host_is_no_such_place() {
    let Some(server) = Sshd::start() else { return };
    let mut location = server.location();
    location.port = Some(1);
    refusal(storage::sftp::open(&location, &server.options()), ErrorKind::Transient);
    // Something that takes connections and never speaks.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    location.port = Some(silent.local_addr().unwrap().port());
    let hasty = SftpOptions { connect_timeout: Duration::from_millis(100), ..server.options() };
    let why = refusal(storage::sftp::open(&location, &hasty), ErrorKind::Transient);
    assert!(why.contains("no success within 100 ms"), "{why}");
    location.host = "no-such-host.invalid".to_owned();
    let error = storage::sftp::open(&location, &server.options()).err().unwrap();
    // Without a network the resolver cannot know.
    assert!(matches!(error.kind(), ErrorKind::UnknownHost | ErrorKind::Transient), "{}", chain(&error));
}

#[test]
fn a_sync_notices_what_the_server_lost_and_ends_writing() {
    let Some(server) = Sshd::start() else { return };
    let store = server.open();
    store.put(&name("packs/4/x"), b"x", PutMode::CreateNew).unwrap();
    server.cut();
    again(|| store.sync()).unwrap();
    store.put(&name("packs/4/y"), b"y", PutMode::CreateNew).unwrap();
    // As if the server had crashed and come back before the name was durable.
    server.cut();
    fs::remove_file(server.file("store/packs/4/y")).unwrap();
    let why = refusal(again(|| store.sync()), ErrorKind::Other);
    assert!(why.contains("packs/4/y is not as it was left"), "{why}");
    refusal(store.put(&name("packs/4/z"), b"z", PutMode::CreateNew), ErrorKind::Other);
    refusal(store.delete(&name("packs/4/x")), ErrorKind::Other);
    refusal(store.sync(), ErrorKind::Other);
    assert_eq!(store.get(&name("packs/4/x"), 9).unwrap(), b"x");
}

#[test]
fn a_read_only_account_may_read_and_is_denied_the_rest() {
    let Some(server) = Sshd::start_with("", "internal-sftp -R") else { return };
    fs::write(server.file("store/config"), "x").unwrap();
    fs::create_dir(server.file("store/tmp")).unwrap();
    let store = server.open();
    assert_eq!(store.get(&name("config"), 9).unwrap(), b"x");
    assert_eq!(names(&*store, ""), ["config"]);
    refusal(store.put(&name("config"), b"y", PutMode::Replace), ErrorKind::Denied);
    refusal(store.delete(&name("config")), ErrorKind::Denied);
}

/// A small disk, unmounted when dropped.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    /// Only root may mount; that is no part one could install, so it is never required.
    fn mount(at: &'a Path) -> Option<Self> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=3m", "none"]).arg(at).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(at));
        }
        sshd::say("not tested: this user may not mount a small disk");
        None
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_full_disk_is_no_space() {
    let Some(server) = Sshd::start() else { return };
    let folder = server.file("store");
    let Some(_disk) = SmallDisk::mount(&folder) else { return };
    let store = server.open();
    store.put(&name("packs/4/x"), &noise(1_000_000), PutMode::CreateNew).unwrap();
    refusal(store.put(&name("packs/4/y"), &noise(9_000_000), PutMode::CreateNew), ErrorKind::NoSpace);
    store.put(&name("packs/4/z"), b"z", PutMode::CreateNew).unwrap();
    assert_eq!(names(&*store, ""), ["packs/4/x", "packs/4/z"]);
}

#[test]
fn keys_of_all_types_log_in_and_encrypted_ones_with_their_passphrase() {
    let Some(server) = Sshd::start() else { return };
    server.trust();
    for (kind, passphrase) in [("ed25519", ""), ("ecdsa", ""), ("rsa", ""), ("ed25519", "long enough")] {
        let key = server.file(&format!("key-{kind}-{}", passphrase.len()));
        make_key(&key, kind, passphrase);
        server.authorize(&key.with_extension("pub"));
        let options = |passphrase: Option<&str>| SftpOptions {
            key_files: vec![server.file("missing"), key.clone()],
            key_passphrase: passphrase.map(|text| Secret::new(text.to_owned())),
            ..server.options()
        };
        assert!(open(&server, options(Some(passphrase))).is_ok(), "{kind}");
        if !passphrase.is_empty() {
            let why = refusal(open(&server, options(None)), ErrorKind::Unauthenticated);
            assert!(why.contains("it is encrypted, and no passphrase is given"), "{why}");
            let why = refusal(open(&server, options(Some("wrong"))), ErrorKind::Unauthenticated);
            assert!(why.contains("not readable with the passphrase given"), "{why}");
            assert!(!why.contains("wrong"), "{why}");
        }
    }
}

#[test]
fn a_refused_login_names_what_was_tried() {
    let Some(server) = Sshd::start() else { return };
    server.trust();
    make_key(&server.file("foreign"), "ed25519", "");
    let options = SftpOptions {
        key_files: vec![server.file("foreign"), server.file("missing")],
        password: Some(Secret::new("very secret".to_owned())),
        ..server.options()
    };
    let why = refusal(open(&server, options), ErrorKind::Unauthenticated);
    let parts = ["foreign,", "missing (No such file", "password (not offered)", "offers publickey"];
    assert!(parts.iter().all(|part| why.contains(part)), "{why}");
    assert!(!why.contains("very secret"), "{why}");
    let why = refusal(open(&server, server.options()), ErrorKind::Unauthenticated);
    assert!(why.contains("no key, agent or password is configured"), "{why}");
}

#[test]
fn an_agent_logs_in_even_when_the_key_that_fits_is_its_last() {
    let Some(server) = Sshd::start() else { return };
    server.trust();
    let mut keys: Vec<_> = (0..8).map(|at| server.file(&format!("agent-{at}"))).collect();
    keys.iter().for_each(|key| make_key(key, "ed25519", ""));
    keys.push(server.file("user"));
    let Some(agent) = Agent::start(&keys) else { return };
    let options = SftpOptions { agent_socket: Some(agent.socket()), ..server.options() };
    let store = open(&server, options.clone()).unwrap();
    store.put(&name("config"), b"x", PutMode::CreateNew).unwrap();
    assert_eq!(server.connections(), 2, "sshd hangs up after six keys, and the rest is tried anew");
    // A key file whose key the agent holds says which one to try first.
    fs::copy(server.file("user.pub"), server.file("named.pub")).unwrap();
    open(&server, SftpOptions { key_files: vec![server.file("named")], ..options }).unwrap();
    assert_eq!(server.connections(), 3);
    drop(agent);
    let options = SftpOptions { agent_socket: Some(server.file("nowhere")), ..server.working_options() };
    assert!(
        open(&server, options).is_ok(),
        "an agent that is gone does not keep the key files from being tried"
    );
}

#[test]
fn an_unknown_host_is_put_to_the_caller_and_remembered_when_accepted() {
    let Some(server) = Sshd::start() else { return };
    let options = SftpOptions { key_files: vec![server.file("user")], ..server.options() };
    let why = refusal(open(&server, options.clone()), ErrorKind::UntrustedServer);
    assert!(why.contains("SHA256:"), "{why}");
    assert!(!server.file("known_hosts").exists());

    let seen = Arc::new(std::sync::Mutex::new(None));
    let show = Arc::clone(&seen);
    let refusing = SftpOptions {
        on_unknown_host: Arc::new(move |info| {
            *show.lock().unwrap() = Some(info.clone());
            storage::sftp::HostKeyDecision::Refuse
        }),
        ..options.clone()
    };
    refusal(open(&server, refusing), ErrorKind::UntrustedServer);
    let info = seen.lock().unwrap().take().unwrap();
    let shown = Command::new("ssh-keygen").arg("-lf").arg(server.file("host_ed25519.pub")).output().unwrap();
    assert!(String::from_utf8_lossy(&shown.stdout).contains(&info.fingerprint));
    assert_eq!((info.key_type.as_str(), info.port), ("ssh-ed25519", server.port));

    let asked = Arc::new(AtomicUsize::new(0));
    let accepting = SftpOptions { on_unknown_host: remembering(&asked), ..options.clone() };
    open(&server, accepting).unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert_eq!(fs::metadata(server.file("known_hosts")).unwrap().permissions().mode() & 0o777, 0o600);
    open(&server, options).unwrap();
}

#[test]
fn a_changed_host_key_is_refused_whatever_the_caller_would_say() {
    let Some(server) = Sshd::start() else { return };
    let asked = Arc::new(AtomicUsize::new(0));
    let options = SftpOptions { on_unknown_host: remembering(&asked), ..server.working_options() };
    make_key(&server.file("other"), "ed25519", "");
    make_key(&server.file("other_rsa"), "rsa", "");
    // Another key of the same type, and only a key of a type the server has not.
    for other in ["other.pub", "other_rsa.pub"] {
        let key = fs::read_to_string(server.file(other)).unwrap();
        let line = format!("# comment\n[127.0.0.1]:{} {key}", server.port);
        fs::write(server.file("known_hosts"), &line).unwrap();
        let why = refusal(open(&server, options.clone()), ErrorKind::UntrustedServer);
        assert_eq!(why.matches("SHA256:").count(), 2, "{why}");
        assert!(why.contains(&format!("{}:2 ", server.file("known_hosts").display())), "{why}");
        assert_eq!(fs::read_to_string(server.file("known_hosts")).unwrap(), line);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[test]
fn hashed_lines_of_system_files_and_keys_of_a_second_type_are_believed() {
    let Some(server) = Sshd::start() else { return };
    let key = fs::read_to_string(server.file("host_ecdsa.pub")).unwrap();
    fs::write(server.file("system"), format!("[127.0.0.1]:{} {key}", server.port)).unwrap();
    sshd::run(Command::new("ssh-keygen").args(["-q", "-H", "-f"]).arg(server.file("system")));
    assert!(fs::read_to_string(server.file("system")).unwrap().starts_with("|1|"));
    let options = SftpOptions {
        key_files: vec![server.file("user")],
        system_known_hosts: vec![server.file("system")],
        ..server.options()
    };
    open(&server, options).unwrap();
    assert!(!server.file("known_hosts").exists());
}

#[test]
fn the_ssh_configuration_of_the_user_is_followed() {
    let Some(server) = Sshd::start() else { return };
    server.trust();
    let home = server.file("home");
    fs::create_dir_all(home.join(".ssh")).unwrap();
    let text = format!(
        "Host nas\n  HostName 127.0.0.1\n  Port {}\n  User {}\n  IdentityFile ~/../user\n",
        server.port,
        sshd::user_name()
    );
    fs::write(home.join(".ssh/config"), text).unwrap();
    let mut options = server.options();
    options.use_home(&home);
    let mut location = server.location();
    (location.host, location.port, location.user) = ("nas".to_owned(), None, None);
    let store = storage::sftp::open(&location, &options).unwrap();
    assert_eq!(store.location(), server.location().to_string());
    fs::write(home.join(".ssh/config"), "Host nas\nProxyJump gate\n").unwrap();
    let why = refusal(storage::sftp::open(&location, &options), ErrorKind::Config);
    assert!(why.contains("ProxyJump"), "{why}");
}

#[test]
fn passwords_log_in_by_either_method_and_wrong_ones_do_not() {
    for (asks, method) in [(Asks::Password, "password"), (Asks::Interactively, "keyboard-interactive")] {
        let Some(server) = OtherServer::start(asks, &[]) else { return };
        let with = |password: &str| SftpOptions {
            password: Some(Secret::new(password.to_owned())),
            ..server.options()
        };
        let store = storage::sftp::open(&server.location(), &with(PASSWORD)).unwrap();
        store.put(&name("packs/4/x"), &noise(3_000_000), PutMode::CreateNew).unwrap();
        assert!(store.get(&name("packs/4/x"), 3_000_000).unwrap() == noise(3_000_000));
        store.sync().unwrap();
        let why =
            refusal(storage::sftp::open(&server.location(), &with("wrong one")), ErrorKind::Unauthenticated);
        assert!(why.contains(method) && !why.contains("wrong one"), "{why}");
        assert_eq!(server.wrong_passwords.load(Ordering::SeqCst), 1, "no password is tried twice");
    }
}

#[test]
fn a_server_without_extensions_gets_the_best_sftp_3_has() {
    let without = ["hardlink", "posix-rename", "fsync", "statvfs", "limits"];
    let Some(server) = OtherServer::start(Asks::Password, &without) else { return };
    let store = storage::sftp::open(&server.location(), &server.working_options()).unwrap();
    assert_eq!(store.capabilities().create_new, CreateNew::BestEffort);
    let object = name("packs/4/x");
    store.put(&object, &noise(3_000_000), PutMode::CreateNew).unwrap();
    refusal(store.put(&object, b"y", PutMode::CreateNew), ErrorKind::AlreadyExists);
    assert!(store.get(&object, 3_000_000).unwrap() == noise(3_000_000));
    store.put(&object, b"z", PutMode::Replace).unwrap();
    store.put(&name("new"), b"n", PutMode::Replace).unwrap();
    assert_eq!(store.get(&object, 3).unwrap(), b"z");
    store.sync().unwrap();
    assert_eq!(names(&*store, ""), ["new", "packs/4/x"]);
    assert_no_leftovers(&server.folder.path().join("store"));
}

/// The store at the other end of a line, which the host key of the server is known for.
fn behind(server: &Sshd, proxy: &proxy::Proxy) -> Arc<dyn Store> {
    let options = server.working_options();
    let key = fs::read_to_string(server.file("host_ed25519.pub")).unwrap();
    let known = fs::read_to_string(server.file("known_hosts")).unwrap();
    fs::write(server.file("known_hosts"), format!("{known}[127.0.0.1]:{} {key}", proxy.address.port()))
        .unwrap();
    let location = storage::sftp::SftpLocation { port: Some(proxy.address.port()), ..server.location() };
    storage::sftp::open(&location, &options).unwrap()
}

#[test]
fn openssh_survives_a_storm() {
    let Some(server) = Sshd::start() else { return };
    let proxy = proxy::Proxy::to(([127, 0, 0, 1], server.port).into());
    // Opened first: it writes the file of known hosts, to which the other adds its line.
    let calm = server.open();
    storms::nothing_acknowledged_is_lost(behind(&server, &proxy), &*calm, &proxy, false);
    assert!(proxy.connections() > 1);
}

#[test]
fn openssh_that_vanishes_is_told() {
    let Some(server) = Sshd::start() else { return };
    let proxy = proxy::Proxy::to(([127, 0, 0, 1], server.port).into());
    storms::a_vanished_place_is_told(behind(&server, &proxy), &proxy);
}

#[test]
fn openssh_on_a_full_disk_says_so() {
    let (Some(server), Some(disk)) = (Sshd::start(), storms::SmallDisk::new(4)) else { return };
    let path = disk.0.path().to_str().unwrap().to_owned();
    let location = storage::sftp::SftpLocation { path, ..server.location() };
    let store = storage::sftp::open(&location, &server.working_options()).unwrap();
    storms::a_full_place_says_so(&*store, true);
}
