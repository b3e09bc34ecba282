//! Opens one block and writes everything that is wanted of it.

use super::Context;
use super::attributes::{attributes, remember_link, settle_file, tell_unapplied, xattrs_of};
use super::compare::Contents;
use super::fetch::FetchedBytes;
use super::tell::add;
use super::window::{BlockRange, Dest, How, NOWHERE, Piece, Task, Window};
use crate::monitor::{Action, Phase};
use format::FormatError;
use format::block::OpenBlock;
use format::id::BlobKind;
use format::kind::Kind;
use host::restore_file::{InPlace, set_length};
use host::{NewFile, Unapplied, Xattr};
use repo::index::Location;
use repo::{RepoError, RepoResult};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use storage::ErrorKind;

/// Opens a block and writes the pieces of this range, which all lie in it.
pub(super) fn write_block(
    ctx: &Context<'_>,
    window: &Window,
    range: BlockRange,
    fetched: Option<&FetchedBytes>,
) {
    let pieces = &window.pieces[range.start as usize..range.end as usize];
    let going_on = ctx.tell.progress(Phase::Work, || path_of(window, pieces[0].dest));
    if !going_on {
        return;
    }
    let location = location_of(window, &pieces[0]);
    let block = match &location {
        None => None,
        Some(location) => match open(ctx, location, fetched) {
            Ok(block) => Some(block),
            // Another copy may have what is archived here.
            Err(e) if ends_everything(&e) && !is_archived(&e) => return ctx.tell.stop(e),
            Err(_) => None,
        },
    };
    let mut source = Source { ctx, block, location, hopeless: false };
    for piece in pieces {
        if ctx.tell.stopped() {
            return;
        }
        source.write(window, piece);
    }
}

fn location_of(window: &Window, piece: &Piece) -> Option<Location> {
    (piece.pack != NOWHERE).then(|| Location {
        pack: window.packs[piece.pack as usize],
        kind: BlobKind::Data,
        block: piece.block,
        rank: piece.rank,
    })
}

fn path_of(window: &Window, dest: Dest) -> Vec<u8> {
    match dest {
        Dest::Small(n) => window.tasks[n as usize].path(),
        Dest::Large(n) => window.large[n as usize].task.path(),
    }
}

fn open(ctx: &Context<'_>, location: &Location, fetched: Option<&FetchedBytes>) -> RepoResult<OpenBlock> {
    add(&ctx.tell.sums.bytes_fetched, location.block.stored_bytes as u64);
    let stored = fetched.and_then(|fetched| {
        let from = (location.block.offset as u64).checked_sub(fetched.from)? as usize;
        fetched.bytes.get(from..from + location.block.stored_bytes as usize)
    });
    match stored {
        Some(stored) => ctx.reader.open_block(location, stored),
        None => ctx.reader.fetch_block(location),
    }
}

/// What is archived is there, and neither damaged nor lost.
fn is_archived(error: &RepoError) -> bool {
    error.store_kind() == Some(ErrorKind::Archived)
}

/// Whether every other block would fail in the same way: the place is gone, packs are archived, or the keys do not
/// open contents.
fn ends_everything(error: &RepoError) -> bool {
    use ErrorKind::{
        Archived, Config, NoSuchPlace, Transient, Unauthenticated, UnknownHost, UntrustedServer,
    };
    let kind = error.store_kind();
    let unreachable =
        [Archived, Config, NoSuchPlace, Transient, Unauthenticated, UnknownHost, UntrustedServer];
    kind.is_some_and(|kind| unreachable.contains(&kind))
        || matches!(error, RepoError::Object { source: FormatError::NotAllowed { .. }, .. })
}

/// A block, or the hope to find its blobs elsewhere.
struct Source<'c> {
    ctx: &'c Context<'c>,
    block: Option<OpenBlock>,
    location: Option<Location>,
    /// A blob of this block was looked for everywhere and not found.
    hopeless: bool,
}

impl Source<'_> {
    fn write(&mut self, window: &Window, piece: &Piece) {
        let confirmed = self.block.as_ref().and_then(|block| {
            let proof = self.ctx.reader.confirm(BlobKind::Data, &piece.id, block, piece.rank as usize);
            proof.ok().and_then(|()| block.blob(piece.rank as usize))
        });
        if let Some(bytes) = confirmed {
            return put(self.ctx, window, piece, bytes);
        }
        match self.read_elsewhere(piece) {
            Ok(blob) => put(self.ctx, window, piece, &blob),
            Err(e) if ends_everything(&e) => self.ctx.tell.stop(e),
            Err(e) => {
                self.hopeless = true;
                lose(self.ctx, window, piece, &e);
            }
        }
    }

    fn read_elsewhere(&self, piece: &Piece) -> RepoResult<repo::reader::Blob> {
        if self.hopeless && self.block.is_none() && self.is_only_here(piece) {
            let why = "the block it lies in is damaged, and it is stored nowhere else".into();
            return Err(RepoError::MissingBlob { kind: "file content", id: piece.id.hex(), why });
        }
        self.ctx.reader.read(BlobKind::Data, &piece.id)
    }

    /// Whether the index knows no other place: then a block that was tried need not be tried for each blob.
    fn is_only_here(&self, piece: &Piece) -> bool {
        let Some(here) = &self.location else { return false };
        let places = self.ctx.reader.locate(BlobKind::Data, &piece.id);
        places.iter().all(|place| place.pack == here.pack && place.block.offset == here.block.offset)
    }
}

fn lose(ctx: &Context<'_>, window: &Window, piece: &Piece, error: &RepoError) {
    match piece.dest {
        Dest::Small(n) => ctx.tell.damage(window.tasks[n as usize].path(), "read contents", error),
        Dest::Large(n) => {
            let file = &window.large[n as usize];
            file.lose(ctx, error);
            file.done_with_one(ctx);
        }
    }
}

fn put(ctx: &Context<'_>, window: &Window, piece: &Piece, bytes: &[u8]) {
    match piece.dest {
        Dest::Large(n) => {
            let file = &window.large[n as usize];
            file.write(ctx, piece.offset, bytes, piece.repeat);
            file.done_with_one(ctx);
        }
        Dest::Small(n) => {
            let task = &window.tasks[n as usize];
            if bytes.len() as u64 == task.entry.size_bytes {
                return write_small(ctx, task, bytes);
            }
            let text = "its contents are not as long as the snapshot says".to_string();
            ctx.tell.damage(task.path(), "read contents", &RepoError::Local(text));
        }
    }
}

/// Makes a file whose contents are at hand.
fn write_small(ctx: &Context<'_>, task: &Task, bytes: &[u8]) {
    let xattrs = xattrs_of(ctx, &task.entry.class, || task.path());
    let file = match open_small(ctx, task, &xattrs, bytes.len() as u64) {
        Ok(file) => file,
        Err(e) => return ctx.tell.io_problem(task.path(), "create", &e),
    };
    if let Err(e) = file.file.write_all_at(bytes, 0) {
        return ctx.tell.io_problem(task.path(), "write", &e);
    }
    add(&ctx.tell.sums.bytes_written, bytes.len() as u64);
    settle_file(ctx, task, &file, &xattrs, task.entry.mtime);
    if ctx.request.verify {
        Contents::new(ctx).verify(task, &file.file);
    }
    ctx.file_restored(task);
}

fn open_small(ctx: &Context<'_>, task: &Task, xattrs: &[Xattr], len: u64) -> io::Result<NewFile> {
    let dir = task.folder.dir.as_ref().expect("a restore makes its folders");
    let wanted = attributes(&task.entry.class, task.entry.mtime, xattrs);
    if task.how == How::InPlace
        && let InPlace::Open(file, stat) = ctx.target().open_in_place(dir, &task.name, &wanted)?
    {
        if stat.size_bytes != len {
            set_length(&file.file, len)?;
        }
        return Ok(file);
    }
    ctx.target().create_file(dir, &task.name, &wanted)
}

/// Makes entries that need no blob: empty files, links, devices, pipes and sockets.
pub(super) fn make_others(ctx: &Context<'_>, window: &Window, range: Range<u32>) {
    let numbers = &window.others[range.start as usize..range.end as usize];
    if !ctx.tell.progress(Phase::Work, || window.tasks[numbers[0] as usize].path()) {
        return;
    }
    for n in numbers {
        let task = &window.tasks[*n as usize];
        match task.entry.kind() {
            Kind::File if task.entry.size_bytes == 0 => write_small(ctx, task, &[]),
            Kind::File => {
                let text = "the snapshot has no contents of it".to_string();
                ctx.tell.damage(task.path(), "read contents", &RepoError::Local(text));
            }
            _ => make_other(ctx, task),
        }
        if ctx.tell.stopped() {
            return;
        }
    }
}

fn make_other(ctx: &Context<'_>, task: &Task) {
    match try_make_other(ctx, task) {
        Ok(left) => {
            tell_unapplied(ctx, || task.path(), &left);
            ctx.other_restored(task);
        }
        Err(e) => ctx.tell.io_problem(task.path(), "create", &e),
    }
}

fn try_make_other(ctx: &Context<'_>, task: &Task) -> io::Result<Vec<Unapplied>> {
    let (entry, target) = (&task.entry, ctx.target());
    let dir = task.folder.dir.as_ref().expect("a restore makes its folders");
    let xattrs = xattrs_of(ctx, &entry.class, || task.path());
    let wanted = attributes(&entry.class, entry.mtime, &xattrs);
    let left = match entry.kind() {
        Kind::Symlink => target.symlink(dir, &task.name, &entry.target, &wanted)?,
        kind => target.node(dir, &task.name, kind, host::device_numbers(entry.rdev), &wanted)?,
    };
    if entry.link_group.is_some()
        && let Some(stat) = target.stat(dir, &task.name)?
    {
        remember_link(ctx, task, stat, 0);
    }
    Ok(left)
}

impl Context<'_> {
    /// Counts and names what is neither file nor folder.
    pub(super) fn other_restored(&self, task: &Task) {
        add(&self.tell.sums.others_restored, 1);
        let action = if task.existed { Action::Modified } else { Action::New };
        self.tell.item(action, || task.path(), 0);
    }
}
