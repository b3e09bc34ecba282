//! Snapshots whose undo window is over, and sessions that ended without saying so.

use crate::clock;
use crate::error::RepoResult;
use crate::names;
use crate::open::Repo;
use crate::protection::Protections;
use crate::prune::condemn::is_refusal;
use crate::prune::roots::{PendingSession, Roots, list};
use crate::prune::run::Run;
use crate::removals::Announced;
use crate::snapshots::{Record, read_second_copy, read_tomb, received_record};
use crate::unfinished::put_second_copy;
use format::codec::{Compressor, Level};
use format::gc::{Abort, GcRecord, Tomb};
use format::id::SnapshotId;
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};
use storage::{CreateNew, ErrorKind, ObjectName, PutMode, planted};

impl Run<'_> {
    /// Step P0: removes the snapshots that were forgotten longer ago than the undo window. Each removal is
    /// announced, then tombs and holds are read once more, because somebody may be bringing one back, then it
    /// is confirmed. The records go before their tombs, so that a run cut short leaves them forgotten.
    pub(super) fn remove_forgotten(&mut self) -> RepoResult<()> {
        let repo = self.repo().clone();
        let mut announced = Announced::read(&repo)?;
        let (final_ids, waiting, protected) = self.forgotten_for_good()?;
        self.report.forgotten_waiting = waiting;
        self.report.protected = protected;
        if self.options.dry_run {
            self.would_remove = final_ids;
            if self.options.undo_window.is_zero() {
                self.would_remove.extend(&self.options.assume_forgotten);
            }
            self.report.removed_snapshots = self.would_remove.iter().filter(|id| self.is_there(id)).count();
            return Ok(());
        }
        let fresh: BTreeSet<SnapshotId> = final_ids.difference(&announced.ids).copied().collect();
        if !fresh.is_empty() {
            announced.announce(&repo, &fresh, &mut self.seed)?;
        }
        if !final_ids.is_empty() {
            let (still_final, ..) = self.forgotten_for_good()?;
            let ids: BTreeSet<SnapshotId> = final_ids.intersection(&still_final).copied().collect();
            let fresh: BTreeSet<SnapshotId> = ids.difference(&announced.confirmed).copied().collect();
            if !fresh.is_empty() {
                announced.confirm(&repo, &fresh, &mut self.seed)?;
            }
            for id in &ids {
                self.remove_snapshot(id)?;
            }
        }
        self.remove_leftovers()
    }

    /// Snapshots whose undo window is over and that nothing protects; how many still wait, and how many are
    /// protected.
    fn forgotten_for_good(&self) -> RepoResult<(BTreeSet<SnapshotId>, usize, usize)> {
        let repo = self.repo();
        let here = self.options.time;
        let now = self.now.map_or(here, |there| clock::timestamp(there).min(here));
        let protections = Protections::read_at(repo, now)?;
        let (mut ids, mut waiting, mut protected) = (BTreeSet::new(), 0, 0);
        for info in list(repo, names::GC)? {
            let Some(id) = names::parse_tomb(&info.name) else { continue };
            let tomb = match read_tomb(repo, &id) {
                Ok(tomb) => tomb,
                // It buries nothing, or was taken away.
                Err(e) if e.is_damage() || e.is_too_new() => continue,
                Err(e) => return Err(e),
            };
            if !self.is_final(&tomb, info.received) {
                waiting += 1;
            } else if self.is_protected(&protections, &id)? {
                protected += 1;
            } else {
                ids.insert(id);
            }
        }
        Ok((ids, waiting, protected))
    }

    fn is_there(&self, id: &SnapshotId) -> bool {
        let name = names::snapshot(id);
        self.roots.snapshots.contains_key(id)
            || self.roots.doubts.iter().any(|doubt| doubt.starts_with(name.as_str()))
    }

    /// What slow writers and repairs put under the names of removed snapshots.
    fn remove_leftovers(&mut self) -> RepoResult<()> {
        for id in &std::mem::take(&mut self.roots.leftovers) {
            let name = names::snapshot(id);
            for name in [names::mirror(&name), name] {
                self.delete(&name)?;
            }
        }
        Ok(())
    }

    /// Whether a hold or the minimum age keeps a forgotten snapshot from being removed.
    fn is_protected(&self, protections: &Protections, id: &SnapshotId) -> RepoResult<bool> {
        if protections.protect_nothing() {
            return Ok(false);
        }
        let received = received_record(self.repo(), id)?;
        let protecting = match self.roots.snapshots.get(id) {
            Some(snapshot) => protections.of(snapshot, received),
            None => protections.of_unreadable(id, received),
        };
        Ok(!protecting.is_empty())
    }

    /// Whether a tomb is older than the undo window, by the store's clock; where that does not say, by the
    /// clocks of the machines that forgot and that prune: the window is a courtesy, no safety hangs on it.
    fn is_final(&self, tomb: &Tomb, received: Option<SystemTime>) -> bool {
        if self.options.undo_window.is_zero() {
            return true;
        }
        let by_clocks = || {
            let secs = self.options.time.secs.saturating_sub(tomb.time.secs);
            Duration::from_secs(secs.try_into().unwrap_or(0))
        };
        self.age(received).unwrap_or_else(by_clocks) >= self.options.undo_window
    }

    fn remove_snapshot(&mut self, id: &SnapshotId) -> RepoResult<()> {
        let name = names::snapshot(id);
        let is_there = self.is_there(id);
        // A pending record that an append-only client could not remove would make it a root again.
        let pending: Vec<ObjectName> = self.roots.of_session(id).map(|s| s.names.clone()).unwrap_or_default();
        // The first copy goes first: a writer that puts the second just now looks for it afterwards.
        let records = [name.clone(), names::mirror(&name)];
        for name in pending.into_iter().chain(records) {
            self.delete(&name)?;
        }
        self.repo().sync()?;
        for name in [names::tomb(id), names::damage_mark(id), names::trust(id)] {
            self.delete(&name)?;
        }
        self.report.removed_snapshots += usize::from(is_there);
        Ok(())
    }

    /// Removes an object; that it is gone already is no trouble.
    pub(super) fn delete(&mut self, name: &ObjectName) -> RepoResult<()> {
        match self.repo().store().delete(name) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(self.repo().store_error(e)),
            _ => Ok(()),
        }
    }

    /// Ends sessions that showed no sign of life for long, and clears away what ended ones left.
    ///
    /// A session is ended by an object at the name where it would commit, put only if nothing is there:
    /// either it has committed, or it finds that it cannot any more and begins anew. So a machine that was
    /// only asleep loses nothing but time. Where a place cannot promise "only if nothing is there", no
    /// session is ever ended.
    pub(super) fn end_dead_sessions(&mut self) -> RepoResult<()> {
        let sessions = std::mem::take(&mut self.roots.sessions);
        for session in &sessions {
            match self.end_if_dead(session) {
                Err(e) if is_refusal(&e) => {}
                other => other?,
            }
        }
        self.roots.sessions = sessions;
        Ok(())
    }

    fn end_if_dead(&mut self, session: &PendingSession) -> RepoResult<()> {
        let is_over = self.roots.snapshots.contains_key(&session.session)
            || self.roots.ended.contains(&session.session);
        if !is_over {
            let is_dead = self.options.dead_after.is_zero()
                || self.age(session.received).is_some_and(|age| age >= self.options.dead_after);
            if !is_dead || !self.can_create_new() || self.options.dry_run {
                return Ok(());
            }
            if !planted::is("ended-without-a-word") && !self.put_abort(&session.session)? {
                return Ok(());
            }
            self.report.ended_sessions += 1;
        }
        // A run that was cut off right after it committed left its record without a second copy.
        if !self.options.dry_run && put_second_copy(self.repo(), &session.session)? {
            for name in &session.names {
                self.delete(name)?;
            }
        }
        Ok(())
    }

    fn can_create_new(&self) -> bool {
        let repo = self.repo();
        // What the probe of the place saw counts more than what such places claim.
        let mut seen = repo.parameters().probed.iter().filter(|word| word.starts_with("create_new="));
        repo.store().capabilities().create_new == CreateNew::Atomic
            && seen.all(|word| word == "create_new=atomic")
    }

    /// `false` if something stands there: the session committed meanwhile, and the next run will see it. One of two
    /// copies is enough to say so: where the first was lost, the word that the session is over is taken back, and the
    /// place is as the loss left it.
    fn put_abort(&mut self, session: &SnapshotId) -> RepoResult<bool> {
        let repo = self.repo().clone();
        let bytes = match second_copy(&repo, session)? {
            Second::Commits => return Ok(false),
            Second::Ends(bytes) => bytes,
            Second::SaysNothing => {
                let (record, mut compressor) = (Abort { session: *session }, Compressor::new(Level(3)));
                record.encode(&repo.identity().repo, repo.keys(), self.seed.draw(), &mut compressor)
            }
        };
        let name = names::snapshot(session);
        match self.put_record(&name, &bytes) {
            Err(e) if e.store_kind() == Some(ErrorKind::AlreadyExists) => return Ok(false),
            other => other?,
        }
        let mirror = names::mirror(&name);
        match repo.put(&mirror, &bytes, PutMode::CreateNew) {
            Err(e) if e.store_kind() == Some(ErrorKind::AlreadyExists) => {
                match second_copy(&repo, session)? {
                    Second::Commits => {
                        self.delete(&name)?;
                        return Ok(false);
                    }
                    Second::Ends(_) => {}
                    Second::SaysNothing => repo.put(&mirror, &bytes, PutMode::Replace)?,
                }
            }
            other => other?,
        }
        repo.sync()?;
        Ok(true)
    }
}

/// What the second copy alone says of a session.
enum Second {
    /// It committed, or a later version says something that is not ours to judge.
    Commits,
    /// It is over: the bytes that say so.
    Ends(Vec<u8>),
    SaysNothing,
}

fn second_copy(repo: &Repo, session: &SnapshotId) -> RepoResult<Second> {
    match read_second_copy(repo, session) {
        Err(e) if e.is_too_new() => Ok(Second::Commits),
        Err(e) => Err(e),
        Ok(Some((Record::Snapshot(..), _))) => Ok(Second::Commits),
        Ok(Some((Record::Ended, bytes))) => Ok(Second::Ends(bytes)),
        Ok(None) => Ok(Second::SaysNothing),
    }
}

impl Roots {
    fn of_session(&self, id: &SnapshotId) -> Option<&PendingSession> {
        self.sessions.iter().find(|s| s.session == *id)
    }
}
