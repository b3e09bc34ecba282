//! What time it is by the store's own clock.
//!
//! Ages are differences of two times of *one* clock: when the store received an object, and what the store
//! says now. The clock of this machine may be days off, and must neither end a protection early nor make
//! anything deletable.

use crate::error::RepoResult;
use crate::names;
use crate::open::Repo;
use crate::reserve;
use crate::seed::Seed;
use format::id::hex;
use format::kind::Timestamp;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use storage::{ErrorKind, PutMode};

/// Asks the store by storing a small object and removing it again. `None` where the place tells no times.
pub fn store_now(repo: &Repo, seed: &mut Seed) -> RepoResult<Option<Timestamp>> {
    if !repo.store().capabilities().received_time {
        return Ok(None);
    }
    let name = names::name(&format!("{}{}", names::CLOCK, hex(&seed.draw::<8>())));
    reserve::put(repo, &name, b"?", PutMode::CreateNew)?;
    let told = repo.store().stat(&name).map_err(|e| repo.store_error(e));
    match repo.store().delete(&name) {
        // What an append-only place keeps is a byte that nobody reads.
        Err(e) if !matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Denied) => {
            return Err(repo.store_error(e));
        }
        _ => {}
    }
    Ok(told?.received.map(timestamp))
}

/// So long after the store received it, an object that was cut off while it was written is nobody's any more: whoever
/// wrote it has ended, or has long since found out.
pub(crate) const CUT_OFF_AFTER: Duration = Duration::from_secs(24 * 3600);

/// The earlier of the store's time and this machine's: no protection ends before both say so.
pub fn earliest(repo: &Repo, here: Timestamp, seed: &mut Seed) -> RepoResult<Timestamp> {
    Ok(store_now(repo, seed)?.map_or(here, |there| there.min(here)))
}

/// The system's form of a time; `None` beyond what it holds.
pub fn system_time(time: Timestamp) -> Option<SystemTime> {
    let secs = Duration::from_secs(time.secs.unsigned_abs());
    let whole = if time.secs < 0 { UNIX_EPOCH.checked_sub(secs) } else { UNIX_EPOCH.checked_add(secs) };
    whole?.checked_add(Duration::from_nanos(time.nanos.into()))
}

/// A system's time as the format has it.
pub fn timestamp(time: SystemTime) -> Timestamp {
    let (secs, nanos) = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (after.as_secs() as i64, after.subsec_nanos()),
        Err(before) => {
            let before = before.duration();
            match before.subsec_nanos() {
                0 => (-(before.as_secs() as i64), 0),
                nanos => (-(before.as_secs() as i64) - 1, 1_000_000_000 - nanos),
            }
        }
    };
    Timestamp { secs, nanos }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_are_rounded_down() {
        assert_eq!(
            timestamp(UNIX_EPOCH + Duration::from_millis(1500)),
            Timestamp { secs: 1, nanos: 500_000_000 }
        );
        let before = UNIX_EPOCH - Duration::from_millis(1500);
        assert_eq!(timestamp(before), Timestamp { secs: -2, nanos: 500_000_000 });
        assert_eq!(timestamp(UNIX_EPOCH - Duration::from_secs(2)), Timestamp { secs: -2, nanos: 0 });
        for millis in [-2500, -2000, -1, 0, 1500] {
            let time = UNIX_EPOCH + Duration::from_secs(10) - Duration::from_millis((10_000 - millis) as u64);
            assert_eq!(system_time(timestamp(time)), Some(time));
        }
    }
}
