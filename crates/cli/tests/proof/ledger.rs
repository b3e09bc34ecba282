//! Which snapshots must be there, kept by the test from exit codes alone.

use crate::tree::Tree;
use std::collections::BTreeMap;

/// What may have become of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Saved, not forgotten: it must be listed and restore exactly.
    Kept,
    /// Forgotten within the undo window: it must come back whole.
    Forgotten,
    /// Forgotten, and somebody ended the undo window since: it may be gone.
    Leaving,
}

#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) tree: Tree,
    pub(crate) state: State,
    /// Its run said that something could not be read: a restore says so, too.
    pub(crate) lacks: bool,
}

/// Snapshots by their id.
#[derive(Clone, Default)]
pub(crate) struct Ledger(pub(crate) BTreeMap<String, Entry>);

impl Ledger {
    /// Ids of the snapshots in a state.
    pub(crate) fn ids(&self, state: State) -> Vec<String> {
        self.0.iter().filter(|(_, entry)| entry.state == state).map(|(id, _)| id.clone()).collect()
    }

    pub(crate) fn state(&self, id: &str) -> Option<State> {
        self.0.get(id).map(|entry| entry.state)
    }

    pub(crate) fn set(&mut self, id: &str, state: State) {
        if let Some(entry) = self.0.get_mut(id) {
            entry.state = state;
        }
    }

    /// The undo window ends for all that are forgotten.
    pub(crate) fn end_undo(&mut self) {
        for entry in self.0.values_mut().filter(|entry| entry.state == State::Forgotten) {
            entry.state = State::Leaving;
        }
    }
}
