//! This machine's own files, written so that a reader sees all or nothing and others see nothing.

use crate::failure::{Outcome, local};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

/// Makes a folder only its owner may enter.
pub fn create_private(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Writes a new file only its owner may read, durably; an existing one is an error.
pub fn write_secret(path: &Path, contents: &[u8]) -> Outcome<()> {
    let write = || {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            create_private(folder)?;
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(contents)?;
        file.sync_all()?;
        sync_folder_of(path)
    };
    write().map_err(|e| {
        let is_there = e.kind() == io::ErrorKind::AlreadyExists;
        let failure = local(format!("cannot write {}", path.display()), e);
        if is_there {
            failure.hint("choose another name, or move what is there away: it may be needed")
        } else {
            failure
        }
    })
}

/// Replaces a file so that a reader sees all or nothing.
pub fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    create_private(folder)?;
    // What cannot be cleared away costs a few bytes, and must not stop anybody.
    clear_partial(folder).ok();
    let partial = path.with_extension(format!("{}.tmp", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(contents)?;
    file.sync_all()?;
    std::fs::rename(&partial, path)
}

/// Removes what runs that were killed between writing and naming left behind a day ago.
fn clear_partial(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let is_partial = entry.path().extension().is_some_and(|ending| ending == "tmp");
        let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
        if is_partial && age > Duration::from_secs(24 * 3600) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn what_a_killed_run_left_a_day_ago_is_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("state.1.tmp"), folder.path().join("state.2.tmp"));
        for path in [&old, &new] {
            std::fs::write(path, "half").unwrap();
        }
        let long_ago = SystemTime::now() - Duration::from_secs(25 * 3600);
        File::options().write(true).open(&old).unwrap().set_modified(long_ago).unwrap();
        replace(&folder.path().join("state"), b"whole").unwrap();
        assert!(!old.exists());
        assert!(new.exists(), "its run may be about to name it");
        assert_eq!(std::fs::read(folder.path().join("state")).unwrap(), b"whole");
    }
}
