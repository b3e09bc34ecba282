//! Which keys lie in which leaf of a tree, without reading the leaves: for whoever looks at parts of a snapshot.

use crate::browse::read_node;
use crate::reader::Reader;
use crate::{RepoError, RepoResult};
use format::FormatError;
use format::id::BlobId;
use format::tree::{Node, Root};

/// A leaf of a snapshot's tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafRange {
    /// The leaf.
    pub id: BlobId,
    /// The first key that may stand in it.
    pub from: Vec<u8>,
    /// The first key behind it.
    pub to: Vec<u8>,
    /// Its entries.
    pub entries: u64,
    /// Bytes of the files in it.
    pub file_bytes: u64,
}

/// The key right behind a key.
fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// The leaves of a tree, in order; reads the nodes above them only.
pub fn leaf_ranges(reader: &Reader, root: Root) -> RepoResult<Vec<LeafRange>> {
    let mut found: Vec<LeafRange> = Vec::new();
    if root.level == 0 {
        let Node::Leaf(leaf) = read_node(reader, &root.id)? else { return Err(wrong_level()) };
        if !leaf.is_empty() {
            let file_bytes = leaf.entries.iter().map(|entry| entry.size_bytes).sum();
            let (to, entries) = (after(leaf.key(leaf.len() - 1)), leaf.len() as u64);
            found.push(LeafRange { id: root.id, from: Vec::new(), to, entries, file_bytes });
        }
        return Ok(found);
    }
    let mut todo = vec![(root.level, root.id)];
    while let Some((level, id)) = todo.pop() {
        let Node::Index { level: found_level, children } = read_node(reader, &id)? else {
            return Err(wrong_level());
        };
        if found_level != level {
            return Err(wrong_level());
        }
        if level > 1 {
            todo.extend(children.iter().rev().map(|child| (level - 1, child.id)));
            continue;
        }
        for child in children {
            let from = found.last().map(|leaf| leaf.to.clone()).unwrap_or_default();
            let (to, entries, file_bytes) = (after(&child.last_key), child.entries, child.file_bytes);
            found.push(LeafRange { id: child.id, from, to, entries, file_bytes });
        }
    }
    Ok(found)
}

/// What a node is that stands where one of another level belongs.
pub fn wrong_level() -> RepoError {
    let why = "a node of another level";
    RepoError::object(&"tree node", FormatError::Corrupt { what: "tree node", why })
}
