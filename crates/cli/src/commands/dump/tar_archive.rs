//! tar in the PAX form: long names, times to the nanosecond, hard links, devices, extended attributes.

use super::archive::Archive;
use crate::contents;
use crate::error::{Outcome, local};
use ::repo::reader::Reader;
use format::kind::Kind;
use format::tree::Entry;
use std::io::{self, Write};
use tar::{EntryType, Header};

/// Longest name and link target in a plain header.
const NAME_BYTES_MAX: usize = 100;
const BLOCK_BYTES: usize = 512;

pub(super) struct TarArchive<'w> {
    out: &'w mut dyn Write,
}

impl<'w> TarArchive<'w> {
    pub(super) fn new(out: &'w mut dyn Write) -> Self {
        TarArchive { out }
    }

    fn write(&mut self, bytes: &[u8]) -> Outcome<()> {
        self.out.write_all(bytes).map_err(failed)
    }

    /// Fills up to a whole block.
    fn pad(&mut self, len_bytes: u64) -> Outcome<()> {
        let over = (len_bytes % BLOCK_BYTES as u64) as usize;
        if over > 0 { self.write(&[0; BLOCK_BYTES][over..]) } else { Ok(()) }
    }

    /// Records that the next header has no room for.
    fn write_extensions(&mut self, records: &[u8]) -> Outcome<()> {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        header.set_size(records.len() as u64);
        header.set_mode(0o644);
        set_name(&mut header, b"PaxHeaders/entry");
        header.set_cksum();
        self.write(header.as_bytes())?;
        self.write(records)?;
        self.pad(records.len() as u64)
    }
}

fn failed(error: io::Error) -> crate::error::Failure {
    local("cannot write the archive", error)
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn push_record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    records.extend_from_slice(format!("{len} ").as_bytes());
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn set_name(header: &mut Header, name: &[u8]) {
    let field = &mut header.as_ustar_mut().expect("headers are made as ustar").name;
    let len = name.len().min(NAME_BYTES_MAX);
    field.fill(0);
    field[..len].copy_from_slice(&name[..len]);
}

fn set_link(header: &mut Header, target: &[u8]) {
    let field = &mut header.as_ustar_mut().expect("headers are made as ustar").linkname;
    let len = target.len().min(NAME_BYTES_MAX);
    field[..len].copy_from_slice(&target[..len]);
}

impl Archive for TarArchive<'_> {
    fn add(
        &mut self,
        reader: &Reader,
        name: &[u8],
        entry: &Entry,
        first_name: Option<&[u8]>,
    ) -> Outcome<Option<String>> {
        let kind = match (entry.kind(), first_name) {
            (Kind::Socket | Kind::Fault, _) => return Ok(Some("tar has no sockets".into())),
            (kind, Some(_)) if kind != Kind::Directory => EntryType::Link,
            (Kind::File, _) => EntryType::Regular,
            (Kind::Directory, _) => EntryType::Directory,
            (Kind::Symlink, _) => EntryType::Symlink,
            (Kind::Fifo, _) => EntryType::Fifo,
            (Kind::CharDevice, _) => EntryType::Char,
            (Kind::BlockDevice, _) => EntryType::Block,
        };
        let mut name = name.to_vec();
        if kind == EntryType::Directory {
            name.push(b'/');
        }
        let target: &[u8] = match kind {
            EntryType::Link => first_name.unwrap_or_default(),
            EntryType::Symlink => &entry.target,
            _ => &[],
        };
        let size_bytes = if kind == EntryType::Regular { entry.size_bytes } else { 0 };
        let mut records = Vec::new();
        let header = header(kind, &name, target, size_bytes, entry, &mut records);
        if kind != EntryType::Link {
            for (key, value) in contents::xattrs(reader, entry)?.pairs() {
                push_record(&mut records, &[b"SCHILY.xattr.", &key[..]].concat(), value);
            }
        }
        self.write_extensions(&records)?;
        self.write(header.as_bytes())?;
        if kind == EntryType::Regular {
            contents::copy(reader, entry, self.out)?;
            self.pad(size_bytes)?;
        }
        Ok(None)
    }

    fn finish(&mut self) -> Outcome<()> {
        self.write(&[0; 2 * BLOCK_BYTES])
    }
}

/// The header, and the records for what does not fit into it.
fn header(
    kind: EntryType,
    name: &[u8],
    target: &[u8],
    size_bytes: u64,
    entry: &Entry,
    records: &mut Vec<u8>,
) -> Header {
    let (class, owner) = (&entry.class, &entry.class.owner);
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(class.mode.into());
    header.set_uid(owner.uid.into());
    header.set_gid(owner.gid.into());
    header.set_size(size_bytes);
    header.set_mtime(entry.mtime.secs.max(0) as u64);
    set_name(&mut header, name);
    set_link(&mut header, target);
    let (secs, nanos) = (entry.mtime.secs, entry.mtime.nanos);
    if nanos != 0 || secs < 0 {
        push_record(records, b"mtime", decimal(secs, nanos).as_bytes());
    }
    if name.len() > NAME_BYTES_MAX {
        push_record(records, b"path", name);
    }
    if target.len() > NAME_BYTES_MAX {
        push_record(records, b"linkpath", target);
    }
    for (key, value) in [(&b"uname"[..], &owner.user), (b"gname", &owner.group)] {
        if !value.is_empty() {
            push_record(records, key, value);
        }
    }
    if matches!(kind, EntryType::Char | EntryType::Block) {
        let (major, minor) = (rustix::fs::major(entry.rdev), rustix::fs::minor(entry.rdev));
        // Numbers beyond the field's octal digits do not occur on Linux: 12 and 20 bits.
        header.set_device_major(major).expect("headers are made as ustar");
        header.set_device_minor(minor).expect("headers are made as ustar");
    }
    header.set_cksum();
    header
}

/// Seconds with their fraction; nanoseconds always count forward.
fn decimal(secs: i64, nanos: u32) -> String {
    match (secs < 0, nanos) {
        (false, _) | (true, 0) => format!("{secs}.{nanos:09}"),
        (true, _) => format!("-{}.{:09}", -(secs + 1), 1_000_000_000 - nanos),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_lengths_count_themselves() {
        let mut records = Vec::new();
        push_record(&mut records, b"path", b"a");
        push_record(&mut records, b"path", &[b'x'; 91]);
        assert!(records.starts_with(b"9 path=a\n"));
        assert!(records[9..].starts_with(b"101 path=xx"));
        assert_eq!(records.len(), 9 + 101);
    }

    #[test]
    fn times_before_1970_keep_their_fraction() {
        assert_eq!(decimal(5, 7), "5.000000007");
        assert_eq!(decimal(-1, 250_000_000), "-0.750000000");
    }
}
