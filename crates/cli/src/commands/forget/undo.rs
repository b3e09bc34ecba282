//! Bringing forgotten snapshots back.

use super::{Args, targets, tell};
use crate::audit;
use crate::commands::snapshots::{columns, record_object};
use crate::display::{DisplayName, safe};
use crate::error::{Exit, Outcome};
use crate::known::{self, undo_until};
use crate::session::Session;
use crate::time;
use ::repo::RepoError;
use ::repo::snapshots::{StoredSnapshot, remember};
use format::kind::Timestamp;
use serde_json::json;

/// Brings back what is named.
pub(super) fn run(session: &Session, args: &Args) -> Outcome<Exit> {
    let opened = session.open()?;
    let known = known::read(session, &opened.repo)?;
    let mut exit = Exit::Ok;
    for target in &targets(&known, args)? {
        // Of one that cannot be read nobody knows here; taking away a tomb that is not there does no harm.
        let changes = target.stored.is_none_or(|stored| stored.forgotten);
        if changes && !args.dry_run {
            match remember(&opened.repo, &target.id) {
                Err(e @ RepoError::TooLate(_)) => {
                    session.out.warn(e);
                    exit = Exit::Failed;
                    continue;
                }
                other => other?,
            }
        }
        if changes && !args.dry_run {
            audit::record(session, &opened.repo, "forget", &json!({"brought_back": target.id.hex()}));
        }
        let what = match (changes, args.dry_run) {
            (false, _) => "was not forgotten",
            (true, true) => "would be brought back",
            (true, false) => "is back",
        };
        tell(session, args, target, "remember", changes, what)?;
        let tomb = target.stored.and_then(|stored| stored.tomb.as_ref());
        if changes && tomb.is_some_and(|tomb| tomb.tomb.reason.starts_with("erased ")) {
            session.out.warn(
                "something was erased from it: that is not shown or restored, but its bytes stay until: lifeboat rewrite --reapply",
            );
        }
    }
    Ok(exit)
}

/// Lists what can be brought back, and until when.
pub(super) fn list(session: &Session, args: &Args) -> Outcome<Exit> {
    let opened = session.open()?;
    let known = known::read(session, &opened.repo)?;
    known::warn_unreadable(session, &known);
    let forgotten = known.list.snapshots.iter().filter(|stored| args.filter.accepts(&stored.snapshot));
    let forgotten: Vec<(&StoredSnapshot, Timestamp)> =
        forgotten.filter_map(|stored| Some((stored, undo_until(stored)?))).collect();
    if session.out.json {
        let objects = forgotten.iter().map(|(stored, until)| {
            let mut object = record_object(&stored.snapshot);
            let tomb = stored.tomb.as_ref().expect("only those with a tomb are listed");
            object["forgotten"] = true.into();
            object["forgotten_time"] = time::rfc3339(tomb.tomb.time).into();
            object["forgotten_reason"] = json!(tomb.tomb.reason);
            object["undo_until"] = time::rfc3339(*until).into();
            object
        });
        session.out.object(&objects.collect())?;
    } else {
        table(session, &forgotten)?;
    }
    Ok(if known.list.unreadable.is_empty() { Exit::Ok } else { Exit::Damage })
}

fn table(session: &Session, forgotten: &[(&StoredSnapshot, Timestamp)]) -> Outcome<()> {
    if forgotten.is_empty() {
        return session.out.line("nothing is forgotten that could be brought back");
    }
    let mut rows = vec![["id", "time", "host", "comes back until", "forgotten", "source"].map(String::from)];
    rows.extend(forgotten.iter().map(|(stored, until)| {
        let snapshot = &stored.snapshot;
        let sources: Vec<_> = snapshot.sources.iter().map(|p| DisplayName(p).to_string()).collect();
        let reason = stored.tomb.as_ref().map(|tomb| safe(&tomb.tomb.reason)).unwrap_or_default();
        [
            snapshot.short_id(),
            time::shown(snapshot.time),
            safe(&snapshot.host),
            time::shown(*until),
            reason,
            sources.join(", "),
        ]
    }));
    columns(&rows).into_iter().try_for_each(|line| session.out.line(line))?;
    session.out.info("bring them back with: lifeboat forget --undo SNAPSHOT; a prune with a shorter --undo-window ends that earlier");
    Ok(())
}
