//! A folder as the test itself remembers it: bytes, modes, times and targets of links, read with nothing but
//! the standard library. What the program restores is compared with this, never with its own word.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Clone, PartialEq, Eq)]
enum Node {
    Folder { mode: u32, changed: (i64, i64) },
    File { mode: u32, changed: (i64, i64), bytes: Arc<Vec<u8>> },
    Link { target: PathBuf },
}

/// Everything below a folder, by its path in there. The folder itself is left out: its own attributes belong
/// to whoever made the place to restore to.
#[derive(Clone, Default)]
pub(crate) struct Tree(BTreeMap<PathBuf, Node>);

impl Tree {
    /// Reads a folder. Contents equal to those in `like` are shared with it, so that fifty copies fit into memory.
    pub(crate) fn read(folder: &Path, like: &Tree) -> Tree {
        let mut tree = Tree::default();
        tree.add(folder, Path::new(""), like);
        tree
    }

    fn add(&mut self, folder: &Path, below: &Path, like: &Tree) {
        for entry in fs::read_dir(folder.join(below)).unwrap() {
            let path = below.join(entry.unwrap().file_name());
            let full = folder.join(&path);
            let metadata = fs::symlink_metadata(&full).unwrap();
            let (mode, changed) = (metadata.mode() & 0o7777, (metadata.mtime(), metadata.mtime_nsec()));
            let node = if metadata.is_dir() {
                self.add(folder, &path, like);
                Node::Folder { mode, changed }
            } else if metadata.is_symlink() {
                Node::Link { target: fs::read_link(&full).unwrap() }
            } else {
                let read = fs::read(&full).unwrap();
                let bytes = match like.0.get(&path) {
                    Some(Node::File { bytes, .. }) if **bytes == read => bytes.clone(),
                    _ => Arc::new(read),
                };
                Node::File { mode, changed, bytes }
            };
            self.0.insert(path, node);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the other one has all of this, just so.
    pub(crate) fn is_part_of(&self, other: &Tree) -> bool {
        self.0.iter().all(|(path, node)| other.0.get(path) == Some(node))
    }

    /// What differs, the first few of it; empty if nothing does.
    pub(crate) fn differences(&self, other: &Tree) -> Vec<String> {
        let paths = self.0.keys().chain(other.0.keys().filter(|path| !self.0.contains_key(*path)));
        let differing = paths.filter(|path| self.0.get(*path) != other.0.get(*path));
        let told = |path: &PathBuf| {
            let (here, there) = (self.0.get(path).map(what), other.0.get(path).map(what));
            format!("{}: {here:?}, but {there:?}", path.display())
        };
        differing.take(5).map(told).collect()
    }
}

/// Everything but the contents, which are told by their length and a sum.
fn what(node: &Node) -> String {
    match node {
        Node::Folder { mode, changed } => format!("folder {mode:o} {changed:?}"),
        Node::Link { target } => format!("link to {}", target.display()),
        Node::File { mode, changed, bytes } => {
            let sum =
                bytes.iter().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
            format!("file {mode:o} {changed:?} of {} bytes {sum:016x}", bytes.len())
        }
    }
}

/// What all files below a folder take, in bytes.
pub(crate) fn bytes_below(folder: &Path) -> u64 {
    files_below(folder).iter().map(|path| fs::symlink_metadata(path).map_or(0, |found| found.len())).sum()
}

/// All files below a folder.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => files.extend(files_below(&path)),
            _ => files.push(path),
        }
    }
    files
}
