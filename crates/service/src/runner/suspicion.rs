//! What looks like an attack in the snapshot that a run just made.

use super::Runner;
use super::request::Target;
use crate::catalog::Suspicion;
use crate::config::Source;
use crate::config::load::full_path;
use crate::config::sources::{Ransomware, SuspicionAction};
use crate::failure::Outcome;
use crate::signals;
use engine::BackupOutcome;
use format::id::SnapshotId;
use format::snapshot::{Completeness, Snapshot};
use format::tree::PathKey;
use repo::browse;
use repo::reader::Reader;
use repo::snapshots::SnapshotList;
use std::sync::Arc;

impl Runner {
    /// Looks for signs of an attack; tells, remembers and holds. Never makes a run fail: the snapshot is kept,
    /// and what came before it stays.
    pub(super) fn suspect(
        &self,
        source: &str,
        targets: &[&Target],
        list: &SnapshotList,
        before: Option<&Snapshot>,
        outcome: &BackupOutcome,
    ) {
        let (Some(before), Some(after), Some(first)) = (before, &outcome.snapshot, targets.first()) else {
            return;
        };
        let Source::Files(files) = &self.loaded.config.sources[source] else { return };
        let limits = files.ransomware.clone().unwrap_or_default();
        let looked = self.reasons(first, before, after, outcome, &limits);
        let reasons = match looked {
            Ok(reasons) if reasons.is_empty() => return,
            Ok(reasons) => reasons,
            Err(failure) => {
                let why = failure.in_one_line();
                return self.opener.person.warn(&format!("cannot look for signs of an attack: {why}"));
            }
        };
        let why = reasons.join("; ");
        self.opener.person.warn(&format!("{source} looks as if it were attacked: {why}"));
        self.record_suspicion(&Suspicion {
            source: source.to_string(),
            snapshot: after.id.hex(),
            at: self.now().secs,
            text: why.clone(),
            acknowledged: None,
        });
        for target in targets.iter().filter(|_| limits.action == SuspicionAction::Hold) {
            if let Err(failure) = self.hold_before(source, target, list, &after.id, &why) {
                let (name, why) = (&target.name, failure.in_one_line());
                let text = format!("cannot hold the last good snapshots of {source} in {name}: {why}");
                self.opener.person.warn(&text);
            }
        }
    }

    fn reasons(
        &self,
        target: &Target,
        before: &Snapshot,
        after: &Snapshot,
        outcome: &BackupOutcome,
        limits: &Ransomware,
    ) -> Outcome<Vec<String>> {
        let mut observed = signals::observe(before, &outcome.stats, outcome.signs);
        if signals::wants_names(&observed) || !limits.canaries.is_empty() {
            // What was just stored is in no index that was loaded before.
            let reader = target.opened.reader()?;
            if signals::wants_names(&observed) {
                signals::observe_names(&reader, before, after, &mut observed)?;
            }
            observed.canaries = self.touched(&reader, before, after, limits)?;
        }
        Ok(signals::judge(&observed, limits))
    }

    /// The canaries that were there before and are not the same now.
    fn touched(
        &self,
        reader: &Arc<Reader>,
        before: &Snapshot,
        after: &Snapshot,
        limits: &Ransomware,
    ) -> Outcome<Vec<String>> {
        let mut touched = Vec::new();
        for canary in &limits.canaries {
            let path = full_path(&self.loaded.home, &canary.to_string_lossy());
            let bytes = path.as_os_str().as_encoded_bytes();
            let mut parts: Vec<&[u8]> = vec![b"/"];
            parts.extend(bytes.split(|b| *b == b'/').filter(|part| !part.is_empty()));
            let key = PathKey::of(&parts);
            let Some(old) = browse::lookup(reader, before.root, &key)? else { continue };
            let new = browse::lookup(reader, after.root, &key)?;
            if new.is_none_or(|new| new.content != old.content) {
                touched.push(path.display().to_string());
            }
        }
        Ok(touched)
    }

    fn hold_before(
        &self,
        source: &str,
        target: &Target,
        list: &SnapshotList,
        suspicious: &SnapshotId,
        why: &str,
    ) -> Outcome<()> {
        let suspected = self.suspected(source);
        let good: Vec<SnapshotId> = list
            .visible()
            .filter(|s| self.is_of(s, source) && s.completeness == Completeness::Complete)
            .filter(|s| !suspected.contains(&s.id.hex()))
            .map(|s| s.id)
            .collect();
        let mut seed = (self.seeds)()?;
        let now = self.now();
        let name = signals::hold_good(&target.opened.repo, source, suspicious, &good, why, now, &mut seed)?;
        self.opener.person.info(&format!("the last good snapshots of {source} are held as {name:?}"));
        Ok(())
    }

    /// Snapshots of a source that nobody has said to be in order yet, in hex.
    pub(super) fn suspected(&self, source: &str) -> Vec<String> {
        let found = self.catalog.as_ref().and_then(|catalog| catalog.suspicions(Some(source), 1000).ok());
        let open = found.into_iter().flatten().filter(|s| s.acknowledged.is_none());
        open.map(|s| s.snapshot).collect()
    }
}
