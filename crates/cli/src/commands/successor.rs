//! A snapshot record that takes the place of another one: published whole, then the old one is forgotten.

use crate::error::{Exit, Failure, Outcome};
use crate::session::{Opened, Session, processors, seed};
use crate::time;
use ::repo::index::PackListing;
use ::repo::reader::Reader;
use ::repo::seed::Seed;
use ::repo::snapshots::forget;
use ::repo::writer::publish::Published;
use ::repo::writer::{Writer, WriterOptions};
use format::id::WriterId;
use format::keep::Trust;
use format::snapshot::Snapshot;
use service::writer_state::WriterState;
use std::sync::Arc;

/// A session that writes the successor of one snapshot.
pub(super) struct Successor<'s> {
    session: &'s Session,
    opened: &'s Opened,
    state: Option<&'s WriterState>,
    seed: Seed,
    /// Stores what the new snapshot has and the repository lacks.
    pub(super) writer: Writer,
}

impl<'s> Successor<'s> {
    pub(super) fn begin(
        session: &'s Session,
        opened: &'s Opened,
        reader: &Arc<Reader>,
        state: Option<&'s WriterState>,
    ) -> Outcome<Self> {
        let seed = seed()?;
        let listing = PackListing::read(&opened.repo)?;
        let options = WriterOptions { seal_workers: processors(), ..WriterOptions::default() };
        let writer = Writer::start(reader.clone(), &listing, seed.clone(), time::now(), options);
        Ok(Successor { session, opened, state, seed, writer })
    }

    /// Publishes `new`, which is `old` with what differs, as the next snapshot of this installation; what `word` says
    /// of the old one holds for it. Then forgets the old one, for the reason that `why` makes of the new one.
    pub(super) fn replace(
        mut self,
        old: &Snapshot,
        new: Snapshot,
        word: Trust,
        why: impl FnOnce(&Snapshot) -> String,
    ) -> Outcome<Snapshot> {
        let repo = &self.opened.repo;
        let family = repo.identity().family;
        let gone = || {
            Failure::new(Exit::Damage, format!("snapshot {} relies on packs that are gone", old.short_id()))
                .hint("find out what it hurts with: lifeboat check")
        };
        if !self.writer.prepare(new.root, Some(&old.id), false)? {
            self.writer.abandon()?;
            return Err(gone());
        }
        let before = self.state.and_then(|state| state.previous(&family));
        let (sequence, previous) = before.map_or((1, [0; 32]), |(number, hash)| (number + 1, hash));
        let writer = self.state.map_or(WriterId(self.seed.draw()), |state| state.writer);
        let new = Snapshot { id: self.writer.session(), writer, sequence, previous, ..new };
        let Published::Done { record_hash } = self.writer.commit(&new)? else {
            return Err(gone());
        };
        self.session.remember_head(repo, &new);
        if let Some(Err(e)) = self.state.map(|state| state.remember(&family, sequence, &record_hash)) {
            self.session.out.warn(format!("cannot remember the snapshot's number: {e}"));
        }
        let word = Trust { snapshot: new.id, record: record_hash, ..word };
        super::trust::confirm_own(self.session, repo, &word);
        forget(repo, &old.id, time::now(), &why(&new), &mut self.seed)?;
        Ok(new)
    }
}
