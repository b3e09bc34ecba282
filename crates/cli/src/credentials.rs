//! What a user unlocks with: from options, the environment, or asked for.
//!
//! Options beat the environment; both beat the key file that this machine made for the repository; asking
//! comes last and only at a terminal.

use crate::arguments::Global;
use crate::error::{Exit, Failure, Outcome};
use crate::folders::{path_variable, variable};
use crate::prompt;
use format::keys::Key;
use format::words;
use repo::Credential;
pub(crate) use service::credentials::{
    key_of_shares, machine_key_path, password_from_command, password_from_file, password_of, read_key,
    read_secret_file, write_key_file, write_recovery_file,
};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// How often a recovery key may be mistyped: it is long.
const KEY_TRIES: usize = 3;
/// From so many groups or words on a text looks like a key.
const KEY_PARTS_MIN: usize = 8;

/// The credential that options or environment name; options first.
pub(crate) fn given(global: &Global) -> Outcome<Option<Credential>> {
    match from_options(global)? {
        Some(credential) => Ok(Some(credential)),
        None => from_environment(),
    }
}

/// Whether options name a credential.
pub(crate) fn are_named(global: &Global) -> bool {
    global.key_file.is_some()
        || global.recovery_key.is_some()
        || !global.recovery_share.is_empty()
        || global.password_file.is_some()
        || global.password_command.is_some()
}

/// The credential that options name.
pub(crate) fn from_options(global: &Global) -> Outcome<Option<Credential>> {
    if let Some(path) = &global.key_file {
        return read_key(path).map(|key| Some(Credential::Random(key)));
    }
    if let Some(path) = &global.recovery_key {
        return recovery_key(path.as_deref()).map(Some);
    }
    if !global.recovery_share.is_empty() {
        return key_of_shares(&global.recovery_share).map(|key| Some(Credential::Random(key)));
    }
    if let Some(path) = &global.password_file {
        return password_from_file(path).map(Some);
    }
    if let Some(command) = &global.password_command {
        return password_from_command(command).map(Some);
    }
    Ok(None)
}

/// The credential that the environment names.
pub(crate) fn from_environment() -> Outcome<Option<Credential>> {
    if let Some(path) = path_variable("LIFEBOAT_KEY_FILE") {
        return read_key(&path).map(|key| Some(Credential::Random(key)));
    }
    if let Some(password) = variable("LIFEBOAT_PASSWORD") {
        return Ok(Some(password_of(Zeroizing::new(password))));
    }
    if let Some(path) = path_variable("LIFEBOAT_PASSWORD_FILE") {
        return password_from_file(&path).map(Some);
    }
    variable("LIFEBOAT_PASSWORD_COMMAND").map(|command| password_from_command(&command)).transpose()
}

/// The key file an option or the environment names, which `init` makes when it is missing.
pub(crate) fn key_file_to_make(global: &Global) -> Option<PathBuf> {
    let named = global.key_file.clone();
    let others = global.recovery_key.is_some()
        || !global.recovery_share.is_empty()
        || global.password_file.is_some()
        || global.password_command.is_some();
    named.or_else(|| path_variable("LIFEBOAT_KEY_FILE").filter(|_| !others)).filter(|path| !path.exists())
}

fn recovery_key(path: Option<&Path>) -> Outcome<Credential> {
    if let Some(path) = path {
        refuse_key_itself(path)?;
        return read_key(path).map(Credential::Random);
    }
    if !prompt::is_possible() {
        let hint = "lifeboat --recovery-key=FILE ...";
        return Err(Failure::usage("there is no terminal to ask for the recovery key").hint(hint));
    }
    let mut tries = 1;
    loop {
        let text = prompt::secret("Recovery key")?;
        match words::decode_any(&text) {
            Ok(key) => return Ok(Credential::Random(key)),
            Err(e) if tries < KEY_TRIES => {
                prompt::tell(&format!("this is not a recovery key: {e}; once more"))?;
                tries += 1;
            }
            Err(e) => return Err(Failure::new(Exit::WrongPassword, "this is not a recovery key").because(e)),
        }
    }
}

/// A key where the name of its file belongs was seen by everybody who can list processes; it is not shown again.
fn refuse_key_itself(path: &Path) -> Outcome<()> {
    let text = path.as_os_str().to_string_lossy();
    let looks_like_one = text.split([' ', '-']).filter(|part| part.len() >= 3).count() >= KEY_PARTS_MIN;
    match looks_like_one && !path.exists() {
        true => Err(Failure::usage("--recovery-key takes the name of a file, never the key itself").hint(
            "leave it away and type the key when it is asked for; the one that was just given stands in the shell's history",
        )),
        false => Ok(()),
    }
}

/// The key a text speaks of: words, groups, or the text of a key file.
pub(crate) fn recovery_key_of(text: &str) -> Option<Key> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let joined = Zeroizing::new(lines.collect::<Vec<_>>().join(" "));
    words::decode_any(&joined).ok()
}

/// A random key from the system.
pub(crate) fn random_key() -> Outcome<Key> {
    Ok(Key::new(random()?))
}

/// Random bytes from the system.
pub(crate) fn random<const N: usize>() -> Outcome<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|e| Failure::new(Exit::Failed, "the system gives no random numbers").because(e))?;
    Ok(bytes)
}
