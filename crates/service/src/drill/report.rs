//! The drills of a repository as an auditor reads them: what was proven, how much of everything that is, and
//! whether the evidence itself is whole.

use super::choose::SourceKey;
use super::evidence::{Asserted, Drilled, Evidence, ResultWord};
use super::proof::{Proof, Shown};
use crate::counts::count;
use crate::display::safe;
use crate::page::{Bar, chart, escape, page, table};
use crate::{sizes, time};
use format::kind::Timestamp;
use repo::log::Log;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// How much of a source was proven.
#[derive(Clone, Debug)]
pub struct Coverage {
    /// The source.
    pub source: SourceKey,
    /// What of its snapshots in sight was proven.
    pub proof: Proof,
    /// Drills, and how many of them passed.
    pub drills: (usize, usize),
    /// The newest.
    pub last: Option<Evidence>,
}

/// How many of so many drills passed, in words.
pub(crate) fn passed((held, passed): (usize, usize)) -> String {
    format!("{passed} of {} passed", count(held, "drill"))
}

/// Everything the report says.
pub struct DrillReport<'r> {
    /// The repository in words.
    pub location: String,
    /// Counted are drills since this time: Unix seconds.
    pub since: i64,
    /// Until now.
    pub until: i64,
    /// Drills since then, oldest first.
    pub drills: Vec<&'r Drilled>,
    /// What they prove.
    pub coverage: Vec<Coverage>,
    /// Whether nothing of the log is missing, unreadable or wrongly signed, and this machine's last record is there.
    pub log_is_whole: bool,
    /// What is wrong with it.
    pub log_problems: Vec<String>,
    /// Drills whose evidence a newer version wrote.
    pub unread: u64,
}

/// What is wrong with a log, in words.
pub fn problems_of_log(log: &Log, holds_last: bool) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, why) in &log.unreadable {
        problems.push(format!("{name} cannot be read: {why}"));
    }
    for hash in &log.missing {
        problems.push(format!("a record was taken away: {}", format::id::hex(hash)));
    }
    for r in log.records.iter().filter(|r| !r.signed) {
        problems.push(format!("record {} is not signed by the key it names", format::id::hex(&r.hash)));
    }
    if !holds_last {
        problems.push("the newest record that this machine wrote is not there".into());
    }
    problems
}

impl<'r> DrillReport<'r> {
    /// Collects. `shown` are the snapshots in sight, oldest first, with what was proven of them since then.
    pub fn new(
        location: String,
        (since, until): (i64, i64),
        drills: &'r [Drilled],
        unread: u64,
        shown: &[Shown],
        log_problems: Vec<String>,
    ) -> Self {
        let counted: Vec<&Drilled> = drills.iter().filter(|d| d.evidence.started >= since).collect();
        let sources: BTreeSet<&SourceKey> =
            shown.iter().map(|s| &s.source).chain(counted.iter().map(|d| &d.evidence.source)).collect();
        let coverage = sources.into_iter().map(|source| {
            let held: Vec<&&Drilled> = counted.iter().filter(|d| d.evidence.source == *source).collect();
            Coverage {
                source: source.clone(),
                proof: Proof::of(shown.iter().filter(|s| s.source == *source)),
                drills: (held.len(), held.iter().filter(|d| d.evidence.result == ResultWord::Passed).count()),
                last: held.last().map(|d| d.evidence.clone()),
            }
        });
        DrillReport {
            location,
            since,
            until,
            coverage: coverage.collect(),
            drills: counted,
            log_is_whole: log_problems.is_empty(),
            log_problems,
            unread,
        }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "message_type": "drill_report", "repository": self.location, "since": self.since, "until": self.until,
            "log_is_whole": self.log_is_whole, "log_problems": self.log_problems, "evidence_of_newer_versions": self.unread,
            "coverage": self.coverage.iter().map(|c| json!({
                "host": c.source.host, "paths": c.source.paths,
                "proof": c.proof,
                "drills": c.drills.0, "drills_passed": c.drills.1,
                "last": c.last.as_ref().map(|e| e.started),
            })).collect::<Vec<_>>(),
            "drills": self.drills.iter().map(|d| {
                let mut object = serde_json::to_value(&d.evidence).expect("evidence can be written");
                object["machine"] = d.machine.clone().into();
                object["user"] = d.user.clone().into();
                object["signer"] = d.signer.clone().into();
                object["signed"] = d.signed.into();
                object["record"] = d.record.clone().into();
                object
            }).collect::<Vec<_>>(),
        })
    }

    /// For people at a terminal.
    pub fn text(&self) -> Vec<String> {
        let mut lines = vec![
            format!("drills of {}", safe(&self.location)),
            format!("from {} to {}", day(self.since), day(self.until)),
            String::new(),
        ];
        for c in &self.coverage {
            lines.push(format!(
                "{}: {}",
                safe(&c.source.shown()),
                format_args!("{}; {}", c.proof.words(), passed(c.drills))
            ));
            match &c.last {
                Some(e) => lines.push(format!("  last: {}, {}", day(e.started), summary(e))),
                None => lines.push("  never in this time".into()),
            }
        }
        lines.push(String::new());
        for d in &self.drills {
            let e = &d.evidence;
            lines.push(format!(
                "{}  {}  snapshot {}  {}",
                day(e.started),
                safe(&e.name),
                &e.snapshot[..8],
                summary(e)
            ));
            lines.push(format!(
                "    lifeboat {} by {}@{}, record {}, signed with {}{}; {}",
                safe(&e.program),
                safe(&d.user),
                safe(&d.machine),
                &d.record[..8.min(d.record.len())],
                &d.signer[..16.min(d.signer.len())],
                if d.signed { "" } else { " WRONGLY" },
                age_words(e)
            ));
            lines.extend(e.problems.iter().map(|p| format!("    {}: {}", safe(&p.path), safe(&p.what))));
            lines.extend(e.asserts.iter().map(|a| format!("    {}", safe(&answered(a)))));
        }
        lines.push(match self.log_is_whole {
            true => "the evidence is signed, chained and complete".to_string(),
            false => "THE EVIDENCE IS NOT WHOLE:".to_string(),
        });
        lines.extend(self.log_problems.iter().map(|p| format!("  {}", safe(p))));
        lines
    }

    /// One page to print or to send on, about all of them.
    pub fn html(reports: &[DrillReport<'_>]) -> String {
        let bodies: String = reports.iter().map(DrillReport::body).collect();
        page("Restore drills", &format!("<h1>Restore drills</h1>{bodies}"))
    }

    fn body(&self) -> String {
        let mut body = format!(
            "<p>Repository <code>{}</code>, {} to {}.</p>",
            escape(&self.location),
            day(self.since),
            day(self.until)
        );
        body.push_str("<h2>What is proven</h2>");
        let rows: Vec<Vec<String>> = self
            .coverage
            .iter()
            .map(|c| {
                let last = c.last.as_ref().map(|e| format!("{}: {}", day(e.started), verdict(e)));
                vec![
                    escape(&c.source.shown()),
                    c.proof.newest.percent(),
                    c.proof.all.percent(),
                    format!("{} of {}", c.proof.whole, c.proof.snapshots),
                    format!("{} of {}", c.drills.1, c.drills.0),
                    last.unwrap_or_else(|| "<span class=\"bad\">never</span>".into()),
                ]
            })
            .collect();
        body.push_str(&table(
            &[
                "source",
                "bytes proven of the newest",
                "of all snapshots",
                "proven whole",
                "drills passed",
                "last",
            ],
            &rows,
        ));
        for c in &self.coverage {
            let mine: Vec<&Evidence> =
                self.drills.iter().map(|d| &d.evidence).filter(|e| e.source == c.source).collect();
            let shown = &mine[mine.len().saturating_sub(16)..];
            let Some(newest) = shown.last() else { continue };
            let bars: Vec<Bar> = shown
                .iter()
                .map(|e| Bar {
                    label: day(e.started)[5..10].to_string(),
                    value: e.full_restore.seconds / 60.0,
                    good: e.result == ResultWord::Passed,
                })
                .collect();
            body.push_str(&format!("<h3>{}: minutes to restore all of it</h3>", escape(&c.source.shown())));
            body.push_str(&chart(
                "minutes to restore everything",
                "min",
                &bars,
                newest.full_restore.goal.map(|g| g / 60.0),
            ));
        }
        body.push_str("<h2>Each drill</h2>");
        let rows: Vec<Vec<String>> = self.drills.iter().rev().map(|d| row(d)).collect();
        let head = ["when", "what", "restored", "compared", "full restore", "result", "signed by"];
        body.push_str(&table(&head, &rows));
        body.push_str("<h2>The evidence itself</h2>");
        body.push_str(match self.log_is_whole {
            true => "<p class=\"good\">Every record is signed by its machine and names the ones before it; none is missing.</p>",
            false => "<p class=\"bad\">The log is not whole:</p>",
        });
        if !self.log_problems.is_empty() {
            body.push_str("<ul>");
            self.log_problems.iter().for_each(|p| body.push_str(&format!("<li>{}</li>", escape(p))));
            body.push_str("</ul>");
        }
        body
    }
}

fn age_words(e: &Evidence) -> String {
    let goal = e.data_age.goal.map_or_else(String::new, |goal| format!(" (goal {})", duration(goal)));
    format!("the newest snapshot was {} old{goal}", duration(e.data_age.seconds))
}

fn answered(a: &Asserted) -> String {
    format!("{}: {} ({})", if a.ok { "yes" } else { "NO" }, a.question, a.answer)
}

fn row(d: &Drilled) -> Vec<String> {
    let e = &d.evidence;
    let mut problems: String =
        e.problems.iter().take(5).map(|p| format!("<br>{}: {}", escape(&p.path), escape(&p.what))).collect();
    e.asserts.iter().for_each(|a| problems.push_str(&format!("<br>{}", escape(&answered(a)))));
    vec![
        day(e.started),
        format!(
            "{}<br><code>{}</code> of {} ({})",
            escape(&e.source.shown()),
            &e.snapshot[..8.min(e.snapshot.len())],
            day(e.snapshot_time),
            e.age.as_str()
        ),
        format!(
            "part {} of {}<br>{}, {}",
            e.part.k + 1,
            e.part.of,
            count(e.files, "file"),
            sizes::shown(e.bytes)
        ),
        format!(
            "{} hashed, {} attributes, {} live files",
            sizes::shown(e.bytes_hashed),
            e.attributes,
            e.live.equal
        ),
        goal("RTO", &e.full_restore) + "<br>" + &goal("RPO", &e.data_age),
        verdict(e) + &problems,
        format!(
            "{}<br><code>{}</code>{}<br>lifeboat {}",
            escape(&d.machine),
            &d.signer[..16.min(d.signer.len())],
            if d.signed { "" } else { "<br><span class=\"bad\">wrongly signed</span>" },
            escape(&e.program)
        ),
    ]
}

fn goal(name: &str, measured: &super::evidence::Measured) -> String {
    let value = duration(measured.seconds);
    match measured.goal {
        Some(goal) => {
            let class = if measured.met { "good" } else { "bad" };
            format!("<span class=\"{class}\">{name} {value}, goal {}</span>", duration(goal))
        }
        None => format!("{name} {value}"),
    }
}

fn verdict(e: &Evidence) -> String {
    let class = if e.result == ResultWord::Passed { "good" } else { "bad" };
    format!("<span class=\"{class}\">{}</span>", e.result.as_str())
}

/// Files, and what else came back where there was no file.
fn contents(e: &Evidence) -> String {
    match (e.files, e.entries) {
        (0, entries) if entries > 0 => format!("no file, {} and the like", count(entries, "folder")),
        (files, _) => count(files, "file"),
    }
}

/// One drill in one line.
pub fn summary(e: &Evidence) -> String {
    let mut text = format!(
        "{}: part {} of {}, {}, {}, in {:.1} s; all of it in about {}",
        e.result.as_str(),
        e.part.k + 1,
        e.part.of,
        contents(e),
        sizes::shown(e.bytes),
        e.restore_seconds,
        duration(e.full_restore.seconds)
    );
    if let Some(goal) = e.full_restore.goal {
        text.push_str(&format!(" (goal {})", duration(goal)));
    }
    text
}

/// Seconds as people read them.
pub fn duration(seconds: f64) -> String {
    time::clock(Duration::from_secs_f64(seconds.clamp(0.0, 1e9).ceil()))
}

fn day(secs: i64) -> String {
    time::shown(Timestamp { secs, nanos: 0 })
}
