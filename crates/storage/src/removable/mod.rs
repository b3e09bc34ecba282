//! Drives that come and go, known by the id of their file system and not by a path.
//!
//! [`look`] says where a drive is: mounted, plugged in, or away. Being away is no fault: the place waits for
//! its drive ([`ErrorKind::Away`]). A drive that is mounted for a store is unmounted when the store goes.
//! [`plugged_in_rule`] is the text by which systemd starts a job when the drive comes.

mod mounts;

use crate::location::is_uuid;
use crate::{
    Capabilities, ErrorKind, LocalOptions, LocalStore, ObjectInfo, ObjectName, PutMode, RemovableLocation,
    Store, StoreError, StoreResult, Upload,
};
use mounts::Mounts;
use rustix::fs::{Dev, FileType};
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

/// Where the system tells about its drives.
#[derive(Clone, Debug)]
pub struct MediaOptions {
    /// One link per file system, by its UUID, to its device.
    pub by_uuid: PathBuf,
    /// What is mounted where, as the kernel tells it.
    pub mountinfo: PathBuf,
    /// The folder below which drives are mounted by us.
    pub mount_below: PathBuf,
}

impl Default for MediaOptions {
    fn default() -> Self {
        Self {
            by_uuid: "/dev/disk/by-uuid".into(),
            mountinfo: "/proc/self/mountinfo".into(),
            mount_below: "/run/lifeboat/media".into(),
        }
    }
}

/// Where a drive is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Medium {
    /// It is mounted here.
    Mounted(PathBuf),
    /// It is plugged in and not mounted; this is its device.
    PluggedIn(PathBuf),
    /// It is not there.
    Away,
}

/// Looks for the file system with this UUID.
///
/// # Errors
/// [`ErrorKind::Other`] when the system does not tell what is mounted.
pub fn look(uuid: &str, options: &MediaOptions) -> StoreResult<Medium> {
    let Some(device) = device_of(uuid, &options.by_uuid) else { return Ok(Medium::Away) };
    let mounts = Mounts::read(&options.mountinfo)?;
    Ok(match mounts.of_device(&device, device_number(&device)) {
        Some(path) => Medium::Mounted(path),
        None => Medium::PluggedIn(device),
    })
}

/// The device behind the link for this UUID, which may be in capital letters.
fn device_of(uuid: &str, by_uuid: &Path) -> Option<PathBuf> {
    let links = std::fs::read_dir(by_uuid).ok()?;
    let fits = |name: &std::ffi::OsStr| name.to_str().is_some_and(|name| name.eq_ignore_ascii_case(uuid));
    let link = links.flatten().find(|entry| fits(&entry.file_name()))?;
    // A link that a drive left behind leads nowhere.
    std::fs::canonicalize(link.path()).ok()
}

fn device_number(device: &Path) -> Option<Dev> {
    let stat = rustix::fs::stat(device).ok()?;
    (FileType::from_raw_mode(stat.st_mode) == FileType::BlockDevice).then_some(stat.st_rdev)
}

/// A folder on a drive as a store.
pub struct RemovableStore {
    // The order matters: what is open on the drive is closed before it is unmounted.
    store: LocalStore,
    _mounted: Option<MountedByUs>,
    location: Arc<str>,
}

impl RemovableStore {
    /// Opens the folder, wherever the drive is today.
    ///
    /// # Errors
    /// [`ErrorKind::Away`] when the drive is not plugged in, or not mounted and not to be; then everything
    /// that [`LocalStore::open`] can say.
    pub fn open(
        place: &RemovableLocation,
        options: &LocalOptions,
        media: &MediaOptions,
    ) -> StoreResult<Self> {
        let away = |why: String| StoreError::new(ErrorKind::Away, format!("open {place}")).because(why);
        let (top, mounted) = match look(&place.uuid, media)? {
            Medium::Away => return Err(away(format!("the drive {} is not plugged in", place.uuid))),
            Medium::Mounted(top) => (top, None),
            Medium::PluggedIn(device) if place.mount => {
                let mounted = MountedByUs::mount(&device, &place.uuid, media)?;
                (mounted.path.clone(), Some(mounted))
            }
            Medium::PluggedIn(device) => {
                let why = "it is plugged in, but not mounted; mount it, or let it be mounted with ?mount=yes";
                return Err(away(format!("{}: {why}", device.display())));
            }
        };
        let store = LocalStore::open(&top.join(&place.path), options)?;
        Ok(Self { store, _mounted: mounted, location: place.to_string().into() })
    }
}

impl Store for RemovableStore {
    fn location(&self) -> String {
        self.location.to_string()
    }
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }
    fn put(&self, name: &ObjectName, bytes: &[u8], mode: PutMode) -> StoreResult<()> {
        self.store.put(name, bytes, mode)
    }
    fn upload(&self, len_hint_bytes: u64) -> StoreResult<Box<dyn Upload>> {
        self.store.upload(len_hint_bytes)
    }
    fn get(&self, name: &ObjectName, max_bytes: u64) -> StoreResult<Vec<u8>> {
        self.store.get(name, max_bytes)
    }
    fn get_range(&self, name: &ObjectName, range: Range<u64>) -> StoreResult<Vec<u8>> {
        self.store.get_range(name, range)
    }
    fn list(&self, prefix: &str, visit: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>) -> StoreResult<()> {
        self.store.list(prefix, visit)
    }
    fn stat(&self, name: &ObjectName) -> StoreResult<ObjectInfo> {
        self.store.stat(name)
    }
    fn delete(&self, name: &ObjectName) -> StoreResult<()> {
        self.store.delete(name)
    }
    fn sync(&self) -> StoreResult<()> {
        self.store.sync()
    }
}

/// A drive that was mounted here, and is unmounted when this goes.
struct MountedByUs {
    device: PathBuf,
    path: PathBuf,
    /// Whether the desktop's service did it, for a user without rights.
    by_service: bool,
}

impl MountedByUs {
    fn mount(device: &Path, uuid: &str, media: &MediaOptions) -> StoreResult<Self> {
        if rustix::process::geteuid().is_root() {
            return Self::mount_as_root(device, uuid, media);
        }
        run(Command::new("udisksctl").args(["mount", "--no-user-interaction", "-b"]).arg(device), device)?;
        match look(uuid, media)? {
            Medium::Mounted(path) => Ok(Self { device: device.into(), path, by_service: true }),
            _ => Err(cannot_mount(device, "it was said to be mounted, and is not".to_owned())),
        }
    }

    fn mount_as_root(device: &Path, uuid: &str, media: &MediaOptions) -> StoreResult<Self> {
        let path = media.mount_below.join(uuid);
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|error| cannot_mount(device, format!("{}: {error}", path.display())))?;
        // A drive that anybody may have had in hands brings no programs and no devices along.
        let options = ["-o", "nosuid,nodev,noexec"];
        run(Command::new("mount").args(options).arg("--").arg(device).arg(&path), device)?;
        Ok(Self { device: device.into(), path, by_service: false })
    }
}

impl Drop for MountedByUs {
    fn drop(&mut self) {
        let ran = match self.by_service {
            true => run(
                Command::new("udisksctl").args(["unmount", "--no-user-interaction", "-b"]).arg(&self.device),
                &self.device,
            ),
            // Lazily where another run still uses it: it goes when that one has finished.
            false => run(Command::new("umount").arg("--").arg(&self.path), &self.device)
                .or_else(|_| run(Command::new("umount").args(["-l", "--"]).arg(&self.path), &self.device)),
        };
        // There is nobody to tell any more; what was written is on the drive since the last sync.
        if ran.is_ok() && !self.by_service {
            let _ = std::fs::remove_dir(&self.path);
        }
    }
}

fn cannot_mount(device: &Path, why: String) -> StoreError {
    StoreError::new(ErrorKind::Other, format!("mount {}", device.display())).because(why)
}

fn run(command: &mut Command, device: &Path) -> StoreResult<()> {
    let ran = command.stdin(Stdio::null()).output();
    let program = command.get_program().to_string_lossy().into_owned();
    let ran = ran.map_err(|error| cannot_mount(device, format!("{program}: {error}")))?;
    if ran.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&ran.stderr);
    let first = words.lines().next().unwrap_or_default();
    let shown: String = first.chars().filter(|c| !c.is_control()).take(200).collect();
    Err(cannot_mount(device, format!("{program} ended with {}: {shown}", ran.status)))
}

/// A rule for udev (`/etc/udev/rules.d/90-lifeboat.rules`) by which systemd starts `unit` whenever the file
/// system with this UUID is plugged in.
///
/// # Errors
/// [`ErrorKind::Config`] for what is no UUID or no name of a unit: nothing else may get into such a file.
pub fn plugged_in_rule(uuid: &str, unit: &str) -> StoreResult<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'@' | b':' | b'\\');
    let is_unit = unit.contains('.') && unit.len() < 256 && unit.bytes().all(plain);
    if !is_uuid(uuid) || !is_unit {
        let what = format!("start {unit:?} when {uuid:?} is plugged in");
        return Err(StoreError::new(ErrorKind::Config, what));
    }
    let (lower, upper) = (uuid.to_ascii_lowercase(), uuid.to_ascii_uppercase());
    // Names with a backslash are escaped for systemd already; udev wants the backslash doubled.
    let unit = unit.replace('\\', "\\\\");
    Ok(format!(
        "# Made by lifeboat: starts a job when the drive {lower} is plugged in.\n\
         ACTION==\"add\", SUBSYSTEM==\"block\", ENV{{ID_FS_UUID}}==\"{lower}|{upper}\", \
         TAG+=\"systemd\", ENV{{SYSTEMD_WANTS}}+=\"{unit}\"\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_names_the_drive_and_the_unit_and_nothing_else_gets_in() {
        let rule = plugged_in_rule("3F1C-77aa", "lifeboat-job@daily.service").unwrap();
        assert!(rule.contains("ENV{ID_FS_UUID}==\"3f1c-77aa|3F1C-77AA\""), "{rule}");
        assert!(rule.ends_with("ENV{SYSTEMD_WANTS}+=\"lifeboat-job@daily.service\"\n"), "{rule}");
        for (uuid, unit) in [
            ("3F1C-77AA", "a\", RUN+=\"/bin/sh"),
            ("3F1C\"", "a.service"),
            ("", "a.service"),
            ("3F1C-77AA", "daily"),
            ("3F1C-77AA", "a b.service"),
            ("3F1C-77AA", "a\n.service"),
        ] {
            assert!(plugged_in_rule(uuid, unit).is_err(), "{uuid} {unit}");
        }
    }

    #[test]
    fn a_drive_that_was_never_there_is_away() {
        let folder = tempfile::tempdir().unwrap();
        let media = MediaOptions { by_uuid: folder.path().join("none"), ..MediaOptions::default() };
        assert_eq!(look("3f1c-77aa", &media).unwrap(), Medium::Away);
        std::fs::create_dir(folder.path().join("by-uuid")).unwrap();
        std::os::unix::fs::symlink("/nonexistent/sdz", folder.path().join("by-uuid/3F1C-77AA")).unwrap();
        let media = MediaOptions { by_uuid: folder.path().join("by-uuid"), ..MediaOptions::default() };
        assert_eq!(look("3f1c-77aa", &media).unwrap(), Medium::Away);
        let place = RemovableLocation { uuid: "3f1c-77aa".into(), path: "a".into(), mount: true };
        let error = RemovableStore::open(&place, &LocalOptions::default(), &media).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Away);
    }
}
