//! Key slots: ways to unlock a repository.
//!
//! A slot is an X25519 key pair whose private half is wrapped by a password, a key file or the recovery
//! key. Bundles of keys are sealed to the public half, so that a later epoch can be given to a slot
//! without its secret. Anybody can seal *something* to a public half, so the wrapped part also holds a
//! fingerprint of the family's keys: a storage operator who puts a bundle of his own keys into a slot is
//! found out. Wrapping and sealing are key-committing: 32 bytes derived along with each key are stored and
//! compared first, so that one ciphertext cannot be tried against many passwords at once.

use crate::envelope::{self, ObjectType};
use crate::error::{FormatError, FormatResult};
use crate::id::{FamilyId, RepoId, SlotId};
use crate::keys::{Capability, Key, Keys};
use crate::kind::Timestamp;
use crate::limits::{ARGON_KIB_MAX, ARGON_LANES_MAX, ARGON_PASSES_MAX, TEXT_BYTES_MAX};
use crate::record::{RecordReader, RecordWriter};
use crate::seal::{Suite, zero_nonce};
use crate::wire::{Reader, Write};
use aws_lc_rs::aead::Aad;
use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey, X25519};
use zeroize::Zeroizing;

const WHAT: &str = "key slot";
const TAG_BYTES: usize = 16;
/// Private half 32, fingerprint of the keys 32, tag.
const WRAPPED_BYTES: usize = 64 + TAG_BYTES;

/// What opens a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SlotKind {
    /// A password, stretched by argon2id.
    Password = 1,
    /// A file that holds a random key.
    KeyFile = 2,
    /// The recovery key: random, written down by a person.
    Recovery = 3,
}

impl SlotKind {
    /// As users read it.
    pub fn as_str(self) -> &'static str {
        match self {
            SlotKind::Password => "password",
            SlotKind::KeyFile => "key file",
            SlotKind::Recovery => "recovery key",
        }
    }
}

/// Cost of trying one password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArgonCost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes computed in parallel.
    pub lanes: u32,
}

impl Default for ArgonCost {
    /// RFC 9106, section 4, second recommended option.
    fn default() -> Self {
        ArgonCost { memory_kib: 64 << 10, passes: 3, lanes: 4 }
    }
}

impl ArgonCost {
    /// Refuses what would exhaust the machine, or what argon2 does not define.
    fn check(&self) -> FormatResult<()> {
        let ok = self.memory_kib <= ARGON_KIB_MAX
            && (1..=ARGON_PASSES_MAX).contains(&self.passes)
            && (1..=ARGON_LANES_MAX).contains(&self.lanes)
            && self.memory_kib >= 8 * self.lanes;
        if ok { Ok(()) } else { Err(FormatError::corrupt(WHAT, "its password cost is out of bounds")) }
    }
}

/// What a user has to unlock with.
pub enum Secret<'a> {
    /// A password.
    Password(&'a [u8]),
    /// The random key of a key file or of the recovery sheet.
    Random(&'a Key),
}

/// A bundle of keys sealed to a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bundle {
    capability: u8,
    ephemeral: [u8; 32],
    commitment: [u8; 32],
    sealed: Vec<u8>,
}

/// A key slot as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySlot {
    /// Its id.
    pub id: SlotId,
    /// What opens it.
    pub kind: SlotKind,
    /// Cost of a password; unused by other kinds.
    pub cost: ArgonCost,
    /// The user's name for it.
    pub label: String,
    /// When it was made.
    pub created: Timestamp,
    salt: [u8; 32],
    commitment: [u8; 32],
    wrapped: [u8; WRAPPED_BYTES],
    public: [u8; 32],
    bundles: Vec<Bundle>,
}

/// Randomness for a new slot.
pub struct SlotEntropy {
    /// Its id.
    pub id: SlotId,
    /// Salt of its wrapping key.
    pub salt: [u8; 32],
    /// Private half of its key pair.
    pub private: Key,
    /// Private half of the key pair its bundle is sealed from.
    pub ephemeral: Key,
}

/// A key and the bytes that commit to it.
struct Committed {
    key: Zeroizing<[u8; 32]>,
    commitment: [u8; 32],
}

fn committed(context: &str, parts: &[&[u8]]) -> Committed {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    parts.iter().for_each(|p| _ = hasher.update(p));
    let mut out = Zeroizing::new([0u8; 64]);
    hasher.finalize_xof().fill(&mut *out);
    let (key, commitment) = out.split_at(32);
    Committed {
        key: Zeroizing::new(key.try_into().expect("half of 64 bytes")),
        commitment: commitment.try_into().expect("half of 64 bytes"),
    }
}

/// Equality without a branch on secret bytes.
fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    blake3::Hash::from(*a) == blake3::Hash::from(*b)
}

fn x25519(private: &Key) -> PrivateKey {
    PrivateKey::from_private_key(&X25519, private.bytes()).expect("any 32 bytes are an X25519 private key")
}

fn public_half(private: &Key) -> [u8; 32] {
    let public = x25519(private).compute_public_key().expect("X25519 public keys can be computed");
    public.as_ref().try_into().expect("X25519 public keys have 32 bytes")
}

fn shared_secret(private: &Key, peer: &[u8; 32]) -> FormatResult<Zeroizing<[u8; 32]>> {
    let peer = UnparsedPublicKey::new(&X25519, peer);
    agreement::agree(&x25519(private), peer, FormatError::NotAuthentic { what: WHAT }, |bytes| {
        Ok(Zeroizing::new(bytes.try_into().expect("X25519 secrets have 32 bytes")))
    })
}

/// Stretches a password. The salt is per slot.
fn stretch(password: &[u8], salt: &[u8; 32], cost: &ArgonCost) -> FormatResult<Zeroizing<[u8; 32]>> {
    use argon2::{Algorithm, Argon2, Params, Version};
    cost.check()?;
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32))
        .map_err(|_| FormatError::corrupt(WHAT, "its password cost is impossible"))?;
    let mut out = Zeroizing::new([0u8; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password, salt, &mut *out)
        .map_err(|_| FormatError::corrupt(WHAT, "its password cannot be stretched"))?;
    Ok(out)
}

impl KeySlot {
    /// Makes a slot that grants `capability` of `keys` to whoever has `secret`.
    #[allow(clippy::too_many_arguments)]
    pub fn create(
        repo: &RepoId,
        keys: &Keys,
        capability: Capability,
        kind: SlotKind,
        secret: &Secret<'_>,
        cost: ArgonCost,
        label: &str,
        created: Timestamp,
        entropy: SlotEntropy,
    ) -> FormatResult<Self> {
        let mut slot = KeySlot {
            id: entropy.id,
            kind,
            cost,
            label: label.to_string(),
            created,
            salt: entropy.salt,
            commitment: [0; 32],
            wrapped: [0; WRAPPED_BYTES],
            public: public_half(&entropy.private),
            bundles: Vec::new(),
        };
        let wrapping = slot.wrapping_key(repo, secret)?;
        slot.commitment = wrapping.commitment;
        let mut body = Zeroizing::new([0u8; 64]);
        body[..32].copy_from_slice(entropy.private.bytes());
        body[32..].copy_from_slice(&*keys.fingerprint());
        let tag = Suite::Aes256Gcm
            .one_shot(&wrapping.key)
            .seal_in_place_separate_tag(zero_nonce(), Aad::from(slot.wrap_context(repo)), &mut *body)
            .expect("64 bytes are within the cipher's limit");
        slot.wrapped[..64].copy_from_slice(&*body);
        slot.wrapped[64..].copy_from_slice(tag.as_ref());
        slot.add_bundle(repo, keys, capability, &entropy.ephemeral)?;
        Ok(slot)
    }

    /// Seals a bundle to the slot's public half.
    fn add_bundle(
        &mut self,
        repo: &RepoId,
        keys: &Keys,
        capability: Capability,
        ephemeral: &Key,
    ) -> FormatResult<()> {
        let public = public_half(ephemeral);
        let shared = shared_secret(ephemeral, &self.public)?;
        let sealing = self.bundle_key(repo, &shared, &public);
        let mut body = keys.to_bundle(capability)?;
        let aad = bundle_context(capability as u8, &keys.family());
        let tag = Suite::Aes256Gcm
            .one_shot(&sealing.key)
            .seal_in_place_separate_tag(zero_nonce(), Aad::from(aad), &mut body)
            .expect("bundles are within the cipher's limit");
        let sealed = [&body[..], tag.as_ref()].concat();
        self.bundles.push(Bundle {
            capability: capability as u8,
            ephemeral: public,
            commitment: sealing.commitment,
            sealed,
        });
        Ok(())
    }

    fn wrapping_key(&self, repo: &RepoId, secret: &Secret<'_>) -> FormatResult<Committed> {
        let material = match secret {
            Secret::Password(password) => stretch(password, &self.salt, &self.cost)?,
            Secret::Random(key) => Zeroizing::new(*key.bytes()),
        };
        let parts: [&[u8]; 4] = [&*material, &self.salt, &self.id.0, &repo.0];
        Ok(committed("lifeboat 2026 v1 slot wrapping", &parts))
    }

    fn bundle_key(&self, repo: &RepoId, shared: &[u8; 32], ephemeral: &[u8; 32]) -> Committed {
        committed("lifeboat 2026 v1 slot bundle", &[shared, ephemeral, &self.public, &repo.0])
    }

    fn wrap_context(&self, repo: &RepoId) -> Vec<u8> {
        let mut aad = b"LBKS1".to_vec();
        aad.extend_from_slice(&repo.0);
        aad.extend_from_slice(&self.id.0);
        aad.push(self.kind as u8);
        aad.extend_from_slice(&self.public);
        aad
    }

    /// Whether this kind of secret could open the slot.
    pub fn fits(&self, secret: &Secret<'_>) -> bool {
        matches!(secret, Secret::Password(_)) == (self.kind == SlotKind::Password)
    }

    /// The capabilities the slot grants.
    pub fn capabilities(&self) -> Vec<Capability> {
        self.bundles.iter().filter_map(|b| Capability::from_u8(b.capability)).collect()
    }

    /// Unlocks the slot; the strongest bundle it holds is returned. A wrong secret is `NotAuthentic`.
    pub fn unlock(&self, repo: &RepoId, family: FamilyId, secret: &Secret<'_>) -> FormatResult<Keys> {
        let wrong = FormatError::NotAuthentic { what: WHAT };
        let wrapping = self.wrapping_key(repo, secret)?;
        if !same(&wrapping.commitment, &self.commitment) {
            return Err(wrong);
        }
        let mut body = Zeroizing::new(self.wrapped.to_vec());
        Suite::Aes256Gcm
            .one_shot(&wrapping.key)
            .open_in_place(zero_nonce(), Aad::from(self.wrap_context(repo)), &mut body)
            .map_err(|_| wrong.clone())?;
        let private = Key::new(body[..32].try_into().expect("80 bytes were unwrapped"));
        let fingerprint: Zeroizing<[u8; 32]> =
            Zeroizing::new(body[32..64].try_into().expect("80 bytes were unwrapped"));
        let mut bundles: Vec<_> = self.bundles.iter().collect();
        bundles.sort_by_key(|b| b.capability);
        let known = bundles.into_iter().find(|b| Capability::from_u8(b.capability).is_some());
        let bundle = known
            .ok_or(FormatError::TooNew { what: WHAT, why: "it grants nothing known to this version" })?;
        let keys = self.open_bundle(repo, family, &private, bundle)?;
        if same(&keys.fingerprint(), &fingerprint) { Ok(keys) } else { Err(wrong) }
    }

    fn open_bundle(
        &self,
        repo: &RepoId,
        family: FamilyId,
        private: &Key,
        bundle: &Bundle,
    ) -> FormatResult<Keys> {
        let wrong = || FormatError::NotAuthentic { what: WHAT };
        let shared = shared_secret(private, &bundle.ephemeral)?;
        let sealing = self.bundle_key(repo, &shared, &bundle.ephemeral);
        if !same(&sealing.commitment, &bundle.commitment) {
            return Err(wrong());
        }
        let mut body = Zeroizing::new(bundle.sealed.clone());
        let aad = bundle_context(bundle.capability, &family);
        let len = Suite::Aes256Gcm
            .one_shot(&sealing.key)
            .open_in_place(zero_nonce(), Aad::from(aad), &mut body)
            .map_err(|_| wrong())?
            .len();
        let capability = Capability::from_u8(bundle.capability).expect("only known bundles are opened");
        Keys::from_bundle(family, capability, &body[..len])
    }

    /// The object's bytes.
    pub fn encode(&self, repo: &RepoId) -> Vec<u8> {
        let mut w = RecordWriter::default();
        w.field(1, &self.id.0);
        w.number(2, self.kind as u64);
        w.with(3, |out| {
            for n in [self.cost.memory_kib, self.cost.passes, self.cost.lanes] {
                out.put_varint(n as u64);
            }
        });
        w.field(4, &self.salt);
        w.field(5, &self.commitment);
        w.field(6, &self.wrapped);
        w.field(7, &self.public);
        w.with(8, |out| {
            out.put_varint(self.bundles.len() as u64);
            for b in &self.bundles {
                out.push(b.capability);
                out.extend_from_slice(&b.ephemeral);
                out.extend_from_slice(&b.commitment);
                out.put_bytes(&b.sealed);
            }
        });
        w.field(64, self.label.as_bytes());
        w.time(65, self.created);
        envelope::encode_plain(ObjectType::KeySlot, &repo.0, &w.finish())
    }

    /// Reads a slot of this repository. Its cost is bounded here, before any password is tried.
    pub fn decode(bytes: &[u8], repo: &RepoId) -> FormatResult<Self> {
        let opened = envelope::decode(bytes, ObjectType::KeySlot, Some(&repo.0))?;
        let r = RecordReader::new(opened.plain, WHAT, &[1, 2, 3, 4, 5, 6, 7, 8])?;
        let kind = match r.number(2)? {
            1 => SlotKind::Password,
            2 => SlotKind::KeyFile,
            3 => SlotKind::Recovery,
            _ => return Err(FormatError::TooNew { what: WHAT, why: "unknown kind of slot" }),
        };
        let mut c = r.need(3)?;
        let mut number = || c.varint_max(u32::MAX as u64).map(|n| n as u32);
        let cost = ArgonCost { memory_kib: number()?, passes: number()?, lanes: number()? };
        c.end()?;
        if kind == SlotKind::Password {
            cost.check()?;
        }
        let label = r.text(64)?;
        if label.len() > TEXT_BYTES_MAX {
            return Err(FormatError::corrupt(WHAT, "its label is too long"));
        }
        let created = if r.find(65).is_some() { r.time(65)? } else { Timestamp::default() };
        Ok(KeySlot {
            id: SlotId(r.array(1)?),
            kind,
            cost,
            label,
            created,
            salt: r.array(4)?,
            commitment: r.array(5)?,
            wrapped: r.array(6)?,
            public: r.array(7)?,
            bundles: decode_bundles(r.need(8)?)?,
        })
    }
}

fn bundle_context(capability: u8, family: &FamilyId) -> Vec<u8> {
    let mut aad = b"LBKB1".to_vec();
    aad.push(capability);
    aad.extend_from_slice(&family.0);
    aad
}

fn decode_bundles(mut r: Reader<'_>) -> FormatResult<Vec<Bundle>> {
    let n = r.count(256, 66)?;
    let mut bundles = Vec::with_capacity(n);
    for _ in 0..n {
        bundles.push(Bundle {
            capability: r.u8()?,
            ephemeral: r.array()?,
            commitment: r.array()?,
            sealed: r.bytes(64 << 10)?.to_vec(),
        });
    }
    r.end()?;
    Ok(bundles)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::BlobKind;

    const CHEAP: ArgonCost = ArgonCost { memory_kib: 64, passes: 1, lanes: 2 };

    fn entropy(n: u8) -> SlotEntropy {
        SlotEntropy {
            id: SlotId([n; 8]),
            salt: [n; 32],
            private: Key::new([n + 1; 32]),
            ephemeral: Key::new([n + 2; 32]),
        }
    }

    fn slot(capability: Capability, kind: SlotKind, secret: &Secret<'_>) -> KeySlot {
        let keys = Keys::owner(FamilyId([1; 16]), Key::new([2; 32]));
        let repo = RepoId([3; 16]);
        KeySlot::create(&repo, &keys, capability, kind, secret, CHEAP, "x", Timestamp::default(), entropy(7))
            .unwrap()
    }

    fn unlock(slot: &KeySlot, secret: &Secret<'_>) -> FormatResult<Keys> {
        slot.unlock(&RepoId([3; 16]), FamilyId([1; 16]), secret)
    }

    #[test]
    fn the_right_secret_opens_and_a_wrong_one_does_not() {
        let password = slot(Capability::Owner, SlotKind::Password, &Secret::Password(b"tide"));
        let again = KeySlot::decode(&password.encode(&RepoId([3; 16])), &RepoId([3; 16])).unwrap();
        assert_eq!(again, password);
        let keys = unlock(&again, &Secret::Password(b"tide")).unwrap();
        let original = Keys::owner(FamilyId([1; 16]), Key::new([2; 32]));
        assert_eq!(keys.blob_id(BlobKind::Data, b"x").ok(), original.blob_id(BlobKind::Data, b"x").ok());
        assert!(unlock(&again, &Secret::Password(b"tidf")).is_err());
        assert!(again.unlock(&RepoId([4; 16]), FamilyId([1; 16]), &Secret::Password(b"tide")).is_err());
        let file = slot(Capability::Maintain, SlotKind::KeyFile, &Secret::Random(&Key::new([8; 32])));
        assert_eq!(file.capabilities(), [Capability::Maintain]);
        assert_eq!(
            unlock(&file, &Secret::Random(&Key::new([8; 32]))).unwrap().capability(),
            Capability::Maintain
        );
        assert!(unlock(&file, &Secret::Random(&Key::new([9; 32]))).is_err());
    }

    #[test]
    fn a_hostile_cost_is_refused_before_memory_is_taken() {
        let mut bad = slot(Capability::Owner, SlotKind::Password, &Secret::Password(b"tide"));
        for cost in [
            ArgonCost { memory_kib: ARGON_KIB_MAX + 1, ..CHEAP },
            ArgonCost { passes: ARGON_PASSES_MAX + 1, ..CHEAP },
            ArgonCost { lanes: 0, ..CHEAP },
        ] {
            bad.cost = cost;
            assert!(KeySlot::decode(&bad.encode(&RepoId([3; 16])), &RepoId([3; 16])).is_err());
        }
    }

    #[test]
    fn a_bundle_of_foreign_keys_in_a_slot_is_refused() {
        let secret = Secret::Password(b"tide");
        let mut bad = slot(Capability::Owner, SlotKind::Password, &secret);
        let foreign = Keys::owner(FamilyId([1; 16]), Key::new([66; 32]));
        bad.bundles.clear();
        // Everything this needs is readable by whoever holds the storage.
        bad.add_bundle(&RepoId([3; 16]), &foreign, Capability::Owner, &Key::new([67; 32])).unwrap();
        assert!(matches!(unlock(&bad, &secret), Err(FormatError::NotAuthentic { .. })));
    }

    #[test]
    fn every_changed_byte_of_a_slot_is_noticed() {
        let good = slot(Capability::Owner, SlotKind::Password, &Secret::Password(b"tide"));
        let mut fields = [good.clone(), good.clone(), good.clone(), good.clone(), good.clone()];
        fields[0].salt[0] ^= 1;
        fields[1].commitment[0] ^= 1;
        fields[2].wrapped[40] ^= 1;
        fields[3].public[0] ^= 1;
        fields[4].bundles[0].sealed[5] ^= 1;
        for bad in &fields {
            assert!(unlock(bad, &Secret::Password(b"tide")).is_err());
        }
    }
}
