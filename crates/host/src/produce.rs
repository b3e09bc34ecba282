//! Sources that make their files while they are read: dumps of databases, disk images, the state of a system.
//!
//! A [`Producer`] hands its files to a [`Sink`] one after another, in any order, without a copy of them
//! anywhere. It promises that an error means "this is not whole": the sink's owner then keeps nothing at all.
//! It may be asked to produce again, and then makes everything anew. Knows nothing about where the bytes go.

use std::io::{self, Read, Seek};
use std::ops::Range;

use crate::stat::Timestamp;

/// How contents are cut into pieces that are recognised when they come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grain {
    /// Where the contents say, in long pieces: for what is new or stays as a whole.
    Coarse,
    /// Where the contents say, in short pieces: for dumps, of which a part changes.
    Fine,
    /// At fixed places: for images and data files, which are written in place.
    Fixed,
}

/// Something that can be read at any place.
pub trait ReadSeek: Read + Seek {}
impl<T: Read + Seek> ReadSeek for T {}

/// The contents of a file.
pub enum Contents<'a> {
    /// Known bytes.
    Bytes(&'a [u8]),
    /// What a reader gives until it ends well.
    Stream(&'a mut dyn Read, Grain),
    /// A file in which only some ranges hold data; the rest reads as zeros and is kept as holes.
    Sparse {
        /// Length of the whole.
        size_bytes: u64,
        /// The ranges that are kept, ascending and apart.
        ranges: Vec<Range<u64>>,
        /// Where they are read from.
        file: &'a mut dyn ReadSeek,
    },
}

/// What a produced file is, beside its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Permission bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// When the contents last changed; `None` for "when they were first seen like this".
    pub modified: Option<Timestamp>,
}

impl Facts {
    /// Something only its owner may read, without a time of its own: right for most dumps.
    pub const PRIVATE: Facts = Facts { mode: 0o600, uid: 0, gid: 0, modified: None };
}

/// Takes what a producer makes.
pub trait Sink {
    /// Keeps a file under a path below the source's own name; folders on the way are made. Returns its length.
    ///
    /// Fails if the contents cannot be read, the path was used before, or the keeping ended; the producer then
    /// ends, too, with that error.
    fn file(&mut self, path: &[&str], facts: Facts, contents: Contents<'_>) -> io::Result<u64>;

    /// Keeps a folder, also an empty one.
    fn folder(&mut self, path: &[&str], facts: Facts) -> io::Result<()>;

    /// Tells something worth knowing that is no reason to fail: a tool that is absent, a part left out.
    fn tell(&mut self, item: &str, text: &str);
}

/// Makes the files of a source.
pub trait Producer: Send {
    /// Makes them all. `Ok` says that they are whole and right, as far as that can be told.
    fn produce(&mut self, sink: &mut dyn Sink) -> io::Result<()>;
}

/// A name from elsewhere (of a database, of a device) as the name of one file: `/`, `%`, control characters and
/// the names `.` and `..` are written as `%XX`.
pub fn file_name(name: &str) -> String {
    if name.is_empty() || name == "." || name == ".." {
        return name.bytes().fold("%".to_string(), |out, b| out + &format!("{b:02X}"));
    }
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        if c == '/' || c == '%' || c.is_control() {
            let mut buffer = [0; 4];
            c.encode_utf8(&mut buffer).bytes().for_each(|b| out.push_str(&format!("%{b:02X}")));
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_elsewhere_lead_nowhere_else() {
        assert_eq!(file_name("shop"), "shop");
        assert_eq!(file_name("../etc"), "..%2Fetc");
        assert_eq!(file_name(".."), "%2E2E");
        assert_eq!(file_name("50%\n"), "50%25%0A");
        assert_eq!(file_name("Größe"), "Größe");
    }
}
