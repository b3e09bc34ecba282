//! Histories of a repository, invented from seeds: several clients, a place that fails, and a plain model that
//! knows what must be there.
//!
//! What is real: `repo` whole (opening, index, writing, publishing, reading, checking, forgetting), run inline,
//! every request to the place a point where another client may go on. What is not: the mass of runs saves maps
//! of files through [`crate::mini`] instead of folders through `engine`; [`folder`] does that with fewer seeds.
//! The place is `storage::SimStore`; what real places do is judged by the conformance suite of `storage`.
//!
//! One seed gives one history: every request and its answer is the same again.

pub mod actors;
pub mod campaign;
pub mod folder;
pub mod history;
mod judge;
pub mod life;
pub mod oracle;
#[cfg(feature = "planted")]
pub mod planted;
pub mod sweep;
pub mod weather;
