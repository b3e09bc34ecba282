//! Policies over a history made by hand, with what they keep worked out by hand.

use super::*;

/// 2026 begins on a Thursday and so has 53 weeks; the first three days of 2027 belong to its last one.
const HISTORY: [(char, &str); 12] = [
    ('a', "2026-01-01T08:00:00Z"), // Thursday, week 1
    ('b', "2026-01-01T20:00:00Z"),
    ('c', "2026-01-02T08:00:00Z"),
    ('d', "2026-01-04T08:00:00Z"), // Sunday, week 1
    ('e', "2026-01-05T08:00:00Z"), // Monday, week 2
    ('f', "2026-02-01T00:30:00Z"), // Sunday, week 5
    ('g', "2026-02-01T01:10:00Z"),
    ('h', "2026-03-15T12:00:00Z"),
    ('i', "2026-12-31T23:00:00Z"), // Thursday, week 53
    ('j', "2027-01-01T01:00:00Z"),
    ('k', "2027-01-03T10:00:00Z"), // Sunday, week 53
    ('l', "2027-01-04T00:00:00Z"), // Monday, week 1
];

fn history() -> Vec<Made> {
    let made = |(n, (_, time)): (usize, &(char, &str))| {
        let time: jiff::Timestamp = time.parse().unwrap();
        Made::at(n as u32, secs(time.as_second()))
    };
    HISTORY.iter().enumerate().map(made).collect()
}

fn letters(snapshots: &[Made], policy: &Policy, zone: &TimeZone) -> String {
    let candidates: Vec<Candidate<'_>> = snapshots.iter().map(Made::candidate).collect();
    let request = Request { policy, group_by: GroupBy::default(), now: LATER, zone };
    let decision = decide(&candidates, &request).unwrap();
    let letter = |id: SnapshotId| HISTORY[id.0[3] as usize].0;
    kept_ids(&decision).into_iter().map(letter).collect()
}

#[test]
fn counts_keep_the_newest_of_each_period_and_the_oldest_while_they_are_not_used_up() {
    for (policy, expected) in [
        ("3", "jkl"),
        ("100", "abcdefghijkl"),
        ("3h", "jkl"),
        ("4d", "ijkl"),
        ("10d", "bcdeghijkl"),
        ("11d", "abcdeghijkl"), // a is not the newest of its day, but the oldest of all
        ("*d", "abcdeghijkl"),
        ("2w", "kl"),
        ("4w", "ghkl"),
        ("6w", "deghkl"),
        ("7w", "adeghkl"),
        ("3m", "hil"),
        ("5m", "eghil"),
        ("6m", "aeghil"),
        ("2y", "il"),
        ("3y", "ail"),
        ("*y", "ail"),
        ("1 2y", "il"),
        ("2 3d 2w 4m 2y", "ghijkl"),
    ] {
        assert_eq!(letters(&history(), &policy.parse().unwrap(), &TimeZone::UTC), expected, "{policy}");
    }
}

#[test]
fn spans_count_back_from_the_newest_snapshot() {
    let within = |span: &str| Policy { within: Some(span.parse().unwrap()), ..Policy::default() };
    for (span, expected) in [
        ("1h", "l"),
        ("14h", "l"), // exactly 14 hours before is not within
        ("15h", "kl"),
        ("3d", "jkl"),
        ("4d", "ijkl"),
        ("9m20d", "hijkl"),
        ("1y3d", "abcdefghijkl"),
        ("9999y", "abcdefghijkl"),
    ] {
        assert_eq!(letters(&history(), &within(span), &TimeZone::UTC), expected, "{span}");
    }
    let each = |i: usize, span: &str| {
        let mut policy = Policy::default();
        policy.newest_within[i] = Some(span.parse().unwrap());
        letters(&history(), &policy, &TimeZone::UTC)
    };
    assert_eq!(each(0, "2d"), "kl");
    assert_eq!(each(1, "1y"), "deghijkl");
    assert_eq!(each(2, "1y"), "deghkl");
    assert_eq!(each(3, "1y"), "eghil");
    assert_eq!(each(4, "2y"), "ail");
}

#[test]
fn days_begin_where_the_zone_says() {
    let berlin = TimeZone::get("Europe/Berlin").unwrap();
    // 23:00 in UTC is the next year there.
    assert_eq!(letters(&history(), &"2y".parse().unwrap(), &berlin), "hl");
    assert_eq!(letters(&history(), &"2y".parse().unwrap(), &TimeZone::UTC), "il");
    // In the night the clocks go back, the hour from 2 to 3 is there twice and counts once.
    let night =
        ["2026-10-24T23:30:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"];
    let time = |text: &str| secs(text.parse::<jiff::Timestamp>().unwrap().as_second());
    let night: Vec<Made> = (0u32..).zip(night).map(|(n, text)| Made::at(n, time(text))).collect();
    assert_eq!(letters(&night, &"3h".parse().unwrap(), &berlin), "acd");
    assert_eq!(letters(&night, &"3h".parse().unwrap(), &TimeZone::UTC), "bcd");
}

#[test]
fn tags_keep_what_has_all_of_one_list() {
    let mut history = history();
    history[2].snapshot.tags = vec!["keep".into(), "x".into()];
    history[4].snapshot.tags = vec!["keep".into()];
    let tags = |lists: &[&[&str]]| Policy {
        tags: lists.iter().map(|list| list.iter().map(|tag| tag.to_string()).collect()).collect(),
        ..Policy::default()
    };
    // l is the last good one of its source.
    assert_eq!(letters(&history, &tags(&[&["keep"]]), &TimeZone::UTC), "cel");
    assert_eq!(letters(&history, &tags(&[&["keep", "x"]]), &TimeZone::UTC), "cl");
    assert_eq!(letters(&history, &tags(&[&["nobody"], &["x"]]), &TimeZone::UTC), "cl");
}

#[test]
fn every_kept_snapshot_says_why() {
    let decision = decision(&history(), &"1 2d 7w".parse().unwrap());
    let words: Vec<String> = decision.groups[0]
        .verdicts
        .iter()
        .filter(|verdict| verdict.is_kept())
        .map(|v| v.reasons.iter().map(Reason::words).collect::<Vec<_>>().join("; "))
        .collect();
    assert_eq!(
        words,
        [
            "weekly 2026-W01 (oldest)",
            "weekly 2026-W01",
            "weekly 2026-W02",
            "weekly 2026-W05",
            "weekly 2026-W11",
            "daily 2027-01-03; weekly 2026-W53",
            "last; daily 2027-01-04; weekly 2027-W01",
        ]
    );
    let restics: Vec<String> =
        decision.groups[0].verdicts[0].reasons.iter().map(Reason::match_words).collect();
    assert_eq!(restics, ["oldest weekly snapshot"]);
}

#[test]
fn groups_are_judged_by_themselves() {
    let mut snapshots: Vec<Made> = (0..6).map(|n| Made::day(n, 100 + i64::from(n))).collect();
    for n in [1, 3] {
        snapshots[n].snapshot.host = "laptop".into();
        snapshots[n].snapshot.tags = vec!["b".into(), "a".into()];
    }
    snapshots[5].snapshot.tags = vec!["a".into(), "b".into()];
    let policy = "1".parse().unwrap();
    let groups = |group_by: GroupBy| {
        let candidates: Vec<Candidate<'_>> = snapshots.iter().map(Made::candidate).collect();
        let request = Request { policy: &policy, group_by, now: LATER, zone: &TimeZone::UTC };
        decide(&candidates, &request).unwrap().groups
    };
    let by_host = groups(GroupBy::default());
    assert_eq!(by_host.iter().map(|g| g.host.clone().unwrap()).collect::<Vec<_>>(), ["laptop", "nas"]);
    assert_eq!(by_host.iter().map(|g| g.verdicts.len()).collect::<Vec<_>>(), [2, 4]);
    let by_tags = groups(GroupBy { host: false, sources: false, tags: true });
    assert_eq!(by_tags.iter().map(|g| g.verdicts.len()).collect::<Vec<_>>(), [3, 3]);
    assert_eq!(by_tags[1].tags.as_deref(), Some(&["a".to_string(), "b".to_string()][..]));
    let all = groups(GroupBy { host: false, sources: false, tags: false });
    assert_eq!(all.len(), 1);
    // Whatever is judged together: the last good one of each source stays.
    let why = |n: usize| all[0].verdicts[n].reasons.clone();
    assert_eq!((why(5), why(3), why(4)), (vec![Reason::Last], vec![Reason::LastGood], vec![]));
}

#[test]
fn a_policy_without_a_rule_is_refused() {
    let snapshots = history();
    let candidates: Vec<Candidate<'_>> = snapshots.iter().map(Made::candidate).collect();
    for policy in [Policy::default(), "0 0d".parse().unwrap()] {
        let request =
            Request { policy: &policy, group_by: GroupBy::default(), now: LATER, zone: &TimeZone::UTC };
        assert_eq!(decide(&candidates, &request), Err(EmptyPolicy));
    }
}
