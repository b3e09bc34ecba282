//! What starts the restored system: GRUB, put onto the disk without asking the kernel what the disk is called.
//!
//! `grub-mkimage` makes the loader's core from the modules of the restored system, with a few lines that find the root
//! by its UUID. For a BIOS the core goes into its own partition and the first sector is patched to load it, as
//! `grub-bios-setup` does it (offsets: GRUB 2.06, include/grub/i386/pc/boot.h); for UEFI it becomes the file that
//! firmware starts where it knows nothing (EFI/BOOT/BOOTX64.EFI). So it works on images, too, for which GRUB's own
//! installer refuses. A restored `grub.cfg` is used as it is: UUIDs did not change. Where there is none, a small one
//! is written.

use std::io;
use std::path::{Path, PathBuf};

/// What starts the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// A BIOS, or UEFI in its compatible mode.
    Bios,
    /// UEFI.
    Efi,
    /// Either.
    Both,
}

impl Firmware {
    /// Whether a BIOS can start it.
    pub fn is_bios(self) -> bool {
        self != Firmware::Efi
    }

    /// Whether UEFI can start it.
    pub fn is_efi(self) -> bool {
        self != Firmware::Bios
    }
}

/// A kind of machine that GRUB starts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Platform {
    Bios,
    Efi,
}

impl Platform {
    /// The name of its folder of modules.
    pub(super) fn word(self) -> &'static str {
        match self {
            Platform::Bios => "i386-pc",
            Platform::Efi => "x86_64-efi",
        }
    }

    /// Modules that are needed before the file system is found.
    pub(super) fn modules(self) -> Vec<&'static str> {
        let mut modules = vec![
            "part_gpt",
            "part_msdos",
            "fat",
            "ext2",
            "xfs",
            "btrfs",
            "search",
            "search_fs_uuid",
            "normal",
            "configfile",
            "linux",
            "echo",
            "test",
            "ls",
        ];
        if self == Platform::Bios {
            modules.extend(["biosdisk", "minicmd"]);
        }
        modules
    }
}

/// The lines inside the core that find the system. `boot` is where `/boot/grub` is from the top of the file system with
/// this UUID.
pub(super) fn early(uuid: &str, boot: &str) -> String {
    format!(
        "search --no-floppy --fs-uuid --set=root {uuid}\nset prefix=($root){boot}\nconfigfile $prefix/grub.cfg\n"
    )
}

const SECTOR: usize = 512;
/// Where the first sector says where the core is.
const KERNEL_SECTOR: usize = 0x5c;
/// Which drive it is on; 0xff for the one it was started from.
const BOOT_DRIVE: usize = 0x64;
/// A jump that is only right on floppies.
const DRIVE_CHECK: usize = 0x66;
/// What follows is the disk's own: its signature and the table.
const CODE_END: usize = 0x1b8;
/// The core's first sector ends with a list of where the rest is: sector, number of sectors, segment.
const LIST_ENTRY: usize = 12;
/// The segment the rest is loaded to: 0x800, behind its first sector.
const REST_SEGMENT: u16 = 0x820;

/// The first sector of a disk, with code that loads the core at this sector; the table in it stays.
pub(super) fn first_sector(disk: &[u8], boot: &[u8], core_sector: u64) -> io::Result<Vec<u8>> {
    if disk.len() != SECTOR || boot.len() != SECTOR || boot[SECTOR - 2..] != [0x55, 0xaa] {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "boot.img is not one of GRUB for a BIOS"));
    }
    let mut sector = disk.to_vec();
    sector[..CODE_END].copy_from_slice(&boot[..CODE_END]);
    sector[KERNEL_SECTOR..KERNEL_SECTOR + 8].copy_from_slice(&core_sector.to_le_bytes());
    sector[BOOT_DRIVE] = 0xff;
    sector[DRIVE_CHECK..DRIVE_CHECK + 2].copy_from_slice(&[0x90, 0x90]);
    sector[SECTOR - 2..].copy_from_slice(&[0x55, 0xaa]);
    Ok(sector)
}

/// The core as it lies from this sector on, in one piece of at most `room` bytes.
pub(super) fn core_at(core: &[u8], first: u64, room: u64) -> io::Result<Vec<u8>> {
    let mut core = core.to_vec();
    core.resize(core.len().next_multiple_of(SECTOR), 0);
    let rest = core.len() / SECTOR - 1;
    let len = u16::try_from(rest).ok().filter(|len| *len > 0 && core.len() as u64 <= room);
    let Some(len) = len else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the core of GRUB does not fit its partition",
        ));
    };
    let list = SECTOR - LIST_ENTRY;
    core[list..list + 8].copy_from_slice(&(first + 1).to_le_bytes());
    core[list + 8..list + 10].copy_from_slice(&len.to_le_bytes());
    core[list + 10..list + 12].copy_from_slice(&REST_SEGMENT.to_le_bytes());
    Ok(core)
}

/// The kernels of a system with their initial file systems, the newest first: names in `/boot`.
fn kernels(root: &Path) -> Vec<(String, Option<String>)> {
    let listed = std::fs::read_dir(root.join("boot")).into_iter().flatten().flatten();
    let names: Vec<String> = listed.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let mut versions: Vec<&str> = names.iter().filter_map(|name| name.strip_prefix("vmlinuz-")).collect();
    versions.sort_by_key(|version| std::cmp::Reverse(numbers(version)));
    let initial = |version: &str| {
        let forms = [format!("initrd.img-{version}"), format!("initramfs-{version}.img")];
        forms.into_iter().find(|name| names.contains(name))
    };
    versions.into_iter().map(|version| (format!("vmlinuz-{version}"), initial(version))).collect()
}

/// The numbers in a version, to compare 6.10 with 6.9.
fn numbers(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

/// A small menu, for a system without one. `boot` is where `/boot` is from the top of its file system.
pub(super) fn menu(root: &Path, root_uuid: &str, boot_uuid: &str, boot: &str) -> io::Result<String> {
    let kernels = kernels(root);
    if kernels.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "there is no kernel in /boot"));
    }
    let options = options(root);
    let mut menu = String::from(
        "# Written because there was none; update-grub makes a better one.\nset timeout=2\nset default=0\n",
    );
    for (kernel, initial) in kernels {
        let initial = initial.map(|name| format!("  initrd {boot}/{name}\n")).unwrap_or_default();
        menu.push_str(&format!(
            "menuentry '{kernel}' {{\n  search --no-floppy --fs-uuid --set=root {boot_uuid}\n  \
             linux {boot}/{kernel} root=UUID={root_uuid} ro {options}\n{initial}}}\n"
        ));
    }
    Ok(menu)
}

/// The kernel's options as the settings of the system say; only what is plain.
fn options(root: &Path) -> String {
    let text = std::fs::read_to_string(root.join("etc/default/grub")).unwrap_or_default();
    let value = |key: &str| {
        let line = text.lines().rev().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))?;
        Some(line.trim_matches(['"', '\'']).to_string())
    };
    let all: Vec<String> =
        ["GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_DEFAULT"].iter().filter_map(|k| value(k)).collect();
    let plain = |c: char| c.is_ascii_alphanumeric() || " =._,:/-".contains(c);
    all.join(" ").chars().filter(|c| plain(*c)).collect::<String>().trim().to_string()
}

/// Where GRUB's modules for a platform are: in the restored system, else on this one.
pub(super) fn modules(root: &Path, platform: Platform) -> Option<(PathBuf, bool)> {
    let below = |top: &Path| top.join("usr/lib/grub").join(platform.word());
    let has = |folder: &Path| folder.join("moddep.lst").is_file();
    let (own, here) = (below(root), below(Path::new("/")));
    if has(&own) && root.join("usr/bin/grub-mkimage").is_file() {
        return Some((own, true));
    }
    has(&here).then_some((here, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_sector_keeps_the_table_and_finds_the_core() {
        let mut boot = vec![0xeb; SECTOR];
        boot[SECTOR - 2..].copy_from_slice(&[0x55, 0xaa]);
        let disk = vec![7; SECTOR];
        let sector = first_sector(&disk, &boot, 2048).unwrap();
        assert_eq!(sector[CODE_END..SECTOR - 2], disk[CODE_END..SECTOR - 2]);
        assert_eq!(sector[KERNEL_SECTOR..KERNEL_SECTOR + 8], 2048u64.to_le_bytes());
        assert_eq!((sector[BOOT_DRIVE], &sector[DRIVE_CHECK..DRIVE_CHECK + 2]), (0xff, &[0x90, 0x90][..]));
        assert!(first_sector(&disk, &disk, 2048).is_err());
        let core = core_at(&[1; 1300], 2048, 1 << 20).unwrap();
        assert_eq!(core.len(), 1536);
        assert_eq!(core[500..512], [0x01, 0x08, 0, 0, 0, 0, 0, 0, 2, 0, 0x20, 0x08]);
        assert!(core_at(&[1; 1300], 2048, 1024).is_err() && core_at(&[1; 100], 1, 9999).is_err());
    }

    #[test]
    fn a_menu_names_the_newest_kernel_first() {
        let root = tempfile::tempdir().unwrap();
        let boot = root.path().join("boot");
        std::fs::create_dir_all(&boot).unwrap();
        assert!(menu(root.path(), "1", "1", "/boot").is_err());
        for name in ["vmlinuz-6.9.1-amd64", "initrd.img-6.9.1-amd64", "vmlinuz-6.10.2-amd64"] {
            std::fs::write(boot.join(name), "").unwrap();
        }
        std::fs::create_dir_all(root.path().join("etc/default")).unwrap();
        let settings = "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\nGRUB_CMDLINE_LINUX=\"console=ttyS0 `rm`\"\n";
        std::fs::write(root.path().join("etc/default/grub"), settings).unwrap();
        let menu = menu(root.path(), "11", "22", "").unwrap();
        let newest =
            menu.find("linux /vmlinuz-6.10.2-amd64 root=UUID=11 ro console=ttyS0 rm quiet\n}").unwrap();
        assert!(newest < menu.find("initrd /initrd.img-6.9.1-amd64").unwrap(), "{menu}");
    }
}
