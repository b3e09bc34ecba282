//! The machine being protected: what is on it, how to read it, and the way back onto it.
//!
//! Walks the file systems in a fixed order, reads contents and every attribute, and puts both back below a
//! target that hostile names and links cannot lead out of. Works relative to directory handles throughout,
//! so paths may be longer than the kernel takes. Knows no repository and prints nothing.

mod directory;
mod existing;
mod folder_files;
mod getent;
mod glob;
mod linux;
mod linux_attributes;
mod lister;
mod order;
mod remove;

mod ahead;
pub mod apply;
pub mod attributes;
pub mod bare;
pub mod block;
pub mod databases;
pub mod explain;
pub mod files_from;
pub mod freeze;
pub mod listing;
pub mod owners;
pub mod pattern;
pub mod produce;
pub mod read;
pub mod restore_file;
pub mod rules;
pub mod sources;
pub mod stat;
pub mod stream;
pub mod system;
pub mod target;
pub mod view;
pub mod walk;

pub use apply::{Attributes, Part, Unapplied};
pub use attributes::{Extras, Xattr};
pub use directory::Directory;
pub use existing::device_numbers;
pub use explain::Explanation;
pub use listing::{Excluded, Fault, FaultKind, Found, Listing, NotEntered};
pub use owners::Owners;
pub use remove::remove_all;
pub use rules::{Exclusion, Rules};
pub use stat::{Kind, Stat, Timestamp};
pub use target::{Existing, InPlace, NewFile, Target, TargetDir, TargetOptions};
pub use view::{View, Views};
pub use walk::{Walk, WalkOptions};
