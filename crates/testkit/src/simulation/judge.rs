//! What must hold whatever happened. The names of the promises are those of docs/reliability.md.

use crate::dice::Dice;
use crate::files::{Files, random_files};
use crate::mini::{self, Backup, backup};
use crate::simulation::actors::backup::CANARY;
use crate::simulation::actors::prune::inline;
use crate::simulation::actors::repair::Mending;
use crate::simulation::actors::{Actor, Desk};
use crate::simulation::oracle::{Oracle, Sight};
use crate::simulation::weather::Weather;
use crate::world::World;
use format::kind::Timestamp;
use format::snapshot::Snapshot;
use repo::check::{CheckOptions, Finding, ReadShare, check};
use repo::prune::{PruneOptions, UnusedLimit, prune};
use repo::reader::Reader;
use repo::seed::Seed;
use repo::snapshots::SnapshotList;
use repo::workers::Workers;
use repo::{RepoError, RepoResult};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use storage::ObjectName;

/// An operation of a client that did not die ended with an error.
pub(super) fn of_an_error(actor: &dyn Actor, desk: &Desk, error: &RepoError) {
    let who = actor.name();
    if desk.weather.prunes.is_some() && matches!(error, RepoError::Overtaken | RepoError::TooLate(_)) {
        return; // what it relied on went, again and again, or was just going; it says so
    }
    if desk.weather.takes_away_at_once() && error.is_damage() {
        return;
    }
    if desk.weather.is_calm() {
        desk.oracle.violated("R4", format!("{who} failed in calm weather: {error:?}"));
    } else if desk.weather.has_no_damage() && error.is_damage() {
        desk.oracle.violated("R13", format!("{who} speaks of damage where there is none: {error:?}"));
    }
}

/// Faults end, and nobody does anything by hand.
pub(super) fn judge(world: &World, oracle: &Arc<Oracle>, weather: &Weather, dice: &mut Dice) {
    world.sim.heal();
    let reader = match world.reader() {
        Ok(reader) => reader,
        Err(e) => return oracle.violated("R4", format!("the repository does not open: {e:?}")),
    };
    let Some(visible) = look(&reader, oracle) else { return };
    nothing_is_lost(&reader, &visible, oracle);
    if weather.leaves_no_damage() {
        a_check_finds_nothing(&reader, oracle, weather);
    }
    small_objects_stand_twice(world, oracle, weather);
    no_secret_is_stored(world, oracle, dice);
    nothing_is_left_over(world, oracle, weather);
    the_next_backup_succeeds(world, oracle, weather, dice);
    if dice.once_in(3) {
        what_can_be_mended_is(world, oracle, weather, dice);
    }
    if dice.once_in(2) {
        garbage_goes(world, oracle, weather, dice);
    }
}

/// Visible snapshots by id. (R2: each was made by somebody, and is there once.)
fn look(reader: &Reader, oracle: &Oracle) -> Option<Vec<Snapshot>> {
    let list = match SnapshotList::read(reader.repo()) {
        Ok(list) => list,
        Err(e) => {
            oracle.violated("R4", format!("snapshots cannot be listed: {e:?}"));
            return None;
        }
    };
    let visible: Vec<Snapshot> = list.visible().cloned().collect();
    let ids: BTreeSet<_> = visible.iter().map(|s| s.id).collect();
    if ids.len() != visible.len() {
        oracle.violated("R8", "a snapshot is listed twice");
    }
    Some(visible)
}

/// R1, R2, R3: what was acknowledged is there with every byte, what was not is whole or absent.
fn nothing_is_lost(reader: &Reader, visible: &[Snapshot], oracle: &Oracle) {
    let shown: BTreeMap<_, _> = visible.iter().map(|s| (s.id, s)).collect();
    let last_loss = oracle.last_loss();
    let mut acknowledged = BTreeMap::new();
    for one in oracle.acknowledged() {
        match (one.sight, shown.contains_key(&one.id)) {
            (Sight::Shown, false) => {
                oracle.violated("R1", format!("snapshot {} was acknowledged and is gone", one.id));
            }
            (Sight::Hidden, true) => {
                oracle.violated("R1", format!("snapshot {} was forgotten and is seen", one.id));
            }
            _ => {}
        }
        acknowledged.insert(one.id, one.listed_at);
    }
    for snapshot in visible {
        let Some(expected) = oracle.contents(&snapshot.id) else {
            oracle.violated("R2", format!("snapshot {} was made by nobody", snapshot.id));
            continue;
        };
        // What was lost at rest before a run looked for the last time, it stored again.
        let listed_at = acknowledged.get(&snapshot.id).copied();
        let may_be_hurt = last_loss.is_some_and(|loss| listed_at.is_none_or(|at| at <= loss));
        match mini::restore(reader, snapshot.root) {
            Ok(files) if files != *expected => {
                oracle.violated("R5", format!("snapshot {} has other contents", snapshot.id));
            }
            Err(e) if !(may_be_hurt && e.is_damage()) => {
                let invariant = if listed_at.is_some() { "R1" } else { "R2" };
                oracle.violated(invariant, format!("snapshot {} cannot be restored: {e:?}", snapshot.id));
            }
            _ => {}
        }
    }
}

/// R13: nothing is called damaged that no medium damaged.
fn a_check_finds_nothing(reader: &Arc<Reader>, oracle: &Oracle, weather: &Weather) {
    match findings_of(reader) {
        Ok(mut findings) => {
            findings.retain(|finding| !(weather.loses_others_work() && is_lost_segment(finding)));
            of_findings(&findings, oracle);
        }
        Err(e) => oracle.violated("R4", format!("check failed: {e:?}")),
    }
}

/// What a check of everything finds.
fn findings_of(reader: &Arc<Reader>) -> RepoResult<Vec<Finding>> {
    let mut options = CheckOptions {
        read: ReadShare::Everything,
        workers: Workers(0),
        sample_seed: 0,
        now: format::kind::Timestamp::default(),
        progress: &mut |_, _| {},
    };
    Ok(check(reader, &mut options)?.findings)
}

/// A pack that is needed and that no index segment lists any more.
fn is_lost_segment(finding: &Finding) -> bool {
    finding.why.ends_with("a segment was lost")
}

/// Whether the power took a segment on which somebody relied before it was durable: who stored it had died.
/// The other could not know; what it saved is whole, and the next run stores the few blobs again.
fn a_segment_went_with_the_power(world: &World, weather: &Weather) -> bool {
    let finds = |reader: Arc<Reader>| findings_of(&reader).is_ok_and(|all| all.iter().any(is_lost_segment));
    weather.loses_others_work() && world.reader().is_ok_and(finds)
}

/// R13: what a check says where nothing was damaged. One thing is told that hurts nothing: of an object that is
/// stored twice there is one copy, because its run is busy between the two or died there.
pub(super) fn of_findings(findings: &[Finding], oracle: &Oracle) {
    let hurts_nothing = |f: &Finding| f.why == "is missing; its other copy is there";
    if let Some(finding) = findings.iter().find(|f| !hurts_nothing(f)) {
        oracle.violated("R13", format!("check found {finding:?} where nothing was damaged"));
    }
}

/// I8: of what was acknowledged there are two records.
fn small_objects_stand_twice(world: &World, oracle: &Oracle, weather: &Weather) {
    if weather.rot.is_some() || weather.faults.append_only {
        return;
    }
    for one in oracle.acknowledged().iter().filter(|one| one.sight == Sight::Shown) {
        let name = repo::names::snapshot(&one.id);
        for name in [repo::names::mirror(&name), name] {
            if world.sim.object(&name).is_none() {
                oracle.violated("I8", format!("{name} is missing"));
            }
        }
    }
}

/// R11: what the files say is nowhere in the place. Looked at once in eight runs, for its price.
fn no_secret_is_stored(world: &World, oracle: &Oracle, dice: &mut Dice) {
    if !dice.once_in(8) {
        return;
    }
    for (name, bytes) in world.sim.objects() {
        if bytes.windows(CANARY.len()).any(|window| window == CANARY) {
            oracle.violated("R11", format!("{name} holds plain text"));
        }
    }
}

/// R7: runs that ended well leave no record of being under way.
fn nothing_is_left_over(world: &World, oracle: &Oracle, weather: &Weather) {
    let left = world.sim.objects().into_keys().find(|name| name.as_str().starts_with("pending/"));
    if let Some(name) = left.filter(|_| weather.is_calm()) {
        oracle.violated("R7", format!("{name} is left over"));
    }
}

/// R4: the next run succeeds unattended, finds what is stored, and hurts nothing.
fn the_next_backup_succeeds(world: &World, oracle: &Arc<Oracle>, weather: &Weather, dice: &mut Dice) {
    let known = oracle.acknowledged().into_iter().rev().find(|one| one.sight == Sight::Shown);
    let files: Arc<Files> = match &known {
        Some(one) => one.files.clone(),
        None => Arc::new(random_files(dice, 5)),
    };
    let is_excused = a_segment_went_with_the_power(world, weather);
    let seed = 0xffff;
    for again in 0..3 {
        oracle.attempts(mini::session_of(seed + (again << 32)), &files);
    }
    let done = world.reader().and_then(|reader| backup(&reader, &files, &Backup::new(seed)));
    let done = match done {
        Ok(done) => done,
        Err(e) => return oracle.violated("R4", format!("the next backup fails: {e:?}")),
    };
    oracle.acknowledges(done.snapshot.id, u64::MAX);
    let is_judged = known.is_some() && weather.rot.is_none() && weather.prunes.is_none() && !is_excused;
    if is_judged && done.written.added_bytes > 0 {
        let added = done.written.added_bytes;
        oracle.violated("R12", format!("{added} bytes of an acknowledged snapshot were stored again"));
    }
    look_again(world, oracle);
}

fn look_again(world: &World, oracle: &Oracle) {
    match world.reader() {
        Ok(reader) => {
            if let Some(visible) = look(&reader, oracle) {
                nothing_is_lost(&reader, &visible, oracle);
            }
        }
        Err(e) => oracle.violated("R4", format!("the repository does not open any more: {e:?}")),
    }
}

/// R6: a repair at rest succeeds, puts back what parity and second copies hold, hurts nothing, and leaves
/// nothing for another to do.
pub(super) fn what_can_be_mended_is(world: &World, oracle: &Arc<Oracle>, weather: &Weather, dice: &mut Dice) {
    let known = oracle.acknowledged();
    let source = match dice.below(2 * known.len() as u64 + 1) as usize {
        at if at < known.len() => vec![known[at].files.clone()],
        _ => Vec::new(),
    };
    let mend = |seed| world.reader().and_then(|reader| Mending::whole(seed).run(&reader, source.clone()));
    for seed in [11, 12] {
        match mend(seed) {
            Err(e) => return oracle.violated("R4", format!("a repair at rest fails: {e:?}")),
            Ok(report) if weather.can_be_mended() && report.left.iter().any(|f| !goes_soon(world, f)) => {
                oracle.violated("R6", format!("a repair leaves {:?}", report.left));
            }
            Ok(report) if seed == 12 && weather.can_be_mended() && !report.actions.is_empty() => {
                oracle.violated("R6", format!("a second repair still does {:?}", report.actions));
            }
            Ok(_) => {}
        }
    }
    if weather.can_be_mended() {
        match world.reader().and_then(|reader| findings_of(&reader)) {
            Ok(left) => {
                let left: Vec<Finding> = left.into_iter().filter(|f| !goes_soon(world, f)).collect();
                of_findings(&left, oracle);
            }
            Err(e) => oracle.violated("R4", format!("a check after a repair fails: {e:?}")),
        }
    }
    look_again(world, oracle);
}

/// Whether this is about a forgotten snapshot, or its tomb: those a repair leaves to whoever removes them.
fn goes_soon(world: &World, finding: &Finding) -> bool {
    let Some(name) = ObjectName::new(&finding.what) else { return false };
    let is_forgotten = |id| world.sim.object(&repo::names::tomb(&id)).is_some();
    repo::names::parse_tomb(&name).is_some() || repo::names::parse_snapshot(&name).is_some_and(is_forgotten)
}

/// The share of what is stored that may be garbage after everything came to rest and two prunes.
const GARBAGE_PERCENT_MAX: u64 = 5;

/// R7: when everything is at rest, two prunes leave next to no garbage, and nothing else goes.
fn garbage_goes(world: &World, oracle: &Oracle, weather: &Weather, dice: &mut Dice) {
    let options = PruneOptions {
        dead_after: Duration::ZERO,
        unused: UnusedLimit::Bytes(0),
        repack_bytes_max: Some(u64::MAX),
        writer: inline(),
        ..PruneOptions::urgent(Timestamp::default())
    };
    let run = |options: &PruneOptions, seed: u8| {
        prune(&world.reader()?, options, Seed::new([seed; 32]), &mut |_, _, _| {})
    };
    for seed in [7, 8] {
        if let Err(e) = run(&options, seed) {
            return oracle.violated("R4", format!("a prune at rest fails: {e:?}"));
        }
    }
    // A medium that damaged something may have left what nobody can judge; then nothing may be deleted.
    if weather.leaves_no_damage() {
        match run(&PruneOptions { dry_run: true, ..options.clone() }, 9) {
            Ok(report) => {
                // Of packs that would be written anew only what is not needed is garbage.
                let rewritten = report.condemned_packs == report.rewritten_packs;
                let dead = if rewritten { 0 } else { report.condemned_bytes };
                let unneeded = report.read_bytes.saturating_sub(report.written_bytes);
                let garbage = dead + unneeded + report.waiting_bytes + report.unused_bytes;
                if garbage * 100 > report.stored_bytes * GARBAGE_PERCENT_MAX {
                    oracle.violated("R7", format!("{garbage} bytes of garbage stay: {report:?}"));
                }
            }
            Err(e) => oracle.violated("R4", format!("a prune at rest fails: {e:?}")),
        }
        let objects = world.sim.objects();
        if let Some(name) = objects.keys().find(|name| name.as_str().starts_with("pending/")) {
            oracle.violated("R7", format!("{name} is left over after two prunes"));
        }
    }
    look_again(world, oracle);
    if dice.once_in(4) && weather.leaves_no_damage() {
        match world.reader() {
            Ok(reader) => a_check_finds_nothing(&reader, oracle, weather),
            Err(e) => oracle.violated("R4", format!("the repository does not open any more: {e:?}")),
        }
    }
}
