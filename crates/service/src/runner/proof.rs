//! A few files of a new backup brought back, and compared with the ones they were made from.

use super::Runner;
use crate::failure::{Exit, Failure, Outcome};
use engine::{Overwrite, RestoreRequest};
use format::kind::Kind;
use format::snapshot::Snapshot;
use format::tree::{Entry, KeyPath};
use host::Rules;
use repo::browse;
use repo::reader::Reader;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Larger files are not chosen: the proof is to take seconds.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// What a proof showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// Files brought back and read again.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Of these, files whose original has not changed since and is the same byte for byte.
    pub same_as_live: u64,
    /// Files that are not what they should be.
    pub wrong: Vec<PathBuf>,
}

impl Runner {
    /// Restores `count` files of the newest snapshot of a source into an empty folder and compares them.
    pub fn prove(&self, source: &str, repository: &str, count: usize, folder: &Path) -> Outcome<Proof> {
        let target = self.open_target(repository)?;
        let list = self.opener.snapshots(&target.place, &target.opened.repo)?;
        let newest = list.visible().rev().find(|snapshot| self.is_of(snapshot, source));
        let snapshot =
            newest.ok_or_else(|| Failure::new(Exit::Failed, format!("there is no snapshot of {source}")))?;
        let reader = target.opened.reader()?;
        let chosen = self.choose(&reader, snapshot, count)?;
        let mut rules = Rules::default();
        let wrong = |e: host::rules::RuleError| Failure::new(Exit::Failed, "cannot choose files").because(e);
        rules.exclude(b"/*", "proof", false).map_err(wrong)?;
        for (path, _) in &chosen {
            rules.include(&pattern(path), "proof", false).map_err(wrong)?;
        }
        let request = RestoreRequest {
            snapshot,
            path: Vec::new(),
            target: folder.to_path_buf(),
            rules: Arc::new(rules),
            overwrite: Overwrite::Always,
            delete: false,
            kept: None,
            dry_run: false,
            verify: true,
            sync: false,
            numeric_ids: true,
            workers: self.processors,
            memory: self.memory,
        };
        let restored = engine::restore(&reader, &request, &*self.observer.monitor())?;
        let mut proof = Proof { files: restored.files_verified, ..Proof::default() };
        for (path, entry) in &chosen {
            compare(folder, path, entry, &mut proof);
        }
        Ok(proof)
    }

    /// Files by chance, each as likely as any other.
    fn choose(&self, reader: &Reader, snapshot: &Snapshot, count: usize) -> Outcome<Vec<(Vec<u8>, Entry)>> {
        let mut seed = (self.seeds)()?;
        let mut chosen: Vec<(Vec<u8>, Entry)> = Vec::new();
        let mut seen = 0u64;
        browse::visit_range(reader, snapshot.root, &[], &mut |key, entry| {
            let fits = entry.kind() == Kind::File && (1..=FILE_BYTES_MAX).contains(&entry.size_bytes);
            let Ok(path) = KeyPath::parse(key) else { return Ok(ControlFlow::Continue(())) };
            if fits {
                seen += 1;
                let place = u64::from_le_bytes(seed.draw()) % seen;
                let chosen_one = (path.display_bytes(), entry.clone());
                if chosen.len() < count {
                    chosen.push(chosen_one);
                } else if let Some(old) = chosen.get_mut(place as usize) {
                    *old = chosen_one;
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(chosen)
    }
}

/// A pattern that fits one path and no other.
fn pattern(path: &[u8]) -> Vec<u8> {
    let special = |byte: &u8| matches!(byte, b'\\' | b'*' | b'?' | b'[' | b']' | b'!' | b'#' | b' ' | b'\t');
    path.iter().flat_map(|byte| if special(byte) { vec![b'\\', *byte] } else { vec![*byte] }).collect()
}

fn compare(folder: &Path, path: &[u8], entry: &Entry, proof: &mut Proof) {
    let live = PathBuf::from(OsStr::from_bytes(path));
    let back = folder.join(live.strip_prefix("/").unwrap_or(&live));
    let Ok(metadata) = fs::symlink_metadata(&back) else { return proof.wrong.push(live) };
    proof.bytes += metadata.len();
    if metadata.len() != entry.size_bytes {
        return proof.wrong.push(live);
    }
    let unchanged = fs::symlink_metadata(&live).is_ok_and(|now| {
        now.len() == entry.size_bytes
            && now.mtime() == entry.mtime.secs
            && now.mtime_nsec() == i64::from(entry.mtime.nanos)
    });
    if unchanged {
        match same(&live, &back) {
            Ok(true) => proof.same_as_live += 1,
            Ok(false) => proof.wrong.push(live),
            // What can be restored and not read here proves nothing about the backup.
            Err(_) => {}
        }
    }
}

fn same(a: &Path, b: &Path) -> io::Result<bool> {
    let (mut a, mut b) = (File::open(a)?, File::open(b)?);
    let (mut of_a, mut of_b) = ([0; 64 << 10], [0; 64 << 10]);
    loop {
        let len = a.read(&mut of_a)?;
        if len == 0 {
            return Ok(b.read(&mut of_b)? == 0);
        }
        match b.read_exact(&mut of_b[..len]) {
            Ok(()) if of_a[..len] == of_b[..len] => {}
            _ => return Ok(false),
        }
    }
}
