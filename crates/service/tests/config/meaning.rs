//! What follows from what is written.

use super::{LEAST, right};
use service::config::jobs::{CalendarPeriod, RunMode};
use service::config::values::Interval;
use service::config::{Criticality, Repository};

#[test]
fn the_most_specific_rule_of_retention_holds() {
    let text = "
[repositories.a]
url = \"/a\"
[repositories.b]
url = \"/b\"
[sources.x]
paths = [\"/x\"]
[sources.y]
paths = [\"/y\"]
criticality = \"high\"
[retention.short]
keep_last = 1
[retention.rules]
\"@b\" = \"short\"
\"x\" = \"low\"
\"x@a\" = \"high\"
";
    let config = right(text).config;
    let name = |source: &str, repository: &str| config.retention_of(source, repository).0;
    assert_eq!(name("x", "a"), "high");
    assert_eq!(name("x", "b"), "low");
    assert_eq!(name("y", "b"), "short");
    assert_eq!(name("y", "a"), "high", "by its criticality");
    assert_eq!(config.retention_of("y", "a").1, Criticality::High.derived().keep);
}

#[test]
fn what_is_not_written_follows_from_how_bad_a_loss_would_be() {
    let text = LEAST.replace("schedule = \"daily\"\n", "").replace("paths", "criticality = \"high\"\npaths");
    let config = right(&text).config;
    assert_eq!(config.schedule_of(&config.jobs["daily"])[0].0, "hourly");
    assert_eq!(config.max_age_of("home", "main"), Interval::hours(26));
    assert_eq!(config.goals_of("home").copies, Some(3));
    let written =
        text.replace("[jobs.daily]", "[goals]\nmax_age = \"5d\"\ncopies = 2\n[jobs.daily]\nmax_age = \"4h\"");
    let config = right(&written).config;
    assert_eq!(config.max_age_of("home", "main"), Interval::hours(4));
    assert_eq!(config.goals_of("home").copies, Some(2));
}

#[test]
fn a_full_run_is_due_once_in_its_period() {
    let text = format!("{LEAST}mode = {{ full = \"monthly\", differential = \"weekly\" }}\n");
    let mode = &right(&text).config.jobs["daily"].mode;
    assert_eq!(mode.mode(|_, _| false), RunMode::Full);
    let full_this_month = |mode, period| mode == RunMode::Full && period == CalendarPeriod::Monthly;
    assert_eq!(mode.mode(full_this_month), RunMode::Differential);
    assert_eq!(mode.mode(|_, _| true), RunMode::Incremental);
}

#[test]
fn where_a_place_stands_is_told_from_its_address() {
    let offsite = |url: &str| {
        let text = format!("[repositories.r]\nurl = \"{url}\"\n");
        let repository: Repository = right(&text).config.repositories["r"].clone();
        repository.is_offsite()
    };
    assert!(offsite("sftp://me@backup.example.com/x") && offsite("s3://bucket/x"));
    assert!(offsite("sftp://203.0.113.5/x"));
    for near in [
        "/mnt/x",
        "sftp://nas.lan/x",
        "sftp://nas/x",
        "sftp://192.168.1.5:2222/x",
        "s3:http://10.0.0.1:9000/b",
    ] {
        assert!(!offsite(near), "{near}");
    }
}
