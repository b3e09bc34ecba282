//! Whatever happens to the cache folder, reads tell the same; only the number of requests differs.

use super::*;
use crate::{RequestCounts, SimStore};

fn name(text: &str) -> ObjectName {
    ObjectName::new(text).expect("names in tests are well formed")
}

/// An object whose name is a sum of its bytes stands for one that is named by its hash.
fn object(seed: u8, len: usize) -> (ObjectName, Vec<u8>) {
    let bytes = vec![seed; len];
    (name(&format!("trees/{:08x}", sum(&bytes))), bytes)
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(7, |sum: u32, byte| sum.wrapping_mul(31).wrapping_add(u32::from(*byte)))
}

fn cached(sim: &SimStore, folder: &Path, bytes_max: u64) -> CacheStore {
    let verify: Verify = Arc::new(|name, bytes| name.file_name() == format!("{:08x}", sum(bytes)));
    let prefixes = vec!["trees/".to_owned()];
    let options =
        CacheOptions { folder: folder.into(), prefixes, bytes_max, object_bytes_max: 1 << 20, verify };
    CacheStore::new(Arc::new(sim.clone()), options)
}

fn reads(sim: &SimStore) -> (u64, u64) {
    let RequestCounts { gets, range_gets, .. } = sim.log().counts();
    (gets, range_gets)
}

#[test]
fn an_object_is_fetched_once_even_by_a_later_process() {
    let (folder, sim) = (tempfile::tempdir().unwrap(), SimStore::new(1));
    let (object, bytes) = object(1, 1000);
    sim.put(&object, &bytes, PutMode::CreateNew).unwrap();
    for _ in 0..3 {
        let store = cached(&sim, folder.path(), 1 << 20);
        assert_eq!(store.get(&object, 1000).unwrap(), bytes);
        assert_eq!(store.get_range(&object, 10..20).unwrap(), bytes[10..20]);
        assert_eq!(store.get_range(&object, 990..1001).unwrap_err().kind(), ErrorKind::Truncated);
        assert_eq!(store.get(&object, 999).unwrap_err().kind(), ErrorKind::TooLarge);
    }
    // Each process asked once for the range that does not exist.
    assert_eq!(reads(&sim), (1, 3));
}

#[test]
fn what_was_stored_through_the_cache_is_at_hand() {
    let (folder, sim) = (tempfile::tempdir().unwrap(), SimStore::new(2));
    let store = cached(&sim, folder.path(), 1 << 20);
    let (object, bytes) = object(2, 1000);
    let mut upload = store.upload(1000).unwrap();
    upload.write(&bytes).unwrap();
    upload.finish(&object, PutMode::CreateNew).unwrap();
    assert_eq!(store.get(&object, 1000).unwrap(), bytes);
    assert_eq!(reads(&sim), (0, 0));
}

#[test]
fn a_damaged_or_deleted_cache_changes_nothing_but_time() {
    let (folder, sim) = (tempfile::tempdir().unwrap(), SimStore::new(3));
    let (object, bytes) = object(3, 1000);
    sim.put(&object, &bytes, PutMode::CreateNew).unwrap();
    let damage: [&dyn Fn(&Path); 4] = [
        &|file| fs::write(file, vec![9; 1000]).unwrap(),
        &|file| fs::write(file, b"short").unwrap(),
        &|file| fs::remove_file(file).unwrap(),
        &|file| fs::remove_dir_all(file.parent().unwrap()).unwrap(),
    ];
    for (round, damage) in damage.iter().enumerate() {
        let store = cached(&sim, folder.path(), 1 << 20);
        store.get(&object, 1000).unwrap();
        drop(store);
        damage(&folder.path().join(file_name(&object)));
        let store = cached(&sim, folder.path(), 1 << 20);
        assert_eq!(store.get_range(&object, 5..9).unwrap(), bytes[5..9], "round {round}");
        assert_eq!(store.get(&object, 1000).unwrap(), bytes, "round {round}");
    }
}

#[test]
fn a_wrong_object_from_the_place_is_passed_on_but_never_kept() {
    let (folder, sim) = (tempfile::tempdir().unwrap(), SimStore::new(4));
    let (object, bytes) = object(4, 1000);
    sim.put(&object, b"damaged", PutMode::CreateNew).unwrap();
    let store = cached(&sim, folder.path(), 1 << 20);
    assert_eq!(store.get(&object, 1000).unwrap(), b"damaged");
    sim.put(&object, &bytes, PutMode::Replace).unwrap();
    assert_eq!(store.get(&object, 1000).unwrap(), bytes);
}

#[test]
fn the_longest_unused_go_when_the_room_is_used_up() {
    let (folder, sim) = (tempfile::tempdir().unwrap(), SimStore::new(5));
    let store = cached(&sim, folder.path(), 3500);
    let objects: Vec<_> = (10..14).map(|seed| object(seed, 1000)).collect();
    for (object, bytes) in &objects[..3] {
        store.put(object, bytes, PutMode::CreateNew).unwrap();
    }
    store.get(&objects[0].0, 1000).unwrap();
    store.put(&objects[3].0, &objects[3].1, PutMode::CreateNew).unwrap();
    let kept: Vec<bool> =
        objects.iter().map(|(object, _)| folder.path().join(file_name(object)).exists()).collect();
    assert_eq!(kept, [true, false, true, true]);
}

#[test]
fn other_names_pass_by_and_deleted_ones_are_gone() {
    let (folder, sim) = (tempfile::tempdir().unwrap(), SimStore::new(6));
    let store = cached(&sim, folder.path(), 1 << 20);
    store.put(&name("packs/a"), b"x", PutMode::CreateNew).unwrap();
    assert_eq!(store.get(&name("packs/a"), 1).unwrap(), b"x");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let (object, bytes) = object(6, 100);
    store.put(&object, &bytes, PutMode::CreateNew).unwrap();
    store.delete(&object).unwrap();
    assert_eq!(store.get(&object, 100).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn an_object_that_is_read_in_many_ranges_is_fetched_whole() {
    let (folder, sim) = (tempfile::tempdir().unwrap(), SimStore::new(7));
    let (object, bytes) = object(7, 1000);
    sim.put(&object, &bytes, PutMode::CreateNew).unwrap();
    let store = cached(&sim, folder.path(), 1 << 20);
    for start in 0..100 {
        assert_eq!(store.get_range(&object, start..start + 5).unwrap(), bytes[..5]);
    }
    assert_eq!(reads(&sim), (1, 2));
}

#[test]
fn a_local_store_is_not_cached_and_uploads_pass_straight_through() {
    let (folder, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let local = crate::LocalStore::open(place.path(), &crate::LocalOptions::default()).unwrap();
    let options = CacheOptions {
        folder: folder.path().into(),
        prefixes: vec!["trees/".to_owned()],
        bytes_max: 1 << 20,
        object_bytes_max: 1 << 20,
        verify: Arc::new(|_, _| true),
    };
    let store = CacheStore::new(Arc::new(local), options);
    let mut upload = store.upload(3).unwrap();
    upload.write(b"abc").unwrap();
    assert_eq!(fs::read_dir(place.path().join("tmp")).unwrap().count(), 1, "written where it will stay");
    upload.finish(&name("trees/a"), PutMode::CreateNew).unwrap();
    assert_eq!(store.get(&name("trees/a"), 3).unwrap(), b"abc");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
