//! Blobs that no whole pack holds: they go into packs with new names.
//!
//! What can still be read comes out of the broken pack itself; what cannot, from another repository of the
//! family or from a file whose contents have the lost id. Whatever is stored had its id computed again.

use super::{Run, Wanted, WantedFile};
use crate::browse::{extents, lookup};
use crate::check::walk::{At, Walked};
use crate::error::RepoResult;
use crate::reader::Reader;
use crate::seed::Seed;
use crate::snapshots::SnapshotList;
use crate::writer::Writer;
use format::id::{BlobId, BlobKind, PackId, SnapshotId};
use format::tree::{Extent, KeyPath, Root};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Another machine's prune may take away what was just stored; so often it is stored again.
const TRIES: usize = 3;

/// A blob with the place it is read from, so that each block is opened once.
type Placed = (Option<(PackId, u32, u16)>, BlobKind, BlobId);

impl Run<'_, '_> {
    /// Says whether anything was stored, or would be.
    pub(super) fn heal(&mut self, list: &SnapshotList, walked: &Walked) -> RepoResult<bool> {
        if walked.lost.is_empty() && walked.shaky.is_empty() {
            return Ok(false);
        }
        let (mut moved, mut from_sibling, mut from_source) = (0, 0, 0);
        let mut would_be = Vec::new();
        for _ in 0..TRIES {
            let mut healer = Healer::start(self);
            moved = healer.move_shaky(walked)?;
            let mut lost: BTreeSet<(BlobKind, BlobId)> = walked.lost.keys().copied().collect();
            from_sibling = healer.take_from_sibling(self.options.sibling, &mut lost)?;
            from_source = self.take_from_source(&mut healer, list, walked, &mut lost)?;
            would_be.append(&mut healer.would_be);
            if healer.finish()? {
                break;
            }
        }
        for (kind, id) in would_be {
            self.would_be.add(kind, &id.0);
        }
        self.report.moved_blobs += moved;
        self.report.blobs_from_sibling += from_sibling;
        self.report.blobs_from_source += from_source;
        Ok(moved + from_sibling + from_source > 0)
    }

    fn take_from_source(
        &mut self,
        healer: &mut Healer<'_>,
        list: &SnapshotList,
        walked: &Walked,
        lost: &mut BTreeSet<(BlobKind, BlobId)>,
    ) -> RepoResult<u64> {
        let reader = self.reader;
        let Some(source) = self.options.source.as_deref_mut() else { return Ok(0) };
        let wanted = wanted(reader, list, walked, lost);
        if wanted.ids.is_empty() {
            return Ok(0);
        }
        let mut found = 0;
        source.find(reader.repo(), &wanted, &mut |id, bytes| {
            if lost.remove(&(BlobKind::Data, *id)) {
                healer.store(BlobKind::Data, id, bytes)?;
                found += 1;
            }
            Ok(())
        })?;
        Ok(found)
    }
}

/// A session that stores what older snapshots lack.
struct Healer<'r> {
    reader: &'r Reader,
    /// None in a dry run.
    writer: Option<Writer>,
    /// What a dry run would have stored.
    would_be: Vec<(BlobKind, BlobId)>,
}

impl<'r> Healer<'r> {
    fn start(run: &mut Run<'r, '_>) -> Self {
        let seed = Seed::new(run.seed.draw());
        let options = &run.options;
        let writer = (!options.dry_run)
            .then(|| Writer::start(run.reader.clone(), &run.listing, seed, options.now, options.writer));
        Healer { reader: run.reader, writer, would_be: Vec::new() }
    }

    /// Stores a blob if these are its bytes.
    fn store(&mut self, kind: BlobKind, id: &BlobId, bytes: &[u8]) -> RepoResult<bool> {
        let keys = self.reader.repo().keys();
        if !keys.blob_id(kind, bytes).is_ok_and(|found| found == *id) || keys.block_key(kind).is_err() {
            return Ok(false);
        }
        match &mut self.writer {
            Some(writer) => writer.store_again(kind, id, bytes)?,
            None => self.would_be.push((kind, *id)),
        }
        Ok(true)
    }

    /// Takes out of broken packs what can be read there.
    fn move_shaky(&mut self, walked: &Walked) -> RepoResult<u64> {
        let mut placed: Vec<Placed> = Vec::new();
        for (kind, id) in &walked.shaky {
            let places = self.reader.locate(*kind, id);
            let first = places.first().map(|place| (place.pack, place.block.offset, place.rank));
            placed.push((first, *kind, *id));
        }
        placed.sort_unstable();
        let mut moved = 0;
        for (_, kind, id) in placed {
            match self.reader.read(kind, &id) {
                Ok(blob) => moved += u64::from(self.store(kind, &id, &blob)?),
                Err(e) if e.is_damage() || e.is_too_new() || e.store_kind().is_none() => {}
                Err(e) => return Err(e),
            }
        }
        Ok(moved)
    }

    /// Takes what the other repository of the family has; the rest stays in `lost`.
    fn take_from_sibling(
        &mut self,
        sibling: Option<&Reader>,
        lost: &mut BTreeSet<(BlobKind, BlobId)>,
    ) -> RepoResult<u64> {
        let Some(sibling) = sibling else { return Ok(0) };
        let mut taken = 0;
        for (kind, id) in lost.clone() {
            match sibling.read(kind, &id) {
                Ok(blob) => {
                    if self.store(kind, &id, &blob)? {
                        lost.remove(&(kind, id));
                        taken += 1;
                    }
                }
                Err(e) if e.is_damage() || e.is_too_new() || e.store_kind().is_none() => {}
                Err(e) => return Err(e),
            }
        }
        Ok(taken)
    }

    fn finish(self) -> RepoResult<bool> {
        self.writer.map_or(Ok(true), |mut writer| writer.finish_healing())
    }
}

/// The lost contents of files, with the files they were in.
fn wanted(
    reader: &Reader,
    list: &SnapshotList,
    walked: &Walked,
    lost: &BTreeSet<(BlobKind, BlobId)>,
) -> Wanted {
    let roots: HashMap<SnapshotId, Root> =
        list.snapshots.iter().map(|s| (s.snapshot.id, s.snapshot.root)).collect();
    let mut wanted = Wanted::default();
    let mut places: BTreeSet<(SnapshotId, &Vec<u8>)> = BTreeSet::new();
    for ((kind, id), blob) in &walked.lost {
        if *kind == BlobKind::Data && lost.contains(&(*kind, *id)) {
            wanted.ids.insert(*id);
            wanted.has_fixed_chunks |= blob.is_fixed_chunk;
            places.extend(blob.needed.iter().filter_map(|(snapshot, at)| match at {
                At::Key(key) => Some((*snapshot, key)),
                At::Range(..) => None,
            }));
        }
    }
    let mut files: BTreeSet<WantedFile> = BTreeSet::new();
    for (snapshot, key) in places {
        let pieces = roots.get(&snapshot).and_then(|root| pieces(reader, *root, key, &wanted.ids));
        if let (Some(pieces), Ok(path)) = (pieces, KeyPath::parse(key)) {
            files.insert(WantedFile { path: path.display_bytes(), pieces });
        }
    }
    wanted.files = files.into_iter().collect();
    wanted
}

/// Where in a file its lost pieces are.
fn pieces(
    reader: &Reader,
    root: Root,
    key: &[u8],
    lost: &BTreeSet<BlobId>,
) -> Option<Vec<(u64, u32, BlobId)>> {
    let entry = lookup(reader, root, key).ok()??;
    let mut found: BTreeMap<BlobId, (u64, u32)> = BTreeMap::new();
    let mut at = 0;
    for extent in extents(reader, &entry).ok()? {
        if let Extent::Data { id, len_bytes, .. } = &extent
            && lost.contains(id)
        {
            found.entry(*id).or_insert((at, *len_bytes));
        }
        at += match extent {
            Extent::Data { len_bytes, repeat, .. } => len_bytes as u64 * repeat as u64,
            Extent::Hole { len_bytes } => len_bytes,
        };
    }
    Some(found.into_iter().map(|(id, (at, len))| (at, len, id)).collect())
}
