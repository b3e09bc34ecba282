//! What is left out of a backup, and which rule says so.
//!
//! In order of rank: patterns from options and pattern files, the ignore files of folders (the deepest first),
//! marker files such as `CACHEDIR.TAG`, the "no dump" flag, the size limit. Within a list the last match decides. A folder that is left out is
//! not entered, so nothing below it can be taken back, except sources that were named themselves.
//! Without rules judging costs nothing.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;

use crate::directory::Directory;
use crate::folder_files::{read_start, read_whole};
use crate::pattern::{Origin, Pattern, PatternList};
use crate::stat::{Kind, Stat};

/// The file in a folder that says what is left out there.
pub const IGNORE_FILE: &str = ".lifeboatignore";

/// What a cache folder's tag must begin with (bford.info/cachedir).
const CACHE_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// The rules of one backup. The default leaves nothing out.
#[derive(Debug, Default)]
pub struct Rules {
    pub(crate) patterns: PatternList,
    ignore_file_names: Vec<Box<[u8]>>,
    markers: Vec<Arc<Marker>>,
    larger_than_bytes: Option<u64>,
    no_dump: bool,
}

/// A file that says that its folder's other contents are not to be saved.
#[derive(Debug, PartialEq, Eq)]
pub struct Marker {
    /// Name of the file.
    pub name: Box<[u8]>,
    /// What it must begin with; empty if it only has to be there.
    pub header: Box<[u8]>,
}

/// Which rule left an entry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exclusion {
    /// A pattern matched.
    Pattern(Arc<Pattern>),
    /// Its folder has a marker file.
    Marker(Arc<Marker>),
    /// The file has more bytes than this.
    LargerThan(u64),
    /// It has the inode flag that asks backup programs to leave it out (`chattr +d`).
    NoDump,
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exclusion::Pattern(pattern) => write!(f, "pattern {pattern}"),
            Exclusion::Marker(marker) => write!(f, "the folder contains \"{}\"", marker.name.escape_ascii()),
            Exclusion::LargerThan(bytes) => write!(f, "the file has more than {bytes} bytes"),
            Exclusion::NoDump => f.write_str("it has the \"no dump\" flag"),
        }
    }
}

/// A pattern or a marker that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// The text is empty or a comment.
    #[error("\"{0}\" is not a pattern")]
    NotAPattern(String),
    /// A bracket is never closed.
    #[error("\"{0}\" would match nothing: its bracket is never closed (a plain one is written \\[)")]
    Malformed(String),
    /// The marker is no file name.
    #[error("\"{0}\" is not the name of a marker file")]
    NotAMarker(String),
    /// The pattern file cannot be read.
    #[error("cannot read the pattern file {path}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
}

impl Rules {
    /// Leaves out what a pattern in gitignore syntax matches. Patterns with a slash count from every source
    /// and from `/`. A later pattern overrules an earlier one, and one that begins with `!` takes back.
    /// `option` names the option or setting it came from.
    pub fn exclude(&mut self, pattern: &[u8], option: &str, any_case: bool) -> Result<(), RuleError> {
        self.patterns.push(parse(pattern, option, any_case)?);
        Ok(())
    }

    /// Takes back what earlier patterns leave out: the same as [`Rules::exclude`] with `!`.
    pub fn include(&mut self, pattern: &[u8], option: &str, any_case: bool) -> Result<(), RuleError> {
        self.patterns.push(parse(pattern, option, any_case)?.negate());
        Ok(())
    }

    /// Adds the patterns of a file, one a line.
    pub fn exclude_file(&mut self, path: &Path, any_case: bool) -> Result<(), RuleError> {
        let contents = std::fs::read(path).map_err(|source| {
            let path = path.as_os_str().as_encoded_bytes().escape_ascii().to_string();
            RuleError::Unreadable { path, source }
        })?;
        self.patterns.push_lines(&contents, path.as_os_str().as_encoded_bytes(), any_case);
        Ok(())
    }

    /// Obeys files of this name in every folder, as git obeys `.gitignore`. Of several names the later ones
    /// have more weight within a folder.
    pub fn ignore_files_named(&mut self, name: &[u8]) {
        self.ignore_file_names.push(name.into());
    }

    /// Saves only the tag of folders that a valid `CACHEDIR.TAG` marks as a cache.
    pub fn exclude_caches(&mut self) {
        let marker = Marker { name: b"CACHEDIR.TAG"[..].into(), header: CACHE_SIGNATURE.into() };
        self.markers.push(Arc::new(marker));
    }

    /// Saves of a folder that has such a file only this file. `NAME` or `NAME:HEADER`, where the file must
    /// begin with the header.
    pub fn exclude_if_present(&mut self, marker: &[u8]) -> Result<(), RuleError> {
        let mut parts = marker.splitn(2, |&byte| byte == b':');
        let (name, header) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') || name.contains(&0) {
            return Err(RuleError::NotAMarker(marker.escape_ascii().to_string()));
        }
        self.markers.push(Arc::new(Marker { name: name.into(), header: header.into() }));
        Ok(())
    }

    /// Leaves out files with more bytes than this.
    pub fn exclude_larger_than(&mut self, bytes: u64) {
        self.larger_than_bytes = Some(bytes);
    }

    /// Leaves out what has the "no dump" flag (`chattr +d`), folders with everything below them.
    pub fn exclude_no_dump(&mut self) {
        self.no_dump = true;
    }

    /// Judges what only metadata tells. What leads to a source is subject to the size limit alone.
    pub(crate) fn judge_stat(&self, stat: &Stat, leads_to_source: bool) -> Option<Exclusion> {
        if self.no_dump && stat.no_dump && !leads_to_source {
            return Some(Exclusion::NoDump);
        }
        let max = self.larger_than_bytes?;
        (stat.kind == Kind::File && stat.size_bytes > max).then_some(Exclusion::LargerThan(max))
    }

    /// Says whether names have to be judged at all.
    pub(crate) fn judge_names(&self) -> bool {
        !(self.patterns.is_empty() && self.ignore_file_names.is_empty() && self.markers.is_empty())
    }

    /// Finds out what holds in a folder that is saved: reads its ignore files and markers. `names` says which names are there.
    ///
    /// Returns what could not be read beside it: an ignore file that cannot be read leaves nothing out.
    pub(crate) fn enter(
        &self,
        above: &Arc<FolderRules>,
        directory: &Arc<Directory>,
        is_source: bool,
        names: impl Fn(&[u8]) -> bool,
    ) -> (Arc<FolderRules>, Unreadable) {
        let mut unreadable = Unreadable::new();
        let mut own = FolderRules { marker: None, ..(**above).clone() };
        if is_source && directory.depth() > 0 {
            own.bases.push(directory.depth() as u32);
        }
        for name in self.ignore_file_names.iter().filter(|name| names(name)) {
            match read_whole(directory, name) {
                Ok(contents) => own.push_ignore_file(directory, name, &contents),
                Err(errno) => unreadable.push((name.clone(), errno)),
            }
        }
        for marker in self.markers.iter().filter(|marker| names(&marker.name)) {
            match read_start(directory, &marker.name, marker.header.len()) {
                Ok(start) if start == *marker.header => own.marker = Some(marker.clone()),
                Ok(_) => {}
                Err(errno) => unreadable.push((marker.name.clone(), errno)),
            }
        }
        (Arc::new(own), unreadable)
    }

    /// Judges one name of a folder. `path` has all components from `/`, the name last.
    ///
    /// A source that was named itself is subject only to the patterns of options.
    pub(crate) fn judge(
        &self,
        folder: &FolderRules,
        path: &[&[u8]],
        is_directory: bool,
        is_source: bool,
    ) -> Verdict {
        if let Some(pattern) = self.patterns.decide(path, &folder.bases, is_directory) {
            return Verdict::by_pattern(pattern);
        }
        if is_source {
            return Verdict::NoRule;
        }
        if let Some(marker) = &folder.marker
            && path.last().is_some_and(|name| **name != *marker.name)
        {
            return Verdict::Excluded(Exclusion::Marker(marker.clone()));
        }
        let mut at = folder.ignore.as_deref();
        while let Some(file) = at {
            if let Some(pattern) = file.patterns.decide(path, &[file.depth], is_directory) {
                return Verdict::by_pattern(pattern);
            }
            at = file.above.as_deref();
        }
        Verdict::NoRule
    }
}

fn parse(text: &[u8], option: &str, any_case: bool) -> Result<Pattern, RuleError> {
    let origin = Origin::Option(option.into());
    let shown = || text.escape_ascii().to_string();
    match Pattern::parse(text, origin, any_case) {
        Some(pattern) if pattern.is_malformed() => Err(RuleError::Malformed(shown())),
        Some(pattern) => Ok(pattern),
        None => Err(RuleError::NotAPattern(shown())),
    }
}

/// Ignore files and markers that could not be read, and why.
pub(crate) type Unreadable = Vec<(Box<[u8]>, Errno)>;

/// What a rule says about an entry.
#[derive(Debug)]
pub(crate) enum Verdict {
    NoRule,
    /// A pattern takes it back that others leave out.
    Included(Arc<Pattern>),
    Excluded(Exclusion),
}

impl Verdict {
    fn by_pattern(pattern: &Arc<Pattern>) -> Verdict {
        if pattern.negated {
            Verdict::Included(pattern.clone())
        } else {
            Verdict::Excluded(Exclusion::Pattern(pattern.clone()))
        }
    }
}

/// The rules as they hold in one folder.
#[derive(Clone, Debug)]
pub(crate) struct FolderRules {
    /// Depths of `/` and of the sources above or at this folder.
    bases: Vec<u32>,
    ignore: Option<Arc<IgnoreFile>>,
    marker: Option<Arc<Marker>>,
}

/// The ignore file of a folder, and the one of the nearest folder above.
#[derive(Debug)]
struct IgnoreFile {
    above: Option<Arc<IgnoreFile>>,
    depth: u32,
    patterns: PatternList,
}

impl FolderRules {
    /// The rules above all sources.
    pub(crate) fn outside() -> Arc<FolderRules> {
        Arc::new(FolderRules { bases: vec![0], ignore: None, marker: None })
    }

    fn push_ignore_file(&mut self, directory: &Arc<Directory>, name: &[u8], contents: &[u8]) {
        let mut path = directory.path();
        if path.last() != Some(&b'/') {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        let mut patterns = PatternList::default();
        patterns.push_lines(contents, &path, false);
        if !patterns.is_empty() {
            let depth = directory.depth() as u32;
            self.ignore = Some(Arc::new(IgnoreFile { above: self.ignore.take(), depth, patterns }));
        }
    }
}
