//! Directories as handles: a chain of parents with, for the most recent ones, an open descriptor.
//!
//! A path is never joined and handed to the kernel, so its length has no limit and no component is followed
//! if it turns into a symbolic link. The number of descriptors kept open is bounded; a directory whose
//! descriptor was closed is opened again from its nearest open ancestor and must still be the same inode.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use rustix::io::Errno;

use crate::linux;
use crate::stat::{Stat, same_inode};
use crate::view::Views;

/// The directories that currently hold a descriptor, oldest first; opening one more closes the oldest.
#[derive(Debug)]
pub(crate) struct OpenDirectories {
    oldest_first: Mutex<VecDeque<Weak<Directory>>>,
    count_max: usize,
}

impl OpenDirectories {
    pub(crate) fn new(count_max: usize) -> Arc<OpenDirectories> {
        let oldest_first = Mutex::new(VecDeque::with_capacity(count_max + 1));
        Arc::new(OpenDirectories { oldest_first, count_max: count_max.max(1) })
    }

    fn register(&self, directory: &Arc<Directory>) {
        let mut list = self.oldest_first.lock().unwrap_or_else(PoisonError::into_inner);
        list.push_back(Arc::downgrade(directory));
        let oldest = if list.len() > self.count_max { list.pop_front() } else { None };
        drop(list);
        if let Some(oldest) = oldest.and_then(|weak| weak.upgrade()) {
            *oldest.held() = None;
        }
    }
}

/// A directory of the machine: its name, its parent, and a descriptor while it is of use.
///
/// Cheap to share; the path costs memory once per directory, not once per level.
#[derive(Debug)]
pub struct Directory {
    parent: Option<Arc<Directory>>,
    name: Box<[u8]>,
    depth: u32,
    held: Mutex<Option<Arc<OwnedFd>>>,
    /// What the first opening found; every later one must find the same.
    found: OnceLock<Stat>,
    /// Opened only to pass through: no read permission needed, and it cannot be listed.
    passage: bool,
    /// Views at and below it.
    views: Option<Arc<Views>>,
    open: Arc<OpenDirectories>,
}

impl Directory {
    /// Returns the handle of `/`. At most `open_max` directories below it hold a descriptor at a time.
    pub fn root(open_max: usize) -> Arc<Directory> {
        Directory::root_with(open_max, None)
    }

    /// As [`Directory::root`], with folders that are read elsewhere.
    pub fn root_with(open_max: usize, views: Option<Arc<Views>>) -> Arc<Directory> {
        let open = OpenDirectories::new(open_max);
        Arc::new(Directory {
            parent: None,
            name: Box::default(),
            depth: 0,
            held: Mutex::new(None),
            found: OnceLock::new(),
            passage: false,
            views,
            open,
        })
    }

    /// Returns a handle for an open directory that stays open as long as the handle lives; its path begins
    /// there. At most `open_max` directories below it hold a descriptor at a time.
    pub(crate) fn anchored(fd: OwnedFd, open_max: usize) -> Result<Arc<Directory>, Errno> {
        let found = OnceLock::from(linux::stat_open(&fd)?);
        Ok(Arc::new(Directory {
            parent: None,
            name: Box::default(),
            depth: 0,
            held: Mutex::new(Some(Arc::new(fd))),
            found,
            passage: false,
            views: None,
            open: OpenDirectories::new(open_max),
        }))
    }

    /// Returns the handle of the directory `name` below this one, without opening it.
    pub fn child(self: &Arc<Self>, name: &[u8]) -> Arc<Directory> {
        self.descend(name, false)
    }

    /// As [`Directory::child`], for a directory that only leads to others and need not be readable.
    pub(crate) fn passage(self: &Arc<Self>, name: &[u8]) -> Arc<Directory> {
        self.descend(name, true)
    }

    fn descend(self: &Arc<Self>, name: &[u8], passage: bool) -> Arc<Directory> {
        Arc::new(Directory {
            parent: Some(self.clone()),
            name: name.into(),
            depth: self.depth + 1,
            held: Mutex::new(None),
            found: OnceLock::new(),
            passage,
            views: self.views.as_ref().and_then(|views| views.below(name)),
            open: self.open.clone(),
        })
    }

    /// Returns the directory this one is in, `None` for `/`.
    pub fn parent(&self) -> Option<&Arc<Directory>> {
        self.parent.as_ref()
    }

    /// Returns the last component of the path; empty for `/`.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Returns the number of components of the path: 0 for `/`.
    pub fn depth(&self) -> usize {
        self.depth as usize
    }

    /// Returns the components of the path from the top down; none for `/`.
    pub fn components(&self) -> Vec<&[u8]> {
        let mut components = Vec::with_capacity(self.depth());
        let mut at = self;
        while let Some(parent) = &at.parent {
            components.push(&*at.name);
            at = parent;
        }
        components.reverse();
        components
    }

    /// Returns the absolute path as bytes: `/`, `/home`, `/home/ann`. For messages and rules, not for opening.
    pub fn path(&self) -> Vec<u8> {
        if self.parent.is_none() {
            return b"/".to_vec();
        }
        let mut path = Vec::new();
        for component in self.components() {
            path.push(b'/');
            path.extend_from_slice(component);
        }
        path
    }

    /// Returns an open descriptor of the directory, opening it again if it was closed meanwhile.
    ///
    /// The descriptor stays open at least as long as the returned handle is kept. Fails with `ESTALE` if the
    /// path now leads to another directory than at first, and with `ELOOP` or `ENOTDIR` if a component
    /// became something else.
    pub fn open(self: &Arc<Self>) -> io::Result<Arc<OwnedFd>> {
        self.descriptor().map_err(io::Error::from)
    }

    pub(crate) fn descriptor(self: &Arc<Self>) -> Result<Arc<OwnedFd>, Errno> {
        let mut closed = Vec::new();
        let mut at = self;
        let mut fd = loop {
            if let Some(fd) = at.held().clone() {
                break Some(fd);
            }
            closed.push(at);
            match &at.parent {
                Some(parent) => at = parent,
                None => break None,
            }
        };
        for directory in closed.into_iter().rev() {
            fd = Some(directory.open_below(fd.as_deref())?);
        }
        Ok(fd.expect("either the directory was open or it has just been opened"))
    }

    fn open_below(self: &Arc<Self>, parent: Option<&OwnedFd>) -> Result<Arc<OwnedFd>, Errno> {
        let seen = self.views.as_ref().and_then(|views| views.seen());
        let fd = Arc::new(match parent {
            _ if seen.is_some() => linux::open_directory(rustix::fs::CWD, path_bytes(seen))?,
            None => linux::open_root()?,
            Some(parent) if self.passage => linux::open_passage(parent, &self.name)?,
            Some(parent) => linux::open_directory(parent, &self.name)?,
        });
        let now = linux::stat_open(&*fd)?;
        if !same_inode(self.found.get_or_init(|| now), &now) {
            return Err(Errno::STALE);
        }
        *self.held() = Some(fd.clone());
        self.open.register(self);
        Ok(fd)
    }

    /// Returns what the first opening found, `None` while the directory was never opened.
    pub fn found(&self) -> Option<&Stat> {
        self.found.get()
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Option<Arc<OwnedFd>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes of a path that is there.
fn path_bytes(path: Option<&std::path::Path>) -> &[u8] {
    path.map_or(b"/", |path| path.as_os_str().as_encoded_bytes())
}

impl Drop for Directory {
    /// Releases the chain of parents in a loop: a million nested folders must not overflow the stack.
    fn drop(&mut self) {
        let mut parent = self.parent.take();
        while let Some(mut only) = parent.and_then(Arc::into_inner) {
            parent = only.parent.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deep_chain_is_released_without_recursion() {
        let mut at = Directory::root(4);
        for _ in 0..300_000 {
            at = at.child(b"x");
        }
        assert_eq!(at.depth(), 300_000);
        drop(at);
    }

    #[test]
    fn a_closed_directory_is_opened_again_and_must_be_the_same() {
        let top = tempfile::tempdir().unwrap();
        let top_path = top.path().canonicalize().unwrap();
        for name in ["a", "b", "c"] {
            std::fs::create_dir(top_path.join(name)).unwrap();
        }
        let mut at = Directory::root(1);
        for component in top_path.iter().skip(1) {
            at = at.child(component.as_encoded_bytes());
        }
        let (a, b) = (at.child(b"a"), at.child(b"b"));
        a.open().unwrap();
        b.open().unwrap();
        assert!(a.held().is_none(), "only one descriptor may stay open");
        a.open().unwrap();
        std::fs::rename(top_path.join("b"), top_path.join("old")).unwrap();
        std::fs::rename(top_path.join("c"), top_path.join("b")).unwrap();
        assert_eq!(b.open().unwrap_err().raw_os_error(), Some(Errno::STALE.raw_os_error()));
        std::fs::remove_dir(top_path.join("b")).unwrap();
        std::os::unix::fs::symlink("a", top_path.join("b")).unwrap();
        assert!(b.open().is_err(), "a symbolic link is never followed");
    }
}
