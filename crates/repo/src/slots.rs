//! Adding, listing and removing ways to unlock.

use crate::error::{RepoError, RepoResult};
use crate::names;
use crate::open::{Credential, Repo, mend_and_decode, store_error};
use crate::seed::Seed;
use format::FormatError;
use format::config::Identity;
use format::id::{RepoId, SlotId};
use format::keys::{Capability, Key, Keys};
use format::kind::Timestamp;
use format::limits::RECORD_BYTES_MAX;
use format::slot::{ArgonCost, KeySlot, SlotEntropy, SlotKind};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use storage::{ErrorKind, ObjectName, PutMode, Store, planted};

/// No more slots than this are tried with one password: whoever may add slots could otherwise make every
/// unlock cost minutes of stretching. The store's oldest come first, so that added ones hide none.
const PASSWORDS_TRIED_MAX: usize = 64;

/// No more slots than this are read.
const SLOTS_READ_MAX: usize = 1024;

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
    let mut slots: BTreeMap<SlotId, KeySlot> = BTreeMap::new();
    visit(store, repo, &mut |slot| {
        slots.insert(slot.id, slot);
        ControlFlow::Continue(())
    })?;
    Ok(slots.into_values().collect())
}

/// Whether there is a slot that can be read, if only by a newer version. Trouble with the store is no answer.
pub(crate) fn is_any_left(store: &dyn Store, repo: &RepoId) -> RepoResult<bool> {
    for folder in [names::KEYS.to_string(), format!("{}{}", names::MIRROR, names::KEYS)] {
        for (name, id) in list(store, &folder)? {
            match read(store, repo, &name, &id) {
                Err(e) if e.is_damage() && !e.is_too_new() => {}
                Ok(_) => return Ok(true),
                Err(e) if e.is_too_new() => return Ok(true),
                Err(e) => return Err(e),
            }
        }
    }
    Ok(false)
}

/// Visits slots that can be read, the second copies of the others last: opening reads no more than it must.
fn visit(
    store: &dyn Store,
    repo: &RepoId,
    visit: &mut dyn FnMut(KeySlot) -> ControlFlow<()>,
) -> RepoResult<()> {
    let mut seen = BTreeSet::new();
    let mut failure = None;
    let folders_read = if planted::is("slot-mirror-unread") { 1 } else { 2 };
    let folders = [names::KEYS.to_string(), format!("{}{}", names::MIRROR, names::KEYS)];
    for folder in folders.into_iter().take(folders_read) {
        for (name, id) in list(store, &folder)? {
            if seen.contains(&id) || seen.len() >= SLOTS_READ_MAX {
                continue;
            }
            match read(store, repo, &name, &id) {
                Ok(slot) => {
                    seen.insert(id);
                    if visit(slot).is_break() {
                        return Ok(());
                    }
                }
                Err(e) if e.is_damage() || e.is_too_new() => {}
                Err(e) => failure = Some(e),
            }
        }
    }
    // A slot that could not be fetched may be the one: the store's trouble is not a wrong password.
    failure.map_or(Ok(()), Err)
}

/// The slots of a folder, those that the store received first coming first.
fn list(store: &dyn Store, folder: &str) -> RepoResult<Vec<(ObjectName, SlotId)>> {
    let mut found = Vec::new();
    let listed = store.list(folder, &mut |info| {
        if let Some(id) = names::parse_slot(&info.name) {
            found.push((info.received, info.name, id));
        }
        ControlFlow::Continue(())
    });
    match listed {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(store_error(store, e)),
        _ => {}
    }
    found.sort();
    Ok(found.into_iter().map(|(_, name, id)| (name, id)).collect())
}

/// Reads one copy of a slot.
pub(crate) fn read(store: &dyn Store, repo: &RepoId, name: &ObjectName, id: &SlotId) -> RepoResult<KeySlot> {
    let mut bytes = store.get(name, RECORD_BYTES_MAX as u64).map_err(|e| store_error(store, e))?;
    let decoded = mend_and_decode(&mut bytes, |bytes| {
        let slot = KeySlot::decode(bytes, repo)?;
        match slot.id == *id {
            true => Ok(slot),
            false => Err(FormatError::Corrupt { what: "key slot", why: "it stands under another's name" }),
        }
    });
    decoded.map_err(|e| RepoError::object(name, e))
}

/// Opens the first slot that this credential fits.
pub(crate) fn unlock(store: &dyn Store, identity: &Identity, credential: &Credential) -> RepoResult<Keys> {
    let secret = credential.secret();
    let (mut opened, mut too_new, mut tried) = (None, None, 0);
    let visited = visit(store, &identity.repo, &mut |slot| {
        if !slot.fits(&secret) || (slot.kind == SlotKind::Password && tried >= PASSWORDS_TRIED_MAX) {
            return ControlFlow::Continue(());
        }
        tried += 1;
        match slot.unlock(&identity.repo, identity.family, &secret) {
            Ok(keys) => opened = Some(keys),
            Err(e @ FormatError::TooNew { .. }) => too_new = Some(e),
            Err(_) => {}
        }
        if opened.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if let Some(keys) = opened {
        return Ok(keys);
    }
    visited?;
    match too_new {
        Some(e) => Err(RepoError::object(&names::KEYS, e)),
        None if tried == 0 && !is_any_left(store, &identity.repo)? => {
            Err(RepoError::SlotsLost { location: store.location() })
        }
        None => {
            Err(RepoError::WrongSecret { location: store.location(), slots: tried, tried: credential.word() })
        }
    }
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

    /// Removes a slot, but never the last one that grants everything. What it opened stays readable with a
    /// copy of the slot kept elsewhere: only new keys would change that.
    pub fn remove_slot(&mut self, id: &SlotId, seed: &mut Seed) -> RepoResult<()> {
        let slots = read_all(&**self.store(), &self.identity().repo)?;
        let owns = |s: &KeySlot| s.id != *id && s.capabilities().contains(&Capability::Owner);
        if !slots.iter().any(owns) {
            return Err(RepoError::Local("no other key of this repository could restore its files".into()));
        }
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
