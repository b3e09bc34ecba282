//! Comparing every stored byte with what the objects themselves say, without any key.
//!
//! For a machine that keeps a repository and must not be able to read it. It finds every changed, cut or
//! extended object, and says which of them their own parity or their second copy can mend. It cannot know
//! what is missing altogether: only an index says which packs there must be. It writes nothing.

use crate::cache::Cache;
use crate::check::ReadShare;
use crate::check::ledger::{Coverage, Depth, Ledger};
use crate::error::{RepoError, RepoResult};
use crate::names;
use crate::open::store_error;
use crate::reader::chain;
use crate::unfinished::explains_missing_copy;
use crate::workers::{Ordered, Workers};
use format::FormatError;
use format::envelope;
use format::id::{BlobKind, PackId};
use format::kind::Timestamp;
use format::limits::INDEX_BYTES_MAX;
use format::pack;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;
use storage::{ErrorKind, ObjectName, Store};

/// Packs are read in such pieces, so that memory does not grow with them.
const PIECE_BYTES: u64 = 4 << 20;
/// Longer packs are not fetched whole to see whether parity mends them.
const MENDED_BYTES_MAX: u64 = 1 << 30;
/// Folders of small objects. What a later version keeps in a folder of its own is left alone.
const SMALL: [&str; 10] = [
    "keys/",
    "snapshots/",
    "pending/",
    "index/",
    "gc/",
    names::ERASED,
    "holds/",
    "trust/",
    "log/",
    names::ATTEST,
];

/// What can make a damaged object whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mend {
    /// Its own parity.
    Parity,
    /// Its second copy.
    OtherCopy,
    /// Nothing in this place that can be told without keys.
    Nothing,
}

/// An object that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// Its name.
    pub name: String,
    /// What is wrong.
    pub why: String,
    /// What can mend it.
    pub mend: Mend,
}

/// What a scrub saw.
#[derive(Clone, Debug, Default)]
pub struct ScrubReport {
    /// Small objects read.
    pub objects: usize,
    /// Packs there are.
    pub packs: usize,
    /// Packs read.
    pub packs_read: usize,
    /// Bytes read.
    pub bytes_read: u64,
    /// Objects of a newer version: not judged.
    pub too_new: Vec<String>,
    /// Damage.
    pub damaged: Vec<Damaged>,
    /// What this machine has verified so far.
    pub coverage: Coverage,
}

/// What a scrub is asked to do, and told while it runs.
pub struct ScrubOptions<'a> {
    /// Which packs to read; small objects are all read.
    pub read: ReadShare,
    /// Threads that read and hash packs.
    pub workers: Workers,
    /// Decides which of equally old packs come first.
    pub sample_seed: u64,
    /// Now; for the ledger.
    pub now: Timestamp,
    /// Called with bytes done and bytes in all; `Break` ends the scrub with what was seen so far.
    pub progress: &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>,
}

/// Scrubs a place.
pub fn scrub(
    store: &Arc<dyn Store>,
    cache: &Cache,
    options: &mut ScrubOptions<'_>,
) -> RepoResult<ScrubReport> {
    let mut report = ScrubReport::default();
    scrub_small(&**store, &mut report)?;
    scrub_packs(store, cache, options, &mut report)?;
    report.damaged.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(report)
}

fn list(store: &dyn Store, folder: &str) -> RepoResult<Vec<(ObjectName, u64)>> {
    let mut found = Vec::new();
    let listed = store.list(folder, &mut |info| {
        found.push((info.name, info.len_bytes));
        ControlFlow::Continue(())
    });
    match listed {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(store_error(store, e)),
        _ => Ok(found),
    }
}

/// A small object.
enum Small {
    Whole(Vec<u8>),
    Gone,
    TooNew,
    Bad { why: String, mend: Mend },
}

fn scrub_small(store: &dyn Store, report: &mut ScrubReport) -> RepoResult<()> {
    let mut all = BTreeSet::from([names::name(names::CONFIG)]);
    let mut twins = all.clone();
    for folder in SMALL {
        let is_twin = names::TWICE.contains(&folder);
        for (name, _) in list(store, folder)? {
            if is_twin {
                twins.insert(name.clone());
            }
            all.insert(name);
        }
        if is_twin {
            let mirrored = list(store, &format!("{}{folder}", names::MIRROR))?;
            let first = mirrored.iter().map(|(name, _)| names::name(names::first_copy(name)));
            first.for_each(|name| _ = (all.insert(name.clone()), twins.insert(name)));
        }
    }
    for name in all {
        let state = read_small(store, &name, report)?;
        if twins.contains(&name) {
            let mirror = names::mirror(&name);
            let second = read_small(store, &mirror, report)?;
            // Somebody is or was about to store or remove the second copy.
            match matches!(second, Small::Gone) && explains_missing_copy(store, &mirror)? {
                true => note(&name, &state, false, report),
                false => judge_twins(&name, &mirror, state, second, report),
            }
        } else {
            note(&name, &state, false, report);
        }
    }
    Ok(())
}

/// Both copies must be there and equal.
fn judge_twins(
    name: &ObjectName,
    mirror: &ObjectName,
    first: Small,
    second: Small,
    report: &mut ScrubReport,
) {
    let is_whole = |state: &Small| matches!(state, Small::Whole(_));
    if let (Small::Whole(a), Small::Whole(b)) = (&first, &second)
        && a != b
        // Of an erasure that grew the second copy comes first.
        && names::parse_erasure(name).is_none()
    {
        let why = "differs from its first copy".to_string();
        report.damaged.push(Damaged { name: mirror.to_string(), why, mend: Mend::Nothing });
    }
    for (name, state, other) in [(name, &first, &second), (mirror, &second, &first)] {
        match state {
            Small::Gone if is_whole(other) => {
                let why = "is missing; its other copy is there".to_string();
                report.damaged.push(Damaged { name: name.to_string(), why, mend: Mend::OtherCopy });
            }
            _ => note(name, state, is_whole(other), report),
        }
    }
}

fn note(name: &ObjectName, state: &Small, has_whole_twin: bool, report: &mut ScrubReport) {
    match state {
        Small::Whole(_) | Small::Gone => {}
        Small::TooNew => report.too_new.push(name.to_string()),
        Small::Bad { why, mend } => {
            let mend = match mend {
                Mend::Nothing if has_whole_twin => Mend::OtherCopy,
                mend => *mend,
            };
            report.damaged.push(Damaged { name: name.to_string(), why: why.clone(), mend });
        }
    }
}

fn read_small(store: &dyn Store, name: &ObjectName, report: &mut ScrubReport) -> RepoResult<Small> {
    let bytes = match store.get(name, INDEX_BYTES_MAX as u64).map_err(|e| store_error(store, e)) {
        Ok(bytes) => bytes,
        Err(e) if e.store_kind() == Some(ErrorKind::NotFound) => return Ok(Small::Gone),
        Err(e) if e.is_damage() => return Ok(Small::Bad { why: chain(&e), mend: Mend::Nothing }),
        Err(e) => return Err(e),
    };
    report.objects += 1;
    report.bytes_read += bytes.len() as u64;
    Ok(judge_small(name, bytes))
}

fn judge_small(name: &ObjectName, bytes: Vec<u8>) -> Small {
    let has_hash = names::parse_segment(name).is_some() || names::parse_condemned(name).is_some();
    let named_right = |bytes: &[u8]| !has_hash || names::is_segment_of(name, bytes);
    let mut mended = bytes.clone();
    let wrong_name = || Small::Bad { why: "its bytes do not match its name".into(), mend: Mend::Nothing };
    match envelope::repair(&mut mended) {
        Ok(false) if named_right(&bytes) => Small::Whole(bytes),
        Ok(true) if named_right(&mended) => {
            Small::Bad { why: "is damaged; its parity can mend it".into(), mend: Mend::Parity }
        }
        Ok(_) => wrong_name(),
        Err(FormatError::TooNew { .. }) => Small::TooNew,
        Err(e) => Small::Bad { why: e.to_string(), mend: Mend::Nothing },
    }
}

struct PackJob {
    kind: BlobKind,
    id: PackId,
    len: u64,
}

struct PackDone {
    job: PackJob,
    /// An error is the store's trouble, not damage.
    outcome: RepoResult<Option<(String, Mend)>>,
}

fn scrub_packs(
    store: &Arc<dyn Store>,
    cache: &Cache,
    options: &mut ScrubOptions<'_>,
    report: &mut ScrubReport,
) -> RepoResult<()> {
    let mut packs: BTreeMap<PackId, Vec<(BlobKind, u64)>> = BTreeMap::new();
    for kind in [BlobKind::Data, BlobKind::Tree] {
        for (name, len) in list(&**store, names::pack_folder(kind))? {
            if let Some((kind, id)) = names::parse_pack(&name) {
                packs.entry(id).or_default().push((kind, len));
            }
        }
    }
    report.packs = packs.values().map(Vec::len).sum();
    let mut ledger = Ledger::load(cache, Depth::Bytes);
    let lengths = packs.iter().map(|(id, places)| (*id, places.iter().map(|p| p.1).sum()));
    let chosen = options.read.choose(lengths, &ledger, options.sample_seed);
    let jobs: Vec<PackJob> = chosen
        .iter()
        .flat_map(|id| packs[id].iter().map(|(kind, len)| PackJob { kind: *kind, id: *id, len: *len }))
        .collect();
    let total: u64 = jobs.iter().map(|j| j.len).sum();
    let mut stage = Ordered::new("scrub", options.workers, || {
        let store = store.clone();
        Box::new(move |job: PackJob| {
            let outcome = scrub_pack(&*store, &job);
            PackDone { job, outcome }
        })
    });
    let mut jobs = jobs.into_iter();
    let (mut done_bytes, mut whole) = (0, HashMap::new());
    loop {
        while stage.outstanding() <= options.workers.0 {
            let Some(job) = jobs.next() else { break };
            stage.give(job);
        }
        let Some(PackDone { job, outcome }) = stage.take() else { break };
        let problem = outcome?;
        report.packs_read += 1;
        report.bytes_read += job.len;
        done_bytes += job.len;
        let is_whole = whole.entry(job.id).or_insert(true);
        *is_whole &= problem.is_none();
        ledger.note(job.id, job.len, *is_whole, options.now);
        if let Some((why, mend)) = problem {
            let name = names::pack(job.kind, &job.id).to_string();
            report.damaged.push(Damaged { name, why, mend });
        }
        if (options.progress)(done_bytes, total).is_break() {
            break;
        }
    }
    report.coverage = ledger.finish(&packs.into_keys().collect());
    Ok(())
}

/// What is wrong with a pack, and what can mend it.
fn scrub_pack(store: &dyn Store, job: &PackJob) -> RepoResult<Option<(String, Mend)>> {
    let name = names::pack(job.kind, &job.id);
    let why = match hash_pack(store, &name, job.len) {
        Ok(hash) if hash == job.id.0 => return Ok(None),
        Ok(_) => "its bytes do not match its name".to_string(),
        // Gone since it was listed: whoever deleted it knew why.
        Err(e) if e.store_kind() == Some(ErrorKind::NotFound) => return Ok(None),
        Err(e) if e.is_damage() => return Ok(Some((chain(&e), Mend::Nothing))),
        Err(e) => return Err(e),
    };
    let mendable = job.len <= MENDED_BYTES_MAX
        && store.get(&name, job.len).is_ok_and(|mut bytes| pack::repair(&mut bytes, &job.id).is_ok());
    Ok(Some(match mendable {
        true => (format!("{why}; its parity can mend it"), Mend::Parity),
        false => (why, Mend::Nothing),
    }))
}

fn hash_pack(store: &dyn Store, name: &ObjectName, len: u64) -> Result<[u8; 32], RepoError> {
    let mut hasher = blake3::Hasher::new();
    let mut at = 0;
    while at < len {
        let end = (at + PIECE_BYTES).min(len);
        hasher.update(&store.get_range(name, at..end).map_err(|e| store_error(store, e))?);
        at = end;
    }
    Ok(*hasher.finalize().as_bytes())
}
