//! Places where only one machine may write, and which one that is.
//!
//! A place that shows new objects late cannot be shared by writers: one would not see what another wrote,
//! and prune what it needs. The repository's configuration names the machine; everybody else reads. The name
//! is one of the words about the place (`only_writer=ID/NAME`), so that programs that know nothing of it
//! still show it.

use crate::error::RepoResult;
use crate::open::Repo;
use crate::seed::Seed;
use format::config::Parameters;
use format::id::WriterId;
use std::time::Duration;

const WORD: &str = "only_writer=";
/// Longest name of a machine that is kept (bytes).
const NAME_BYTES_MAX: usize = 60;
/// Where new objects are shown late, nothing is deleted before a day has passed since it was condemned: what
/// needs it may be there and not be shown yet.
const LATE_GRACE: Duration = Duration::from_secs(24 * 3600);

/// The machine that writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnlyWriter {
    /// The installation.
    pub writer: WriterId,
    /// Its machine's name, for people.
    pub name: String,
}

impl OnlyWriter {
    /// The machine that the configuration names, if it names one.
    pub fn of(parameters: &Parameters) -> Option<Self> {
        let word = parameters.probed.iter().rev().find_map(|word| word.strip_prefix(WORD))?;
        let (id, name) = word.split_once('/')?;
        Some(OnlyWriter { writer: WriterId::from_hex(id)?, name: name.to_string() })
    }

    /// The word that names it.
    pub fn word(&self) -> String {
        let plain = |c: &char| c.is_ascii_graphic() && *c != '/';
        let name: String = self.name.chars().filter(plain).take(NAME_BYTES_MAX).collect();
        format!("{WORD}{}/{name}", self.writer.hex())
    }

    /// What everybody else is told.
    pub fn refusal(&self) -> String {
        format!(
            "this place shows new objects late, so only one machine may write to it, and that is {:?}; \
             it is moved here with: lifeboat repo info --take-over",
            self.name
        )
    }

    /// Makes this the machine that writes from now on.
    pub fn take_over(&self, repo: &mut Repo, seed: &mut Seed) -> RepoResult<()> {
        repo.update_parameters(seed, |parameters| {
            parameters.probed.retain(|word| !word.starts_with(WORD));
            parameters.probed.push(self.word());
        })
    }
}

/// Whether the probe of the place saw that new objects are shown late.
pub fn shows_late(parameters: &Parameters) -> bool {
    let late = |word: &String| matches!(word.as_str(), "read_after_write=no" | "list_after_write=no");
    parameters.probed.iter().any(late)
}

/// The grace period that a prune keeps there at least.
pub(crate) fn grace_at_least(parameters: &Parameters, wanted: Duration) -> Duration {
    if shows_late(parameters) { wanted.max(LATE_GRACE) } else { wanted }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probed(words: &[&str]) -> Parameters {
        Parameters { probed: words.iter().map(ToString::to_string).collect(), ..Parameters::default() }
    }

    #[test]
    fn the_machine_is_named_by_a_word_that_fits_on_a_line() {
        let mine = OnlyWriter { writer: WriterId([7; 16]), name: "nas/\u{1b}[2J of us".into() };
        let read = OnlyWriter::of(&probed(&["x=y", &mine.word()])).unwrap();
        assert_eq!((read.writer, read.name.as_str()), (mine.writer, "nas[2Jofus"));
        assert_eq!(OnlyWriter::of(&probed(&["only_writer=zz/x", "list_after_write=no"])), None);
    }

    #[test]
    fn what_was_condemned_at_a_late_place_stays_for_a_day() {
        let (late, prompt) = (probed(&["list_after_write=no"]), probed(&["list_after_write=yes"]));
        assert_eq!(grace_at_least(&late, Duration::ZERO), LATE_GRACE);
        assert_eq!(grace_at_least(&late, LATE_GRACE * 3), LATE_GRACE * 3);
        assert_eq!(grace_at_least(&prompt, Duration::ZERO), Duration::ZERO);
    }
}
