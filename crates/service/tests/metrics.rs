//! The metrics: all of them are documented, those of pairs that never ran are there, and the text can be read.

use service::catalog::*;
use service::metrics::*;
use service::posture::*;
use std::collections::BTreeMap;
use std::fs;

const NOW: i64 = 1_800_000_000;

fn posture(catalog: &Catalog) -> Posture {
    let pair = |repository: &str| PairWanted { repository: repository.into(), max_age: 86_400 };
    let wanted = Wanted {
        machine: "atlas".into(),
        sources: vec![SourceWanted {
            name: "home \"x\"\\\n".into(),
            copies: 2,
            media: 1,
            offsite: 0,
            immutable: 0,
            verified_within: Some(86_400),
            drilled_within: Some(86_400),
            pairs: vec![pair("nas"), pair("usb")],
            run: "run".into(),
            drill: "drill".into(),
        }],
        places: ["nas", "usb"].map(|name| PlaceWanted { name: name.into(), ..PlaceWanted::default() }).into(),
    };
    judge(&wanted, &seen_in(catalog, &wanted).unwrap(), NOW)
}

fn extra() -> Extra {
    Extra {
        version: "1.2.3".into(),
        next_runs: vec![("daily".into(), Some(NOW + 60)), ("never".into(), None)],
        duties: vec![("verify".into(), "nas".into(), None)],
        problems: vec![("stale".into(), 2)],
    }
}

/// The samples of a text in Prometheus' format: name with labels, and value. Refuses what is not one.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let (mut samples, mut typed) = (BTreeMap::new(), None);
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            assert!(rest.split_once(' ').is_some_and(|(_, help)| help.ends_with('.')), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(matches!(kind, "gauge" | "counter"), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            typed = Some(name.to_string());
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert_eq!(Some(name.split('{').next().unwrap()), typed.as_deref(), "{line}");
            let known = samples.insert(name.to_string(), value.parse().unwrap());
            assert_eq!(known, None, "{name} is there twice");
        }
    }
    samples
}

#[test]
fn pairs_that_never_ran_are_there_with_zero() {
    let catalog = Catalog::in_memory().unwrap();
    let text = render(&posture(&catalog), &catalog, &extra()).unwrap();
    let samples = samples(&text);
    let source = r#"source="home \"x\"\\\n""#;
    for metric in
        ["last_success_timestamp_seconds", "last_run_success", "last_drill_timestamp_seconds", "snapshots"]
    {
        for repository in ["nas", "usb"] {
            let name = format!("lifeboat_{metric}{{{source},repository=\"{repository}\"}}");
            assert_eq!(samples.get(&name), Some(&0.0), "{name}\n{text}");
        }
    }
    assert_eq!(samples["lifeboat_build_info{version=\"1.2.3\"}"], 1.0);
    assert_eq!(samples["lifeboat_next_run_timestamp_seconds{job=\"never\"}"], 0.0);
    assert_eq!(samples[&format!("lifeboat_goal_met{{{source},goal=\"copies\"}}")], 0.0);
}

#[test]
fn a_failed_run_after_a_good_copy_shows_as_both() {
    let catalog = Catalog::in_memory().unwrap();
    let source = "home \"x\"\\\n".to_string();
    catalog
        .record_copy(&Copy {
            source: source.clone(),
            repository: "nas".into(),
            snapshot: "s".into(),
            time: NOW - 100,
            made: NOW - 90,
            good: true,
            files: 7,
            bytes: 70,
            verified: None,
            drilled: None,
        })
        .unwrap();
    let run = RunId("aa".into());
    let new = NewRun {
        id: run.clone(),
        job: "daily".into(),
        what: "backup".into(),
        trigger: "manual".into(),
        start: NOW - 50,
    };
    catalog.begin_run(&new).unwrap();
    catalog
        .record_result(&SourceResult {
            run,
            source,
            repository: "nas".into(),
            at: NOW - 40,
            result: RunResult::Failed,
            snapshot: None,
            files: 0,
            bytes: 0,
            added_bytes: 3,
            uploaded_bytes: 2,
            errors: 0,
            seconds: 10.0,
            code: 13,
            error: Some("away".into()),
        })
        .unwrap();
    let samples = samples(&render(&posture(&catalog), &catalog, &extra()).unwrap());
    let value = |metric: &str| {
        let start = format!("lifeboat_{metric}{{");
        let mut found = samples.iter().filter(|(n, _)| n.starts_with(&start) && n.contains("\"nas\""));
        *found.next().unwrap().1
    };
    assert_eq!(value("last_success_timestamp_seconds"), (NOW - 100) as f64);
    assert_eq!(
        (value("last_run_success"), value("last_attempt_timestamp_seconds")),
        (0.0, (NOW - 40) as f64)
    );
    assert_eq!((value("added_bytes_total"), value("uploaded_bytes_total")), (3.0, 2.0));
    assert_eq!(samples["lifeboat_errors_total{code=\"13\"}"], 1.0);
}

#[test]
fn the_textfile_is_whole_or_old() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lifeboat.prom");
    write_textfile(&path, "one").unwrap();
    write_textfile(&path, "two").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "two");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert!(write_textfile(&folder.path().join("no/such"), "x").is_err());
}

#[test]
fn the_reference_lists_exactly_what_there_is() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/metrics.md");
    let page = fs::read_to_string(page).unwrap();
    let listed: Vec<&str> = page.lines().filter(|line| line.starts_with("| `lifeboat_")).collect();
    let expected: Vec<String> = METRICS
        .iter()
        .map(|m| {
            let labels: Vec<String> = m.labels.iter().map(|label| format!("`{label}`")).collect();
            format!("| `{}` | {} | {} | {} |", m.name, m.kind, labels.join(", "), m.help)
        })
        .collect();
    assert_eq!(listed, expected, "bring docs/reference/metrics.md up to date:\n{}", expected.join("\n"));
}
