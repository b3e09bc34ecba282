//! Bugs on purpose. Each is one line in the product that is there only with the feature `planted`, and only
//! when it is chosen; a simulation that does not find one is itself what is broken.

use crate::dice::Dice;
use crate::simulation::campaign::campaign_of;
use crate::simulation::folder;
use crate::simulation::life::Failure;
use crate::simulation::oracle::Violation;
use crate::simulation::weather::Weather;

/// A bug: its name in `storage::planted::is`, what it does, and in which weather it shows (in any, if none is
/// named; "crashing" stands for every weather with that word, "prunes" for every one with a prune). Seeds of other weather are passed over, which
/// changes nothing but time.
pub type Bug = (&'static str, &'static str, &'static [&'static str]);

/// Bugs that histories find.
pub const NAMES: &[Bug] = &[
    ("sync-skipped", "nothing is ever made durable", &["crashing"]),
    ("segment-before-packs", "an index segment is stored before its packs are durable", &["crashing"]),
    ("segment-unstored", "the index segment is kept in memory only", &[]),
    ("pack-error-ignored", "a pack that could not be stored counts as stored", &["flaky"]),
    ("taken-pack-accepted", "a pack name that is taken counts as our pack, unread", &["flaky"]),
    (
        "record-error-ignored",
        "a snapshot is acknowledged although its record could not be stored",
        &["flaky"],
    ),
    ("acknowledged-before-sync", "a snapshot is acknowledged before its record is durable", &["crashing"]),
    ("mirror-error-ignored", "the second copy of a record may be missing", &["flaky"]),
    ("recheck-skipped", "what a snapshot relies on is not looked for before it is published", &["rotting"]),
    (
        "memory-believed",
        "leaves of a parent are believed without looking whether their packs are there",
        &["rotting"],
    ),
    ("pending-kept", "pending records are never taken away", &["calm"]),
    ("dedup-unlisted", "blobs count as stored in packs that no listing showed", &["rotting"]),
    ("length-unchecked", "a pack of another length counts as stored", &["rotting"]),
    ("bad-segment-fatal", "one damaged index segment ends everything", &["intruder"]),
    ("orphans-unread", "packs outside the index are not looked into", &["rotting"]),
    ("first-place-only", "a blob is looked for at one of its places only", &["rotting"]),
    ("pack-parity-unread", "packs are not mended by their parity", &["rotting"]),
    ("parity-unread", "small objects are not mended by their parity", &["rotting"]),
    ("mirror-unread", "second copies of records are not read", &["rotting"]),
    ("mirror-unlisted", "second copies of records are not listed", &["rotting"]),
    ("config-mirror-unread", "the second copy of the configuration is not read", &["rotting"]),
    ("slot-mirror-unread", "second copies of key slots are not read", &["rotting"]),
    ("create-overwrites", "a repository is made where there is one", &[]),
    ("forget-unsynced", "forgetting is acknowledged before it is durable", &["crashing"]),
    ("remember-unsynced", "bringing back is acknowledged before it is durable", &["crashing"]),
    ("any-tomb", "anything under the name of a tomb buries", &["intruder"]),
    ("tomb-of-another", "the tomb of another snapshot buries", &["intruder"]),
    (
        "taken-tomb-accepted",
        "whatever stands under the name of a tomb is taken for one",
        &["flaky", "intruder"],
    ),
    ("any-record", "a record counts under any name", &["intruder"]),
    ("bad-record-fatal", "one unreadable record ends every listing", &["intruder"]),
    ("last-try-counts", "a request whose last try failed counts as done", &["busy"]),
    ("taken-is-ours", "a taken name counts as our object, unread", &["flaky"]),
    ("cached-segment-unchecked", "a damaged file of the index cache is used", &[]),
    ("cached-object-unchecked", "a damaged file of the object cache is used", &[]),
    ("pending-unseen", "prune does not look at running sessions", &["prunes"]),
    ("snapshots-before-pending", "prune lists snapshots before running sessions", &["prunes"]),
    ("no-second-look", "prune deletes without looking again after it condemned", &["prunes"]),
    ("nothing-rescued", "prune deletes condemned packs without looking who needs them", &["prunes"]),
    ("doubts-ignored", "prune deletes although it could not walk a snapshot", &["prunes"]),
    ("ended-without-a-word", "prune ends a session without a record that says so", &["prunes"]),
    ("condemned-relied-on", "backups rely on condemned packs", &["prunes"]),
    ("merged-after-delete", "small segments are deleted before the merged one is stored", &["prunes"]),
];

/// Bugs that only real folders show.
pub const OF_FOLDERS: &[Bug] =
    &[("change-time-ignored", "a file whose time was set back after it changed counts as unchanged", &[])];

/// Looks for a bug of folders that was chosen before; returns the seed that found it, and what it broke.
pub fn search_folders() -> Option<(u64, Violation)> {
    (0..FOLDER_SEEDS_MAX).find_map(|seed| folder::run(seed).err().map(|violation| (seed, violation)))
}

/// Seeds within which a bug of folders is found.
pub const FOLDER_SEEDS_MAX: u64 = 300;

/// A planted bug is found within so many seeds, those passed over included, or the simulation is broken.
pub const SEEDS_MAX: u64 = 12_000;

/// Looks for a bug that was chosen before.
pub fn search(bug: &Bug, threads: usize) -> Option<Box<Failure>> {
    let shows_in = |seed: u64| {
        let weather = Weather::draw(&mut Dice::new(seed));
        let fits = |word: &&str| match *word {
            "prunes" => weather.prunes.is_some(),
            word => weather.name.contains(word),
        };
        bug.2.is_empty() || bug.2.iter().any(|word| fits(word))
    };
    campaign_of((0..SEEDS_MAX).filter(|seed| shows_in(*seed)), threads, &|_| {}).err()
}
