//! Plans one entry that is no folder: whether it is restored, how, and which pieces it takes.

use super::compare::{ExtentWalk, Step};
use super::delete::name_replaced;
use super::large::LargeFile;
use super::plan::Planner;
use super::tell::add;
use super::window::{Dest, Folder, How, NOWHERE, Piece, Task, Window};
use super::{Context, Overwrite};
use crate::monitor::Action;
use format::id::{BlobId, BlobKind};
use format::index::BlockPlace;
use format::kind::Kind;
use format::seal::Suite;
use format::tree::{Content, Entry, Extent, Marks};
use host::restore_file::{InPlace, punch_hole, set_length};
use host::{NewFile, Stat};
use repo::{RepoError, RepoResult};
use std::io;
use std::sync::Arc;

/// What is to become of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Create,
    /// Something is replaced by a new one.
    Replace,
    /// The contents are looked at; what differs is written.
    Update(Stat),
    /// Contents are right; attributes are made right.
    Refresh(Stat),
    /// Left as it is, because it is right.
    Keep(Stat),
    Skip,
}

/// Plans an entry.
pub(super) fn plan_task(
    planner: &mut Planner<'_>,
    folder: Arc<Folder>,
    name: Box<[u8]>,
    entry: Entry,
) -> RepoResult<()> {
    let ctx = planner.ctx;
    let mut task = Task { folder, name, entry, how: How::Create, existed: false };
    if !tell_marks(ctx, &task) {
        return Ok(());
    }
    if task.entry.kind() == Kind::File {
        add(&ctx.tell.sums.bytes_selected, task.entry.size_bytes);
    }
    let decision = match decide(ctx, &task) {
        Ok(decision) => decision,
        Err(e) => {
            ctx.tell.io_problem(task.path(), "look at", &e);
            return Ok(());
        }
    };
    task.existed = !matches!(decision, Decision::Create);
    if decision == Decision::Replace && ctx.request.delete && !gives_way(ctx, &task) {
        return Ok(());
    }
    let is_first = task.entry.link_group.is_none_or(|group| planner.links_seen.insert(group));
    if !is_first && decision != Decision::Skip {
        return plan_link(planner, task);
    }
    let decision = look_closer(planner, &task, decision)?;
    if ctx.tell.stopped() {
        return Ok(());
    }
    act(planner, task, decision)
}

/// Whether what stands in the place of the entry may go. Of a folder every path in it is named; one that holds what
/// the backup left out stays.
fn gives_way(ctx: &Context<'_>, task: &Task) -> bool {
    let stat = task.folder.dir.as_ref().map(|dir| ctx.target().stat(dir, &task.name));
    let Some(Ok(Some(stat))) = stat else { return true };
    if stat.kind != Kind::Directory || name_replaced(ctx, &task.folder, &task.name, stat) {
        return true;
    }
    let text = "a folder stands there that holds what the backup left out by its rules".to_string();
    ctx.tell.problem(task.path(), "replace", text, 0);
    false
}

/// Tells what the snapshot itself lacks. Returns whether there is anything to restore.
fn tell_marks(ctx: &Context<'_>, task: &Task) -> bool {
    let marks = task.entry.marks;
    if marks.has(Marks::CHANGED) {
        let text = "it changed while it was saved; the snapshot may mix two states of it".into();
        ctx.tell.info(task.path(), "read when saved", text);
    }
    if marks.has(Marks::UNREADABLE) && task.entry.kind() == Kind::File {
        let text = "it could not be read when it was saved; the snapshot has no contents of it".into();
        ctx.tell.problem(task.path(), "read when saved", text, 0);
        return false;
    }
    true
}

/// Decides by metadata alone.
fn decide(ctx: &Context<'_>, task: &Task) -> io::Result<Decision> {
    let Some(dir) = task.folder.dir.as_ref().filter(|_| !task.folder.empty) else {
        return Ok(Decision::Create);
    };
    let Some(stat) = ctx.target().stat(dir, &task.name)? else { return Ok(Decision::Create) };
    let same_time = stat.mtime == task.entry.mtime;
    // A restore that was cut off left it; no rule protects it, and its time is no one's.
    if task.entry.kind() == Kind::File && host::restore_file::is_unfinished(&stat, task.entry.class.mode) {
        return Ok(Decision::Update(stat));
    }
    if ctx.request.overwrite == Overwrite::Never {
        return Ok(Decision::Skip);
    }
    let same = same_time && is_alike(ctx, task, &stat)?;
    if ctx.request.overwrite == Overwrite::IfNewer && task.entry.mtime <= stat.mtime && !same {
        return Ok(Decision::Skip);
    }
    let is_file = stat.kind == Kind::File;
    Ok(match (task.entry.kind() == Kind::File, same) {
        // Its other name may lie outside the target: new attributes would reach it there.
        (true, true) if stat.nlink > 1 && task.entry.link_group.is_none() => Decision::Replace,
        (true, true) => Decision::Refresh(stat),
        (true, false) if is_file => Decision::Update(stat),
        (false, true) => Decision::Keep(stat),
        _ => Decision::Replace,
    })
}

/// Whether what stands there is of the same kind, length, target or number.
fn is_alike(ctx: &Context<'_>, task: &Task, stat: &Stat) -> io::Result<bool> {
    let entry = &task.entry;
    let dir = task.folder.dir.as_ref().expect("what was looked at stands in a folder");
    if stat.kind != entry.kind() {
        return Ok(false);
    }
    Ok(match stat.kind {
        Kind::File => stat.size_bytes == entry.size_bytes,
        Kind::Symlink => ctx.target().read_link(dir, &task.name)?.as_ref() == Some(&entry.target),
        _ => stat.rdev == entry.rdev && stat.mode == entry.class.mode,
    })
}

/// Looks at contents where metadata does not decide, or where the request says so.
fn look_closer(planner: &mut Planner<'_>, task: &Task, decision: Decision) -> RepoResult<Decision> {
    let verify = planner.ctx.request.verify;
    let stat = match decision {
        // "Always" believes no length and no time: what stands there may be rotten.
        Decision::Refresh(stat) if verify || planner.ctx.request.overwrite == Overwrite::Always => stat,
        // Several pieces are compared one by one when they are planned.
        Decision::Update(stat) if stat.size_bytes == task.entry.size_bytes && is_small(&task.entry) => stat,
        other => return Ok(other),
    };
    let dir = task.folder.dir.as_ref().expect("what was looked at stands in a folder");
    let equal = match planner.ctx.target().open_to_compare(dir, &task.name, &stat) {
        Ok(file) => planner.contents.are_equal(&file, &task.entry)?,
        Err(e) => Err(e),
    };
    let ctx = planner.ctx;
    if let Ok(true) = equal
        && verify
    {
        add(&ctx.tell.sums.files_verified, 1);
    }
    Ok(match (equal, ctx.request.overwrite, decision) {
        (Ok(true), ..) => Decision::Refresh(stat),
        (_, Overwrite::IfChanged | Overwrite::IfNewer, Decision::Refresh(_)) => {
            let text = "its contents are not those of the snapshot, although length and time are".into();
            ctx.tell.problem(task.path(), "verify", text, 0);
            Decision::Skip
        }
        // What cannot be read cannot be changed in place either.
        (Err(_), ..) => Decision::Replace,
        (Ok(false), ..) => Decision::Update(stat),
    })
}

fn is_small(entry: &Entry) -> bool {
    matches!(entry.content, Content::None | Content::Whole(_))
}

fn act(planner: &mut Planner<'_>, mut task: Task, decision: Decision) -> RepoResult<()> {
    let ctx = planner.ctx;
    match decision {
        Decision::Skip => skip(ctx, &task),
        Decision::Keep(stat) => {
            super::attributes::remember_link(ctx, &task, stat, 0);
            unchanged(ctx, &task);
        }
        Decision::Refresh(stat) => {
            if !ctx.request.dry_run {
                planner.refresh(&task, &stat);
                super::attributes::remember_link(ctx, &task, stat, 0);
            }
            unchanged(ctx, &task);
        }
        Decision::Create | Decision::Replace | Decision::Update(_) => {
            if let Decision::Update(_) = decision {
                task.how = How::InPlace;
            }
            if ctx.request.dry_run {
                would_restore(ctx, &task);
                planner.note_packs(&task.entry)?;
            } else {
                place_contents(planner, task);
            }
        }
    }
    Ok(())
}

fn skip(ctx: &Context<'_>, task: &Task) {
    if task.entry.kind() == Kind::File {
        add(&ctx.tell.sums.files_skipped, 1);
    }
    ctx.tell.item(Action::Unchanged, || task.path(), task.entry.size_bytes);
}

/// Counts and names what is right already.
pub(super) fn unchanged(ctx: &Context<'_>, task: &Task) {
    if task.entry.kind() == Kind::File {
        add(&ctx.tell.sums.files_unchanged, 1);
        add(&ctx.tell.sums.bytes_done, task.entry.size_bytes);
    }
    ctx.tell.item(Action::Unchanged, || task.path(), task.entry.size_bytes);
}

fn would_restore(ctx: &Context<'_>, task: &Task) {
    if task.entry.kind() == Kind::File {
        add(&ctx.tell.sums.bytes_written, task.entry.size_bytes);
        ctx.file_restored(task);
    } else {
        ctx.other_restored(task);
    }
}

/// A further name of an inode; it waits until the first one is there.
fn plan_link(planner: &mut Planner<'_>, task: Task) -> RepoResult<()> {
    if planner.ctx.request.dry_run {
        would_restore(planner.ctx, &task);
    } else {
        planner.window.links.push(task);
    }
    Ok(())
}

/// Adds an entry and its pieces to the window. Long lists of pieces are left to [`Planner::stream_more`].
fn place_contents(planner: &mut Planner<'_>, task: Task) {
    match &task.entry.content {
        Content::Extents(_) | Content::ExtentTree { .. } => {
            planner.streaming = Some(Streaming::start(planner.ctx, task));
        }
        _ => place_small(planner.ctx, &mut planner.window, task),
    }
}

/// Adds a task of at most one piece.
fn place_small(ctx: &Context<'_>, window: &mut Window, task: Task) {
    let number = window.tasks.len() as u32;
    match &task.entry.content {
        Content::Whole(id) => place_piece(ctx, window, id, Dest::Small(number), 0, 1),
        _ => window.others.push(number),
    }
    window.tasks.push(task);
}

/// Finds out where a piece is stored.
fn place_piece(ctx: &Context<'_>, window: &mut Window, id: &BlobId, dest: Dest, offset: u64, repeat: u32) {
    let piece = match ctx.reader.locate(BlobKind::Data, id).first() {
        Some(place) => Piece {
            id: *id,
            pack: window.pack_number(place.pack),
            block: place.block,
            rank: place.rank,
            dest,
            offset,
            repeat,
        },
        None => {
            let block = BlockPlace {
                offset: 0,
                stored_bytes: 0,
                raw_bytes: 0,
                suite: Suite::Aes256Gcm,
                key_ref: 0,
                blobs: 0,
            };
            Piece { id: *id, pack: NOWHERE, block, rank: 0, dest, offset, repeat }
        }
    };
    window.pieces.push(piece);
}

/// Puts a whole entry into a window of its own: for copies of what could not be linked.
pub(super) fn window_of_one(ctx: &Context<'_>, task: Task) -> Window {
    let mut window = Window::default();
    match &task.entry.content {
        Content::Extents(_) | Content::ExtentTree { .. } => {
            let mut streaming = Streaming::start(ctx, task);
            let mut contents = super::compare::Contents::new(ctx);
            while streaming.step(ctx, &mut window, &mut contents) {}
        }
        _ => place_small(ctx, &mut window, task),
    }
    window.sort();
    window
}

/// A large file whose pieces are being planned.
pub(super) struct Streaming<'c> {
    file: Arc<LargeFile>,
    extents: ExtentWalk<'c>,
    offset: u64,
    /// Its old contents and their length.
    old: Option<(Arc<NewFile>, u64)>,
    /// Its number in the window it was last put into.
    number: Option<u32>,
}

impl Planner<'_> {
    /// Plans pieces of the large file until it is done or the window is full.
    pub(super) fn stream_more(&mut self) {
        let Some(mut streaming) = self.streaming.take() else { return };
        streaming.number = None;
        while !self.window.is_full() && !self.ctx.tell.stopped() {
            if !streaming.step(self.ctx, &mut self.window, &mut self.contents) {
                return;
            }
        }
        self.streaming = Some(streaming);
    }
}

impl<'c> Streaming<'c> {
    fn start(ctx: &'c Context<'c>, mut task: Task) -> Self {
        let extents = ExtentWalk::new(ctx, &task.entry);
        let mut old = None;
        let mut failure = None;
        if task.how == How::InPlace {
            match open_old(ctx, &task) {
                Ok(Some(found)) => old = Some(found),
                Ok(None) => task.how = How::Create,
                Err(e) => failure = Some(e),
            }
        }
        let file = Arc::new(LargeFile::new(task));
        if let Some((old, _)) = &old {
            file.adopt(ctx, old.clone());
        }
        if let Some(e) = failure {
            file.fail(ctx, "open", &e);
        }
        Streaming { file, extents, offset: 0, old, number: None }
    }

    /// Plans one extent; `false` when the file is done.
    fn step(
        &mut self,
        ctx: &Context<'_>,
        window: &mut Window,
        contents: &mut super::compare::Contents<'_>,
    ) -> bool {
        let Some(step) = self.extents.next_step() else {
            self.end(ctx, window);
            return false;
        };
        let size = self.file.task.entry.size_bytes;
        let len = match &step {
            Step::Extent(extent) => extent.file_bytes(),
            Step::Lost { file_bytes, .. } => *file_bytes,
        };
        let from = self.offset;
        self.offset = from.saturating_add(len);
        if self.offset > size {
            let text = "the snapshot lists more contents than the file is long".to_string();
            self.file.lose(ctx, &RepoError::Local(text));
            self.end(ctx, window);
            return false;
        }
        match step {
            Step::Lost { error, .. } => self.file.lose(ctx, &error),
            Step::Extent(Extent::Hole { .. }) => self.hole(ctx, from),
            Step::Extent(Extent::Data { id, len_bytes, repeat }) => {
                self.data(ctx, window, contents, (from, &id, len_bytes, repeat));
            }
        }
        true
    }

    fn end(&mut self, ctx: &Context<'_>, window: &mut Window) {
        let size = self.file.task.entry.size_bytes;
        if self.offset < size {
            let text = "the snapshot lists less contents than the file is long".to_string();
            self.file.lose(ctx, &RepoError::Local(text));
        }
        // The window keeps the file until its jobs are done.
        self.number_in(window);
        self.old = None;
        self.file.done_with_one(ctx);
        self.file.close_if_many(ctx);
    }

    /// Frees what stands where the snapshot has a hole.
    fn hole(&mut self, ctx: &Context<'_>, from: u64) {
        let Some((old, old_len)) = &self.old else { return };
        let end = self.offset.min(*old_len);
        if from < end
            && let Err(e) = punch_hole(&old.file, from, end - from).or_else(|_| write_zeros(old, from, end))
        {
            self.file.fail(ctx, "write", &e);
        }
    }

    fn data(
        &mut self,
        ctx: &Context<'_>,
        window: &mut Window,
        contents: &mut super::compare::Contents<'_>,
        (from, id, len, repeat): (u64, &BlobId, u32, u32),
    ) {
        let Some((old, old_len)) = self.old.clone().filter(|(_, old_len)| from < *old_len) else {
            return self.piece(ctx, window, id, from, repeat);
        };
        for n in 0..repeat {
            let at = from + n as u64 * len as u64;
            let there = at + len as u64 <= old_len;
            if !there || !matches!(contents.is_blob(&old.file, at, len, id), Ok(true)) {
                self.piece(ctx, window, id, at, 1);
            }
        }
    }

    fn piece(&mut self, ctx: &Context<'_>, window: &mut Window, id: &BlobId, offset: u64, repeat: u32) {
        let number = self.number_in(window);
        self.file.expect_piece();
        place_piece(ctx, window, id, Dest::Large(number), offset, repeat);
    }

    fn number_in(&mut self, window: &mut Window) -> u32 {
        *self.number.get_or_insert_with(|| {
            window.large.push(self.file.clone());
            window.large.len() as u32 - 1
        })
    }
}

/// Opens what stands there, cut or extended to the length wanted. Returns its old length, too.
fn open_old(ctx: &Context<'_>, task: &Task) -> io::Result<Option<(Arc<NewFile>, u64)>> {
    let dir = task.folder.dir.as_ref().expect("what is changed stands in a folder");
    let xattrs = super::attributes::xattrs_of(ctx, &task.entry.class, || task.path());
    let wanted = super::attributes::attributes(&task.entry.class, task.entry.mtime, &xattrs);
    match ctx.target().open_in_place(dir, &task.name, &wanted)? {
        InPlace::CreateAnew => Ok(None),
        InPlace::Open(file, stat) => {
            if stat.size_bytes != task.entry.size_bytes {
                set_length(&file.file, task.entry.size_bytes)?;
            }
            Ok(Some((Arc::new(file), stat.size_bytes.min(task.entry.size_bytes))))
        }
    }
}

/// On file systems without holes.
fn write_zeros(file: &NewFile, from: u64, end: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let zeros = vec![0; 1 << 20];
    let mut at = from;
    while at < end {
        let n = (end - at).min(zeros.len() as u64);
        file.file.write_all_at(&zeros[..n as usize], at)?;
        at += n;
    }
    Ok(())
}
