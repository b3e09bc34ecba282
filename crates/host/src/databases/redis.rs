//! Redis (and Valkey) by its own snapshot, which the server sends to `redis-cli --rdb`.
//!
//! The stream must begin with the mark of the format and end with its end code and the right checksum. The way
//! back is the file in its place, or into a running server: a server started for the purpose on this machine
//! loads the file, and the other becomes its replica until it has everything.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::about::{About, Database};
use super::tool::{self, Tool};
use super::{Files, Restore, Restored, Server, not_empty};
use crate::produce::{Contents, Facts, Grain, Producer, Sink};

/// Name of the kept file, as the server calls it.
const RDB: &str = "dump.rdb";
/// How long the other server may take until it has everything.
const COPY_TIME_MAX: Duration = Duration::from_secs(3600);

/// A Redis server as a source.
pub struct Redis {
    /// The server.
    pub server: Server,
}

impl Producer for Redis {
    fn produce(&mut self, sink: &mut dyn Sink) -> io::Result<()> {
        let version = info(&self.server, "server", "redis_version")?;
        let mut stream = Rdb::new(client(&self.server, "redis-cli").args(["--rdb", "-"]).stream()?);
        sink.file(&[RDB], Facts::PRIVATE, Contents::Stream(&mut stream, Grain::Fine))?;
        About {
            server: version,
            place: self.server.url.shown(),
            databases: vec![Database {
                name: "redis".into(),
                path: vec![RDB.into()],
                tables: Some(count_keys(&self.server)?),
                create: String::new(),
            }],
            ..About::new("redis")
        }
        .keep(sink)
    }
}

fn client(server: &Server, program: &str) -> Tool {
    let url = &server.url;
    let mut tool = server.tool(program).arg("--no-auth-warning");
    if let Some(path) = url.setting("socket") {
        tool = tool.arg("-s").arg(path);
    } else if let Some((host, port)) = url.hosts.first() {
        tool = tool.arg("-h").arg(host).arg("-p").arg(port.unwrap_or(6379).to_string());
    }
    if url.scheme == "rediss" {
        tool = tool.arg("--tls");
    }
    if let Some(user) = &url.user {
        tool = tool.arg("--user").arg(user);
    }
    // The tool takes a password from its arguments or from here, and only the latter is private.
    tool.secret_variable("REDISCLI_AUTH", server.secret())
}

fn ask(server: &Server, words: &[&str]) -> io::Result<String> {
    let answer = client(server, "redis-cli").args(words.iter().copied()).text()?;
    let answer = answer.trim_end().to_string();
    match ["ERR ", "NOAUTH ", "WRONGPASS ", "NOPERM ", "(error)"].iter().any(|e| answer.starts_with(e)) {
        true => Err(io::Error::new(tool::kind_of(&answer), format!("the server answered: {answer}"))),
        false => Ok(answer),
    }
}

fn info(server: &Server, section: &str, field: &str) -> io::Result<String> {
    let info = ask(server, &["info", section])?;
    let line = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.map(|v| v.trim().to_string()).ok_or_else(|| io::Error::other(format!("the server tells no {field}")))
}

/// Keys in all databases of the server.
fn count_keys(server: &Server) -> io::Result<u64> {
    let info = ask(server, &["info", "keyspace"])?;
    let keys =
        info.lines().filter_map(|line| line.split_once("keys=")?.1.split(',').next()?.parse::<u64>().ok());
    Ok(keys.sum())
}

/// Bytes behind a snapshot by which a server that sends without a length marks its end; `redis-cli` takes them
/// off a file, but not off what it prints. They are letters and digits of the server's own.
const END_MARK_BYTES: usize = 40;
/// The checksum at the end of a snapshot.
const CRC_BYTES: usize = 8;

/// An RDB stream that is checked while it passes: its mark, its end code and its checksum. It ends with an error
/// if it is not whole, and without the server's own mark behind it.
struct Rdb<R> {
    inner: R,
    head: Vec<u8>,
    /// Read, but not passed on yet: it may be the end.
    held: VecDeque<u8>,
    /// How much of what is held may be passed on.
    free: usize,
    /// The last byte that is in the checksum.
    before: u8,
    crc: u64,
    at_end: bool,
}

impl<R: Read> Rdb<R> {
    fn new(inner: R) -> Rdb<R> {
        let held = VecDeque::new();
        Rdb { inner, head: Vec::new(), held, free: 0, before: 0, crc: 0, at_end: false }
    }

    /// Reads on until something may be passed on.
    fn fill(&mut self) -> io::Result<()> {
        let mut part = [0; 64 << 10];
        while self.free == 0 && !self.at_end {
            let len = self.inner.read(&mut part)?;
            if len == 0 {
                self.at_end = true;
                return self.judge();
            }
            let missing = 5 - self.head.len();
            self.head.extend_from_slice(&part[..len.min(missing)]);
            self.held.extend(&part[..len]);
            self.free = self.held.len().saturating_sub(END_MARK_BYTES + CRC_BYTES);
        }
        Ok(())
    }

    /// Looks at what is held at the end: the rest of the snapshot, and perhaps the server's mark.
    fn judge(&mut self) -> io::Result<()> {
        if self.head != *b"REDIS" {
            return Err(io::Error::other("the server sent no snapshot"));
        }
        let held: Vec<u8> = self.held.iter().copied().collect();
        let without_mark = held.len().saturating_sub(END_MARK_BYTES);
        let is_mark = held[without_mark..].iter().all(u8::is_ascii_alphanumeric);
        let len = match is_mark && self.is_whole(&held[..without_mark]) {
            true => without_mark,
            false if self.is_whole(&held) => held.len(),
            false => return Err(io::Error::other("the snapshot of the server is cut off or damaged")),
        };
        self.held.truncate(len);
        self.free = len;
        Ok(())
    }

    /// Whether the snapshot ends with these bytes.
    fn is_whole(&self, last: &[u8]) -> bool {
        let Some((rest, stored)) = last.split_last_chunk::<CRC_BYTES>() else { return false };
        let before = *rest.last().unwrap_or(&self.before);
        // A server with `rdbchecksum no` writes zeros.
        let stored = u64::from_le_bytes(*stored);
        before == END_CODE && (stored == 0 || stored == crc64(self.crc, rest))
    }
}

/// What stands before the checksum.
const END_CODE: u8 = 0xff;

impl<R: Read> Read for Rdb<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.fill()?;
        let len = self.free.min(buffer.len());
        for (to, byte) in buffer.iter_mut().zip(self.held.drain(..len)) {
            *to = byte;
        }
        self.free -= len;
        self.crc = crc64(self.crc, &buffer[..len]);
        self.before = buffer[..len].last().copied().unwrap_or(self.before);
        Ok(len)
    }
}

/// The CRC of RDB files: polynomial 0xad93d23594c935a9 (Jones), reflected, beginning with zero.
const CRC64: [u64; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xad93_d235_94c9_35a9_u64.reverse_bits() } else { crc >> 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

fn crc64(crc: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(crc, |crc, b| CRC64[((crc ^ u64::from(*b)) & 0xff) as usize] ^ (crc >> 8))
}

/// Where a snapshot goes.
pub enum Target<'t> {
    /// Into a running server.
    Server(&'t Server),
    /// Into a folder, as `dump.rdb`.
    Folder(&'t Path),
}

/// Brings a snapshot back. `scratch` is a folder for the file while it is loaded.
pub fn restore(
    target: &Target<'_>,
    scratch: &Path,
    about: &About,
    files: &mut dyn Files,
    what: &Restore,
) -> io::Result<Vec<Restored>> {
    what.refuse_name()?;
    let database = about.databases.first().ok_or_else(|| io::Error::other("the snapshot has no database"))?;
    let restored =
        |tables, replaced| Ok(vec![Restored { name: "redis".into(), tables, rows: None, replaced }]);
    match target {
        Target::Folder(folder) => {
            let place = folder.join(RDB);
            if place.exists() && !what.replace {
                return Err(not_empty("redis", &format!("{} is there", place.display())));
            }
            let replaced = place.exists();
            if !what.dry_run {
                std::fs::create_dir_all(folder)?;
                fetch(database, files, &place)?;
            }
            restored(database.tables.unwrap_or(0), replaced)
        }
        Target::Server(server) => {
            let keys = count_keys(server)?;
            if keys > 0 && !what.replace {
                return Err(not_empty("redis", &format!("it has keys ({keys})")));
            }
            if what.dry_run {
                return restored(database.tables.unwrap_or(0), keys > 0);
            }
            let lender = Lender::start(scratch, |place| fetch(database, files, place))?;
            lender.fill(server)?;
            restored(count_keys(server)?, keys > 0)
        }
    }
}

/// Writes the file under another name, checks it, and gives it its name.
fn fetch(database: &Database, files: &mut dyn Files, place: &Path) -> io::Result<()> {
    let path: Vec<&str> = database.path.iter().map(String::as_str).collect();
    let partial = place.with_extension("rdb.partial");
    let mut file = std::fs::File::create(&partial)?;
    let written = files.write(&path, &mut file);
    file.flush()?;
    file.sync_all()?;
    let checked =
        written.and_then(|_| super::read_out(&mut Rdb::new(std::fs::File::open(&partial)?)).map(|_| ()));
    match checked {
        Ok(()) => std::fs::rename(&partial, place),
        Err(e) => {
            let _ = std::fs::remove_file(&partial);
            Err(e)
        }
    }
}

/// A server of our own that has loaded the file and lends it to another.
struct Lender {
    folder: PathBuf,
    child: std::process::Child,
    port: u16,
}

impl Lender {
    fn start(scratch: &Path, put: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<Lender> {
        use std::os::unix::fs::DirBuilderExt;
        let folder = scratch.join(format!("lifeboat-redis-{}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let started = put(&folder.join(RDB)).and_then(|()| {
            std::process::Command::new("redis-server")
                .args([
                    "--bind",
                    "127.0.0.1",
                    "--port",
                    &port.to_string(),
                    "--save",
                    "",
                    "--appendonly",
                    "no",
                ])
                .args(["--daemonize", "no", "--dbfilename", RDB, "--repl-diskless-sync-delay", "0", "--dir"])
                .arg(&folder)
                .stdin(std::process::Stdio::null())
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .spawn()
        });
        match started {
            Ok(child) => Ok(Lender { folder, child, port }),
            Err(e) => {
                let _ = std::fs::remove_dir_all(&folder);
                Err(e)
            }
        }
    }

    /// Lets a server copy everything and stand on its own again.
    fn fill(&self, server: &Server) -> io::Result<()> {
        let ourselves = Server::at(&format!("redis://127.0.0.1:{}", self.port))?;
        let end = Instant::now() + COPY_TIME_MAX;
        let wait = |done: &dyn Fn() -> io::Result<bool>| loop {
            if done().unwrap_or(false) {
                return Ok(());
            }
            if server.patience.is_over() {
                return Err(io::Error::other("it was given up before the server had taken the snapshot"));
            }
            if Instant::now() > end {
                return Err(io::Error::other("the server did not take the snapshot within an hour"));
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        wait(&|| Ok(info(&ourselves, "persistence", "loading")? == "0"))?;
        ask(server, &["replicaof", "127.0.0.1", &self.port.to_string()])?;
        let copied = wait(&|| {
            let link = info(server, "replication", "master_link_status")?;
            Ok(link == "up" && info(server, "replication", "master_sync_in_progress")? == "0")
        });
        // Whatever happened, it must not stay the replica of a server that is about to end.
        ask(&server.patiently(), &["replicaof", "no", "one"])?;
        copied?;
        match (count_keys(&ourselves)?, count_keys(server)?) {
            (ours, theirs) if ours == theirs => Ok(()),
            (ours, theirs) => Err(io::Error::other(format!("the server has {theirs} keys of {ours}"))),
        }
    }
}

impl Drop for Lender {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_format() {
        // The value is the one in the comment of redis' own crc64.c.
        assert_eq!(crc64(0, b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }

    #[test]
    fn a_snapshot_that_is_cut_or_changed_is_refused() {
        let mut whole =
            b"REDIS0010some keys and so many of them that they are not all held back\xff".to_vec();
        whole.extend_from_slice(&crc64(0, &whole).to_le_bytes());
        let read = |bytes: &[u8]| {
            let mut passed = Vec::new();
            Rdb::new(bytes).read_to_end(&mut passed).map(|_| passed)
        };
        assert_eq!(read(&whole).unwrap(), whole);
        let marked = [&whole[..], &[b'f'; END_MARK_BYTES]].concat();
        assert_eq!(read(&marked).unwrap(), whole);
        for len in (0..marked.len()).filter(|len| *len != whole.len()) {
            assert!(read(&marked[..len]).is_err(), "{len}");
        }
        let mut changed = whole.clone();
        changed[12] ^= 1;
        assert!(read(&changed).is_err());
    }
}
