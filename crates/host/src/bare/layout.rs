//! Which partitions and file systems a machine gets on a new disk: pure.
//!
//! One disk, a GUID partition table: first what the firmware needs, then one partition for each file system of the old
//! table (`fstab`) that lay on a disk, last the root, which takes the rest. LVM, RAID and encryption are not made again:
//! what was in them becomes plain partitions, and that is said. UUIDs and labels stay.

use super::boot::Firmware;
use super::fstab::{self, Line};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// What was kept of the machine.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// Its table of file systems; empty if there is none.
    pub fstab: String,
    /// The answer of `lsblk --json --bytes`; empty if it was not kept.
    pub lsblk: Vec<u8>,
    /// Bytes that will be restored.
    pub bytes: u64,
}

/// A file system that is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// Its type: `ext4`, `vfat`, `swap` ...
    pub kind: String,
    /// Its UUID, if it keeps one.
    pub uuid: Option<String>,
    /// Its label, if it has one.
    pub label: Option<String>,
}

/// What a partition is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Holds the part of the loader that a BIOS starts.
    BiosBoot,
    /// The firmware's own file system.
    Efi,
    /// Swap.
    Swap,
    /// Files.
    Data,
}

impl Role {
    /// Its type in the partition table (UEFI specification 2.10, table 5.6; systemd's Discoverable Partitions).
    fn guid(self) -> &'static str {
        match self {
            Role::BiosBoot => "21686148-6449-6E6F-744E-656564454649",
            Role::Efi => "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
            Role::Swap => "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F",
            Role::Data => "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
        }
    }
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// What it is for.
    pub role: Role,
    /// Its length; none for the rest of the disk.
    pub bytes: Option<u64>,
    /// What is made on it.
    pub file_system: Option<FileSystem>,
    /// Where it is mounted.
    pub mounted_at: Option<String>,
    /// How the old table names it.
    pub was: Option<String>,
}

/// Everything that is done to a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The partitions, in this order.
    pub partitions: Vec<Partition>,
    /// What is made to start it.
    pub firmware: Firmware,
    /// Devices of the old table that this machine will not have.
    pub gone: Vec<String>,
    /// What is otherwise than it was.
    pub notes: Vec<String>,
}

/// Why there is no layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The disk holds too little.
    TooSmall {
        /// Bytes that are needed.
        needed: u64,
        /// Bytes there are.
        has: u64,
    },
    /// A file system that cannot be made.
    Kind(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::TooSmall { needed, has } => {
                write!(f, "the disk holds {} MiB, and {} MiB are needed", has >> 20, needed >> 20)
            }
            Problem::Kind(kind) => write!(f, "file systems of the type {kind:?} are not made"),
        }
    }
}

impl std::error::Error for Problem {}

const MIB: u64 = 1 << 20;
/// The table at both ends of the disk, and the alignment of the first partition.
const TABLE_BYTES: u64 = 2 * MIB;
const EFI_BYTES: u64 = 128 * MIB;
/// Lengths of file systems whose old length is not known.
const UNKNOWN: [(&str, u64); 3] = [("/boot/efi", EFI_BYTES), ("/boot", 512 * MIB), ("none", 512 * MIB)];
const OTHER_BYTES: u64 = 1024 * MIB;
const KINDS: [&str; 7] = ["ext2", "ext3", "ext4", "xfs", "btrfs", "vfat", "swap"];

/// A block device of the old machine.
#[derive(Clone, Debug)]
struct Device {
    names: Vec<String>,
    bytes: u64,
    kind: Option<String>,
    uuid: Option<String>,
    label: Option<String>,
    /// `part`, `lvm`, `crypt` ...
    sort: String,
}

fn devices(lsblk: &[u8]) -> Vec<Device> {
    let parsed: Value = serde_json::from_slice(lsblk).unwrap_or_default();
    let mut left: Vec<&Value> = parsed["blockdevices"].as_array().into_iter().flatten().collect();
    let mut found = Vec::new();
    while let Some(device) = left.pop() {
        left.extend(device["children"].as_array().into_iter().flatten());
        let text = |key: &str| device[key].as_str().filter(|text| !text.is_empty()).map(str::to_string);
        let named = |key: &str, tag: &str| text(key).map(|value| format!("{tag}={value}"));
        let mut names: Vec<String> = Vec::new();
        names.extend(text("path").into_iter().chain(text("kname")));
        names.extend(named("uuid", "UUID").into_iter().chain(named("label", "LABEL")));
        names.extend(named("partuuid", "PARTUUID").into_iter().chain(named("partlabel", "PARTLABEL")));
        names.extend(text("uuid").map(|uuid| format!("/dev/disk/by-uuid/{uuid}")));
        let size = &device["size"];
        let bytes = size.as_u64().or_else(|| size.as_str()?.parse().ok()).unwrap_or(0);
        found.push(Device {
            names,
            bytes,
            kind: text("fstype"),
            uuid: text("uuid"),
            label: text("label"),
            sort: text("type").unwrap_or_default(),
        });
    }
    found
}

/// What a line of the table needs on the disk; none for what is no disk.
fn wanted(line: &Line, devices: &[Device]) -> Option<(FileSystem, Option<u64>, String)> {
    let is_disk = line.device.starts_with("/dev/")
        || ["UUID=", "LABEL=", "PARTUUID=", "PARTLABEL="].iter().any(|tag| line.device.starts_with(tag));
    let is_removed = line.device.starts_with("/dev/sr") || line.device.starts_with("/dev/cdrom");
    let is_removed = is_removed || line.device.starts_with("/dev/fd") || line.kind == "iso9660";
    if !is_disk || is_removed || line.options.split(',').any(|option| option == "bind" || option == "noauto")
    {
        return None;
    }
    let device = devices.iter().find(|device| device.names.contains(&line.device));
    let known = |tag: &str| line.device.strip_prefix(tag).map(str::to_string);
    let kind = match line.kind.as_str() {
        "auto" => device.and_then(|d| d.kind.clone()).unwrap_or_else(|| "ext4".into()),
        kind => kind.to_string(),
    };
    let uuid = device.and_then(|d| d.uuid.clone()).or_else(|| known("UUID="));
    let label = device.and_then(|d| d.label.clone()).or_else(|| known("LABEL="));
    let sort = device.map(|d| d.sort.clone()).unwrap_or_default();
    Some((FileSystem { kind, uuid, label }, device.map(|d| d.bytes).filter(|b| *b > 0), sort))
}

/// Plans the disk. Lines with `nofail` are for other disks unless the system needs them.
///
/// # Errors
/// The disk is too small, or a file system cannot be made.
pub fn plan(kept: &Kept, disk_bytes: u64, firmware: Firmware) -> Result<Layout, Problem> {
    let devices = devices(&kept.lsblk);
    let mut layout = Layout { partitions: Vec::new(), firmware, gone: Vec::new(), notes: Vec::new() };
    let mut root = None;
    let mut efi = None;
    let mut others = Vec::new();
    for line in fstab::parse(&kept.fstab) {
        let Some((file_system, bytes, sort)) = wanted(&line, &devices) else { continue };
        let is_needed =
            ["/", "/boot", "/boot/efi", "/usr", "/var", "/home"].contains(&line.mounted_at.as_str());
        if !is_needed && line.options.split(',').any(|option| option == "nofail") {
            layout.notes.push(format!("{} was on another disk: its line is made a comment", line.mounted_at));
            layout.gone.push(line.device);
            continue;
        }
        if !KINDS.contains(&file_system.kind.as_str()) {
            return Err(Problem::Kind(file_system.kind));
        }
        if matches!(sort.as_str(), "lvm" | "crypt") || sort.starts_with("raid") {
            layout.notes.push(format!("{} was on {sort}: it becomes a plain partition", line.mounted_at));
        }
        let is_swap = file_system.kind == "swap";
        let mounted_at = (!is_swap).then(|| line.mounted_at.clone());
        let role = match line.mounted_at.as_str() {
            "/boot/efi" | "/efi" => Role::Efi,
            _ if is_swap => Role::Swap,
            _ => Role::Data,
        };
        let partition = Partition {
            role,
            bytes: Some(bytes.unwrap_or_else(|| usual(&line.mounted_at, is_swap))),
            file_system: Some(file_system),
            mounted_at,
            was: Some(line.device),
        };
        match (line.mounted_at.as_str(), role) {
            ("/", _) => root = Some(Partition { bytes: None, ..partition }),
            (_, Role::Efi) => efi = Some(partition),
            _ => others.push(partition),
        }
    }
    if root.is_none() {
        layout.notes.push("the old table names no root: it becomes ext4".into());
    }
    let root = root.unwrap_or_else(|| data("ext4", "/"));
    if firmware.is_bios() {
        layout.partitions.push(Partition {
            role: Role::BiosBoot,
            bytes: Some(MIB),
            file_system: None,
            mounted_at: None,
            was: None,
        });
    }
    if firmware.is_efi() {
        let new = || Partition { role: Role::Efi, bytes: Some(EFI_BYTES), ..data("vfat", "/boot/efi") };
        layout.partitions.push(efi.unwrap_or_else(new));
    } else if let Some(efi) = efi {
        layout.notes.push("no EFI partition is made: its line is made a comment".into());
        layout.gone.extend(efi.was);
    }
    fit(&mut layout, others, root, kept.bytes, disk_bytes)?;
    Ok(layout)
}

fn usual(mounted_at: &str, is_swap: bool) -> u64 {
    let name = if is_swap { "none" } else { mounted_at };
    UNKNOWN.iter().find(|(known, _)| *known == name).map_or(OTHER_BYTES, |(_, bytes)| *bytes)
}

fn data(kind: &str, mounted_at: &str) -> Partition {
    let file_system = FileSystem { kind: kind.into(), uuid: None, label: None };
    Partition {
        role: Role::Data,
        bytes: None,
        file_system: Some(file_system),
        mounted_at: Some(mounted_at.into()),
        was: None,
    }
}

/// Makes everything fit: what the root must hold is kept free, the others shrink alike where they must.
fn fit(
    layout: &mut Layout,
    mut others: Vec<Partition>,
    root: Partition,
    bytes: u64,
    disk: u64,
) -> Result<(), Problem> {
    let sum = |all: &[Partition]| all.iter().filter_map(|p| p.bytes).sum::<u64>();
    // A file system needs a tenth for itself, and a system some room to live.
    let root_min = bytes + bytes / 8 + 64 * MIB;
    let fixed = TABLE_BYTES + sum(&layout.partitions);
    let wanted = sum(&others);
    let needed = fixed + root_min;
    let Some(room) = disk.checked_sub(needed) else { return Err(Problem::TooSmall { needed, has: disk }) };
    if wanted > room {
        // Which of them holds how much of what comes back is not known: all are given the same share.
        let least = 64 * MIB * others.len() as u64;
        if least > room {
            return Err(Problem::TooSmall { needed: needed + least, has: disk });
        }
        layout
            .notes
            .push("the disk is smaller than the old one: partitions other than the root are smaller".into());
        for partition in &mut others {
            let share = partition.bytes.unwrap_or(0) as f64 / wanted as f64;
            partition.bytes = Some((((room as f64 * share) as u64) / MIB * MIB).max(64 * MIB));
        }
    }
    for partition in &mut others {
        partition.bytes = partition.bytes.map(|bytes| bytes.div_ceil(MIB) * MIB);
    }
    layout.partitions.extend(others);
    layout.partitions.push(root);
    Ok(())
}

impl Layout {
    /// The partition table as `sfdisk` takes it.
    pub fn table(&self) -> String {
        let mut table = String::from("label: gpt\n");
        for partition in &self.partitions {
            let size = partition.bytes.map(|bytes| format!("size={}, ", bytes / 512)).unwrap_or_default();
            table.push_str(&format!("{size}type={}\n", partition.role.guid()));
        }
        table
    }

    /// What is done, in words, one line each.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec!["write a GUID partition table".to_string()];
        for (at, partition) in self.partitions.iter().enumerate() {
            let size = match partition.bytes {
                Some(bytes) => format!("{} MiB", bytes / MIB),
                None => "the rest".into(),
            };
            let what = match (&partition.file_system, &partition.mounted_at) {
                (None, _) => "for the loader".to_string(),
                (Some(fs), mounted_at) => {
                    let uuid = fs.uuid.as_ref().map(|uuid| format!(", UUID {uuid}")).unwrap_or_default();
                    let at = mounted_at.as_ref().map(|at| format!(" for {at}")).unwrap_or_default();
                    format!("{}{at}{uuid}", fs.kind)
                }
            };
            lines.push(format!("partition {}: {size}, {what}", at + 1));
        }
        lines
    }

    /// Old names of devices and their new ones, once the UUIDs are known.
    pub fn renamed(&self, uuids: &[Option<String>]) -> BTreeMap<String, String> {
        let mut renamed = BTreeMap::new();
        for (partition, uuid) in self.partitions.iter().zip(uuids) {
            let (Some(was), Some(uuid)) = (&partition.was, uuid) else { continue };
            let now = format!("UUID={uuid}");
            let label = partition.file_system.as_ref().and_then(|fs| fs.label.as_ref());
            let keeps_label = label.is_some_and(|label| *was == format!("LABEL={label}"));
            if !keeps_label && !was.eq_ignore_ascii_case(&now) {
                renamed.insert(was.clone(), now);
            }
        }
        renamed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn kept(fstab: &str) -> Kept {
        let lsblk = br#"{"blockdevices": [{"path": "/dev/sda", "type": "disk", "size": 500000000000, "children": [
            {"path": "/dev/sda1", "type": "part", "size": 536870912, "fstype": "vfat", "uuid": "AAAA-BBBB"},
            {"path": "/dev/sda2", "type": "part", "size": "2147483648", "fstype": "swap", "uuid": "5555"},
            {"path": "/dev/sda3", "type": "part", "size": 400000000000, "fstype": "crypto_LUKS", "children": [
              {"path": "/dev/mapper/vg-root", "type": "lvm", "size": 100000000000, "fstype": "ext4", "uuid": "1111"},
              {"path": "/dev/mapper/vg-home", "type": "lvm", "size": 300000000000, "fstype": "xfs", "uuid": "2222", "label": "home"}]}]}]}"#;
        Kept { fstab: fstab.into(), lsblk: lsblk.to_vec(), bytes: GIB }
    }

    const TABLE: &str = "UUID=1111 / ext4 defaults 0 1\nUUID=AAAA-BBBB /boot/efi vfat umask=0077 0 1\n/dev/sda2 none swap sw\n\
                         LABEL=home /home xfs defaults\n//nas/x /mnt/x cifs nofail\nUUID=9 /mnt/usb ext4 nofail\n\
                         /dev/sr0 /media/cd iso9660 ro\ntmpfs /tmp tmpfs\n";

    #[test]
    fn every_file_system_of_the_old_table_gets_a_partition_and_keeps_its_name() {
        let layout = plan(&kept(TABLE), 1000 * GIB, Firmware::Both).unwrap();
        let lines = layout.lines();
        assert_eq!(
            lines,
            [
                "write a GUID partition table",
                "partition 1: 1 MiB, for the loader",
                "partition 2: 512 MiB, vfat for /boot/efi, UUID AAAA-BBBB",
                "partition 3: 2048 MiB, swap, UUID 5555",
                "partition 4: 286103 MiB, xfs for /home, UUID 2222",
                "partition 5: the rest, ext4 for /, UUID 1111",
            ]
        );
        assert_eq!(layout.gone, ["UUID=9"]);
        assert!(layout.notes.iter().any(|note| note == "/ was on lvm: it becomes a plain partition"));
        let uuids = ["", "AAAA-BBBB", "5555", "2222", "1111"].map(|u| (!u.is_empty()).then(|| u.to_string()));
        assert_eq!(layout.renamed(&uuids), BTreeMap::from([("/dev/sda2".into(), "UUID=5555".into())]));
        assert!(layout.table().ends_with("size=585938944, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4\ntype=0FC63DAF-8483-4772-8E79-3D69D8477DE4\n"));
    }

    #[test]
    fn a_smaller_disk_holds_everything_or_is_refused() {
        let layout = plan(&kept(TABLE), 20 * GIB, Firmware::Bios).unwrap();
        let sum: u64 = layout.partitions.iter().filter_map(|p| p.bytes).sum();
        assert!(sum + GIB + GIB / 8 < 20 * GIB, "{:?}", layout.lines());
        assert!(layout.gone.contains(&"UUID=AAAA-BBBB".to_string()));
        assert!(matches!(plan(&kept(TABLE), GIB, Firmware::Bios), Err(Problem::TooSmall { .. })));
    }

    #[test]
    fn what_is_not_known_gets_what_is_usual() {
        let none = Kept { bytes: 1000, ..Kept::default() };
        let lines = plan(&none, 2 * GIB, Firmware::Bios).unwrap().lines();
        assert_eq!(lines[1..], ["partition 1: 1 MiB, for the loader", "partition 2: the rest, ext4 for /"]);
        let some = Kept { fstab: "UUID=77 / ext4\n".into(), lsblk: b"[[[".to_vec(), bytes: 0 };
        let lines = plan(&some, 2 * GIB, Firmware::Efi).unwrap().lines();
        assert_eq!(
            lines[1..],
            ["partition 1: 128 MiB, vfat for /boot/efi", "partition 2: the rest, ext4 for /, UUID 77"]
        );
        let odd = Kept { fstab: "UUID=77 / reiserfs\n".into(), ..Kept::default() };
        assert_eq!(plan(&odd, 2 * GIB, Firmware::Bios), Err(Problem::Kind("reiserfs".into())));
    }
}
