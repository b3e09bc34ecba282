//! MongoDB by its own archive: `mongodump --archive`, `mongorestore --archive`.
//!
//! The password reaches the tools in a private file (`--config`), never in their arguments. An archive must begin
//! with the tool's mark and end with the terminator of its last part.

use std::io::{self, Read};

use super::about::{About, Database};
use super::tool::{Secret, Tool};
use super::{Databases, Files, Restore, Restored, Server};
use crate::produce::{Contents, Facts, Grain, Producer, Sink, file_name};

/// What an archive begins with: 0x8199e26d, little-endian (mongo-tools, common/archive).
const BEGIN: [u8; 4] = [0x6d, 0xe2, 0x99, 0x81];
/// What every part, and so the archive, ends with.
const END: [u8; 4] = [0xff; 4];

/// A MongoDB server as a source.
pub struct Mongodb {
    /// The server.
    pub server: Server,
    /// Which databases; all of them are kept in one archive, named ones in one each.
    pub databases: Databases,
    /// Keep what happens meanwhile, so that all is of one moment (replica sets only, all databases).
    pub oplog: bool,
}

impl Producer for Mongodb {
    fn produce(&mut self, sink: &mut dyn Sink) -> io::Result<()> {
        let version = tool(&self.server, "mongodump").arg("--version").text()?;
        let mut about = About {
            tool: version.lines().next().unwrap_or_default().into(),
            place: self.server.url.shown(),
            ..About::new("mongodb")
        };
        let archives = match &self.databases {
            Databases::All => vec![None],
            Databases::Named(names) => names.iter().map(Some).collect(),
        };
        for database in archives {
            let mut dump = tool(&self.server, "mongodump").arg("--archive").arg("--quiet");
            if let Some(database) = database {
                dump = dump.arg(format!("--db={database}"));
            } else if self.oplog {
                dump = dump.arg("--oplog");
            }
            let name = database.map_or("all", |name| name.as_str());
            let path = format!("{}.archive", file_name(name));
            let mut stream = Ends { inner: dump.stream()?, first: Vec::new(), last: Vec::new() };
            sink.file(&[&path], Facts::PRIVATE, Contents::Stream(&mut stream, Grain::Fine))?;
            if stream.first != BEGIN || stream.last != END {
                return Err(io::Error::other(format!("mongodump gave no whole archive of {name:?}")));
            }
            let (name, path) = (name.to_string(), vec![path]);
            about.databases.push(Database { name, path, tables: None, create: String::new() });
        }
        about.keep(sink)
    }
}

fn tool(server: &Server, name: &str) -> Tool {
    let tool = server.tool(name);
    let mut address = server.url.clone();
    address.database = None;
    // The tools take the user from the address and the password from the file.
    let config = server.secret().map(|p| Secret::new(format!("password: {}\n", yaml(p.text()))));
    tool.secret_in_first_option("--config=", config).arg(format!("--uri={}", address.shown()))
}

/// A text as a double-quoted YAML scalar.
fn yaml(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out += &format!("\\x{:02x}", c as u32),
            c => out.push(c),
        }
    }
    out + "\""
}

/// Remembers the first and the last four bytes that pass.
struct Ends<R> {
    inner: R,
    first: Vec<u8>,
    last: Vec<u8>,
}

impl<R: Read> Read for Ends<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(buffer)?;
        let missing = 4 - self.first.len();
        self.first.extend_from_slice(&buffer[..len.min(missing)]);
        self.last.extend_from_slice(&buffer[len.saturating_sub(4)..len]);
        let excess = self.last.len().saturating_sub(4);
        self.last.drain(..excess);
        Ok(len)
    }
}

/// Brings archives back. Without `replace` the tool stops at anything that is there already.
pub fn restore(
    server: &Server,
    about: &About,
    files: &mut dyn Files,
    what: &Restore,
) -> io::Result<Vec<Restored>> {
    what.refuse_name()?;
    // One archive of everything may hold the databases that are asked for; the tool picks them out.
    let whole = about.databases.iter().filter(|d| d.path == ["all.archive"]).collect::<Vec<_>>();
    let chosen = if whole.is_empty() { what.choose(about)? } else { whole };
    let mut restored = Vec::new();
    for database in chosen {
        let path: Vec<&str> = database.path.iter().map(String::as_str).collect();
        let mut restore = tool(server, "mongorestore").arg("--archive").arg("--stopOnError");
        restore = restore.args(what.databases.iter().map(|name| format!("--nsInclude={name}.*")));
        if what.replace {
            restore = restore.arg("--drop");
        }
        if what.dry_run {
            restore = restore.arg("--dryRun");
        }
        restore.feed(&mut |input| files.write(&path, input).map(|_| ()))?;
        let name = database.name.clone();
        restored.push(Restored { name, tables: 0, rows: None, replaced: what.replace });
    }
    Ok(restored)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_are_those_of_the_whole() {
        let bytes = [&BEGIN[..], &[1, 2, 3], &END].concat();
        for step in [1, 3, 100] {
            let mut ends = Ends { inner: &bytes[..], first: Vec::new(), last: Vec::new() };
            let mut buffer = vec![0; step];
            while ends.read(&mut buffer).unwrap() > 0 {}
            assert_eq!((&ends.first[..], &ends.last[..]), (&BEGIN[..], &END[..]));
        }
        assert_eq!(yaml("a\"b\\c\n"), "\"a\\\"b\\\\c\\x0a\"");
    }
}
