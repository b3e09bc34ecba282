//! Marks: what could not be mended is written down, and taken back once it is whole or gone.

use super::{How, Run, is_refusal};
use crate::check::good::path_of;
use crate::check::walk::{At, Walked};
use crate::check::{Finding, Hurt};
use crate::damage::{self, SnapshotMark};
use crate::error::RepoResult;
use crate::names;
use crate::reader::chain;
use crate::snapshots::SnapshotList;
use format::damage::{MARK_PATHS_MAX, Subject};
use format::id::{PackId, SnapshotId};
use std::collections::{BTreeMap, BTreeSet};
use storage::ObjectName;

impl Run<'_, '_> {
    pub(super) fn put_marks(&mut self, list: &SnapshotList, walked: &Walked) -> RepoResult<()> {
        let before = damage::read_marks(self.repo())?;
        let hurt = self.hurt_snapshots(list, walked);
        for (id, (count, paths)) in &hurt {
            let is_known = before
                .snapshots
                .get(id)
                .is_some_and(|m: &SnapshotMark| m.hurt == *count && m.paths == *paths);
            if !is_known {
                let subject = Subject::Snapshot { id: *id, hurt: *count, paths: paths.clone() };
                self.mark(&names::damage_mark(id), subject)?;
            }
        }
        for id in before.snapshots.keys().filter(|id| !hurt.contains_key(id)) {
            self.unmark(&names::damage_mark(id))?;
        }
        self.mark_packs(&before)
    }

    /// Broken packs, and those that are gone although the index lists them.
    fn mark_packs(&mut self, before: &damage::Marks) -> RepoResult<()> {
        let mut known: BTreeSet<PackId> = self.listing.live().map(|(_, id, _)| id).collect();
        let missing = self.reader.with_index_read(|index| index.missing_packs(&self.listing));
        known.extend(missing.into_iter().map(|(id, _)| id));
        for (id, kind) in self.broken_kinds.clone() {
            if !before.packs.contains_key(&id) {
                self.mark(&names::pack_damage_mark(&id), Subject::Pack { id, kind })?;
            }
        }
        for id in before.packs.keys() {
            if self.whole.contains(id) || !known.contains(id) {
                self.unmark(&names::pack_damage_mark(id))?;
            }
        }
        Ok(())
    }

    /// Snapshots that are not whole: how many entries are hurt, and the first paths.
    fn hurt_snapshots(
        &mut self,
        list: &SnapshotList,
        walked: &Walked,
    ) -> BTreeMap<SnapshotId, (u64, Vec<Vec<u8>>)> {
        let mut paths: BTreeMap<SnapshotId, BTreeSet<Vec<u8>>> = BTreeMap::new();
        for (snapshot, at) in walked.lost.values().flat_map(|lost| &lost.needed) {
            let key = match at {
                At::Key(key) => path_of(key),
                At::Range(_, up_to) if up_to.is_empty() => b"/".to_vec(),
                At::Range(_, up_to) => path_of(up_to),
            };
            paths.entry(*snapshot).or_default().insert(key);
        }
        let mut hurt = BTreeMap::new();
        for (id, count) in &walked.hurt {
            let first = paths.remove(id).unwrap_or_default().into_iter().take(MARK_PATHS_MAX);
            hurt.insert(*id, (*count, first.collect()));
        }
        for (id, e) in &list.unreadable {
            let what = names::snapshot(id);
            if e.is_too_new() {
                self.report.too_new.push(what.to_string());
                continue;
            }
            let root = Hurt { snapshot: *id, path: b"/".to_vec(), is_whole_part: true, good: None };
            self.report.left.push(Finding { hurts: vec![root], ..Finding::of(what, chain(e)) });
            hurt.insert(*id, (1, vec![b"/".to_vec()]));
        }
        hurt
    }

    fn mark(&mut self, name: &ObjectName, subject: Subject) -> RepoResult<()> {
        if !self.options.dry_run {
            let now = self.options.now;
            let repo = self.repo().clone();
            match damage::put_mark(&repo, subject, now, &mut self.seed) {
                Err(e) if is_refusal(&e) => return Ok(()), // the report says it all the same
                other => other?,
            }
        }
        self.did(name, How::Marked);
        Ok(())
    }

    fn unmark(&mut self, name: &ObjectName) -> RepoResult<()> {
        if !self.options.dry_run {
            match damage::remove_mark(self.repo(), name) {
                Err(e) if is_refusal(&e) => return Ok(()),
                other => other?,
            }
        }
        self.did(name, How::Unmarked);
        Ok(())
    }
}
