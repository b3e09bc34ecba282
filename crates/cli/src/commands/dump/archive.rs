//! A part of a snapshot put into an archive, whatever its format.

use crate::display::{DisplayName, safe};
use crate::error::{Exit, Failure, Outcome};
use crate::session::Session;
use ::repo::RepoError;
use ::repo::browse;
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

/// Adds everything below a folder, named from there.
pub(super) fn fill(
    session: &Session,
    reader: &Reader,
    snapshot: &Snapshot,
    folder: &[Vec<u8>],
    archive: &mut dyn Archive,
) -> Outcome<Exit> {
    let mut first_names: HashMap<[u8; 8], Vec<u8>> = HashMap::new();
    let mut left_out = 0u64;
    let mut failed = None;
    browse::visit_range(reader, snapshot.root, &dir_prefix(folder), &mut |key, entry| {
        if session.cancel.is_set() {
            return Err(RepoError::Local("cancelled".into()));
        }
        let name = relative_name(key, folder.len())?;
        if name.is_empty() || entry.kind() == Kind::Fault {
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
