//! How many threads read files: as many as it takes until something else is the bottleneck.
//!
//! A disk of one spindle is fastest with one reader, a network file system with dozens, and nobody can tell
//! which one a path is on. So it is tried: while the conductor mostly waits for readers, their number is
//! changed by steps, and a step that does not read a tenth faster is taken back. While something else is the
//! bottleneck nothing changes. The order of what is stored does not depend on any of it.
//!
//! Measured by the BorgBackup project in 2026 (its discussion 10161): one disk 0.68x at ten readers, SATA SSD
//! 1.7x at four, small files on NVMe 3x at six, a far network file system still gaining at ten.

/// Nanoseconds over which a number of readers is judged.
const WINDOW_NANOS: u64 = 200_000_000;
/// A step must pay by this much to stay.
const GAIN_PERCENT: u64 = 110;
/// Judged windows without another try after one that did not pay.
const REST_WINDOWS: u32 = 16;

/// What is being tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Nothing yet, or nothing for a while.
    None,
    More,
    Fewer,
}

/// Chooses the number of readers.
#[derive(Debug)]
pub(super) struct Pace {
    readers: usize,
    readers_max: usize,
    /// Before the step that is being tried: readers, and entries a second.
    before: (usize, u64),
    step: Step,
    /// The direction to try next.
    next: Step,
    rest: u32,
    window_began: u64,
    waited_nanos: u64,
    entries: u64,
}

impl Pace {
    /// Begins with `readers` at the time `now`, in nanoseconds of a clock that only goes forward.
    pub(super) fn new(readers: usize, readers_max: usize, now: u64) -> Self {
        Pace {
            readers,
            readers_max: readers_max.max(readers),
            before: (readers, 0),
            step: Step::None,
            next: Step::More,
            rest: 0,
            window_began: now,
            waited_nanos: 0,
            entries: 0,
        }
    }

    #[cfg(test)]
    fn readers(&self) -> usize {
        self.readers
    }

    /// Takes note of a batch of so many entries that the conductor waited for; says how many readers there
    /// are to be from now on.
    pub(super) fn took(&mut self, entries: u64, waited_nanos: u64, now: u64) -> usize {
        self.entries += entries;
        self.waited_nanos += waited_nanos;
        let window = now.saturating_sub(self.window_began);
        if window >= WINDOW_NANOS {
            let rate = self.entries.saturating_mul(1_000_000_000) / window;
            let reading_is_slowest = self.waited_nanos * 2 > window;
            self.judge(rate, reading_is_slowest);
            (self.window_began, self.waited_nanos, self.entries) = (now, 0, 0);
        }
        self.readers
    }

    fn judge(&mut self, rate: u64, reading_is_slowest: bool) {
        let paid = rate * 100 >= self.before.1 * GAIN_PERCENT;
        match self.step {
            Step::None if self.rest > 0 => self.rest -= 1,
            Step::None if !reading_is_slowest => {}
            Step::None => self.try_step(self.next, rate),
            // With something else as the bottleneck the step was not needed, but does no harm.
            _ if !reading_is_slowest => self.step = Step::None,
            step if paid => self.try_step(step, rate),
            step => {
                self.readers = self.before.0;
                self.next = if step == Step::More { Step::Fewer } else { Step::More };
                // After both directions failed, this number is the right one for a while.
                self.rest = if step == Step::Fewer { REST_WINDOWS } else { 0 };
                self.step = Step::None;
            }
        }
    }

    fn try_step(&mut self, step: Step, rate: u64) {
        let readers = match step {
            Step::Fewer => (self.readers / 2).max(1),
            _ => (self.readers + self.readers.div_ceil(2)).min(self.readers_max),
        };
        if readers == self.readers {
            self.step = Step::None;
            self.next = if step == Step::More { Step::Fewer } else { Step::More };
            self.rest = REST_WINDOWS;
            return;
        }
        (self.before, self.step) = ((self.readers, rate), step);
        self.readers = readers;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Readers after so many windows in which reading is the bottleneck, at a rate that depends on them.
    fn after(windows: u32, start: usize, rate: impl Fn(usize) -> u64) -> usize {
        let mut pace = Pace::new(start, 32, 0);
        let mut now = 0;
        for _ in 0..windows {
            now += WINDOW_NANOS;
            let entries = rate(pace.readers()) * WINDOW_NANOS / 1_000_000_000;
            pace.took(entries, WINDOW_NANOS * 9 / 10, now);
        }
        pace.readers()
    }

    #[test]
    fn a_far_file_system_gets_many_readers() {
        assert_eq!(after(20, 4, |n| 500 * n as u64), 32);
    }

    #[test]
    fn a_disk_of_one_spindle_gets_one() {
        assert_eq!(after(12, 4, |n| 3000 / (n as u64 + 1)), 1);
    }

    #[test]
    fn where_the_number_does_not_matter_it_stays() {
        let seen: Vec<usize> = (1..60).map(|windows| after(windows, 4, |_| 10_000)).collect();
        let elsewhere = seen.iter().filter(|n| **n != 4).count();
        assert!(elsewhere < 10, "{seen:?}");
    }

    #[test]
    fn a_disk_with_a_best_number_is_kept_near_it() {
        let best = |n: usize| if n <= 8 { 1000 * n as u64 } else { 8000 - 100 * (n as u64 - 8) };
        let n = after(200, 4, best);
        assert!((6..=12).contains(&n), "{n}");
    }

    #[test]
    fn nothing_changes_while_something_else_is_slower() {
        let mut pace = Pace::new(4, 32, 0);
        for window in 1..50 {
            pace.took(1000, WINDOW_NANOS / 10, window * WINDOW_NANOS);
        }
        assert_eq!(pace.readers(), 4);
    }

    #[test]
    fn a_clock_that_jumps_does_no_harm() {
        let mut pace = Pace::new(4, 32, u64::MAX / 2);
        for now in [0, u64::MAX, 5, u64::MAX / 3, 7] {
            let readers = pace.took(10, 1 << 40, now);
            assert!((1..=32).contains(&readers));
        }
    }
}
