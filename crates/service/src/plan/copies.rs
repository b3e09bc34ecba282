//! From which copy each source comes back, and how long it takes.
//!
//! The nearest healthy copy is taken: good in the catalog, young enough, in a place without known damage; near goes
//! before young among those. Time comes from the last drill or restore of this source there, else from drills of
//! others there; else it is guessed from the distance, and said to be a guess.

use super::{Distance, Given, PlanPlace};
use crate::catalog::{Catalog, CatalogResult, Copy, Drill, DrillResult};
use crate::config::Source;
use crate::recovery::order as recovery_order;
use serde::Serialize;

/// Bytes per second where nothing was ever measured, by distance. Guesses: a hard disk, one behind USB, a house's
/// network, and a line of 50 Mbit/s.
const GUESSED: [(Distance, f64); 4] =
    [(Distance::Disk, 100e6), (Distance::Drive, 80e6), (Distance::Server, 50e6), (Distance::Away, 6e6)];
/// Drills that are looked at.
const DRILLS_MAX: usize = 50;
/// A drill of fewer bytes says more of its overhead than of the speed.
const DRILL_BYTES_MIN: u64 = 1 << 20;
/// What a restore takes however little it brings back.
const SECONDS_MIN: f64 = 5.0;

/// A source that comes back.
#[derive(Clone, Debug, Serialize)]
pub struct Returning {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: String,
    /// What it is, for people.
    pub description: Option<String>,
    /// Why it has this place in the order.
    pub why: String,
    /// What must be back before it.
    pub depends_on: Vec<String>,
    /// It must be back within this time.
    pub rto_seconds: Option<f64>,
    /// So much of the newest work may be lost.
    pub rpo_seconds: Option<f64>,
    /// The copy it comes from.
    pub from: Option<Held>,
    /// The others, in the order in which they are taken.
    pub otherwise: Vec<Held>,
    /// How long it takes from there.
    pub takes: Option<Takes>,
    /// The command that brings it back, on a machine that has its configuration.
    pub command: Option<String>,
}

/// The newest good copy in a place, else the newest.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Held {
    /// The repository.
    pub repository: String,
    /// The moment it holds: Unix seconds.
    pub time: i64,
    /// Files in it.
    pub files: u64,
    /// Bytes of these files.
    pub bytes: u64,
    /// When all of it was last read and found right: Unix seconds.
    pub verified: Option<i64>,
    /// When a drill last restored from it: Unix seconds.
    pub drilled: Option<i64>,
    /// What speaks against it.
    pub doubt: Option<String>,
}

/// How long something takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Takes {
    /// Seconds.
    pub seconds: f64,
    /// How that is known.
    pub basis: Basis,
}

/// How a time is known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// A drill of this source from this place measured it.
    Drill,
    /// Drills of other sources from this place measured the speed.
    DrillsThere,
    /// Nothing was measured.
    Guess,
}

impl Basis {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Basis::Drill => "by its last drill",
            Basis::DrillsThere => "by drills of other sources from there",
            Basis::Guess => "a guess: nothing was ever measured",
        }
    }
}

/// The power of two below: what counts as the same.
pub(super) fn magnitude(n: f64) -> f64 {
    if n < 1.0 { 0.0 } else { n.log2().floor().exp2() }
}

impl Returning {
    /// Without what changes by itself.
    pub(super) fn settle(&mut self) {
        for held in self.from.iter_mut().chain(&mut self.otherwise) {
            held.time = 0;
            held.files = 0;
            held.bytes = magnitude(held.bytes as f64) as u64;
            held.verified = held.verified.map(|_| 0);
            held.drilled = held.drilled.map(|_| 0);
        }
        if let Some(takes) = &mut self.takes {
            takes.seconds = magnitude(takes.seconds);
        }
    }

    /// The copies in the order in which they are taken.
    pub(super) fn held(&self) -> impl Iterator<Item = &Held> {
        self.from.iter().chain(&self.otherwise)
    }
}

/// All sources in the order of recovery.
pub(super) fn order(given: &Given<'_>, places: &[PlanPlace]) -> CatalogResult<Vec<Returning>> {
    let mut all = Vec::new();
    for placed in recovery_order(given.config) {
        let source = &given.config.sources[placed.name];
        let common = source.common();
        let mut held = match given.catalog {
            Some(catalog) => held(given, catalog, places, placed.name)?,
            None => Vec::new(),
        };
        let from = (!held.is_empty()).then(|| held.remove(0));
        let takes = match (&from, given.catalog) {
            (Some(from), Some(catalog)) => Some(takes(catalog, places, placed.name, from)?),
            _ => None,
        };
        let seconds = |interval: Option<crate::config::values::Interval>| interval.map(|i| i.0.as_secs_f64());
        all.push(Returning {
            name: placed.name.to_string(),
            kind: Source::kind(source).to_string(),
            description: common.description.clone(),
            why: placed.why,
            depends_on: common.depends_on.clone(),
            rto_seconds: seconds(common.rto),
            rpo_seconds: seconds(common.rpo),
            from,
            otherwise: held,
            takes,
            command: None,
        });
    }
    Ok(all)
}

/// The newest good copy in each place, the one that is taken first.
fn held(
    given: &Given<'_>,
    catalog: &Catalog,
    places: &[PlanPlace],
    source: &str,
) -> CatalogResult<Vec<Held>> {
    let mut ranked = Vec::new();
    for place in places {
        let copies = catalog.copies(source, &place.name)?;
        // What is incomplete or doubtful is better than nothing, and is said.
        let Some(copy) = copies.iter().find(|copy| copy.good).or(copies.first()) else { continue };
        let oldest = given.config.max_age_of(source, &place.name).0.as_secs();
        let age = u64::try_from(given.now.saturating_sub(copy.time)).unwrap_or(0);
        let doubt = match (place.is_damaged, copy.good, age > oldest) {
            (true, ..) => Some("damage was found there"),
            (_, false, _) => Some("it is incomplete, or something speaks against it"),
            (.., true) => Some("it is older than it should be"),
            _ => None,
        };
        let doubt = doubt.map(str::to_string);
        ranked.push((doubt.is_some(), place.distance, -copy.time, of(copy, doubt)));
    }
    ranked.sort_by(|a, b| (a.0, a.1, a.2, &a.3.repository).cmp(&(b.0, b.1, b.2, &b.3.repository)));
    Ok(ranked.into_iter().map(|(_, _, _, held)| held).collect())
}

fn of(copy: &Copy, doubt: Option<String>) -> Held {
    Held {
        repository: copy.repository.clone(),
        time: copy.time,
        files: copy.files,
        bytes: copy.bytes,
        verified: copy.verified,
        drilled: copy.drilled,
        doubt,
    }
}

/// How long a source takes from a copy.
pub(super) fn takes(
    catalog: &Catalog,
    places: &[PlanPlace],
    source: &str,
    held: &Held,
) -> CatalogResult<Takes> {
    let counts = |drill: &&Drill| {
        drill.result == DrillResult::Passed && drill.seconds > 0.0 && drill.bytes >= DRILL_BYTES_MIN
    };
    let rate = |drills: &[Drill]| {
        let mut counted = drills.iter().filter(counts).peekable();
        counted.peek()?;
        let (bytes, seconds) =
            counted.fold((0.0, 0.0), |(b, s), drill| (b + drill.bytes as f64, s + drill.seconds));
        Some(bytes / seconds)
    };
    let own = catalog.drills_of(source, &held.repository, DRILLS_MAX)?;
    let all = catalog.drills(None, DRILLS_MAX)?;
    let there: Vec<Drill> = all.into_iter().filter(|drill| drill.repository == held.repository).collect();
    let distance =
        places.iter().find(|p| p.name == held.repository).map_or(Distance::Away, |place| place.distance);
    let guess = GUESSED.iter().find(|(d, _)| *d == distance).map_or(6e6, |(_, rate)| *rate);
    let (rate, basis) = match (rate(&own[..own.len().min(3)]), rate(&there)) {
        (Some(rate), _) => (rate, Basis::Drill),
        (None, Some(rate)) => (rate, Basis::DrillsThere),
        (None, None) => (guess, Basis::Guess),
    };
    Ok(Takes { seconds: (held.bytes as f64 / rate).max(SECONDS_MIN), basis })
}
