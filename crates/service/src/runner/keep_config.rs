//! Keeping the configuration and the recovery plan in every repository of a job, when they are not there as they are
//! now; and the program beside them, where it runs anywhere.

use super::Runner;
use super::request::Target;
use crate::failure::{Failure, Outcome};
use crate::kit::{self, OwnProgram, Remembered};
use crate::plan::kept::Facts;
use crate::plan::{self, Plan};
use crate::stored_config::{self, Files};
use crate::writer_state::WriterState;
use engine::backup::{FixedChunkPolicy, backup_to};
use engine::{BackupRequest, Silent, Source};
use format::codec::Level;
use format::id::WriterId;
use format::snapshot::Mode;
use host::{Rules, WalkOptions};
use repo::workers::Workers;
use std::sync::Arc;
use std::time::Duration;

/// Looking for what no source holds takes no longer in a run; it is done once a day.
const LOOK_TIME: Duration = Duration::from_secs(2);

impl Runner {
    /// Stores configuration and plan in the repositories of a family that lack it. What fails is told: the copies of
    /// the data are not worth less for it.
    pub(super) fn keep_configuration(&self, targets: &[Target]) {
        if let Err(failure) = self.try_keep_configuration(targets) {
            let text = format!(
                "the configuration and the recovery plan could not be stored beside the copies: {}",
                failure.in_one_line()
            );
            self.opener.person.warn(&text);
        }
    }

    /// Stores configuration and plan in every repository that a job writes to, where they are not as they are now.
    /// Returns those where that failed.
    pub fn store_plan(&self) -> Outcome<Vec<(String, Failure)>> {
        let config = &self.loaded.config;
        let mut families: Vec<Vec<Target>> = Vec::new();
        let mut failed = Vec::new();
        for name in config.repositories.keys().filter(|n| config.jobs.values().any(|job| job.to.contains(n)))
        {
            match self.open_target(name) {
                Ok(target) => {
                    let family = target.opened.repo.identity().family;
                    match families.iter_mut().find(|f| f[0].opened.repo.identity().family == family) {
                        Some(known) => known.push(target),
                        None => families.push(vec![target]),
                    }
                }
                Err(failure) => failed.push((name.clone(), failure)),
            }
        }
        families.iter().try_for_each(|family| self.try_keep_configuration(family))?;
        Ok(failed)
    }

    /// The plan as of now, and the program that it names.
    fn plan(&self) -> Outcome<(Plan, Option<OwnProgram>)> {
        let folders = &self.opener.folders;
        let stored = Remembered::read(folders).is_some_and(|kit| kit.program.is_some());
        let own = (self.own_program)(stored);
        let program = own.as_ref().map(|own| plan::Program::of(&own.facts));
        let facts = Facts {
            machine: &self.host,
            node: &self.node,
            program: program.as_ref(),
            now: self.now().secs,
            time: LOOK_TIME,
        };
        let plan = plan::kept::plan(&self.loaded.config, folders, self.catalog.as_deref(), &facts)?;
        Ok((plan, own))
    }

    fn try_keep_configuration(&self, targets: &[Target]) -> Outcome<()> {
        let mut files = stored_config::files(&self.loaded);
        let (plan, own) = self.plan()?;
        let version = stored_config::version(&files, &plan.version());
        let mut lacking = Vec::new();
        for target in targets {
            let list = self.opener.snapshots(&target.place, &target.opened.repo)?;
            let newest = stored_config::newest(&list).into_iter().find(|s| s.host == self.host).cloned();
            if newest.is_none_or(|snapshot| snapshot.description != version) {
                lacking.push(target);
            }
        }
        let Some(lead) = lacking.first() else { return Ok(()) };
        files.extend(plan::files(&plan));
        // Before the plan that names it.
        let named = plan.program.as_ref().map(|program| &program.file);
        if let Some(own) = own.filter(|own| Some(&own.facts.file) == named) {
            lacking.iter().try_for_each(|target| kit::store_program(&target.opened.repo, &own))?;
        }
        let mut seed = (self.seeds)()?;
        let mut request = BackupRequest {
            source: Source::Produced {
                name: stored_config::SOURCE.into(),
                producer: Box::new(Files(files)),
                paths: Vec::new(),
            },
            rules: Arc::new(Rules::default()),
            excludes: Vec::new(),
            walk: WalkOptions::default(),
            mode: Mode::Full,
            parent: None,
            base: None,
            host: self.host.clone(),
            user: self.opener.user.clone(),
            tags: vec![stored_config::TAG.to_string()],
            description: version,
            time: self.now(),
            clock: self.clock.clone(),
            writer: WriterId(seed.draw()),
            previous: None,
            seed,
            level: Level(3),
            read_workers: Workers(1),
            read_workers_max: 1,
            seal_workers: Workers(1),
            upload_workers: Workers(1),
            memory: self.memory,
            fixed_chunks: FixedChunkPolicy::default(),
            ignore_inode: false,
            dry_run: false,
            skip_if_unchanged: false,
            program: self.program.clone(),
        };
        let family = lead.opened.repo.identity().family;
        let state = WriterState::open(self.opener.folders.state.clone(), request.writer.0).ok();
        if let Some(state) = &state {
            request.writer = state.writer;
            request.previous = state.previous(&family);
        }
        let readers: Outcome<Vec<_>> = lacking.iter().map(|target| target.opened.reader()).collect();
        let outcome = backup_to(&readers?, request, &Silent)?;
        if let (Some(state), Some(snapshot)) = (&state, &outcome.snapshot) {
            // Where this cannot be kept, the next snapshot begins a new chain.
            state.remember(&family, snapshot.sequence, &outcome.record_hash).ok();
            for (target, _) in lacking.iter().zip(&outcome.copies).filter(|(_, copy)| copy.is_there()) {
                self.opener.remember_head(&target.opened.repo, snapshot);
            }
        }
        Ok(())
    }
}
