//! What a user unlocks with: passwords and keys in files, and passwords that commands print.
//!
//! A key file is one line, `lifeboat-key-1 TEXT`, readable by its owner.

use crate::display::shell_word;
use crate::durable;
use crate::failure::{Exit, Failure, Outcome, local};
use crate::folders::Folders;
use crate::kit;
use format::id::RepoId;
use format::keys::Key;
use format::shares::{self, CombineError, Share};
use format::{textkey, words};
use repo::Credential;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use zeroize::Zeroizing;

const KEY_FILE_WORD: &str = "lifeboat-key-1";
/// Larger files are no secrets of ours.
const SECRET_FILE_BYTES_MAX: u64 = 64 << 10;

/// Where this machine keeps its own key of a repository.
pub fn machine_key_path(folders: &Folders, repo: &RepoId) -> PathBuf {
    folders.configuration.join("keys").join(format!("{}.key", repo.hex()))
}

/// The key this machine made for a repository, if it has one.
pub fn machine_key(folders: &Folders, repo: &RepoId) -> Outcome<Option<Credential>> {
    let of_system = folders.system_configuration.join("keys").join(format!("{}.key", repo.hex()));
    let mut paths = [machine_key_path(folders, repo), of_system].into_iter();
    match paths.find(|path| path.exists()) {
        Some(path) => read_key(&path).map(|key| Some(Credential::Random(key))),
        None => Ok(None),
    }
}

/// A password as it is stretched.
pub fn password_of(text: Zeroizing<String>) -> Credential {
    Credential::Password(Zeroizing::new(text.as_bytes().to_vec()))
}

/// What somebody typed who was asked for what unlocks: a recovery key is one by its own check, all else a password.
pub fn typed(text: Zeroizing<String>) -> Credential {
    match words::decode_any(&text) {
        Ok(key) => Credential::Random(key),
        Err(_) => password_of(text),
    }
}

/// What somebody is told whose password opened nothing; a mistyped recovery key is told from one.
pub fn not_it(text: &str) -> String {
    let parts = text.split(|c: char| c.is_whitespace() || c == '-').filter(|part| part.len() >= 3).count();
    match words::decode_any(text) {
        Ok(_) => "this recovery key does not open it".into(),
        Err(e) if parts >= 8 => format!("that is neither the password nor a recovery key: {e}"),
        Err(_) => "that is not the password".into(),
    }
}

/// The text of a file that may hold a secret.
pub fn read_secret_file(path: &Path) -> Outcome<Zeroizing<String>> {
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
pub fn password_from_file(path: &Path) -> Outcome<Credential> {
    let line = first_line(&read_secret_file(path)?);
    match line.is_empty() {
        true => Err(Failure::usage(format!("the first line of {} is empty", path.display()))),
        false => Ok(password_of(line)),
    }
}

/// The password in the first line of what a command of the shell prints.
pub fn password_from_command(command: &str) -> Outcome<Credential> {
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
        return Err(Failure::new(Exit::Failed, "the password command gave no password")
            .because(how)
            .hint(format!("see what it prints: sh -c {}", crate::display::shell_word(command))));
    }
    Ok(password_of(line))
}

/// The key in a key file, or in the file of a recovery key (as groups or words; comments begin with `#`), or in
/// the file of a kit.
pub fn read_key(path: &Path) -> Outcome<Key> {
    let text = read_secret_file(path)?;
    if let Some(key) = kit::read(&text).and_then(|kit| kit.key) {
        return Ok(key);
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let key =
        lines.map(|line| line.strip_prefix(KEY_FILE_WORD).unwrap_or(line)).collect::<Vec<_>>().join(" ");
    let key = Zeroizing::new(key);
    words::decode_any(&key).map_err(|e| {
        Failure::new(Exit::WrongPassword, format!("{} is not a key file", path.display())).because(e)
    })
}

/// The share in a file: its lines, or the page of its sheet.
pub fn read_share(path: &Path) -> Outcome<Share> {
    let text = read_secret_file(path)?;
    let text = kit::read(&text).and_then(|kit| kit.share).unwrap_or(text);
    Share::from_text(&text).map_err(|e| {
        Failure::new(Exit::WrongPassword, format!("{} is not a share", path.display())).because(e)
    })
}

/// The key of shares in files. What is wrong is named by its file.
pub fn key_of_shares(files: &[PathBuf]) -> Outcome<Key> {
    let given: Vec<Share> = files.iter().map(|path| read_share(path)).collect::<Outcome<_>>()?;
    let names: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
    combine_shares(&given, &names)
}

/// The key of shares. What is wrong is named by the name of the share in the same place.
pub fn combine_shares(given: &[Share], names: &[String]) -> Outcome<Key> {
    let named = |places: &[usize]| places.iter().map(|i| names[*i].as_str()).collect::<Vec<_>>().join(", ");
    shares::combine(given).map_err(|e| {
        let what = match &e {
            CombineError::Foreign(places) => format!("not of the same set as the others: {}", named(places)),
            CombineError::Wrong(places) => format!("a wrong share: {}", named(places)),
            _ => "these shares do not make a key".to_string(),
        };
        let failure = Failure::new(Exit::WrongPassword, what).because(e.clone());
        match e {
            CombineError::TooFew { needed, .. } => failure.hint(format!(
                "give {needed} of them, each with --recovery-share FILE, or type them: --recovery-share -"
            )),
            _ => failure,
        }
    })
}

/// Writes a new key file.
pub fn write_key_file(path: &Path, key: &Key) -> Outcome<()> {
    let digits = Zeroizing::new(textkey::encode(key).replace('-', ""));
    let text = Zeroizing::new(format!("{KEY_FILE_WORD} {}\n", *digits));
    durable::write_secret(path, text.as_bytes())
}

/// Writes a new file with the recovery key of the repository at `place`.
pub fn write_recovery_file(path: &Path, key: &Key, place: &str) -> Outcome<()> {
    let text = Zeroizing::new(format!(
        "# Recovery key of the lifeboat repository at {place}\n\
         # It opens the repository without a password. Print it, then delete this file.\n{}\n",
        *textkey::encode(key)
    ));
    durable::write_secret(path, text.as_bytes())
}

/// What to say when there is nothing to unlock with.
pub fn nothing_given(place: &str) -> Failure {
    let hint = format!("lifeboat -r {} --password-file FILE ... (or --key-file FILE)", shell_word(place));
    Failure::new(Exit::WrongPassword, format!("no password or key for {place}, and no terminal to ask at"))
        .hint(hint)
}
