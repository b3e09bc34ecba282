//! The records: what is written comes back, and a bad file never stands in the way.

use service::catalog::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

fn file(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("state").join(CATALOG_FILE)
}

fn run(id: &str, start: i64) -> NewRun {
    NewRun {
        id: RunId(id.into()),
        job: "daily".into(),
        what: "backup".into(),
        trigger: "schedule".into(),
        start,
    }
}

fn result(run: &str, at: i64, result: RunResult, code: i64) -> SourceResult {
    SourceResult {
        run: RunId(run.into()),
        source: "home".into(),
        repository: "nas".into(),
        at,
        result,
        snapshot: Some("ab".repeat(16)),
        files: 10,
        bytes: 1000,
        added_bytes: 100,
        uploaded_bytes: 50,
        errors: 0,
        seconds: 1.5,
        code,
        error: (code != 0).then(|| "the disk is on fire".into()),
    }
}

fn copy(snapshot: &str, time: i64) -> Copy {
    Copy {
        source: "home".into(),
        repository: "nas".into(),
        snapshot: snapshot.into(),
        time,
        made: time + 60,
        good: true,
        files: 10,
        bytes: 1000,
        verified: None,
        drilled: None,
    }
}

#[test]
fn runs_and_their_results_come_back_also_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(&file(&folder)).unwrap();
    catalog.begin_run(&run("aa01", 100)).unwrap();
    catalog.record_result(&result("aa01", 105, RunResult::Failed, 13)).unwrap();
    catalog.end_run(&RunId("aa01".into()), 110, RunResult::Failed, 13, Some("no route")).unwrap();
    catalog.begin_run(&run("ab02", 200)).unwrap();
    catalog.record_result(&result("ab02", 205, RunResult::Success, 0)).unwrap();
    drop(catalog);
    let catalog = Catalog::open(&file(&folder)).unwrap();
    assert_eq!(catalog.replaced(), None);
    let runs = catalog.runs(Some("daily"), 10).unwrap();
    assert_eq!(runs.iter().map(|r| r.id.0.as_str()).collect::<Vec<_>>(), ["ab02", "aa01"]);
    assert_eq!((runs[0].end, runs[0].result), (None, None), "it was killed, or runs still");
    assert_eq!((runs[1].result, runs[1].error.as_deref()), (Some(RunResult::Failed), Some("no route")));
    assert_eq!(catalog.runs_named("aa").unwrap().len(), 1);
    assert_eq!(catalog.runs(Some("other"), 10).unwrap(), []);
    let last = catalog.last_results("home", "nas", 2).unwrap();
    assert_eq!(
        last,
        [result("ab02", 205, RunResult::Success, 0), result("aa01", 105, RunResult::Failed, 13)]
    );
    let totals = catalog.totals("home", "nas").unwrap();
    assert_eq!(totals, Totals { added_bytes: 200, uploaded_bytes: 100, runs: 2, failures: 1 });
    assert_eq!(catalog.error_counts().unwrap(), [(13, 1)]);
    catalog.trim(1000).unwrap();
    assert_eq!(catalog.runs(None, 10).unwrap().len(), 1, "the newest of a job stays");
    assert_eq!(catalog.totals("home", "nas").unwrap(), totals, "sums outlive what they sum");
}

#[test]
fn copies_remember_their_proofs_and_follow_the_repository() {
    let catalog = Catalog::in_memory().unwrap();
    catalog.record_copy(&copy("s1", 100)).unwrap();
    catalog.record_copy(&copy("s2", 200)).unwrap();
    let whole = Verification {
        repository: "nas".into(),
        at: 300,
        kind: "read-data".into(),
        ratio: 1.0,
        bytes: 5,
        damaged: 0,
        error: None,
    };
    catalog.record_verification(&whole, &["s1".into(), "s2".into()]).unwrap();
    let drill = Drill {
        name: "sample".into(),
        source: "home".into(),
        repository: "nas".into(),
        snapshot: Some("s2".into()),
        at: 400,
        seconds: 3.5,
        result: DrillResult::Passed,
        files: 3,
        bytes: 30,
        rto_seconds: Some(60.0),
        detail: "{}".into(),
    };
    catalog.record_drill(&drill).unwrap();
    let failed = Drill { result: DrillResult::Failed, at: 500, ..drill.clone() };
    catalog.record_drill(&failed).unwrap();
    // The repository has forgotten s1 and got s3.
    catalog.see_copies("home", "nas", &[copy("s2", 200), copy("s3", 250)]).unwrap();
    let copies = catalog.copies("home", "nas").unwrap();
    let told: Vec<_> = copies.iter().map(|c| (c.snapshot.as_str(), c.verified, c.drilled)).collect();
    assert_eq!(told, [("s3", None, None), ("s2", Some(300), Some(400))]);
    assert_eq!(catalog.verifications("nas", 9).unwrap(), [whole]);
    assert_eq!(catalog.drills_of("home", "nas", 9).unwrap(), [failed.clone(), drill]);
    assert_eq!(catalog.drills(Some("sample"), 1).unwrap(), [failed]);
    catalog.mark_copy("nas", "s3", false).unwrap();
    assert!(!catalog.copies("home", "nas").unwrap()[0].good);
}

#[test]
fn duties_places_alarms_and_notifiers_come_back() {
    let catalog = Catalog::in_memory().unwrap();
    catalog.expect_duty(Duty::Verify, "nas", 100).unwrap();
    catalog.expect_duty(Duty::Verify, "nas", 900).unwrap();
    let known = catalog.duty(Duty::Verify, "nas").unwrap().unwrap();
    assert_eq!((known.first_due, known.succeeded), (100, None));
    catalog.record_duty(Duty::Verify, "nas", 200, None).unwrap();
    catalog.record_duty(Duty::Verify, "nas", 300, Some("away")).unwrap();
    catalog.record_duty(Duty::Verify, "nas", 400, Some("away")).unwrap();
    let known = catalog.duty(Duty::Verify, "nas").unwrap().unwrap();
    assert_eq!((known.succeeded, known.attempted, known.failures), (Some(200), Some(400), 2));
    let facts = PlaceFacts { free_bytes: Some(7), deletable: Some(true), ..PlaceFacts::default() };
    catalog.record_place("nas", 50, &facts).unwrap();
    assert_eq!(catalog.place("nas").unwrap(), Some((50, facts)));
    assert_eq!(catalog.place("usb").unwrap(), None);
    let alarm = Alarm {
        kind: "stale".into(),
        subject: "home@nas".into(),
        since: 10,
        text: "old".into(),
        fix: "lifeboat run daily".into(),
        told: Some(20),
        recovered: None,
        silenced_until: None,
        sent: vec!["mail".into(), "phone".into()],
    };
    catalog.put_alarm(&alarm).unwrap();
    assert_eq!(catalog.alarms().unwrap(), [alarm]);
    catalog.drop_alarm("stale", "home@nas").unwrap();
    assert_eq!(catalog.alarms().unwrap(), []);
    catalog.record_notifier("mail", 5, Some("refused")).unwrap();
    catalog.record_notifier("mail", 6, Some("refused")).unwrap();
    catalog.record_notifier("phone", 7, None).unwrap();
    let states = catalog.notifiers().unwrap();
    assert_eq!((states[0].failures, states[0].error.as_deref()), (2, Some("refused")));
    assert_eq!((states[1].failures, states[1].succeeded), (0, Some(7)));
}

fn filled(path: &Path) {
    let catalog = Catalog::open(path).unwrap();
    for n in 0..300 {
        catalog.begin_run(&run(&format!("{n:04x}"), n)).unwrap();
    }
}

#[test]
fn only_the_owner_may_read_the_catalog() {
    let folder = tempfile::tempdir().unwrap();
    filled(&file(&folder));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&file(&folder)), 0o600);
    assert_eq!(mode(file(&folder).parent().unwrap()), 0o700);
}

#[test]
fn a_corrupt_catalog_is_replaced_and_kept_aside() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 4] = [
        ("not a database", |path| fs::write(path, vec![b'x'; 9000]).unwrap()),
        ("cut short", |path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("a page of noise", |path| {
            let mut bytes = fs::read(path).unwrap();
            let end = bytes.len();
            bytes[end - 8192..end - 4096].fill(0xa5);
            fs::write(path, bytes).unwrap();
        }),
        ("somebody else's database", |path| {
            fs::remove_file(path).unwrap();
            // A version number of ours without our tables is found out at the first question, below.
            fs::write(path, b"SQLite format 3\0 and then nothing").unwrap();
        }),
    ];
    for (what, harm) in harms {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder);
        filled(&path);
        harm(&path);
        let catalog = Catalog::open(&path).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!(catalog.replaced().is_some(), "{what}: it was not noticed");
        assert_eq!(catalog.runs(None, 10).unwrap(), [], "{what}");
        catalog.begin_run(&run("ff", 1)).unwrap();
        let mut aside = path.clone().into_os_string();
        aside.push(".broken");
        assert!(Path::new(&aside).exists(), "{what}");
        drop(catalog);
        let again = Catalog::open(&path).unwrap();
        assert_eq!((again.replaced(), again.runs(None, 10).unwrap().len()), (None, 1), "{what}");
    }
}

#[test]
fn an_empty_or_missing_file_is_a_new_catalog() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(CATALOG_FILE);
    fs::write(&path, b"").unwrap();
    assert_eq!(Catalog::open(&path).unwrap().replaced(), None);
    fs::remove_file(&path).unwrap();
    assert_eq!(Catalog::open(&path).unwrap().replaced(), None);
}

#[test]
fn a_catalog_of_a_newer_version_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder);
    filled(&path);
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let refused = Catalog::open(&path).map(drop).unwrap_err();
    assert!(matches!(refused, CatalogError::TooNew { found: 99, .. }), "{refused}");
    let connection = rusqlite::Connection::open(&path).unwrap();
    let runs: i64 = connection.query_row("SELECT count(*) FROM runs", [], |row| row.get(0)).unwrap();
    assert_eq!(runs, 300);
}

#[test]
fn one_who_writes_for_long_makes_others_give_up_and_not_wait() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder);
    let catalog = Catalog::open(&path).unwrap();
    let mut other = rusqlite::Connection::open(&path).unwrap();
    let held = other.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
    let refused = catalog.begin_run(&run("aa", 1)).unwrap_err();
    assert!(refused.is_busy(), "{refused}");
    assert_eq!(catalog.runs(None, 1).unwrap(), [], "reading goes on");
    drop(held);
    catalog.begin_run(&run("aa", 1)).unwrap();
}
