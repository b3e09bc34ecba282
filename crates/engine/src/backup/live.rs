//! What a backup would find different from a snapshot: the same walk, the same trust in metadata, the same reading,
//! told change by change in key order. Nothing is stored. What could not be looked at is told to the monitor and is no
//! change: neither gone nor different.

use super::pass::Pass;
use super::tell::Teller;
use super::{BackupRequest, CANCELLED, dry_reader, estimate, own_place};
use crate::backup::copies::Copies;
use crate::monitor::Monitor;
use format::tree::{Entry, Marks, PathKey, dir_prefix};
use repo::browse::Change;
use repo::reader::Reader;
use repo::seed::Seed;
use repo::writer::{Writer, WriterOptions};
use repo::{RepoError, RepoResult};
use std::sync::Arc;

/// Compares the parent of a request with the files of its source as they are now.
///
/// Only what `part` says, a path as components with the volume first, or is below it, and of that only keys that are
/// `wanted`: nothing else is read. The source must be paths.
pub fn compare_live(
    reader: &Arc<Reader>,
    mut request: BackupRequest,
    monitor: &dyn Monitor,
    part: Option<&[Vec<u8>]>,
    wanted: &dyn Fn(&[u8]) -> bool,
    visit: &mut dyn FnMut(&[u8], Change<'_>) -> RepoResult<()>,
) -> RepoResult<()> {
    let (files, bytes) = estimate(request.parent.as_ref());
    own_place::leave_out(std::slice::from_ref(reader), &mut request);
    let mut copies = Copies::new(&[dry_reader(reader)?])?;
    let options =
        WriterOptions { seal_workers: request.seal_workers, level: request.level, ..Default::default() };
    let listed = copies.list()?;
    let reader = listed[0].0.clone();
    let mut writer = Writer::start_many(&listed, Seed::new(request.seed.draw()), request.time, options);
    drop(listed); // of a large repository they are large
    let mut teller = Teller::new(monitor, files, bytes);
    let keys = part.map(|part| (PathKey::of(part), dir_prefix(part)));
    let differences = Differences { part, keys, wanted, visit, unseen: Vec::new() };
    Pass::new(&reader, &mut writer, &mut request, &mut teller)?.compare(differences)?;
    if monitor.cancelled() {
        return Err(RepoError::Local(CANCELLED.into()));
    }
    writer.flush()?;
    writer.abandon()
}

/// Takes what a pass finds.
pub(super) struct Differences<'a> {
    part: Option<&'a [Vec<u8>]>,
    /// The key of the part, and what the keys below it begin with.
    keys: Option<(Vec<u8>, Vec<u8>)>,
    wanted: &'a dyn Fn(&[u8]) -> bool,
    visit: &'a mut dyn FnMut(&[u8], Change<'_>) -> RepoResult<()>,
    /// Paths that could not be looked at: their keys, and the prefixes of what is in and below them.
    unseen: Vec<Vec<u8>>,
}

impl Differences<'_> {
    pub(super) fn wants(&self, key: &[u8]) -> bool {
        let is_in = |(path, below): &(Vec<u8>, Vec<u8>)| key == path || key.starts_with(below);
        self.keys.as_ref().is_none_or(is_in) && (self.wanted)(key)
    }

    /// Whether what is wrong with a path, or with a folder that leads to it, hides something that is wanted.
    pub(super) fn concerns(&self, path: &[&[u8]]) -> bool {
        self.part.is_none_or(|part| part.iter().zip(path).all(|(wanted, name)| wanted == name))
    }

    /// A path that is there and was not met: it only leads to what is not.
    pub(super) fn still_there(&mut self, path: &[&[u8]]) {
        self.unseen.push(PathKey::of(path));
    }

    /// A folder, the volume first, whose contents are not known.
    pub(super) fn unseen_folder(&mut self, components: &[&[u8]]) {
        self.unseen.push(dir_prefix(components));
    }

    /// A path of which nothing is known.
    pub(super) fn unseen_path(&mut self, components: &[&[u8]]) {
        self.unseen.push(PathKey::of(components));
        self.unseen_folder(components);
    }

    /// The walk passed over what the snapshot has.
    pub(super) fn gone(&mut self, key: &[u8], entry: &Entry) -> RepoResult<()> {
        // A key that ends a path is that path alone; one that ends a folder begins everything in it.
        let is_unseen = self.unseen.iter().any(|unseen| match unseen.last() {
            Some(0) => key.starts_with(unseen),
            _ => key == unseen,
        });
        if is_unseen || !self.wants(key) { Ok(()) } else { (self.visit)(key, Change::Removed(entry)) }
    }

    /// What was read again. `blind`: its metadata says nothing, because some of it could
    /// not be read or the folder only leads to a source.
    pub(super) fn met(
        &mut self,
        key: &[u8],
        known: Option<&Entry>,
        now: &Entry,
        blind: bool,
    ) -> RepoResult<()> {
        let Some(known) = known else { return (self.visit)(key, Change::Added(now)) };
        let same_contents = known.kind() == now.kind() && known.content == now.content;
        if now.marks.has(Marks::UNREADABLE) || (blind && same_contents) {
            return Ok(());
        }
        (self.visit)(key, Change::Changed(known, now))
    }
}
