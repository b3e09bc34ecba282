//! What is known about the snapshots of the repository this run works on; see `service::known`.

use crate::error::Outcome;
use crate::session::{Session, seed};
use crate::time;
use repo::Repo;
pub(crate) use service::known::{Known, refusal, undo_until};

/// Reads everything without writing anything; ages go by this machine's clock.
pub(crate) fn read(session: &Session, repo: &Repo) -> Outcome<Known> {
    Known::read(&session.opener(), &session.place()?, repo, time::now())
}

/// Reads everything in order to act on it: where ages or ends decide, the store is asked for its time.
pub(crate) fn read_to_act(session: &Session, repo: &Repo, dry_run: bool) -> Outcome<Known> {
    match dry_run {
        true => read(session, repo),
        false => Known::read_to_act(&session.opener(), &session.place()?, repo, time::now(), &mut seed()?),
    }
}

/// Says which snapshots could not be judged.
pub(crate) fn warn_unreadable(session: &Session, known: &Known) {
    known.unreadable().iter().for_each(|line| session.out.warn(line));
}
