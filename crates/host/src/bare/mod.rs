//! A whole machine onto an empty disk: which partitions and file systems, what starts it, which names change.
//!
//! First a [`Layout`] is planned from what was kept of the old machine and from the new disk; it can be shown and
//! thrown away. Then [`Disk::prepare`] makes it real, whoever calls restores the files below [`Prepared::root`], and
//! [`Prepared::finish`] adapts the table of file systems and the names of networks and installs what boots.
//!
//! Promises: nothing is written to a disk before `prepare`; a disk that is in use is refused; what was mounted is
//! unmounted again, however it ends. File systems keep their UUIDs, so that the restored system finds them as it did.
//! Partitions of an image file are reached by their offsets, so that nothing depends on the kernel's own naming.

mod boot;
mod fstab;
mod layout;
mod network;
mod work;

pub use boot::Firmware;
pub use fstab::{Line, adapted, parse};
pub use layout::{FileSystem, Kept, Layout, Partition, Problem, Role, plan};
pub use network::{Renaming, guess, is_name, rename};
pub use work::{Disk, Finished, Prepared, links};
