//! The goals of a source: age, and the digits of 3-2-1-1-0.

use super::{DrillSeen, Goal, GoalKind, Immutability, Pair, PairSeen, Seen, SourceWanted, State, span_words};
use std::collections::BTreeSet;

/// The medium of the live data.
const LIVE_MEDIUM: &str = "disk";

pub(super) fn judge(source: &SourceWanted, pairs: &[Pair], seen: &Seen, now: i64) -> Vec<Goal> {
    // A copy on a disk that is away on purpose is a copy, as long as nobody misses it.
    // One on the disk of the live data dies with it, and is none.
    let counted: Vec<&Pair> = pairs
        .iter()
        .filter(|pair| matches!(pair.state, State::Good | State::Waiting) && !pair.same_disk)
        .collect();
    let same_disk = pairs.iter().filter(|p| p.same_disk && p.reason.is_empty());
    let same_disk = same_disk.map(|p| format!("{} lies on the same disk as the data", p.repository));
    let missing: Vec<String> =
        pairs.iter().filter(|p| !p.reason.is_empty()).map(|p| p.reason.clone()).chain(same_disk).collect();
    vec![
        max_age(source, pairs),
        copies(source, &counted, &missing, pairs.iter().any(|p| p.same_disk)),
        media(source, &counted),
        offsite(source, &counted, pairs),
        immutable(source, &counted, pairs),
        verified(source, pairs, seen, now),
        drilled(source, seen, now),
    ]
}

fn goal(goal: GoalKind, have: usize, want: u32, reason: String, fix: &str) -> Goal {
    let have = u32::try_from(have).unwrap_or(u32::MAX);
    let met = have >= want;
    Goal { goal, met, have, want, reason, fix: if met { String::new() } else { fix.to_string() } }
}

fn max_age(source: &SourceWanted, pairs: &[Pair]) -> Goal {
    let bad: Vec<&Pair> = pairs.iter().filter(|p| !matches!(p.state, State::Good | State::Waiting)).collect();
    let reason = match &bad[..] {
        [] if pairs.is_empty() => "no repository holds it".to_string(),
        [] => {
            let oldest = pairs.iter().filter_map(|p| p.age).max().unwrap_or(0);
            format!("every copy is young enough; the oldest is {} old", span_words(oldest))
        }
        bad => bad.iter().map(|pair| pair.reason.as_str()).collect::<Vec<_>>().join("; "),
    };
    let damaged = bad.iter().find(|pair| pair.state == State::Damaged);
    let unseen = bad.iter().all(|pair| pair.state == State::Unseen);
    let fix = match (damaged, unseen) {
        (Some(pair), _) => format!("lifeboat repair -r {}", pair.repository),
        (None, true) => "lifeboat status --look always".to_string(),
        _ => source.run.clone(),
    };
    let met = bad.is_empty() && !pairs.is_empty();
    let want = pairs.len().max(1);
    Goal {
        goal: GoalKind::MaxAge,
        met,
        have: (pairs.len() - bad.len()) as u32,
        want: want as u32,
        reason,
        fix: if met { String::new() } else { fix },
    }
}

fn names(pairs: &[&Pair]) -> String {
    pairs.iter().map(|p| p.repository.as_str()).collect::<Vec<_>>().join(", ")
}

fn copies(source: &SourceWanted, counted: &[&Pair], missing: &[String], same_disk: bool) -> Goal {
    let have = counted.len() + 1;
    let mut reason = match counted {
        [] => "only the live data".to_string(),
        some => format!("the live data, and {}", names(some)),
    };
    let enough_places = source.pairs.len() + 1 >= source.copies as usize;
    if have < source.copies as usize && !missing.is_empty() {
        reason = format!("{reason}; {}", missing.join("; "));
    }
    let fix = if enough_places && !same_disk { source.run.as_str() } else { ADD_PLACE };
    goal(GoalKind::Copies, have, source.copies, reason, fix)
}

/// What to do when not enough repositories are named.
const ADD_PLACE: &str = "lifeboat config edit (add a repository, and name it in the job's `to`)";

fn media(source: &SourceWanted, counted: &[&Pair]) -> Goal {
    let kinds: BTreeSet<&str> =
        counted.iter().map(|p| p.medium.as_str()).chain([LIVE_MEDIUM]).filter(|m| !m.is_empty()).collect();
    let reason = kinds.iter().copied().collect::<Vec<_>>().join(", ");
    goal(GoalKind::Media, kinds.len(), source.media, reason, ADD_PLACE)
}

/// Why a copy does not count, and what helps.
fn why_not<'s>(pair: &Pair, source: &'s SourceWanted) -> (String, &'s str) {
    match pair.same_disk && pair.reason.is_empty() {
        true => (format!("{} lies on the same disk as the data", pair.repository), ADD_PLACE),
        false => (pair.reason.clone(), source.run.as_str()),
    }
}

fn offsite(source: &SourceWanted, counted: &[&Pair], all: &[Pair]) -> Goal {
    let away: Vec<&Pair> = counted.iter().copied().filter(|p| p.offsite).collect();
    let (reason, fix) = match (&away[..], all.iter().find(|p| p.offsite)) {
        ([], Some(pair)) => {
            let (why, fix) = why_not(pair, source);
            (format!("the copy elsewhere does not count: {why}"), fix)
        }
        ([], None) => {
            ("every copy is in this building: a fire or a burglar takes all".to_string(), ADD_PLACE)
        }
        (some, _) => (names(some), ADD_PLACE),
    };
    goal(GoalKind::Offsite, away.len(), source.offsite, reason, fix)
}

fn immutable(source: &SourceWanted, counted: &[&Pair], all: &[Pair]) -> Goal {
    let kept: Vec<&Pair> = counted.iter().copied().filter(|p| p.immutable != Immutability::No).collect();
    let how = |pair: &&Pair| match pair.immutable {
        Immutability::Proven => format!("{} (proven)", pair.repository),
        _ => format!("{} (claimed, not tried)", pair.repository),
    };
    let aside = all.iter().find(|p| p.immutable != Immutability::No);
    let edit = "lifeboat config edit (set `immutable` on a repository with object lock, or rotate disks)";
    let (reason, fix) = match (&kept[..], aside) {
        ([], Some(pair)) => {
            let (why, fix) = why_not(pair, source);
            (format!("the copy that cannot be deleted does not count: {why}"), fix)
        }
        ([], None) if all.iter().any(|p| p.deletable != Some(false)) => {
            ("whoever takes over this machine can delete every copy".to_string(), edit)
        }
        ([], None) => ("no place is known to refuse deletion".to_string(), edit),
        (some, _) => (some.iter().map(how).collect::<Vec<_>>().join(", "), edit),
    };
    goal(GoalKind::Immutable, kept.len(), source.immutable, reason, fix)
}

fn verified(source: &SourceWanted, pairs: &[Pair], seen: &Seen, now: i64) -> Goal {
    let Some(within) = source.verified_within else {
        return goal(GoalKind::Verified, 0, 0, "nobody asked for it".to_string(), "");
    };
    let of = |repository: &str| seen.places.iter().find(|p| p.repository == repository);
    let damaged = pairs.iter().find(|p| of(&p.repository).is_some_and(|place| place.damaged.is_some()));
    if let Some(pair) = damaged {
        let fix = format!("lifeboat repair -r {}", pair.repository);
        let reason = format!("{}: damage was found", pair.repository);
        return goal(GoalKind::Verified, 0, 1, reason, &fix);
    }
    // A place that has nothing yet is told under the other digits.
    let judged = pairs.iter().filter_map(|pair| {
        let first = first_of(seen, source, &pair.repository)?;
        let since = pair.verified.unwrap_or(first);
        Some((pair, pair.verified.is_some(), now - since))
    });
    let judged: Vec<_> = judged.collect();
    let late: Vec<_> = judged.iter().filter(|(.., age)| *age > within).collect();
    if let Some((pair, ever, age)) = late.first() {
        let (age, within) = (span_words(*age), span_words(within));
        let reason = match ever {
            true => format!("{}: last read in full {age} ago, {within} is allowed", pair.repository),
            false => format!("{}: holds copies for {age} and was never read in full", pair.repository),
        };
        return goal(
            GoalKind::Verified,
            0,
            1,
            reason,
            &format!("lifeboat check --read-data -r {}", pair.repository),
        );
    }
    let reason = match judged.iter().filter(|(_, ever, _)| !ever).count() {
        _ if judged.is_empty() => "nothing is stored yet".to_string(),
        0 => "all that is stored was read again, without an error".to_string(),
        _ => "not read again yet; it is too new for that".to_string(),
    };
    goal(GoalKind::Verified, usize::from(!judged.is_empty()), 1, reason, &source.run)
}

fn first_of(seen: &Seen, source: &SourceWanted, repository: &str) -> Option<i64> {
    let fits = |p: &&PairSeen| p.source == source.name && p.repository == repository;
    seen.pairs.iter().find(fits).and_then(|p| p.first)
}

fn drilled(source: &SourceWanted, seen: &Seen, now: i64) -> Goal {
    let Some(within) = source.drilled_within else {
        return goal(GoalKind::Drilled, 0, 0, "nobody asked for it".to_string(), "");
    };
    let none = DrillSeen::default();
    let drill = seen.drills.iter().find(|d| d.source == source.name).unwrap_or(&none);
    if let Some((failed, repository)) = &drill.failed {
        let reason = format!("a test restore from {repository} failed, {}", super::age_words(*failed, now));
        return goal(GoalKind::Drilled, 0, 1, reason, &source.drill);
    }
    let first = source.pairs.iter().filter_map(|p| first_of(seen, source, &p.repository)).min();
    match (drill.passed, first) {
        (Some(passed), _) if now - passed <= within => {
            let reason = format!("restored on trial {}", super::age_words(passed, now));
            goal(GoalKind::Drilled, 1, 1, reason, "")
        }
        (Some(passed), _) => {
            let (ago, within) = (super::age_words(passed, now), span_words(within));
            let reason = format!("last restored on trial {ago}, {within} is allowed");
            goal(GoalKind::Drilled, 0, 1, reason, &source.drill)
        }
        (None, Some(first)) if now - first <= within => {
            let due = span_words(within - (now - first));
            goal(GoalKind::Drilled, 1, 1, format!("not restored on trial yet; due within {due}"), "")
        }
        (None, Some(_)) => {
            goal(GoalKind::Drilled, 0, 1, "never restored on trial".to_string(), &source.drill)
        }
        (None, None) => goal(GoalKind::Drilled, 0, 1, "nothing is stored yet".to_string(), &source.run),
    }
}
