//! Adding, listing and removing ways to unlock.

use crate::error::{RepoError, RepoResult};
use crate::names;
use crate::open::{Credential, Repo, mend_and_decode, store_error};
use crate::seed::Seed;
use format::id::{RepoId, SlotId};
use format::keys::{Capability, Key, Keys};
use format::kind::Timestamp;
use format::limits::RECORD_BYTES_MAX;
use format::slot::{ArgonCost, KeySlot, SlotEntropy, SlotKind};
use std::ops::ControlFlow;
use storage::{ErrorKind, PutMode, Store};

/// Slots that nobody listed in the configuration are tried too, but no more than this many in all: a
/// hostile store could otherwise make every unlock cost minutes of password stretching.
const SLOTS_TRIED_MAX: usize = 64;

/// A way to unlock that is to be made.
pub struct NewSlot {
    /// What opens it.
    pub credential: Credential,
    /// Whether a random key is the recovery key, not a key file.
    pub is_recovery: bool,
    /// What it grants.
    pub capability: Capability,
    /// Cost of trying one password.
    pub cost: ArgonCost,
    /// The user's name for it.
    pub label: String,
}

/// A way to unlock that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotInfo {
    /// Its id.
    pub id: SlotId,
    /// What opens it.
    pub kind: SlotKind,
    /// What it grants.
    pub capabilities: Vec<Capability>,
    /// The user's name for it.
    pub label: String,
    /// When it was made.
    pub created: Timestamp,
    /// Whether the configuration lists it.
    pub listed: bool,
}

/// Makes a slot.
pub(crate) fn make(
    repo: &RepoId,
    keys: &Keys,
    new: &NewSlot,
    created: Timestamp,
    seed: &mut Seed,
) -> RepoResult<KeySlot> {
    let kind = match (&new.credential, new.is_recovery) {
        (Credential::Password(_), _) => SlotKind::Password,
        (Credential::Random(_), false) => SlotKind::KeyFile,
        (Credential::Random(_), true) => SlotKind::Recovery,
    };
    let entropy = SlotEntropy {
        id: SlotId(seed.draw()),
        salt: seed.draw(),
        private: Key::new(seed.draw()),
        ephemeral: Key::new(seed.draw()),
    };
    let secret = new.credential.secret();
    KeySlot::create(repo, keys, new.capability, kind, &secret, new.cost, &new.label, created, entropy)
        .map_err(|e| RepoError::object(&names::KEYS, e))
}

/// Stores a slot and its second copy.
pub(crate) fn store(store: &dyn Store, repo: &RepoId, slot: &KeySlot) -> RepoResult<()> {
    let bytes = slot.encode(repo);
    let name = names::slot(&slot.id);
    for name in [names::mirror(&name), name] {
        store.put(&name, &bytes, PutMode::Replace).map_err(|e| store_error(store, e))?;
    }
    store.sync().map_err(|e| store_error(store, e))
}

/// Reads all slots that can be read, from either copy.
pub(crate) fn read_all(store: &dyn Store, repo: &RepoId) -> RepoResult<Vec<KeySlot>> {
    let mut ids = Vec::new();
    for folder in [names::KEYS.to_string(), format!("{}{}", names::MIRROR, names::KEYS)] {
        let listed = store.list(&folder, &mut |info| {
            ids.extend(SlotId::from_hex(info.name.file_name()));
            ControlFlow::Continue(())
        });
        match listed {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(store_error(store, e)),
            _ => {}
        }
    }
    ids.sort();
    ids.dedup();
    ids.truncate(SLOTS_TRIED_MAX);
    let mut slots = Vec::new();
    for id in ids {
        let name = names::slot(&id);
        let copies = [name.clone(), names::mirror(&name)];
        slots.extend(copies.iter().find_map(|name| {
            let mut bytes = store.get(name, RECORD_BYTES_MAX as u64).ok()?;
            mend_and_decode(&mut bytes, |bytes| KeySlot::decode(bytes, repo)).ok()
        }));
    }
    Ok(slots)
}

impl Repo {
    /// All slots, those of the configuration first.
    pub fn slots(&self) -> RepoResult<Vec<SlotInfo>> {
        let slots = read_all(&**self.store(), &self.identity().repo)?;
        let mut infos: Vec<SlotInfo> = slots.iter().map(|s| self.slot_info(s)).collect();
        infos.sort_by_key(|s| (!s.listed, s.created, s.id));
        Ok(infos)
    }

    fn slot_info(&self, slot: &KeySlot) -> SlotInfo {
        SlotInfo {
            id: slot.id,
            kind: slot.kind,
            capabilities: slot.capabilities(),
            label: slot.label.clone(),
            created: slot.created,
            listed: self.parameters().slots.contains(&slot.id),
        }
    }

    /// Which slot this credential opens.
    pub fn slot_of(&self, credential: &Credential) -> RepoResult<Option<SlotInfo>> {
        let (repo, family) = (self.identity().repo, self.identity().family);
        let secret = credential.secret();
        let slots = read_all(&**self.store(), &repo)?;
        let opens = |s: &&KeySlot| s.fits(&secret) && s.unlock(&repo, family, &secret).is_ok();
        Ok(slots.iter().find(opens).map(|s| self.slot_info(s)))
    }

    /// Adds a slot.
    pub fn add_slot(&mut self, new: &NewSlot, created: Timestamp, seed: &mut Seed) -> RepoResult<SlotInfo> {
        let slot = make(&self.identity().repo, self.keys(), new, created, seed)?;
        store(&**self.store(), &self.identity().repo, &slot)?;
        self.update_parameters(seed, |p| p.slots.push(slot.id))?;
        Ok(self.slot_info(&slot))
    }

    /// Removes a slot. What it opened stays readable with a copy of the slot kept elsewhere: only new keys
    /// would change that.
    pub fn remove_slot(&mut self, id: &SlotId, seed: &mut Seed) -> RepoResult<()> {
        self.update_parameters(seed, |p| p.slots.retain(|s| s != id))?;
        let name = names::slot(id);
        for name in [names::mirror(&name), name] {
            match self.store().delete(&name) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(self.store_error(e)),
                _ => {}
            }
        }
        self.sync()
    }
}
