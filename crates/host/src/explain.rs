//! Answers why a path is saved or left out, by going down to it as the walk does.

use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::directory::Directory;
use crate::linux;
use crate::pattern::Pattern;
use crate::rules::{Exclusion, FolderRules, Rules, Verdict};
use crate::sources::{self, Wanted};
use crate::stat::Kind;

/// Why a path is saved or left out.
#[derive(Debug)]
pub enum Explanation {
    /// It is in none of the sources.
    NotInASource,
    /// It is saved; no rule speaks about it.
    Saved,
    /// It is saved because a pattern takes back what an earlier rule may leave out.
    TakenBack(Arc<Pattern>),
    /// It is left out.
    Excluded {
        /// The path that the rule is about: the path itself, or a folder above it.
        at: PathBuf,
        /// The rule.
        why: Exclusion,
    },
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Explanation::NotInASource => f.write_str("not saved: in none of the sources"),
            Explanation::Saved => f.write_str("saved: no rule leaves it out"),
            Explanation::TakenBack(pattern) => write!(f, "saved: taken back by {pattern}"),
            Explanation::Excluded { at, why } => {
                write!(f, "left out: {}: {why}", at.as_os_str().as_bytes().escape_ascii())
            }
        }
    }
}

impl Rules {
    /// Says why a path would be saved or left out of a backup of these sources. All paths are absolute, as
    /// [`sources::absolute`] makes them. Boundaries of file systems are not looked at.
    ///
    /// Fails if the path does not exist or is reached through a symbolic link.
    pub fn explain(&self, given: &[PathBuf], path: &Path) -> io::Result<Explanation> {
        let root = Directory::root(8);
        let (wanted, _) = sources::resolve(&root, given);
        let mut way = Way {
            rules: self,
            directory: root,
            folder: FolderRules::outside(),
            inside: false,
            wanted: Some(Arc::new(wanted)),
        };
        let names: Vec<&[u8]> = path.iter().skip(1).map(|name| name.as_bytes()).collect();
        let mut explanation = if way.wanted.as_ref().is_some_and(|wanted| wanted.whole) {
            Explanation::Saved
        } else {
            Explanation::NotInASource
        };
        for i in 0..names.len() {
            match way.step(&names[..=i])? {
                Explanation::Excluded { at, why } if !way.leads_to_source(&names[i + 1..]) => {
                    return Ok(Explanation::Excluded { at, why });
                }
                Explanation::Excluded { .. } => way.inside = false,
                other => explanation = other,
            }
        }
        Ok(explanation)
    }
}

/// A folder on the way down.
struct Way<'a> {
    rules: &'a Rules,
    directory: Arc<Directory>,
    folder: Arc<FolderRules>,
    inside: bool,
    wanted: Option<Arc<Wanted>>,
}

impl Way<'_> {
    /// Judges the last name of `path` in the folder that was reached, then goes into it.
    fn step(&mut self, path: &[&[u8]]) -> io::Result<Explanation> {
        let name = path.last().copied().unwrap_or_default();
        let here = self.directory.descriptor()?;
        let is_source_here = self.wanted.as_ref().is_some_and(|wanted| wanted.whole);
        self.inside |= is_source_here;
        if self.inside && self.rules.judge_names() {
            let there = |name: &[u8]| linux::stat_name(&here, name).is_ok();
            self.folder = self.rules.enter(&self.folder, &self.directory, is_source_here, there).0;
        }
        let stat = linux::stat_name(&here, name)?;
        let below = self.wanted.as_ref().and_then(|wanted| wanted.children.get(name)).cloned();
        let is_source = below.as_ref().is_some_and(|below| below.whole);
        let explanation = if !self.inside && !is_source {
            Explanation::NotInASource
        } else {
            let is_directory = stat.kind == Kind::Directory;
            match self.rules.judge(&self.folder, path, is_directory, is_source) {
                Verdict::Excluded(why) => self.excluded(path, why),
                verdict => match (self.rules.judge_stat(&stat, below.is_some()), verdict) {
                    (Some(why), _) => self.excluded(path, why),
                    (None, Verdict::Included(pattern)) => Explanation::TakenBack(pattern),
                    (None, _) => Explanation::Saved,
                },
            }
        };
        self.directory = self.directory.passage(name);
        self.wanted = below;
        Ok(explanation)
    }

    fn excluded(&self, path: &[&[u8]], why: Exclusion) -> Explanation {
        let mut at = PathBuf::from("/");
        at.extend(path.iter().map(|name| std::ffi::OsStr::from_bytes(name)));
        Explanation::Excluded { at, why }
    }

    /// Says whether a source lies further down this path: then the walk passes what it leaves out.
    fn leads_to_source(&self, rest: &[&[u8]]) -> bool {
        let mut at = self.wanted.as_ref();
        for name in rest {
            at = at.and_then(|wanted| wanted.children.get(*name));
            if at.is_some_and(|wanted| wanted.whole) {
                return true;
            }
        }
        false
    }
}
