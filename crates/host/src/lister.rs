//! Lists one directory: names, then metadata in inode order, then entries in name order.
//!
//! Works on one [`Task`] at a time with buffers that are used again, and knows nothing of threads. A huge
//! directory is answered run by run: the task comes back with the names that are left.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;

use crate::directory::Directory;
use crate::linux;
use crate::listing::{Excluded, Fault, FaultKind, Found, Listing, NotEntered, RUN_ENTRIES_MAX};
use crate::rules::{Exclusion, FolderRules, Rules, Verdict};
use crate::sources::Wanted;
use crate::stat::{Kind, Stat};

/// One directory to list, or the rest of a huge one.
pub(crate) struct Task {
    pub(crate) dir: Arc<Directory>,
    /// Device and inode seen by the parent's listing.
    expected: Option<(u64, u64)>,
    /// Device of the parent directory.
    parent_device: u64,
    /// Sources below this directory.
    wanted: Option<Arc<Wanted>>,
    /// True if everything here is wanted, false if only what leads to a source.
    whole: bool,
    /// True for a directory that was named as a source.
    is_source: bool,
    not_entered: Option<NotEntered>,
    /// The rules that hold in the parent directory.
    folder: Arc<FolderRules>,
    /// Others may list the same handle at the same time, and a descriptor has only one position.
    shared: bool,
    rest: Option<Box<Rest>>,
}

/// What is left of a huge directory.
struct Rest {
    names: Names,
    next: usize,
    family: Family,
}

/// The subdirectories of one directory that are still to be listed.
pub(crate) struct Family {
    dir: Arc<Directory>,
    device: u64,
    whole: bool,
    wanted: Option<Arc<Wanted>>,
    folder: Arc<FolderRules>,
    names: Names,
    next: usize,
}

/// What came out of one task.
pub(crate) struct Outcome {
    pub(crate) listing: Listing,
    pub(crate) more: Option<Task>,
    pub(crate) family: Option<Family>,
}

/// Names back to back, each followed by a NUL so that they go to the kernel as they are: 16 bytes each
/// plus their own length.
#[derive(Default)]
struct Names {
    arena: Vec<u8>,
    refs: Vec<NameRef>,
}

#[derive(Clone, Copy)]
struct NameRef {
    start: u32,
    /// Length without the NUL.
    len: u16,
    is_directory: Certainty,
    /// A directory that is left out but leads to a source.
    narrowed: bool,
    inode: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Certainty {
    Yes,
    No,
    Unknown,
}

impl Names {
    /// Adds a name that ends with its NUL. Fails once the names alone take 4 GiB.
    fn push(&mut self, name: &[u8], inode: u64, kind: Option<Kind>) -> Result<(), Errno> {
        let start = u32::try_from(self.arena.len()).map_err(|_| Errno::OVERFLOW)?;
        let len = u16::try_from(name.len() - 1).map_err(|_| Errno::NAMETOOLONG)?;
        self.arena.extend_from_slice(name);
        let is_directory = match kind {
            Some(Kind::Directory) => Certainty::Yes,
            Some(_) => Certainty::No,
            None => Certainty::Unknown,
        };
        self.refs.push(NameRef { start, len, is_directory, narrowed: false, inode });
        Ok(())
    }

    /// Looks for a name; they must be sorted.
    fn contain(&self, name: &[u8]) -> bool {
        let end = |r: &NameRef| r.start as usize + r.len as usize;
        self.refs.binary_search_by(|r| self.arena[r.start as usize..end(r)].cmp(name)).is_ok()
    }

    fn get(&self, i: usize) -> &[u8] {
        let with_nul = self.get_with_nul(i);
        &with_nul[..with_nul.len() - 1]
    }

    fn get_with_nul(&self, i: usize) -> &[u8] {
        let NameRef { start, len, .. } = self.refs[i];
        &self.arena[start as usize..start as usize + len as usize + 1]
    }

    fn sort(&mut self) {
        let arena = &self.arena;
        let name = |r: &NameRef| &arena[r.start as usize..r.start as usize + r.len as usize];
        self.refs.sort_unstable_by(|a, b| name(a).cmp(name(b)));
    }

    fn clear(&mut self) {
        self.arena.clear();
        self.refs.clear();
    }
}

impl Family {
    fn of(task: &Task, device: u64) -> Family {
        let (dir, wanted, folder) = (task.dir.clone(), task.wanted.clone(), task.folder.clone());
        Family { dir, device, whole: task.whole, wanted, folder, names: Names::default(), next: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.next == self.names.refs.len()
    }

    /// Takes the next subdirectory in name order.
    pub(crate) fn take(&mut self, one_file_system: bool) -> Option<Task> {
        if self.is_empty() {
            return None;
        }
        let name = self.names.get(self.next);
        let NameRef { inode, narrowed, .. } = self.names.refs[self.next];
        let device = self.device_of(self.next);
        let wanted = self.wanted.as_ref().and_then(|wanted| wanted.children.get(name)).cloned();
        let is_source = wanted.as_ref().is_some_and(|wanted| wanted.whole) && !narrowed;
        let crosses = device != self.device && one_file_system && self.whole && !is_source;
        let whole = (self.whole && !crosses && !narrowed) || is_source;
        let leads_on = wanted.as_ref().is_some_and(|wanted| !wanted.children.is_empty());
        let task = Task {
            dir: if whole { self.dir.child(name) } else { self.dir.passage(name) },
            expected: Some((device, inode)),
            parent_device: self.device,
            wanted,
            whole,
            is_source,
            not_entered: (crosses && !leads_on).then_some(NotEntered::OtherFileSystem),
            folder: self.folder.clone(),
            shared: false,
            rest: None,
        };
        self.next += 1;
        Some(task)
    }

    /// Says whether a name is a source or on the way to one.
    fn leads_to_source(&self, name: &[u8]) -> bool {
        self.wanted.as_ref().is_some_and(|wanted| wanted.children.contains_key(name))
    }

    fn push(&mut self, name: &[u8], stat: &Stat, narrowed: bool) -> Result<(), Errno> {
        let start = self.names.arena.len();
        self.names.arena.extend_from_slice(&stat.device.to_ne_bytes());
        self.names.arena.extend_from_slice(name);
        self.names.arena.push(0);
        let start = u32::try_from(start + 8).map_err(|_| Errno::OVERFLOW)?;
        let (len, is_directory) = (name.len() as u16, Certainty::Yes);
        self.names.refs.push(NameRef { start, len, is_directory, narrowed, inode: stat.inode });
        Ok(())
    }

    /// The device of a member; it stands in the arena right before the name.
    fn device_of(&self, i: usize) -> u64 {
        let start = self.names.refs[i].start as usize;
        u64::from_ne_bytes(self.names.arena[start - 8..start].try_into().expect("eight bytes"))
    }
}

impl Task {
    /// The task the walk begins with: `/`.
    pub(crate) fn root(dir: Arc<Directory>, wanted: Wanted) -> Task {
        let (whole, parent_device) = (wanted.whole, dir.found().map_or(0, |stat| stat.device));
        Task {
            dir,
            expected: None,
            parent_device,
            whole,
            is_source: whole,
            wanted: Some(Arc::new(wanted)),
            not_entered: None,
            folder: FolderRules::outside(),
            shared: false,
            rest: None,
        }
    }

    /// A directory that stands for itself.
    fn alone(dir: Arc<Directory>) -> Task {
        Task {
            dir,
            expected: None,
            parent_device: 0,
            wanted: None,
            whole: true,
            is_source: true,
            not_entered: None,
            folder: FolderRules::outside(),
            shared: true,
            rest: None,
        }
    }
}

/// Lists one directory without rules and without what is below it.
pub(crate) fn list_alone(directory: &Arc<Directory>) -> Vec<Listing> {
    let mut lister = Lister::new(Arc::default(), false);
    let mut listings = Vec::new();
    let mut next = Some(Task::alone(directory.clone()));
    while let Some(task) = next {
        let outcome = lister.list(task);
        listings.push(outcome.listing);
        next = outcome.more;
    }
    listings
}

/// Lists directories; holds the buffers that are used again.
pub(crate) struct Lister {
    rules: Arc<Rules>,
    report_excluded: bool,
    buffer: Vec<MaybeUninit<u8>>,
    names: Names,
    by_inode: Vec<u32>,
    stats: Vec<Result<Stat, Errno>>,
}

impl Lister {
    pub(crate) fn new(rules: Arc<Rules>, report_excluded: bool) -> Lister {
        // Enough for about a thousand names per call; larger buffers were not faster.
        let buffer = vec![MaybeUninit::uninit(); 32 * 1024];
        let (names, by_inode, stats) = (Names::default(), Vec::new(), Vec::new());
        Lister { rules, report_excluded, buffer, names, by_inode, stats }
    }

    /// Lists one directory or the next run of a huge one.
    pub(crate) fn list(&mut self, mut task: Task) -> Outcome {
        let mut listing = Listing::empty(task.dir.clone());
        listing.not_entered = task.not_entered;
        if task.not_entered.is_some() {
            return Outcome { listing, more: None, family: None };
        }
        let fd = match self.open(&task) {
            Ok(fd) => fd,
            Err(errno) => {
                listing.faults.push(Fault::new(None, "cannot open the directory", errno));
                return Outcome { listing, more: None, family: None };
            }
        };
        if let Some(rest) = task.rest.take() {
            return self.list_run(task, *rest, listing, &fd);
        }
        let stat = *task.dir.found().expect("an opened directory was looked at");
        self.check_crossing(&mut task, &stat, &fd, &mut listing);
        if listing.not_entered.is_some() {
            return Outcome { listing, more: None, family: None };
        }
        listing.filtered = !task.whole;
        self.read_names(&task, &fd, &mut listing);
        if self.rules.judge_names() {
            self.apply_rules(&mut task, &fd, &mut listing);
        }
        let rest =
            Rest { names: std::mem::take(&mut self.names), next: 0, family: Family::of(&task, stat.device) };
        self.list_run(task, rest, listing, &fd)
    }

    fn open(&self, task: &Task) -> Result<Arc<OwnedFd>, Errno> {
        let fd = task.dir.descriptor()?;
        if task.shared { linux::open_directory(&*fd, b".").map(Arc::new) } else { Ok(fd) }
    }

    /// Compares what was opened with what the parent saw, and stops at virtual file systems.
    fn check_crossing(&self, task: &mut Task, stat: &Stat, fd: &OwnedFd, listing: &mut Listing) {
        if let Some((device, inode)) = task.expected
            && device == stat.device
            && inode != stat.inode
        {
            let text = "another directory took its place while the folder above was read".to_string();
            listing.faults.push(Fault { name: None, kind: FaultKind::Replaced, errno: 0, text });
        }
        if stat.device == task.parent_device || task.is_source || !task.whole {
            return;
        }
        if let Some(name) = linux::virtual_file_system(fd) {
            task.whole = false;
            if task.wanted.as_ref().is_none_or(|wanted| wanted.children.is_empty()) {
                listing.not_entered = Some(NotEntered::Virtual(name));
            }
        }
    }

    fn read_names(&mut self, task: &Task, fd: &OwnedFd, listing: &mut Listing) {
        let names = &mut self.names;
        names.clear();
        if !task.whole {
            let wanted = task.wanted.iter().flat_map(|wanted| wanted.children.keys());
            for name in wanted {
                let with_nul: Vec<u8> = name.iter().copied().chain([0]).collect();
                names.push(&with_nul, 0, None).expect("a few names that came from paths");
            }
            return;
        }
        let read = linux::each_name(fd, &mut self.buffer, |name, inode, kind| names.push(name, inode, kind));
        if let Err(errno) = read {
            let mut fault = Fault::new(None, "cannot list the whole directory", errno);
            fault.kind = FaultKind::PartlyListed;
            listing.faults.push(fault);
        }
        names.sort();
    }

    /// Finds out which rules hold here and takes out the names they leave out.
    fn apply_rules(&mut self, task: &mut Task, fd: &OwnedFd, listing: &mut Listing) {
        if task.whole {
            let names = &self.names;
            let there = |name: &[u8]| names.contain(name);
            let (folder, unreadable) = self.rules.enter(&task.folder, &task.dir, task.is_source, there);
            task.folder = folder;
            for (name, errno) in unreadable {
                listing.faults.push(Fault::new(Some(&name), "cannot read the rules in it", errno));
            }
        }
        let dir = task.dir.clone();
        let mut path = dir.components();
        let depth = path.len();
        let mut refs = std::mem::take(&mut self.names.refs);
        refs.retain_mut(|r| {
            let name = &self.names.arena[r.start as usize..r.start as usize + r.len as usize];
            let wanted = task.wanted.as_ref().and_then(|wanted| wanted.children.get(name));
            let is_source = wanted.is_some_and(|wanted| wanted.whole);
            if !task.whole && !is_source {
                return true;
            }
            let is_directory = match r.is_directory {
                Certainty::Unknown => {
                    linux::stat_name(fd, name).is_ok_and(|stat| stat.kind == Kind::Directory)
                }
                certain => certain == Certainty::Yes,
            };
            path.truncate(depth);
            path.push(name);
            let judged = self.rules.judge(&task.folder, &path, is_directory, is_source);
            let Verdict::Excluded(why) = judged else { return true };
            r.narrowed = wanted.is_some_and(|wanted| !wanted.children.is_empty());
            if !r.narrowed {
                exclude(self.report_excluded, listing, name, is_directory, why);
            }
            r.narrowed
        });
        self.names.refs = refs;
    }

    fn list_run(&mut self, mut task: Task, mut rest: Rest, mut listing: Listing, fd: &OwnedFd) -> Outcome {
        let end = rest.names.refs.len().min(rest.next + RUN_ENTRIES_MAX);
        listing.filtered = !task.whole;
        self.stat_names(&rest.names, rest.next..end, fd);
        self.fill(&rest.names, rest.next..end, &mut listing, &mut rest.family);
        let Listing { excluded, names, .. } = &mut listing;
        excluded.sort_by(|a, b| a.name.of(names).cmp(b.name.of(names)));
        rest.next = end;
        if end < rest.names.refs.len() {
            listing.last = false;
            task.rest = Some(Box::new(rest));
            return Outcome { listing, more: Some(task), family: None };
        }
        if rest.names.refs.len() <= RUN_ENTRIES_MAX {
            self.names = rest.names;
        }
        let family = (!rest.family.is_empty()).then_some(rest.family);
        Outcome { listing, more: None, family }
    }

    /// Reads the metadata of some names, in inode order: on a disk this is one sweep instead of a seek each.
    fn stat_names(&mut self, names: &Names, range: std::ops::Range<usize>, fd: &OwnedFd) {
        let first = range.start;
        self.by_inode.clear();
        self.by_inode.extend(0..range.len() as u32);
        self.by_inode.sort_unstable_by_key(|&i| names.refs[first + i as usize].inode);
        self.stats.clear();
        self.stats.resize(range.len(), Err(Errno::NOENT));
        for &i in &self.by_inode {
            let name = names.get_with_nul(first + i as usize);
            let name =
                std::ffi::CStr::from_bytes_with_nul(name).expect("names from the kernel end with a NUL");
            self.stats[i as usize] = linux::stat_at(fd, name);
        }
    }

    fn fill(&self, names: &Names, range: std::ops::Range<usize>, listing: &mut Listing, family: &mut Family) {
        let name_bytes = names.refs[range.clone()].iter().map(|r| r.len as usize).sum();
        listing.names.reserve_exact(name_bytes);
        listing.entries.reserve_exact(range.len());
        for (i, stat) in range.zip(&self.stats) {
            let name = names.get(i);
            match stat {
                Ok(stat) => match self.rules.judge_stat(stat, family.leads_to_source(name)) {
                    Some(why) => {
                        let is_directory = stat.kind == Kind::Directory;
                        exclude(self.report_excluded, listing, name, is_directory, why);
                    }
                    None => keep(listing, family, name, stat, names.refs[i].narrowed),
                },
                Err(errno) => listing.faults.push(Fault::new(Some(name), "cannot read its metadata", *errno)),
            }
        }
    }
}

fn exclude(report: bool, listing: &mut Listing, name: &[u8], is_directory: bool, why: Exclusion) {
    listing.excluded_count += 1;
    if report {
        let name = listing.push_name(name);
        listing.excluded.push(Excluded { name, is_directory, why });
    }
}

fn keep(listing: &mut Listing, family: &mut Family, name: &[u8], stat: &Stat, narrowed: bool) {
    if stat.kind == Kind::Directory && family.push(name, stat, narrowed).is_err() {
        let text = "too many subdirectories".to_string();
        listing.faults.push(Fault { name: Some(name.into()), kind: FaultKind::Unreadable, errno: 0, text });
    }
    let name = listing.push_name(name);
    listing.entries.push(Found { name, stat: *stat });
}
