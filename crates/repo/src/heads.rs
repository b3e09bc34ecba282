//! The snapshots of each writer that this machine has seen: shown less, it says so.
//!
//! Whoever operates a store can show an older state of it, or take single records away with both of their copies,
//! and every object that is left is authentic. A machine that has seen more need not believe it. What is
//! remembered lies outside the repository, may be lost at any time, and then only this check is lost.
//!
//! A snapshot is *gone* when its record is not there, not even unreadably, and neither a tomb nor the announcement
//! of a prune (which is for ever) says that it went on purpose. Where its writer shows none with its number or a
//! greater one, the whole repository may be an older state of itself; otherwise a single snapshot was lost.

use crate::error::RepoResult;
use crate::open::Repo;
use crate::removals::Announced;
use crate::snapshots::SnapshotList;
use format::id::{SnapshotId, WriterId};
use format::snapshot::Snapshot;
use std::collections::{BTreeMap, BTreeSet};

/// A snapshot that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Head {
    /// Its number among the writer's snapshots.
    pub sequence: u64,
    /// Its id.
    pub snapshot: SnapshotId,
}

/// What was seen of a repository, by writer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heads(BTreeMap<WriterId, BTreeSet<Head>>);

/// A snapshot that was seen and is shown no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone {
    /// Whose it was.
    pub writer: WriterId,
    /// What was seen.
    pub seen: Head,
    /// The number of the writer's newest snapshot that is shown now, if there is one.
    pub shown: Option<u64>,
}

impl Gone {
    /// Whether the repository may be an older state of itself: nothing as new of this writer is shown.
    pub fn is_newest(&self) -> bool {
        self.shown.is_none_or(|shown| shown < self.seen.sequence)
    }
}

/// Longer files are not ours, and are not read to their end.
const LINES_MAX: usize = 100_000;

impl Heads {
    /// The snapshots that a repository shows.
    pub fn of(list: &SnapshotList) -> Self {
        let mut heads = Heads::default();
        list.snapshots.iter().for_each(|stored| heads.see(&stored.snapshot));
        heads
    }

    /// Takes in one snapshot.
    pub fn see(&mut self, snapshot: &Snapshot) {
        let head = Head { sequence: snapshot.sequence, snapshot: snapshot.id };
        self.0.entry(snapshot.writer).or_default().insert(head);
    }

    /// Goes on missing what is gone.
    pub fn miss(&mut self, gone: &Gone) {
        self.0.entry(gone.writer).or_default().insert(gone.seen);
    }

    /// Snapshots seen before that this repository shows no more, without having been forgotten.
    pub fn gone_from(&self, repo: &Repo, list: &SnapshotList) -> RepoResult<Vec<Gone>> {
        let now = Heads::of(list);
        let is_told = |id: &SnapshotId| {
            list.buried.contains(id) || list.unreadable.iter().any(|(unreadable, _)| unreadable == id)
        };
        let mut gone = Vec::new();
        for (writer, seen) in &self.0 {
            let shown = now.0.get(writer);
            let newest = shown.and_then(|heads| heads.last()).map(|head| head.sequence);
            let missing = seen.iter().filter(|head| !shown.is_some_and(|shown| shown.contains(head)));
            gone.extend(missing.filter(|head| !is_told(&head.snapshot)).map(|seen| Gone {
                writer: *writer,
                seen: *seen,
                shown: newest,
            }));
        }
        if !gone.is_empty() {
            let removed = Announced::read(repo)?.ids;
            gone.retain(|gone| !removed.contains(&gone.seen.snapshot));
        }
        Ok(gone)
    }

    /// A line for each snapshot, the newest of a writer first: the writer's id, its number and its id.
    pub fn to_text(&self) -> String {
        let lines = |(writer, heads): (&WriterId, &BTreeSet<Head>)| {
            let line = |head: &Head| format!("{} {} {}\n", writer.hex(), head.sequence, head.snapshot.hex());
            heads.iter().rev().map(line).collect::<String>()
        };
        self.0.iter().map(lines).collect()
    }

    /// Reads such lines. What is no such line is passed over: the check is then lost for it, nothing else.
    pub fn from_text(text: &str) -> Self {
        let mut heads = Heads::default();
        for line in text.lines().take(LINES_MAX) {
            let mut words = line.split(' ');
            let mut read = || {
                let writer = WriterId::from_hex(words.next()?)?;
                let sequence = words.next()?.parse().ok()?;
                let snapshot = SnapshotId::from_hex(words.next()?)?;
                words.next().is_none().then_some((writer, Head { sequence, snapshot }))
            };
            if let Some((writer, head)) = read() {
                heads.0.entry(writer).or_default().insert(head);
            }
        }
        heads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads() -> Heads {
        let head = |n: u8| Head { sequence: n as u64, snapshot: SnapshotId([n; 16]) };
        let of = |n: u8, heads: &[u8]| (WriterId([n; 16]), heads.iter().map(|n| head(*n)).collect());
        Heads(BTreeMap::from([of(1, &[5, 6, 7]), of(2, &[9])]))
    }

    #[test]
    fn heads_are_written_and_read_and_other_lines_are_passed_over() {
        let text = heads().to_text();
        assert_eq!(Heads::from_text(&text), heads());
        assert!(text.lines().next().unwrap().contains(" 7 "), "a cut file has lost the oldest");
        assert_eq!(Heads::from_text(&format!("x\n{text}\u{0}\n1 2 3\n{}", "f".repeat(1000))), heads());
        for cut in 0..text.len() {
            Heads::from_text(&text[..cut]);
        }
        assert_eq!(Heads::from_text(""), Heads::default());
    }
}
