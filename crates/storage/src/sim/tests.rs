//! Each fault happens, and only as told; equal seeds tell equal stories.

use super::*;

fn name(text: &str) -> ObjectName {
    ObjectName::new(text).expect("names in tests are well formed")
}

fn put(store: &SimStore, object: &str, bytes: &[u8]) -> Result<(), ErrorKind> {
    store.put(&name(object), bytes, PutMode::CreateNew).map_err(|error| error.kind())
}

fn listed(store: &SimStore) -> Vec<String> {
    let mut names = Vec::new();
    let mut visit = |info: ObjectInfo| {
        names.push(info.name.to_string());
        ControlFlow::Continue(())
    };
    store.list("", &mut visit).expect("list");
    names
}

/// How each put ended, and what is stored then.
type Story = (Vec<Result<(), ErrorKind>>, BTreeMap<ObjectName, Vec<u8>>);

/// Runs 200 puts and tells how each ended and what is stored.
fn story(seed: u64, faults: Faults) -> Story {
    let store = SimStore::with_faults(seed, faults);
    let ends = (0..200).map(|number| put(&store, &format!("p/{number:03}"), &[7; 50])).collect();
    (ends, store.objects())
}

#[test]
fn equal_seeds_tell_equal_stories_and_others_do_not() {
    let faults = Faults { error_before_permille: 100, torn_put_permille: 100, ..Faults::default() };
    assert_eq!(story(1, faults.clone()), story(1, faults.clone()));
    assert_ne!(story(1, faults.clone()), story(2, faults));
}

#[test]
fn an_error_before_leaves_nothing_and_an_error_after_leaves_all() {
    let (ends, objects) = story(3, Faults { error_before_permille: 300, ..Faults::default() });
    let failed = ends.iter().filter(|end| **end == Err(ErrorKind::Transient)).count();
    assert!((20..100).contains(&failed), "{failed}");
    assert_eq!(objects.len(), 200 - failed);
    let (ends, objects) = story(3, Faults { error_after_permille: 300, ..Faults::default() });
    assert!(ends.iter().any(|end| end.is_err()));
    assert_eq!(objects.len(), 200);
    assert!(objects.values().all(|bytes| bytes.len() == 50));
}

#[test]
fn a_torn_put_fails_and_shows_the_beginning() {
    let (ends, objects) = story(4, Faults { torn_put_permille: 300, ..Faults::default() });
    let failed = ends.iter().filter(|end| end.is_err()).count();
    let torn = objects.values().filter(|bytes| bytes.len() < 50).count();
    assert!(failed > 20 && failed == torn, "{failed} failed, {torn} torn");
}

#[test]
fn a_crash_ends_its_client_only_until_it_is_reopened() {
    for (point, stored) in [(CrashPoint::Before, 0), (CrashPoint::After, 1)] {
        let store = SimStore::new(5);
        let other = store.connect();
        store.set_crash(Crash { at_request: 0, point, power_loss: false });
        assert_eq!(put(&store, "a", b"x"), Err(ErrorKind::Other));
        assert!(store.has_crashed());
        assert_eq!(store.get(&name("a"), 9).unwrap_err().kind(), ErrorKind::Other);
        assert_eq!(store.objects().len(), stored);
        assert_eq!(listed(&other).len(), stored);
        store.reopen();
        assert_eq!(listed(&store).len(), stored);
    }
}

#[test]
fn power_loss_takes_back_only_what_was_not_synced() {
    let mut lost = 0;
    for seed in 0..50 {
        let store = SimStore::new(seed);
        put(&store, "packs/synced", b"x").unwrap();
        store.sync().unwrap();
        put(&store, "packs/late", b"x").unwrap();
        store.set_crash(Crash { at_request: 3, point: CrashPoint::Before, power_loss: true });
        put(&store, "index/never", b"x").unwrap_err();
        let names: Vec<_> = store.objects().into_keys().map(|name| name.to_string()).collect();
        assert!(names.contains(&"packs/synced".to_owned()));
        assert!(!names.contains(&"index/never".to_owned()));
        lost += usize::from(!names.contains(&"packs/late".to_owned()));
    }
    assert!((10..40).contains(&lost), "{lost}");
}

#[test]
fn lists_are_late_and_catch_up() {
    let store = SimStore::with_faults(6, Faults { list_delay_requests: 5, ..Faults::default() });
    for number in 0..20 {
        put(&store, &format!("{number:02}"), b"x").unwrap();
    }
    assert!(listed(&store).len() < 20);
    for _ in 0..5 {
        listed(&store);
    }
    assert_eq!(listed(&store).len(), 20);
    store.delete(&name("00")).unwrap();
    for _ in 0..5 {
        listed(&store);
    }
    assert_eq!(listed(&store).len(), 19);
}

#[test]
fn reads_flip_one_bit_and_damage_stays() {
    let store = SimStore::with_faults(7, Faults { flip_read_permille: 1000, ..Faults::default() });
    put(&store, "a", &[0; 64]).unwrap();
    let ones = |bytes: Vec<u8>| bytes.iter().map(|byte| byte.count_ones()).sum::<u32>();
    assert_eq!(ones(store.get(&name("a"), 64).unwrap()), 1);
    assert_eq!(ones(store.objects().remove(&name("a")).unwrap()), 0);
    store.set_faults(Faults::default());
    assert!(store.damage(&name("a"), |bytes| bytes[3] = 3));
    assert_eq!(ones(store.get(&name("a"), 64).unwrap()), 2);
}

#[test]
fn full_append_only_and_careless_places() {
    let store = SimStore::with_faults(8, Faults { space_bytes: Some(10), ..Faults::default() });
    put(&store, "a", &[1; 8]).unwrap();
    assert_eq!(put(&store, "b", &[1; 3]), Err(ErrorKind::NoSpace));
    store.put(&name("a"), &[2; 10], PutMode::Replace).unwrap();
    store.set_faults(Faults { append_only: true, ..Faults::default() });
    assert_eq!(store.delete(&name("a")).unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(store.put(&name("a"), b"", PutMode::Replace).unwrap_err().kind(), ErrorKind::Denied);
    store.set_faults(Faults { ignores_create_new: true, ..Faults::default() });
    put(&store, "a", b"other").unwrap();
    assert_eq!(store.get(&name("a"), 9).unwrap(), b"other");
}

#[test]
fn requests_are_counted_by_kind() {
    let store = SimStore::new(9);
    put(&store, "a", b"abc").unwrap();
    put(&store, "a", b"abc").unwrap_err();
    store.get_range(&name("a"), 1..2).unwrap();
    listed(&store);
    store.sync().unwrap();
    let counts = store.log().counts();
    assert_eq!((counts.puts, counts.range_gets, counts.lists, counts.syncs), (2, 1, 1, 1));
    assert_eq!(counts.total(), 4);
    assert_eq!(store.log().requests()[1].error, Some(ErrorKind::AlreadyExists));
    assert_eq!(store.requests_made(), 5);
}

#[test]
fn a_repeated_change_tells_its_second_answer() {
    let sim = SimStore::with_faults(1, Faults { repeat_change_permille: 1000, ..Faults::default() });
    let put = sim.put(&name("a"), b"once", PutMode::CreateNew).unwrap_err();
    assert_eq!(put.kind(), ErrorKind::AlreadyExists);
    assert_eq!(sim.delete(&name("a")).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(sim.objects().is_empty());
}

#[test]
fn answers_may_be_short_or_belong_to_a_neighbour() {
    let sim = SimStore::new(1);
    sim.put(&name("f/a"), b"first", PutMode::CreateNew).unwrap();
    sim.put(&name("f/b"), b"other", PutMode::CreateNew).unwrap();
    sim.put(&name("g/c"), b"elsewhere", PutMode::CreateNew).unwrap();
    sim.set_faults(Faults { misdirected_read_permille: 1000, ..Faults::default() });
    assert_eq!(sim.get(&name("f/a"), 10).unwrap(), b"other");
    assert_eq!(sim.get_range(&name("f/b"), 1..3).unwrap(), b"ir");
    assert_eq!(sim.get(&name("g/c"), 10).unwrap(), b"elsewhere", "it has no neighbour");
    sim.set_faults(Faults { short_read_permille: 1000, ..Faults::default() });
    let short = sim.get(&name("f/a"), 10).unwrap();
    assert!(short.len() < 5 && b"first".starts_with(&short));
}

#[test]
fn a_busy_place_recovers_by_itself() {
    let sim = SimStore::with_faults(1, Faults { busy: Some(2..4), ..Faults::default() });
    let outcomes: Vec<bool> =
        (0..5).map(|n| sim.put(&name(&format!("{n}")), b"", PutMode::CreateNew).is_ok()).collect();
    assert_eq!(outcomes, [true, false, false, true, true]);
}

#[test]
fn clients_of_one_machine_lose_their_power_together() {
    let mut lost = 0;
    for seed in 0..20 {
        let sim = SimStore::new(seed);
        let (one, beside, apart) = (sim.connect(), sim.connect(), sim.connect());
        let beside_one = one.connect_beside();
        beside_one.put(&name("beside"), b"", PutMode::CreateNew).unwrap();
        beside.put(&name("apart"), b"", PutMode::CreateNew).unwrap();
        one.set_crash(Crash { at_request: 0, point: CrashPoint::Before, power_loss: true });
        one.sync().unwrap_err();
        assert!(beside_one.has_crashed() && !beside.has_crashed() && !apart.has_crashed());
        assert!(sim.object(&name("apart")).is_some());
        lost += u32::from(sim.object(&name("beside")).is_none());
        sim.heal();
        beside_one.put(&name("again"), b"", PutMode::CreateNew).unwrap();
    }
    assert!((5..16).contains(&lost), "{lost} of 20");
}
