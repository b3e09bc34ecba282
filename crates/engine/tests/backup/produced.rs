//! Sources that make their files while they are read: several dumps in one snapshot, or no snapshot.

use crate::world::{FailsAfter, World, noise};
use engine::Source;
use format::snapshot::{Mode, Snapshot};
use format::tree::{Content, Entry, Extent, PathKey};
use host::produce::{Contents, Facts, Grain, Producer, Sink};
use repo::browse;
use std::io::{self, Cursor};

/// A producer made of a function.
struct Makes<F>(F);

impl<F: FnMut(&mut dyn Sink) -> io::Result<()> + Send> Producer for Makes<F> {
    fn produce(&mut self, sink: &mut dyn Sink) -> io::Result<()> {
        (self.0)(sink)
    }
}

fn source(make: impl FnMut(&mut dyn Sink) -> io::Result<()> + Send + 'static) -> Source {
    Source::Produced { name: "shop-db".into(), producer: Box::new(Makes(make)), paths: Vec::new() }
}

fn entry(world: &World, snapshot: &Snapshot, path: &[&str]) -> Option<Entry> {
    let components: Vec<&[u8]> =
        std::iter::once("stream:shop-db").chain(path.iter().copied()).map(str::as_bytes).collect();
    browse::lookup(&world.reader(), snapshot.root, &PathKey::of(&components)).unwrap()
}

fn bytes(world: &World, entry: &Entry) -> Vec<u8> {
    let reader = world.reader();
    let mut out = Vec::new();
    for extent in browse::extents(&reader, entry).unwrap() {
        match extent {
            Extent::Data { id, repeat, .. } => {
                let blob = reader.read(format::id::BlobKind::Data, &id).unwrap();
                (0..repeat).for_each(|_| out.extend_from_slice(&blob));
            }
            Extent::Hole { len_bytes } => out.resize(out.len() + len_bytes as usize, 0),
        }
    }
    out
}

/// Two dumps and a note, in an order that is not the tree's.
fn two_dumps(sink: &mut dyn Sink) -> io::Result<()> {
    sink.file(&["shop", "dump"], Facts::PRIVATE, Contents::Stream(&mut &noise(1, 3 << 20)[..], Grain::Fine))?;
    sink.file(&["globals.sql"], Facts::PRIVATE, Contents::Bytes(b"create role shop;"))?;
    sink.file(
        &["bills", "dump"],
        Facts::PRIVATE,
        Contents::Stream(&mut &noise(2, 700_000)[..], Grain::Fine),
    )?;
    Ok(())
}

#[test]
fn several_streams_stand_in_one_snapshot_under_their_names() {
    let world = World::new();
    let snapshot = world.backup(Mode::Full, |r| r.source = source(two_dumps)).snapshot.unwrap();
    assert_eq!(snapshot.sources, [b"stream:shop-db".to_vec()]);
    let read = |path: &[&str]| bytes(&world, &entry(&world, &snapshot, path).unwrap());
    assert!(read(&["shop", "dump"]) == noise(1, 3 << 20));
    assert!(read(&["bills", "dump"]) == noise(2, 700_000));
    assert_eq!(read(&["globals.sql"]), b"create role shop;");
    let shop = entry(&world, &snapshot, &["shop"]).unwrap();
    assert_eq!((shop.kind(), shop.class.mode), (format::kind::Kind::Directory, 0o700));
}

#[test]
fn equal_dumps_are_the_parents_entries_and_a_run_may_be_skipped() {
    let world = World::new();
    let first = world.backup(Mode::Full, |r| r.source = source(two_dumps)).snapshot.unwrap();
    let again = world.backup(Mode::Incremental, |r| r.source = source(two_dumps));
    assert_eq!(again.snapshot.unwrap().root, first.root);
    assert_eq!((again.stats.files_unmodified, again.written.blobs), (3, 0));
    let skipped = world.backup(Mode::Incremental, |r| {
        r.source = source(two_dumps);
        r.skip_if_unchanged = true;
    });
    assert!(skipped.snapshot.is_none());
}

#[test]
fn a_failure_of_any_stream_commits_nothing() {
    for failing in 0..3 {
        let world = World::new();
        let failed = world.try_backup(|r| {
            r.source = source(move |sink| {
                for i in 0..3 {
                    let name = format!("db{i}");
                    let mut cut_off = FailsAfter(400_000);
                    let mut whole = Cursor::new(noise(9, 400_000));
                    let reader: &mut dyn io::Read = if i == failing { &mut cut_off } else { &mut whole };
                    sink.file(&[&name, "dump"], Facts::PRIVATE, Contents::Stream(reader, Grain::Fine))?;
                }
                Ok(())
            });
        });
        assert!(failed.err().unwrap().to_string().contains("nothing was committed"));
        assert!(world.snapshots().is_empty());
    }
}

#[test]
fn a_validator_that_says_no_at_the_end_commits_nothing() {
    let world = World::new();
    let failed = world.try_backup(|r| {
        r.source = source(|sink| {
            two_dumps(sink)?;
            Err(io::Error::other("the dump has no end"))
        });
    });
    assert!(failed.err().unwrap().to_string().contains("the dump has no end"));
    assert!(world.snapshots().is_empty());
}

#[test]
fn names_that_lead_elsewhere_or_come_twice_are_refused() {
    let bad: [&[&[&str]]; 5] =
        [&[&["a"], &["a"]], &[&["a"], &["a", "b"]], &[&["a", "b"], &["a"]], &[&["..", "b"]], &[&["a/b"]]];
    for paths in bad {
        let world = World::new();
        let failed = world.try_backup(|r| {
            r.source = source(move |sink| {
                paths
                    .iter()
                    .try_for_each(|path| sink.file(path, Facts::PRIVATE, Contents::Bytes(b"x")).map(|_| ()))
            });
        });
        assert!(failed.is_err(), "{paths:?}");
    }
    let world = World::new();
    assert!(world.try_backup(|r| r.source = source(|_| Ok(()))).is_err(), "nothing is no snapshot");
}

#[test]
fn files_of_the_machine_stand_beside_what_is_made() {
    let world = World::new();
    world.fill(40);
    let both = |world: &World| {
        let paths = vec![world.source()];
        Source::Produced { name: "shop-db".into(), producer: Box::new(Makes(two_dumps)), paths }
    };
    let first = world.backup(Mode::Full, |r| r.source = both(&world));
    assert_eq!(first.stats.files_new, 43);
    let snapshot = first.snapshot.unwrap();
    assert_eq!(snapshot.sources.len(), 2);
    let key = PathKey::of(&world.components("d3/f3"));
    assert!(browse::lookup(&world.reader(), snapshot.root, &key).unwrap().is_some());
    assert!(entry(&world, &snapshot, &["shop", "dump"]).is_some());
    let second = world.backup(Mode::Incremental, |r| r.source = both(&world));
    assert_eq!((second.stats.files_unmodified, second.stats.files_new), (43, 0));
}

#[test]
fn ranges_of_an_image_are_kept_and_the_rest_is_a_hole() {
    let world = World::new();
    let image = noise(5, 4 << 20);
    let kept = image.clone();
    let snapshot = world.backup(Mode::Full, |r| {
        r.source = source(move |sink| {
            let ranges = vec![65_536..131_072, (1 << 20)..(1 << 20) + 4096];
            let contents =
                Contents::Sparse { size_bytes: 4 << 20, ranges, file: &mut Cursor::new(kept.clone()) };
            sink.file(&["disk.img"], Facts::PRIVATE, contents).map(|_| ())
        });
    });
    let snapshot = snapshot.snapshot.unwrap();
    let entry = entry(&world, &snapshot, &["disk.img"]).unwrap();
    assert!(
        matches!(entry.content, Content::Extents(ref e) if e.iter().filter(|e| matches!(e, Extent::Hole { .. })).count() == 3)
    );
    let mut expected = vec![0; 4 << 20];
    for range in [65_536..131_072, (1 << 20)..(1 << 20) + 4096] {
        expected[range.clone()].copy_from_slice(&image[range]);
    }
    assert!(bytes(&world, &entry) == expected);
}

#[test]
fn a_changed_row_in_a_dump_adds_little() {
    let world = World::new();
    let dump = |rows: usize, changed: usize| {
        let row = |n: usize| format!("{n}\t{}\t{n}\n", u64::from(n == changed) + n as u64 * 7919 % 10_007);
        (0..rows).map(row).collect::<String>().into_bytes()
    };
    let run = |bytes: Vec<u8>| {
        let make = move |sink: &mut dyn Sink| {
            sink.file(&["dump"], Facts::PRIVATE, Contents::Stream(&mut &bytes[..], Grain::Fine)).map(|_| ())
        };
        world.backup(Mode::Incremental, |r| r.source = source(make))
    };
    let first = run(dump(400_000, usize::MAX)).written.added_bytes;
    let second = run(dump(400_000, 200_000)).written.added_bytes;
    assert!(second <= 2 * (256 << 10) + (64 << 10), "{second} of {first} bytes were added");
}
