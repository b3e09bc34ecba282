//! The recovery kit: one sheet of paper that, with one surviving copy, is enough to come back.
//!
//! It says where the copies are, holds a recovery key of its own (as words, groups and QR code) or a share
//! of one, the fingerprints to compare, the program's hash, and five steps. A kit is text and HTML made
//! here; where it goes is the caller's: a file that only its owner may read, or a terminal. What is
//! remembered of it on this machine ([`Remembered`]) tells neither the key nor anything that helps to guess it.

mod remembered;
mod sheet;

pub use remembered::{Issued, Remembered, Standing, describe};
pub use sheet::{Kit, KitSecret, ReadKit, read};

use crate::config::Contact;
use crate::failure::Outcome;
use repo::Repo;
use serde::Serialize;

/// What the hidden line of a kit begins with, by which the program knows it.
pub const MARK: &str = "lifeboat-kit-1";
/// Groups of the recovery key's text.
const GROUPS: usize = 14;

/// A copy, as a sheet tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KitPlace {
    /// Its name in the configuration, if it has one.
    pub name: Option<String>,
    /// Its location as it is given to `-r`; holds no secret.
    pub location: String,
    /// The repository's id.
    pub repository: String,
    /// The family's id.
    pub family: String,
    /// The fingerprint of the family's keys.
    pub keys: String,
    /// What else is needed to reach it.
    pub login: Option<String>,
    /// The id of the slot that the kit's key opens; `None` before it has one, or when it is gone.
    #[serde(skip)]
    pub slot: Option<String>,
}

/// A copy that was away when the kit was made: its key does not open it yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbsentPlace {
    /// Its name in the configuration.
    pub name: String,
    /// Its location as it is given to `-r`; holds no secret.
    pub location: String,
    /// What else is needed to reach it.
    pub login: Option<String>,
}

/// The program that brings everything back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its version.
    pub version: String,
    /// The name of its file beside each copy.
    pub file: String,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
    /// Whether it runs without any library of the system.
    pub is_static: bool,
    /// Whether it lies beside the copies.
    pub is_stored: bool,
}

/// This very program as it can be stored beside a copy.
pub struct OwnProgram {
    /// What is said of it.
    pub facts: Program,
    /// The file.
    pub contents: Vec<u8>,
}

const README: &str = "\
This folder belongs to a lifeboat repository: the folder or bucket above it is a backup.

To get files back you need the recovery kit (a printed sheet), or the password.
  1. copy the file lifeboat-... of this folder to a computer with 64-bit Linux
  2. compare its SHA-256 with the kit:   sha256sum lifeboat-...
  3. chmod +x lifeboat-...
  4. ./lifeboat-... recover PLACE --recovery-key           PLACE is where this backup lies
  5. do what it prints
";

/// Stores the program and a page of text beside a copy.
pub fn store_program(repo: &Repo, program: &OwnProgram) -> Outcome<()> {
    repo::tools::store_tool(repo, "readme.txt", README.as_bytes())?;
    repo::tools::store_tool(repo, &program.facts.file, &program.contents)?;
    Ok(())
}

/// Whether a program needs nothing of the system it runs on: an ELF file without an interpreter.
pub fn is_static(program: &[u8]) -> bool {
    let number = |at: usize, len: usize| -> Option<u64> {
        let bytes = program.get(at..at + len)?;
        Some(bytes.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte)))
    };
    let is_elf64 = program.starts_with(b"\x7fELF\x02\x01");
    let headers = || -> Option<bool> {
        let (at, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
        for i in 0..count {
            let header = usize::try_from(at.checked_add(i * size)?).ok()?;
            if number(header, 4)? == 3 {
                return Some(false); // PT_INTERP
            }
        }
        Some(true)
    };
    is_elf64 && headers().unwrap_or(false)
}

/// Somebody to ask, in one line.
pub fn contact_line(contact: &Contact) -> String {
    let parts = [Some(&contact.name), contact.role.as_ref(), contact.phone.as_ref(), contact.email.as_ref()];
    parts.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_static_program_is_told_from_one_that_is_not() {
        assert!(!is_static(b"#!/bin/sh"));
        assert!(!is_static(b"\x7fELF\x02\x01"));
        let own = std::fs::read("/proc/self/exe").unwrap();
        let text = own.windows(9).any(|w| w == b"ld-linux-" || w == b"/ld-musl-");
        assert!(!is_static(&own) || !text, "the test itself is dynamic on glibc");
    }
}
