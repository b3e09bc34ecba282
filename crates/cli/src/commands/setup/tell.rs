//! What is proposed, and what follows from it: in words, or as objects.

use crate::commands::snapshots::columns;
use crate::counts::count;
use crate::display::safe;
use crate::error::Outcome;
use crate::session::Session;
use crate::sizes;
use serde_json::json;
use service::config::places::Goals;
use service::setup::leftovers::Proposal;
use service::setup::{Answers, NewSource};

/// What is left out because programs make it again.
pub(super) fn left_out(session: &Session, found: &[Proposal]) -> Outcome<()> {
    for proposal in found {
        if session.out.json {
            session.out.object(&json!({
                "message_type": "left_out", "pattern": proposal.pattern, "bytes": proposal.bytes,
                "files": proposal.files, "complete": proposal.complete,
            }))?;
        }
    }
    if !found.is_empty() {
        session.out.info("left out, because programs make it again (--keep-caches keeps it):");
        table(found).iter().for_each(|line| session.out.info(format!("  {line}")));
    }
    Ok(())
}

/// The patterns with what each leaves out, a line each.
pub(super) fn table(found: &[Proposal]) -> Vec<String> {
    let row = |proposal: &Proposal| {
        let least = if proposal.complete { "" } else { "at least " };
        let size = sizes::shown(proposal.bytes);
        [safe(&proposal.pattern), format!("{least}{size} in {}", count(proposal.files, "file"))]
    };
    columns(&found.iter().map(row).collect::<Vec<_>>())
}

/// What holds for all sources, and by which option it can be another.
pub(super) fn derived(session: &Session, answers: &Answers) -> Outcome<()> {
    for source in &answers.sources {
        if session.out.json {
            let values: serde_json::Map<_, _> = source
                .meaning(&answers.goals)
                .into_iter()
                .map(|m| {
                    let option = m.option.trim_start_matches('-').replace('-', "_");
                    (option, json!({ "value": m.value, "chosen": m.is_chosen }))
                })
                .collect();
            session.out.object(&json!({
                "message_type": "source", "name": source.name, "criticality": source.criticality.name(),
                "values": values,
            }))?;
        }
        lines(source, &answers.goals).iter().for_each(|line| session.out.info(line));
    }
    Ok(())
}

/// What holds for one source.
pub(super) fn lines(source: &NewSource, goals: &Goals) -> Vec<String> {
    let head = format!("{} (criticality {}):", source.name, source.criticality.name());
    let value = |m: service::setup::Meaning| {
        let chosen = if m.is_chosen { "as chosen" } else { m.option };
        format!("  {:<30} {chosen:<17} {}", m.what, m.value)
    };
    std::iter::once(head).chain(source.meaning(goals).into_iter().map(value)).collect()
}

/// The configuration, for who only wants to see it.
pub(super) fn configuration(session: &Session, text: &str) -> Outcome<()> {
    match session.out.json {
        true => session.out.object(&json!({ "message_type": "configuration", "text": text })),
        false => session.out.line(text.trim_end()),
    }
}
