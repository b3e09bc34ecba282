//! A listing read page by page never misses what was there when it began, however much is merged meanwhile:
//! if, and only if, what replaces sorts behind what it replaces.

use std::collections::{BTreeMap, BTreeSet};
use testkit::dice::Dice;

/// What a listing collects: for every pass, the objects met.
type Views = BTreeSet<Vec<BTreeSet<&'static str>>>;

/// Every way to read three places one after the other, `passes` times, while `a` is replaced by `m1`, and that
/// by `m2`. `order` holds the three in the order of their names.
fn views(order: [&'static str; 3], passes: usize) -> Views {
    let mut found = Views::new();
    go(order, passes, 0, &BTreeSet::from(["a"]), &[BTreeSet::new()], 0, &mut found);
    found
}

fn go(
    order: [&'static str; 3],
    passes: usize,
    done: usize,
    there: &BTreeSet<&'static str>,
    seen: &[BTreeSet<&'static str>],
    place: usize,
    found: &mut Views,
) {
    const CHANGES: [(bool, &str); 4] = [(true, "m1"), (false, "a"), (true, "m2"), (false, "m1")];
    if let Some((is_put, name)) = CHANGES.get(done) {
        let mut after = there.clone();
        match is_put {
            true => _ = after.insert(name),
            false => _ = after.remove(name),
        }
        go(order, passes, done + 1, &after, seen, place, found);
    }
    if place == 3 * passes {
        found.insert(seen[..passes].to_vec());
        return;
    }
    let mut seen = seen.to_vec();
    let name = order[place % 3];
    if there.contains(name) {
        seen.last_mut().expect("a pass is under way").insert(name);
    }
    if place % 3 == 2 {
        seen.push(BTreeSet::new());
    }
    go(order, passes, done, there, &seen, place + 1, found);
}

/// Orders of names in which a listing may meet none of the three, with as many equal passes.
fn blind_orders(passes: usize) -> Vec<[&'static str; 3]> {
    let orders = [
        ["a", "m1", "m2"],
        ["a", "m2", "m1"],
        ["m1", "a", "m2"],
        ["m1", "m2", "a"],
        ["m2", "a", "m1"],
        ["m2", "m1", "a"],
    ];
    let is_blind = |order: &[&'static str; 3]| {
        let views = views(*order, passes);
        views.iter().any(|seen| seen.iter().all(|pass| pass.is_empty()))
    };
    orders.into_iter().filter(is_blind).collect()
}

#[test]
fn of_six_orders_of_names_only_the_growing_one_always_shows_something() {
    let blind = blind_orders(1);
    assert_eq!(blind.len(), 5);
    assert!(!blind.contains(&["a", "m1", "m2"]));
    // Listing until two passes agree is not enough either.
    assert_eq!(blind_orders(2), [["m2", "m1", "a"]]);
}

/// Numbered names and the rows behind them.
type Objects = BTreeMap<(u64, u64), BTreeSet<u32>>;

/// A listing under way.
struct Listing {
    page: usize,
    last: Option<(u64, u64)>,
    is_over: bool,
    found: Objects,
}

impl Listing {
    fn begin(page: usize) -> Self {
        Listing { page, last: None, is_over: false, found: Objects::new() }
    }

    fn read_page(&mut self, objects: &Objects) {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = self.last.map_or(Unbounded, Excluded);
        let page: Vec<_> = objects.range((from, Unbounded)).take(self.page).collect();
        self.is_over = page.len() < self.page;
        self.last = page.last().map(|(name, _)| **name).or(self.last);
        self.found.extend(page.into_iter().map(|(name, rows)| (*name, rows.clone())));
    }

    fn rows(&self) -> BTreeSet<u32> {
        self.found.values().flatten().copied().collect()
    }
}

/// A merger: what it listed, and what of that it still has to delete.
struct Merger {
    listing: Listing,
    doomed: Option<Vec<(u64, u64)>>,
}

/// One history of writers, mergers and a reader. Whether the reader met all that was there when it began.
fn history(seed: u64, names_grow: bool) -> bool {
    let mut dice = Dice::new(seed);
    let mut objects: Objects = (1..=4).map(|n| ((n, dice.roll()), BTreeSet::from([n as u32]))).collect();
    let mut rows = 4;
    let page = 1 + dice.below(3) as usize;
    let new = || Merger { listing: Listing::begin(page), doomed: None };
    let mut mergers = [new(), new()];
    let there: BTreeSet<u32> = objects.values().flatten().copied().collect();
    let mut reader = Listing::begin(page);
    while !reader.is_over {
        match dice.below(8) {
            0 => reader.read_page(&objects),
            1 if rows < 12 => {
                rows += 1;
                objects.insert((1 + dice.below(20), dice.roll()), BTreeSet::from([rows]));
            }
            _ => {
                let merger = &mut mergers[dice.below(2) as usize];
                if step(merger, &mut objects, &mut dice, names_grow) {
                    *merger = new();
                }
            }
        }
    }
    there.is_subset(&reader.rows())
}

/// One request of a merger. `true` when it is done.
fn step(merger: &mut Merger, objects: &mut Objects, dice: &mut Dice, names_grow: bool) -> bool {
    match &mut merger.doomed {
        Some(doomed) => {
            doomed.pop().inspect(|name| _ = objects.remove(name));
            doomed.is_empty()
        }
        None if !merger.listing.is_over => {
            merger.listing.read_page(objects);
            false
        }
        None => {
            let found = &merger.listing.found;
            let highest = found.keys().map(|(number, _)| *number).max().unwrap_or(0);
            let number = if names_grow { highest + 1 } else { 1 + dice.below(highest + 1) };
            objects.insert((number, dice.roll()), merger.listing.rows());
            merger.doomed = Some(found.keys().copied().collect());
            false
        }
    }
}

#[test]
fn what_was_there_when_a_listing_began_is_met_through_any_merges() {
    for seed in 0..20_000 {
        assert!(history(seed, true), "seed {seed}");
    }
}

#[test]
fn names_that_do_not_grow_hide_rows_from_a_listing() {
    let blind = (0..20_000).filter(|seed| !history(*seed, false)).count();
    assert!(blind > 100, "only {blind} of 20000 histories");
}
