//! `find --deleted`: what is gone, in the last snapshot that has it.
//!
//! Gone is what the newest complete snapshot of the same machine and sources does not have, nor any later one. A
//! snapshot that could not read everything says nothing about what it lacks.

use super::{Finds, Found};
use crate::error::Outcome;
use ::repo::browse;
use ::repo::erasures::ErasedHistory;
use ::repo::reader::Reader;
use ::repo::snapshots::SnapshotList;
use format::snapshot::{Completeness, Snapshot};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// A machine, and what was saved of it.
type Source<'l> = (&'l str, &'l [Vec<u8>]);

/// Whether two snapshots say something about the same files.
fn of_one_source(a: &Snapshot, b: &Snapshot) -> bool {
    a.host == b.host && a.sources == b.sources
}

/// The newest complete snapshot of the same source and all later ones, or else the newest of all.
fn newest<'l>(list: &'l SnapshotList, of: &Snapshot) -> Vec<&'l Snapshot> {
    let mut series: Vec<&Snapshot> = list.visible().filter(|s| of_one_source(s, of)).collect();
    series.sort_by_key(|s| (s.time, s.id));
    let complete = series.iter().rposition(|s| s.completeness == Completeness::Complete);
    series.split_off(complete.unwrap_or(series.len().saturating_sub(1)))
}

/// Of what fits in the snapshots, what is gone, where it was last; in the order of time.
pub(super) fn last_seen<'l>(
    finds: &mut Finds<'_>,
    list: &'l SnapshotList,
    mut snapshots: Vec<&'l Snapshot>,
) -> Outcome<Vec<(&'l Snapshot, Found)>> {
    snapshots.sort_by_key(|snapshot| (snapshot.time, snapshot.id));
    let reader = finds.search.reader()?;
    let mut series: HashMap<Source<'_>, (Vec<&Snapshot>, HashSet<Vec<u8>>)> = HashMap::new();
    let mut last = Vec::new();
    for snapshot in snapshots.into_iter().rev() {
        let of = (&*snapshot.host, &*snapshot.sources);
        let (now, seen) = series.entry(of).or_insert_with(|| (newest(list, snapshot), HashSet::new()));
        let mut gone = Vec::new();
        for (key, entry) in finds.of(snapshot)?.iter() {
            if !seen.contains(key) {
                seen.insert(key.clone());
                if !is_there(&reader, now, finds.erased, key)? {
                    gone.push((key.clone(), entry.clone()));
                }
            }
        }
        last.push((snapshot, Rc::new(gone)));
    }
    last.reverse();
    Ok(last)
}

fn is_there(reader: &Reader, now: &[&Snapshot], erased: &ErasedHistory, key: &[u8]) -> Outcome<bool> {
    for snapshot in now {
        if !erased.of(snapshot).covers_key(key) && browse::lookup(reader, snapshot.root, key)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
