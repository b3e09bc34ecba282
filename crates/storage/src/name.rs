//! Names of objects: a few fixed folders and lower-case hex, valid on every store and file system.

use std::fmt;
use std::sync::Arc;

/// The name of an object, such as `packs/4/4f…`.
///
/// Only `a-z`, `0-9`, `.`, `-` and `/` occur; no part is empty, `.` or `..`; at most 200 bytes. So a
/// name is a safe relative path everywhere, and case folding cannot make two names one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName(Arc<str>);

impl ObjectName {
    /// Longest name in bytes.
    pub const MAX_BYTES: usize = 200;

    /// Checks and takes a name; `None` for anything a hostile listing could smuggle in.
    pub fn new(name: &str) -> Option<Self> {
        let plain = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'/');
        let ok = name.len() <= Self::MAX_BYTES
            && name.bytes().all(plain)
            && name.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        ok.then(|| Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part after the last `/`.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
