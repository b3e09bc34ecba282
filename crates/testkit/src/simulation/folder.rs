//! The whole way with fewer seeds: `engine` saves a real folder into a simulated place that fails, and brings
//! back what was acknowledged, compared by bytes and attributes.
//!
//! Reading and sealing run inline; what differs from [`super::life`] is that files, links, modes and times are
//! real. One client, because the interleaving of several is that of `repo`.

use crate::dice::Dice;
use crate::disk::{backup_request, components, inventory, restore_request, time_of};
use crate::simulation::oracle::Violation;
use crate::world::World;
use engine::{BackupRequest, Silent, Source, backup, restore};
use format::snapshot::{Mode, Snapshot};
use repo::snapshots::SnapshotList;
use repo::workers::Workers;
use repo::{RepoError, RepoResult};
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use storage::{Crash, CrashPoint, Faults, SimStore};

/// Saves a folder several times while the place fails; then everything acknowledged must come back.
pub fn run(seed: u64) -> Result<(), Violation> {
    live(seed).map_err(|e| Violation { invariant: "R4", what: format!("the folder cannot be used: {e}") })?
}

/// What was acknowledged, and what the folder looked like then.
type Kept = Vec<(Snapshot, Vec<String>)>;

fn live(seed: u64) -> io::Result<Result<(), Violation>> {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())?;
    let top = folder.path().canonicalize()?;
    let source = top.join("source");
    fs::create_dir(&source)?;
    let (mut dice, world) = (Dice::new(seed), World::new(seed));
    let client = world.sim.connect();
    let mut kept = Kept::new();
    for round in 0..3 {
        for _ in 0..3 + dice.below(6) {
            change(&source, &mut dice)?;
        }
        spoil(&client, &mut dice);
        let parent = kept.last().map(|(snapshot, _)| snapshot.clone());
        if let Ok(snapshot) = save(&world, &client, &source, parent, seed << 8 | round) {
            kept.push((snapshot, inventory(&source)?));
        }
        client.reopen();
    }
    world.sim.heal();
    let last = save(&world, &client, &source, None, seed << 8 | 99);
    match last {
        Ok(snapshot) => kept.push((snapshot, inventory(&source)?)),
        Err(e) => return Ok(broken("R4", format!("the next backup fails: {e:?}"))),
    }
    judge(&world, &top, &source, &kept)
}

fn broken(invariant: &'static str, what: String) -> Result<(), Violation> {
    Err(Violation { invariant, what })
}

fn judge(world: &World, top: &Path, source: &Path, kept: &Kept) -> io::Result<Result<(), Violation>> {
    let list = match world.reader().and_then(|reader| SnapshotList::read(reader.repo())) {
        Ok(list) => list,
        Err(e) => return Ok(broken("R4", format!("snapshots cannot be listed: {e:?}"))),
    };
    for (n, (snapshot, expected)) in kept.iter().enumerate() {
        if !list.visible().any(|s| s.id == snapshot.id) {
            return Ok(broken("R1", format!("snapshot {} was acknowledged and is gone", snapshot.id)));
        }
        let target = top.join(format!("back{n}"));
        if let Err(e) = bring_back(world, snapshot, source, &target) {
            return Ok(broken("R1", format!("snapshot {} does not come back: {e:?}", snapshot.id)));
        }
        let found = inventory(&target)?;
        if let Some((e, f)) = expected.iter().zip(&found).find(|(e, f)| e != f) {
            return Ok(broken("R1", format!("instead of {e} came back {f}")));
        }
        if expected.len() != found.len() {
            return Ok(broken("R1", format!("{} paths came back of {}", found.len(), expected.len())));
        }
    }
    Ok(Ok(()))
}

/// Faults of one run.
fn spoil(client: &SimStore, dice: &mut Dice) {
    let mut permille = || [0, 10, 40][dice.below(3) as usize];
    let faults = Faults {
        error_before_permille: permille(),
        error_after_permille: permille(),
        torn_put_permille: permille(),
        repeat_change_permille: permille(),
        ..Faults::default()
    };
    client.set_faults(if dice.once_in(3) { Faults::default() } else { faults });
    if dice.once_in(2) {
        let points = [CrashPoint::Before, CrashPoint::Torn, CrashPoint::After];
        client.set_crash(Crash {
            at_request: client.requests_made() + dice.below(40),
            point: points[dice.below(3) as usize],
            power_loss: dice.once_in(2),
        });
    }
}

fn save(
    world: &World,
    client: &SimStore,
    source: &Path,
    parent: Option<Snapshot>,
    seed: u64,
) -> RepoResult<Snapshot> {
    let reader = world.reader_over(Arc::new(client.clone()))?;
    let mut bytes = [3; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let sources = Source::Paths(vec![source.to_path_buf()]);
    let request = BackupRequest {
        mode: if parent.is_some() { Mode::Incremental } else { Mode::Full },
        parent,
        ..backup_request(sources, time_of(seed & 0xff), bytes)
    };
    let outcome = backup(&reader, request, &Silent)?;
    let snapshot = outcome.snapshot.filter(|_| outcome.stats.faults == 0);
    snapshot.ok_or_else(|| RepoError::Local("not everything was saved".into()))
}

fn bring_back(world: &World, snapshot: &Snapshot, source: &Path, target: &Path) -> RepoResult<()> {
    let request = restore_request(snapshot, components(source), target, Workers(0));
    let outcome = restore(&world.reader()?, &request, &Silent)?;
    match outcome.problems {
        0 => Ok(()),
        n => Err(RepoError::Local(format!("{n} paths could not be restored"))),
    }
}

/// One change of a folder: contents, names, links, modes or times.
fn change(source: &Path, dice: &mut Dice) -> io::Result<()> {
    let path = source.join(format!("d{}/f{}", dice.below(3), dice.below(6)));
    fs::create_dir_all(path.parent().expect("it is in a folder"))?;
    let is_there = fs::symlink_metadata(&path).is_ok();
    match dice.below(7) {
        0 | 1 if is_there => fs::remove_file(&path)?,
        2 if !is_there => symlink(format!("somewhere {}", dice.below(9)), &path)?,
        3 => {
            let other = source.join(format!("same{}", dice.below(4)));
            if is_there && fs::symlink_metadata(&other).is_err() {
                fs::hard_link(&path, &other)?;
            }
        }
        4 if path.is_file() => {
            fs::set_permissions(
                &path,
                fs::Permissions::from_mode([0o600, 0o4755, 0o444][dice.below(3) as usize]),
            )?;
        }
        5 if path.is_file() => {
            // Other bytes of the same length and with the time of before: only the change time tells.
            let before = fs::metadata(&path)?;
            let bytes = dice.bytes(before.len() as usize);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
            fs::write(&path, bytes)?;
            fs::File::options().write(true).open(&path)?.set_modified(before.modified()?)?;
        }
        _ if !fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_symlink()) => {
            let len = [0, 1, 200, 5000, 40_000][dice.below(5) as usize];
            fs::write(&path, dice.bytes(len))?;
            let secs = 1 + dice.below(2_000_000_000);
            let time = SystemTime::UNIX_EPOCH + Duration::new(secs, dice.below(1_000_000_000) as u32);
            fs::File::options().write(true).open(&path)?.set_modified(time)?;
        }
        _ => {}
    }
    Ok(())
}
