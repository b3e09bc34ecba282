//! What about a snapshot record speaks against letting it displace others.
//!
//! Whoever can add snapshots chooses what a record claims: its time, its number, its size. None of this may
//! make a good snapshot go, so a record is looked at in the light of what the store received *earlier*, and
//! of what an owner or maintainer confirmed. A doubt is no verdict: the snapshot stays, and counts for nothing.

use super::Candidate;
use format::kind::Timestamp;
use format::snapshot::{Completeness, Snapshot};
use repo::trust::TOLERANCE_SECS;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// No writer makes so many snapshots; a greater number would leave honest ones no successor.
const SEQUENCE_MAX: u64 = 1 << 48;
/// So many complete snapshots say what is usual.
const USUAL_OF: usize = 5;
/// A snapshot that shrank is part of the usual once the source has been like that for so long, by the store's
/// clock. Without this a source that once gave away a third of its files would be suspicious for ever, the
/// more so as thinning takes away the steps between then and now; and some snapshots in one night change nothing.
const SETTLES_SECS: u64 = 7 * 86_400;
/// Less than this share of the usual is suspicious.
const SHRUNK_PERCENT: u64 = 70;

/// What speaks against a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The store received it long after the time it claims.
    Late {
        /// How much later.
        secs: u64,
    },
    /// It claims a time that had not come when the store received it, or has not come now.
    FromTheFuture {
        /// How far ahead.
        secs: u64,
    },
    /// Its number does not fit its writer's other records.
    OutOfSequence(SequenceFault),
    /// It holds much less than is usual for its source.
    Shrunk {
        /// Percent of the usual number of files that are not there.
        files_percent: u8,
        /// Percent of the usual number of bytes that are not there.
        bytes_percent: u8,
    },
}

/// What is wrong with a record's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceFault {
    /// No writer gives such a number.
    Impossible,
    /// It names another record before it than the one there was.
    BrokenChain,
    /// An earlier record of the same writer and source has it.
    Repeated,
}

impl Doubt {
    /// Whether only a confirmation ends it. The others age out like any other snapshot.
    pub fn keeps_until_confirmed(&self) -> bool {
        matches!(self, Doubt::Late { .. } | Doubt::FromTheFuture { .. })
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Doubt::Late { secs } => {
                write!(f, "unconfirmed: received {} days after the time it claims", secs / 86_400)
            }
            Doubt::FromTheFuture { secs } => {
                write!(f, "unconfirmed: claims a time {} days ahead", secs / 86_400)
            }
            Doubt::OutOfSequence(SequenceFault::Impossible) => {
                f.write_str("out of sequence: its number is impossible")
            }
            Doubt::OutOfSequence(SequenceFault::BrokenChain) => {
                f.write_str("out of sequence: it does not follow its writer's record before it")
            }
            Doubt::OutOfSequence(SequenceFault::Repeated) => {
                f.write_str("out of sequence: an earlier snapshot has its number")
            }
            Doubt::Shrunk { files_percent, bytes_percent } => match (files_percent, bytes_percent) {
                (0, bytes) => write!(f, "suspicious: {bytes} % fewer bytes than usual"),
                (files, 0) => write!(f, "suspicious: {files} % fewer files than usual"),
                (files, bytes) => {
                    write!(f, "suspicious: {files} % fewer files and {bytes} % fewer bytes than usual")
                }
            },
        }
    }
}

/// What speaks against each snapshot. All of a repository must be given, the forgotten ones, too: they are
/// the light in which others are seen. `now` counts only for times that are ahead.
pub fn doubts(candidates: &[Candidate<'_>], now: Timestamp) -> Vec<Vec<Doubt>> {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by_key(|i| candidates[*i].order());
    let mut found: Vec<Vec<Doubt>> =
        candidates.iter().map(|c| about_time(c, now).into_iter().collect()).collect();
    about_sequence(candidates, &order, &mut found);
    about_size(candidates, &order, &mut found);
    found
}

fn secs_between(earlier: Timestamp, later: Timestamp) -> u64 {
    u64::try_from(later.secs.saturating_sub(earlier.secs)).unwrap_or(0)
}

fn about_time(candidate: &Candidate<'_>, now: Timestamp) -> Option<Doubt> {
    let snapshot = candidate.snapshot;
    let ahead_of_now = secs_between(now, snapshot.time);
    let confirmed = candidate.trusts_time();
    match candidate.received {
        Some(received) if !confirmed => {
            let ahead = secs_between(received, snapshot.time);
            let late = secs_between(snapshot.end.max(snapshot.time), received);
            (ahead > TOLERANCE_SECS)
                .then_some(Doubt::FromTheFuture { secs: ahead })
                .or((late > TOLERANCE_SECS).then_some(Doubt::Late { secs: late }))
        }
        // Confirmed or not: what has not come yet is newer than every honest snapshot.
        _ => (ahead_of_now > TOLERANCE_SECS).then_some(Doubt::FromTheFuture { secs: ahead_of_now }),
    }
}

fn about_sequence(candidates: &[Candidate<'_>], order: &[usize], found: &mut [Vec<Doubt>]) {
    let mut hashes: BTreeMap<_, Vec<[u8; 32]>> = BTreeMap::new();
    let mut numbers = BTreeMap::new();
    for &i in order {
        let (candidate, s) = (&candidates[i], candidates[i].snapshot);
        let is_first = s.sequence <= 1;
        let impossible = s.sequence == 0 || s.sequence > SEQUENCE_MAX || is_first != (s.previous == [0; 32]);
        let before = s.sequence.checked_sub(1).and_then(|n| hashes.get(&(s.writer, n)));
        let number = (s.writer, &s.host, &s.sources, s.sequence);
        let fault = match before {
            _ if impossible => Some(SequenceFault::Impossible),
            Some(before) if before.contains(&s.previous) => None,
            Some(_) => Some(SequenceFault::BrokenChain),
            None if numbers.contains_key(&number) => Some(SequenceFault::Repeated),
            // The record before it was removed, or is in another repository of the family.
            None => None,
        };
        match fault.filter(|_| !candidate.trusts_contents()) {
            Some(fault) => found[i].push(Doubt::OutOfSequence(fault)),
            None => {
                hashes.entry((s.writer, s.sequence)).or_default().push(candidate.record_hash);
                numbers.insert(number, ());
            }
        }
    }
}

fn about_size(candidates: &[Candidate<'_>], order: &[usize], found: &mut [Vec<Doubt>]) {
    let mut sources: BTreeMap<_, Usual> = BTreeMap::new();
    for &i in order {
        let (candidate, s) = (&candidates[i], candidates[i].snapshot);
        let size = size(s);
        let usual = sources.entry((&s.host, &s.sources)).or_default();
        usual.settle(candidate.when());
        let is_good = s.completeness == Completeness::Complete && !candidate.damaged && found[i].is_empty();
        let is_good = is_good && !candidate.forgotten;
        let missing = if candidate.trusts_contents() { [0, 0] } else { usual.missing_percent(size) };
        if let [files_percent, bytes_percent] = missing
            && missing != [0, 0]
        {
            found[i].push(Doubt::Shrunk { files_percent, bytes_percent });
        }
        match (is_good, missing) {
            (false, _) => {}
            (true, [0, 0]) => {
                if candidate.trusts_contents() {
                    *usual = Usual::default(); // from here on, this is what is usual
                }
                usual.add(size);
            }
            (true, _) => usual.waiting.push_back((candidate.when(), size)),
        }
    }
}

/// Files and bytes of a snapshot.
fn size(snapshot: &Snapshot) -> [u64; 2] {
    let n = &snapshot.stats;
    [n.files_new.saturating_add(n.files_changed).saturating_add(n.files_unmodified), n.source_bytes]
}

/// How large the snapshots of a source usually are.
#[derive(Default)]
struct Usual {
    /// The last few.
    last: VecDeque<[u64; 2]>,
    /// Those that shrank, with their places in time, until they have settled.
    waiting: VecDeque<(Timestamp, [u64; 2])>,
}

impl Usual {
    fn add(&mut self, size: [u64; 2]) {
        self.last.push_back(size);
        if self.last.len() > USUAL_OF {
            self.last.pop_front();
        }
    }

    fn settle(&mut self, now: Timestamp) {
        while let Some((when, size)) = self.waiting.front().copied()
            && secs_between(when, now) >= SETTLES_SECS
        {
            self.waiting.pop_front();
            self.add(size);
        }
    }

    /// How many percent less this is, of files and of bytes; 0 where it is not suspicious.
    fn missing_percent(&self, size: [u64; 2]) -> [u8; 2] {
        [0, 1].map(|what| missing(size[what], median(self.last.iter().map(|size| size[what]).collect())))
    }
}

fn missing(now: u64, usual: u64) -> u8 {
    let share = u128::from(now) * 100;
    let is_shrunk = share < u128::from(usual) * u128::from(SHRUNK_PERCENT);
    if is_shrunk { 100 - (share / u128::from(usual)) as u8 } else { 0 }
}

/// 0 of nothing; the mean of the middle two of an even number.
fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    match values.len() {
        0 => 0,
        n if n % 2 == 1 => values[n / 2],
        n => values[n / 2 - 1] / 2 + values[n / 2] / 2 + (values[n / 2 - 1] % 2 + values[n / 2] % 2) / 2,
    }
}
