//! The status as one self-contained page: no script, no request to anywhere, readable on a phone and in the
//! dark, and honest about when it was made.

use super::{
    Goal, GoalKind, Immutability, Pair, PlacePosture, Posture, SourcePosture, State, age_words,
    attempts_failed, headline, span_words,
};
use std::fmt::{self, Display, Write};

const STYLE: &str = include_str!("page.css");

/// What is wrong and is no goal of a source: a drill that failed, signs of an attack, a notifier that does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Besides<'b> {
    /// In words.
    pub text: &'b str,
    /// The command that helps; empty where there is none.
    pub fix: &'b str,
    /// Whether it needs somebody, or was only tried in vain and will be tried again.
    pub needs_you: bool,
}

/// How many of them need somebody.
pub(super) fn needing(besides: &[Besides<'_>]) -> usize {
    besides.iter().filter(|thing| thing.needs_you).count()
}

/// The page. `shown` puts a moment into words (with its time zone); `version` is that of the program.
pub fn page(
    posture: &Posture,
    besides: &[Besides<'_>],
    shown: &dyn Fn(i64) -> String,
    version: &str,
) -> String {
    let mut out = String::with_capacity(32 << 10);
    let written = write_page(&mut out, posture, besides, shown, version);
    written.expect("writing to memory does not fail");
    out
}

/// Text from outside, safe between tags and in attributes.
struct Text<T>(T);

impl<T: Display> Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.to_string().chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c if c.is_control() => f.write_char('\u{fffd}')?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

fn write_page(
    out: &mut String,
    p: &Posture,
    besides: &[Besides<'_>],
    shown: &dyn Fn(i64) -> String,
    version: &str,
) -> fmt::Result {
    let good = p.met && needing(besides) == 0;
    let failed = besides.iter().any(|thing| !thing.needs_you);
    let (mood, title) = match (good, failed) {
        (true, false) => ("good", "protected"),
        (true, true) => ("wait", "something failed"),
        (false, _) => ("bad", "needs you"),
    };
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <title>{}: {title}</title>\n<style>{STYLE}</style></head>\n<body><main>\n",
        Text(&p.machine)
    )?;
    writeln!(
        out,
        "<header class=\"{mood}\"><p class=\"machine\">{}</p><h1>{}</h1>\
         <p class=\"as-of\">As of {}. This page does not change by itself.</p></header>",
        Text(&p.machine),
        Text(headline(p, besides)),
        Text(shown(p.now))
    )?;
    write_todo(out, p, besides)?;
    for source in &p.sources {
        write_source(out, source, p.now, shown)?;
    }
    write_places(out, &p.places, p.now)?;
    writeln!(
        out,
        "<footer><p>A copy counts when it is complete, not damaged and young enough; how the last run ended does not \
         matter. lifeboat {}</p></footer>\n</main></body></html>",
        Text(version)
    )
}

/// What needs doing, worst first.
fn write_todo(out: &mut String, p: &Posture, besides: &[Besides<'_>]) -> fmt::Result {
    if p.unmet().next().is_none() && besides.is_empty() {
        return Ok(());
    }
    out.write_str("<section class=\"todo\"><h2>What needs you</h2><ul>\n")?;
    for source in &p.sources {
        for (fix, goals) in by_fix(source) {
            let reasons: Vec<String> = goals.iter().map(|goal| sentence(goal)).collect();
            write!(out, "<li><strong>{}</strong>: {}", Text(&source.source), Text(reasons.join("; ")))?;
            end_todo(out, fix)?;
        }
    }
    for thing in besides {
        write!(out, "<li>{}", Text(thing.text))?;
        end_todo(out, thing.fix)?;
    }
    out.write_str("</ul></section>\n")
}

fn end_todo(out: &mut String, fix: &str) -> fmt::Result {
    if !fix.is_empty() {
        write!(out, "<code>{}</code>", Text(fix))?;
    }
    out.write_str("</li>\n")
}

/// The goals that are not met, by the command that mends them, each reason once.
fn by_fix(source: &SourcePosture) -> Vec<(&str, Vec<&Goal>)> {
    let mut groups: Vec<(&str, Vec<&Goal>)> = Vec::new();
    for goal in source.goals.iter().filter(|goal| !goal.met) {
        match groups.iter_mut().find(|(fix, _)| *fix == goal.fix) {
            Some((_, goals)) if goals.iter().any(|g| sentence(g) == sentence(goal)) => {}
            Some((_, goals)) => goals.push(goal),
            None => groups.push((&goal.fix, vec![goal])),
        }
    }
    groups
}

fn sentence(goal: &Goal) -> String {
    let counted = |what: &str| format!("{} of {} {what}: {}", goal.have, goal.want, goal.reason);
    match goal.goal {
        GoalKind::Copies => counted("copies"),
        GoalKind::Media => counted("kinds of media"),
        GoalKind::Offsite => counted("copies elsewhere"),
        GoalKind::Immutable => counted("copies that cannot be deleted"),
        GoalKind::MaxAge | GoalKind::Verified | GoalKind::Drilled => goal.reason.clone(),
    }
}

fn write_source(out: &mut String, s: &SourcePosture, now: i64, shown: &dyn Fn(i64) -> String) -> fmt::Result {
    let mood = if s.is_met() { "good" } else { "bad" };
    write!(out, "<section class=\"source {mood}\"><h2>{}</h2>\n<ul class=\"digits\">", Text(&s.source))?;
    for goal in &s.goals {
        write_digit(out, goal)?;
    }
    out.write_str("</ul>\n<div class=\"pairs\">\n")?;
    for pair in &s.pairs {
        write_pair(out, pair, now, shown)?;
    }
    out.write_str("</div></section>\n")
}

fn write_digit(out: &mut String, goal: &Goal) -> fmt::Result {
    let (digit, what) = match goal.goal {
        GoalKind::MaxAge => return Ok(()),
        GoalKind::Copies => (goal.want.to_string(), "copies"),
        GoalKind::Media => (goal.want.to_string(), "media"),
        GoalKind::Offsite => (goal.want.to_string(), "elsewhere"),
        GoalKind::Immutable => (goal.want.to_string(), "undeletable"),
        GoalKind::Verified => ("0".to_string(), "errors read"),
        GoalKind::Drilled => ("0".to_string(), "errors restored"),
    };
    let (mood, mark) = match (goal.met, goal.want) {
        (true, 0) => ("off", "not asked for"),
        (true, _) => ("good", "met"),
        (false, _) => ("bad", "not met"),
    };
    write!(
        out,
        "<li class=\"{mood}\" title=\"{}\"><b>{digit}</b><span>{what}</span><small>{mark}</small></li>",
        Text(&goal.reason)
    )
}

fn state_words(state: State) -> (&'static str, &'static str) {
    match state {
        State::Good => ("good", "good"),
        State::Waiting => ("wait", "waits for its disk"),
        State::Unseen => ("grey", "not looked at lately"),
        State::Stale => ("bad", "too old"),
        State::Never => ("bad", "no copy"),
        State::Damaged => ("bad", "damaged"),
    }
}

fn write_pair(out: &mut String, pair: &Pair, now: i64, shown: &dyn Fn(i64) -> String) -> fmt::Result {
    let (mood, word) = match pair.is_good_but_failed() {
        true => ("wait", format!("good, but {}", attempts_failed(pair.failures))),
        false => {
            let (mood, word) = state_words(pair.state);
            (mood, word.to_string())
        }
    };
    let age = pair.age.map_or_else(|| "never".to_string(), |age| format!("{} old", span_words(age)));
    write!(
        out,
        "<article class=\"{mood}\"><h3>{}</h3><p class=\"age\">{}</p><p class=\"state\">{word}; {} is allowed</p>\
         <dl>",
        Text(&pair.repository),
        Text(&age),
        Text(span_words(pair.max_age))
    )?;
    let mut row = |name: &str, value: String| write!(out, "<dt>{name}</dt><dd>{}</dd>", Text(value));
    if let Some(good) = pair.good {
        row("Newest good copy", shown(good))?;
        row(
            "Copies",
            format!("{}, the newest with {} files, {}", pair.copies, pair.files, size_words(pair.bytes)),
        )?;
    }
    if let Some(error) = &pair.error {
        row("Last attempt", error.clone())?;
    }
    let proof = |at: Option<i64>| at.map_or_else(|| "never".to_string(), |at| age_words(at, now));
    row("Read in full", proof(pair.verified))?;
    row("Restored on trial", proof(pair.drilled))?;
    let place = match (pair.location.is_empty(), pair.offsite) {
        (true, false) => "in this building".to_string(),
        (true, true) => "elsewhere".to_string(),
        (false, false) => format!("{}, in this building", pair.location),
        (false, true) => format!("{}, elsewhere", pair.location),
    };
    let same = if pair.same_disk { "; on the same disk as the data" } else { "" };
    row("Place", format!("{place}; {}{same}", pair.medium))?;
    let kept = match (pair.immutable, pair.deletable) {
        (Immutability::No, _) if pair.away => "not while it is away",
        (Immutability::Proven, _) => "no: deleting was tried and refused",
        (Immutability::Claimed, _) => "claimed to be impossible, not tried",
        (Immutability::No, Some(false)) => "no",
        (Immutability::No, Some(true)) => "yes",
        (Immutability::No, None) => "not known; take it for yes",
    };
    row("Deletable from here", kept.to_string())?;
    out.write_str("</dl></article>\n")
}

fn write_places(out: &mut String, places: &[PlacePosture], now: i64) -> fmt::Result {
    if places.is_empty() {
        return Ok(());
    }
    out.write_str("<section><h2>Places</h2>\n<div class=\"pairs\">\n")?;
    for place in places {
        let mood = match (place.damaged, place.seen, place.missed) {
            (Some(_), ..) => "bad",
            (_, None, _) | (.., true) => "grey",
            _ => "good",
        };
        write!(out, "<article class=\"{mood}\"><h3>{}</h3><dl>", Text(&place.repository))?;
        let mut row = |name: &str, value: String| write!(out, "<dt>{name}</dt><dd>{}</dd>", Text(value));
        row("Looked at", place.seen.map_or_else(|| "never".into(), |at| age_words(at, now)))?;
        row("Read in full", place.verified.map_or_else(|| "never".into(), |at| age_words(at, now)))?;
        if let Some(at) = place.damaged {
            row("Damage found", age_words(at, now))?;
        }
        if let Some(bytes) = place.stored_bytes {
            row("Stored", size_words(bytes))?;
        }
        if let Some(bytes) = place.free_bytes {
            row("Free", size_words(bytes))?;
        }
        out.write_str("</dl></article>\n")?;
    }
    out.write_str("</div></section>\n")
}

/// Bytes in words.
fn size_words(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{value:.1} {}", units[unit]),
    }
}
