//! A source by its name in the configuration, as a run of its job would read it.

use super::{Args, What};
use crate::error::{Failure, Outcome};
use crate::session::{Session, machine_of};
use engine::BackupOutcome;
use format::snapshot::{Mode, Snapshot};
use repo::snapshots::SnapshotList;
use service::config::Loaded;
use service::config::sources::Common;
use service::runner::{self, SOURCE_TAG};
use std::ffi::OsString;
use std::sync::Arc;

pub(super) struct Described {
    name: String,
    loaded: Arc<Loaded>,
    /// With the repositories of its jobs where none is named.
    pub(super) session: Session,
}

impl Described {
    pub(super) fn find(session: &Session, name: &str, args: &Args) -> Outcome<Self> {
        let loaded = session.configuration()?;
        let sources = &loaded.config.sources;
        if !sources.contains_key(name) {
            let known: Vec<&str> = sources.keys().map(String::as_str).collect();
            return Err(Failure::usage(format!("there is no source {name:?} in the configuration"))
                .hint(format!("there are: {}", known.join(", "))));
        }
        if !args.rules.written().is_empty() {
            return Err(Failure::usage("what a source of the configuration leaves out stands there")
                .hint("lifeboat config edit"));
        }
        let mut session = session.clone();
        if session.global.repo.is_empty() {
            session.global.repo =
                loaded.config.repositories_of(name).into_iter().map(OsString::from).collect();
        }
        Ok(Described { name: name.to_string(), loaded, session })
    }

    fn common(&self) -> &Common {
        self.loaded.config.sources[&self.name].common()
    }

    /// Looks whether it is there, and makes it ready.
    pub(super) fn capture(&self, list: &SnapshotList) -> Outcome<What> {
        let captured = runner::capture(&self.loaded.config, &self.name, &self.session.opener(), None)?;
        let before = self.parent(list, &self.host(), Mode::Incremental);
        captured.look(self.common(), before)?;
        Ok(What {
            source: captured.source,
            rules: captured.rules,
            excludes: captured.excludes,
            walk: captured.walk,
            ignore_inode: captured.ignore_inode,
            frozen: captured.frozen,
        })
    }

    /// The name of this machine in snapshots.
    pub(super) fn host(&self) -> String {
        machine_of(&self.loaded.config)
    }

    pub(super) fn tags(&self) -> Vec<String> {
        let own = format!("{SOURCE_TAG}{}", self.name);
        std::iter::once(own).chain(self.common().tags.iter().cloned()).collect()
    }

    pub(super) fn description(&self) -> String {
        self.common().description.clone().unwrap_or_default()
    }

    /// The newest snapshot of it that a run of this mode may rely on.
    pub(super) fn parent<'l>(&self, list: &'l SnapshotList, host: &str, mode: Mode) -> Option<&'l Snapshot> {
        self.own(list, host).rev().find(|s| mode != Mode::Differential || s.mode == Mode::Full)
    }

    fn own<'l>(
        &self,
        list: &'l SnapshotList,
        host: &str,
    ) -> impl DoubleEndedIterator<Item = &'l Snapshot> + use<'l> {
        let tag = format!("{SOURCE_TAG}{}", self.name);
        let host = host.to_string();
        list.visible().filter(move |s| s.host == host && s.tags.contains(&tag))
    }

    /// Warns of a snapshot that holds suspiciously little.
    pub(super) fn tell_shrunk(&self, list: &SnapshotList, outcome: &BackupOutcome) -> bool {
        let Some(snapshot) = &outcome.snapshot else { return false };
        let why = runner::shrunk(snapshot, self.own(list, &self.host()), self.common());
        if let Some(why) = &why {
            self.session.out.warn(format!(
                "{why}; the snapshot is kept and displaces nothing until `lifeboat trust` says it is right"
            ));
        }
        why.is_some()
    }
}
