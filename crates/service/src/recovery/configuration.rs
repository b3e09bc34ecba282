//! The configuration as the repositories hold it, brought back onto a machine.

use crate::config::load::{self, FILE_NAME, Loaded, understand};
use crate::config::problem::SourceFile;
use crate::config::{Hook, Source};
use crate::durable;
use crate::failure::{Exit, Failure, Outcome, local};
use crate::stored_config;
use format::snapshot::Snapshot;
use repo::reader::Reader;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A configuration as it is stored.
pub struct Stored {
    /// The machine it is of.
    pub machine: String,
    /// The snapshot that holds it.
    pub snapshot: Snapshot,
    /// Its files, by their paths below the configuration's folder.
    pub files: BTreeMap<String, String>,
}

/// What became of the files.
#[derive(Debug, PartialEq, Eq)]
pub enum Written {
    /// They were written here.
    New(Vec<PathBuf>),
    /// They were there already, as they are stored.
    Same(PathBuf),
    /// There is another configuration, which was left alone.
    Other(PathBuf),
}

impl Stored {
    /// Reads a stored configuration.
    pub fn read(reader: &Reader, snapshot: &Snapshot) -> Outcome<Self> {
        let files = stored_config::read(reader, snapshot)?;
        // It comes from whoever may add snapshots: nothing else than a configuration is ever written.
        let fits = |name: &String| match name.strip_prefix("conf.d/") {
            Some(part) => part.ends_with(".toml") && !part.starts_with('.') && !part.contains(['/', '\0']),
            None => name == FILE_NAME,
        };
        match files.keys().find(|name| !fits(name)) {
            Some(name) => Err(Failure::new(Exit::Failed, format!("{name:?} is no file of a configuration"))),
            None if !files.contains_key(FILE_NAME) => {
                Err(Failure::new(Exit::Failed, format!("the stored configuration has no {FILE_NAME}")))
            }
            None => Ok(Stored { machine: snapshot.host.clone(), snapshot: snapshot.clone(), files }),
        }
    }

    fn sources(&self, main: &Path) -> Vec<SourceFile> {
        let at = |name: &str| main.parent().unwrap_or(Path::new(".")).join(name);
        let file = |path: PathBuf, text: &String| SourceFile { path, text: text.clone() };
        let parts = self.files.iter().filter(|(name, _)| *name != FILE_NAME);
        let main = file(main.to_path_buf(), &self.files[FILE_NAME]);
        std::iter::once(main).chain(parts.map(|(name, text)| file(at(name), text))).collect()
    }

    /// Understands it as if it stood in this file.
    ///
    /// # Errors
    /// What this version does not understand of it.
    pub fn understand(&self, main: &Path, home: &Path) -> Result<Loaded, load::Broken> {
        understand(self.sources(main), home)
    }

    /// Writes the files, with `main` as the main one; nothing where another configuration is.
    pub fn write(&self, main: &Path) -> Outcome<Written> {
        let files = self.sources(main);
        let read = |path: &Path| std::fs::read_to_string(path).ok();
        if main.exists() {
            let same = files.iter().all(|file| read(&file.path).as_deref() == Some(&file.text));
            return Ok(match same {
                true => Written::Same(main.to_path_buf()),
                false => Written::Other(main.to_path_buf()),
            });
        }
        let mut written = Vec::new();
        // The main file comes last: where it is, all of it is.
        for file in files.iter().rev() {
            let cannot = |e| local(format!("cannot write {}", file.path.display()), e);
            let folder = file.path.parent().unwrap_or(Path::new("."));
            durable::create_private(folder).map_err(cannot)?;
            if file.path.exists() && read(&file.path).as_deref() != Some(&file.text) {
                return Ok(Written::Other(file.path.clone()));
            }
            durable::replace(&file.path, file.text.as_bytes()).map_err(cannot)?;
            written.push(file.path.clone());
        }
        written.reverse();
        Ok(Written::New(written))
    }
}

/// Commands that a configuration lets run. Whoever brings one back should look at them before a run does.
pub fn commands(loaded: &Loaded) -> Vec<String> {
    let config = &loaded.config;
    let hook = |hook: &Hook| hook.run.join(" ");
    let mut found: Vec<String> = config.hooks.iter().map(hook).collect();
    for source in config.sources.values() {
        if let Source::Command(command) = source {
            found.push(command.command.join(" "));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use format::id::{BlobId, SnapshotId, WriterId};
    use format::kind::Timestamp;
    use format::snapshot::{Completeness, Mode, Stats};
    use format::tree::Root;

    fn stored(files: &[(&str, &str)]) -> Stored {
        let snapshot = Snapshot {
            id: SnapshotId([1; 16]),
            writer: WriterId([7; 16]),
            sequence: 1,
            previous: [0; 32],
            root: Root { level: 0, id: BlobId([0; 24]) },
            time: Timestamp::default(),
            end: Timestamp::default(),
            host: "atlas".into(),
            user: "me".into(),
            sources: vec![],
            tags: vec![],
            mode: Mode::Full,
            base: None,
            parent: None,
            completeness: Completeness::Complete,
            stats: Stats::default(),
            program: String::new(),
            excludes: vec![],
            mounts: vec![],
            description: String::new(),
        };
        let files = files.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect();
        Stored { machine: "atlas".into(), snapshot, files }
    }

    #[test]
    fn a_configuration_is_written_whole_and_never_over_another() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("etc/lifeboat.toml");
        let stored = stored(&[(FILE_NAME, "# main\n"), ("conf.d/a.toml", "[sources.a]\npaths = [\"/a\"]\n")]);
        let loaded = stored.understand(&main, Path::new("/")).map_err(|b| b.problems).unwrap();
        assert!(loaded.config.sources.contains_key("a"));
        let part = folder.path().join("etc/conf.d/a.toml");
        assert_eq!(stored.write(&main).unwrap(), Written::New(vec![main.clone(), part.clone()]));
        assert_eq!(stored.write(&main).unwrap(), Written::Same(main.clone()));
        std::fs::write(&main, "# mine\n").unwrap();
        assert_eq!(stored.write(&main).unwrap(), Written::Other(main.clone()));
        assert_eq!(std::fs::read_to_string(&main).unwrap(), "# mine\n");
        std::fs::remove_file(&main).unwrap();
        std::fs::write(&part, "# mine, too\n").unwrap();
        assert_eq!(stored.write(&main).unwrap(), Written::Other(part));
        assert!(!main.exists(), "half a configuration is none");
    }
}
