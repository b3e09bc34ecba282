//! The report as text, as JSON, and as one page to print.

use super::{ActionLine, Compliance, RepositoryPart, SnapshotLine, SourcePart, State, Verified};
use crate::display::safe;
use crate::drill::report::passed;
use crate::page::{escape, page, table};
use serde_json::{Value, json};
use std::fmt::Write;

impl Compliance {
    /// Whether every log is whole and every snapshot could be judged.
    pub fn is_whole(&self) -> bool {
        self.repositories.iter().all(|r| r.log_is_whole && r.unreadable.is_empty())
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let mut object = serde_json::to_value(self).expect("a report can be written");
        object["message_type"] = json!("compliance_report");
        object
    }

    /// For people at a terminal.
    pub fn text(&self) -> Vec<String> {
        let mut lines = vec![
            format!("retention as it is kept, {}, made on {}", self.made, safe(&self.machine)),
            format!("verifications and drills since {}", self.since),
        ];
        for part in &self.repositories {
            lines.push(String::new());
            repository_text(part, &mut lines);
        }
        for (name, why) in &self.not_reached {
            lines.push(String::new());
            lines.push(format!("{} WAS NOT LOOKED AT: {}", safe(name), safe(why)));
        }
        lines
    }

    /// One page to print or to send on.
    pub fn html(&self) -> String {
        let mut body = format!(
            "<h1>Retention as it is kept</h1><p>Made on {} at {}. Verifications and drills are counted since {}.</p>",
            escape(&self.machine),
            escape(&self.made),
            escape(&self.since)
        );
        for (name, why) in &self.not_reached {
            write!(body, "<p class=\"bad\">{} was not looked at: {}</p>", escape(name), escape(why))
                .expect("strings grow");
        }
        self.repositories.iter().for_each(|part| repository_html(part, &mut body));
        page("Retention as it is kept", &body)
    }
}

/// Rounded down: 100 is said of what is whole.
fn percent(share: f64) -> String {
    format!("{:.1} %", (share * 1000.0).floor() / 10.0)
}

fn age(secs: u64) -> String {
    match secs {
        0 => "none".into(),
        secs if secs % 86_400 == 0 => format!("{} days", secs / 86_400),
        secs => format!("{} hours", secs / 3_600),
    }
}

fn verified_words(verified: Option<&Verified>) -> String {
    match verified {
        None => "not known on this machine".into(),
        Some(Verified { last: None, .. }) => "never".into(),
        Some(v) => format!(
            "{} of the stored bytes read again, in {} times; last {}; everything at once {}; damaged {}",
            percent(v.share),
            v.times,
            v.last.as_deref().unwrap_or("never"),
            v.whole.as_deref().unwrap_or("never"),
            v.damaged
        ),
    }
}

fn drilled_words(part: &SourcePart) -> String {
    format!("{}; {}", part.proof.words(), passed(part.drills))
}

fn counts(part: &SourcePart) -> String {
    let count = |state: State| format!("{} {}", part.count(state), state.as_str());
    let states = [State::Kept, State::Held, State::Due, State::Forgotten].map(count);
    format!("{}, {} removed", states.join(", "), part.removed.len())
}

fn repository_text(part: &RepositoryPart, lines: &mut Vec<String>) {
    lines.push(format!("{} ({})", safe(&part.repository), safe(&part.location)));
    lines.push(format!("  minimum age: {}", age(part.minimum_age_seconds)));
    lines.push(format!("  verified: {}", verified_words(part.verified.as_ref())));
    for (word, all) in [("hold", &part.holds), ("erased", &part.erasures), ("UNREADABLE", &part.unreadable)] {
        lines.extend(all.iter().map(|text| format!("  {word}: {}", safe(text))));
    }
    for source in &part.sources {
        lines.push(format!("  {}", safe(&source.source)));
        lines.push(format!("    rule: {}", safe(&source.rule)));
        lines.push(format!("    {}", counts(source)));
        lines.push(format!("    drills: {}", drilled_words(source)));
        lines.extend(source.snapshots.iter().map(|line| format!("    {}", snapshot_text(line))));
        for gone in &source.removed {
            lines.push(format!(
                "    {}  {}  removed    forgotten {} by {}: {}",
                &gone.id[..8.min(gone.id.len())],
                if gone.time.is_empty() { "unknown time" } else { &gone.time },
                gone.forgotten,
                safe(&gone.by),
                safe(&gone.why)
            ));
        }
    }
    lines.push(format!("  {} administrative actions", part.actions.len()));
    lines.extend(part.actions.iter().map(|action| format!("    {}", action_text(action))));
    lines.push(match part.log_is_whole {
        true => "  the log is signed, chained and complete".into(),
        false => "  THE LOG IS NOT WHOLE:".into(),
    });
    lines.extend(part.log_problems.iter().map(|p| format!("    {}", safe(p))));
}

fn snapshot_text(line: &SnapshotLine) -> String {
    let proof =
        |word: &str, at: &Option<String>| at.as_ref().map(|at| format!("; {word} {at}")).unwrap_or_default();
    let proven = match line.proven > 0.0 {
        true => format!("; {} proven", percent(line.proven)),
        false => String::new(),
    };
    format!(
        "{}  {}  {:9}  {}{}{}{proven}",
        &line.id[..8],
        line.time,
        line.state.as_str(),
        safe(&line.why.join("; ")),
        proof("verified", &line.verified),
        proof("drilled", &line.drilled)
    )
}

fn action_text(action: &ActionLine) -> String {
    let signed = if action.signed { "" } else { "  WRONGLY SIGNED" };
    format!(
        "{}  {}@{}  {}  {}{signed}",
        action.time,
        safe(&action.user),
        safe(&action.machine),
        safe(&action.action),
        safe(&detail_words(&action.detail))
    )
}

/// So much of an action's details is shown; all of it is in the JSON.
const DETAIL_CHARS_MAX: usize = 300;

/// The fields of an action in one line.
fn detail_words(detail: &Value) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => {
            let parts: Vec<String> =
                list.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_string)).collect();
            parts.join(" ")
        }
        other => other.to_string(),
    };
    let Value::Object(fields) = detail else { return text(detail) };
    // `of` repeats what `snapshots` says, for programs.
    let shown = fields.iter().filter(|(name, value)| *name != "of" && !value.is_null());
    // What is empty says nothing.
    let shown = shown.map(|(name, value)| (name, text(value))).filter(|(_, text)| !text.is_empty());
    let words: Vec<String> = shown.map(|(name, text)| format!("{name} {text}")).collect();
    let words = words.join(", ");
    match words.char_indices().nth(DETAIL_CHARS_MAX) {
        Some((at, _)) => format!("{}...", &words[..at]),
        None => words,
    }
}

fn repository_html(part: &RepositoryPart, out: &mut String) {
    let list = |title: &str, class: &str, all: &[String]| {
        let items: String = all.iter().map(|text| format!("<li>{}</li>", escape(text))).collect();
        if all.is_empty() {
            String::new()
        } else {
            format!("<h3>{title}</h3><ul class=\"{class}\">{items}</ul>")
        }
    };
    write!(
        out,
        "<h2>{}</h2><p><code>{}</code><br>Minimum age: {}. Verified: {}.</p>{}{}{}",
        escape(&part.repository),
        escape(&part.location),
        age(part.minimum_age_seconds),
        escape(&verified_words(part.verified.as_ref())),
        list("Holds", "", &part.holds),
        list("Erased from history", "", &part.erasures),
        list("Snapshots that cannot be read", "bad", &part.unreadable)
    )
    .expect("strings grow");
    part.sources.iter().for_each(|source| source_html(source, out));
    let rows: Vec<Vec<String>> = part.actions.iter().map(action_row).collect();
    out.push_str("<h3>Administrative actions</h3>");
    out.push_str(&table(&["when", "who", "action", "what", "signed by"], &rows));
    out.push_str(match part.log_is_whole {
        true => "<p class=\"good\">Every record is signed by its machine and names the ones before it; none is missing.</p>",
        false => "<p class=\"bad\">The log is not whole:</p>",
    });
    out.push_str(&list("What is wrong with the log", "bad", &part.log_problems));
}

fn source_html(source: &SourcePart, out: &mut String) {
    write!(
        out,
        "<h3>{}</h3><p>Rule: {}<br>{}.<br>Drills: {}.</p>",
        escape(&source.source),
        escape(&source.rule),
        escape(&counts(source)),
        escape(&drilled_words(source))
    )
    .expect("strings grow");
    let cell = |text: &Option<String>| escape(text.as_deref().unwrap_or("-"));
    let class = |state: State| if matches!(state, State::Kept | State::Held) { "good" } else { "note" };
    let there = source.snapshots.iter().map(|line| {
        vec![
            format!("<code>{}</code>", &line.id[..8]),
            escape(&line.time),
            cell(&line.received),
            format!("<span class=\"{}\">{}</span>", class(line.state), line.state.as_str()),
            escape(&line.why.join("; ")),
            cell(&line.verified),
            cell(&line.drilled),
            percent(line.proven),
        ]
    });
    let gone = source.removed.iter().map(|line| {
        vec![
            format!("<code>{}</code>", escape(&line.id[..8.min(line.id.len())])),
            escape(&line.time),
            "-".into(),
            "removed".into(),
            escape(&format!("forgotten {} by {}: {}", line.forgotten, line.by, line.why)),
            "-".into(),
            "-".into(),
            "-".into(),
        ]
    });
    let rows: Vec<Vec<String>> = there.chain(gone).collect();
    let head = ["snapshot", "of", "received", "state", "why", "verified", "drilled", "proven"];
    out.push_str(&table(&head, &rows));
}

fn action_row(action: &ActionLine) -> Vec<String> {
    let class = if action.signed { "good" } else { "bad" };
    vec![
        escape(&action.time),
        escape(&format!("{}@{}", action.user, action.machine)),
        escape(&action.action),
        escape(&detail_words(&action.detail)),
        format!("<code class=\"{class}\">{}</code>", &action.signer[..16.min(action.signer.len())]),
    ]
}
