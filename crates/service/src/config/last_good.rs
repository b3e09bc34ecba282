//! The configuration as it could last be used, kept in the state folder: a mistake in the file must neither end what
//! runs by itself nor silence who would tell of it.
//!
//! Promises: only its owner can read what is kept, and it is whole or not there. It is the text of the files as they
//! were, the parts of `conf.d` beside the main one, and is kept of one configuration at a time.

use super::Loaded;
use super::load::FILE_NAME;
use crate::durable;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Its folder, below the state.
const FOLDER: &str = "last-good";
/// Where it is written down of which file it is.
const ORIGIN: &str = "of";

/// The last configuration that could be used.
pub struct LastGood {
    folder: PathBuf,
}

impl LastGood {
    /// The one of a state folder.
    pub fn of(state: &Path) -> LastGood {
        LastGood { folder: state.join(FOLDER) }
    }

    /// Keeps a configuration; returns its main file, which is read like any other.
    ///
    /// # Errors
    /// What the system says.
    pub fn keep(&self, loaded: &Loaded) -> io::Result<PathBuf> {
        let main = self.folder.join(FILE_NAME);
        if loaded.path().starts_with(&self.folder) || self.is_kept(loaded) {
            return Ok(main);
        }
        let new = self.folder.with_extension("new");
        remove(&new)?;
        for (name, text) in self.files(loaded) {
            durable::replace(&new.join(name), text.as_bytes())?;
        }
        remove(&self.folder)?;
        fs::rename(&new, &self.folder)?;
        Ok(main)
    }

    /// The main file of what was kept of this configuration.
    pub fn of_file(&self, path: &Path) -> Option<PathBuf> {
        let origin = fs::read_to_string(self.folder.join(ORIGIN)).ok()?;
        (origin == origin_of(path)).then(|| self.folder.join(FILE_NAME))
    }

    fn is_kept(&self, loaded: &Loaded) -> bool {
        let files = self.files(loaded);
        let is_same = |(name, text): &(PathBuf, String)| {
            fs::read_to_string(self.folder.join(name)).is_ok_and(|t| t == *text)
        };
        let parts = fs::read_dir(self.folder.join("conf.d")).map_or(0, Iterator::count);
        files.len() == parts + 2 && files.iter().all(is_same)
    }

    /// What is kept: names below the folder, and texts.
    fn files(&self, loaded: &Loaded) -> Vec<(PathBuf, String)> {
        let mut files = vec![(PathBuf::from(ORIGIN), origin_of(loaded.path()))];
        for (at, file) in loaded.files.iter().enumerate() {
            let name = match at {
                0 => PathBuf::from(FILE_NAME),
                _ => Path::new("conf.d").join(file.path.file_name().unwrap_or_default()),
            };
            files.push((name, file.text.clone()));
        }
        files
    }
}

fn origin_of(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()).to_string_lossy().into_owned()
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Environment;
    use crate::folders::Folders;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_was_good_is_kept_whole_and_private_and_is_of_one_file() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("lifeboat.toml");
        let part = root.path().join("conf.d/a.toml");
        fs::create_dir(root.path().join("conf.d")).unwrap();
        fs::write(&file, "[repositories.main]\nurl = \"/backup\"\n").unwrap();
        fs::write(&part, "[repositories.other]\nurl = \"/other\"\n").unwrap();
        let folders = Folders::of(&Environment::empty());
        let read = |path: &Path| crate::config::load(path, &folders).ok().and_then(Result::ok).unwrap();
        let good = LastGood::of(&root.path().join("state"));
        assert_eq!(good.of_file(&file), None);
        let kept = good.keep(&read(&file)).unwrap();
        fs::write(&file, "broken").unwrap();
        assert_eq!(good.of_file(&file), Some(kept.clone()));
        assert_eq!(read(&kept).config.repositories.len(), 2);
        assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(kept.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(good.of_file(&root.path().join("other.toml")), None);
        fs::write(&file, "[repositories.main]\nurl = \"/backup\"\n").unwrap();
        fs::remove_file(&part).unwrap();
        good.keep(&read(&file)).unwrap();
        assert_eq!(read(&kept).config.repositories.len(), 1);
    }
}
