//! What the kernel says is mounted: one line per mount (proc_pid_mountinfo(5)).

use crate::{ErrorKind, StoreError, StoreResult};
use rustix::fs::{Dev, major, minor};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Longer tables are not read to their end (bytes); a host with 10,000 containers has about 5 MiB.
const TABLE_BYTES_MAX: u64 = 32 << 20;

/// All mounts, in the order in which they were made.
pub(super) struct Mounts(Vec<Mount>);

struct Mount {
    device: (u32, u32),
    /// The folder of the file system that is shown.
    root: PathBuf,
    path: PathBuf,
    source: PathBuf,
}

impl Mounts {
    pub(super) fn read(table: &Path) -> StoreResult<Self> {
        let read = || {
            let mut bytes = Vec::new();
            let file = std::fs::File::open(table)?;
            std::io::Read::read_to_end(&mut std::io::Read::take(file, TABLE_BYTES_MAX), &mut bytes)?;
            Ok(bytes)
        };
        let bytes: std::io::Result<Vec<u8>> = read();
        let bytes = bytes
            .map_err(|error| StoreError::new(ErrorKind::Other, "read what is mounted").because(error))?;
        Ok(Self::parse(&bytes))
    }

    /// Lines that are not understood are passed over: later kernels may have others.
    fn parse(bytes: &[u8]) -> Self {
        Self(bytes.split(|b| *b == b'\n').filter_map(Mount::parse).collect())
    }

    /// Where the whole of a device is mounted; the newest mount, which is the one that is seen.
    pub(super) fn of_device(&self, device: &Path, number: Option<Dev>) -> Option<PathBuf> {
        let number = number.map(|number| (major(number), minor(number)));
        // btrfs shows a number of its own for each volume; its source is still the device.
        let is_it = |mount: &&Mount| Some(mount.device) == number || mount.source == device;
        let found = self.0.iter().rev().filter(|mount| mount.root == Path::new("/")).find(is_it)?;
        Some(found.path.clone())
    }
}

impl Mount {
    /// `36 35 98:0 /root /path rw,noatime master:1 - ext3 /dev/sda1 rw`
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|b| *b == b' ').filter(|field| !field.is_empty());
        let (major, minor) = std::str::from_utf8(fields.nth(2)?).ok()?.split_once(':')?;
        let device = (major.parse().ok()?, minor.parse().ok()?);
        let (root, path) = (unescaped(fields.next()?), unescaped(fields.next()?));
        let mut after = fields.skip_while(|field| *field != b"-");
        let source = unescaped(after.nth(2)?);
        Some(Self { device, root, path, source })
    }
}

/// Blanks, tabs, line ends and backslashes come as `\040` and so on.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if first == b'\\' => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::makedev;

    const TABLE: &[u8] = b"\
22 28 0:20 / /sys rw,nosuid - sysfs sysfs rw
36 28 8:17 / /media/my\\040disk rw,noatime shared:1 master:2 - ext4 /dev/sdb1 rw
37 28 8:33 /sub /mnt/part rw - ext4 /dev/sdc1 rw
38 28 0:44 / /mnt/btrfs rw - btrfs /dev/sdd1 rw,subvol=/
39 28 8:17 / /mnt/again rw - ext4 /dev/sdb1 rw
garbage
40 28 8 / /x rw - ext4
";

    #[test]
    fn a_device_is_found_by_number_or_name_and_only_as_a_whole() {
        let mounts = Mounts::parse(TABLE);
        let at = |device: &str, number: Option<(u32, u32)>| {
            mounts.of_device(Path::new(device), number.map(|(major, minor)| makedev(major, minor)))
        };
        assert_eq!(at("/dev/sdb1", Some((8, 17))), Some("/mnt/again".into()));
        assert_eq!(at("/dev/other-name", Some((8, 17))), Some("/mnt/again".into()));
        assert_eq!(at("/dev/sdd1", Some((8, 49))), Some("/mnt/btrfs".into()));
        assert_eq!(at("/dev/sdc1", Some((8, 33))), None, "a part of it is not the drive");
        assert_eq!(at("/dev/sde1", Some((8, 65))), None);
        let first = Mounts::parse(TABLE.split(|b| *b == b'\n').nth(1).unwrap());
        assert_eq!(first.of_device(Path::new("/dev/sdb1"), None), Some("/media/my disk".into()));
    }
}
