//! Where the bytes of a long file are: chunks and holes in order, in nodes when there are many.
//!
//! A run of equal chunks is one item, so a terabyte of written zeros costs a few bytes. Written zeros and
//! holes are different things. Extent nodes end after a chunk whose id says so, like leaves after a key.

use crate::error::{FormatError, FormatResult};
use crate::id::BlobId;
use crate::limits::{CHUNK_BYTES_MAX, EXTENT_BOUNDARY_ONE_IN, EXTENT_NODE_ITEMS_MAX, TREE_LEVELS_MAX};
use crate::wire::{Reader, Write};

const WHAT: &str = "extent list";
const LEAF_TYPE: u8 = 3;
const INDEX_TYPE: u8 = 4;

/// A piece of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// `repeat` equal chunks of `len_bytes` each.
    Data {
        /// The chunk's blob.
        id: BlobId,
        /// Length of one chunk; at least 1.
        len_bytes: u32,
        /// How many times it stands here; at least 1.
        repeat: u32,
    },
    /// Nothing is stored here; reads as zeros.
    Hole {
        /// Its length; at least 1.
        len_bytes: u64,
    },
}

impl Extent {
    /// How many bytes of the file it covers.
    pub fn file_bytes(&self) -> u64 {
        match self {
            Extent::Data { len_bytes, repeat, .. } => *len_bytes as u64 * *repeat as u64,
            Extent::Hole { len_bytes } => *len_bytes,
        }
    }

    fn ends_node(&self) -> bool {
        matches!(self, Extent::Data { id, .. } if id_ends_node(id))
    }

    /// Appends a piece to a list, joining what can be joined: lists have one form only.
    pub fn append(list: &mut Vec<Extent>, next: Extent) {
        match (list.last_mut(), next) {
            (
                Some(Extent::Data { id, len_bytes, repeat }),
                Extent::Data { id: next_id, len_bytes: next_len, repeat: more },
            ) if *id == next_id && *len_bytes == next_len && repeat.checked_add(more).is_some() => {
                *repeat += more;
            }
            (Some(Extent::Hole { len_bytes }), Extent::Hole { len_bytes: more }) => *len_bytes += more,
            _ => list.push(next),
        }
    }

    /// Writes one item.
    pub fn put(&self, out: &mut Vec<u8>) {
        match self {
            Extent::Data { id, len_bytes, repeat } => {
                out.put_varint((*len_bytes as u64) << 1);
                out.put_varint(*repeat as u64 - 1);
                out.extend_from_slice(&id.0);
            }
            Extent::Hole { len_bytes } => out.put_varint_wide((*len_bytes as u128) << 1 | 1),
        }
    }

    /// Reads one item.
    pub fn get(r: &mut Reader<'_>) -> FormatResult<Self> {
        let head = r.varint_wide()?;
        let len = u64::try_from(head >> 1).map_err(|_| r.error("an extent is too long"))?;
        if len == 0 {
            return Err(r.error("an extent is empty"));
        }
        if head & 1 == 1 {
            return Ok(Extent::Hole { len_bytes: len });
        }
        if len > CHUNK_BYTES_MAX as u64 {
            return Err(r.error("a chunk is too long"));
        }
        let repeat = r.varint_max(u32::MAX as u64 - 1)? as u32 + 1;
        Ok(Extent::Data { id: BlobId(r.array()?), len_bytes: len as u32, repeat })
    }
}

fn id_ends_node(id: &BlobId) -> bool {
    let head = u64::from_le_bytes(id.0[..8].try_into().expect("an id has 24 bytes"));
    head < u64::MAX / EXTENT_BOUNDARY_ONE_IN
}

/// A child of an extent index node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtentChild {
    /// The child node.
    pub id: BlobId,
    /// How many bytes of the file it covers.
    pub file_bytes: u64,
}

/// A decoded extent node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExtentNode {
    /// Level 0.
    Extents(Vec<Extent>),
    /// Level 1 and up.
    Children {
        /// The level of this node.
        level: u8,
        /// Its children.
        children: Vec<ExtentChild>,
    },
}

impl ExtentNode {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            ExtentNode::Extents(items) => {
                out.push(LEAF_TYPE);
                out.put_varint(items.len() as u64);
                items.iter().for_each(|e| e.put(&mut out));
            }
            ExtentNode::Children { level, children } => {
                out.extend_from_slice(&[INDEX_TYPE, *level]);
                out.put_varint(children.len() as u64);
                for child in children {
                    out.extend_from_slice(&child.id.0);
                    out.put_varint(child.file_bytes);
                }
            }
        }
        out
    }

    /// Reads a node.
    pub fn decode(bytes: &[u8]) -> FormatResult<Self> {
        let mut r = Reader::new(bytes, WHAT);
        let node = match r.u8()? {
            LEAF_TYPE => {
                let n = r.count(EXTENT_NODE_ITEMS_MAX, 1)?;
                ExtentNode::Extents((0..n).map(|_| Extent::get(&mut r)).collect::<Result<_, _>>()?)
            }
            INDEX_TYPE => {
                let level = r.u8()?;
                if level == 0 || level > TREE_LEVELS_MAX {
                    return Err(r.error("its level is impossible"));
                }
                let n = r.count(EXTENT_NODE_ITEMS_MAX, BlobId::LEN + 1)?;
                let child = |r: &mut Reader<'_>| {
                    Ok::<_, FormatError>(ExtentChild { id: BlobId(r.array()?), file_bytes: r.varint()? })
                };
                ExtentNode::Children {
                    level,
                    children: (0..n).map(|_| child(&mut r)).collect::<Result<_, _>>()?,
                }
            }
            _ => return Err(r.error("it does not begin as one")),
        };
        r.end()?;
        let is_empty = match &node {
            ExtentNode::Extents(items) => items.is_empty(),
            ExtentNode::Children { children, .. } => children.is_empty(),
        };
        if is_empty { Err(r.error("it holds nothing")) } else { Ok(node) }
    }
}

/// The root of a long file's extents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtentRoot {
    /// The root node.
    pub id: BlobId,
    /// Its level.
    pub level: u8,
}

/// Cuts a list of extents into nodes, gives each to `put`, and returns the root.
pub fn build_extents<E>(
    items: &[Extent],
    put: &mut dyn FnMut(&[u8]) -> Result<BlobId, E>,
) -> Result<ExtentRoot, E> {
    let mut nodes = Vec::new();
    for run in runs(items, 1, Extent::ends_node) {
        let id = put(&ExtentNode::Extents(run.to_vec()).encode())?;
        nodes.push(ExtentChild { id, file_bytes: run.iter().map(Extent::file_bytes).sum() });
    }
    let mut level = 0;
    while nodes.len() > 1 {
        level += 1;
        let mut parents = Vec::new();
        for run in runs(&nodes, 2, |c: &ExtentChild| id_ends_node(&c.id)) {
            let id = put(&ExtentNode::Children { level, children: run.to_vec() }.encode())?;
            parents.push(ExtentChild { id, file_bytes: run.iter().map(|c| c.file_bytes).sum() });
        }
        nodes = parents;
    }
    let root = nodes.first().expect("a list that needs nodes is not empty");
    Ok(ExtentRoot { id: root.id, level })
}

/// Splits after items that end a node, or after the most a node may hold; never shorter than `min`.
fn runs<T>(items: &[T], min: usize, ends: impl Fn(&T) -> bool) -> Vec<&[T]> {
    let mut out = Vec::new();
    let mut start = 0;
    for (i, item) in items.iter().enumerate() {
        let n = i + 1 - start;
        if n >= min && (ends(item) || n == EXTENT_NODE_ITEMS_MAX) {
            out.push(&items[start..=i]);
            start = i + 1;
        }
    }
    if start < items.len() {
        out.push(&items[start..]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn extent() -> impl Strategy<Value = Extent> {
        prop_oneof![
            (any::<[u8; 24]>(), 1u32..5000, 1u32..4).prop_map(|(id, len_bytes, repeat)| Extent::Data {
                id: BlobId(id),
                len_bytes,
                repeat
            }),
            (1u64..u64::MAX / 4096).prop_map(|len_bytes| Extent::Hole { len_bytes }),
        ]
    }

    fn collect(store: &HashMap<BlobId, Vec<u8>>, id: &BlobId, out: &mut Vec<Extent>) {
        match ExtentNode::decode(&store[id]).unwrap() {
            ExtentNode::Extents(items) => out.extend(items),
            ExtentNode::Children { children, .. } => children.iter().for_each(|c| collect(store, &c.id, out)),
        }
    }

    fn build(items: &[Extent]) -> (HashMap<BlobId, Vec<u8>>, ExtentRoot) {
        let mut store = HashMap::new();
        let root = build_extents::<()>(items, &mut |bytes| {
            let id = BlobId(blake3::hash(bytes).as_bytes()[..24].try_into().unwrap());
            store.insert(id, bytes.to_vec());
            Ok(id)
        });
        (store, root.unwrap())
    }

    proptest! {
        #[test]
        fn lists_of_any_length_come_back(items in proptest::collection::vec(extent(), 1..3000)) {
            let (store, root) = build(&items);
            let mut back = Vec::new();
            collect(&store, &root.id, &mut back);
            prop_assert_eq!(back, items);
        }

        #[test]
        fn hostile_nodes_never_panic(bytes in proptest::collection::vec(0u8..8, 0..120)) {
            if let Ok(node) = ExtentNode::decode(&bytes) {
                prop_assert_eq!(node.encode(), bytes);
            }
        }
    }

    #[test]
    fn a_terabyte_of_equal_chunks_is_one_item() {
        let mut list = Vec::new();
        for _ in 0..1 << 20 {
            Extent::append(&mut list, Extent::Data { id: BlobId([7; 24]), len_bytes: 1 << 20, repeat: 1 });
        }
        assert_eq!(list.len(), 1);
        assert_eq!(list[0].file_bytes(), 1 << 40);
    }

    #[test]
    fn one_changed_chunk_rewrites_one_path_of_nodes() {
        let item = |i: u32| Extent::Data {
            id: BlobId(blake3::hash(&i.to_le_bytes()).as_bytes()[..24].try_into().unwrap()),
            len_bytes: 65536,
            repeat: 1,
        };
        let mut items: Vec<_> = (0..100_000).map(item).collect();
        let (before, _) = build(&items);
        items[50_000] = item(1_000_000);
        let (after, _) = build(&items);
        let fresh = after.keys().filter(|id| !before.contains_key(id)).count();
        assert!(fresh <= 6, "{fresh} of {} nodes are new", after.len());
    }
}
