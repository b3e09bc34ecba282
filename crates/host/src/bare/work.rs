//! Doing it: the disk is written, file systems are made and mounted, and afterwards what boots is installed.

use super::boot::{self, Platform};
use super::fstab;
use super::layout::{FileSystem, Layout, Partition, Role};
use super::network::{self, Renaming};
use crate::databases::Tool;
use rustix::fs::OFlags;
use serde_json::Value;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where systems keep such programs; root's own path may lack some.
const PROGRAMS: [&str; 6] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/local/bin"];
/// For so long the kernel is waited for to name new partitions.
const NODES_WAIT: Duration = Duration::from_secs(10);
/// Folders that every system has and no backup holds: with their modes.
const FOLDERS: [(&str, u32); 8] = [
    ("proc", 0o555),
    ("sys", 0o555),
    ("dev", 0o755),
    ("run", 0o755),
    ("mnt", 0o755),
    ("media", 0o755),
    ("tmp", 0o1777),
    ("var/tmp", 0o1777),
];

fn other(text: impl Into<String>) -> io::Error {
    io::Error::other(text.into())
}

fn during(what: impl Into<String>) -> impl FnOnce(io::Error) -> io::Error {
    move |e| io::Error::new(e.kind(), format!("{}: {e}", what.into()))
}

fn program(name: &str) -> io::Result<PathBuf> {
    let found = PROGRAMS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file());
    found.ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, format!("the program {name} is not installed here"))
    })
}

/// Runs a program of this system.
fn run(name: &str, arguments: &[OsString]) -> io::Result<String> {
    let answer = Tool::new(program(name)?).args(arguments.iter().cloned()).variable("LC_ALL", "C").answer();
    answer.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// The disk a system goes onto: a block device, or an image file.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    is_image: bool,
    bytes: u64,
}

impl Disk {
    /// Looks at a disk; nothing is changed.
    ///
    /// # Errors
    /// It is no disk, or something on it is mounted.
    pub fn open(path: &Path) -> io::Result<Disk> {
        let metadata = fs::metadata(path)?;
        let kind = metadata.file_type();
        let is_image = kind.is_file();
        if !is_image && !kind.is_block_device() {
            return Err(other(format!("{} is neither a disk nor an image", path.display())));
        }
        let mut disk = Disk { path: path.canonicalize()?, is_image, bytes: 0 };
        disk.refuse_used()?;
        disk.bytes = File::open(&disk.path)?.seek(SeekFrom::End(0))?;
        Ok(disk)
    }

    /// How long it is.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether it is the file of an image.
    pub fn is_image(&self) -> bool {
        self.is_image
    }

    /// Whether there is nothing but zeros at its beginning.
    pub fn is_empty(&self) -> io::Result<bool> {
        let mut begin = Vec::new();
        File::open(&self.path)?.take(1 << 20).read_to_end(&mut begin)?;
        Ok(begin.iter().all(|byte| *byte == 0))
    }

    /// Refuses a disk of which anything is mounted, or used for swap or by a mapping.
    ///
    /// # Errors
    /// It is in use, or that cannot be found out.
    fn refuse_used(&self) -> io::Result<()> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let name = self.path.to_string_lossy().into_owned();
        let is_part = |device: &str| {
            let rest = device.strip_prefix(&name);
            !self.is_image
                && rest.is_some_and(|rest| rest.trim_start_matches('p').chars().all(|c| c.is_ascii_digit()))
        };
        let mut mounted = mounts.lines().filter_map(|line| line.split_whitespace().next());
        if let Some(what) = mounted.find(|device| is_part(device)) {
            return Err(other(format!("{} is in use: {what} is mounted", self.path.display())));
        }
        // What else holds it - swap, LVM, RAID, encryption - is known to the kernel alone: it gives a disk
        // to one holder only (open(2), O_EXCL on a block device).
        if !self.is_image
            && let Err(e) =
                OpenOptions::new().read(true).custom_flags(OFlags::EXCL.bits() as i32).open(&self.path)
        {
            return Err(other(format!("{} is in use: {e}", self.path.display())));
        }
        Ok(())
    }

    /// Writes the table, makes the file systems and mounts them below a folder.
    ///
    /// # Errors
    /// A program that is needed is missing, or one failed; what was mounted is unmounted again.
    pub fn prepare(self, layout: &Layout, root: &Path) -> io::Result<Prepared> {
        self.refuse_used()?;
        for name in needed(layout, self.is_image) {
            program(&name)?;
        }
        self.partition(layout)?;
        let parts = self.ranges(layout.partitions.len())?;
        let mut prepared = Prepared {
            disk: self,
            layout: layout.clone(),
            parts,
            loops: Vec::new(),
            mounts: Vec::new(),
            apart: None,
            uuids: Vec::new(),
            root: root.to_path_buf(),
        };
        prepared.make()?;
        prepared.mount()?;
        Ok(prepared)
    }

    fn partition(&self, layout: &Layout) -> io::Result<()> {
        // Signatures of what was there would be found again inside the new partitions.
        let mut file = OpenOptions::new().write(true).open(&self.path)?;
        let zeros = vec![0; 1 << 20];
        file.write_all(&zeros[..zeros.len().min(self.bytes as usize)])?;
        file.seek(SeekFrom::Start(self.bytes.saturating_sub(zeros.len() as u64)))?;
        file.write_all(&zeros[..zeros.len().min(self.bytes as usize)])?;
        file.sync_all()?;
        drop(file);
        let mut child = std::process::Command::new(program("sfdisk")?)
            .args(["--quiet", "--wipe", "always", "--wipe-partitions", "always"])
            .arg(&self.path)
            .env("LC_ALL", "C")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::piped())
            .spawn()?;
        let written = child.stdin.take().expect("its input is ours").write_all(layout.table().as_bytes());
        let output = child.wait_with_output()?;
        match output.status.success() {
            true => written,
            false => Err(other(format!("sfdisk: {}", String::from_utf8_lossy(&output.stderr).trim()))),
        }
    }

    /// Where each partition begins and how long it is, in sectors of 512 bytes.
    fn ranges(&self, count: usize) -> io::Result<Vec<(u64, u64)>> {
        let answer = run("sfdisk", &[words(&["--json"]), vec![self.path.clone().into()]].concat())?;
        let table: Value = serde_json::from_str(&answer).map_err(|_| other("sfdisk answers no JSON"))?;
        let parts = table["partitiontable"]["partitions"].as_array().cloned().unwrap_or_default();
        let unit = table["partitiontable"]["sectorsize"].as_u64().unwrap_or(512) / 512;
        let range = |part: &Value| Some((part["start"].as_u64()? * unit, part["size"].as_u64()? * unit));
        let ranges: Vec<(u64, u64)> = parts.iter().filter_map(range).collect();
        match ranges.len() == count {
            true => Ok(ranges),
            false => Err(other("the partitions that were made are not there")),
        }
    }

    /// The device of a partition of a block device.
    fn node(&self, number: usize) -> io::Result<PathBuf> {
        let name = self.path.to_string_lossy();
        let between = if name.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
        let node = PathBuf::from(format!("{name}{between}{number}"));
        let until = Instant::now() + NODES_WAIT;
        while !fs::metadata(&node).is_ok_and(|m| m.file_type().is_block_device()) {
            if Instant::now() >= until {
                return Err(other(format!("the kernel shows no {}", node.display())));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(node)
    }
}

/// Programs of this system that a layout needs.
fn needed(layout: &Layout, is_image: bool) -> Vec<String> {
    let mut names = vec!["sfdisk".to_string(), "mount".into(), "umount".into(), "blkid".into()];
    names.extend(is_image.then(|| "losetup".to_string()));
    names.extend(layout.partitions.iter().filter_map(|p| p.file_system.as_ref()).map(|fs| maker(&fs.kind)));
    names.sort();
    names.dedup();
    names
}

fn maker(kind: &str) -> String {
    if kind == "swap" { "mkswap".into() } else { format!("mkfs.{kind}") }
}

/// The arguments that make a file system.
fn making(fs: &FileSystem, is_taken: bool) -> Vec<OsString> {
    let uuid = fs.uuid.as_ref().filter(|_| !is_taken);
    let label = fs.label.as_deref();
    let mut arguments = Vec::new();
    let mut option = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            arguments.extend(words(&[name, value]));
        }
    };
    match fs.kind.as_str() {
        "ext2" | "ext3" | "ext4" => {
            option("-U", uuid.map(String::as_str));
            option("-L", label);
            arguments.extend(words(&["-q", "-F"]));
        }
        "xfs" => {
            let uuid = uuid.map(|uuid| format!("uuid={uuid}"));
            option("-m", uuid.as_deref());
            option("-L", label);
            arguments.extend(words(&["-q", "-f"]));
        }
        "btrfs" => {
            option("-U", uuid.map(String::as_str));
            option("-L", label);
            arguments.extend(words(&["-q", "-f"]));
        }
        "vfat" => {
            let id = uuid.map(|uuid| uuid.replace('-', ""));
            option("-i", id.as_deref());
            option("-n", label);
            arguments.extend(words(&["-F", "32"]));
        }
        _ => {
            option("-U", uuid.map(String::as_str));
            option("-L", label);
            arguments.extend(words(&["-q"]));
        }
    }
    arguments
}

/// A disk with file systems that are mounted, ready to be filled. Everything is unmounted when it goes.
#[derive(Debug)]
pub struct Prepared {
    disk: Disk,
    layout: Layout,
    /// Begin and length of each partition, in sectors.
    parts: Vec<(u64, u64)>,
    /// The device of each partition; for an image one that was made for it.
    loops: Vec<PathBuf>,
    mounts: Vec<PathBuf>,
    /// The firmware's file system, where the kernel cannot mount it: device, and the folder that collects its files.
    apart: Option<(PathBuf, PathBuf)>,
    uuids: Vec<Option<String>>,
    root: PathBuf,
}

/// What was done after everything was restored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finished {
    /// What was done, one line each.
    pub done: Vec<String>,
    /// What a person has to look at.
    pub warnings: Vec<String>,
}

impl Prepared {
    /// The folder that the system is restored below.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn make(&mut self) -> io::Result<()> {
        for (at, partition) in self.layout.partitions.clone().iter().enumerate() {
            let device = match self.disk.is_image {
                true => self.attach(at)?,
                false => self.disk.node(at + 1)?,
            };
            self.loops.push(device.clone());
            let uuid = match &partition.file_system {
                Some(fs) => Some(self.make_one(fs, &device)?),
                None => None,
            };
            self.uuids.push(uuid);
        }
        Ok(())
    }

    /// A device for a partition of an image, by where it is.
    fn attach(&self, at: usize) -> io::Result<PathBuf> {
        let (first, len) = self.parts[at];
        let (offset, limit) = ((first * 512).to_string(), (len * 512).to_string());
        let options = ["--find", "--show", "--offset", &offset, "--sizelimit", &limit];
        let answer = run("losetup", &[words(&options), vec![self.disk.path.clone().into()]].concat())?;
        Ok(PathBuf::from(answer.trim()))
    }

    fn make_one(&self, fs: &FileSystem, device: &Path) -> io::Result<String> {
        // Two file systems of one name on one machine would be taken for each other.
        let is_taken = fs.uuid.as_ref().is_some_and(|uuid| {
            run("blkid", &words(&["-U", uuid])).is_ok_and(|found| !found.trim().is_empty())
        });
        let arguments = [making(fs, is_taken), vec![device.into()]].concat();
        run(&maker(&fs.kind), &arguments).map_err(during(format!("cannot make {}", fs.kind)))?;
        let probe = [words(&["-p", "-s", "UUID", "-o", "value"]), vec![device.into()]].concat();
        Ok(run("blkid", &probe)?.trim().to_string())
    }

    fn mount(&mut self) -> io::Result<()> {
        fs::create_dir_all(&self.root)?;
        if fs::read_dir(&self.root)?.next().is_some() {
            return Err(other(format!("{} is not empty", self.root.display())));
        }
        let mut wanted: Vec<(String, PathBuf)> = Vec::new();
        for (partition, device) in self.layout.partitions.iter().zip(&self.loops) {
            wanted.extend(partition.mounted_at.clone().map(|at| (at, device.clone())));
        }
        // The outer one before the inner one.
        wanted.sort();
        for (at, device) in wanted {
            let folder = self.root.join(at.trim_start_matches('/'));
            fs::create_dir_all(&folder)?;
            let arguments: Vec<OsString> = vec![device.clone().into(), folder.clone().into()];
            match run("mount", &arguments) {
                Ok(_) => self.mounts.push(folder),
                // Rescue systems lack FAT now and then; mtools write it without the kernel.
                Err(_) if self.is_efi(&at) && program("mcopy").is_ok() => self.apart = Some((device, folder)),
                Err(e) => return Err(during(format!("cannot mount {at}"))(e)),
            }
        }
        Ok(())
    }

    fn is_efi(&self, mounted_at: &str) -> bool {
        let mut partitions = self.layout.partitions.iter();
        partitions.any(|p| p.role == Role::Efi && p.mounted_at.as_deref() == Some(mounted_at))
    }

    /// What was collected for the firmware's file system, where the kernel cannot mount it, goes onto it.
    fn fill_apart(&mut self) -> io::Result<()> {
        let Some((device, folder)) = self.apart.take() else { return Ok(()) };
        for entry in fs::read_dir(&folder)?.flatten() {
            let path = entry.path();
            let options = [words(&["-s", "-o", "-i"]), vec![device.clone().into()]].concat();
            run("mcopy", &[options, vec![path.clone().into(), "::/".into()]].concat())?;
            // What stays below would be hidden by the file system that is mounted there.
            match entry.file_type()?.is_dir() {
                true => fs::remove_dir_all(&path)?,
                false => fs::remove_file(&path)?,
            }
        }
        Ok(())
    }

    fn uuid_of(&self, mounted_at: &str) -> Option<&str> {
        let at = self.layout.partitions.iter().position(|p| p.mounted_at.as_deref() == Some(mounted_at))?;
        self.uuids.get(at)?.as_deref()
    }

    /// Adapts what was restored to this disk and these names, installs what boots, and unmounts.
    ///
    /// # Errors
    /// It could not be made to boot; the files are there.
    pub fn finish(mut self, renaming: &Renaming) -> io::Result<Finished> {
        let mut finished = Finished::default();
        self.folders()?;
        self.table(&mut finished)?;
        rename_networks(&self.root, renaming, &mut finished)?;
        if self.layout.firmware.is_bios() {
            self.boot_bios(&mut finished).map_err(during("cannot install what a BIOS starts"))?;
        }
        if self.layout.firmware.is_efi() {
            self.boot_efi(&mut finished).map_err(during("cannot install what UEFI starts"))?;
        }
        self.menu(&mut finished)?;
        self.fill_apart().map_err(during("cannot write the firmware's file system"))?;
        self.release()?;
        Ok(finished)
    }

    fn folders(&self) -> io::Result<()> {
        for (name, mode) in FOLDERS {
            let folder = self.root.join(name);
            if folder.symlink_metadata().is_err() {
                fs::create_dir_all(&folder)?;
                fs::set_permissions(&folder, fs::Permissions::from_mode(mode))?;
            }
        }
        Ok(())
    }

    fn table(&self, finished: &mut Finished) -> io::Result<()> {
        let path = self.root.join("etc/fstab");
        let old = fs::read_to_string(&path).unwrap_or_default();
        let renamed = self.layout.renamed(&self.uuids);
        let mut new = fstab::adapted(&old, &renamed, &self.layout.gone);
        let has = |table: &str, at: &str| fstab::parse(table).iter().any(|line| line.mounted_at == at);
        for (partition, uuid) in self.layout.partitions.iter().zip(&self.uuids) {
            let (Some(at), Some(uuid), Some(fs)) = (&partition.mounted_at, uuid, &partition.file_system)
            else {
                continue;
            };
            if !has(&new, at) {
                let (options, pass) = match (at.as_str(), partition.role) {
                    ("/", _) => ("errors=remount-ro", 1),
                    (_, Role::Efi) => ("umask=0077,nofail", 2),
                    _ => ("defaults", 2),
                };
                let options = if fs.kind.starts_with("ext") || at != "/" { options } else { "defaults" };
                new.push_str(&format!("UUID={uuid} {at} {} {options} 0 {pass}\n", fs.kind));
            }
        }
        if new != old {
            fs::create_dir_all(self.root.join("etc"))?;
            fs::write(&path, new)?;
            finished.done.push("/etc/fstab names the new file systems".into());
        } else {
            finished.done.push("/etc/fstab fits as it is".into());
        }
        Ok(())
    }

    /// The UUID of the file system that `/boot` is on, and where it is from its top.
    fn boot_place(&self) -> io::Result<(String, &'static str)> {
        let own = self.uuid_of("/boot").map(|uuid| (uuid.to_string(), ""));
        let root = || self.uuid_of("/").map(|uuid| (uuid.to_string(), "/boot"));
        own.or_else(root).ok_or_else(|| other("no root file system was made"))
    }

    /// Makes the loader's core for a platform; returns it and the folder of its modules.
    fn core(&self, platform: Platform) -> io::Result<(Vec<u8>, PathBuf)> {
        let (modules, own) = boot::modules(&self.root, platform).ok_or_else(|| {
            let package = if platform == Platform::Bios { "grub-pc-bin" } else { "grub-efi-amd64-bin" };
            other(format!(
                "GRUB's modules for {} are missing here and there (Debian: {package})",
                platform.word()
            ))
        })?;
        let (uuid, boot) = self.boot_place()?;
        let folder = tempfile_in(&self.root.join("boot"))?;
        let (early, core) = (folder.join("early.cfg"), folder.join("core.img"));
        let made = fs::write(&early, boot::early(&uuid, &format!("{boot}/grub"))).and_then(|()| {
            // In the restored system its own program runs, with its own modules; paths are as seen from inside.
            let inside = |path: &Path| match own {
                true => Path::new("/").join(path.strip_prefix(&self.root).unwrap_or(path)),
                false => path.to_path_buf(),
            };
            let mut arguments = Vec::new();
            if own {
                arguments.extend([OsString::from(&self.root), "/usr/bin/grub-mkimage".into()]);
            }
            arguments.extend(words(&["-O", platform.word(), "-p", "/boot/grub", "-d"]));
            arguments.push(inside(&modules).into());
            arguments.extend([
                OsString::from("-c"),
                inside(&early).into(),
                "-o".into(),
                inside(&core).into(),
            ]);
            arguments.extend(words(&platform.modules()));
            run(if own { "chroot" } else { "grub-mkimage" }, &arguments)?;
            fs::read(&core)
        });
        fs::remove_dir_all(&folder).ok();
        Ok((made?, modules))
    }

    /// The modules that the menu loads later lie beside it.
    fn copy_modules(&self, modules: &Path, platform: Platform) -> io::Result<()> {
        let target = self.root.join("boot/grub").join(platform.word());
        fs::create_dir_all(&target)?;
        for entry in fs::read_dir(modules)?.flatten() {
            let name = entry.file_name();
            let ending = Path::new(&name).extension().and_then(|e| e.to_str()).unwrap_or_default();
            if matches!(ending, "mod" | "lst" | "img") {
                fs::copy(entry.path(), target.join(&name))?;
            }
        }
        Ok(())
    }

    fn boot_bios(&self, finished: &mut Finished) -> io::Result<()> {
        let at = self.layout.partitions.iter().position(|p| p.role == Role::BiosBoot);
        let at = at.ok_or_else(|| other("there is no partition for it"))?;
        let (core, modules) = self.core(Platform::Bios)?;
        self.copy_modules(&modules, Platform::Bios)?;
        let (first, len) = self.parts[at];
        let core = boot::core_at(&core, first, len * 512)?;
        let mut file = OpenOptions::new().read(true).write(true).open(&self.disk.path)?;
        let mut sector = vec![0; 512];
        file.read_exact(&mut sector)?;
        let sector = boot::first_sector(&sector, &fs::read(modules.join("boot.img"))?, first)?;
        file.seek(SeekFrom::Start(first * 512))?;
        file.write_all(&core)?;
        file.sync_all()?;
        // Last: until then the disk starts nothing rather than half of it.
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&sector)?;
        file.sync_all()?;
        finished.done.push("GRUB is installed for a BIOS".into());
        Ok(())
    }

    fn boot_efi(&self, finished: &mut Finished) -> io::Result<()> {
        let efi = |p: &&Partition| p.role == Role::Efi;
        let at = self.layout.partitions.iter().find(efi).and_then(|p| p.mounted_at.clone());
        let at = at.ok_or_else(|| other("there is no partition for it"))?;
        let (core, modules) = self.core(Platform::Efi)?;
        self.copy_modules(&modules, Platform::Efi)?;
        let folder = self.root.join(at.trim_start_matches('/')).join("EFI/BOOT");
        fs::create_dir_all(&folder)?;
        let file = folder.join("BOOTX64.EFI");
        if file.exists() {
            finished.warnings.push("EFI/BOOT/BOOTX64.EFI came back with the files and was left alone".into());
            return Ok(());
        }
        fs::write(&file, core)?;
        File::open(&file)?.sync_all()?;
        finished.done.push("GRUB is installed for UEFI, as EFI/BOOT/BOOTX64.EFI".into());
        Ok(())
    }

    fn menu(&self, finished: &mut Finished) -> io::Result<()> {
        let path = self.root.join("boot/grub/grub.cfg");
        let (root, (boot_uuid, boot)) = (self.uuid_of("/").unwrap_or_default(), self.boot_place()?);
        if let Ok(old) = fs::read_to_string(&path) {
            if old.contains(root) {
                finished.done.push("/boot/grub/grub.cfg fits as it is".into());
                return Ok(());
            }
            fs::rename(&path, path.with_extension("cfg.before-recovery"))?;
            finished
                .warnings
                .push("/boot/grub/grub.cfg named another root: it is kept beside the new one".into());
        }
        fs::write(&path, boot::menu(&self.root, root, &boot_uuid, boot)?)?;
        finished.done.push("a menu was written; update-grub makes a better one once it runs".into());
        Ok(())
    }

    /// Unmounts everything.
    fn release(&mut self) -> io::Result<()> {
        let mut result = Ok(());
        while let Some(folder) = self.mounts.pop() {
            let unmounted = run("umount", &[folder.into()]).map(drop);
            result = result.and(unmounted);
        }
        if self.disk.is_image {
            for device in self.loops.drain(..) {
                result = result.and(run("losetup", &[OsString::from("--detach"), device.into()]).map(drop));
            }
        }
        let synced = File::open(&self.disk.path).and_then(|file| file.sync_all());
        result.and(synced)
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        // What cannot be unmounted here shows in the table of mounts; there is nobody to tell.
        self.release().ok();
    }
}

/// A new folder of our own.
fn tempfile_in(folder: &Path) -> io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let path = folder.join(format!(".lifeboat-{}", std::process::id()));
    fs::create_dir(&path)?;
    Ok(path)
}

/// Files and folders with settings of networks.
const NETWORKS: [&str; 6] = [
    "etc/network/interfaces",
    "etc/network/interfaces.d",
    "etc/netplan",
    "etc/systemd/network",
    "etc/NetworkManager/system-connections",
    "etc/dhcpcd.conf",
];
/// A longer file is no such setting.
const SETTING_BYTES_MAX: u64 = 1 << 20;

fn rename_networks(root: &Path, renaming: &Renaming, finished: &mut Finished) -> io::Result<()> {
    if renaming.is_empty() {
        return Ok(());
    }
    for name in NETWORKS {
        let path = root.join(name);
        let files: Vec<PathBuf> = match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => fs::read_dir(&path)?.flatten().map(|e| e.path()).collect(),
            Ok(_) => vec![path],
            Err(_) => continue,
        };
        for file in files {
            // A link could lead out of the restored system.
            let Ok(metadata) = fs::symlink_metadata(&file) else { continue };
            if !metadata.is_file() || metadata.size() > SETTING_BYTES_MAX {
                continue;
            }
            let Ok(old) = fs::read_to_string(&file) else { continue };
            let new = network::rename(&old, renaming);
            if new != old {
                fs::write(&file, new)?;
                let shown = file.strip_prefix(root).unwrap_or(&file).display().to_string();
                finished.done.push(format!("/{shown} names the network devices of this machine"));
            }
        }
    }
    Ok(())
}

/// The answer of `ip -json link` here; empty where it cannot be asked.
pub fn links() -> Vec<u8> {
    run("ip", &words(&["-json", "link"])).map(String::into_bytes).unwrap_or_default()
}
