//! The newest snapshot of each writer that this machine has seen: shown less, it says so.
//!
//! Whoever operates a store can show an older state of it, and every object of that state is authentic. A
//! machine that has seen a newer one need not believe it. What is remembered lies outside the repository, may
//! be lost at any time, and then only this check is lost.
//!
//! A head is *gone* when its writer shows no record with its number or a greater one, the record is not even
//! there unreadably, and neither a tomb nor the announcement of a prune says that it went on purpose.

use crate::error::RepoResult;
use crate::open::Repo;
use crate::removals::Announced;
use crate::snapshots::SnapshotList;
use format::id::{SnapshotId, WriterId};
use format::snapshot::Snapshot;
use std::collections::BTreeMap;

/// A writer's newest snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its number among the writer's snapshots.
    pub sequence: u64,
    /// Its id.
    pub snapshot: SnapshotId,
}

/// What was seen of a repository, by writer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heads(BTreeMap<WriterId, Head>);

/// A head that was seen and is shown no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone {
    /// What was seen.
    pub seen: Head,
    /// The number of the writer's newest snapshot that is shown now, if there is one.
    pub shown: Option<u64>,
}

/// Longer files are not ours, and are not read to their end.
const LINES_MAX: usize = 100_000;

impl Heads {
    /// The heads that a repository shows.
    pub fn of(list: &SnapshotList) -> Self {
        let mut heads = Heads::default();
        list.snapshots.iter().for_each(|stored| heads.see(&stored.snapshot));
        heads
    }

    /// Takes in one snapshot.
    pub fn see(&mut self, snapshot: &Snapshot) {
        let head = Head { sequence: snapshot.sequence, snapshot: snapshot.id };
        let known = self.0.entry(snapshot.writer).or_insert(head);
        if (known.sequence, known.snapshot.0) < (head.sequence, head.snapshot.0) {
            *known = head;
        }
    }

    /// Heads seen before that this repository shows no more, without having been forgotten.
    pub fn gone_from(&self, repo: &Repo, list: &SnapshotList) -> RepoResult<Vec<Gone>> {
        let now = Heads::of(list);
        let is_told = |id: &SnapshotId| {
            list.buried.contains(id) || list.unreadable.iter().any(|(unreadable, _)| unreadable == id)
        };
        let gone = |(writer, seen): (&WriterId, &Head)| {
            let shown = now.0.get(writer).map(|head| head.sequence);
            let is_gone = shown.is_none_or(|shown| shown < seen.sequence) && !is_told(&seen.snapshot);
            is_gone.then_some(Gone { seen: *seen, shown })
        };
        let mut gone: Vec<Gone> = self.0.iter().filter_map(gone).collect();
        if !gone.is_empty() {
            let removed = Announced::read(repo)?.ids;
            gone.retain(|gone| !removed.contains(&gone.seen.snapshot));
        }
        Ok(gone)
    }

    /// A line for each writer: its id, the number and the id of its newest snapshot.
    pub fn to_text(&self) -> String {
        let line = |(writer, head): (&WriterId, &Head)| {
            format!("{} {} {}\n", writer.hex(), head.sequence, head.snapshot.hex())
        };
        self.0.iter().map(line).collect()
    }

    /// Reads such lines. What is no such line is passed over: the check is then lost for it, nothing else.
    pub fn from_text(text: &str) -> Self {
        let read = |line: &str| {
            let mut words = line.split(' ');
            let writer = WriterId::from_hex(words.next()?)?;
            let sequence = words.next()?.parse().ok()?;
            let snapshot = SnapshotId::from_hex(words.next()?)?;
            words.next().is_none().then_some((writer, Head { sequence, snapshot }))
        };
        Heads(text.lines().take(LINES_MAX).filter_map(read).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads() -> Heads {
        let head = |n: u8| Head { sequence: n as u64, snapshot: SnapshotId([n; 16]) };
        Heads(BTreeMap::from([(WriterId([1; 16]), head(7)), (WriterId([2; 16]), head(9))]))
    }

    #[test]
    fn heads_are_written_and_read_and_other_lines_are_passed_over() {
        let text = heads().to_text();
        assert_eq!(Heads::from_text(&text), heads());
        assert_eq!(Heads::from_text(&format!("x\n{text}\u{0}\n1 2 3\n{}", "f".repeat(1000))), heads());
        for cut in 0..text.len() {
            Heads::from_text(&text[..cut]);
        }
        assert_eq!(Heads::from_text(""), Heads::default());
    }
}
