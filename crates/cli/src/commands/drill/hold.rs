//! Holding a drill: choose, restore, compare, keep the evidence, tell.

use super::wanted::{self, KIT, Run, Size, Wanted};
use super::{Repository, open, tell};
use crate::audit;
use crate::credentials;
use crate::display::{safe, shell_word};
use crate::error::{Exit, Failure, Outcome, local};
use crate::folders;
use crate::session::{Session, machine_of, processors};
use crate::signals::Cancel;
use crate::{sizes, time};
use ::repo::leaf_ranges::leaf_ranges;
use ::repo::reader::Reader;
use ::repo::tools;
use engine::Monitor;
use format::log::LogKind;
use format::snapshot::Snapshot;
use format::tree::PathKey;
use serde_json::json;
use service::catalog::{self, CATALOG_FILE, Catalog, DrillResult, Duty};
use service::drill::database::{Questions, Trial};
use service::drill::evidence::{Facts, SUBJECT};
use service::drill::{
    Age, Asserted, DrillOutcome, DrillRequest, Evidence, Part, ResultWord, Source, of_name, sources,
};
use service::restore_db::Way;
use service::watching;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

pub(super) fn run(session: &Session, args: &Run) -> Outcome<Exit> {
    if args.alone {
        crate::commands::run::end_with_parent();
    }
    let catalog = open_catalog(session);
    let all = wanted::all(session, args, catalog.as_ref())?;
    let mut exit = Exit::Ok;
    for wanted in &all {
        let held = hold(session, args, wanted, catalog.as_ref());
        if let Some(catalog) = catalog.as_ref().filter(|_| wanted.is_configured && !args.dry_run) {
            let why = match &held {
                Err(failure) => Some(failure.in_one_line()),
                // Nobody's data: no goal of a source would tell of it.
                Ok(exit) if wanted.is_of_kit && *exit != Exit::Ok => Some(
                    "the kit or the program beside a copy is not right: lifeboat drill show latest".into(),
                ),
                Ok(_) => None,
            };
            // What cannot be recorded is missed by status, which is a false alarm and no more.
            catalog.record_duty(Duty::Drill, &wanted.name, time::now().secs, why.as_deref()).ok();
        }
        match held {
            Ok(ended) => exit = worse(exit, ended),
            Err(failure) if all.len() == 1 || session.cancel.is_set() => return Err(failure),
            Err(failure) => {
                session.out.failure(&failure);
                exit = worse(exit, failure.exit);
            }
        }
    }
    Ok(exit)
}

fn worse(a: Exit, b: Exit) -> Exit {
    let rank = |exit: Exit| match exit {
        Exit::Ok => 0,
        Exit::DrillFailed => 2,
        Exit::Damage => 3,
        _ => 1,
    };
    if rank(b) > rank(a) { b } else { a }
}

/// Nothing that a drill does depends on it.
fn open_catalog(session: &Session) -> Option<Catalog> {
    let path = folders::folders().state.join(CATALOG_FILE);
    match Catalog::open(&path) {
        Ok(catalog) => Some(catalog),
        Err(e) => {
            session.out.detail(format!("the catalog does not learn of this: {e}"));
            None
        }
    }
}

/// The repository whose turn it is.
fn in_turn(session: &Session, wanted: &Wanted) -> Outcome<Repository> {
    let mut failure = None;
    let mut opened: Vec<Repository> = Vec::new();
    for (name, place) in &wanted.places {
        match open(session, name.clone(), place.clone()) {
            // The configuration knows whose turn it is.
            Ok(repository) if wanted.is_configured => return Ok(repository),
            Ok(repository) => opened.push(repository),
            Err(e) if wanted.places.len() == 1 => return Err(e),
            Err(e) => {
                session.out.warn(format!(
                    "{} is left out, and its turn stays: {}",
                    safe(&place.shown()),
                    e.message()
                ));
                failure = failure.or(Some(e));
            }
        }
    }
    let last = |repository: &Repository| repository.drills.last().map(|drill| drill.evidence.started);
    opened.into_iter().min_by_key(last).ok_or_else(|| failure.expect("whoever is not open failed"))
}

struct Cancelling(Cancel);

impl Monitor for Cancelling {
    fn cancelled(&self) -> bool {
        self.0.is_set()
    }
}

fn hold(session: &Session, args: &Run, wanted: &Wanted, catalog: Option<&Catalog>) -> Outcome<Exit> {
    let repository = in_turn(session, wanted)?;
    let snapshots = repository.list.visible().filter(|s| (wanted.belongs)(s));
    let source = match &wanted.source {
        Some(name) => of_name(name, snapshots, &repository.drills),
        None => sources(snapshots, &repository.drills).into_iter().next(),
    };
    let Some(source) = source else {
        let what =
            format!("there is no snapshot{} in {} to drill", wanted.filter, safe(&repository.place.shown()));
        return Err(Failure::new(Exit::Failed, what)
            .hint(format!("lifeboat snapshots -r {}", shell_word(&repository.place.shown()))));
    };
    let age = wanted.age.unwrap_or_else(|| source.age_in_turn());
    let snapshot = source.snapshot(age, u64::from_le_bytes(credentials::random()?));
    let reader = repository.opened.reader()?;
    let part = part(wanted, &reader, snapshot, source.drills_of(age))?;
    let turn = Turn { wanted, repository: &repository, source: &source, snapshot, age, part };
    if args.dry_run {
        return would(session, &turn);
    }
    session.out.info(turn.shown("drill of"));
    let started = time::now();
    let outcome = restore(session, args, &turn, &reader)?;
    if let Some(exit) = session.cancel.exit() {
        return Err(Failure::new(exit, "cancelled; nothing was proven"));
    }
    let place = turn.repository.place.shown();
    let facts = Facts {
        name: &wanted.name,
        started,
        location: &place,
        program: env!("CARGO_PKG_VERSION"),
        source_name: turn.source_name(session)?,
        source: source.key.clone(),
        snapshot,
        newest: source.snapshots.last().expect("a source has snapshots").time,
        age,
        part,
        critical: wanted.critical.iter().map(|p| p.to_string_lossy().into_owned()).collect(),
        rto: wanted.rto,
        rpo: wanted.rpo,
    };
    let evidence = Evidence::new(facts, &outcome);
    let body = serde_json::to_value(&evidence).expect("evidence can be written");
    audit::record_as(session, &repository.opened.repo, LogKind::Drill, SUBJECT, &body);
    if let Some(catalog) = catalog {
        remember(session, catalog, &turn, &evidence);
    }
    tell(session, &evidence, outcome.kept.as_deref())?;
    if evidence.result == ResultWord::Damaged {
        session.out.info(format!(
            "mend it with: lifeboat repair -r {}, with --from ANOTHER-COPY where there is one",
            shell_word(&place)
        ));
    }
    Ok(exit(evidence.result))
}

/// A drill whose turn was found out.
struct Turn<'t> {
    wanted: &'t Wanted,
    repository: &'t Repository,
    source: &'t Source<'t>,
    snapshot: &'t Snapshot,
    age: Age,
    part: Part,
}

impl Turn<'_> {
    fn shown(&self, doing: &str) -> String {
        format!(
            "{doing} {} from {}: {} snapshot {}, part {} of {}",
            safe(&self.source.key.shown()),
            safe(self.repository.name.as_deref().unwrap_or(&self.repository.place.shown())),
            self.age.as_str(),
            self.snapshot.short_id(),
            self.part.k + 1,
            self.part.of
        )
    }

    /// The source's name in the configuration, where it is one of it.
    fn source_name(&self, session: &Session) -> Outcome<Option<String>> {
        if self.wanted.is_of_kit {
            return Ok(Some(KIT.into()));
        }
        if self.wanted.source.is_some() {
            return Ok(self.wanted.source.clone());
        }
        let Some(loaded) = session.loaded()? else { return Ok(None) };
        let config = &loaded.config;
        let machine = machine_of(config);
        let is_of = |name: &&String| watching::belongs(config, &machine, &loaded.home, name, self.snapshot);
        Ok(config.sources.keys().find(is_of).cloned())
    }
}

fn restore(session: &Session, args: &Run, turn: &Turn<'_>, reader: &Arc<Reader>) -> Outcome<DrillOutcome> {
    let critical = turn.wanted.critical.iter().map(|path| critical_key(path)).collect();
    let folder = args.scratch.clone().unwrap_or_else(|| folders::folders().cache);
    service::durable::create_private(&folder)
        .map_err(|e| local(format!("cannot make {}", folder.display()), e))?;
    service::drill::remove_leftovers(&folder);
    has_room(&folder, turn)?;
    let random: [u8; 4] = credentials::random()?;
    let person = session.opener().person;
    let judge = |folder: &Path| {
        let mut asserts = Vec::new();
        if !turn.wanted.command.is_empty() {
            asserts.push(service::drill::command(&turn.wanted.command, folder, &*person));
        }
        if turn.wanted.is_of_kit {
            asserts.extend(kit(session, turn));
        }
        asserts
    };
    let start = Instant::now();
    let name = service::drill::scratch_name(std::process::id(), random);
    if let Some(questions) = &turn.wanted.questions {
        return ask(session, args, turn, reader, questions, (&folder, &name));
    }
    let request = DrillRequest {
        snapshot: turn.snapshot,
        part: turn.part,
        critical,
        scratch: folder.join(name),
        contents: turn.wanted.contents,
        is_of_this_machine: session.is_this_machine(&turn.snapshot.host)? && !turn.wanted.is_of_kit,
        keep: args.keep,
        workers: processors(),
        memory: session.global.memory,
        judge: &judge,
        clock: &|| start.elapsed(),
    };
    service::drill::run(reader, &request, &Cancelling(session.cancel.clone()))
}

/// Tries databases in a server.
fn ask(
    session: &Session,
    args: &Run,
    turn: &Turn<'_>,
    reader: &Arc<Reader>,
    questions: &Questions,
    (below, folder): (&Path, &str),
) -> Outcome<DrillOutcome> {
    let (loaded, opener, start) = (session.loaded()?, session.opener(), Instant::now());
    let monitor = Cancelling(session.cancel.clone());
    let way = Way {
        config: loaded.as_deref().map(|loaded| &loaded.config),
        opener: &opener,
        workers: processors(),
        memory: session.global.memory,
        monitor: &monitor,
    };
    let trial = Trial {
        snapshot: turn.snapshot,
        questions,
        below,
        folder,
        keep: args.keep,
        way: &way,
        clock: &|| start.elapsed(),
    };
    service::drill::database::run(reader, &trial)
}

/// A drill that filled the disk would do more harm than good.
fn has_room(folder: &Path, turn: &Turn<'_>) -> Outcome<()> {
    let Ok(found) = rustix::fs::statvfs(folder) else { return Ok(()) };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let needed = turn.snapshot.stats.source_bytes / turn.part.of.max(1);
    match free > needed.saturating_add(needed / 10) {
        true => Ok(()),
        false => {
            let what = format!(
                "{} has {} free, and the drill needs about {}",
                safe(&folder.display().to_string()),
                sizes::shown(free),
                sizes::shown(needed)
            );
            Err(Failure::new(Exit::NoSpace, what)
                .hint("restore elsewhere with --scratch FOLDER, or less with --sample"))
        }
    }
}

/// Whether the printed kit and this copy would be enough.
fn kit(session: &Session, turn: &Turn<'_>) -> Vec<Asserted> {
    let loaded = session.loaded().ok().flatten();
    let standing = super::super::kit::standing(session, loaded.as_deref());
    let mut asserts = vec![Asserted {
        question: "is the printed kit confirmed, and does it name all copies?".into(),
        answer: standing.word().into(),
        ok: standing == service::kit::Standing::Good,
    }];
    let repo = &turn.repository.opened.repo;
    let tools = tools::tools(repo).unwrap_or_else(|e| {
        let question = "can the programs that are stored in the repository be listed?".into();
        asserts.push(Asserted { question, answer: Failure::from(e).in_one_line(), ok: false });
        Vec::new()
    });
    for (file, _) in tools {
        // The end of the name is the beginning of the hash.
        let Some((_, hash)) = file.rsplit_once('-').filter(|_| file.starts_with("lifeboat-")) else {
            continue;
        };
        let found = tools::read_tool(repo, &file).map(|bytes| service::page::sha256(&bytes));
        let (answer, ok) = match found {
            Ok(sha) => (sha.clone(), sha.starts_with(hash)),
            Err(e) => (::repo::reader::chain(&e), false),
        };
        asserts.push(Asserted {
            question: format!("has the program beside the copy ({file}) its hash?"),
            answer,
            ok,
        });
    }
    asserts
}

fn exit(result: ResultWord) -> Exit {
    match result {
        ResultWord::Passed => Exit::Ok,
        ResultWord::GoalNotMet | ResultWord::Failed => Exit::DrillFailed,
        ResultWord::Damaged => Exit::Damage,
    }
}

fn part(wanted: &Wanted, reader: &Reader, snapshot: &Snapshot, before: u64) -> Outcome<Part> {
    Ok(match wanted.size {
        Size::Whole => Part::WHOLE,
        Size::OneOf(_) | Size::UpTo { .. } => match leaf_ranges(reader, snapshot.root) {
            Ok(leaves) => Part::turn(wanted.size.parts(&leaves), before),
            // A tree that cannot be read is what the drill itself will tell.
            Err(e) if e.is_damage() => Part::WHOLE,
            Err(e) => return Err(e.into()),
        },
    })
}

fn critical_key(path: &Path) -> Vec<u8> {
    let path = crate::snapspec::full_path(path);
    let parts = path.as_os_str().as_bytes().split(|b| *b == b'/').filter(|part| !part.is_empty());
    PathKey::of(&std::iter::once(&b"/"[..]).chain(parts).collect::<Vec<_>>())
}

fn would(session: &Session, turn: &Turn<'_>) -> Outcome<Exit> {
    if session.out.json {
        let key = &turn.source.key;
        session.out.object(&json!({
            "message_type": "drill", "dry_run": true, "name": turn.wanted.name, "host": key.host, "paths": key.paths,
            "from": turn.repository.place.shown(), "snapshot": turn.snapshot.id.hex(), "age": turn.age.as_str(),
            "part": turn.part.k + 1, "parts": turn.part.of,
        }))?;
    } else {
        session.out.line(turn.shown("would restore"))?;
    }
    Ok(Exit::Ok)
}

/// The catalog learns of it, too: `status` judges by it. The evidence is in the repository.
fn remember(session: &Session, catalog: &Catalog, turn: &Turn<'_>, e: &Evidence) {
    let drill = catalog::Drill {
        name: e.name.clone(),
        source: e.source_name.clone().unwrap_or_else(|| e.source.shown()),
        repository: turn.repository.name.clone().unwrap_or_else(|| e.location.clone()),
        snapshot: Some(e.snapshot.clone()),
        at: time::now().secs,
        seconds: e.restore_seconds,
        result: if e.result == ResultWord::Passed { DrillResult::Passed } else { DrillResult::Failed },
        files: e.files,
        bytes: e.bytes,
        rto_seconds: e.full_restore.goal,
        detail: serde_json::to_string(e).unwrap_or_default(),
    };
    let damage = (e.result == ResultWord::Damaged).then(|| catalog::Verification {
        repository: drill.repository.clone(),
        at: drill.at,
        kind: "drill".into(),
        ratio: 0.0,
        bytes: e.bytes,
        damaged: e.problems_count.max(1),
        error: None,
    });
    let learned = catalog.record_drill(&drill).and_then(|()| match &damage {
        Some(found) => catalog.record_verification(found, &[]),
        None => Ok(()),
    });
    if let Err(e) = learned {
        session.out.detail(format!("the catalog does not learn of this drill: {e}"));
    }
}
