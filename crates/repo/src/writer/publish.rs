//! The order in which a snapshot becomes visible, and why nothing can be lost on the way.
//!
//! 1. packs, made durable. A crash leaves packs no index knows: found by a later maintenance.
//! 2. index segment, made durable. A crash leaves stored blobs that the next run finds: a free resume.
//! 3. pending record with the root. From here the tree is a root for every pruner.
//! 4. re-check: the index and the packs are listed *after* the pending record is visible. Whatever the
//!    tree relies on must be there. A pruner either sees our pending record, or we see what it condemned.
//! 5. snapshot record, created only if nobody else did. Now it counts; then its second copy.
//! 6. the pending records go.
//!
//! No clock is compared and nothing is locked: a run that slept for a month between two steps wakes up,
//! re-checks and repairs itself.

use crate::browse::visit_blobs;
use crate::cache::Cache;
use crate::error::{RepoError, RepoResult};
use crate::index::PackListing;
use crate::names;
use crate::reader::Reader;
use crate::writer::Writer;
use format::FormatError;
use format::codec::{Compressor, Level};
use format::id::{BlobKind, PackId, SnapshotId};
use format::limits::RECORD_BYTES_MAX;
use format::snapshot::{Pending, Snapshot};
use format::tree::Root;
use std::collections::HashSet;
use std::ops::ControlFlow;
use storage::{ErrorKind, ObjectName, PutMode};

/// How a publication ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Published {
    /// The snapshot is durable and complete. The hash chains the writer's next record to this one.
    Done {
        /// BLAKE3 of the record as stored.
        record_hash: [u8; 32],
    },
    /// Something the tree relies on is gone: store it again from the source, without this parent.
    Overtaken,
}

impl Writer {
    /// Stores everything that is still under way. After it every blob put so far is indexed and durable.
    pub fn flush(&mut self) -> RepoResult<()> {
        self.close_packs()?;
        self.write_segment()?;
        self.repo().sync()
    }

    /// Replaces the session's pending record.
    pub(super) fn put_pending(&mut self, root: Option<Root>) -> RepoResult<()> {
        let repo = self.repo().clone();
        let number = self.pending + 1;
        let record =
            Pending { session: self.session, number, root, packs: self.own_packs.clone(), start: self.start };
        let mut compressor = Compressor::new(Level(1));
        let entropy = self.record_seed.draw();
        let bytes = record.encode(&repo.identity().repo, repo.keys(), repo.suite(), entropy, &mut compressor);
        repo.put(&names::pending(&self.session, number), &bytes, PutMode::CreateNew)?;
        repo.sync()?;
        self.pending = number;
        self.drop_pending_below(number)
    }

    fn drop_pending_below(&self, number: u64) -> RepoResult<()> {
        let repo = self.repo();
        let Some(before) = number.checked_sub(1).filter(|n| *n > 0) else { return Ok(()) };
        match repo.store().delete(&names::pending(&self.session, before)) {
            // An append-only place keeps it; maintenance removes it once the snapshot exists.
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Denied) => Ok(()),
            other => other.map_err(|e| repo.store_error(e)),
        }
    }

    /// Steps 1 to 4. `parent` is the snapshot whose leaves the tree may have taken over unread. After
    /// `false` the same writer may be used again, to store the tree anew and without a parent.
    pub fn prepare(&mut self, root: Root, parent: Option<&SnapshotId>, thorough: bool) -> RepoResult<bool> {
        self.flush()?;
        self.put_pending(Some(root))?;
        let reader = self.reader.clone();
        reader.with_index_write(|index| index.refresh(reader.repo(), reader.cache()))?;
        let listing = PackListing::read(reader.repo())?;
        if let Some(name) = listing.too_new() {
            let why = "packs may be condemned that this version does not know of";
            return Err(RepoError::object(
                &name,
                FormatError::TooNew { what: "list of condemned packs", why },
            ));
        }
        reader.with_index_write(|index| index.see_packs(&listing));
        let memory = Memory::now(&reader, &listing);
        if !self.is_proven(&reader, &memory, root, parent, thorough)? {
            // What is gone must not be relied on by the next try: it would fail for ever.
            self.relied_on.clear();
            self.relied_on_last = None;
            self.own_packs.retain(|id| reader.with_index_read(|index| index.all_stored([*id].into_iter())));
            return Ok(false);
        }
        memory.store(reader.cache(), &self.session);
        Ok(true)
    }

    fn is_proven(
        &self,
        reader: &Reader,
        memory: &Memory,
        root: Root,
        parent: Option<&SnapshotId>,
        thorough: bool,
    ) -> RepoResult<bool> {
        let packs = self.own_packs.iter().chain(&self.relied_on).copied();
        if !reader.with_index_read(|index| index.all_stored(packs)) {
            return Ok(false);
        }
        let inherited = match parent {
            None => true,
            Some(parent) => memory.keeps(reader.cache(), parent),
        };
        if inherited && !thorough { Ok(true) } else { every_blob_is_stored(reader, root) }
    }

    /// Steps 5 and 6: the snapshot counts from here.
    pub fn commit(&mut self, snapshot: &Snapshot) -> RepoResult<Published> {
        let repo = self.repo().clone();
        let entropy = self.record_seed.draw();
        let bytes = snapshot.encode(repo.keys(), repo.suite(), entropy, &mut Compressor::new(Level(3)));
        let name = names::snapshot(&snapshot.id);
        let bytes = match repo.put(&name, &bytes, PutMode::CreateNew) {
            Err(e) if e.store_kind() == Some(ErrorKind::AlreadyExists) => {
                match self.settle(snapshot, &name, bytes)? {
                    Some(bytes) => bytes,
                    None => return Ok(Published::Overtaken),
                }
            }
            other => other.map(|()| bytes)?,
        };
        repo.sync()?;
        match repo.put(&names::mirror(&name), &bytes, PutMode::Replace) {
            Err(e) if e.store_kind() == Some(ErrorKind::Denied) => {}
            other => other?,
        }
        repo.sync()?;
        self.written.stored_bytes += 2 * bytes.len() as u64;
        // A record that stays is a root too many, nothing worse: the snapshot is not undone for it.
        self.drop_pending_below(self.pending + 1).ok();
        Ok(Published::Done { record_hash: *blake3::hash(&bytes).as_bytes() })
    }

    /// Something has the name of our record already: the answer to a request of ours that was repeated, the
    /// torn beginning such a request left, or somebody else's word that this session is over (`None`).
    fn settle(&self, snapshot: &Snapshot, name: &ObjectName, ours: Vec<u8>) -> RepoResult<Option<Vec<u8>>> {
        let repo = self.repo();
        let found = match repo.store().get(name, RECORD_BYTES_MAX as u64) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(repo.store_error(e)),
            other => other.unwrap_or_default(),
        };
        match Snapshot::decode(&found, repo.keys()) {
            Ok(record) => Ok((record == *snapshot).then_some(found)),
            Err(_) if ours.starts_with(&found) => {
                // Where that is refused, the second copy is the one that counts.
                match repo.put(name, &ours, PutMode::Replace) {
                    Err(e) if e.store_kind() == Some(ErrorKind::Denied) => Ok(Some(ours)),
                    other => other.map(|()| Some(ours)),
                }
            }
            Err(_) => Ok(None),
        }
    }

    /// Removes the pending record of a run that gives up on purpose.
    pub fn abandon(&mut self) -> RepoResult<()> {
        self.drop_pending_below(self.pending + 1)
    }
}

/// Whether everything a tree refers to has a mapping that counts.
fn every_blob_is_stored(reader: &Reader, root: Root) -> RepoResult<bool> {
    let mut all = true;
    let walked = visit_blobs(reader, root, &mut HashSet::new(), &mut |kind, id| {
        all = reader.with_index_read(|index| index.stored_in(kind, id)).is_some();
        if all { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    match walked {
        Err(e) if e.is_damage() => Ok(false),
        other => other.map(|()| all),
    }
}

/// What a session saw when it re-checked: its packs that counted, with their lengths, and its index
/// segments; 8 bytes each. Whatever a snapshot relied on is among them. So if everything its session saw is
/// there now, leaves taken over from it need not be walked. Without the memory they are.
struct Memory {
    /// Ascending.
    words: Vec<u64>,
}

/// So many memories are kept in the cache: one for each source that may be a parent.
const MEMORIES_MAX: usize = 64;
const MEMORY_PREFIX: &str = "seen-";

impl Memory {
    fn now(reader: &Reader, listing: &PackListing) -> Self {
        let head = |bytes: &[u8]| u64::from_le_bytes(bytes[..8].try_into().expect("hashes are longer"));
        let pack = |(kind, id, len): (BlobKind, PackId, u64)| head(&id.0) ^ (len << 1 | kind as u64);
        let mut words: Vec<u64> = listing.live().map(pack).collect();
        reader.with_index_read(|index| {
            words.extend(index.listed().map(|name| head(blake3::hash(name.as_str().as_bytes()).as_bytes())));
        });
        words.sort_unstable();
        Memory { words }
    }

    /// Ends with a hash: of a file cut short by a crash the rest would say too little.
    fn store(&self, cache: &Cache, session: &SnapshotId) {
        let mut bytes: Vec<u8> = self.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let check = blake3::hash(&bytes);
        bytes.extend_from_slice(check.as_bytes());
        cache.store(&memory_name(session), bytes);
        cache.retain_newest(MEMORY_PREFIX, MEMORIES_MAX);
    }

    /// Whether everything that the parent's session saw is among what is there now.
    fn keeps(&self, cache: &Cache, parent: &SnapshotId) -> bool {
        let Some(bytes) = cache.read(&memory_name(parent)) else { return false };
        let Some((words, check)) = bytes.split_last_chunk::<32>() else { return false };
        if blake3::hash(words) != *check {
            return false;
        }
        let mut now = self.words.iter();
        words.as_chunks::<8>().0.iter().all(|word| {
            let word = u64::from_le_bytes(*word);
            now.by_ref().find(|n| **n >= word) == Some(&word)
        })
    }
}

fn memory_name(snapshot: &SnapshotId) -> String {
    format!("{MEMORY_PREFIX}{}", snapshot.hex())
}
