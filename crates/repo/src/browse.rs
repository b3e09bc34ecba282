//! A snapshot as a sorted map from paths to entries: look up, list, search, compare.

use crate::error::{RepoError, RepoResult};
use crate::reader::Reader;
use format::FormatError;
use format::id::{BlobId, BlobKind};
use format::tree::{Child, Content, Entry, Extent, ExtentNode, Leaf, Node, Root, Xattrs};
use std::cmp::Ordering;
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Reads a node of a snapshot tree.
pub fn read_node(reader: &Reader, id: &BlobId) -> RepoResult<Node> {
    let bytes = reader.read(BlobKind::Tree, id)?;
    Node::decode(&bytes).map_err(|e| RepoError::object(&"tree node", e))
}

/// Walks the leaves of a tree in key order. Nodes that cannot be read end the walk with an error.
pub struct Leaves<'r> {
    reader: &'r Reader,
    /// Children still to visit, per level, the next one last.
    stack: Vec<(u8, Vec<Child>)>,
    lone_leaf: Option<Root>,
}

/// A leaf with its place in the tree.
#[derive(Clone, Debug)]
pub struct PlacedLeaf {
    /// Its entries.
    pub leaf: Leaf,
    /// How the tree refers to it.
    pub child: Child,
    /// Whether it is the last one.
    pub is_last: bool,
}

impl<'r> Leaves<'r> {
    /// From the leaf that may hold `key` on; an empty key is the beginning.
    pub fn from_key(reader: &'r Reader, root: Root, key: &[u8]) -> RepoResult<Self> {
        if root.level == 0 {
            return Ok(Leaves { reader, stack: Vec::new(), lone_leaf: Some(root) });
        }
        let mut leaves = Leaves { reader, stack: Vec::new(), lone_leaf: None };
        leaves.push_node(&root.id, root.level)?;
        loop {
            let (level, children) = leaves.stack.last_mut().expect("the root was pushed");
            while children.last().is_some_and(|c| *c.last_key < *key) {
                children.pop();
            }
            let below = *level - 1;
            match children.last().cloned() {
                Some(child) if below > 0 => {
                    children.pop();
                    leaves.push_node(&child.id, below)?;
                }
                _ => return Ok(leaves),
            }
        }
    }

    /// Pushes the children of an index node, the first one last.
    fn push_node(&mut self, id: &BlobId, level: u8) -> RepoResult<()> {
        let wrong = || {
            RepoError::object(&"tree node", FormatError::Corrupt { what: "tree node", why: "wrong level" })
        };
        match read_node(self.reader, id)? {
            Node::Index { level: found, mut children } if found == level => {
                children.reverse();
                self.stack.push((level, children));
                Ok(())
            }
            _ => Err(wrong()),
        }
    }

    /// The next leaf.
    pub fn next_leaf(&mut self) -> RepoResult<Option<PlacedLeaf>> {
        if let Some(root) = self.lone_leaf.take() {
            return self.read_lone(root).map(Some);
        }
        while let Some((level, children)) = self.stack.last_mut() {
            let level = *level;
            match children.pop() {
                None => _ = self.stack.pop(),
                Some(child) if level > 1 => self.push_node(&child.id, level - 1)?,
                Some(child) => {
                    let is_last = self.stack.iter().all(|(_, waiting)| waiting.is_empty());
                    let leaf = self.read_leaf(&child.id)?;
                    return Ok(Some(PlacedLeaf { leaf, child, is_last }));
                }
            }
        }
        Ok(None)
    }

    fn read_lone(&self, root: Root) -> RepoResult<PlacedLeaf> {
        let leaf = self.read_leaf(&root.id)?;
        let child = Child {
            last_key: leaf.key(leaf.len() - 1).into(),
            id: root.id,
            entries: leaf.len() as u64,
            file_bytes: 0,
        };
        Ok(PlacedLeaf { leaf, child, is_last: true })
    }

    fn read_leaf(&self, id: &BlobId) -> RepoResult<Leaf> {
        match read_node(self.reader, id)? {
            Node::Leaf(leaf) => Ok(leaf),
            Node::Index { .. } => {
                let why = "a node where a leaf must be";
                Err(RepoError::object(&"tree leaf", FormatError::Corrupt { what: "tree leaf", why }))
            }
        }
    }
}

/// The entry under a key.
pub fn lookup(reader: &Reader, root: Root, key: &[u8]) -> RepoResult<Option<Entry>> {
    let Some(placed) = Leaves::from_key(reader, root, key)?.next_leaf()? else { return Ok(None) };
    let i = placed.leaf.lower_bound(key);
    let found = i < placed.leaf.len() && placed.leaf.key(i) == key;
    Ok(found.then(|| placed.leaf.entries[i].clone()))
}

/// Takes an entry and says whether to go on.
pub type EntryVisitor<'v> = dyn FnMut(&[u8], &Entry) -> RepoResult<ControlFlow<()>> + 'v;

/// Visits all entries whose key begins with `prefix`, in order.
pub fn visit_range(
    reader: &Reader,
    root: Root,
    prefix: &[u8],
    visit: &mut EntryVisitor<'_>,
) -> RepoResult<()> {
    let mut leaves = Leaves::from_key(reader, root, prefix)?;
    while let Some(PlacedLeaf { leaf, .. }) = leaves.next_leaf()? {
        for i in leaf.lower_bound(prefix)..leaf.len() {
            let key = leaf.key(i);
            if !key.starts_with(prefix) {
                return Ok(());
            }
            if visit(key, &leaf.entries[i])?.is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The pieces of a file in order, from wherever they are listed. All at once: some 40 bytes for each 64 KiB
/// of a disk image; see [`visit_pieces`] for files without bound.
pub fn extents(reader: &Reader, entry: &Entry) -> RepoResult<Vec<Extent>> {
    let mut out = Vec::new();
    visit_pieces(reader, entry, &mut |extent| {
        out.push(*extent);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(out)
}

/// Takes a piece of a file and says whether to go on.
pub type PieceVisitor<'v> = dyn FnMut(&Extent) -> RepoResult<ControlFlow<()>> + 'v;

/// Visits the pieces of a file in order; memory does not grow with the file.
pub fn visit_pieces(reader: &Reader, entry: &Entry, visit: &mut PieceVisitor<'_>) -> RepoResult<()> {
    match &entry.content {
        Content::None => Ok(()),
        Content::Whole(id) => {
            let whole = Extent::Data { id: *id, len_bytes: entry.size_bytes as u32, repeat: 1 };
            visit(&whole).map(|_| ())
        }
        Content::Extents(list) => visit_list(list, visit).map(|_| ()),
        Content::ExtentTree { id, level } => visit_extent_tree(reader, (*level, *id), visit),
    }
}

fn visit_list(list: &[Extent], visit: &mut PieceVisitor<'_>) -> RepoResult<ControlFlow<()>> {
    for extent in list {
        if visit(extent)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn visit_extent_tree(reader: &Reader, root: (u8, BlobId), visit: &mut PieceVisitor<'_>) -> RepoResult<()> {
    let mut todo = vec![root];
    while let Some((level, id)) = todo.pop() {
        match (read_extent_node(reader, &id)?, level) {
            (ExtentNode::Extents(list), 0) => {
                if visit_list(&list, visit)?.is_break() {
                    return Ok(());
                }
            }
            (ExtentNode::Children { level: found, children }, level) if found == level && level > 0 => {
                todo.extend(children.iter().rev().map(|child| (level - 1, child.id)));
            }
            _ => {
                let why = "a node of another level";
                let damage = FormatError::Corrupt { what: "extent list", why };
                return Err(RepoError::object(&"extent list", damage));
            }
        }
    }
    Ok(())
}

fn read_extent_node(reader: &Reader, id: &BlobId) -> RepoResult<ExtentNode> {
    let bytes = reader.read(BlobKind::Tree, id)?;
    ExtentNode::decode(&bytes).map_err(|e| RepoError::object(&"extent list", e))
}

/// Visits every blob a tree refers to, its own nodes included, each node once. `seen` holds nodes that were
/// walked before, so that walking many snapshots costs their distinct nodes.
pub fn visit_blobs(
    reader: &Reader,
    root: Root,
    seen: &mut HashSet<BlobId>,
    visit: &mut dyn FnMut(BlobKind, &BlobId) -> ControlFlow<()>,
) -> RepoResult<()> {
    let mut todo = vec![root.id];
    while let Some(id) = todo.pop() {
        if !seen.insert(id) {
            continue;
        }
        if visit(BlobKind::Tree, &id).is_break() {
            return Ok(());
        }
        match read_node(reader, &id)? {
            Node::Index { children, .. } => todo.extend(children.iter().rev().map(|c| c.id)),
            Node::Leaf(leaf) => {
                for entry in &leaf.entries {
                    if visit_entry(reader, entry, seen, visit)?.is_break() {
                        return Ok(());
                    }
                }
            }
        }
    }
    Ok(())
}

/// Like [`visit_blobs`]; where the visitor breaks at a tree node, what hangs below that is left out, and the walk
/// goes on beside it.
pub fn visit_blobs_below(
    reader: &Reader,
    root: Root,
    seen: &mut HashSet<BlobId>,
    visit: &mut dyn FnMut(BlobKind, &BlobId) -> ControlFlow<()>,
) -> RepoResult<()> {
    let mut todo = vec![root.id];
    while let Some(id) = todo.pop() {
        if !seen.insert(id) || visit(BlobKind::Tree, &id).is_break() {
            continue;
        }
        match read_node(reader, &id)? {
            Node::Index { children, .. } => todo.extend(children.iter().rev().map(|c| c.id)),
            Node::Leaf(leaf) => {
                for entry in &leaf.entries {
                    // Lists of pieces are looked into whole: they belong to one file.
                    let mut all = |kind, id: &BlobId| {
                        _ = visit(kind, id);
                        ControlFlow::Continue(())
                    };
                    _ = visit_entry(reader, entry, seen, &mut all)?;
                }
            }
        }
    }
    Ok(())
}

/// Visits the blobs one entry refers to.
pub fn visit_entry(
    reader: &Reader,
    entry: &Entry,
    seen: &mut HashSet<BlobId>,
    visit: &mut dyn FnMut(BlobKind, &BlobId) -> ControlFlow<()>,
) -> RepoResult<ControlFlow<()>> {
    if let Xattrs::Blob(id) = &entry.class.xattrs
        && visit(BlobKind::Tree, id).is_break()
    {
        return Ok(ControlFlow::Break(()));
    }
    match &entry.content {
        Content::None => Ok(ControlFlow::Continue(())),
        Content::Whole(id) => Ok(visit(BlobKind::Data, id)),
        Content::Extents(list) => Ok(visit_extents(list, visit)),
        Content::ExtentTree { id, .. } => {
            let mut todo = vec![*id];
            while let Some(id) = todo.pop() {
                if !seen.insert(id) {
                    continue;
                }
                if visit(BlobKind::Tree, &id).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                match read_extent_node(reader, &id)? {
                    ExtentNode::Children { children, .. } => todo.extend(children.iter().rev().map(|c| c.id)),
                    ExtentNode::Extents(list) => {
                        if visit_extents(&list, visit).is_break() {
                            return Ok(ControlFlow::Break(()));
                        }
                    }
                }
            }
            Ok(ControlFlow::Continue(()))
        }
    }
}

fn visit_extents(
    list: &[Extent],
    visit: &mut dyn FnMut(BlobKind, &BlobId) -> ControlFlow<()>,
) -> ControlFlow<()> {
    for extent in list {
        if let Extent::Data { id, .. } = extent {
            visit(BlobKind::Data, id)?;
        }
    }
    ControlFlow::Continue(())
}

/// A difference between two trees at one key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change<'a> {
    /// Only in the second.
    Added(&'a Entry),
    /// Only in the first.
    Removed(&'a Entry),
    /// In both, and not equal.
    Changed(&'a Entry, &'a Entry),
}

/// Visits the differences of two trees in key order. Equal subtrees are skipped unread.
pub fn diff(
    reader: &Reader,
    a: Root,
    b: Root,
    visit: &mut dyn FnMut(&[u8], Change<'_>) -> RepoResult<()>,
) -> RepoResult<()> {
    if a == b {
        return Ok(());
    }
    let (mut a, mut b) = (Side::new(reader, a), Side::new(reader, b));
    loop {
        if !a.has_entries() && !b.has_entries() {
            skip_equal(&mut a, &mut b)?;
        }
        a.fill()?;
        b.fill()?;
        match (a.entry(), b.entry()) {
            (None, None) => return Ok(()),
            (Some((key, old)), None) => visit(key, Change::Removed(old)).map(|()| a.advance())?,
            (None, Some((key, new))) => visit(key, Change::Added(new)).map(|()| b.advance())?,
            (Some((ka, old)), Some((kb, new))) => match ka.cmp(kb) {
                Ordering::Less => visit(ka, Change::Removed(old)).map(|()| a.advance())?,
                Ordering::Greater => visit(kb, Change::Added(new)).map(|()| b.advance())?,
                Ordering::Equal => {
                    if old != new {
                        visit(ka, Change::Changed(old, new))?;
                    }
                    a.advance();
                    b.advance();
                }
            },
        }
    }
}

/// One tree being compared: nodes not opened yet, and the leaf that is.
struct Side<'r> {
    reader: &'r Reader,
    /// Unopened nodes with their levels, the next one last.
    todo: Vec<(u8, BlobId)>,
    leaf: Option<(Arc<Leaf>, usize)>,
}

impl<'r> Side<'r> {
    fn new(reader: &'r Reader, root: Root) -> Self {
        Side { reader, todo: vec![(root.level, root.id)], leaf: None }
    }

    fn has_entries(&self) -> bool {
        self.leaf.as_ref().is_some_and(|(leaf, i)| *i < leaf.len())
    }

    fn entry(&self) -> Option<(&[u8], &Entry)> {
        let (leaf, i) = self.leaf.as_ref()?;
        (*i < leaf.len()).then(|| (leaf.key(*i), &leaf.entries[*i]))
    }

    fn advance(&mut self) {
        if let Some((_, i)) = &mut self.leaf {
            *i += 1;
        }
    }

    /// Opens the next node: a leaf becomes current, an index node is replaced by its children.
    fn open_next(&mut self) -> RepoResult<()> {
        let Some((_, id)) = self.todo.pop() else { return Ok(()) };
        match read_node(self.reader, &id)? {
            Node::Leaf(leaf) => self.leaf = Some((Arc::new(leaf), 0)),
            Node::Index { level, children } => {
                self.todo.extend(children.iter().rev().map(|c| (level - 1, c.id)));
            }
        }
        Ok(())
    }

    /// Opens nodes until an entry is current or the tree ends.
    fn fill(&mut self) -> RepoResult<()> {
        while !self.has_entries() && !self.todo.is_empty() {
            self.open_next()?;
        }
        Ok(())
    }
}

/// While both sides stand between leaves: drops equal nodes, opens the higher of two different ones.
fn skip_equal(a: &mut Side<'_>, b: &mut Side<'_>) -> RepoResult<()> {
    while let (Some((la, ia)), Some((lb, ib))) = (a.todo.last().copied(), b.todo.last().copied()) {
        if ia == ib {
            a.todo.pop();
            b.todo.pop();
        } else if la == 0 && lb == 0 {
            return Ok(());
        } else if la >= lb {
            a.open_next()?;
        } else {
            b.open_next()?;
        }
    }
    Ok(())
}
