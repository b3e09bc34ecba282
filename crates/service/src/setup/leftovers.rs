//! What need not be saved because programs make it again: caches, downloads of tools, the trash; with its size,
//! so that a person sees what leaving it out saves.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What programs make again, by the end of its path, and the pattern that leaves it out everywhere.
const KNOWN: [(&str, &str); 11] = [
    (".cache", "**/.cache/"),
    (".local/share/Trash", "**/.local/share/Trash/"),
    ("node_modules", "**/node_modules/"),
    ("__pycache__", "**/__pycache__/"),
    (".npm", "**/.npm/"),
    (".cargo/registry", "**/.cargo/registry/"),
    (".rustup", "**/.rustup/"),
    (".gradle", "**/.gradle/"),
    (".m2/repository", "**/.m2/repository/"),
    (".thumbnails", "**/.thumbnails/"),
    ("lost+found", "**/lost+found/"),
];
/// Folders inside each other at most.
const DEPTH_MAX: usize = 64;

/// A pattern and what it would leave out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The pattern.
    pub pattern: String,
    /// Bytes.
    pub bytes: u64,
    /// Files.
    pub files: u64,
    /// Whether all of it was seen in the time there was.
    pub complete: bool,
}

/// Looks through folders, for at most `time`, and proposes what to leave out from `bytes_min` on, the largest
/// first.
pub fn propose(folders: &[PathBuf], bytes_min: u64, time: Duration) -> Vec<Proposal> {
    let mut look = Look { until: Instant::now() + time, found: BTreeMap::new(), complete: true };
    for folder in folders {
        if let Ok(metadata) = fs::symlink_metadata(folder) {
            look.folder(folder, metadata.dev(), 0);
        }
    }
    let complete = look.complete;
    let mut proposals: Vec<Proposal> = look
        .found
        .into_iter()
        .filter(|(_, (bytes, _))| *bytes >= bytes_min)
        .map(|(pattern, (bytes, files))| Proposal { pattern: pattern.to_string(), bytes, files, complete })
        .collect();
    proposals.sort_by_key(|proposal| std::cmp::Reverse(proposal.bytes));
    proposals
}

struct Look {
    until: Instant,
    found: BTreeMap<&'static str, (u64, u64)>,
    complete: bool,
}

impl Look {
    fn is_over(&mut self) -> bool {
        let over = Instant::now() >= self.until;
        self.complete &= !over;
        over
    }

    /// Looks for known folders on one file system, following no links.
    fn folder(&mut self, folder: &Path, device: u64, depth: usize) {
        if depth > DEPTH_MAX || self.is_over() {
            return;
        }
        if let Some((_, pattern)) = KNOWN.iter().find(|(end, _)| folder.ends_with(end)) {
            let (mut bytes, mut files) = (0, 0);
            self.measure(folder, device, depth, &mut bytes, &mut files);
            let sum = self.found.entry(pattern).or_default();
            *sum = (sum.0 + bytes, sum.1 + files);
            return;
        }
        for (path, metadata) in entries(folder) {
            if metadata.is_dir() && metadata.dev() == device {
                self.folder(&path, device, depth + 1);
            }
        }
    }

    fn measure(&mut self, folder: &Path, device: u64, depth: usize, bytes: &mut u64, files: &mut u64) {
        if depth > DEPTH_MAX || self.is_over() {
            return;
        }
        for (path, metadata) in entries(folder) {
            if metadata.is_dir() && metadata.dev() == device {
                self.measure(&path, device, depth + 1, bytes, files);
            } else if metadata.is_file() {
                *bytes += metadata.blocks() * 512;
                *files += 1;
            }
        }
    }
}

/// What cannot be looked at proposes nothing.
fn entries(folder: &Path) -> impl Iterator<Item = (PathBuf, fs::Metadata)> {
    let listed = fs::read_dir(folder).into_iter().flatten().flatten();
    listed.filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_are_proposed_with_their_sizes_and_data_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let put = |path: &str, len: usize| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, vec![1; len]).unwrap();
        };
        put("me/.cache/browser/a", 100_000);
        put("you/.cache/b", 50_000);
        put("me/work/app/node_modules/x/index.js", 300_000);
        put("me/photos/a.jpg", 900_000);
        put("me/small/__pycache__/a", 10);
        let found = propose(&[folder.path().to_path_buf()], 8192, Duration::from_secs(60));
        let patterns: Vec<&str> = found.iter().map(|proposal| proposal.pattern.as_str()).collect();
        assert_eq!(patterns, ["**/node_modules/", "**/.cache/"]);
        assert!(
            found[1].bytes >= 150_000 && found[1].bytes < 300_000 && found[1].files == 2 && found[1].complete
        );
        assert!(propose(&[folder.path().to_path_buf()], 0, Duration::ZERO).is_empty());
    }
}
