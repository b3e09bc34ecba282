//! Restores from places where every request costs a round trip.

use crate::world::{World, inventory, noise};
use std::fs;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use storage::{
    Capabilities, ErrorKind, LocalOptions, LocalStore, ObjectInfo, ObjectName, PutMode, Store, StoreError,
    StoreResult, Upload,
};

/// A local store that says it is far away, and counts ranged reads.
struct Far {
    inner: LocalStore,
    requests: AtomicUsize,
    /// It answers no more after this many requests for contents.
    requests_max: usize,
}

impl Store for Far {
    fn location(&self) -> String {
        self.inner.location()
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities { local: false, parallel_requests: 4, ..self.inner.capabilities() }
    }
    fn put(&self, name: &ObjectName, bytes: &[u8], mode: PutMode) -> StoreResult<()> {
        self.inner.put(name, bytes, mode)
    }
    fn upload(&self, len_hint_bytes: u64) -> StoreResult<Box<dyn Upload>> {
        self.inner.upload(len_hint_bytes)
    }
    fn get(&self, name: &ObjectName, max_bytes: u64) -> StoreResult<Vec<u8>> {
        self.inner.get(name, max_bytes)
    }
    fn get_range(&self, name: &ObjectName, range: Range<u64>) -> StoreResult<Vec<u8>> {
        if name.as_str().starts_with("packs/") {
            let before = self.requests.fetch_add(1, Ordering::SeqCst);
            if before >= self.requests_max {
                return Err(StoreError::new(ErrorKind::Transient, format!("read {name}")));
            }
        }
        self.inner.get_range(name, range)
    }
    fn list(&self, prefix: &str, visit: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>) -> StoreResult<()> {
        self.inner.list(prefix, visit)
    }
    fn stat(&self, name: &ObjectName) -> StoreResult<ObjectInfo> {
        self.inner.stat(name)
    }
    fn delete(&self, name: &ObjectName) -> StoreResult<()> {
        self.inner.delete(name)
    }
}

fn far(world: &World, requests_max: usize) -> Arc<Far> {
    let inner = LocalStore::open(&world.top().join("repo"), &LocalOptions::default()).unwrap();
    Arc::new(Far { inner, requests: AtomicUsize::new(0), requests_max })
}

#[test]
fn near_blocks_are_fetched_together_and_each_once() {
    let world = World::new();
    for n in 0..300u64 {
        fs::write(world.source().join(format!("f{n}")), noise(n, 60_000)).unwrap();
    }
    fs::write(world.source().join("large"), noise(900, 12_000_000)).unwrap();
    let snapshot = world.backup();
    let store = far(&world, usize::MAX);
    let reader = world.reader_through(store.clone());
    let outcome = engine::restore(&reader, &world.request(&snapshot), &engine::Silent).unwrap();
    assert_eq!(inventory(&world.target()), inventory(&world.source()));
    let requests = store.requests.load(Ordering::SeqCst);
    assert!((6..=16).contains(&requests), "30 MB in {requests} requests of at most 4 MiB and a block");
    assert!((30_000_000..32_000_000).contains(&outcome.bytes_fetched));
}

#[test]
fn damage_far_away_is_named_like_damage_here() {
    let world = World::new();
    for n in 0..300u64 {
        fs::write(world.source().join(format!("f{n}")), noise(n, 60_000)).unwrap();
    }
    let snapshot = world.backup();
    world.damage_data(8_000_000);
    let (here, _) = world.restore(&snapshot, |r| r.target = world.top().join("here"));
    let reader = world.reader_through(far(&world, usize::MAX));
    let outcome = engine::restore(&reader, &world.request(&snapshot), &engine::Silent).unwrap();
    assert!(outcome.damaged > 0 && outcome.files_restored > 0);
    assert_eq!(outcome.damaged, here.unwrap().damaged);
}

#[test]
fn a_place_that_answers_no_more_ends_the_restore_with_an_error() {
    let world = World::new();
    for n in 0..300u64 {
        fs::write(world.source().join(format!("f{n}")), noise(n, 60_000)).unwrap();
    }
    let snapshot = world.backup();
    let reader = world.reader_through(far(&world, 2));
    let ear = crate::world::Ear::default();
    let error = engine::restore(&reader, &world.request(&snapshot), &ear).unwrap_err();
    assert_eq!(error.store_kind(), Some(ErrorKind::Transient));
    assert_eq!(ear.problems(), [], "unreachable contents are not damaged contents");
    let (outcome, _) = world.restore_well(&snapshot, |_| {});
    assert_eq!(outcome.files_restored + outcome.files_unchanged, 300);
}
