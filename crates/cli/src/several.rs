//! Reading from several copies: the nearest one that has the snapshot leads, the others help out.
//!
//! Near is what is on this machine, then what answers first. A block that the leading copy cannot give comes
//! from the next; that it is damaged is told, and noted for a repair.

use crate::commands::verified;
use crate::counts::count;
use crate::display::{safe, shell_word};
use crate::error::{Failure, Outcome};
use crate::session::{Opened, Session};
use crate::snapspec::{Filter, SnapSpec};
use format::snapshot::Snapshot;
use repo::reader::Reader;
use repo::snapshots::SnapshotList;
use serde_json::json;
use service::damage_queue;
use service::open::Place;
use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Damaged pieces named one by one.
const NAMED_MAX: usize = 10;

/// An open copy.
pub(crate) struct Copy {
    /// As it was named here.
    word: OsString,
    pub(crate) place: Place,
    pub(crate) opened: Opened,
    near: (bool, Duration),
}

/// The copy that is read, and those that help out.
pub(crate) struct Nearest {
    word: OsString,
    pub(crate) place: Place,
    pub(crate) reader: Arc<Reader>,
    pub(crate) snapshot: Snapshot,
    others: Vec<Place>,
}

impl Session {
    /// Every copy that `-r` names and that opens, the nearest first.
    pub(crate) fn open_copies(&self) -> Outcome<Vec<Copy>> {
        let [first, others @ ..] = &self.global.repo[..] else {
            let place = self.place()?; // says what to do
            let opened = self.opener().open(&place)?;
            return Ok(vec![Copy {
                word: place.shown().into(),
                place,
                opened,
                near: (false, Duration::ZERO),
            }]);
        };
        let opener = self.opener();
        let mut copies: Vec<Copy> = Vec::new();
        let mut failure = None;
        for name in std::iter::once(first).chain(others) {
            let place = self.place_named(name)?;
            match opener.open_among(&place, !others.is_empty()) {
                Ok(opened) => {
                    copies.push(Copy { word: name.clone(), near: distance(&opened), place, opened });
                }
                Err(e) if others.is_empty() => return Err(e),
                Err(e) => {
                    self.out.warn(format!("{} is left out: {}", safe(&place.shown()), e.message()));
                    failure = failure.or(Some(e));
                }
            }
        }
        if copies.is_empty() {
            return Err(failure.expect("whoever is not open failed"));
        }
        copies.sort_by_key(|copy| copy.near);
        let family = copies[0].opened.repo.identity().family;
        match copies.iter().find(|copy| copy.opened.repo.identity().family != family) {
            Some(stranger) => Err(Failure::usage(format!(
                "{} and {} are not copies of one another: their keys differ",
                safe(&copies[0].place.shown()),
                safe(&stranger.place.shown())
            ))),
            None => Ok(copies),
        }
    }

    /// Opens for reading the nearest copy that has the snapshot; of `latest`, the newest that any has.
    pub(crate) fn open_nearest(&self, spec: &OsStr, filter: &Filter) -> Outcome<(Nearest, SnapSpec)> {
        let spec = SnapSpec::parse(spec)?;
        let copies = self.open_copies()?;
        let mut found: Vec<(usize, Snapshot)> = Vec::new();
        let mut failure = None;
        for (i, copy) in copies.iter().enumerate() {
            let list: Outcome<SnapshotList> = self.opener().snapshots(&copy.place, &copy.opened.repo);
            match list.and_then(|list| spec.find(&list, filter).cloned()) {
                Ok(snapshot) => found.push((i, snapshot)),
                Err(e) => failure = failure.or(Some(e)),
            }
        }
        let newest = found.iter().map(|(_, snapshot)| snapshot.time).max();
        let Some((lead, snapshot)) = found.into_iter().find(|(_, snapshot)| Some(snapshot.time) == newest)
        else {
            return Err(failure.expect("whoever has it not failed"));
        };
        self.lead(copies, lead, snapshot).map(|nearest| (nearest, spec))
    }

    fn lead(&self, mut copies: Vec<Copy>, lead: usize, snapshot: Snapshot) -> Outcome<Nearest> {
        let lead = copies.remove(lead);
        let reader = lead.opened.reader()?;
        let (mut others, mut siblings) = (Vec::new(), Vec::new());
        for copy in copies {
            if let Ok(reader) = copy.opened.reader() {
                siblings.push(reader);
                others.push(copy.place);
            }
        }
        reader.set_siblings(siblings);
        Ok(Nearest { word: lead.word, place: lead.place, reader, snapshot, others })
    }

    /// Notes so many damaged pieces of the leading copy for `status`, under the name it has there.
    pub(crate) fn note_damage_in(&self, nearest: &Nearest, damaged: usize) {
        let mut one = self.clone();
        one.global.repo = vec![nearest.word.clone()];
        verified::note_damage(&one, "restore", damaged);
    }

    /// Says what was damaged in the leading copy although all is right, and notes it for a repair. Returns how many
    /// pieces that were.
    pub(crate) fn tell_healed(&self, nearest: &Nearest) -> Outcome<usize> {
        let (place, others) = (safe(&nearest.place.shown()).to_string(), &nearest.others);
        if nearest.reader.is_away() {
            self.out.warn(format!("{place} stopped answering; the rest came from its other copies"));
        }
        let healed = nearest.reader.healed();
        if healed.is_empty() {
            return Ok(0);
        }
        let repo = nearest.reader.repo().identity().repo;
        let damage = healed.iter().map(|blob| (blob.id.hex(), blob.why.as_str()));
        if let Err(e) = damage_queue::note(&self.opener().folders, &repo, damage) {
            self.out.warn(format!("cannot note the damage for a repair: {e}"));
        }
        self.note_damage_in(nearest, healed.len());
        for blob in healed.iter().take(if self.out.json { usize::MAX } else { NAMED_MAX }) {
            match self.out.json {
                true => self.out.object(&json!({
                    "message_type": "healed", "repository": nearest.place.shown(), "blob": blob.id.hex(),
                    "why": blob.why, "from": blob.from,
                }))?,
                false => self.out.warn(format!("damaged in {place}: {}", safe(&blob.why))),
            }
        }
        self.out.warn(format!(
            "{} came from another copy; what was read is right",
            count(healed.len(), "damaged piece")
        ));
        if let Some(other) = others.first() {
            let (place, other) = (nearest.place.shown(), other.shown());
            self.out.info(format!(
                "make it whole with: lifeboat repair -r {} --from {}",
                shell_word(&place),
                shell_word(&other)
            ));
        }
        Ok(healed.len())
    }
}

/// On this machine or not, and how long it takes to answer.
fn distance(opened: &Opened) -> (bool, Duration) {
    let store = opened.repo.store();
    let asked = Instant::now();
    store.stat(&repo::names::name(repo::names::CONFIG)).ok();
    (!store.capabilities().local, asked.elapsed())
}
