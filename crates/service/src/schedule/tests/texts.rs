//! Schedules as texts: read, refused, and said in words.

use super::*;
use crate::schedule::{ago, in_words, relative};
use proptest::prelude::*;

#[test]
fn meanings_read_as_sentences() {
    let meaning = |text: &str| schedule(text).meaning();
    assert_eq!(meaning("hourly"), "every hour");
    assert_eq!(meaning("daily"), "every day at 00:00");
    assert_eq!(meaning("*-*-* 02:30"), "every day at 02:30");
    assert_eq!(meaning("Mon..Fri *-*-* 13:00"), "on Monday to Friday at 13:00");
    assert_eq!(meaning("Sun 03:00"), "on Sunday at 03:00");
    assert_eq!(meaning("Mon,Thu 8,20:15"), "on Monday and Thursday at 08:15 and 20:15");
    assert_eq!(meaning("*-*-01 06:00"), "on the 1st of every month at 06:00");
    assert_eq!(meaning("*-*~1 22:00"), "on the last day of every month at 22:00");
    assert_eq!(meaning("quarterly"), "on the 1st of January, April, July and October at 00:00");
    assert_eq!(meaning("*:0/15"), "every 15 minutes");
    assert_eq!(meaning("0/6:05"), "every 6 hours at 5 past");
    assert_eq!(meaning("Sat,Sun *:0/15"), "every 15 minutes, on Saturday and Sunday");
    assert_eq!(meaning("every 6h"), "every 6 hours");
    assert_eq!(meaning("0 5 1 * 1"), "on the 1st of every month and on Monday at 05:00");
    assert_eq!(meaning("02:30 Europe/Paris"), "every day at 02:30 (Europe/Paris)");
    assert_eq!(meaning("*:*:0/10"), "at *-*-* *:*:00..50/10");
}

#[test]
fn times_read_as_people_say_them() {
    let now = at("2026-11-25T17:00:00Z");
    let words = |time: &str| in_words(at(time), now, &paris());
    assert_eq!(words("2026-11-25T19:30:00Z"), "today at 20:30");
    assert_eq!(words("2026-11-26T01:30:00Z"), "tomorrow at 02:30");
    assert_eq!(words("2026-11-24T01:30:00Z"), "yesterday at 02:30");
    assert_eq!(words("2026-11-29T02:00:00Z"), "on Sunday at 03:00");
    assert_eq!(words("2026-12-02T02:00:05Z"), "on Wednesday, 2 December at 03:00:05");
    assert_eq!(words("2027-01-01T05:00:00Z"), "on Friday, 1 January 2027 at 06:00");
    assert_eq!(relative(at("2026-11-25T19:05:00Z"), now), "in 2 hours 5 minutes");
    assert_eq!(ago(at("2026-11-22T17:00:00Z"), now), "3 days ago");
    assert_eq!(ago(at("2026-12-22T17:00:00Z"), now), "now");
}

#[test]
fn what_is_no_schedule_is_refused_with_a_reason() {
    for (text, why) in [
        ("", "it is empty"),
        ("every", "is no length of time"),
        ("every 0s", "less than a second"),
        ("every 6 fortnights", "is no length of time"),
        ("Mun 03:00", "is no day of the week"),
        ("Sat..Mon", "a week begins with Monday"),
        ("25:00", "hours are numbers from 0 to 23"),
        ("*:*:0.5", "parts of seconds"),
        ("5", "without a date or a time"),
        ("60 * * * *", "is no minute"),
        ("0 0 * * 8", "is no day of the week"),
        ("0 0 L * *", "is no day of the month"),
        ("*/0 * * * *", "the step"),
        ("5-1 * * * *", "does not go up"),
        ("@fortnightly", "not cron's"),
        ("0 0 * * * 7", "neither a date nor a time"),
    ] {
        let error = text.parse::<Schedule>().map(|s| s.to_string()).unwrap_err().to_string();
        assert!(error.contains(why), "{text:?}: {error}");
    }
    assert!("*".repeat(300).parse::<Schedule>().unwrap_err().to_string().contains("longer than"));
}

#[test]
fn a_schedule_says_its_zone_to_a_clock_that_shows_another() {
    let zone = |name: &str| jiff::tz::TimeZone::get(name).unwrap();
    let (paris, utc) = (zone("Europe/Paris"), zone("UTC"));
    assert_eq!(schedule("daily").in_zone(&paris).as_calendars(), ["*-*-* 00:00:00 Europe/Paris"]);
    assert_eq!(schedule("02:30 Asia/Tokyo").in_zone(&paris).as_calendars(), ["*-*-* 02:30:00 Asia/Tokyo"]);
    let now = "2026-11-27T06:00Z".parse().unwrap();
    let cron =
        |text: &str, of: &str, clock: &str| schedule(text).by_clock(&zone(of), &zone(clock), now).as_cron();
    assert_eq!(cron("02:30", "Europe/Paris", "UTC"), None);
    assert_eq!(cron("02:30", "Europe/London", "UTC"), None, "they are the same in winter only");
    assert_eq!(cron("02:30", "Europe/Paris", "Europe/Berlin").as_deref(), Some("30 2 * * *"));
    assert_eq!(cron("*:10", "Europe/Paris", "UTC").as_deref(), Some("10 * * * *"));
    assert_eq!(cron("*:10", "Asia/Kolkata", "UTC"), None);
    assert_eq!(cron("*:0/15", "Asia/Kolkata", "UTC"), schedule("*:0/15").as_cron());
    assert_eq!(schedule("every 6h").by_clock(&paris, &utc, now), schedule("every 6h"));
}

#[test]
fn cron_lines_are_written_where_cron_can_say_it() {
    let cron = |text: &str| schedule(text).as_cron();
    assert_eq!(cron("Mon..Fri *-*-* 13:00").as_deref(), Some("0 13 * * 1,2,3,4,5"));
    assert_eq!(cron("Sun 03:00").as_deref(), Some("0 3 * * 0"));
    assert_eq!(cron("every 6h").as_deref(), Some("0 */6 * * *"));
    assert_eq!(cron("every 15min").as_deref(), Some("*/15 * * * *"));
    for impossible in ["every 5h", "every 10s", "*:*:0/10", "Mon *-*-1..7 02:00", "*-*~1", "2027-*-* 01:00"] {
        assert_eq!(cron(impossible), None, "{impossible}");
    }
    assert_eq!(schedule("0 5 1 * 1").as_calendars(), ["*-*-01 05:00:00", "Mon *-*-* 05:00:00"]);
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
        let _ = text.parse::<Schedule>();
    }

    #[test]
    fn texts_of_the_grammar_are_read_or_refused(text in "(every )?[MonFriSat*0-9,./~:@ -]{0,40}( UTC)?") {
        if let Ok(schedule) = text.parse::<Schedule>() {
            let next = schedule.next(at("2026-11-25T00:00:00Z"), &paris());
            prop_assert!(next.is_none_or(|next| next > at("2026-11-25T00:00:00Z")));
            schedule.meaning();
            for written in schedule.as_calendars() {
                prop_assert!(written.parse::<Schedule>().is_ok(), "{written}");
            }
        }
    }
}
