//! Two trees are compared as two maps would be, and only what differs is read.

use proptest::prelude::*;
use repo::browse::{Change, diff};
use repo::cache::Cache;
use repo::reader::Reader;
use std::collections::BTreeMap;
use std::sync::Arc;
use storage::{RecordStore, RequestKind};
use testkit::dice::Dice;
use testkit::files::{Files, edit, random_files};
use testkit::mini::{Backup, backup, by_key};
use testkit::world::World;

fn naive(a: &Files, b: &Files) -> BTreeMap<Vec<u8>, char> {
    let (a, b) = (by_key(a), by_key(b));
    let mut out = BTreeMap::new();
    out.extend(a.keys().filter(|k| !b.contains_key(*k)).map(|k| (k.clone(), '-')));
    for (key, bytes) in &b {
        match a.get(key) {
            None => _ = out.insert(key.clone(), '+'),
            Some(old) if old != bytes => _ = out.insert(key.clone(), 'M'),
            Some(_) => {}
        }
    }
    out
}

fn differences(reader: &Reader, a: format::tree::Root, b: format::tree::Root) -> Vec<(Vec<u8>, char)> {
    let mut found = Vec::new();
    diff(reader, a, b, &mut |key, change| {
        let sign = match change {
            Change::Added(_) => '+',
            Change::Removed(_) => '-',
            Change::Changed(..) => 'M',
        };
        found.push((key.to_vec(), sign));
        Ok(())
    })
    .unwrap();
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]
    #[test]
    fn a_comparison_finds_what_two_maps_say(
        seed: u64, count in 1usize..2000, edits in 0usize..300, unrelated: bool,
    ) {
        let mut dice = Dice::new(seed);
        let a = random_files(&mut dice, count);
        let mut b = if unrelated { random_files(&mut dice, count / 3 + 1) } else { a.clone() };
        edit(&mut dice, &mut b, edits);
        prop_assume!(!b.is_empty());
        let world = World::new(seed);
        let reader = world.reader().unwrap();
        let roots = [&a, &b].map(|f| backup(&reader, f, &Backup::new(seed + f.len() as u64)).unwrap().snapshot.root);
        let expected: Vec<_> = naive(&a, &b).into_iter().collect();
        prop_assert_eq!(differences(&reader, roots[0], roots[1]), expected);
    }
}

#[test]
fn a_comparison_reads_the_nodes_that_differ_and_no_more() {
    let mut dice = Dice::new(3);
    let a: Files =
        (0..20_000).map(|n| (format!("d{}/f{n}", n % 50), vec![n as u8, (n >> 8) as u8])).collect();
    let world = World::new(1);
    let reader = world.reader().unwrap();
    let old = backup(&reader, &a, &Backup::new(1)).unwrap().snapshot;
    let mut b = a.clone();
    for _ in 0..3 {
        edit(&mut dice, &mut b, 1);
    }
    let new = backup(&reader, &b, &Backup { parent: Some(&old), ..Backup::new(2) }).unwrap().snapshot;

    let store = Arc::new(RecordStore::new(Arc::new(world.sim.connect())));
    let log = store.log();
    let reader = Reader::open(world.open_over(store).unwrap(), Cache::none()).unwrap();
    log.clear();
    let found = differences(&reader, old.root, new.root);
    assert_eq!(found, naive(&a, &b).into_iter().collect::<Vec<_>>());
    let reads = log.requests().iter().filter(|r| r.kind == RequestKind::GetRange).count();
    // Three edits touch at most three leaves on either side, and the nodes above them on three levels.
    assert!(reads <= 2 * (3 + 3 + 3), "{reads} reads for 3 edits among 20,000 entries");
    log.clear();
    assert!(differences(&reader, new.root, new.root).is_empty());
    assert_eq!(log.counts().total(), 0, "equal roots need no reading");
}
