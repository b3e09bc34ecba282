//! What was read by hand counts like what the schedule read: it is noted in the catalog.

use crate::session::Session;
use crate::time;
use ::repo::Repo;
use ::repo::snapshots::SnapshotList;
use service::catalog::{CATALOG_FILE, Verification};
use service::config::{self, Repository};
use std::ffi::OsStr;
use storage::Location;

/// Readings by hand that are looked at again: as many as a year has days.
const NOTED_MAX: usize = 366;

/// What a check, scrub or repair saw.
pub(super) struct Saw {
    /// `check`, `read-data`, `scrub` or `repair`.
    pub(super) kind: &'static str,
    /// Packs there are, and packs read.
    pub(super) packs: usize,
    pub(super) packs_read: usize,
    /// Bytes read.
    pub(super) bytes: u64,
    /// Objects damaged or missing.
    pub(super) damaged: usize,
    /// Snapshots of which everything was read, in hex.
    pub(super) snapshots: Vec<String>,
}

/// All snapshots in sight, in hex.
pub(super) fn all(repo: &Repo) -> Vec<String> {
    let list = SnapshotList::read(repo);
    list.map(|list| list.visible().map(|snapshot| snapshot.id.hex()).collect()).unwrap_or_default()
}

/// Under which name the catalog keeps what is known of the one repository this command works on.
fn name(session: &Session) -> Option<String> {
    match &session.global.repo[..] {
        [] => {
            let loaded = session.loaded().ok().flatten()?;
            let names = &loaded.config.repositories;
            if names.len() == 1 { names.keys().next().cloned() } else { None }
        }
        [one] => name_of(session, one),
        _ => None,
    }
}

/// The name that the configuration has for a repository, however it is written here; else the place itself.
pub(super) fn name_of(session: &Session, word: &OsStr) -> Option<String> {
    let repositories = session.loaded().ok().flatten().map(|loaded| loaded.config.repositories.clone());
    let repositories = repositories.unwrap_or_default();
    if let Some(name) = word.to_str().filter(|word| repositories.contains_key(*word)) {
        return Some(name.to_string());
    }
    let place = spelled(&session.place_named(word).ok()?.location);
    let folders = session.opener().folders;
    let is_there = |repository: &Repository| {
        config::place::location(repository, &folders).is_ok_and(|location| spelled(&location) == place)
    };
    let named = repositories.iter().find(|(_, repository)| is_there(repository));
    Some(named.map_or(place, |(name, _)| name.clone()))
}

/// A place in the one way in which it is written for comparing. Links and relative paths lead to the same folder.
fn spelled(location: &Location) -> String {
    match location {
        Location::Local(path) => match path.canonicalize() {
            Ok(path) => Location::Local(path).to_string(),
            Err(_) => location.to_string(),
        },
        other => other.to_string(),
    }
}

/// What this machine has read before of a repository, newest first. Nothing is made where nothing was ever noted.
pub(super) fn noted(session: &Session, word: &OsStr) -> Vec<Verification> {
    let is_there = session.opener().folders.state.join(CATALOG_FILE).exists();
    let Some(name) = name_of(session, word).filter(|_| is_there) else { return Vec::new() };
    let noted =
        super::status::open_catalog(session).and_then(|catalog| Ok(catalog.verifications(&name, NOTED_MAX)?));
    noted.unwrap_or_default()
}

/// Notes damage that was met while something else was done: `status` tells of it until a repair or a check of
/// everything finds none.
pub(crate) fn note_damage(session: &Session, kind: &'static str, damaged: usize) {
    note(session, Saw { kind, packs: 1, packs_read: 0, bytes: 0, damaged, snapshots: Vec::new() });
}

/// Notes it. What cannot be noted is read again some day.
pub(super) fn note(session: &Session, saw: Saw) {
    let Some(repository) = name(session) else { return };
    // Of what nothing was read only damage is news.
    if saw.packs_read == 0 && saw.packs > 0 && saw.damaged == 0 {
        return;
    }
    let ratio = if saw.packs == 0 { 1.0 } else { saw.packs_read as f64 / saw.packs as f64 };
    let verification = Verification {
        repository,
        at: time::now().secs,
        kind: saw.kind.into(),
        ratio,
        bytes: saw.bytes,
        damaged: saw.damaged as u64,
        error: None,
    };
    let noted = super::status::open_catalog(session)
        .and_then(|catalog| Ok(catalog.record_verification(&verification, &saw.snapshots)?));
    if let Err(failure) = noted {
        session.out.warn(format!("the catalog did not take what was read: {}", failure.message()));
    }
}
