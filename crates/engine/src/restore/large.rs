//! Files of several pieces: written in any order by any thread, ended by whoever writes the last piece.
//!
//! The number of files open at a time is bounded; one that had to be closed is opened again in place.

use super::Context;
use super::attributes::{attributes, settle_file, xattrs_of};
use super::compare::Contents;
use super::tell::{add, lock};
use super::window::{How, Task};
use crate::monitor::Action;
use host::restore_file::{InPlace, set_length};
use host::{NewFile, Xattr};
use repo::RepoError;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Large files open at a time.
const OPEN_MAX: usize = 192;

/// A file on its way.
pub(super) struct LargeFile {
    pub(super) task: Task,
    state: Mutex<State>,
    /// Pieces to come, and one more while the plan may still add some.
    remaining: AtomicU64,
    /// Some contents are lost.
    incomplete: AtomicBool,
}

enum State {
    Unopened,
    Open(Arc<NewFile>),
    /// Closed to keep the number of open files small.
    Closed,
    /// It could not be opened or written; that was told.
    Failed,
}

impl LargeFile {
    /// A file of which nothing was done yet; the plan holds it open for more pieces.
    pub(super) fn new(task: Task) -> Self {
        LargeFile {
            task,
            state: Mutex::new(State::Unopened),
            remaining: AtomicU64::new(1),
            incomplete: AtomicBool::new(false),
        }
    }

    /// The file as the plan opened it to compare it.
    pub(super) fn adopt(&self, ctx: &Context<'_>, file: Arc<NewFile>) {
        ctx.open_large.fetch_add(1, Ordering::Relaxed);
        *lock(&self.state) = State::Open(file);
    }

    /// One more piece will come.
    pub(super) fn expect_piece(&self) {
        self.remaining.fetch_add(1, Ordering::Relaxed);
    }

    /// Contents are lost; the rest is restored all the same.
    pub(super) fn lose(&self, ctx: &Context<'_>, error: &RepoError) {
        if !self.incomplete.swap(true, Ordering::Relaxed) {
            ctx.tell.damage(self.task.path(), "read contents", error);
        }
    }

    /// Writes a piece `repeat` times.
    pub(super) fn write(&self, ctx: &Context<'_>, offset: u64, bytes: &[u8], repeat: u32) {
        let Some(file) = self.open(ctx) else { return };
        let mut at = offset;
        for _ in 0..repeat {
            if let Err(e) = file.file.write_all_at(bytes, at) {
                return self.fail(ctx, "write", &e);
            }
            at += bytes.len() as u64;
            add(&ctx.tell.sums.bytes_written, bytes.len() as u64);
            if ctx.tell.stopped() {
                return;
            }
        }
        drop(file);
        self.close_if_many(ctx);
    }

    /// Closes the file where too many are open and it can be opened again.
    pub(super) fn close_if_many(&self, ctx: &Context<'_>) {
        let writable = self.task.entry.class.mode & 0o200 != 0;
        if writable && ctx.open_large.load(Ordering::Relaxed) > OPEN_MAX {
            self.close(ctx);
        }
    }

    /// A piece was dealt with, or the plan has listed all. The last one ends the file.
    pub(super) fn done_with_one(&self, ctx: &Context<'_>) {
        if self.remaining.fetch_sub(1, Ordering::AcqRel) == 1 && !ctx.tell.stopped() {
            self.finish(ctx);
            self.close(ctx);
        }
    }

    fn open(&self, ctx: &Context<'_>) -> Option<Arc<NewFile>> {
        let mut state = lock(&self.state);
        let again = match &*state {
            State::Open(file) => return Some(file.clone()),
            State::Failed => return None,
            State::Unopened => false,
            State::Closed => true,
        };
        let xattrs = self.xattrs(ctx);
        match self.open_or_create(ctx, &xattrs, again) {
            Ok(file) => {
                let file = Arc::new(file);
                ctx.open_large.fetch_add(1, Ordering::Relaxed);
                *state = State::Open(file.clone());
                Some(file)
            }
            Err(e) => {
                *state = State::Failed;
                drop(state);
                ctx.tell.io_problem(self.task.path(), "create", &e);
                None
            }
        }
    }

    fn open_or_create(&self, ctx: &Context<'_>, xattrs: &[Xattr], again: bool) -> io::Result<NewFile> {
        let (task, dir) = (&self.task, self.task.folder.dir.as_ref().expect("a restore makes its folders"));
        let wanted = attributes(&task.entry.class, task.entry.mtime, xattrs);
        if again || task.how == How::InPlace {
            return match ctx.target().open_in_place(dir, &task.name, &wanted)? {
                InPlace::Open(file, _) => Ok(file),
                InPlace::CreateAnew => Err(io::Error::other("it was replaced while it was restored")),
            };
        }
        let file = ctx.target().create_unfinished(dir, &task.name, &wanted)?;
        // What no piece is written to is a hole.
        set_length(&file.file, task.entry.size_bytes)?;
        Ok(file)
    }

    fn xattrs(&self, ctx: &Context<'_>) -> Vec<Xattr> {
        xattrs_of(ctx, &self.task.entry.class, || self.task.path())
    }

    /// The file takes no more pieces; tells why, once.
    pub(super) fn fail(&self, ctx: &Context<'_>, during: &'static str, error: &io::Error) {
        let mut state = lock(&self.state);
        let before = std::mem::replace(&mut *state, State::Failed);
        drop(state);
        if let State::Open(_) = before {
            ctx.open_large.fetch_sub(1, Ordering::Relaxed);
        }
        if !matches!(before, State::Failed) {
            ctx.tell.io_problem(self.task.path(), during, error);
        }
    }

    fn close(&self, ctx: &Context<'_>) {
        let mut state = lock(&self.state);
        if let State::Open(_) = *state {
            *state = State::Closed;
            ctx.open_large.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn finish(&self, ctx: &Context<'_>) {
        let Some(file) = self.open(ctx) else { return };
        let incomplete = self.incomplete.load(Ordering::Relaxed);
        let mtime = match incomplete {
            false => self.task.entry.mtime,
            // As it is now, so that it is not taken for restored.
            true => file.stat().map(|stat| stat.mtime).unwrap_or_default(),
        };
        settle_file(ctx, &self.task, &file, &self.xattrs(ctx), mtime);
        if incomplete {
            return;
        }
        if ctx.request.verify {
            Contents::new(ctx).verify(&self.task, &file.file);
        }
        ctx.file_restored(&self.task);
    }
}

impl Context<'_> {
    /// Counts and names a file that was written.
    pub(super) fn file_restored(&self, task: &Task) {
        add(&self.tell.sums.files_restored, 1);
        add(&self.tell.sums.bytes_done, task.entry.size_bytes);
        let action = if task.existed { Action::Modified } else { Action::New };
        self.tell.item(action, || task.path(), task.entry.size_bytes);
    }
}
