//! Keys of this machine's own: the old ones died with the old machine, and a sheet of paper is not typed at night.

use super::open::Here;
use crate::audit;
use crate::credentials;
use crate::display::shell_word;
use crate::error::{Exit, Failure, Outcome};
use crate::folders;
use crate::session::{Session, host_name, seed};
use crate::time;
use ::repo::{Credential, NewSlot};
use format::keys::Capability;
use format::slot::ArgonCost;
use serde_json::json;
use service::config::{Config, Repository};
use service::credentials::{machine_key_path, read_key, write_key_file};
use service::open::{Opener, Place};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A place that does not answer gets its key later.
const RETRY: Duration = Duration::from_secs(10);

/// What became of the key of a repository.
pub(super) enum Given {
    /// It opens with what the configuration names.
    Opens,
    /// This file was made.
    Made(PathBuf),
    /// This file was made, since the password that the configuration names is not on this machine.
    Instead(PathBuf),
    /// It could not be done.
    Not(String),
}

/// Gives this machine a key to every repository of its configuration that the credential in use opens.
pub(super) fn give(session: &Session, config: &Config, here: &Here) -> Outcome<Vec<(String, Given)>> {
    let mut all = Vec::new();
    for (name, repository) in &config.repositories {
        let given = give_one(session, name, repository, here);
        let not = |failure: Failure| match failure.exit {
            Exit::NoRepository => {
                let again = format!("lifeboat init -r {} --copy-of {}", shell_word(name), here.word);
                Given::Not(format!("there is no repository; if it is gone for good, make it again: {again}"))
            }
            _ => Given::Not(failure.in_one_line()),
        };
        all.push((name.clone(), given.unwrap_or_else(not)));
    }
    Ok(all)
}

fn give_one(session: &Session, name: &str, repository: &Repository, here: &Here) -> Outcome<Given> {
    let folders = folders::folders();
    let place = service::config::place::place(name, repository, &folders::environment(), &folders)?;
    let place = Place { retry_for: Some(RETRY), ..place };
    let opener = Opener { retry_for: RETRY, ..session.opener() };
    let credential = here.opened.credential.clone();
    let with_ours = Place { unlock: Arc::new(move || Ok(Some(credential.clone()))), ..place.clone() };
    let (mut repo, _) = opener.open(&with_ours)?.into_repo();
    let path = match &repository.key_file {
        Some(path) => service::config::load::full_path(&folders.home, &path.to_string_lossy()),
        None => machine_key_path(&folders, &repo.identity().repo),
    };
    let has_password = repository.password.is_some() && repository.key_file.is_none();
    if has_password && (place.unlock)().is_ok() {
        return Ok(Given::Opens);
    }
    if path.exists() {
        let key = Credential::Random(read_key(&path)?);
        if repo.slot_of(&key)?.is_some() {
            return Ok(Given::Opens);
        }
        if repository.key_file.is_some() {
            return Ok(Given::Not(format!("{} opens it no more", path.display())));
        }
        // This machine's own for this very repository: it was taken away there, and opens nothing any more.
        std::fs::remove_file(&path)
            .map_err(|e| crate::error::local(format!("cannot remove {}", path.display()), e))?;
    }
    let key = credentials::random_key()?;
    write_key_file(&path, &key)?;
    let new = NewSlot {
        credential: Credential::Random(key),
        is_recovery: false,
        capability: Capability::Owner,
        cost: ArgonCost::default(),
        label: host_name(),
    };
    // A key that opens nothing would only mislead.
    let slot =
        repo.add_slot(&new, time::now(), &mut seed()?).inspect_err(|_| _ = std::fs::remove_file(&path))?;
    audit::record(
        session,
        &repo,
        "key",
        &json!({"action": "added", "slot": slot.id.hex(), "why": "recovered"}),
    );
    Ok(if has_password { Given::Instead(path) } else { Given::Made(path) })
}
