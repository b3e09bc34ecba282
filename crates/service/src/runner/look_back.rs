//! What a run leaves behind for those who ask later: how much a place holds, and the names of what was backed up.
//!
//! Neither is needed to restore, and neither may fail or hold up a run: what cannot be kept is kept by the next.

use super::Runner;
use super::request::Target;
use crate::catalog::{CatalogResult, ErasedLeft, NAMES_FILE, Names};
use crate::failure::Outcome;
use crate::watching::free_bytes;
use ::repo::rewrite;
use format::snapshot::Snapshot;
use std::time::{Duration, Instant};
use storage::Location;

/// No further snapshot's names are learned after this time: `find` learns the rest, or the next run.
const NAMES_WITHIN: Duration = Duration::from_secs(60);

impl Runner {
    /// Looks back at the repositories of one family after a job.
    pub(super) fn look_back(&self, targets: &[Target]) {
        if self.is_cancelled() {
            return;
        }
        targets.iter().for_each(|target| self.count_stored(target));
        if let Some(lead) = targets.first().filter(|_| self.opener.keeps_cache)
            && let Err(e) = self.learn_names(lead)
        {
            self.opener.person.detail(&format!("the names are learned later: {}", e.in_one_line()));
        }
    }

    /// Notes how much a repository holds, how much it could, and what is left in it of what was erased.
    pub(super) fn count_stored(&self, target: &Target) {
        let Some(catalog) = &self.catalog else { return };
        // What keeps the index from being loaded is told by whoever needs it.
        let Ok(reader) = target.opened.reader() else { return };
        let stored = reader.with_index_read(|index| index.stored_bytes());
        let left = self.opener.snapshots(&target.place, &target.opened.repo);
        let left = left.and_then(|list| Ok(rewrite::not_rewritten(&reader, list.visible())?));
        let noted: CatalogResult<()> = catalog.place(&target.name).and_then(|place| {
            // It is no look: what else there is to see there is seen by the next one.
            let (at, mut facts) = place.unwrap_or_default();
            facts.stored_bytes = Some(stored);
            if let Ok(left) = left {
                facts.erased = (left > 0).then_some(ErasedLeft::Snapshots(left as u64));
            }
            if let Location::Local(path) = &target.place.location {
                facts.free_bytes = free_bytes(path);
            }
            let identity = target.opened.repo.identity();
            (facts.repository_id, facts.family) = (identity.repo.hex(), identity.family.hex());
            facts.location = target.place.shown();
            catalog.record_place(&target.name, at, &facts)
        });
        if let Err(e) = noted {
            self.opener.person.warn(&format!("the catalog did not take what is stored: {e}"));
        }
    }

    fn learn_names(&self, lead: &Target) -> Outcome<()> {
        let list = self.opener.snapshots(&lead.place, &lead.opened.repo)?;
        let visible: Vec<&Snapshot> = list.visible().collect();
        let mut names = Names::open(&self.opener.folders.cache.join(NAMES_FILE))?;
        let family = lead.opened.repo.identity().family;
        let known = names.known(&family)?;
        if visible.iter().all(|snapshot| known.contains(&snapshot.id)) {
            return Ok(());
        }
        let until = Instant::now() + NAMES_WITHIN;
        let stop = || self.is_cancelled() || Instant::now() >= until;
        let reader = lead.opened.reader()?;
        names.update(&reader, &family, &visible, &stop)?;
        Ok(())
    }
}
