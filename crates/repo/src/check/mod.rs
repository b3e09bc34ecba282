//! Looking for damage. Changes nothing.
//!
//! Four depths: *objects* (every small object is read and compared with its own hash, its key, and its
//! second copy), *existence* (every pack the index knows is there with its length), *structure* (every
//! blob every snapshot reaches has a place that can be read from), *contents* (packs are read, hashed,
//! opened, and every blob is compared with its id). What another depth would have seen is not guessed at.
//! What is hurt is named down to snapshot and path, with the last good version of each path.

pub(crate) mod good;
pub(crate) mod ledger;
pub(crate) mod objects;
mod share;
pub(crate) mod walk;

pub use ledger::{Coverage, Depth};
pub use share::ReadShare;

use crate::error::RepoResult;
use crate::index::{Location, PackListing};
use crate::names;
use crate::reader::{Reader, chain};
use crate::snapshots::SnapshotList;
use crate::workers::{Ordered, Workers};
use format::envelope::Footer;
use format::id::{BlobId, BlobKind, PackId, SnapshotId};
use format::index::BlockPlace;
use format::keys::Capability;
use format::kind::Timestamp;
use format::pack;
use ledger::Ledger;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use walk::WouldBe;

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The object or blob.
    pub what: String,
    /// What is wrong with it.
    pub why: String,
    /// Snapshots and paths that are hurt, as far as known.
    pub hurts: Vec<Hurt>,
}

/// A path of a snapshot that cannot be restored as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hurt {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// The path.
    pub path: Vec<u8>,
    /// A part of the tree is lost: this path and some before it. What follows in the list is what another
    /// snapshot has there.
    pub is_whole_part: bool,
    /// The newest snapshot that has this path whole.
    pub good: Option<Good>,
}

/// A snapshot with a good version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Good {
    /// Which.
    pub snapshot: SnapshotId,
    /// When it was made, as it claims.
    pub time: Timestamp,
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
    /// Packs this machine has read and found whole, now and before.
    pub coverage: Option<Coverage>,
    /// What this check has read and found whole, for an attestation.
    pub verified: Option<Verified>,
    /// Packs in no index segment that no snapshot needs: leftovers of interrupted runs, not damage.
    pub orphan_packs: usize,
    /// Key slots that the configuration does not list: somebody died while making a repository or adding a
    /// key. Nothing relies on them, so they are no damage.
    pub leftovers: Vec<Finding>,
    /// Damage.
    pub findings: Vec<Finding>,
}

/// Packs that a check found whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// What was compared.
    pub depth: Depth,
    /// The number of the run.
    pub run: u64,
    /// The packs.
    pub packs: Vec<PackId>,
}

/// What a check is asked to do, and told while it runs.
pub struct CheckOptions<'a> {
    /// Which packs to read.
    pub read: ReadShare,
    /// Threads that read and decode packs.
    pub workers: Workers,
    /// Decides which of equally old packs come first.
    pub sample_seed: u64,
    /// Now; to remember when a pack was read.
    pub now: Timestamp,
    /// Called with bytes done and bytes in all.
    pub progress: &'a mut dyn FnMut(u64, u64),
}

impl Finding {
    pub(crate) fn of(what: impl ToString, why: impl ToString) -> Self {
        Finding { what: what.to_string(), why: why.to_string(), hurts: Vec::new() }
    }
}

/// Packs that cannot be relied on, with what is wrong with them.
pub(crate) type BrokenPacks = BTreeMap<PackId, String>;

/// A pack to be read.
#[derive(Clone)]
pub(crate) struct PackJob {
    pub(crate) id: PackId,
    pub(crate) kind: BlobKind,
    pub(crate) pack_bytes: u64,
    blocks: Vec<BlockPlace>,
}

/// What reading a pack showed.
pub(crate) struct PackDone {
    pub(crate) job: PackJob,
    blobs: u64,
    /// An error is the store's trouble, not damage.
    problem: RepoResult<Option<String>>,
}

/// Checks a repository.
pub fn check(reader: &Arc<Reader>, options: &mut CheckOptions<'_>) -> RepoResult<CheckReport> {
    let mut report = CheckReport::default();
    objects::check_objects(reader.repo(), &mut report)?;
    // In this order what a snapshot needs is seen with it: backups that end meanwhile stored their packs and
    // segments before their snapshots.
    let mut list = SnapshotList::read(reader.repo())?;
    reader.with_index_write(|index| index.refresh(reader.repo(), reader.cache()))?;
    let mut listing = PackListing::read(reader.repo())?;
    let mut broken: BrokenPacks =
        listing.damaged().iter().map(|id| (*id, "is marked as damaged".to_string())).collect();
    let mut unsound = check_index(reader, &listing, &mut report, &mut broken);
    if options.read != ReadShare::Nothing {
        read_packs(reader, &listing, options, &mut report, &mut |job, problem| {
            if let Some(why) = problem {
                unsound.push((job.id, Finding::of(names::pack(job.kind, &job.id), &why)));
                broken.insert(job.id, why);
            }
        })?;
    }
    if !unsound.is_empty() {
        listing = forgive_removed(reader, &mut unsound, &mut broken)?;
    }
    let is_hurt = check_snapshots(reader, &mut list, &listing, &mut report, &broken)?;
    // Of a marked pack that is broken or gone nothing is needed any more once all is whole: prune forgets it.
    unsound.retain(|(id, _)| is_hurt || !listing.is_damaged(id));
    report.findings.extend(unsound.into_iter().map(|(_, finding)| finding));
    for (kind, id) in reader.mended_packs() {
        // Condemned packs are on their way out, and what is needed of them was rescued or will be.
        if !broken.contains_key(&id) && !listing.is_condemned(&id) {
            let why = "is damaged; what was needed of it could be mended by its parity";
            report.findings.push(Finding::of(names::pack(kind, &id), why));
        }
    }
    Ok(report)
}

/// A pack that a prune condemned while it was looked for is no damage: what is needed of it is elsewhere by now.
fn forgive_removed(
    reader: &Reader,
    unsound: &mut Vec<(PackId, Finding)>,
    broken: &mut BrokenPacks,
) -> RepoResult<PackListing> {
    let listing = PackListing::read(reader.repo())?;
    unsound.retain(|(id, _)| !listing.is_condemned(id));
    broken.retain(|id, _| !listing.is_condemned(id));
    reader.with_index_write(|index| index.refresh(reader.repo(), reader.cache()))?;
    reader.with_index_write(|index| index.see_packs(&listing));
    reader.adopt_unknown(&listing);
    Ok(listing)
}

/// Returns the packs that are missing or have a wrong length.
fn check_index(
    reader: &Reader,
    listing: &PackListing,
    report: &mut CheckReport,
    broken: &mut BrokenPacks,
) -> Vec<(PackId, Finding)> {
    let mut missing = Vec::new();
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
            missing.push((id, Finding::of(names::pack(kind, &id), &why)));
            broken.insert(id, why);
        }
    });
    if report.orphan_packs > 0 {
        // Snapshots may need them: then a segment was lost.
        reader.adopt_unknown(listing);
    }
    missing
}

/// Names what the snapshots lack, and who has it still. Says whether something is lost or only in broken packs.
fn check_snapshots(
    reader: &Reader,
    list: &mut SnapshotList,
    listing: &PackListing,
    report: &mut CheckReport,
    broken: &BrokenPacks,
) -> RepoResult<bool> {
    let walked = walk::walk(reader, None, listing, broken, &WouldBe::default(), list)?;
    report.snapshots = list.snapshots.len();
    for (id, e) in &list.unreadable {
        let root = Hurt { snapshot: *id, path: b"/".to_vec(), is_whole_part: true, good: None };
        report.findings.push(Finding { hurts: vec![root], ..Finding::of(names::snapshot(id), chain(e)) });
    }
    report.findings.extend(lost_blobs(reader, list, &walked));
    report.orphan_packs = report.orphan_packs.saturating_sub(walked.unlisted.len());
    let why = "is in no index segment, but snapshots need it: a segment was lost";
    // What a condemned pack holds and a snapshot needs the next prune moves, listed or not.
    let unlisted = walked.unlisted.iter().filter(|id| !listing.is_condemned(id));
    let unlisted = unlisted.map(|id| Finding::of(format!("pack {}", id.hex()), why));
    report.findings.extend(unlisted);
    Ok(!walked.is_whole())
}

/// What a finding about lost contents, and one about a lost tree node, begin with.
const LOST: [(BlobKind, &str); 2] = [(BlobKind::Data, "contents "), (BlobKind::Tree, "tree node ")];

impl Finding {
    /// The blob that was lost, where it is about one.
    pub fn blob(&self) -> Option<(BlobKind, BlobId)> {
        let (kind, hex) =
            LOST.iter().find_map(|(kind, word)| Some((*kind, self.what.strip_prefix(word)?)))?;
        Some((kind, BlobId::from_hex(hex)?))
    }
}

/// Each lost blob with the paths that need it.
pub(crate) fn lost_blobs(reader: &Reader, list: &SnapshotList, walked: &walk::Walked) -> Vec<Finding> {
    let mut good = good::GoodVersions::new(reader, list, walked);
    let finding = |((kind, id), lost): (&(BlobKind, BlobId), &walk::Lost)| {
        let word = LOST.iter().find(|(k, _)| k == kind).map_or("", |(_, word)| word);
        let what = format!("{word}{}", id.hex());
        let hurts = lost.needed.iter().flat_map(|(snapshot, at)| good.hurts(*snapshot, at)).collect();
        Finding { what, why: lost.why.clone(), hurts }
    };
    walked.lost.iter().map(finding).collect()
}

/// The packs to read, those first that were verified longest ago. Condemned ones are on their way out.
fn choose_packs(
    reader: &Reader,
    listing: &PackListing,
    options: &CheckOptions<'_>,
    ledger: &Ledger,
) -> Vec<PackJob> {
    let mut packs: BTreeMap<PackId, PackJob> = BTreeMap::new();
    reader.with_index_read(|index| {
        index.visit_packs(&mut |id, kind, pack_bytes, blocks| {
            if listing.is_live(kind, &id, pack_bytes) {
                packs.entry(id).or_insert_with(|| PackJob { id, kind, pack_bytes, blocks: blocks.to_vec() });
            }
        });
    });
    let lengths = packs.iter().map(|(id, job)| (*id, job.pack_bytes));
    let chosen = options.read.choose(lengths, ledger, options.sample_seed);
    chosen.iter().filter_map(|id| packs.remove(id)).collect()
}

/// Takes a pack that was read, and what is wrong with it.
pub(crate) type PackTaker<'t> = dyn FnMut(&PackJob, Option<String>) + 't;

/// Reads packs.
pub(crate) fn read_packs(
    reader: &Arc<Reader>,
    listing: &PackListing,
    options: &mut CheckOptions<'_>,
    report: &mut CheckReport,
    take: &mut PackTaker<'_>,
) -> RepoResult<()> {
    let depth = depth_of(reader);
    let mut ledger = Ledger::load(reader.cache(), depth);
    let mut verified = Verified { depth, run: ledger.run(), packs: Vec::new() };
    let jobs = choose_packs(reader, listing, options, &ledger);
    let total: u64 = jobs.iter().map(|j| j.pack_bytes).sum();
    let mut stage = Ordered::new("check", options.workers, || {
        let reader = reader.clone();
        Box::new(move |job: PackJob| verify_pack(&reader, job))
    });
    let mut jobs = jobs.into_iter();
    loop {
        while stage.outstanding() <= options.workers.0 {
            let Some(job) = jobs.next() else { break };
            stage.give(job);
        }
        let Some(PackDone { job, blobs, problem }) = stage.take() else { break };
        report.packs_read += 1;
        report.bytes_read += job.pack_bytes;
        report.blobs_verified += blobs;
        (options.progress)(report.bytes_read, total);
        let problem = problem?;
        ledger.note(job.id, job.pack_bytes, problem.is_none(), options.now);
        if problem.is_none() {
            verified.packs.push(job.id);
        }
        take(&job, problem);
    }
    report.coverage = Some(ledger.finish(&listing.live().map(|(_, id, _)| id).collect()));
    report.verified = Some(verified);
    Ok(())
}

/// What a check with these keys compares.
pub(crate) fn depth_of(reader: &Reader) -> Depth {
    match reader.repo().capability() {
        Capability::Owner => Depth::Contents,
        _ => Depth::Bytes,
    }
}

/// Compares a pack that no segment lists with its name; says what is wrong.
pub(crate) fn compare_with_name(
    reader: &Reader,
    kind: BlobKind,
    id: &PackId,
    pack_bytes: u64,
) -> RepoResult<Option<String>> {
    verify_pack(reader, PackJob { id: *id, kind, pack_bytes, blocks: Vec::new() }).problem
}

/// So often a pack is read again that seems damaged.
const SECOND_READS: usize = 3;

/// Reads a whole pack, compares it with its name and directory, and each blob with its id. It is damaged if the
/// same wrong bytes arrive twice in a row; what is different each time is a bad transfer.
fn verify_pack(reader: &Reader, job: PackJob) -> PackDone {
    let name = names::pack(job.kind, &job.id);
    let mut before = None;
    for again in 0.. {
        let read = reader.repo().store().get(&name, job.pack_bytes).map_err(|e| reader.repo().store_error(e));
        let (hash, why) = match read {
            Err(e) if e.is_damage() => (None, chain(&e)),
            Err(e) => return PackDone { job, blobs: 0, problem: Err(e) },
            Ok(bytes) => match verify_pack_bytes(reader, &job, &bytes) {
                Ok(blobs) => return PackDone { job, blobs, problem: Ok(None) },
                Err(why) => (Some(blake3::hash(&bytes)), why),
            },
        };
        if before == Some(hash) || again >= SECOND_READS {
            return PackDone { job, blobs: 0, problem: Ok(Some(why)) };
        }
        before = Some(hash);
    }
    unreachable!("the last reading returns")
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
