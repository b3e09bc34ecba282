//! Evidence of how retention was kept: for each source of a repository which rule applies, what is kept, held or
//! removed and why, how much was verified and drilled, and every administrative action.
//!
//! What is there is read from the repository itself, by the same judge that forgets; what was removed and who did it
//! from the repository's log, which is signed, chained and never changed. A log from which something was taken away,
//! or in which something was changed, is said to be not whole.

mod show;

use crate::catalog::{Catalog, Verification};
use crate::config::Loaded;
use crate::counts::{count, counted};
use crate::drill::proof::{Proof, Shown};
use crate::drill::report::problems_of_log;
use crate::drill::{Drilled, ResultWord, SourceKey};
use crate::known::{Known, undo_until};
use crate::runner::judge;
use crate::{stored_config, time, watching};
use engine::retention::Reason;
use format::erase::Erasure;
use format::id::hex;
use format::keep::Hold;
use format::kind::Timestamp;
use format::log::LogKind;
use format::snapshot::Snapshot;
use format::tree::KeyPath;
use repo::log::Log;
use repo::protection::Protection;
use repo::snapshots::StoredSnapshot;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What becomes of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Its rule keeps it, or nobody forgets it.
    Kept,
    /// A hold or the minimum age of the repository keeps it, whatever the rule.
    Held,
    /// Its rule keeps it no longer: the next maintenance forgets it.
    Due,
    /// It was forgotten and can still be brought back.
    Forgotten,
}

impl State {
    /// As people read it.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Kept => "kept",
            State::Held => "held",
            State::Due => "due to go",
            State::Forgotten => "forgotten",
        }
    }
}

/// A snapshot and why it is there.
#[derive(Clone, Debug, Serialize)]
pub struct SnapshotLine {
    /// In hex.
    pub id: String,
    /// The moment it holds.
    pub time: String,
    /// When the store received it, by its own clock.
    pub received: Option<String>,
    /// What becomes of it.
    pub state: State,
    /// Why, each in a few words.
    pub why: Vec<String>,
    /// When all of it was last read and found right.
    pub verified: Option<String>,
    /// When a drill last restored from it and found it right.
    pub drilled: Option<String>,
    /// The share of its bytes that drills proved in the time of the report, in it or unchanged in another snapshot, 0 to 1.
    pub proven: f64,
}

/// Snapshots that were taken away, as the log says.
#[derive(Clone, Debug, Serialize)]
pub struct RemovedLine {
    /// In hex.
    pub id: String,
    /// The moment it held; empty where the log does not say.
    pub time: String,
    /// When it was forgotten.
    pub forgotten: String,
    /// Why.
    pub why: String,
    /// Who did it.
    pub by: String,
}

/// One source in one repository.
#[derive(Clone, Debug, Serialize)]
pub struct SourcePart {
    /// Its name in the configuration, or machine and paths.
    pub source: String,
    /// The rule in words, with where it is written.
    pub rule: String,
    /// Its snapshots, oldest first.
    pub snapshots: Vec<SnapshotLine>,
    /// What is gone for good.
    pub removed: Vec<RemovedLine>,
    /// Drills in the time of the report, and how many of them passed.
    pub drills: (usize, usize),
    /// What they proved of the snapshots in sight.
    pub proof: Proof,
}

impl SourcePart {
    /// How many snapshots are in a state.
    pub fn count(&self, state: State) -> usize {
        self.snapshots.iter().filter(|line| line.state == state).count()
    }
}

/// An administrative action.
#[derive(Clone, Debug, Serialize)]
pub struct ActionLine {
    /// When, by the clock of the machine that did it.
    pub time: String,
    /// When the store received the record of it.
    pub received: Option<String>,
    /// Who was logged in there.
    pub user: String,
    /// Which machine.
    pub machine: String,
    /// What: `forget`, `hold`, `key`.
    pub action: String,
    /// The rest.
    pub detail: Value,
    /// The key that signed it.
    pub signer: String,
    /// Whether the signature is right.
    pub signed: bool,
    /// The hash of the record.
    pub record: String,
}

/// How much of a repository was read again in the time of the report.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verified {
    /// How often.
    pub times: usize,
    /// The sum of the shares that were read, 1 at most: what is read is what was not read for the longest time.
    pub share: f64,
    /// When everything was last read at once.
    pub whole: Option<String>,
    /// When something was last read.
    pub last: Option<String>,
    /// Objects found damaged by the last one.
    pub damaged: u64,
}

/// One repository.
#[derive(Clone, Debug, Serialize)]
pub struct RepositoryPart {
    /// Its name in the configuration, or its address.
    pub repository: String,
    /// Its address, without secrets.
    pub location: String,
    /// Seconds that a snapshot must be kept at least, whatever a rule says.
    pub minimum_age_seconds: u64,
    /// Holds, in words.
    pub holds: Vec<String>,
    /// What was erased from history, in words.
    pub erasures: Vec<String>,
    /// Sources.
    pub sources: Vec<SourcePart>,
    /// Snapshots whose records cannot be read, or are gone without having been forgotten, in words.
    pub unreadable: Vec<String>,
    /// What was read again. Known on the machine that did it only.
    pub verified: Option<Verified>,
    /// Every administrative action, in the order in which they were written down.
    pub actions: Vec<ActionLine>,
    /// Whether nothing of the log is missing, unreadable or wrongly signed.
    pub log_is_whole: bool,
    /// What is wrong with it.
    pub log_problems: Vec<String>,
    /// Drills whose evidence a newer version wrote.
    pub evidence_of_newer_versions: u64,
}

/// The whole report.
#[derive(Clone, Debug, Serialize)]
pub struct Compliance {
    /// The machine that made it.
    pub machine: String,
    /// When it was made.
    pub made: String,
    /// Verifications and drills are counted since then.
    pub since: String,
    /// Repositories.
    pub repositories: Vec<RepositoryPart>,
    /// Repositories that could not be looked at, with the reason.
    pub not_reached: Vec<(String, String)>,
}

/// What one part of the report is made of.
pub struct Given<'g> {
    /// The name of the repository in the configuration.
    pub name: Option<&'g str>,
    /// Its address.
    pub location: String,
    /// Its snapshots and what protects them.
    pub known: &'g Known,
    /// Its log.
    pub log: &'g Log,
    /// Its drills, and how many could not be read.
    pub drills: (&'g [Drilled], u64),
    /// Its snapshots in sight, oldest first, with what drills proved of them in the time of the report.
    pub shown: &'g [Shown],
    /// Whether the newest record this machine wrote is in the log.
    pub holds_last: bool,
    /// What was erased, and how many snapshots in sight hold it still.
    pub erasures: &'g [(Erasure, usize)],
    /// Seconds that a snapshot must be kept at least.
    pub minimum_age_seconds: u64,
    /// The configuration, if there is one.
    pub loaded: Option<&'g Loaded>,
    /// This machine as the configuration calls it.
    pub machine: &'g str,
    /// What this machine remembers, if anything.
    pub catalog: Option<&'g Catalog>,
    /// Drills and verifications are counted in this time.
    pub since: i64,
    /// Now.
    pub now: Timestamp,
}

/// Collects one repository.
pub fn repository(given: &Given<'_>) -> RepositoryPart {
    let problems = problems_of_log(given.log, given.holds_last);
    let name = given.name.map_or_else(|| given.location.clone(), str::to_string);
    RepositoryPart {
        repository: name,
        location: given.location.clone(),
        minimum_age_seconds: given.minimum_age_seconds,
        holds: given.known.protections.holds().holds.iter().map(hold_words).collect(),
        erasures: given.erasures.iter().map(erasure_words).collect(),
        sources: sources(given),
        unreadable: given
            .known
            .unreadable()
            .into_iter()
            .chain(given.known.lost.iter().map(crate::seen_heads::why))
            .collect(),
        verified: given
            .catalog
            .zip(given.name)
            .and_then(|(catalog, name)| verified(catalog, name, given.since)),
        actions: actions(given.log),
        log_is_whole: problems.is_empty(),
        log_problems: problems,
        evidence_of_newer_versions: given.drills.1,
    }
}

fn shown(secs: i64) -> String {
    time::to_the_second(Timestamp { secs, nanos: 0 })
}

fn hold_words(hold: &Hold) -> String {
    let reason = if hold.reason.is_empty() { String::new() } else { format!(" ({})", hold.reason) };
    let end = hold.end.map_or("without an end".into(), |end| format!("until {}", time::to_the_second(end)));
    format!("{}{reason}, since {}, {end}", hold.name, time::to_the_second(hold.made))
}

fn erasure_words((erasure, holding): &(Erasure, usize)) -> String {
    let path = |key: &Vec<u8>| {
        let bytes = KeyPath::parse(key).map(|key| key.display_bytes()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let paths: Vec<String> = erasure.paths.iter().map(path).collect();
    let reason = if erasure.reason.is_empty() { String::new() } else { format!(" ({})", erasure.reason) };
    format!(
        "{}{reason}, on {} by {}: {} replaced{}",
        paths.join(", "),
        time::to_the_second(erasure.time),
        erasure.by,
        count(erasure.replaced.len(), "snapshot"),
        still_held(*holding)
    )
}

/// What is said of snapshots that hold erased paths still; nothing where none does.
pub fn still_held(holding: usize) -> String {
    match holding {
        0 => String::new(),
        n => format!(", {} it still", counted(n, "snapshot here holds", "snapshots here hold")),
    }
}

/// How a source is called: by the configuration, else by machine and paths.
fn source_of(given: &Given<'_>, snapshot: &Snapshot) -> String {
    if stored_config::is_one(snapshot) {
        return format!("configuration of {}", snapshot.host);
    }
    let named = given.loaded.and_then(|loaded| {
        let is_of =
            |name: &&String| watching::belongs(&loaded.config, given.machine, &loaded.home, name, snapshot);
        loaded.config.sources.keys().find(is_of).cloned()
    });
    named.unwrap_or_else(|| SourceKey::of(snapshot).shown())
}

fn sources(given: &Given<'_>) -> Vec<SourcePart> {
    let mut of: BTreeMap<String, Vec<&StoredSnapshot>> = BTreeMap::new();
    for stored in &given.known.list.snapshots {
        of.entry(source_of(given, &stored.snapshot)).or_default().push(stored);
    }
    let mut removed = removed(given);
    // A source of which nothing is left is part of the evidence all the more.
    removed.keys().for_each(|source| {
        of.entry(source.clone()).or_default();
    });
    let part = |(source, stored): (String, Vec<&StoredSnapshot>)| {
        let keys: BTreeSet<SourceKey> = stored.iter().map(|s| SourceKey::of(&s.snapshot)).collect();
        let counted = given.drills.0.iter().map(|d| &d.evidence).filter(|e| e.started >= given.since);
        let held: Vec<_> = counted.filter(|e| keys.contains(&e.source)).collect();
        let (rule, snapshots) = judged(given, &source, &stored);
        SourcePart {
            rule,
            snapshots,
            removed: removed.remove(&source).unwrap_or_default(),
            drills: (held.len(), held.iter().filter(|e| e.result == ResultWord::Passed).count()),
            proof: Proof::of(given.shown.iter().filter(|s| keys.contains(&s.source))),
            source,
        }
    };
    of.into_iter().map(part).collect()
}

/// The rule of a source, and what it comes to for each of its snapshots.
fn judged(given: &Given<'_>, source: &str, stored: &[&StoredSnapshot]) -> (String, Vec<SnapshotLine>) {
    let ids: Vec<_> = stored.iter().map(|s| s.snapshot.id).collect();
    let policy = given.loaded.zip(given.name).filter(|(l, _)| l.config.sources.contains_key(source));
    let (rule, verdicts) = match policy {
        Some((loaded, name)) => {
            let (policy_name, policy) = loaded.config.retention_of(source, name);
            let candidates = given.known.candidates(|s| ids.contains(&s.id));
            let judged = judge(&candidates, &policy, given.now, &watching::zone(&loaded.config));
            let mut rule = format!("{policy_name}: {}", policy.policy());
            rule.extend(policy.min_age.map(|age| format!(", nothing younger than {age} goes")));
            rule.extend(policy.max_age.map(|age| format!(", nothing older than {age} stays by a count")));
            (rule, judged)
        }
        None => ("no rule of this machine: only a person forgets".to_string(), Vec::new()),
    };
    let copies = given.catalog.zip(given.name).and_then(|(catalog, name)| catalog.copies(source, name).ok());
    let verified: BTreeMap<String, i64> =
        copies.into_iter().flatten().filter_map(|copy| Some((copy.snapshot, copy.verified?))).collect();
    let lines = stored.iter().map(|stored| {
        let verdict = verdicts.iter().find(|j| j.verdict.id == stored.snapshot.id);
        let mut why: Vec<String> = Vec::new();
        let protections = given.known.protections_of(stored);
        let state = if stored.forgotten {
            why.extend(stored.tomb.as_ref().map(|tomb| tomb.tomb.reason.clone()));
            why.extend(
                undo_until(stored).map(|until| format!("comes back until {}", time::to_the_second(until))),
            );
            State::Forgotten
        } else {
            why.extend(verdict.iter().flat_map(|j| &j.verdict.reasons).map(Reason::words));
            why.extend(verdict.filter(|j| j.is_young).map(|_| "younger than its policy lets go".into()));
            match verdict {
                _ if !protections.is_empty() => State::Held,
                Some(judged) if judged.goes => State::Due,
                _ => State::Kept,
            }
        };
        if verdict.is_none() && !stored.forgotten {
            why.extend(protections.iter().map(protection_words));
        }
        if state == State::Due && why.is_empty() {
            why.push("no rule keeps it".into());
        }
        if state == State::Kept && why.is_empty() {
            why.push("nothing forgets it".into());
        }
        line(given, stored, state, why, &verified)
    });
    (rule, lines.collect())
}

fn protection_words(protection: &Protection) -> String {
    Reason::Protected(protection.clone()).words()
}

fn line(
    given: &Given<'_>,
    stored: &StoredSnapshot,
    state: State,
    why: Vec<String>,
    verified: &BTreeMap<String, i64>,
) -> SnapshotLine {
    let id = stored.snapshot.id.hex();
    let drills = given.drills.0.iter().map(|d| &d.evidence);
    let drilled = drills.filter(|e| e.snapshot == id && e.result.is_proof()).map(|e| e.started).max();
    SnapshotLine {
        time: time::to_the_second(stored.snapshot.time),
        received: stored.received.map(|t| time::to_the_second(time::from_system(t))),
        state,
        why,
        verified: verified.get(&id).copied().map(shown),
        drilled: drilled.map(shown),
        proven: given.shown.iter().find(|s| s.id == id).map_or(0.0, |s| s.share.ratio()),
        id,
    }
}

/// What the log says was forgotten and is not there any more, by the name of its source.
fn removed(given: &Given<'_>) -> BTreeMap<String, Vec<RemovedLine>> {
    let there: BTreeSet<String> = given.known.list.snapshots.iter().map(|s| s.snapshot.id.hex()).collect();
    let mut gone: BTreeMap<String, Vec<RemovedLine>> = BTreeMap::new();
    for stored in given.log.of_kind(LogKind::Action) {
        let entry = &stored.record.entry;
        let Ok(body) = serde_json::from_str::<Value>(&entry.body) else { continue };
        if !["forget", "rewrite", "tag"].contains(&&*entry.subject) {
            continue;
        }
        let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_string();
        let details = body["of"].as_array().cloned().unwrap_or_default();
        for id in body["snapshots"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if there.contains(id) {
                continue;
            }
            let detail = details.iter().find(|of| of["id"] == id).cloned().unwrap_or_default();
            let source = name_of(given, &text(&detail, "source"));
            gone.entry(source).or_default().push(RemovedLine {
                id: id.to_string(),
                time: without_fraction(&text(&detail, "time")),
                forgotten: time::to_the_second(entry.time),
                why: text(&body, "why"),
                by: format!("{}@{}", entry.user, entry.machine),
            });
        }
    }
    gone
}

/// A time as the log has it, to the second.
fn without_fraction(time: &str) -> String {
    let Some((whole, rest)) = time.split_once('.') else { return time.to_string() };
    format!("{whole}{}", rest.trim_start_matches(|c: char| c.is_ascii_digit()))
}

/// The name under which snapshots of this machine and these paths are listed now.
fn name_of(given: &Given<'_>, shown: &str) -> String {
    let same = given.known.list.snapshots.iter().find(|s| SourceKey::of(&s.snapshot).shown() == shown);
    match same {
        Some(stored) => source_of(given, &stored.snapshot),
        None if shown.is_empty() => "not named in the log".into(),
        None => shown.to_string(),
    }
}

fn actions(log: &Log) -> Vec<ActionLine> {
    log.of_kind(LogKind::Action)
        .map(|stored| {
            let entry = &stored.record.entry;
            ActionLine {
                time: time::to_the_second(entry.time),
                received: stored.received.map(|t| time::to_the_second(time::from_system(t))),
                user: entry.user.clone(),
                machine: entry.machine.clone(),
                action: entry.subject.clone(),
                detail: serde_json::from_str(&entry.body).unwrap_or_else(|_| entry.body.clone().into()),
                signer: hex(&stored.record.signer),
                signed: stored.signed,
                record: hex(&stored.hash),
            }
        })
        .collect()
}

/// A repository is read again so often at most, as far as this report looks.
const VERIFICATIONS_MAX: usize = 10_000;

/// Nothing where the catalog cannot be read: that is not known then, which is not "never".
fn verified(catalog: &Catalog, name: &str, since: i64) -> Option<Verified> {
    let all = catalog.verifications(name, VERIFICATIONS_MAX).ok()?;
    let reads = |v: &&Verification| v.ratio > 0.0 && v.error.is_none();
    let counted: Vec<&Verification> = all.iter().filter(reads).filter(|v| v.at >= since).collect();
    Some(Verified {
        times: counted.len(),
        share: counted.iter().map(|v| v.ratio).fold(0.0, |sum, ratio| sum + ratio).min(1.0),
        whole: all.iter().filter(reads).find(|v| v.ratio >= 1.0).map(|v| shown(v.at)),
        last: all.iter().find(reads).map(|v| shown(v.at)),
        damaged: all.iter().find(reads).map_or(0, |v| v.damaged),
    })
}
