//! Packs in place: the same name, the same bytes, from their parity or from another repository.

use super::{How, Run};
use crate::check::walk::Walked;
use crate::check::{CheckOptions, CheckReport, compare_with_name, read_packs};
use crate::error::RepoResult;
use crate::index::{PackListing, open_whole};
use crate::names;
use format::id::{BlobKind, PackId};
use format::pack;
use std::collections::BTreeSet;
use storage::ErrorKind;

/// A pack that is not whole: its length as written, and what is wrong.
type BrokenPack = (PackId, BlobKind, u64, String);

impl Run<'_, '_> {
    /// Reads the packs that are to be read, and mends those that are broken or missing.
    pub(super) fn repair_packs(&mut self) -> RepoResult<()> {
        let mut broken: Vec<BrokenPack> = Vec::new();
        let missing = self.reader.with_index_read(|index| index.missing_packs(&self.listing));
        for (id, kind) in missing {
            let why = match self.listing.len_bytes(kind, &id) {
                Some(len) => format!("has {len} bytes, which is not its length"),
                None => "is missing".to_string(),
            };
            broken.extend(self.length_of(kind, &id).map(|len| (id, kind, len, why)));
        }
        let read = self.read_packs(&mut broken)?;
        // What a share left unread is as it was marked.
        for (kind, id, len) in self.listing.live() {
            if self.listing.is_damaged(&id) && !read.contains(&id) && broken.iter().all(|b| b.0 != id) {
                broken.push((id, kind, len, "is marked as damaged".to_string()));
            }
        }
        if !broken.is_empty() {
            // What a prune condemned meanwhile is not broken but leaving.
            self.see_again()?;
            broken.retain(|(id, ..)| !self.listing.is_condemned(id));
        }
        let mut mended_any = false;
        for (id, kind, len, why) in broken {
            match self.mend_pack(kind, &id, len)? {
                true => {
                    mended_any = true;
                    self.whole.insert(id);
                }
                false => {
                    self.broken.insert(id, why);
                    self.broken_kinds.insert(id, kind);
                }
            }
        }
        if mended_any && !self.options.dry_run {
            self.see_again()?;
        }
        Ok(())
    }

    /// Packs that no segment lists are not read for their own sake: most are prune's. Where a segment was lost, they
    /// are compared with their names before they are listed again. Says whether any was not whole.
    pub(super) fn repair_unlisted(&mut self, walked: &Walked) -> RepoResult<bool> {
        let all = !self.bad_segments.is_empty() || !walked.lost.is_empty();
        let listing = &self.listing;
        let mut unlisted = self.reader.with_index_read(|index| index.packs_without_segment(listing));
        unlisted.retain(|(_, id, _)| {
            (all || walked.unlisted.contains(id))
                && !listing.is_condemned(id)
                && !self.broken.contains_key(id)
                && !self.whole.contains(id)
        });
        let mut was_any_broken = false;
        for (kind, id, len) in unlisted {
            self.report.packs_read += 1;
            self.report.bytes_read += len;
            let problem = compare_with_name(self.reader, kind, &id, len)?;
            was_any_broken |= problem.is_some();
            match problem {
                Some(why) if !self.mend_pack(kind, &id, len)? => match walked.unlisted.contains(&id) {
                    true => {
                        self.broken.insert(id, why);
                        self.broken_kinds.insert(id, kind);
                    }
                    false => _ = self.unlisted_broken.insert(names::pack(kind, &id), why),
                },
                _ => _ = self.whole.insert(id),
            }
        }
        if was_any_broken && !self.options.dry_run {
            self.see_again()?;
        }
        Ok(was_any_broken)
    }

    /// Packs that no segment lists are not read for their own sake. Those that were met on the way to something
    /// needed, and were damaged there, are mended all the same.
    pub(super) fn repair_met(&mut self) -> RepoResult<()> {
        for (kind, id) in self.reader.mended_packs() {
            if self.whole.contains(&id) || self.broken.contains_key(&id) || self.listing.is_condemned(&id) {
                continue;
            }
            if let Some(len) = self.listing.len_bytes(kind, &id)
                && self.mend_pack(kind, &id, len)?
            {
                self.whole.insert(id);
            }
        }
        Ok(())
    }

    fn length_of(&self, kind: BlobKind, id: &PackId) -> Option<u64> {
        self.reader.with_index_read(|index| index.pack_bytes(kind, id))
    }

    /// Returns what was read; broken packs are added.
    fn read_packs(&mut self, broken: &mut Vec<BrokenPack>) -> RepoResult<BTreeSet<PackId>> {
        let mut report = CheckReport::default();
        let mut read = BTreeSet::new();
        let mut options = CheckOptions {
            read: self.options.read,
            workers: self.options.workers,
            sample_seed: self.options.sample_seed,
            now: self.options.now,
            progress: &mut *self.options.progress,
        };
        let whole = &mut self.whole;
        read_packs(self.reader, &self.listing, &mut options, &mut report, &mut |job, problem| {
            read.insert(job.id);
            match problem {
                Some(why) => broken.push((job.id, job.kind, job.pack_bytes, why)),
                None => _ = whole.insert(job.id),
            }
        })?;
        self.report.packs_read = report.packs_read;
        self.report.bytes_read = report.bytes_read;
        Ok(read)
    }

    /// Gives a pack back its bytes. A condemned name is never written again.
    pub(super) fn mend_pack(&mut self, kind: BlobKind, id: &PackId, pack_bytes: u64) -> RepoResult<bool> {
        if pack_bytes > self.repo().pack_bytes_max() {
            return Ok(false); // mending needs all of it in memory
        }
        let Some((bytes, how)) = self.right_bytes(kind, id, pack_bytes)? else { return Ok(false) };
        let name = names::pack(kind, id);
        let repo = self.repo().clone();
        if self.options.dry_run {
            if let Some((_, directory)) = open_whole(&repo, kind, &bytes) {
                let ids = directory.ids.chunks_exact(pack::directory_id_bytes(kind));
                ids.for_each(|id| self.would_be.add(kind, id));
            }
            self.did(&name, how);
            return Ok(true);
        }
        if PackListing::read(&repo)?.is_condemned(id) {
            return Ok(false);
        }
        let written = self.overwrite(&name, &bytes);
        match written {
            // What is needed of it gets a new name instead.
            Err(e) if super::is_refusal(&e) => Ok(false),
            other => self.settle(&name, how, other),
        }
    }

    fn right_bytes(
        &self,
        kind: BlobKind,
        id: &PackId,
        pack_bytes: u64,
    ) -> RepoResult<Option<(Vec<u8>, How)>> {
        let name = names::pack(kind, id);
        let repo = self.repo();
        let is_right = |bytes: &[u8]| *blake3::hash(bytes).as_bytes() == id.0;
        match repo.store().get(&name, repo.pack_bytes_max()).map_err(|e| repo.store_error(e)) {
            // Right bytes with wrong contents were written so: no copy of them is better.
            Ok(bytes) if is_right(&bytes) => return Ok(None),
            Ok(mut bytes) => {
                let had_other_length = bytes.len() as u64 != pack_bytes;
                // What was cut off counts as lost; what was appended does not count.
                bytes.resize(pack_bytes as usize, 0);
                if pack::repair(&mut bytes, id).is_ok_and(|changed| changed || had_other_length) {
                    return Ok(Some((bytes, How::Parity)));
                }
            }
            Err(e) if e.is_damage() => {}
            Err(e) => return Err(e),
        }
        if let Some(bytes) = self.spare(&name, repo.pack_bytes_max())?.filter(|bytes| is_right(bytes)) {
            return Ok(Some((bytes, How::OtherCopy)));
        }
        let Some(sibling) = self.options.sibling else { return Ok(None) };
        let others = std::iter::once(sibling).chain(sibling.siblings().iter().map(|other| &**other));
        let mut trouble = None;
        for other in others {
            match other.repo().store().get(&name, repo.pack_bytes_max()) {
                Ok(bytes) if is_right(&bytes) => return Ok(Some((bytes, How::Sibling))),
                Ok(_) => {}
                Err(e)
                    if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Other | ErrorKind::TooLarge) => {}
                Err(e) => trouble = Some(other.repo().store_error(e)),
            }
        }
        trouble.map_or(Ok(None), Err)
    }
}
