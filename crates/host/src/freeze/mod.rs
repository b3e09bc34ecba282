//! Reading a state of one moment: snapshots of btrfs, ZFS and LVM, always released.
//!
//! What is about to be taken is written down first, see [`record`]; it is released when the [`Frozen`] is dropped
//! or, if the run was killed, by [`clean`] at the next start. Paths are read below the snapshots and recorded
//! under their own names, through [`View`]s. Commands enter as a value, so that their sequences can be tested
//! against recorded answers.

pub mod mounts;
pub mod record;

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::databases::Tool;
use crate::view::View;
use mounts::Mount;
pub use record::{Cleaned, clean};
use record::{NAME, Record, Taken};

/// Runs commands.
pub trait Commands: Send + Sync {
    /// Runs a command; what it printed, or why it failed.
    fn run(&self, arguments: &[&str]) -> io::Result<String>;
}

/// Runs them on this machine.
pub struct ThisMachine;

impl Commands for ThisMachine {
    fn run(&self, arguments: &[&str]) -> io::Result<String> {
        let (program, rest) = arguments.split_first().expect("a command has a name");
        // As root's own path may lack the folders of these programs.
        let folders = ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin"];
        let full = folders.iter().map(|folder| Path::new(folder).join(program)).find(|path| path.exists());
        let tool = full.map_or_else(|| Tool::new(*program), Tool::new);
        tool.args(rest.iter().copied()).variable("LC_ALL", "C").text()
    }
}

/// Which snapshots are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Whatever the file system offers; none where it offers nothing or it fails, with a word about it.
    Auto,
    /// btrfs.
    Btrfs,
    /// ZFS.
    Zfs,
    /// LVM.
    Lvm,
}

/// How long an LVM snapshot may last: the part of the volume that may change meanwhile.
const LVM_EXTENTS: &str = "10%ORIGIN";
/// Inode number of the top folder of every btrfs subvolume.
const BTRFS_TOP: u64 = 256;

/// Snapshots that are taken, released when this is dropped.
pub struct Frozen {
    /// Where what is read.
    pub views: Vec<View>,
    /// What was not frozen, and why.
    pub notes: Vec<String>,
    /// Paths that are read as they are because their file system takes no snapshots, and what it is.
    pub plain: Vec<(PathBuf, String)>,
    record: Option<Record>,
    commands: Box<dyn Commands>,
}

impl Frozen {
    /// Releases everything and says what could not be released; dropping does the same in silence.
    pub fn release(mut self) -> io::Result<()> {
        self.release_all()
    }

    fn release_all(&mut self) -> io::Result<()> {
        self.record.take().map_or(Ok(()), |mut record| record.release(&*self.commands))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // What stays is in the record, which the next start works off.
        let _ = self.release_all();
    }
}

/// Takes snapshots of everything these paths lie on, and of what is mounted below them.
///
/// `state` is a folder for the record and for mounting LVM snapshots.
pub fn freeze(
    paths: &[PathBuf],
    method: Method,
    state: &Path,
    commands: Box<dyn Commands>,
) -> io::Result<Frozen> {
    let mounts = mounts::read()?;
    let (record, id) = Record::begin(state)?;
    let mut frozen =
        Frozen { views: Vec::new(), notes: Vec::new(), plain: Vec::new(), record: Some(record), commands };
    let mut taking = Taking { mounts: &mounts, method, state, id: &id, frozen: &mut frozen, count: 0 };
    for path in paths {
        taking.path(path)?;
    }
    if frozen.views.iter().all(|view| view.real == view.seen) {
        frozen.views.clear();
    }
    Ok(frozen)
}

/// Takes a snapshot of a logical volume, to be read as a device; the path of that.
pub fn freeze_volume(
    device: &Path,
    state: &Path,
    commands: Box<dyn Commands>,
) -> io::Result<(Frozen, PathBuf)> {
    let (record, id) = Record::begin(state)?;
    let mut frozen =
        Frozen { views: Vec::new(), notes: Vec::new(), plain: Vec::new(), record: Some(record), commands };
    let mut taking =
        Taking { mounts: &[], method: Method::Lvm, state, id: &id, frozen: &mut frozen, count: 0 };
    let snapshot = taking.lvm_snapshot(&device.to_string_lossy(), None)?;
    Ok((frozen, snapshot))
}

struct Taking<'t> {
    mounts: &'t [Mount],
    method: Method,
    state: &'t Path,
    id: &'t str,
    frozen: &'t mut Frozen,
    count: u32,
}

impl Taking<'_> {
    /// Freezes the file system of a path and those mounted below it.
    fn path(&mut self, path: &Path) -> io::Result<()> {
        let on = mounts::of(self.mounts, path);
        let on = on.ok_or_else(|| io::Error::other(format!("nothing is mounted at {}", path.display())))?;
        self.one(path, on, true)?;
        let mut below: Vec<&Mount> =
            self.mounts.iter().filter(|m| m.point.starts_with(path) && m.point != path).collect();
        below.sort_by_key(|mount| mount.point.as_os_str().len());
        for mount in below {
            self.one(&mount.point, mount, false)?;
        }
        Ok(())
    }

    /// Freezes what a path lies on, if it can be and is not yet; else it is read where it is.
    fn one(&mut self, path: &Path, mount: &Mount, is_source: bool) -> io::Result<()> {
        let wanted = match (self.method, mount.kind.as_str()) {
            (Method::Auto | Method::Btrfs, "btrfs") => self.btrfs(path),
            (Method::Auto | Method::Zfs, "zfs") => self.zfs(mount),
            (Method::Lvm, _) | (Method::Auto, "ext4" | "xfs" | "ext3")
                if mount.source.starts_with("/dev/mapper/") || self.method == Method::Lvm =>
            {
                if is_source || self.method == Method::Auto {
                    self.lvm(mount)
                } else {
                    self.as_it_is(&mount.point)
                }
            }
            _ if is_source && self.method != Method::Auto => Err(io::Error::other(format!(
                "{} lies on {}, of which no such snapshot can be taken",
                path.display(),
                mount.kind
            ))),
            _ => {
                if is_source {
                    self.frozen.plain.push((path.into(), mount.kind.clone()));
                }
                self.as_it_is(&mount.point)
            }
        };
        match wanted {
            Err(e) if self.method == Method::Auto => {
                self.frozen.notes.push(format!("{} is read as it is: {e}", path.display()));
                self.as_it_is(&mount.point)
            }
            other => other,
        }
    }

    /// A view onto itself: what lies here must not be looked for in the snapshot of what lies above.
    fn as_it_is(&mut self, point: &Path) -> io::Result<()> {
        self.view(point, point)
    }

    fn view(&mut self, real: &Path, seen: &Path) -> io::Result<()> {
        if !self.has_view(real) {
            self.frozen.views.push(View { real: real.into(), seen: seen.into() });
        }
        Ok(())
    }

    fn has_view(&self, real: &Path) -> bool {
        self.frozen.views.iter().any(|view| view.real == real)
    }

    fn take(&mut self, taken: Taken, command: &[&str]) -> io::Result<()> {
        let record = self.frozen.record.as_mut().expect("it is there until the release");
        record.about_to_take(taken)?;
        self.frozen.commands.run(command).map(|_| ())
    }

    fn name(&mut self) -> String {
        self.count += 1;
        format!("{NAME}{}-{}", self.id, self.count)
    }

    /// A snapshot of the subvolume a path lies in, and of those below the path.
    fn btrfs(&mut self, path: &Path) -> io::Result<()> {
        let top = subvolume(path)?;
        if self.has_view(&top) {
            return Ok(());
        }
        let shown = top.to_string_lossy().into_owned();
        let nested = self.frozen.commands.run(&["btrfs", "subvolume", "list", "-o", &shown])?;
        let name = self.name();
        let snapshot = top.join(format!(".{name}"));
        let seen = snapshot.to_string_lossy().into_owned();
        self.take(
            Taken::Btrfs { path: snapshot.clone() },
            &["btrfs", "subvolume", "snapshot", "-r", &shown, &seen],
        )?;
        self.view(&top, &snapshot)?;
        for inner in nested_subvolumes(&nested) {
            // The list counts from the top of the file system; what is here ends with the same names.
            let Some(inner) = below(&top, &inner) else { continue };
            if inner.starts_with(path) && !is_ours(&inner) {
                self.btrfs(&inner)?;
            }
        }
        Ok(())
    }

    fn zfs(&mut self, mount: &Mount) -> io::Result<()> {
        if self.has_view(&mount.point) {
            return Ok(());
        }
        let name = self.name();
        let snapshot = format!("{}@{name}", mount.source);
        self.take(Taken::Zfs { name: snapshot.clone() }, &["zfs", "snapshot", &snapshot])?;
        self.view(&mount.point, &mount.point.join(".zfs/snapshot").join(name))
    }

    fn lvm(&mut self, mount: &Mount) -> io::Result<()> {
        if self.has_view(&mount.point) {
            return Ok(());
        }
        let point = self.state.join(format!("{NAME}{}-mount-{}", self.id, self.count + 1));
        let device = self.lvm_snapshot(&mount.source, Some(point.clone()))?;
        std::fs::create_dir_all(&point)?;
        // A journal is not worked off: that would write. XFS refuses a second file system of the same id.
        let options = match mount.kind.as_str() {
            "xfs" => "ro,nouuid,norecovery",
            "ext3" | "ext4" => "ro,noload",
            _ => "ro",
        };
        let (device, at) = (device.to_string_lossy().into_owned(), point.to_string_lossy().into_owned());
        self.frozen.commands.run(&["mount", "-t", &mount.kind, "-o", options, &device, &at])?;
        self.view(&mount.point, &point)
    }

    /// Takes a snapshot of a logical volume; the path of its device.
    fn lvm_snapshot(&mut self, device: &str, mounted: Option<PathBuf>) -> io::Result<PathBuf> {
        let list = self.frozen.commands.run(&[
            "lvs",
            "--noheadings",
            "--separator",
            "/",
            "-o",
            "vg_name,lv_name,pool_lv",
            device,
        ])?;
        let words: Vec<&str> = list.trim().split('/').collect();
        let [group, volume, pool @ ..] = &words[..] else {
            return Err(io::Error::other(format!("{device} is no logical volume")));
        };
        let name = self.name();
        let origin = format!("{group}/{volume}");
        let taken = Taken::Lvm { volume: format!("{group}/{name}"), mounted };
        if pool.first().is_some_and(|pool| !pool.is_empty()) {
            // A snapshot in a pool takes its space from there, and would not be activated by itself.
            let thin = [
                "lvcreate",
                "--snapshot",
                "--setactivationskip",
                "n",
                "--permission",
                "r",
                "--name",
                &name,
                &origin,
            ];
            self.take(taken, &thin)?;
        } else {
            let thick = [
                "lvcreate",
                "--snapshot",
                "--extents",
                LVM_EXTENTS,
                "--permission",
                "r",
                "--name",
                &name,
                &origin,
            ];
            self.take(taken, &thick)?;
        }
        Ok(Path::new("/dev").join(group).join(name))
    }
}

/// The top folder of the btrfs subvolume a path lies in.
pub fn subvolume(path: &Path) -> io::Result<PathBuf> {
    let device = std::fs::symlink_metadata(path)?.dev();
    for above in path.ancestors() {
        let stat = std::fs::symlink_metadata(above)?;
        if stat.ino() == BTRFS_TOP && stat.is_dir() && stat.dev() == device {
            return Ok(above.into());
        }
    }
    Err(io::Error::other(format!("{} lies in no subvolume", path.display())))
}

/// The paths of `btrfs subvolume list`: the last column, which may hold spaces.
fn nested_subvolumes(list: &str) -> Vec<PathBuf> {
    list.lines().filter_map(|line| line.split_once(" path ").map(|(_, path)| PathBuf::from(path))).collect()
}

/// The folder below `top` that a path of the list means: the longest end of it that is a subvolume there.
fn below(top: &Path, listed: &Path) -> Option<PathBuf> {
    let names: Vec<_> = listed.iter().collect();
    let ends = (0..names.len()).map(|from| top.join(names[from..].iter().collect::<PathBuf>()));
    let is_top =
        |path: &PathBuf| std::fs::symlink_metadata(path).is_ok_and(|s| s.ino() == BTRFS_TOP && s.is_dir());
    ends.into_iter().find(is_top)
}

fn is_ours(path: &Path) -> bool {
    path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(&format!(".{NAME}")))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// Commands with recorded answers, given in order; an answer that begins with `!` is a failure.
    #[derive(Clone)]
    pub(crate) struct Recorded {
        answers: Arc<Mutex<Vec<String>>>,
        asked: Arc<Mutex<Vec<String>>>,
    }

    impl Recorded {
        pub(crate) fn new(answers: &[&str]) -> Recorded {
            let answers = answers.iter().rev().map(|a| a.to_string()).collect();
            Recorded { answers: Arc::new(Mutex::new(answers)), asked: Arc::default() }
        }

        pub(crate) fn asked(&self) -> Vec<String> {
            self.asked.lock().unwrap().clone()
        }
    }

    impl Commands for Recorded {
        fn run(&self, arguments: &[&str]) -> io::Result<String> {
            self.asked.lock().unwrap().push(arguments.join(" "));
            let answer = self.answers.lock().unwrap().pop().unwrap_or_default();
            match answer.strip_prefix('!') {
                Some(why) => Err(io::Error::other(why.to_string())),
                None => Ok(answer),
            }
        }
    }

    fn mount(point: &str, kind: &str, source: &str) -> Mount {
        Mount { device: "1:1".into(), point: point.into(), kind: kind.into(), source: source.into() }
    }

    fn taking(
        mounts: &[Mount],
        method: Method,
        commands: &Recorded,
        paths: &[&str],
    ) -> io::Result<(Frozen, PathBuf)> {
        let state = tempfile::tempdir().unwrap().keep();
        let mut frozen = Frozen {
            plain: Vec::new(),
            views: Vec::new(),
            notes: Vec::new(),
            record: Some(Record::new(&state, "7f").unwrap()),
            commands: Box::new(commands.clone()),
        };
        let mut taking = Taking { mounts, method, state: &state, id: "7f", frozen: &mut frozen, count: 0 };
        for path in paths {
            taking.path(Path::new(path))?;
        }
        Ok((frozen, state))
    }

    fn views(frozen: &Frozen) -> Vec<(&str, &str)> {
        frozen.views.iter().map(|v| (v.real.to_str().unwrap(), v.seen.to_str().unwrap())).collect()
    }

    #[test]
    fn zfs_datasets_below_a_path_are_each_snapshotted_and_destroyed() {
        let mounts = [
            mount("/", "ext4", "/dev/sda1"),
            mount("/tank", "zfs", "tank"),
            mount("/tank/home", "zfs", "tank/home"),
            mount("/tank/home/proc", "proc", "proc"),
        ];
        let commands = Recorded::new(&["", "", "tank/home@lifeboat-7f-2", "", "tank@lifeboat-7f-1", ""]);
        let (frozen, state) = taking(&mounts, Method::Auto, &commands, &["/tank"]).unwrap();
        assert_eq!(
            views(&frozen),
            [
                ("/tank", "/tank/.zfs/snapshot/lifeboat-7f-1"),
                ("/tank/home", "/tank/home/.zfs/snapshot/lifeboat-7f-2"),
                ("/tank/home/proc", "/tank/home/proc"),
            ]
        );
        frozen.release().unwrap();
        assert_eq!(
            commands.asked(),
            [
                "zfs snapshot tank@lifeboat-7f-1",
                "zfs snapshot tank/home@lifeboat-7f-2",
                "zfs list -H -t snapshot -o name tank/home@lifeboat-7f-2",
                "zfs destroy tank/home@lifeboat-7f-2",
                "zfs list -H -t snapshot -o name tank@lifeboat-7f-1",
                "zfs destroy tank@lifeboat-7f-1",
            ]
        );
        assert_eq!(std::fs::read_dir(&state).unwrap().count(), 0);
        std::fs::remove_dir_all(state).unwrap();
    }

    #[test]
    fn a_logical_volume_is_snapshotted_mounted_without_writing_and_removed() {
        let mounts =
            [mount("/", "ext4", "/dev/mapper/vg0-root"), mount("/srv", "xfs", "/dev/mapper/vg0-srv")];
        let commands = Recorded::new(&["  vg0/srv/\n", "", "", "  lifeboat-7f-1\n", ""]);
        let (frozen, state) = taking(&mounts, Method::Lvm, &commands, &["/srv/data"]).unwrap();
        let point = state.join("lifeboat-7f-mount-1");
        assert_eq!(views(&frozen), [("/srv", point.to_str().unwrap())]);
        drop(frozen);
        let asked = commands.asked();
        assert_eq!(asked[0], "lvs --noheadings --separator / -o vg_name,lv_name,pool_lv /dev/mapper/vg0-srv");
        assert_eq!(
            asked[1],
            "lvcreate --snapshot --extents 10%ORIGIN --permission r --name lifeboat-7f-1 vg0/srv"
        );
        let at = point.display();
        assert_eq!(asked[2], format!("mount -t xfs -o ro,nouuid,norecovery /dev/vg0/lifeboat-7f-1 {at}"));
        assert_eq!(asked[3], "lvs --noheadings -o lv_name vg0/lifeboat-7f-1");
        assert_eq!(asked[4], "lvremove --yes --force vg0/lifeboat-7f-1");
        assert!(!point.exists());
        std::fs::remove_dir_all(state).unwrap();
    }

    #[test]
    fn a_volume_in_a_pool_needs_no_size() {
        let mounts = [mount("/", "ext4", "/dev/mapper/vg0-root")];
        let commands = Recorded::new(&["  vg0/root/pool\n"]);
        let (frozen, state) = taking(&mounts, Method::Auto, &commands, &["/"]).unwrap();
        assert!(commands.asked()[1].contains("--setactivationskip n"), "{:?}", commands.asked());
        assert!(commands.asked()[2].starts_with("mount -t ext4 -o ro,noload /dev/vg0/lifeboat-7f-1 "));
        drop(frozen);
        std::fs::remove_dir_all(state).unwrap();
    }

    #[test]
    fn a_volume_is_read_as_a_device_and_its_snapshot_removed() {
        let commands = Recorded::new(&["  vg0/root/\n"]);
        let state = tempfile::tempdir().unwrap();
        let device = Path::new("/dev/vg0/root");
        let (frozen, snapshot) = freeze_volume(device, state.path(), Box::new(commands.clone())).unwrap();
        let name = snapshot.strip_prefix("/dev/vg0").unwrap().to_str().unwrap().to_string();
        assert!(name.starts_with("lifeboat-"));
        drop(frozen);
        let asked = commands.asked();
        assert!(asked[1].ends_with(&format!("--name {name} vg0/root")), "{asked:?}");
        assert_eq!(asked[3], format!("lvremove --yes --force vg0/{name}"));
        let none = freeze_volume(device, state.path(), Box::new(Recorded::new(&["!no such volume"])));
        assert!(none.is_err());
        assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_cannot_be_frozen_is_read_as_it_is_or_refused() {
        let mounts = [mount("/", "ext4", "/dev/sda1"), mount("/tank", "zfs", "tank")];
        let commands = Recorded::new(&["!permission denied", ""]);
        let (frozen, state) = taking(&mounts, Method::Auto, &commands, &["/tank", "/home"]).unwrap();
        assert_eq!(views(&frozen), [("/tank", "/tank"), ("/", "/")]);
        assert!(frozen.notes[0].contains("permission denied"));
        drop(frozen);
        std::fs::remove_dir_all(state).unwrap();
        assert!(taking(&mounts, Method::Zfs, &Recorded::new(&[]), &["/home"]).is_err());
        assert!(taking(&mounts, Method::Zfs, &Recorded::new(&["!no"]), &["/tank"]).is_err());
    }

    #[test]
    fn lists_of_subvolumes_are_read() {
        let list = "ID 257 gen 9 top level 5 path @home/a b\nID 258 gen 9 top level 257 path x\nbad\n";
        assert_eq!(nested_subvolumes(list), [Path::new("@home/a b"), Path::new("x")]);
    }
}
