//! Keys: a path as bytes whose order is the order of the walk.
//!
//! `key = for each folder on the way: name 0x00; then 0x00; then the last name`. The first component is
//! the volume: `/`, a drive, `stream:NAME`. Plain byte order then puts all entries of a folder together,
//! before the folders below it, and every subtree is one contiguous range. A fault record has an empty
//! last name, and so stands first in its folder.

use crate::error::{FormatError, FormatResult};
use crate::limits::KEY_BYTES_MAX;

/// The key prefix of a folder: each component followed by 0x00.
///
/// `dir_prefix(&[b"/", b"home"])` is the prefix for everything in and below `/home`.
pub fn dir_prefix<C: AsRef<[u8]>>(components: &[C]) -> Vec<u8> {
    let mut out = Vec::new();
    for c in components {
        out.extend_from_slice(c.as_ref());
        out.push(0);
    }
    out
}

/// Builds keys.
pub struct PathKey;

impl PathKey {
    /// The key of `name` in the folder with this prefix (empty for a volume).
    pub fn child(prefix: &[u8], name: &[u8]) -> Vec<u8> {
        let mut key = Vec::with_capacity(prefix.len() + 1 + name.len());
        Self::child_into(prefix, name, &mut key);
        key
    }

    /// Like [`PathKey::child`], into an existing vector (cleared first).
    pub fn child_into(prefix: &[u8], name: &[u8], key: &mut Vec<u8>) {
        key.clear();
        key.extend_from_slice(prefix);
        key.push(0);
        key.extend_from_slice(name);
    }

    /// The key of the path with these components (volume first). Must not be empty.
    pub fn of<C: AsRef<[u8]>>(components: &[C]) -> Vec<u8> {
        let (last, dirs) = components.split_last().expect("a path has at least its volume");
        Self::child(&dir_prefix(dirs), last.as_ref())
    }
}

/// A key taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPath<'a> {
    /// The folder part: each component followed by 0x00.
    pub prefix: &'a [u8],
    /// The last name; empty in a fault record.
    pub name: &'a [u8],
}

impl<'a> KeyPath<'a> {
    /// Takes a key apart; refuses bytes that no path makes.
    pub fn parse(key: &'a [u8]) -> FormatResult<Self> {
        let bad = |why| FormatError::corrupt("tree key", why);
        if key.len() > KEY_BYTES_MAX {
            return Err(bad("it is too long"));
        }
        let mut at = 0;
        loop {
            let end = key[at..].iter().position(|b| *b == 0).ok_or(bad("it has no end of folders"))?;
            if end == 0 {
                let name = &key[at + 1..];
                if name.contains(&0) {
                    return Err(bad("its last name contains a zero byte"));
                }
                return Ok(KeyPath { prefix: &key[..at], name });
            }
            at += end + 1;
        }
    }

    /// The folder's components, volume first.
    pub fn folders(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.prefix.split(|b| *b == 0).filter(|c| !c.is_empty())
    }

    /// All components, volume first.
    pub fn components(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.folders().chain((!self.name.is_empty()).then_some(self.name))
    }

    /// The path as bytes: `/home/me` on the volume `/`, else `volume/a/b`.
    pub fn display_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.prefix.len() + self.name.len() + 1);
        for (i, c) in self.components().enumerate() {
            if i > 0 && out.last() != Some(&b'/') {
                out.push(b'/');
            }
            out.extend_from_slice(c);
        }
        out
    }

    /// The prefix of everything below this entry, if it is a folder.
    pub fn below(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.prefix.len() + self.name.len() + 1);
        out.extend_from_slice(self.prefix);
        out.extend_from_slice(self.name);
        out.push(0);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![Just(1u8), Just(b'.'), Just(b'a'), Just(0xff), 1u8..=255], 1..4)
    }

    proptest! {
        #[test]
        fn keys_round_trip(components in proptest::collection::vec(name(), 1..6)) {
            let key = PathKey::of(&components);
            let path = KeyPath::parse(&key).unwrap();
            prop_assert_eq!(path.components().map(|c| c.to_vec()).collect::<Vec<_>>(), components);
        }

        #[test]
        fn byte_order_is_walk_order(
            mut a in proptest::collection::vec(name(), 1..5), mut b in proptest::collection::vec(name(), 1..5),
        ) {
            let by_key = PathKey::of(&a).cmp(&PathKey::of(&b));
            // Walk order: all entries of a folder, then its folders in name order.
            let (la, lb) = (a.pop().unwrap(), b.pop().unwrap());
            prop_assert_eq!(by_key, a.cmp(&b).then(la.cmp(&lb)));
        }

        #[test]
        fn hostile_keys_never_panic(bytes in proptest::collection::vec(0u8..3, 0..12)) {
            if let Ok(path) = KeyPath::parse(&bytes) {
                prop_assert_eq!(PathKey::child(path.prefix, path.name), bytes);
            }
        }
    }

    #[test]
    fn paths_are_shown_as_people_write_them() {
        let shown = |c: &[&[u8]]| String::from_utf8(KeyPath::parse(&PathKey::of(c)).unwrap().display_bytes());
        assert_eq!(shown(&[b"/"]).unwrap(), "/");
        assert_eq!(shown(&[b"/", b"home", b"me"]).unwrap(), "/home/me");
        assert_eq!(shown(&[b"stream:db.sql"]).unwrap(), "stream:db.sql");
        assert_eq!(shown(&[b"C:", b"Users"]).unwrap(), "C:/Users");
    }
}
