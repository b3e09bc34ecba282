//! What a unit may do beside reading everything: what its duty needs, and no more.
//!
//! A job that reads a database as its user may become other users, one that takes snapshots of file systems may take
//! those; the units of other jobs may not. What lies where is looked up when the units are made: `schedule install`
//! is to be run again when sources move to another file system.

use super::quoted;
use crate::catalog::Duty;
use crate::config::sources::{Freeze, SystemPart, SystemSource};
use crate::config::{Config, Source, load::full_path};
use crate::daemon::plan::Key;
use crate::runner::changes_account;
use host::freeze::mounts::{self, Mount};
use host::freeze::subvolume;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Rights beside reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Whether tools of databases run as other users.
    pub as_others: bool,
    /// Devices that are sources, and are read.
    pub devices: BTreeSet<PathBuf>,
    /// The top folders of the subvolumes of btrfs of which snapshots are taken, and in which they lie.
    pub btrfs: BTreeSet<PathBuf>,
    /// Whether snapshots of ZFS are taken.
    pub zfs: bool,
    /// Whether snapshots of logical volumes are taken.
    pub lvm: bool,
    /// Whether those are mounted, to read the files in them.
    pub mounts: bool,
    /// Whether the layout of all disks is read.
    pub disks: bool,
    /// Whether the machine's network interfaces are listed.
    pub interfaces: bool,
    /// Whether what the kernel tells of the machine is read.
    pub kernel: bool,
    /// Folders of files that are written besides.
    pub folders: BTreeSet<PathBuf>,
}

/// Where sources lie on this machine.
pub struct Ground<'g> {
    /// The user's home, for `~`.
    pub home: &'g Path,
    /// What is mounted.
    pub mounts: &'g [Mount],
}

impl Rights {
    /// What a duty needs.
    pub fn of_duty(config: &Config, key: &Key, ground: &Ground<'_>) -> Rights {
        let job = || config.jobs.get(&key.subject).into_iter().flat_map(|job| &job.sources);
        match key.duty {
            Duty::Run => Rights::of_sources(config, job(), ground),
            // A throw-away server runs as an ordinary user.
            Duty::Drill => {
                Rights { as_others: config.sources.values().any(changes_account), ..Rights::default() }
            }
            Duty::Watch | Duty::Report => Rights { folders: of_metrics(config), ..Rights::default() },
            Duty::Maintenance | Duty::Verify | Duty::Sync => Rights::default(),
        }
    }

    /// What everything together needs.
    pub fn of_all(config: &Config, ground: &Ground<'_>) -> Rights {
        let sources = Rights::of_sources(config, config.sources.keys(), ground);
        Rights { folders: of_metrics(config), ..sources }
    }

    /// Sources that want a kind of snapshot which what they lie on cannot take: their units could not either.
    pub fn unmet<'c>(config: &'c Config, ground: &Ground<'_>) -> Vec<&'c str> {
        let wants = |source: &Source| match source {
            Source::Files(files) => !matches!(files.snapshot, Freeze::None | Freeze::Auto),
            _ => false,
        };
        let wanting = config.sources.iter().filter(|(_, source)| wants(source));
        let unmet =
            wanting.filter(|(name, _)| !Rights::of_sources(config, [*name].into_iter(), ground).freezes());
        unmet.map(|(name, _)| name.as_str()).collect()
    }

    fn of_sources<'s>(
        config: &Config,
        names: impl Iterator<Item = &'s String>,
        ground: &Ground<'_>,
    ) -> Rights {
        let mut rights = Rights::default();
        for source in names.filter_map(|name| config.sources.get(name)) {
            rights.as_others |= changes_account(source);
            match source {
                Source::Files(files) => files.paths.iter().for_each(|path| {
                    rights.add_files(&full_path(ground.home, path), files.snapshot, ground.mounts)
                }),
                Source::Block(block) => {
                    rights.devices.extend(block.device.starts_with("/dev").then(|| block.device.clone()));
                    rights.lvm |= block.snapshot != Freeze::None;
                }
                Source::System(system) => rights.add_system(system),
                _ => {}
            }
        }
        rights
    }

    fn add_system(&mut self, system: &SystemSource) {
        let has = |part: SystemPart| system.include.as_ref().is_none_or(|parts| parts.contains(&part));
        self.disks |= has(SystemPart::Partitions);
        self.interfaces |= has(SystemPart::Network);
        self.kernel |= has(SystemPart::Boot);
    }

    /// The snapshots that `host::freeze` takes of a path and of what is mounted below it.
    fn add_files(&mut self, path: &Path, wanted: Freeze, all: &[Mount]) {
        if wanted == Freeze::None {
            return;
        }
        self.add_mount(path, mounts::of(all, path), wanted);
        for below in all.iter().filter(|mount| mount.point.starts_with(path) && mount.point != path) {
            // A logical volume is asked for by name for the source alone.
            if wanted != Freeze::Lvm {
                self.add_mount(&below.point, Some(below), wanted);
            }
        }
    }

    fn add_mount(&mut self, path: &Path, on: Option<&Mount>, wanted: Freeze) {
        let Some(on) = on else { return };
        match (wanted, on.kind.as_str()) {
            (Freeze::Auto | Freeze::Btrfs, "btrfs") => {
                self.btrfs.insert(subvolume(path).unwrap_or_else(|_| on.point.clone()));
            }
            (Freeze::Auto | Freeze::Zfs, "zfs") => self.zfs = true,
            (Freeze::Lvm, _) => (self.lvm, self.mounts) = (true, true),
            (Freeze::Auto, "ext3" | "ext4" | "xfs") if on.source.starts_with("/dev/mapper/") => {
                (self.lvm, self.mounts) = (true, true);
            }
            _ => {}
        }
    }

    /// Whether snapshots of file systems or volumes are taken.
    pub fn freezes(&self) -> bool {
        !self.btrfs.is_empty() || self.zfs || self.lvm
    }

    /// In words, for those who install it; none where it is nothing but reading files.
    pub fn in_words(&self) -> Option<String> {
        let kinds = [(!self.btrfs.is_empty(), "btrfs"), (self.zfs, "ZFS"), (self.lvm, "LVM")];
        let kinds: Vec<&str> = kinds.iter().filter(|(wanted, _)| *wanted).map(|(_, kind)| *kind).collect();
        let snapshots = format!("take snapshots of {} (CAP_SYS_ADMIN)", kinds.join(" and "));
        let others = "become other users: PostgreSQL lets them in through its socket (a source with a password does without)";
        let said = [
            (self.as_others, others),
            (self.freezes(), snapshots.as_str()),
            (self.disks, "read all disks, whose layout a system source keeps"),
        ];
        let said: Vec<&str> = said.iter().filter(|(wanted, _)| *wanted).map(|(_, words)| *words).collect();
        (!said.is_empty()).then(|| said.join("; "))
    }

    /// The lines of a unit that give these rights, and those that take away what none of them needs. `drives` come
    /// and go: which is there is told by the links to devices.
    pub(super) fn lines(&self, drives: bool) -> Vec<String> {
        let mut lines = vec![format!("CapabilityBoundingSet={}", self.capabilities().join(" "))];
        // A later list of system calls adds to an earlier one.
        let calls = [(self.as_others, "@setuid"), (self.mounts, "@mount")];
        lines.extend(
            calls.iter().filter(|(wanted, _)| *wanted).map(|(_, set)| format!("SystemCallFilter={set}")),
        );
        lines.extend(self.device_lines(drives));
        lines.extend(self.folder_lines());
        if !self.freezes() && !self.kernel {
            // Whoever takes snapshots notes of which start of the machine they are, and asks for its devices.
            lines.push("ProcSubset=pid".into());
        }
        lines
    }

    /// Capabilities of the service's processes.
    pub fn capabilities(&self) -> Vec<&'static str> {
        let mut capabilities = vec!["CAP_DAC_READ_SEARCH"];
        if self.as_others {
            capabilities.extend(["CAP_SETUID", "CAP_SETGID"]);
        }
        if self.freezes() {
            capabilities.push("CAP_SYS_ADMIN");
        }
        if !self.btrfs.is_empty() {
            // The snapshot of a subvolume is made in it, and it may be a user's.
            capabilities.extend(["CAP_DAC_OVERRIDE", "CAP_FOWNER"]);
        }
        capabilities
    }

    fn device_lines(&self, drives: bool) -> Vec<String> {
        if !drives && self.devices.is_empty() && !self.zfs && !self.lvm && !self.disks {
            return vec!["PrivateDevices=true".into()];
        }
        let mut lines = vec!["DevicePolicy=closed".to_string()];
        let read = |device: &PathBuf| format!("DeviceAllow={} r", quoted(&device.to_string_lossy()));
        lines.extend(self.devices.iter().map(read));
        lines.extend(self.zfs.then(|| "DeviceAllow=/dev/zfs rw".to_string()));
        let disks = if self.lvm { "DeviceAllow=block-* rw" } else { "DeviceAllow=block-* r" };
        lines.extend((self.lvm || self.disks).then(|| disks.to_string()));
        lines.extend(self.lvm.then(|| "DeviceAllow=/dev/mapper/control rw".to_string()));
        lines
    }

    /// What is read-only. The later of two lines for the same folder would not count, so each is said once.
    fn folder_lines(&self) -> Vec<String> {
        let of_root = self.btrfs.contains(Path::new("/"));
        let homes = ["/home", "/root", "/run/user"].map(Path::new);
        let of_homes = self.btrfs.iter().any(|top| homes.contains(&top.as_path()));
        // All of `/` but these would have to be named to keep it read-only around the snapshot in it.
        let mut lines = vec![format!("ProtectSystem={}", if of_root { "full" } else { "strict" })];
        lines.extend((!of_homes).then(|| "ProtectHome=read-only".to_string()));
        lines
    }

    /// Folders to write to.
    pub(super) fn writes(&self) -> impl Iterator<Item = &Path> {
        let of_lvm = ["/etc/lvm", "/run/lvm", "/run/lock/lvm"].map(Path::new);
        let btrfs = self.btrfs.iter().map(PathBuf::as_path).filter(|top| *top != Path::new("/"));
        let folders = self.folders.iter().map(PathBuf::as_path);
        btrfs.chain(of_lvm.into_iter().filter(|_| self.lvm)).chain(folders)
    }
}

/// The folder in which the watch replaces the file of the metrics.
fn of_metrics(config: &Config) -> BTreeSet<PathBuf> {
    let folder = config.daemon.metrics_file.as_deref().and_then(Path::parent);
    folder.into_iter().map(Path::to_path_buf).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"
        [repositories.main]
        url = "/backup"
        [sources.home]
        paths = ["~"]
        snapshot = "auto"
        [sources.srv]
        paths = ["/srv"]
        [sources.tank]
        paths = ["/tank/data"]
        snapshot = "zfs"
        [sources.root]
        paths = ["/etc"]
        snapshot = "auto"
        [sources.shop]
        type = "postgres"
        url = "postgresql:///shop"
        [sources.machine]
        type = "system"
        [jobs.home]
        sources = ["home", "srv"]
        to = ["main"]
        [jobs.tank]
        sources = ["tank"]
        to = ["main"]
        [jobs.root]
        sources = ["root"]
        to = ["main"]
        [jobs.shop]
        sources = ["shop"]
        to = ["main"]
        [jobs.machine]
        sources = ["machine"]
        to = ["main"]
        [jobs.plain]
        sources = ["srv"]
        to = ["main"]
    "#;

    fn mounted(point: &str, kind: &str, source: &str) -> Mount {
        Mount { device: "0:1".into(), point: point.into(), kind: kind.into(), source: source.into() }
    }

    #[test]
    fn each_job_may_do_what_its_sources_need_and_no_more() {
        let config: Config = toml::from_str(CONFIG).unwrap();
        let mounts = [
            mounted("/", "ext4", "/dev/mapper/vg-root"),
            mounted("/no-such-home", "btrfs", "/dev/sdb"),
            mounted("/no-such-home/me/music", "btrfs", "/dev/sdc"),
            mounted("/tank/data", "zfs", "tank/data"),
        ];
        let ground = Ground { home: Path::new("/no-such-home/me"), mounts: &mounts };
        let of =
            |duty, subject: &str| Rights::of_duty(&config, &Key { duty, subject: subject.into() }, &ground);
        let run = |job: &str| of(Duty::Run, job);
        let none = Rights::default;
        let music = "/no-such-home/me/music";
        assert_eq!(run("home"), Rights { btrfs: ["/no-such-home".into(), music.into()].into(), ..none() });
        assert_eq!(run("tank"), Rights { zfs: true, ..none() });
        assert_eq!(run("root"), Rights { lvm: true, mounts: true, ..none() });
        assert_eq!(run("shop"), Rights { as_others: true, ..none() });
        assert_eq!(run("machine"), Rights { disks: true, interfaces: true, kernel: true, ..none() });
        assert_eq!(run("plain"), none());
        assert_eq!(of(Duty::Verify, "main"), none());
        assert_eq!(of(Duty::Watch, ""), none());
        let all = Rights::of_all(&config, &ground);
        assert!(all.as_others && all.zfs && all.lvm && all.disks && all.btrfs.len() == 2);
        let written = Config {
            daemon: toml::from_str("metrics_file = '/srv/metrics/a.prom'").unwrap(),
            ..config.clone()
        };
        for rights in [
            Rights::of_duty(&written, &Key { duty: Duty::Watch, subject: String::new() }, &ground),
            Rights::of_all(&written, &ground),
        ] {
            assert!(rights.writes().any(|folder| folder == Path::new("/srv/metrics")));
        }
        assert_eq!(none().in_words(), None);
        assert!(run("home").in_words().unwrap().contains("snapshots of btrfs"));
    }

    #[test]
    fn a_folder_is_said_to_be_read_only_or_to_be_written_to_and_not_both() {
        let lines = |tops: &[&str]| {
            let rights = Rights { btrfs: tops.iter().map(PathBuf::from).collect(), ..Rights::default() };
            let writes: Vec<PathBuf> = rights.writes().map(Path::to_path_buf).collect();
            (rights.lines(false).join("\n"), writes)
        };
        let (text, writes) = lines(&["/home"]);
        assert!(text.contains("ProtectSystem=strict") && !text.contains("ProtectHome"), "{text}");
        assert_eq!(writes, [Path::new("/home")]);
        let (text, writes) = lines(&["/home/me", "/srv"]);
        assert!(text.contains("ProtectSystem=strict\nProtectHome=read-only"), "{text}");
        assert_eq!(writes.len(), 2);
        let (text, writes) = lines(&["/"]);
        assert!(text.contains("ProtectSystem=full\nProtectHome=read-only"), "{text}");
        assert!(writes.is_empty());
    }
}
