//! The names of things: one type per kind of id.

use std::fmt;

/// Whether a blob, block or pack holds file contents or tree nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum BlobKind {
    /// Contents of files.
    Data = 0,
    /// Nodes of snapshot trees, extent lists and large attribute sets.
    Tree = 1,
}

impl BlobKind {
    /// The kind with this number.
    pub fn from_u8(n: u8) -> Option<Self> {
        match n {
            0 => Some(BlobKind::Data),
            1 => Some(BlobKind::Tree),
            _ => None,
        }
    }
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $len:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Its length in bytes.
            pub const LEN: usize = $len;

            /// Lower-case hex.
            pub fn hex(&self) -> String {
                hex(&self.0)
            }

            /// Reads lower-case hex of exactly the right length.
            pub fn from_hex(text: &str) -> Option<Self> {
                let mut id = [0u8; $len];
                unhex(text, &mut id)?;
                Some(Self(id))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), &self.hex()[..8.min(2 * $len)])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.hex())
            }
        }
    };
}

id_type!(
    /// The name of a blob: the first 24 bytes of the keyed BLAKE3 of its bytes. Two different blobs of
    /// one repository meet with probability below 2^-120 at 2^36 blobs; a key holder needs 2^96 work.
    BlobId,
    24
);
id_type!(
    /// The name of a pack: the BLAKE3 of its bytes.
    PackId,
    32
);
id_type!(
    /// The name of a snapshot, and of the session that wrote it: 16 random bytes.
    SnapshotId,
    16
);
id_type!(
    /// A repository: one place.
    RepoId,
    16
);
id_type!(
    /// A family: repositories that share keys and are copies of one another.
    FamilyId,
    16
);
id_type!(
    /// A machine's installation that writes snapshots.
    WriterId,
    16
);
id_type!(
    /// A key slot.
    SlotId,
    8
);
id_type!(
    /// A hold: 8 random bytes.
    HoldId,
    8
);
id_type!(
    /// An erasure: 8 random bytes.
    ErasureId,
    8
);

/// Bytes as lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|b| [DIGITS[(b >> 4) as usize] as char, DIGITS[(b & 15) as usize] as char])
        .collect()
}

/// Reads lower-case hex that fills `out` exactly.
pub fn unhex(text: &str, out: &mut [u8]) -> Option<()> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    if text.len() != 2 * out.len() {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(())
}
