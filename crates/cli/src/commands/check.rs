//! `lifeboat check`: looks for damage, and names what it hurts. Changes nothing.

use crate::credentials;
use crate::display::{DisplayName, insert_path, safe};
use crate::error::{Exit, Failure, Outcome};
use crate::session::{Session, processors};
use crate::{sizes, time};
use ::repo::check::{CheckOptions, CheckReport, Finding, ReadShare, check};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use std::time::Instant;

/// Look for damage
#[derive(clap::Args)]
#[command(after_help = "\
Without --read-data, everything snapshots need is looked for by name and length.

Examples:
  lifeboat check
  lifeboat check --read-data         read, open and compare every byte
  lifeboat check --read-data=5%      a random sample
  lifeboat check --read-data=3/30    the third of thirty parts: one a day reads all in a month
  lifeboat check --read-data=10G

Exit code 5: damage was found; snapshots and paths are named.")]
pub(crate) struct Args {
    /// Read the stored data as well: all of it, a share, a part, or so many bytes
    #[arg(long, value_name = "SHARE", num_args = 0..=1, require_equals = true, default_missing_value = "100%")]
    read_data: Option<String>,
}

/// Paths shown of one finding.
const PATHS_SHOWN: usize = 10;

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    let read = args.read_data.as_deref().map_or(Ok(ReadShare::Nothing), share)?;
    let opened = session.open()?;
    let start = Instant::now();
    let bar = session.out.draws_progress.then(|| {
        let style = ProgressStyle::with_template("[{elapsed}] {percent}%  {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  ETA {eta}")
            .expect("the template is well-formed");
        session.out.bars().add(ProgressBar::new(0).with_style(style))
    });
    let mut progress = |done: u64, total: u64| {
        if let Some(bar) = &bar {
            bar.set_length(total);
            bar.set_position(done);
        }
    };
    let sample_seed = u64::from_le_bytes(credentials::random()?);
    let mut options = CheckOptions { read, workers: processors(), sample_seed, progress: &mut progress };
    let report = check(&opened.reader()?, &mut options);
    if let Some(bar) = &bar {
        bar.finish_and_clear();
    }
    let report = report?;
    for finding in &report.findings {
        tell_finding(session, finding)?;
    }
    summary(session, &report, start)?;
    Ok(if report.findings.is_empty() { Exit::Ok } else { Exit::Damage })
}

/// Reads `100%`, `5%`, `1/30` or `10G`.
fn share(text: &str) -> Outcome<ReadShare> {
    let wrong = || {
        Failure::usage(format!("{text:?} is no share of the data"))
            .hint("write it like 100%, 5%, 1/30 or 10G")
    };
    if let Some(percent) = text.strip_suffix('%') {
        let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
        return match percent {
            p if p >= 100.0 => Ok(ReadShare::Everything),
            p if p > 0.0 => Ok(ReadShare::Percent(p)),
            _ => Err(wrong()),
        };
    }
    if let Some((part, of)) = text.split_once('/') {
        let number = |n: &str| n.trim().parse::<u64>().map_err(|_| wrong());
        let (part, of) = (number(part)?, number(of)?);
        return if (1..=of).contains(&part) { Ok(ReadShare::Part { part, of }) } else { Err(wrong()) };
    }
    match sizes::parse(text) {
        Ok(bytes) if bytes > 0 => Ok(ReadShare::Bytes(bytes)),
        _ => Err(wrong()),
    }
}

fn tell_finding(session: &Session, finding: &Finding) -> Outcome<()> {
    if session.out.json {
        let hurt = |(snapshot, path): &(String, Vec<u8>)| {
            let mut object = Map::new();
            object.insert("snapshot".into(), snapshot.as_str().into());
            insert_path(&mut object, "path", path);
            Value::from(object)
        };
        let hurts: Vec<Value> = finding.hurts.iter().map(hurt).collect();
        return session.out.object(&json!({
            "message_type": "damage", "object": finding.what, "why": finding.why, "hurts": hurts,
        }));
    }
    session.out.line(format!("damaged: {}: {}", safe(&finding.what), safe(&finding.why)))?;
    for (snapshot, path) in finding.hurts.iter().take(PATHS_SHOWN) {
        session.out.line(format!("  hurts snapshot {snapshot} {}", DisplayName(path)))?;
    }
    let more = finding.hurts.len().saturating_sub(PATHS_SHOWN);
    if more > 0 {
        session.out.line(format!("  ... and {more} more (all are named with --json)"))?;
    }
    Ok(())
}

fn summary(session: &Session, report: &CheckReport, start: Instant) -> Outcome<()> {
    let CheckReport { snapshots, packs, packs_read, bytes_read, blobs_verified, orphan_packs, findings } =
        report;
    if session.out.json {
        return session.out.object(&json!({
            "message_type": "summary", "snapshots": snapshots, "packs": packs, "packs_read": packs_read,
            "bytes_read": bytes_read, "blobs_verified": blobs_verified, "orphan_packs": orphan_packs,
            "num_errors": findings.len(), "total_duration": start.elapsed().as_secs_f64(),
        }));
    }
    if session.out.quiet {
        return Ok(());
    }
    let took = time::clock(start.elapsed());
    session.out.line(format!("{snapshots} snapshots need {packs} packs; checked in {took}"))?;
    if *packs_read > 0 {
        let bytes = sizes::shown(*bytes_read);
        session.out.line(format!("read {packs_read} packs, {bytes}, and compared {blobs_verified} blobs"))?;
    }
    if *orphan_packs > 0 {
        session.out.line(format!(
            "{orphan_packs} packs are left over from runs that were interrupted; this is no damage"
        ))?;
    }
    session.out.line(match findings.len() {
        0 => "no damage found".to_string(),
        n => format!("damage found: {n} objects"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_in_four_forms() {
        assert_eq!(share("100%").unwrap(), ReadShare::Everything);
        assert_eq!(share("2.5%").unwrap(), ReadShare::Percent(2.5));
        assert_eq!(share("3/30").unwrap(), ReadShare::Part { part: 3, of: 30 });
        assert_eq!(share("10G").unwrap(), ReadShare::Bytes(10 << 30));
        for wrong in ["0%", "0/3", "4/3", "x", "0"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}
