//! The order in which a snapshot becomes visible, and why nothing can be lost on the way.
//!
//! 1. packs, made durable. A crash leaves packs no index knows: found by a later maintenance.
//! 2. index segment, made durable. A crash leaves stored blobs that the next run finds: a free resume.
//! 3. pending record with the root. From here the tree is a root for every pruner.
//! 4. re-check: the index and the packs are listed *after* the pending record is visible. Whatever the
//!    tree relies on must be there. A pruner either sees our pending record, or we see what it condemned.
//! 5. snapshot record, created only if nobody else did. Now it counts; then its second copy; then a look
//!    whether the first is still there, for the snapshot may have been forgotten and removed at once.
//! 6. the pending records go.
//!
//! No clock is compared and nothing is locked: a run that slept for a month between two steps wakes up,
//! re-checks and repairs itself.

use crate::browse::visit_blobs;
use crate::cache::Cache;
use crate::error::RepoResult;
use crate::index::PackListing;
use crate::names;
use crate::reader::Reader;
use crate::unfinished::{found_or_put, put_committed_copy};
use crate::writer::destination::Destination;
use crate::writer::{Behind, Writer};
use format::codec::{Compressor, Level};
use format::id::{BlobId, BlobKind, PackId, SnapshotId};
use format::snapshot::{Pending, Snapshot};
use format::tree::Root;
use std::collections::HashSet;
use std::ops::ControlFlow;
use storage::{ErrorKind, ObjectName, PutMode, planted};

/// How a publication ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
        self.fan.ask(&mut |_| Box::new(Destination::flush))?;
        self.forget_indexed();
        Ok(())
    }

    /// Steps 1 to 4. `parent` is the snapshot whose leaves the tree may have taken over unread. After
    /// `false` the same writer may be used again, to store the tree anew and without a parent. Of several
    /// repositories one is enough that is ready; those that lack something are left behind.
    pub fn prepare(&mut self, root: Root, parent: Option<&SnapshotId>, thorough: bool) -> RepoResult<bool> {
        self.close_packs()?;
        for i in self.fan.passed_over() {
            self.leave_incomplete(i)?;
        }
        let parent = parent.copied();
        let relied_on: Vec<Vec<PackId>> = (0..self.fan.slots.len()).map(|i| self.fan.relied_on(i)).collect();
        let ready = self.fan.ask(&mut |i| {
            let relied_on = relied_on[i].clone();
            Box::new(move |destination| destination.prepare(root, parent.as_ref(), thorough, &relied_on))
        })?;
        self.forget_indexed();
        if !ready.contains(&Some(true)) {
            // What is gone must not be relied on by the next try: it would fail for ever.
            self.fan.rely_on_nothing();
            return Ok(false);
        }
        for i in (0..ready.len()).filter(|i| ready[*i] == Some(false)) {
            self.leave_incomplete(i)?;
        }
        Ok(true)
    }

    /// What was sent stays for who completes it; its pending record would keep a root that is not whole.
    fn leave_incomplete(&mut self, i: usize) -> RepoResult<()> {
        self.fan.each(1 << i, false, &mut |_| Box::new(Destination::abandon))?;
        self.fan.dismiss(i, Behind::Incomplete);
        Ok(())
    }

    /// Steps 5 and 6: the snapshot counts from here. It is sealed once and has the same bytes everywhere; one
    /// repository that has it is enough.
    pub fn commit(&mut self, snapshot: &Snapshot) -> RepoResult<Published> {
        let repo = self.repo().clone();
        let entropy = self.record_entropy();
        let bytes = snapshot.encode(repo.keys(), repo.suite(), entropy, &mut Compressor::new(Level(3)));
        let ours = *blake3::hash(&bytes).as_bytes();
        let published = self.fan.ask(&mut |_| {
            let (snapshot, bytes) = (snapshot.clone(), bytes.clone());
            Box::new(move |destination| destination.commit(&snapshot, bytes))
        })?;
        let mut outcome = None;
        for (i, published) in published.into_iter().enumerate() {
            match published {
                Some(Published::Done { record_hash }) if outcome.is_none() || record_hash == ours => {
                    outcome = Some(Published::Done { record_hash });
                }
                Some(Published::Overtaken) if !self.fan.is_single() => self.leave_incomplete(i)?,
                _ => {}
            }
        }
        Ok(outcome.unwrap_or(Published::Overtaken))
    }

    fn record_entropy(&mut self) -> [u8; 32] {
        match self.fan.is_single() {
            true => self.fan.sole().record_seed.draw(),
            false => self.pack_seed.draw(),
        }
    }

    /// Of each repository, in the order in which they were given, why it has not got the snapshot.
    pub fn behind(&mut self) -> Vec<Option<Behind>> {
        self.fan.collect_failures();
        self.fan.slots.iter_mut().map(|slot| slot.behind.take()).collect()
    }

    /// Whether anything is known to have gone wrong at one of the repositories.
    pub fn is_attached(&self, i: usize) -> bool {
        self.fan.slots[i].is_attached()
    }

    /// Ends a session that stores what older snapshots lack and makes none of its own. Its packs are under a
    /// pending record while they are looked at once more: after `false` something of them was taken away
    /// meanwhile, and what they hold must be stored again by another session.
    pub fn finish_healing(&mut self) -> RepoResult<bool> {
        self.flush()?;
        if self.own_packs().is_empty() {
            return Ok(true);
        }
        self.fan.sole().put_pending(None)?;
        let reader = self.reader().clone();
        reader.with_index_write(|index| index.refresh(reader.repo(), reader.cache()))?;
        let listing = PackListing::read_to_rely_on(reader.repo())?;
        reader.with_index_write(|index| index.see_packs(&listing));
        let own = self.own_packs().iter().copied();
        let kept = reader.with_index_read(|index| index.all_stored(own));
        self.abandon()?;
        Ok(kept)
    }

    /// Removes the pending record of a run that gives up on purpose.
    pub fn abandon(&mut self) -> RepoResult<()> {
        self.fan.ask(&mut |_| Box::new(Destination::abandon)).map(|_| ())
    }
}

impl Destination {
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
        if planted::is("pending-kept") {
            return Ok(());
        }
        let Some(before) = number.checked_sub(1).filter(|n| *n > 0) else { return Ok(()) };
        match repo.store().delete(&names::pending(&self.session, before)) {
            // An append-only place keeps it; maintenance removes it once the snapshot exists.
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Denied) => Ok(()),
            other => other.map_err(|e| repo.store_error(e)),
        }
    }

    /// Steps 1 to 4 here, after every pack was given. `false` if something the tree needs is not there.
    pub(super) fn prepare(
        &mut self,
        root: Root,
        parent: Option<&SnapshotId>,
        thorough: bool,
        relied_on: &[PackId],
    ) -> RepoResult<bool> {
        self.flush()?;
        self.put_pending(Some(root))?;
        let reader = self.reader.clone();
        reader.repo().look()?;
        reader.with_index_write(|index| index.refresh(reader.repo(), reader.cache()))?;
        let listing = PackListing::read_to_rely_on(reader.repo())?;
        reader.with_index_write(|index| index.see_packs(&listing));
        let memory = Memory::now(&reader, &listing);
        if !self.is_proven(&reader, &memory, root, parent, thorough, relied_on)? {
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
        relied_on: &[PackId],
    ) -> RepoResult<bool> {
        if planted::is("recheck-skipped") {
            return Ok(true);
        }
        let packs = self.own_packs.iter().chain(relied_on).copied();
        if !reader.with_index_read(|index| index.all_stored(packs)) {
            return Ok(false);
        }
        let inherited = match parent {
            None => true,
            Some(parent) => memory.keeps(reader.cache(), parent),
        };
        if inherited && !thorough { Ok(true) } else { every_blob_is_stored(reader, root) }
    }

    /// Steps 5 and 6 here: the snapshot counts from here on.
    pub(super) fn commit(&mut self, snapshot: &Snapshot, bytes: Vec<u8>) -> RepoResult<Published> {
        let repo = self.repo().clone();
        let name = names::snapshot(&snapshot.id);
        let bytes = match repo.put(&name, &bytes, PutMode::CreateNew) {
            Err(e) if e.store_kind() == Some(ErrorKind::AlreadyExists) => {
                match self.settle(snapshot, &name, bytes)? {
                    Some(bytes) => bytes,
                    None => return Ok(Published::Overtaken),
                }
            }
            Err(_) if planted::is("record-error-ignored") => {
                return Ok(Published::Done { record_hash: *blake3::hash(&bytes).as_bytes() });
            }
            other => other.map(|()| bytes)?,
        };
        if planted::is("acknowledged-before-sync") {
            return Ok(Published::Done { record_hash: *blake3::hash(&bytes).as_bytes() });
        }
        repo.sync()?;
        if !put_committed_copy(&repo, &snapshot.id, &bytes)? || self.was_removed(&name)? {
            return Ok(Published::Overtaken);
        }
        self.small_bytes += 2 * bytes.len() as u64;
        // A record that stays is a root too many, nothing worse: the snapshot is not undone for it.
        self.drop_pending_below(self.pending + 1).ok();
        Ok(Published::Done { record_hash: *blake3::hash(&bytes).as_bytes() })
    }

    /// Whether somebody forgot the snapshot and pruned between its two copies. They remove the first copy
    /// first: either it is gone now, or they will find the second.
    fn was_removed(&self, name: &ObjectName) -> RepoResult<bool> {
        let repo = self.repo();
        match repo.store().stat(name) {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                match repo.store().delete(&names::mirror(name)) {
                    Err(e) if e.kind() != ErrorKind::NotFound => return Err(repo.store_error(e)),
                    _ => repo.sync()?,
                }
                Ok(true)
            }
            other => other.map(|_| false).map_err(|e| repo.store_error(e)),
        }
    }

    /// Something has the name of our record already: the answer to a request of ours that was repeated, the
    /// torn beginning such a request left, or somebody else's word that this session is over (`None`).
    fn settle(&self, snapshot: &Snapshot, name: &ObjectName, ours: Vec<u8>) -> RepoResult<Option<Vec<u8>>> {
        let repo = self.repo();
        let Some(found) = found_or_put(repo, &snapshot.id, name, &ours)? else { return Ok(None) };
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
    pub(super) fn abandon(&mut self) -> RepoResult<()> {
        self.drop_pending_below(self.pending + 1)
    }
}

/// Whether everything a tree refers to has a mapping that counts.
fn every_blob_is_stored(reader: &Reader, root: Root) -> RepoResult<bool> {
    all_stored_below(reader, root, &mut HashSet::new())
}

/// The same, without the nodes that were walked before. After `false` what was seen means nothing.
pub(super) fn all_stored_below(reader: &Reader, root: Root, seen: &mut HashSet<BlobId>) -> RepoResult<bool> {
    let mut all = true;
    let walked = visit_blobs(reader, root, seen, &mut |kind, id| {
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
pub(super) struct Memory {
    /// Ascending.
    words: Vec<u64>,
}

/// So many memories are kept in the cache: one for each source that may be a parent.
const MEMORIES_MAX: usize = 64;
const MEMORY_PREFIX: &str = "seen-";

impl Memory {
    pub(super) fn now(reader: &Reader, listing: &PackListing) -> Self {
        let head = |bytes: &[u8]| u64::from_le_bytes(bytes[..8].try_into().expect("hashes are longer"));
        let pack = |(kind, id, len): (BlobKind, PackId, u64)| head(&id.0) ^ (len << 1 | kind as u64);
        let mut words: Vec<u64> =
            listing.live().filter(|(_, id, _)| !listing.is_damaged(id)).map(pack).collect();
        reader.with_index_read(|index| {
            words.extend(index.listed().map(|name| head(blake3::hash(name.as_str().as_bytes()).as_bytes())));
        });
        words.sort_unstable();
        Memory { words }
    }

    /// Ends with a hash: of a file cut short by a crash the rest would say too little.
    pub(super) fn store(&self, cache: &Cache, session: &SnapshotId) {
        let mut bytes: Vec<u8> = self.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let check = blake3::hash(&bytes);
        bytes.extend_from_slice(check.as_bytes());
        cache.store(&memory_name(session), bytes);
        cache.retain_newest(MEMORY_PREFIX, MEMORIES_MAX);
    }

    /// Whether everything that the parent's session saw is among what is there now.
    fn keeps(&self, cache: &Cache, parent: &SnapshotId) -> bool {
        let Some(bytes) = cache.read(&memory_name(parent)) else { return false };
        if planted::is("memory-believed") {
            return true;
        }
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
