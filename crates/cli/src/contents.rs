//! The bytes of a saved file, in order, written somewhere.

use crate::error::{Failure, Outcome, local};
use format::id::BlobKind;
use format::tree::{Entry, Extent, XattrSet, Xattrs};
use repo::browse;
use repo::reader::Reader;
use std::io::{self, Write};

/// Zeros are written in pieces of this size.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Writes the contents of a file. Holes become zeros.
pub(crate) fn copy(reader: &Reader, entry: &Entry, out: &mut dyn Write) -> Outcome<()> {
    let failed = |e: io::Error| local("cannot write the contents", e);
    for extent in browse::extents(reader, entry)? {
        match extent {
            Extent::Data { id, repeat, .. } => {
                let blob = reader.read(BlobKind::Data, &id)?;
                for _ in 0..repeat {
                    out.write_all(&blob).map_err(failed)?;
                }
            }
            Extent::Hole { len_bytes } => zeros(len_bytes, out).map_err(failed)?,
        }
    }
    Ok(())
}

fn zeros(len_bytes: u64, out: &mut dyn Write) -> io::Result<()> {
    let mut left = len_bytes;
    while left > 0 {
        let piece = left.min(ZEROS.len() as u64);
        out.write_all(&ZEROS[..piece as usize])?;
        left -= piece;
    }
    Ok(())
}

/// The extended attributes of an entry.
pub(crate) fn xattrs(reader: &Reader, entry: &Entry) -> Outcome<XattrSet> {
    let decode = |bytes: &[u8]| {
        XattrSet::decode(bytes)
            .map_err(|e| Failure::new(crate::error::Exit::Damage, "cannot read attributes").because(e))
    };
    match &entry.class.xattrs {
        Xattrs::None => Ok(XattrSet::default()),
        Xattrs::Inline(bytes) => decode(bytes),
        Xattrs::Blob(id) => decode(&reader.read(BlobKind::Tree, id)?),
    }
}
