//! A part of a snapshot put into an archive, whatever its format.

use crate::contents;
use crate::display::{DisplayName, safe};
use crate::error::{Exit, Failure, Outcome};
use crate::session::Session;
use ::repo::RepoError;
use ::repo::browse;
use ::repo::erasures::Erased;
use ::repo::reader::Reader;
use format::kind::Kind;
use format::snapshot::Snapshot;
use format::tree::{Entry, KeyPath, dir_prefix};
use std::collections::HashMap;
use std::ops::ControlFlow;

/// Something that takes entries one after another.
pub(super) trait Archive {
    /// Adds an entry under a relative name. `first_name` is that of another name of the same file which was
    /// added before. Returns why it cannot be in such an archive, if it cannot.
    fn add(
        &mut self,
        reader: &Reader,
        name: &[u8],
        entry: &Entry,
        first_name: Option<&[u8]>,
    ) -> Outcome<Option<String>>;
    /// Ends the archive.
    fn finish(&mut self) -> Outcome<()>;
}

/// What an archive is made of.
pub(super) struct Part<'p> {
    /// The snapshot.
    pub(super) snapshot: &'p Snapshot,
    /// The folder, the volume first; everything when empty.
    pub(super) folder: &'p [Vec<u8>],
    /// What was erased from it.
    pub(super) erased: &'p Erased,
}

/// Adds everything below a folder, named from there.
pub(super) fn fill(
    session: &Session,
    reader: &Reader,
    part: &Part<'_>,
    archive: &mut dyn Archive,
) -> Outcome<Exit> {
    let mut first_names: HashMap<[u8; 8], Vec<u8>> = HashMap::new();
    let mut left_out = 0u64;
    let mut failed = None;
    browse::visit_range(reader, part.snapshot.root, &dir_prefix(part.folder), &mut |key, entry| {
        if session.cancel.is_set() {
            return Err(RepoError::Local("cancelled".into()));
        }
        let name = relative_name(key, part.folder.len())?;
        if is_erased(part, key) || (name.is_empty() && entry.kind() != Kind::Fault) {
            return Ok(ControlFlow::Continue(()));
        }
        if let Some(why) = lacking(entry) {
            left_out += 1;
            session.out.warn(format!("{} is not in the archive: {why}", DisplayName(&name)));
            return Ok(ControlFlow::Continue(()));
        }
        let first = entry.link_group.and_then(|group| first_names.get(&group)).cloned();
        match archive.add(reader, &name, entry, first.as_deref()) {
            Ok(None) => {}
            Ok(Some(why)) => {
                left_out += 1;
                session.out.warn(format!("{} is not in the archive: {}", DisplayName(&name), safe(&why)));
            }
            Err(failure) => {
                failed = Some(failure.during(format!("cannot dump {}", DisplayName(&name))));
                return Ok(ControlFlow::Break(()));
            }
        }
        if let Some(group) = entry.link_group {
            first_names.entry(group).or_insert(name);
        }
        Ok(ControlFlow::Continue(()))
    })
    .map_err(Failure::from)?;
    if let Some(failure) = failed {
        return Err(failure);
    }
    archive.finish()?;
    Ok(if left_out == 0 { Exit::Ok } else { Exit::Partial })
}

/// Why the snapshot has nothing to put into an archive: what could not be read when it was saved.
fn lacking(entry: &Entry) -> Option<String> {
    match entry.kind() {
        Kind::Fault => {
            Some(format!("a part of its folder could not be listed: {}", entry.target.escape_ascii()))
        }
        Kind::File if contents::are_lacking(entry) => Some(contents::LACKING.into()),
        _ => None,
    }
}

fn is_erased(part: &Part<'_>, key: &[u8]) -> bool {
    !part.erased.is_empty()
        && KeyPath::parse(key).is_ok_and(|path| part.erased.covers(&path.components().collect::<Vec<_>>()))
}

/// The name below the folder, without the volume `/`.
fn relative_name(key: &[u8], skip: usize) -> Result<Vec<u8>, RepoError> {
    let path = KeyPath::parse(key).map_err(|e| RepoError::Local(e.to_string()))?;
    let parts: Vec<&[u8]> = path.components().skip(skip).filter(|part| *part != b"/").collect();
    let is_safe = parts.iter().all(|part| *part != b"." && *part != b".." && !part.contains(&b'/'));
    match is_safe {
        true => Ok(parts.join(&b'/')),
        false => {
            Err(RepoError::Local("a name in the snapshot would lead out of the archive's folder".into()))
        }
    }
}
