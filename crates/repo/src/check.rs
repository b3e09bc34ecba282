//! Looking for damage. Changes nothing.
//!
//! Three depths: *existence* (every pack the index knows is there with its length), *structure* (every
//! blob every snapshot reaches has a place), *contents* (packs are read, hashed, opened, and every blob is
//! compared with its id).

use crate::browse::{read_node, visit_entry};
use crate::error::{RepoError, RepoResult};
use crate::index::{Location, PackListing};
use crate::names;
use crate::reader::{Reader, chain};
use crate::snapshots::SnapshotList;
use crate::workers::{Ordered, Workers};
use format::envelope::Footer;
use format::id::{BlobId, BlobKind, PackId};
use format::index::BlockPlace;
use format::pack;
use format::tree::{KeyPath, Node};
use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
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
    problem: Option<String>,
}

/// Checks a repository.
pub fn check(reader: &Arc<Reader>, options: &mut CheckOptions<'_>) -> RepoResult<CheckReport> {
    let mut report = CheckReport::default();
    let listing = PackListing::read(reader.repo())?;
    let mut broken_packs: BTreeMap<PackId, String> = BTreeMap::new();
    check_index(reader, &listing, &mut report, &mut broken_packs);
    if options.read != ReadShare::Nothing {
        read_packs(reader, &listing, options, &mut report, &mut broken_packs)?;
    }
    check_snapshots(reader, &mut report, &broken_packs)?;
    Ok(report)
}

fn check_index(
    reader: &Reader,
    listing: &PackListing,
    report: &mut CheckReport,
    broken: &mut BTreeMap<PackId, String>,
) {
    reader.with_index_write(|index| index.see_packs(listing));
    reader.with_index_read(|index| {
        for (name, e) in &index.unreadable {
            let finding = Finding { what: name.clone(), why: chain(e), hurts: Vec::new() };
            report.findings.push(finding);
        }
        let mut known = HashSet::new();
        index.visit_packs(&mut |id, _, _, _| _ = known.insert(id));
        report.packs = known.len();
        report.orphan_packs = listing.packs.keys().filter(|id| !known.contains(*id)).count();
        for (id, kind) in index.missing_packs(listing) {
            let why = match listing.packs.get(&id) {
                Some(len) => format!("has {len} bytes, which is not its length"),
                None => "is missing".to_string(),
            };
            report.findings.push(Finding {
                what: names::pack(kind, &id).to_string(),
                why: why.clone(),
                hurts: Vec::new(),
            });
            broken.insert(id, why);
        }
    });
}

/// The packs to read, in name order.
fn choose_packs(reader: &Reader, listing: &PackListing, options: &CheckOptions<'_>) -> Vec<PackJob> {
    let mut packs: BTreeMap<PackId, PackJob> = BTreeMap::new();
    reader.with_index_read(|index| {
        index.visit_packs(&mut |id, kind, pack_bytes, blocks| {
            if listing.packs.get(&id) == Some(&pack_bytes) {
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
    broken: &mut BTreeMap<PackId, String>,
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
        if let Some(why) = done.problem {
            broken.insert(id, why.clone());
            report.findings.push(Finding { what: done.name, why, hurts: Vec::new() });
        }
    }
}

/// Reads a whole pack, compares it with its name and directory, and each blob with its id.
fn verify_pack(reader: &Reader, job: &PackJob) -> PackDone {
    let name = names::pack(job.kind, &job.id);
    let mut done = PackDone { name: name.to_string(), bytes: job.pack_bytes, blobs: 0, problem: None };
    let outcome = reader
        .repo()
        .store()
        .get(&name, job.pack_bytes)
        .map_err(|e| chain(&reader.repo().store_error(e)))
        .and_then(|bytes| verify_pack_bytes(reader, job, &bytes));
    match outcome {
        Ok(blobs) => done.blobs = blobs,
        Err(why) => done.problem = Some(why),
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

/// Walks all snapshots; nodes they share are read once.
fn check_snapshots(
    reader: &Arc<Reader>,
    report: &mut CheckReport,
    broken: &BTreeMap<PackId, String>,
) -> RepoResult<()> {
    let list = SnapshotList::read(reader.repo())?;
    for (id, e) in &list.unreadable {
        report.findings.push(Finding {
            what: names::snapshot(id).to_string(),
            why: chain(e),
            hurts: vec![(id.hex()[..8].to_string(), b"/".to_vec())],
        });
    }
    let mut walk = Walk { reader, broken, seen: HashSet::new(), bad: BTreeMap::new() };
    for stored in &list.snapshots {
        report.snapshots += 1;
        walk.tree(&stored.snapshot.short_id(), stored.snapshot.root.id);
    }
    report.findings.extend(walk.bad.into_values());
    Ok(())
}

struct Walk<'a> {
    reader: &'a Reader,
    broken: &'a BTreeMap<PackId, String>,
    seen: HashSet<BlobId>,
    bad: BTreeMap<BlobId, Finding>,
}

/// Paths named for one damaged blob.
const HURTS_MAX: usize = 100;

impl Walk<'_> {
    fn tree(&mut self, snapshot: &str, root: BlobId) {
        let mut todo = vec![(root, b"/".to_vec())];
        while let Some((id, near)) = todo.pop() {
            if self.bad.is_empty() && !self.seen.insert(id) {
                continue;
            }
            match read_node(self.reader, &id) {
                Err(e) => self.report(BlobKind::Tree, id, chain(&e), snapshot, &near),
                Ok(Node::Index { children, .. }) => {
                    let near_of =
                        |key: &[u8]| KeyPath::parse(key).map(|p| p.display_bytes()).unwrap_or_default();
                    todo.extend(children.iter().rev().map(|c| (c.id, near_of(&c.last_key))));
                }
                Ok(Node::Leaf(leaf)) => {
                    for i in 0..leaf.len() {
                        let path = KeyPath::parse(leaf.key(i)).map(|p| p.display_bytes()).unwrap_or_default();
                        self.entry(snapshot, &path, &leaf.entries[i]);
                    }
                }
            }
        }
    }

    fn entry(&mut self, snapshot: &str, path: &[u8], entry: &format::tree::Entry) {
        let (reader, broken) = (self.reader, self.broken);
        let mut bad = Vec::new();
        let visited = visit_entry(reader, entry, &mut HashSet::new(), &mut |kind, id| {
            if let Some(why) = problem_of(reader, broken, kind, id) {
                bad.push((kind, *id, why));
            }
            ControlFlow::Continue(())
        });
        for (kind, id, why) in bad {
            self.report(kind, id, why, snapshot, path);
        }
        if let Err(e @ RepoError::MissingBlob { .. }) = &visited
            && let RepoError::MissingBlob { id, .. } = e
            && let Some(id) = BlobId::from_hex(id)
        {
            self.report(BlobKind::Tree, id, chain(e), snapshot, path);
        }
    }

    fn report(&mut self, kind: BlobKind, id: BlobId, why: String, snapshot: &str, path: &[u8]) {
        let what = match kind {
            BlobKind::Data => format!("contents {}", id.hex()),
            BlobKind::Tree => format!("tree node {}", id.hex()),
        };
        let finding = self.bad.entry(id).or_insert_with(|| Finding { what, why, hurts: Vec::new() });
        if finding.hurts.len() < HURTS_MAX {
            finding.hurts.push((snapshot.to_string(), path.to_vec()));
        }
    }
}

/// What is wrong with a blob: it has no place, or only places in packs known to be broken.
fn problem_of(
    reader: &Reader,
    broken: &BTreeMap<PackId, String>,
    kind: BlobKind,
    id: &BlobId,
) -> Option<String> {
    let places = reader.locate(kind, id);
    if places.is_empty() {
        return Some("is in no pack the index knows".into());
    }
    if places.iter().any(|p| !broken.contains_key(&p.pack)) {
        return None;
    }
    let place = places.first()?;
    // A broken pack may still hold this blob unharmed: only reading tells.
    match reader.read(kind, id) {
        Ok(_) => None,
        Err(_) => Some(format!("pack {} {}", place.pack.hex(), broken.get(&place.pack)?)),
    }
}
