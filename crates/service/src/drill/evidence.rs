//! What a drill leaves behind: enough for an auditor to say what was proven, from where, by which program, and
//! how long it took.

use super::choose::{Age, Part, SourceKey};
use super::proof::Leaves;
use super::{DrillOutcome, Problem};
use format::id::hex;
use format::kind::Timestamp;
use format::log::LogKind;
use repo::log::Log;
use serde::{Deserialize, Serialize};

/// The subject of the log record.
pub const SUBJECT: &str = "drill";

/// What became of live files that were compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LiveCounts {
    /// Equal to what came back.
    pub equal: u64,
    /// Changed since the snapshot, as their metadata says; not compared.
    pub changed: u64,
    /// Not there any more.
    pub gone: u64,
    /// Could not be read.
    pub unreadable: u64,
    /// Unchanged by their metadata, and with other contents.
    pub differs: u64,
}

/// How a drill ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResultWord {
    /// Everything came back as it was saved, within its goals.
    Passed,
    /// Everything came back, and a goal (time to restore, age) is not met.
    GoalNotMet,
    /// Something came back other than it was saved, or an assertion failed.
    Failed,
    /// Stored data is missing or changed.
    Damaged,
}

impl ResultWord {
    /// Whether what was restored is as it was saved, in time or not.
    pub fn is_proof(self) -> bool {
        matches!(self, ResultWord::Passed | ResultWord::GoalNotMet)
    }

    /// As people read it.
    pub fn as_str(self) -> &'static str {
        match self {
            ResultWord::Passed => "passed",
            ResultWord::GoalNotMet => "goal not met",
            ResultWord::Failed => "failed",
            ResultWord::Damaged => "damage found",
        }
    }
}

/// A goal and what was measured against it, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The goal, if one was set.
    pub goal: Option<f64>,
    /// What was measured.
    pub seconds: f64,
    /// Whether the goal is met; so where there is none.
    pub met: bool,
}

impl Measured {
    /// Compares.
    pub fn new(goal: Option<f64>, seconds: f64) -> Self {
        Measured { goal, seconds, met: goal.is_none_or(|goal| seconds <= goal) }
    }
}

/// A question about what came back: a command that judges a folder, a query of a database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asserted {
    /// The question.
    pub question: String,
    /// The answer.
    pub answer: String,
    /// Whether it is the right one.
    pub ok: bool,
}

/// The evidence of one drill.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The drill's name.
    pub name: String,
    /// When it began: Unix seconds.
    pub started: i64,
    /// From where, as it is given to `-r`; holds no secret.
    pub location: String,
    /// The version of the program.
    pub program: String,
    /// The source's name in the configuration, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_name: Option<String>,
    /// What was restored.
    pub source: SourceKey,
    /// The snapshot, in hex.
    pub snapshot: String,
    /// When the snapshot was made: Unix seconds.
    pub snapshot_time: i64,
    /// Which of the source's snapshots it is.
    pub age: Age,
    /// Which part of it.
    pub part: Part,
    /// Paths that are restored in every drill.
    #[serde(default)]
    pub critical: Vec<String>,
    /// Files, and bytes of them, that came back.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
    /// Paths of any kind.
    pub entries: u64,
    /// Entries of the whole snapshot.
    pub entries_total: u64,
    /// Bytes of the whole snapshot.
    pub bytes_total: u64,
    /// The leaves of the snapshot's tree that were restored and compared, byte for byte.
    #[serde(default, skip_serializing_if = "Leaves::is_empty")]
    pub leaves: Leaves,
    /// Bytes hashed again.
    pub bytes_hashed: u64,
    /// Attributes compared.
    pub attributes: u64,
    /// What became of live files.
    pub live: LiveCounts,
    /// How long the restore of this part took.
    pub restore_seconds: f64,
    /// How long a restore of everything takes, by that.
    pub full_restore: Measured,
    /// How old the newest snapshot of the source was.
    pub data_age: Measured,
    /// What else was asked of what came back.
    #[serde(default)]
    pub asserts: Vec<Asserted>,
    /// What is wrong: the first ones.
    pub problems: Vec<Problem>,
    /// How many there are.
    pub problems_count: u64,
    /// Of these, damage.
    pub damage_count: u64,
    /// How it ended.
    pub result: ResultWord,
}

/// What is known of a drill before its result.
pub struct Facts<'f> {
    /// The drill's name.
    pub name: &'f str,
    /// When it began.
    pub started: Timestamp,
    /// From where.
    pub location: &'f str,
    /// The version of the program.
    pub program: &'f str,
    /// The source's name in the configuration, if it has one.
    pub source_name: Option<String>,
    /// What was restored.
    pub source: SourceKey,
    /// The snapshot.
    pub snapshot: &'f format::snapshot::Snapshot,
    /// When the newest snapshot of the source was made.
    pub newest: Timestamp,
    /// Which of the source's snapshots.
    pub age: Age,
    /// Which part.
    pub part: Part,
    /// Paths in every drill.
    pub critical: Vec<String>,
    /// The goal for a restore of everything, in seconds.
    pub rto: Option<f64>,
    /// The goal for the age of the newest snapshot, in seconds.
    pub rpo: Option<f64>,
}

fn result_of(outcome: &DrillOutcome, full_restore: &Measured, data_age: &Measured) -> ResultWord {
    match outcome {
        o if o.damage_count > 0 => ResultWord::Damaged,
        o if o.problems_count > 0 || o.asserts.iter().any(|a| !a.ok) => ResultWord::Failed,
        _ if !full_restore.met || !data_age.met => ResultWord::GoalNotMet,
        _ => ResultWord::Passed,
    }
}

impl Evidence {
    /// Judges a drill.
    pub fn new(facts: Facts<'_>, outcome: &DrillOutcome) -> Self {
        let full_restore = Measured::new(facts.rto, outcome.extrapolated().as_secs_f64());
        let age = (facts.started.secs - facts.newest.secs).max(0) as f64;
        let data_age = Measured::new(facts.rpo, age);
        let result = result_of(outcome, &full_restore, &data_age);
        Evidence {
            name: facts.name.into(),
            started: facts.started.secs,
            location: facts.location.into(),
            program: facts.program.into(),
            source_name: facts.source_name,
            source: facts.source,
            snapshot: facts.snapshot.id.hex(),
            snapshot_time: facts.snapshot.time.secs,
            age: facts.age,
            part: facts.part,
            critical: facts.critical,
            files: outcome.files,
            bytes: outcome.bytes,
            entries: outcome.entries,
            entries_total: outcome.whole.0,
            bytes_total: outcome.whole.1,
            leaves: outcome.leaves.clone(),
            bytes_hashed: outcome.bytes_hashed,
            attributes: outcome.attributes,
            live: outcome.live,
            restore_seconds: outcome.restore.as_secs_f64(),
            full_restore,
            data_age,
            asserts: outcome.asserts.clone(),
            problems: outcome.problems.clone(),
            problems_count: outcome.problems_count,
            damage_count: outcome.damage_count,
            result,
        }
    }
}

/// A drill as the log of a repository tells it.
#[derive(Clone, Debug)]
pub struct Drilled {
    /// What it proved.
    pub evidence: Evidence,
    /// The machine that held it.
    pub machine: String,
    /// Who was logged in there.
    pub user: String,
    /// The key it signed with, in hex.
    pub signer: String,
    /// Whether the signature is right.
    pub signed: bool,
    /// The hash of the record, in hex.
    pub record: String,
}

/// All drills of a log, oldest first. Records that hold no evidence this version can read are counted.
pub fn evidence_of(log: &Log) -> (Vec<Drilled>, u64) {
    let (mut drills, mut unread) = (Vec::new(), 0);
    for stored in log.of_kind(LogKind::Drill) {
        match serde_json::from_str::<Evidence>(&stored.record.entry.body) {
            Ok(evidence) => drills.push(Drilled {
                evidence,
                machine: stored.record.entry.machine.clone(),
                user: stored.record.entry.user.clone(),
                signer: hex(&stored.record.signer),
                signed: stored.signed,
                record: hex(&stored.hash),
            }),
            Err(_) => unread += 1,
        }
    }
    drills.sort_by_key(|drill| drill.evidence.started);
    (drills, unread)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn outcome(damage_count: u64, problems_count: u64, ok: bool) -> DrillOutcome {
        DrillOutcome {
            entries: 100,
            bytes: 0,
            whole: (1000, 0),
            restore: Duration::from_secs(6),
            asserts: vec![Asserted { question: "?".into(), answer: "!".into(), ok }],
            damage_count,
            problems_count,
            ..DrillOutcome::default()
        }
    }

    #[test]
    fn damage_is_worse_than_a_difference_and_that_than_a_goal() {
        let judge = |outcome: &DrillOutcome, rto: Option<f64>| {
            let full = Measured::new(rto, outcome.extrapolated().as_secs_f64());
            result_of(outcome, &full, &Measured::new(None, 1.0))
        };
        assert_eq!(judge(&outcome(1, 2, false), Some(1.0)), ResultWord::Damaged);
        assert_eq!(judge(&outcome(0, 1, true), Some(1.0)), ResultWord::Failed);
        assert_eq!(judge(&outcome(0, 0, false), Some(1.0)), ResultWord::Failed);
        assert_eq!(judge(&outcome(0, 0, true), Some(59.0)), ResultWord::GoalNotMet, "a tenth took 6 s");
        assert_eq!(judge(&outcome(0, 0, true), Some(61.0)), ResultWord::Passed);
        assert_eq!(judge(&outcome(0, 0, true), None), ResultWord::Passed);
    }
}
