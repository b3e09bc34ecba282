//! What every place must survive: a storm on the line while several threads write, and nothing lost after.

use super::proxy::Proxy;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use storage::{ErrorKind, ObjectName, PutMode, RetryOptions, RetryStore, Store};

fn name(text: &str) -> ObjectName {
    ObjectName::new(text).unwrap()
}

fn contents(number: usize) -> Vec<u8> {
    (0..20_000 + 997 * number).map(|at| ((at * 31 + number * 7) % 251) as u8).collect()
}

/// Patient, but not as patient as a night's backup: a test has other things to do.
pub(crate) fn patient(store: Arc<dyn Store>) -> RetryStore {
    let short = Duration::from_millis(20);
    let options = RetryOptions {
        budget: Duration::from_secs(60),
        first_contact_budget: Duration::from_secs(30),
        first_wait: short,
        longest_wait: Duration::from_millis(500),
        ..RetryOptions::default()
    };
    RetryStore::new(store, options)
}

/// One kind of weather after another, until `over`.
fn storm(proxy: &Proxy, has_status: bool, over: &AtomicBool) {
    let weather = &proxy.weather;
    let mut round = 0;
    while !over.load(Ordering::SeqCst) {
        match round % 5 {
            0 => weather.latency_ms.store(15, Ordering::SeqCst),
            1 => {
                weather.cut_after_bytes.store(3_000 + 7_919 * (round % 7), Ordering::SeqCst);
                weather.cuts.store(2, Ordering::SeqCst);
            }
            2 if has_status => weather.busy.store(3, Ordering::SeqCst),
            3 => proxy.vanish(),
            _ => proxy.cut_all(),
        }
        std::thread::sleep(Duration::from_millis(60));
        weather.latency_ms.store(0, Ordering::SeqCst);
        proxy.come_back();
        std::thread::sleep(Duration::from_millis(150));
        round += 1;
    }
    weather.cuts.store(0, Ordering::SeqCst);
    weather.busy.store(0, Ordering::SeqCst);
}

/// Writes through `stormy`, whose line is `proxy`, from three threads; then looks by `calm`. `has_status` says
/// that the line speaks HTTP.
pub(crate) fn nothing_acknowledged_is_lost(
    stormy: Arc<dyn Store>,
    calm: &dyn Store,
    proxy: &Proxy,
    has_status: bool,
) {
    let store = patient(stormy);
    let (over, acknowledged) = (AtomicBool::new(false), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        let weather = scope.spawn(|| storm(proxy, has_status, &over));
        let write = |first: usize| {
            for number in (first..18).step_by(3) {
                let object = name(&format!("packs/{:x}/{number:04}", number % 4));
                match store.put(&object, &contents(number), PutMode::CreateNew) {
                    Ok(()) => drop(acknowledged.lock().unwrap().insert(object, number)),
                    Err(error) => assert!(
                        matches!(error.kind(), ErrorKind::Transient | ErrorKind::AlreadyExists),
                        "{error:?}"
                    ),
                }
                // So that every kind of weather is met.
                std::thread::sleep(Duration::from_millis(100));
                if number % 4 == 3 {
                    // Reads in the storm are right or fail; they are never wrong.
                    let known = acknowledged.lock().unwrap().iter().next().map(|(n, at)| (n.clone(), *at));
                    if let Some((object, number)) = known {
                        match store.get(&object, 1 << 20) {
                            Ok(bytes) => assert!(bytes == contents(number), "{object} has changed"),
                            Err(error) => assert_eq!(error.kind(), ErrorKind::Transient, "{error:?}"),
                        }
                    }
                }
            }
        };
        let writers: Vec<_> = (0..3).map(|first| scope.spawn(move || write(first))).collect();
        let ended: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        over.store(true, Ordering::SeqCst);
        weather.join().unwrap();
        ended.into_iter().for_each(|writer| writer.unwrap());
    });
    let acknowledged = acknowledged.into_inner().unwrap();
    assert!(acknowledged.len() >= 12, "patience ends long after the storm: {}", acknowledged.len());
    for (object, number) in &acknowledged {
        assert!(calm.get(object, 1 << 20).unwrap() == contents(*number), "{object} is not what was stored");
    }
    let mut listed = Vec::new();
    calm.list("packs/", &mut |info| {
        let number: usize = info.name.file_name().parse().unwrap();
        assert_eq!(info.len_bytes, contents(number).len() as u64, "{} is torn", info.name);
        listed.push(info.name);
        ControlFlow::Continue(())
    })
    .unwrap();
    assert!(acknowledged.keys().all(|object| listed.contains(object)));
}

/// A place that is gone for good is told as such, before patience has long ended.
pub(crate) fn a_vanished_place_is_told(stormy: Arc<dyn Store>, proxy: &Proxy) {
    let options = RetryOptions {
        budget: Duration::from_secs(1),
        first_wait: Duration::from_millis(50),
        ..RetryOptions::default()
    };
    let store = RetryStore::new(stormy, options);
    store.put(&name("packs/0/there"), b"x", PutMode::CreateNew).unwrap();
    proxy.vanish();
    let start = Instant::now();
    let error = store.put(&name("packs/0/gone"), b"x", PutMode::CreateNew).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(60));
    assert_eq!(store.get(&name("packs/0/there"), 1).unwrap_err().kind(), ErrorKind::Transient);
    proxy.come_back();
    assert_eq!(patient(Arc::new(store)).get(&name("packs/0/there"), 1).unwrap(), b"x");
}

/// Fills a small place: the end is told as such, or as trouble of the server where its protocol has no word
/// for it, and what was stored before stands.
pub(crate) fn a_full_place_says_so(store: &dyn Store, has_a_word_for_it: bool) {
    let mut stored = 0;
    let full = loop {
        assert!(stored < 100, "the place is not small");
        match store.put(&name(&format!("packs/0/{stored:04}")), &vec![7; 300_000], PutMode::CreateNew) {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
    };
    let wanted = if has_a_word_for_it { ErrorKind::NoSpace } else { ErrorKind::Transient };
    assert_eq!(full.kind(), wanted, "{full:?}");
    assert!(has_a_word_for_it || format!("{full:?}").contains("may be full"), "{full:?}");
    assert!(stored >= 3, "only {stored} objects fitted");
    for number in 0..stored {
        assert_eq!(store.get(&name(&format!("packs/0/{number:04}")), 300_000).unwrap(), vec![7; 300_000]);
    }
    // With room again, the same object is stored.
    for number in 0..2 {
        store.delete(&name(&format!("packs/0/{number:04}"))).unwrap();
    }
    store.put(&name(&format!("packs/0/{stored:04}")), &vec![7; 300_000], PutMode::CreateNew).unwrap();
}

/// A file system of a few megabytes, in memory; unmounted with the test.
pub(crate) struct SmallDisk(pub(crate) tempfile::TempDir);

impl SmallDisk {
    /// `None`, and a word about it, where this user may not mount.
    pub(crate) fn new(mib: usize) -> Option<Self> {
        use std::io::Write;
        let folder = tempfile::tempdir().unwrap();
        let mut command = std::process::Command::new("mount");
        command
            .args(["-t", "tmpfs", "-o"])
            .arg(format!("size={mib}m,mode=0777"))
            .arg("tmpfs")
            .arg(folder.path());
        if command.output().is_ok_and(|ran| ran.status.success()) {
            return Some(Self(folder));
        }
        let required = std::env::var_os("LIFEBOAT_TEST_REQUIRE").is_some_and(|value| value == "all");
        assert!(!required, "a full disk needs root, to mount a small one");
        let _ = writeln!(std::io::stderr(), "not run: a full disk needs root, to mount a small one");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}
