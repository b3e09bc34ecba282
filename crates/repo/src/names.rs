//! Which object has which name.
//!
//! Packs are spread over sixteen folders by their first digit: few enough that listing a store folder by
//! folder stays cheap at 20 ms a round trip, enough for 41,000 packs a folder at 10 TiB.

use format::id::{BlobKind, PackId, RepoId, SlotId, SnapshotId};
use storage::ObjectName;

/// The configuration.
pub const CONFIG: &str = "config";
/// Where second copies of the smallest objects live: a folder that is not lost with the first.
pub const MIRROR: &str = "mirror/";
/// Folder of key slots.
pub const KEYS: &str = "keys/";
/// Folder of index segments.
pub const INDEX: &str = "index/";
/// Folder of snapshot records.
pub const SNAPSHOTS: &str = "snapshots/";
/// Folder of pending records.
pub const PENDING: &str = "pending/";
/// Folder of everything that takes something away.
pub const GC: &str = "gc/";
/// Folder of data packs.
pub const PACKS: &str = "packs/";
/// Folder of tree packs.
pub const TREES: &str = "trees/";

/// A name made from parts that are known to be valid.
pub fn name(text: &str) -> ObjectName {
    ObjectName::new(text).expect("names are made of folders, hex, dots and dashes")
}

/// The second copy of a small object.
pub fn mirror(of: &ObjectName) -> ObjectName {
    name(&format!("{MIRROR}{of}"))
}

/// The folder of packs of this kind.
pub fn pack_folder(kind: BlobKind) -> &'static str {
    match kind {
        BlobKind::Data => PACKS,
        BlobKind::Tree => TREES,
    }
}

/// A pack.
pub fn pack(kind: BlobKind, id: &PackId) -> ObjectName {
    let hex = id.hex();
    name(&format!("{}{}/{hex}", pack_folder(kind), &hex[..1]))
}

/// The pack of this name; `None` for names that no writer makes.
pub fn parse_pack(object: &ObjectName) -> Option<PackId> {
    PackId::from_hex(object.file_name())
}

/// A key slot.
pub fn slot(id: &SlotId) -> ObjectName {
    name(&format!("{KEYS}{}", id.hex()))
}

/// A snapshot record.
pub fn snapshot(id: &SnapshotId) -> ObjectName {
    name(&format!("{SNAPSHOTS}{}", id.hex()))
}

/// A pending record. The fixed width makes a later one sort after what it replaces.
pub fn pending(session: &SnapshotId, number: u64) -> ObjectName {
    name(&format!("{PENDING}{}.{number:08x}", session.hex()))
}

/// A tomb.
pub fn tomb(id: &SnapshotId) -> ObjectName {
    name(&format!("{GC}tomb-{}", id.hex()))
}

/// The snapshot a tomb's name speaks of.
pub fn parse_tomb(object: &ObjectName) -> Option<SnapshotId> {
    SnapshotId::from_hex(object.file_name().strip_prefix("tomb-")?)
}

/// Whether this is a list of condemned packs.
pub fn is_condemned(object: &ObjectName) -> bool {
    object.file_name().starts_with("condemned-")
}

/// An index segment: a number greater than that of everything listed before, then the object's hash.
pub fn segment(number: u64, bytes: &[u8]) -> ObjectName {
    let hash = blake3::hash(bytes);
    name(&format!("{INDEX}{number:016x}-{}", &hash.to_hex()[..32]))
}

/// The number of an index segment; `None` for names that no writer makes.
pub fn parse_segment(object: &ObjectName) -> Option<u64> {
    let (number, hash) = object.file_name().split_once('-')?;
    (number.len() == 16 && hash.len() == 32).then(|| u64::from_str_radix(number, 16).ok())?
}

/// The context that ties local files to one repository.
pub fn cache_folder(repo: &RepoId) -> String {
    repo.hex()
}
