//! The repositories a backup goes to: one, or several copies of one another.

use super::Args;
use crate::commands::init::{self, Family, NewKeys};
use crate::counts::count;
use crate::display::{safe, shell_word};
use crate::error::{Exit, Failure, Outcome};
use crate::session::{Opened, Session};
use engine::CopyState;
use repo::reader::Reader;
use serde_json::{Value, json};
use service::open::Place;
use std::ffi::OsString;
use std::sync::Arc;

/// A repository of this run.
pub(super) struct Target {
    pub(super) place: Place,
    pub(super) opened: Opened,
}

/// All of them.
pub(super) struct Targets {
    /// Those that are open; the first leads.
    pub(super) open: Vec<Target>,
    /// Those that could not be opened.
    absent: Vec<(Place, Failure)>,
    /// Keys of those that were made just now.
    new_keys: Vec<NewKeys>,
}

impl Targets {
    /// Opens, or makes, every repository that is named. One that opens is enough.
    pub(super) fn open(session: &Session, args: &Args) -> Outcome<Self> {
        let places = session.places()?;
        let (opener, are_several) = (session.opener(), places.len() > 1);
        let mut targets = Targets { open: Vec::new(), absent: Vec::new(), new_keys: Vec::new() };
        let mut to_make = Vec::new();
        for (one, place) in places {
            match opener.open_among(&place, are_several) {
                Ok(opened) => targets.open.push(Target { place, opened }),
                Err(failure) if failure.exit == Exit::NoRepository && args.init && !args.dry_run => {
                    to_make.push((one, place));
                }
                Err(failure) => targets.absent.push((place, with_hint(failure, &targets.open))),
            }
        }
        for (one, place) in to_make {
            if let Err(failure) = targets.make(&one, place, args) {
                // Those that were made before are there, and this is the only time to see their keys.
                targets.tell_keys(session);
                return Err(failure);
            }
        }
        if targets.open.is_empty() {
            let (_, failure) = targets.absent.remove(0);
            return Err(failure);
        }
        targets.refuse_strangers().inspect_err(|_| targets.tell_keys(session))?;
        Ok(targets)
    }

    /// Makes a repository: a copy of those that are there.
    fn make(&mut self, session: &Session, place: Place, args: &Args) -> Outcome<()> {
        // The file with the recovery key was written for the first place that this run made.
        let written = args.new.recovery_key_file.as_ref().filter(|_| !self.new_keys.is_empty());
        let recovery_key = written.map(|path| crate::credentials::read_key(path)).transpose()?;
        let family = self.open.first().map(|first| Family::of(&first.opened.repo)).transpose()?;
        let family = family.map(|family| family.with_recovery_key(recovery_key));
        let created = init::create(session, &place.location, &args.new, family)?;
        session.out.info(format!("created a repository at {}", safe(&place.shown())));
        self.open.push(Target { place, opened: session.adopt(created.repo, created.credential) });
        self.new_keys.push(created.keys);
        Ok(())
    }

    fn refuse_strangers(&self) -> Outcome<()> {
        let family = |target: &Target| target.opened.repo.identity().family;
        let first = &self.open[0];
        match self.open.iter().find(|target| family(target) != family(first)) {
            None => Ok(()),
            Some(stranger) => Err(Failure::usage(format!(
                "{} and {} are not copies of one another: their keys differ",
                safe(&first.place.shown()),
                safe(&stranger.place.shown())
            ))
            .hint("back up to each with a command of its own, or make a copy with init --copy-of")),
        }
    }

    pub(super) fn lead(&self) -> &Target {
        &self.open[0]
    }

    /// Whether more than one place was named.
    pub(super) fn are_several(&self) -> bool {
        self.open.len() + self.absent.len() > 1
    }

    /// Loads the indexes; whoever cannot give its own is as if absent.
    pub(super) fn readers(&mut self) -> Outcome<Vec<Arc<Reader>>> {
        let mut readers = Vec::new();
        let mut failed = Vec::new();
        for (i, target) in self.open.iter().enumerate() {
            match target.opened.reader() {
                Ok(reader) => readers.push(reader),
                Err(failure) => failed.push((i, failure)),
            }
        }
        for (i, failure) in failed.into_iter().rev() {
            let target = self.open.remove(i);
            if self.open.is_empty() {
                return Err(failure);
            }
            self.absent.push((target.place, failure));
        }
        Ok(readers)
    }

    pub(super) fn tell_keys(&self, session: &Session) {
        self.new_keys.iter().for_each(|keys| keys.tell(session));
    }

    /// The exit code when one of several copies is not there: why it is not.
    pub(super) fn exit(&self, copies: &[CopyState]) -> Option<Exit> {
        let behind = copies.iter().find_map(|copy| match copy {
            CopyState::Behind(why) => Some(exit_of(why)),
            _ => None,
        });
        let absent = self.absent.first().map(|(_, failure)| failure.exit);
        absent.or(behind).filter(|_| self.are_several())
    }

    /// The state of every copy, for programs.
    pub(super) fn objects(&self, copies: &[CopyState]) -> Vec<Value> {
        let of_open = self.open.iter().zip(copies).map(|(target, copy)| {
            let place = target.place.shown();
            let id = target.opened.repo.identity().repo.hex();
            match copy {
                CopyState::Committed => json!({"repository": place, "repository_id": id, "state": "committed"}),
                CopyState::Completed { snapshots } => json!({
                    "repository": place, "repository_id": id, "state": "completed", "snapshots_brought": snapshots,
                }),
                CopyState::Behind(why) => json!({
                    "repository": place, "repository_id": id, "state": "behind",
                    "error": repo::reader::chain(&**why),
                }),
            }
        });
        let of_absent = self.absent.iter().map(|(place, failure)| {
            json!({"repository": place.shown(), "state": "absent", "error": failure.message()})
        });
        of_open.chain(of_absent).collect()
    }

    /// The state of every copy, for a person.
    pub(super) fn tell(&self, session: &Session, copies: &[CopyState]) -> Outcome<()> {
        if !self.are_several() {
            return Ok(());
        }
        for (target, copy) in self.open.iter().zip(copies) {
            let place = safe(&target.place.shown()).to_string();
            match copy {
                CopyState::Committed => session.out.human(format!("copy     {place}: saved"))?,
                CopyState::Completed { snapshots: 1 } => {
                    session.out.human(format!("copy     {place}: completed from another copy"))?;
                }
                CopyState::Completed { snapshots } => session.out.human(format!(
                    "copy     {place}: caught up, {} from another copy",
                    count(*snapshots, "snapshot")
                ))?,
                CopyState::Behind(why) => {
                    session
                        .out
                        .warn(format!("{place} has not got it: {}", safe(&repo::reader::chain(&**why))));
                }
            }
        }
        self.tell_absent(session);
        let behind = copies.iter().filter(|copy| !copy.is_there()).count() + self.absent.len();
        if behind > 0 && copies.iter().any(CopyState::is_there) {
            session
                .out
                .info("the next run brings it there; or now, with: lifeboat sync --from PLACE --to PLACE");
        }
        Ok(())
    }

    /// Which places could not be opened, and why.
    pub(super) fn tell_absent(&self, session: &Session) {
        for (place, failure) in &self.absent {
            session.out.warn(format!("{} was left out: {}", safe(&place.shown()), failure.message()));
            if let Some(hint) = failure.hint_text() {
                session.out.info(format!("hint: {hint}"));
            }
        }
    }
}

fn with_hint(failure: Failure, open: &[Target]) -> Failure {
    match (failure.exit, open.first()) {
        (Exit::NoRepository, Some(first)) => {
            let first = shell_word(&first.place.shown()).to_string();
            failure.hint(format!("lifeboat init -r PLACE --copy-of {first}"))
        }
        _ => failure,
    }
}

/// The exit code of an error that is shared, and so cannot be taken apart.
fn exit_of(error: &repo::RepoError) -> Exit {
    use storage::ErrorKind as Kind;
    match error.store_kind() {
        Some(Kind::NoSpace) => Exit::NoSpace,
        Some(Kind::Denied) => Exit::Refused,
        Some(Kind::Transient | Kind::NoSuchPlace | Kind::Unauthenticated | Kind::UntrustedServer) => {
            Exit::Unreachable
        }
        _ if error.is_damage() => Exit::Damage,
        _ => Exit::Failed,
    }
}

impl Session {
    /// Every place that `-r` names, each with a session that names it alone.
    fn places(&self) -> Outcome<Vec<(Session, Place)>> {
        let alone = |word: &OsString| {
            let mut one = self.clone();
            one.global.repo = vec![word.clone()];
            let place = one.place()?;
            Ok((one, place))
        };
        match &self.global.repo[..] {
            [] => Ok(vec![(self.clone(), self.place()?)]),
            several => several.iter().map(alone).collect(),
        }
    }
}
