//! The destinations of a session, and what each of them lacks.
//!
//! Every byte is compressed and sealed once, in packs that are the same everywhere; which destinations a pack
//! goes to is its *mask*. With one destination everything happens on the conductor's thread and a pack streams
//! to its place while it grows; with several each has a [`Courier`] and gets whole packs.
//!
//! A destination that fails or is too slow is left behind; the session goes on as long as one is left. Being
//! left behind is no loss: it holds no record of the snapshot, and what was sent is found when it is completed
//! from a sibling.

use super::courier::Courier;
use super::destination::Destination;
use crate::error::{RepoError, RepoResult};
use crate::reader::Reader;
use crossbeam_channel::RecvTimeoutError;
use format::id::{BlobId, BlobKind, PackId};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// A set of destinations, one bit each.
pub(super) type Mask = u32;

/// At the end nobody is held up any more, so a place may take so many times longer for its last packs.
const LAST_PATIENCE: u32 = 10;

/// No more destinations than this.
pub const DESTINATIONS_MAX: usize = 32;

/// Why a destination has not got the snapshot.
#[derive(Debug)]
pub enum Behind {
    /// It failed.
    Failed(RepoError),
    /// The others stood idle for it.
    Slow,
    /// Something the snapshot takes over from older ones is not there, or its id is over there.
    Incomplete,
}

/// Something to be done at a destination.
pub(super) type Work<T> = Box<dyn FnOnce(&mut Destination) -> RepoResult<T> + Send>;

enum Seat {
    Here(Box<Destination>),
    There(Courier),
}

/// One destination as the conductor sees it.
pub(super) struct Slot {
    pub(super) reader: Arc<Reader>,
    seat: Seat,
    pub(super) behind: Option<Behind>,
    /// Whether it lacks a blob that was sent to others alone.
    is_passed_over: bool,
    /// Packs its dedup relies on.
    relied_on: HashSet<PackId>,
    /// The one added last: neighbours mostly lie in one pack.
    relied_on_last: Option<PackId>,
}

impl Slot {
    pub(super) fn is_attached(&self) -> bool {
        self.behind.is_none() && !matches!(&self.seat, Seat::There(courier) if courier.has_failed())
    }

    fn has_stored(&mut self, kind: BlobKind, id: &BlobId) -> bool {
        let found = self.reader.with_index_read(|index| index.stored_in(kind, id));
        if found.is_some() && found != self.relied_on_last {
            self.relied_on.extend(found);
            self.relied_on_last = found;
        }
        found.is_some()
    }
}

/// All destinations.
pub(super) struct Fan {
    pub(super) slots: Vec<Slot>,
    patience: Duration,
}

impl Fan {
    /// With `threads` several destinations get one each; a single one stays with the conductor.
    pub(super) fn new(destinations: Vec<Destination>, threads: bool, patience: Duration) -> Self {
        let several = destinations.len() > 1;
        let seat = |destination: Destination| match several && threads {
            true => Seat::There(Courier::start(destination)),
            false => Seat::Here(Box::new(destination)),
        };
        let slot = |destination: Destination| Slot {
            reader: destination.reader.clone(),
            seat: seat(destination),
            behind: None,
            is_passed_over: false,
            relied_on: HashSet::new(),
            relied_on_last: None,
        };
        Fan { slots: destinations.into_iter().map(slot).collect(), patience }
    }

    pub(super) fn is_single(&self) -> bool {
        self.slots.len() == 1
    }

    /// The one destination of a session that works on one repository.
    pub(super) fn sole(&mut self) -> &mut Destination {
        match &mut self.slots[..] {
            [Slot { seat: Seat::Here(destination), .. }] => destination,
            _ => panic!("only a session of one repository maintains it"),
        }
    }

    pub(super) fn sole_ref(&self) -> Option<&Destination> {
        match &self.slots[..] {
            [Slot { seat: Seat::Here(destination), .. }] => Some(destination),
            _ => None,
        }
    }

    /// Those that are left.
    pub(super) fn attached(&self) -> Mask {
        let bits = self.slots.iter().enumerate().filter(|(_, slot)| slot.is_attached());
        bits.fold(0, |mask, (i, _)| mask | 1 << i)
    }

    /// Those that lack a blob. Where it is found the session relies on it from now on.
    pub(super) fn lacking(&mut self, kind: BlobKind, id: &BlobId) -> Mask {
        let mut mask = 0;
        for (i, slot) in self.slots.iter_mut().enumerate() {
            if slot.is_attached() && !slot.has_stored(kind, id) {
                mask |= 1 << i;
            }
        }
        mask
    }

    /// These lack a blob and do not get it from this session.
    pub(super) fn pass_over(&mut self, mask: Mask) {
        for (i, slot) in self.slots.iter_mut().enumerate() {
            slot.is_passed_over |= mask >> i & 1 == 1;
        }
    }

    /// Those that are left and were passed over.
    pub(super) fn passed_over(&self) -> Vec<usize> {
        let slots = self.slots.iter().enumerate();
        slots.filter(|(_, slot)| slot.is_attached() && slot.is_passed_over).map(|(i, _)| i).collect()
    }

    /// Packs a destination relies on.
    pub(super) fn relied_on(&self, i: usize) -> Vec<PackId> {
        self.slots[i].relied_on.iter().copied().collect()
    }

    pub(super) fn rely_on_nothing(&mut self) {
        for slot in &mut self.slots {
            slot.relied_on.clear();
            slot.relied_on_last = None;
        }
    }

    /// The newest pack that every destination of a mask knows in its index.
    pub(super) fn indexed(&self, mask: Mask) -> u64 {
        let of = |slot: &Slot| match &slot.seat {
            Seat::Here(destination) => destination.indexed().load(std::sync::atomic::Ordering::Acquire),
            Seat::There(courier) => courier.indexed(),
        };
        let slots = self.slots.iter().enumerate();
        let counted = slots.filter(|(i, slot)| mask >> i & 1 == 1 && slot.is_attached());
        counted.map(|(_, slot)| of(slot)).min().unwrap_or(u64::MAX)
    }

    /// Does something at each attached destination of a mask; a pack waits until there is room for it.
    pub(super) fn each(
        &mut self,
        mask: Mask,
        is_pack: bool,
        make: &mut dyn FnMut(usize) -> Work<()>,
    ) -> RepoResult<()> {
        let single = self.is_single();
        for i in (0..self.slots.len()).filter(|i| mask >> i & 1 == 1) {
            if !self.slots[i].is_attached() {
                continue;
            }
            if is_pack && !self.has_room(i) {
                self.dismiss(i, Behind::Slow);
                continue;
            }
            match &mut self.slots[i].seat {
                Seat::Here(destination) => match make(i)(destination) {
                    Err(e) if single => return Err(e),
                    Err(e) => self.slots[i].behind = Some(Behind::Failed(e)),
                    Ok(()) => {}
                },
                Seat::There(courier) => courier.give(make(i)),
            }
        }
        self.must_have_one()
    }

    /// Waits for room at one destination, as long as the others do not stand idle for it too long.
    fn has_room(&mut self, i: usize) -> bool {
        let mut looks = 0u32;
        loop {
            let others_idle = self.slots.iter().enumerate().any(|(n, slot)| {
                n != i
                    && slot.is_attached()
                    && matches!(&slot.seat, Seat::There(courier) if courier.is_idle())
            });
            let patience = self.patience;
            let Seat::There(courier) = &mut self.slots[i].seat else { return true };
            if courier.wait_for_room().is_some() {
                courier.blame(looks == 0, others_idle);
                return true;
            }
            looks += 1;
            if courier.blame(false, others_idle) > patience {
                return false;
            }
        }
    }

    /// Leaves a destination behind.
    pub(super) fn dismiss(&mut self, i: usize, why: Behind) {
        if let Seat::There(courier) = &mut self.slots[i].seat {
            courier.dismiss();
        }
        self.slots[i].behind = Some(why);
    }

    /// Asks every attached destination, all at once; `None` of one that is left behind.
    pub(super) fn ask<T: Send + 'static>(
        &mut self,
        make: &mut dyn FnMut(usize) -> Work<T>,
    ) -> RepoResult<Vec<Option<T>>> {
        let (answer, answers) = crossbeam_channel::unbounded();
        let mut told: Vec<Option<T>> = (0..self.slots.len()).map(|_| None).collect();
        self.each(Mask::MAX, false, &mut |i| {
            let (question, answer) = (make(i), answer.clone());
            Box::new(move |destination| {
                answer.send((i, question(destination)?)).ok();
                Ok(())
            })
        })?;
        drop(answer);
        loop {
            match answers.recv_timeout(self.patience * LAST_PATIENCE) {
                Ok((i, found)) => told[i] = Some(found),
                // Whoever fails drops its end of the channel without a word.
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) if told.iter().all(Option::is_none) => {}
                Err(RecvTimeoutError::Timeout) => {
                    let silent = |i: &usize| told[*i].is_none() && self.slots[*i].is_attached();
                    for i in (0..told.len()).filter(silent).collect::<Vec<_>>() {
                        self.dismiss(i, Behind::Slow);
                    }
                    break;
                }
            }
        }
        self.must_have_one()?;
        Ok(told)
    }

    /// Fails if no destination is left, with what the first of them said.
    pub(super) fn must_have_one(&mut self) -> RepoResult<()> {
        if self.attached() != 0 {
            return Ok(());
        }
        self.collect_failures();
        for slot in &mut self.slots {
            if let Some(Behind::Failed(_)) = &slot.behind
                && let Some(Behind::Failed(e)) = slot.behind.replace(Behind::Incomplete)
            {
                return Err(e);
            }
        }
        Err(RepoError::Overtaken)
    }

    /// Notes why couriers failed.
    pub(super) fn collect_failures(&mut self) {
        for slot in &mut self.slots {
            if let (None, Seat::There(courier)) = (&slot.behind, &slot.seat)
                && courier.has_failed()
            {
                slot.behind = courier.why().map(Behind::Failed).or(Some(Behind::Incomplete));
            }
        }
    }
}
