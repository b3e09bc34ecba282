//! What this machine has: homes, folders of data, databases, disks. Only looks; nothing is asked over a network.

use crate::display::safe;
use std::fs;
use std::path::{Path, PathBuf};

/// Users with numbers from here on are people.
const PEOPLE_FROM: u32 = 1000;
const NOBODY: u32 = 65534;
/// Where a system keeps data of its own that no package brings back.
const DATA_FOLDERS: [&str; 2] = ["srv", "var/www"];
/// Where a system is, and no copies belong.
const SYSTEM_MOUNTS: [&str; 9] = ["/", "/boot", "/boot/efi", "/home", "/var", "/usr", "/tmp", "/srv", "/opt"];

/// A database server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundDatabase {
    /// The type of its source.
    pub kind: &'static str,
    /// How it is reached.
    pub url: String,
}

/// A disk on which copies could lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundDisk {
    /// Where it is mounted.
    pub mounted_at: PathBuf,
    /// UUID of its file system.
    pub uuid: Option<String>,
}

impl FoundDisk {
    /// The address of a repository on it: by the file system's UUID, so that it is found wherever it is mounted.
    pub fn address(&self, folder: &str) -> String {
        match &self.uuid {
            Some(uuid) => format!("removable:{uuid}/{folder}"),
            None => self.mounted_at.join(folder).display().to_string(),
        }
    }
}

/// Home folders of people: the user's own, or for root those of all.
pub fn homes(passwd: &str, own: &Path, is_root: bool) -> Vec<PathBuf> {
    if !is_root {
        return vec![own.to_path_buf()];
    }
    let line = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let uid: u32 = fields.get(2)?.parse().ok()?;
        let home = PathBuf::from(fields.get(5)?);
        ((PEOPLE_FROM..NOBODY).contains(&uid) && home.is_absolute() && home.is_dir()).then_some(home)
    };
    let mut homes: Vec<PathBuf> = passwd.lines().filter_map(line).collect();
    homes.push(own.to_path_buf());
    homes.sort();
    homes.dedup();
    homes.retain(|home| home.parent().is_some() && holds_something(home));
    homes
}

/// Folders below `root` that hold data of the system's services.
pub fn data_folders(root: &Path) -> Vec<PathBuf> {
    DATA_FOLDERS.iter().map(|folder| root.join(folder)).filter(|folder| holds_something(folder)).collect()
}

fn holds_something(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

/// Where PostgreSQL's sockets are, on Debian and where it was built by hand.
const POSTGRES_FOLDERS: [&str; 2] = ["run/postgresql", "tmp"];

/// Database servers whose sockets are below `root`.
pub fn databases(root: &Path) -> Vec<FoundDatabase> {
    let mut found = Vec::new();
    for folder in POSTGRES_FOLDERS {
        let entries = fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            let port = name.strip_prefix(".s.PGSQL.").and_then(|port| port.parse::<u16>().ok());
            let url = port.map(|port| format!("postgresql:///?host=/{folder}&port={port}"));
            found.extend(url.map(|url| FoundDatabase { kind: "postgres", url }));
        }
    }
    if root.join("run/mysqld/mysqld.sock").exists() {
        let kind = if root.join("etc/mysql/mariadb.cnf").exists() { "mariadb" } else { "mysql" };
        found.push(FoundDatabase { kind, url: "mysql:///?socket=/run/mysqld/mysqld.sock".into() });
    }
    if root.join("tmp/mongodb-27017.sock").exists() {
        found.push(FoundDatabase { kind: "mongodb", url: "mongodb://127.0.0.1:27017".into() });
    }
    if ["run/redis/redis-server.sock", "run/redis/redis-server.pid"].iter().any(|p| root.join(p).exists()) {
        found.push(FoundDatabase { kind: "redis", url: "redis://127.0.0.1:6379".into() });
    }
    found.sort_by(|a, b| a.url.cmp(&b.url));
    found
}

/// The kind of server an address belongs to.
pub fn kind_of_database(url: &str) -> Option<&'static str> {
    match url.split_once("://")?.0 {
        "postgresql" | "postgres" => Some("postgres"),
        "mysql" => Some("mysql"),
        "mariadb" => Some("mariadb"),
        "mongodb" | "mongodb+srv" => Some("mongodb"),
        "redis" | "rediss" => Some("redis"),
        _ => None,
    }
}

/// Disks that are mounted and not the system's own. `mountinfo` is the kernel's table, `by_uuid` the folder with
/// a link for each file system.
pub fn disks(mountinfo: &str, by_uuid: &Path) -> Vec<FoundDisk> {
    let line = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let (mut before, mut after) = (before.split(' '), after.split(' '));
        let mounted_at = before.nth(4)?;
        let (kind, device) = (after.next()?, after.next()?);
        let is_disk = device.starts_with("/dev/") && !matches!(kind, "squashfs" | "iso9660" | "udf");
        let is_own = SYSTEM_MOUNTS.contains(&mounted_at) || mounted_at.starts_with("/snap/");
        // Escaped names are shown nowhere else; such a disk is named by hand.
        let is_plain = !mounted_at.contains('\\') && safe(mounted_at) == mounted_at;
        (is_disk && !is_own && is_plain && Path::new(mounted_at).is_dir())
            .then(|| FoundDisk { mounted_at: mounted_at.into(), uuid: uuid_of(device, by_uuid) })
    };
    let mut disks: Vec<FoundDisk> = mountinfo.lines().filter_map(line).collect();
    disks.sort_by(|a, b| a.mounted_at.cmp(&b.mounted_at));
    disks.dedup_by(|a, b| a.uuid.is_some() && a.uuid == b.uuid);
    disks
}

fn uuid_of(device: &str, by_uuid: &Path) -> Option<String> {
    let device = fs::canonicalize(device).unwrap_or_else(|_| device.into());
    let links = fs::read_dir(by_uuid).ok()?.flatten();
    let mut fits = links.filter(|link| fs::canonicalize(link.path()).is_ok_and(|target| target == device));
    fits.next().map(|link| link.file_name().to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_of_people_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let home = |name: &str| folder.path().join(name);
        for name in ["ann", "bob", "empty", "daemon", "root"] {
            fs::create_dir(home(name)).unwrap();
        }
        for name in ["ann", "bob", "daemon", "root"] {
            fs::write(home(name).join("a"), "a").unwrap();
        }
        let line = |name: &str, uid: u32| format!("{name}:x:{uid}:{uid}::{}:/bin/sh\n", home(name).display());
        let passwd = [
            line("ann", 1000),
            line("bob", 1001),
            line("empty", 1002),
            line("daemon", 1),
            line("gone", 1003),
            "broken\n".into(),
        ];
        let found = homes(&passwd.concat(), &home("root"), true);
        assert_eq!(found, [home("ann"), home("bob"), home("root")]);
        assert_eq!(homes(&passwd.concat(), &home("ann"), false), [home("ann")]);
    }

    #[test]
    fn databases_are_known_by_their_sockets() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        assert_eq!(databases(root), []);
        for (path, name) in [
            ("run/postgresql", ".s.PGSQL.5432"),
            ("run/postgresql", ".s.PGSQL.5432.lock"),
            ("run/mysqld", "mysqld.sock"),
            ("etc/mysql", "mariadb.cnf"),
            ("tmp", ".s.PGSQL.5433"),
            ("run/redis", "redis-server.pid"),
            ("tmp", "mongodb-27017.sock"),
        ] {
            fs::create_dir_all(root.join(path)).unwrap();
            fs::write(root.join(path).join(name), "").unwrap();
        }
        let found = databases(root);
        let kinds: Vec<&str> = found.iter().map(|found| found.kind).collect();
        assert_eq!(kinds, ["mongodb", "mariadb", "postgres", "postgres", "redis"]);
        assert!(found[2].url.ends_with("port=5432") && found[3].url.ends_with("/tmp&port=5433"));
        for FoundDatabase { kind, url } in found.iter().filter(|found| found.kind != "mariadb") {
            assert_eq!(kind_of_database(url), Some(*kind));
        }
        assert_eq!(kind_of_database("/srv/x"), None);
    }

    #[test]
    fn disks_are_named_by_their_file_system() {
        let folder = tempfile::tempdir().unwrap();
        let (at, by_uuid, device) =
            (folder.path().join("usb"), folder.path().join("by-uuid"), folder.path().join("sdb1"));
        fs::create_dir(&at).unwrap();
        fs::create_dir(&by_uuid).unwrap();
        fs::write(&device, "").unwrap();
        std::os::unix::fs::symlink(&device, by_uuid.join("3f1c-77aa")).unwrap();
        let table = format!(
            "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 22 8:17 / {} rw - ext4 /dev/../{} rw\n31 22 0:5 / /proc rw - proc proc rw\n",
            at.display(),
            device.strip_prefix("/").unwrap().display()
        );
        let found = disks(&table, &by_uuid);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].address("lifeboat"), "removable:3f1c-77aa/lifeboat");
        let unnamed = FoundDisk { uuid: None, ..found[0].clone() };
        assert_eq!(unnamed.address("lifeboat"), at.join("lifeboat").display().to_string());
    }
}
