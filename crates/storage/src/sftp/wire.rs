//! The packets of SFTP version 3 that this store sends and understands, and OpenSSH's extensions.
//!
//! Source: draft-ietf-secsh-filexfer-02 and the file PROTOCOL of OpenSSH. Names and handles are bytes, not
//! text: a server may hand out any handle and may hold foreign file names that are not UTF-8. Nothing a
//! server says is trusted: every length is checked against the packet before it is used.
//! This file knows no connection; it turns requests into bytes and bytes into replies.

use bytes::{Buf, Bytes};

/// The only version spoken; every server since 2001 offers it.
pub(super) const VERSION: u32 = 3;
/// Longest packet taken from a server. OpenSSH sends at most 256 KiB; the rest is room for other servers.
pub(super) const PACKET_BYTES_MAX: usize = 1 << 20;
/// Bytes of a write packet before its data, the handle not counted: length, type, id, handle length,
/// offset, data length.
const WRITE_HEAD_BYTES: usize = 4 + 1 + 4 + 4 + 8 + 4;

/// `SSH_FXF_READ`, `SSH_FXF_WRITE`, `SSH_FXF_CREAT` and `SSH_FXF_EXCL` of the draft, section 6.3.
pub(super) const OPEN_READ: u32 = 0x01;
/// Creates a file that must not exist yet.
pub(super) const OPEN_CREATE_NEW: u32 = 0x02 | 0x08 | 0x20;

/// Status codes of the draft, section 7.
pub(super) mod status {
    /// Success.
    pub(in super::super) const OK: u32 = 0;
    /// End of the file or of the folder.
    pub(in super::super) const EOF: u32 = 1;
    /// No such file or folder.
    pub(in super::super) const NO_SUCH_FILE: u32 = 2;
    /// The account may not do this.
    pub(in super::super) const PERMISSION_DENIED: u32 = 3;
    /// Anything else, full disks and existing targets included.
    pub(in super::super) const FAILURE: u32 = 4;
    /// Connection codes, which only proxies send.
    pub(in super::super) const NO_CONNECTION: u32 = 6;
    /// The server lost its own connection to the files.
    pub(in super::super) const CONNECTION_LOST: u32 = 7;
}

const TYPE_INIT: u8 = 1;
const TYPE_VERSION: u8 = 2;
const TYPE_OPEN: u8 = 3;
const TYPE_CLOSE: u8 = 4;
const TYPE_READ: u8 = 5;
const TYPE_WRITE: u8 = 6;
const TYPE_LSTAT: u8 = 7;
const TYPE_OPENDIR: u8 = 11;
const TYPE_READDIR: u8 = 12;
const TYPE_REMOVE: u8 = 13;
const TYPE_MKDIR: u8 = 14;
const TYPE_STAT: u8 = 17;
const TYPE_RENAME: u8 = 18;
const TYPE_STATUS: u8 = 101;
const TYPE_HANDLE: u8 = 102;
const TYPE_DATA: u8 = 103;
const TYPE_NAME: u8 = 104;
const TYPE_ATTRS: u8 = 105;
const TYPE_EXTENDED: u8 = 200;
const TYPE_EXTENDED_REPLY: u8 = 201;

const ATTR_SIZE: u32 = 0x01;
const ATTR_UID_GID: u32 = 0x02;
const ATTR_PERMISSIONS: u32 = 0x04;
const ATTR_TIMES: u32 = 0x08;
const ATTR_EXTENDED: u32 = 0x8000_0000;

/// New files and folders belong to their owner alone: the names and sizes in a repository are nobody
/// else's business.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// What can be asked of a server.
#[derive(Clone, Copy)]
pub(super) enum Request<'a> {
    Open { path: &'a str, flags: u32 },
    Close { handle: &'a [u8] },
    Read { handle: &'a [u8], offset: u64, len_bytes: u32 },
    LinkStat { path: &'a str },
    Stat { path: &'a str },
    OpenFolder { path: &'a str },
    ReadFolder { handle: &'a [u8] },
    Remove { path: &'a str },
    MakeFolder { path: &'a str },
    Rename { from: &'a str, to: &'a str },
    PosixRename { from: &'a str, to: &'a str },
    HardLink { from: &'a str, to: &'a str },
    Fsync { handle: &'a [u8] },
    StatVfs { path: &'a str },
    Limits,
}

impl Request<'_> {
    /// Makes the packet.
    pub(super) fn encode(&self, id: u32) -> Bytes {
        match *self {
            Request::Open { path, flags } => {
                let packet = Packet::new(TYPE_OPEN, id).bytes(path.as_bytes()).u32(flags);
                let packet = match flags {
                    OPEN_CREATE_NEW => packet.u32(ATTR_PERMISSIONS).u32(FILE_MODE),
                    _ => packet.u32(0),
                };
                packet.finish()
            }
            Request::Close { handle } => Packet::new(TYPE_CLOSE, id).bytes(handle).finish(),
            Request::Read { handle, offset, len_bytes } => {
                Packet::new(TYPE_READ, id).bytes(handle).u64(offset).u32(len_bytes).finish()
            }
            Request::LinkStat { path } => Packet::new(TYPE_LSTAT, id).bytes(path.as_bytes()).finish(),
            Request::Stat { path } => Packet::new(TYPE_STAT, id).bytes(path.as_bytes()).finish(),
            Request::OpenFolder { path } => Packet::new(TYPE_OPENDIR, id).bytes(path.as_bytes()).finish(),
            Request::ReadFolder { handle } => Packet::new(TYPE_READDIR, id).bytes(handle).finish(),
            Request::Remove { path } => Packet::new(TYPE_REMOVE, id).bytes(path.as_bytes()).finish(),
            Request::MakeFolder { path } => Packet::new(TYPE_MKDIR, id)
                .bytes(path.as_bytes())
                .u32(ATTR_PERMISSIONS)
                .u32(FOLDER_MODE)
                .finish(),
            Request::Rename { from, to } => {
                Packet::new(TYPE_RENAME, id).bytes(from.as_bytes()).bytes(to.as_bytes()).finish()
            }
            Request::PosixRename { from, to } => extended(id, "posix-rename@openssh.com", &[from, to]),
            Request::HardLink { from, to } => extended(id, "hardlink@openssh.com", &[from, to]),
            Request::StatVfs { path } => extended(id, "statvfs@openssh.com", &[path]),
            Request::Limits => extended(id, "limits@openssh.com", &[]),
            Request::Fsync { handle } => {
                Packet::new(TYPE_EXTENDED, id).bytes(b"fsync@openssh.com").bytes(handle).finish()
            }
        }
    }
}

fn extended(id: u32, name: &str, paths: &[&str]) -> Bytes {
    let packet = Packet::new(TYPE_EXTENDED, id).bytes(name.as_bytes());
    paths.iter().fold(packet, |packet, path| packet.bytes(path.as_bytes())).finish()
}

/// The first packet of a session.
pub(super) fn init_packet() -> Bytes {
    // Where all other packets carry their id, this one carries the version.
    Packet::new(TYPE_INIT, VERSION).finish()
}

/// A packet under construction: length (patched by `finish`), type, id, fields.
struct Packet(Vec<u8>);

impl Packet {
    fn new(kind: u8, id: u32) -> Self {
        let mut bytes = Vec::with_capacity(160);
        bytes.extend_from_slice(&[0, 0, 0, 0, kind]);
        Self(bytes).u32(id)
    }

    fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    fn u64(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    fn bytes(mut self, value: &[u8]) -> Self {
        self = self.u32(value.len() as u32);
        self.0.extend_from_slice(value);
        self
    }

    fn finish(mut self) -> Bytes {
        let len = (self.0.len() - 4) as u32;
        self.0[..4].copy_from_slice(&len.to_be_bytes());
        Bytes::from(self.0)
    }
}

/// A write packet that is filled in place, so that the data is copied once.
pub(super) struct WritePacket {
    bytes: Vec<u8>,
    head_bytes: usize,
    len_bytes_max: usize,
}

impl WritePacket {
    /// Starts a packet of at most `len_bytes_max` bytes of data, to be written at `offset`.
    pub(super) fn new(handle: &[u8], offset: u64, len_bytes_max: usize) -> Self {
        let head_bytes = WRITE_HEAD_BYTES + handle.len();
        let mut bytes = Vec::with_capacity(head_bytes + len_bytes_max);
        bytes.extend_from_slice(&[0, 0, 0, 0, TYPE_WRITE, 0, 0, 0, 0]);
        bytes.extend_from_slice(&(handle.len() as u32).to_be_bytes());
        bytes.extend_from_slice(handle);
        bytes.extend_from_slice(&offset.to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        Self { bytes, head_bytes, len_bytes_max }
    }

    /// Takes as much of `data` as fits and returns the rest.
    pub(super) fn fill<'a>(&mut self, data: &'a [u8]) -> &'a [u8] {
        let room = self.len_bytes_max - self.len_bytes();
        let (now, rest) = data.split_at(room.min(data.len()));
        self.bytes.extend_from_slice(now);
        rest
    }

    /// Bytes of data taken so far.
    pub(super) fn len_bytes(&self) -> usize {
        self.bytes.len() - self.head_bytes
    }

    /// Whether no byte fits any more.
    pub(super) fn is_full(&self) -> bool {
        self.len_bytes() == self.len_bytes_max
    }

    /// Makes the packet.
    pub(super) fn encode(mut self, id: u32) -> Bytes {
        let data_len = self.len_bytes() as u32;
        let packet_len = (self.bytes.len() - 4) as u32;
        self.bytes[..4].copy_from_slice(&packet_len.to_be_bytes());
        self.bytes[5..9].copy_from_slice(&id.to_be_bytes());
        self.bytes[self.head_bytes - 4..self.head_bytes].copy_from_slice(&data_len.to_be_bytes());
        Bytes::from(self.bytes)
    }
}

/// A packet that does not follow the protocol; the text says in what.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// What a server answered.
#[derive(Debug, PartialEq)]
pub(super) enum Reply {
    Status { code: u32, message: String },
    Handle(Bytes),
    Data(Bytes),
    Names(Vec<Entry>),
    Attributes(Attributes),
    Extended(Bytes),
}

/// What a server tells about a file.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Attributes {
    pub(super) len_bytes: Option<u64>,
    pub(super) mode: Option<u32>,
    pub(super) modified_s: Option<u32>,
}

/// What a file name in a folder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryKind {
    File,
    Folder,
    Link,
    /// Devices, sockets, pipes: never ours.
    Foreign,
}

/// One name in a folder.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    /// `None` when the name is not UTF-8 and therefore not ours.
    pub(super) name: Option<String>,
    pub(super) kind: EntryKind,
    pub(super) attributes: Attributes,
}

impl Attributes {
    /// Tells files from folders; `long_name` is the line of `ls -l` for servers that send no mode.
    pub(super) fn kind(&self, long_name: &[u8]) -> EntryKind {
        match (self.mode.map(|mode| mode & 0o170_000), long_name.first()) {
            (Some(0o100_000), _) => EntryKind::File,
            (Some(0o040_000), _) => EntryKind::Folder,
            (Some(0o120_000), _) => EntryKind::Link,
            (Some(bits), _) if bits != 0 => EntryKind::Foreign,
            (_, Some(b'd')) => EntryKind::Folder,
            (_, Some(b'l')) => EntryKind::Link,
            (_, Some(b'-') | None) => EntryKind::File,
            _ => EntryKind::Foreign,
        }
    }

    fn decode(fields: &mut Fields) -> Result<Self, Malformed> {
        let flags = fields.u32()?;
        let mut attributes = Self::default();
        if flags & ATTR_SIZE != 0 {
            attributes.len_bytes = Some(fields.u64()?);
        }
        if flags & ATTR_UID_GID != 0 {
            fields.u64()?;
        }
        if flags & ATTR_PERMISSIONS != 0 {
            attributes.mode = Some(fields.u32()?);
        }
        if flags & ATTR_TIMES != 0 {
            fields.u32()?;
            attributes.modified_s = Some(fields.u32()?);
        }
        if flags & ATTR_EXTENDED != 0 {
            for _ in 0..fields.u32()? {
                fields.bytes()?;
                fields.bytes()?;
            }
        }
        Ok(attributes)
    }
}

/// Splits a packet (without its length) into id and answer.
pub(super) fn decode_reply(packet: Bytes) -> Result<(u32, Reply), Malformed> {
    let mut fields = Fields(packet);
    let kind = fields.u8()?;
    let id = fields.u32()?;
    let reply = match kind {
        // Old servers leave the message out.
        TYPE_STATUS => Reply::Status {
            code: fields.u32()?,
            message: String::from_utf8_lossy(&fields.bytes().unwrap_or_default()).into_owned(),
        },
        TYPE_HANDLE => Reply::Handle(fields.bytes()?),
        TYPE_DATA => Reply::Data(fields.bytes()?),
        TYPE_NAME => Reply::Names(decode_names(&mut fields)?),
        TYPE_ATTRS => Reply::Attributes(Attributes::decode(&mut fields)?),
        TYPE_EXTENDED_REPLY => Reply::Extended(fields.0),
        _ => return Err(Malformed("unknown packet type")),
    };
    Ok((id, reply))
}

/// Just the id, to find who waits for a packet.
pub(super) fn reply_id(packet: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(packet.get(1..5)?.try_into().ok()?))
}

fn decode_names(fields: &mut Fields) -> Result<Vec<Entry>, Malformed> {
    let count = fields.u32()?;
    // No allocation on the word of the server: the vector grows with what is really there.
    let mut entries = Vec::new();
    for _ in 0..count {
        let name = String::from_utf8(fields.bytes()?.to_vec()).ok();
        let long_name = fields.bytes()?;
        let attributes = Attributes::decode(fields)?;
        entries.push(Entry { name, kind: attributes.kind(&long_name), attributes });
    }
    Ok(entries)
}

/// The extensions a server offers, from the answer to [`init_packet`].
pub(super) fn decode_version(packet: Bytes) -> Result<Vec<String>, Malformed> {
    let mut fields = Fields(packet);
    if fields.u8()? != TYPE_VERSION {
        return Err(Malformed("the first packet is not a version packet"));
    }
    if fields.u32()? < VERSION {
        return Err(Malformed("the server speaks an SFTP version below 3"));
    }
    let mut names = Vec::new();
    while !fields.0.is_empty() {
        names.push(String::from_utf8_lossy(&fields.bytes()?).into_owned());
        fields.bytes()?;
    }
    Ok(names)
}

/// Largest read and write of the server in bytes, from the reply to `limits@openssh.com`; zero means that
/// the server does not say.
pub(super) fn decode_limits(body: Bytes) -> Result<(u64, u64), Malformed> {
    let mut fields = Fields(body);
    let _packet_bytes_max = fields.u64()?;
    Ok((fields.u64()?, fields.u64()?))
}

/// What is left in a file system, from the reply to `statvfs@openssh.com`.
#[derive(Clone, Copy)]
pub(super) struct Space {
    pub(super) free_bytes: u64,
    pub(super) free_files: u64,
    pub(super) files: u64,
    pub(super) read_only: bool,
}

impl Space {
    pub(super) fn decode(body: Bytes) -> Result<Self, Malformed> {
        let mut fields = Fields(body);
        let _block_bytes = fields.u64()?;
        let fragment_bytes = fields.u64()?;
        let _blocks = fields.u64()?;
        let _blocks_free = fields.u64()?;
        let blocks_available = fields.u64()?;
        let files = fields.u64()?;
        let _files_free = fields.u64()?;
        let free_files = fields.u64()?;
        let _file_system_id = fields.u64()?;
        let flags = fields.u64()?;
        let free_bytes = fragment_bytes.saturating_mul(blocks_available);
        Ok(Self { free_bytes, free_files, files, read_only: flags & 1 != 0 })
    }
}

/// Reads fields off the front of a packet, without copying.
struct Fields(Bytes);

impl Fields {
    fn u8(&mut self) -> Result<u8, Malformed> {
        self.0.try_get_u8().map_err(|_| Malformed("packet too short"))
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.0.try_get_u32().map_err(|_| Malformed("packet too short"))
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.0.try_get_u64().map_err(|_| Malformed("packet too short"))
    }

    fn bytes(&mut self) -> Result<Bytes, Malformed> {
        let len = self.u32()? as usize;
        if len > self.0.len() {
            return Err(Malformed("field longer than its packet"));
        }
        Ok(self.0.split_to(len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(packet: Packet) -> Bytes {
        packet.finish().slice(4..)
    }

    fn names_packet() -> Bytes {
        let packet = Packet::new(TYPE_NAME, 7).u32(2);
        let packet = packet.bytes(b"ab").bytes(b"-rw-r--r-- 1").u32(ATTR_SIZE | ATTR_TIMES);
        let packet = packet.u64(5).u32(1).u32(2);
        body(packet.bytes(&[0xff]).bytes(b"").u32(ATTR_PERMISSIONS).u32(0o040_755))
    }

    #[test]
    fn names_keep_foreign_bytes_apart() {
        let (id, reply) = decode_reply(names_packet()).unwrap();
        let Reply::Names(names) = reply else { panic!("not names") };
        assert_eq!((id, names.len()), (7, 2));
        assert_eq!((names[0].name.as_deref(), names[0].kind), (Some("ab"), EntryKind::File));
        assert_eq!(names[0].attributes.len_bytes, Some(5));
        assert_eq!(names[0].attributes.modified_s, Some(2));
        assert_eq!((names[1].name.as_deref(), names[1].kind), (None, EntryKind::Folder));
    }

    #[test]
    fn every_truncation_of_a_reply_is_an_error() {
        let status = body(Packet::new(TYPE_STATUS, 1).u32(4).bytes(b"Failure").bytes(b""));
        for whole in [names_packet(), body(Packet::new(TYPE_DATA, 1).bytes(b"0123456789"))] {
            for len in 0..whole.len() {
                assert!(decode_reply(whole.slice(..len)).is_err(), "{len} of {}", whole.len());
            }
        }
        // The message of a status is optional, its code is not.
        assert!(decode_reply(status.slice(..8)).is_err());
        assert!(decode_reply(status.slice(..9)).is_ok());
    }

    #[test]
    fn no_flipped_bit_breaks_the_decoder_or_makes_names_out_of_nothing() {
        let whole = names_packet();
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            if let Ok((_, Reply::Names(names))) = decode_reply(Bytes::from(damaged)) {
                let len: usize = names.iter().filter_map(|entry| entry.name.as_ref()).map(String::len).sum();
                assert!(len <= whole.len());
            }
        }
    }

    #[test]
    fn space_is_counted_in_fragments() {
        let numbers = [4096, 512, 0, 0, 10, 7, 0, 5, 0, 1, 255];
        let body = numbers.iter().fold(Packet(Vec::new()), |packet, number| packet.u64(*number)).0;
        let space = Space::decode(Bytes::from(body)).unwrap();
        assert_eq!((space.free_bytes, space.files, space.free_files), (5120, 7, 5));
        assert!(space.read_only);
    }

    #[test]
    fn a_hostile_count_allocates_nothing() {
        assert!(decode_reply(body(Packet::new(TYPE_NAME, 1).u32(u32::MAX))).is_err());
        let attributes = Packet::new(TYPE_ATTRS, 1).u32(ATTR_EXTENDED).u32(u32::MAX);
        assert!(decode_reply(body(attributes)).is_err());
    }

    #[test]
    fn a_write_packet_is_the_same_as_one_built_at_once() {
        let mut write = WritePacket::new(b"hand", 9, 6);
        assert!(write.fill(b"abc").is_empty());
        assert_eq!(write.fill(b"defgh"), b"gh");
        assert!(write.is_full());
        let plain = Packet::new(TYPE_WRITE, 3).bytes(b"hand").u64(9).bytes(b"abcdef").finish();
        assert_eq!(write.encode(3), plain);
    }

    #[test]
    fn an_old_version_is_refused() {
        assert!(decode_version(body(Packet::new(TYPE_VERSION, 2))).is_err());
        let offer = Packet::new(TYPE_VERSION, 3).bytes(b"fsync@openssh.com").bytes(b"1");
        assert_eq!(decode_version(body(offer)).unwrap(), ["fsync@openssh.com"]);
    }
}
