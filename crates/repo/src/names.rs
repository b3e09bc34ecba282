//! Which object has which name.
//!
//! Packs are spread over sixteen folders by their first digit: few enough that listing a store folder by
//! folder stays cheap at 20 ms a round trip, enough for 41,000 packs a folder at 10 TiB.

use format::id::{BlobKind, ErasureId, HoldId, PackId, RepoId, SlotId, SnapshotId};
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
/// Folder of holds.
pub const HOLDS: &str = "holds/";
/// How the names of erasures begin.
pub const ERASED: &str = "gc/erased-";
/// How the names of what is stored twice begin, beside [`CONFIG`].
pub const TWICE: [&str; 4] = [KEYS, SNAPSHOTS, HOLDS, ERASED];
/// Folder of trust records.
pub const TRUST: &str = "trust/";
/// Folder of the log.
pub const LOG: &str = "log/";
/// Folder of attestations.
pub const ATTEST: &str = "attest/";
/// Folder of what helps a person who has the place and nothing else: the program itself, a page of text. Plain.
pub const TOOLS: &str = "tools/";
/// Bytes without meaning that are given up first when a full place must be freed.
pub const RESERVE: &str = "maint/reserve";
/// What the names of objects begin with that ask a store for its time.
pub const CLOCK: &str = "maint/clock-";
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

/// The pack of this name and the kind its folder speaks of; `None` for names that no writer makes.
pub fn parse_pack(object: &ObjectName) -> Option<(BlobKind, PackId)> {
    let text = object.as_str();
    let (kind, rest) = match text.strip_prefix(PACKS) {
        Some(rest) => (BlobKind::Data, rest),
        None => (BlobKind::Tree, text.strip_prefix(TREES)?),
    };
    let (folder, hex) = rest.split_once('/')?;
    let id = PackId::from_hex(hex)?;
    (folder == &hex[..1]).then_some((kind, id))
}

/// A key slot.
pub fn slot(id: &SlotId) -> ObjectName {
    name(&format!("{KEYS}{}", id.hex()))
}

/// The slot of this name, in `keys/` or `mirror/keys/`.
pub fn parse_slot(object: &ObjectName) -> Option<SlotId> {
    SlotId::from_hex(first_copy(object).strip_prefix(KEYS)?)
}

/// Whether objects of this kind are stored twice.
pub fn stands_twice(object: &ObjectName) -> bool {
    let first = first_copy(object);
    first == CONFIG || TWICE.iter().any(|beginning| first.starts_with(beginning))
}

/// A name without the mirror's folder.
pub fn first_copy(object: &ObjectName) -> &str {
    object.as_str().strip_prefix(MIRROR).unwrap_or(object.as_str())
}

/// A snapshot record.
pub fn snapshot(id: &SnapshotId) -> ObjectName {
    name(&format!("{SNAPSHOTS}{}", id.hex()))
}

/// The snapshot whose record has this name, in `snapshots/` or `mirror/snapshots/`.
pub fn parse_snapshot(object: &ObjectName) -> Option<SnapshotId> {
    SnapshotId::from_hex(first_copy(object).strip_prefix(SNAPSHOTS)?)
}

/// A pending record. The fixed width makes a later one sort after what it replaces.
pub fn pending(session: &SnapshotId, number: u64) -> ObjectName {
    name(&format!("{PENDING}{}.{number:08x}", session.hex()))
}

/// The session and number of a pending record's name.
pub fn parse_pending(object: &ObjectName) -> Option<(SnapshotId, u64)> {
    let (session, number) = object.as_str().strip_prefix(PENDING)?.split_once('.')?;
    let number = (number.len() >= 8).then(|| u64::from_str_radix(number, 16).ok())?;
    Some((SnapshotId::from_hex(session)?, number?))
}

/// A tomb.
pub fn tomb(id: &SnapshotId) -> ObjectName {
    name(&format!("{GC}tomb-{}", id.hex()))
}

/// The mark of a snapshot that is known to be damaged.
pub fn damage_mark(id: &SnapshotId) -> ObjectName {
    name(&format!("{GC}damaged-{}", id.hex()))
}

/// The mark of a pack that is known to be damaged.
pub fn pack_damage_mark(id: &PackId) -> ObjectName {
    name(&format!("{GC}damaged-{}", id.hex()))
}

/// Whether this is the mark of a snapshot or a pack.
pub fn is_damage_mark(object: &ObjectName) -> bool {
    object.as_str().strip_prefix(GC).is_some_and(|rest| rest.starts_with("damaged-"))
}

/// The pack whose mark has this name.
pub fn parse_pack_damage_mark(object: &ObjectName) -> Option<PackId> {
    PackId::from_hex(object.as_str().strip_prefix(GC)?.strip_prefix("damaged-")?)
}

/// The snapshot a tomb's name speaks of.
pub fn parse_tomb(object: &ObjectName) -> Option<SnapshotId> {
    SnapshotId::from_hex(object.as_str().strip_prefix(GC)?.strip_prefix("tomb-")?)
}

/// A hold.
pub fn hold(id: &HoldId) -> ObjectName {
    name(&format!("{HOLDS}{}", id.hex()))
}

/// The hold of this name, in `holds/` or `mirror/holds/`.
pub fn parse_hold(object: &ObjectName) -> Option<HoldId> {
    HoldId::from_hex(first_copy(object).strip_prefix(HOLDS)?)
}

/// A trust record.
pub fn trust(id: &SnapshotId) -> ObjectName {
    name(&format!("{TRUST}{}", id.hex()))
}

/// The snapshot that a trust record's name speaks of.
pub fn parse_trust(object: &ObjectName) -> Option<SnapshotId> {
    SnapshotId::from_hex(object.as_str().strip_prefix(TRUST)?)
}

/// An erasure.
pub fn erasure(id: &ErasureId) -> ObjectName {
    name(&format!("{ERASED}{}", id.hex()))
}

/// The erasure of this name, under `gc/` or `mirror/gc/`.
pub fn parse_erasure(object: &ObjectName) -> Option<ErasureId> {
    ErasureId::from_hex(first_copy(object).strip_prefix(ERASED)?)
}

/// A record of the log in this folder ([`LOG`] or [`ATTEST`]): a number greater than that of every record seen,
/// then the object's hash.
pub fn log_record(folder: &str, number: u64, bytes: &[u8]) -> ObjectName {
    name(&format!("{folder}{number:016x}-{}", hash_part(bytes)))
}

/// The number of a log record, or of an attestation.
pub fn parse_log_record(object: &ObjectName) -> Option<u64> {
    let text = object.as_str();
    let (number, hash) = text.strip_prefix(LOG).or_else(|| text.strip_prefix(ATTEST))?.split_once('-')?;
    let fits = number.len() == 16 && hash.len() == 32;
    fits.then(|| u64::from_str_radix(number, 16).ok())?
}

/// Whether these are the bytes that a log record of this name was written with.
pub fn is_log_record_of(object: &ObjectName, bytes: &[u8]) -> bool {
    object.as_str().ends_with(&hash_part(bytes))
}

/// Whether the log record of this name has these bytes' hash.
pub fn is_log_record_with(object: &ObjectName, hash: &[u8; 32]) -> bool {
    object.as_str().ends_with(&blake3::Hash::from_bytes(*hash).to_hex()[..32])
}

/// A list of condemned packs: a number greater than that of every list seen, then the object's hash.
pub fn condemned(number: u64, bytes: &[u8]) -> ObjectName {
    name(&format!("{GC}condemned-{number:016x}-{}", hash_part(bytes)))
}

/// Whether these are the bytes that a list of condemned packs of this name was written with.
pub fn is_condemned_of(object: &ObjectName, bytes: &[u8]) -> bool {
    object.as_str().ends_with(&hash_part(bytes))
}

/// The number of a list of condemned packs.
pub fn parse_condemned(object: &ObjectName) -> Option<u64> {
    let (number, _) = object.as_str().strip_prefix(GC)?.strip_prefix("condemned-")?.split_once('-')?;
    (number.len() == 16).then(|| u64::from_str_radix(number, 16).ok())?
}

/// A list of removed snapshots: a number greater than that of every list seen, then the object's hash.
pub fn removed(number: u64, bytes: &[u8]) -> ObjectName {
    name(&format!("{GC}removed-{number:016x}-{}", hash_part(bytes)))
}

/// The number of a list of removed snapshots.
pub fn parse_removed(object: &ObjectName) -> Option<u64> {
    let (number, _) = object.as_str().strip_prefix(GC)?.strip_prefix("removed-")?.split_once('-')?;
    (number.len() == 16).then(|| u64::from_str_radix(number, 16).ok())?
}

/// Whether this is a list of condemned packs.
pub fn is_condemned(object: &ObjectName) -> bool {
    object.as_str().strip_prefix(GC).is_some_and(|rest| rest.starts_with("condemned-"))
}

/// An index segment: a number greater than that of everything listed before, then the object's hash.
pub fn segment(number: u64, bytes: &[u8]) -> ObjectName {
    name(&format!("{INDEX}{number:016x}-{}", hash_part(bytes)))
}

/// The first 32 digits of an object's hash, which end the names of index segments.
fn hash_part(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..32].to_string()
}

/// Whether these are the bytes that an index segment of this name was written with.
pub fn is_segment_of(object: &ObjectName, bytes: &[u8]) -> bool {
    object.as_str().ends_with(&hash_part(bytes))
}

/// The number of an index segment; `None` for names that no writer makes.
pub fn parse_segment(object: &ObjectName) -> Option<u64> {
    let (number, hash) = object.as_str().strip_prefix(INDEX)?.split_once('-')?;
    let is_hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let fits = number.len() == 16 && hash.len() == 32 && is_hex(number) && is_hex(hash);
    fits.then(|| u64::from_str_radix(number, 16).ok())?
}

/// The context that ties local files to one repository.
pub fn cache_folder(repo: &RepoId) -> String {
    repo.hex()
}
