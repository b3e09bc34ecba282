//! Every maximum and fixed number of the format, each with its reason.
//!
//! Lengths from outside are compared with these *before* anything is allocated.

/// The version every structure of this format carries.
pub const FORMAT_VERSION: u8 = 1;

/// Largest decoded block. Bounds the memory of one decode; four times the largest block written.
pub const BLOCK_RAW_BYTES_MAX: usize = 16 << 20;
/// Most blobs in one block: the index stores the rank in 16 bits.
pub const BLOCK_BLOBS_MAX: usize = 65_535;
/// Most bytes a block spends on counting its blobs and their lengths: 3, and 4 for each.
pub const BLOCK_LENGTHS_BYTES_MAX: usize = 3 + 4 * BLOCK_BLOBS_MAX;
/// What sealing adds to a block: salt 24, codec 1, raw length 4, tag 16.
pub const BLOCK_OVERHEAD_BYTES: usize = 24 + 5 + 16;
/// Largest stored block: incompressible data is stored raw, so sealing is all it grows by.
pub const BLOCK_STORED_BYTES_MAX: usize =
    BLOCK_RAW_BYTES_MAX + BLOCK_LENGTHS_BYTES_MAX + BLOCK_OVERHEAD_BYTES;

/// Largest pack. Offsets inside a pack are 32 bits wide.
pub const PACK_BYTES_MAX: u64 = u32::MAX as u64;
/// Most blocks of a pack; bounds the directory.
pub const PACK_BLOCKS_MAX: usize = 1 << 20;
/// Most blobs of a pack; bounds the directory.
pub const PACK_BLOBS_MAX: usize = 16 << 20;
/// Largest sealed pack directory.
pub const PACK_DIRECTORY_BYTES_MAX: usize = 512 << 20;

/// Longest tree key: a path of many 255-byte names, yet far below a node's limit on damage.
pub const KEY_BYTES_MAX: usize = 1 << 20;
/// Most entries of a tree node.
pub const NODE_ENTRIES_MAX: usize = 1_024;
/// A node ends after the entry with which its weight reaches this.
pub const NODE_WEIGHT_MAX: usize = 256 << 10;
/// Most bytes the keys of an index node expand to: two children stand in every node, however long their keys.
pub const NODE_KEYS_BYTES_MAX: usize = NODE_WEIGHT_MAX + 2 * KEY_BYTES_MAX;
/// Largest encoded node: the last entry may exceed the weight by one longest key and one xattr set.
pub const NODE_BYTES_MAX: usize = 8 << 20;
/// Deepest tree: 1,024-way nodes need 7 levels for 2^64 entries; 2-way ones 64.
pub const TREE_LEVELS_MAX: u8 = 64;
/// One entry in 192 ends a node, on the average.
pub const NODE_BOUNDARY_ONE_IN: u64 = 192;

/// Extents stored in the entry itself; more go to nodes of their own.
pub const EXTENTS_INLINE_MAX: usize = 8;
/// Most items of an extent node.
pub const EXTENT_NODE_ITEMS_MAX: usize = 1_024;
/// One item in 256 ends an extent node, on the average.
pub const EXTENT_BOUNDARY_ONE_IN: u64 = 256;
/// Largest chunk, and so the largest single blob, of any chunker profile.
pub const CHUNK_BYTES_MAX: usize = 16 << 20;

/// A longer encoded xattr set becomes a blob of its own.
pub const XATTRS_INLINE_BYTES_MAX: usize = 1_024;
/// Largest encoded xattr set (Linux: 64 KiB a value; some file systems allow many values).
pub const XATTRS_BYTES_MAX: usize = 4 << 20;
/// Most attributes of a set (Linux: 64 KiB of names).
pub const XATTRS_MAX: usize = 65_536;
/// Longest symbolic link target (Linux: 4,095).
pub const LINK_TARGET_BYTES_MAX: usize = 64 << 10;
/// Longest user or group name kept.
pub const OWNER_NAME_BYTES_MAX: usize = 1_024;

/// Largest decoded record (config, snapshot, pending, gc record): some two million pack names.
pub const RECORD_BYTES_MAX: usize = 64 << 20;
/// Largest decoded index segment.
pub const INDEX_BYTES_MAX: usize = 512 << 20;
/// Most blobs of an index segment.
pub const INDEX_BLOBS_MAX: usize = 16 << 20;

/// Settings of the minimum age a configuration remembers; past ones are dropped once they protect nothing.
pub const MINIMUM_AGES_MAX: usize = 1_024;

/// Longest label of a key slot; writers keep other texts of records as short.
pub const TEXT_BYTES_MAX: usize = 64 << 10;
/// Items in lists of records: sources, tags, mounts, excludes (not names of packs).
pub const LIST_ITEMS_MAX: usize = 1 << 20;

/// Argon2id memory accepted from a stored slot, in KiB: 1 GiB. A hostile store must not exhaust memory.
pub const ARGON_KIB_MAX: u32 = 1 << 20;
/// Argon2id passes accepted from a stored slot.
pub const ARGON_PASSES_MAX: u32 = 12;
/// Argon2id lanes accepted from a stored slot.
pub const ARGON_LANES_MAX: u32 = 16;
