//! Overwriting in place, where a death in the middle leaves the beginning of the new bytes on some places: what
//! could still be mended before would then be lost. So the right bytes are first kept under another name, and
//! the next repair finds them there.

use super::Run;
use crate::error::RepoResult;
use crate::names;
use storage::{ErrorKind, ObjectName, PutMode};

/// What the names of kept bytes begin with.
const SPARE: &str = "maint/mended-";

fn spare_name(name: &ObjectName) -> ObjectName {
    names::name(&format!("{SPARE}{}", name.as_str().replace('/', "-")))
}

impl Run<'_, '_> {
    /// Puts right bytes where damaged ones stand, durably.
    pub(super) fn overwrite(&self, name: &ObjectName, bytes: &[u8]) -> RepoResult<()> {
        let (repo, spare) = (self.repo(), spare_name(name));
        repo.put(&spare, bytes, PutMode::Replace)?;
        repo.sync()?;
        repo.put(name, bytes, PutMode::Replace)?;
        repo.sync()?;
        self.drop_spare(&spare)
    }

    /// Bytes that a repair which died was about to put there.
    pub(super) fn spare(&self, name: &ObjectName, max_bytes: u64) -> RepoResult<Option<Vec<u8>>> {
        match self.repo().store().get(&spare_name(name), max_bytes) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::TooLarge) => Ok(None),
            Err(e) => Err(self.repo().store_error(e)),
        }
    }

    /// Once a repair went through, nothing that was kept is needed any more, but for what is still broken.
    pub(super) fn drop_spares(&self) -> RepoResult<()> {
        let broken: Vec<ObjectName> = self.broken_kinds.iter().map(|(id, k)| names::pack(*k, id)).collect();
        let left = self.report.left.iter().filter_map(|finding| ObjectName::new(&finding.what));
        let needed: Vec<ObjectName> = left.chain(broken).map(|name| spare_name(&name)).collect();
        let spares = self.list_names(SPARE)?;
        spares.iter().filter(|spare| !needed.contains(spare)).try_for_each(|spare| self.drop_spare(spare))
    }

    fn drop_spare(&self, spare: &ObjectName) -> RepoResult<()> {
        match self.repo().store().delete(spare) {
            // It is in nobody's way; a place that lets nothing be deleted keeps it.
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Denied) => Ok(()),
            other => other.map_err(|e| self.repo().store_error(e)),
        }
    }
}
