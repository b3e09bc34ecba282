//! Administrative actions, written down in the repository they happened in.

use crate::folders;
use crate::session::{Session, host_name, seed, user_name};
use crate::time;
use format::log::LogKind;
use repo::Repo;
use repo::check::Verified;
use serde_json::Value;
use service::audit::Author;

/// Writes an action down. What was done is not undone when that fails; the person is told.
pub(crate) fn record(session: &Session, repo: &Repo, action: &str, body: &Value) {
    record_as(session, repo, LogKind::Action, action, body);
}

/// Tells the other machines what was read and found whole here. A place that takes nothing more costs them reading
/// it again, no more.
pub(crate) fn attest(session: &Session, repo: &Repo, verified: &Verified) {
    let folders = folders::folders();
    let (machine, user) = (host_name(), user_name());
    let author = Author { folders: &folders, machine: &machine, user: &user };
    let told = seed().and_then(|mut seed| author.attest(repo, verified, time::now(), &mut seed));
    if let Err(e) = told {
        session.out.info(format!("other machines are not told what was read here: {}", e.message()));
    }
}

/// Writes a record of this kind down. Returns whether it is there.
pub(crate) fn record_as(session: &Session, repo: &Repo, kind: LogKind, subject: &str, body: &Value) -> bool {
    let folders = folders::folders();
    let (machine, user) = (host_name(), user_name());
    let author = Author { folders: &folders, machine: &machine, user: &user };
    let written =
        seed().and_then(|mut seed| author.record(repo, kind, subject, body, time::now(), &mut seed));
    if let Err(e) = &written {
        session.out.warn(format!("cannot write this down in the repository's log: {}", e.message()));
    }
    written.is_ok()
}
