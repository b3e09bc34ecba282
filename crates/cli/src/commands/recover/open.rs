//! Finding the repository: the place that was named, or the first place of a kit that answers.

use crate::credentials;
use crate::display::safe;
use crate::error::{Exit, Failure, Outcome};
use crate::prompt;
use crate::session::{Opened, Session};
use ::repo::Credential;
use service::config::place::first_of;
use service::credentials::read_secret_file;
use service::kit;
use service::open::{Place, Unlock};
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// With several places one that does not answer is tried no longer than this.
const RETRY_OF_SEVERAL: Duration = Duration::from_secs(20);

/// The repository that everything comes back from.
pub(super) struct Here {
    /// Where it is.
    pub(super) place: Place,
    /// As it is written in a command.
    pub(super) word: String,
    /// Open.
    pub(super) opened: Opened,
}

/// Opens the repository.
pub(super) fn open(session: &Session, from: &OsStr) -> Outcome<Here> {
    let (words, key) = match kit_of(Path::new(from))? {
        Some(kit) => (kit.places.into_iter().map(OsString::from).collect(), kit.key),
        None => (vec![from.to_os_string()], None),
    };
    let mut opener = session.opener();
    if words.len() > 1 {
        opener.retry_for = opener.retry_for.min(RETRY_OF_SEVERAL);
    }
    let has_keys = opener.folders.configuration.join("keys").exists();
    if prompt::is_possible() && key.is_none() && !has_keys && !credentials::are_named(&session.global) {
        session
            .out
            .info("where a password is asked for, the recovery key can be typed: its groups or its words");
    }
    let mut failure = None;
    for word in &words {
        let mut place = session.place_named(word)?;
        let key = key.clone();
        let of_kit: Unlock = Arc::new(move || Ok(key.clone().map(Credential::Random)));
        place.unlock = first_of(vec![place.unlock, of_kit]);
        match opener.open(&place) {
            Ok(opened) => {
                let word = service::display::shell_word(&word.to_string_lossy());
                return Ok(Here { word, place, opened });
            }
            Err(e) if words.len() == 1 => return Err(nothing_there(e)),
            Err(e) => {
                session.out.warn(format!("{} is left out: {}", safe(&place.shown()), e.message()));
                // A key that does not fit says more than a place that is away.
                let says_more = |e: &Failure| e.exit == Exit::WrongPassword;
                failure = match failure {
                    Some(first) if says_more(&first) || !says_more(&e) => Some(first),
                    _ => Some(e),
                };
            }
        }
    }
    Err(failure.map_or_else(|| Failure::usage("the kit names no place"), nothing_there))
}

/// Who comes back from nothing does not want to begin anew.
fn nothing_there(failure: Failure) -> Failure {
    match failure.exit {
        Exit::NoRepository => failure.hint(
            "is the disk mounted, the address as the kit says it, the name of a kit's file right? The kit names all copies",
        ),
        _ => failure,
    }
}

/// The kit in a file; `None` where it is no kit.
fn kit_of(path: &Path) -> Outcome<Option<kit::ReadKit>> {
    const KIT_BYTES_MAX: u64 = 1 << 20;
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() && found.len() <= KIT_BYTES_MAX => {}
        Ok(found) if found.is_file() => {
            return Err(Failure::usage(format!("{} is no kit: it is too long", path.display())));
        }
        _ => return Ok(None),
    }
    let text = read_secret_file(path)?;
    match kit::read(&text) {
        Some(kit) => Ok(Some(kit)),
        None => {
            Err(Failure::usage(format!("{} is neither a repository nor the file of a kit", path.display())))
        }
    }
}
