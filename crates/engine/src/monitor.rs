//! What an operation tells while it runs.

/// What an operation is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Opening, loading the index.
    Prepare,
    /// Reading the source, or bringing files back.
    Work,
    /// Storing what is left, checking that all is stored, publishing.
    Publish,
    /// Comparing what was restored with what was recorded.
    Verify,
}

/// Counters of a running operation. What is not known is 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What it is busy with.
    pub phase: Phase,
    /// Files done.
    pub files_done: u64,
    /// Bytes of these files.
    pub bytes_done: u64,
    /// Files in all, as far as known (an estimate from the parent snapshot during a backup).
    pub files_total: u64,
    /// Bytes in all, as far as known.
    pub bytes_total: u64,
    /// Bytes stored in, or fetched from, the repository.
    pub bytes_stored: u64,
    /// Problems so far.
    pub problems: u64,
    /// A path being worked on, as raw bytes.
    pub current: Vec<u8>,
}

/// How bad a note is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Worth knowing; changes no outcome.
    Info,
    /// Some source data could not be read, or something could not be restored: exit code 3.
    Problem,
    /// Stored data is missing or changed: exit code 5.
    Damage,
}

/// Something a user should know about one path or object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// How bad it is.
    pub severity: Severity,
    /// The path or object, as raw bytes.
    pub item: Vec<u8>,
    /// What was being done: "open", "read", "list", "restore owner" …
    pub during: &'static str,
    /// Why it failed, in words.
    pub text: String,
    /// The system's error number; 0 when there is none. Notes are grouped by it.
    pub errno: i32,
}

/// What became of one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Saved for the first time, or restored where nothing was.
    New,
    /// Saved again because it changed, or restored over something else.
    Modified,
    /// Taken over from the parent, or left as it is because it is right already.
    Unchanged,
    /// Removed from the target.
    Deleted,
    /// Left out by a rule.
    Excluded,
}

/// Takes what an operation tells. Called from one thread at a time, often; must be quick.
pub trait Monitor: Send + Sync {
    /// Counters moved.
    fn progress(&self, _progress: &Progress) {}
    /// A path or object needs to be named.
    fn note(&self, _note: &Note) {}
    /// Whether [`Monitor::item`] is wanted for every path.
    fn wants_items(&self) -> bool {
        false
    }
    /// One path was dealt with; `bytes` is its length.
    fn item(&self, _action: Action, _path: &[u8], _bytes: u64) {}
    /// Whether the user wants to stop. The operation then ends soon, leaving everything consistent.
    fn cancelled(&self) -> bool {
        false
    }
}

/// Tells nobody.
pub struct Silent;

impl Monitor for Silent {}
