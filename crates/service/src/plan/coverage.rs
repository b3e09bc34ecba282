//! What is on this machine and in no source, and how big that is: homes, folders of services, mounted file systems,
//! database servers.
//!
//! Looking takes time on a large disk, so it ends after a given one; a size is then said to be "at least". It follows
//! no links, stays on one file system, and reads nothing but folders.

use crate::config::load::full_path;
use crate::config::{Config, Source};
use crate::setup::discover;
use host::system::Part;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use storage::Location;

/// Folders inside each other at most.
const DEPTH_MAX: usize = 64;
/// Less in a folder that is partly covered is not worth a line.
const BYTES_MIN: u64 = 4096;

/// What no source holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uncovered {
    /// When it was looked for: Unix seconds; 0 if never.
    pub looked: i64,
    /// What was found.
    pub things: Vec<Thing>,
    /// Patterns that are left out on purpose, by source.
    pub left_out: BTreeMap<String, Vec<String>>,
}

/// Something that no source holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thing {
    /// `home`, `folder`, `mount` or the kind of a database server.
    pub kind: String,
    /// Its path or address.
    pub name: String,
    /// Bytes that are not covered; none where that cannot be seen.
    pub bytes: Option<u64>,
    /// Whether it is more than that: it was not looked at to its end.
    pub at_least: bool,
    /// Whether a source holds a part of it.
    pub partly: bool,
}

impl Uncovered {
    /// Without what changes by itself.
    pub(super) fn without_sizes(&self) -> Self {
        let mut still = self.clone();
        still.looked = 0;
        for thing in &mut still.things {
            thing.bytes = None;
            thing.at_least = false;
        }
        still
    }

    /// Bytes of all of it, and whether it is more.
    pub fn bytes(&self) -> (u64, bool) {
        let sum = self.things.iter().filter_map(|thing| thing.bytes).sum();
        (sum, self.things.iter().any(|thing| thing.at_least || thing.bytes.is_none()))
    }
}

/// What is there to be covered.
pub struct Machine {
    /// Home folders of people.
    pub homes: Vec<PathBuf>,
    /// Folders of services and settings.
    pub folders: Vec<PathBuf>,
    /// Other file systems.
    pub mounts: Vec<PathBuf>,
    /// Database servers: kind and address.
    pub databases: Vec<(String, String)>,
}

impl Machine {
    /// This machine.
    pub fn here(home: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let is_root = rustix::process::geteuid().is_root();
        let disks = discover::disks(&read("/proc/self/mountinfo"), Path::new("/dev/disk/by-uuid"));
        let databases = discover::databases(Path::new("/"));
        Machine {
            homes: discover::homes(&read("/etc/passwd"), home, is_root),
            folders: if is_root { discover::data_folders(Path::new("/")) } else { Vec::new() },
            mounts: disks.into_iter().map(|disk| disk.mounted_at).collect(),
            databases: databases.into_iter().map(|found| (found.kind.to_string(), found.url)).collect(),
        }
    }
}

/// Paths that sources hold, and those that need none.
struct Covered {
    /// With whether it ends at the border of its file system.
    paths: Vec<(PathBuf, bool)>,
    /// Copies themselves.
    copies: Vec<PathBuf>,
}

impl Covered {
    fn of(config: &Config, home: &Path) -> Self {
        let mut paths = Vec::new();
        let ends = config.defaults.files.one_file_system;
        for source in config.sources.values() {
            match source {
                Source::Files(files) => {
                    let ends = files.rules.one_file_system.or(ends).unwrap_or(false);
                    paths.extend(files.paths.iter().map(|path| (full_path(home, path), ends)));
                }
                Source::Sqlite(files) => {
                    paths.extend(files.paths.iter().map(|path| (full_path(home, path), false)));
                }
                Source::System(system) => {
                    let words: Option<Vec<String>> = system
                        .include
                        .as_ref()
                        .map(|parts| parts.iter().map(|part| format!("{part:?}").to_lowercase()).collect());
                    let wanted = |part: &&Part| {
                        words.as_ref().is_none_or(|words| words.iter().any(|word| word == part.word()))
                    };
                    let parts: Vec<Part> = Part::ALL.iter().filter(wanted).copied().collect();
                    paths.extend(host::system::paths(&parts).into_iter().map(|path| (path, false)));
                }
                _ => {}
            }
        }
        let local = |url: &String| match Location::parse(url) {
            Ok(Location::Local(path)) => Some(full_path(home, &path.to_string_lossy())),
            _ => None,
        };
        let copies = config.repositories.values().filter_map(|repository| local(&repository.url)).collect();
        Covered { paths, copies }
    }

    fn holds(&self, path: &Path) -> bool {
        self.copies.iter().any(|copy| path.starts_with(copy))
            || self.paths.iter().any(|(covered, _)| path.starts_with(covered))
    }

    /// A file system of its own is held by a source above it only where that one crosses borders.
    fn holds_mount(&self, mount: &Path) -> bool {
        let inside =
            |(covered, ends): &(PathBuf, bool)| mount.starts_with(covered) && (!ends || mount == covered);
        // A disk with copies on it is one for copies.
        self.copies.iter().any(|copy| copy.starts_with(mount)) || self.paths.iter().any(inside)
    }

    fn touches(&self, path: &Path) -> bool {
        self.paths.iter().any(|(covered, _)| covered.starts_with(path))
    }
}

/// Looks for what no source holds, for at most `time`.
pub fn look(config: &Config, home: &Path, machine: &Machine, now: i64, time: Duration) -> Uncovered {
    let covered = Covered::of(config, home);
    let mut walk = Walk { covered: &covered, until: Instant::now() + time, cut: false };
    let mut things: Vec<Thing> = Vec::new();
    let folders = [("home", &machine.homes), ("folder", &machine.folders), ("mount", &machine.mounts)];
    for (kind, paths) in folders {
        for path in paths {
            let is_held = if kind == "mount" { covered.holds_mount(path) } else { covered.holds(path) };
            let shown = path.to_string_lossy().into_owned();
            if is_held || things.iter().any(|thing| thing.name == shown) {
                continue;
            }
            walk.cut = false;
            let bytes = walk.measure(path);
            if bytes >= BYTES_MIN || walk.cut {
                let partly = covered.touches(path);
                things.push(Thing {
                    kind: kind.into(),
                    name: shown,
                    bytes: Some(bytes),
                    at_least: walk.cut,
                    partly,
                });
            }
        }
    }
    for (kind, url) in &machine.databases {
        if !config.sources.values().any(|source| is_same_server(source, kind, url)) {
            let folder = match kind.as_str() {
                "postgres" => "/var/lib/postgresql",
                _ => "/var/lib/mysql",
            };
            walk.cut = false;
            let bytes = Path::new(folder).is_dir().then(|| walk.measure(Path::new(folder)));
            let at_least = walk.cut;
            things.push(Thing { kind: kind.clone(), name: url.clone(), bytes, at_least, partly: false });
        }
    }
    Uncovered { looked: now, things, left_out: left_out(config) }
}

/// The patterns of each source.
pub fn left_out(config: &Config) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::new();
    for (name, source) in &config.sources {
        let Source::Files(files) = source else { continue };
        let patterns: Vec<String> =
            config.defaults.files.exclude.iter().chain(&files.rules.exclude).cloned().collect();
        if !patterns.is_empty() {
            all.insert(name.clone(), patterns);
        }
    }
    all
}

/// Whether a source reads the server that listens there. Names of hosts are not resolved: every server of the kind on
/// this machine with the same port is the same.
fn is_same_server(source: &Source, kind: &str, url: &str) -> bool {
    let port = |url: &str, usual: u16| {
        let setting = url.split(['?', '&']).find_map(|part| part.strip_prefix("port="));
        let authority =
            url.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?']).next().unwrap_or(""));
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let written = host.rsplit_once(':').map(|(_, port)| port).or(setting);
        written.and_then(|port| port.parse().ok()).unwrap_or(usual)
    };
    match source {
        Source::Postgres(db) => kind == "postgres" && port(&db.url, 5432) == port(url, 5432),
        Source::Mysql(db) | Source::Mariadb(db) => {
            kind != "postgres" && (db.url.contains("socket=") || port(&db.url, 3306) == 3306)
        }
        _ => false,
    }
}

struct Walk<'c> {
    covered: &'c Covered,
    until: Instant,
    cut: bool,
}

impl Walk<'_> {
    fn measure(&mut self, path: &Path) -> u64 {
        match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => self.folder(path, metadata.dev(), 0),
            Ok(metadata) => metadata.blocks() * 512,
            Err(_) => 0,
        }
    }

    fn folder(&mut self, folder: &Path, device: u64, depth: usize) -> u64 {
        if depth > DEPTH_MAX || Instant::now() >= self.until {
            self.cut = true;
            return 0;
        }
        let mut bytes = 0;
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let (path, Ok(metadata)) = (entry.path(), entry.metadata()) else { continue };
            if metadata.dev() != device || self.covered.holds(&path) {
                continue;
            }
            bytes += match metadata.is_dir() {
                true => self.folder(&path, device, depth + 1),
                false => metadata.blocks() * 512,
            };
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::understand;
    use crate::config::problem::SourceFile;

    fn config(text: &str) -> Config {
        let file = SourceFile { path: "lifeboat.toml".into(), text: text.into() };
        understand(vec![file], Path::new("/")).unwrap_or_else(|b| panic!("{:?}", b.problems)).config
    }

    #[test]
    fn what_no_source_holds_is_named_with_what_is_left_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let put = |path: &str, len: usize| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, vec![1; len]).unwrap();
        };
        put("ann/docs/a", 50_000);
        put("ann/music/b", 200_000);
        put("bob/c", 10_000);
        put("held/d", 10_000);
        put("usb/copies/pack", 900_000);
        let at = |name: &str| root.join(name);
        let config = config(&format!(
            "[sources.docs]\npaths = [\"{0}/ann/docs\", \"{0}/held\"]\nexclude = [\"*.tmp\"]\none_file_system = true\n\
             [sources.shop]\ntype = \"postgres\"\nurl = \"postgresql://me@localhost/\"\n\
             [repositories.usb]\nurl = \"{0}/usb/copies\"\n",
            root.display()
        ));
        let machine = Machine {
            homes: vec![at("ann"), at("bob"), at("held")],
            folders: vec![at("held/deeper")],
            mounts: vec![at("usb"), at("held/mounted"), at("bob")],
            databases: vec![
                ("postgres".into(), "postgresql:///?host=/run/postgresql&port=5432".into()),
                ("postgres".into(), "postgresql:///?host=/run/postgresql&port=5433".into()),
                ("mariadb".into(), "mysql:///?socket=/run/mysqld/mysqld.sock".into()),
            ],
        };
        let found = look(&config, Path::new("/"), &machine, 5, Duration::from_secs(60));
        let shown: Vec<(&str, &str, bool)> = found
            .things
            .iter()
            .map(|thing| {
                (thing.kind.as_str(), thing.name.trim_start_matches(root.to_str().unwrap()), thing.partly)
            })
            .collect();
        assert_eq!(shown[..2], [("home", "/ann", true), ("home", "/bob", false)]);
        assert_eq!(shown[2].1, "postgresql:///?host=/run/postgresql&port=5433");
        assert_eq!(shown[3].0, "mariadb");
        let bytes = found.things[0].bytes.unwrap();
        assert!((200_000..250_000).contains(&bytes), "without what is covered: {bytes}");
        assert_eq!(found.left_out["docs"], ["*.tmp"]);
        let cut = look(&config, Path::new("/"), &machine, 5, Duration::ZERO);
        assert!(cut.things[0].at_least && cut.bytes().1);
        assert_eq!(cut.without_sizes().things[..2], found.without_sizes().things[..2]);
    }
}
