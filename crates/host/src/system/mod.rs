//! What a machine needs to be built again: packages and where they come from, users, services, disks, boot,
//! network; and a script that reads all of it and says, or does, what there is to do.
//!
//! Settings are ordinary paths ([`paths`]); what only programs can tell is asked of them and kept as text. No machine
//! has all of these programs: those that are absent are listed in `absent.txt`; one that is there and fails is told.
//! Neither is a reason to fail. Nothing is changed.

mod rebuild;

use std::io;
use std::path::PathBuf;

use serde_json::Value;

use crate::databases::{About, Tool};
use crate::produce::{Contents, Facts, Producer, Sink, file_name};

/// A part of what a machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The folder `/etc`.
    Etc,
    /// Packages, their sources, keys and holds.
    Packages,
    /// Services and timers.
    Units,
    /// Crontabs.
    Crontabs,
    /// Users and groups.
    Users,
    /// Partition tables, RAID, LVM, encryption.
    Partitions,
    /// What starts the system.
    Boot,
    /// Addresses, routes, filters.
    Network,
}

impl Part {
    /// All of them.
    pub const ALL: [Part; 8] = [
        Part::Etc,
        Part::Packages,
        Part::Units,
        Part::Crontabs,
        Part::Users,
        Part::Partitions,
        Part::Boot,
        Part::Network,
    ];

    /// Folders and files that belong to it.
    fn paths(self) -> &'static [&'static str] {
        match self {
            Part::Etc => &["/etc", "/usr/local/etc"],
            Part::Packages => &["/etc/apt", "/usr/share/keyrings", "/etc/yum.repos.d", "/etc/pacman.conf"],
            Part::Units => &["/etc/systemd", "/usr/local/lib/systemd"],
            Part::Crontabs => &["/var/spool/cron", "/etc/crontab", "/etc/cron.d"],
            Part::Users => {
                &["/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/etc/subuid", "/etc/subgid"]
            }
            Part::Partitions => &["/etc/fstab", "/etc/crypttab", "/etc/mdadm", "/etc/lvm"],
            Part::Boot => &["/boot", "/etc/default/grub", "/etc/kernel"],
            Part::Network => {
                &["/etc/network", "/etc/netplan", "/etc/NetworkManager", "/etc/hosts", "/etc/hostname"]
            }
        }
    }

    /// The word for it, also the name of its folder.
    pub fn word(self) -> &'static str {
        match self {
            Part::Etc => "etc",
            Part::Packages => "packages",
            Part::Units => "units",
            Part::Crontabs => "crontabs",
            Part::Users => "users",
            Part::Partitions => "partitions",
            Part::Boot => "boot",
            Part::Network => "network",
        }
    }

    /// The questions to programs: file, program, arguments.
    fn questions(self) -> &'static [Question] {
        match self {
            Part::Etc => &[],
            Part::Packages => PACKAGES,
            Part::Units => UNITS,
            Part::Crontabs => &[],
            Part::Users => USERS,
            Part::Partitions => PARTITIONS,
            Part::Boot => BOOT,
            Part::Network => NETWORK,
        }
    }
}

/// The paths of these parts that are there, to be kept beside what is asked.
pub fn paths(parts: &[Part]) -> Vec<PathBuf> {
    let all = parts.iter().flat_map(|part| part.paths()).map(PathBuf::from);
    let mut there: Vec<PathBuf> = all.filter(|path| path.symlink_metadata().is_ok()).collect();
    there.sort();
    // Of two of which one lies in the other, the outer one is enough.
    let mut kept: Vec<PathBuf> = Vec::new();
    for path in there {
        if !kept.iter().any(|outer| path.starts_with(outer)) {
            kept.push(path);
        }
    }
    kept
}

/// File, program, arguments.
type Question = (&'static str, &'static str, &'static [&'static str]);

const PACKAGES: &[Question] = &[
    (
        "dpkg.tsv",
        "dpkg-query",
        &["-W", "-f=${Package}:${Architecture}\\t${Version}\\t${db:Status-Abbrev}\\n"],
    ),
    ("manual.txt", "apt-mark", &["showmanual"]),
    ("holds.txt", "apt-mark", &["showhold"]),
    ("rpm.txt", "rpm", &["-qa", "--queryformat", "%{NAME}\\t%{EPOCHNUM}:%{VERSION}-%{RELEASE}\\t%{ARCH}\\n"]),
    ("pacman.txt", "pacman", &["-Q"]),
    ("apk.txt", "apk", &["info", "-v"]),
    ("flatpak.txt", "flatpak", &["list", "--app", "--columns=application,version,origin"]),
    ("snap.txt", "snap", &["list"]),
];
const UNITS: &[Question] = &[
    ("enabled.txt", "systemctl", &["list-unit-files", "--state=enabled", "--no-legend", "--no-pager"]),
    ("masked.txt", "systemctl", &["list-unit-files", "--state=masked", "--no-legend", "--no-pager"]),
    ("timers.txt", "systemctl", &["list-timers", "--all", "--no-legend", "--no-pager"]),
];
const USERS: &[Question] = &[("passwd.txt", "getent", &["passwd"]), ("group.txt", "getent", &["group"])];
const PARTITIONS: &[Question] = &[
    ("lsblk.txt", "lsblk", &["--output", "NAME,KNAME,TYPE,SIZE,FSTYPE,LABEL,UUID,PARTUUID,MOUNTPOINTS"]),
    ("blkid.txt", "blkid", &[]),
    ("mdadm.txt", "mdadm", &["--detail", "--scan", "--verbose"]),
    ("pvs.txt", "pvs", &["--units", "b", "-o", "+pv_uuid"]),
    ("vgs.txt", "vgs", &["--units", "b", "-o", "+vg_uuid"]),
    ("lvs.txt", "lvs", &["--units", "b", "-a", "-o", "+lv_uuid,devices"]),
    ("zpool.txt", "zpool", &["status"]),
    ("zfs.txt", "zfs", &["get", "-H", "-s", "local", "all"]),
    ("btrfs.txt", "btrfs", &["filesystem", "show"]),
    ("dmsetup.txt", "dmsetup", &["ls", "--tree"]),
];
const BOOT: &[Question] = &[
    ("efi.txt", "efibootmgr", &["-v"]),
    ("bootctl.txt", "bootctl", &["status", "--no-pager"]),
    ("modules.txt", "lsmod", &[]),
    ("kernel.txt", "uname", &["-srvm"]),
];
const NETWORK: &[Question] = &[
    ("addresses.json", "ip", &["-json", "address"]),
    ("routes.json", "ip", &["-json", "route"]),
    ("links.json", "ip", &["-json", "link"]),
    ("nft.txt", "nft", &["list", "ruleset"]),
    ("iptables.txt", "iptables-save", &[]),
];

/// Where systems keep such programs; root's own path may lack some.
const PROGRAMS: [&str; 6] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/local/bin"];

/// The state of this machine as a source.
pub struct System {
    /// What is kept of it.
    pub parts: Vec<Part>,
    /// The name of the machine, for the script; its host name if there is none.
    pub machine: Option<String>,
    /// Folders with the programs; those of the system if empty.
    pub programs: Vec<PathBuf>,
    /// Where LVM keeps the layout of volume groups.
    pub volume_groups: PathBuf,
}

impl System {
    /// These parts of this machine.
    pub fn here(parts: Vec<Part>, machine: Option<String>) -> System {
        System { parts, machine, programs: Vec::new(), volume_groups: "/etc/lvm/backup".into() }
    }
}

impl System {
    fn program(&self, name: &str) -> Option<PathBuf> {
        let usual = PROGRAMS.iter().map(PathBuf::from).filter(|_| self.programs.is_empty());
        self.programs.iter().cloned().chain(usual).map(|folder| folder.join(name)).find(|path| path.is_file())
    }

    /// The answer of a program; `None` where it is not installed.
    fn ask(&self, program: &str, arguments: &[&str]) -> io::Result<Option<Vec<u8>>> {
        let Some(path) = self.program(program) else { return Ok(None) };
        Tool::new(path).args(arguments.iter().copied()).variable("LC_ALL", "C").answer().map(Some)
    }

    fn machine(&self) -> String {
        let own =
            || std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_string();
        self.machine.clone().unwrap_or_else(own)
    }
}

/// What is being kept.
struct Keeping<'k> {
    system: &'k System,
    sink: &'k mut dyn Sink,
    /// Programs that are not installed, and what was asked of them.
    absent: Vec<String>,
    answers: u64,
}

impl Keeping<'_> {
    fn file(&mut self, part: Part, file: &str, bytes: &[u8]) -> io::Result<()> {
        self.sink.file(&[part.word(), file], Facts::PRIVATE, Contents::Bytes(bytes)).map(|_| ())
    }

    /// Asks a program; why it gave no answer is noted.
    fn ask(&mut self, part: Part, what: &str, program: &str, arguments: &[&str]) -> Option<Vec<u8>> {
        match self.system.ask(program, arguments) {
            Ok(Some(answer)) => {
                self.answers += 1;
                return Some(answer);
            }
            Ok(None) => self.absent.push(format!("{}/{what}\t{program}", part.word())),
            Err(e) => self.sink.tell(&format!("{}/{what}", part.word()), &format!("not kept: {e}")),
        }
        None
    }

    fn part(&mut self, part: Part) -> io::Result<()> {
        for (file, program, arguments) in part.questions() {
            if let Some(answer) = self.ask(part, file, program, arguments) {
                self.file(part, file, &answer)?;
            }
        }
        match part {
            Part::Partitions => self.disks(),
            Part::Boot => {
                for (file, from) in [("cmdline.txt", "/proc/cmdline"), ("mounts.txt", "/proc/self/mountinfo")]
                {
                    if let Ok(text) = std::fs::read(from) {
                        self.file(part, file, &text)?;
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The partition table of every disk, in the form `sfdisk` takes back, and the headers of encrypted volumes.
    fn disks(&mut self) -> io::Result<()> {
        let part = Part::Partitions;
        let list = self.ask(part, "lsblk.json", "lsblk", &["--json", "--bytes", "--paths", "--output-all"]);
        let Some(list) = list else { return Ok(()) };
        self.file(part, "lsblk.json", &list)?;
        let (disks, encrypted) = devices(&list);
        for disk in disks {
            let file = format!("{}.sfdisk", file_name(disk.trim_start_matches("/dev/")));
            match self.system.ask("sfdisk", &["--dump", &disk]) {
                Ok(Some(table)) if !table.is_empty() => self.file(part, &file, &table)?,
                Ok(Some(_)) => {}
                Ok(None) => self.absent.push(format!("partitions/{file}\tsfdisk")),
                // A disk that is used as a whole, without a table, is no failure.
                Err(e) if e.to_string().contains("does not contain a recognized partition table") => {}
                Err(e) => self.sink.tell(&disk, &format!("its partition table is not kept: {e}")),
            }
        }
        for device in encrypted {
            let file = format!("{}.luks.txt", file_name(device.trim_start_matches("/dev/")));
            if let Some(text) = self.ask(part, &file, "cryptsetup", &["luksDump", &device]) {
                self.file(part, &file, &text)?;
            }
        }
        self.volume_groups()
    }

    /// What `vgcfgrestore` needs: the tool keeps a copy that is as new as the last change.
    fn volume_groups(&mut self) -> io::Result<()> {
        let part = Part::Partitions;
        let Some(groups) = self.ask(part, "vgcfg", "vgs", &["--noheadings", "-o", "vg_name"]) else {
            return Ok(());
        };
        for group in String::from_utf8_lossy(&groups).split_whitespace() {
            match std::fs::read(self.system.volume_groups.join(group)) {
                Ok(text) => self.file(part, &format!("{}.vgcfg", file_name(group)), &text)?,
                Err(e) => self.sink.tell(group, &format!("the layout of the volume group is not kept: {e}")),
            }
        }
        Ok(())
    }
}

impl Producer for System {
    fn produce(&mut self, sink: &mut dyn Sink) -> io::Result<()> {
        let mut keeping = Keeping { system: self, sink, absent: Vec::new(), answers: 0 };
        for part in &self.parts {
            keeping.part(*part)?;
        }
        let Keeping { absent, answers, .. } = keeping;
        if answers == 0 && self.parts.iter().any(|part| !part.questions().is_empty()) {
            return Err(io::Error::other("no program of this machine could be asked about it"));
        }
        if !absent.is_empty() {
            let text = absent.join("\n") + "\n";
            sink.file(&["absent.txt"], Facts::PRIVATE, Contents::Bytes(text.as_bytes()))?;
        }
        let script = rebuild::script(&self.machine(), &self.parts);
        let facts = Facts { mode: 0o700, ..Facts::PRIVATE };
        sink.file(&["rebuild.sh"], facts, Contents::Bytes(script.as_bytes()))?;
        About { place: self.machine(), ..About::new("system") }.keep(sink)
    }
}

/// Disks, and devices with an encrypted volume, of the answer of `lsblk --json`.
fn devices(list: &[u8]) -> (Vec<String>, Vec<String>) {
    let (mut disks, mut encrypted) = (Vec::new(), Vec::new());
    let parsed: Value = serde_json::from_slice(list).unwrap_or_default();
    let mut left: Vec<&Value> = parsed["blockdevices"].as_array().into_iter().flatten().collect();
    while let Some(device) = left.pop() {
        left.extend(device["children"].as_array().into_iter().flatten());
        let Some(path) =
            device["path"].as_str().or(device["name"].as_str()).filter(|p| p.starts_with("/dev/"))
        else {
            continue;
        };
        if matches!(device["type"].as_str(), Some("disk" | "raid0" | "raid1" | "raid5" | "raid6" | "raid10"))
            && !path.starts_with("/dev/ram")
            && !path.starts_with("/dev/zram")
        {
            disks.push(path.to_string());
        }
        if device["fstype"].as_str() == Some("crypto_LUKS") {
            encrypted.push(path.to_string());
        }
    }
    disks.sort();
    disks.dedup();
    encrypted.sort();
    encrypted.dedup();
    (disks, encrypted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_and_encrypted_volumes_are_found_in_the_list() {
        let list = br#"{"blockdevices": [
            {"path": "/dev/sda", "type": "disk", "children": [
                {"path": "/dev/sda1", "type": "part", "fstype": "ext4"},
                {"path": "/dev/sda2", "type": "part", "fstype": "crypto_LUKS", "children": [
                    {"path": "/dev/mapper/x", "type": "crypt", "fstype": "LVM2_member"}]}]},
            {"path": "/dev/zram0", "type": "disk"}, {"path": "/dev/loop0", "type": "loop"},
            {"path": "/dev/md0", "type": "raid1"}, {"path": 7, "type": "disk"}]}"#;
        let (disks, encrypted) = devices(list);
        assert_eq!(disks, ["/dev/md0", "/dev/sda"]);
        assert_eq!(encrypted, ["/dev/sda2"]);
        assert_eq!(devices(b"no json"), (Vec::new(), Vec::new()));
    }
}
