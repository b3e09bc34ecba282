//! What may not displace others does not, stays as long as it must, and goes when it may.

use super::*;
use format::id::HoldId;

fn daily(days: std::ops::Range<i64>) -> Vec<Made> {
    days.clone().map(|day| Made::day((day - days.start) as u32, day)).collect()
}

fn doubts_of(snapshots: &[Made], n: usize) -> Vec<Doubt> {
    let candidates: Vec<Candidate<'_>> = snapshots.iter().map(Made::candidate).collect();
    doubts(&candidates, LATER)[n].clone()
}

#[test]
fn back_dated_records_fill_no_place_until_they_are_confirmed() {
    // The history of the review: seven forgeries that claim the last minute of the last seven days.
    let mut snapshots = daily(100..130);
    let honest = kept(&snapshots, "7d");
    for k in 0..7 {
        let forged = Made::at(50 + k, secs((124 + i64::from(k)) * DAY - 60));
        snapshots.push(forged.with(|m| {
            m.received = Some(secs(131 * DAY));
            m.snapshot.sequence = 24 + u64::from(k);
            m.snapshot.writer = WriterId([9; 16]);
        }));
    }
    let mut expected = honest.clone();
    expected.extend(50..55); // those that claim less than a day before their receipt are like any other
    let kept_now = kept(&snapshots, "7d");
    assert!(honest[1..].iter().all(|n| kept_now.contains(n)), "{kept_now:?}");
    let late = doubts_of(&snapshots, 30);
    assert_eq!(late, [Doubt::Late { secs: 7 * 86_400 + 60 }]);
    // Confirmed, it takes the place it claims.
    snapshots[33] = snapshots[33].clone().trusted(true, true);
    assert!(!kept(&snapshots, "7d").contains(&26), "53 stands for that day now");
}

#[test]
fn what_the_store_received_says_where_a_snapshot_stands() {
    // A run that began before midnight and ended after it belongs to the day of its receipt.
    let mut snapshots = daily(100..103);
    let long = Made::at(3, secs(102 * DAY + 86_000)).with(|m| {
        m.snapshot.end = secs(103 * DAY + 500);
        m.received = Some(secs(103 * DAY + 501));
    });
    snapshots.push(long);
    assert_eq!(kept(&snapshots, "2d"), [2, 3]);
    // Without times of the store the claim is all there is, and that is told.
    snapshots.iter_mut().for_each(|m| m.received = None);
    let decision = decision(&snapshots, &"2d".parse().unwrap());
    assert!(decision.believes_claims);
    assert_eq!(kept(&snapshots, "2d"), [1, 3]);
}

#[test]
fn snapshots_from_the_future_are_not_the_newest() {
    let mut snapshots = daily(100..110);
    let ahead = Made::day(10, 5000).with(|m| m.received = Some(secs(109 * DAY + 50_000)));
    snapshots.push(ahead);
    assert_eq!(kept(&snapshots, "3d"), [7, 8, 9, 10]);
    assert!(matches!(doubts_of(&snapshots, 10)[..], [Doubt::FromTheFuture { .. }]));
    // Confirming does not make it come true: until then it is newer than every honest one.
    let candidates: Vec<Candidate<'_>> = snapshots.iter().map(Made::candidate).collect();
    let trusted = snapshots[10].clone().trusted(true, true);
    let mut with_trust = candidates[..10].to_vec();
    with_trust.push(trusted.candidate());
    assert!(matches!(doubts(&with_trust, secs(120 * DAY))[10][..], [Doubt::FromTheFuture { .. }]));
    assert_eq!(doubts(&with_trust, secs(5000 * DAY))[10], []);
    // The same without times of the store.
    snapshots[10].received = None;
    let candidates: Vec<Candidate<'_>> = snapshots.iter().map(Made::candidate).collect();
    assert!(matches!(doubts(&candidates, secs(120 * DAY))[10][..], [Doubt::FromTheFuture { .. }]));
}

fn shrink(made: &mut Made, files: u64, bytes: u64) {
    made.snapshot.stats.files_unmodified = files;
    made.snapshot.stats.source_bytes = bytes;
}

#[test]
fn a_snapshot_that_shrank_displaces_nothing_and_goes_when_good_ones_have_come() {
    let mut snapshots = daily(100..110);
    shrink(&mut snapshots[9], 699, 1 << 30);
    assert_eq!(doubts_of(&snapshots, 9), [Doubt::Shrunk { files_percent: 31, bytes_percent: 0 }]);
    assert_eq!(kept(&snapshots, "2"), [7, 8, 9]);
    shrink(&mut snapshots[9], 700, (1 << 30) / 2);
    assert_eq!(doubts_of(&snapshots, 9), [Doubt::Shrunk { files_percent: 0, bytes_percent: 50 }]);
    shrink(&mut snapshots[9], 700, (1 << 30) / 10 * 7 + 7);
    assert_eq!(doubts_of(&snapshots, 9), [], "30 % is not more than 30 %");
    shrink(&mut snapshots[9], 0, 0);
    snapshots.extend((10..13).map(|n| Made::day(n, 100 + i64::from(n))));
    assert_eq!(kept(&snapshots, "2"), [11, 12]);
    assert_eq!(kept(&snapshots, "4"), [8, 9, 10, 11, 12], "beside the four good ones it would be among them");
}

#[test]
fn shrunk_snapshots_become_what_is_usual_after_a_week_or_when_one_is_confirmed() {
    let mut snapshots = daily(100..130);
    snapshots[10..].iter_mut().for_each(|m| shrink(m, 300, 1 << 28));
    let doubted = |snapshots: &[Made]| -> Vec<usize> {
        (0..snapshots.len()).filter(|n| !doubts_of(snapshots, *n).is_empty()).collect()
    };
    // Three of five are needed, and the third is a week old with the twentieth.
    assert_eq!(doubted(&snapshots), (10..19).collect::<Vec<_>>());
    assert_eq!(kept(&snapshots[..19], "3"), (7..19).collect::<Vec<_>>(), "no number of them displaces one");
    assert_eq!(kept(&snapshots, "3"), [27, 28, 29]);
    // One word, and those after it count; those before it go as soon as these cover them.
    snapshots[12] = snapshots[12].clone().trusted(false, true);
    assert_eq!(doubted(&snapshots), [10, 11]);
    assert_eq!(kept(&snapshots[..15], "3"), [12, 13, 14]);
    // The word is about this record, not about whatever stands under its name.
    snapshots[12].hash[31] ^= 1;
    snapshots[13].snapshot.previous = snapshots[12].hash;
    assert_eq!(doubted(&snapshots), (10..19).collect::<Vec<_>>());
}

#[test]
fn a_source_that_shrank_over_the_years_is_not_suspicious_for_ever() {
    // What thinning leaves of a source that halves every year: yearly, then monthly, then daily ones.
    let days: Vec<i64> = [0, 365, 730, 1095, 1460]
        .into_iter()
        .chain((1..12).map(|m| 1460 + 30 * m))
        .chain(1795..1855)
        .collect();
    let mut snapshots: Vec<Made> = (0u32..).zip(&days).map(|(n, day)| Made::day(n, *day)).collect();
    for (made, day) in snapshots.iter_mut().zip(&days) {
        let size = 1e9 * 0.5f64.powf(*day as f64 / 365.0);
        shrink(made, size as u64 / 1000, size as u64);
        made.snapshot.sequence = 10 * *day as u64 + 10; // what lay between is gone
    }
    let newest = snapshots.len() - 1;
    assert_eq!(doubts_of(&snapshots, newest), []);
    let kept = kept(&snapshots, "7d 3m 3y");
    assert!(kept.len() < 25, "{kept:?}");
}

#[test]
fn usual_is_the_median_of_the_last_five_good_ones_of_the_same_source() {
    let mut snapshots = daily(100..107);
    for (n, files) in [100, 1000, 1000, 100_000, 1000, 1000].into_iter().enumerate() {
        shrink(&mut snapshots[n], files, 1 << 30);
    }
    snapshots[4].snapshot.completeness = Completeness::Partial;
    shrink(&mut snapshots[4], 1_000_000, 1 << 30);
    shrink(&mut snapshots[6], 701, 1 << 30);
    assert_eq!(doubts_of(&snapshots, 6), []);
    shrink(&mut snapshots[6], 699, 1 << 30);
    assert!(matches!(doubts_of(&snapshots, 6)[..], [Doubt::Shrunk { files_percent: 31, .. }]));
    snapshots[6].snapshot.sources = vec![b"/etc".to_vec()];
    assert_eq!(doubts_of(&snapshots, 6), [], "another source has a history of its own");
}

#[test]
fn partial_and_damaged_snapshots_displace_only_their_like() {
    let mut snapshots = daily(100..112);
    for n in [8, 10] {
        snapshots[n].snapshot.completeness = Completeness::Partial;
    }
    for n in [9, 11] {
        snapshots[n].damaged = true;
    }
    assert_eq!(kept(&snapshots, "2"), [6, 7, 8, 10, 11]);
    // A source that can never be read completely keeps as many as asked for, not all.
    snapshots.iter_mut().for_each(|m| m.snapshot.completeness = Completeness::Partial);
    snapshots.iter_mut().for_each(|m| m.damaged = false);
    assert_eq!(kept(&snapshots, "2"), [10, 11]);
}

#[test]
fn numbers_that_cannot_be_or_do_not_follow_are_doubted() {
    let fault = |change: fn(&mut Made)| {
        let mut snapshots = daily(100..106);
        change(&mut snapshots[5]);
        doubts_of(&snapshots, 5)
    };
    let doubt = |fault| vec![Doubt::OutOfSequence(fault)];
    assert_eq!(fault(|_| {}), []);
    assert_eq!(fault(|m| m.snapshot.sequence = 0), doubt(SequenceFault::Impossible));
    assert_eq!(fault(|m| m.snapshot.sequence = u64::MAX), doubt(SequenceFault::Impossible));
    assert_eq!(fault(|m| m.snapshot.sequence = (1 << 48) + 1), doubt(SequenceFault::Impossible));
    assert_eq!(fault(|m| m.snapshot.sequence = 1), doubt(SequenceFault::Impossible));
    assert_eq!(fault(|m| m.snapshot.previous = [0; 32]), doubt(SequenceFault::Impossible));
    assert_eq!(fault(|m| m.snapshot.previous[9] ^= 1), doubt(SequenceFault::BrokenChain));
    assert_eq!(fault(|m| m.snapshot.sequence = 4), doubt(SequenceFault::BrokenChain));
    // The one before was removed, or is in another repository: that is nothing unusual.
    assert_eq!(fault(|m| m.snapshot.sequence = 40), []);
    // Two runs at a time begin after the same record, as a run does whose predecessor died before it
    // remembered its number.
    assert_eq!(fault(|m| (m.snapshot.sequence, m.snapshot.previous) = (5, hash(3))), []);
}

#[test]
fn a_repeated_number_is_doubted_where_no_record_before_it_speaks_for_it() {
    let mut snapshots = daily(100..104);
    snapshots.remove(1); // removed by maintenance
    snapshots.push(Made::day(9, 120).with(|m| (m.snapshot.sequence, m.snapshot.previous) = (3, hash(1))));
    assert_eq!(doubts_of(&snapshots, 3), [Doubt::OutOfSequence(SequenceFault::Repeated)]);
    assert_eq!(doubts_of(&snapshots, 1), [], "the earlier one is not touched");
    snapshots[3].snapshot.sources = vec![b"/etc".to_vec()];
    assert_eq!(doubts_of(&snapshots, 3), [], "runs of two sources may begin at once");
    // A forged predecessor that comes later breaks no chain.
    let mut snapshots = daily(100..104);
    snapshots.remove(1);
    snapshots.push(Made::day(9, 120).with(|m| (m.snapshot.sequence, m.snapshot.previous) = (2, hash(0))));
    assert_eq!(doubts_of(&snapshots, 1), []);
}

#[test]
fn the_last_good_snapshot_of_a_source_stays_and_what_is_protected_stays() {
    let mut snapshots = daily(100..105);
    snapshots[2].snapshot.tags = vec!["t".into()];
    let policy = Policy { tags: vec![vec!["t".into()]], ..Policy::default() };
    let kept = |snapshots: &[Made]| -> Vec<u8> {
        kept_ids(&decision(snapshots, &policy)).iter().map(|id| id.0[3]).collect()
    };
    assert_eq!(kept(&snapshots), [2, 4]);
    snapshots[4].snapshot.completeness = Completeness::Partial;
    snapshots[3].damaged = true;
    assert_eq!(kept(&snapshots), [2], "2 is the newest good one, and kept already");
    snapshots[2].forgotten = true;
    assert_eq!(kept(&snapshots), [1]);
    // Outside the scope of a filter it is looked at, and makes nothing else the last.
    snapshots[1].in_scope = false;
    assert_eq!(kept(&snapshots), [] as [u8; 0]);
    snapshots[0].protections = vec![Protection::UnreadableHold(HoldId([1; 8]))];
    assert_eq!(kept(&snapshots), [0]);
    // Where nothing is good, the best there is stays.
    snapshots.iter_mut().for_each(|m| (m.damaged, m.in_scope, m.forgotten) = (true, true, false));
    snapshots[0].protections.clear();
    snapshots[2].snapshot.tags.clear();
    assert_eq!(kept(&snapshots), [4]);
    (snapshots[1].damaged, snapshots[1].snapshot.completeness) = (false, Completeness::Partial);
    assert_eq!(kept(&snapshots), [1]);
}
