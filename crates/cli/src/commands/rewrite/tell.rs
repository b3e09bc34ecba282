//! What `rewrite` tells: what became of each snapshot, and what remains where until when.

use super::{Fate, shown_paths};
use crate::counts::count;
use crate::display::{safe, shell_word};
use crate::error::{Exit, Outcome};
use crate::reached::Copy;
use crate::session::Session;
use crate::{sizes, time};
use ::repo::erasures::Erasures;
use ::repo::prune::PruneOptions;
use ::repo::rewrite::{self, LeftOut};
use format::erase::Erasure;
use format::kind::Timestamp;
use serde_json::json;
use service::compliance::still_held;

/// A copy in which nothing was erased.
pub(super) struct NotReached {
    /// Its name in the configuration, if it has one.
    pub(super) name: Option<String>,
    pub(super) place: String,
    pub(super) why: String,
    /// Whether it was to be reached.
    pub(super) was_tried: bool,
}

/// Until when what was forgotten now can be there, where the usual undo window and grace are kept.
struct Remains {
    undo_until: Timestamp,
    bytes_until: Timestamp,
}

impl Remains {
    fn after(now: Timestamp) -> Self {
        let usual = PruneOptions::new(now);
        let later = |t: Timestamp, by: std::time::Duration| Timestamp {
            secs: t.secs.saturating_add_unsigned(by.as_secs()),
            ..t
        };
        let undo_until = later(now, usual.undo_window);
        Remains { undo_until, bytes_until: later(undo_until, usual.grace) }
    }
}

/// Tells what was done in one copy.
pub(super) fn tell(
    session: &Session,
    copy: &Copy,
    erasure: &Erasure,
    fates: &[(String, Fate)],
    dry_run: bool,
) -> Outcome<Exit> {
    let place = copy.place.shown();
    let kept = fates.iter().filter(|(_, fate)| matches!(fate, Fate::Kept { .. })).count();
    let failed = fates.iter().filter(|(_, fate)| matches!(fate, Fate::Failed { .. })).count();
    let exit = match (failed, kept) {
        (0, 0) => Exit::Ok,
        (0, _) => Exit::Refused,
        _ => Exit::Damage,
    };
    let remains = (fates.len() > kept + failed).then(|| Remains::after(time::now()));
    if session.out.json {
        session.out.object(&json!({
            "message_type": "rewrite", "repository": place, "erasure": erasure.id.hex(), "dry_run": dry_run,
            "paths": shown_paths(erasure), "reason": erasure.reason, "kept": kept, "failed": failed,
            "undo_until": remains.as_ref().map(|r| time::rfc3339(r.undo_until)),
            "bytes_remain_until": remains.as_ref().map(|r| time::rfc3339(r.bytes_until)),
            "snapshots": fates.iter().map(|(id, fate)| fate_object(id, fate)).collect::<Vec<_>>(),
        }))?;
        return Ok(exit);
    }
    session.out.line(format!("{}: {}", safe(&place), shown_paths(erasure)))?;
    for (id, fate) in fates {
        session.out.line(format!("  {}", fate_line(id, fate)))?;
    }
    if fates.is_empty() {
        session.out.line("  no snapshot holds it")?;
    }
    if let Some(remains) = remains.filter(|_| !dry_run) {
        remains_lines(&remains, &place, kept > 0).iter().try_for_each(|line| session.out.line(line))?;
    }
    if kept > 0 {
        session.out.line(format!(
            "  {kept} kept: a hold or the minimum age wins; afterwards: lifeboat rewrite --reapply -r {}",
            shell_word(&place)
        ))?;
    }
    Ok(exit)
}

fn remains_lines(remains: &Remains, place: &str, some_are_kept: bool) -> [String; 3] {
    let what = if some_are_kept { "but for what is kept, no restore" } else { "from now on no restore" };
    [
        format!(
            "  {what} from here brings it back; the old snapshots are removed after {},",
            time::shown(remains.undo_until)
        ),
        format!(
            "  and their bytes after {} by: lifeboat prune -r {} --max-unused 0; versions under an object lock stay until it ends",
            time::shown(remains.bytes_until),
            shell_word(place)
        ),
        format!(
            "  at once: lifeboat prune -r {} --undo-window 0 --grace 0 --max-unused 0",
            shell_word(place)
        ),
    ]
}

/// Names the copies that hold everything still, and what ends that.
pub(super) fn tell_not_reached(session: &Session, places: &[NotReached]) -> Outcome<()> {
    for NotReached { place, why, was_tried, .. } in places {
        if session.out.json {
            session.out.object(&json!({
                "message_type": "rewrite_not_reached", "repository": place, "why": why, "tried": was_tried,
            }))?;
            continue;
        }
        session.out.warn(format!("{} holds it still: {}", safe(place), safe(why)));
    }
    if !places.is_empty() {
        session.out.info(
            "the next sync tells a copy; in all at once: lifeboat rewrite --reapply, with -r for each and for one that knows",
        );
    }
    Ok(())
}

fn fate_line(id: &str, fate: &Fate) -> String {
    let out = |l: &LeftOut| format!("{}, {}", count(l.files, "file"), sizes::shown(l.bytes));
    match fate {
        Fate::Replaced { new, left_out } => {
            format!("snapshot {id} is now {} without {}", &new.hex()[..8], out(left_out))
        }
        Fate::TakenOver { new } => format!("snapshot {id} is now {}, as in the first copy", &new.hex()[..8]),
        Fate::Emptied { left_out } => {
            format!("snapshot {id} held nothing else and is forgotten: {}", out(left_out))
        }
        Fate::Kept { why } => why.message(),
        Fate::Failed { why } => format!("snapshot {id} holds it still: {}", why.message()),
        Fate::Would { left_out } => format!("snapshot {id} would lose {}", out(left_out)),
    }
}

fn fate_object(id: &str, fate: &Fate) -> serde_json::Value {
    let (word, new, left_out) = match fate {
        Fate::Replaced { new, left_out } => ("replaced", Some(new.hex()), Some(left_out)),
        Fate::TakenOver { new } => ("replaced", Some(new.hex()), None),
        Fate::Emptied { left_out } => ("emptied", None, Some(left_out)),
        Fate::Kept { why } => return json!({"id": id, "result": "kept", "why": why.message()}),
        Fate::Failed { why } => return json!({"id": id, "result": "failed", "why": why.message()}),
        Fate::Would { left_out } => ("would be replaced", None, Some(left_out)),
    };
    json!({
        "id": id, "result": word, "new": new, "files": left_out.map(|l| l.files), "bytes": left_out.map(|l| l.bytes),
    })
}

/// Lists what was erased.
pub(super) fn list(session: &Session, copy: &Copy, is_one_of_several: bool) -> Outcome<()> {
    let all = Erasures::read(&copy.opened.repo)?.all;
    if is_one_of_several && !session.out.json {
        session.out.line(format!("{}: {}", copy.shown(), count(all.len(), "erasure")))?;
    }
    let reader = copy.opened.reader()?;
    let snapshots = session.opener().snapshots(&copy.place, &copy.opened.repo)?;
    for erasure in all {
        let holding = rewrite::holding(&reader, snapshots.visible(), &erasure)?;
        if session.out.json {
            session.out.object(&json!({
                "message_type": "erasure", "repository": copy.place.shown(), "id": erasure.id.hex(), "paths": shown_paths(&erasure), "time": time::rfc3339(erasure.time),
                "reason": erasure.reason, "by": erasure.by, "hosts": erasure.hosts, "snapshots_replaced": erasure.replaced.len(),
                "snapshots_holding": holding,
            }))?;
        } else {
            let reason = if erasure.reason.is_empty() {
                String::new()
            } else {
                format!(" ({})", safe(&erasure.reason))
            };
            session.out.line(format!(
                "{}  {}  {} replaced, by {}{reason}{}",
                time::shown(erasure.time),
                shown_paths(&erasure),
                count(erasure.replaced.len(), "snapshot"),
                safe(&erasure.by),
                still_held(holding)
            ))?;
        }
    }
    Ok(())
}
