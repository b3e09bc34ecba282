//! PostgreSQL by its data files: `pg_basebackup` with the WAL that makes them consistent, file by file.
//!
//! The tar stream of the tool is taken apart while it comes, so that each data file is a file of the snapshot,
//! cut where files written in place are cut. The checksum of every file is compared with the `backup_manifest`
//! that comes last: what `pg_verifybackup` would say, before the snapshot exists. The way back is an ordinary
//! restore of the folder `data`, see [`verify_folder`].

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use serde::Deserialize;

use super::about::About;
use super::postgres::Client;
use super::tool::Tool;
use super::{Database, Server};
use crate::produce::{Contents, Facts, Grain, Producer, Sink};
use crate::stat::Timestamp;

/// Where the data files stand.
pub const FOLDER: &str = "data";
/// What the server says about its own files.
const MANIFEST: &str = "backup_manifest";
/// A longer manifest is not read: 10 million files need less.
const MANIFEST_BYTES_MAX: u64 = 2 << 30;

/// The data files of a PostgreSQL server as a source.
pub struct PostgresFiles {
    /// The server; its user needs the right to replicate.
    pub server: Server,
    /// Ask the server to write everything down at once instead of in its own time.
    pub fast_checkpoint: bool,
}

impl Producer for PostgresFiles {
    fn produce(&mut self, sink: &mut dyn Sink) -> io::Result<()> {
        let client = Client::connect(&self.server)?;
        let checkpoint = if self.fast_checkpoint { "fast" } else { "spread" };
        let tool = client.tool("pg_basebackup").args(["--pgdata=-", "--format=tar", "--wal-method=fetch"]);
        let tool = tool.args(["--no-password", "--manifest-checksums=CRC32C", "--label=lifeboat"]);
        let maintenance = self.server.url.database.clone().unwrap_or_else(|| "postgres".into());
        let tool = tool
            .arg(format!("--checkpoint={checkpoint}"))
            .arg(format!("--dbname={}", client.connection(&maintenance)));
        take_apart(tool.stream()?, sink)?;
        About {
            server: client.version().into(),
            tool: client.tool("pg_basebackup").arg("--version").text()?.trim().into(),
            place: self.server.url.shown(),
            databases: vec![Database {
                name: "cluster".into(),
                path: vec![FOLDER.into()],
                tables: None,
                create: String::new(),
            }],
            ..About::new("postgres-files")
        }
        .keep(sink)
    }
}

/// Length and checksum of a file as it passed.
type Seen = BTreeMap<String, (u64, u32)>;

/// Hands the members of a tar stream on as files, and compares them with the manifest among them.
fn take_apart(stream: impl Read, sink: &mut dyn Sink) -> io::Result<()> {
    let mut archive = tar::Archive::new(stream);
    let mut seen = Seen::new();
    let mut manifest = None;
    for member in archive.entries()? {
        let mut member = member?;
        let header = member.header();
        let facts = Facts {
            mode: (header.mode()? & 0o7777) as u16,
            uid: u32::try_from(header.uid()?).unwrap_or(0),
            gid: u32::try_from(header.gid()?).unwrap_or(0),
            modified: Some(Timestamp { secs: header.mtime()? as i64, nanos: 0 }),
        };
        let kind = header.entry_type();
        let path = member.path()?.to_str().map(str::to_string);
        let path = path.ok_or_else(|| io::Error::other("a data file has a name that is not UTF-8"))?;
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        let full: Vec<&str> = std::iter::once(FOLDER).chain(parts.iter().copied()).collect();
        if kind.is_dir() {
            sink.folder(&full, facts)?;
        } else if kind.is_file() {
            let size = member.size();
            if parts == [MANIFEST] {
                let mut bytes = Vec::new();
                (&mut member).take(MANIFEST_BYTES_MAX).read_to_end(&mut bytes)?;
                sink.file(&full, facts, Contents::Bytes(&bytes))?;
                manifest = Some(bytes);
                continue;
            }
            let mut checked = Checked { inner: &mut member, len: 0, crc: 0 };
            let grain = if parts.first() == Some(&"pg_wal") { Grain::Fine } else { Grain::Fixed };
            sink.file(&full, facts, Contents::Stream(&mut checked, grain))?;
            if checked.len != size {
                return Err(io::Error::other(format!("the data file {path:?} was cut off")));
            }
            seen.insert(parts.join("/"), (checked.len, checked.crc));
        } else {
            let text = "the server has a tablespace or link outside its folder; only its place was kept";
            return Err(io::Error::other(format!("{path:?}: {text}")));
        }
    }
    // The reader says whether the tool ended well only at its very end, behind the archive.
    super::read_out(&mut archive.into_inner())?;
    let manifest =
        manifest.ok_or_else(|| io::Error::other("the stream has no backup_manifest at its end"))?;
    compare(&manifest, &seen)
}

struct Checked<R> {
    inner: R,
    len: u64,
    crc: u32,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(buffer)?;
        self.crc = crc32c::crc32c_append(self.crc, &buffer[..len]);
        self.len += len as u64;
        Ok(len)
    }
}

#[derive(Deserialize)]
struct Manifest {
    #[serde(rename = "Files")]
    files: Vec<ManifestFile>,
}

#[derive(Deserialize)]
struct ManifestFile {
    #[serde(rename = "Path")]
    path: Option<String>,
    #[serde(rename = "Encoded-Path")]
    encoded_path: Option<String>,
    #[serde(rename = "Size")]
    size: u64,
    #[serde(rename = "Checksum-Algorithm")]
    algorithm: Option<String>,
    #[serde(rename = "Checksum")]
    checksum: Option<String>,
}

/// Every file of the manifest must have passed, whole and right.
fn compare(manifest: &[u8], seen: &Seen) -> io::Result<()> {
    let manifest: Manifest =
        serde_json::from_slice(manifest).map_err(|e| io::Error::other(format!("backup_manifest: {e}")))?;
    if manifest.files.is_empty() {
        return Err(io::Error::other("backup_manifest names no file"));
    }
    for file in &manifest.files {
        let Some(path) = &file.path else {
            let name = file.encoded_path.as_deref().unwrap_or("");
            return Err(io::Error::other(format!("a data file has a name that is not UTF-8 (hex {name})")));
        };
        let Some((len, crc)) = seen.get(path) else {
            return Err(io::Error::other(format!("the data file {path:?} is missing from the stream")));
        };
        if *len != file.size {
            let why = format!("the data file {path:?} has {len} bytes, the manifest says {}", file.size);
            return Err(io::Error::other(why));
        }
        // The checksum is printed byte by byte as it lies in the memory of a little-endian machine.
        let ours: String = crc.to_le_bytes().iter().map(|b| format!("{b:02x}")).collect();
        let is_ours = file.algorithm.as_deref() == Some("CRC32C");
        if is_ours && file.checksum.as_deref().is_none_or(|theirs| !theirs.eq_ignore_ascii_case(&ours)) {
            return Err(io::Error::other(format!("the data file {path:?} does not match its checksum")));
        }
    }
    Ok(())
}

/// Lets PostgreSQL's own tool judge a folder of data files that was restored, WAL included.
pub fn verify_folder(folder: &Path) -> io::Result<()> {
    let major = std::fs::read_to_string(folder.join("PG_VERSION"))?;
    let own = format!("/usr/lib/postgresql/{}/bin/pg_verifybackup", major.trim());
    let program = if Path::new(&own).exists() { own } else { "pg_verifybackup".into() };
    Tool::new(program).arg("--quiet").arg(folder).answer().map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Seen {
        Seen::from([("PG_VERSION".to_string(), (3, crc32c::crc32c(b"15\n")))])
    }

    fn manifest(path: &str, size: u64, checksum: &str) -> String {
        format!(
            "{{\"PostgreSQL-Backup-Manifest-Version\": 1, \"Files\": [{{\"Path\": \"{path}\", \"Size\": {size}, \
             \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"{checksum}\"}}]}}"
        )
    }

    #[test]
    fn what_the_manifest_says_must_have_passed() {
        let right: String = crc32c::crc32c(b"15\n").to_le_bytes().map(|b| format!("{b:02x}")).concat();
        assert!(compare(manifest("PG_VERSION", 3, &right).as_bytes(), &seen()).is_ok());
        for (path, size, sum) in
            [("global/1", 3, &*right), ("PG_VERSION", 4, &right), ("PG_VERSION", 3, "00000000")]
        {
            assert!(compare(manifest(path, size, sum).as_bytes(), &seen()).is_err());
        }
        assert!(compare(b"{\"Files\": []}", &seen()).is_err());
        assert!(compare(b"{\"Files\": [{\"Size\": 1, \"Encoded-Path\": \"ff\"}]}", &seen()).is_err());
    }
}
