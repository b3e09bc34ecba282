//! The catalog of names as commands use it: it may answer, be late, or be absent, and never stands in the way.

use crate::session::{Opened, Session};
use ::repo::snapshots::SnapshotList;
use format::snapshot::Snapshot;
use service::catalog::{CatalogError, CatalogResult, NAMES_FILE, Names};
use std::time::{Duration, Instant};

/// A backup waits no longer for its names to be learned; the next search learns them.
const FOLLOW_WITHIN: Duration = Duration::from_secs(10);

/// The catalog of names, unless nothing is kept on this machine or it cannot be opened.
pub(crate) fn open(session: &Session) -> Option<Names> {
    if session.global.no_cache {
        return None;
    }
    let path = session.opener().folders.cache.join(NAMES_FILE);
    let opened = Names::open(&path);
    opened.map_err(|e| session.out.detail(format!("cannot use the catalog of names: {e}"))).ok()
}

/// Learns the snapshots that are not known yet.
pub(crate) fn learn(
    session: &Session,
    names: &mut Names,
    opened: &Opened,
    list: &SnapshotList,
) -> CatalogResult<()> {
    let family = opened.repo.identity().family;
    let visible: Vec<&Snapshot> = list.visible().collect();
    let known = names.known(&family)?;
    if visible.iter().all(|snapshot| known.contains(&snapshot.id)) {
        return Ok(());
    }
    // An index that cannot be loaded is told by the search itself.
    let Ok(reader) = opened.reader() else { return Ok(()) };
    names.update(&reader, &family, &visible, &|| session.cancel.is_set()).map(drop)
}

/// Teaches the catalog, where there is one, what changed in a new snapshot. The first search makes the catalog and
/// learns the rest, so that who never searches never pays for it.
pub(crate) fn follow(session: &Session, opened: &Opened, snapshot: &Snapshot) {
    if !session.opener().folders.cache.join(NAMES_FILE).exists() {
        return;
    }
    let Some(mut names) = open(session) else { return };
    let Ok(reader) = opened.reader() else { return };
    let until = Instant::now() + FOLLOW_WITHIN;
    let stop = || session.cancel.is_set() || Instant::now() >= until;
    let family = opened.repo.identity().family;
    let followed = names.follow(&reader, &family, snapshot, &stop).map(drop);
    usable(session, names, followed);
}

/// What the catalog answered; a damaged one is begun anew, so that it answers next time.
pub(crate) fn usable<T>(session: &Session, names: Names, asked: Result<T, CatalogError>) -> Option<T> {
    asked
        .map_err(|e| {
            session.out.detail(format!("the catalog of names cannot answer: {e}"));
            if e.is_damage() {
                names.begin_anew().map(drop).ok();
            }
        })
        .ok()
}
