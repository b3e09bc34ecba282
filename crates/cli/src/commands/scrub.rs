//! `lifeboat scrub`: compares all stored bytes with their hashes, without any key. Changes nothing.

use super::check::{coverage_line, rfc3339_secs, share};
use super::verified::{self, Saw};
use crate::counts::count;
use crate::display::safe;
use crate::error::{Exit, Failure, Outcome};
use crate::session::{Session, processors};
use crate::{credentials, sizes, time};
use ::repo::Repo;
use ::repo::RepoError;
use ::repo::scrub::{Damaged, Mend, ScrubOptions, ScrubReport, scrub};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::ops::ControlFlow;
use std::time::Instant;

/// Compare stored bytes with their hashes, without any key
#[derive(clap::Args)]
#[command(after_help = "\
For a machine that keeps a repository and must not be able to read it, such as a NAS. Finds objects
that changed, and says which of them their own parity or second copy can mend. What is missing
altogether, only `lifeboat check` can know. Nothing is written.

Examples:
  lifeboat scrub -r /volume1/backup
  lifeboat scrub -r /volume1/backup --read-data=1/30    every day, and all is read in 30 days

Exit code 5: damage was found; mend it with `lifeboat repair` where the key is.")]
pub(crate) struct Args {
    /// How much of the packs to read: a share, a part, or so many bytes [default: 100%]
    #[arg(long, value_name = "SHARE", require_equals = true)]
    read_data: Option<String>,
}

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    let read = share(args.read_data.as_deref().unwrap_or("100%"))?;
    let location = session.location()?;
    let store = session.store(&location, false)?;
    let cache = match Repo::peek(&*store) {
        Ok(identity) => session.cache(&identity.repo),
        // Both copies of the configuration are damaged: that is for the scrub to tell.
        Err(e) if e.is_damage() || e.is_too_new() => ::repo::cache::Cache::none(),
        Err(RepoError::NoRepository { .. }) => {
            return Err(Failure::from(RepoError::NoRepository { location: location.to_string() }));
        }
        Err(e) => return Err(e.into()),
    };
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
        ControlFlow::Continue(())
    };
    let mut options = ScrubOptions {
        read,
        workers: processors(),
        sample_seed: u64::from_le_bytes(credentials::random()?),
        now: time::now(),
        progress: &mut progress,
    };
    let report = scrub(&store, &cache, &mut options);
    if let Some(bar) = &bar {
        bar.finish_and_clear();
    }
    let report = report?;
    verified::note(
        session,
        Saw {
            kind: "scrub",
            packs: report.packs,
            packs_read: report.packs_read,
            bytes: report.bytes_read,
            damaged: report.damaged.len(),
            // Which snapshots need what it read, only the keys tell.
            snapshots: Vec::new(),
        },
    );
    report.damaged.iter().try_for_each(|damaged| tell(session, damaged))?;
    for name in &report.too_new {
        session
            .out
            .warn(format!("{} was written by a newer version of lifeboat and was not judged", safe(name)));
    }
    summary(session, &report, start)?;
    Ok(if report.damaged.is_empty() { Exit::Ok } else { Exit::Damage })
}

fn tell(session: &Session, damaged: &Damaged) -> Outcome<()> {
    let Damaged { name, why, mend } = damaged;
    if session.out.json {
        let mended_by = match mend {
            Mend::Parity => Some("parity"),
            Mend::OtherCopy => Some("other copy"),
            Mend::Nothing => None,
        };
        return session.out.object(&json!({
            "message_type": "damage", "object": name, "why": why, "mended_by": mended_by,
        }));
    }
    session.out.line(format!("damaged: {}: {}", safe(name), safe(why)))
}

fn summary(session: &Session, report: &ScrubReport, start: Instant) -> Outcome<()> {
    let ScrubReport { objects, packs, packs_read, bytes_read, coverage, .. } = report;
    let mendable = report.damaged.iter().filter(|d| d.mend != Mend::Nothing).count();
    if session.out.json {
        return session.out.object(&json!({
            "message_type": "summary", "objects": objects, "packs": packs, "packs_read": packs_read,
            "bytes_read": bytes_read, "never_verified_packs": coverage.never_verified,
            "oldest_verified": coverage.oldest_secs.map(rfc3339_secs), "too_new": report.too_new.len(),
            "num_errors": report.damaged.len(), "mendable": mendable,
            "total_duration": start.elapsed().as_secs_f64(),
        }));
    }
    if session.out.quiet {
        return Ok(());
    }
    let took = time::clock(start.elapsed());
    session.out.line(format!(
        "read {} and {packs_read} of {}, {}, in {took}",
        count(*objects, "small object"),
        count(*packs, "pack"),
        sizes::shown(*bytes_read)
    ))?;
    coverage_line(*coverage).into_iter().try_for_each(|line| session.out.line(line))?;
    match report.damaged.len() {
        0 => session.out.line("no damage found"),
        n => {
            session.out.line(format!(
                "damage found: {}, of which {mendable} can be mended from this place alone",
                count(n, "object")
            ))?;
            session.out.info("mend them where the key is, with: lifeboat repair");
            Ok(())
        }
    }
}
