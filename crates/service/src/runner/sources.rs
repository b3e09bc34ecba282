//! From `[sources.NAME]` to what the engine reads.

use super::{databases, presence};
use crate::config::sources::{
    BlockSource, CommandSource, Common, FilesSource, Freeze, SystemPart, SystemSource,
};
use crate::config::{Config, Source as Described};
use crate::counts::counted;
use crate::display::DisplayName;
use crate::failure::{Exit, Failure, Outcome, local};
use crate::open::Opener;
use engine::Source;
use format::snapshot::Snapshot;
use host::block::Block;
use host::databases::Patience;
use host::databases::command::Judged;
use host::freeze::{self, Frozen, Method, ThisMachine};
use host::rules::IGNORE_FILE;
use host::stream::CommandStream;
use host::system::{Part, System};
use host::{Rules, Views, WalkOptions};
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Where it is written down which snapshots are taken, below the state.
const FREEZES: &str = "freezes";

/// A source that is ready to be read.
pub struct Captured {
    /// What the engine reads.
    pub source: Source,
    /// What is left out.
    pub rules: Arc<Rules>,
    /// The same as it is written.
    pub excludes: Vec<String>,
    /// How folders are walked.
    pub walk: WalkOptions,
    /// Compares neither inode numbers nor change times.
    pub ignore_inode: bool,
    /// Paths that must be there.
    pub paths: Vec<PathBuf>,
    /// The file system they must be on.
    pub mount_uuid: Option<String>,
    /// Snapshots of file systems that are read instead; to be kept until everything is read, then released.
    pub frozen: Option<Frozen>,
}

impl Captured {
    /// Refuses what is missing, no longer mounted, or empty where it was not.
    pub fn look(&self, common: &Common, before: Option<&Snapshot>) -> Outcome<()> {
        let may_be_empty = common.min_size.is_some_and(|size| size.0 == 0);
        presence::look(&self.paths, self.mount_uuid.as_deref(), before, may_be_empty)
    }

    /// What is made while it is read, and lies in no folder.
    pub(super) fn made(source: Source) -> Self {
        Captured {
            source,
            rules: Arc::new(Rules::default()),
            excludes: Vec::new(),
            walk: WalkOptions::default(),
            ignore_inode: false,
            paths: Vec::new(),
            mount_uuid: None,
            frozen: None,
        }
    }

    /// Takes snapshots of the file systems that are read, where that is wanted, after what earlier runs left
    /// behind is released.
    fn freeze(&mut self, wanted: Freeze, opener: &Opener) -> Outcome<()> {
        let state = opener.folders.state.join(FREEZES);
        release_what_was_left(&state, opener)?;
        let method = match wanted {
            Freeze::None => return Ok(()),
            Freeze::Auto => Method::Auto,
            Freeze::Btrfs => Method::Btrfs,
            Freeze::Zfs => Method::Zfs,
            Freeze::Lvm => Method::Lvm,
        };
        // What is not there is refused by name when it is looked at.
        if self.paths.iter().any(|path| path.symlink_metadata().is_err()) {
            return Ok(());
        }
        let real = |path: &PathBuf| host::sources::absolute(Path::new("/"), path);
        let paths: std::io::Result<Vec<PathBuf>> = self.paths.iter().map(real).collect();
        let frozen = paths.and_then(|paths| freeze::freeze(&paths, method, &state, Box::new(ThisMachine)));
        let frozen = frozen.map_err(|e| local("cannot take a snapshot of the file system", e))?;
        frozen.notes.iter().for_each(|note| opener.person.warn(note));
        if !frozen.plain.is_empty() {
            let shown = |(path, kind): &(PathBuf, String)| {
                format!("{} ({kind})", DisplayName(path.as_os_str().as_encoded_bytes()))
            };
            let all: Vec<String> = frozen.plain.iter().map(shown).collect();
            opener.person.info(&format!(
                "no snapshot can be taken of the file system of {}: the live files are read",
                all.join(", ")
            ));
        }
        if !frozen.views.is_empty() {
            self.walk.views = Some(Views::new(&frozen.views));
        }
        self.frozen = Some(frozen);
        Ok(())
    }
}

/// Releases snapshots when everything is read. What cannot be released is tried again by the next run.
pub fn release(frozen: Option<Frozen>, opener: &Opener) {
    if let Some(Err(e)) = frozen.map(Frozen::release) {
        opener.person.warn(&format!("a snapshot of the file system could not be released: {e}"));
    }
}

fn release_what_was_left(state: &Path, opener: &Opener) -> Outcome<()> {
    let cleaned = freeze::clean(state, &ThisMachine);
    let cleaned = cleaned.map_err(|e| local("cannot look for snapshots that were left behind", e))?;
    if cleaned.released > 0 {
        let count = cleaned.released;
        opener.person.info(&format!(
            "released {} that a run left behind",
            counted(count, "snapshot of a file system", "snapshots of file systems")
        ));
    }
    for why in cleaned.failed {
        opener.person.warn(&format!("a snapshot that was left behind could not be released: {why}"));
    }
    Ok(())
}

/// Makes a source ready. Commands begin to run here; what they are waited for ends at `until`.
pub fn capture(config: &Config, name: &str, opener: &Opener, until: Option<Instant>) -> Outcome<Captured> {
    if let Some(what) = unserved(&config.sources[name]) {
        return Err(Failure::new(Exit::Failed, format!("this version cannot {what}")).lasting());
    }
    match &config.sources[name] {
        Described::Files(files) => {
            let mut captured = capture_files(files, &config.defaults.files, &opener.folders.home)?;
            captured.freeze(files.snapshot, opener)?;
            Ok(captured)
        }
        Described::Command(command) => capture_command(name, command, opener, until),
        Described::System(system) => Ok(capture_system(config, name, system)),
        Described::Block(block) => capture_block(name, block, opener),
        database => databases::capture(name, database, opener, until),
    }
}

/// What a source asks for that this version does not do. It then fails: a copy that is less than what the
/// configuration says must not look like one.
pub(crate) fn unserved(source: &Described) -> Option<String> {
    let Described::Block(block) = source else { return None };
    if matches!(block.snapshot, Freeze::Btrfs | Freeze::Zfs) {
        return Some("take a snapshot of a device by anything but LVM".into());
    }
    None
}

/// Files and folders with their rules: those of the defaults first, so that a source can take back.
pub fn capture_files(
    files: &FilesSource,
    defaults: &crate::config::sources::FileRules,
    home: &Path,
) -> Outcome<Captured> {
    let wrong = |e: host::rules::RuleError| Failure::usage("cannot use a rule").because(e);
    let mut rules = Rules::default();
    let patterns: Vec<&String> = defaults.exclude.iter().chain(&files.rules.exclude).collect();
    for pattern in &patterns {
        rules.exclude(pattern.as_bytes(), "exclude", false).map_err(wrong)?;
    }
    let mut excludes: Vec<String> = patterns.into_iter().cloned().collect();
    if files.rules.exclude_caches.or(defaults.exclude_caches).unwrap_or(false) {
        rules.exclude_caches();
        excludes.push("--exclude-caches".into());
    }
    for marker in defaults.exclude_if_present.iter().chain(&files.rules.exclude_if_present) {
        rules.exclude_if_present(marker.as_bytes()).map_err(wrong)?;
        excludes.push(format!("--exclude-if-present {marker}"));
    }
    if let Some(size) = files.rules.exclude_larger_than.or(defaults.exclude_larger_than) {
        rules.exclude_larger_than(size.0);
        excludes.push(format!("--exclude-larger-than {size}"));
    }
    let usual = || vec![IGNORE_FILE.to_string()];
    let ignore_files = files.rules.ignore_files.clone().or_else(|| defaults.ignore_files.clone());
    let ignore_files = ignore_files.unwrap_or_else(usual);
    if ignore_files.is_empty() {
        excludes.push("--no-ignore-files".into());
    }
    for name in &ignore_files {
        rules.ignore_files_named(name.as_bytes());
    }
    if ignore_files != usual() {
        excludes.extend(ignore_files.iter().map(|name| format!("--ignore-files {name}")));
    }
    let mut paths: Vec<PathBuf> =
        files.paths.iter().map(|path| crate::config::load::full_path(home, path)).collect();
    paths.sort();
    paths.dedup();
    let one_file_system = files.rules.one_file_system.or(defaults.one_file_system).unwrap_or(false);
    excludes.extend(one_file_system.then(|| "--one-file-system".to_string()));
    Ok(Captured {
        source: Source::Paths(paths.clone()),
        rules: Arc::new(rules),
        excludes,
        walk: WalkOptions { one_file_system, ..WalkOptions::default() },
        ignore_inode: files.ignore_inode,
        paths,
        mount_uuid: files.mount_uuid.clone(),
        frozen: None,
    })
}

/// What this machine needs to be built again: its settings, and what its programs tell of it.
fn capture_system(config: &Config, name: &str, system: &SystemSource) -> Captured {
    let parts: Vec<Part> = match &system.include {
        Some(parts) => parts.iter().map(|part| part_of(*part)).collect(),
        None => Part::ALL.to_vec(),
    };
    let paths = host::system::paths(&parts);
    let producer = Box::new(System::here(parts, config.machine.name.clone()));
    Captured::made(Source::Produced { name: name.to_string(), producer, paths })
}

fn part_of(part: SystemPart) -> Part {
    match part {
        SystemPart::Etc => Part::Etc,
        SystemPart::Packages => Part::Packages,
        SystemPart::Units => Part::Units,
        SystemPart::Crontabs => Part::Crontabs,
        SystemPart::Users => Part::Users,
        SystemPart::Partitions => Part::Partitions,
        SystemPart::Boot => Part::Boot,
        SystemPart::Network => Part::Network,
    }
}

/// A disk, a partition or an image, or an LVM snapshot of it.
fn capture_block(name: &str, block: &BlockSource, opener: &Opener) -> Outcome<Captured> {
    let state = opener.folders.state.join(FREEZES);
    release_what_was_left(&state, opener)?;
    let frozen = match block.snapshot {
        Freeze::None => None,
        wanted => match freeze::freeze_volume(&block.device, &state, Box::new(ThisMachine)) {
            Ok(frozen) => Some(frozen),
            Err(e) if wanted == Freeze::Auto => {
                opener.person.warn(&format!("{} is read as it is: {e}", block.device.display()));
                None
            }
            Err(e) => return Err(local("cannot take a snapshot of the device", e)),
        },
    };
    let (frozen, device) = frozen.unzip();
    let known_as = device.as_ref().map(|_| block.device.clone());
    let device = device.unwrap_or_else(|| block.device.clone());
    let producer = Box::new(Block { device, known_as, skip_free: block.skip_free });
    let made = Captured::made(Source::Produced { name: name.to_string(), producer, paths: Vec::new() });
    Ok(Captured { frozen, ..made })
}

/// Waits until a run is cancelled or its time is over.
pub(crate) fn patience(opener: &Opener, until: Option<Instant>) -> Patience {
    let person = opener.person.clone();
    Patience::until(move || person.cancelled() || until.is_some_and(|until| Instant::now() >= until))
}

/// What a command prints; its own complaints go to the person of the run.
fn capture_command(
    name: &str,
    command: &CommandSource,
    opener: &Opener,
    until: Option<Instant>,
) -> Outcome<Captured> {
    let words: Vec<OsString> = command.command.iter().map(OsString::from).collect();
    let person = opener.person.clone();
    let on_message = move |line: &[u8]| person.message(&DisplayName(line).to_string());
    let started = CommandStream::start(&words, &[], on_message);
    let stream = started.map_err(|e| local(format!("cannot start {}", command.command[0]), e))?;
    let patience = patience(opener, until);
    let is_over = patience.clone();
    let stream = stream.giving_up_when(move || is_over.is_over());
    let reader: Box<dyn Read + Send> = match command.validate.is_empty() {
        true => Box::new(stream),
        false => {
            let judged = Judged::new(stream, &command.validate, &patience);
            Box::new(judged.map_err(|e| local("cannot start what judges the output", e))?)
        }
    };
    let file = command.filename.clone().unwrap_or_else(|| name.to_string());
    Ok(Captured::made(Source::Stream { name: file, reader }))
}
