//! Looking in source files for contents that a repository lost.
//!
//! Files are read where the snapshots say they were, and below the folders a user names. They are cut as a
//! backup cuts them, and a piece whose id is wanted is given out: ids decide, names only save time. A file
//! that cannot be read holds nothing; nothing is written anywhere.

use crate::backup::FixedChunkPolicy;
use crate::backup::large::{Cutter, Cutting, Failure, read_full};
use format::chunk::Chunker;
use format::id::{BlobId, BlobKind};
use host::read::{OpenFile, data_ranges, open_for_read};
use host::{Directory, Kind, Stat, Walk, WalkOptions};
use repo::repair::{SourceFiles, Wanted, WantedFile};
use repo::{Repo, RepoError, RepoResult};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;

/// Where to look.
#[derive(Clone, Debug, Default)]
pub struct HealFrom {
    /// Whether to look at the paths the snapshots name.
    pub recorded_paths: bool,
    /// Folders and files to look through as well.
    pub folders: Vec<PathBuf>,
}

/// Takes a piece that is wanted.
type Give<'g> = dyn FnMut(&BlobId, &[u8]) -> RepoResult<()> + 'g;

impl SourceFiles for HealFrom {
    fn find(&mut self, repo: &Repo, wanted: &Wanted, give: &mut Give<'_>) -> RepoResult<()> {
        let mut search = Search::new(repo, wanted)?;
        if self.recorded_paths {
            let known: BTreeMap<&[u8], &WantedFile> =
                wanted.files.iter().filter(|f| f.path.starts_with(b"/")).map(|f| (&f.path[..], f)).collect();
            let paths: Vec<PathBuf> =
                known.keys().map(|path| PathBuf::from(OsString::from_vec(path.to_vec()))).collect();
            search.files_below(&paths, &mut |search, path, open| match known.get(path) {
                Some(file) => search.try_places(open, file, give),
                None => Ok(()),
            })?;
        }
        search.files_below(&self.folders, &mut |search, _, open| search.try_all(open, give))
    }
}

/// What is done with a file that was met.
type Visit<'v, 'r> = dyn FnMut(&mut Search<'r>, &[u8], &mut OpenFile) -> RepoResult<()> + 'v;

/// A search under way.
struct Search<'r> {
    repo: &'r Repo,
    chunker: Chunker,
    left: BTreeSet<BlobId>,
    has_fixed_chunks: bool,
}

impl<'r> Search<'r> {
    fn new(repo: &'r Repo, wanted: &Wanted) -> RepoResult<Self> {
        let key = repo.keys().chunking().map_err(|e| RepoError::Local(e.to_string()))?;
        let chunker = Chunker::new(key, repo.parameters().chunks);
        Ok(Search { repo, chunker, left: wanted.ids.clone(), has_fixed_chunks: wanted.has_fixed_chunks })
    }

    /// Opens every regular file at or below these paths; ends when nothing is wanted any more.
    fn files_below(&mut self, paths: &[PathBuf], visit: &mut Visit<'_, 'r>) -> RepoResult<()> {
        if paths.is_empty() || self.left.is_empty() {
            return Ok(());
        }
        let options = WalkOptions { inline: true, ..WalkOptions::default() };
        let walk = Walk::start(paths, Arc::default(), options);
        let mut walk = walk.map_err(|e| RepoError::Local(format!("cannot look for source files: {e}")))?;
        while let Some(listing) = walk.next() {
            for (name, stat) in listing.iter().filter(|(_, stat)| stat.kind == Kind::File) {
                if self.left.is_empty() {
                    return Ok(());
                }
                let Some(mut open) = open(&listing.dir, name, stat) else { continue };
                let mut path = listing.dir.path();
                if path.last() != Some(&b'/') {
                    path.push(b'/');
                }
                path.extend_from_slice(name);
                visit(self, &path, &mut open)?;
            }
        }
        Ok(())
    }

    /// Reads the lost pieces where they were; a file that changed since is cut as a whole.
    fn try_places(&mut self, open: &mut OpenFile, file: &WantedFile, give: &mut Give<'_>) -> RepoResult<()> {
        let mut is_changed = false;
        for (offset, len, id) in
            file.pieces.iter().filter(|(_, _, id)| self.left.contains(id)).copied().collect::<Vec<_>>()
        {
            let mut piece = vec![0; len as usize];
            let read = open.file.seek(SeekFrom::Start(offset)).and_then(|_| open.file.read_exact(&mut piece));
            match read.is_ok() && self.id_of(&piece)? == id {
                true => self.found(&piece, give)?,
                false => is_changed = true,
            }
        }
        if is_changed { self.try_all(open, give) } else { Ok(()) }
    }

    /// Cuts a file in every way a backup may have cut it.
    fn try_all(&mut self, open: &mut OpenFile, give: &mut Give<'_>) -> RepoResult<()> {
        if open.stat.size_bytes <= self.repo.parameters().whole_file_bytes_max {
            return self.try_whole(open, give);
        }
        self.try_cut(open, Cutting::ContentDefined, give)?;
        if self.has_fixed_chunks && !self.left.is_empty() {
            self.try_cut(open, Cutting::Fixed, give)?;
        }
        Ok(())
    }

    fn try_whole(&mut self, open: &mut OpenFile, give: &mut Give<'_>) -> RepoResult<()> {
        let mut bytes = vec![0; open.stat.size_bytes as usize + 1];
        let read = open.file.seek(SeekFrom::Start(0)).and_then(|_| read_full(&mut open.file, &mut bytes));
        match read {
            Ok(len) if len > 0 => self.found(&bytes[..len], give),
            _ => Ok(()), // unreadable: it holds nothing
        }
    }

    fn try_cut(&mut self, open: &mut OpenFile, cutting: Cutting, give: &mut Give<'_>) -> RepoResult<()> {
        let size = open.stat.size_bytes;
        let ranges = match open.stat.may_have_holes() {
            true => data_ranges(&open.file, size).unwrap_or_default(),
            false => std::iter::once(0..size).collect(),
        };
        let mut cutter = Cutter::new(self.chunker.clone(), FixedChunkPolicy::default());
        for range in ranges {
            if open.file.seek(SeekFrom::Start(range.start)).is_err() {
                break;
            }
            let mut limited = (&mut open.file).take(range.end - range.start);
            let cut = cutter.cut_stream(&mut limited, range.start, cutting, &mut |_| false, &mut |chunk| {
                self.found(chunk, give)
            });
            match cut {
                Err(Failure::Repo(e)) => return Err(e),
                Err(Failure::Source(_)) => break, // unreadable from here on
                Ok(_) => {}
            }
        }
        Ok(())
    }

    fn id_of(&self, bytes: &[u8]) -> RepoResult<BlobId> {
        self.repo.keys().blob_id(BlobKind::Data, bytes).map_err(|e| RepoError::Local(e.to_string()))
    }

    /// Gives a piece out if it is wanted.
    fn found(&mut self, bytes: &[u8], give: &mut Give<'_>) -> RepoResult<()> {
        let id = self.id_of(bytes)?;
        if self.left.remove(&id) {
            give(&id, bytes)?;
        }
        Ok(())
    }
}

fn open(directory: &Arc<Directory>, name: &[u8], stat: &Stat) -> Option<OpenFile> {
    open_for_read(directory, name, stat).ok()
}
