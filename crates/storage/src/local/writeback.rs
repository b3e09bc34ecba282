//! Tells the kernel to begin writing a part of a file to its disk, without waiting.
//!
//! The only `unsafe` of the local store: rustix does not offer `sync_file_range`. Purely a matter of
//! speed; durability comes from `fdatasync` afterwards, so errors here are not looked at.

use std::fs::File;
use std::ops::Range;

/// Starts writeback of `range` of `file`, so that a later `fdatasync` finds little left to do.
#[cfg(target_os = "linux")]
pub(super) fn start(file: &File, range: Range<u64>) {
    use std::os::fd::AsRawFd;
    let (Ok(offset), Ok(len)) = (i64::try_from(range.start), i64::try_from(range.end - range.start)) else {
        return;
    };
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and the call takes no pointers.
    unsafe {
        libc::sync_file_range(file.as_raw_fd(), offset, len, libc::SYNC_FILE_RANGE_WRITE);
    }
}

/// Does nothing: only Linux has such a call.
#[cfg(not(target_os = "linux"))]
pub(super) fn start(_file: &File, _range: Range<u64>) {}
