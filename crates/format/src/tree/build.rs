//! Building a snapshot tree from entries in key order, and reusing leaves that did not change.
//!
//! A node ends after the entry with key K on level L when `keyed_hash(K_boundaries, L | K)`, as a number,
//! is below 2^64/192, or when it holds 1,024 entries, or when its weight has reached 256 KiB. Nodes above
//! the leaves have at least two children unless they are the last. The level is part of the hash because
//! otherwise a node of one child would be cut off alone on every level and no root ever be reached.
//!
//! A leaf of the parent snapshot is reused only when the builder stands at the start of a node, all the
//! leaf's entries come unchanged, and it was not the last of its tree: then a fresh build would have made
//! the very same leaf.

use crate::id::BlobId;
use crate::keys::Key;
use crate::limits::{NODE_BOUNDARY_ONE_IN, NODE_ENTRIES_MAX, NODE_WEIGHT_MAX};
use crate::tree::entry::Entry;
use crate::tree::leaf::{Leaf, LeafEncoder};
use crate::tree::node::{Child, encode_children};
use std::sync::Arc;

/// Takes encoded nodes and says what their ids are.
pub trait TreeSink {
    /// What storing a node may fail with.
    type Error;
    /// Stores a node.
    fn put_node(&mut self, node: &[u8]) -> Result<BlobId, Self::Error>;
}

/// The root of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Root {
    /// The root node.
    pub id: BlobId,
    /// Its level; 0 when the root is a leaf.
    pub level: u8,
}

/// A leaf of the parent snapshot that may be reused.
#[derive(Clone, Debug)]
pub struct KeptLeaf {
    /// Its entries.
    pub leaf: Leaf,
    /// How the parent tree refers to it.
    pub child: Child,
    /// Whether it is the last leaf of the parent tree: then its end is not a boundary.
    pub is_last: bool,
}

/// Builds a tree from entries in key order.
pub struct TreeBuilder {
    boundaries: Key,
    leaf: LeafEncoder,
    leaf_weight: usize,
    /// Children waiting for their node, per level from 1 up.
    upper: Vec<Upper>,
    /// Unchanged entries of a parent leaf that are not encoded yet, because all of it may be reused.
    kept: Option<(Arc<KeptLeaf>, usize)>,
    leaves: u64,
    last_leaf: Option<Child>,
    reused: u64,
}

#[derive(Default)]
struct Upper {
    waiting: Vec<Child>,
    weight: usize,
    closed: u64,
    last: Option<Child>,
}

impl TreeBuilder {
    /// A builder for a family with this boundary key.
    pub fn new(boundaries: &Key) -> Self {
        TreeBuilder {
            boundaries: boundaries.clone(),
            leaf: LeafEncoder::default(),
            leaf_weight: 0,
            upper: Vec::new(),
            kept: None,
            leaves: 0,
            last_leaf: None,
            reused: 0,
        }
    }

    /// Leaves reused so far.
    pub fn leaves_reused(&self) -> u64 {
        self.reused
    }

    /// Leaves in all so far.
    pub fn leaves(&self) -> u64 {
        self.leaves
    }

    /// Appends an entry.
    pub fn push<S: TreeSink>(&mut self, key: &[u8], entry: &Entry, sink: &mut S) -> Result<(), S::Error> {
        self.encode_kept(sink)?;
        self.encode(key, entry, sink)
    }

    /// Appends the entry `index` of a parent leaf, unchanged.
    pub fn keep<S: TreeSink>(
        &mut self,
        leaf: &Arc<KeptLeaf>,
        index: usize,
        sink: &mut S,
    ) -> Result<(), S::Error> {
        match &mut self.kept {
            Some((kept, n)) if Arc::ptr_eq(kept, leaf) && *n == index => *n += 1,
            None if index == 0 && self.leaf.is_empty() && !leaf.is_last => {
                self.kept = Some((leaf.clone(), 1))
            }
            _ => {
                self.encode_kept(sink)?;
                return self.encode(leaf.leaf.key(index), &leaf.leaf.entries[index], sink);
            }
        }
        if let Some((kept, n)) = &self.kept
            && *n == kept.leaf.len()
        {
            let child = kept.child.clone();
            self.kept = None;
            self.reused += 1;
            self.leaf_done(child, sink)?;
        }
        Ok(())
    }

    /// Encodes the entries held back, because their leaf cannot be reused after all.
    fn encode_kept<S: TreeSink>(&mut self, sink: &mut S) -> Result<(), S::Error> {
        if let Some((kept, n)) = self.kept.take() {
            for i in 0..n {
                self.encode(kept.leaf.key(i), &kept.leaf.entries[i], sink)?;
            }
        }
        Ok(())
    }

    fn encode<S: TreeSink>(&mut self, key: &[u8], entry: &Entry, sink: &mut S) -> Result<(), S::Error> {
        self.leaf.push(key, entry);
        self.leaf_weight += entry.weight(key);
        let full = self.leaf.len() >= NODE_ENTRIES_MAX || self.leaf_weight >= NODE_WEIGHT_MAX;
        if full || self.is_boundary(0, key) { self.close_leaf(sink) } else { Ok(()) }
    }

    fn is_boundary(&self, level: u8, key: &[u8]) -> bool {
        let mut hasher = blake3::Hasher::new_keyed(self.boundaries.bytes());
        hasher.update(&[level]).update(key);
        let head = hasher.finalize().as_bytes()[..8].try_into().expect("a hash has 32 bytes");
        u64::from_le_bytes(head) < u64::MAX / NODE_BOUNDARY_ONE_IN
    }

    fn close_leaf<S: TreeSink>(&mut self, sink: &mut S) -> Result<(), S::Error> {
        let entries = self.leaf.len() as u64;
        let file_bytes = self.leaf.file_bytes;
        let last_key = self.leaf.last_key().into();
        self.leaf_weight = 0;
        let id = sink.put_node(&self.leaf.finish())?;
        self.leaf_done(Child { last_key, id, entries, file_bytes }, sink)
    }

    fn leaf_done<S: TreeSink>(&mut self, child: Child, sink: &mut S) -> Result<(), S::Error> {
        self.leaves += 1;
        self.last_leaf = Some(child.clone());
        self.add_child(1, child, sink)
    }

    /// Appends a child on `level` and closes the node there if it ends after it.
    fn add_child<S: TreeSink>(&mut self, level: u8, child: Child, sink: &mut S) -> Result<(), S::Error> {
        if self.upper.len() < level as usize {
            self.upper.push(Upper::default());
        }
        let boundary = self.is_boundary(level, &child.last_key);
        let upper = &mut self.upper[level as usize - 1];
        upper.weight += child.last_key.len() + 64;
        upper.waiting.push(child);
        let full = upper.waiting.len() >= NODE_ENTRIES_MAX || upper.weight >= NODE_WEIGHT_MAX;
        if upper.waiting.len() >= 2 && (boundary || full) { self.close_upper(level, sink) } else { Ok(()) }
    }

    fn close_upper<S: TreeSink>(&mut self, level: u8, sink: &mut S) -> Result<(), S::Error> {
        let upper = &mut self.upper[level as usize - 1];
        let children = std::mem::take(&mut upper.waiting);
        upper.weight = 0;
        let child = Child {
            last_key: children.last().expect("a node has children").last_key.clone(),
            id: sink.put_node(&encode_children(level, &children))?,
            entries: children.iter().fold(0, |n: u64, c| n.saturating_add(c.entries)),
            file_bytes: children.iter().fold(0, |n: u64, c| n.saturating_add(c.file_bytes)),
        };
        upper.closed += 1;
        upper.last = Some(child.clone());
        self.add_child(level + 1, child, sink)
    }

    /// Ends the tree; `None` when nothing was pushed.
    pub fn finish<S: TreeSink>(mut self, sink: &mut S) -> Result<Option<Root>, S::Error> {
        self.encode_kept(sink)?;
        if !self.leaf.is_empty() {
            self.close_leaf(sink)?;
        }
        if self.leaves <= 1 {
            return Ok(self.last_leaf.map(|c| Root { id: c.id, level: 0 }));
        }
        for level in 1u8.. {
            if !self.upper[level as usize - 1].waiting.is_empty() {
                self.close_upper(level, sink)?;
            }
            let upper = &self.upper[level as usize - 1];
            if upper.closed == 1 {
                let id = upper.last.as_ref().expect("one node was closed").id;
                return Ok(Some(Root { id, level }));
            }
        }
        unreachable!("each level has at most half the nodes of the one below, rounded up")
    }
}

#[cfg(test)]
mod tests;
