//! A session that writes to several places: one that hangs, and what each of them gets.

use format::kind::Timestamp;
use repo::index::PackListing;
use repo::reader::Reader;
use repo::seed::Seed;
use repo::snapshots::SnapshotList;
use repo::workers::Workers;
use repo::writer::publish::Published;
use repo::writer::{Behind, Writer, WriterOptions};
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use storage::{Capabilities, ObjectInfo, ObjectName, PutMode, SimStore, Store, StoreResult, Upload};
use testkit::dice::Dice;
use testkit::files::{Files, random_files};
use testkit::mini::{Backup, backup, record, restore, write_tree};
use testkit::world::World;

/// A gate that a request waits at.
#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn pass(&self) {
        let is_open = self.is_open.lock().unwrap();
        drop(self.opened.wait_while(is_open, |open| !*open).unwrap());
    }

    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

/// A place whose changes hang until the gate is opened.
struct Hangs(SimStore, Arc<Gate>);

impl Store for Hangs {
    fn location(&self) -> String {
        self.0.location()
    }
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
    fn put(&self, name: &ObjectName, bytes: &[u8], mode: PutMode) -> StoreResult<()> {
        self.1.pass();
        self.0.put(name, bytes, mode)
    }
    fn upload(&self, len: u64) -> StoreResult<Box<dyn Upload>> {
        self.1.pass();
        self.0.upload(len)
    }
    fn get(&self, name: &ObjectName, max: u64) -> StoreResult<Vec<u8>> {
        self.0.get(name, max)
    }
    fn get_range(&self, name: &ObjectName, range: Range<u64>) -> StoreResult<Vec<u8>> {
        self.0.get_range(name, range)
    }
    fn list(&self, prefix: &str, visit: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>) -> StoreResult<()> {
        self.0.list(prefix, visit)
    }
    fn stat(&self, name: &ObjectName) -> StoreResult<ObjectInfo> {
        self.0.stat(name)
    }
    fn delete(&self, name: &ObjectName) -> StoreResult<()> {
        self.0.delete(name)
    }
}

fn options() -> WriterOptions {
    let patience = Duration::from_millis(100);
    WriterOptions {
        seal_workers: Workers(1),
        upload_workers: Workers(1),
        patience,
        ..WriterOptions::default()
    }
}

#[test]
fn a_place_that_hangs_is_left_behind_and_the_others_commit() {
    let a = World::new(1);
    let (b, c) = (a.sibling(2), a.sibling(3));
    let gate = Arc::new(Gate::default());
    let hanging = c.reader_over(Arc::new(Hangs(c.sim.connect(), gate.clone()))).unwrap();
    let readers: Vec<Arc<Reader>> = vec![a.reader().unwrap(), b.reader().unwrap(), hanging];
    let listed: Vec<_> = readers.iter().map(|r| (r.clone(), PackListing::read(r.repo()).unwrap())).collect();
    let mut writer = Writer::start_many(&listed, Seed::new([1; 32]), Timestamp::default(), options());
    let files = random_files(&mut Dice::new(3), 150);
    let root = write_tree(&readers[0], &mut writer, &files, &Backup::new(1)).unwrap();
    assert!(writer.prepare(root, None, false).unwrap());
    let snapshot = record(&writer, root, None);
    assert!(matches!(writer.commit(&snapshot).unwrap(), Published::Done { .. }));
    let behind = writer.behind();
    assert!(matches!(behind[..], [None, None, Some(Behind::Slow)]), "{behind:?}");
    for world in [&a, &b] {
        let reader = world.reader().unwrap();
        assert_eq!(SnapshotList::read(reader.repo()).unwrap().visible().count(), 1);
        assert!(restore(&reader, root).unwrap() == files);
    }
    assert_eq!(SnapshotList::read(&c.open().unwrap()).unwrap().visible().count(), 0);
    drop(writer); // does not wait for it either
    gate.open();
}

#[test]
fn with_no_place_left_the_run_fails_with_what_the_place_said() {
    let a = World::new(1);
    let b = a.sibling(2);
    let clients = [a.sim.connect(), b.sim.connect()];
    let readers: Vec<Arc<Reader>> = [(&a, &clients[0]), (&b, &clients[1])]
        .map(|(world, client)| world.reader_over(Arc::new(client.clone())).unwrap())
        .to_vec();
    let listed: Vec<_> = readers.iter().map(|r| (r.clone(), PackListing::read(r.repo()).unwrap())).collect();
    let mut writer = Writer::start_many(&listed, Seed::new([1; 32]), Timestamp::default(), options());
    for client in &clients {
        client.set_faults(storage::Faults { space_bytes: Some(0), ..storage::Faults::default() });
    }
    let files = random_files(&mut Dice::new(3), 150);
    let written = write_tree(&readers[0], &mut writer, &files, &Backup::new(1));
    let failed = written.and_then(|root| writer.prepare(root, None, false)).unwrap_err();
    assert_eq!(failed.store_kind(), Some(storage::ErrorKind::NoSpace), "{failed:?}");
}

#[test]
fn with_more_kinds_of_gaps_than_lanes_nobody_commits_what_is_not_complete() {
    // Each of four places has other files already, so that every subset of them lacks something.
    let a = World::new(1);
    let worlds = [a.sibling(2), a.sibling(3), a.sibling(4)];
    let all: Vec<&World> = std::iter::once(&a).chain(&worlds).collect();
    let mut dice = Dice::new(5);
    let files: Files = (0..160).map(|n| (format!("f{n}"), dice.bytes(400))).collect();
    for (n, world) in all.iter().enumerate() {
        let number = |name: &str| name[1..].parse::<usize>().unwrap();
        let some: Files = files
            .iter()
            .filter(|(name, _)| number(name) >> n & 1 == 1)
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        backup(&world.reader().unwrap(), &some, &Backup::new(50 + n as u64)).unwrap();
    }
    let readers: Vec<Arc<Reader>> = all.iter().map(|world| world.reader().unwrap()).collect();
    let listed: Vec<_> = readers.iter().map(|r| (r.clone(), PackListing::read(r.repo()).unwrap())).collect();
    let mut writer = Writer::start_many(&listed, Seed::new([1; 32]), Timestamp::default(), options());
    let root = write_tree(&readers[0], &mut writer, &files, &Backup::new(1)).unwrap();
    assert!(writer.prepare(root, None, false).unwrap());
    let snapshot = record(&writer, root, None);
    assert!(matches!(writer.commit(&snapshot).unwrap(), Published::Done { .. }));
    let behind = writer.behind();
    assert!(behind[0].is_none(), "the one that leads gets everything: {behind:?}");
    assert!(behind.iter().any(Option::is_some), "there are more gaps than lanes: {behind:?}");
    for (world, behind) in all.iter().zip(&behind) {
        let reader = world.reader().unwrap();
        let has = SnapshotList::read(reader.repo()).unwrap().visible().any(|s| s.id == snapshot.id);
        assert_eq!(has, behind.is_none());
        if has {
            assert!(restore(&reader, root).unwrap() == files);
        }
    }
}
