//! How an object comes to be on an SFTP server, durable and whole.
//!
//! The bytes go to `tmp/<random>` and are synced; then the file gets its name, which is one atomic step at
//! the server; the folder is synced by [`Store::sync`](crate::Store::sync). A crash before the naming leaves
//! a file in `tmp/`, which a later upload sweeps away after two days. Names are given by hard link, which
//! never replaces an existing object; the temporary name is removed after it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::TEMPORARY_FOLDER;
use super::fault::Fault;
use super::place::Place;
use super::pool::Lease;
use super::session::{Abilities, Exchange, Session};
use super::store::check_name;
use super::wire::{EntryKind, OPEN_CREATE_NEW, Reply, Request, WritePacket, status};
use crate::{ErrorKind, ObjectName, PutMode, StoreError, StoreResult, Upload};

/// Leftovers younger than this may be uploads that are still running; a day of it is for clocks that are
/// in another time zone.
const LEFTOVER_AGE_MIN: Duration = Duration::from_secs(2 * 24 * 3600);

/// An object on its way.
pub(super) struct SftpUpload {
    place: Arc<Place>,
    lease: Lease,
    exchange: Exchange,
    temporary: String,
    handle: Option<Bytes>,
    packet: Option<WritePacket>,
    offset: u64,
    /// The first failed write; nothing can be made of the upload after it.
    fault: Option<Fault>,
    /// Whether the temporary name is gone or given away.
    named: bool,
}

impl SftpUpload {
    /// Creates the temporary file.
    pub(super) fn create(place: Arc<Place>) -> StoreResult<Self> {
        let lease = place.lease_for_writing()?;
        if place.may_sweep() {
            sweep(&place, &lease);
        }
        let temporary = place.path(&format!("{TEMPORARY_FOLDER}/{}", random_name()?));
        let open = || lease.call(Request::Open { path: &temporary, flags: OPEN_CREATE_NEW });
        let opened = match open() {
            Err(fault) if fault.is_status(status::NO_SUCH_FILE) => {
                place.forget_folders();
                place.need_folder(&lease, TEMPORARY_FOLDER)?;
                open()
            }
            opened => opened,
        };
        let handle = match opened {
            Ok(Reply::Handle(handle)) => Some(handle),
            Ok(_) => return Err(Fault::Protocol("an open without a handle").at("start an upload")),
            Err(fault) => return Err(place.failure(&lease, fault, "start an upload")),
        };
        let exchange = Exchange::new();
        Ok(Self {
            place,
            lease,
            exchange,
            temporary,
            handle,
            packet: None,
            offset: 0,
            fault: None,
            named: false,
        })
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        let len_bytes_max = self.lease.abilities.write_bytes;
        while !bytes.is_empty() {
            let Some(handle) = &self.handle else { return Err(Fault::Protocol("a write to a closed file")) };
            let packet =
                self.packet.get_or_insert_with(|| WritePacket::new(handle, self.offset, len_bytes_max));
            bytes = packet.fill(bytes);
            if packet.is_full() {
                self.send_packet()?;
            }
        }
        Ok(())
    }

    fn send_packet(&mut self) -> Result<(), Fault> {
        let Some(packet) = self.packet.take() else { return Ok(()) };
        while self.exchange.in_flight() >= Abilities::flight(self.lease.abilities.write_bytes) {
            self.exchange.receive(&self.lease)?;
        }
        self.offset += packet.len_bytes() as u64;
        self.exchange.send_write(&self.lease, packet)?;
        Ok(())
    }

    /// Makes the bytes durable, as far as the server can, and closes the temporary file.
    fn seal(&mut self) -> Result<(), Fault> {
        self.send_packet()?;
        let Some(handle) = self.handle.take() else { return Err(Fault::Protocol("a file closed twice")) };
        if self.lease.abilities.fsync {
            self.exchange.send(&self.lease, Request::Fsync { handle: &handle })?;
        }
        // The close is waited for: some servers report failed writes only then.
        self.exchange.send(&self.lease, Request::Close { handle: &handle })?;
        self.exchange.settle(&self.lease)
    }

    fn finish_as(&mut self, name: &ObjectName, mode: PutMode) -> StoreResult<()> {
        check_name(name)?;
        if let Some(fault) = self.fault.take() {
            return Err(self.naming_error(fault, name));
        }
        let folder = name.as_str().rsplit_once('/').map_or("", |(folder, _)| folder);
        self.place.need_folder(&self.lease, folder)?;
        // From here on the bytes survive a power cut ...
        self.seal().map_err(|fault| self.naming_error(fault, name))?;
        // ... from here on the object is visible ...
        match self.name(name, mode) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // The folder was taken away since it was last seen.
                self.place.forget_folders();
                self.place.need_folder(&self.lease, folder)?;
                self.name(name, mode)?;
            }
            named => named?,
        }
        self.named = true;
        // ... and after the next sync its name survives as well.
        self.place.note(&self.lease, &self.place.path(name.as_str()), Some(self.offset));
        Ok(())
    }

    fn name(&self, name: &ObjectName, mode: PutMode) -> StoreResult<()> {
        let target = self.place.path(name.as_str());
        match mode {
            PutMode::CreateNew => self.name_new(name, &target),
            PutMode::Replace => self.replace(&target).map_err(|fault| self.naming_error(fault, name)),
        }
    }

    fn name_new(&self, name: &ObjectName, target: &str) -> StoreResult<()> {
        let failed = |fault| self.naming_error(fault, name);
        let (from, to) = (self.temporary.as_str(), target);
        let linking = self.lease.abilities.hard_link && self.place.has_hard_links();
        if linking {
            match self.lease.call(Request::HardLink { from, to }) {
                Ok(_) => {
                    // Should this get lost, the sweep finds the second name after two days.
                    self.lease.tell(Request::Remove { path: from });
                    return Ok(());
                }
                Err(fault) if fault.is_fatal() || fault.is_status(status::NO_SUCH_FILE) => {
                    return Err(failed(fault));
                }
                Err(_) => {}
            }
        }
        // The answer to a taken name, and to a file system without links, is the same "Failure".
        if self.place.exists(&self.lease, target).map_err(failed)? {
            return Err(StoreError::new(ErrorKind::AlreadyExists, format!("write {name}")));
        }
        match self.lease.call(Request::Rename { from, to }) {
            Ok(_) => {
                // Only here, where the rename went through, is it the links that are missing.
                self.place.give_up_hard_links();
                Ok(())
            }
            // SFTP 3 wants a rename to fail when the target has come to be meanwhile.
            Err(fault) => match self.place.exists(&self.lease, target) {
                Ok(true) => Err(StoreError::new(ErrorKind::AlreadyExists, format!("write {name}"))),
                _ => Err(self.naming_error(fault, name)),
            },
        }
    }

    fn replace(&self, target: &str) -> Result<(), Fault> {
        let (from, to) = (self.temporary.as_str(), target);
        if self.lease.abilities.posix_rename {
            return self.lease.call(Request::PosixRename { from, to }).map(|_| ());
        }
        // Without it the old object steps aside first. A crash in between leaves it in `tmp/`, where no sweep
        // takes it; a failure brings it back.
        let aside = format!("{from}.old");
        let old_was_there = match self.lease.call(Request::Rename { from: to, to: &aside }) {
            Ok(_) => true,
            Err(fault) if fault.is_status(status::NO_SUCH_FILE) => false,
            Err(fault) => return Err(fault),
        };
        let renamed = self.lease.call(Request::Rename { from, to });
        match (&renamed, old_was_there) {
            (Ok(_), true) => self.lease.tell(Request::Remove { path: &aside }),
            (Err(_), true) => {
                self.lease.call(Request::Rename { from: &aside, to })?;
            }
            (_, false) => {}
        }
        renamed.map(|_| ())
    }

    fn naming_error(&self, fault: Fault, name: &ObjectName) -> StoreError {
        self.place.failure(&self.lease, fault, format!("write {name}"))
    }
}

impl Upload for SftpUpload {
    fn write(&mut self, bytes: &[u8]) -> StoreResult<()> {
        if self.fault.is_none() {
            self.fault = self.write_all(bytes).err();
        }
        match &self.fault {
            None => Ok(()),
            Some(fault) => Err(self.place.failure(&self.lease, fault.clone(), "write an object")),
        }
    }

    fn finish(mut self: Box<Self>, name: &ObjectName, mode: PutMode) -> StoreResult<()> {
        self.finish_as(name, mode)
    }
}

impl Drop for SftpUpload {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            self.lease.tell(Request::Close { handle: &handle });
        }
        if !self.named {
            self.lease.tell(Request::Remove { path: &self.temporary });
        }
    }
}

fn random_name() -> StoreResult<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)
        .map_err(|error| StoreError::new(ErrorKind::Other, "start an upload").because(error))?;
    Ok(format!("{:032x}", u128::from_be_bytes(random)))
}

/// Removes what uploads that were cut off left behind, as far as the account may. Our clock is compared with
/// the server's: one that is two days ahead makes running uploads fail, which are then repeated.
fn sweep(place: &Place, session: &Session) {
    let Ok(Reply::Handle(handle)) = session.call(Request::OpenFolder { path: &place.path(TEMPORARY_FOLDER) })
    else {
        return;
    };
    let limit = SystemTime::now() - LEFTOVER_AGE_MIN;
    let limit_s = limit.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |age| age.as_secs());
    while let Ok(Reply::Names(entries)) = session.call(Request::ReadFolder { handle: &handle }) {
        for entry in entries.iter().filter(|entry| entry.kind == EntryKind::File) {
            let old = entry.attributes.modified_s.is_some_and(|s| u64::from(s) < limit_s);
            let Some(name) = entry.name.as_ref().filter(|name| old && is_ours(name)) else { continue };
            session.tell(Request::Remove { path: &place.path(&format!("{TEMPORARY_FOLDER}/{name}")) });
        }
    }
    session.tell(Request::Close { handle: &handle });
}

/// Only names that [`random_name`] makes; an object set aside by a crash in `replace_aside` stays.
fn is_ours(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|b| b.is_ascii_hexdigit())
}
