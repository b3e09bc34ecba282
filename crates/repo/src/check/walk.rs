//! The structure: everything every snapshot reaches has a place that can be read from.
//!
//! Subtrees without a problem are walked once, however many snapshots share them; others are walked for
//! each snapshot, so that every path that is hurt is named.

use super::{BrokenPacks, CheckReport, Finding};
use crate::browse::{read_node, visit_entry};
use crate::error::{RepoError, RepoResult};
use crate::index::PackListing;
use crate::names;
use crate::reader::{Reader, chain};
use crate::snapshots::SnapshotList;
use format::id::{BlobId, BlobKind, PackId};
use format::tree::{Content, Entry, KeyPath, Node};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::ControlFlow;

/// Paths named for one damaged blob.
const HURTS_MAX: usize = 100;

/// Walks all snapshots, forgotten ones included: they can be brought back.
pub(super) fn check_snapshots(
    reader: &Reader,
    listing: &PackListing,
    report: &mut CheckReport,
    broken: &BrokenPacks,
) -> RepoResult<()> {
    let list = SnapshotList::read(reader.repo())?;
    for (id, e) in &list.unreadable {
        let hurts = vec![(id.hex()[..8].to_string(), b"/".to_vec())];
        report.findings.push(Finding { hurts, ..Finding::of(names::snapshot(id), chain(e)) });
    }
    let mut walk = Walk {
        reader,
        listing,
        broken,
        clean: HashSet::new(),
        bad: BTreeMap::new(),
        unlisted: BTreeSet::new(),
    };
    for stored in &list.snapshots {
        report.snapshots += 1;
        walk.node(&stored.snapshot.short_id(), stored.snapshot.root.id, b"/")?;
    }
    report.findings.extend(walk.bad.into_values());
    let why = "is in no index segment, but snapshots need it: a segment was lost";
    report.findings.extend(walk.unlisted.iter().map(|id| Finding::of(format!("pack {}", id.hex()), why)));
    Ok(())
}

/// Whether the store did not answer: then nothing can be said about what it holds.
fn is_line_trouble(e: &RepoError) -> bool {
    e.store_kind().is_some() && !e.is_damage()
}

struct Walk<'a> {
    reader: &'a Reader,
    listing: &'a PackListing,
    broken: &'a BrokenPacks,
    /// Nodes below which nothing is wrong.
    clean: HashSet<BlobId>,
    bad: BTreeMap<BlobId, Finding>,
    /// Packs that snapshots need and no segment lists.
    unlisted: BTreeSet<PackId>,
}

impl Walk<'_> {
    /// Walks a subtree near this path; says whether all is well. The depth is bounded by the format.
    fn node(&mut self, snapshot: &str, id: BlobId, near: &[u8]) -> RepoResult<bool> {
        if self.clean.contains(&id) {
            return Ok(true);
        }
        self.note_unlisted(BlobKind::Tree, &id);
        let path_of = |key: &[u8]| KeyPath::parse(key).map(|p| p.display_bytes()).unwrap_or_default();
        let mut is_clean = true;
        match read_node(self.reader, &id) {
            Err(e) if is_line_trouble(&e) => return Err(e),
            Err(e) => {
                self.report(BlobKind::Tree, id, chain(&e), snapshot, near);
                return Ok(false);
            }
            Ok(Node::Index { children, .. }) => {
                for child in children {
                    is_clean &= self.node(snapshot, child.id, &path_of(&child.last_key))?;
                }
            }
            Ok(Node::Leaf(leaf)) => {
                for i in 0..leaf.len() {
                    is_clean &= self.entry(snapshot, &path_of(leaf.key(i)), &leaf.entries[i])?;
                }
            }
        }
        if is_clean {
            self.clean.insert(id);
        }
        Ok(is_clean)
    }

    fn entry(&mut self, snapshot: &str, path: &[u8], entry: &Entry) -> RepoResult<bool> {
        let mut blobs = Vec::new();
        let visited = visit_entry(self.reader, entry, &mut HashSet::new(), &mut |kind, id| {
            blobs.push((kind, *id));
            ControlFlow::Continue(())
        });
        let mut is_clean = true;
        for (kind, id) in blobs {
            self.note_unlisted(kind, &id);
            if let Some(why) = self.problem_of(kind, &id)? {
                self.report(kind, id, why, snapshot, path);
                is_clean = false;
            }
        }
        match visited {
            Err(RepoError::MissingBlob { id, why, .. }) => {
                // The blob was noted above unless it has a place; then only reading showed the damage.
                if let Some(id) = BlobId::from_hex(&id).filter(|_| is_clean) {
                    self.report(BlobKind::Tree, id, why, snapshot, path);
                }
                Ok(false)
            }
            Err(e) if !is_line_trouble(&e) => {
                if let Content::ExtentTree { id, .. } = &entry.content {
                    self.report(BlobKind::Tree, *id, chain(&e), snapshot, path);
                }
                Ok(false)
            }
            other => other.map(|_| is_clean),
        }
    }

    /// What is wrong with a blob: it has no place, or only places in packs that are gone or broken.
    fn problem_of(&self, kind: BlobKind, id: &BlobId) -> RepoResult<Option<String>> {
        let places = self.reader.locate(kind, id);
        let is_sound =
            |pack: &PackId| self.listing.len_bytes(kind, pack).is_some() && !self.broken.contains_key(pack);
        if places.iter().any(|p| is_sound(&p.pack)) {
            return Ok(None);
        }
        // A broken pack may still hold this blob unharmed: only reading tells.
        match self.reader.read(kind, id) {
            Ok(_) => Ok(None),
            Err(RepoError::MissingBlob { why, .. }) => Ok(Some(why)),
            Err(e) if is_line_trouble(&e) => Err(e),
            // Too new, or sealed for other keys: the pack is broken, and whether this blob is cannot be told.
            Err(e) => Ok(Some(chain(&e))),
        }
    }

    fn note_unlisted(&mut self, kind: BlobKind, id: &BlobId) {
        self.unlisted.extend(self.reader.with_index_read(|index| index.only_adopted(kind, id)));
    }

    fn report(&mut self, kind: BlobKind, id: BlobId, why: String, snapshot: &str, path: &[u8]) {
        let what = match kind {
            BlobKind::Data => format!("contents {}", id.hex()),
            BlobKind::Tree => format!("tree node {}", id.hex()),
        };
        let finding = self.bad.entry(id).or_insert_with(|| Finding::of(what, why));
        if finding.hurts.len() < HURTS_MAX {
            finding.hurts.push((snapshot.to_string(), path.to_vec()));
        }
    }
}
