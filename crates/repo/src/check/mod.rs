//! Looking for damage. Changes nothing.
//!
//! Four depths: *objects* (every small object is read and compared with its own hash, its key, and its
//! second copy), *existence* (every pack the index knows is there with its length), *structure* (every
//! blob every snapshot reaches has a place that can be read from), *contents* (packs are read, hashed,
//! opened, and every blob is compared with its id). What another depth would have seen is not guessed at.

mod objects;
mod walk;

use crate::error::RepoResult;
use crate::index::{Location, PackListing};
use crate::names;
use crate::reader::{Reader, chain};
use crate::workers::{Ordered, Workers};
use format::envelope::Footer;
use format::id::{BlobKind, PackId};
use format::index::BlockPlace;
use format::pack;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The object or blob.
    pub what: String,
    /// What is wrong with it.
    pub why: String,
    /// Snapshots and paths that are hurt, as far as known: short id and path bytes.
    pub hurts: Vec<(String, Vec<u8>)>,
}

/// What a check saw.
#[derive(Clone, Debug, Default)]
pub struct CheckReport {
    /// Snapshots walked.
    pub snapshots: usize,
    /// Packs known to the index.
    pub packs: usize,
    /// Packs read and compared.
    pub packs_read: usize,
    /// Bytes read.
    pub bytes_read: u64,
    /// Blobs compared with their ids.
    pub blobs_verified: u64,
    /// Packs in no index segment: leftovers of interrupted runs, not damage.
    pub orphan_packs: usize,
    /// Damage.
    pub findings: Vec<Finding>,
}

/// Which packs to read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ReadShare {
    /// None.
    Nothing,
    /// All.
    Everything,
    /// Of the packs in name order every `of`th, beginning with number `part` (from 1).
    Part {
        /// Which.
        part: u64,
        /// Of how many.
        of: u64,
    },
    /// Randomly chosen packs up to this share of all bytes.
    Percent(f64),
    /// Randomly chosen packs up to this many bytes.
    Bytes(u64),
}

/// What a check is asked to do, and told while it runs.
pub struct CheckOptions<'a> {
    /// Which packs to read.
    pub read: ReadShare,
    /// Threads that read and decode packs.
    pub workers: Workers,
    /// Decides what random samples are drawn.
    pub sample_seed: u64,
    /// Called with bytes done and bytes in all.
    pub progress: &'a mut dyn FnMut(u64, u64),
}

impl Finding {
    fn of(what: impl ToString, why: impl ToString) -> Self {
        Finding { what: what.to_string(), why: why.to_string(), hurts: Vec::new() }
    }
}

/// Packs that cannot be relied on, with what is wrong with them.
type BrokenPacks = BTreeMap<PackId, String>;

/// A pack to be read.
struct PackJob {
    id: PackId,
    kind: BlobKind,
    pack_bytes: u64,
    blocks: Vec<BlockPlace>,
}

struct PackDone {
    name: String,
    bytes: u64,
    blobs: u64,
    /// An error is the store's trouble, not damage.
    problem: RepoResult<Option<String>>,
}

/// Checks a repository.
pub fn check(reader: &Arc<Reader>, options: &mut CheckOptions<'_>) -> RepoResult<CheckReport> {
    let mut report = CheckReport::default();
    objects::check_objects(reader.repo(), &mut report)?;
    let listing = PackListing::read(reader.repo())?;
    let mut broken = BrokenPacks::new();
    check_index(reader, &listing, &mut report, &mut broken);
    if options.read != ReadShare::Nothing {
        read_packs(reader, &listing, options, &mut report, &mut broken)?;
    }
    walk::check_snapshots(reader, &listing, &mut report, &broken)?;
    for (kind, id) in reader.mended_packs() {
        if !broken.contains_key(&id) {
            let why = "is damaged; what was needed of it could be mended by its parity";
            report.findings.push(Finding::of(names::pack(kind, &id), why));
        }
    }
    Ok(report)
}

fn check_index(reader: &Reader, listing: &PackListing, report: &mut CheckReport, broken: &mut BrokenPacks) {
    reader.with_index_write(|index| index.see_packs(listing));
    reader.with_index_read(|index| {
        let mut known = HashSet::new();
        index.visit_packs(&mut |id, kind, _, _| _ = known.insert((kind, id)));
        report.packs = known.len();
        report.orphan_packs = listing.packs().filter(|(kind, id, _)| !known.contains(&(*kind, *id))).count();
        for (id, kind) in index.missing_packs(listing) {
            let why = match listing.len_bytes(kind, &id) {
                Some(len) => format!("has {len} bytes, which is not its length"),
                None => "is missing".to_string(),
            };
            report.findings.push(Finding::of(names::pack(kind, &id), &why));
            broken.insert(id, why);
        }
    });
    if report.orphan_packs > 0 {
        // Snapshots may need them: then a segment was lost.
        reader.adopt_unknown(listing);
    }
}

/// The packs to read, in name order.
fn choose_packs(reader: &Reader, listing: &PackListing, options: &CheckOptions<'_>) -> Vec<PackJob> {
    let mut packs: BTreeMap<PackId, PackJob> = BTreeMap::new();
    reader.with_index_read(|index| {
        index.visit_packs(&mut |id, kind, pack_bytes, blocks| {
            if listing.len_bytes(kind, &id) == Some(pack_bytes) {
                packs.entry(id).or_insert_with(|| PackJob { id, kind, pack_bytes, blocks: blocks.to_vec() });
            }
        });
    });
    let total: u64 = packs.values().map(|p| p.pack_bytes).sum();
    let mut jobs: Vec<PackJob> = packs.into_values().collect();
    match options.read {
        ReadShare::Nothing => jobs.clear(),
        ReadShare::Everything => {}
        ReadShare::Part { part, of } => {
            let mut number = 0;
            jobs.retain(|_| {
                number += 1;
                (number - 1) % of.max(1) == (part.max(1) - 1) % of.max(1)
            });
        }
        ReadShare::Percent(percent) => {
            sample(&mut jobs, (total as f64 * percent / 100.0) as u64, options.sample_seed)
        }
        ReadShare::Bytes(bytes) => sample(&mut jobs, bytes, options.sample_seed),
    }
    jobs
}

/// Keeps a random choice of packs that reaches `bytes`.
fn sample(jobs: &mut Vec<PackJob>, bytes: u64, seed: u64) {
    jobs.sort_by_key(|j| {
        *blake3::keyed_hash(blake3::hash(&seed.to_le_bytes()).as_bytes(), &j.id.0).as_bytes()
    });
    let mut sum = 0;
    jobs.retain(|j| {
        let wanted = sum < bytes;
        sum += j.pack_bytes;
        wanted
    });
}

fn read_packs(
    reader: &Arc<Reader>,
    listing: &PackListing,
    options: &mut CheckOptions<'_>,
    report: &mut CheckReport,
    broken: &mut BrokenPacks,
) -> RepoResult<()> {
    let jobs = choose_packs(reader, listing, options);
    let total: u64 = jobs.iter().map(|j| j.pack_bytes).sum();
    let mut stage = Ordered::new("check", options.workers, || {
        let reader = reader.clone();
        Box::new(move |job: PackJob| (job.id, verify_pack(&reader, &job)))
    });
    let mut jobs = jobs.into_iter();
    loop {
        while stage.outstanding() <= options.workers.0 {
            let Some(job) = jobs.next() else { break };
            stage.give(job);
        }
        let Some((id, done)) = stage.take() else { return Ok(()) };
        report.packs_read += 1;
        report.bytes_read += done.bytes;
        report.blobs_verified += done.blobs;
        (options.progress)(report.bytes_read, total);
        if let Some(why) = done.problem? {
            report.findings.push(Finding::of(&done.name, &why));
            broken.insert(id, why);
        }
    }
}

/// Reads a whole pack, compares it with its name and directory, and each blob with its id.
fn verify_pack(reader: &Reader, job: &PackJob) -> PackDone {
    let name = names::pack(job.kind, &job.id);
    let mut done = PackDone { name: name.to_string(), bytes: job.pack_bytes, blobs: 0, problem: Ok(None) };
    match reader.repo().store().get(&name, job.pack_bytes).map_err(|e| reader.repo().store_error(e)) {
        Err(e) if e.is_damage() => done.problem = Ok(Some(chain(&e))),
        Err(e) => done.problem = Err(e),
        Ok(bytes) => match verify_pack_bytes(reader, job, &bytes) {
            Ok(blobs) => done.blobs = blobs,
            Err(why) => done.problem = Ok(Some(why)),
        },
    }
    done
}

fn verify_pack_bytes(reader: &Reader, job: &PackJob, bytes: &[u8]) -> Result<u64, String> {
    let keys = reader.repo().keys();
    let text = |e: format::FormatError| e.to_string();
    pack::verify(bytes, &job.id, Some(keys)).map_err(text)?;
    let footer = Footer::from_tail(bytes, bytes.len() as u64).map_err(text)?;
    let range = pack::directory_range(&footer).map_err(text)?;
    let sealed = &bytes[range.start as usize..range.end as usize];
    let (header, directory) = pack::open_directory(bytes, sealed, &footer, keys).map_err(text)?;
    if header.kind != job.kind {
        return Err("it is of another kind than its folder".into());
    }
    if keys.block_key(job.kind).is_err() {
        return Ok(0); // a maintainer cannot open contents; the hash of the pack was right
    }
    let id_bytes = pack::directory_id_bytes(header.kind);
    let mut ids = directory.ids.chunks_exact(id_bytes);
    let mut blobs = 0;
    for place in &job.blocks {
        let from = place.offset as usize;
        let stored = bytes.get(from..from + place.stored_bytes as usize).ok_or("a block lies outside")?;
        let location = Location { pack: job.id, kind: job.kind, block: *place, rank: 0 };
        let block = reader.open_block(&location, stored).map_err(|e| chain(&e))?;
        if block.len() != place.blobs as usize {
            return Err("a block has another number of blobs than the index says".into());
        }
        for blob in block.blobs() {
            let id = keys.blob_id(job.kind, blob).map_err(text)?;
            if ids.next() != Some(&id.0[..id_bytes]) {
                return Err("a blob's contents do not match its id".into());
            }
            blobs += 1;
        }
    }
    Ok(blobs)
}
