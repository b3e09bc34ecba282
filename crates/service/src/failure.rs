//! How a run ends: the exit code, and an error with its causes and a hint.
//!
//! Every error that reaches a user is a [`Failure`]: what failed, why, and a hint that is a command or a
//! fact. The exit codes are part of the interface; unknown ones must be read as failure, the list only grows.

use crate::display::shell_word;
use engine::Severity;
use format::FormatError;
use repo::RepoError;
use std::error::Error;
use std::fmt;
use storage::{ErrorKind, StoreError};

/// What the program tells its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Ok = 0,
    /// It failed.
    Failed = 1,
    /// The user asked for something that cannot be.
    Usage = 2,
    /// Finished, but some source data could not be read, or something could not be restored.
    Partial = 3,
    /// Finished, but a goal is not met.
    GoalNotMet = 4,
    /// Stored data is missing or changed.
    Damage = 5,
    /// A drill failed, though nothing is damaged.
    DrillFailed = 6,
    /// There is no repository.
    NoRepository = 10,
    /// Password or key is wrong or missing.
    WrongPassword = 12,
    /// The storage does not answer, or does not let us in.
    Unreachable = 13,
    /// Not allowed: append-only, held, protected.
    Refused = 14,
    /// No space left.
    NoSpace = 15,
    /// Nothing was done, on purpose.
    Skipped = 75,
    /// Ended by SIGINT.
    Interrupted = 130,
    /// The reader of our output went away.
    BrokenPipe = 141,
    /// Ended by SIGTERM.
    Terminated = 143,
}

impl From<Severity> for Exit {
    fn from(severity: Severity) -> Exit {
        match severity {
            Severity::Info => Exit::Ok,
            Severity::Problem => Exit::Partial,
            Severity::Damage => Exit::Damage,
        }
    }
}

type Cause = Box<dyn Error + Send + Sync>;

/// An error as the user sees it.
#[derive(Debug)]
pub struct Failure {
    /// How the program ends.
    pub exit: Exit,
    what: String,
    cause: Option<Cause>,
    hint: Option<String>,
    is_lasting: bool,
}

/// A result, or what the user is told.
pub type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// A failure without cause or hint.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Failure { exit, what: what.into(), cause: None, hint: None, is_lasting: false }
    }

    /// The user asked for something that cannot be.
    pub fn usage(what: impl Into<String>) -> Self {
        Failure::new(Exit::Usage, what)
    }

    /// Why a repository did not take part, where the error itself is shared.
    pub fn of_repo(error: &RepoError) -> Self {
        let exit = error.store_kind().map_or(Exit::Failed, exit_of_store);
        Failure::new(exit, repo::reader::chain(error))
    }

    /// With this cause.
    pub fn because(mut self, cause: impl Into<Cause>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// With this hint instead of any other.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Without any hint.
    pub fn without_hint(self) -> Self {
        Failure { hint: None, ..self }
    }

    /// With this hint unless it has one.
    pub fn hint_if_none(self, hint: impl FnOnce() -> Option<String>) -> Self {
        let hint = self.hint.clone().or_else(hint);
        Failure { hint, ..self }
    }

    /// As one that another try cannot change.
    pub fn lasting(self) -> Self {
        Failure { is_lasting: true, ..self }
    }

    /// Whether another try a little later may go well.
    pub fn is_passing(&self) -> bool {
        !self.is_lasting && matches!(self.exit, Exit::Failed | Exit::Unreachable)
    }

    /// Puts what was being done before what failed.
    pub fn during(self, what: impl Into<String>) -> Self {
        let Failure { exit, hint, is_lasting, .. } = &self;
        let (exit, hint, is_lasting) = (*exit, hint.clone(), *is_lasting);
        Failure { exit, what: what.into(), hint, is_lasting, cause: Some(Box::new(self)) }
    }

    /// Error, causes and hint, each on a line of its own.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("error: {}", self.what)];
        let mut cause = self.cause();
        while let Some(e) = cause {
            let text = e.to_string();
            if !lines.last().is_some_and(|line| line.ends_with(&text)) {
                lines.push(format!("  caused by: {text}"));
            }
            cause = e.source();
        }
        lines.extend(self.hint.iter().map(|hint| format!("hint: {hint}")));
        lines
    }

    /// What failed and why, in one line.
    pub fn message(&self) -> String {
        let mut text = self.what.clone();
        let mut cause = self.cause();
        while let Some(e) = cause {
            text.push_str(": ");
            text.push_str(&e.to_string());
            cause = e.source();
        }
        text
    }

    /// What failed, why, and what helps, in one line.
    pub fn in_one_line(&self) -> String {
        let hint = self.hint.as_ref().map(|hint| format!(": {hint}")).unwrap_or_default();
        self.message() + &hint
    }

    /// The hint, if there is one.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    fn cause(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_ref().map(|cause| cause.as_ref() as &(dyn Error + 'static))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause()
    }
}

/// Moves an error below words of our own.
fn wrap(exit: Exit, error: impl Error + Send + Sync + 'static) -> Failure {
    let what = error.to_string();
    match error.source() {
        None => Failure::new(exit, what),
        Some(_) => Failure::new(exit, what).because(Below(Box::new(error))),
    }
}

/// The causes of an error whose own text was told already.
#[derive(Debug)]
struct Below(Cause);

impl fmt::Display for Below {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.source().map_or(Ok(()), |cause| write!(f, "{cause}"))
    }
}

impl Error for Below {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source().and_then(|cause| cause.source())
    }
}

/// What a place says of this program's login, and will say again.
fn is_lasting(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Unauthenticated | ErrorKind::UntrustedServer)
}

fn exit_of_store(kind: ErrorKind) -> Exit {
    match kind {
        ErrorKind::NoSuchPlace => Exit::NoRepository,
        ErrorKind::Denied => Exit::Refused,
        ErrorKind::Unauthenticated
        | ErrorKind::UntrustedServer
        | ErrorKind::UnknownHost
        | ErrorKind::Transient => Exit::Unreachable,
        ErrorKind::NoSpace => Exit::NoSpace,
        ErrorKind::NotFound | ErrorKind::Truncated => Exit::Damage,
        ErrorKind::Config => Exit::Usage,
        ErrorKind::Away => Exit::Skipped,
        ErrorKind::Archived => Exit::Unreachable,
        _ => Exit::Failed,
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let is_lasting = is_lasting(error.kind());
        let failure = Failure { is_lasting, ..wrap(exit_of_store(error.kind()), error) };
        match failure.exit {
            Exit::NoSpace => failure.hint(NO_SPACE),
            _ => failure,
        }
    }
}

const NO_SPACE: &str =
    "free some space there, then run the same command again: nothing stored so far is lost";

/// Whether this program refused, not the place; why says what to do.
fn is_ours(error: &StoreError) -> bool {
    std::error::Error::source(error).is_some_and(|cause| cause.is::<storage::Refusal>())
}

/// What helps when a place refuses.
fn hint_of_store(kind: ErrorKind, location: &str) -> Option<String> {
    let place = shell_word(location);
    let is = |scheme: &str| location.starts_with(scheme);
    match kind {
        ErrorKind::NoSpace => Some(format!(
            "{NO_SPACE}. Space of forgotten snapshots is freed at once by: lifeboat prune -r {place} --undo-window 0 --grace 0"
        )),
        ErrorKind::Denied if !location.contains("://") => Some(
            "run it as the user the repository belongs to, or give this one the right to read and write there; is it \
             mounted read-only?"
                .to_string(),
        ),
        ErrorKind::Denied => Some(format!("see what the login in use may do there with: lifeboat repo test -r {place}")),
        ErrorKind::Unauthenticated if is("s3") => {
            Some("look at the key that is used: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION".to_string())
        }
        ErrorKind::Unauthenticated if is("webdav") => {
            Some("look at the user and password: LIFEBOAT_WEBDAV_USER, LIFEBOAT_WEBDAV_PASSWORD".to_string())
        }
        _ => None,
    }
}

impl From<RepoError> for Failure {
    fn from(error: RepoError) -> Self {
        let is_lasting = match &error {
            RepoError::SourceRefused(_) => true,
            RepoError::Store { source, .. } => is_lasting(source.kind()),
            _ => false,
        };
        let exit = match &error {
            RepoError::NoRepository { .. } => Exit::NoRepository,
            RepoError::WrongSecret { .. } => Exit::WrongPassword,
            RepoError::LocalFull(_) => Exit::NoSpace,
            RepoError::Store { source, .. } => exit_of_store(source.kind()),
            RepoError::Object { source: FormatError::NotAllowed { .. }, .. } => Exit::Refused,
            e if e.is_damage() => Exit::Damage,
            _ => Exit::Failed,
        };
        let hint = match &error {
            RepoError::NoSnapshot(_) | RepoError::AmbiguousSnapshot(..) => {
                Some("list them with: lifeboat snapshots".to_string())
            }
            RepoError::Store { source, .. } if is_ours(source) => None,
            RepoError::Store { location, source } => hint_of_store(source.kind(), location),
            RepoError::Object { source: FormatError::TooNew { .. }, .. } => Some(
                "install the newest version of lifeboat; nothing is wrong with the repository".to_string(),
            ),
            RepoError::ConfigurationLost { location } => Some(format!(
                "make it anew with: lifeboat repair -r {} --from ANOTHER-COPY",
                shell_word(location)
            )),
            RepoError::LocalFull(_) => {
                Some("make room and run the same command again: it goes on where it stands".to_string())
            }
            RepoError::NothingSelected(_) => Some(
                "see what is there with: lifeboat ls SNAPSHOT; a pattern like '*.odt' fits everywhere"
                    .to_string(),
            ),
            RepoError::SlotsLost { location } => Some(format!(
                "another copy has its keys: lifeboat repair -r {} --from ANOTHER-COPY",
                shell_word(location)
            )),
            _ if exit == Exit::Damage => Some("find out what it hurts with: lifeboat check".to_string()),
            _ => None,
        };
        let failure = Failure { is_lasting, ..wrap(exit, error) };
        failure.hint_if_none(|| hint)
    }
}

/// Words for an error of the system, where it has no better name.
pub fn local(what: impl Into<String>, error: std::io::Error) -> Failure {
    let exit = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Exit::NoSpace,
        std::io::ErrorKind::BrokenPipe => Exit::BrokenPipe,
        _ => Exit::Failed,
    };
    let is_lasting =
        matches!(error.kind(), std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::InvalidInput);
    Failure { is_lasting, ..Failure::new(exit, what).because(error) }
}

impl From<crate::catalog::CatalogError> for Failure {
    fn from(error: crate::catalog::CatalogError) -> Self {
        let too_new = matches!(error, crate::catalog::CatalogError::TooNew { .. });
        let failure = wrap(Exit::Failed, error);
        match too_new {
            true => failure.hint("install the newest version of lifeboat; nothing is wrong with the backups"),
            false => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_try_cannot_change_is_lasting() {
        let store = |kind| {
            let source = StoreError::new(kind, "list");
            Failure::from(RepoError::Store { location: "s3://x".into(), source })
        };
        assert!(store(ErrorKind::Transient).is_passing() && !store(ErrorKind::Unauthenticated).is_passing());
        let refused = Failure::from(RepoError::SourceRefused("NOAUTH".into()));
        assert!(refused.exit == Exit::Failed && !refused.is_passing());
        assert!(!refused.during("cannot back up").is_passing() && !Failure::usage("x").is_passing());
        assert!(local("read", std::io::Error::other("x")).is_passing());
    }

    #[test]
    fn every_cause_gets_a_line_and_the_hint_comes_last() {
        let store = StoreError::new(ErrorKind::NoSpace, "write packs/4/4f").because("quota exceeded");
        let failure = Failure::from(RepoError::Store { location: "/x".into(), source: store });
        let failure = failure.during("cannot back up to /x");
        assert_eq!(failure.exit, Exit::NoSpace);
        assert_eq!(
            failure.lines(),
            [
                "error: cannot back up to /x",
                "  caused by: store /x",
                "  caused by: write packs/4/4f: no space left",
                "  caused by: quota exceeded",
                &format!(
                    "hint: {NO_SPACE}. Space of forgotten snapshots is freed at once by: \
                     lifeboat prune -r /x --undo-window 0 --grace 0"
                ),
            ]
        );
    }
}
