//! The keys of a family, and which of them a capability holds.
//!
//! Everything derives from one 32-byte family secret by BLAKE3's `derive_key`, each key for one purpose.
//! An *owner* holds the secret. A *maintainer* holds only the keys that mark, prune, sync and check need:
//! it reads names, attributes and sizes, never contents. Keys wipe themselves and cannot be printed.

use crate::error::{FormatError, FormatResult};
use crate::id::{BlobId, BlobKind, FamilyId};
use crate::wire::{Reader, Write};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A 32-byte secret. No `Debug`, no `Display`; wiped when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Key([u8; 32]);

impl Key {
    /// Takes secret bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Key(bytes)
    }

    /// The bytes, for the functions that compute with them.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// What a key slot lets its holder do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Capability {
    /// Everything.
    Owner = 1,
    /// Mark, prune, sync, check by ciphertext; reads names and sizes, never contents.
    Maintain = 2,
}

impl Capability {
    /// The capability with this number.
    pub fn from_u8(n: u8) -> Option<Self> {
        match n {
            1 => Some(Capability::Owner),
            2 => Some(Capability::Maintain),
            _ => None,
        }
    }

    /// As users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Capability::Owner => "owner",
            Capability::Maintain => "maintain",
        }
    }
}

/// The purposes keys are derived for; the number is the tag in a maintain bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Purpose {
    DataIds = 1,
    Chunking = 2,
    Data = 3,
    TreeIds = 4,
    Boundaries = 5,
    Tree = 6,
    Index = 7,
    Snapshots = 8,
    Gc = 9,
    Config = 10,
    Trust = 11,
    Salt = 12,
}

impl Purpose {
    fn context(self) -> &'static str {
        match self {
            Purpose::DataIds => "lifeboat 2026 v1 data ids",
            Purpose::Chunking => "lifeboat 2026 v1 chunking",
            Purpose::Data => "lifeboat 2026 v1 data",
            Purpose::TreeIds => "lifeboat 2026 v1 tree ids",
            Purpose::Boundaries => "lifeboat 2026 v1 boundaries",
            Purpose::Tree => "lifeboat 2026 v1 tree",
            Purpose::Index => "lifeboat 2026 v1 index",
            Purpose::Snapshots => "lifeboat 2026 v1 snapshots",
            Purpose::Gc => "lifeboat 2026 v1 gc",
            Purpose::Config => "lifeboat 2026 v1 config",
            Purpose::Trust => "lifeboat 2026 v1 trust",
            Purpose::Salt => "lifeboat 2026 v1 salt",
        }
    }

    fn derive(self, secret: &Key) -> Key {
        Key(blake3::derive_key(self.context(), secret.bytes()))
    }
}

const MAINTAIN: [Purpose; 9] = [
    Purpose::TreeIds,
    Purpose::Boundaries,
    Purpose::Tree,
    Purpose::Index,
    Purpose::Snapshots,
    Purpose::Gc,
    Purpose::Config,
    Purpose::Trust,
    Purpose::Salt,
];

/// The keys only an owner has.
struct OwnerKeys {
    secret: Key,
    data_ids: Key,
    chunking: Key,
    data: Key,
}

/// The keys of a family as far as an unlocked slot grants them.
pub struct Keys {
    family: FamilyId,
    owner: Option<OwnerKeys>,
    tree_ids: Key,
    boundaries: Key,
    tree: Key,
    index: Key,
    snapshots: Key,
    gc: Key,
    config: Key,
    trust: Key,
    salt: Key,
}

impl Keys {
    /// All keys, from the family secret.
    pub fn owner(family: FamilyId, secret: Key) -> Self {
        let key = |p: Purpose| p.derive(&secret);
        Keys {
            family,
            tree_ids: key(Purpose::TreeIds),
            boundaries: key(Purpose::Boundaries),
            tree: key(Purpose::Tree),
            index: key(Purpose::Index),
            snapshots: key(Purpose::Snapshots),
            gc: key(Purpose::Gc),
            config: key(Purpose::Config),
            trust: key(Purpose::Trust),
            salt: key(Purpose::Salt),
            owner: Some(OwnerKeys {
                data_ids: key(Purpose::DataIds),
                chunking: key(Purpose::Chunking),
                data: key(Purpose::Data),
                secret,
            }),
        }
    }

    /// What these keys allow.
    pub fn capability(&self) -> Capability {
        if self.owner.is_some() { Capability::Owner } else { Capability::Maintain }
    }

    /// The family they belong to.
    pub fn family(&self) -> FamilyId {
        self.family
    }

    /// 32 bytes that only these keys have, the same for owners and maintainers. Tells nothing about them.
    pub(crate) fn fingerprint(&self) -> zeroize::Zeroizing<[u8; 32]> {
        let mut hasher = blake3::Hasher::new_derive_key("lifeboat 2026 v1 fingerprint");
        for purpose in MAINTAIN {
            hasher.update(self.shared(purpose).bytes());
        }
        zeroize::Zeroizing::new(*hasher.finalize().as_bytes())
    }

    /// The plaintext of a bundle that grants `capability`. Fails when these keys lack it themselves.
    pub fn to_bundle(&self, capability: Capability) -> FormatResult<zeroize::Zeroizing<Vec<u8>>> {
        let mut out = zeroize::Zeroizing::new(Vec::with_capacity(512));
        match capability {
            Capability::Owner => {
                out.put_varint(1);
                out.put_varint(1); // epoch
                out.extend_from_slice(self.owned()?.secret.bytes());
            }
            Capability::Maintain => {
                out.put_varint(MAINTAIN.len() as u64);
                for purpose in MAINTAIN {
                    out.push(purpose as u8);
                    out.extend_from_slice(self.shared(purpose).bytes());
                }
            }
        }
        Ok(out)
    }

    /// Reads the plaintext of a bundle.
    pub fn from_bundle(family: FamilyId, capability: Capability, bytes: &[u8]) -> FormatResult<Self> {
        let mut r = Reader::new(bytes, "key bundle");
        let n = r.count(64, 33)?;
        if capability == Capability::Owner {
            if n != 1 || r.varint()? != 1 {
                return Err(FormatError::TooNew { what: "key bundle", why: "more than one key epoch" });
            }
            let secret = Key(r.array()?);
            r.end()?;
            return Ok(Keys::owner(family, secret));
        }
        let mut found: [Option<Key>; 13] = Default::default();
        for _ in 0..n {
            let tag = r.u8()? as usize;
            let key = Key(r.array()?);
            if let Some(slot) = found.get_mut(tag)
                && slot.replace(key).is_some()
            {
                return Err(r.error("a key stands there twice"));
            }
        }
        r.end()?;
        let mut key = |p: Purpose| found[p as usize].take().ok_or_else(|| r.error("a key is missing"));
        Ok(Keys {
            family,
            owner: None,
            tree_ids: key(Purpose::TreeIds)?,
            boundaries: key(Purpose::Boundaries)?,
            tree: key(Purpose::Tree)?,
            index: key(Purpose::Index)?,
            snapshots: key(Purpose::Snapshots)?,
            gc: key(Purpose::Gc)?,
            config: key(Purpose::Config)?,
            trust: key(Purpose::Trust)?,
            salt: key(Purpose::Salt)?,
        })
    }

    fn owned(&self) -> FormatResult<&OwnerKeys> {
        self.owner.as_ref().ok_or(FormatError::NotAllowed { what: "read or write file contents" })
    }

    fn shared(&self, purpose: Purpose) -> &Key {
        match purpose {
            Purpose::TreeIds => &self.tree_ids,
            Purpose::Boundaries => &self.boundaries,
            Purpose::Tree => &self.tree,
            Purpose::Index => &self.index,
            Purpose::Snapshots => &self.snapshots,
            Purpose::Gc => &self.gc,
            Purpose::Config => &self.config,
            Purpose::Trust => &self.trust,
            Purpose::Salt => &self.salt,
            Purpose::DataIds | Purpose::Chunking | Purpose::Data => {
                unreachable!("MAINTAIN lists only shared keys")
            }
        }
    }

    /// The id of a blob: keyed BLAKE3 of its bytes, so that ids tell an outsider nothing.
    pub fn blob_id(&self, kind: BlobKind, bytes: &[u8]) -> FormatResult<BlobId> {
        let key = match kind {
            BlobKind::Data => &self.owned()?.data_ids,
            BlobKind::Tree => &self.tree_ids,
        };
        Ok(blob_id_with(key, bytes))
    }

    /// The key that seals blocks of this kind.
    pub fn block_key(&self, kind: BlobKind) -> FormatResult<&Key> {
        match kind {
            BlobKind::Data => Ok(&self.owned()?.data),
            BlobKind::Tree => Ok(&self.tree),
        }
    }

    /// The key the chunker's table comes from.
    pub fn chunking(&self) -> FormatResult<&Key> {
        Ok(&self.owned()?.chunking)
    }

    /// The key that decides where tree nodes end.
    pub fn boundaries(&self) -> &Key {
        &self.boundaries
    }

    /// The key that seals index segments and pack directories.
    pub fn index(&self) -> &Key {
        &self.index
    }

    /// The key that seals snapshot and pending records.
    pub fn snapshots(&self) -> &Key {
        &self.snapshots
    }

    /// The key that seals everything that takes something away.
    pub fn gc(&self) -> &Key {
        &self.gc
    }

    /// The key that seals the log. Derived from the gc key, so that slots made before there was
    /// a log grant it, too: who may take something away may say that he did.
    pub fn records(&self) -> Key {
        Key(blake3::derive_key("lifeboat 2026 v1 records", self.gc.bytes()))
    }

    /// What people compare: the first 16 bytes of the keys' fingerprint's hash, in hex. Tells nothing about them.
    pub fn shown_fingerprint(&self) -> String {
        crate::id::hex(&blake3::hash(&*self.fingerprint()).as_bytes()[..16])
    }

    /// The key that seals the repository's parameters.
    pub fn config(&self) -> &Key {
        &self.config
    }

    /// The key that marks index segments as written by an owner or maintainer.
    pub fn trust(&self) -> &Key {
        &self.trust
    }

    /// The key salts and padding are made with.
    pub fn salt(&self) -> &Key {
        &self.salt
    }
}

/// The id of a blob under an id key.
pub fn blob_id_with(key: &Key, bytes: &[u8]) -> BlobId {
    let hash = blake3::keyed_hash(key.bytes(), bytes);
    BlobId(hash.as_bytes()[..24].try_into().expect("a hash has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_maintainer_gets_the_same_shared_keys_and_no_contents() {
        let owner = Keys::owner(FamilyId([1; 16]), Key::new([2; 32]));
        let bundle = owner.to_bundle(Capability::Maintain).unwrap();
        let maintain = Keys::from_bundle(FamilyId([1; 16]), Capability::Maintain, &bundle).unwrap();
        assert_eq!(owner.fingerprint(), maintain.fingerprint());
        for purpose in MAINTAIN {
            assert_eq!(owner.shared(purpose).bytes(), maintain.shared(purpose).bytes());
        }
        assert!(maintain.blob_id(BlobKind::Data, b"x").is_err());
        assert!(maintain.block_key(BlobKind::Data).is_err());
        assert!(maintain.to_bundle(Capability::Owner).is_err());
        let secret = owner.to_bundle(Capability::Owner).unwrap();
        assert!(!bundle.windows(32).any(|w| w == &secret[2..]), "the family secret stays with the owner");
    }

    #[test]
    fn an_owner_bundle_round_trips() {
        let owner = Keys::owner(FamilyId([1; 16]), Key::new([2; 32]));
        let bundle = owner.to_bundle(Capability::Owner).unwrap();
        let again = Keys::from_bundle(FamilyId([1; 16]), Capability::Owner, &bundle).unwrap();
        assert_eq!(owner.blob_id(BlobKind::Data, b"x").ok(), again.blob_id(BlobKind::Data, b"x").ok());
        assert_ne!(owner.blob_id(BlobKind::Data, b"x").ok(), owner.blob_id(BlobKind::Tree, b"x").ok());
        for cut in 0..bundle.len() {
            assert!(Keys::from_bundle(FamilyId([1; 16]), Capability::Owner, &bundle[..cut]).is_err());
        }
    }
}
