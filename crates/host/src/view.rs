//! Views: folders that are read elsewhere than they are.
//!
//! A snapshot of a file system shows `/home` as it was under another path; the walk then reads there, and all it
//! tells is as if it had read `/home`. What is mounted below a snapshotted folder is not in its snapshot, so it
//! gets a view of its own, be it only onto itself.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One folder that is read elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The folder as it is known: absolute, without symbolic links.
    pub real: PathBuf,
    /// The absolute path under which it is read.
    pub seen: PathBuf,
}

/// All views, as a tree over the components of their real paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Views {
    seen: Option<PathBuf>,
    below: BTreeMap<Box<[u8]>, Arc<Views>>,
}

impl Views {
    /// Arranges views; of two for one folder the later one counts.
    pub fn new(views: &[View]) -> Arc<Views> {
        let mut top = Views::default();
        for view in views {
            let mut at = &mut top;
            for name in components(&view.real) {
                let below = at.below.entry(name.into()).or_default();
                at = Arc::get_mut(below).expect("nobody shares it yet");
            }
            at.seen = Some(view.seen.clone());
        }
        Arc::new(top)
    }

    /// Where the folder itself is read.
    pub(crate) fn seen(&self) -> Option<&Path> {
        self.seen.as_deref()
    }

    /// The views at and below one of its entries.
    pub(crate) fn below(&self, name: &[u8]) -> Option<Arc<Views>> {
        self.below.get(name).cloned()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.seen.is_none() && self.below.is_empty()
    }
}

fn components(path: &Path) -> impl Iterator<Item = &[u8]> {
    path.as_os_str().as_bytes().split(|b| *b == b'/').filter(|name| !name.is_empty())
}
