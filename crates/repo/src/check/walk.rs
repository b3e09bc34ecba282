//! The structure: everything every snapshot reaches has a place that can be read from.
//!
//! Subtrees without a problem are walked once, however many snapshots share them; others are walked for
//! each snapshot, so that every path that is hurt is named. A node that is lost here may be read in another
//! repository of the family, so that what lies below it is judged, too.

use super::BrokenPacks;
use crate::browse::{read_node, visit_entry};
use crate::error::{RepoError, RepoResult};
use crate::index::PackListing;
use crate::reader::{Reader, chain};
use crate::snapshots::SnapshotList;
use format::id::{BlobId, BlobKind, PackId, SnapshotId};
use format::tree::{Content, Entry, Marks, Node};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::ControlFlow;

/// Bytes of an id that every directory of a pack keeps.
const CUT_ID_BYTES: usize = 8;

/// Blobs that a dry run would put where they can be read: they count as there.
#[derive(Default)]
pub(crate) struct WouldBe(HashSet<(BlobKind, [u8; CUT_ID_BYTES])>);

impl WouldBe {
    /// Takes a whole id, or as much of it as a directory keeps.
    pub(crate) fn add(&mut self, kind: BlobKind, id: &[u8]) {
        self.0.extend(id.first_chunk().map(|cut| (kind, *cut)));
    }

    fn holds(&self, kind: BlobKind, id: &BlobId) -> bool {
        id.0.first_chunk().is_some_and(|cut| self.0.contains(&(kind, *cut)))
    }
}

/// Paths named for one damaged blob.
const HURTS_MAX: usize = 100;

/// Where in a tree something is lost.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum At {
    /// The entry of this key.
    Key(Vec<u8>),
    /// Everything after one key up to another; up to the end when that is empty.
    Range(Vec<u8>, Vec<u8>),
}

/// A blob that cannot be read.
#[derive(Clone, Debug)]
pub(crate) struct Lost {
    pub(crate) why: String,
    /// Who needs it, the first hundred.
    pub(crate) needed: Vec<(SnapshotId, At)>,
    /// Whether an entry that needs it is cut into fixed chunks.
    pub(crate) is_fixed_chunk: bool,
}

/// What a walk over all snapshots found.
#[derive(Default)]
pub(crate) struct Walked {
    /// Blobs that cannot be read.
    pub(crate) lost: BTreeMap<(BlobKind, BlobId), Lost>,
    /// Blobs that could be read, but have no place in a pack that is whole.
    pub(crate) shaky: BTreeSet<(BlobKind, BlobId)>,
    /// Packs that snapshots need and no segment lists.
    pub(crate) unlisted: BTreeSet<PackId>,
    /// How many entries of each snapshot are hurt; a lost node counts as one.
    pub(crate) hurt: BTreeMap<SnapshotId, u64>,
}

impl Walked {
    /// Whether everything is there, in packs that can be relied on.
    pub(crate) fn is_whole(&self) -> bool {
        self.lost.is_empty() && self.shaky.is_empty() && self.hurt.is_empty()
    }
}

/// Walks all snapshots, forgotten ones included: they can be brought back. `listing` must be younger than
/// `list`. What a prune removed meanwhile goes from `list`: that its packs are gone hurts nobody.
pub(crate) fn walk(
    reader: &Reader,
    sibling: Option<&Reader>,
    listing: &PackListing,
    broken: &BrokenPacks,
    would_be: &WouldBe,
    list: &mut SnapshotList,
) -> RepoResult<Walked> {
    loop {
        let found = Walked::default();
        let walk = Walk { reader, sibling, listing, broken, would_be, clean: HashSet::new(), found };
        let walked = walk.all(list)?;
        let is_whole = walked.is_whole() && list.unreadable.is_empty();
        if is_whole || !list.drop_removed(reader.repo())? {
            return Ok(walked);
        }
    }
}

/// Whether the store did not answer: then nothing can be said about what it holds.
fn is_line_trouble(e: &RepoError) -> bool {
    e.store_kind().is_some() && !e.is_damage()
}

struct Walk<'a> {
    reader: &'a Reader,
    sibling: Option<&'a Reader>,
    listing: &'a PackListing,
    broken: &'a BrokenPacks,
    would_be: &'a WouldBe,
    /// Nodes below which nothing is wrong.
    clean: HashSet<BlobId>,
    found: Walked,
}

impl Walk<'_> {
    fn all(mut self, list: &SnapshotList) -> RepoResult<Walked> {
        for stored in &list.snapshots {
            let snapshot = &stored.snapshot;
            self.node(snapshot.id, snapshot.root.id, &At::Range(Vec::new(), Vec::new()))?;
        }
        Ok(self.found)
    }

    /// Walks a subtree; says whether all is well. The depth is bounded by the format.
    fn node(&mut self, snapshot: SnapshotId, id: BlobId, at: &At) -> RepoResult<bool> {
        if self.clean.contains(&id) {
            return Ok(true);
        }
        self.note_unlisted(BlobKind::Tree, &id);
        let (mut is_clean, node) = match read_node(self.reader, &id) {
            Ok(node) => {
                self.note_shaky(BlobKind::Tree, &id);
                (true, node)
            }
            Err(e) if is_line_trouble(&e) => return Err(e),
            Err(e) => {
                let elsewhere = self.sibling.and_then(|sibling| read_node(sibling, &id).ok());
                let would_be = elsewhere.is_some() && self.would_be.holds(BlobKind::Tree, &id);
                if !would_be {
                    self.lose((BlobKind::Tree, id), chain(&e), snapshot, at.clone(), false);
                    *self.found.hurt.entry(snapshot).or_default() += 1;
                }
                match elsewhere {
                    Some(node) => (would_be, node),
                    None => return Ok(false),
                }
            }
        };
        match node {
            Node::Index { children, .. } => {
                let At::Range(mut after, last) = at.clone() else { return Ok(false) };
                let n = children.len();
                for (i, child) in children.into_iter().enumerate() {
                    // The last node of a level ends with the tree, whatever its last key is.
                    let up_to = if i + 1 == n { last.clone() } else { child.last_key.to_vec() };
                    let range = At::Range(after, up_to);
                    is_clean &= self.node(snapshot, child.id, &range)?;
                    after = child.last_key.to_vec();
                }
            }
            Node::Leaf(leaf) => {
                for i in 0..leaf.len() {
                    if !self.entry(snapshot, leaf.key(i), &leaf.entries[i])? {
                        *self.found.hurt.entry(snapshot).or_default() += 1;
                        is_clean = false;
                    }
                }
            }
        }
        if is_clean {
            self.clean.insert(id);
        }
        Ok(is_clean)
    }

    fn entry(&mut self, snapshot: SnapshotId, key: &[u8], entry: &Entry) -> RepoResult<bool> {
        let mut blobs = Vec::new();
        let mut note = |kind, id: &BlobId| {
            blobs.push((kind, *id));
            ControlFlow::Continue(())
        };
        let mut visited = visit_entry(self.reader, entry, &mut HashSet::new(), &mut note);
        if let (Err(e), Some(sibling)) = (&visited, self.sibling)
            && !is_line_trouble(e)
        {
            let whole = visit_entry(sibling, entry, &mut HashSet::new(), &mut note);
            visited = whole.or(visited);
        }
        blobs.sort();
        blobs.dedup();
        let is_fixed = entry.marks.has(Marks::FIXED_CHUNKS);
        let mut is_clean = true;
        for (kind, id) in blobs {
            self.note_unlisted(kind, &id);
            if let Some(why) = self.problem_of(kind, &id)? {
                self.lose((kind, id), why, snapshot, At::Key(key.to_vec()), is_fixed);
                is_clean = false;
            }
        }
        let at = At::Key(key.to_vec());
        match visited {
            Err(RepoError::MissingBlob { id, why, .. }) => {
                // The blob was noted above unless it has a place; then only reading showed the damage.
                if let Some(id) = BlobId::from_hex(&id).filter(|_| is_clean) {
                    self.lose((BlobKind::Tree, id), why, snapshot, at, false);
                }
                Ok(false)
            }
            Err(e) if !is_line_trouble(&e) => {
                if let Content::ExtentTree { id, .. } = &entry.content {
                    self.lose((BlobKind::Tree, *id), chain(&e), snapshot, at, false);
                }
                Ok(false)
            }
            other => other.map(|_| is_clean),
        }
    }

    fn has_sound_place(&self, kind: BlobKind, id: &BlobId) -> bool {
        let is_sound =
            |pack: &PackId| self.listing.len_bytes(kind, pack).is_some() && !self.broken.contains_key(pack);
        self.would_be.holds(kind, id) || self.reader.locate(kind, id).iter().any(|p| is_sound(&p.pack))
    }

    fn note_shaky(&mut self, kind: BlobKind, id: &BlobId) {
        if !self.has_sound_place(kind, id) {
            self.found.shaky.insert((kind, *id));
        }
    }

    /// What is wrong with a blob: it has no place, or only places in packs that are gone or broken.
    fn problem_of(&mut self, kind: BlobKind, id: &BlobId) -> RepoResult<Option<String>> {
        if self.has_sound_place(kind, id) {
            return Ok(None);
        }
        // A broken pack may still hold this blob unharmed: only reading tells.
        match self.reader.read(kind, id) {
            Ok(_) => {
                self.found.shaky.insert((kind, *id));
                Ok(None)
            }
            Err(RepoError::MissingBlob { why, .. }) => Ok(Some(why)),
            Err(e) if is_line_trouble(&e) => Err(e),
            // Too new, or sealed for other keys: the pack is broken, and whether this blob is cannot be told.
            Err(e) => Ok(Some(chain(&e))),
        }
    }

    fn note_unlisted(&mut self, kind: BlobKind, id: &BlobId) {
        self.found.unlisted.extend(self.reader.with_index_read(|index| index.only_adopted(kind, id)));
    }

    fn lose(
        &mut self,
        blob: (BlobKind, BlobId),
        why: String,
        snapshot: SnapshotId,
        at: At,
        is_fixed_chunk: bool,
    ) {
        let lost = self.found.lost.entry(blob).or_insert_with(|| Lost {
            why,
            needed: Vec::new(),
            is_fixed_chunk: false,
        });
        lost.is_fixed_chunk |= is_fixed_chunk;
        if lost.needed.len() < HURTS_MAX {
            lost.needed.push((snapshot, at));
        }
    }
}
