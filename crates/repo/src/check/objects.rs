//! The small objects: each is read from the store, not from a cache, and must be whole to the last byte,
//! parity included. Those that are stored twice must be there twice.
//!
//! Objects that do not open with these keys are named, too: nothing relies on them, but somebody put them
//! there or something damaged them.

use super::{CheckReport, Finding};
use crate::error::{RepoError, RepoResult};
use crate::index::decode_segment;
use crate::names;
use crate::open::Repo;
use crate::reader::chain;
use format::config::Config;
use format::envelope;
use format::gc::{Condemned, Tomb};
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
    for folder in [names::INDEX, names::PENDING, names::GC] {
        for name in list(repo, folder)? {
            match inspect(repo, &name)? {
                State::Whole(_) | State::Missing => {} // gone since it was listed: replaced by its owner
                State::Bad(why) => report.findings.push(Finding::of(&name, why)),
            }
        }
    }
    Ok(())
}

fn check_twins(repo: &Repo, report: &mut CheckReport) -> RepoResult<()> {
    let mut twins = BTreeSet::from([names::name(names::CONFIG)]);
    for folder in [names::KEYS, names::SNAPSHOTS] {
        for folder in [folder.to_string(), format!("{}{folder}", names::MIRROR)] {
            twins.extend(list(repo, &folder)?.iter().map(|name| names::name(names::first_copy(name))));
        }
    }
    for name in twins {
        let mirror = names::mirror(&name);
        let states = [inspect(repo, &name)?, inspect(repo, &mirror)?];
        if let [State::Whole(first), State::Whole(second)] = &states
            && first != second
        {
            report.findings.push(Finding::of(&mirror, "differs from its first copy"));
        }
        // A record whose both copies cannot be read is named with what it hurts when snapshots are walked.
        for (name, state) in [(&name, &states[0]), (&mirror, &states[1])] {
            match state {
                State::Whole(_) => {}
                State::Missing => {
                    report.findings.push(Finding::of(name, "is missing; its other copy is there"))
                }
                State::Bad(why) => report.findings.push(Finding::of(name, why)),
            }
        }
    }
    Ok(())
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
    let bytes = match repo.store().get(name, max as u64).map_err(|e| repo.store_error(e)) {
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
fn decode(repo: &Repo, name: &ObjectName, bytes: &[u8]) -> FormatResult<()> {
    let (keys, id) = (repo.keys(), &repo.identity().repo);
    let bad = |why| Err(FormatError::Corrupt { what: "object", why });
    let fits = if names::first_copy(name) == names::CONFIG {
        Config::decode(bytes, keys)?.identity.repo == *id
    } else if let Some(slot) = names::parse_slot(name) {
        KeySlot::decode(bytes, id)?.id == slot
    } else if let Some(snapshot) = names::parse_snapshot(name) {
        Snapshot::decode(bytes, keys)?.id == snapshot
    } else if names::parse_segment(name).is_some() {
        decode_segment(repo, name, bytes).map(|_| true)?
    } else if let Some((session, number)) = names::parse_pending(name) {
        let pending = Pending::decode(bytes, id, keys)?;
        (pending.session, pending.number) == (session, number)
    } else if let Some(snapshot) = names::parse_tomb(name) {
        Tomb::decode(bytes, id, keys)?.snapshot == snapshot
    } else if names::is_condemned(name) {
        Condemned::decode(bytes, id, keys).map(|_| true)?
    } else {
        return bad("nobody makes such names here");
    };
    if fits { Ok(()) } else { bad("it stands under another's name") }
}
