//! What a user unlocks with: from options, the environment, or asked for.
//!
//! Options beat the environment; both beat the key file that this machine made for the repository; asking
//! comes last and only at a terminal.

use crate::arguments::Global;
use crate::error::{Exit, Failure, Outcome};
use crate::folders::{path_variable, variable};
use crate::prompt;
use format::keys::Key;
use format::shares::{Share, TypedShare};
use format::words;
use repo::Credential;
pub(crate) use service::credentials::{
    combine_shares, key_of_shares, machine_key_path, password_from_command, password_from_file, password_of,
    read_key, read_secret_file, read_share, write_key_file, write_recovery_file,
};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
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
        return shares(&global.recovery_share).map(|key| Some(Credential::Random(key)));
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

/// What was typed: long, and asked for once though it opens several copies.
static TYPED_KEY: OnceLock<Key> = OnceLock::new();
/// How many shares there are of the key that was made of typed ones, and how many make it.
static TYPED_SHARES: OnceLock<(u8, u8)> = OnceLock::new();

/// How many shares there are of the key that is given in shares, and how many make it; nothing where none are given.
pub(crate) fn shape_of_shares(global: &Global) -> Option<(u8, u8)> {
    let in_file = global.recovery_share.iter().find_map(|path| read_share(path).ok());
    in_file.map(|share| (share.of(), share.needed())).or(TYPED_SHARES.get().copied())
}

/// The key of shares: in files, or typed where `-` stands for them.
fn shares(files: &[PathBuf]) -> Outcome<Key> {
    if let Some(key) = TYPED_KEY.get() {
        return Ok(key.clone());
    }
    if files.iter().all(|path| path.as_os_str() != "-") {
        return key_of_shares(files);
    }
    if !prompt::is_possible() {
        return Err(Failure::usage("there is no terminal to ask for shares")
            .hint("lifeboat --recovery-share FILE ..."));
    }
    let mut given = Vec::new();
    let in_files = files.iter().filter(|path| path.as_os_str() != "-");
    for path in in_files {
        given.push((read_share(path)?, path.display().to_string()));
    }
    while given.first().is_none_or(|(first, _): &(Share, String)| given.len() < usize::from(first.needed())) {
        let name = match given.first() {
            None => "Share 1".to_string(),
            Some((first, _)) => format!("Share {} of {}", given.len() + 1, first.needed()),
        };
        let share = typed_share(&name)?;
        match given.iter().any(|(other, _)| other.set() == share.set() && other.number() == share.number()) {
            true => prompt::tell("this share was given already; another one")?,
            false => given.push((share, name)),
        }
    }
    let (given, names): (Vec<Share>, Vec<String>) = given.into_iter().unzip();
    let key = combine_shares(&given, &names)?;
    TYPED_SHARES.get_or_init(|| (given[0].of(), given[0].needed()));
    Ok(TYPED_KEY.get_or_init(|| key).clone())
}

/// A mistyped line is asked for again at once.
fn typed_share(name: &str) -> Outcome<Share> {
    let mut typed = TypedShare::default();
    loop {
        let of = typed.lines_of().map(|lines| format!(" of {lines}")).unwrap_or_default();
        let text = prompt::secret(&format!("{name}, line {}{of}", typed.lines() + 1))?;
        if let Err(e) = typed.line(&text) {
            prompt::tell(&format!("{e}; once more"))?;
        }
        if let Some(share) = typed.share() {
            return share
                .map_err(|e| Failure::new(Exit::WrongPassword, "what was typed is not a share").because(e));
        }
    }
}

fn recovery_key(path: Option<&Path>) -> Outcome<Credential> {
    if let Some(path) = path {
        refuse_key_itself(path)?;
        return read_key(path).map(Credential::Random);
    }
    if let Some(key) = TYPED_KEY.get() {
        return Ok(Credential::Random(key.clone()));
    }
    if !prompt::is_possible() {
        let hint = "lifeboat --recovery-key=FILE ...";
        return Err(Failure::usage("there is no terminal to ask for the recovery key").hint(hint));
    }
    let mut tries = 1;
    loop {
        let text = prompt::secret("Recovery key")?;
        match words::decode_any(&text) {
            Ok(key) => return Ok(Credential::Random(TYPED_KEY.get_or_init(|| key).clone())),
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
