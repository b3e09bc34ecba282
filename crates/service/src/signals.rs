//! Signs of an attack on the files themselves: an encryptor at work, seen on the first snapshot after it.
//!
//! Four signs, each with a floor, so that a handful of files never raises an alarm: contents that turned random
//! and replace what was there; endings that changed in masses; too large a share of the contents changed at once;
//! a canary touched. Ordinary changes do not show them: what is compressed says so in its first bytes, and new
//! random files that replace nothing (archives, encrypted backups) are no sign.
//!
//! What follows from a suspicion: it is told, the last good snapshots are held if the source says so, and retention
//! takes nothing of the source away until a person has said that it is in order. Older snapshots are never touched.

use crate::config::sources::Ransomware;
use crate::failure::Outcome;
use engine::backup::Signs;
use format::id::{HoldId, SnapshotId};
use format::keep::{Covers, Hold};
use format::kind::{Kind, Timestamp};
use format::snapshot::{Snapshot, Stats};
use format::tree::KeyPath;
use repo::Repo;
use repo::browse::{self, Change};
use repo::holds::{self, Holds};
use repo::reader::Reader;
use repo::seed::Seed;
use std::collections::{BTreeMap, HashMap};

/// Fewer random files than this are no sign.
pub const RANDOM_FILES_MIN: u64 = 20;
/// Fewer changed endings than this are no sign.
pub const RENAMED_FILES_MIN: u64 = 40;
/// Sources with fewer files than this have no usual share of changes.
pub const SOURCE_FILES_MIN: u64 = 100;
/// A share of all files whose endings change at once.
const RENAMED_RATIO: f64 = 0.1;
/// Good snapshots that are held.
const HELD_SNAPSHOTS: usize = 3;

/// What was seen of a snapshot, compared with the one before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Files there were before.
    pub files_before: u64,
    /// Files there are only now.
    pub files_new: u64,
    /// Files there were only before.
    pub files_removed: u64,
    /// What the new contents look like.
    pub signs: Signs,
    /// Files that are gone while one of the same name with another or a further ending came, by that ending.
    pub renamed: BTreeMap<String, u64>,
    /// Canaries that changed or are gone.
    pub canaries: Vec<String>,
}

fn files(stats: &Stats) -> u64 {
    stats.files_new + stats.files_changed + stats.files_unmodified
}

/// What the sums of a run say.
pub fn observe(before: &Snapshot, stats: &Stats, signs: Signs) -> Observed {
    let files_before = files(&before.stats);
    let files_removed = files_before.saturating_sub(stats.files_changed + stats.files_unmodified);
    Observed { files_before, files_new: stats.files_new, files_removed, signs, ..Observed::default() }
}

/// Whether the two trees should be compared by name: enough came and went.
pub fn wants_names(observed: &Observed) -> bool {
    observed.files_removed >= RENAMED_FILES_MIN && observed.files_new >= RENAMED_FILES_MIN
}

/// Adds what the names tell: the trees of two snapshots are compared, which costs what is different.
pub fn observe_names(
    reader: &Reader,
    before: &Snapshot,
    after: &Snapshot,
    observed: &mut Observed,
) -> repo::RepoResult<()> {
    let (mut gone, mut come): (Vec<Vec<u8>>, Vec<Vec<u8>>) = Default::default();
    browse::diff(reader, before.root, after.root, &mut |key, change| {
        match change {
            Change::Removed(entry) if entry.kind() == Kind::File => gone.push(key.to_vec()),
            Change::Added(entry) if entry.kind() == Kind::File => come.push(key.to_vec()),
            _ => {}
        }
        Ok(())
    })?;
    observed.renamed = renamed(&gone, &come);
    Ok(())
}

/// Pairs what went with what came in the same folder under the same name but for the ending; counts by the new
/// ending.
fn renamed(gone: &[Vec<u8>], come: &[Vec<u8>]) -> BTreeMap<String, u64> {
    // Of a.docx both a.docx.locked and a.locked are heirs.
    let mut heirs: HashMap<&[u8], u32> = HashMap::new();
    for key in gone {
        *heirs.entry(key).or_default() += 1;
        *heirs.entry(without_ending(key)).or_default() += 1;
    }
    let mut counts = BTreeMap::new();
    for key in come {
        let stem = without_ending(key);
        if stem.len() < key.len() && heirs.contains_key(stem) {
            let ending = String::from_utf8_lossy(&key[stem.len()..]).into_owned();
            *counts.entry(ending).or_default() += 1;
        }
    }
    counts
}

/// A key without the last ending of its name.
fn without_ending(key: &[u8]) -> &[u8] {
    let name = KeyPath::parse(key).map_or(0, |path| path.name.len());
    let start = key.len() - name;
    match key[start..].iter().rposition(|b| *b == b'.') {
        Some(dot) if dot > 0 => &key[..start + dot],
        _ => key,
    }
}

/// What speaks for an attack, in words; nothing when nothing does.
pub fn judge(observed: &Observed, limits: &Ransomware) -> Vec<String> {
    let mut reasons = Vec::new();
    for canary in &observed.canaries {
        reasons.push(format!("the canary {canary} was touched"));
    }
    let Observed { signs, files_before, files_removed, .. } = observed;
    let random = signs.changed_random + signs.new_random;
    // Random files that replace nothing are somebody's archive.
    let replacing = signs.changed_random + signs.new_random.min(*files_removed);
    let judged = signs.changed_judged + signs.new_judged;
    if replacing >= RANDOM_FILES_MIN && share(random, judged) > limits.max_high_entropy_ratio {
        let percent = (share(random, judged) * 100.0).round();
        reasons.push(format!(
            "{replacing} files were replaced by what looks encrypted ({percent} % of what is new)"
        ));
    }
    if let Some((ending, count)) = observed.renamed.iter().max_by_key(|(_, count)| **count)
        && *count >= RENAMED_FILES_MIN
        && share(*count, *files_before) > RENAMED_RATIO
    {
        reasons.push(format!("{count} files got the ending {ending:?} at once"));
    }
    if *files_before >= SOURCE_FILES_MIN {
        let touched = signs.changed + (*files_removed).min(observed.files_new);
        let ratio = share(touched, *files_before);
        if ratio > limits.max_changed_ratio {
            let percent = (ratio * 100.0).round();
            reasons.push(format!("{percent} % of all files changed at once"));
        }
    }
    reasons
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Holds the newest good snapshots from before a suspicion; the name says which, and doing it twice is once.
pub fn hold_good(
    repo: &Repo,
    source: &str,
    suspicious: &SnapshotId,
    good: &[SnapshotId],
    why: &str,
    now: Timestamp,
    seed: &mut Seed,
) -> Outcome<String> {
    let name = format!("before-{}-{}", source, &suspicious.hex()[..8]);
    if good.is_empty() || Holds::read(repo)?.holds.iter().any(|hold| hold.name == name) {
        return Ok(name);
    }
    let covers = Covers::Snapshots(good.iter().rev().take(HELD_SNAPSHOTS).copied().collect());
    let hold = Hold {
        id: HoldId(seed.draw()),
        name: name.clone(),
        reason: why.to_string(),
        made: now,
        end: None,
        covers,
    };
    holds::add(repo, &hold, seed)?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use format::tree::PathKey;

    fn key(name: &str) -> Vec<u8> {
        PathKey::child(b"/\0home\0", name.as_bytes())
    }

    fn limits() -> Ransomware {
        Ransomware::default()
    }

    #[test]
    fn heirs_are_known_by_their_names() {
        let gone = ["a.docx", "b.xlsx", "c", ".bashrc", "d.log"].map(key);
        let come = ["a.docx.locked", "b.locked", "c.locked", "e.locked", ".profile", "d.log.gz"].map(key);
        let counts = renamed(&gone, &come);
        assert_eq!(counts, BTreeMap::from([(".locked".to_string(), 3), (".gz".to_string(), 1)]));
        assert_eq!(without_ending(&key(".bashrc")), key(".bashrc"));
    }

    #[test]
    fn each_sign_has_its_floor() {
        let mut seen = Observed { files_before: 1000, ..Observed::default() };
        seen.signs = Signs { changed: 19, changed_judged: 19, changed_random: 19, ..Signs::default() };
        assert_eq!(judge(&seen, &limits()), [] as [&str; 0]);
        seen.signs = Signs { changed: 20, changed_judged: 20, changed_random: 20, ..Signs::default() };
        assert_eq!(
            judge(&seen, &limits()),
            ["20 files were replaced by what looks encrypted (100 % of what is new)"]
        );
        // A thousand new archives replace nothing.
        seen.signs = Signs { new_judged: 1000, new_random: 1000, ..Signs::default() };
        seen.files_new = 1000;
        assert_eq!(judge(&seen, &limits()), [] as [&str; 0]);
        seen.signs = Signs::default();
        seen.renamed = BTreeMap::from([(".locked".to_string(), 101)]);
        assert_eq!(judge(&seen, &limits()), ["101 files got the ending \".locked\" at once"]);
        seen.renamed.clear();
        seen.signs.changed = 401;
        assert_eq!(judge(&seen, &limits()), ["40 % of all files changed at once"]);
        let canary = Observed { canaries: vec!["/home/.canary".into()], ..Observed::default() };
        assert_eq!(judge(&canary, &limits()), ["the canary /home/.canary was touched"]);
    }
}
