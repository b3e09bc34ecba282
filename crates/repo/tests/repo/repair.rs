//! What a repair promises: the same bytes where that can be, new packs where it cannot, marks for the rest.

use format::config::Parameters;
use format::id::{BlobId, BlobKind};
use format::kind::Timestamp;
use format::snapshot::Snapshot;
use repo::check::{CheckOptions, CheckReport, ReadShare, check};
use repo::damage::read_marks;
use repo::reader::Reader;
use repo::repair::{How, RepairOptions, RepairReport, SourceFiles, Wanted, repair};
use repo::seed::Seed;
use repo::workers::Workers;
use repo::writer::WriterOptions;
use repo::{NewRepo, NewSlot, Repo, RepoResult};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use storage::{ObjectName, PutMode, SimStore, Store};
use testkit::dice::Dice;
use testkit::files::{Files, edit, random_files};
use testkit::mini::{Backup, backup, restore};
use testkit::world::{World, tiny_parameters};

struct Kept {
    world: World,
    snapshots: Vec<(Snapshot, Files)>,
}

fn kept(seed: u64, percent: u8) -> Kept {
    let world =
        World::with_parameters(seed, Parameters { data_parity_percent: percent, ..tiny_parameters() });
    kept_in(world, seed)
}

fn kept_in(world: World, seed: u64) -> Kept {
    let mut dice = Dice::new(7);
    let mut files = random_files(&mut dice, 120);
    let mut snapshots = Vec::new();
    for round in 0..3 {
        let done = backup(&world.reader().unwrap(), &files, &Backup::new(seed + 1000 * round)).unwrap();
        snapshots.push((done.snapshot, files.clone()));
        edit(&mut dice, &mut files, 15);
    }
    Kept { world, snapshots }
}

fn options<'a>(dry_run: bool) -> RepairOptions<'a> {
    RepairOptions {
        dry_run,
        read: ReadShare::Everything,
        workers: Workers(0),
        sample_seed: 1,
        now: Timestamp { secs: 99, nanos: 0 },
        sibling: None,
        source: None,
        writer: WriterOptions { seal_workers: Workers(0), upload_workers: Workers(0), ..Default::default() },
        progress: Box::leak(Box::new(|_, _| {})),
    }
}

impl Kept {
    fn repair(&self, options: &mut RepairOptions<'_>) -> RepairReport {
        repair(&self.world.reader().unwrap(), options, Seed::new([5; 32])).unwrap()
    }

    fn check(&self) -> CheckReport {
        let mut options = CheckOptions {
            read: ReadShare::Everything,
            workers: Workers(0),
            sample_seed: 1,
            now: Timestamp::default(),
            progress: &mut |_, _| {},
        };
        check(&self.world.reader().unwrap(), &mut options).unwrap()
    }

    fn all_is_whole(&self, case: &str) {
        assert_eq!(self.check().findings, [], "{case}");
        let reader = self.world.reader().unwrap();
        for (snapshot, files) in &self.snapshots {
            assert!(restore(&reader, snapshot.root).unwrap() == *files, "{case}");
        }
        let marks = read_marks(reader.repo()).unwrap();
        assert!(marks.snapshots.is_empty(), "{case}: {:?}", marks.snapshots.keys());
    }

    fn names(&self, prefix: &str) -> Vec<ObjectName> {
        self.world.sim.objects().into_keys().filter(|n| n.as_str().starts_with(prefix)).collect()
    }

    /// Changes so much of each pack that no parity mends it, but leaves its first blocks.
    fn ruin(&self, name: &ObjectName) {
        self.world.sim.damage(name, |bytes| {
            let half = bytes.len() / 2;
            bytes[half..].fill(0xee);
        });
    }
}

#[test]
fn what_is_whole_is_left_alone() {
    let kept = kept(1, 0);
    let before = kept.world.sim.objects();
    let report = kept.repair(&mut options(false));
    assert_eq!((report.actions, report.left), (vec![], vec![]));
    assert_eq!(report.packs_read, kept.names("packs/").len() + kept.names("trees/").len());
    assert!(kept.world.sim.objects() == before);
}

#[test]
fn one_flip_in_every_object_is_undone_and_the_same_bytes_stand_there() {
    let kept = kept(2, 6);
    let reader = kept.world.reader().unwrap();
    let id = kept.snapshots[0].0.id;
    let reason = "test";
    repo::snapshots::forget(reader.repo(), &id, Timestamp::default(), reason, &mut Seed::new([1; 32]))
        .unwrap();
    let good = kept.world.sim.objects();
    // The record of a forgotten snapshot is on its way out, and so is its tomb: nobody rewrites them.
    let is_kept = |name: &&ObjectName| !name.as_str().contains(&id.hex());
    let mut dice = Dice::new(3);
    for name in good.keys().filter(is_kept) {
        kept.world.sim.damage(name, |bytes| {
            let at = dice.below(bytes.len() as u64) as usize;
            bytes[at] ^= 0x40;
        });
    }
    let dry = kept.repair(&mut options(true));
    let hurt = kept.world.sim.objects();
    let report = kept.repair(&mut options(false));
    assert_eq!(dry.actions, report.actions, "a dry run says what will be done");
    assert_eq!(report.left, []);
    assert!(report.actions.iter().all(|a| a.how == How::Parity), "{:?}", report.actions);
    assert_eq!(report.actions.len(), good.keys().filter(is_kept).count());
    assert!(hurt != good && kept.world.sim.objects() == good);
}

#[test]
fn second_copies_come_back_either_way() {
    let kept = kept(3, 0);
    let good = kept.world.sim.objects();
    let twins: Vec<ObjectName> = good
        .keys()
        .filter(|n| !["packs/", "trees/", "index/"].iter().any(|p| n.as_str().starts_with(p)))
        .cloned()
        .collect();
    assert_eq!(twins.len(), 10, "a configuration, a slot and three snapshots, twice");
    for name in twins {
        for ruin in [false, true] {
            match ruin {
                true => assert!(kept.world.sim.damage(&name, |bytes| bytes.fill(0))),
                false => kept.world.sim.delete(&name).unwrap(),
            }
            let report = kept.repair(&mut options(false));
            assert_eq!(report.left, [], "{name}");
            let found: Vec<_> = report.actions.iter().map(|a| (a.what.as_str(), a.how)).collect();
            assert_eq!(found, [(name.as_str(), How::OtherCopy)]);
            assert!(kept.world.sim.objects() == good, "{name}");
        }
    }
}

#[test]
fn a_lost_index_is_made_again_from_the_packs() {
    let kept = kept(4, 0);
    let segments = kept.names("index/");
    for name in &segments {
        kept.world.sim.delete(name).unwrap();
    }
    let report = kept.repair(&mut options(false));
    assert_eq!(report.left, []);
    assert!(report.actions.iter().all(|a| a.how == How::Indexed));
    kept.all_is_whole("no index");
    let (_, files) = &kept.snapshots[2];
    let done = backup(&kept.world.reader().unwrap(), files, &Backup::new(77)).unwrap();
    assert_eq!(done.written.added_bytes, 0, "the new segments count for deduplication");
}

#[test]
fn segments_beyond_repair_are_moved_out_of_the_way_but_not_thrown_away() {
    let kept = kept(5, 0);
    let segments = kept.names("index/");
    let ruined: Vec<Vec<u8>> = segments
        .iter()
        .map(|name| {
            assert!(kept.world.sim.damage(name, |bytes| bytes.fill(9)));
            kept.world.sim.objects()[name].clone()
        })
        .collect();
    // Somebody may still be writing them: then they are left alone.
    let report = kept.repair(&mut options(false));
    assert_eq!(report.left.len(), segments.len());
    assert!(segments.iter().all(|name| kept.world.sim.object(name).is_some()));
    kept.world.sim.set_time(SystemTime::UNIX_EPOCH + Duration::from_secs(1_780_000_000 + 2 * 86_400));
    let report = kept.repair(&mut options(false));
    assert_eq!(report.left, []);
    assert_eq!(report.actions.iter().filter(|a| a.how == How::SetAside).count(), segments.len());
    kept.all_is_whole("ruined index");
    let objects = kept.world.sim.objects();
    for (name, bytes) in segments.iter().zip(ruined) {
        let aside = ObjectName::new(&format!("maint/aside-{}", name.file_name())).unwrap();
        assert!(!objects.contains_key(name) && objects[&aside] == bytes);
    }
}

#[test]
fn what_is_too_new_is_not_touched() {
    let kept = kept(6, 0);
    for prefix in ["index/", "snapshots/", "gc/"] {
        // An authentic footer of version 2 around bytes that nobody here understands.
        let mut bytes = kept.world.sim.objects()[&kept.names("snapshots/")[0]].clone();
        let end = bytes.len();
        for footer in [end - 160, end - 80] {
            bytes[footer + 4] = 2;
            let check = blake3::hash(&bytes[footer..footer + 64]);
            bytes[footer + 64..footer + 80].copy_from_slice(&check.as_bytes()[..16]);
        }
        let name = match prefix {
            "index/" => format!("index/{:016x}-{}", 900, "ab".repeat(16)),
            "gc/" => format!("gc/tomb-{}", "cd".repeat(16)),
            _ => format!("snapshots/{}", "ef".repeat(16)),
        };
        kept.world.sim.put(&ObjectName::new(&name).unwrap(), &bytes, PutMode::Replace).unwrap();
    }
    let before = kept.world.sim.objects();
    let report = kept.repair(&mut options(false));
    assert!(report.too_new.len() >= 3, "{:?}", report.too_new);
    assert!(kept.world.sim.objects() == before);
}

#[test]
fn a_ruined_pack_is_marked_what_it_still_holds_is_moved_and_the_next_run_heals_the_rest() {
    let kept = kept(8, 0);
    let packs = kept.names("packs/");
    packs.iter().for_each(|name| kept.ruin(name));
    let report = kept.repair(&mut options(false));
    assert!(report.moved_blobs > 0, "whole blocks were moved");
    assert!(!report.left.is_empty());
    let marks = read_marks(kept.world.reader().unwrap().repo()).unwrap();
    assert_eq!(marks.packs.len(), packs.len());
    assert_eq!(marks.snapshots.len(), 3);
    assert!(marks.snapshots.values().all(|m| m.hurt > 0 && m.paths.len() as u64 == m.hurt));
    let again = kept.repair(&mut options(false));
    assert_eq!((again.actions, again.moved_blobs), (vec![], 0), "nothing is left to do");
    assert!(packs.iter().all(|name| kept.world.sim.objects().contains_key(name)), "only prune deletes packs");
    // A run with the same parent as ever: what is known to be broken is read from the source again.
    for (i, (_, files)) in kept.snapshots.iter().enumerate() {
        let options = Backup { parent: Some(&kept.snapshots[2].0), ..Backup::new(900 + i as u64) };
        backup(&kept.world.reader().unwrap(), files, &options).unwrap();
    }
    let healed = kept.repair(&mut options(false));
    assert_eq!(healed.left, []);
    assert_eq!(healed.actions.iter().filter(|a| a.how == How::Unmarked).count(), 3);
    kept.all_is_whole("healed by later runs");
}

/// A second repository of the same family, with other packs.
fn sibling_of(kept: &Kept) -> Kept {
    let reader = kept.world.reader().unwrap();
    let sim = SimStore::new(50);
    let slot = NewSlot {
        credential: kept.world.credential(),
        is_recovery: false,
        capability: format::keys::Capability::Owner,
        cost: Default::default(),
        label: "sibling".into(),
    };
    let new = NewRepo {
        parameters: tiny_parameters(),
        slots: vec![slot],
        family: Some(reader.repo().keys().clone()),
        created: Timestamp::default(),
        seed: Seed::new([50; 32]),
    };
    Repo::create(Arc::new(sim.clone()), new).unwrap();
    kept_in(World::of(sim), 51)
}

#[test]
fn everything_comes_back_from_another_repository_of_the_family() {
    for (what, prefixes) in
        [("packs", &["packs/"][..]), ("trees", &["trees/"]), ("both", &["packs/", "trees/"])]
    {
        for is_ruined in [false, true] {
            let kept = kept(10, 0);
            let sibling = sibling_of(&kept);
            for name in prefixes.iter().flat_map(|prefix| kept.names(prefix)) {
                match is_ruined {
                    true => kept.ruin(&name),
                    false => kept.world.sim.delete(&name).unwrap(),
                }
            }
            let case = format!("{what}, ruined: {is_ruined}");
            assert!(!kept.check().findings.is_empty(), "{case}");
            let other = sibling.world.reader().unwrap();
            let dry = kept.repair(&mut RepairOptions { sibling: Some(&*other), ..options(true) });
            assert_eq!(dry.left, [], "{case}: what would be put back counts as there");
            let mut options = RepairOptions { sibling: Some(&*other), ..options(false) };
            let report = kept.repair(&mut options);
            assert_eq!(report.left, [], "{case}");
            assert!(report.blobs_from_sibling + report.moved_blobs > 0, "{case}");
            assert!(is_ruined || report.blobs_from_sibling > 0, "{case}");
            kept.all_is_whole(&case);
        }
    }
}

#[test]
fn a_pack_of_the_same_name_is_taken_whole() {
    let kept = kept(12, 0);
    let sibling = sibling_of(&kept);
    let good = kept.world.sim.objects();
    let packs: Vec<ObjectName> = kept.names("packs/").into_iter().chain(kept.names("trees/")).collect();
    for name in &packs {
        sibling.world.sim.put(name, &good[name], PutMode::CreateNew).unwrap();
    }
    for (i, name) in packs.iter().enumerate() {
        match i % 2 {
            0 => kept.ruin(name),
            _ => kept.world.sim.delete(name).unwrap(),
        }
    }
    let other = sibling.world.reader().unwrap();
    let dry = kept.repair(&mut RepairOptions { sibling: Some(&*other), ..options(true) });
    let report = kept.repair(&mut RepairOptions { sibling: Some(&*other), ..options(false) });
    assert_eq!((dry.left, dry.actions), (report.left.clone(), report.actions.clone()));
    assert!(report.actions.iter().all(|a| a.how == How::Sibling), "{:?}", report.actions);
    assert!(kept.world.sim.objects() == good);
}

/// The test's files, cut as its backups cut them.
struct TestSource<'a>(&'a [(Snapshot, Files)]);

impl SourceFiles for TestSource<'_> {
    fn find(
        &mut self,
        repo: &Repo,
        wanted: &Wanted,
        give: &mut dyn FnMut(&BlobId, &[u8]) -> RepoResult<()>,
    ) -> RepoResult<()> {
        let named: Vec<String> =
            wanted.files.iter().map(|f| String::from_utf8(f.path.clone()).unwrap()).collect();
        for bytes in self.0.iter().flat_map(|(_, files)| {
            files.iter().filter(|(path, _)| named.contains(&format!("/{path}"))).map(|(_, bytes)| bytes)
        }) {
            for piece in bytes.chunks(testkit::mini::PIECE_BYTES) {
                let id = repo.keys().blob_id(BlobKind::Data, piece).unwrap();
                if wanted.ids.contains(&id) {
                    give(&id, piece)?;
                    give(&id, b"not these bytes")?;
                }
            }
        }
        Ok(())
    }
}

#[test]
fn lost_contents_come_back_from_unchanged_files_and_only_the_right_bytes() {
    let kept = kept(13, 0);
    for name in kept.names("packs/") {
        kept.world.sim.delete(&name).unwrap();
    }
    let mut source = TestSource(&kept.snapshots[1..]);
    let dry = kept.repair(&mut RepairOptions { source: Some(&mut source), ..options(true) });
    let report = kept.repair(&mut RepairOptions { source: Some(&mut source), ..options(false) });
    assert!(report.blobs_from_source > 50);
    let what = |report: &RepairReport| report.left.iter().map(|f| f.what.clone()).collect::<Vec<_>>();
    assert_eq!((dry.blobs_from_source, what(&dry)), (report.blobs_from_source, what(&report)));
    let marks = read_marks(kept.world.reader().unwrap().repo()).unwrap();
    let marked: Vec<_> = marks.snapshots.keys().copied().collect();
    assert!(marked.iter().all(|id| *id == kept.snapshots[0].0.id), "the others are whole again");
    let reader = kept.world.reader().unwrap();
    for (snapshot, files) in &kept.snapshots[1..] {
        assert!(restore(&reader, snapshot.root).unwrap() == *files);
    }
    assert_eq!(report.left.is_empty(), marked.is_empty());
}

#[test]
fn a_condemned_name_is_not_written_again() {
    let kept = kept(14, 6);
    let name = kept.names("packs/")[0].clone();
    let id = format::id::PackId::from_hex(name.file_name()).unwrap();
    kept.world.sim.damage(&name, |bytes| bytes[100] ^= 1);
    crate::damage::condemn(&kept.world, &[id]);
    let hurt = kept.world.sim.objects()[&name].clone();
    let report = kept.repair(&mut options(false));
    assert_eq!(report.left, []);
    assert!(kept.world.sim.objects()[&name] == hurt);
}

#[test]
fn a_repository_for_which_nothing_else_is_left_says_so() {
    let kept = kept(15, 0);
    for name in kept.names("trees/") {
        kept.world.sim.delete(&name).unwrap();
    }
    let report = kept.repair(&mut options(false));
    assert!(report.left.iter().all(|f| f.hurts.iter().all(|h| h.is_whole_part)));
    let marks = read_marks(kept.world.reader().unwrap().repo()).unwrap();
    assert_eq!(marks.snapshots.len(), 3);
    let reader: Arc<Reader> = kept.world.reader().unwrap();
    assert!(restore(&reader, kept.snapshots[0].0.root).is_err());
    // The next run needs no help.
    let (_, files) = &kept.snapshots[2];
    let options = Backup { parent: Some(&kept.snapshots[2].0), ..Backup::new(900) };
    match backup(&reader, files, &options) {
        Ok(done) => assert!(restore(&reader, done.snapshot.root).unwrap() == *files),
        Err(e) => assert!(e.is_damage(), "{e:?}"),
    }
    let done = backup(&reader, files, &Backup::new(901)).unwrap();
    assert!(restore(&reader, done.snapshot.root).unwrap() == *files);
}
