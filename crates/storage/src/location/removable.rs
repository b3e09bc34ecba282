//! Drives that come and go: `removable:UUID/folder`, wherever the drive is mounted today.
//!
//! The UUID is the file system's own (`lsblk -o NAME,UUID`), so a drive is known whatever the mount path,
//! and a folder of the same name on another disk is never mistaken for it.

use super::{decode, encode, folders};
use std::fmt;

/// Longest id of a file system (bytes). ext4 and btrfs have 36, exFAT 9, NTFS 16.
const ID_BYTES_MAX: usize = 64;

/// A folder on a file system known by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovableLocation {
    /// The file system's UUID, in lower case.
    pub uuid: String,
    /// Folders below its top, without slashes at the ends; may be empty.
    pub path: String,
    /// Whether it is mounted when it is plugged in and not mounted, and unmounted afterwards.
    pub mount: bool,
}

pub(super) fn parse(rest: &str) -> Result<RemovableLocation, String> {
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (uuid, path) = rest.split_once('/').unwrap_or((rest, ""));
    if !is_uuid(uuid) {
        return Err(format!(
            "{uuid:?} is no UUID of a file system (`lsblk -o NAME,LABEL,UUID` shows them): removable:UUID/FOLDER"
        ));
    }
    let mount = match query {
        "" | "mount=no" => false,
        "mount=yes" => true,
        _ => return Err(format!("removable: has no option {query:?}; there is mount=yes")),
    };
    Ok(RemovableLocation { uuid: uuid.to_ascii_lowercase(), path: folders(&decode(path)?)?, mount })
}

/// Whether a text may be the id of a file system.
pub(crate) fn is_uuid(text: &str) -> bool {
    (4..=ID_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
        && text.bytes().any(|b| b.is_ascii_hexdigit())
}

impl fmt::Display for RemovableLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mount = if self.mount { "?mount=yes" } else { "" };
        write!(f, "removable:{}/{}{mount}", self.uuid, encode(&self.path))
    }
}
