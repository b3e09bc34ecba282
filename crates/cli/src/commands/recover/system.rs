//! `recover --system`: a whole machine onto an empty disk, shown before it is done.
//!
//! What the files of the machine need comes from its table of file systems and from its `system` source, where there is
//! one; files come from the sources that hold `/` and folders in it. Databases come back when the machine runs again.

use super::{Args, Here};
use crate::contents;
use crate::display::{safe, shell_word};
use crate::error::{Exit, Failure, Outcome, local};
use crate::progress::Reporter;
use crate::prompt;
use crate::session::{Session, processors};
use crate::sizes;
use ::repo::reader::Reader;
use engine::{Overwrite, RestoreRequest};
use format::kind::Kind;
use format::snapshot::Snapshot;
use format::tree::PathKey;
use host::Rules;
use host::bare::{self, Disk, Finished, Kept, Layout, Prepared, Renaming};
use serde_json::json;
use service::config::Config;
use service::recovery::Back;
use service::recovery::found::{How, how};
use std::path::PathBuf;
use std::sync::Arc;

/// How a whole machine comes back.
#[derive(clap::Args)]
pub(super) struct SystemArgs {
    /// Bring the whole machine back onto an empty disk: partitions, file systems, files, what starts it
    #[arg(long, requires = "disk", conflicts_with_all = ["sources", "all", "target", "in_place"])]
    pub(super) system: bool,
    /// The disk, or the file of an image; all that is on it is lost
    #[arg(long, value_name = "DEVICE", requires = "system")]
    disk: Option<PathBuf>,
    /// What the new machine starts with
    #[arg(long, value_enum, default_value = "both", requires = "system")]
    firmware: Firmware,
    /// A network device has another name there; may be given several times
    #[arg(long, value_name = "OLD=NEW", value_parser = renaming, requires = "system")]
    network_name: Vec<(String, String)>,
    /// Where the new file systems are mounted meanwhile
    #[arg(long, value_name = "FOLDER", default_value = "/mnt/lifeboat", requires = "system")]
    mount: PathBuf,
    /// Do it without asking
    #[arg(long, requires = "system")]
    yes: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Firmware {
    /// A BIOS
    Bios,
    /// UEFI
    Efi,
    /// Either
    Both,
}

impl From<Firmware> for bare::Firmware {
    fn from(firmware: Firmware) -> Self {
        match firmware {
            Firmware::Bios => bare::Firmware::Bios,
            Firmware::Efi => bare::Firmware::Efi,
            Firmware::Both => bare::Firmware::Both,
        }
    }
}

fn renaming(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((old, new)) if bare::is_name(old) && bare::is_name(new) => Ok((old.into(), new.into())),
        _ => Err("write it like eth0=enp3s0".into()),
    }
}

/// Everything that is known before anything is done.
struct Plan<'p> {
    /// The sources with files, in the order of recovery.
    files: Vec<(&'p Back, &'p Snapshot)>,
    /// What comes back later, when the machine runs.
    later: Vec<&'p Back>,
    layout: Layout,
    renaming: Renaming,
}

pub(super) fn run(
    session: &Session,
    args: &Args,
    here: &Here,
    reader: &Arc<Reader>,
    config: Option<&Config>,
    backs: &[Back],
) -> Outcome<Exit> {
    let path = args.system.disk.as_ref().expect("--system needs --disk");
    let disk = Disk::open(path).map_err(|e| local(format!("cannot use {}", path.display()), e))?;
    let plan = make_plan(args, here, reader, config, backs, &disk)?;
    tell_plan(session, args, here, &plan, &disk)?;
    if args.dry_run {
        return Ok(Exit::Ok);
    }
    if !args.system.yes && !agreed(path)? {
        return Err(Failure::new(Exit::Skipped, "nothing was done"));
    }
    let prepared = disk.prepare(&plan.layout, &args.system.mount);
    let prepared = prepared.map_err(|e| local(format!("cannot prepare {}", path.display()), e))?;
    let mut worst = Exit::Ok;
    for (back, snapshot) in &plan.files {
        let exit = restore(session, args, reader, &prepared, back, snapshot)?;
        worst = if worst == Exit::Ok || exit == Exit::Damage { exit } else { worst };
        if let Some(exit) = session.cancel.exit() {
            return Err(Failure::new(exit, "cancelled; the disk holds half of a system"));
        }
    }
    let finished = prepared.finish(&plan.renaming);
    let finished = finished.map_err(|e| {
        local("the files are back on the disk, but it cannot be made to start", e)
            .hint("mount it, and install GRUB by hand: docs/guide/system.md")
    })?;
    tell_finished(session, here, &plan, &finished, worst)?;
    Ok(worst)
}

fn agreed(path: &std::path::Path) -> Outcome<bool> {
    if !prompt::is_possible() {
        return Err(Failure::usage("there is no terminal to ask whether that is right")
            .hint("read the plan with --dry-run, then add --yes"));
    }
    prompt::yes(&format!("All that is on {} will be lost. Go on?", safe(&path.display().to_string())))
}

fn make_plan<'p>(
    args: &Args,
    here: &Here,
    reader: &Arc<Reader>,
    config: Option<&Config>,
    backs: &'p [Back],
    disk: &Disk,
) -> Outcome<Plan<'p>> {
    let is_files = |back: &&Back| how(config, back, &here.word) == How::Files;
    let with = |back: &'p Back| Some((back, back.snapshot.as_ref()?));
    let files: Vec<_> = backs.iter().filter(is_files).filter_map(with).collect();
    let root = files.iter().map(|(_, s)| *s).find(|s| s.sources.iter().any(|path| path == b"/"));
    let Some(root) = root else {
        return Err(Failure::new(Exit::Failed, "no source here holds the folder / of a whole machine").hint(
            "a system source alone comes with a script that builds the machine again: docs/guide/system.md",
        ));
    };
    let system = backs.iter().find(|back| back.kind == "system").and_then(with);
    let table = |snapshot: &Snapshot| file(reader, snapshot, &["/", "etc", "fstab"]);
    let mut fstab = table(root)?;
    if let (None, Some((_, snapshot))) = (&fstab, &system) {
        fstab = table(snapshot)?;
    }
    let asked = |part: &str, name: &str| match &system {
        Some((back, snapshot)) => file(reader, snapshot, &[&format!("stream:{}", back.name), part, name]),
        None => Ok(None),
    };
    let kept = Kept {
        fstab: String::from_utf8_lossy(&fstab.unwrap_or_default()).into_owned(),
        lsblk: asked("partitions", "lsblk.json")?.unwrap_or_default(),
        bytes: files.iter().map(|(back, _)| back.bytes()).sum(),
    };
    let layout = bare::plan(&kept, disk.bytes(), args.system.firmware.into())
        .map_err(|e| Failure::new(Exit::Failed, "the machine does not go onto this disk").because(e))?;
    let mut renaming: Renaming = args.system.network_name.iter().cloned().collect();
    if renaming.is_empty() && !disk.is_image() {
        renaming = bare::guess(&asked("network", "links.json")?.unwrap_or_default(), &bare::links());
    }
    let later = backs.iter().filter(|back| !is_files(back) && back.kind != "system").collect();
    Ok(Plan { files, later, layout, renaming })
}

/// Larger files are none of those that are asked for.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A file of a snapshot; `None` where it has none.
fn file(reader: &Reader, snapshot: &Snapshot, path: &[&str]) -> Outcome<Option<Vec<u8>>> {
    let path: Vec<Vec<u8>> = path.iter().map(|part| part.as_bytes().to_vec()).collect();
    let found = ::repo::browse::lookup(reader, snapshot.root, &PathKey::of(&path))?;
    let Some(entry) = found.filter(|e| e.kind() == Kind::File && e.size_bytes <= FILE_BYTES_MAX) else {
        return Ok(None);
    };
    contents::erased(reader, snapshot, &path)?;
    let mut bytes = Vec::new();
    contents::copy(reader, &entry, &mut bytes)?;
    Ok(Some(bytes))
}

fn steps(plan: &Plan<'_>) -> Vec<String> {
    let mut steps = plan.layout.lines();
    for (back, snapshot) in &plan.files {
        let size = sizes::shown(back.bytes());
        steps.push(format!("restore {} from {}, {size}", back.name, snapshot.short_id()));
    }
    for note in &plan.layout.notes {
        steps.push(format!("note: {note}"));
    }
    steps.push("make /etc/fstab fit".into());
    for (old, new) in &plan.renaming {
        steps.push(format!("the network device {old} becomes {new}"));
    }
    if plan.layout.firmware.is_bios() {
        steps.push("install GRUB for a BIOS".into());
    }
    if plan.layout.firmware.is_efi() {
        steps.push("install GRUB for UEFI".into());
    }
    steps
}

fn tell_plan(session: &Session, args: &Args, here: &Here, plan: &Plan<'_>, disk: &Disk) -> Outcome<()> {
    let path = args.system.disk.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    let is_empty = disk.is_empty().map_err(|e| local(format!("cannot read {path}"), e))?;
    if session.out.json {
        return session.out.object(&json!({
            "message_type": "system_plan", "place": here.place.shown(), "disk": path, "bytes": disk.bytes(), "empty": is_empty,
            "steps": steps(plan), "table": plan.layout.table(), "dry_run": args.dry_run,
        }));
    }
    session.out.line(format!("{} ({}):", safe(&path), sizes::shown(disk.bytes())))?;
    if !is_empty {
        session.out.line("  there is something on it: IT IS LOST")?;
    }
    steps(plan).into_iter().try_for_each(|step| session.out.line(format!("  {}", safe(&step))))
}

fn restore(
    session: &Session,
    args: &Args,
    reader: &Arc<Reader>,
    prepared: &Prepared,
    back: &Back,
    snapshot: &Snapshot,
) -> Outcome<Exit> {
    let request = RestoreRequest {
        snapshot,
        path: Vec::new(),
        target: prepared.root().to_path_buf(),
        rules: Arc::new(Rules::default()),
        overwrite: Overwrite::Always,
        delete: false,
        kept: None,
        dry_run: false,
        verify: false,
        sync: true,
        // The users of the machine that is working here are not those of the one that comes back.
        numeric_ids: true,
        workers: processors(),
        memory: session.global.memory,
    };
    let reporter = Reporter::new(&session.out, &session.cancel);
    let outcome = engine::restore(reader, &request, &reporter).inspect_err(|_| reporter.finish())?;
    let told = reporter.conclude().map_or(Exit::Ok, Exit::from);
    super::tell::restored(session, args, back, snapshot, &outcome, reporter.elapsed())?;
    Ok(super::super::restore::exit(&outcome, told))
}

fn tell_finished(
    session: &Session,
    here: &Here,
    plan: &Plan<'_>,
    finished: &Finished,
    exit: Exit,
) -> Outcome<()> {
    for warning in &finished.warnings {
        session.out.warn(warning);
    }
    let later: Vec<&str> = plan.later.iter().map(|back| back.name.as_str()).collect();
    if session.out.json {
        return session.out.object(&json!({
            "message_type": "system_recovered", "done": finished.done, "warnings": finished.warnings, "later": later,
            "complete": exit == Exit::Ok,
        }));
    }
    finished.done.iter().try_for_each(|line| session.out.line(safe(line)))?;
    session.out.line("the disk is ready: start the machine from it")?;
    if !later.is_empty() {
        let names: Vec<String> = later.iter().map(|name| shell_word(name)).collect();
        session.out.line(format!(
            "when it runs: lifeboat recover {} {} --in-place",
            here.word,
            names.join(" ")
        ))?;
    }
    Ok(())
}
