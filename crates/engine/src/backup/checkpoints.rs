//! When a run notes what it has stored, so that one that is killed costs the next run little.
//!
//! A checkpoint is a segment of the index and a pending record: a few requests, and on a disk that everything so far is
//! durable, which the end of the run would do anyway. Each segment is looked through by later runs until a prune merges
//! them, so a long run makes fewer: what is lost is an eighth of what was done, or five minutes.

use format::kind::Timestamp;
use std::sync::Arc;

/// The first ones come after so many seconds each.
const SECS_MIN: i64 = 10;
/// Nobody stores again more than this.
const SECS_MAX: i64 = 300;

/// Whether it is time for one, asked again and again. A clock that is set back begins anew.
pub(super) fn pace(clock: Arc<dyn Fn() -> Timestamp + Send + Sync>) -> Box<dyn FnMut() -> bool> {
    let mut began = clock().secs;
    let mut last = began;
    Box::new(move || {
        let now = clock().secs;
        if now < last {
            (began, last) = (now, now);
        }
        let wait = ((last - began) / 8).clamp(SECS_MIN, SECS_MAX);
        let is_time = now - last >= wait;
        if is_time {
            last = now;
        }
        is_time
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI64, Ordering};

    #[test]
    fn little_is_lost_of_a_run_of_any_length_and_a_clock_that_jumps_does_no_harm() {
        let now = Arc::new(AtomicI64::new(1_000_000));
        let shown = now.clone();
        let mut is_time = pace(Arc::new(move || Timestamp { secs: shown.load(Ordering::Relaxed), nanos: 0 }));
        let (mut last, mut made) = (0, 0);
        for second in 1..=36_000 {
            now.store(1_000_000 + second, Ordering::Relaxed);
            if is_time() {
                (last, made) = (second, made + 1);
            }
            assert!(second - last <= SECS_MAX.min(SECS_MIN.max(second / 8)), "{second} after {last}");
        }
        assert!((100..200).contains(&made), "{made} segments in ten hours");
        now.store(5, Ordering::Relaxed);
        assert!(!is_time());
        now.store(5 + SECS_MIN, Ordering::Relaxed);
        assert!(is_time());
    }
}
