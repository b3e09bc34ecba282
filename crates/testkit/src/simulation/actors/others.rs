//! Restores, checks, somebody who makes a repository where one is, decay, and somebody who adds objects.

use crate::mini;
use crate::simulation::actors::{Actor, Desk};
use crate::simulation::history::Rights;
use crate::simulation::judge;
use crate::simulation::weather::Rot;
use crate::world::{create_in, tiny_parameters};
use repo::check::{CheckOptions, ReadShare, check};
use repo::snapshots::SnapshotList;
use repo::workers::Workers;
use repo::{RepoError, RepoResult};
use std::collections::BTreeSet;
use storage::{ObjectName, PutMode};

/// Restores a snapshot: all its files, or an error, but never other bytes.
pub struct Restores;

impl Actor for Restores {
    fn name(&self) -> &'static str {
        "restore"
    }

    fn rights(&self) -> Rights {
        Rights::Reads
    }

    fn act(&mut self, desk: &mut Desk) -> RepoResult<()> {
        let reader = desk.reader()?;
        let list = SnapshotList::read(reader.repo())?;
        let visible: Vec<_> = list.visible().collect();
        if visible.is_empty() {
            return Ok(());
        }
        let snapshot = visible[desk.dice.below(visible.len() as u64) as usize];
        let files = mini::restore(&reader, snapshot.root)?;
        match desk.oracle.contents(&snapshot.id) {
            None => desk.oracle.violated("R2", format!("snapshot {} was made by nobody", snapshot.id)),
            Some(expected) if *expected != files => {
                desk.oracle.violated("R5", format!("snapshot {} was restored with other bytes", snapshot.id));
            }
            Some(_) => {}
        }
        Ok(())
    }
}

/// Looks for damage.
pub struct Checks;

impl Actor for Checks {
    fn name(&self) -> &'static str {
        "check"
    }

    fn rights(&self) -> Rights {
        Rights::Reads
    }

    fn act(&mut self, desk: &mut Desk) -> RepoResult<()> {
        let reader = desk.reader()?;
        let mut options = CheckOptions {
            read: if desk.dice.once_in(2) { ReadShare::Everything } else { ReadShare::Nothing },
            workers: Workers(0),
            sample_seed: desk.unique_seed(),
            now: format::kind::Timestamp::default(),
            progress: &mut |_, _| {},
        };
        let report = check(&reader, &mut options)?;
        if desk.weather.is_calm() {
            judge::of_findings(&report.findings, &desk.oracle);
        }
        Ok(())
    }
}

/// Tries to make a repository where there is one.
pub struct Creates;

impl Actor for Creates {
    fn name(&self) -> &'static str {
        "create"
    }

    fn rights(&self) -> Rights {
        Rights::Creates
    }

    fn act(&mut self, desk: &mut Desk) -> RepoResult<()> {
        match create_in(desk.store(), desk.unique_seed(), tiny_parameters()) {
            Ok(_) => desk.oracle.violated("R3", "a repository was made where there is one"),
            Err(RepoError::AlreadyExists { .. }) => {}
            Err(e) => return Err(e),
        }
        Ok(())
    }
}

/// Damages one stored object, within what is promised to be survived.
#[derive(Default)]
pub struct Rots {
    done: bool,
    /// What was damaged, by the name of the first copy: no object is hit twice, nor are both its copies.
    hit: BTreeSet<String>,
}

impl Rots {
    /// Objects of these folders, in name order.
    fn names(desk: &Desk, folders: &[&str]) -> Vec<ObjectName> {
        let is_of = |name: &ObjectName| folders.iter().any(|f| name.as_str().starts_with(f));
        desk.sim.objects().into_keys().filter(is_of).collect()
    }

    fn pick(desk: &mut Desk, folders: &[&str]) -> Option<ObjectName> {
        let names = Self::names(desk, folders);
        (!names.is_empty()).then(|| names[desk.dice.below(names.len() as u64) as usize].clone())
    }

    fn rot(&mut self, desk: &mut Desk, rot: Rot) -> bool {
        const TWICE: [&str; 4] = ["config", "keys/", "snapshots/", "mirror/"];
        const SMALL: [&str; 7] = ["config", "keys/", "snapshots/", "mirror/", "index/", "trees/", "gc/tomb-"];
        let folders: &[&str] = match rot {
            Rot::LostCopy => &TWICE,
            Rot::Flip => &SMALL,
            Rot::LostIndex => &["index/"],
            Rot::LostPack => &["packs/", "trees/"],
        };
        let Some(name) = Self::pick(desk, folders) else { return false };
        if !self.hit.insert(repo::names::first_copy(&name).to_string()) {
            return false;
        }
        if rot == Rot::LostCopy && !Self::has_its_twin(desk, &name) {
            return false;
        }
        let cut = desk.dice.once_in(3);
        let at = desk.dice.roll();
        match rot {
            Rot::Flip => desk.sim.damage(&name, |bytes| {
                if let Some(len) = (bytes.len() as u64).checked_sub(1).filter(|len| *len > 0) {
                    bytes[(at % len) as usize] ^= 1 << (at % 7);
                }
            }),
            Rot::LostPack if cut => desk.sim.damage(&name, |bytes| {
                bytes.truncate((at % bytes.len().max(1) as u64) as usize);
            }),
            _ => desk.sim.lose(&name),
        };
        desk.history.remark(desk.number, &format!("{rot:?}"), &name);
        if rot == Rot::LostPack {
            desk.oracle.loses_contents(desk.history.len());
        }
        true
    }

    /// Only one of two whole copies may be lost.
    fn has_its_twin(desk: &Desk, name: &ObjectName) -> bool {
        let first = repo::names::first_copy(name);
        let other = match name.as_str() == first {
            true => repo::names::mirror(name),
            false => repo::names::name(first),
        };
        let (one, two) = (desk.sim.object(name), desk.sim.object(&other));
        one == two
    }
}

impl Actor for Rots {
    fn name(&self) -> &'static str {
        "rot"
    }

    fn rights(&self) -> Rights {
        Rights::Reads
    }

    fn act(&mut self, desk: &mut Desk) -> RepoResult<()> {
        // Waits for a while: the place is nearly empty at first.
        for _ in 0..desk.dice.below(120) {
            desk.at_turn(|| ());
        }
        let Some(rot) = desk.weather.rot.filter(|_| !self.done) else { return Ok(()) };
        let seat = desk.seat.clone();
        // Flips may be many, for each object bears its own.
        let objects = if rot == Rot::Flip { 8 } else { 1 };
        for _ in 0..objects {
            self.done |= seat.take(|| self.rot(desk, rot));
        }
        Ok(())
    }
}

/// Adds objects: noise and copies of others, under names that look right.
#[derive(Default)]
pub struct Intrudes {
    /// What was stored when it last looked, also what was deleted since.
    seen: Vec<(ObjectName, Vec<u8>)>,
}

impl Intrudes {
    fn invent(&mut self, desk: &mut Desk) -> Option<(ObjectName, Vec<u8>)> {
        const FOLDERS: [&str; 8] =
            ["snapshots/", "mirror/snapshots/", "index/", "packs/", "trees/", "pending/", "gc/", "keys/"];
        self.seen.extend(desk.sim.objects());
        let folder = FOLDERS[desk.dice.below(8) as usize];
        let below: Vec<_> = self.seen.iter().filter(|(n, _)| n.as_str().starts_with(folder)).collect();
        let like = match below.is_empty() {
            true => None,
            false => Some(below[desk.dice.below(below.len() as u64) as usize].clone()),
        };
        let bytes = match &like {
            Some((_, bytes)) if !desk.dice.once_in(3) => bytes.clone(),
            _ => {
                let len = desk.dice.below(300) as usize;
                desk.dice.bytes(len)
            }
        };
        let tomb_of = |name: &str| Some(format!("gc/tomb-{}", name.strip_prefix("snapshots/")?));
        let snapshots: Vec<_> = self.seen.iter().filter_map(|(n, _)| tomb_of(n.as_str())).collect();
        let name = if folder == "gc/" && !snapshots.is_empty() {
            snapshots[desk.dice.below(snapshots.len() as u64) as usize].clone()
        } else {
            let like = like?.0.as_str().to_string();
            other_digits(&like, &mut desk.dice)
        };
        let name = ObjectName::new(&name)?;
        // To bring back what was removed takes the right to put under gc/, which the store must refuse.
        let is_replay = self.seen.iter().any(|(n, b)| *n == name && *b == bytes);
        (!is_replay).then_some((name, bytes))
    }
}

/// A name with another last digit, which is that of no object.
fn other_digits(name: &str, dice: &mut crate::dice::Dice) -> String {
    let digits = b"0123456789abcdef";
    let keep = name.len().saturating_sub(6);
    let mut out = name[..keep].to_string();
    for _ in keep..name.len() {
        out.push(char::from(digits[dice.below(16) as usize]));
    }
    out
}

impl Actor for Intrudes {
    fn name(&self) -> &'static str {
        "intruder"
    }

    fn rights(&self) -> Rights {
        Rights::Adds
    }

    fn act(&mut self, desk: &mut Desk) -> RepoResult<()> {
        for _ in 0..6 {
            for _ in 0..desk.dice.below(20) {
                desk.at_turn(|| ());
            }
            let seat = desk.seat.clone();
            let Some((name, bytes)) = seat.take(|| self.invent(desk)) else { continue };
            desk.store().put(&name, &bytes, PutMode::CreateNew).ok();
        }
        Ok(())
    }
}
