//! What must be released, written down before it is taken: so that a run that was killed leaves nothing behind.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Commands;

/// Records of one process at most.
const RUNS_MAX: u32 = 10_000;
/// Beginning of the name of every snapshot that is made here.
pub const NAME: &str = "lifeboat-";

/// A snapshot of a file system or device, and how to take it away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Taken {
    /// A read-only btrfs subvolume.
    Btrfs {
        /// Its path.
        path: PathBuf,
    },
    /// A ZFS snapshot: `dataset@name`.
    Zfs {
        /// Its name.
        name: String,
    },
    /// An LVM snapshot, perhaps mounted.
    Lvm {
        /// `group/volume`.
        volume: String,
        /// Where it is mounted; the folder is removed, too.
        mounted: Option<PathBuf>,
    },
}

impl Taken {
    /// Whether it is one of ours: a record from elsewhere must not make us delete anything else.
    fn is_ours(&self) -> bool {
        let named = |name: Option<&str>| name.is_some_and(|name| name.starts_with(NAME));
        let hidden = |path: &Path| {
            let name = path.file_name().and_then(|name| name.to_str());
            named(name.and_then(|name| name.strip_prefix('.')))
        };
        match self {
            Taken::Btrfs { path } => path.is_absolute() && hidden(path),
            Taken::Zfs { name } => named(name.split_once('@').map(|(_, snapshot)| snapshot)),
            Taken::Lvm { volume, mounted } => {
                named(volume.split_once('/').map(|(_, volume)| volume))
                    && mounted
                        .as_ref()
                        .is_none_or(|p| p.is_absolute() && named(p.file_name().and_then(|n| n.to_str())))
            }
        }
    }

    /// Takes it away; nothing to take away is fine.
    fn release(&self, commands: &dyn Commands) -> io::Result<()> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        match self {
            Taken::Btrfs { path } if path.symlink_metadata().is_err() => Ok(()),
            Taken::Btrfs { path } => commands.run(&["btrfs", "subvolume", "delete", &text(path)]).map(|_| ()),
            Taken::Zfs { name } => {
                if commands.run(&["zfs", "list", "-H", "-t", "snapshot", "-o", "name", name]).is_err() {
                    return Ok(());
                }
                commands.run(&["zfs", "destroy", name]).map(|_| ())
            }
            Taken::Lvm { volume, mounted } => {
                if let Some(point) = mounted {
                    if super::mounts::read()?.iter().any(|mount| mount.point == *point) {
                        commands.run(&["umount", &text(point)])?;
                    }
                    let _ = fs::remove_dir(point);
                }
                if commands.run(&["lvs", "--noheadings", "-o", "lv_name", volume]).is_err() {
                    return Ok(());
                }
                commands.run(&["lvremove", "--yes", "--force", volume]).map(|_| ())
            }
        }
    }
}

/// The record of one run.
#[derive(Debug, Serialize, Deserialize)]
struct Written {
    /// The process, and when it began in ticks since the machine did: numbers of processes come again.
    process: u32,
    began: u64,
    /// This start of the machine.
    boot: String,
    taken: Vec<Taken>,
}

/// The record of a run under way.
pub struct Record {
    path: PathBuf,
    written: Written,
}

impl Record {
    /// A record in this folder that says nothing yet, and the name of this run, which no other one has: it is in
    /// the names of all that is taken.
    pub fn begin(folder: &Path) -> io::Result<(Record, String)> {
        let (process, began) = (std::process::id(), began(std::process::id()).unwrap_or(0));
        for n in 1..RUNS_MAX {
            let id = format!("{process}-{began}-{n}");
            match Record::new(folder, &id) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                other => return other.map(|record| (record, id)),
            }
        }
        Err(io::Error::other(format!("{} is full of what could not be released", folder.display())))
    }

    /// A record under this name, which must not exist.
    pub(super) fn new(folder: &Path, id: &str) -> io::Result<Record> {
        fs::create_dir_all(folder)?;
        let process = std::process::id();
        let began = began(process).unwrap_or(0);
        let written = Written { process, began, boot: boot(), taken: Vec::new() };
        let record = Record { path: folder.join(format!("{NAME}{id}.json")), written };
        File::create_new(&record.path)?.write_all(&record.bytes()?)?;
        Ok(record)
    }

    fn bytes(&self) -> io::Result<Vec<u8>> {
        serde_json::to_vec_pretty(&self.written).map_err(io::Error::other)
    }

    /// Notes what is about to be taken; durable when this returns.
    pub fn about_to_take(&mut self, taken: Taken) -> io::Result<()> {
        self.written.taken.push(taken);
        self.write()
    }

    fn write(&self) -> io::Result<()> {
        let temporary = self.path.with_extension("new");
        let mut file = File::create(&temporary)?;
        file.write_all(&self.bytes()?)?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        File::open(self.path.parent().unwrap_or(Path::new("/")))?.sync_all()
    }

    /// Releases everything, the last first. What could not be released stays in the record, for the next start.
    pub fn release(&mut self, commands: &dyn Commands) -> io::Result<()> {
        let mut failed = None;
        let mut left = Vec::new();
        while let Some(taken) = self.written.taken.pop() {
            if let Err(e) = taken.release(commands) {
                left.insert(0, taken);
                failed.get_or_insert(e);
            }
        }
        self.written.taken = left;
        match failed {
            None => match fs::remove_file(&self.path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
                _ => Ok(()),
            },
            Some(e) => {
                self.write()?;
                Err(e)
            }
        }
    }
}

/// When a process began, in ticks since the machine did.
fn began(process: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, which may hold anything, ends at the last parenthesis; the 20th field after it is the time.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_string()
}

/// What a cleaning found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Snapshots that were released.
    pub released: u64,
    /// What could not be released or read, in words.
    pub failed: Vec<String>,
}

/// Releases what runs left behind that are over.
pub fn clean(folder: &Path, commands: &dyn Commands) -> io::Result<Cleaned> {
    let mut cleaned = Cleaned::default();
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(cleaned),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let is_record = path.extension().is_some_and(|e| e == "json")
            && path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(NAME));
        if !is_record {
            continue;
        }
        let shown = path.display().to_string();
        let written = fs::read(&path).and_then(|bytes| {
            serde_json::from_slice::<Written>(&bytes).map_err(|e| io::Error::other(e.to_string()))
        });
        match written {
            Err(e) => cleaned.failed.push(format!("{shown}: {e}")),
            Ok(written) if is_running(&written) => {}
            Ok(written) if !written.taken.iter().all(Taken::is_ours) => {
                cleaned.failed.push(format!("{shown}: it names something that lifeboat has not made"));
            }
            Ok(written) => {
                let count = written.taken.len() as u64;
                let mut record = Record { path, written };
                match record.release(commands) {
                    Ok(()) => cleaned.released += count,
                    Err(e) => cleaned.failed.push(format!("{shown}: {e}")),
                }
            }
        }
    }
    Ok(cleaned)
}

fn is_running(written: &Written) -> bool {
    written.boot == boot() && written.began != 0 && began(written.process) == Some(written.began)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::freeze::tests::Recorded;

    #[test]
    fn a_record_of_somebody_elses_things_deletes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        for (n, taken) in [
            Taken::Btrfs { path: "/home".into() },
            Taken::Zfs { name: "tank/home@daily".into() },
            Taken::Lvm { volume: "vg/root".into(), mounted: None },
            Taken::Lvm { volume: "vg/lifeboat-1".into(), mounted: Some("/home".into()) },
        ]
        .into_iter()
        .enumerate()
        {
            let mut record = Record::new(folder.path(), &n.to_string()).unwrap();
            record.written.began = 1;
            record.about_to_take(taken).unwrap();
            let commands = Recorded::new(&[]);
            let cleaned = clean(folder.path(), &commands).unwrap();
            assert_eq!((cleaned.released, cleaned.failed.len()), (0, n + 1));
            assert!(commands.asked().is_empty());
        }
    }

    #[test]
    fn a_run_that_still_runs_keeps_its_snapshots() {
        let folder = tempfile::tempdir().unwrap();
        let mut record = Record::new(folder.path(), "x").unwrap();
        record.about_to_take(Taken::Zfs { name: "tank@lifeboat-x".into() }).unwrap();
        let commands = Recorded::new(&[]);
        assert_eq!(clean(folder.path(), &commands).unwrap(), Cleaned::default());
        // The same number as another process: what began then is over.
        record.written.began -= 1;
        record.write().unwrap();
        let commands = Recorded::new(&["tank@lifeboat-x", ""]);
        assert_eq!(clean(folder.path(), &commands).unwrap().released, 1);
        assert_eq!(commands.asked()[1], "zfs destroy tank@lifeboat-x");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
