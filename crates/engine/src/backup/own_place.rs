//! A repository that lies inside what is backed up is left out: else each run would save the one before.

use super::{BackupRequest, Source};
use repo::reader::Reader;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Adds a rule for every repository on this machine that lies in one of the sources, also to the rules that the
/// snapshot records: a restore that removes what the snapshot does not have must spare it. Returns them.
pub(super) fn leave_out(readers: &[Arc<Reader>], request: &mut BackupRequest) -> Vec<PathBuf> {
    let (Source::Paths(sources), Some(rules)) = (&request.source, Arc::get_mut(&mut request.rules)) else {
        return Vec::new();
    };
    let mut left_out = Vec::new();
    for reader in readers.iter().filter(|reader| reader.repo().store().capabilities().local) {
        let place = PathBuf::from(reader.repo().location());
        let Ok(place) = fs::canonicalize(place) else { continue };
        for path in sources.iter().filter_map(|source| as_seen_from(source, &place)) {
            let pattern = pattern_of(&path);
            if rules.exclude(&pattern, "the repository itself", false).is_ok() {
                request.excludes.push(String::from_utf8_lossy(&pattern).into_owned());
                left_out.push(path);
            }
        }
    }
    left_out
}

/// The path of a place below a source as the walk meets it.
fn as_seen_from(source: &Path, place: &Path) -> Option<PathBuf> {
    let inside = place.strip_prefix(fs::canonicalize(source).ok()?).ok()?.to_path_buf();
    Some(if inside.as_os_str().is_empty() { source.to_path_buf() } else { source.join(inside) })
}

/// The pattern that matches one path and nothing else.
fn pattern_of(path: &Path) -> Vec<u8> {
    let mut pattern = Vec::new();
    for &byte in path.as_os_str().as_bytes() {
        if matches!(byte, b'*' | b'?' | b'[' | b'\\' | b' ') {
            pattern.push(b'\\');
        }
        pattern.push(byte);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_its_path_alone() {
        let mut rules = host::Rules::default();
        rules.exclude(&pattern_of(Path::new("/a [b]*/c d ")), "test", false).unwrap();
        let judge = |path: &[&[u8]]| rules.judge_saved(path, true);
        assert_eq!(judge(&[b"a [b]*", b"c d "]), Some(true));
        assert_eq!((judge(&[b"a b", b"c d "]), judge(&[b"a [b]*", b"c d"])), (None, None));
    }
}
