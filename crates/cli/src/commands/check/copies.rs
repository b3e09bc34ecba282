//! A check of several copies: each by itself, then what they can do for one another.

use super::{Checked, check_one, short};
use crate::counts::{count, counted};
use crate::display::{safe, shell_word};
use crate::error::{Exit, Outcome};
use crate::session::Session;
use crate::time;
use ::repo::check::ReadShare;
use format::id::{BlobId, BlobKind, SnapshotId};
use format::snapshot::Snapshot;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

/// So many damaged pieces of a copy are looked for in the others; that is enough to know who can help.
const PIECES_ASKED_MAX: usize = 1000;

/// A copy by its name on the command line.
struct Copy<'p> {
    place: &'p OsString,
    checked: Checked,
}

impl Copy<'_> {
    fn name(&self) -> String {
        self.place.to_string_lossy().into_owned()
    }
}

/// Each copy by itself; the worst outcome counts, and damage more than anything.
pub(super) fn check_each(session: &Session, places: &[OsString], read: ReadShare) -> Outcome<Exit> {
    let mut worst = Exit::Ok;
    let mut copies = Vec::new();
    for place in places {
        let mut one = session.clone();
        one.global.repo = vec![place.clone()];
        one.out = session.out.about(&place.to_string_lossy());
        session.out.human(format!("{}:", safe(&place.to_string_lossy())))?;
        let exit = match check_one(&one, read) {
            Ok(checked) => {
                let exit = checked.exit();
                copies.push(Copy { place, checked });
                exit
            }
            Err(failure) => {
                session.out.failure(&failure);
                failure.exit
            }
        };
        if worst == Exit::Ok || exit == Exit::Damage {
            worst = exit;
        }
    }
    for copy in copies.iter().filter(|copy| copy.checked.exit() == Exit::Damage) {
        tell_help(session, copy, &copies)?;
    }
    tell_differences(session, &copies);
    Ok(worst)
}

/// Which of the others have the damaged pieces of a copy whole, and what mends it.
fn tell_help(session: &Session, hurt: &Copy<'_>, copies: &[Copy<'_>]) -> Outcome<()> {
    let family = hurt.checked.reader.repo().identity().family;
    let others = copies.iter().filter(|other| other.place != hurt.place);
    let others: Vec<&Copy<'_>> =
        others.filter(|other| other.checked.reader.repo().identity().family == family).collect();
    let pieces: Vec<(BlobKind, BlobId)> =
        hurt.checked.findings.iter().filter_map(|f| f.blob()).take(PIECES_ASKED_MAX).collect();
    let mut missing: BTreeSet<BlobId> = pieces.iter().map(|(_, id)| *id).collect();
    for other in others.iter().filter(|_| !pieces.is_empty()) {
        let has = |(kind, id): &&(BlobKind, BlobId)| other.checked.reader.read(*kind, id).is_ok();
        let whole: Vec<&(BlobKind, BlobId)> = pieces.iter().filter(has).collect();
        whole.iter().for_each(|(_, id)| _ = missing.remove(id));
        let (name, helper) = (hurt.name(), other.name());
        match session.out.json {
            true => session.out.object(&json!({
                "message_type": "help", "repository": name, "from": helper,
                "pieces_asked": pieces.len(), "pieces_whole": whole.len(),
            }))?,
            false => session.out.human(format!(
                "{} has {} of {} of {} whole",
                safe(&helper),
                whole.len(),
                count(pieces.len(), "damaged piece"),
                safe(&name)
            ))?,
        }
    }
    if !missing.is_empty() && !others.is_empty() {
        let what = format!(
            "{} of {} whole in no copy",
            counted(missing.len(), "damaged piece", "damaged pieces"),
            safe(&hurt.name())
        );
        session.out.warn(what);
    }
    let from: Vec<String> = others.iter().map(|other| format!("-r {}", shell_word(&other.name()))).collect();
    if !from.is_empty() {
        let itself = shell_word(&hurt.name()).to_string();
        let what = format!("the damage waits for: lifeboat repair -r {itself} {}", from.join(" "));
        session.out.info(what);
    }
    Ok(())
}

/// Which copies do not have snapshots that another one has, and did not forget them. That may be meant: they need
/// not keep the same, nor be brought up to date at the same time.
fn tell_differences(session: &Session, copies: &[Copy<'_>]) {
    let all: BTreeMap<SnapshotId, &Snapshot> =
        copies.iter().flat_map(|copy| copy.checked.list.visible()).map(|s| (s.id, s)).collect();
    for copy in copies {
        let list = &copy.checked.list;
        let here: BTreeSet<SnapshotId> = list.snapshots.iter().map(|s| s.snapshot.id).collect();
        let is_known = |id: &SnapshotId| {
            here.contains(id)
                || list.buried.contains(id)
                || list.unreadable.iter().any(|(unreadable, _)| unreadable == id)
        };
        let lacking: Vec<&&Snapshot> = all.values().filter(|s| !is_known(&s.id)).collect();
        let Some(newest) = lacking.iter().max_by_key(|s| (s.time, s.id)) else { continue };
        session.out.info(format!(
            "{} lacks {} that another copy has, the newest: {} {}",
            safe(&copy.name()),
            count(lacking.len(), "snapshot"),
            short(&newest.id),
            time::shown(newest.time)
        ));
    }
}
