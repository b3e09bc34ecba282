//! What can be used and is probably a mistake.

use super::{LEAST, right};
use service::config::lint::{Seen, lint};
use std::time::Duration;

fn lints(text: &str) -> String {
    let loaded = right(text);
    let seen = Seen {
        durations: [("daily".to_string(), Duration::from_secs(7200))].into(),
        now: Some("2026-07-01T12:00:00Z".parse().unwrap()),
        programs: vec!["/bin".into(), "/usr/bin".into()],
    };
    let hourly = |when: &str| (when == "hourly").then(|| Duration::from_secs(3600));
    let problems = lint(&loaded, &seen, hourly);
    let lines = problems.iter().flat_map(|problem| problem.lines(&loaded.files));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn one_copy_in_the_same_building_is_told() {
    let text = lints(LEAST);
    assert!(text.contains("warning: no copy of home is in another building"), "{text}");
    assert!(text.contains("there are 2 copies of home, the live data counted, and 3 are wanted"), "{text}");
    assert!(text.contains("nobody is told when backups fail"), "{text}");
    let more = LEAST.replace("[\"home\"]", "[\"home\", \"srv\"]") + "[sources.srv]\npaths = [\"/srv\"]\n";
    let text = lints(&more);
    assert!(text.contains("warning: no copy of home, srv is in another building"), "{text}");
    assert_eq!(text.matches("in another building").count(), 1, "told once for all sources: {text}");
    let enough = format!("[goals]\ncopies = 2\noffsite = 0\n{LEAST}");
    assert!(!lints(&enough).contains("copies of home"));
}

#[test]
fn secrets_in_the_file_are_told_and_not_shown() {
    let text = lints(&LEAST.replace("url", "password = \"hunter2\"\nurl"));
    assert!(text.contains("repositories.main.password stands in the file for everybody to read"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    let text = lints(&format!("{LEAST}[sources.db]\ntype = \"mysql\"\nurl = \"mysql://me:hunter2@db\"\n"));
    assert!(text.contains("sources.db.url holds a password") && !text.contains("hunter2"), "{text}");
}

#[test]
fn a_login_in_a_header_is_told_and_not_shown() {
    let hook = |header: &str| {
        lints(&format!(
            "{LEAST}[notify.w]\ntype = \"webhook\"\nurl = \"https://h\"\nheaders = {{ {header} }}\n"
        ))
    };
    let text = hook("Authorization = \"Bearer hunter2\"");
    assert!(text.contains("notify.w.headers.Authorization stands in the file"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    assert!(!hook("Authorization = { env = \"X\" }").contains("stands in the file"));
    assert!(!hook("X-Title = \"atlas\"").contains("stands in the file"));
}

#[test]
fn what_is_used_by_nothing_is_told() {
    let text =
        lints(&format!("{LEAST}[sources.other]\npaths = [\"/\"]\n[repositories.spare]\nurl = \"/spare\"\n"));
    assert!(text.contains("source other is in no job: it is never backed up"), "{text}");
    assert!(text.contains("no job copies to repository spare"), "{text}");
    assert!(text.contains("source other holds the repository main"), "{text}");
}

#[test]
fn hooks_that_stop_and_never_start_are_told() {
    let stop = "[[hooks]]\non = \"before\"\nrun = [\"systemctl\", \"stop\", \"db\"]\n";
    let start = |on: &str| format!("[[hooks]]\non = \"{on}\"\nrun = [\"systemctl\", \"start\", \"db\"]\n");
    assert!(lints(&format!("{LEAST}{stop}")).contains("nothing starts it again: systemctl stop db"));
    assert!(lints(&format!("{LEAST}{stop}{}", start("success"))).contains("does not run when the job fails"));
    assert!(!lints(&format!("{LEAST}{stop}{}", start("finally"))).contains("systemctl stop db"));
}

#[test]
fn a_schedule_shorter_than_the_last_run_is_told() {
    let text = lints(&LEAST.replace("\"daily\"", "\"hourly\""));
    assert!(text.contains("job daily is to run hourly, and the last run took 2 hours"), "{text}");
    assert!(!lints(LEAST).contains("is to run"));
}

#[test]
fn what_this_version_does_not_do_is_told() {
    let block = |more: &str| {
        LEAST.replace("paths = [\"~\"]", &format!("type = \"block\"\ndevice = \"/dev/sda\"\n{more}"))
    };
    let text = lints(&block("snapshot = \"zfs\""));
    let told = "every run of home fails: this version cannot take a snapshot of a device by anything but LVM";
    assert!(text.contains(told), "{text}");
    assert!(!lints(&block("chunk = \"64K\"")).contains("this version"));
    assert!(!lints(LEAST).contains("this version"));
}

#[test]
fn schedules_that_never_come_are_told() {
    for never in ["2020-01-01", "0 0 31 2 *"] {
        let text = lints(&format!(
            "{}[drills.home]\nsource = \"home\"\nschedule = \"{never}\"\n\
             [maintenance]\nschedule = \"{never}\"\n[verify]\nschedule = [\"daily\", \"{never}\"]\n",
            LEAST.replace("\"daily\"", &format!("\"{never}\""))
        ));
        for what in ["job daily", "drill home", "maintenance", "verify"] {
            assert!(text.contains(&format!("warning: {what}: {never} never comes")), "{text}");
        }
    }
    assert!(!lints(LEAST).contains("never comes"));
}

#[test]
fn an_age_that_no_schedule_can_keep_is_told() {
    let told = "a copy of home in main may be 12h old, and the next is made only 24 hours later";
    let text = lints(&format!("[goals]\nmax_age = \"12h\"\n{LEAST}"));
    assert!(text.contains(told), "{text}");
    let twice = LEAST.replace("\"daily\"", "[\"06:00\", \"18:00\"]");
    assert!(!lints(&format!("[goals]\nmax_age = \"12h\"\n{twice}")).contains("may be 12h old"));
    assert!(!lints(LEAST).contains("is made only"));
}

#[test]
fn programs_and_templates_that_are_not_there_are_told() {
    let text = lints(&format!(
        "{LEAST}[[hooks]]\non = \"after\"\nrun = [\"/no/such\"]\n[[hooks]]\non = \"after\"\nrun = [\"sh\"]\n\
         [notify.c]\ntype = \"command\"\nrun = [\"no-such-program\"]\n\
         [notify.w]\ntype = \"webhook\"\nurl = \"https://h\"\ntemplate = \"~/no.json\"\n"
    ));
    assert!(text.contains("warning: there is no program /no/such\n"), "{text}");
    assert!(text.contains("warning: there is no program no-such-program\n"), "{text}");
    assert!(text.contains("warning: cannot read the template /home/me/no.json: "), "{text}");
    assert!(!text.contains("program sh"), "{text}");
}
