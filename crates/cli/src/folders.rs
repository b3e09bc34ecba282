//! Where this machine's own files lie: cache, configuration and state.
//!
//! The only place, with `credentials`, that reads the environment. Follows the XDG folders; the cache and
//! the state may vanish at any time without harm, the keys in the configuration folder may not.

use crate::error::{Outcome, local};
use std::env;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A variable of the environment; empty ones count as absent, ones that are not UTF-8 too.
pub(crate) fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// A path from the environment.
pub(crate) fn path_variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The user's home folder.
pub(crate) fn home() -> PathBuf {
    path_variable("HOME").unwrap_or_else(|| PathBuf::from("/"))
}

fn xdg(variable: &str, below_home: &str) -> PathBuf {
    let base = path_variable(variable).filter(|path| path.is_absolute());
    base.unwrap_or_else(|| home().join(below_home)).join("lifeboat")
}

/// What saves time and nothing else.
pub(crate) fn cache() -> PathBuf {
    xdg("XDG_CACHE_HOME", ".cache")
}

/// Key files and remembered servers.
pub(crate) fn configuration() -> PathBuf {
    xdg("XDG_CONFIG_HOME", ".config")
}

/// What this installation knows about itself.
pub(crate) fn state() -> PathBuf {
    xdg("XDG_STATE_HOME", ".local/state")
}

/// Makes a folder only its owner may enter.
pub(crate) fn create_private(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Writes a new file only its owner may read, durably; an existing one is an error.
pub(crate) fn write_secret(path: &Path, contents: &[u8]) -> Outcome<()> {
    let write = || {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            create_private(folder)?;
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(contents)?;
        file.sync_all()?;
        sync_folder_of(path)
    };
    write().map_err(|e| local(format!("cannot write {}", path.display()), e))
}

/// Replaces a file so that a reader sees all or nothing.
pub(crate) fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    create_private(folder)?;
    let partial = path.with_extension(format!("{}.tmp", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(contents)?;
    file.sync_all()?;
    std::fs::rename(&partial, path)
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}
