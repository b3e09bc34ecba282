//! Index nodes: for each child its last key, its id, and how much lies below it.

use crate::error::{FormatError, FormatResult};
use crate::id::BlobId;
use crate::limits::{KEY_BYTES_MAX, NODE_BYTES_MAX, NODE_ENTRIES_MAX, NODE_KEYS_BYTES_MAX, TREE_LEVELS_MAX};
use crate::tree::leaf::{Leaf, common_prefix_len};
use crate::wire::{Reader, Write};

const WHAT: &str = "tree node";

/// The first byte of a blob of kind tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum NodeType {
    /// Entries.
    Leaf = 1,
    /// Children.
    Index = 2,
    /// Extents of a file.
    ExtentLeaf = 3,
    /// Children of an extent list.
    ExtentIndex = 4,
    /// Extended attributes.
    Xattrs = 5,
}

/// A child of an index node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// The last key at or below the child.
    pub last_key: Box<[u8]>,
    /// The child node.
    pub id: BlobId,
    /// Entries below it.
    pub entries: u64,
    /// Bytes of all files below it.
    pub file_bytes: u64,
}

/// A node of a snapshot tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// Level 0.
    Leaf(Leaf),
    /// Level 1 and up.
    Index {
        /// The level of this node.
        level: u8,
        /// Its children in key order.
        children: Vec<Child>,
    },
}

impl Node {
    /// Reads a leaf or an index node.
    pub fn decode(bytes: &[u8]) -> FormatResult<Self> {
        match bytes.first() {
            Some(1) => Ok(Node::Leaf(Leaf::decode(bytes)?)),
            Some(2) => decode_children(bytes).map(|(level, children)| Node::Index { level, children }),
            _ => Err(FormatError::corrupt(WHAT, "it does not begin as one")),
        }
    }
}

/// The bytes of an index node.
pub fn encode_children(level: u8, children: &[Child]) -> Vec<u8> {
    let mut out = vec![NodeType::Index as u8, level];
    out.put_varint(children.len() as u64);
    let mut previous: &[u8] = &[];
    for child in children {
        let shared = common_prefix_len(previous, &child.last_key);
        out.put_varint(shared as u64);
        out.put_bytes(&child.last_key[shared..]);
        out.extend_from_slice(&child.id.0);
        out.put_varint(child.entries);
        out.put_varint(child.file_bytes);
        previous = &child.last_key;
    }
    out
}

/// Reads an index node: its level and children.
pub fn decode_children(bytes: &[u8]) -> FormatResult<(u8, Vec<Child>)> {
    let mut r = Reader::new(bytes, WHAT);
    if bytes.len() > NODE_BYTES_MAX || r.u8()? != NodeType::Index as u8 {
        return Err(r.error("it does not begin as one"));
    }
    let level = r.u8()?;
    if level == 0 || level > TREE_LEVELS_MAX {
        return Err(r.error("its level is impossible"));
    }
    let n = r.count(NODE_ENTRIES_MAX, 4 + BlobId::LEN)?;
    let mut children: Vec<Child> = Vec::with_capacity(n);
    let mut keys_bytes = 0;
    for _ in 0..n {
        let previous = children.last().map_or(&[][..], |c| &c.last_key);
        let shared = r.varint_max(previous.len() as u64)? as usize;
        let rest = r.bytes(KEY_BYTES_MAX - shared)?;
        if common_prefix_len(&previous[shared..], rest) != 0 {
            return Err(r.error("a key is not in its shortest form"));
        }
        // A long shared prefix costs a stored key almost nothing, but is expanded for every child.
        keys_bytes += shared + rest.len();
        if keys_bytes > NODE_KEYS_BYTES_MAX {
            return Err(r.error("its keys are too long"));
        }
        let last_key = [&previous[..shared], rest].concat().into_boxed_slice();
        if !children.is_empty() && *last_key <= *previous {
            return Err(r.error("its keys are not in order"));
        }
        children.push(Child {
            last_key,
            id: BlobId(r.array()?),
            entries: r.varint()?,
            file_bytes: r.varint()?,
        });
    }
    r.end()?;
    if children.is_empty() {
        return Err(r.error("it has no children"));
    }
    Ok((level, children))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn child(last_key: Vec<u8>) -> Child {
        Child { last_key: last_key.into(), id: BlobId([7; 24]), entries: 3, file_bytes: 9 }
    }

    proptest! {
        #[test]
        fn index_nodes_round_trip_and_cuts_are_refused(
            keys in proptest::collection::btree_set(proptest::collection::vec(0u8..4, 1..9), 1..40), level in 1u8..=64,
        ) {
            let children: Vec<_> = keys.into_iter().map(child).collect();
            let bytes = encode_children(level, &children);
            prop_assert_eq!(decode_children(&bytes).unwrap(), (level, children));
            for cut in 0..bytes.len() {
                prop_assert!(decode_children(&bytes[..cut]).is_err());
            }
        }

        #[test]
        fn what_decodes_has_this_encoding_only(
            keys in proptest::collection::btree_set(proptest::collection::vec(0u8..3, 1..5), 1..9),
            at: proptest::sample::Index, value: u8,
        ) {
            let mut bytes = encode_children(1, &keys.into_iter().map(child).collect::<Vec<_>>());
            let i = at.index(bytes.len());
            bytes[i] = value;
            if let Ok((level, children)) = decode_children(&bytes) {
                prop_assert_eq!(encode_children(level, &children), bytes);
            }
        }
    }

    #[test]
    fn a_long_shared_prefix_does_not_inflate() {
        let key = |n: u16| [&vec![b'x'; KEY_BYTES_MAX - 2][..], &n.to_be_bytes()].concat();
        let two: Vec<_> = (0..2).map(|n| child(key(n))).collect();
        assert!(decode_children(&encode_children(1, &two)).is_ok(), "two of the longest keys are allowed");
        let many: Vec<_> = (0..1000).map(|n| child(key(n))).collect();
        let bytes = encode_children(1, &many);
        assert!(bytes.len() < KEY_BYTES_MAX + 50_000);
        assert!(decode_children(&bytes).is_err(), "these would expand to a gigabyte");
    }
}
