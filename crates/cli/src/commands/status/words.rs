//! The status in words, as JSON and as metrics.

use crate::display::safe;
use crate::error::{Outcome, local};
use crate::session::Session;
use crate::time;
use format::kind::Timestamp;
use serde_json::{Value, json};
use service::catalog::Catalog;
use service::config::Config;
use service::kit::Standing;
use service::metrics;
use service::posture::{Goal, GoalKind, Immutability, Pair, State, age_words, span_words};
use service::watching::{self, Found};
use std::path::Path;

pub(super) fn print(session: &Session, found: &Found, kit: &Standing) -> Outcome<()> {
    if session.out.json {
        let mut object = object(found);
        object["kit"] = json!(kit.word());
        return session.out.object(&object);
    }
    let out = &session.out;
    out.line(safe(&found.headline()))?;
    for source in &found.posture.sources {
        out.line("")?;
        out.line(safe(&source.source))?;
        let lines = source.pairs.iter().map(|pair| pair_cells(pair, found.posture.now)).collect::<Vec<_>>();
        for line in super::super::snapshots::columns(&lines) {
            out.line(format!("  {line}"))?;
        }
        for goal in &source.goals {
            if let Some(line) = goal_line(goal, out.verbose > 0) {
                out.line(format!("  {line}"))?;
            }
            if !goal.met && !goal.fix.is_empty() {
                out.line(format!("      {}", safe(&goal.fix)))?;
            }
        }
    }
    others(session, found)?;
    match kit.reminder() {
        Some(reminder) => session.out.line(format!("\nreminder: {reminder}")),
        None => Ok(()),
    }
}

/// What is wrong besides: what is no goal of a source.
fn others(session: &Session, found: &Found) -> Outcome<()> {
    let rest: Vec<_> = found.further().collect();
    if !rest.is_empty() {
        session.out.line("")?;
    }
    for problem in rest {
        session.out.line(format!("{}: {}", problem.kind.as_str(), safe(&problem.text)))?;
        if !problem.fix.is_empty() {
            session.out.line(format!("      {}", safe(&problem.fix)))?;
        }
    }
    Ok(())
}

fn pair_cells(pair: &Pair, now: i64) -> [String; 6] {
    let state = match pair.state {
        State::Good if pair.failures > 0 => "good, LAST ATTEMPT FAILED",
        State::Good => "good",
        State::Waiting => "waits for its disk",
        State::Unseen => "not looked at lately",
        State::Stale => "TOO OLD",
        State::Never => "NO COPY",
        State::Damaged => "DAMAGED",
    };
    let proof = |what: &str, at: Option<i64>| match at {
        Some(at) => format!("{what} {}", age_words(at, now)),
        None => format!("never {what}"),
    };
    let place = match (pair.location.is_empty(), pair.offsite) {
        (true, false) => pair.medium.clone(),
        (true, true) => format!("{}, elsewhere", pair.medium),
        (false, false) => format!("{}, {}", pair.medium, pair.location),
        (false, true) => format!("{}, {}, elsewhere", pair.medium, pair.location),
    };
    let place = if pair.same_disk { format!("{place}, the disk of the data") } else { place };
    let kept = match (pair.immutable, pair.deletable) {
        (Immutability::No, _) if pair.away => "",
        (Immutability::Proven, _) => "; refuses to delete (proven)",
        (Immutability::Claimed, _) => "; refuses to delete (claimed)",
        (Immutability::No, Some(false)) => "",
        (Immutability::No, _) => "; this machine can delete it",
    };
    [
        safe(&pair.repository),
        pair.age.map_or_else(|| "-".into(), |age| format!("{} old", span_words(age))),
        state.to_string(),
        proof("read", pair.verified),
        proof("drilled", pair.drilled),
        format!("{}{kept}", safe(&place)),
    ]
}

fn goal_line(goal: &Goal, all: bool) -> Option<String> {
    let name = match goal.goal {
        GoalKind::MaxAge => "age",
        GoalKind::Copies => "3 copies",
        GoalKind::Media => "2 media",
        GoalKind::Offsite => "1 offsite",
        GoalKind::Immutable => "1 immutable",
        GoalKind::Verified => "0 errors read",
        GoalKind::Drilled => "0 errors restored",
    };
    // The digits are those that are wanted.
    let name = match goal.goal {
        GoalKind::Copies | GoalKind::Media | GoalKind::Offsite | GoalKind::Immutable => {
            format!("{}{}", goal.want, &name[1..])
        }
        _ => name.to_string(),
    };
    let counted = match goal.goal {
        GoalKind::Copies | GoalKind::Media | GoalKind::Offsite | GoalKind::Immutable => {
            format!(" ({} of {})", goal.have, goal.want)
        }
        _ => String::new(),
    };
    match goal.met {
        true if !all => None,
        true => Some(format!("ok   {name}: {}", safe(&goal.reason))),
        false => Some(format!("NOT  {name}{counted}: {}", safe(&goal.reason))),
    }
}

fn object(found: &Found) -> Value {
    let time = |secs: i64| time::rfc3339(Timestamp { secs, nanos: 0 });
    let duties = found.duties.iter().map(|(wanted, record)| {
        json!({
            "duty": wanted.duty.as_str(), "subject": wanted.subject, "within": wanted.within,
            "last_success": record.as_ref().and_then(|r| r.succeeded).map(time),
            "failures": record.as_ref().map_or(0, |r| r.failures),
        })
    });
    json!({
        "message_type": "status", "time": time(found.posture.now), "machine": found.posture.machine,
        "headline": found.headline(), "met": found.posture.met, "sources": found.posture.sources,
        "repositories": found.posture.places, "problems": found.problems, "notifiers": found.notifiers,
        "duties": duties.collect::<Vec<_>>(),
        "suspicions": found.suspicions.iter().filter(|s| s.acknowledged.is_none()).collect::<Vec<_>>(),
    })
}

/// Writes the metrics for a collector of files.
pub(super) fn metrics(path: &Path, found: &Found, catalog: &Catalog, config: &Config) -> Outcome<()> {
    let text = watching::metrics_text(found, config, catalog, env!("CARGO_PKG_VERSION"))?;
    let written = metrics::write_textfile(path, &text);
    written.map_err(|e| local(format!("cannot write the metrics into {}", path.display()), e))
}
