//! The judgement: age and proof decide, memories do not, and every unmet goal says why and what helps.

use service::alarms::{Findings, problems};
use service::posture::*;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
const NOW: i64 = 1_800_000_000;

fn wanted() -> Wanted {
    let pair = |repository: &str, max_age| PairWanted { repository: repository.into(), max_age };
    let place = |name: &str, medium: &str| PlaceWanted {
        name: name.into(),
        medium: medium.into(),
        location: "home".into(),
        ..PlaceWanted::default()
    };
    Wanted {
        machine: "atlas".into(),
        sources: vec![SourceWanted {
            name: "home".into(),
            copies: 3,
            media: 2,
            offsite: 1,
            immutable: 1,
            verified_within: Some(35 * DAY),
            drilled_within: Some(90 * DAY),
            pairs: vec![pair("usb", 26 * HOUR), pair("nas", 26 * HOUR), pair("cloud", 26 * HOUR)],
            run: "lifeboat run daily".into(),
            drill: "lifeboat drill run home-sample".into(),
        }],
        places: vec![
            PlaceWanted { removable: true, remind_after: Some(7 * DAY), ..place("usb", "external-disk") },
            place("nas", "nas"),
            PlaceWanted {
                offsite: true,
                claims_immutable: true,
                location: "cloud-eu".into(),
                ..place("cloud", "object-store")
            },
        ],
    }
}

fn seen() -> Seen {
    let pair = |repository: &str| PairSeen {
        source: "home".into(),
        repository: repository.into(),
        good: Some(NOW - 2 * HOUR),
        newest: Some(NOW - 2 * HOUR),
        first: Some(NOW - 100 * DAY),
        copies: 12,
        files: 5,
        bytes: 5000,
        ..PairSeen::default()
    };
    let place = |repository: &str| PlaceSeen {
        repository: repository.into(),
        at: Some(NOW - HOUR),
        verified: Some(NOW - 20 * DAY),
        deletable: Some(true),
        ..PlaceSeen::default()
    };
    Seen {
        pairs: ["usb", "nas", "cloud"].map(pair).into(),
        places: ["usb", "nas", "cloud"].map(place).into(),
        drills: vec![DrillSeen { source: "home".into(), passed: Some(NOW - 10 * DAY), failed: None }],
    }
}

fn unmet(posture: &Posture) -> Vec<(&'static str, String, String)> {
    let told = |(_, goal): (&str, &Goal)| (goal.goal.as_str(), goal.reason.clone(), goal.fix.clone());
    posture.unmet().map(told).collect()
}

fn state(posture: &Posture, repository: &str) -> State {
    posture.sources[0].pairs.iter().find(|p| p.repository == repository).unwrap().state
}

#[test]
fn young_good_proven_copies_meet_every_goal() {
    let posture = judge(&wanted(), &seen(), NOW);
    assert_eq!(unmet(&posture), []);
    assert!(posture.met);
    let cloud = &posture.sources[0].pairs[2];
    assert_eq!((cloud.immutable, cloud.deletable), (Immutability::Claimed, Some(true)));
    let immutable = &posture.sources[0].goals[4];
    assert_eq!(immutable.reason, "cloud (claimed, not tried)");
    assert_eq!(
        headline(&posture, &[]),
        "Everything is protected. The oldest newest copy is 2 h old (home in cloud)."
    );
    let attack = Besides { text: "home: <looks> like an attack", fix: "lifeboat diff A B", needs_you: true };
    assert_eq!(headline(&posture, &[attack]), "One thing needs you. Every copy is young enough.");
    let page = |besides: &[Besides<'_>]| page(&posture, besides, &|_| "now".into(), "1");
    assert!(page(&[]).contains("Everything is protected") && !page(&[]).contains("What needs you"));
    let told = page(&[attack]);
    assert!(
        told.contains("One thing needs you") && told.contains("home: &lt;looks&gt; like an attack<code>")
    );
    assert!(told.contains("<header class=\"bad\">"));
    let tried = page(&[Besides { needs_you: false, ..attack }]);
    assert!(tried.contains("<header class=\"wait\">") && tried.contains("looks&gt; like"));
    assert!(tried.contains("Every goal is met, but one thing failed when it was last tried."));
}

#[test]
fn an_attempt_that_failed_shows_although_every_goal_is_met() {
    let mut known = seen();
    (known.pairs[1].failures, known.pairs[1].error) = (2, Some("/home is <gone>".into()));
    let posture = judge(&wanted(), &known, NOW);
    assert!(posture.met);
    let told = headline(&posture, &[]);
    let expected =
        "Every goal is met, but the last 2 attempts failed (home into nas). The oldest newest copy is ";
    assert!(told.starts_with(expected), "{told}");
    let findings = Findings { posture: &posture, duties: &[], suspicions: &[], notifiers: &[] };
    let problems = problems(&findings);
    assert_eq!(problems[0].text, "home into nas: the last 2 attempts failed: /home is <gone>");
    let failed = Besides { text: &problems[0].text, fix: &problems[0].fix, needs_you: false };
    let page = page(&posture, &[failed], &|_| "now".into(), "1");
    assert!(page.contains("<header class=\"wait\">") && !page.contains("Everything is protected"), "{page}");
    assert!(page.contains("good, but the last 2 attempts failed") && page.contains("/home is &lt;gone&gt;"));
    assert!(page.contains("<code>lifeboat log --source home</code>"), "{page}");
}

#[test]
fn a_place_that_was_tried_is_proven_or_refuted() {
    let mut known = seen();
    known.places[2].immutable_proven = Some(true);
    let posture = judge(&wanted(), &known, NOW);
    let cloud = &posture.sources[0].pairs[2];
    assert_eq!((cloud.immutable, cloud.deletable), (Immutability::Proven, Some(false)));
    known.places[2].immutable_proven = Some(false);
    let posture = judge(&wanted(), &known, NOW);
    assert_eq!(posture.sources[0].pairs[2].immutable, Immutability::No);
    assert_eq!(unmet(&posture)[0].1, "whoever takes over this machine can delete every copy");
}

#[test]
fn an_old_copy_is_told_with_its_reason_and_takes_its_digits_along() {
    let mut known = seen();
    known.pairs[2].good = Some(NOW - 3 * DAY);
    known.pairs[2].failures = 4;
    known.pairs[2].error = Some("cloud: connection refused".into());
    let posture = judge(&wanted(), &known, NOW);
    assert_eq!(state(&posture, "cloud"), State::Stale);
    let why = "cloud: the newest good copy is 3 d old, 26 h is allowed, 4 attempts failed \
               (cloud: connection refused)";
    let told = unmet(&posture);
    assert_eq!(told[0], ("max-age", why.to_string(), "lifeboat run daily".to_string()));
    assert_eq!(told[1].0, "offsite");
    assert!(told[1].1.ends_with(why), "{}", told[1].1);
    assert_eq!(told[2].0, "immutable");
    assert!(!posture.met);
    assert_eq!(posture.sources[0].goals[1].have, 3, "two repositories and the live data are left");
}

#[test]
fn the_newest_copy_does_not_count_when_it_is_not_good() {
    let mut known = seen();
    known.pairs[1].newest = Some(NOW - HOUR);
    known.pairs[1].good = Some(NOW - 2 * DAY);
    assert_eq!(state(&judge(&wanted(), &known, NOW), "nas"), State::Stale);
    known.pairs[1].good = None;
    let posture = judge(&wanted(), &known, NOW);
    assert_eq!(state(&posture, "nas"), State::Never);
    assert!(unmet(&posture)[0].1.contains("no copy is good"));
}

#[test]
fn a_removable_disk_waits_until_it_is_missed() {
    let mut known = seen();
    known.pairs[0].good = Some(NOW - 3 * DAY);
    known.places[0].at = Some(NOW - 3 * DAY);
    let posture = judge(&wanted(), &known, NOW);
    assert_eq!((state(&posture, "usb"), posture.met), (State::Waiting, true));
    assert!(!posture.places[0].missed);
    known.pairs[0].good = Some(NOW - 8 * DAY);
    known.places[0].at = Some(NOW - 8 * DAY);
    let posture = judge(&wanted(), &known, NOW);
    assert_eq!((state(&posture, "usb"), posture.met), (State::Stale, false));
    assert!(posture.places[0].missed);
}

#[test]
fn an_old_memory_is_never_good() {
    let mut known = seen();
    known.places[1].at = None;
    let posture = judge(&wanted(), &known, NOW);
    assert_eq!(state(&posture, "nas"), State::Unseen);
    assert_eq!(unmet(&posture)[0].2, "lifeboat status --look always");
    assert_eq!(unmet(&posture)[0].1, "nas: nobody has looked at it yet");
    known.places[1].at = Some(NOW - 60 * HOUR);
    assert_eq!(state(&judge(&wanted(), &known, NOW), "nas"), State::Unseen);
}

#[test]
fn a_copy_from_the_future_is_not_young() {
    let mut known = seen();
    known.pairs[1].good = Some(NOW + 400 * DAY);
    let posture = judge(&wanted(), &known, NOW);
    assert_eq!(state(&posture, "nas"), State::Stale);
    assert!(unmet(&posture)[0].1.contains("400 d in the future"));
    known.pairs[1].good = Some(NOW + 60);
    assert!(judge(&wanted(), &known, NOW).met, "clocks differ a little");
}

#[test]
fn proofs_have_ages_of_their_own() {
    let mut known = seen();
    known.places[1].verified = None;
    known.drills[0].passed = None;
    let told = unmet(&judge(&wanted(), &known, NOW));
    assert_eq!(told[0].1, "nas: holds copies for 100 d and was never read in full");
    assert_eq!(told[0].2, "lifeboat check --read-data -r nas");
    assert_eq!((told[1].0, told[1].1.as_str()), ("drilled", "never restored on trial"));
    // A first copy of yesterday owes no proof yet.
    for pair in &mut known.pairs {
        pair.first = Some(NOW - DAY);
    }
    known.places.iter_mut().for_each(|place| place.verified = None);
    assert_eq!(unmet(&judge(&wanted(), &known, NOW)), []);
    known.drills[0].failed = Some((NOW - HOUR, "nas".into()));
    let told = unmet(&judge(&wanted(), &known, NOW));
    assert_eq!(told[0].1, "a test restore from nas failed, 1 h ago");
}

#[test]
fn damage_counts_whatever_the_age() {
    let mut known = seen();
    known.places[1].damaged = Some(NOW - HOUR);
    let posture = judge(&wanted(), &known, NOW);
    assert_eq!(state(&posture, "nas"), State::Damaged);
    let told = unmet(&posture);
    assert_eq!(told[0].2, "lifeboat repair -r nas");
    assert!(told.iter().any(|(goal, ..)| *goal == "verified"));
}

#[test]
fn nothing_named_is_nothing_protected() {
    let posture = judge(&Wanted::default(), &Seen::default(), NOW);
    assert!(!posture.met);
    let mut alone = wanted();
    alone.sources[0].pairs.clear();
    let posture = judge(&alone, &Seen::default(), NOW);
    let told = unmet(&posture);
    assert_eq!((told[0].0, told[0].1.as_str()), ("max-age", "no repository holds it"));
    assert!(told.iter().any(|(goal, _, fix)| *goal == "copies" && fix.starts_with("lifeboat config edit")));
}

#[test]
fn the_page_is_whole_and_takes_no_orders_from_names() {
    let mut want = wanted();
    want.machine = "<script>alert(1)</script>".into();
    want.sources[0].name = "\"><img src=x onerror=alert(1)>".into();
    let mut known = seen();
    known.pairs.iter_mut().for_each(|pair| pair.source.clone_from(&want.sources[0].name));
    known.pairs[1].good = Some(NOW - 9 * DAY);
    let html = page(&judge(&want, &known, NOW), &[], &|at| format!("{at} UTC"), "0.1.0");
    assert!(!html.contains("<script") && !html.contains("<img"), "{html}");
    assert!(html.contains("&lt;script&gt;"));
    assert!(html.contains("default-src 'none'"), "it may not ask anybody for anything");
    for outside in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!html.replace("src=x", "").contains(outside), "{outside}");
    }
    assert!(html.contains("As of 1800000000 UTC"));
    let opened = |tag: &str| html.matches(&format!("<{tag}")).count();
    for tag in ["section", "article", "dl", "ul", "li", "main"] {
        assert_eq!(opened(tag), html.matches(&format!("</{tag}>")).count(), "{tag}");
    }
}

#[test]
fn a_copy_on_the_disk_of_the_data_is_none() {
    let mut known = seen();
    known.pairs[1].same_disk = true;
    let posture = judge(&wanted(), &known, NOW);
    let told = unmet(&posture);
    assert_eq!(told, [], "two others and the live data are three");
    known.pairs[0].same_disk = true;
    let told = unmet(&judge(&wanted(), &known, NOW));
    assert_eq!(told[0].0, "copies");
    assert!(told[0].1.contains("usb lies on the same disk as the data; nas lies"), "{}", told[0].1);
    assert!(told[0].2.starts_with("lifeboat config edit"));
    known.pairs[2].same_disk = true;
    let told = unmet(&judge(&wanted(), &known, NOW));
    let offsite = told.iter().find(|(goal, ..)| *goal == "offsite").unwrap();
    assert_eq!(offsite.1, "the copy elsewhere does not count: cloud lies on the same disk as the data");
    assert!(offsite.2.starts_with("lifeboat config edit"), "no run mends that");
}

#[test]
fn a_drive_that_is_away_waits_and_is_neither_deletable_nor_missed() {
    let mut wanted = wanted();
    assert_eq!(state(&judge(&wanted, &seen(), NOW), "usb"), State::Good);
    wanted.places[0].away = true;
    let posture = judge(&wanted, &seen(), NOW);
    let usb = &posture.sources[0].pairs[0];
    assert_eq!((usb.state, usb.away), (State::Waiting, true));
    assert_eq!(usb.reason, "usb: is away; the newest copy is 2 h old");
    assert_eq!(unmet(&posture), [], "it counts until it is missed");
    assert!(page(&posture, &[], &|_| "now".into(), "1").contains("not while it is away"));
}
