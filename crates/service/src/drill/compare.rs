//! Reading back what a drill restored, and comparing it with what the snapshot says and with the live file.
//!
//! Shares no code with the restore: contents are hashed piece by piece against the ids of the snapshot,
//! attributes are read by their own calls.

use super::{DrillOutcome, DrillRequest};
use crate::failure::{Failure, Outcome};
use engine::KeyRanges;
use format::id::BlobKind;
use format::kind::{Kind, Timestamp};
use format::tree::{Entry, Extent, KeyPath, Marks, XattrSet, Xattrs};
use repo::RepoError;
use repo::browse::{Leaves, PlacedLeaf, visit_pieces};
use repo::erasures::Erased;
use repo::reader::{Reader, chain};
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

const READ_BYTES: usize = 1 << 20;
/// Who may set owners and capabilities.
const ROOT: u32 = 0;

pub(super) struct Compare<'c> {
    reader: &'c Reader,
    request: &'c DrillRequest<'c>,
    target: &'c Path,
    is_root: bool,
    /// What was erased from the snapshot, and so does not come back.
    erased: Erased,
    buffer: Vec<u8>,
}

impl<'c> Compare<'c> {
    pub(super) fn new(reader: &'c Reader, request: &'c DrillRequest<'c>, target: &'c Path) -> Outcome<Self> {
        let is_root = fs::metadata(&request.scratch).is_ok_and(|m| m.uid() == ROOT);
        let erased = Erased::of(reader.repo(), request.snapshot)?;
        Ok(Compare { reader, request, target, is_root, erased, buffer: Vec::new() })
    }

    /// Compares every entry of the ranges.
    pub(super) fn all(&mut self, ranges: &KeyRanges, outcome: &mut DrillOutcome) -> Outcome<()> {
        for (from, to) in ranges.iter() {
            let root = self.request.snapshot.root;
            let mut leaves = Leaves::from_key(self.reader, root, from)?;
            loop {
                let leaf = match leaves.next_leaf() {
                    Ok(Some(PlacedLeaf { leaf, .. })) => leaf,
                    Ok(None) => break,
                    // The restore has told it.
                    Err(e) if e.is_damage() => break,
                    Err(e) => return Err(e.into()),
                };
                for i in leaf.lower_bound(from)..leaf.len() {
                    if leaf.key(i) >= to {
                        break;
                    }
                    self.entry(leaf.key(i), &leaf.entries[i], outcome)?;
                }
                if !leaf.is_empty() && leaf.key(leaf.len() - 1) >= to {
                    break;
                }
            }
        }
        Ok(())
    }

    fn entry(&mut self, key: &[u8], entry: &Entry, outcome: &mut DrillOutcome) -> Outcome<()> {
        let Ok(parsed) = KeyPath::parse(key) else { return Ok(()) };
        // What could not be saved was told when it was backed up; sockets are made by their programs.
        let is_nothing = entry.kind() == Kind::Fault || entry.kind() == Kind::Socket;
        if is_nothing || entry.marks.has(Marks::UNREADABLE) || parsed.components().count() == 0 {
            return Ok(());
        }
        if !self.erased.is_empty() && self.erased.covers(&parsed.components().collect::<Vec<_>>()) {
            return Ok(());
        }
        let path = parsed.display_bytes();
        let restored = self.restored(&parsed);
        if parsed.prefix.is_empty() && parsed.name == b"/" {
            return Ok(()); // the target itself
        }
        outcome.entries += 1;
        let found = match self.look(&restored) {
            Ok(found) => found,
            Err(e) => {
                outcome.tell(&path, format!("did not come back: {e}"), false);
                return Ok(());
            }
        };
        self.attributes(&path, &restored, entry, &found, outcome)?;
        if entry.kind() == Kind::File && found.is_file() {
            outcome.files += 1;
            outcome.bytes += entry.size_bytes;
        }
        if entry.kind() == Kind::File && found.is_file() && self.request.contents {
            self.contents(&path, &restored, entry, outcome)?;
            self.live(&path, &restored, entry, outcome);
        }
        Ok(())
    }

    /// Looks at what came back; folders that their own owner may not enter are opened up, here in the scratch folder.
    fn look(&self, restored: &Path) -> io::Result<Metadata> {
        match fs::symlink_metadata(restored) {
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                let above: Vec<&Path> =
                    restored.ancestors().skip(1).take_while(|path| *path != self.target).collect();
                for folder in above.into_iter().rev() {
                    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
                }
                fs::symlink_metadata(restored)
            }
            other => other,
        }
    }

    /// Where a path was restored to: `/` is the target, a stream is a file there.
    fn restored(&self, parsed: &KeyPath<'_>) -> PathBuf {
        let mut path = self.target.to_path_buf();
        for part in parsed.components() {
            let part = part.strip_prefix(b"stream:").unwrap_or(part);
            if part != b"/" {
                path.push(OsStr::from_bytes(part));
            }
        }
        path
    }

    fn attributes(
        &mut self,
        path: &[u8],
        restored: &Path,
        entry: &Entry,
        found: &Metadata,
        outcome: &mut DrillOutcome,
    ) -> Outcome<()> {
        let mut expect = |what: &str, is: String, should: String| {
            outcome.attributes += 1;
            if is != should {
                outcome.tell(path, format!("{what} is {is}, recorded was {should}"), false);
            }
        };
        let kind = entry.kind();
        expect("kind", format!("{:?}", kind_of(found)), format!("{kind:?}"));
        if kind != kind_of(found) {
            return Ok(());
        }
        let (class, mode) = (&entry.class, found.mode() & 0o7777);
        if kind != Kind::Symlink {
            // Set-id bits go where the owner could not be given.
            let mask = if self.is_root { 0o7777 } else { 0o1777 };
            expect("mode", format!("{:o}", mode & mask), format!("{:o}", u32::from(class.mode) & mask));
        }
        let mtime = Timestamp { secs: found.mtime(), nanos: found.mtime_nsec() as u32 };
        expect("time", shown(mtime), shown(entry.mtime));
        if self.is_root {
            let owner = format!("{}:{}", class.owner.uid, class.owner.gid);
            expect("owner", format!("{}:{}", found.uid(), found.gid()), owner);
        }
        match kind {
            Kind::File => expect("length", found.len().to_string(), entry.size_bytes.to_string()),
            Kind::Symlink => {
                let link =
                    fs::read_link(restored).map(|t| t.as_os_str().as_bytes().escape_ascii().to_string());
                expect("target", link.unwrap_or_default(), entry.target.escape_ascii().to_string());
            }
            Kind::CharDevice | Kind::BlockDevice => {
                expect("device", found.rdev().to_string(), entry.rdev.to_string());
            }
            _ => {}
        }
        self.xattrs(path, restored, entry, outcome)
    }

    fn xattrs(&self, path: &[u8], restored: &Path, entry: &Entry, outcome: &mut DrillOutcome) -> Outcome<()> {
        if !matches!(entry.kind(), Kind::File | Kind::Directory) {
            return Ok(());
        }
        let encoded = match &entry.class.xattrs {
            Xattrs::None => return Ok(()),
            Xattrs::Inline(bytes) => bytes.to_vec(),
            Xattrs::Blob(id) => match self.reader.read(BlobKind::Tree, id) {
                Ok(bytes) => bytes.to_vec(),
                Err(e) if e.is_damage() => {
                    outcome.tell(path, format!("its attributes cannot be read: {}", chain(&e)), true);
                    return Ok(());
                }
                Err(e) => return Err(e.into()),
            },
        };
        let Ok(set) = XattrSet::decode(&encoded) else {
            outcome.tell(path, "its attributes are damaged", true);
            return Ok(());
        };
        let Ok(file) = File::open(restored) else { return Ok(()) };
        let found = host::attributes::read_extras_open(&file);
        for (name, value) in set.pairs() {
            // Only root may give others than `user.` and access lists.
            if !self.is_root && !name.starts_with(b"user.") && !name.starts_with(b"system.posix_acl") {
                continue;
            }
            outcome.attributes += 1;
            let is = found.xattrs.iter().find(|xattr| *xattr.name == **name).map(|xattr| &*xattr.value);
            if is != Some(&value[..]) {
                let what = if is.is_some() { "is another" } else { "did not come back" };
                outcome.tell(path, format!("attribute {} {what}", name.escape_ascii()), false);
            }
        }
        Ok(())
    }

    /// Hashes what was restored, piece by piece, and compares the ids.
    fn contents(
        &mut self,
        path: &[u8],
        restored: &Path,
        entry: &Entry,
        outcome: &mut DrillOutcome,
    ) -> Outcome<()> {
        let file = match open_whoever_may(restored) {
            Ok(file) => file,
            Err(e) => {
                outcome.tell(path, format!("cannot be read back: {e}"), false);
                return Ok(());
            }
        };
        let (mut at, mut equal) = (0u64, true);
        let (reader, buffer) = (self.reader, &mut self.buffer);
        let mut hashed = 0;
        let visited = visit_pieces(reader, entry, &mut |extent| {
            let is_equal = match extent {
                Extent::Hole { len_bytes } => is_zero(&file, at, *len_bytes, buffer),
                Extent::Data { id, len_bytes, repeat } => {
                    hashed += u64::from(*len_bytes) * u64::from(*repeat);
                    is_blob(reader, &file, at, (*len_bytes, *repeat), id, buffer)
                }
            };
            at += extent.file_bytes();
            equal = is_equal.map_err(|e| RepoError::Local(e.to_string()))?;
            Ok(if equal { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        });
        outcome.bytes_hashed += hashed;
        match visited {
            Ok(()) if !equal => outcome.tell(path, "what came back is not what was saved", false),
            Ok(()) => {}
            Err(e) if e.is_damage() => {} // the restore has told it
            Err(e @ RepoError::Local(_)) => outcome.tell(path, chain(&e), false),
            Err(e) => return Err(Failure::from(e)),
        }
        Ok(())
    }

    /// Compares with the live file, where metadata says that it has not changed since.
    fn live(&mut self, path: &[u8], restored: &Path, entry: &Entry, outcome: &mut DrillOutcome) {
        if !self.request.is_of_this_machine || !path.starts_with(b"/") {
            return;
        }
        let live = Path::new(OsStr::from_bytes(path));
        let Ok(found) = fs::symlink_metadata(live) else {
            outcome.live.gone += 1;
            return;
        };
        let ctime = Timestamp { secs: found.ctime(), nanos: found.ctime_nsec() as u32 };
        let is_same = found.is_file()
            && found.ino() == entry.inode
            && found.len() == entry.size_bytes
            && ctime == entry.ctime;
        if !is_same || entry.marks.has(Marks::CHANGED) {
            outcome.live.changed += 1;
            return;
        }
        match are_equal(live, restored) {
            Ok(true) => outcome.live.equal += 1,
            Ok(false) => {
                outcome.live.differs += 1;
                outcome.tell(path, "the live file says it has not changed, and has other contents", false);
            }
            Err(_) => outcome.live.unreadable += 1,
        }
    }
}

/// Opens a file whose mode may forbid that to its own owner; its attributes were compared before.
fn open_whoever_may(path: &Path) -> io::Result<File> {
    match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
            File::open(path)
        }
        other => other,
    }
}

fn kind_of(found: &Metadata) -> Kind {
    let kind = found.file_type();
    match () {
        () if kind.is_file() => Kind::File,
        () if kind.is_dir() => Kind::Directory,
        () if kind.is_symlink() => Kind::Symlink,
        () if kind.is_fifo() => Kind::Fifo,
        () if kind.is_socket() => Kind::Socket,
        () if kind.is_char_device() => Kind::CharDevice,
        () => Kind::BlockDevice,
    }
}

fn shown(time: Timestamp) -> String {
    format!("{}.{:09}", time.secs, time.nanos)
}

fn is_blob(
    reader: &Reader,
    file: &File,
    mut at: u64,
    (len, repeat): (u32, u32),
    id: &format::id::BlobId,
    buffer: &mut Vec<u8>,
) -> io::Result<bool> {
    for _ in 0..repeat {
        buffer.resize(len as usize, 0);
        match file.read_exact_at(buffer, at) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(e) => return Err(e),
        }
        let found = reader.repo().keys().blob_id(BlobKind::Data, buffer).map_err(io::Error::other)?;
        if found != *id {
            return Ok(false);
        }
        at += u64::from(len);
    }
    Ok(true)
}

fn is_zero(file: &File, mut at: u64, len: u64, buffer: &mut Vec<u8>) -> io::Result<bool> {
    let end = at + len;
    while at < end {
        let n = (end - at).min(READ_BYTES as u64);
        buffer.resize(n as usize, 0);
        match file.read_exact_at(buffer, at) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(e) => return Err(e),
        }
        if buffer.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        at += n;
    }
    Ok(true)
}

fn are_equal(a: &Path, b: &Path) -> io::Result<bool> {
    let (mut a, mut b) = (File::open(a)?, File::open(b)?);
    // Most files are short, and clearing two megabytes for each took longer than all the rest. One byte more shows a file
    // that has grown.
    let len = usize::try_from(a.metadata()?.len()).unwrap_or(READ_BYTES).saturating_add(1).min(READ_BYTES);
    let (mut left, mut right) = (vec![0; len], vec![0; len]);
    loop {
        let n = read_full(&mut a, &mut left)?;
        let m = read_full(&mut b, &mut right)?;
        if left[..n] != right[..m] {
            return Ok(false);
        }
        if n == 0 {
            return Ok(true);
        }
    }
}

fn read_full(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}
