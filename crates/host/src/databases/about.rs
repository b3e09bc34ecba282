//! What was dumped, as a small file beside the dumps: enough to bring it back with nothing else at hand.

use std::io;

use serde::{Deserialize, Serialize};

use super::Files;
use crate::produce::{Contents, Facts, Sink};

/// Name of the file.
pub const ABOUT: &str = "about.json";
/// A longer one is no such file: 100,000 databases need less.
const ABOUT_BYTES_MAX: usize = 16 << 20;

/// What was dumped. Unknown fields of later versions are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// `postgres`, `postgres-files`, `mysql`, `sqlite`, `mongodb`, `redis`, `system` or `block`.
    pub kind: String,
    /// Version of the server, as it tells it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub server: String,
    /// The tool that made the dumps, as it tells it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tool: String,
    /// Where it was, without any password.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub place: String,
    /// The databases, in order of their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub databases: Vec<Database>,
}

/// One database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// Where its dump is, counted from the source's own name.
    pub path: Vec<String>,
    /// Tables or collections with data when it was dumped, where the tool tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables: Option<u64>,
    /// The statement that makes the empty database, where its kind needs one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub create: String,
}

impl About {
    /// Nothing but a kind.
    pub fn new(kind: &str) -> About {
        About {
            kind: kind.into(),
            server: String::new(),
            tool: String::new(),
            place: String::new(),
            databases: Vec::new(),
        }
    }

    /// Keeps it.
    pub fn keep(&self, sink: &mut dyn Sink) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        text.push(b'\n');
        sink.file(&[ABOUT], Facts::PRIVATE, Contents::Bytes(&text)).map(|_| ())
    }

    /// Reads it from a snapshot.
    pub fn read(files: &mut dyn Files) -> io::Result<About> {
        About::parse(&files.small(&[ABOUT])?)
    }

    /// Reads it from bytes; paths that are no paths are refused.
    pub fn parse(bytes: &[u8]) -> io::Result<About> {
        let bad = |why: String| io::Error::new(io::ErrorKind::InvalidData, format!("{ABOUT}: {why}"));
        if bytes.len() > ABOUT_BYTES_MAX {
            return Err(bad("it is too long".into()));
        }
        let about: About = serde_json::from_slice(bytes).map_err(|e| bad(e.to_string()))?;
        let is_bad =
            |name: &String| name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']);
        match about.databases.iter().find(|d| d.path.is_empty() || d.path.iter().any(is_bad)) {
            Some(database) => Err(bad(format!("the path of {:?} is no path", database.name))),
            None => Ok(about),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_descriptions_are_refused() {
        for text in [
            "",
            "{}",
            "[1]",
            "{\"kind\":\"x\",\"databases\":[{\"name\":\"a\",\"path\":[]}]}",
            "{\"kind\":\"x\",\"databases\":[{\"name\":\"a\",\"path\":[\"..\"]}]}",
        ] {
            assert!(About::parse(text.as_bytes()).is_err(), "{text}");
        }
        let later = About::parse(b"{\"kind\":\"x\",\"colour\":\"red\"}").unwrap();
        assert_eq!(later, About::new("x"));
    }
}
