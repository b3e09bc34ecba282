//! Whoever is at the other end of a run: a person at a terminal, a log, or nobody.

use crate::failure::Outcome;
use zeroize::Zeroizing;

/// A server that is not known yet, as a person compares it.
pub struct UnknownHost<'a> {
    /// Its name.
    pub host: &'a str,
    /// Its port.
    pub port: u16,
    /// The type of its key.
    pub key_type: &'a str,
    /// The fingerprint of its key.
    pub fingerprint: &'a str,
}

/// Takes what a run has to say besides its results, and answers its questions.
pub trait Person: Send + Sync {
    /// Something that must be read.
    fn message(&self, _text: &str) {}
    /// Something to know, unless quiet is wanted.
    fn info(&self, _text: &str) {}
    /// Something to worry about.
    fn warn(&self, _text: &str) {}
    /// Something to worry about for who wants to know everything.
    fn detail(&self, _text: &str) {}
    /// Asks for a password; `None` where nobody can be asked.
    fn password(&self, _question: &str) -> Option<Outcome<Zeroizing<String>>> {
        None
    }
    /// Whether this is the right server. Nobody trusts one.
    fn trusts(&self, _host: &UnknownHost<'_>) -> bool {
        false
    }
    /// Whether the run is to end soon.
    fn cancelled(&self) -> bool {
        false
    }
}

/// Hears nothing and answers nothing.
pub struct Nobody;

impl Person for Nobody {}
