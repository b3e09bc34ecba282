//! `lifeboat check`: looks for damage, and names what it hurts. Changes nothing; what it has read and found whole
//! it tells the other machines, and what is damaged waits for a repair in a list of this machine.

mod copies;

use super::verified::{self, Saw};
use crate::audit;
use crate::counts::{count, counted};
use crate::credentials;
use crate::display::{DisplayName, insert_path, safe, shell_word};
use crate::error::{Exit, Failure, Outcome};
use crate::session::{Session, processors};
use crate::{sizes, time};
use ::repo::attest;
use ::repo::check::{CheckOptions, CheckReport, Coverage, Finding, Hurt, ReadShare, check};
use ::repo::heads::Gone;
use ::repo::reader::Reader;
use ::repo::snapshots::SnapshotList;
use format::id::SnapshotId;
use format::kind::Timestamp;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use service::{damage_queue, seen_heads};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

/// Look for damage
#[derive(clap::Args)]
#[command(after_help = "\
Without --read-data, everything snapshots need is looked for by name and length. A snapshot that this
machine has seen, and that is gone without having been forgotten, is damage. What is read is what no
machine has read for the longest time: each tells the others, in the repository, what it has found whole.

Examples:
  lifeboat check
  lifeboat check --read-data         read, open and compare every byte
  lifeboat check --read-data=1/30    one part of thirty: every day, and all is read in 30 days
  lifeboat check --read-data=5%
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
    match &session.global.repo[..] {
        several @ [_, _, ..] => copies::check_each(session, several, read),
        _ => check_one(session, read).map(|checked| checked.exit()),
    }
}

/// What a check of one repository came to.
struct Checked {
    findings: Vec<Finding>,
    list: SnapshotList,
    reader: Arc<Reader>,
}

impl Checked {
    fn exit(&self) -> Exit {
        if self.findings.is_empty() { Exit::Ok } else { Exit::Damage }
    }
}

fn check_one(session: &Session, read: ReadShare) -> Outcome<Checked> {
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
    let mut options =
        CheckOptions { read, workers: processors(), sample_seed, now: time::now(), progress: &mut progress };
    let reader = opened.reader()?;
    if read != ReadShare::Nothing
        && let Err(e) = attest::learn(&reader)
    {
        session
            .out
            .warn(format!("cannot learn what other machines have read: {}", Failure::from(e).message()));
    }
    let report = check(&reader, &mut options);
    if let Some(bar) = &bar {
        bar.finish_and_clear();
    }
    let mut report = report?;
    let (list, gone) = session.opener().snapshots_and_gone(&opened.repo)?;
    let finding = |gone: &Gone| Finding {
        what: ::repo::names::snapshot(&gone.seen.snapshot).to_string(),
        why: seen_heads::why(gone),
        hurts: Vec::new(),
    };
    report.findings.extend(gone.iter().map(finding));
    if let Some(verified) = &report.verified {
        audit::attest(session, &opened.repo, verified);
    }
    let whole = report.findings.is_empty() && report.packs_read == report.packs;
    verified::note(
        session,
        Saw {
            kind: if matches!(read, ReadShare::Nothing) { "check" } else { "read-data" },
            packs: report.packs,
            packs_read: report.packs_read,
            bytes: report.bytes_read,
            damaged: report.findings.len(),
            snapshots: if whole { verified::all(&opened.repo) } else { Vec::new() },
        },
    );
    tell_findings(session, &report.findings)?;
    for leftover in &report.leftovers {
        tell_leftover(session, leftover)?;
    }
    summary(session, &report, start)?;
    hints(session, &report);
    if !gone.is_empty() {
        session.out.info(
            "snapshots that are gone come back from a copy that has them: lifeboat repair --from ANOTHER-COPY; if you \
             brought back an older copy of the repository yourself, add --accept-rollback once",
        );
    }
    let is_right = report.findings.is_empty() && matches!(read, ReadShare::Everything);
    let damage = report.findings.iter().map(|finding| (finding.what.clone(), finding.why.as_str()));
    let folders = session.opener().folders;
    if let Err(e) = damage_queue::note(&folders, &opened.repo.identity().repo, damage) {
        session.out.warn(format!("cannot note the damage for a repair: {e}"));
    }
    if is_right {
        damage_queue::clear(&folders, &opened.repo.identity().repo);
    }
    Ok(Checked { findings: report.findings, list, reader })
}

/// Reads `100%`, `5%`, `1/30` or `10G`.
pub(super) fn share(text: &str) -> Outcome<ReadShare> {
    let wrong = || {
        Failure::usage(format!("{text:?} is no share of the data"))
            .hint("write it like 100%, 5%, 1/30 or 10G")
    };
    if let Some(percent) = text.strip_suffix('%') {
        let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
        return match percent {
            100.0 => Ok(ReadShare::Everything),
            p if p > 0.0 && p < 100.0 => Ok(ReadShare::Percent(p)),
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

/// Tells of damage by what it comes from: the pieces that one pack lost are told together. With -v and --json each
/// is told by itself, with all that it hurts.
pub(super) fn tell_findings(session: &Session, findings: &[Finding]) -> Outcome<()> {
    if session.out.json || session.out.verbose > 0 {
        return findings.iter().try_for_each(|finding| tell_finding(session, finding));
    }
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let mut groups: Vec<Vec<&Finding>> = Vec::new();
    for finding in findings {
        let known = cause(finding).map(|cause| *places.entry(cause).or_insert(groups.len()));
        match known.and_then(|at| groups.get_mut(at)) {
            Some(group) => group.push(finding),
            None => groups.push(vec![finding]),
        }
    }
    groups.iter().try_for_each(|group| match &group[..] {
        [one] => tell_finding(session, one),
        several => tell_group(session, several),
    })
}

/// What a lost piece was lost with: its pack where that is known, else the same words.
fn cause(finding: &Finding) -> Option<&str> {
    let is_piece = finding.blob().is_some();
    let why = finding.why.as_str();
    let pack = why.starts_with("pack ").then(|| why.split(':').next()).flatten();
    is_piece.then_some(pack.unwrap_or(why))
}

fn tell_group(session: &Session, group: &[&Finding]) -> Outcome<()> {
    let (n, why) = (group.len(), safe(&group[0].why));
    session.out.line(format!(
        "damaged: {}: {why}",
        counted(n, "piece of files and folders", "pieces of files and folders")
    ))?;
    let mut seen = BTreeSet::new();
    let hurts = group.iter().flat_map(|finding| &finding.hurts);
    let paths: Vec<&Hurt> = hurts.filter(|hurt| seen.insert(&hurt.path)).collect();
    for hurt in paths.iter().take(PATHS_SHOWN) {
        session.out.line(hurt_line(hurt))?;
    }
    let more = paths.len().saturating_sub(PATHS_SHOWN);
    if more > 0 {
        session.out.line(format!("  ... and {more} more (all are named with -v, and with --json)"))?;
    }
    Ok(())
}

pub(super) fn tell_finding(session: &Session, finding: &Finding) -> Outcome<()> {
    if session.out.json {
        let hurts: Vec<Value> = finding.hurts.iter().map(hurt_object).collect();
        return session.out.object(&json!({
            "message_type": "damage", "object": finding.what, "why": finding.why, "hurts": hurts,
        }));
    }
    session.out.line(format!("damaged: {}: {}", safe(&finding.what), safe(&finding.why)))?;
    let shown = if session.out.verbose > 0 { usize::MAX } else { PATHS_SHOWN };
    for hurt in finding.hurts.iter().take(shown) {
        session.out.line(hurt_line(hurt))?;
    }
    let more = finding.hurts.len().saturating_sub(shown);
    if more > 0 {
        session.out.line(format!("  ... and {more} more (all are named with -v, and with --json)"))?;
    }
    Ok(())
}

/// What somebody who died left behind, and nothing relies on.
fn tell_leftover(session: &Session, leftover: &Finding) -> Outcome<()> {
    if session.out.json {
        let Finding { what, why, .. } = leftover;
        return session.out.object(&json!({ "message_type": "leftover", "object": what, "why": why }));
    }
    if session.out.quiet {
        return Ok(());
    }
    let what = safe(&leftover.what);
    session.out.line(format!("left over: {what}: no key of this repository, and in nobody's way"))
}

fn hurt_object(hurt: &Hurt) -> Value {
    let mut object = Map::new();
    object.insert("snapshot".into(), short(&hurt.snapshot).into());
    insert_path(&mut object, "path", &hurt.path);
    if hurt.is_whole_part {
        object.insert("whole_part".into(), true.into());
    }
    if let Some(good) = &hurt.good {
        object.insert("last_good_snapshot".into(), short(&good.snapshot).into());
        object.insert("last_good_time".into(), time::rfc3339(good.time).into());
    }
    Value::from(object)
}

/// A hurt path, and what to type for its last good version.
fn hurt_line(hurt: &Hurt) -> String {
    let (snapshot, path) = (short(&hurt.snapshot), DisplayName(&hurt.path));
    match &hurt.good {
        _ if hurt.is_whole_part && hurt.path == b"/" => format!("  hurts snapshot {snapshot} as a whole"),
        _ if hurt.is_whole_part => format!("  hurts snapshot {snapshot} {path} and paths before it"),
        Some(good) => format!(
            "  hurts snapshot {snapshot} {path}; last good version: {} {}",
            short(&good.snapshot),
            time::shown(good.time)
        ),
        None => format!("  hurts snapshot {snapshot} {path}; no snapshot here has it whole"),
    }
}

fn short(id: &SnapshotId) -> String {
    id.hex()[..8].to_string()
}

/// How to get one good version, and how to get everything whole again.
fn hints(session: &Session, report: &CheckReport) {
    let mut hurts = report.findings.iter().flat_map(|f| &f.hurts);
    if let Some((hurt, good)) = hurts.find_map(|h| Some((h, h.good.as_ref()?))) {
        let path = String::from_utf8_lossy(&hurt.path);
        let what = shell_word(&format!("{}:{path}", short(&good.snapshot)));
        session.out.info(format!("a good version comes back with: lifeboat restore {what} --target FOLDER"));
    }
    if !report.findings.is_empty() {
        session.out.info("what can be mended is mended by: lifeboat repair");
    }
}

fn summary(session: &Session, report: &CheckReport, start: Instant) -> Outcome<()> {
    let CheckReport { snapshots, packs, packs_read, bytes_read, blobs_verified, .. } = report;
    let CheckReport { orphan_packs, findings, coverage, .. } = report;
    if session.out.json {
        return session.out.object(&json!({
            "message_type": "summary", "snapshots": snapshots, "packs": packs, "packs_read": packs_read,
            "bytes_read": bytes_read, "blobs_verified": blobs_verified, "orphan_packs": orphan_packs,
            "never_verified_packs": coverage.map(|c| c.never_verified),
            "oldest_verified": coverage.and_then(|c| c.oldest_secs).map(rfc3339_secs),
            "num_leftovers": report.leftovers.len(), "num_errors": findings.len(), "total_duration": start.elapsed().as_secs_f64(),
        }));
    }
    if session.out.quiet {
        return Ok(());
    }
    let took = time::clock(start.elapsed());
    session.out.line(format!(
        "{} {}; checked in {took}",
        counted(*snapshots, "snapshot needs", "snapshots need"),
        count(*packs, "pack")
    ))?;
    if *packs_read > 0 {
        let bytes = sizes::shown(*bytes_read);
        session.out.line(format!(
            "read {}, {bytes}, and compared {}",
            count(*packs_read, "pack"),
            count(*blobs_verified, "blob")
        ))?;
    }
    if let Some(line) = coverage.and_then(coverage_line) {
        session.out.line(line)?;
    }
    if *orphan_packs > 0 {
        session.out.line(format!(
            "{} left over from runs that were interrupted; this is no damage",
            counted(*orphan_packs, "pack is", "packs are")
        ))?;
    }
    session.out.line(match findings.len() {
        0 => "no damage found".to_string(),
        n => format!("damage found: {}", count(n, "object")),
    })
}

/// What part of the repository this machine has verified by and by; nothing to say when all was just read.
pub(super) fn coverage_line(coverage: Coverage) -> Option<String> {
    match coverage {
        Coverage { never_verified: 0, .. } => None,
        Coverage { never_verified, oldest_secs: None } => {
            Some(counted(never_verified, "pack was", "packs were") + " never read on this machine")
        }
        Coverage { never_verified, oldest_secs: Some(secs) } => Some(format!(
            "{} never read on this machine, the others since {}",
            counted(never_verified, "pack was", "packs were"),
            time::shown(Timestamp { secs, nanos: 0 })
        )),
    }
}

pub(super) fn rfc3339_secs(secs: i64) -> String {
    time::rfc3339(Timestamp { secs, nanos: 0 })
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
        for wrong in ["200%", "0%", "0/3", "4/3", "x", "0"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}
