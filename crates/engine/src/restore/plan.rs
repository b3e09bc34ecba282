//! Walks the selected part of a snapshot in key order and plans it, a window at a time.
//!
//! Folders are made as they are met, so that everything planned has one to stand in; a folder is finished
//! in the window with the last path below it. What a damaged part of the tree hides is told and passed over.

use super::Context;
use super::attributes::tell_unapplied;
use super::delete::remove_others;
use super::files::{Streaming, plan_task};
use super::ranges::{KeyRanges, Step};
use super::tell::add;
use super::window::{Facts, Folder, Task, Window};
use super::{Overwrite, compare::Contents};
use crate::monitor::{Action, Phase};
use format::id::{BlobKind, PackId};
use format::kind::Kind;
use format::tree::{Entry, Extent, KeyPath, Leaf, Owner, PathKey, dir_prefix};
use host::TargetDir;
use repo::browse::{Leaves, lookup, visit_pieces};
use repo::reader::chain;
use repo::{RepoError, RepoResult};
use std::collections::{BTreeSet, HashSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Where a walk through the tree stands, and the window being filled.
pub(super) struct Planner<'c> {
    pub(super) ctx: &'c Context<'c>,
    pub(super) window: Window,
    /// The large file whose pieces are being planned.
    pub(super) streaming: Option<Streaming<'c>>,
    pub(super) contents: Contents<'c>,
    pub(super) links_seen: HashSet<[u8; 8]>,
    /// Entries that rules did not leave out.
    pub(super) selected: u64,
    leaves: Option<Leaves<'c>>,
    leaf: Leaf,
    next_in_leaf: usize,
    /// Which of the ranges the walk is in or before.
    range: usize,
    base: Vec<u8>,
    levels: Vec<Level>,
    /// A part of the tree could not be read: what is not seen may exist all the same.
    tree_damaged: bool,
    /// A lone file instead of a folder's contents.
    lone: Option<(Vec<u8>, Entry)>,
    /// Where a dry run is to find out which packs of contents would be read.
    packs: Option<BTreeSet<PackId>>,
}

/// A folder on the way from the selected one to where the walk stands.
pub(super) struct Level {
    /// Prefix of the keys of everything in it.
    prefix: Vec<u8>,
    /// Its name in the target.
    name: Box<[u8]>,
    path: Vec<u8>,
    facts: Option<Facts>,
    selected: bool,
    pub(super) folder: Option<Arc<Folder>>,
    /// It could not be made; nothing below it can.
    lost: bool,
    /// Folders in it that the walk did not come to yet, in order.
    subfolders: VecDeque<Subfolder>,
    /// All names the snapshot has in it, in order; kept where others are to be removed.
    pub(super) names: Vec<Box<[u8]>>,
    /// Everything it held was saved: other names may be removed.
    pub(super) whole: bool,
    /// It or a folder above it has a file by which the backup left out what cannot be told from its path.
    pub(super) marked: bool,
    entries_ended: bool,
}

struct Subfolder {
    name: Box<[u8]>,
    facts: Facts,
    selected: bool,
    folder: Option<Arc<Folder>>,
    lost: bool,
}

impl<'c> Planner<'c> {
    /// Finds what is selected. Fails if the snapshot has no such path.
    pub(super) fn start(ctx: &'c Context<'c>, top: Option<TargetDir>, empty: bool) -> RepoResult<Self> {
        let path = &ctx.request.path;
        let shown = if path.is_empty() { Vec::new() } else { shown_path(path) };
        let root = ctx.request.snapshot.root;
        let mut planner = Planner {
            ctx,
            window: Window::default(),
            streaming: None,
            contents: Contents::new(ctx),
            links_seen: HashSet::new(),
            selected: 0,
            leaves: None,
            leaf: Leaf::default(),
            next_in_leaf: 0,
            range: 0,
            base: Vec::new(),
            levels: Vec::new(),
            tree_damaged: false,
            lone: None,
            packs: None,
        };
        let facts = if path.is_empty() { None } else { planner.find(path, &shown)? };
        if planner.lone.is_none() {
            let from = ctx.ranges.and_then(KeyRanges::first).filter(|first| **first > planner.base[..]);
            planner.leaves = Some(Leaves::from_key(ctx.reader, root, from.unwrap_or(&planner.base))?);
        }
        let parent = if planner.lone.is_some() { parent_path(&shown) } else { shown };
        let folder = Folder { dir: top, empty, path: parent.clone(), facts: facts.filter(|_| empty) };
        planner.levels.push(Level {
            prefix: planner.base.clone(),
            name: Box::default(),
            path: parent,
            facts: None,
            selected: true,
            whole: planner.lone.is_none() && ctx.is_wholly_saved(&folder.path),
            marked: false,
            folder: Some(Arc::new(folder)),
            lost: false,
            subfolders: VecDeque::new(),
            names: Vec::new(),
            entries_ended: false,
        });
        Ok(planner)
    }

    /// Looks the selected path up: the contents of a folder are wanted, or a lone file.
    fn find(&mut self, path: &[Vec<u8>], shown: &[u8]) -> RepoResult<Option<Facts>> {
        match lookup(self.ctx.reader, self.ctx.request.snapshot.root, &PathKey::of(path)) {
            Ok(None) => return Err(RepoError::NoPath(String::from_utf8_lossy(shown).into_owned())),
            Ok(Some(entry)) if entry.kind() != Kind::Directory => {
                let name = target_name(path.len() == 1, path.last().expect("the path is not empty"));
                self.lone = Some((name.to_vec(), entry));
                return Ok(None);
            }
            Ok(Some(entry)) => {
                self.base = dir_prefix(path);
                self.selected += u64::from(!self.ctx.request.rules.judge_anything_saved());
                return Ok(Some(Facts { class: entry.class.clone(), mtime: entry.mtime }));
            }
            // What is in it may be readable all the same.
            Err(e) if e.is_damage() => self.ctx.tell.damage(shown.to_vec(), "read the tree", &e),
            Err(e) => return Err(e),
        }
        self.base = dir_prefix(path);
        Ok(None)
    }

    /// Only finds out which packs of contents a restore would read; nothing is written.
    pub(super) fn packs(mut self) -> RepoResult<BTreeSet<PackId>> {
        self.packs = Some(BTreeSet::new());
        while self.next_window()?.is_some() {}
        Ok(self.packs.unwrap_or_default())
    }

    /// Notes the packs that hold the contents of an entry.
    pub(super) fn note_packs(&mut self, entry: &Entry) -> RepoResult<()> {
        let Some(packs) = &mut self.packs else { return Ok(()) };
        let reader = self.ctx.reader;
        visit_pieces(reader, entry, &mut |piece| {
            if let Extent::Data { id, .. } = piece {
                packs.extend(reader.locate(BlobKind::Data, id).first().map(|place| place.pack));
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    /// The next window; `None` at the end, or when everything is to stop.
    pub(super) fn next_window(&mut self) -> RepoResult<Option<Window>> {
        loop {
            if self.ctx.tell.stopped() {
                return Ok(None);
            }
            if self.window.is_full() {
                return Ok(Some(self.take_window()));
            }
            if self.streaming.is_some() {
                self.stream_more();
                continue;
            }
            if let Some((name, entry)) = self.lone.take() {
                self.plan_lone(&name, entry)?;
                continue;
            }
            match self.next_entry()? {
                Some((key, entry)) => self.take_entry(&key, entry)?,
                None => {
                    while !self.levels.is_empty() {
                        self.pop_level();
                    }
                    let done = self.window.is_empty();
                    return Ok((!done).then(|| self.take_window()));
                }
            }
        }
    }

    fn take_window(&mut self) -> Window {
        let mut window = std::mem::take(&mut self.window);
        window.sort();
        window
    }

    /// The next entry of the selected part. Leaves that are damaged are told and passed over.
    fn next_entry(&mut self) -> RepoResult<Option<(Vec<u8>, Entry)>> {
        loop {
            while self.next_in_leaf < self.leaf.len() {
                let i = self.next_in_leaf;
                self.next_in_leaf += 1;
                let key = self.leaf.key(i);
                if let Some(ranges) = self.ctx.ranges {
                    match ranges.next(&mut self.range, key) {
                        Step::In => {}
                        Step::Later(from) => {
                            self.skip_to(from)?;
                            continue;
                        }
                        Step::Never => {
                            self.leaves = None;
                            return Ok(None);
                        }
                    }
                }
                if key.starts_with(&self.base) {
                    return Ok(Some((key.to_vec(), self.leaf.entries[i].clone())));
                }
                if key > &self.base[..] {
                    self.leaves = None;
                    return Ok(None);
                }
            }
            let near = || self.levels.last().map(|level| level.path.clone()).unwrap_or_default();
            if !self.ctx.tell.progress(Phase::Work, near) {
                return Ok(None);
            }
            let Some(leaves) = &mut self.leaves else { return Ok(None) };
            match leaves.next_leaf() {
                Ok(Some(placed)) => (self.leaf, self.next_in_leaf) = (placed.leaf, 0),
                Ok(None) => self.leaves = None,
                Err(e) if e.is_damage() => {
                    let path = self.levels.last().map(|level| level.path.clone()).unwrap_or_default();
                    let why = chain(&e);
                    let text = format!("some paths in it or after it cannot be known: {why}");
                    self.ctx.tell.damage(path, "read the tree", &RepoError::Local(text));
                    self.tree_damaged = true;
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Goes on at a later key: in this leaf, or in the one that may hold it.
    fn skip_to(&mut self, key: &[u8]) -> RepoResult<()> {
        self.next_in_leaf = self.leaf.lower_bound(key);
        if self.next_in_leaf >= self.leaf.len() {
            let root = self.ctx.request.snapshot.root;
            self.leaves = Some(Leaves::from_key(self.ctx.reader, root, key)?);
            self.leaf = Leaf::default();
            self.next_in_leaf = 0;
        }
        Ok(())
    }

    fn plan_lone(&mut self, name: &[u8], entry: Entry) -> RepoResult<()> {
        let folder = self.levels[0].folder.clone().expect("the top has a folder");
        if self.is_selected(&self.ctx.request.path, entry.kind(), true) {
            self.selected += 1;
            plan_task(self, folder, name.into(), entry)?;
        }
        Ok(())
    }

    /// Whether rules leave a path in. `above` is what holds for its folder.
    fn is_selected<C: AsRef<[u8]>>(&self, components: &[C], kind: Kind, above: bool) -> bool {
        let mut path: Vec<&[u8]> = components.iter().map(AsRef::as_ref).collect();
        if path.first() == Some(&&b"/"[..]) {
            path.remove(0);
        }
        if path.is_empty() {
            return above;
        }
        self.ctx.judge(&path, kind == Kind::Directory).map_or(above, |excluded| !excluded)
    }

    fn take_entry(&mut self, key: &[u8], entry: Entry) -> RepoResult<()> {
        let parsed = match KeyPath::parse(key) {
            Ok(parsed) => parsed,
            Err(e) => {
                self.ctx.tell.problem(key.to_vec(), "plan", e.to_string(), 0);
                return Ok(());
            }
        };
        self.enter(parsed.prefix)?;
        let at_volumes = parsed.prefix.is_empty();
        let level = self.levels.last().expect("the walk stands in a folder");
        if level.lost {
            add(&self.ctx.tell.sums.problems, 1);
            return Ok(());
        }
        if entry.kind() == Kind::Fault {
            let text = format!("the snapshot lacks a part of this folder: {}", entry.target.escape_ascii());
            self.ctx.tell.problem(level.path.clone(), "read when saved", text, 0);
            self.level().whole = false;
            return Ok(());
        }
        let name = target_name(at_volumes, parsed.name);
        let mut selected = level.selected;
        if self.ctx.judges_anything() {
            selected = self.is_selected(&parsed.components().collect::<Vec<_>>(), entry.kind(), selected);
        }
        if self.ctx.request.delete {
            self.level().names.push(name.into());
        }
        // The root of everything is there whatever the rules say, and is nothing that anybody asked for.
        let is_root = at_volumes && name == b"/" && self.ctx.judges_anything();
        self.selected += u64::from(selected && !is_root);
        if entry.kind() == Kind::Directory {
            return self.take_folder(name, at_volumes, entry, selected);
        }
        if !selected {
            self.ctx.tell.item(Action::Excluded, || parsed.display_bytes(), 0);
            return Ok(());
        }
        match self.folder_of(self.levels.len() - 1) {
            Some(folder) => plan_task(self, folder, name.into(), entry),
            None => {
                add(&self.ctx.tell.sums.problems, 1);
                Ok(())
            }
        }
    }

    fn level(&mut self) -> &mut Level {
        self.levels.last_mut().expect("the walk stands in a folder")
    }

    fn take_folder(&mut self, name: &[u8], at_volumes: bool, entry: Entry, selected: bool) -> RepoResult<()> {
        let facts = Facts { class: entry.class.clone(), mtime: entry.mtime };
        let mut subfolder = Subfolder { name: name.into(), facts, selected, folder: None, lost: false };
        if at_volumes && name == b"/" {
            subfolder.folder = Some(self.root_of_source());
        } else if selected {
            match self.folder_of(self.levels.len() - 1) {
                Some(parent) => {
                    subfolder.folder = self.make_folder(&parent, name, &subfolder.facts);
                    subfolder.lost = subfolder.folder.is_none();
                }
                None => subfolder.lost = true,
            }
        }
        self.level().subfolders.push_back(subfolder);
        Ok(())
    }

    /// The root of the source is the target itself.
    fn root_of_source(&self) -> Arc<Folder> {
        let top = self.levels[0].folder.clone().expect("the top has a folder");
        Arc::new(Folder { dir: top.dir.clone(), empty: top.empty, path: b"/".to_vec(), facts: None })
    }

    /// The folder of a level; one that was not selected itself is made now, for what is below it.
    fn folder_of(&mut self, depth: usize) -> Option<Arc<Folder>> {
        let mut first = depth;
        while self.levels[first].folder.is_none() {
            if self.levels[first].lost {
                return None;
            }
            first -= 1;
        }
        for at in first + 1..=depth {
            let parent = self.levels[at - 1].folder.clone().expect("made just now");
            let level = &self.levels[at];
            let facts = level.facts.clone().expect("a level below the top has attributes");
            let made = self.make_folder(&parent, &level.name.clone(), &facts);
            self.levels[at].lost = made.is_none();
            self.levels[at].folder = Some(made?);
        }
        self.levels[depth].folder.clone()
    }

    /// Makes a folder, or finds it. What it meets is told.
    fn make_folder(&self, parent: &Arc<Folder>, name: &[u8], facts: &Facts) -> Option<Arc<Folder>> {
        let ctx = self.ctx;
        let path = parent.path_of(name);
        let found = match (&parent.dir, ctx.request.dry_run) {
            (Some(dir), true) => ctx.target().existing_directory(dir, name),
            (Some(dir), false) => ctx.target().directory(dir, name).map(Some),
            (None, _) => Ok(None),
        };
        let dir = match found {
            Ok(dir) => dir,
            Err(e) => {
                ctx.tell.io_problem(path, "create folder", &e);
                return None;
            }
        };
        let existed = dir.as_ref().is_some_and(|dir| !dir.is_fresh());
        add(&ctx.tell.sums.others_restored, 1);
        ctx.tell.item(if existed { Action::Unchanged } else { Action::New }, || path.clone(), 0);
        let keep = existed && ctx.request.overwrite == Overwrite::Never;
        let facts = (!keep).then(|| self.facts_for(facts, &path));
        Some(Arc::new(Folder { dir, empty: !existed, path, facts }))
    }

    /// Folders that only lead to what was saved, such as `/home`, are nobody's loss: where this process may
    /// not give them to their owner, they are its own.
    fn facts_for(&self, facts: &Facts, path: &[u8]) -> Facts {
        let mut facts = facts.clone();
        let bound_to = self.ctx.target.as_ref().and_then(host::Target::bound_to);
        if let Some((uid, gid)) = bound_to
            && !self.ctx.is_wholly_saved(path)
        {
            Arc::make_mut(&mut facts.class).owner = Owner { uid, gid, ..Owner::default() };
        }
        facts
    }

    /// Goes to the folder whose entries have this prefix.
    fn enter(&mut self, prefix: &[u8]) -> RepoResult<()> {
        if self.level().prefix == prefix {
            return Ok(());
        }
        while !prefix.starts_with(&self.level().prefix) {
            self.pop_level();
        }
        while self.level().prefix != prefix {
            let from = self.level().prefix.len();
            let len = prefix[from..].iter().position(|byte| *byte == 0).expect("a prefix ends with a zero");
            let name = prefix[from..from + len].to_vec();
            self.push_level(&name)?;
        }
        Ok(())
    }

    fn push_level(&mut self, component: &[u8]) -> RepoResult<()> {
        self.end_entries();
        let at_volumes = self.level().prefix.is_empty();
        let name = target_name(at_volumes, component);
        while self.level().subfolders.front().is_some_and(|sub| *sub.name < *name) {
            let passed = self.level().subfolders.pop_front().expect("it is there");
            self.pass(passed);
        }
        let parent = self.levels.last().expect("the walk stands in a folder");
        let prefix = [&parent.prefix, component, b"\0"].concat();
        let found =
            self.levels.last_mut().and_then(|level| level.subfolders.pop_front_if(|sub| *sub.name == *name));
        let subfolder = match found {
            Some(found) => found,
            None => self.unknown_folder(component, name)?,
        };
        self.push(prefix, subfolder);
        Ok(())
    }

    fn push(&mut self, prefix: Vec<u8>, sub: Subfolder) {
        let parent = self.levels.last().expect("the walk stands in a folder");
        let path = match &sub.folder {
            Some(folder) => folder.path.clone(),
            None => {
                Folder { dir: None, empty: true, path: parent.path.clone(), facts: None }.path_of(&sub.name)
            }
        };
        let marked = parent.marked;
        let whole = sub.selected && self.ctx.is_wholly_saved(&path) && self.same_device(&sub);
        self.levels.push(Level {
            prefix,
            name: sub.name,
            path,
            facts: Some(sub.facts),
            selected: sub.selected,
            folder: sub.folder,
            lost: sub.lost,
            subfolders: VecDeque::new(),
            names: Vec::new(),
            whole,
            marked,
            entries_ended: false,
        });
    }

    /// Something may be mounted in the target where the snapshot has an empty folder.
    fn same_device(&self, sub: &Subfolder) -> bool {
        let parent = self.levels.last().and_then(|level| level.folder.as_ref());
        let device = |folder: &Arc<Folder>| folder.dir.as_ref().and_then(TargetDir::device);
        match (parent.and_then(device), sub.folder.as_ref().and_then(device)) {
            (Some(above), Some(here)) => above == here,
            _ => false,
        }
    }

    /// A folder with entries below it whose own entry was not met.
    fn unknown_folder(&mut self, component: &[u8], name: &[u8]) -> RepoResult<Subfolder> {
        let parent = self.levels.last().expect("the walk stands in a folder");
        let key = PathKey::child(&parent.prefix, component);
        if parent.prefix.is_empty() && component == b"/" {
            let facts = Facts { class: self.ctx.private_folder(), mtime: self.ctx.request.snapshot.time };
            let (folder, selected) = (Some(self.root_of_source()), parent.selected);
            return Ok(Subfolder { name: name.into(), facts, selected, folder, lost: false });
        }
        let path = KeyPath::parse(&key).map(|path| path.display_bytes()).unwrap_or_default();
        let root = self.ctx.request.snapshot.root;
        let entry = match lookup(self.ctx.reader, root, &key) {
            Err(e) if !e.is_damage() => return Err(e),
            other => other.ok().flatten(),
        };
        let lost = entry.as_ref().is_some_and(|entry| entry.kind() != Kind::Directory) || parent.lost;
        // A folder that only leads to the parts that are looked at.
        if let Some(entry) = entry.as_ref().filter(|_| self.ctx.ranges.is_some() && !lost) {
            let facts = Facts { class: entry.class.clone(), mtime: entry.mtime };
            return Ok(Subfolder { name: name.into(), facts, selected: parent.selected, folder: None, lost });
        }
        let text = match lost {
            true => "the snapshot has paths below it, but it is no folder there".to_string(),
            false => "the snapshot has paths below it, but not the folder itself".to_string(),
        };
        self.ctx.tell.problem(path, "create folder", text, 0);
        let mut class = self.ctx.private_folder();
        if let Some(entry) = entry.filter(|_| !lost) {
            class = entry.class.clone();
        }
        let facts = Facts { class, mtime: self.ctx.request.snapshot.time };
        Ok(Subfolder { name: name.into(), facts, selected: parent.selected, folder: None, lost })
    }

    /// All entries of the innermost folder are known: others may go.
    fn end_entries(&mut self) {
        let level = self.levels.last_mut().expect("the walk stands in a folder");
        if !std::mem::replace(&mut level.entries_ended, true) && self.ctx.request.delete {
            level.marked |= self.ctx.has_marker(level);
            remove_others(self.ctx, level, self.tree_damaged);
            level.names = Vec::new();
        }
    }

    /// A folder without entries was passed.
    fn pass(&mut self, sub: Subfolder) {
        if self.ctx.request.delete {
            let parent = self.levels.last().expect("the walk stands in a folder");
            let prefix = [&parent.prefix, &sub.name[..], b"\0"].concat();
            self.push(prefix, sub);
            self.pop_level();
        } else {
            self.window.finished.extend(sub.folder);
        }
    }

    /// Leaves the innermost folder: everything below it is planned.
    fn pop_level(&mut self) {
        self.end_entries();
        while let Some(sub) = self.level().subfolders.pop_front() {
            self.pass(sub);
        }
        let level = self.levels.pop().expect("the walk stands in a folder");
        self.window.finished.extend(level.folder);
    }

    /// Whether anything that stands in the target has to be looked at.
    pub(super) fn refresh(&self, task: &Task, stat: &host::Stat) {
        let ctx = self.ctx;
        let Some(dir) = &task.folder.dir else { return };
        let xattrs = super::attributes::xattrs_of(ctx, &task.entry.class, || task.path());
        let wanted = super::attributes::attributes(&task.entry.class, task.entry.mtime, &xattrs);
        match ctx.target().refresh_file(dir, &task.name, stat, &wanted) {
            Ok(left) => tell_unapplied(ctx, || task.path(), &left),
            Err(e) => ctx.tell.io_problem(task.path(), "restore attributes", &e),
        }
    }
}

/// The name of a volume's file or folder in the target.
fn target_name(at_volumes: bool, name: &[u8]) -> &[u8] {
    let stream = name.strip_prefix(b"stream:").filter(|_| at_volumes);
    stream.unwrap_or(name)
}

fn shown_path(path: &[Vec<u8>]) -> Vec<u8> {
    let key = PathKey::of(path);
    KeyPath::parse(&key).map(|path| path.display_bytes()).unwrap_or_default()
}

fn parent_path(path: &[u8]) -> Vec<u8> {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(0) if path.len() > 1 => b"/".to_vec(),
        Some(at) => path[..at].to_vec(),
        None => Vec::new(),
    }
}
