//! Where logins are kept: a file that only its owner may read, or a command such as a password manager.

use super::{LOGIN_BYTES_MAX, Login};
use crate::{ErrorKind, StoreError, StoreResult};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use zeroize::Zeroizing;

/// A place that keeps one login.
pub trait KeepLogin: Send + Sync {
    /// Reads it.
    fn read(&self) -> StoreResult<Login>;
    /// Keeps another one in its stead: the first one, or one with a token that the service has renewed.
    fn keep(&self, login: &Login) -> StoreResult<()>;
    /// The place in words.
    fn shown(&self) -> String;
}

/// A file with mode 0600.
#[derive(Clone, Debug)]
pub struct FileLogin(
    /// Where it is.
    pub PathBuf,
);

impl FileLogin {
    fn read_bytes(&self) -> std::io::Result<Option<Zeroizing<Vec<u8>>>> {
        let file = File::open(&self.0)?;
        let about = file.metadata()?;
        if about.mode() & 0o077 != 0 {
            return Ok(None);
        }
        let mut bytes = Zeroizing::new(Vec::new());
        file.take(LOGIN_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn write_bytes(&self, bytes: &[u8]) -> std::io::Result<()> {
        if let Some(folder) = self.0.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        // A name of its own for each process: two that renew at once must not tear each other's file.
        let partial = self.0.with_extension(format!("{}.tmp", std::process::id()));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&partial, &self.0)
    }
}

impl KeepLogin for FileLogin {
    fn read(&self) -> StoreResult<Login> {
        let wrong = || StoreError::new(ErrorKind::Config, format!("read the login in {}", self.0.display()));
        let bytes = self.read_bytes().map_err(|error| wrong().because(error))?;
        let open_to_others = || {
            let why = format!("others may read it; close it with: chmod 600 {}", self.0.display());
            wrong().because(why)
        };
        Login::decode(&bytes.ok_or_else(open_to_others)?).map_err(|error| wrong().because(error))
    }

    fn keep(&self, login: &Login) -> StoreResult<()> {
        self.write_bytes(&Zeroizing::new(login.encode())).map_err(|error| {
            StoreError::new(ErrorKind::Config, format!("keep the login in {}", self.0.display()))
                .because(error)
        })
    }

    fn shown(&self) -> String {
        self.0.display().to_string()
    }
}

/// Commands that print a login and take a new one on their standard input.
#[derive(Clone, Debug)]
pub struct CommandLogin {
    /// Prints the login.
    pub read: Vec<String>,
    /// Takes one; without it a renewed token is used, but not kept.
    pub keep: Option<Vec<String>>,
}

fn command(words: &[String]) -> StoreResult<Command> {
    let Some((program, arguments)) = words.split_first() else {
        return Err(StoreError::new(ErrorKind::Config, "run the command for a login").because("it is empty"));
    };
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(command)
}

impl KeepLogin for CommandLogin {
    fn read(&self) -> StoreResult<Login> {
        let wrong = || StoreError::new(ErrorKind::Config, format!("read the login from {}", self.shown()));
        let mut child = command(&self.read)?
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| wrong().because(error))?;
        let mut bytes = Zeroizing::new(Vec::new());
        let printed = child.stdout.take().expect("its output was asked for");
        let read = printed.take(LOGIN_BYTES_MAX as u64 + 1).read_to_end(&mut bytes);
        let status = child.wait().map_err(|error| wrong().because(error))?;
        read.map_err(|error| wrong().because(error))?;
        if !status.success() {
            return Err(wrong().because(format!("it ended with {status}")));
        }
        Login::decode(&bytes).map_err(|error| wrong().because(error))
    }

    fn keep(&self, login: &Login) -> StoreResult<()> {
        let Some(words) = &self.keep else { return Ok(()) };
        let wrong = || StoreError::new(ErrorKind::Config, format!("hand the login to {}", words[0]));
        let mut child = command(words)?
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| wrong().because(error))?;
        let mut input = child.stdin.take().expect("its input was asked for");
        let written = input.write_all(&Zeroizing::new(login.encode()));
        drop(input);
        let status = child.wait().map_err(|error| wrong().because(error))?;
        written.map_err(|error| wrong().because(error))?;
        match status.success() {
            true => Ok(()),
            false => Err(wrong().because(format!("it ended with {status}"))),
        }
    }

    fn shown(&self) -> String {
        format!("the command {}", self.read.first().map_or("", String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn login() -> Login {
        Login {
            version: 1,
            service: "dropbox".into(),
            client_id: "id".into(),
            client_secret: None,
            token_url: "https://a/token".into(),
            refresh_token: "r".into(),
        }
    }

    #[test]
    fn a_file_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = FileLogin(folder.path().join("logins/dropbox.json"));
        assert_eq!(file.read().unwrap_err().kind(), ErrorKind::Config);
        file.keep(&login()).unwrap();
        file.keep(&login()).unwrap();
        assert_eq!(file.0.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(file.read().unwrap(), login());
        std::fs::set_permissions(&file.0, PermissionsExt::from_mode(0o640)).unwrap();
        let refused = file.read().unwrap_err();
        assert!(format!("{refused:?}").contains("chmod 600"), "{refused:?}");
    }

    #[test]
    fn commands_print_and_take_a_login() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept").display().to_string();
        let words = |script: &str| vec!["sh".to_owned(), "-c".to_owned(), script.to_owned(), path.clone()];
        let both = CommandLogin { read: words("cat \"$0\""), keep: Some(words("cat > \"$0\"")) };
        assert_eq!(both.read().unwrap_err().kind(), ErrorKind::Config);
        both.keep(&login()).unwrap();
        assert_eq!(both.read().unwrap(), login());
        let failing = CommandLogin { read: words("cat \"$0\"; exit 3"), keep: Some(words("exit 4")) };
        assert!(failing.read().is_err() && failing.keep(&login()).is_err());
        let endless = CommandLogin { read: words("cat /dev/zero"), keep: None };
        assert!(endless.read().is_err());
    }
}
