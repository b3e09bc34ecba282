//! What `recover` says: what came back, what can, and the next commands.

use super::keys::Given;
use super::{Args, Brought, Here};
use crate::commands::snapshots::columns;
use crate::counts::{count, counted};
use crate::credentials;
use crate::display::{safe, shell_word};
use crate::error::Outcome;
use crate::session::Session;
use crate::{sizes, time};
use engine::RestoreOutcome;
use format::snapshot::Snapshot;
use serde_json::{Value, json};
use service::config::Config;
use service::posture::{age_words, span_words};
use service::recovery::found::{How, how};
use service::recovery::{Back, Written, configuration};
use service::restore_db::Brought as Databases;
use std::time::Duration;

/// Everything that is listed.
pub(super) struct List<'l> {
    pub(super) here: &'l Here,
    pub(super) brought: Option<&'l Brought>,
    pub(super) config: Option<&'l Config>,
    pub(super) keys: &'l [(String, Given)],
    pub(super) backs: &'l [Back],
    /// Bytes per second.
    pub(super) rate: Option<f64>,
    /// The command that makes a kit like the one that was used.
    pub(super) new_kit: String,
}

impl List<'_> {
    fn seconds(&self, back: &Back) -> Option<f64> {
        self.rate.map(|rate| back.bytes() as f64 / rate)
    }
}

pub(super) fn list(session: &Session, list: &List<'_>) -> Outcome<()> {
    if session.out.json {
        return session.out.object(&object(list));
    }
    let out = &session.out;
    let repo = &list.here.opened.repo.identity().repo;
    out.line(format!("{} is open (repository {})", safe(&list.here.place.shown()), repo.hex()))?;
    configuration_lines(list).into_iter().try_for_each(|line| out.line(line))?;
    for (name, given) in list.keys {
        out.line(match given {
            Given::Opens => format!("key of {}: there", safe(name)),
            Given::Made(path) => {
                format!("key of {}: made, {}", safe(name), safe(&path.display().to_string()))
            }
            Given::Instead(path) => format!(
                "key of {}: made, {}; its password is not where the configuration says: put it back there, or take that line out",
                safe(name),
                safe(&path.display().to_string())
            ),
            Given::Not(why) => format!("key of {}: NOT made: {}", safe(name), safe(why)),
        })?;
    }
    out.line("\nWhat can come back, in this order:")?;
    let now = time::now().secs;
    let rows: Vec<[String; 7]> =
        list.backs.iter().enumerate().map(|(i, back)| row(list, i, back, now)).collect();
    columns(&rows).into_iter().try_for_each(|line| out.line(line))?;
    for back in list.backs {
        if let Some(passed) = &back.passed_over {
            out.line(format!("{}: passed over {}", safe(&back.name), safe(passed)))?;
        }
    }
    next_lines(list).into_iter().try_for_each(|line| out.line(line))
}

fn configuration_lines(list: &List<'_>) -> Vec<String> {
    let Some(b) = list.brought else {
        return vec!["no configuration is stored here; what there is, is listed by machine and paths".into()];
    };
    let of = format!("the configuration of {} as of {}", safe(&b.machine), time::shown(b.taken));
    let mut lines = vec![match &b.written {
        Some(Written::New(paths)) => {
            let paths: Vec<String> =
                paths.iter().map(|path| safe(&path.display().to_string()).to_string()).collect();
            format!("{of} is back: {}", paths.join(", "))
        }
        Some(Written::Same(path)) => format!("{of} is here: {}", safe(&path.display().to_string())),
        Some(Written::Other(path)) => format!(
            "{of} was NOT written: {} says something else; it can stand elsewhere with -c FILE",
            safe(&path.display().to_string())
        ),
        None => format!("{of} would be brought back"),
    }];
    lines.extend(b.problem.as_ref().map(|why| format!("it cannot be used here: {}", safe(why))));
    if let Some(loaded) = &b.loaded {
        let commands = configuration::commands(loaded);
        if !commands.is_empty() {
            lines.push("it runs these commands; look at them before a job does:".into());
            lines.extend(commands.iter().map(|command| format!("  {}", safe(command))));
        }
    }
    lines
}

fn row(list: &List<'_>, i: usize, back: &Back, now: i64) -> [String; 7] {
    let name = safe(&back.name).to_string();
    let number = format!("  {}.", i + 1);
    let Some(snapshot) = &back.snapshot else {
        return [
            number,
            name,
            back.kind.clone(),
            "NO COPY HERE".into(),
            String::new(),
            String::new(),
            safe(&back.why).to_string(),
        ];
    };
    let takes = list
        .seconds(back)
        .map_or_else(String::new, |s| format!("about {}", span_words(s.ceil().max(1.0) as i64)));
    let late = match (list.seconds(back), back.rto) {
        (Some(seconds), Some(rto)) if seconds > rto => {
            format!(", goal {} IS NOT MET", span_words(rto as i64))
        }
        (_, Some(rto)) => format!(", goal {}", span_words(rto as i64)),
        _ => String::new(),
    };
    [
        number,
        name,
        back.kind.clone(),
        format!("{} {}", snapshot.short_id(), age_words(snapshot.time.secs, now)),
        format!("{}, {}", count(back.files(), "file"), sizes::shown(back.bytes())),
        format!("{takes}{late}"),
        safe(&back.why).to_string(),
    ]
}

/// The command of what somebody must bring back by hand.
fn by_hand(list: &List<'_>, back: &Back) -> Option<String> {
    match how(list.config, back, &list.here.word) {
        How::ByHand(command) if back.snapshot.is_some() => Some(command),
        _ => None,
    }
}

/// The commands that bring it back.
fn next_lines(list: &List<'_>) -> Vec<String> {
    let (word, lifeboat) = (&list.here.word, program());
    let mut lines = vec![String::new(), "Next:".to_string()];
    let first = list
        .backs
        .iter()
        .find(|back| back.snapshot.is_some() && !matches!(how(list.config, back, word), How::ByHand(_)));
    if let Some(back) = first {
        lines.push(format!(
            "  {lifeboat} recover {word} {} --in-place     one of them, to where it was",
            shell_word(&back.name)
        ));
        lines.push(format!(
            "  {lifeboat} recover {word} --all --target /srv/back     all of them, into a folder"
        ));
    }
    for back in list.backs {
        let by_hand = by_hand(list, back).map(|command| as_begun(&command, &lifeboat));
        lines.extend(by_hand.map(|command| format!("  {command}     {}", safe(&back.name))));
    }
    let is_root =
        |back: &Back| back.snapshot.as_ref().is_some_and(|s| s.sources.iter().any(|path| path == b"/"));
    if list.backs.iter().any(is_root) {
        lines.push(format!(
            "  {lifeboat} recover {word} --system --disk DEVICE -n     the whole machine onto an empty disk; -n only says how"
        ));
    }
    if list.brought.is_some() {
        lines.push(format!(
            "  {lifeboat} plan --stored -r {word}     the recovery plan, as it is stored here"
        ));
    }
    if list.brought.is_some_and(Brought::is_here) {
        lines.push(format!("  {lifeboat} status     what else is missing"));
    }
    lines.push(format!("  {}     a new kit: the old key was used", as_begun(&list.new_kit, &lifeboat)));
    lines
}

/// The program as it was begun: on a bare machine it is in no folder of the PATH.
fn program() -> String {
    let begun = std::env::args().next().filter(|begun| begun.contains('/'));
    begun.map_or_else(|| "lifeboat".into(), |begun| shell_word(&begun))
}

fn as_begun(command: &str, lifeboat: &str) -> String {
    command.strip_prefix("lifeboat ").map_or_else(|| command.into(), |rest| format!("{lifeboat} {rest}"))
}

/// The command that makes a kit like the one that was used.
pub(super) fn new_kit(session: &Session) -> String {
    match credentials::shape_of_shares(&session.global) {
        Some((of, needed)) => {
            format!("lifeboat kit split --shares {of} --threshold {needed} --out shares --retire")
        }
        None => "lifeboat kit --html kit.html --retire".into(),
    }
}

fn object(list: &List<'_>) -> Value {
    let backs = list.backs.iter().map(|back| {
        json!({
            "source": back.name, "type": back.kind, "why": back.why, "files": back.files(), "bytes": back.bytes(),
            "snapshot": back.snapshot.as_ref().map(|s| s.id.hex()),
            "time": back.snapshot.as_ref().map(|s| time::rfc3339(s.time)),
            "seconds_expected": list.seconds(back), "rto_seconds": back.rto, "passed_over": back.passed_over,
            "command": by_hand(list, back),
        })
    });
    let keys = list.keys.iter().map(|(name, given)| match given {
        Given::Opens => json!({"repository": name, "opens": true}),
        Given::Made(path) | Given::Instead(path) => json!({
            "repository": name, "opens": true, "made": path.display().to_string(),
            "password_missing": matches!(given, Given::Instead(_)),
        }),
        Given::Not(why) => json!({"repository": name, "opens": false, "error": why}),
    });
    let configuration = list.brought.map(|b| {
        let files = match &b.written {
            Some(Written::New(paths)) => paths.iter().map(|path| path.display().to_string()).collect(),
            _ => Vec::new(),
        };
        json!({"machine": b.machine, "time": time::rfc3339(b.taken), "written": files, "here": b.is_here(), "problem": b.problem})
    });
    json!({
        "message_type": "recover", "place": list.here.place.shown(),
        "repository": list.here.opened.repo.identity().repo.hex(),
        "configuration": configuration, "keys": keys.collect::<Vec<_>>(), "sources": backs.collect::<Vec<_>>(),
        "bytes_per_second": list.rate,
    })
}

pub(super) fn restored(
    session: &Session,
    args: &Args,
    back: &Back,
    snapshot: &Snapshot,
    outcome: &RestoreOutcome,
    took: Duration,
) -> Outcome<()> {
    let o = outcome;
    if session.out.json {
        return session.out.object(&json!({
            "message_type": "recovered", "source": back.name, "snapshot_id": snapshot.id.hex(), "dry_run": args.dry_run,
            "files_restored": o.files_restored, "files_unchanged": o.files_unchanged, "others_restored": o.others_restored,
            "bytes_restored": o.bytes_written, "errors": o.problems, "damaged": o.damaged, "total_duration": took.as_secs_f64(),
        }));
    }
    let did = if args.dry_run { "would be back" } else { "is back" };
    let mut text = format!(
        "{} {did}: {} and {}, {} in {}",
        safe(&back.name),
        count(o.files_restored, "file"),
        count(o.others_restored, "other"),
        sizes::shown(o.bytes_written),
        time::clock(took)
    );
    if o.files_unchanged > 0 {
        text.push_str(&format!("; {} right already", counted(o.files_unchanged, "file was", "files were")));
    }
    if o.problems > 0 {
        text.push_str(&format!("; {} could NOT be restored completely", count(o.problems, "path")));
    }
    session.out.line(text)
}

pub(super) fn databases(
    session: &Session,
    args: &Args,
    back: &Back,
    snapshot: &Snapshot,
    brought: &Databases,
    took: Duration,
) -> Outcome<()> {
    let names: Vec<&str> = brought.databases.iter().map(|database| database.name.as_str()).collect();
    if session.out.json {
        return session.out.object(&json!({
            "message_type": "recovered", "source": back.name, "snapshot_id": snapshot.id.hex(), "dry_run": args.dry_run,
            "kind": brought.kind, "into": brought.place, "databases": names, "total_duration": took.as_secs_f64(),
        }));
    }
    let did = if args.dry_run { "would be back" } else { "is back" };
    session.out.line(format!(
        "{} {did}: {} into {} in {}",
        safe(&back.name),
        safe(&names.join(", ")),
        safe(&brought.place),
        time::clock(took)
    ))
}
