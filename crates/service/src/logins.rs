//! Who keeps the login of a drive: this installation's own file, or whatever the environment names.

use crate::folders::Folders;
use std::path::PathBuf;
use std::sync::Arc;
use storage::DriveLocation;
use storage::oauth::{CommandLogin, FileLogin, KeepLogin};

/// The file of this installation for the login of this name (`gdrive`, `dropbox-work`).
pub fn path(folders: &Folders, login_name: &str) -> PathBuf {
    folders.configuration.join("logins").join(format!("{login_name}.json"))
}

/// A command of the shell, as words.
pub fn shell(command: &str) -> Vec<String> {
    ["sh", "-c", command].map(str::to_string).to_vec()
}

/// Finds the login of a drive. `variable` looks up `LIFEBOAT_GDRIVE_LOGIN_FILE`, `_LOGIN_COMMAND` (prints it)
/// and `_LOGIN_KEEP_COMMAND` (takes a renewed one), with the name of the service.
pub fn find(
    folders: &Folders,
    variable: &dyn Fn(&str) -> Option<String>,
    drive: &DriveLocation,
) -> Option<Arc<dyn KeepLogin>> {
    let named =
        |what: &str| variable(&format!("LIFEBOAT_{}_{what}", drive.service.scheme().to_ascii_uppercase()));
    if let Some(file) = named("LOGIN_FILE") {
        return Some(Arc::new(FileLogin(file.into())));
    }
    if let Some(command) = named("LOGIN_COMMAND") {
        let keep = named("LOGIN_KEEP_COMMAND").map(|command| shell(&command));
        return Some(Arc::new(CommandLogin { read: shell(&command), keep }));
    }
    let own = path(folders, &drive.login_name());
    own.exists().then(|| -> Arc<dyn KeepLogin> { Arc::new(FileLogin(own)) })
}
