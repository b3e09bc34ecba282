//! Lists of sources in files: patterns, plain lines, or names separated by NUL.
//!
//! Promises: a list is taken as a whole or refused; nothing in it is skipped silently. Paths come back as
//! they are written, relative ones still relative. What a line stands for may have gone: then it comes back as it
//! is written, and is a source that is not there, like any other.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::glob::Glob;

/// Why a list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// Two NULs in a row, or one at the beginning: a name is missing.
    #[error("name {0} of the list is empty")]
    EmptyName(usize),
    /// The last name has no NUL after it: the list may have been cut off.
    #[error("the list does not end with a NUL")]
    CutOff,
    /// A name contains a NUL where lines are expected.
    #[error("line {0} of the list contains a NUL")]
    NulInLine(usize),
    /// A pattern stands for nothing.
    #[error("\"{0}\" matches nothing")]
    NoMatch(String),
    /// A folder cannot be searched.
    #[error("cannot search {folder}")]
    Search {
        /// The folder.
        folder: String,
        /// Why.
        source: io::Error,
    },
}

/// Reads a list of patterns, one a line: blank lines and lines that begin with `#` do not count, blanks
/// around a pattern neither. Returns what the patterns stand for, in order; relative ones are looked up from `folder`.
pub fn patterns(contents: &[u8], folder: &Path) -> Result<Vec<PathBuf>, ListError> {
    let mut paths = Vec::new();
    for (i, line) in contents.split(|&byte| byte == b'\n').enumerate() {
        let pattern = line.trim_ascii();
        if pattern.contains(&0) {
            return Err(ListError::NulInLine(i + 1));
        }
        if !pattern.is_empty() && pattern[0] != b'#' {
            match expand(pattern, folder) {
                Err(ListError::NoMatch(_)) => paths.push(path(pattern)),
                found => paths.extend(found?),
            }
        }
    }
    Ok(paths)
}

/// Reads a list of paths, one a line, exactly as they are written. Only empty lines do not count.
pub fn verbatim(contents: &[u8]) -> Result<Vec<PathBuf>, ListError> {
    let mut paths = Vec::new();
    for (i, line) in contents.split(|&byte| byte == b'\n').enumerate() {
        if line.contains(&0) {
            return Err(ListError::NulInLine(i + 1));
        }
        if !line.is_empty() {
            paths.push(path(line));
        }
    }
    Ok(paths)
}

/// Reads a list of paths, each followed by a NUL, as `find -print0` writes it.
pub fn raw(contents: &[u8]) -> Result<Vec<PathBuf>, ListError> {
    let Some(contents) = contents.strip_suffix(b"\0") else {
        return if contents.is_empty() { Ok(Vec::new()) } else { Err(ListError::CutOff) };
    };
    let mut paths = Vec::new();
    for (i, name) in contents.split(|&byte| byte == 0).enumerate() {
        if name.is_empty() {
            return Err(ListError::EmptyName(i + 1));
        }
        paths.push(path(name));
    }
    Ok(paths)
}

fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

/// Returns the existing paths that a shell pattern stands for, sorted; relative ones are looked up from
/// `folder` and stay relative. `*` does not match a leading dot of a name, as in a shell.
pub fn expand(pattern: &[u8], folder: &Path) -> Result<Vec<PathBuf>, ListError> {
    let absolute = pattern.starts_with(b"/");
    let mut found = vec![if absolute { PathBuf::from("/") } else { PathBuf::new() }];
    for component in pattern.split(|&byte| byte == b'/').filter(|component| !component.is_empty()) {
        let mut next = Vec::new();
        for base in found {
            match plain(component) {
                Some(name) => next.extend(Some(base.join(path(&name))).filter(|p| exists(&folder.join(p)))),
                None => next.extend(matches(folder, &base, component)?),
            }
        }
        found = next;
    }
    if found.is_empty() || found == [PathBuf::new()] {
        return Err(ListError::NoMatch(pattern.escape_ascii().to_string()));
    }
    Ok(found)
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// The name a component without wildcards stands for.
fn plain(component: &[u8]) -> Option<Box<[u8]>> {
    match Glob::new(component) {
        Glob::Literal(name) => Some(name),
        // A bracket that never closes is meant literally, as in a shell.
        Glob::Nothing => Some(component.into()),
        _ => None,
    }
}

fn matches(folder: &Path, base: &Path, component: &[u8]) -> Result<Vec<PathBuf>, ListError> {
    let glob = Glob::new(component);
    let place = folder.join(base);
    let entries = match std::fs::read_dir(&place) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotADirectory | io::ErrorKind::NotFound) => {
            return Ok(Vec::new());
        }
        Err(source) => return Err(search_error(&place, source)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(|source| search_error(&place, source))?.file_name();
        let hidden = name.as_bytes().starts_with(b".") && !component.starts_with(b".");
        if !hidden && glob.matches(name.as_bytes()) {
            found.push(base.join(name));
        }
    }
    found.sort();
    Ok(found)
}

fn search_error(folder: &Path, source: io::Error) -> ListError {
    ListError::Search { folder: folder.as_os_str().as_bytes().escape_ascii().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(paths: &[PathBuf]) -> Vec<&str> {
        paths.iter().map(|path| path.to_str().unwrap()).collect()
    }

    #[test]
    fn lines_are_taken_as_they_are() {
        assert_eq!(strings(&verbatim(b" a \n\n#b\n*.c").unwrap()), [" a ", "#b", "*.c"]);
        assert!(matches!(verbatim(b"a\nb\0c"), Err(ListError::NulInLine(2))));
    }

    #[test]
    fn raw_lists_must_be_complete() {
        assert_eq!(strings(&raw(b"a\nb\0c\0").unwrap()), ["a\nb", "c"]);
        assert!(raw(b"").unwrap().is_empty());
        assert!(matches!(raw(b"a\0b"), Err(ListError::CutOff)));
        assert!(matches!(raw(b"a\0\0b\0"), Err(ListError::EmptyName(2))));
        assert!(matches!(raw(b"\0"), Err(ListError::EmptyName(1))));
    }

    #[test]
    fn patterns_stand_for_what_exists() {
        let top = tempfile::tempdir().unwrap();
        for name in ["ann/docs", "bob/docs", "bob/mail", ".hidden/docs", "[odd"] {
            std::fs::create_dir_all(top.path().join(name)).unwrap();
        }
        std::fs::write(top.path().join("file"), b"").unwrap();
        let read = |list: &str| patterns(list.as_bytes(), top.path());
        let all = read("# homes\n\n  */docs  \n./bob/m?il\n[odd\n").unwrap();
        assert_eq!(strings(&all), ["ann/docs", "bob/docs", "./bob/mail", "[odd"]);
        assert_eq!(strings(&read(".h*/docs").unwrap()), [".hidden/docs"]);
        assert_eq!(
            strings(&patterns(b"/*", Path::new("/nonexistent")).unwrap())[0].chars().next(),
            Some('/')
        );
        assert_eq!(strings(&read("*/nothing").unwrap()), ["*/nothing"]);
        assert_eq!(strings(&read("gone").unwrap()), ["gone"]);
        assert_eq!(strings(&read("/").unwrap()), ["/"]);
    }
}
