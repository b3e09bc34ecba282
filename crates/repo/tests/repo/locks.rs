//! Ways to unlock, and the configuration that several machines change.

use format::keys::{Capability, Key};
use format::kind::Timestamp;
use format::slot::ArgonCost;
use repo::seed::Seed;
use repo::{Credential, NewSlot, OpenOptions, Repo, RepoError};
use std::sync::Arc;
use testkit::world::{World, create_in, tiny_parameters};

fn key_file(n: u8, capability: Capability) -> NewSlot {
    NewSlot {
        credential: Credential::Random(Key::new([n; 32])),
        is_recovery: false,
        capability,
        cost: ArgonCost::default(),
        label: format!("key {n}"),
    }
}

fn open(world: &World, credential: &Credential) -> Result<Repo, RepoError> {
    Repo::open(Arc::new(world.sim.connect()), credential, &OpenOptions::default())
}

#[test]
fn slots_are_added_opened_and_removed() {
    let world = World::new(1);
    let mut repo = open(&world, &world.credential()).unwrap();
    let mut seed = Seed::new([1; 32]);
    let cheap = ArgonCost { memory_kib: 64, passes: 1, lanes: 1 };
    let password = Credential::Password(b"tide".to_vec().into());
    let slot = NewSlot { credential: password.clone(), cost: cheap, ..key_file(0, Capability::Owner) };
    let info = repo.add_slot(&slot, Timestamp::default(), &mut seed).unwrap();
    repo.add_slot(&key_file(9, Capability::Maintain), Timestamp::default(), &mut seed).unwrap();
    assert_eq!(repo.slots().unwrap().iter().filter(|s| s.listed).count(), 3);
    assert_eq!(open(&world, &password).unwrap().capability(), Capability::Owner);
    let maintainer = Credential::Random(Key::new([9; 32]));
    assert_eq!(open(&world, &maintainer).unwrap().capability(), Capability::Maintain);
    assert_eq!(repo.slot_of(&password).unwrap().unwrap().id, info.id);
    let wrong = Credential::Password(b"tied".to_vec().into());
    assert!(matches!(open(&world, &wrong), Err(RepoError::WrongSecret { slots: 1, .. })));
    let first = repo.slot_of(&world.credential()).unwrap().unwrap();
    repo.remove_slot(&first.id, &mut seed).unwrap();
    assert!(matches!(open(&world, &world.credential()), Err(RepoError::WrongSecret { .. })));
    assert!(
        matches!(repo.remove_slot(&info.id, &mut seed), Err(RepoError::Local(_))),
        "the last owner stays"
    );
    assert!(open(&world, &password).is_ok());
}

#[test]
fn two_machines_that_change_the_configuration_keep_what_both_did() {
    let world = World::new(1);
    let (mut a, mut b) =
        (open(&world, &world.credential()).unwrap(), open(&world, &world.credential()).unwrap());
    a.add_slot(&key_file(1, Capability::Owner), Timestamp::default(), &mut Seed::new([1; 32])).unwrap();
    b.add_slot(&key_file(2, Capability::Owner), Timestamp::default(), &mut Seed::new([2; 32])).unwrap();
    b.update_parameters(&mut Seed::new([3; 32]), |p| p.probed.push("x=y".into())).unwrap();
    let fresh = open(&world, &world.credential()).unwrap();
    assert_eq!(fresh.parameters().slots.len(), 3);
    assert_eq!(fresh.parameters().probed, ["x=y"]);
}

#[test]
fn of_two_configurations_the_later_counts() {
    let world = World::new(1);
    let mut repo = open(&world, &world.credential()).unwrap();
    let name = repo::names::name(repo::names::CONFIG);
    let old = world.sim.objects()[&name].clone();
    repo.update_parameters(&mut Seed::new([3; 32]), |p| p.probed.push("new".into())).unwrap();
    for name in [name.clone(), repo::names::mirror(&name)] {
        let new = world.sim.objects()[&name].clone();
        world.sim.damage(&name, |bytes| *bytes = old.clone());
        assert_eq!(open(&world, &world.credential()).unwrap().parameters().probed, ["new"], "{name}");
        world.sim.damage(&name, |bytes| *bytes = new);
    }
}

#[test]
fn a_repository_is_not_made_over_another_or_its_remains() {
    let world = World::new(1);
    let again = || create_in(Arc::new(world.sim.connect()), 5, tiny_parameters());
    assert!(matches!(again(), Err(RepoError::AlreadyExists { .. })));
    let name = repo::names::name(repo::names::CONFIG);
    world.sim.lose(&name);
    assert!(matches!(again(), Err(RepoError::AlreadyExists { .. })), "the second copy is there");
    assert!(open(&world, &world.credential()).is_ok());
    let files = testkit::files::random_files(&mut testkit::dice::Dice::new(1), 5);
    testkit::mini::backup(&world.reader().unwrap(), &files, &testkit::mini::Backup::new(1)).unwrap();
    world.sim.damage(&repo::names::mirror(&name), |bytes| bytes.fill(0));
    assert!(matches!(again(), Err(RepoError::AlreadyExists { .. })), "damaged, but snapshots are there");
}
