//! What a user unlocks with: from options, the environment, key files, or asked for.
//!
//! Options beat the environment; both beat the key file that this machine made for the repository; asking
//! comes last and only at a terminal. A key file is one line, `lifeboat-key-1 TEXT`, readable by its owner.

use crate::arguments::Global;
use crate::display::shell_word;
use crate::error::{Exit, Failure, Outcome, local};
use crate::folders::{self, path_variable, variable};
use crate::prompt;
use format::id::RepoId;
use format::keys::Key;
use format::textkey;
use repo::Credential;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use zeroize::Zeroizing;

const KEY_FILE_WORD: &str = "lifeboat-key-1";
/// Larger files are no secrets of ours.
const SECRET_FILE_BYTES_MAX: u64 = 64 << 10;

/// The credential that options or environment name; options first.
pub(crate) fn given(global: &Global) -> Outcome<Option<Credential>> {
    if let Some(path) = &global.key_file {
        return read_key(path).map(|key| Some(Credential::Random(key)));
    }
    if let Some(path) = &global.recovery_key {
        return recovery_key(path.as_deref()).map(Some);
    }
    if let Some(path) = &global.password_file {
        return password_from_file(path).map(Some);
    }
    if let Some(command) = &global.password_command {
        return password_from_command(command).map(Some);
    }
    from_environment()
}

fn from_environment() -> Outcome<Option<Credential>> {
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
    let others =
        global.recovery_key.is_some() || global.password_file.is_some() || global.password_command.is_some();
    named.or_else(|| path_variable("LIFEBOAT_KEY_FILE").filter(|_| !others)).filter(|path| !path.exists())
}

/// Where this machine keeps its own key of a repository.
pub(crate) fn machine_key_path(repo: &RepoId) -> PathBuf {
    folders::configuration().join("keys").join(format!("{}.key", repo.hex()))
}

/// The key this machine made for a repository, if it has one.
pub(crate) fn machine_key(repo: &RepoId) -> Outcome<Option<Credential>> {
    let path = machine_key_path(repo);
    if !path.exists() {
        return Ok(None);
    }
    read_key(&path).map(|key| Some(Credential::Random(key)))
}

/// A password as it is stretched.
pub(crate) fn password_of(text: Zeroizing<String>) -> Credential {
    Credential::Password(Zeroizing::new(text.as_bytes().to_vec()))
}

fn read_secret_file(path: &Path) -> Outcome<Zeroizing<String>> {
    let failed = |e| local(format!("cannot read {}", path.display()), e);
    if fs::metadata(path).map_err(failed)?.len() > SECRET_FILE_BYTES_MAX {
        return Err(Failure::usage(format!("{} is too long to be a key or a password", path.display())));
    }
    fs::read_to_string(path).map(Zeroizing::new).map_err(failed)
}

/// The first line of a text.
fn first_line(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.lines().next().unwrap_or_default().to_string())
}

/// The password in the first line of a file.
pub(crate) fn password_from_file(path: &Path) -> Outcome<Credential> {
    let line = first_line(&read_secret_file(path)?);
    match line.is_empty() {
        true => Err(Failure::usage(format!("the first line of {} is empty", path.display()))),
        false => Ok(password_of(line)),
    }
}

fn password_from_command(command: &str) -> Outcome<Credential> {
    let run =
        Command::new("sh").args(["-c", command]).stdout(Stdio::piped()).stderr(Stdio::inherit()).output();
    let output = run.map_err(|e| local("cannot run the password command", e))?;
    let text = Zeroizing::new(String::from_utf8_lossy(&output.stdout).into_owned());
    let line = first_line(&text);
    if !output.status.success() || line.is_empty() {
        let how = match output.status.success() {
            true => "it printed nothing".to_string(),
            false => output.status.to_string(),
        };
        return Err(Failure::new(Exit::Failed, "the password command gave no password").because(how));
    }
    Ok(password_of(line))
}

/// The key in a key file or in the file of a recovery key: comments begin with `#`.
pub(crate) fn read_key(path: &Path) -> Outcome<Key> {
    let text = read_secret_file(path)?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let key =
        lines.map(|line| line.strip_prefix(KEY_FILE_WORD).unwrap_or(line)).collect::<Vec<_>>().join(" ");
    textkey::decode(&key).map_err(|e| {
        Failure::new(Exit::WrongPassword, format!("{} is not a key file", path.display())).because(e)
    })
}

fn recovery_key(path: Option<&Path>) -> Outcome<Credential> {
    if let Some(path) = path {
        return read_key(path).map(Credential::Random);
    }
    if !prompt::is_possible() {
        let hint = "lifeboat --recovery-key=FILE ...";
        return Err(Failure::usage("there is no terminal to ask for the recovery key").hint(hint));
    }
    let text = prompt::secret("Recovery key")?;
    let key = textkey::decode(&text)
        .map_err(|e| Failure::new(Exit::WrongPassword, "this is not a recovery key").because(e))?;
    Ok(Credential::Random(key))
}

/// Writes a new key file.
pub(crate) fn write_key_file(path: &Path, key: &Key) -> Outcome<()> {
    let digits = Zeroizing::new(textkey::encode(key).replace('-', ""));
    let text = Zeroizing::new(format!("{KEY_FILE_WORD} {}\n", *digits));
    folders::write_secret(path, text.as_bytes())
}

/// Writes a new file with the recovery key of the repository at `place`.
pub(crate) fn write_recovery_file(path: &Path, key: &Key, place: &str) -> Outcome<()> {
    let text = Zeroizing::new(format!(
        "# Recovery key of the lifeboat repository at {place}\n\
         # It opens the repository without a password. Print it, then delete this file.\n{}\n",
        *textkey::encode(key)
    ));
    folders::write_secret(path, text.as_bytes())
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

/// What to say when there is nothing to unlock with.
pub(crate) fn nothing_given(place: &str) -> Failure {
    let hint = format!("lifeboat -r {} --password-file FILE ... (or --key-file FILE)", shell_word(place));
    Failure::new(Exit::WrongPassword, format!("no password or key for {place}, and no terminal to ask at"))
        .hint(hint)
}
