//! The bytes of a saved file, in order, written somewhere.

use crate::display::DisplayName;
use crate::error::{Exit, Failure, Outcome, local};
use crate::snapspec;
use format::id::BlobKind;
use format::snapshot::Snapshot;
use format::tree::{Entry, Marks, XattrSet, Xattrs};
use repo::erasures::Erased;
use repo::reader::Reader;
use std::io::Write;

/// What was erased from a snapshot; an error if the path is part of it, for then nothing of it comes back.
pub(crate) fn erased(reader: &Reader, snapshot: &Snapshot, path: &[Vec<u8>]) -> Outcome<Erased> {
    let erased = Erased::of(reader.repo(), snapshot)?;
    match erased.covers(path) {
        true => {
            let name = DisplayName(&snapspec::written(path)).to_string();
            let what = format!("{name} was erased from the history of snapshot {}", snapshot.short_id());
            Err(Failure::new(Exit::Refused, what))
        }
        false => Ok(erased),
    }
}

/// What is said of a file without contents.
pub(crate) const LACKING: &str = "it could not be read when it was saved; the snapshot has no contents of it";

/// Whether the snapshot has the name of a file and its length, but nothing of its contents.
pub(crate) fn are_lacking(entry: &Entry) -> bool {
    entry.marks.has(Marks::UNREADABLE)
}

/// Writes the contents of a file. Holes become zeros. Fails, having written nothing, where the snapshot has none.
pub(crate) fn copy(reader: &Reader, entry: &Entry, out: &mut dyn Write) -> Outcome<()> {
    if are_lacking(entry) {
        return Err(Failure::new(Exit::Partial, LACKING));
    }
    match engine::contents::write_contents(reader, entry, out) {
        Ok(_) => Ok(()),
        Err(Ok(e)) => Err(local("cannot write the contents", e)),
        Err(Err(e)) => Err(e.into()),
    }
}

/// The extended attributes of an entry.
pub(crate) fn xattrs(reader: &Reader, entry: &Entry) -> Outcome<XattrSet> {
    let decode = |bytes: &[u8]| {
        XattrSet::decode(bytes).map_err(|e| Failure::new(Exit::Damage, "cannot read attributes").because(e))
    };
    match &entry.class.xattrs {
        Xattrs::None => Ok(XattrSet::default()),
        Xattrs::Inline(bytes) => decode(bytes),
        Xattrs::Blob(id) => decode(&reader.read(BlobKind::Tree, id)?),
    }
}
