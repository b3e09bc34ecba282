//! What a file system says is free, asked of its own tools, which only read.
//!
//! ext2/3/4 by `dumpe2fs`, XFS by `xfs_db`, btrfs by `btrfs inspect-internal`. A file system that was not put in
//! order, with a journal still to be worked off, is not believed: what is free there is only known after that.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::databases::Tool;

/// What is free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Free {
    /// The kind of the file system.
    pub kind: &'static str,
    /// Ascending ranges of bytes.
    pub ranges: Vec<Range<u64>>,
}

/// Asks the file system on a device; `None` if there is none whose free space is known here.
pub(super) fn of(device: &Path, size_bytes: u64) -> io::Result<Option<Free>> {
    let (kind, ranges) = match kind(device)? {
        Some("ext4") => ("ext4", ext4(&ask("dumpe2fs", &[], device, &[])?)?),
        Some("xfs") => ("xfs", xfs(device)?),
        Some("btrfs") => {
            let tree = ["inspect-internal", "dump-tree", "-t", "dev"];
            ("btrfs", btrfs(&ask("btrfs", &tree, device, &[])?, size_bytes)?)
        }
        _ => return Ok(None),
    };
    let mut at = 0;
    for range in &ranges {
        if range.start < at || range.end > size_bytes || range.is_empty() {
            return Err(io::Error::other(format!("what {kind} says of its free space makes no sense")));
        }
        at = range.end;
    }
    Ok(Some(Free { kind, ranges }))
}

/// The kind of the file system, by the marks of its superblock.
fn kind(device: &Path) -> io::Result<Option<&'static str>> {
    let mut file = File::open(device)?;
    let mut mark = |at: u64, len: usize| -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        file.seek(SeekFrom::Start(at))?;
        match file.read_exact(&mut bytes) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(Vec::new()),
            other => other.map(|()| bytes),
        }
    };
    if mark(0, 4)? == b"XFSB" {
        return Ok(Some("xfs"));
    }
    if mark(0x1_0040, 8)? == b"_BHRfS_M" {
        return Ok(Some("btrfs"));
    }
    Ok((mark(0x438, 2)? == [0x53, 0xef]).then_some("ext4"))
}

fn ask(program: &str, before: &[&str], device: &Path, after: &[&str]) -> io::Result<String> {
    let folders = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
    let full = folders.iter().map(|folder| Path::new(folder).join(program)).find(|path| path.exists());
    let tool = Tool::new(full.unwrap_or_else(|| PathBuf::from(program))).variable("LC_ALL", "C");
    tool.args(before.iter().copied()).arg(device).args(after.iter().copied()).text()
}

/// Reads the groups that `dumpe2fs` lists.
fn ext4(text: &str) -> io::Result<Vec<Range<u64>>> {
    let field = |name: &str| {
        let line =
            text.lines().take_while(|line| !line.starts_with("Group ")).find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim())
    };
    let number = |name: &str| field(name).and_then(|value| value.parse::<u64>().ok());
    let features = field("Filesystem features").unwrap_or_default();
    if field("Filesystem state") != Some("clean") || features.contains("needs_recovery") {
        return Err(io::Error::other("its file system was not unmounted cleanly"));
    }
    if features.contains("bigalloc") {
        return Err(io::Error::other("its file system counts clusters instead of blocks"));
    }
    let block = number("Block size").filter(|b| b.is_power_of_two() && (1024..=65536).contains(b));
    let block = block.ok_or_else(|| io::Error::other("dumpe2fs tells no block size"))?;
    let mut ranges = Vec::new();
    for list in text.lines().filter_map(|line| line.strip_prefix("  Free blocks: ")) {
        for part in list.split(", ").filter(|part| !part.trim().is_empty()) {
            let (first, last) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
            let bad = |_| io::Error::other(format!("dumpe2fs lists {part:?} as free"));
            push(&mut ranges, first.parse().map_err(bad)?, last.parse::<u64>().map_err(bad)?, block)?;
        }
    }
    if ranges.is_empty() && number("Free blocks").is_some_and(|free| free > 0) {
        return Err(io::Error::other("dumpe2fs lists no free block, though some are"));
    }
    Ok(ranges)
}

/// Adds the blocks from `first` to `last`.
fn push(ranges: &mut Vec<Range<u64>>, first: u64, last: u64, block: u64) -> io::Result<()> {
    let end = last.checked_add(1).and_then(|n| n.checked_mul(block));
    let start = first.checked_mul(block);
    let (Some(start), Some(end)) = (start, end) else {
        return Err(io::Error::other("a block number is too large"));
    };
    match ranges.last_mut() {
        Some(range) if range.end == start => range.end = end,
        _ => ranges.push(start..end),
    }
    Ok(())
}

fn xfs(device: &Path) -> io::Result<Vec<Range<u64>>> {
    // The log must be worked off: until then the free space on the disk is that of earlier.
    let log = ask("xfs_logprint", &["-t"], device, &[])?;
    if !log.contains("state: <CLEAN>") {
        return Err(io::Error::other("its file system was not unmounted cleanly"));
    }
    let geometry = ask("xfs_db", &["-r", "-c", "sb 0", "-c", "print blocksize agblocks"], device, &[])?;
    let number = |name: &str| {
        let line = geometry.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix('='));
        line.and_then(|value| value.trim().parse::<u64>().ok()).filter(|n| *n > 0)
    };
    let (Some(block), Some(group)) = (number("blocksize"), number("agblocks")) else {
        return Err(io::Error::other("xfs_db tells no geometry"));
    };
    xfs_extents(&ask("xfs_db", &["-r", "-c", "freesp -d"], device, &[])?, block, group)
}

/// Reads the extents that `freesp -d` lists before its table: group, block in it, length.
fn xfs_extents(text: &str, block: u64, group_blocks: u64) -> io::Result<Vec<Range<u64>>> {
    let mut extents = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let numbers: Option<Vec<u64>> = words.iter().map(|word| word.parse().ok()).collect();
        match numbers.as_deref() {
            Some([group, first, len]) if *len > 0 => {
                let start = group.checked_mul(group_blocks).and_then(|n| n.checked_add(*first));
                let start = start.ok_or_else(|| io::Error::other("a block number is too large"))?;
                extents.push((start, start.saturating_add(*len - 1)));
            }
            _ if line.trim_start().starts_with("from") => break,
            _ => {}
        }
    }
    extents.sort_unstable();
    let mut ranges = Vec::new();
    for (first, last) in extents {
        push(&mut ranges, first, last, block)?;
    }
    Ok(ranges)
}

/// Copies of btrfs' superblock, which lie outside of what the tree of the device lists.
const BTRFS_SUPERS: [Range<u64>; 3] =
    [0..(1 << 20), (64 << 20)..(64 << 20) + (64 << 10), (256 << 30)..(256 << 30) + (64 << 10)];

/// Everything that the device's tree does not give to a chunk.
fn btrfs(tree: &str, size_bytes: u64) -> io::Result<Vec<Range<u64>>> {
    let mut used: Vec<Range<u64>> = BTRFS_SUPERS.to_vec();
    let (mut start, mut devices) = (None, std::collections::BTreeSet::new());
    for line in tree.lines().map(str::trim) {
        if let Some((_, key)) = line.split_once(" DEV_EXTENT ") {
            start = key.split_whitespace().next().and_then(|t| t.trim_end_matches(')').parse::<u64>().ok());
            let device = line.split_once("key (").and_then(|(_, k)| k.split_whitespace().next());
            devices.extend(device.map(str::to_string));
        } else if let Some((_, len)) =
            line.rsplit_once(" length ").filter(|_| line.starts_with("chunk_objectid"))
        {
            let len: u64 = len.trim().parse().map_err(|_| io::Error::other("btrfs tells no length"))?;
            let from = start.take().ok_or_else(|| io::Error::other("btrfs tells a length of nothing"))?;
            used.push(from..from.checked_add(len).ok_or_else(|| io::Error::other("a length is too large"))?);
        }
    }
    if devices.len() != 1 || start.is_some() {
        return Err(io::Error::other("its file system spans several devices, or tells nothing of this one"));
    }
    used.sort_by_key(|range| range.start);
    let (mut free, mut at) = (Vec::new(), 0);
    for range in used {
        if range.start > at && at < size_bytes {
            free.push(at..range.start.min(size_bytes));
        }
        at = at.max(range.end);
    }
    if at < size_bytes {
        free.push(at..size_bytes);
    }
    Ok(free)
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)]
mod tests {
    use super::*;

    const EXT4: &str = "Filesystem volume name:   <none>\nFilesystem features:      has_journal extent 64bit\n\
        Filesystem state:         clean\nFree blocks:              30\nBlock size:               4096\n\n\
        Group 0: (Blocks 0-32767) csum 0x1 [ITABLE_ZEROED]\n  Primary superblock at 0\n  20 free blocks\n\
        \x20 Free blocks: 100-109, 200, 32767\n  Free inodes: 12-8192\n\
        Group 1: (Blocks 32768-65535)\n  Free blocks: 32768-32770\n  Free inodes: \nGroup 2: (x)\n  Free blocks: \n";

    #[test]
    fn the_list_of_dumpe2fs_is_read() {
        let k = 4096;
        let expected = [100 * k..110 * k, 200 * k..201 * k, 32767 * k..32771 * k];
        assert_eq!(ext4(EXT4).unwrap(), expected);
        for (from, to) in [
            ("state:         clean", "state:         not clean"),
            ("has_journal", "needs_recovery"),
            ("has_journal", "bigalloc"),
            ("Block size:               4096", "Block size:               7"),
            ("100-109", "100-x"),
            ("100-109", "1-18446744073709551615"),
        ] {
            assert!(ext4(&EXT4.replace(from, to)).is_err(), "{to}");
        }
    }

    #[test]
    fn the_list_of_xfs_db_is_read() {
        let text = "       0     1000       24\n       1        5        2\n       0      900      100\n   from      to extents\n   1 2 3\n";
        let k = 4096;
        assert_eq!(xfs_extents(text, k, 5000).unwrap(), [900 * k..1024 * k, 5005 * k..5007 * k]);
    }

    #[test]
    fn the_tree_of_a_btrfs_device_is_read() {
        let m = 1 << 20;
        let tree = "device tree\n\titem 0 key (0 PERSISTENT_ITEM 1) itemoff 1 itemsize 40\n\
            \titem 1 key (1 DEV_EXTENT 13631488) itemoff 3 itemsize 48\n\t\tdev extent chunk_tree 3\n\
            \t\tchunk_objectid 256 chunk_offset 13631488 length 8388608\n\t\tchunk_tree_uuid x\n";
        assert_eq!(btrfs(tree, 70 * m).unwrap(), [m..13 * m, 21 * m..64 * m, 64 * m + 65536..70 * m]);
        assert!(btrfs("nothing", 70 * m).is_err());
        assert!(btrfs(&tree.replace("length 8388608", "length x"), 70 * m).is_err());
    }
}
