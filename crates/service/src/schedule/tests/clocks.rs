//! Hours that a change of the clocks skips or repeats.

use super::*;

#[test]
fn a_time_that_a_day_does_not_have_comes_right_after_the_gap() {
    // 02:00 to 03:00 is missing on 29 March 2026 in Paris.
    assert_eq!(
        next("02:30", "2026-03-28T12:00:00Z", &paris(), 2),
        ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
    );
    // Two of them come once.
    assert_eq!(
        next("02:15,45", "2026-03-28T12:00:00Z", &paris(), 2),
        ["2026-03-29T01:00:00Z", "2026-03-30T00:15:00Z"]
    );
    // Asked within the gap's own second, it does not come again.
    assert_eq!(next("02:30", "2026-03-29T01:00:00Z", &paris(), 1), ["2026-03-30T00:30:00Z"]);
}

#[test]
fn what_recurs_every_hour_is_not_moved_into_the_next() {
    assert_eq!(
        next("*:15", "2026-03-29T00:00:00Z", &paris(), 3),
        ["2026-03-29T00:15:00Z", "2026-03-29T01:15:00Z", "2026-03-29T02:15:00Z"]
    );
}

#[test]
fn a_time_that_a_day_has_twice_comes_once() {
    // 02:00 to 03:00 comes twice on 25 October 2026 in Paris.
    assert_eq!(
        next("02:30", "2026-10-24T12:00:00Z", &paris(), 2),
        ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
    );
    assert_eq!(next("30 2 * * *", "2026-10-25T01:00:00Z", &paris(), 1), ["2026-10-26T01:30:00Z"]);
}

#[test]
fn what_recurs_every_hour_leaves_no_hour_out_when_clocks_go_back() {
    assert_eq!(
        next("*:0/30", "2026-10-25T00:00:00Z", &paris(), 5),
        [
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:00:00Z",
            "2026-10-25T01:30:00Z",
            "2026-10-25T02:00:00Z",
            "2026-10-25T02:30:00Z"
        ]
    );
    let hourly = next("hourly", "2026-10-24T22:30:00Z", &paris(), 4);
    assert_eq!(hourly.join(" ").matches("00:00Z").count(), 4);
}

#[test]
fn half_an_hour_and_midnight_are_changes_like_others() {
    // Lord Howe moves by half an hour: 02:00 to 02:30 is missing on 4 October 2026.
    let howe = TimeZone::get("Australia/Lord_Howe").unwrap();
    assert_eq!(
        next("02:10", "2026-10-03T12:00:00Z", &howe, 2),
        ["2026-10-03T15:30:00Z", "2026-10-04T15:10:00Z"]
    );
    // Beirut moves at midnight: 00:00 to 01:00 is missing on 29 March 2026.
    let beirut = TimeZone::get("Asia/Beirut").unwrap();
    assert_eq!(
        next("daily", "2026-03-28T12:00:00Z", &beirut, 2),
        ["2026-03-28T22:00:00Z", "2026-03-29T21:00:00Z"]
    );
}

#[test]
fn every_day_has_exactly_one_daily_run_in_every_zone() {
    for zone in ["Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Asia/Beirut", "America/Havana"] {
        let tz = TimeZone::get(zone).unwrap();
        for text in ["00:00", "00:30", "01:59", "02:00", "02:30", "23:30"] {
            let times = crate::schedule::upcoming(&[schedule(text)], at("2026-01-01T12:00:00Z"), &tz, 364);
            for pair in times.windows(2) {
                let days: Vec<_> = pair.iter().map(|t| t.to_zoned(tz.clone()).date()).collect();
                assert_eq!(days[0].tomorrow().unwrap(), days[1], "{zone} {text}");
            }
        }
    }
}
