//! Ages and the one sentence at the top, for people.

use super::page::{Besides, needing};
use super::{GoalKind, Posture, State};

/// A span in words: the two greatest units that matter.
pub fn span_words(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minute, hour, day) = (60, 3600, 86_400);
    let two = |whole: i64, unit: &str, rest: i64, smaller: &str| match rest {
        0 => format!("{whole} {unit}"),
        rest => format!("{whole} {unit} {rest} {smaller}"),
    };
    match seconds {
        s if s < minute => format!("{s} s"),
        s if s < hour => format!("{} min", s / minute),
        s if s < 10 * hour => two(s / hour, "h", s % hour / minute, "min"),
        s if s < 2 * day => format!("{} h", s / hour),
        s if s < 10 * day => two(s / day, "d", s % day / hour, "h"),
        s => format!("{} d", s / day),
    }
}

/// How long ago something was.
pub fn age_words(then: i64, now: i64) -> String {
    match now - then {
        0..=59 => "just now".into(),
        seconds if seconds < 0 => format!("in {}", span_words(-seconds)),
        seconds => format!("{} ago", span_words(seconds)),
    }
}

/// How the last attempts went, when so many in a row failed.
pub fn attempts_failed(n: u32) -> String {
    match n {
        1 => "the last attempt failed".into(),
        n => format!("the last {n} attempts failed"),
    }
}

/// Everything in one sentence. What failed when it was last tried is in it, also where every goal is met.
pub fn headline(posture: &Posture, besides: &[Besides<'_>]) -> String {
    if posture.sources.is_empty() {
        return "Nothing is protected: no source is named.".into();
    }
    let unmet = posture.unmet().count() + needing(besides);
    let failed = failed_words(posture, besides);
    if unmet == 0 {
        let begin = match &failed {
            Some(failed) => format!("Every goal is met, but {failed}."),
            None => "Everything is protected.".to_string(),
        };
        let oldest = posture.sources.iter().flat_map(|s| &s.pairs).max_by_key(|pair| pair.age);
        let gap = oldest.and_then(|pair| Some((pair, pair.age?)));
        return match gap {
            Some((pair, age)) => format!(
                "{begin} The oldest newest copy is {} old ({} in {}).",
                span_words(age),
                pair.source,
                pair.repository
            ),
            None => begin,
        };
    }
    let bare = posture.sources.iter().filter(|s| s.pairs.iter().all(|p| p.state == State::Never)).count();
    let old = posture.unmet().filter(|(_, goal)| goal.goal == GoalKind::MaxAge).count();
    let things = if unmet == 1 { "One thing needs you".into() } else { format!("{unmet} things need you") };
    match (bare, old) {
        (0, 0) => match failed {
            Some(failed) => format!("{things}. Every copy is young enough, but {failed}."),
            None => format!("{things}. Every copy is young enough."),
        },
        (0, 1) => format!("{things}. One source has a copy that is too old, or damaged."),
        (0, old) => format!("{things}. {old} sources have copies that are too old, or damaged."),
        (1, _) => format!("{things}. One source has no copy at all."),
        (bare, _) => format!("{things}. {bare} sources have no copy at all."),
    }
}

/// What failed when it was last tried: the first copy by its name, others by their number.
fn failed_words(posture: &Posture, besides: &[Besides<'_>]) -> Option<String> {
    let mut failed = posture.sources.iter().flat_map(|s| &s.pairs).filter(|pair| pair.failures > 0);
    let Some(first) = failed.next() else {
        return match besides.iter().filter(|thing| !thing.needs_you).count() {
            0 => None,
            1 => Some("one thing failed when it was last tried".into()),
            n => Some(format!("{n} things failed when they were last tried")),
        };
    };
    let others = match failed.count() {
        0 => String::new(),
        n => format!(", and of {n} more"),
    };
    let attempts = attempts_failed(first.failures);
    Some(format!("{attempts} ({} into {}{others})", first.source, first.repository))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_units_that_matter() {
        let all = [0, 59, 60, 3599, 3600, 5400, 36_000, 172_799, 172_800, 176_400, 900_000];
        let words: Vec<String> = all.into_iter().map(span_words).collect();
        let expected =
            ["0 s", "59 s", "1 min", "59 min", "1 h", "1 h 30 min", "10 h", "47 h", "2 d", "2 d 1 h", "10 d"];
        assert_eq!(words, expected);
        assert_eq!(age_words(100, 40), "in 1 min");
    }
}
