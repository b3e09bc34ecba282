//! What is known about the snapshots of a repository besides their records: what protects them, what was
//! confirmed, what speaks against them, and until when a forgotten one can be brought back.

use crate::display::safe;
use crate::failure::{Exit, Failure, Outcome};
use crate::open::{Opener, Place};
use crate::time;
use engine::retention::{Candidate, Doubt, doubts};
use format::id::SnapshotId;
use format::keep::Trust;
use format::kind::Timestamp;
use format::snapshot::Snapshot;
use repo::damage::read_marks;
use repo::heads::Gone;
use repo::protection::{Protection, Protections};
use repo::prune::PruneOptions;
use repo::seed::Seed;
use repo::snapshots::{SnapshotList, StoredSnapshot};
use repo::trust;
use repo::{Repo, RepoError};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// All snapshots of a repository, and what is known about them.
pub struct Known {
    /// The snapshots.
    pub list: SnapshotList,
    /// Those that this machine has seen and that are gone without having been forgotten.
    pub lost: Vec<Gone>,
    /// What protects them.
    pub protections: Protections,
    now: Timestamp,
    trust: BTreeMap<SnapshotId, Trust>,
    damaged: BTreeSet<SnapshotId>,
}

impl Known {
    /// Reads everything without writing anything; ages go by the clock of this machine, which shows `now`.
    pub fn read(opener: &Opener, place: &Place, repo: &Repo, now: Timestamp) -> Outcome<Self> {
        Self::with(opener.snapshots_and_lost(place, repo)?, repo, Protections::read_at(repo, now)?, now)
    }

    /// Reads everything in order to act on it: where ages or ends decide, the store is asked for its time.
    pub fn read_to_act(
        opener: &Opener,
        place: &Place,
        repo: &Repo,
        now: Timestamp,
        seed: &mut Seed,
    ) -> Outcome<Self> {
        let protections = Protections::read(repo, now, seed)?;
        Self::with(opener.snapshots_and_lost(place, repo)?, repo, protections, now)
    }

    fn with(
        (list, lost): (SnapshotList, Vec<Gone>),
        repo: &Repo,
        protections: Protections,
        now: Timestamp,
    ) -> Outcome<Self> {
        let trust = trust::read_all(repo)?;
        let damaged = read_marks(repo)?.snapshots.into_keys().collect();
        Ok(Known { list, lost, protections, now, trust, damaged })
    }

    /// Every snapshot as retention sees it; the policy is applied to what is in scope.
    pub fn candidates(&self, in_scope: impl Fn(&Snapshot) -> bool) -> Vec<Candidate<'_>> {
        let all = self.list.snapshots.iter().map(|stored| Candidate {
            snapshot: &stored.snapshot,
            received: stored.received.map(time::from_system),
            record_hash: stored.record_hash,
            trust: self.trust.get(&stored.snapshot.id),
            damaged: self.damaged.contains(&stored.snapshot.id),
            forgotten: stored.forgotten,
            in_scope: in_scope(&stored.snapshot),
            protections: self.protections_of(stored),
        });
        all.collect()
    }

    /// What protects one snapshot.
    pub fn protections_of(&self, stored: &StoredSnapshot) -> Vec<Protection> {
        self.protections.of(&stored.snapshot, stored.received)
    }

    /// What speaks against each snapshot of the list.
    pub fn doubts(&self) -> BTreeMap<SnapshotId, Vec<Doubt>> {
        let candidates = self.candidates(|_| true);
        let found = doubts(&candidates, self.now);
        candidates.iter().map(|c| c.snapshot.id).zip(found).collect()
    }

    /// Whether a snapshot is marked as one that cannot be restored completely.
    pub fn is_damaged(&self, id: &SnapshotId) -> bool {
        self.damaged.contains(id)
    }

    /// What may be said of another record of the same tree and time: it is as right or doubtful as this one.
    pub fn word(&self, stored: &StoredSnapshot, doubts: &[Doubt]) -> Trust {
        let said = self.trust.get(&stored.snapshot.id).filter(|word| word.record == stored.record_hash);
        Trust {
            snapshot: stored.snapshot.id,
            record: stored.record_hash,
            time: !doubts.iter().any(Doubt::keeps_until_confirmed),
            contents: said.is_some_and(|word| word.contents),
            made: self.now,
        }
    }

    /// What a list of snapshots tells about one, each in a few words.
    pub fn flags(&self, stored: &StoredSnapshot, doubts: &[Doubt]) -> Vec<String> {
        let mut flags = Vec::new();
        if let Some(until) = undo_until(stored) {
            flags.push(format!("forgotten, comes back until {}", time::shown(until)));
        }
        for protection in self.protections_of(stored) {
            flags.push(match protection {
                Protection::Held { name, .. } => format!("held by {}", safe(&name)),
                Protection::UnreadableHold(id) => format!("hold {id} cannot be read"),
                Protection::TooYoung { until } => format!("protected until {}", time::shown(until)),
            });
        }
        flags.extend(self.damaged.contains(&stored.snapshot.id).then(|| "damaged".to_string()));
        flags.extend(doubts.iter().map(|doubt| match doubt {
            Doubt::Late { .. } | Doubt::FromTheFuture { .. } => "unconfirmed".to_string(),
            Doubt::OutOfSequence(_) => "out of sequence".to_string(),
            Doubt::Shrunk { .. } => "suspicious".to_string(),
        }));
        flags
    }

    /// The same for programs.
    pub fn add_flags(&self, object: &mut Value, stored: &StoredSnapshot, doubts: &[Doubt]) {
        let mut held = Vec::new();
        let mut until = None;
        for protection in self.protections_of(stored) {
            match protection {
                Protection::Held { id, name, reason, end } => held.push(json!({
                    "id": id.hex(), "name": name, "reason": reason, "until": end.map(time::rfc3339),
                })),
                Protection::UnreadableHold(id) => held.push(json!({"id": id.hex()})),
                Protection::TooYoung { until: end } => until = Some(time::rfc3339(end)),
            }
        }
        object["holds"] = held.into();
        object["protected_until"] = until.into();
        object["undo_until"] = undo_until(stored).map(time::rfc3339).into();
        object["damaged"] = self.damaged.contains(&stored.snapshot.id).into();
        object["doubts"] = doubts.iter().map(ToString::to_string).collect::<Vec<_>>().into();
    }

    /// Which snapshots could not be judged, and why.
    pub fn unreadable(&self) -> Vec<String> {
        let line = |(id, e): (&SnapshotId, &RepoError)| {
            format!("snapshot {} cannot be read: {}", &id.hex()[..8], safe(&repo::reader::chain(e)))
        };
        self.list.unreadable.iter().map(|(id, e)| line((id, e))).collect()
    }
}

/// When a forgotten snapshot is beyond undoing, if nobody prunes with a shorter window before. The store's
/// clock counts where it tells the time.
pub fn undo_until(stored: &StoredSnapshot) -> Option<Timestamp> {
    let tomb = stored.tomb.as_ref()?;
    let since = tomb.received.map_or(tomb.tomb.time, time::from_system);
    let window = PruneOptions::new(since).undo_window.as_secs();
    Some(Timestamp { secs: since.secs.saturating_add_unsigned(window), ..since })
}

/// Why a protected snapshot is not forgotten, and what ends that.
pub fn refusal(short_id: &str, protection: &Protection) -> Failure {
    let refused = |why: String| Failure::new(Exit::Refused, format!("snapshot {short_id} {why}"));
    match protection {
        Protection::Held { name, reason, end, .. } => {
            let mut why = format!("is held by {:?}", safe(name));
            if !reason.is_empty() {
                why.push_str(&format!(" ({})", safe(reason)));
            }
            why.extend(end.map(|end| format!(" until {}", time::shown(end))));
            let hint =
                format!("end the hold with: lifeboat hold release {}", crate::display::shell_word(name));
            refused(why).hint(hint)
        }
        Protection::UnreadableHold(id) => {
            refused(format!("may be covered by hold {id}, which cannot be read"))
                .hint(format!("mend it with: lifeboat repair; or end it with: lifeboat hold release {id}"))
        }
        Protection::TooYoung { until } => {
            refused("has not reached the minimum age of this repository".into())
                .hint(format!("only time ends that: it can be forgotten from {} on", time::shown(*until)))
        }
    }
}
