//! The small objects: each is read from the store, not from a cache, and must be whole to the last byte,
//! parity included. Those that are stored twice must be there twice.
//!
//! Objects that do not open with these keys are named, too: nothing relies on them, but somebody put them
//! there or something damaged them.

use super::{CheckReport, Finding};
use crate::damage;
use crate::error::{RepoError, RepoResult};
use crate::index::decode_segment;
use crate::log;
use crate::names;
use crate::open::Repo;
use crate::reader::chain;
use crate::removals::is_announced;
use crate::unfinished::explains_missing_copy;
use format::config::Config;
use format::envelope;
use format::erase::Erasure;
use format::gc::{Abort, Condemned, GcRecord, Removed, Tomb};
use format::keep::{Hold, Trust};
use format::limits::{INDEX_BYTES_MAX, RECORD_BYTES_MAX};
use format::slot::KeySlot;
use format::snapshot::{Pending, Snapshot};
use format::{FormatError, FormatResult};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use storage::{ErrorKind, ObjectName};

/// Reads every small object.
pub(super) fn check_objects(repo: &Repo, report: &mut CheckReport) -> RepoResult<()> {
    check_twins(repo, report)?;
    for folder in [names::INDEX, names::PENDING, names::GC, names::TRUST, names::LOG, names::ATTEST] {
        for name in list(repo, folder)?.iter().filter(|name| !names::stands_twice(name)) {
            match inspect(repo, name)? {
                State::Whole(_) | State::Missing => {} // gone since it was listed: replaced by its owner
                State::Bad(why) => report.findings.push(Finding::of(name, why)),
            }
        }
    }
    report.findings.extend(missing_log_records(repo)?);
    Ok(())
}

/// Log records that later ones name and that are not there.
pub(crate) fn missing_log_records(repo: &Repo) -> RepoResult<Vec<Finding>> {
    let gone = log::taken_away(repo)?;
    let what =
        |hash: [u8; 32]| format!("{}...-{}", names::LOG, &blake3::Hash::from_bytes(hash).to_hex()[..32]);
    Ok(gone
        .into_iter()
        .map(|hash| Finding::of(what(hash), "is missing; a later log record names it"))
        .collect())
}

fn check_twins(repo: &Repo, report: &mut CheckReport) -> RepoResult<()> {
    let mut twins = BTreeSet::from([names::name(names::CONFIG)]);
    for folder in names::TWICE {
        for folder in [folder.to_string(), format!("{}{folder}", names::MIRROR)] {
            twins.extend(list(repo, &folder)?.iter().map(|name| names::name(names::first_copy(name))));
        }
    }
    for name in twins {
        let mirror = names::mirror(&name);
        let states = [inspect(repo, &name)?, inspect(repo, &mirror)?];
        let found = match is_listed(repo, &name) {
            true => &mut report.findings,
            false => &mut report.leftovers,
        };
        if let [State::Whole(first), State::Whole(second)] = &states
            && first != second
            && names::parse_erasure(&name).is_none()
        {
            found.push(Finding::of(&mirror, "differs from its first copy"));
        }
        // A record whose both copies cannot be read is named with what it hurts when snapshots are walked.
        for (name, state, other) in [(&name, &states[0], &states[1]), (&mirror, &states[1], &states[0])] {
            match state {
                State::Whole(_) => {}
                State::Missing if is_unfinished(repo, name)? => {}
                // The one copy there is is named below.
                State::Missing if matches!(other, State::Bad(_)) => {}
                State::Missing => found.push(Finding::of(name, "is missing; its other copy is there")),
                State::Bad(why) => found.push(Finding::of(name, why)),
            }
        }
    }
    Ok(())
}

/// Whether the configuration knows this object: slots that are not listed were left by somebody who died while
/// making a repository or adding a key.
fn is_listed(repo: &Repo, name: &ObjectName) -> bool {
    names::parse_slot(name).is_none_or(|id| repo.parameters().slots.contains(&id))
}

/// Whether the copy is missing because somebody is or was about to store or remove it.
fn is_unfinished(repo: &Repo, name: &ObjectName) -> RepoResult<bool> {
    let snapshot = names::parse_snapshot(name).filter(|_| !name.as_str().starts_with(names::MIRROR));
    if let Some(id) = snapshot
        && is_announced(repo, &id)?
    {
        return Ok(true); // removed; a slow writer put the second copy after all
    }
    if explains_missing_copy(&**repo.store(), name)? {
        return Ok(true);
    }
    // Who was about to may have ended since it was looked for: then both copies are there, or none is.
    let first = names::name(names::first_copy(name));
    let is_missing = |name: &ObjectName| RepoResult::Ok(matches!(inspect(repo, name)?, State::Missing));
    Ok(is_missing(&first)? == is_missing(&names::mirror(&first))?)
}

fn list(repo: &Repo, folder: &str) -> RepoResult<Vec<ObjectName>> {
    let mut names = Vec::new();
    repo.list(folder, |info| {
        names.push(info.name);
        ControlFlow::Continue(())
    })?;
    Ok(names)
}

enum State {
    Whole(Vec<u8>),
    Missing,
    Bad(String),
}

fn inspect(repo: &Repo, name: &ObjectName) -> RepoResult<State> {
    let max = if name.as_str().starts_with(names::INDEX) { INDEX_BYTES_MAX } else { RECORD_BYTES_MAX };
    let bytes = match repo.get_alike(name, max as u64, |bytes| decode(repo, name, bytes).is_ok()) {
        Ok(bytes) => bytes,
        Err(e) if e.store_kind() == Some(ErrorKind::NotFound) => return Ok(State::Missing),
        Err(e) if e.is_damage() => return Ok(State::Bad(chain(&e))),
        Err(e) => return Err(e),
    };
    let mut mended = bytes.clone();
    let outcome = match envelope::repair(&mut mended) {
        Ok(true) => match decode(repo, name, &mended) {
            Ok(()) => return Ok(State::Bad("is damaged; its parity can mend it".into())),
            Err(e) => Err(e),
        },
        Ok(false) => decode(repo, name, &bytes),
        Err(e) => Err(e),
    };
    Ok(match outcome {
        Ok(()) => State::Whole(bytes),
        Err(e) => State::Bad(chain(&RepoError::object(name, e))),
    })
}

/// Decodes an object as what its name says it is.
pub(crate) fn decode(repo: &Repo, name: &ObjectName, bytes: &[u8]) -> FormatResult<()> {
    let (keys, id) = (repo.keys(), &repo.identity().repo);
    let bad = |why| Err(FormatError::Corrupt { what: "object", why });
    let fits = if names::first_copy(name) == names::CONFIG {
        Config::decode(bytes, keys)?.identity.repo == *id
    } else if let Some(slot) = names::parse_slot(name) {
        KeySlot::decode(bytes, id)?.id == slot
    } else if let Some(snapshot) = names::parse_snapshot(name) {
        match Snapshot::decode(bytes, keys) {
            Ok(record) => record.id == snapshot,
            Err(e) => Abort::decode(bytes, id, keys).map_err(|_| e)?.session == snapshot,
        }
    } else if names::parse_segment(name).is_some() {
        decode_segment(repo, name, bytes).map(|_| true)?
    } else if let Some((session, number)) = names::parse_pending(name) {
        let pending = Pending::decode(bytes, id, keys)?;
        (pending.session, pending.number) == (session, number)
    } else if let Some(snapshot) = names::parse_tomb(name) {
        Tomb::decode(bytes, id, keys)?.snapshot == snapshot
    } else if let Some(hold) = names::parse_hold(name) {
        Hold::decode(bytes, id, keys)?.id == hold
    } else if let Some(snapshot) = names::parse_trust(name) {
        Trust::decode(bytes, id, keys)?.snapshot == snapshot
    } else if names::parse_removed(name).is_some() {
        Removed::decode(bytes, id, keys).map(|_| true)?
    } else if let Some(erasure) = names::parse_erasure(name) {
        Erasure::decode(bytes, id, keys)?.id == erasure
    } else if names::parse_log_record(name).is_some() {
        log::decode(repo, name, bytes).map(|_| true)?
    } else if names::is_damage_mark(name) {
        damage::decode(repo, name, bytes).map(|_| true)?
    } else if names::is_condemned(name) {
        Condemned::decode(bytes, id, keys).map(|_| true)?
    } else {
        return bad("nobody makes such names here");
    };
    if fits { Ok(()) } else { bad("it stands under another's name") }
}
