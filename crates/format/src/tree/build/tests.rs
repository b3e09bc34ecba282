//! Equal maps have equal roots whatever their history; unchanged leaves are reused; levels converge.

use super::*;
use crate::kind::{Kind, Timestamp};
use crate::tree::{Class, Content, Marks, Node, Owner, PathKey, Xattrs};
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;

#[derive(Default)]
struct Memory(HashMap<BlobId, Vec<u8>>);

impl TreeSink for Memory {
    type Error = Infallible;
    fn put_node(&mut self, node: &[u8]) -> Result<BlobId, Infallible> {
        let id = BlobId(blake3::hash(node).as_bytes()[..24].try_into().unwrap());
        self.0.insert(id, node.to_vec());
        Ok(id)
    }
}

fn entry(n: u64) -> Entry {
    let class = Class {
        kind: Kind::File,
        mode: 0o644,
        owner: Owner::default(),
        flags: 0,
        project: 0,
        mount: 0,
        xattrs: Xattrs::None,
    };
    Entry {
        class: Arc::new(class),
        mtime: Timestamp { secs: n as i64, nanos: 0 },
        ctime: Timestamp::default(),
        inode: n,
        size_bytes: n,
        link_group: None,
        rdev: 0,
        target: Box::default(),
        content: Content::None,
        marks: Marks::default(),
    }
}

type Map = BTreeMap<Vec<u8>, u64>;

fn key_of(n: u64) -> Vec<u8> {
    PathKey::of(&[b"/".to_vec(), format!("d{:02}", n % 37).into_bytes(), format!("f{n}").into_bytes()])
}

fn build(map: &Map, key: &Key, sink: &mut Memory) -> Option<Root> {
    let mut builder = TreeBuilder::new(key);
    for (k, n) in map {
        builder.push(k, &entry(*n), sink).unwrap();
    }
    builder.finish(sink).unwrap()
}

fn leaves(sink: &Memory, root: &Root) -> Vec<Child> {
    match Node::decode(&sink.0[&root.id]).unwrap() {
        Node::Leaf(leaf) => vec![Child {
            last_key: leaf.key(leaf.len() - 1).into(),
            id: root.id,
            entries: leaf.len() as u64,
            file_bytes: leaf.entries.iter().map(|e| e.size_bytes).sum(),
        }],
        Node::Index { children, .. } if root.level == 1 => children,
        Node::Index { children, level } => {
            children.iter().flat_map(|c| leaves(sink, &Root { id: c.id, level: level - 1 })).collect()
        }
    }
}

/// Builds `map` by merging it with the parent tree, as a backup does.
fn rebuild(parent: &Root, map: &Map, key: &Key, sink: &mut Memory) -> (Option<Root>, u64) {
    let old = leaves(sink, parent);
    let last = old.len() - 1;
    let mut known: HashMap<Vec<u8>, (Arc<KeptLeaf>, usize)> = HashMap::new();
    for (n, child) in old.into_iter().enumerate() {
        let Node::Leaf(leaf) = Node::decode(&sink.0[&child.id]).unwrap() else { panic!("a leaf") };
        let kept = Arc::new(KeptLeaf { leaf, child, is_last: n == last });
        for i in 0..kept.leaf.len() {
            known.insert(kept.leaf.key(i).to_vec(), (kept.clone(), i));
        }
    }
    let mut builder = TreeBuilder::new(key);
    for (k, n) in map {
        match known.get(k) {
            Some((kept, i)) if kept.leaf.entries[*i].size_bytes == *n => {
                builder.keep(kept, *i, sink).unwrap()
            }
            _ => builder.push(k, &entry(*n), sink).unwrap(),
        }
    }
    let reused = builder.leaves_reused();
    (builder.finish(sink).unwrap(), reused)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn an_edited_build_equals_a_fresh_one(
        secret: [u8; 32], start in 1u64..4000,
        rounds in proptest::collection::vec(proptest::collection::vec((0u64..6000, any::<Option<u32>>()), 1..8), 1..6),
    ) {
        let key = Key::new(secret);
        let mut sink = Memory::default();
        let mut map: Map = (0..start).map(|n| (key_of(n), n)).collect();
        let mut root = build(&map, &key, &mut sink).unwrap();
        for edits in rounds {
            for (n, value) in edits {
                match value {
                    Some(v) => { map.insert(key_of(n), v as u64); }
                    None => { map.remove(&key_of(n)); }
                }
            }
            if map.is_empty() {
                break;
            }
            let (edited, _) = rebuild(&root, &map, &key, &mut sink);
            let fresh = build(&map, &key, &mut Memory::default());
            prop_assert_eq!(edited, fresh);
            root = edited.unwrap();
        }
    }
}

#[test]
fn an_unchanged_tree_reuses_every_leaf_but_the_last() {
    let key = Key::new([9; 32]);
    let mut sink = Memory::default();
    let map: Map = (0..20_000).map(|n| (key_of(n), n)).collect();
    let root = build(&map, &key, &mut sink).unwrap();
    let total = leaves(&sink, &root).len() as u64;
    let nodes = sink.0.len();
    let (again, reused) = rebuild(&root, &map, &key, &mut sink);
    assert_eq!(again, Some(root));
    assert_eq!(reused, total - 1);
    assert_eq!(sink.0.len(), nodes, "nothing new is stored");
    assert!(total > 60 && total < 180, "{total} leaves for 20,000 entries");
}

#[test]
fn levels_converge_for_every_key() {
    for k in 0..400u32 {
        let key = Key::new(*blake3::hash(&k.to_le_bytes()).as_bytes());
        let map: Map = (0..1500).map(|n| (key_of(n), n)).collect();
        let root = build(&map, &key, &mut Memory::default()).unwrap();
        assert!(root.level <= 3, "level {}", root.level);
    }
}

#[test]
fn heavy_entries_are_cut_by_weight_alike_in_every_history() {
    let key = Key::new([3; 32]);
    let mut heavy = entry(1);
    heavy.target = vec![b'x'; 60_000].into();
    Arc::make_mut(&mut heavy.class).kind = Kind::Symlink;
    heavy.size_bytes = 0;
    let mut builder = TreeBuilder::new(&key);
    for n in 0..50 {
        let key = PathKey::of(&[b"/".to_vec(), format!("link{n:02}").into_bytes()]);
        builder.push(&key, &heavy, &mut Memory::default()).unwrap();
    }
    assert!(builder.leaves() >= 9, "five entries reach the weight limit");
}

#[test]
fn an_empty_tree_has_no_root() {
    assert_eq!(TreeBuilder::new(&Key::new([0; 32])).finish(&mut Memory::default()).unwrap(), None);
}
