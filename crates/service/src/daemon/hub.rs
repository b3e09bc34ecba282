//! Brings what runs say to whoever listens. Who does not keep up is let go: a run never waits for a listener.

use super::plan::Key;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Lines that a listener may be behind.
const BEHIND_MAX: usize = 4096;
/// More may not listen.
const LISTENERS_MAX: usize = 64;

struct Listener {
    only: Option<Key>,
    lines: SyncSender<Arc<str>>,
}

/// Where listeners are.
#[derive(Default)]
pub struct Hub(Mutex<Vec<Listener>>);

impl Hub {
    /// Listens to all runs, or those of one duty. `None` when too many do.
    pub fn listen(&self, only: Option<Key>) -> Option<Receiver<Arc<str>>> {
        let mut listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if listeners.len() >= LISTENERS_MAX {
            return None;
        }
        let (lines, receiver) = sync_channel(BEHIND_MAX);
        listeners.push(Listener { only, lines });
        Some(receiver)
    }

    /// Tells a line of a run; its last one ends the listening of those who wanted only this.
    pub fn tell(&self, of: &Key, line: &Arc<str>, is_last: bool) {
        let mut listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|listener| match &listener.only {
            Some(only) if only != of => true,
            only => listener.lines.try_send(line.clone()).is_ok() && !(is_last && only.is_some()),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Duty;

    #[test]
    fn listeners_hear_their_run_to_its_end_and_laggards_are_let_go() {
        let key = |subject: &str| Key { duty: Duty::Run, subject: subject.into() };
        let hub = Hub::default();
        let (one, all) = (hub.listen(Some(key("a"))).unwrap(), hub.listen(None).unwrap());
        hub.tell(&key("b"), &"other".into(), true);
        hub.tell(&key("a"), &"line".into(), false);
        hub.tell(&key("a"), &"end".into(), true);
        hub.tell(&key("a"), &"next run".into(), false);
        assert_eq!(one.iter().map(|line| line.to_string()).collect::<Vec<_>>(), ["line", "end"]);
        assert_eq!(all.try_iter().count(), 4);
        for _ in 0..BEHIND_MAX + 2 {
            hub.tell(&key("a"), &"flood".into(), false);
        }
        assert_eq!(all.iter().count(), BEHIND_MAX, "it was let go, and its channel ends");
    }
}
