//! Lists of remote places, in name order.
//!
//! Object stores answer page by page, in byte order on all that follow Amazon; a server that does not is
//! noticed, and its list sorted where it fits into memory. WebDAV knows folders only, each in any order; so are drives treated, which have few folders.

use super::{Kind, RemoteStore, TEMP_FOLDER, info_of};
use crate::{ErrorKind, ObjectInfo, ObjectName, StoreError, StoreResult};
use futures_util::TryStreamExt;
use opendal::{Entry, Lister};
use std::ops::ControlFlow;

/// So many objects are gathered before any is shown, and sorted if they came unsorted. About 150 bytes
/// each, so 10 MiB; that many packs hold 1 TiB.
const GATHERED_MAX: usize = 65_536;
/// Deeper folders are not ours; a limit keeps a hostile tree from becoming an endless list.
const FOLDERS_DEEP_MAX: usize = 6;

type Visit<'a> = &'a mut dyn FnMut(ObjectInfo) -> ControlFlow<()>;

/// Lists everything below `prefix` by one stream of pages.
pub(super) fn flat(store: &RemoteStore, prefix: &str, visit: Visit<'_>) -> StoreResult<()> {
    let mut lister = open(store, folder_of(prefix), true)?;
    let mut gathered = Vec::new();
    while gathered.len() < GATHERED_MAX {
        match next(store, &mut lister, prefix)? {
            Some(entry) => gathered.extend(object_of(&entry, prefix)),
            None => {
                gathered.sort_by(|a: &ObjectInfo, b| a.name.cmp(&b.name));
                gathered.dedup_by(|a, b| a.name == b.name);
                let _ = gathered.into_iter().try_for_each(visit);
                return Ok(());
            }
        }
    }
    stream(store, gathered, lister, prefix, visit)
}

/// Shows what was gathered and then each object as it comes: too many to be sorted here.
fn stream(
    store: &RemoteStore,
    gathered: Vec<ObjectInfo>,
    mut lister: Lister,
    prefix: &str,
    visit: Visit<'_>,
) -> StoreResult<()> {
    let mut last: Option<ObjectName> = None;
    let mut in_order = |info: ObjectInfo| {
        if last.as_ref().is_some_and(|last| *last >= info.name) {
            let why = "the server lists this many objects out of name order";
            return Err(StoreError::new(ErrorKind::Other, format!("list {prefix}")).because(why));
        }
        last = Some(info.name.clone());
        Ok(visit(info))
    };
    for info in gathered {
        if in_order(info)?.is_break() {
            return Ok(());
        }
    }
    while let Some(entry) = next(store, &mut lister, prefix)? {
        if let Some(info) = object_of(&entry, prefix)
            && in_order(info)?.is_break()
        {
            return Ok(());
        }
    }
    Ok(())
}

/// Lists folder by folder, each sorted.
pub(super) fn by_folder(store: &RemoteStore, prefix: &str, visit: Visit<'_>) -> StoreResult<()> {
    let folder = folder_of(prefix);
    walk(store, folder, prefix, folder.matches('/').count(), visit).map(|_| ())
}

fn walk(
    store: &RemoteStore,
    folder: &str,
    prefix: &str,
    deep: usize,
    visit: Visit<'_>,
) -> StoreResult<ControlFlow<()>> {
    let mut lister = open(store, folder, false)?;
    let mut entries = Vec::new();
    while let Some(entry) = next(store, &mut lister, prefix)? {
        let path = store.path_in(folder, entry.path());
        let below = path.len() > folder.len() && path.starts_with(folder);
        let in_reach = path.starts_with(prefix) || (path.ends_with('/') && prefix.starts_with(&path));
        let is_temp = store.kind == Kind::Webdav && path == format!("{TEMP_FOLDER}/");
        if below && in_reach && !is_temp {
            entries.push((path, entry));
        }
    }
    // A folder sorts by its name with the slash, as the objects in it do. Drives may hold a name twice.
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    entries.dedup_by(|a, b| a.0 == b.0);
    for (path, entry) in entries {
        let flow = match object_at(&path, &entry, prefix) {
            Some(info) => visit(info),
            None if path.ends_with('/') && deep < FOLDERS_DEEP_MAX => {
                walk(store, &path, prefix, deep + 1, visit)?
            }
            None => ControlFlow::Continue(()),
        };
        if flow.is_break() {
            return Ok(flow);
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn folder_of(prefix: &str) -> &str {
    prefix.rfind('/').map_or("", |at| &prefix[..=at])
}

fn open(store: &RemoteStore, folder: &str, recursive: bool) -> StoreResult<Lister> {
    let path = if folder.is_empty() { "/" } else { folder };
    let request = store.operator.lister_with(path).recursive(recursive);
    store.run(|| format!("list {folder}"), 0, async { request.await })
}

fn next(store: &RemoteStore, lister: &mut Lister, prefix: &str) -> StoreResult<Option<Entry>> {
    store.run(|| format!("list {prefix}"), 0, lister.try_next())
}

/// The entry as an object, if it is one of ours under the prefix.
fn object_of(entry: &Entry, prefix: &str) -> Option<ObjectInfo> {
    object_at(entry.path(), entry, prefix)
}

fn object_at(path: &str, entry: &Entry, prefix: &str) -> Option<ObjectInfo> {
    let name = ObjectName::new(path).filter(|name| name.as_str().starts_with(prefix))?;
    entry.metadata().is_file().then(|| info_of(name, entry.metadata()))
}
