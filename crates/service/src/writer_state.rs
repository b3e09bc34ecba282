//! Who this installation is as a writer, and which snapshot it wrote last in each family.
//!
//! Snapshots of one writer are numbered and each names the one before. The files may be lost: a new writer
//! is then born, which costs nothing but the chain.

use crate::durable;
use format::id::{FamilyId, WriterId, hex, unhex};
use std::fs;
use std::io;
use std::path::PathBuf;

/// The files of this installation.
pub struct WriterState {
    folder: PathBuf,
    /// This installation.
    pub writer: WriterId,
}

impl WriterState {
    /// Reads who this is, or makes a new writer.
    pub fn open(folder: PathBuf, fresh: [u8; 16]) -> io::Result<Self> {
        let path = folder.join("writer");
        let known = fs::read_to_string(&path).ok().and_then(|text| WriterId::from_hex(text.trim()));
        let writer = match known {
            Some(writer) => writer,
            None => {
                let writer = WriterId(fresh);
                durable::replace(&path, format!("{}\n", writer.hex()).as_bytes())?;
                writer
            }
        };
        Ok(WriterState { folder, writer })
    }

    /// Who this is, if it has ever written anything.
    pub fn known(folder: &std::path::Path) -> Option<WriterId> {
        let text = fs::read_to_string(folder.join("writer")).ok()?;
        WriterId::from_hex(text.trim())
    }

    fn path(&self, family: &FamilyId) -> PathBuf {
        self.folder.join(format!("writer-{}", family.hex()))
    }

    /// Number and record hash of the last snapshot this writer published in a family.
    pub fn previous(&self, family: &FamilyId) -> Option<(u64, [u8; 32])> {
        let text = fs::read_to_string(self.path(family)).ok()?;
        let mut words = text.split_whitespace();
        let of_this_writer = words.next() == Some(&self.writer.hex());
        let number = words.next()?.parse().ok()?;
        let mut hash = [0; 32];
        unhex(words.next()?, &mut hash)?;
        of_this_writer.then_some((number, hash))
    }

    /// Remembers the snapshot that was just published.
    pub fn remember(&self, family: &FamilyId, number: u64, hash: &[u8; 32]) -> io::Result<()> {
        let text = format!("{} {number} {}\n", self.writer.hex(), hex(hash));
        durable::replace(&self.path(family), text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_is_remembered_per_family_and_ends_with_the_writer() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("state");
        let first = WriterState::open(place.clone(), [1; 16]).unwrap();
        let family = FamilyId([7; 16]);
        assert_eq!(first.previous(&family), None);
        first.remember(&family, 3, &[9; 32]).unwrap();
        let again = WriterState::open(place.clone(), [2; 16]).unwrap();
        assert_eq!(again.writer, first.writer);
        assert_eq!(again.previous(&family), Some((3, [9; 32])));
        assert_eq!(again.previous(&FamilyId([8; 16])), None);
        fs::remove_file(place.join("writer")).unwrap();
        let other = WriterState::open(place, [2; 16]).unwrap();
        assert_eq!(other.previous(&family), None);
    }
}
