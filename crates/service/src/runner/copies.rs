//! More than one repository: opening them, and completing those that were away.
//!
//! All get the same snapshots, byte for byte, from one look at the source; and what they missed while they were
//! away comes from one that has it. What they forgot stays forgotten there.

use super::request::Target;
use super::{Runner, Step};
use crate::catalog::RunId;
use crate::failure::{Exit, Failure, Outcome};
use repo::RepoError;
use repo::sync::{CANCELLED, SyncOptions, sync};
use repo::workers::Workers;
use repo::writer::WriterOptions;
use std::collections::BTreeSet;
use std::time::Duration;

/// Packs fetched at the same time from a distant place.
const REMOTE_FETCHES: usize = 2;
/// So little is sent again by a run that was cut off.
const SEGMENT_PACKS: usize = 16;
/// A place may be silent for so long beyond the time for which it is tried again.
const SILENCE_MAX: Duration = Duration::from_secs(15);

impl Runner {
    /// Opens a repository of the configuration. A disk that comes and goes and is not there is no failure.
    pub(super) fn open_target(&self, name: &str) -> Outcome<Target> {
        let place = self.place(name)?;
        // The others of the job do not wait for one that takes connections and says nothing.
        let limit = place.retry_for.unwrap_or(self.opener.retry_for) + SILENCE_MAX;
        match self.opener.open_within(&place, limit) {
            Ok(opened) => Ok(Target { name: name.to_string(), place, opened }),
            Err(failure) if failure.exit == Exit::NoRepository && self.comes_and_goes(name, &place) => {
                Err(Failure::new(Exit::Skipped, format!("the disk of {name} is not there")))
            }
            Err(failure) => Err(failure),
        }
    }

    /// Whether a repository is on a disk that may be away, and its folder is not there at all.
    fn comes_and_goes(&self, name: &str, place: &crate::open::Place) -> bool {
        let is_away = match &place.location {
            storage::Location::Local(folder) => !folder.exists(),
            _ => true,
        };
        is_away && self.loaded.config.repositories[name].removable.is_some()
    }

    /// Brings the snapshots of a source that `target` lacks because it was away.
    pub(super) fn catch_up(&self, run: &RunId, source: &str, lead: &Target, target: &Target) -> Outcome<()> {
        let (from, to) = (lead.name.as_str(), target.name.as_str());
        let list = self.opener.snapshots(&lead.place, &lead.opened.repo)?;
        let known = self.opener.snapshots(&target.place, &target.opened.repo)?;
        let known: BTreeSet<_> = known.snapshots.iter().map(|stored| stored.snapshot.id).collect();
        let of_source = list.visible().filter(|s| self.is_of(s, source)).map(|s| s.id);
        let wanted: BTreeSet<_> = of_source.filter(|id| !known.contains(id)).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        self.observer.step(run, &Step::Copy { source, from, to });
        let fetches = if lead.opened.repo.store().capabilities().local { 1 } else { REMOTE_FETCHES };
        let observer = self.observer.clone();
        let mut progress = |done, total| observer.progress(done, total);
        let mut options = SyncOptions {
            snapshots: Some(wanted),
            again: false,
            dry_run: false,
            read_back: false,
            now: self.now(),
            fetch_workers: Workers(fetches),
            writer: WriterOptions {
                seal_workers: self.processors,
                segment_packs: SEGMENT_PACKS,
                ..WriterOptions::default()
            },
            progress: &mut progress,
            cancelled: &|| self.is_cancelled(),
        };
        let report = sync(&lead.opened.reader()?, &target.opened.reader()?, &mut options, (self.seeds)()?);
        let report = match report {
            Err(RepoError::Local(why)) if why == CANCELLED => return Err(self.cancelled()),
            other => other?,
        };
        if let Some((id, why)) = report.damaged.first() {
            let id = &id.hex()[..8];
            return Err(Failure::new(
                Exit::Damage,
                format!("snapshot {id} could not be brought from {from}"),
            )
            .because(why.clone())
            .hint("lifeboat check"));
        }
        Ok(())
    }
}
