//! `lifeboat prune`: frees the space of what nothing needs any more.

use crate::counts::{count, counted};
use crate::error::{Exit, Failure, Outcome};
use crate::session::{Opened, Session, processors, seed};
use crate::{durations, sizes, time};
use ::repo::prune::{PruneOptions, PruneReport, Stage, UnusedLimit, prune};
use ::repo::writer::WriterOptions;
use format::id::SnapshotId;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Free the space of what nothing needs any more
#[derive(clap::Args)]
#[command(after_help = "\
Runs beside backups, restores and other prunes; may be stopped at any point and run again.
Snapshots are removed when they were forgotten longer ago than --undo-window. What only they needed is
set apart at once, and deleted by a prune that runs --grace later.

Examples:
  lifeboat prune -n
  lifeboat prune
  lifeboat prune --undo-window 0 --grace 0      free everything that can be freed, now
  lifeboat prune --max-unused 5% --max-repack 10G")]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) how: How,
    /// Say what would be done; change nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}

/// How to prune.
#[derive(clap::Args)]
#[command(next_help_heading = "Pruning")]
pub(crate) struct How {
    /// Forgotten snapshots can be brought back for so long; 0 ends every undo [default: 7d]
    #[arg(long, value_name = "TIME")]
    undo_window: Option<String>,
    /// Delete so long after setting apart; 0 is allowed, and safe beside running backups [default: 24h]
    #[arg(long, value_name = "TIME")]
    grace: Option<String>,
    /// Give up sessions that showed no sign of life for so long [default: 7d]
    #[arg(long, value_name = "TIME")]
    dead_after: Option<String>,
    /// Rewrite packs until no more than this is unused: 5%, 10G, or unlimited [default: what is worth its
    /// cost; where --grace is 0, 1% and, unless the place is full, what is too costly to take out of its block]
    #[arg(long, value_name = "LIMIT")]
    max_unused: Option<String>,
    /// Rewrite at most so many bytes [default: a tenth of what is stored; all of it where --grace is 0]
    #[arg(long, value_name = "SIZE")]
    max_repack: Option<String>,
}

impl How {
    /// Whether anything was asked for.
    pub(crate) fn is_given(&self) -> bool {
        let How { undo_window, grace, dead_after, max_unused, max_repack } = self;
        [undo_window, grace, dead_after, max_unused, max_repack].iter().any(|option| option.is_some())
    }

    /// `assume_forgotten`: what a dry run of `forget` would have forgotten.
    fn options(&self, dry_run: bool, assume_forgotten: BTreeSet<SnapshotId>) -> Outcome<PruneOptions> {
        let usual = PruneOptions::new(time::now());
        let time =
            |given: &Option<String>, usual: Duration| given.as_deref().map_or(Ok(usual), durations::parse);
        let grace = time(&self.grace, usual.grace)?;
        let repack = self.max_repack.as_deref().map(sizes::parse).transpose()?;
        Ok(PruneOptions {
            dry_run,
            assume_forgotten,
            undo_window: time(&self.undo_window, usual.undo_window)?,
            grace,
            dead_after: time(&self.dead_after, usual.dead_after)?,
            unused: match self.max_unused.as_deref() {
                Some(text) => unused(text)?,
                None if grace.is_zero() => UnusedLimit::Urgent,
                None => UnusedLimit::Worthwhile,
            },
            repack_bytes_max: repack.or(grace.is_zero().then_some(u64::MAX)),
            writer: WriterOptions { seal_workers: processors(), ..WriterOptions::default() },
            ..usual
        })
    }
}

/// Reads `5%`, `10G` or `unlimited`.
fn unused(text: &str) -> Outcome<UnusedLimit> {
    if text == "unlimited" {
        return Ok(UnusedLimit::Unlimited);
    }
    let Some(percent) = text.strip_suffix('%') else { return sizes::parse(text).map(UnusedLimit::Bytes) };
    match percent.trim().parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(UnusedLimit::Share(percent / 100.0)),
        _ => Err(Failure::usage(format!("{text:?} is no share")).hint("write it like 5%, 10G or unlimited")),
    }
}

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    prune_and_tell(session, &session.open()?, &args.how, args.dry_run, BTreeSet::new())
}

/// Prunes and tells; for `forget --prune` as well.
pub(crate) fn prune_and_tell(
    session: &Session,
    opened: &Opened,
    how: &How,
    dry_run: bool,
    assume_forgotten: BTreeSet<SnapshotId>,
) -> Outcome<Exit> {
    let options = how.options(dry_run, assume_forgotten)?;
    let start = Instant::now();
    let bar = session.out.draws_progress.then(|| session.out.bars().add(ProgressBar::new_spinner()));
    let mut progress = |stage: Stage, done: u64, total: u64| {
        if let Some(bar) = &bar {
            bar.set_style(style(stage));
            bar.set_length(total);
            bar.set_position(done);
        }
    };
    let report = prune(&opened.reader()?, &options, seed()?, &mut progress);
    if let Some(bar) = &bar {
        bar.finish_and_clear();
    }
    let report = report?;
    if !dry_run {
        write_down(session, opened, &report);
    }
    tell(session, &options, &report, start.elapsed())?;
    Ok(exit(&report))
}

fn write_down(session: &Session, opened: &Opened, report: &PruneReport) {
    if let Some(body) = service::audit::pruned(report) {
        crate::audit::record(session, &opened.repo, "prune", &body);
    }
}

fn style(stage: Stage) -> ProgressStyle {
    let template = match stage {
        Stage::Look => "[{elapsed}] finding out what is needed",
        Stage::Move => {
            "[{elapsed}] moving {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  ETA {eta}"
        }
        Stage::Delete => "[{elapsed}] deleting {pos} of {len} packs",
    };
    ProgressStyle::with_template(template).expect("the template is well-formed")
}

fn exit(report: &PruneReport) -> Exit {
    match report {
        r if !r.doubts.is_empty() || !r.damaged.is_empty() => Exit::Damage,
        r if r.refused_packs > 0 => Exit::Refused,
        r if r.ran_out_of_space => Exit::NoSpace,
        _ => Exit::Ok,
    }
}

fn tell(session: &Session, options: &PruneOptions, report: &PruneReport, took: Duration) -> Outcome<()> {
    if session.out.json {
        return session.out.object(&summary(options, report, took));
    }
    for doubt in &report.doubts {
        session.out.message(crate::display::safe(doubt));
    }
    for session_name in &report.busy {
        session.out.message(crate::display::safe(session_name));
    }
    for pack in &report.damaged {
        session.out.message(format!("damaged, left as it is: {}", crate::display::safe(pack)));
    }
    for name in &report.foreign {
        session.out.message(format!("not made by a key of this repository: {}", crate::display::safe(name)));
    }
    if session.out.quiet {
        return Ok(());
    }
    lines(options, report).into_iter().try_for_each(|line| session.out.line(line))?;
    if !report.busy.is_empty() && report.doubts.is_empty() {
        session.out.info("nothing was deleted, because running sessions need what was removed under them and are about to store it again; run it again later, or end sessions that died with --dead-after 0");
    }
    if !report.doubts.is_empty() {
        session.out.info("nothing was deleted. Mend what is named above with `lifeboat repair`, or give it up with `lifeboat forget`");
    }
    session.out.info(format!("took {}", time::clock(took)));
    Ok(())
}

fn lines(options: &PruneOptions, report: &PruneReport) -> Vec<String> {
    let would = |did: &str, would: &str| if options.dry_run { would } else { did }.to_string();
    let mut lines = Vec::new();
    let mut say = |is_worth_it: bool, line: String| lines.extend(is_worth_it.then_some(line));
    say(
        report.removed_snapshots > 0,
        format!(
            "{} {}",
            would("removed", "would remove"),
            count(report.removed_snapshots, "forgotten snapshot")
        ),
    );
    say(
        report.forgotten_waiting > 0,
        format!(
            "{} can still be brought back (forget --undo)",
            count(report.forgotten_waiting, "forgotten snapshot")
        ),
    );
    say(
        report.protected > 0,
        format!(
            "{} held or too young",
            counted(report.protected, "forgotten snapshot is", "forgotten snapshots are")
        ),
    );
    say(report.ended_sessions > 0, format!("ended {} that died", count(report.ended_sessions, "session")));
    let (needed, stored) = (sizes::shown(report.needed_bytes), sizes::shown(report.stored_bytes));
    say(
        report.doubts.is_empty() && report.busy.is_empty(),
        format!(
            "{} {needed} of {stored}",
            counted(report.roots, "snapshot or running session needs", "snapshots and running sessions need")
        ),
    );
    let (read, written) = (sizes::shown(report.read_bytes), sizes::shown(report.written_bytes));
    say(
        report.rewritten_packs > 0 || report.rescued_packs > 0,
        format!(
            "{} {}: {read} read, {written} written",
            would("rewrote", "would rewrite"),
            count(report.rewritten_packs + report.rescued_packs, "pack")
        ),
    );
    say(options.dry_run && report.requests > 0, format!("about {}", count(report.requests, "request")));
    say(
        true,
        format!(
            "{} {} ({})",
            would("freed", "would free"),
            sizes::shown(report.deleted_bytes),
            count(report.deleted_packs, "pack")
        ),
    );
    let later = if options.dry_run { report.condemned_bytes } else { report.waiting_bytes };
    say(
        later > 0 && !options.grace.is_zero(),
        format!(
            "{} come back with a prune in {}; now with: lifeboat prune --undo-window 0 --grace 0",
            sizes::shown(later),
            durations::shown(options.grace)
        ),
    );
    let young = sizes::shown(report.young_bytes);
    say(report.young_bytes > 0, format!("{young} are unused but too new: a backup may be about to use them"));
    let unused = sizes::shown(report.unused_bytes);
    say(
        report.unused_bytes > 0,
        format!("{unused} stay unused: rewriting their packs costs more than it frees"),
    );
    say(
        report.refused_packs > 0,
        format!("the storage would not delete {}", count(report.refused_packs, "pack")),
    );
    say(report.ran_out_of_space, "the place is too full to rewrite all packs; run it again".to_string());
    lines
}

fn summary(options: &PruneOptions, report: &PruneReport, took: Duration) -> serde_json::Value {
    json!({
        "message_type": "summary", "dry_run": options.dry_run,
        "snapshots_removed": report.removed_snapshots, "snapshots_waiting": report.forgotten_waiting,
        "snapshots_protected": report.protected, "sessions_ended": report.ended_sessions,
        "roots": report.roots, "packs": report.packs, "bytes_stored": report.stored_bytes,
        "bytes_needed": report.needed_bytes, "packs_condemned": report.condemned_packs,
        "bytes_condemned": report.condemned_bytes, "packs_waiting": report.waiting_packs,
        "bytes_waiting": report.waiting_bytes, "packs_deleted": report.deleted_packs,
        "bytes_freed": report.deleted_bytes, "packs_refused": report.refused_packs,
        "packs_rewritten": report.rewritten_packs, "packs_rescued": report.rescued_packs,
        "bytes_read": report.read_bytes, "bytes_written": report.written_bytes, "requests": report.requests,
        "bytes_too_new": report.young_bytes, "bytes_unused": report.unused_bytes,
        "segments_merged": report.merged_segments, "ran_out_of_space": report.ran_out_of_space,
        "damaged": report.damaged, "doubts": report.doubts, "busy": report.busy, "foreign": report.foreign,
        "total_duration": took.as_secs_f64(),
    })
}
