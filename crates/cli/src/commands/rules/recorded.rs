//! The rules that a snapshot recorded, read back: what stood on the command line or in the configuration.

use crate::sizes;
use host::Rules;
use host::rules::IGNORE_FILE;
use std::path::Path;

/// The folders of a source are not left for other file systems.
pub(crate) const ONE_FILE_SYSTEM: &str = "--one-file-system";
/// No ignore files are obeyed.
pub(crate) const NO_IGNORE_FILES: &str = "--no-ignore-files";
/// A name of ignore files, where it is not the usual one.
pub(crate) const IGNORE_FILES_NAMED: &str = "--ignore-files";

/// A rule as a snapshot recorded it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Recorded<'w> {
    OneFileSystem,
    NoIgnoreFiles,
    IgnoreFilesNamed(&'w str),
    Caches,
    IfPresent(&'w str),
    LargerThanBytes(u64),
    File(&'w str),
    Exclude(&'w str),
    ExcludeAnyCase(&'w str),
    Include(&'w str),
}

impl<'w> Recorded<'w> {
    /// Hands over the rules in the order in which a backup applies them, patterns of files first. Returns the words that
    /// mean nothing any more, such as a file with patterns that is gone: `take` says whether it could use a rule.
    pub(crate) fn each(words: &'w [String], mut take: impl FnMut(Recorded<'w>) -> bool) -> Vec<&'w str> {
        let mut rules: Vec<_> = words.iter().map(|word| (&**word, Recorded::parse(word))).collect();
        rules.sort_by_key(|(_, rule)| !matches!(rule, Some(Recorded::File(_))));
        rules.retain(|(_, rule)| !rule.is_some_and(&mut take));
        rules.into_iter().map(|(word, _)| word).collect()
    }

    fn parse(word: &'w str) -> Option<Self> {
        if let Some(pattern) = word.strip_prefix('!') {
            return Some(Recorded::Include(pattern));
        }
        match word.split_once(' ') {
            _ if word == ONE_FILE_SYSTEM => Some(Recorded::OneFileSystem),
            _ if word == NO_IGNORE_FILES => Some(Recorded::NoIgnoreFiles),
            _ if word == "--exclude-caches" => Some(Recorded::Caches),
            Some((IGNORE_FILES_NAMED, name)) => Some(Recorded::IgnoreFilesNamed(name)),
            Some(("--exclude-if-present", marker)) => Some(Recorded::IfPresent(marker)),
            Some(("--exclude-larger-than", size)) => sizes::parse(size).ok().map(Recorded::LargerThanBytes),
            Some(("--exclude-file", path)) => Some(Recorded::File(path)),
            Some(("--iexclude", pattern)) => Some(Recorded::ExcludeAnyCase(pattern)),
            _ if word.starts_with("--") => None,
            _ => Some(Recorded::Exclude(word)),
        }
    }

    /// Adds a pattern, or a file of them; no other rule.
    pub(crate) fn add_pattern(self, rules: &mut Rules) -> bool {
        let added = match self {
            Recorded::File(path) => rules.exclude_file(Path::new(path), false),
            Recorded::Exclude(pattern) => rules.exclude(pattern.as_bytes(), "backup", false),
            Recorded::ExcludeAnyCase(pattern) => rules.exclude(pattern.as_bytes(), "backup", true),
            Recorded::Include(pattern) => rules.include(pattern.as_bytes(), "backup", false),
            _ => return false,
        };
        added.is_ok()
    }
}

/// How a backup chose what to keep, to choose so again.
#[derive(Debug)]
pub(crate) struct Chosen<'w> {
    pub(crate) rules: Rules,
    pub(crate) one_file_system: bool,
    /// Words that mean nothing any more.
    pub(crate) unknown: Vec<&'w str>,
}

impl<'w> Chosen<'w> {
    pub(crate) fn read(words: &'w [String]) -> Self {
        let (mut rules, mut one_file_system, mut obeys_the_usual) = (Rules::default(), false, true);
        let unknown = Recorded::each(words, |rule| {
            match rule {
                Recorded::OneFileSystem => one_file_system = true,
                Recorded::NoIgnoreFiles => obeys_the_usual = false,
                Recorded::IgnoreFilesNamed(name) => {
                    obeys_the_usual = false;
                    rules.ignore_files_named(name.as_bytes());
                }
                Recorded::Caches => rules.exclude_caches(),
                Recorded::LargerThanBytes(bytes) => rules.exclude_larger_than(bytes),
                Recorded::IfPresent(marker) => return rules.exclude_if_present(marker.as_bytes()).is_ok(),
                pattern => return pattern.add_pattern(&mut rules),
            }
            true
        });
        if obeys_the_usual {
            rules.ignore_files_named(IGNORE_FILE.as_bytes());
        }
        Chosen { rules, one_file_system, unknown }
    }
}
