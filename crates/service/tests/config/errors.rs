//! What a wrong file is answered with.

use super::{LEAST, wrong};

#[track_caller]
fn told(text: &str, expected: &str) {
    assert_eq!(wrong(text).trim(), expected.trim());
}

#[test]
fn an_unknown_key_is_shown_with_its_line_and_what_was_meant() {
    told(
        &LEAST.replace("schedule", "shedule"),
        r#"
lifeboat.toml:8:1: error: there is no jobs.daily.shedule
  8 | shedule = "daily"
    | ^^^^^^^
  help: did you mean schedule?
"#,
    );
}

#[test]
fn all_mistakes_are_told_at_once() {
    told(
        &LEAST.replace("[\"~\"]", "\"~\"").replace("url", "ulr"),
        r#"
lifeboat.toml:1:1: error: repositories.main.url is missing
  1 | [repositories.main]
    | ^^^^^^^^^^^^^^^^^^^
lifeboat.toml:2:1: error: there is no repositories.main.ulr
  2 | ulr = "/mnt/b"
    | ^^^
  help: did you mean url?
lifeboat.toml:4:9: error: sources.home.paths is a list, not a text
  4 | paths = "~"
    |         ^^^
"#,
    );
}

#[test]
fn a_name_that_is_nowhere_is_guessed() {
    told(
        &LEAST.replace("to = [\"main\"]", "to = [\"mian\"]"),
        r#"
lifeboat.toml:7:7: error: there is no [repositories.mian]
  7 | to = ["mian"]
    |       ^^^^^^
  help: did you mean main?
"#,
    );
}

#[test]
fn kinds_of_sources_are_guessed_and_their_keys_are_their_own() {
    told(
        &LEAST.replace("paths = [\"~\"]", "type = \"postgress\""),
        r#"
lifeboat.toml:4:8: error: sources.home.type is one of files, postgres, mysql, mariadb, sqlite, mongodb, redis, command, system, block, not "postgress"
  4 | type = "postgress"
    |        ^^^^^^^^^^^
  help: did you mean postgres?
"#,
    );
    told(
        &LEAST.replace("paths = [\"~\"]", "type = \"postgres\"\nurl = \"postgresql:///x\"\npaths = [\"~\"]"),
        r#"
lifeboat.toml:6:1: error: there is no sources.home.paths
  6 | paths = ["~"]
    | ^^^^^
"#,
    );
}

#[test]
fn where_nothing_is_near_the_few_keys_of_a_table_are_told() {
    told(
        &format!("{LEAST}only_if = {{ charger = true }}\nretry = 3\n"),
        r#"
lifeboat.toml:9:13: error: there is no jobs.daily.only_if.charger
  9 | only_if = { charger = true }
    |             ^^^^^^^
  help: there are battery_above, on_metered, unless_older_than
lifeboat.toml:10:9: error: jobs.daily.retry is a table, not a number
  10 | retry = 3
     |         ^
  help: a table is { KEY = VALUE }, and there are attempts, wait
"#,
    );
}

#[test]
fn values_that_cannot_be_read_say_how_they_are_written() {
    told(
        &format!("{LEAST}timeout = \"soon\"\n[goals]\nmax_age = 5\n"),
        r#"
lifeboat.toml:9:11: error: jobs.daily.timeout: "soon" is no length of time: write it like 0, 45m, 24h, 7d or 2w
  9 | timeout = "soon"
    |           ^^^^^^
lifeboat.toml:11:11: error: goals.max_age is a length of time like "26h", not a number
  11 | max_age = 5
     |           ^
"#,
    );
}

#[test]
fn words_and_numbers_out_of_range() {
    told(
        &format!("{LEAST}mode = \"incrmental\"\n[[hooks]]\non = \"befor\"\nrun = []\n"),
        r#"
lifeboat.toml:9:8: error: jobs.daily.mode is one of full, incremental, differential, not "incrmental"
  9 | mode = "incrmental"
    |        ^^^^^^^^^^^^
  help: did you mean incremental?
lifeboat.toml:11:6: error: hooks.0.on is one of before, after, success, failure, finally, not "befor"
  11 | on = "befor"
     |      ^^^^^^^
  help: did you mean before?
lifeboat.toml:12:7: error: hooks.0.run is empty
  12 | run = []
     |       ^^
"#,
    );
    assert!(
        wrong(&format!("{LEAST}retry = {{ attempts = 0 }}\n"))
            .contains("jobs.daily.retry.attempts is between 1 and 100")
    );
}

#[test]
fn a_mode_by_the_calendar_is_told_what_is_wrong_in_it() {
    told(
        &format!("{LEAST}mode = {{ full = \"montly\", incremental = \"daily\", else = \"ful\" }}\n"),
        r#"
lifeboat.toml:9:17: error: jobs.daily.mode.full is one of daily, weekly, monthly, quarterly, yearly, not "montly"
  9 | mode = { full = "montly", incremental = "daily", else = "ful" }
    |                 ^^^^^^^^
  help: did you mean monthly?
lifeboat.toml:9:27: error: there is no jobs.daily.mode.incremental
  9 | mode = { full = "montly", incremental = "daily", else = "ful" }
    |                           ^^^^^^^^^^^
  help: there are differential, else, full
lifeboat.toml:9:57: error: jobs.daily.mode.else is one of full, incremental, differential, not "ful"
  9 | mode = { full = "montly", incremental = "daily", else = "ful" }
    |                                                         ^^^^^
  help: did you mean full?
"#,
    );
    let text = wrong(&format!("{LEAST}mode = {{ ful = \"monthly\" }}\n"));
    assert!(
        text.contains("there is no jobs.daily.mode.ful") && text.contains("did you mean full?"),
        "{text}"
    );
    let text = wrong(&format!("{LEAST}mode = 3\n"));
    assert!(text.contains("jobs.daily.mode is a text or a table, not a number"), "{text}");
}

#[test]
fn quiet_hours_are_times_of_the_week() {
    told(
        &format!("{LEAST}[daemon]\nquiet_hours = {{ window = \"Fro 09:00-10:00\" }}\n"),
        r#"
lifeboat.toml:10:26: error: daemon.quiet_hours.window: "Fro 09:00-10:00" is no time of the week: write it like "Mon..Fri 09:00-18:00" or "22:00-06:00"
  10 | quiet_hours = { window = "Fro 09:00-10:00" }
     |                          ^^^^^^^^^^^^^^^^^
"#,
    );
    for window in ["x", "25:00-26:00", "Mon..Fri 09:00"] {
        let text = format!(
            "{LEAST}[[daemon.quiet_hours]]\nwindow = \"Sat\"\n[[daemon.quiet_hours]]\nwindow = {window:?}\n"
        );
        let text = wrong(&text);
        assert!(text.contains(":12:10: error: daemon.quiet_hours.1.window: "), "{text}");
    }
}

#[test]
fn broken_toml_says_where() {
    let text = wrong("[sources.home]\npaths = [\"~\"\n[jobs]\n");
    assert!(text.starts_with("lifeboat.toml:3:1: error: "), "{text}");
    assert!(text.contains("\n  3 | [jobs]\n    | ^"), "{text}");
    assert!(wrong("a = 1\na = 2\n").starts_with("lifeboat.toml:2:1: error: duplicate key"));
}

#[test]
fn keys_of_later_versions_are_refused_by_name() {
    let text = wrong(&format!("{LEAST}[daemon]\ntls = {{ cert = \"/c\", key = \"/k\" }}\n"));
    assert!(text.contains("lifeboat.toml:10:1: error: daemon.tls is not in this version"), "{text}");
}

#[test]
fn a_class_that_the_place_does_not_have_is_told() {
    let text = wrong(&LEAST.replace("url", "storage_class = \"GLACIER\"\nurl"));
    assert!(text.contains("only S3 has storage classes"), "{text}");
}

#[test]
fn a_later_version_of_the_file_is_told() {
    let text = wrong(&format!("version = 2\n{LEAST}"));
    assert!(text.contains("this file is of version 2; this program reads version 1"), "{text}");
}

#[test]
fn lines_with_secrets_are_not_shown() {
    let text = wrong(&LEAST.replace("url", "password = [\"hunter2\"]\nurl"));
    assert!(text.contains("repositories.main.password is") && !text.contains("hunter2"), "{text}");
    let text = wrong(&LEAST.replace("url", "password = { fiel = \"hunter2\" }\nurl"));
    assert!(
        text.contains("there is no repositories.main.password.fiel") && !text.contains("hunter2"),
        "{text}"
    );
}

#[test]
fn addresses_patterns_zones_and_circles_are_checked() {
    let text = wrong(&LEAST.replace("/mnt/b", "s3://"));
    assert!(text.contains("lifeboat.toml:2:7") && text.contains("the bucket is missing"), "{text}");
    let text = wrong(&LEAST.replace("/mnt/b", "mnt/b"));
    assert!(text.contains("write the whole path"), "{text}");
    let text = wrong(&format!("[machine]\ntimezone = \"Europe/Pari\"\n{LEAST}"));
    assert!(text.contains("there is no time zone"), "{text}");
    let text = wrong(&format!(
        "{LEAST}[sources.a]\npaths=[\"/a\"]\ndepends_on=[\"b\"]\n[sources.b]\npaths=[\"/b\"]\ndepends_on=[\"a\"]\n"
    ));
    assert!(text.contains("would have to be back before itself"), "{text}");
    let text = wrong(&format!("{LEAST}[retention.short]\nkeep_tags = []\n"));
    assert!(text.contains("retention.short would keep nothing"), "{text}");
    let text = wrong(&format!("{LEAST}[retention.rules]\n\"home@mian\" = \"high\"\n"));
    assert!(
        text.contains("there is no [repositories.mian]") && text.contains("did you mean main?"),
        "{text}"
    );
}

#[test]
fn names_are_plain() {
    let text =
        wrong(&LEAST.replace("[sources.home]", "[sources.\"ho me\"]").replace("[\"home\"]", "[\"ho me\"]"));
    assert!(text.contains("\"ho me\" is no name"), "{text}");
}

#[test]
fn what_can_never_work_is_refused_with_its_line() {
    let listen = |address: &str| format!("{LEAST}[daemon]\nlisten = \"{address}\"\n");
    let text = wrong(&listen("0.0.0.0:7459"));
    let told = "lifeboat.toml:10:10: error: metrics are served on a loopback address only";
    assert!(text.contains(told), "{text}");
    assert!(wrong(&listen("localhost")).contains("\"localhost\" is no address"));
    assert!(super::read(&listen("[::1]:7459")).is_ok());
    let block = "type = \"block\"\ndevice = \"/dev/sda\"\nchunk = \"1M\"";
    let text = wrong(&LEAST.replace("paths = [\"~\"]", block));
    let told = "lifeboat.toml:6:9: error: sources.home.chunk: pieces of 1M are not in this version, only 64K";
    assert!(text.contains(told), "{text}");
}
