//! Finds secrets where the configuration says they are.
//!
//! A secret is read when it is used and wiped afterwards; it is never an argument of a program and never in
//! an error. Of what a file or a command gives the first line counts.

use crate::config::Secret;
use crate::environment::Environment;
use crate::failure::{Exit, Failure, Outcome, local};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use zeroize::Zeroizing;

/// No secret of ours is longer.
const SECRET_BYTES_MAX: u64 = 64 << 10;
/// Where systemd keeps credentials that services ask for by name.
const CREDENTIAL_STORES: [&str; 2] = ["/run/credstore", "/etc/credstore"];

/// Finds a secret. `what` says whose it is, for the error.
pub fn find(
    secret: &Secret,
    what: &str,
    environment: &Environment,
    home: &Path,
) -> Outcome<Zeroizing<String>> {
    let found = match secret {
        Secret::Literal(text) => Ok(text.clone()),
        Secret::Env(name) => environment
            .variable(name)
            .map(Zeroizing::new)
            .ok_or_else(|| Failure::new(Exit::WrongPassword, format!("the variable {name} is not set"))),
        Secret::File(path) => {
            let path = crate::config::load::full_path(home, &path.to_string_lossy());
            first_line_of_file(&path)
        }
        Secret::Credential(name) => credential(name, environment).and_then(|path| first_line_of_file(&path)),
        Secret::Command(words) => first_line_of_command(words),
        Secret::Keyring(attributes) => keyring(attributes),
        Secret::Missing => Err(Failure::new(Exit::WrongPassword, "it was not stored with the configuration")
            .hint("write in the configuration where it is now: lifeboat config edit")),
    };
    found.map_err(|failure| failure.during(format!("cannot find {what}")))
}

fn credential(name: &str, environment: &Environment) -> Outcome<PathBuf> {
    if Path::new(name).file_name() != Some(OsStr::new(name)) {
        return Err(Failure::usage(format!("{name:?} is not the name of a credential")));
    }
    let handed_over = environment.path("CREDENTIALS_DIRECTORY").map(|folder| folder.join(name));
    let stores = CREDENTIAL_STORES.iter().map(|folder| Path::new(folder).join(name));
    let mut paths = handed_over.into_iter().chain(stores);
    paths.find(|path| path.exists()).ok_or_else(|| {
        Failure::new(Exit::WrongPassword, format!("systemd handed over no credential {name:?}")).hint(
            format!(
                "write LoadCredential={name}:FILE into the unit, or the secret into /etc/credstore/{name}"
            ),
        )
    })
}

fn first_line(text: &str, nothing: impl FnOnce() -> String) -> Outcome<Zeroizing<String>> {
    match text.lines().next().unwrap_or_default() {
        "" => Err(Failure::new(Exit::WrongPassword, nothing())),
        line => Ok(Zeroizing::new(line.to_string())),
    }
}

fn first_line_of_file(path: &Path) -> Outcome<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    let read = File::open(path).and_then(|file| file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text));
    let length = read.map_err(|e| local(format!("cannot read {}", path.display()), e))?;
    if length as u64 > SECRET_BYTES_MAX {
        return Err(Failure::usage(format!("{} is too long to be a secret", path.display())));
    }
    first_line(&text, || format!("the first line of {} is empty", path.display()))
}

/// Its questions and complaints go where ours go; its output comes to us alone.
fn first_line_of_command(words: &[String]) -> Outcome<Zeroizing<String>> {
    let (program, arguments) = words.split_first().expect("the configuration names a program");
    let mut child = Command::new(program)
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|e| local(format!("cannot run {program}"), e))?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
    let pipe = child.stdout.take().expect("the output is a pipe");
    let read = pipe.take(SECRET_BYTES_MAX).read_to_end(&mut bytes);
    let status = child.wait().map_err(|e| local(format!("cannot wait for {program}"), e))?;
    read.map_err(|e| local(format!("cannot read what {program} prints"), e))?;
    if !status.success() {
        return Err(
            Failure::new(Exit::WrongPassword, format!("{program} failed")).because(status.to_string())
        );
    }
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| Failure::new(Exit::WrongPassword, format!("{program} printed what is not text")))?;
    first_line(text, || format!("{program} printed nothing"))
}

/// The keyring of the desktop is asked through its own program: the libraries for it bring a message bus
/// with all that belongs to it.
fn keyring(attributes: &[(String, String)]) -> Outcome<Zeroizing<String>> {
    let mut words = vec!["secret-tool".to_string(), "lookup".to_string()];
    words.extend(attributes.iter().flat_map(|(name, value)| [name.clone(), value.clone()]));
    first_line_of_command(&words)
        .map_err(|failure| failure.hint("store it with: secret-tool store --label=lifeboat ATTRIBUTE VALUE"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(secret: Secret, variables: &'static [(&str, &str)], folder: &Path) -> Result<String, String> {
        let folder = folder.to_path_buf();
        let environment = Environment::new(move |name| match name {
            "CREDENTIALS_DIRECTORY" => Some(folder.clone().into_os_string()),
            _ => variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into()),
        });
        let found = find(&secret, "the password of x", &environment, Path::new("/home/me"));
        found.map(|text| text.to_string()).map_err(|failure| failure.in_one_line())
    }

    fn command(words: &[&str]) -> Secret {
        Secret::Command(words.iter().map(|word| word.to_string()).collect())
    }

    #[test]
    fn secrets_are_found_where_the_configuration_says() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        std::fs::write(at.join("nas"), "geheim\nsecond line\n").unwrap();
        let get = |secret| found(secret, &[("WHERE", "here")], at).unwrap();
        assert_eq!(get(Secret::File(at.join("nas"))), "geheim");
        assert_eq!(get(Secret::Credential("nas".into())), "geheim");
        assert_eq!(get(Secret::Env("WHERE".into())), "here");
        assert_eq!(get(command(&["printf", "a b\\nc"])), "a b");
    }

    #[test]
    fn what_is_not_there_is_told_without_the_secret() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        std::fs::write(at.join("empty"), "\n").unwrap();
        std::fs::write(at.join("long"), "x".repeat(70_000)).unwrap();
        let fails = |secret, part: &str| {
            let text = found(secret, &[], at).unwrap_err();
            assert!(text.starts_with("cannot find the password of x: ") && text.contains(part), "{text}");
        };
        fails(Secret::File(at.join("gone")), "cannot read");
        fails(Secret::File(at.join("empty")), "is empty");
        fails(Secret::File(at.join("long")), "too long");
        fails(Secret::Env("NOT_SET".into()), "is not set");
        fails(Secret::Credential("other".into()), "LoadCredential=other:FILE");
        fails(Secret::Credential("../nas".into()), "is not the name of a credential");
        fails(command(&["sh", "-c", "echo half; exit 3"]), "failed");
        fails(command(&["true"]), "printed nothing");
        fails(command(&["/does/not/exist"]), "cannot run");
        fails(Secret::Missing, "was not stored with the configuration");
    }
}
