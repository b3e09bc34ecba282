//! `lifeboat log`: what ran here, and how it ended.

use super::snapshots::columns;
use super::status::open_catalog;
use crate::display::safe;
use crate::error::{Exit, Failure, Outcome};
use crate::session::Session;
use crate::{sizes, time};
use format::kind::Timestamp;
use serde_json::{Value, json};
use service::catalog::{Catalog, Run, RunResult, SourceResult};
use service::posture::span_words;

/// Show what ran, and how it ended
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  lifeboat log                   the newest runs
  lifeboat log --failed --job daily
  lifeboat log 4f21              one run, source by source")]
pub(crate) struct Args {
    /// One run: the beginning of its name
    #[arg(value_name = "RUN")]
    run: Option<String>,
    /// Only runs of this job
    #[arg(long, value_name = "JOB")]
    job: Option<String>,
    /// Only runs that had to do with this source
    #[arg(long, value_name = "SOURCE")]
    source: Option<String>,
    /// Only runs that did not go well
    #[arg(long)]
    failed: bool,
    /// So many
    #[arg(long, value_name = "N", default_value_t = 20)]
    latest: usize,
}

/// Runs that are looked at where something is selected.
const LOOKED_AT: usize = 10_000;

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    let catalog = open_catalog(session)?;
    if let Some(start) = &args.run {
        return one(session, &catalog, start);
    }
    let mut chosen = Vec::new();
    for run in catalog.runs(args.job.as_deref(), LOOKED_AT)? {
        if chosen.len() >= args.latest {
            break;
        }
        let bad = !matches!(run.result, Some(RunResult::Success | RunResult::Skipped));
        let results = catalog.results(&run.id)?;
        let about = args.source.as_ref().is_none_or(|source| results.iter().any(|r| r.source == *source));
        if about && (bad || !args.failed) {
            chosen.push((run, results));
        }
    }
    if session.out.json {
        for (run, results) in &chosen {
            session.out.object(&object(run, results))?;
        }
        return Ok(Exit::Ok);
    }
    if chosen.is_empty() {
        session.out.info("nothing ran yet that would fit");
        return Ok(Exit::Ok);
    }
    let mut rows = vec![["run", "began", "took", "job", "what", "result", "copies"].map(String::from)];
    rows.extend(chosen.iter().map(|(run, results)| row(run, results)));
    columns(&rows).into_iter().try_for_each(|line| session.out.line(line))?;
    Ok(Exit::Ok)
}

fn shown(secs: i64) -> String {
    time::shown(Timestamp { secs, nanos: 0 })
}

fn result_words(run: &Run) -> String {
    match (run.result, run.end) {
        (Some(result), _) => result.as_str().to_string(),
        (None, _) => "runs, or was killed".to_string(),
    }
}

fn row(run: &Run, results: &[SourceResult]) -> [String; 7] {
    let good = results.iter().filter(|r| matches!(r.result, RunResult::Success | RunResult::Partial)).count();
    [
        run.id.0.get(..8).unwrap_or(&run.id.0).to_string(),
        shown(run.start),
        run.end.map_or_else(|| "-".into(), |end| span_words(end - run.start)),
        safe(&run.job),
        safe(&run.what),
        result_words(run),
        format!("{good} of {}", results.len()),
    ]
}

fn one(session: &Session, catalog: &Catalog, start: &str) -> Outcome<Exit> {
    let found = catalog.runs_named(start)?;
    let run = match &found[..] {
        [run] => run,
        [] => {
            let what = format!("there is no run {}", safe(start));
            return Err(Failure::usage(what).hint("list them with: lifeboat log"));
        }
        _ => return Err(Failure::usage(format!("several runs begin with {}", safe(start)))),
    };
    let results = catalog.results(&run.id)?;
    if session.out.json {
        session.out.object(&object(run, &results))?;
        return Ok(Exit::Ok);
    }
    let out = &session.out;
    out.line(format!(
        "run {} of {}: {} ({})",
        run.id,
        safe(&run.job),
        result_words(run),
        safe(&run.trigger)
    ))?;
    out.line(format!("began {}", shown(run.start)))?;
    if let Some(end) = run.end {
        out.line(format!("took {}", span_words(end - run.start)))?;
    }
    if let Some(error) = &run.error {
        out.line(format!("error: {}", safe(error)))?;
    }
    for r in &results {
        let (source, repository) = (safe(&r.source), safe(&r.repository));
        let snapshot = r.snapshot.as_deref().and_then(|id| id.get(..8)).unwrap_or("no snapshot");
        out.line(format!("{source} in {repository}: {}, {snapshot}", r.result.as_str()))?;
        out.line(format!(
            "  {} files, {}; {} new, {} stored; {} unreadable; {}",
            r.files,
            sizes::shown(r.bytes),
            sizes::shown(r.added_bytes),
            sizes::shown(r.uploaded_bytes),
            r.errors,
            span_words(r.seconds as i64)
        ))?;
        if let Some(error) = &r.error {
            out.line(format!("  error: {}", safe(error)))?;
        }
    }
    Ok(Exit::Ok)
}

fn object(run: &Run, results: &[SourceResult]) -> Value {
    let time = |secs: i64| time::rfc3339(Timestamp { secs, nanos: 0 });
    let results = results.iter().map(|r| {
        json!({
            "source": r.source, "repository": r.repository, "time": time(r.at), "result": r.result.as_str(),
            "snapshot_id": r.snapshot, "files": r.files, "total_bytes_processed": r.bytes,
            "data_added": r.added_bytes, "data_uploaded": r.uploaded_bytes, "error_count": r.errors,
            "total_duration": r.seconds, "exit_code": r.code, "error": r.error,
        })
    });
    json!({
        "message_type": "run", "run_id": run.id.0, "job": run.job, "what": run.what, "trigger": run.trigger,
        "start": time(run.start), "end": run.end.map(time), "result": run.result.map(RunResult::as_str),
        "exit_code": run.exit, "error": run.error, "results": results.collect::<Vec<_>>(),
    })
}
