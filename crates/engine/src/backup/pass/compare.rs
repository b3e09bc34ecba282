//! A pass that tells what differs from the parent, instead of making a tree to be kept.

use super::{Item, Pass};
use crate::backup::live::Differences;
use crate::backup::parent::ParentCursor;
use crate::backup::{BackupRequest, Source};
use host::{Fault, FaultKind, Listing};
use repo::{RepoError, RepoResult};
use std::io;
use std::path::{Path, PathBuf};

impl<'a> Pass<'a> {
    /// Goes over the paths of the source as a backup does.
    pub(in crate::backup) fn compare(mut self, differences: Differences<'a>) -> RepoResult<()> {
        let paths = source_paths(self.request)?;
        self.differences = Some(differences);
        let parent_root = self.request.parent.as_ref().map(|p| p.root);
        let mut parent = ParentCursor::open(self.reader, parent_root)?.keeping_passed();
        self.walk(&paths, None, &mut parent)?;
        parent.finish()?;
        self.queue_gone(&mut parent);
        self.settle(0)
    }

    /// Lets what the parent has and the walk did not meet wait for its place.
    pub(super) fn queue_gone(&mut self, parent: &mut ParentCursor<'_>) {
        self.items.extend(parent.take_passed().into_iter().map(|known| Item::Gone { known }));
    }

    /// Sources that cannot be reached. That one is not there any more is what a comparison is for.
    pub(super) fn tell_missing(&mut self, missing: &[host::sources::MissingSource]) -> RepoResult<()> {
        for source in missing {
            let Some(differences) = &mut self.differences else {
                self.teller.missing_source(&source.path, &source.error.to_string());
                continue;
            };
            let names = components(&source.path);
            if source.error.kind() == io::ErrorKind::NotFound {
                let ancestors =
                    source.path.ancestors().skip(1).filter(|path| path.symlink_metadata().is_ok());
                ancestors.for_each(|path| differences.still_there(&components(path)));
            } else {
                differences.unseen_path(&names);
                if differences.concerns(&names) {
                    self.teller.missing_source(&source.path, &source.error.to_string());
                }
            }
        }
        Ok(())
    }

    /// Tells what a listing could not show, as far as it matters, and remembers it.
    pub(super) fn tell_listing(&mut self, listing: &Listing) {
        let Some(differences) = &mut self.differences else {
            return self.teller.listing(listing, &|_| true);
        };
        let folder: Vec<&[u8]> = std::iter::once(&b"/"[..]).chain(listing.dir.components()).collect();
        if listing.not_entered.is_some() {
            differences.unseen_folder(&folder);
        }
        for fault in listing.faults.iter().filter(|fault| fault.kind != FaultKind::Vanished) {
            match &fault.name {
                Some(name) => differences.unseen_path(&[&folder[..], &[&name[..]]].concat()),
                None => differences.unseen_folder(&folder),
            }
        }
        let matters = |fault: &Fault| {
            let path: Vec<&[u8]> = folder.iter().copied().chain(fault.name.as_deref()).collect();
            differences.concerns(&path)
        };
        self.teller.listing(listing, &matters);
    }
}

fn source_paths(request: &BackupRequest) -> RepoResult<Vec<PathBuf>> {
    match &request.source {
        Source::Paths(paths) => Ok(paths.clone()),
        _ => Err(RepoError::Local("only files and folders can be compared with what is there now".into())),
    }
}

fn components(path: &Path) -> Vec<&[u8]> {
    let names =
        path.as_os_str().as_encoded_bytes().split(|byte| *byte == b'/').filter(|name| !name.is_empty());
    std::iter::once(&b"/"[..]).chain(names).collect()
}
