//! From files to a [`Config`]: find, read, join, bring up to date, compare with the schema, and check that
//! everything it names is there.

use super::document::{self, Node};
use super::problem::{At, Grade, Problem, SourceFile};
use super::versions::bring_up_to_date;
use super::{Config, references, schema, walk};
use crate::environment::Environment;
use crate::failure::{Exit, Failure, Outcome, local};
use crate::folders::Folders;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Bytes of all files together at most.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Files in `conf.d` at most.
const FILES_MAX: usize = 256;
/// The name of the file.
pub const FILE_NAME: &str = "lifeboat.toml";

/// A configuration that can be used.
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// Where each value is written.
    pub document: Node,
    /// The files it was read from, the main one first.
    pub files: Vec<SourceFile>,
    /// Where paths begin that start with `~`.
    pub home: PathBuf,
}

/// A configuration that cannot be used.
pub struct Broken {
    /// The files it was read from, the main one first.
    pub files: Vec<SourceFile>,
    /// What is wrong; at least one.
    pub problems: Vec<Problem>,
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        let path = broken.files[0].path.display();
        let what = format!("cannot use the configuration {path}");
        let lines = broken.problems.iter().flat_map(|problem| problem.lines(&broken.files));
        let lines: Vec<String> = lines.collect();
        Failure::new(Exit::Usage, what).because(lines.join("\n"))
    }
}

/// The configuration file: the one that is named, or the first that exists of those where one may be.
pub fn find(named: Option<&Path>, environment: &Environment, folders: &Folders) -> Option<PathBuf> {
    let named = named.map(Path::to_path_buf).or_else(|| environment.path("LIFEBOAT_CONFIG"));
    named.or_else(|| candidates(folders).into_iter().find(|path| path.exists()))
}

/// Where a configuration file may be, in the order of looking.
pub fn candidates(folders: &Folders) -> Vec<PathBuf> {
    let mut paths = vec![folders.configuration.join(FILE_NAME), folders.system_configuration.join(FILE_NAME)];
    paths.dedup();
    paths
}

/// Reads a configuration file and what lies in `conf.d` beside it.
///
/// # Errors
/// The outer one for files that cannot be read, the inner one for what they say.
pub fn load(path: &Path, folders: &Folders) -> Outcome<Result<Loaded, Broken>> {
    load_edited(path, path, folders)
}

/// Reads a configuration whose main file is about to become what another file, `text`, holds.
pub fn load_edited(path: &Path, text: &Path, folders: &Folders) -> Outcome<Result<Loaded, Broken>> {
    let mut files = vec![SourceFile { path: path.to_path_buf(), ..read(text)? }];
    for part in parts(path)? {
        files.push(read(&part)?);
    }
    Ok(understand(files, &folders.home))
}

/// The files of `conf.d`, in the order of their names.
fn parts(path: &Path) -> Outcome<Vec<PathBuf>> {
    let folder = path.parent().unwrap_or(Path::new(".")).join("conf.d");
    let entries = match std::fs::read_dir(&folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|e| local(format!("cannot list {}", folder.display()), e))?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| local(format!("cannot list {}", folder.display()), e))?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.extension().is_some_and(|ending| ending == "toml") && !hidden {
            paths.push(path);
        }
    }
    if paths.len() > FILES_MAX {
        return Err(Failure::usage(format!("{} holds more than {FILES_MAX} files", folder.display())));
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Outcome<SourceFile> {
    let cannot = |e: std::io::Error| {
        let what = format!("cannot read the configuration {}", path.display());
        match e.kind() {
            // What is named wrongly, or is no text, is a mistake of who asks.
            ErrorKind::NotFound | ErrorKind::IsADirectory | ErrorKind::InvalidData => {
                Failure::new(Exit::Usage, what).because(e)
            }
            _ => local(what, e),
        }
    };
    let mut text = String::new();
    let length = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text));
    if length.map_err(cannot)? as u64 > FILE_BYTES_MAX {
        return Err(Failure::usage(format!("{} is too long to be a configuration", path.display())));
    }
    Ok(SourceFile { path: path.to_path_buf(), text })
}

/// Understands texts as one configuration. Pure; the fuzzer comes in here.
pub fn understand(files: Vec<SourceFile>, home: &Path) -> Result<Loaded, Broken> {
    let mut document = Node::empty();
    let mut problems = Vec::new();
    for (at, file) in files.iter().enumerate() {
        match document::parse(at, &file.text) {
            Ok(part) => document.merge(part, "", &mut problems, &files),
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() {
        problems.extend(bring_up_to_date(&mut document));
    }
    if !problems.is_empty() {
        return Err(Broken { files, problems });
    }
    let problems = walk::compare(&document, schema());
    if !problems.is_empty() {
        return Err(Broken { files, problems });
    }
    let config: Config = match serde_json::from_value(document.value()) {
        Ok(config) => config,
        Err(e) => {
            // What the schema lets pass and the types do not is a mistake of ours; it is told all the same.
            let problem = Problem { at: None, ..Problem::error(At { file: 0, span: 0..0 }, e.to_string()) };
            return Err(Broken { files, problems: vec![problem] });
        }
    };
    let problems = references::check(&config, &document);
    if problems.iter().any(|problem| problem.grade == Grade::Error) {
        return Err(Broken { files, problems });
    }
    Ok(Loaded { config, document, files, home: home.to_path_buf() })
}

impl Loaded {
    /// The main file.
    pub fn path(&self) -> &Path {
        &self.files[0].path
    }

    /// A path as the file names it: `~` is the home folder.
    pub fn full_path(&self, written: &str) -> PathBuf {
        full_path(&self.home, written)
    }
}

/// A path as a configuration names it: `~` is the home folder.
pub fn full_path(home: &Path, written: &str) -> PathBuf {
    match written.strip_prefix('~') {
        Some("") => home.to_path_buf(),
        Some(rest) if rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
        _ => PathBuf::from(written),
    }
}
