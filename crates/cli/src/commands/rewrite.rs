//! `lifeboat rewrite`: erases paths from history, in every copy that is named.
//!
//! The order is: first the erasure record, from which moment on no restore brings the paths back; then for each
//! snapshot a new one without them, published like any other; then the old one is forgotten, and goes by the
//! deletion protocol like everything that was forgotten. At every moment each snapshot is there once at least.
//! A hold or the minimum age wins: such a snapshot stays as it is, and that is said.

mod tell;

use super::backup::open_state;
use super::successor::Successor;
use crate::audit;
use crate::display::{DisplayName, safe};
use crate::error::{Exit, Failure, Outcome};
use crate::known::{self, Known, refusal};
use crate::reached::{Copy, Missed, Reached};
use crate::session::{Opened, Session, host_name, processors, seed, user_name};
use crate::snapspec::to_path;
use crate::{credentials, time};
use ::repo::Repo;
use ::repo::erasures::{self, Erasures};
use ::repo::holds::{self, Holds};
use ::repo::protection::{Protection, Protections};
use ::repo::reader::Reader;
use ::repo::rewrite::{self, LeftOut};
use ::repo::snapshots::{StoredSnapshot, forget};
use ::repo::sync::{SyncOptions, sync};
use ::repo::workers::Workers;
use ::repo::writer::WriterOptions;
use format::erase::Erasure;
use format::id::{ErasureId, FamilyId, SnapshotId};
use format::keep::Trust;
use format::keys::Capability;
use format::snapshot::Snapshot;
use format::tree::{KeyPath, PathKey};
use serde_json::json;
use service::catalog::{CATALOG_FILE, Catalog, ErasedLeft, PlaceFacts};
use service::writer_state::WriterState;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use tell::{NotReached, list, tell, tell_not_reached};

/// Erase paths from all snapshots
#[derive(clap::Args)]
#[command(after_help = "\
Each snapshot that holds a path is replaced by one without it, of the same time; the old ones are forgotten. It is done in
every repository of the configuration, or where -r says: give it once for each copy. From then on no restore, undo or sync
brings the paths back, whatever copies turn up. Snapshots under a hold, or below the minimum age, stay as they are and are
named with what ends that: a hold wins. What remains where, and until when, is said for each copy.

Examples:
  lifeboat rewrite --remove /home/anna -r /mnt/disk/backup -r sftp://nas/backup -n
  lifeboat rewrite --remove /home/anna --reason 'asked for on 3 May' -r /mnt/disk/backup
  lifeboat rewrite --reapply                 after a hold was released, or an old copy came back
  lifeboat rewrite --list

Exit code 14: a hold or the minimum age kept something. 13: a copy was not reached.")]
pub(crate) struct Args {
    /// Remove this path and everything below it
    #[arg(long, value_name = "PATH", required_unless_present_any = ["reapply", "list"])]
    remove: Vec<OsString>,
    /// Only in snapshots of this machine
    #[arg(short = 'H', long, value_name = "NAME", requires = "remove")]
    host: Vec<String>,
    /// Why; kept with the erasure
    #[arg(long, value_name = "TEXT", requires = "remove", default_value = "")]
    reason: String,
    /// Do again what was erased before, in snapshots that hold it still
    #[arg(long, conflicts_with = "remove")]
    reapply: bool,
    /// List what was erased
    #[arg(long, conflicts_with_all = ["remove", "reapply"])]
    list: bool,
    /// Say what would be done; change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// What became of one snapshot.
enum Fate {
    Replaced {
        new: SnapshotId,
        left_out: LeftOut,
    },
    /// Nothing was left of it.
    Emptied {
        left_out: LeftOut,
    },
    /// The copy that was rewritten before has the new one already.
    TakenOver {
        new: SnapshotId,
    },
    /// A hold or the minimum age wins.
    Kept {
        why: Failure,
    },
    /// It holds the paths still, and cannot be rewritten.
    Failed {
        why: Failure,
    },
    Would {
        left_out: LeftOut,
    },
}

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    let (copies, not_reached) = open_all(session)?;
    if args.list {
        return copies.iter().try_for_each(|copy| list(session, copy, copies.len() > 1)).map(|()| Exit::Ok);
    }
    if let Some(copy) = copies.iter().find(|copy| copy.opened.repo.capability() != Capability::Owner) {
        let what = format!("this key of {} may not rewrite snapshots", safe(&copy.place.shown()));
        return Err(
            Failure::new(Exit::Refused, what).hint("unlock with the password, or with an owner's key")
        );
    }
    let mut erasures = match args.reapply {
        true => known_anywhere(&copies)?,
        false => vec![new_erasure(&args)?],
    };
    if !args.reapply
        && !copies.iter().map(|copy| is_in(session, copy, &erasures[0].1)).try_fold(false, any)?
    {
        let what = format!("no snapshot holds {}: nothing was erased", shown_paths(&erasures[0].1));
        return Err(Failure::new(Exit::Failed, what)
            .hint("paths are as `lifeboat ls` shows them: lifeboat find NAME"));
    }
    if !args.dry_run {
        share_holds(session, &copies)?;
    }
    let held = held_anywhere(session, &copies)?;
    let mut exit = Exit::Ok;
    let mut done: Vec<(&Copy, Arc<Reader>)> = Vec::new();
    for copy in &copies {
        let reader = copy.opened.reader()?;
        for (of, erasure) in &mut erasures {
            if of.is_some_and(|family| family != copy.family()) {
                continue;
            }
            // What an earlier copy made of its snapshots, this one takes over instead of making its own.
            let before = done.iter().find(|(other, _)| other.family() == copy.family());
            let before = before.map(|(_, reader)| reader);
            match erase(session, copy, &reader, (before, &held), erasure, args.dry_run) {
                Ok(Exit::Ok) => {}
                Ok(ended) => exit = ended,
                Err(e) if copies.len() == 1 || session.cancel.is_set() => return Err(e),
                Err(e) => {
                    exit = e.exit;
                    session.out.failure(&e);
                }
            }
        }
        done.push((copy, reader));
    }
    if !args.dry_run {
        forget_names(session);
        note_what_is_left(session, &copies, &not_reached);
    }
    tell_not_reached(session, &not_reached)?;
    if !args.reapply {
        erasures.iter().for_each(|(_, erasure)| warn_of_living(session, erasure));
    }
    let was_tried = not_reached.iter().any(|place| place.was_tried);
    Ok(if was_tried && exit == Exit::Ok { Exit::Unreachable } else { exit })
}

fn any(found: bool, next: Outcome<bool>) -> Outcome<bool> {
    Ok(found || next?)
}

/// Whether a snapshot of a copy holds what is to be erased. Where a tree cannot be read, it may.
fn is_in(session: &Session, copy: &Copy, erasure: &Erasure) -> Outcome<bool> {
    let (reader, list) = (copy.opened.reader()?, session.opener().snapshots(&copy.place, &copy.opened.repo)?);
    for snapshot in list.snapshots.iter().map(|s| &s.snapshot).filter(|s| erasure.covers(s)) {
        match rewrite::holds(&reader, snapshot.root, erasure) {
            Ok(false) => {}
            Err(e) if !e.is_damage() => return Err(e.into()),
            _ => return Ok(true),
        }
    }
    Ok(false)
}

/// A hold in one copy counts in all that are open: each gets it, so that what it keeps is also brought back from there.
fn share_holds(session: &Session, copies: &[Copy]) -> Outcome<()> {
    let holds =
        copies.iter().map(|copy| Ok(Holds::read(&copy.opened.repo)?.holds)).collect::<Outcome<Vec<_>>>()?;
    for (at, copy) in copies.iter().enumerate() {
        let siblings = copies.iter().zip(&holds).filter(|(other, _)| other.family() == copy.family());
        for hold in siblings.flat_map(|(_, holds)| holds).filter(|hold| !hold.is_over(time::now())) {
            if holds[at].iter().any(|own| own.id == hold.id || own.name == hold.name) {
                continue;
            }
            holds::add(&copy.opened.repo, hold, &mut seed()?)?;
            let body = json!({"added": hold.name, "id": hold.id.hex(), "reason": hold.reason, "why": "another copy has it"});
            audit::record(session, &copy.opened.repo, "hold", &body);
            session.out.info(format!(
                "{} has the hold {:?} now, too",
                safe(&copy.place.shown()),
                safe(&hold.name)
            ));
        }
    }
    Ok(())
}

/// Opens every copy that can be. Those that cannot are no reason to leave the paths in the others; they are named.
fn open_all(session: &Session) -> Outcome<(Vec<Copy>, Vec<NotReached>)> {
    let Reached { copies, missed } = session.reach_all()?;
    let open = copies.iter().map(|copy| &copy.name);
    let named: Vec<Option<String>> = open.chain(missed.iter().map(|missed| &missed.name)).cloned().collect();
    let why = |missed: Missed| NotReached {
        name: missed.name,
        place: missed.place,
        why: missed.failure.message(),
        was_tried: true,
    };
    let mut not_reached: Vec<NotReached> = missed.into_iter().map(why).collect();
    not_reached.extend(siblings_left_out(session, &copies, &named)?);
    Ok((copies, not_reached))
}

/// Repositories of the configuration that are copies of these, as far as this machine knows, and were not named.
fn siblings_left_out(
    session: &Session,
    copies: &[Copy],
    named: &[Option<String>],
) -> Outcome<Vec<NotReached>> {
    let Some(loaded) = session.loaded()? else { return Ok(Vec::new()) };
    let catalog = Catalog::open(&crate::folders::folders().state.join(CATALOG_FILE)).ok();
    let family_of = |name: &str| Some(catalog.as_ref()?.place(name).ok()??.1.family);
    let families: BTreeSet<String> = copies.iter().map(|copy| copy.family().hex()).collect();
    let mut left_out = Vec::new();
    for name in loaded.config.repositories.keys() {
        let is_here = named.iter().flatten().any(|n| n == name)
            || session.place_named(name.as_ref()).is_ok_and(|place| {
                let shown = place.shown();
                copies.iter().any(|copy| copy.place.shown() == shown)
            });
        // One that was never seen may be a copy as well.
        if !is_here && family_of(name).is_none_or(|family| families.contains(&family)) {
            left_out.push(NotReached {
                name: Some(name.clone()),
                place: name.clone(),
                why: "not named".into(),
                was_tried: false,
            });
        }
    }
    Ok(left_out)
}

/// Every erasure that any of the copies knows, with all that was replaced anywhere.
fn known_anywhere(copies: &[Copy]) -> Outcome<Vec<(Option<FamilyId>, Erasure)>> {
    let mut all: Vec<(Option<FamilyId>, Erasure)> = Vec::new();
    for copy in copies {
        for erasure in Erasures::read(&copy.opened.repo)?.all {
            let of = Some(copy.family());
            match all.iter_mut().find(|(family, known)| *family == of && known.id == erasure.id) {
                Some((_, known)) => {
                    known.take_in(&erasure);
                }
                None => all.push((of, erasure)),
            }
        }
    }
    Ok(all)
}

/// For `status`, which reminds of it until it is done.
fn note_what_is_left(session: &Session, copies: &[Copy], not_reached: &[NotReached]) {
    let Some(catalog) = Catalog::open(&crate::folders::folders().state.join(CATALOG_FILE)).ok() else {
        return;
    };
    let note = |name: &str, erased: Option<ErasedLeft>| {
        let noted = catalog.place(name).and_then(|place| {
            let (at, facts) = place.unwrap_or_default();
            catalog.record_place(name, at, &PlaceFacts { erased, ..facts })
        });
        if let Err(e) = noted {
            session.out.warn(format!("status does not know what is left in {}: {e}", safe(name)));
        }
    };
    for copy in copies {
        let Some(name) = &copy.name else { continue };
        let left = (|| -> Outcome<usize> {
            let list = session.opener().snapshots(&copy.place, &copy.opened.repo)?;
            Ok(rewrite::not_rewritten(&*copy.opened.reader()?, list.visible())?)
        })();
        match left {
            Ok(left) => note(name, (left > 0).then_some(ErasedLeft::Snapshots(left as u64))),
            Err(e) => session.out.warn(format!(
                "status does not know what is left in {}: {}",
                safe(name),
                e.message()
            )),
        }
    }
    not_reached
        .iter()
        .filter_map(|place| place.name.as_ref())
        .for_each(|name| note(name, Some(ErasedLeft::Missed)));
}

/// The catalog of names on this machine would still know them; it is made anew by itself.
fn forget_names(session: &Session) {
    if let Some(Err(e)) = super::names::open(session).map(service::catalog::Names::begin_anew) {
        session.out.warn(format!("this machine's catalog of names still knows the paths: {e}"));
    }
}

fn new_erasure(args: &Args) -> Outcome<(Option<FamilyId>, Erasure)> {
    let mut paths = Vec::new();
    for written in &args.remove {
        let path = crate::snapspec::full_path(&to_path(written.as_bytes().to_vec()));
        let parts = path.as_os_str().as_bytes().split(|b| *b == b'/').filter(|part| !part.is_empty());
        let parts: Vec<&[u8]> = std::iter::once(&b"/"[..]).chain(parts).collect();
        if parts.len() < 2 {
            return Err(Failure::usage("that would erase everything")
                .hint("forget the snapshots instead: lifeboat forget"));
        }
        paths.push(PathKey::of(&parts));
    }
    let erasure = Erasure {
        id: ErasureId(credentials::random()?),
        paths,
        time: time::now(),
        hosts: args.host.clone(),
        reason: args.reason.clone(),
        by: format!("{}@{}", user_name(), host_name()),
        replaced: Vec::new(),
    };
    Ok((None, erasure))
}

fn shown_paths(erasure: &Erasure) -> String {
    let shown = |key: &Vec<u8>| {
        let path = KeyPath::parse(key).map(|key| key.display_bytes()).unwrap_or_default();
        DisplayName(&path).to_string()
    };
    erasure.paths.iter().map(shown).collect::<Vec<_>>().join(", ")
}

/// What is still here comes into the next snapshot.
fn warn_of_living(session: &Session, erasure: &Erasure) {
    let is_here = |host: &String| session.is_this_machine(host).unwrap_or(true);
    if !erasure.hosts.is_empty() && !erasure.hosts.iter().any(is_here) {
        return;
    }
    for key in &erasure.paths {
        let bytes = KeyPath::parse(key).map(|key| key.display_bytes()).unwrap_or_default();
        let path = to_path(bytes);
        if path.symlink_metadata().is_ok() {
            let name = DisplayName(path.as_os_str().as_bytes()).to_string();
            session.out.info(format!(
                "{name} is still on this machine: remove or exclude it, or the next backup has it again"
            ));
        }
    }
}

/// Erases in one copy.
fn erase(
    session: &Session,
    copy: &Copy,
    reader: &Arc<Reader>,
    (before, held): (Option<&Arc<Reader>>, &Held),
    erasure: &mut Erasure,
    dry_run: bool,
) -> Outcome<Exit> {
    let (opened, repo) = (&copy.opened, &copy.opened.repo);
    if !dry_run {
        keep(session, repo, erasure)?;
    }
    let taken = match (before, dry_run) {
        (Some(source), false) => take_over(source, reader, erasure)?,
        _ => BTreeSet::new(),
    };
    let (opener, now) = (session.opener(), time::now());
    let known = match dry_run {
        true => Known::read(&opener, &copy.place, repo, now)?,
        false => Known::read_to_act(&opener, &copy.place, repo, now, &mut seed()?)?,
    };
    known::warn_unreadable(session, &known);
    let doubts = known.doubts();
    let state = open_state(session, dry_run)?;
    let (mut fates, mut gone): (Vec<(String, Fate)>, Vec<&Snapshot>) = (Vec::new(), Vec::new());
    let covered: Vec<&StoredSnapshot> =
        known.list.snapshots.iter().filter(|s| !s.forgotten && erasure.covers(&s.snapshot)).collect();
    for stored in covered {
        let old = &stored.snapshot;
        if erasure.replaced.iter().any(|(_, new)| *new == old.id) {
            continue;
        }
        let over = erasure.replaced.iter().find(|(o, n)| *o == old.id && taken.contains(n)).map(|(_, n)| *n);
        let fate = (|| {
            if !rewrite::holds(reader, old.root, erasure)? {
                return Ok(None);
            }
            if let Some(protection) = known.protections_of(stored).first() {
                return Ok(Some(Fate::Kept { why: refusal(&old.short_id(), protection) }));
            }
            if let Some(why) = held.elsewhere(copy, &old.id) {
                return Ok(Some(Fate::Kept { why }));
            }
            if dry_run {
                return Ok(Some(Fate::Would { left_out: rewrite::count(reader, old.root, erasure)? }));
            }
            let word = known.word(stored, &doubts[&old.id]);
            replace(session, opened, reader, state.as_ref(), (stored, word), erasure, over).map(Some)
        })();
        let fate = match fate {
            Ok(None) => continue,
            Ok(Some(fate)) => fate,
            // One that is damaged does not keep the paths in all the others.
            Err(why) if why.exit == Exit::Damage => Fate::Failed { why },
            Err(e) => return Err(e),
        };
        if let Fate::Replaced { new, .. } = &fate {
            erasure.replaced.push((old.id, *new));
            keep(session, repo, erasure)?;
        }
        if !matches!(fate, Fate::Kept { .. } | Fate::Failed { .. } | Fate::Would { .. }) {
            gone.push(old);
        }
        fates.push((old.short_id(), fate));
    }
    if !dry_run {
        write_down(session, opened, erasure, &fates, &gone);
    }
    tell(session, copy, erasure, &fates, dry_run)
}

/// Holds of every copy that is open: one wins in the others, too, or the copy that has it would be alone with the snapshot.
struct Held(Vec<(FamilyId, SnapshotId, String, Protection)>);

fn held_anywhere(session: &Session, copies: &[Copy]) -> Outcome<Held> {
    let mut held = Vec::new();
    for copy in copies {
        let protections = Protections::read_at(&copy.opened.repo, time::now())?;
        if protections.holds().holds.is_empty() && protections.holds().unreadable.is_empty() {
            continue;
        }
        for stored in &session.opener().snapshots(&copy.place, &copy.opened.repo)?.snapshots {
            let all = protections.of(&stored.snapshot, stored.received);
            let hold = all.into_iter().find(|p| !matches!(p, Protection::TooYoung { .. }));
            held.extend(hold.map(|hold| (copy.family(), stored.snapshot.id, copy.place.shown(), hold)));
        }
    }
    Ok(Held(held))
}

impl Held {
    /// Why a snapshot stays in a copy because of another one.
    fn elsewhere(&self, copy: &Copy, id: &SnapshotId) -> Option<Failure> {
        let is_it = |(family, held, _, _): &&(FamilyId, SnapshotId, String, Protection)| {
            *family == copy.family() && held == id
        };
        let (_, _, place, protection) = self.0.iter().find(is_it)?;
        let why = refusal(&id.hex()[..8], protection);
        Some(Failure::new(why.exit, format!("{} in {}", why.message(), safe(place))))
    }
}

/// In the repository for everybody, and on this machine for copies that are away.
fn keep(session: &Session, repo: &Repo, erasure: &Erasure) -> Outcome<()> {
    erasures::put(repo, erasure, &mut seed()?)?;
    session.opener().remember_erasure(repo, erasure, &mut seed()?);
    Ok(())
}

/// Brings the snapshots that another copy made. Returns which of them are here now.
fn take_over(source: &Arc<Reader>, target: &Arc<Reader>, erasure: &Erasure) -> Outcome<BTreeSet<SnapshotId>> {
    let wanted: BTreeSet<SnapshotId> = erasure.replaced.iter().map(|(_, new)| *new).collect();
    if wanted.is_empty() || source.repo().identity().family != target.repo().identity().family {
        return Ok(BTreeSet::new());
    }
    let mut options = SyncOptions {
        snapshots: Some(wanted.clone()),
        again: false,
        dry_run: false,
        read_back: false,
        now: time::now(),
        fetch_workers: Workers(2),
        writer: WriterOptions { seal_workers: processors(), ..WriterOptions::default() },
        progress: &mut |_, _| {},
        cancelled: &|| false,
    };
    sync(source, target, &mut options, seed()?)?;
    let list = ::repo::snapshots::SnapshotList::read(target.repo())?;
    Ok(list.visible().map(|s| s.id).filter(|id| wanted.contains(id)).collect())
}

/// Publishes the snapshot without the paths, then forgets the old one.
fn replace(
    session: &Session,
    opened: &Opened,
    reader: &Arc<Reader>,
    state: Option<&WriterState>,
    (stored, word): (&StoredSnapshot, Trust),
    erasure: &Erasure,
    over: Option<SnapshotId>,
) -> Outcome<Fate> {
    let old = &stored.snapshot;
    let gone_because = |new: Option<SnapshotId>| match new {
        Some(new) => format!("erased {}: now {}", shown_paths(erasure), new.hex()),
        None => format!("erased {}: nothing was left", shown_paths(erasure)),
    };
    if let Some(new) = over {
        forget(&opened.repo, &old.id, time::now(), &gone_because(Some(new)), &mut seed()?)?;
        return Ok(Fate::TakenOver { new });
    }
    let mut successor = Successor::begin(session, opened, reader, state)?;
    let (root, left_out) = rewrite::without(reader, &mut successor.writer, old.root, erasure)?;
    let Some(root) = root else {
        successor.writer.abandon()?;
        forget(&opened.repo, &old.id, time::now(), &gone_because(None), &mut seed()?)?;
        return Ok(Fate::Emptied { left_out });
    };
    let mut stats = old.stats;
    stats.source_bytes = stats.source_bytes.saturating_sub(left_out.bytes);
    let new = Snapshot { root, stats, ..old.clone() };
    // It stands where the old one stood, and is smaller on purpose.
    let word = Trust { contents: true, ..word };
    let new = successor.replace(old, new, word, |new| gone_because(Some(new.id)))?;
    Ok(Fate::Replaced { new: new.id, left_out })
}

fn write_down(
    session: &Session,
    opened: &Opened,
    erasure: &Erasure,
    fates: &[(String, Fate)],
    gone: &[&Snapshot],
) {
    let names = |wanted: fn(&Fate) -> bool| {
        fates.iter().filter(|(_, fate)| wanted(fate)).map(|(id, _)| id.clone()).collect::<Vec<_>>()
    };
    let mut body =
        service::audit::forgotten(gone.iter().copied(), &format!("erased {}", shown_paths(erasure)));
    let more = json!({
        "erasure": erasure.id.hex(), "paths": shown_paths(erasure), "reason": erasure.reason,
        "replaced": names(|f| matches!(f, Fate::Replaced { .. } | Fate::TakenOver { .. } | Fate::Emptied { .. })),
        "kept": names(|f| matches!(f, Fate::Kept { .. })), "failed": names(|f| matches!(f, Fate::Failed { .. })),
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    audit::record(session, &opened.repo, "rewrite", &body);
}
