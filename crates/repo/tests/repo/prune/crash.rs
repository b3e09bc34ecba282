//! A pruner dies at every request of its life, in every way: nothing is lost, and the next one goes on.

use super::{assert_whole, bury, run, run_over, stored_bytes, urgent, versions};
use std::sync::Arc;
use storage::{Crash, CrashPoint};
use testkit::world::World;

#[test]
fn a_crash_at_any_request_of_prune_loses_nothing() {
    let begin = || {
        let world = World::new(1);
        let made = versions(&world, 4, 50);
        (0..2).for_each(|n| bury(&world, &made[n].0));
        (world, made)
    };
    let (world, _) = begin();
    let client = world.sim.connect();
    run_over(&world, Arc::new(client.clone()), &urgent()).unwrap();
    let (requests, clean) = (client.requests_made(), stored_bytes(&world));
    for n in 0..requests {
        for point in [CrashPoint::Before, CrashPoint::After, CrashPoint::Torn] {
            let (world, made) = begin();
            let client = world.sim.connect();
            client.set_crash(Crash { at_request: n, point, power_loss: n % 3 == 0 });
            let outcome = run_over(&world, Arc::new(client.clone()), &urgent());
            let case = format!("request {n}, {point:?}");
            assert!(outcome.is_err() || !client.has_crashed(), "{case}");
            client.reopen();
            let kept = [&made[2], &made[3]];
            let report = run(&world, &urgent());
            assert_eq!(report.doubts, [] as [String; 0], "{case}");
            assert_whole(&world, &kept, &case);
            let report = run(&world, &urgent());
            assert_eq!(report.condemned_packs, 0, "{case}: it ended");
            assert!(stored_bytes(&world) <= clean * 3 / 2, "{case}: {} bytes left", stored_bytes(&world));
        }
    }
}
