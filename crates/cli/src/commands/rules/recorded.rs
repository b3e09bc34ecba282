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

/// How a backup chose what to keep.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    pub(crate) rules: Rules,
    pub(crate) one_file_system: bool,
    /// Words that mean nothing any more, such as a file with patterns that is gone.
    pub(crate) unknown: Vec<String>,
}

impl Recorded {
    /// Reads the words in the order in which a backup applies them: patterns of files come first.
    pub(crate) fn read(words: &[String]) -> Recorded {
        let mut recorded = Recorded::default();
        let is_file = |word: &&String| word.starts_with("--exclude-file ");
        for word in words.iter().filter(is_file).chain(words.iter().filter(|word| !is_file(word))) {
            if !recorded.take(word) {
                recorded.unknown.push(word.clone());
            }
        }
        let names_ignore_files =
            words.iter().any(|word| word == NO_IGNORE_FILES || word.starts_with(IGNORE_FILES_NAMED));
        if !names_ignore_files {
            recorded.rules.ignore_files_named(IGNORE_FILE.as_bytes());
        }
        recorded
    }

    /// Whether the word could be understood.
    fn take(&mut self, word: &str) -> bool {
        let rules = &mut self.rules;
        match (word.split_once(' '), word.strip_prefix('!')) {
            _ if word == "--exclude-caches" => rules.exclude_caches(),
            _ if word == ONE_FILE_SYSTEM => self.one_file_system = true,
            _ if word == NO_IGNORE_FILES => {}
            (Some((IGNORE_FILES_NAMED, name)), _) => rules.ignore_files_named(name.as_bytes()),
            (Some(("--exclude-if-present", marker)), _) => {
                return rules.exclude_if_present(marker.as_bytes()).is_ok();
            }
            (Some(("--exclude-larger-than", size)), _) => match sizes::parse(size) {
                Ok(bytes) => rules.exclude_larger_than(bytes),
                Err(_) => return false,
            },
            (Some(("--iexclude", pattern)), _) => {
                return rules.exclude(pattern.as_bytes(), "backup", true).is_ok();
            }
            (Some(("--exclude-file", path)), _) => return rules.exclude_file(Path::new(path), false).is_ok(),
            _ if word.starts_with("--") => return false,
            (_, Some(pattern)) => return rules.include(pattern.as_bytes(), "backup", false).is_ok(),
            _ => return rules.exclude(word.as_bytes(), "backup", false).is_ok(),
        }
        true
    }
}
