//! The configuration in the repositories: what a bare machine needs to know besides a key.
//!
//! It is kept as a snapshot of its own, with the tag [`TAG`]: so it is sealed, has parity and a second record,
//! goes along to every copy of the family, is versioned, and can be read by everything that reads snapshots.
//! The recovery plan as of then lies beside it. Secrets are not in it. Docs: "What runs by itself" in docs/format.md.

use crate::config::Loaded;
use crate::config::redact::without_secrets;
use crate::failure::{Exit, Failure, Outcome};
use crate::plan;
use format::id::BlobKind;
use format::kind::{Kind, Timestamp};
use format::snapshot::Snapshot;
use format::tree::{Extent, KeyPath, dir_prefix};
use host::produce::{Contents, Facts, Grain, Producer, Sink};
use repo::browse;
use repo::reader::Reader;
use repo::snapshots::SnapshotList;
use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

/// The tag of a snapshot that holds a configuration.
pub const TAG: &str = "lifeboat:configuration";
/// The name of its source.
pub const SOURCE: &str = "configuration";
/// Larger files are no configuration.
const FILE_BYTES_MAX: u64 = 4 << 20;
const FILES_MAX: usize = 512;

/// The files of a configuration, by their paths below its folder, without secrets.
pub fn files(loaded: &Loaded) -> BTreeMap<String, String> {
    let texts = without_secrets(loaded);
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let paths = loaded.files.iter().enumerate().map(|(at, file)| match at {
        0 => crate::config::load::FILE_NAME.to_string(),
        _ => format!("conf.d/{}", name(&file.path)),
    });
    paths.zip(texts).collect()
}

/// What tells one version from another: the hash of names and texts, and of what tells one recovery plan from another.
/// It is the snapshot's description.
pub fn version(files: &BTreeMap<String, String>, plan: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    let parts = files.iter().flat_map(|(name, text)| [name.as_str(), text.as_str()]);
    for part in parts.chain([plan]) {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().to_hex()[..32].to_string()
}

/// The newest configuration of each machine, the newest first.
pub fn newest(list: &SnapshotList) -> Vec<&Snapshot> {
    let mut found: Vec<&Snapshot> = Vec::new();
    for snapshot in list.visible().rev().filter(|snapshot| is_one(snapshot)) {
        if !found.iter().any(|known| known.host == snapshot.host) {
            found.push(snapshot);
        }
    }
    found
}

/// The newest configuration of each machine that is not younger; where all of a machine are younger its first one, which
/// a run stored after what it saved.
pub fn newest_until(list: &SnapshotList, until: Timestamp) -> Vec<&Snapshot> {
    let of = |host: &str| {
        let all: Vec<&Snapshot> = list.visible().filter(|s| is_one(s) && s.host == host).collect();
        let in_time = all.iter().filter(|s| s.time <= until).max_by_key(|s| s.time);
        in_time.or(all.iter().min_by_key(|s| s.time)).copied()
    };
    newest(list).into_iter().filter_map(|snapshot| of(&snapshot.host)).collect()
}

/// Whether a snapshot holds a configuration.
pub fn is_one(snapshot: &Snapshot) -> bool {
    snapshot.tags.iter().any(|tag| tag == TAG)
}

/// Reads the files of a stored configuration.
pub fn read(reader: &Reader, snapshot: &Snapshot) -> Outcome<BTreeMap<String, String>> {
    let mut files = read_all(reader, snapshot)?;
    files.retain(|name, _| !plan::kept::is_one(name));
    Ok(files)
}

/// Reads the recovery plan that is stored beside it: its forms by the names of their files; empty where there is none.
pub fn read_plan(reader: &Reader, snapshot: &Snapshot) -> Outcome<BTreeMap<String, String>> {
    let mut files = read_all(reader, snapshot)?;
    files.retain(|name, _| plan::kept::is_one(name));
    Ok(files)
}

fn read_all(reader: &Reader, snapshot: &Snapshot) -> Outcome<BTreeMap<String, String>> {
    let volume = format!("stream:{SOURCE}").into_bytes();
    let mut found = Vec::new();
    browse::visit_range(reader, snapshot.root, &dir_prefix(&[volume]), &mut |key, entry| {
        if entry.kind() == Kind::File && entry.size_bytes <= FILE_BYTES_MAX && found.len() < FILES_MAX {
            let parts: Vec<Vec<u8>> = match KeyPath::parse(key) {
                Ok(path) => path.components().skip(1).map(<[u8]>::to_vec).collect(),
                Err(_) => Vec::new(),
            };
            found.push((parts.join(&b'/'), entry.clone()));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let mut files = BTreeMap::new();
    for (name, entry) in found {
        let mut bytes = Vec::new();
        for extent in browse::extents(reader, &entry)? {
            let Extent::Data { id, repeat, .. } = extent else { continue };
            let blob = reader.read(BlobKind::Data, &id)?;
            (0..repeat).for_each(|_| bytes.extend_from_slice(&blob));
        }
        let text = |bytes: Vec<u8>| {
            String::from_utf8(bytes)
                .map_err(|_| Failure::new(Exit::Failed, "the stored configuration is no text"))
        };
        files.insert(text(name)?, text(bytes)?);
    }
    Ok(files)
}

/// Hands the files to a backup.
pub(crate) struct Files(pub(crate) BTreeMap<String, String>);

impl Producer for Files {
    fn produce(&mut self, sink: &mut dyn Sink) -> io::Result<()> {
        for (name, text) in &self.0 {
            let parts: Vec<&str> = name.split('/').collect();
            sink.file(&parts, Facts::PRIVATE, Contents::Stream(&mut text.as_bytes(), Grain::Coarse))?;
        }
        Ok(())
    }
}
