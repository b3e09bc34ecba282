//! Whether now is a good moment: battery, connections that cost by the byte, quiet hours, a pause.
//!
//! Conditions put a run off, they never cancel it; and none of them puts it off for ever: past a greatest age
//! of the newest snapshot it runs all the same. What cannot be found out (no battery, no NetworkManager) is
//! taken as fine, so that a server without either is never kept waiting.

mod network;
mod pause;
mod power;
mod quiet;

pub use network::{Metered, metered};
pub use pause::{Pause, PauseFile};
pub use power::Power;
pub use quiet::{Window, WindowError};

use crate::schedule::shown_length;
use std::fmt;
use std::time::Duration;

/// What must hold for a run to begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// On battery only above so many per cent.
    pub battery_above: Option<u8>,
    /// Not on connections that cost by the byte.
    pub unmetered: bool,
    /// With a newest snapshot older than this, none of it counts.
    pub unless_older_than: Option<Duration>,
}

impl Wanted {
    /// Whether there is anything to look at.
    pub fn anything(&self) -> bool {
        self.battery_above.is_some() || self.unmetered
    }
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where the machine's power comes from.
    pub power: Power,
    /// What the connection costs.
    pub metered: Metered,
    /// Whether a quiet time is on in which nothing begins.
    pub quiet: bool,
}

/// Why a run waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// On battery, with so many per cent left.
    Battery(u8),
    /// The connection costs by the byte.
    Metered,
    /// A quiet time is on.
    Quiet,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Battery(percent) => write!(f, "on battery ({percent} %)"),
            Reason::Metered => f.write_str("the connection costs by the byte"),
            Reason::Quiet => f.write_str("quiet hours"),
        }
    }
}

/// Whether a run may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Go,
    /// It may, although these speak against it: the newest snapshot is as old as this.
    GoAllTheSame(Vec<Reason>, Duration),
    /// It waits for these to end.
    Wait(Vec<Reason>),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list =
            |reasons: &[Reason]| reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        match self {
            Verdict::Go => f.write_str("nothing speaks against it"),
            Verdict::Wait(reasons) => write!(f, "waits: {}", list(reasons)),
            Verdict::GoAllTheSame(reasons, age) => {
                write!(
                    f,
                    "runs although {}: the newest snapshot is {} old",
                    list(reasons),
                    shown_length(*age)
                )
            }
        }
    }
}

/// Judges what was found. `age` is that of the newest snapshot, or how long there has been none.
pub fn judge(wanted: &Wanted, found: &Found, age: Option<Duration>) -> Verdict {
    let low = |above: u8| found.power.battery.filter(|percent| found.power.on_battery && *percent <= above);
    let battery = wanted.battery_above.and_then(low).map(Reason::Battery);
    let metered = (wanted.unmetered && found.metered == Metered::Yes).then_some(Reason::Metered);
    let quiet = found.quiet.then_some(Reason::Quiet);
    let reasons: Vec<Reason> = battery.into_iter().chain(metered).chain(quiet).collect();
    if reasons.is_empty() {
        return Verdict::Go;
    }
    match (wanted.unless_older_than, age) {
        (Some(greatest), Some(age)) if age > greatest => Verdict::GoAllTheSame(reasons, age),
        _ => Verdict::Wait(reasons),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn found(on_battery: bool, battery: Option<u8>, metered: Metered, quiet: bool) -> Found {
        Found { power: Power { on_battery, battery }, metered, quiet }
    }

    #[test]
    fn what_is_not_known_keeps_nobody_waiting() {
        let wanted = Wanted { battery_above: Some(30), unmetered: true, unless_older_than: None };
        for nothing in [
            found(false, None, Metered::Unknown, false),
            found(true, None, Metered::No, false),
            found(false, Some(5), Metered::No, false),
            found(true, Some(31), Metered::No, false),
        ] {
            assert_eq!(judge(&wanted, &nothing, None), Verdict::Go, "{nothing:?}");
        }
    }

    #[test]
    fn each_reason_is_named() {
        let wanted = Wanted { battery_above: Some(30), unmetered: true, unless_older_than: None };
        let verdict = judge(&wanted, &found(true, Some(30), Metered::Yes, true), Some(1000 * HOUR));
        assert_eq!(verdict, Verdict::Wait(vec![Reason::Battery(30), Reason::Metered, Reason::Quiet]));
        assert_eq!(
            verdict.to_string(),
            "waits: on battery (30 %), the connection costs by the byte, quiet hours"
        );
        // What is not wanted does not count.
        let other = judge(&Wanted::default(), &found(true, Some(3), Metered::Yes, false), None);
        assert_eq!(other, Verdict::Go);
    }

    #[test]
    fn nothing_is_put_off_for_ever() {
        let wanted = Wanted { battery_above: Some(30), unmetered: true, unless_older_than: Some(72 * HOUR) };
        let bad = found(true, Some(10), Metered::No, true);
        assert!(matches!(judge(&wanted, &bad, Some(72 * HOUR)), Verdict::Wait(_)));
        let verdict = judge(&wanted, &bad, Some(73 * HOUR));
        assert_eq!(
            verdict.to_string(),
            "runs although on battery (10 %), quiet hours: the newest snapshot is 3 days 1 hour old"
        );
    }
}
