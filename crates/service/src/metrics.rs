//! Prometheus text about everything that is watched.
//!
//! Derived from the posture and the catalog, never from how the last run ended. A pair that never ran or only
//! failed is present from the start with the value 0, so that an alert needs no `absent()`. [`METRICS`] is the
//! list of everything there is; docs/reference/metrics.md shows the same list, and a test keeps them equal.

use crate::catalog::{Catalog, CatalogResult, DutyRecord, RunResult};
use crate::posture::Posture;
use std::fmt::Write;
use std::io;
use std::path::Path;

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// `gauge` or `counter`.
    pub kind: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

const PAIR: &[&str] = &["source", "repository"];
const PLACE: &[&str] = &["repository"];

macro_rules! metrics {
    ($($constant:ident $name:literal $kind:literal $labels:expr, $help:literal;)*) => {
        $(const $constant: Metric = Metric { name: concat!("lifeboat_", $name), kind: $kind, labels: $labels, help: $help };)*
        /// All metrics, in the order in which they are written.
        pub const METRICS: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    BUILD "build_info" "gauge" &["version"], "Always 1; the version of lifeboat.";
    SUCCESS "last_success_timestamp_seconds" "gauge" PAIR, "The moment that the newest good copy holds; 0 if there is none.";
    ATTEMPT "last_attempt_timestamp_seconds" "gauge" PAIR, "When a copy was last tried to be made; 0 if never.";
    RUN_SUCCESS "last_run_success" "gauge" PAIR, "Whether the last attempt went well; 0 if there was none.";
    DURATION "run_duration_seconds" "gauge" PAIR, "How long the last attempt took.";
    FILES "source_files" "gauge" PAIR, "Files in the newest good copy.";
    BYTES "source_bytes" "gauge" PAIR, "Bytes of the files in the newest good copy.";
    ADDED "added_bytes_total" "counter" PAIR, "Bytes of new contents, before compression.";
    UPLOADED "uploaded_bytes_total" "counter" PAIR, "Bytes stored.";
    SNAPSHOTS "snapshots" "gauge" PAIR, "Good copies.";
    DRILL "last_drill_timestamp_seconds" "gauge" PAIR, "When a drill last restored from here; 0 if never.";
    DRILL_SUCCESS "drill_success" "gauge" PAIR, "Whether the last drill passed; 0 if there was none.";
    DRILL_DURATION "drill_duration_seconds" "gauge" PAIR, "How long the last drill took.";
    STORED "repository_stored_bytes" "gauge" PLACE, "Bytes stored, where that was counted.";
    FREE "repository_free_bytes" "gauge" PLACE, "Bytes still free, where the place says.";
    SEEN "repository_last_seen_timestamp_seconds" "gauge" PLACE, "When the repository was last open; 0 if never.";
    VERIFIED "last_verified_timestamp_seconds" "gauge" PLACE, "Since when everything was read again and found right; 0 if not.";
    VERIFIED_RATIO "verified_ratio" "gauge" PLACE, "Share of the stored bytes that was read again within 30 days and found right.";
    DAMAGED "repository_damaged" "gauge" PLACE, "Whether damage was found that is still there as far as known.";
    GOAL "goal_met" "gauge" &["source", "goal"], "Whether a goal is met.";
    DUTY "duty_last_success_timestamp_seconds" "gauge" &["duty", "subject"], "When a duty last went well; 0 if never.";
    ERRORS "errors_total" "counter" &["code"], "Attempts that ended with each exit code.";
    NEXT "next_run_timestamp_seconds" "gauge" &["job"], "When a job runs next; 0 if never.";
    NOTIFIER "notifier_working" "gauge" &["notifier"], "Whether a notifier delivered what it was last given.";
    ALARMS "alarms" "gauge" &["kind"], "Problems right now.";
    WATCHED "watched_timestamp_seconds" "gauge" &[], "When all this was last judged.";
}

/// What is not in posture and catalog.
#[derive(Clone, Debug, Default)]
pub struct Extra {
    /// The version of the program.
    pub version: String,
    /// When each job runs next, in Unix seconds.
    pub next_runs: Vec<(String, Option<i64>)>,
    /// Duties by kind and subject, and what is known of them.
    pub duties: Vec<(String, String, Option<DutyRecord>)>,
    /// Problems right now, by kind.
    pub problems: Vec<(String, u64)>,
}

/// A metric and its values, each with its labels.
type Family = (Metric, Vec<(Vec<String>, f64)>);

/// Everything as Prometheus text.
pub fn render(posture: &Posture, catalog: &Catalog, extra: &Extra) -> CatalogResult<String> {
    let mut families: Vec<Family> = METRICS.iter().map(|metric| (*metric, Vec::new())).collect();
    let mut put = |metric: Metric, labels: &[&str], value: f64| {
        let family = families.iter_mut().find(|(m, _)| *m == metric).expect("all metrics are in the list");
        debug_assert_eq!(labels.len(), metric.labels.len());
        family.1.push((labels.iter().map(|l| l.to_string()).collect(), value));
    };
    put(BUILD, &[&extra.version], 1.0);
    put(WATCHED, &[], posture.now as f64);
    for pair in posture.sources.iter().flat_map(|s| &s.pairs) {
        let labels = [pair.source.as_str(), pair.repository.as_str()];
        let last = catalog.last_results(&pair.source, &pair.repository, 1)?.into_iter().next();
        let totals = catalog.totals(&pair.source, &pair.repository)?;
        let drill = catalog.drills_of(&pair.source, &pair.repository, 1)?.into_iter().next();
        let went_well =
            last.as_ref().is_some_and(|r| matches!(r.result, RunResult::Success | RunResult::Partial));
        put(SUCCESS, &labels, pair.good.unwrap_or(0) as f64);
        put(ATTEMPT, &labels, last.as_ref().map_or(0, |r| r.at) as f64);
        put(RUN_SUCCESS, &labels, f64::from(u8::from(went_well)));
        put(DURATION, &labels, last.as_ref().map_or(0.0, |r| r.seconds));
        put(FILES, &labels, pair.files as f64);
        put(BYTES, &labels, pair.bytes as f64);
        put(ADDED, &labels, totals.added_bytes as f64);
        put(UPLOADED, &labels, totals.uploaded_bytes as f64);
        put(SNAPSHOTS, &labels, pair.copies as f64);
        put(DRILL, &labels, pair.drilled.unwrap_or(0) as f64);
        let passed = drill.as_ref().is_some_and(|d| d.result == crate::catalog::DrillResult::Passed);
        put(DRILL_SUCCESS, &labels, f64::from(u8::from(passed)));
        put(DRILL_DURATION, &labels, drill.map_or(0.0, |d| d.seconds));
    }
    for place in &posture.places {
        let labels = [place.repository.as_str()];
        if let Some(bytes) = place.stored_bytes {
            put(STORED, &labels, bytes as f64);
        }
        if let Some(bytes) = place.free_bytes {
            put(FREE, &labels, bytes as f64);
        }
        put(SEEN, &labels, place.seen.unwrap_or(0) as f64);
        put(VERIFIED, &labels, place.verified.unwrap_or(0) as f64);
        put(VERIFIED_RATIO, &labels, verified_ratio(catalog, &place.repository, posture.now)?);
        put(DAMAGED, &labels, f64::from(u8::from(place.damaged.is_some())));
    }
    for source in &posture.sources {
        for goal in &source.goals {
            put(GOAL, &[&source.source, goal.goal.as_str()], f64::from(u8::from(goal.met)));
        }
    }
    for (duty, subject, record) in &extra.duties {
        let last = record.as_ref().and_then(|r| r.succeeded).unwrap_or(0);
        put(DUTY, &[duty, subject], last as f64);
    }
    for (code, count) in catalog.error_counts()? {
        put(ERRORS, &[&code.to_string()], count as f64);
    }
    for (job, next) in &extra.next_runs {
        put(NEXT, &[job], next.unwrap_or(0) as f64);
    }
    for state in catalog.notifiers()? {
        put(NOTIFIER, &[&state.name], f64::from(u8::from(state.failures == 0)));
    }
    for (kind, count) in &extra.problems {
        put(ALARMS, &[kind], *count as f64);
    }
    Ok(written(&families))
}

/// How far back reads count for the share that was verified.
const RATIO_DAYS: i64 = 30;

fn verified_ratio(catalog: &Catalog, repository: &str, now: i64) -> CatalogResult<f64> {
    let since = now - RATIO_DAYS * 86_400;
    let verifications = catalog.verifications(repository, 1000)?;
    let right = verifications.iter().take_while(|v| v.at >= since && v.damaged == 0);
    // The sum of nothing is -0.0, which would be printed with its sign.
    Ok(right.filter(|v| v.error.is_none()).fold(0.0, |sum, v| sum + v.ratio).clamp(0.0, 1.0))
}

fn written(families: &[Family]) -> String {
    let mut out = String::new();
    for (metric, samples) in families.iter().filter(|(_, samples)| !samples.is_empty()) {
        let Metric { name, kind, help, .. } = metric;
        writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}").expect(MEMORY);
        for (labels, value) in samples {
            let named = metric.labels.iter().zip(labels).map(|(n, v)| format!("{n}=\"{}\"", escaped(v)));
            let named = named.collect::<Vec<_>>().join(",");
            let labels = if named.is_empty() { String::new() } else { format!("{{{named}}}") };
            writeln!(out, "{name}{labels} {value}").expect(MEMORY);
        }
    }
    out
}

const MEMORY: &str = "writing to memory does not fail";

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Writes the text where node_exporter picks it up: readers see the old file or the new one, never half of one.
/// Everybody may read it, since the exporter runs as somebody else; it holds names and numbers, no secret.
pub fn write_textfile(path: &Path, text: &str) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let partial = path.with_extension(format!("{}.tmp", std::process::id()));
    let write = || {
        std::fs::write(&partial, text)?;
        std::fs::set_permissions(&partial, std::fs::Permissions::from_mode(0o644))?;
        std::fs::rename(&partial, path)
    };
    write().inspect_err(|_| {
        std::fs::remove_file(&partial).ok();
    })
}
