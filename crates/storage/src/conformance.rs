//! The promises of [`Store`], tried out on a real place.
//!
//! The same checks judge every implementation in the tests and a live repository of a user. All objects
//! lie below a scratch prefix that the caller chooses, and are removed at the end. Nothing here knows what
//! a repository is.

mod checks;

use crate::{ErrorKind, ObjectName, Store, StoreResult};
use std::ops::ControlFlow;

/// How much is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything that takes few requests and small objects.
    Quick,
    /// Also an object of 20 MiB and a list of 1,100 objects, which is more than a page anywhere.
    Full,
}

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The promise is kept.
    Kept,
    /// It is not, and how that showed.
    Broken(String),
    /// The place does not claim it, or it belongs to the full scope.
    NotTried(&'static str),
}

/// One promise and whether it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The promise in words.
    pub promise: &'static str,
    /// Whether it is kept.
    pub outcome: Outcome,
}

/// What a run found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Every check, in the order in which they ran.
    pub checks: Vec<Check>,
}

impl Report {
    /// Checks that failed.
    pub fn broken(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| matches!(check.outcome, Outcome::Broken(_)))
    }

    /// Whether nothing failed.
    pub fn is_good(&self) -> bool {
        self.broken().next().is_none()
    }
}

/// Tries every promise on `store`, below `scratch` (such as `maint/test-4f...`, without a closing slash,
/// at most 80 bytes), which nothing else uses.
pub fn run(store: &dyn Store, scratch: &str, scope: Scope) -> Report {
    let mut checks: Vec<Check> = checks::ALL
        .iter()
        .map(|(promise, number, try_it)| {
            let bench = Bench { store, scope, folder: format!("{scratch}/{number}") };
            let outcome = match try_it(&bench) {
                Ok(()) => Outcome::Kept,
                Err(Failure::Broken(how)) => Outcome::Broken(how),
                Err(Failure::NotTried(why)) => Outcome::NotTried(why),
            };
            Check { promise, outcome }
        })
        .collect();
    let cleaned = clean_up(store, scratch).map_err(|error| with_causes(&error));
    let outcome = cleaned.map_or_else(Outcome::Broken, |()| Outcome::Kept);
    checks.push(Check { promise: "everything that was tried out is removed again", outcome });
    Report { checks }
}

/// Removes everything below `scratch`.
fn clean_up(store: &dyn Store, scratch: &str) -> StoreResult<()> {
    let mut left: Vec<ObjectName> = Vec::new();
    store.list(&format!("{scratch}/"), &mut |info| {
        left.push(info.name);
        ControlFlow::Continue(())
    })?;
    for name in left {
        match store.delete(&name) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    store.sync()
}

/// Why a check did not end well.
enum Failure {
    Broken(String),
    NotTried(&'static str),
}

type Tried = Result<(), Failure>;

/// What a check works with: a store and a folder of its own.
struct Bench<'a> {
    store: &'a dyn Store,
    scope: Scope,
    folder: String,
}

impl Bench<'_> {
    fn name(&self, rest: &str) -> ObjectName {
        ObjectName::new(&format!("{}/{rest}", self.folder))
            .expect("scratch prefixes are short and well formed")
    }

    /// Names below `prefix` in the folder of this check, without that folder.
    fn list(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        let folder = format!("{}/", self.folder);
        let mut names = Vec::new();
        let listed = self.store.list(&format!("{folder}{prefix}"), &mut |info| {
            names.push(info.name.as_str().trim_start_matches(&folder).to_owned());
            ControlFlow::Continue(())
        });
        must(listed, "list")?;
        Ok(names)
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(found) = cause {
        text.push_str(&format!(": {found}"));
        cause = found.source();
    }
    text
}

fn must<T>(outcome: StoreResult<T>, what: &str) -> Result<T, Failure> {
    outcome.map_err(|error| Failure::Broken(format!("{what}: {}", with_causes(&error))))
}

fn must_fail<T>(outcome: StoreResult<T>, kind: ErrorKind, what: &str) -> Tried {
    match outcome {
        Err(error) if error.kind() == kind => Ok(()),
        Err(error) => Err(Failure::Broken(format!(
            "{what} must fail as {kind:?}, but failed as {:?}: {}",
            error.kind(),
            with_causes(&error)
        ))),
        Ok(_) => Err(Failure::Broken(format!("{what} must fail as {kind:?}, but succeeded"))),
    }
}

fn must_equal<T: PartialEq + std::fmt::Debug>(found: &T, wanted: &T, what: &str) -> Tried {
    match found == wanted {
        true => Ok(()),
        false => {
            let mut text = format!("{what}: found {found:?}, wanted {wanted:?}");
            if text.len() > 600 {
                let end = text.floor_char_boundary(600);
                text.truncate(end);
            }
            Err(Failure::Broken(text))
        }
    }
}
