//! Snapshot trees: one sorted map from paths to entries, cut into nodes where the keys' hashes say.
//!
//! A prolly tree: node boundaries depend on keys alone, so equal maps have equal roots whatever their
//! history, and two trees are compared by skipping equal nodes. Nodes are blobs of kind `Tree`; the first
//! byte says which node it is.

mod build;
mod entry;
mod extents;
mod key;
mod leaf;
mod node;
mod xattrs;

pub use build::{KeptLeaf, Root, TreeBuilder, TreeSink};
pub use entry::{Class, Content, Entry, Marks, Owner, Xattrs};
pub use extents::{Extent, ExtentChild, ExtentNode, ExtentRoot, build_extents};
pub use key::{KeyPath, PathKey, dir_prefix};
pub use leaf::{Leaf, LeafEncoder};
pub use node::{Child, Node, NodeType, decode_children, encode_children};
pub use xattrs::XattrSet;
