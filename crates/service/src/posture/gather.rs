//! What the catalog knows of everything that is wanted.

use super::{DrillSeen, PairSeen, PlaceSeen, Seen, Wanted};
use crate::catalog::{Catalog, CatalogResult, Drill, DrillResult, RunResult, Verification};

/// Looks up results in the catalog; more than this many failures in a row are told as this many.
const RESULTS_LOOKED_AT: usize = 50;
/// Partial verifications that are added up: a year of daily ones.
const VERIFICATIONS_LOOKED_AT: usize = 400;

/// What the catalog knows.
pub fn seen_in(catalog: &Catalog, wanted: &Wanted) -> CatalogResult<Seen> {
    let mut seen = Seen::default();
    for source in &wanted.sources {
        for pair in &source.pairs {
            seen.pairs.push(pair_known(catalog, &source.name, &pair.repository)?);
        }
        seen.drills.push(drills_known(catalog, wanted, &source.name)?);
    }
    for place in &wanted.places {
        seen.places.push(place_known(catalog, &place.name)?);
    }
    Ok(seen)
}

/// What the catalog knows of a source in a repository.
pub fn pair_known(catalog: &Catalog, source: &str, repository: &str) -> CatalogResult<PairSeen> {
    let copies = catalog.copies(source, repository)?;
    let good = copies.iter().find(|copy| copy.good);
    let results = catalog.last_results(source, repository, RESULTS_LOOKED_AT)?;
    let failures = results.iter().take_while(|r| r.result == RunResult::Failed).count();
    Ok(PairSeen {
        source: source.to_string(),
        repository: repository.to_string(),
        good: good.map(|copy| copy.time),
        newest: copies.first().map(|copy| copy.time),
        first: copies.iter().map(|copy| copy.made).min(),
        copies: copies.iter().filter(|copy| copy.good).count() as u64,
        drilled: copies.iter().filter_map(|copy| copy.drilled).max(),
        files: good.map_or(0, |copy| copy.files),
        bytes: good.map_or(0, |copy| copy.bytes),
        failures: failures as u32,
        same_disk: catalog
            .place(repository)?
            .is_some_and(|(_, facts)| facts.same_disk.iter().any(|s| s == source)),
        error: results.first().filter(|_| failures > 0).and_then(|r| r.error.clone()),
    })
}

fn drills_known(catalog: &Catalog, wanted: &Wanted, source: &str) -> CatalogResult<DrillSeen> {
    let mut known = DrillSeen { source: source.to_string(), ..DrillSeen::default() };
    for place in &wanted.places {
        let drills = catalog.drills_of(source, &place.name, DRILLS_LOOKED_AT)?;
        let passed = drills.iter().find(|d| d.result == DrillResult::Passed).map(|d| d.at);
        known.passed = known.passed.max(passed);
        if let Some(failed) = standing_failure(&drills)
            && known.failed.as_ref().is_none_or(|(at, _)| *at < failed.at)
        {
            known.failed = Some((failed.at, place.name.clone()));
        }
    }
    Ok(known)
}

/// Drills of a source in a repository, the newest, that a failure among them is told of.
const DRILLS_LOOKED_AT: usize = 20;

/// The newest failure, newest first, that nothing has answered since: what failed of one snapshot is not put right by
/// another one, unless both were the newest of their time.
fn standing_failure(drills: &[Drill]) -> Option<&Drill> {
    let is_newest = |drill: &Drill| {
        let detail: serde_json::Value = serde_json::from_str(&drill.detail).unwrap_or_default();
        detail["age"] == "newest"
    };
    let answers = |later: &Drill, failed: &Drill| {
        later.result == DrillResult::Passed
            && (later.snapshot == failed.snapshot || (is_newest(later) && is_newest(failed)))
    };
    let stands = |n: &usize| {
        let failed = &drills[*n];
        failed.result == DrillResult::Failed && !drills[..*n].iter().any(|later| answers(later, failed))
    };
    (0..drills.len()).find(stands).map(|n| &drills[n])
}

/// What the catalog knows of a place.
pub fn place_known(catalog: &Catalog, repository: &str) -> CatalogResult<PlaceSeen> {
    let place = catalog.place(repository)?;
    let verifications = catalog.verifications(repository, VERIFICATIONS_LOOKED_AT)?;
    let (at, facts) = place.map_or_else(Default::default, |(at, facts)| (Some(at), facts));
    Ok(PlaceSeen {
        repository: repository.to_string(),
        // What a run noted of a place is no look at it: it has no time.
        at: at.filter(|at| *at > 0),
        verified: verified_since(&verifications),
        damaged: damaged_since(&verifications),
        immutable_proven: facts.immutable_proven,
        deletable: facts.deletable,
        free_bytes: facts.free_bytes,
        stored_bytes: facts.stored_bytes,
        erased: facts.erased,
    })
}

/// The latest moment since when verifications, newest first, together have read everything once. Each rolling
/// run reads what was not read for longest, so shares add up.
fn verified_since(verifications: &[Verification]) -> Option<i64> {
    let mut sum = 0.0;
    for v in verifications.iter().take_while(|v| v.damaged == 0).filter(|v| v.error.is_none()) {
        sum += v.ratio.clamp(0.0, 1.0);
        // 30 times 1/30 is a little less than 1.
        if sum > 0.999 {
            return Some(v.at);
        }
    }
    None
}

/// When damage was last found, unless everything was read and found right since.
fn damaged_since(verifications: &[Verification]) -> Option<i64> {
    let at = verifications.iter().position(|v| v.damaged > 0)?;
    match verified_since(&verifications[..at]) {
        Some(_) => None,
        None => Some(verifications[at].at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verification(at: i64, ratio: f64, damaged: u64) -> Verification {
        let (repository, kind) = ("nas".to_string(), "scrub".to_string());
        Verification { repository, at, kind, ratio, bytes: 0, damaged, error: None }
    }

    #[test]
    fn rolling_verifications_add_up_and_damage_ends_what_they_prove() {
        let daily: Vec<_> = (0..40).map(|day| verification(1000 - day, 1.0 / 30.0, 0)).collect();
        assert_eq!(verified_since(&daily), Some(1000 - 29));
        assert_eq!(verified_since(&daily[..29]), None);
        let mut hurt = daily.clone();
        hurt[10].damaged = 1;
        assert_eq!((verified_since(&hurt), damaged_since(&hurt)), (None, Some(990)));
        hurt.insert(0, verification(2000, 1.0, 0));
        assert_eq!((verified_since(&hurt), damaged_since(&hurt)), (Some(2000), None));
        let failed = Verification { error: Some("away".into()), ..verification(3000, 1.0, 0) };
        assert_eq!(verified_since(&[failed]), None, "what did not finish proves nothing");
    }

    #[test]
    fn a_failed_drill_stands_until_the_same_snapshot_or_a_newer_newest_one_passes() {
        let drill = |at: i64, snapshot: &str, age: &str, passed: bool| Drill {
            name: "d".into(),
            source: "home".into(),
            repository: "nas".into(),
            snapshot: Some(snapshot.into()),
            at,
            seconds: 1.0,
            result: if passed { DrillResult::Passed } else { DrillResult::Failed },
            files: 1,
            bytes: 1,
            rto_seconds: None,
            detail: format!("{{\"age\":\"{age}\"}}"),
        };
        let failed = drill(1, "b", "newest", false);
        let stands = |later: Drill| standing_failure(&[later, failed.clone()]).map(|d| d.at);
        assert_eq!(standing_failure(std::slice::from_ref(&failed)).map(|d| d.at), Some(1));
        assert_eq!(
            stands(drill(2, "a", "oldest", true)),
            Some(1),
            "another snapshot says nothing of this one"
        );
        assert_eq!(stands(drill(2, "b", "random", true)), None);
        assert_eq!(stands(drill(2, "c", "newest", true)), None);
        assert_eq!(stands(drill(2, "c", "newest", false)), Some(2));
    }
}
