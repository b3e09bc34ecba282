//! Whether what should be protected is: for every source in every repository the age of the last good copy
//! and its proofs, and the 3-2-1-1-0 rule, each digit with its reason and the command that mends it.
//!
//! Pure: [`judge`] takes what is wanted ([`Wanted`]), what is known ([`Seen`]) and the time. It judges age and
//! proof, never how the last run ended. What was not looked at for too long is *unseen*, never good: an old
//! memory of a copy proves nothing.

mod gather;
mod goals;
mod page;
mod words;

pub use gather::{pair_known, place_known, seen_in};
pub use page::{Besides, page};
pub use words::{age_words, attempts_failed, headline, span_words};

use crate::catalog::ErasedLeft;
use serde::Serialize;

/// What is wanted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// Name of the machine.
    pub machine: String,
    /// What is protected.
    pub sources: Vec<SourceWanted>,
    /// Where copies lie.
    pub places: Vec<PlaceWanted>,
}

/// What is wanted of a source. Times are seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceWanted {
    /// Its name.
    pub name: String,
    /// Copies, the live data counted.
    pub copies: u32,
    /// Kinds of media, that of the live data counted.
    pub media: u32,
    /// Copies in another building.
    pub offsite: u32,
    /// Copies that nobody can delete for a while.
    pub immutable: u32,
    /// All that is stored is read again within this time; none if nobody cares.
    pub verified_within: Option<i64>,
    /// It is restored on trial within this time; none if nobody cares.
    pub drilled_within: Option<i64>,
    /// Where its copies are.
    pub pairs: Vec<PairWanted>,
    /// The command that backs it up.
    pub run: String,
    /// The command that drills it.
    pub drill: String,
}

/// A copy that should be there.
#[derive(Clone, Debug, PartialEq)]
pub struct PairWanted {
    /// The repository.
    pub repository: String,
    /// How old the newest good copy may be.
    pub max_age: i64,
}

/// What is said of a place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlaceWanted {
    /// Its name.
    pub name: String,
    /// Kind of medium.
    pub medium: String,
    /// Where it stands, in words.
    pub location: String,
    /// Whether it is in another building.
    pub offsite: bool,
    /// Whether it is said to refuse deletion.
    pub claims_immutable: bool,
    /// Whether it comes and goes.
    pub removable: bool,
    /// Whether it is away right now.
    pub away: bool,
    /// A removable one is missed after this time.
    pub remind_after: Option<i64>,
}

/// What is known of everything that is wanted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// By source and repository.
    pub pairs: Vec<PairSeen>,
    /// By repository.
    pub places: Vec<PlaceSeen>,
    /// The newest drill of each source that passed, and the newest of all.
    pub drills: Vec<DrillSeen>,
}

/// What is known of a source in a repository.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PairSeen {
    /// The source.
    pub source: String,
    /// The repository.
    pub repository: String,
    /// The moment that the newest good copy holds.
    pub good: Option<i64>,
    /// The moment that the newest copy holds, whether good or not.
    pub newest: Option<i64>,
    /// When the first copy was made.
    pub first: Option<i64>,
    /// Good copies.
    pub copies: u64,
    /// When a drill last restored from it.
    pub drilled: Option<i64>,
    /// Files in the newest good copy.
    pub files: u64,
    /// Bytes in it.
    pub bytes: u64,
    /// Whether the repository lies on the same file system as the source.
    pub same_disk: bool,
    /// Attempts that failed since the last one that went well.
    pub failures: u32,
    /// Why the last one failed.
    pub error: Option<String>,
}

/// What is known of a repository.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlaceSeen {
    /// Its name.
    pub repository: String,
    /// When it was last open.
    pub at: Option<i64>,
    /// Since when everything in it was read again and found right.
    pub verified: Option<i64>,
    /// When something in it was last found damaged and not found right since.
    pub damaged: Option<i64>,
    /// Whether deleting was tried and refused.
    pub immutable_proven: Option<bool>,
    /// Whether this machine may delete there.
    pub deletable: Option<bool>,
    /// Free bytes, if it says.
    pub free_bytes: Option<u64>,
    /// Stored bytes, if counted.
    pub stored_bytes: Option<u64>,
    /// What is left there of what was erased from history.
    pub erased: Option<ErasedLeft>,
}

/// Drills of a source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DrillSeen {
    /// The source.
    pub source: String,
    /// When one last passed.
    pub passed: Option<i64>,
    /// When one last failed, and from which repository, if nothing has answered it since.
    pub failed: Option<(i64, String)>,
}

/// How things are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Good and proven as wanted.
    Good,
    /// A removable place that is away, and not missed yet.
    Waiting,
    /// Not looked at for so long that nothing can be said.
    Unseen,
    /// Older than it may be.
    Stale,
    /// There never was a good copy.
    Never,
    /// Something is damaged there.
    Damaged,
}

/// Whether a place refuses to delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Immutability {
    /// It does not, as far as known.
    No,
    /// Somebody says so.
    Claimed,
    /// Deleting was tried and refused.
    Proven,
}

/// A source in a repository, judged.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pair {
    /// The source.
    pub source: String,
    /// The repository.
    pub repository: String,
    /// How it is.
    pub state: State,
    /// The moment that the newest good copy holds.
    pub good: Option<i64>,
    /// Its age in seconds.
    pub age: Option<i64>,
    /// How old it may be.
    pub max_age: i64,
    /// Good copies.
    pub copies: u64,
    /// Files in the newest good one.
    pub files: u64,
    /// Bytes in it.
    pub bytes: u64,
    /// Since when everything there was read again and found right.
    pub verified: Option<i64>,
    /// When a drill last restored from it.
    pub drilled: Option<i64>,
    /// Kind of medium.
    pub medium: String,
    /// Where it stands.
    pub location: String,
    /// Whether that is another building.
    pub offsite: bool,
    /// Whether it refuses to delete.
    pub immutable: Immutability,
    /// Whether this machine could delete this copy; none if not known.
    pub deletable: Option<bool>,
    /// Whether it lies on the same file system as the source, and so is no further copy.
    pub same_disk: bool,
    /// Whether it is away right now: nothing there can be read, nor deleted.
    pub away: bool,
    /// Attempts that failed since the last one that went well.
    pub failures: u32,
    /// Why the last of them failed.
    pub error: Option<String>,
    /// Why, in words, when it is not good.
    pub reason: String,
}

impl Pair {
    /// How the last attempts went, in words, where they failed: that the copy is still young enough hides it.
    pub fn last_attempts(&self) -> Option<String> {
        let because = self.error.as_ref().map(|e| format!(": {e}")).unwrap_or_default();
        let failed = words::attempts_failed(self.failures);
        (self.failures > 0).then(|| format!("{} into {}: {failed}{because}", self.source, self.repository))
    }

    /// Whether it is good, and the last attempt failed.
    pub fn is_good_but_failed(&self) -> bool {
        self.state == State::Good && self.failures > 0
    }
}

/// Which goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GoalKind {
    /// Every copy is young enough.
    MaxAge,
    /// 3: so many copies.
    Copies,
    /// 2: so many kinds of media.
    Media,
    /// 1: so many in another building.
    Offsite,
    /// 1: so many that nobody can delete.
    Immutable,
    /// 0: all that is stored was read again, without an error.
    Verified,
    /// 0: it was restored on trial, without an error.
    Drilled,
}

impl GoalKind {
    /// As metrics and events write it.
    pub fn as_str(self) -> &'static str {
        match self {
            GoalKind::MaxAge => "max-age",
            GoalKind::Copies => "copies",
            GoalKind::Media => "media",
            GoalKind::Offsite => "offsite",
            GoalKind::Immutable => "immutable",
            GoalKind::Verified => "verified",
            GoalKind::Drilled => "drilled",
        }
    }
}

/// A goal of a source, judged.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Goal {
    /// Which.
    pub goal: GoalKind,
    /// Whether it is met.
    pub met: bool,
    /// How many there are, for goals that count.
    pub have: u32,
    /// How many are wanted.
    pub want: u32,
    /// Why, in words.
    pub reason: String,
    /// The command that mends it; empty when it is met.
    pub fix: String,
}

/// A source, judged.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SourcePosture {
    /// Its name.
    pub source: String,
    /// Its goals, in the order of the rule.
    pub goals: Vec<Goal>,
    /// Its copies.
    pub pairs: Vec<Pair>,
}

impl SourcePosture {
    /// Whether all goals are met.
    pub fn is_met(&self) -> bool {
        self.goals.iter().all(|goal| goal.met)
    }
}

/// A repository, judged.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlacePosture {
    /// Its name.
    pub repository: String,
    /// When it was last open.
    pub seen: Option<i64>,
    /// Whether it comes and goes, and is missed.
    pub missed: bool,
    /// Since when everything in it was read again and found right.
    pub verified: Option<i64>,
    /// When damage was found that is still there as far as known.
    pub damaged: Option<i64>,
    /// Free bytes.
    pub free_bytes: Option<u64>,
    /// Stored bytes.
    pub stored_bytes: Option<u64>,
    /// What is left there of what was erased from history.
    pub erased: Option<ErasedLeft>,
}

/// Everything, judged.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Posture {
    /// The machine.
    pub machine: String,
    /// As of when.
    pub now: i64,
    /// Whether all goals of all sources are met.
    pub met: bool,
    /// Source by source.
    pub sources: Vec<SourcePosture>,
    /// Place by place.
    pub places: Vec<PlacePosture>,
}

impl Posture {
    /// Goals that are not met, with their sources.
    pub fn unmet(&self) -> impl Iterator<Item = (&str, &Goal)> {
        self.sources
            .iter()
            .flat_map(|s| s.goals.iter().filter(|goal| !goal.met).map(|goal| (s.source.as_str(), goal)))
    }
}

/// Judges everything as of `now`.
pub fn judge(wanted: &Wanted, seen: &Seen, now: i64) -> Posture {
    let sources: Vec<_> =
        wanted.sources.iter().map(|source| judge_source(wanted, source, seen, now)).collect();
    let places = wanted.places.iter().map(|place| judge_place(place, seen, now)).collect();
    let met = !sources.is_empty() && sources.iter().all(SourcePosture::is_met);
    Posture { machine: wanted.machine.clone(), now, met, sources, places }
}

fn judge_source(wanted: &Wanted, source: &SourceWanted, seen: &Seen, now: i64) -> SourcePosture {
    let unknown = PlaceWanted::default();
    let pairs: Vec<Pair> = source
        .pairs
        .iter()
        .map(|pair| {
            let place = wanted.places.iter().find(|p| p.name == pair.repository).unwrap_or(&unknown);
            judge_pair(source, pair, place, seen, now)
        })
        .collect();
    let goals = goals::judge(source, &pairs, seen, now);
    SourcePosture { source: source.name.clone(), goals, pairs }
}

fn judge_pair(source: &SourceWanted, pair: &PairWanted, place: &PlaceWanted, seen: &Seen, now: i64) -> Pair {
    let (none, away) = (PairSeen::default(), PlaceSeen::default());
    let fits = |p: &&PairSeen| p.source == source.name && p.repository == pair.repository;
    let known = seen.pairs.iter().find(fits).unwrap_or(&none);
    let at = seen.places.iter().find(|p| p.repository == pair.repository).unwrap_or(&away);
    let (state, reason) = state_of(pair, place, known, at, now);
    Pair {
        source: source.name.clone(),
        repository: pair.repository.clone(),
        state,
        good: known.good,
        age: known.good.map(|good| (now - good).max(0)),
        max_age: pair.max_age,
        copies: known.copies,
        files: known.files,
        bytes: known.bytes,
        verified: at.verified,
        drilled: known.drilled,
        medium: place.medium.clone(),
        location: place.location.clone(),
        offsite: place.offsite,
        immutable: match (at.immutable_proven, place.claims_immutable) {
            (Some(true), _) => Immutability::Proven,
            // It was tried, and the object was gone: what is claimed is not so.
            (Some(false), _) | (None, false) => Immutability::No,
            (None, true) => Immutability::Claimed,
        },
        deletable: if at.immutable_proven == Some(true) { Some(false) } else { at.deletable },
        same_disk: known.same_disk,
        away: place.away,
        failures: known.failures,
        error: known.error.clone(),
        reason,
    }
}

/// The state of a copy, and why it is not good.
fn state_of(
    pair: &PairWanted,
    place: &PlaceWanted,
    known: &PairSeen,
    at: &PlaceSeen,
    now: i64,
) -> (State, String) {
    let name = &pair.repository;
    let because = known.error.as_ref().map(|e| format!(" ({e})")).unwrap_or_default();
    if at.damaged.is_some() {
        return (State::Damaged, format!("{name}: damage was found"));
    }
    let Some(good) = known.good else {
        let why = match (known.newest, place.removable) {
            (Some(_), _) => "no copy is good",
            (None, true) => "there never was a copy; the disk was not here yet, or no run came to its end",
            (None, false) => "there never was a copy",
        };
        return (State::Never, format!("{name}: {why}{because}"));
    };
    let age = now - good;
    // A copy from the future says nothing about its age: the clock was, or is, wrong.
    if age < -CLOCK_SLACK {
        let ahead = span_words(-age);
        return (State::Stale, format!("{name}: the newest copy is {ahead} in the future; a clock is wrong"));
    }
    if age > pair.max_age {
        let (old, may) = (span_words(age), span_words(pair.max_age));
        if place.removable && place.remind_after.is_some_and(|after| age <= after) {
            return (State::Waiting, format!("{name}: waits for its disk; the newest copy is {old} old"));
        }
        let many = match known.failures {
            0 | 1 => String::new(),
            n => format!(", {n} attempts failed"),
        };
        return (
            State::Stale,
            format!("{name}: the newest good copy is {old} old, {may} is allowed{many}{because}"),
        );
    }
    match at.at {
        None => (State::Unseen, format!("{name}: nobody has looked at it yet")),
        Some(at) if now - at > unseen_after(pair, place) => {
            (State::Unseen, format!("{name}: was not looked at for {}", span_words(now - at)))
        }
        Some(_) if place.away => {
            (State::Waiting, format!("{name}: is away; the newest copy is {} old", span_words(age.max(0))))
        }
        Some(_) => (State::Good, String::new()),
    }
}

/// Copies that claim to be from up to so many seconds later are taken for new: clocks differ.
const CLOCK_SLACK: i64 = 3600;

/// After how long without a look a memory of a copy counts no more: twice the age that is allowed anyway.
fn unseen_after(pair: &PairWanted, place: &PlaceWanted) -> i64 {
    pair.max_age.saturating_mul(2).max(place.remind_after.unwrap_or(0))
}

fn judge_place(place: &PlaceWanted, seen: &Seen, now: i64) -> PlacePosture {
    let away = PlaceSeen::default();
    let at = seen.places.iter().find(|p| p.repository == place.name).unwrap_or(&away);
    let missed =
        place.removable && place.remind_after.is_some_and(|after| at.at.is_some_and(|at| now - at > after));
    PlacePosture {
        repository: place.name.clone(),
        seen: at.at,
        missed,
        verified: at.verified,
        damaged: at.damaged,
        free_bytes: at.free_bytes,
        stored_bytes: at.stored_bytes,
        erased: at.erased,
    }
}
