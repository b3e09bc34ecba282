//! A configuration of which both copies are lost, made anew.
//!
//! Everything else of a repository says whose it is: key slots, index segments and lists carry its id, snapshot
//! records that of the family. Neither is believed by itself. An id counts when a key slot opens under it, or
//! when an object sealed with the keys of another repository of the family does. Where not even that is left,
//! the place becomes a new member of the family, and keeps the packs and snapshots it has.
//!
//! Where the configuration is there and only the key slots are lost, it stays as it is: it opens with the keys of
//! another repository of the family, which proves them to be its own, and gets one slot again.
//!
//! How the repository cuts and packs, and how old snapshots must become, is known only by the other repository;
//! without one the defaults stand in.

use crate::check::objects::decode;
use crate::error::{RepoError, RepoResult};
use crate::names;
use crate::open::{ConfigBytes, Credential, Repo, holds_nothing, read_config, store_error};
use crate::seed::Seed;
use crate::slots::{self, NewSlot};
use format::config::{Config, Identity, Parameters};
use format::envelope;
use format::id::{FamilyId, RepoId};
use format::keys::{Capability, Keys};
use format::kind::Timestamp;
use format::limits::INDEX_BYTES_MAX;
use format::slot::{ArgonCost, KeySlot};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use storage::{ErrorKind, ObjectName, PutMode, Store};

/// No more objects of a folder are looked at: all of a sound repository say the same.
const LOOKED_AT_MAX: usize = 16;
/// No more different ids are tried: each costs the stretching of a password.
const IDS_TRIED_MAX: usize = 3;
/// A lost copy that turns up again must not count for more than what took its place.
const GENERATIONS_AHEAD: u64 = 1 << 16;

/// What is left of a repository without a configuration, or without any key slot.
pub struct Remains {
    store: Arc<dyn Store>,
    /// Copies of the configuration, where only the slots are lost.
    configs: Vec<ConfigBytes>,
    repos: Vec<RepoId>,
    families: Vec<FamilyId>,
}

/// A repository that has a configuration again.
pub struct Rebuilt {
    /// It.
    pub repo: Repo,
    /// Nothing there told its id any more: it has a new one.
    pub is_new_member: bool,
    /// No key slot was left: it has one again, which the given secret opens.
    pub made_slot: bool,
}

impl Remains {
    /// Looks at a place. None where the configuration and a slot can be read, or nothing was ever stored.
    pub fn of(store: Arc<dyn Store>) -> RepoResult<Option<Self>> {
        match read_config(&*store) {
            Ok(configs) => return Self::without_slots(store, configs),
            Err(RepoError::NoRepository { .. }) => return Ok(None),
            Err(e) if e.is_damage() && holds_nothing(&*store)? => return Ok(None),
            Err(e) if e.is_damage() => {}
            Err(e) => return Err(e),
        }
        let slots = format!("{}{}", names::MIRROR, names::KEYS);
        let records = format!("{}{}", names::MIRROR, names::SNAPSHOTS);
        let repos = scopes(&*store, &[names::KEYS, &slots, names::INDEX, names::GC])?;
        let families = scopes(&*store, &[names::SNAPSHOTS, &records])?;
        let (repos, families) =
            (repos.into_iter().map(RepoId).collect(), families.into_iter().map(FamilyId).collect());
        Ok(Some(Remains { store, configs: Vec::new(), repos, families }))
    }

    fn without_slots(store: Arc<dyn Store>, configs: Vec<ConfigBytes>) -> RepoResult<Option<Self>> {
        for config in &configs {
            if slots::is_any_left(&*store, &config.identity.repo)? {
                return Ok(None);
            }
        }
        let repos = configs.iter().map(|c| c.identity.repo).collect();
        let families = configs.iter().map(|c| c.identity.family).collect();
        Ok(Some(Remains { store, configs, repos, families }))
    }

    /// Whether the configuration is there, and only the key slots are lost.
    pub fn has_configuration(&self) -> bool {
        !self.configs.is_empty()
    }

    /// Which repositories it may have been, the likeliest first. Not proven.
    pub fn candidates(&self) -> &[RepoId] {
        &self.repos
    }

    /// Makes the configuration anew and stores it. A secret that opens none of the slots that are there is wrong;
    /// only where none is left, `sibling` is enough.
    pub fn rebuild(
        self,
        credential: &Credential,
        sibling: Option<&Repo>,
        now: Timestamp,
        seed: &mut Seed,
    ) -> RepoResult<Rebuilt> {
        if self.has_configuration() {
            return self.rebuild_slots(credential, sibling, now, seed);
        }
        let families = match sibling {
            Some(sibling) => vec![sibling.identity().family],
            None => self.families.clone(),
        };
        let mut failure = None;
        for &repo in &self.repos {
            for &family in &families {
                let identity =
                    Identity { repo, family, required_features: 0, optional_features: 0, created: now };
                match slots::unlock(&*self.store, &identity, credential) {
                    Ok(keys) => return self.finish(identity, Arc::new(keys), sibling, None, seed),
                    Err(e) => failure = failure.or(Some(e)),
                }
            }
        }
        let (Some(sibling), false) = (sibling, self.has_slots()?) else {
            return Err(
                failure.unwrap_or_else(|| RepoError::ConfigurationLost { location: self.store.location() })
            );
        };
        let keys = sibling.keys().clone();
        let known = self.authentic(sibling)?;
        let identity = Identity {
            repo: known.unwrap_or_else(|| RepoId(seed.draw())),
            family: sibling.identity().family,
            required_features: 0,
            optional_features: 0,
            created: now,
        };
        let slot = slots::make(&identity.repo, &keys, &only_slot(credential), now, seed)?;
        let rebuilt = self.finish(identity, keys, Some(sibling), Some(slot), seed)?;
        Ok(Rebuilt { is_new_member: known.is_none(), ..rebuilt })
    }

    /// Gives the configuration one slot again. Its own seal tells whether the keys of `sibling` are its keys.
    fn rebuild_slots(
        self,
        credential: &Credential,
        sibling: Option<&Repo>,
        now: Timestamp,
        seed: &mut Seed,
    ) -> RepoResult<Rebuilt> {
        let Some(sibling) = sibling else {
            return Err(RepoError::SlotsLost { location: self.store.location() });
        };
        let keys = sibling.keys().clone();
        let opened = self.configs.iter().map(|copy| Config::decode(&copy.bytes, &keys));
        let (mut best, mut failure): (Option<Config>, _) = (None, None);
        for config in opened {
            match config {
                Ok(config) => {
                    let generation = |c: &Config| c.parameters.generation;
                    if best.as_ref().is_none_or(|b| generation(b) < generation(&config)) {
                        best = Some(config);
                    }
                }
                Err(e) => failure = failure.or(Some(RepoError::object(&names::CONFIG, e))),
            }
        }
        let Some(config) = best else {
            return Err(
                failure.unwrap_or_else(|| RepoError::ConfigurationLost { location: self.store.location() })
            );
        };
        let id = config.identity.repo;
        let mut repo = Repo::from_parts(self.store, config, keys);
        let slot = slots::make(&id, repo.keys(), &only_slot(credential), now, seed)?;
        slots::store(&**repo.store(), &id, &slot)?;
        repo.update_parameters(seed, |p| p.slots = vec![slot.id])?;
        Ok(Rebuilt { repo, is_new_member: false, made_slot: true })
    }

    /// Whether any key slot can be read, whatever opens it.
    fn has_slots(&self) -> RepoResult<bool> {
        for repo in &self.repos {
            if !slots::read_all(&*self.store, repo)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The id under which something here opens with the keys of the other repository.
    fn authentic(&self, sibling: &Repo) -> RepoResult<Option<RepoId>> {
        for &repo in &self.repos {
            let identity = Identity { repo, ..sibling.identity().clone() };
            let config = Config { identity, parameters: sibling.parameters().clone() };
            let candidate = Repo::from_parts(self.store.clone(), config, sibling.keys().clone());
            for folder in [names::INDEX, names::GC] {
                let is_right = |name: &ObjectName, bytes: &[u8]| decode(&candidate, name, bytes).is_ok();
                let mut found = false;
                visit(&*self.store, folder, &mut |name, bytes| found |= is_right(name, bytes))?;
                if found {
                    return Ok(Some(repo));
                }
            }
        }
        Ok(None)
    }

    fn finish(
        self,
        identity: Identity,
        keys: Arc<Keys>,
        sibling: Option<&Repo>,
        slot: Option<KeySlot>,
        seed: &mut Seed,
    ) -> RepoResult<Rebuilt> {
        let id = identity.repo;
        if let Some(slot) = &slot {
            slots::store(&*self.store, &id, slot)?;
        }
        let known = sibling.map(|s| s.parameters().clone()).unwrap_or_default();
        let parameters = Parameters {
            slots: slots::read_all(&*self.store, &id)?.iter().map(|slot| slot.id).collect(),
            generation: known.generation + GENERATIONS_AHEAD,
            probed: Vec::new(),
            ..known
        };
        let first_copy = match self.store.stat(&names::name(names::CONFIG)) {
            Err(e) if e.kind() == ErrorKind::NotFound => PutMode::CreateNew,
            _ => PutMode::Replace,
        };
        let repo = Repo::from_parts(self.store, Config { identity, parameters }, keys);
        repo.store_new_config(seed, first_copy)?;
        Ok(Rebuilt { repo, is_new_member: false, made_slot: slot.is_some() })
    }
}

fn only_slot(credential: &Credential) -> NewSlot {
    NewSlot {
        credential: credential.clone(),
        is_recovery: false,
        capability: Capability::Owner,
        cost: ArgonCost::default(),
        label: "after the loss of all others".into(),
    }
}

/// The ids that whole objects of these folders carry, the most frequent first.
fn scopes(store: &dyn Store, folders: &[&str]) -> RepoResult<Vec<[u8; 16]>> {
    let mut counts: BTreeMap<[u8; 16], usize> = BTreeMap::new();
    for folder in folders {
        visit(store, folder, &mut |_, bytes| {
            if let Ok(scope) = envelope::scope(bytes) {
                *counts.entry(scope).or_default() += 1;
            }
        })?;
    }
    let mut found: Vec<([u8; 16], usize)> = counts.into_iter().collect();
    found.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    Ok(found.into_iter().take(IDS_TRIED_MAX).map(|(scope, _)| scope).collect())
}

/// Reads a few objects of a folder, mended where they can be.
fn visit(store: &dyn Store, folder: &str, visit: &mut dyn FnMut(&ObjectName, &[u8])) -> RepoResult<()> {
    let mut found = Vec::new();
    let listed = store.list(folder, &mut |info| {
        found.push(info.name);
        if found.len() < LOOKED_AT_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    match listed {
        Err(e) if !matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NoSuchPlace) => {
            return Err(store_error(store, e));
        }
        _ => {}
    }
    for name in found {
        match store.get(&name, INDEX_BYTES_MAX as u64).map_err(|e| store_error(store, e)) {
            Ok(mut bytes) => {
                // What cannot be mended says nothing, as if it were gone.
                _ = envelope::repair(&mut bytes);
                visit(&name, &bytes);
            }
            Err(e) if e.is_damage() => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
