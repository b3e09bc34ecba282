//! Listing: a folder tree read in name order, several folders at a time.
//!
//! Names that are no object names, links, devices and the folder of unfinished uploads are passed over. What
//! arrives or goes while the listing runs may or may not be seen.

use std::ops::ControlFlow;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;

use super::TEMPORARY_FOLDER;
use super::fault::Fault;
use super::session::{Exchange, Session};
use super::store::FOLDERS_DEEP_MAX;
use super::wire::{Attributes, Entry, EntryKind, Reply, Request, status};
use crate::{ObjectInfo, ObjectName};

/// Folders read at the same time: open handles at the server, and names held here.
const FOLDERS_AT_ONCE: usize = 16;
/// Reads of one folder in flight: OpenSSH answers with at most 100 names.
const READS_AT_ONCE: usize = 4;

/// One listing.
pub(super) struct Listing<'a> {
    pub(super) session: &'a Session,
    /// The folder of the store, empty or with a slash at the end.
    pub(super) root: &'a str,
    pub(super) prefix: &'a str,
    pub(super) visit: &'a mut dyn FnMut(ObjectInfo) -> ControlFlow<()>,
}

/// An entry with its name from the root of the store.
struct Found {
    name: ObjectName,
    kind: EntryKind,
    attributes: Attributes,
}

impl Listing<'_> {
    /// Visits everything below `folder`, the one that holds the prefix; `false` when it is not there.
    pub(super) fn run(&mut self, folder: &str) -> Result<bool, Fault> {
        let mut read = self.read_folders(&[folder])?;
        let Some(entries) = read.pop().flatten() else { return Ok(false) };
        // Breaking off is the wish of the visitor, not a failure.
        let _ = self.walk(entries)?;
        Ok(true)
    }

    fn walk(&mut self, entries: Vec<Found>) -> Result<ControlFlow<()>, Fault> {
        let mut entries = entries.into_iter().peekable();
        while entries.peek().is_some() {
            // Stretches of plain files cost nothing, so only the folders are counted.
            let mut batch = Vec::new();
            let mut folders = 0;
            while let Some(entry) = entries.next_if(|_| folders < FOLDERS_AT_ONCE) {
                folders += usize::from(entry.kind == EntryKind::Folder);
                batch.push(entry);
            }
            if self.walk_batch(batch)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn walk_batch(&mut self, batch: Vec<Found>) -> Result<ControlFlow<()>, Fault> {
        let is_folder = |entry: &&Found| entry.kind == EntryKind::Folder;
        let folders: Vec<&str> = batch.iter().filter(is_folder).map(|entry| entry.name.as_str()).collect();
        let mut inner = self.read_folders(&folders)?.into_iter();
        for entry in &batch {
            let flow = match entry.kind {
                // A folder that vanished meanwhile held nothing that counts.
                EntryKind::Folder => self.walk(inner.next().flatten().unwrap_or_default())?,
                _ => (self.visit)(object_info(&entry.name, &entry.attributes)),
            };
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Reads folders side by side; `None` for one that is not there. Entries come back in name order.
    fn read_folders(&self, folders: &[&str]) -> Result<Vec<Option<Vec<Found>>>, Fault> {
        let mut handles = self.open_folders(folders)?;
        let mut found: Vec<Option<Vec<Found>>> =
            handles.iter().map(|h| h.as_ref().map(|_| Vec::new())).collect();
        while handles.iter().any(Option::is_some) {
            let mut exchange = Exchange::new();
            let mut asked = Vec::new();
            for (at, handle) in handles.iter().enumerate() {
                let Some(handle) = handle else { continue };
                for _ in 0..READS_AT_ONCE {
                    asked.push((exchange.send(self.session, Request::ReadFolder { handle })?, at));
                }
            }
            while exchange.in_flight() > 0 {
                let (id, reply) = exchange.receive_any(self.session)?;
                let at = asked.iter().find(|(asked, _)| *asked == id).map_or(0, |(_, at)| *at);
                match reply? {
                    Reply::Names(entries) => {
                        let entries = entries.into_iter().filter_map(|entry| self.found(folders[at], entry));
                        found[at].get_or_insert_default().extend(entries);
                    }
                    Reply::Status { code: status::EOF, .. } => {
                        if let Some(handle) = handles[at].take() {
                            self.session.tell(Request::Close { handle: &handle });
                        }
                    }
                    Reply::Status { code, message } => return Err(Fault::Status { code, message }),
                    _ => return Err(Fault::Protocol("a folder without names")),
                }
            }
        }
        for entries in found.iter_mut().flatten() {
            entries.sort_by(|a, b| order_key(a).cmp(order_key(b)));
        }
        Ok(found)
    }

    fn open_folders(&self, folders: &[&str]) -> Result<Vec<Option<Bytes>>, Fault> {
        let mut exchange = Exchange::new();
        let mut ids = Vec::new();
        for folder in folders {
            let path = match (self.root, *folder) {
                ("", "") => ".".to_owned(),
                (root, folder) => format!("{root}{folder}"),
            };
            ids.push(exchange.send(self.session, Request::OpenFolder { path: &path })?);
        }
        let mut handles = vec![None; folders.len()];
        while exchange.in_flight() > 0 {
            let (id, reply) = exchange.receive_any(self.session)?;
            let at = ids.iter().position(|sent| *sent == id).ok_or(Fault::Protocol("a foreign answer"))?;
            match reply? {
                Reply::Handle(handle) => handles[at] = Some(handle),
                Reply::Status { code: status::NO_SUCH_FILE, .. } => {}
                Reply::Status { code, message } => return Err(Fault::Status { code, message }),
                _ => return Err(Fault::Protocol("a folder without a handle")),
            }
        }
        Ok(handles)
    }

    /// Takes an entry when it is, or may hold, an object asked for.
    fn found(&self, folder: &str, entry: Entry) -> Option<Found> {
        let entry_name = entry.name?;
        let name = match folder {
            "" => ObjectName::new(&entry_name)?,
            folder => ObjectName::new(&format!("{folder}/{entry_name}"))?,
        };
        // People move `packs` to another disk by a link; deeper links could make a list endless.
        let kind = match entry.kind {
            EntryKind::Link if folder.is_empty() => EntryKind::Folder,
            kind => kind,
        };
        let wanted = match kind {
            EntryKind::File => name.as_str().starts_with(self.prefix),
            EntryKind::Folder => {
                let inside = format!("{name}/");
                let may_hold = inside.starts_with(self.prefix) || self.prefix.starts_with(&inside);
                may_hold
                    && name.as_str() != TEMPORARY_FOLDER
                    && inside.matches('/').count() <= FOLDERS_DEEP_MAX
            }
            EntryKind::Link | EntryKind::Foreign => false,
        };
        wanted.then_some(Found { name, kind, attributes: entry.attributes })
    }
}

/// What the server told, as a store tells it. The time is that of the last write, by the server's clock.
pub(super) fn object_info(name: &ObjectName, attributes: &Attributes) -> ObjectInfo {
    let received = attributes.modified_s.map(|s| UNIX_EPOCH + Duration::from_secs(u64::from(s)));
    ObjectInfo { name: name.clone(), len_bytes: attributes.len_bytes.unwrap_or(0), received }
}

/// Whole names are in order when folders sort as if their slash were written: `a-b` comes before `a/x`.
fn order_key(entry: &Found) -> impl Iterator<Item = u8> + '_ {
    let slash = (entry.kind == EntryKind::Folder).then_some(b'/');
    entry.name.as_str().bytes().chain(slash)
}
