//! The options that say what is left out of a backup, and the rules they make.

pub(crate) mod recorded;

use crate::display::safe;
use crate::error::{Failure, Outcome};
use crate::sizes;
use clap::Args;
use host::Rules;
use host::rules::IGNORE_FILE;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What is left out. Patterns are written as in gitignore.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "What is left out")]
pub(crate) struct RuleArgs {
    /// Leave out what matches this pattern (gitignore syntax; `!PATTERN` takes back)
    #[arg(short, long, value_name = "PATTERN")]
    pub(crate) exclude: Vec<OsString>,
    /// Like --exclude, whatever the letters' case
    #[arg(long, value_name = "PATTERN")]
    pub(crate) iexclude: Vec<OsString>,
    /// Take back what other patterns leave out
    #[arg(short, long, value_name = "PATTERN")]
    pub(crate) include: Vec<OsString>,
    /// Leave out what the patterns in this file say, one a line
    #[arg(long, value_name = "FILE")]
    pub(crate) exclude_file: Vec<PathBuf>,
    /// Leave out the contents of folders with a valid CACHEDIR.TAG
    #[arg(long)]
    pub(crate) exclude_caches: bool,
    /// Leave out the contents of folders that have this file (NAME, or NAME:HEADER)
    #[arg(long, value_name = "NAME")]
    pub(crate) exclude_if_present: Vec<OsString>,
    /// Leave out files with more bytes than this (500M, 2G)
    #[arg(long, value_name = "SIZE")]
    pub(crate) exclude_larger_than: Option<String>,
    /// Do not obey .lifeboatignore files
    #[arg(long)]
    pub(crate) no_ignore_files: bool,
}

impl RuleArgs {
    /// The rules. Takes back last, so that `--include` overrules every `--exclude`.
    pub(crate) fn rules(&self) -> Outcome<Rules> {
        let mut rules = Rules::default();
        let wrong = |e: host::rules::RuleError| Failure::usage("cannot use a rule").because(e);
        for file in &self.exclude_file {
            rules.exclude_file(file, false).map_err(wrong)?;
        }
        for (patterns, option, any_case) in
            [(&self.exclude, "--exclude", false), (&self.iexclude, "--iexclude", true)]
        {
            for pattern in patterns {
                rules.exclude(pattern.as_bytes(), option, any_case).map_err(wrong)?;
            }
        }
        for pattern in &self.include {
            rules.include(pattern.as_bytes(), "--include", false).map_err(wrong)?;
        }
        if self.exclude_caches {
            rules.exclude_caches();
        }
        for marker in &self.exclude_if_present {
            rules.exclude_if_present(marker.as_bytes()).map_err(wrong)?;
        }
        if let Some(size) = &self.exclude_larger_than {
            rules.exclude_larger_than(sizes::parse(size)?);
        }
        if !self.no_ignore_files {
            rules.ignore_files_named(IGNORE_FILE.as_bytes());
        }
        Ok(rules)
    }

    /// What is probably not meant: a pattern with a slash in it counts from `/` and from each source, and where
    /// neither has its first folder it leaves nothing out.
    pub(crate) fn doubts(&self, sources: &[PathBuf]) -> Vec<String> {
        let begins_nowhere = |pattern: &&OsString| {
            let text = pattern.as_bytes();
            let text = text.strip_prefix(b"!").unwrap_or(text);
            let text = text.strip_suffix(b"/").unwrap_or(text);
            let Some(first) = text.iter().position(|b| *b == b'/').map(|at| &text[..at]) else {
                return false;
            };
            let is_open = first.is_empty() || first.iter().any(|b| matches!(b, b'*' | b'?' | b'[' | b'\\'));
            let has = |folder: &Path| folder.join(OsStr::from_bytes(first)).symlink_metadata().is_ok();
            !is_open && !has(Path::new("/")) && !sources.iter().any(|source| has(source))
        };
        let doubtful = self.exclude.iter().chain(&self.include).filter(begins_nowhere);
        let words = |pattern: &OsString| {
            let pattern = safe(&pattern.to_string_lossy()).to_string();
            format!(
                "{pattern} fits nothing: with a slash it counts from / and from each source; **/{pattern} fits anywhere"
            )
        };
        doubtful.map(words).collect()
    }

    /// The rules as the user wrote them, for the record.
    pub(crate) fn written(&self) -> Vec<String> {
        let text = |word: &OsString| word.to_string_lossy().into_owned();
        let mut words: Vec<String> = self.exclude.iter().map(text).collect();
        words.extend(self.iexclude.iter().map(|p| format!("--iexclude {}", text(p))));
        words.extend(self.include.iter().map(|p| format!("!{}", text(p))));
        words.extend(self.exclude_file.iter().map(|p| format!("--exclude-file {}", p.to_string_lossy())));
        words.extend(self.exclude_caches.then(|| "--exclude-caches".to_string()));
        words.extend(self.exclude_if_present.iter().map(|p| format!("--exclude-if-present {}", text(p))));
        words.extend(self.exclude_larger_than.iter().map(|size| format!("--exclude-larger-than {size}")));
        words.extend(self.no_ignore_files.then(|| recorded::NO_IGNORE_FILES.to_string()));
        words
    }
}
