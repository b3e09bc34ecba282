//! A thousand policies against somebody who can add snapshot records (invariant R9): whatever would have
//! survived without these records survives with them.

use super::*;

/// Reproducible numbers (xorshift64*).
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn policy(&mut self) -> Policy {
        let mut policy = Policy::default();
        let count = |dice: &mut Dice| match dice.below(5) {
            0 => Count::Unlimited,
            1 | 2 => Count::Some(1 + dice.below(9)),
            _ => Count::None,
        };
        policy.last = count(self);
        policy.newest_of = std::array::from_fn(|_| count(self));
        let span = |dice: &mut Dice| Span { days: 1 + dice.below(60) as u32, ..Span::default() };
        policy.within = self.one_in(4).then(|| span(self));
        policy.newest_within = std::array::from_fn(|_| self.one_in(6).then(|| span(self)));
        if self.one_in(4) || policy.is_empty() {
            policy.tags.push(vec!["t".into()]);
        }
        policy
    }
}

/// What honest machines did: two sources, runs some hours or days apart, the odd partial, damaged, shrunken,
/// forgotten or removed snapshot, and imports that nobody confirmed yet.
fn honest(dice: &mut Dice) -> Vec<Made> {
    let mut now = 20_000 * DAY;
    let mut made = Vec::new();
    for n in 0..20 + dice.below(40) as u32 {
        now += match dice.below(3) {
            0 => 3_600 * (1 + dice.below(9) as i64),
            1 => DAY,
            _ => DAY * (1 + dice.below(20) as i64),
        };
        let mut m = Made::at(n, secs(now));
        m.received = Some(secs(now + dice.below(30_000) as i64));
        m.snapshot.end = m.received.unwrap();
        m.snapshot.stats.files_unmodified = 900 + dice.below(200);
        if dice.one_in(2) {
            m.snapshot.sources = vec![b"/etc".to_vec()];
        }
        if dice.one_in(8) {
            m.snapshot.completeness = Completeness::Partial;
        }
        m.damaged = dice.one_in(15);
        m.forgotten = dice.one_in(15);
        if dice.one_in(15) {
            m.snapshot.stats.files_unmodified = 100;
        }
        if dice.one_in(15) {
            m.snapshot.time = secs(now - 90 * DAY);
            m.snapshot.end = m.snapshot.time;
        }
        if dice.one_in(10) {
            m.snapshot.tags = vec!["t".into()];
        }
        if dice.one_in(15) {
            m = m.trusted(true, true);
        }
        made.push(m);
    }
    made.retain(|_| !dice.one_in(10)); // removed by maintenance
    made
}

/// How an attacker's record gives itself away.
#[derive(Clone, Copy, Debug)]
enum Attack {
    BackDated,
    FutureDated,
    Shrunk,
    Impossible,
    BrokenChain,
    Repeated,
}

const ATTACKS: [Attack; 6] = [
    Attack::BackDated,
    Attack::FutureDated,
    Attack::Shrunk,
    Attack::Impossible,
    Attack::BrokenChain,
    Attack::Repeated,
];

/// A record like the honest ones of a source that is there, received at `now`.
fn plausible(dice: &mut Dice, honest: &[Made], n: u32, now: i64) -> Made {
    // What is usual for a source is known only where a good one is there.
    let models: Vec<&Made> = honest.iter().filter(|m| m.candidate().rank() == 0 && !m.forgotten).collect();
    let model = &models[dice.below(models.len() as u64) as usize].snapshot;
    let mut m = Made::at(1000 + n, secs(now));
    m.snapshot.sources = model.sources.clone();
    m.snapshot.sequence = 5_000 + u64::from(n); // what is before it, nobody knows
    m.snapshot.stats.files_unmodified = 1000;
    if dice.one_in(3) {
        m.snapshot.tags = vec!["t".into()];
    }
    m
}

fn forged(dice: &mut Dice, attack: Attack, honest: &[Made], n: u32, now: i64) -> Made {
    let mut m = plausible(dice, honest, n, now);
    let known = honest[dice.below(honest.len() as u64) as usize].clone();
    let some_days = (2 + dice.below(3000) as i64) * DAY;
    match attack {
        Attack::BackDated => {
            m.snapshot.time = match dice.one_in(2) {
                true => secs(now - some_days),
                // The last second of a day on which there is an honest one.
                false => secs((known.snapshot.time.secs / DAY + 1) * DAY - 1 - 2 * DAY),
            };
            m.snapshot.end = m.snapshot.time;
        }
        Attack::FutureDated => {
            m.snapshot.time = secs(now + some_days);
            m.snapshot.end = m.snapshot.time;
        }
        Attack::Shrunk => {
            m.snapshot.stats.files_unmodified = dice.below(60);
            m.snapshot.stats.source_bytes = dice.below(1 << 28);
        }
        Attack::Impossible => {
            m.snapshot.sequence = [0, 1, u64::MAX, (1 << 48) + 1][dice.below(4) as usize];
        }
        Attack::BrokenChain => {
            m.snapshot.sequence = known.snapshot.sequence + 1;
            m.snapshot.previous = [0xee; 32];
        }
        Attack::Repeated => {
            m.snapshot.sequence = known.snapshot.sequence;
            m.snapshot.sources = known.snapshot.sources.clone();
            m.snapshot.previous = if m.snapshot.sequence == 1 { [0; 32] } else { [0xee; 32] };
        }
    }
    m
}

fn shuffle(dice: &mut Dice, list: &mut [Made]) {
    for i in (1..list.len()).rev() {
        list.swap(i, dice.below(i as u64 + 1) as usize);
    }
}

fn last_receipt(honest: &[Made]) -> i64 {
    honest.iter().filter_map(|m| m.received).map(|t| t.secs).max().unwrap_or(0)
}

/// Those of `honest` that were kept before and are not kept beside the others.
fn lost(honest: &[Made], all: &[Made], policy: &Policy) -> Vec<SnapshotId> {
    let after = kept_ids(&decision(all, policy));
    let before = kept_ids(&decision(honest, policy));
    before.into_iter().filter(|id| !after.contains(id)).collect()
}

#[test]
fn r9_no_forged_record_makes_a_snapshot_go() {
    let mut attacks = [0; ATTACKS.len()];
    for seed in 0..1000 {
        let dice = &mut Dice::new(seed);
        let (policy, honest) = (dice.policy(), honest(dice));
        if !honest.iter().any(|m| m.candidate().rank() == 0 && !m.forgotten) {
            continue;
        }
        let mut now = last_receipt(&honest);
        let mut all = honest.clone();
        for n in 0..1 + dice.below(30) as u32 {
            now += 1 + dice.below(DAY as u64 / 5) as i64; // six days in all
            let which = dice.below(ATTACKS.len() as u64) as usize;
            attacks[which] += 1;
            all.push(forged(dice, ATTACKS[which], &honest, n, now));
        }
        shuffle(dice, &mut all);
        let lost = lost(&honest, &all, &policy);
        assert!(lost.is_empty(), "seed {seed}, {policy}: {lost:?} would go");
    }
    assert!(attacks.iter().all(|n| *n > 500), "{attacks:?}");
}

#[test]
fn the_same_attacks_win_where_claims_are_believed() {
    // The control: without times of the store the enemy of the test above is a real one.
    let lost_in = |seed| {
        let dice = &mut Dice::new(seed);
        let (policy, mut honest) = (dice.policy(), honest(dice));
        honest.iter_mut().for_each(|m| m.received = None);
        let mut all = honest.clone();
        for n in 0..20 {
            let mut m = forged(dice, Attack::BackDated, &honest, n, 20_500 * DAY);
            m.received = None;
            all.push(m);
        }
        !lost(&honest, &all, &policy).is_empty()
    };
    let lost = (0..200).filter(|seed| lost_in(*seed)).count();
    assert!(lost > 50, "{lost} of 200");
}

#[test]
fn whatever_is_added_later_cannot_take_the_place_of_a_period_that_is_over() {
    for seed in 0..500 {
        let dice = &mut Dice::new(seed);
        let policy: Policy = "*d".parse().unwrap();
        let honest: Vec<Made> = honest(dice).into_iter().filter(|m| m.trust.is_none()).collect();
        if !honest.iter().any(|m| m.candidate().rank() == 0 && !m.forgotten) {
            continue;
        }
        let begin = (last_receipt(&honest) / DAY + 1) * DAY;
        let mut all = honest.clone();
        for n in 0..20 {
            let now = begin + dice.below(5 * DAY as u64) as i64;
            let mut m = plausible(dice, &honest, n, now);
            // Within what a wrong clock may do, and as large as it likes.
            m.snapshot.time = secs(now - 80_000 + dice.below(160_000) as i64);
            m.snapshot.end = m.snapshot.time;
            all.push(m);
        }
        let gone = lost(&honest, &all, &policy);
        // The best there was of a source without a good one may give way to a good one.
        let good = |id: &SnapshotId| honest.iter().any(|m| m.snapshot.id == *id && m.candidate().rank() == 0);
        assert!(!gone.iter().any(good), "seed {seed}: {gone:?}");
    }
}

#[test]
fn partial_records_make_no_complete_snapshot_go() {
    for seed in 0..300 {
        let dice = &mut Dice::new(seed);
        let (policy, mut honest) = (dice.policy(), honest(dice));
        honest.retain(|m| m.snapshot.completeness == Completeness::Complete && !m.damaged);
        if !honest.iter().any(|m| m.candidate().rank() == 0 && !m.forgotten) {
            continue;
        }
        let now = last_receipt(&honest);
        let mut all = honest.clone();
        all.extend((0..20).map(|n| {
            plausible(dice, &honest, n, now + i64::from(n) * 7000).with(|m| match n % 2 {
                0 => m.snapshot.completeness = Completeness::Partial,
                _ => m.damaged = true,
            })
        }));
        assert!(lost(&honest, &all, &policy).is_empty(), "seed {seed}, {policy}");
    }
}

#[test]
fn the_order_of_the_input_changes_nothing() {
    for seed in 0..100 {
        let dice = &mut Dice::new(seed);
        let (policy, mut snapshots) = (dice.policy(), honest(dice));
        let first = decision(&snapshots, &policy);
        shuffle(dice, &mut snapshots);
        assert_eq!(decision(&snapshots, &policy), first, "seed {seed}");
    }
}

#[test]
fn what_is_kept_is_kept_again_once_the_rest_is_gone() {
    for seed in 0..300 {
        let dice = &mut Dice::new(seed);
        let (policy, mut snapshots) = (dice.policy(), honest(dice));
        // Without doubts: a snapshot that is gone takes with it what was usual, and who came before.
        snapshots.iter_mut().for_each(|m| *m = m.clone().trusted(true, true));
        let kept = kept_ids(&decision(&snapshots, &policy));
        snapshots.retain(|m| kept.contains(&m.snapshot.id));
        assert_eq!(kept_ids(&decision(&snapshots, &policy)), kept, "seed {seed}, {policy}");
    }
}
