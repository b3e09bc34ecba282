//! Who hears of what, when: on change, again while it lasts, once when it is over; and broken tellers show.

use service::alarms::*;
use service::catalog::*;
use service::notify::{Channel, Message, NotifyError};
use service::posture::{Posture, Seen, Wanted, judge};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

struct World {
    catalog: Catalog,
    routes: Routes,
    broken: RefCell<BTreeSet<String>>,
    told: RefCell<Vec<String>>,
}

fn route(to: &[&str], after: u32) -> Route {
    Route { to: to.iter().map(|t| t.to_string()).collect(), after, repeat: DAY }
}

impl World {
    fn new() -> Self {
        let kinds = BTreeMap::from([
            (Kind::Stale, route(&["mail", "phone"], 1)),
            (Kind::Failed, route(&["mail"], 2)),
        ]);
        World {
            catalog: Catalog::in_memory().unwrap(),
            routes: Routes { kinds, all: Some(route(&["phone"], 1)), recovered: None },
            broken: RefCell::default(),
            told: RefCell::default(),
        }
    }

    fn tell(&self, now: i64, problems: &[Problem]) -> Vec<String> {
        let teller = |name: &str| Teller {
            name: name.into(),
            channel: Channel::Command { run: vec![name.into()], timeout: Duration::ZERO },
        };
        let send = |channel: &Channel, message: &Message| {
            let Channel::Command { run, .. } = channel else { unreachable!() };
            if self.broken.borrow().contains(&run[0]) {
                return Err(NotifyError { what: run[0].clone(), why: "refused".into(), transient: false });
            }
            self.told.borrow_mut().push(format!("{} {} {}", run[0], message.kind, message.subject));
            Ok(())
        };
        let telling = Telling {
            catalog: &self.catalog,
            routes: &self.routes,
            tellers: &[teller("mail"), teller("phone")],
            send: &send,
            secrets: &[],
            machine: "atlas",
            now,
            outlook: "",
        };
        tell(&telling, problems).unwrap();
        std::mem::take(&mut *self.told.borrow_mut())
    }
}

fn problem(kind: Kind, subject: &str, count: u32) -> Problem {
    Problem { kind, subject: subject.into(), text: format!("{subject} is bad"), fix: "do".into(), count }
}

#[test]
fn told_on_change_again_while_it_lasts_and_when_it_is_over() {
    let world = World::new();
    let bad = [problem(Kind::Stale, "home@nas", 1)];
    assert_eq!(world.tell(0, &[]), [] as [&str; 0]);
    assert_eq!(world.tell(100, &bad), ["mail stale home@nas", "phone stale home@nas"]);
    assert_eq!(world.tell(200, &bad), [] as [&str; 0]);
    assert_eq!(world.tell(DAY + 99, &bad), [] as [&str; 0]);
    assert_eq!(world.tell(DAY + 100, &bad), ["mail stale home@nas", "phone stale home@nas"]);
    let over = world.tell(DAY + 300, &[]);
    assert_eq!(over, ["mail recovered home@nas", "phone recovered home@nas"]);
    assert_eq!(world.tell(DAY + 400, &[]), [] as [&str; 0]);
    assert!(world.catalog.alarms().unwrap().is_empty());
}

#[test]
fn a_second_problem_is_told_although_the_first_is_known() {
    let world = World::new();
    world.tell(0, &[problem(Kind::Stale, "a@nas", 1)]);
    let both = [problem(Kind::Stale, "a@nas", 1), problem(Kind::Stale, "b@nas", 1)];
    assert_eq!(world.tell(1, &both), ["mail stale b@nas", "phone stale b@nas"]);
}

#[test]
fn failures_count_before_they_are_told_and_what_nobody_heard_of_ends_silently() {
    let world = World::new();
    assert_eq!(world.tell(0, &[problem(Kind::Failed, "home@nas", 1)]), [] as [&str; 0]);
    assert_eq!(world.tell(1, &[]), [] as [&str; 0]);
    assert_eq!(world.tell(2, &[problem(Kind::Failed, "home@nas", 1)]), [] as [&str; 0]);
    assert_eq!(world.tell(3, &[problem(Kind::Failed, "home@nas", 2)]), ["mail failed home@nas"]);
    assert_eq!(world.tell(4, &[]), ["mail recovered home@nas"]);
}

#[test]
fn what_has_no_route_of_its_own_goes_the_common_way() {
    let world = World::new();
    assert_eq!(world.tell(0, &[problem(Kind::Damaged, "nas", 1)]), ["phone damaged nas"]);
}

#[test]
fn a_broken_teller_is_tried_again_shows_itself_and_the_others_are_told_once() {
    let world = World::new();
    world.broken.borrow_mut().insert("mail".into());
    let bad = vec![problem(Kind::Stale, "home@nas", 1)];
    assert_eq!(world.tell(0, &bad), ["phone stale home@nas"]);
    let state = &world.catalog.notifiers().unwrap()[0];
    assert_eq!(
        (state.name.as_str(), state.failures, state.error.as_deref()),
        ("mail", 1, Some("mail: refused"))
    );
    // The broken teller is a problem of its own, told by whoever works.
    let posture = judge(&Wanted::default(), &Seen::default(), 1);
    let notifiers = world.catalog.notifiers().unwrap();
    let findings = Findings { posture: &posture, duties: &[], suspicions: &[], notifiers: &notifiers };
    let [broken] = &problems(&findings)[..] else { panic!("one problem") };
    assert_eq!(broken.subject, "notifier:mail");
    let mut all = bad.clone();
    all.push(Problem { count: 2, ..broken.clone() });
    let mut world = world;
    world.routes.kinds.insert(Kind::Failed, route(&["mail", "phone"], 2));
    assert_eq!(world.tell(1, &all), ["phone failed notifier:mail"]);
    world.broken.borrow_mut().clear();
    assert_eq!(world.tell(2, &all), ["mail stale home@nas"], "it still owed that");
    assert_eq!(world.catalog.notifiers().unwrap()[0].failures, 0);
    assert_eq!(world.tell(3, &bad), ["phone recovered notifier:mail"]);
}

#[test]
fn the_end_is_told_when_the_teller_works_again() {
    let world = World::new();
    world.tell(0, &[problem(Kind::Stale, "home@nas", 1)]);
    world.broken.borrow_mut().insert("mail".into());
    assert_eq!(world.tell(1, &[]), ["phone recovered home@nas"]);
    world.broken.borrow_mut().clear();
    assert_eq!(world.tell(2, &[]), ["mail recovered home@nas"]);
    assert_eq!(world.tell(3, &[]), [] as [&str; 0]);
    // It comes back before its end was told: that is a new beginning for nobody who never heard of the end.
    world.tell(10, &[problem(Kind::Stale, "home@nas", 1)]);
    world.broken.borrow_mut().extend(["mail".to_string(), "phone".to_string()]);
    world.tell(11, &[]);
    world.broken.borrow_mut().clear();
    assert_eq!(world.tell(12, &[problem(Kind::Stale, "home@nas", 1)]), [] as [&str; 0]);
}

fn quiet() -> Posture {
    judge(&Wanted::default(), &Seen::default(), 100 * DAY)
}

fn duty(within: i64) -> DutyWanted {
    DutyWanted { duty: Duty::Verify, subject: "nas".into(), within, fix: "lifeboat check -r nas".into() }
}

#[test]
fn every_duty_is_missed_by_its_absence() {
    let posture = quiet();
    let record = |succeeded, failures| DutyRecord {
        first_due: 0,
        attempted: succeeded,
        succeeded,
        failures,
        error: (failures > 0).then(|| "away".into()),
    };
    let subjects = |record: DutyRecord| {
        let duties = [(duty(2 * DAY), Some(record))];
        let findings = Findings { posture: &posture, duties: &duties, suspicions: &[], notifiers: &[] };
        problems(&findings).into_iter().map(|p| (p.kind, p.text)).collect::<Vec<_>>()
    };
    assert_eq!(subjects(record(Some(99 * DAY), 0)), []);
    assert_eq!(
        subjects(record(Some(90 * DAY), 0)),
        [(Kind::Stale, "verify:nas last went well 10 d ago".into())]
    );
    let never = subjects(record(None, 0));
    assert_eq!(never, [(Kind::Stale, "verify:nas was never done, since 100 d ago".to_string())]);
    let failing = subjects(record(Some(99 * DAY), 3));
    assert_eq!(failing, [(Kind::Failed, "verify:nas: the last 3 attempts failed (away)".to_string())]);
}

#[test]
fn suspicions_stay_until_somebody_says_they_are_none() {
    let catalog = Catalog::in_memory().unwrap();
    let suspicion = |snapshot: &str, at| Suspicion {
        source: "home".into(),
        snapshot: snapshot.repeat(32),
        at,
        text: "91 % of the files changed".into(),
        acknowledged: None,
    };
    catalog.record_suspicion(&suspicion("a", 10)).unwrap();
    catalog.record_suspicion(&suspicion("b", 20)).unwrap();
    let posture = quiet();
    let found = |catalog: &Catalog| {
        let suspicions = catalog.suspicions(None, 100).unwrap();
        let findings = Findings { posture: &posture, duties: &[], suspicions: &suspicions, notifiers: &[] };
        problems(&findings)
    };
    let [one] = &found(&catalog)[..] else { panic!("one problem") };
    assert_eq!(
        (one.kind, one.text.as_str()),
        (Kind::Suspicious, "home, snapshot aaaaaaaa: 91 % of the files changed")
    );
    assert_eq!(catalog.acknowledge("home", 30).unwrap(), 2);
    assert_eq!(found(&catalog), []);
    catalog.record_suspicion(&suspicion("a", 40)).unwrap();
    assert_eq!(found(&catalog), [], "the same snapshot is not suspected twice");
}
