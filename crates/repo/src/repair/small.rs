//! Small objects: back to the bytes they were written with, by their parity; else from their second copy.
//!
//! An object is replaced only while it still has the damaged bytes that were read: whoever removed it
//! meanwhile (a tomb that was undone, a session that ended) meant it. A snapshot with a tomb is left alone,
//! because a prune may be removing it.

use super::{How, Run};
use crate::check::objects::{decode, missing_log_records};
use crate::erasures;
use crate::error::{RepoError, RepoResult};
use crate::names;
use crate::reader::chain;
use crate::removals::{Announced, is_announced};
use crate::snapshots::tombs;
use format::FormatError;
use format::config::Config;
use format::envelope;
use format::limits::{INDEX_BYTES_MAX, RECORD_BYTES_MAX};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use storage::{ErrorKind, ObjectName, PutMode};

/// One copy of a small object.
enum Copy {
    /// Right as it is.
    Whole(Vec<u8>),
    /// What was read, and what it was before.
    Mendable { found: Vec<u8>, good: Vec<u8> },
    /// Not there.
    Gone,
    /// Of a newer version.
    TooNew,
    /// Not a right object of its name, or beyond its parity: what was read, if anything, and why. `is_torn`
    /// says that its own hash is wrong: else somebody wrote it so, and it is not ours to judge.
    Bad { found: Option<Vec<u8>>, why: String, is_torn: bool },
}

impl Copy {
    fn good(&self) -> Option<&Vec<u8>> {
        match self {
            Copy::Whole(bytes) | Copy::Mendable { good: bytes, .. } => Some(bytes),
            _ => None,
        }
    }
}

impl Run<'_, '_> {
    pub(super) fn repair_small(&mut self) -> RepoResult<()> {
        self.repair_twins()?;
        for folder in [names::INDEX, names::PENDING, names::GC, names::TRUST, names::LOG, names::ATTEST] {
            for name in self.list_names(folder)?.into_iter().filter(|name| !names::stands_twice(name)) {
                match self.inspect(&name)? {
                    // A tomb is never written again: its snapshot may have been brought back since it was read.
                    Copy::Mendable { .. } if names::parse_tomb(&name).is_some() => {
                        self.leave(&name, "is read by its parity, and goes with its snapshot");
                    }
                    Copy::Mendable { found, good } => {
                        self.replace(&name, Some(&found), &good, How::Parity)?
                    }
                    Copy::TooNew => self.report.too_new.push(name.to_string()),
                    Copy::Bad { found: Some(found), is_torn: true, .. }
                        if names::parse_tomb(&name).is_none()
                            && let Some(good) = self.good_spare(&name)? =>
                    {
                        self.replace(&name, Some(&found), &good, How::OtherCopy)?
                    }
                    Copy::Bad { why, is_torn: true, .. } if folder == names::INDEX => {
                        self.bad_segments.push((name, why));
                    }
                    Copy::Bad { why, is_torn, .. } => match is_torn && self.says_nothing(&name)? {
                        true => self.set_aside(&name)?,
                        false => self.leave(&name, why),
                    },
                    Copy::Whole(_) | Copy::Gone => {}
                }
            }
        }
        self.report.left.extend(missing_log_records(self.repo())?);
        Ok(())
    }

    /// Whether an object that cannot be read is of no effect already, and can be moved out of the way: readers
    /// leave such lists, tombs and marks out of account, and a session that is over needs no pending record.
    /// The record of a session that may still commit stops deletion, and must.
    fn says_nothing(&self, name: &ObjectName) -> RepoResult<bool> {
        if let Some((session, _)) = names::parse_pending(name) {
            let record = names::snapshot(&session);
            return Ok(matches!(self.inspect(&record)?, Copy::Whole(_) | Copy::Mendable { .. }));
        }
        let is_ours = names::is_condemned(name)
            || names::parse_removed(name).is_some()
            || name.as_str().starts_with(names::ATTEST)
            || names::parse_tomb(name).is_some()
            || names::is_damage_mark(name)
            || names::parse_trust(name).is_some();
        Ok(is_ours)
    }

    pub(super) fn list_names(&self, folder: &str) -> RepoResult<Vec<ObjectName>> {
        let mut names = Vec::new();
        self.repo().list(folder, |info| {
            names.push(info.name);
            ControlFlow::Continue(())
        })?;
        Ok(names)
    }

    fn inspect(&self, name: &ObjectName) -> RepoResult<Copy> {
        let repo = self.repo();
        let max = if name.as_str().starts_with(names::INDEX) { INDEX_BYTES_MAX } else { RECORD_BYTES_MAX };
        let is_good = |bytes: &[u8]| decode(repo, name, bytes).is_ok();
        let found = match repo.get_alike(name, max as u64, is_good) {
            Ok(bytes) => bytes,
            Err(e) if e.store_kind() == Some(ErrorKind::NotFound) => return Ok(Copy::Gone),
            Err(e) if e.is_damage() => return Ok(Copy::Bad { found: None, why: chain(&e), is_torn: false }),
            Err(e) => return Err(e),
        };
        let mut good = found.clone();
        let mended = envelope::repair(&mut good);
        let is_torn = mended.is_err();
        let outcome = mended.and_then(|changed| decode(repo, name, &good).map(|()| changed));
        Ok(match outcome {
            Ok(false) => Copy::Whole(found),
            Ok(true) => Copy::Mendable { found, good },
            Err(FormatError::TooNew { .. }) => Copy::TooNew,
            Err(e) => Copy::Bad { found: Some(found), why: chain(&RepoError::object(name, e)), is_torn },
        })
    }

    /// What a repair that died in the middle of overwriting this object kept for it, if that is whole.
    fn good_spare(&self, name: &ObjectName) -> RepoResult<Option<Vec<u8>>> {
        let kept = self.spare(name, INDEX_BYTES_MAX as u64)?;
        Ok(kept.filter(|bytes| envelope::verify(bytes).is_ok() && decode(self.repo(), name, bytes).is_ok()))
    }

    /// Configuration, slots, snapshot records, holds and erasures: each must be there twice.
    fn repair_twins(&mut self) -> RepoResult<()> {
        let mut twins = BTreeSet::from([names::name(names::CONFIG)]);
        for folder in names::TWICE {
            for folder in [folder.to_string(), format!("{}{folder}", names::MIRROR)] {
                let listed = self.list_names(&folder)?;
                twins.extend(listed.iter().map(|name| names::name(names::first_copy(name))));
            }
        }
        // Removed snapshots are never written again, not even from a second copy that came late. A removal that was
        // announced and not confirmed may have been called off: such a snapshot is in sight, and its copies are
        // mended where they stand. Should its remover go on after all, what is written is no snapshot.
        let mut leaving = tombs(self.repo())?;
        leaving.extend(Announced::read(self.repo())?.confirmed);
        for name in twins {
            let is_leaving = names::parse_snapshot(&name).is_some_and(|id| leaving.contains(&id));
            let is_foreign =
                names::parse_slot(&name).is_some_and(|id| !self.repo().parameters().slots.contains(&id));
            if !is_leaving {
                self.repair_twin(&name, is_foreign)?;
            }
        }
        Ok(())
    }

    fn repair_twin(&mut self, name: &ObjectName, is_foreign: bool) -> RepoResult<()> {
        let mirror = names::mirror(name);
        let copies = [self.inspect(name)?, self.inspect(&mirror)?];
        if let Some(i) = copies.iter().position(|c| matches!(c, Copy::TooNew)) {
            self.report.too_new.push([name, &mirror][i].to_string());
            return Ok(());
        }
        let Some(best) = self.best(name, &copies) else {
            for (name, copy) in [name, &mirror].into_iter().zip(&copies) {
                if let Copy::Bad { why, .. } = copy {
                    // A snapshot whose record is lost is named with what it hurts when marks are put; nothing
                    // relies on a slot that is not listed.
                    if names::parse_snapshot(name).is_none() && !is_foreign {
                        self.leave(name, why);
                    }
                }
            }
            return Ok(());
        };
        for (name, copy) in [name, &mirror].into_iter().zip(&copies) {
            match copy {
                Copy::Mendable { found, good } if *good == best => {
                    self.replace(name, Some(found), good, How::Parity)?;
                }
                Copy::Whole(bytes) if *bytes == best => {}
                // A slot that the configuration does not list may be half removed, or somebody else's.
                Copy::Gone if is_foreign => {}
                // It goes because a prune takes its snapshot away, since the announcements were read.
                Copy::Gone if self.is_announced_by_now(name)? => {}
                Copy::Gone => self.replace(name, None, &best, How::OtherCopy)?,
                Copy::Bad { found, .. } => {
                    self.replace(name, found.as_deref(), &best, How::OtherCopy)?;
                }
                Copy::Whole(found) | Copy::Mendable { found, .. }
                    if names::first_copy(name) == names::CONFIG || names::parse_erasure(name).is_some() =>
                {
                    self.replace(name, Some(found), &best, How::OtherCopy)?;
                }
                _ => self.leave(name, "differs from its other copy, and both are right in themselves"),
            }
        }
        Ok(())
    }

    fn is_announced_by_now(&self, name: &ObjectName) -> RepoResult<bool> {
        names::parse_snapshot(name).map_or(Ok(false), |id| is_announced(self.repo(), &id))
    }

    /// The bytes both copies should have: of configurations those of the greater generation, of erasures those
    /// that grew.
    fn best(&self, name: &ObjectName, copies: &[Copy; 2]) -> Option<Vec<u8>> {
        let good: Vec<&Vec<u8>> = copies.iter().filter_map(Copy::good).collect();
        if let Some(erasure) = names::parse_erasure(name) {
            let replaced = |bytes: &&Vec<u8>| erasures::replaced_in(self.repo(), &erasure, bytes);
            return good.into_iter().rev().max_by_key(replaced).cloned();
        }
        if name.as_str() != names::CONFIG {
            return good.first().map(|bytes| bytes.to_vec());
        }
        let generation = |bytes: &&Vec<u8>| {
            Config::decode(bytes, self.repo().keys()).map_or(0, |config| config.parameters.generation)
        };
        good.into_iter().rev().max_by_key(generation).cloned()
    }

    /// Puts the right bytes where `found` stands; nothing where something else stands by now.
    fn replace(&mut self, name: &ObjectName, found: Option<&[u8]>, good: &[u8], how: How) -> RepoResult<()> {
        if self.options.dry_run {
            self.did(name, how);
            return Ok(());
        }
        let repo = self.repo().clone();
        let max = (good.len().max(found.map_or(0, <[u8]>::len)) + 1) as u64;
        let now = match repo.store().get(name, max) {
            Ok(bytes) => Some(bytes),
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            // Unreadable before and unreadable now.
            Err(_) if found.is_none() => None,
            Err(e) => return Err(repo.store_error(e)),
        };
        if now.as_deref() != found {
            return Ok(());
        }
        // Of what stands twice the other copy is whole while this one is written.
        let written = match found.is_none() || names::stands_twice(name) && how == How::OtherCopy {
            true => repo.put(name, good, PutMode::Replace).and_then(|()| repo.sync()),
            false => self.overwrite(name, good),
        };
        self.settle(name, how, written).map(|_| ())
    }
}
