//! The paths to save, merged into one tree of wanted names that the walk follows from `/` down.
//!
//! Nested and repeated paths merge. Paths must be absolute and free of symbolic links except for their last
//! component; [`absolute`] makes them so. Knows no rules: what is named here is wanted whatever a pattern says.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::directory::Directory;
use crate::linux;
use crate::stat::Kind;

/// One directory of the tree of wanted names.
#[derive(Debug, Default, Clone)]
pub(crate) struct Wanted {
    /// True for a source: everything below is wanted too.
    pub(crate) whole: bool,
    /// Sources further down, also below a source: they are entered even where the walk would stop.
    pub(crate) children: BTreeMap<Box<[u8]>, Arc<Wanted>>,
}

/// A source that is not there.
#[derive(Debug)]
pub struct MissingSource {
    /// The path as it was given.
    pub path: PathBuf,
    /// Why it cannot be saved.
    pub error: io::Error,
}

/// Makes a path absolute as the walk needs it: relative to `folder`, symbolic links of all but the last
/// component resolved, `.` and `..` gone.
///
/// A source that is itself a symbolic link stays one. Fails if a folder on the way does not exist.
pub fn absolute(folder: &Path, path: &Path) -> io::Result<PathBuf> {
    let full = folder.join(path);
    match full.components().next_back() {
        Some(Component::Normal(name)) if !path.as_os_str().as_bytes().ends_with(b"/.") => {
            let parent = full.parent().unwrap_or(Path::new("/"));
            Ok(parent.canonicalize()?.join(name))
        }
        _ => full.canonicalize(),
    }
}

/// Merges the paths that exist into one tree and returns it with those that do not.
pub(crate) fn resolve(root: &Arc<Directory>, paths: &[PathBuf]) -> (Wanted, Vec<MissingSource>) {
    let mut wanted = Wanted::default();
    let mut missing = Vec::new();
    for path in paths {
        match components(path).and_then(|names| check(root, &names).map(|()| names)) {
            Ok(names) => insert(&mut wanted, &names),
            Err(error) => missing.push(MissingSource { path: path.clone(), error }),
        }
    }
    (wanted, missing)
}

fn components(path: &Path) -> io::Result<Vec<&[u8]>> {
    if !path.is_absolute() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path is not absolute"));
    }
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.as_bytes()),
            Component::ParentDir => {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path contains \"..\""));
            }
            _ => {}
        }
    }
    Ok(names)
}

/// Follows the path component by component, as the walk will, and says where it ends if it does.
fn check(root: &Arc<Directory>, names: &[&[u8]]) -> io::Result<()> {
    let mut at = root.clone();
    for (i, name) in names.iter().enumerate() {
        let stat = linux::stat_name(&*at.descriptor()?, name)?;
        let on_the_way = i + 1 < names.len();
        if on_the_way && stat.kind == Kind::Symlink {
            let why = format!("\"{}\" on the way is a symbolic link", name.escape_ascii());
            return Err(io::Error::new(io::ErrorKind::NotADirectory, why));
        }
        if on_the_way {
            at = at.passage(name);
        }
    }
    Ok(())
}

fn insert(wanted: &mut Wanted, names: &[&[u8]]) {
    let mut at = wanted;
    for name in names {
        at = Arc::make_mut(at.children.entry((*name).into()).or_default());
    }
    at.whole = true;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_sources_merge_and_missing_ones_are_named() {
        let top = tempfile::tempdir().unwrap();
        let top_path = top.path().canonicalize().unwrap();
        std::fs::create_dir_all(top_path.join("a/b")).unwrap();
        std::os::unix::fs::symlink("a", top_path.join("link")).unwrap();
        let given = ["a/b", "a", "a/b/", "gone", "link", "link/b"].map(|name| top_path.join(name)).to_vec();
        let (mut wanted, missing) = resolve(&Directory::root(8), &given);
        let missing: Vec<_> = missing.iter().map(|m| m.path.strip_prefix(&top_path).unwrap()).collect();
        assert_eq!(missing, [Path::new("gone"), Path::new("link/b")]);
        for component in top_path.iter().skip(1) {
            assert!(!wanted.whole);
            wanted = (**wanted.children.values().next().unwrap()).clone();
            assert_eq!(wanted.children.len().min(1), 1, "{component:?}");
        }
        assert_eq!(wanted.children.keys().map(|k| &**k).collect::<Vec<_>>(), [&b"a"[..], b"link"]);
        let a = &wanted.children[&b"a"[..]];
        assert!(a.whole && a.children[&b"b"[..]].whole);
    }

    #[test]
    fn absolute_keeps_a_last_link_and_resolves_the_others() {
        let top = tempfile::tempdir().unwrap();
        let top_path = top.path().canonicalize().unwrap();
        std::fs::create_dir_all(top_path.join("a/b")).unwrap();
        std::os::unix::fs::symlink("a", top_path.join("link")).unwrap();
        let made = |path: &str| absolute(&top_path, Path::new(path)).unwrap();
        assert_eq!(made("link"), top_path.join("link"));
        assert_eq!(made("link/b"), top_path.join("a/b"));
        assert_eq!(made("a/b/.."), top_path.join("a"));
        assert_eq!(made("."), top_path);
        assert_eq!(made("link/."), top_path.join("a"));
        assert_eq!(made("/"), Path::new("/"));
    }
}
