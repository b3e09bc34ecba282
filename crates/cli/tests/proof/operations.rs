//! The operations that are killed, one line each: how it is called, and what it may do to snapshots.

use crate::dice::Dice;
use crate::ledger::{Ledger, State};

/// What an operation may do to snapshots, if it gets far enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It adds one of the source as it is.
    Saves,
    /// It forgets the one it is given.
    Forgets,
    /// It forgets those that a policy does not keep.
    Thins,
    /// It adds one with the tree of the one it is given, then forgets that.
    Replaces,
    /// It brings the one it is given back.
    BringsBack,
    /// It ends the undo window of all forgotten ones.
    EndsUndo,
    /// None.
    Keeps,
}

/// One line of the table.
pub(crate) struct Operation {
    /// The arguments; `SNAPSHOT` stands for the one it is given, `SOURCE` for the source, `TAG` for a new word.
    pub(crate) line: &'static str,
    pub(crate) effect: Effect,
    /// How often it is chosen, compared with the others.
    weight: usize,
}

const fn operation(weight: usize, effect: Effect, line: &'static str) -> Operation {
    Operation { line, effect, weight }
}

/// Everything that changes a repository.
pub(crate) const OPERATIONS: &[Operation] = &[
    operation(10, Effect::Saves, "backup --json SOURCE"),
    operation(4, Effect::Forgets, "forget SNAPSHOT"),
    operation(1, Effect::Thins, "forget --keep-last 9"),
    operation(2, Effect::BringsBack, "forget --undo SNAPSHOT"),
    operation(3, Effect::Keeps, "prune"),
    operation(7, Effect::EndsUndo, "prune --undo-window 0 --grace 0"),
    operation(3, Effect::EndsUndo, "prune --undo-window 0 --grace 1s"),
    operation(2, Effect::EndsUndo, "prune --undo-window 0 --grace 0 --max-unused 0 --max-repack 1G"),
    operation(2, Effect::Keeps, "repair"),
    operation(1, Effect::Replaces, "tag --set TAG SNAPSHOT"),
];

/// Snapshots are forgotten when there are more than this, and not when there are fewer than half of it.
const SNAPSHOTS: usize = 12;

/// An operation with all its arguments.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) operation: &'static Operation,
    pub(crate) args: Vec<String>,
    pub(crate) snapshot: Option<String>,
}

impl Call {
    /// Chooses one that is possible now.
    pub(crate) fn choose(dice: &mut Dice, ledger: &Ledger) -> Call {
        let total: usize = OPERATIONS.iter().map(|operation| operation.weight).sum();
        loop {
            let mut at = dice.below(total);
            let chosen = OPERATIONS.iter().find(|operation| {
                let is_here = at < operation.weight;
                at = at.saturating_sub(operation.weight);
                is_here
            });
            let kept = ledger.ids(State::Kept).len();
            let operation = match chosen.expect("the weights add up to the total") {
                o if o.effect == Effect::Saves && kept > SNAPSHOTS => continue,
                o if o.effect == Effect::Forgets && kept < SNAPSHOTS / 2 => continue,
                o => o,
            };
            if let Some(call) = Call::of(operation, dice, ledger) {
                return call;
            }
        }
    }

    /// With a snapshot it makes sense for, if it takes one.
    pub(crate) fn of(operation: &'static Operation, dice: &mut Dice, ledger: &Ledger) -> Option<Call> {
        let snapshot = match operation.line.contains("SNAPSHOT") {
            false => None,
            true => {
                let state =
                    if operation.effect == Effect::BringsBack { State::Forgotten } else { State::Kept };
                Some(dice.pick(&ledger.ids(state))?.clone())
            }
        };
        let mut word = |word: &str| match (word, &snapshot) {
            ("SNAPSHOT", Some(id)) => id.clone(),
            ("SOURCE", _) => "source".to_string(),
            ("TAG", _) => format!("tag-{}", dice.number()),
            _ => word.to_string(),
        };
        let args = operation.line.split(' ').map(&mut word).collect();
        Some(Call { operation, args, snapshot })
    }

    /// Whether the two may run at once and still have one right outcome: who undoes a forget while somebody
    /// else ends the undo window, or forgets the same snapshot, may come too late.
    pub(crate) fn goes_with(&self, other: &Call) -> bool {
        let undoes = |call: &Call| call.operation.effect == Effect::BringsBack;
        let ends = |call: &Call| call.operation.effect == Effect::EndsUndo;
        let same = self.snapshot.is_some() && self.snapshot == other.snapshot;
        let clash = same || (undoes(self) && ends(other)) || (undoes(other) && ends(self));
        !clash
    }
}
