//! What is left out of a backup and which rule says so.
//!
//! Knows no file system: it judges names and metadata that the walk brings.

use crate::stat::{Kind, Stat};

/// The rules of one backup. The default leaves nothing out.
#[derive(Debug, Default)]
pub struct Rules {
    /// Leave out files with more bytes than this.
    pub larger_than_bytes: Option<u64>,
}

/// Which rule left an entry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exclusion {
    /// The file has more bytes than the rules allow.
    LargerThan,
}

impl Rules {
    /// Judges what only metadata tells.
    pub(crate) fn judge_stat(&self, stat: &Stat) -> Option<Exclusion> {
        let too_large =
            stat.kind == Kind::File && self.larger_than_bytes.is_some_and(|max| stat.size_bytes > max);
        too_large.then_some(Exclusion::LargerThan)
    }
}
