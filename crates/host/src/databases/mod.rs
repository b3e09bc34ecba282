//! Databases: dumped by their own tools as files of one snapshot, and brought back into a server.
//!
//! Each kind has a *source* (a [`Producer`](crate::produce::Producer)) and a way back. A dump that was cut off,
//! that its tool did not end well, or that lacks the mark of its end is never kept. What was dumped stands in
//! `about.json` beside the dumps: kind, version, databases and where each is. Nothing that exists is replaced
//! unless [`Restore::replace`] says so, and then only by something that was loaded whole before.

pub mod about;
pub mod command;
pub mod mongodb;
pub mod mysql;
pub mod postgres;
pub mod postgres_files;
pub mod redis;
pub mod scratch;
pub mod sqlite;
pub mod tool;
pub mod url;

use std::fmt::{self, Debug};
use std::io::{self, Read, Write};
use std::sync::Arc;

pub use about::{About, Database};
pub use tool::{Account, Secret, Tool};
pub use url::ServerUrl;

/// Which databases of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Databases {
    /// All but templates and what belongs to the server itself.
    All,
    /// These.
    Named(Vec<String>),
}

impl Databases {
    /// Those that are there and wanted; a named one that is not there is an error.
    fn choose(&self, there: Vec<String>) -> io::Result<Vec<String>> {
        let Databases::Named(names) = self else {
            if there.is_empty() {
                return Err(io::Error::other("the server has no database to dump"));
            }
            return Ok(there);
        };
        match names.iter().find(|name| !there.contains(name)) {
            Some(absent) => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("the server has no database {absent:?} (it has: {})", there.join(", ")),
            )),
            None if names.is_empty() => Err(io::Error::other("no database is named")),
            None => Ok(names.clone()),
        }
    }
}

/// How long tools and servers are waited for: until a run is cancelled or out of time.
#[derive(Clone, Default)]
pub struct Patience(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

impl Patience {
    /// Until this says that it is over.
    pub fn until(is_over: impl Fn() -> bool + Send + Sync + 'static) -> Patience {
        Patience(Some(Arc::new(is_over)))
    }

    /// Whether nobody waits any longer.
    pub fn is_over(&self) -> bool {
        self.0.as_ref().is_some_and(|is_over| is_over())
    }
}

impl Debug for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Patience")
    }
}

/// A server, and how to reach it.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where it is.
    pub url: ServerUrl,
    /// The password, if it wants one; wins over one in the URL.
    pub password: Option<Secret>,
    /// The account of this machine the tools run as; its own if absent.
    pub account: Option<Account>,
    /// A folder with the tools, where they are not on the path.
    pub tools: Option<std::path::PathBuf>,
    /// For how long it is waited for.
    pub patience: Patience,
}

impl Server {
    /// A server by its address, with what the address says.
    pub fn at(url: &str) -> io::Result<Server> {
        let url = ServerUrl::parse(url)?;
        Ok(Server { url, password: None, account: None, tools: None, patience: Patience::default() })
    }

    /// The same without an end of patience: for what must be put right although the run is over.
    fn patiently(&self) -> Server {
        Server { patience: Patience::default(), ..self.clone() }
    }

    fn secret(&self) -> Option<Secret> {
        self.password.clone().or_else(|| self.url.password.clone())
    }

    fn tool(&self, name: &str) -> Tool {
        let folder = self.tools.as_ref().map(|folder| folder.join(name));
        match folder {
            Some(path) => Tool::new(path),
            None => Tool::new(name),
        }
        .account(self.account)
        .patience(&self.patience)
    }
}

/// One value that a question was answered with.
fn one_value(value: &str, is_one: bool) -> io::Result<String> {
    match is_one {
        true => Ok(value.to_string()),
        false => Err(io::Error::other("the answer is not one value")),
    }
}

/// The files of a snapshot that came from a database, for the way back.
pub trait Files {
    /// Writes the contents of a file; its path counts from the source's own name. Returns its length.
    fn write(&mut self, path: &[&str], out: &mut dyn Write) -> io::Result<u64>;

    /// The contents of a small file.
    fn small(&mut self, path: &[&str]) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.write(path, &mut bytes)?;
        Ok(bytes)
    }
}

/// What is to be brought back, and how.
#[derive(Clone, Debug, Default)]
pub struct Restore {
    /// Only these databases; all if empty.
    pub databases: Vec<String>,
    /// Replace databases that hold something.
    pub replace: bool,
    /// Under this name instead of its own; exactly one database is meant then. PostgreSQL, MySQL and MariaDB.
    pub name: Option<String>,
    /// Look and say what would be done; change nothing.
    pub dry_run: bool,
}

impl Restore {
    /// The dumps that are meant.
    fn choose<'a>(&self, about: &'a About) -> io::Result<Vec<&'a Database>> {
        for name in &self.databases {
            if !about.databases.iter().any(|database| database.name == *name) {
                let there: Vec<_> = about.databases.iter().map(|d| d.name.as_str()).collect();
                return Err(io::Error::new(
                    io::ErrorKind::NotFound,
                    format!("the snapshot has no database {name:?} (it has: {})", there.join(", ")),
                ));
            }
        }
        let wanted = |d: &&Database| self.databases.is_empty() || self.databases.contains(&d.name);
        let chosen: Vec<&Database> = about.databases.iter().filter(wanted).collect();
        match &self.name {
            Some(name) if chosen.len() != 1 => {
                let why = format!("{name:?} can be the name of one database, and {} are meant", chosen.len());
                Err(io::Error::new(io::ErrorKind::InvalidInput, why))
            }
            _ => Ok(chosen),
        }
    }

    /// The name a database gets.
    fn name_of<'n>(&'n self, database: &'n Database) -> &'n str {
        self.name.as_deref().unwrap_or(&database.name)
    }

    /// For kinds whose databases have no other names.
    fn refuse_name(&self) -> io::Result<()> {
        match &self.name {
            Some(_) => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "databases of this kind keep their names"))
            }
            None => Ok(()),
        }
    }
}

/// What became of one database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Its name.
    pub name: String,
    /// Tables, collections or files it has now.
    pub tables: u64,
    /// Rows, documents or keys it has now; `None` where nobody counts them.
    pub rows: Option<u64>,
    /// Whether something that was there was replaced.
    pub replaced: bool,
}

/// The error for something that is there and was not to be replaced.
fn not_empty(name: &str, what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, format!("the database {name:?} is not empty: {what}"))
}

/// Reads everything and throws it away: the reader's own end is what is wanted.
fn read_out(reader: &mut dyn Read) -> io::Result<u64> {
    io::copy(reader, &mut io::sink())
}

/// Splits what a tool printed at NUL bytes.
fn split_nul(bytes: &[u8]) -> io::Result<Vec<String>> {
    let not_text = |_| io::Error::other("the server gave a name that is not UTF-8");
    let parts = bytes.split(|b| *b == 0).map(|part| part.strip_suffix(b"\n").unwrap_or(part));
    parts.filter(|part| !part.is_empty()).map(|p| String::from_utf8(p.to_vec()).map_err(not_text)).collect()
}
