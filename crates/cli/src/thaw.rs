//! Packs in a cold class: what a restore needs of them is named, asked for by a command, and waited for.
//!
//! Only a place that stores packs in a class of its own, or a user who names a command, is asked which packs
//! are archived: that costs a small request for each.

use crate::counts::counted;
use crate::display::{safe, shell_word};
use crate::error::{Exit, Failure, Outcome, local};
use crate::session::Session;
use crate::{durations, sizes};
use engine::RestoreRequest;
use format::id::BlobKind;
use repo::index::PackListing;
use repo::reader::Reader;
use serde_json::json;
use service::config::Thaw;
use std::io::Write;
use std::ops::ControlFlow;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::thaw::{ThawOptions, archived, await_thaw};
use storage::{Location, ObjectName};

/// Amazon's slowest class takes up to two days.
const PATIENCE: &str = "72h";

/// How archived packs are thawed.
#[derive(clap::Args, Clone)]
pub(crate) struct ThawArgs {
    /// Thaw archived packs with this command (run by sh), which gets their names within the repository, one a line
    #[arg(long, value_name = "COMMAND", hide_short_help = true)]
    thaw_command: Option<String>,
    /// Wait so long for archived packs
    #[arg(long, value_name = "TIME", default_value = PATIENCE, value_parser = parse_time, hide_short_help = true)]
    thaw_wait: Duration,
    /// Look so often whether they can be read
    #[arg(long, value_name = "TIME", default_value = "10min", value_parser = parse_time, hide_short_help = true)]
    thaw_look: Duration,
}

fn parse_time(text: &str) -> Result<Duration, String> {
    durations::parse(text).map_err(|failure| failure.to_string())
}

/// What to do about archived packs of one place.
pub(crate) struct Thawing<'s> {
    pub(crate) session: &'s Session,
    pub(crate) location: &'s Location,
    /// From the configuration.
    pub(crate) configured: Option<&'s Thaw>,
    pub(crate) args: &'s ThawArgs,
}

impl Thawing<'_> {
    /// Makes sure that everything a restore needs can be read. A dry run only names it.
    pub(crate) fn prepare(&self, reader: &Arc<Reader>, request: &RestoreRequest<'_>) -> Outcome<()> {
        let is_cold = matches!(self.location, Location::Bucket(bucket) if bucket.storage_class().is_some());
        if !is_cold && self.command().is_none() {
            return Ok(());
        }
        let needed = engine::restore::packs_needed(reader, request)?;
        let names: Vec<ObjectName> =
            needed.iter().map(|id| ::repo::names::pack(BlobKind::Data, id)).collect();
        let store = reader.repo().store();
        let found = archived(&**store, &names)?;
        if found.is_empty() {
            return Ok(());
        }
        self.name(reader, &found, names.len())?;
        if request.dry_run {
            return Ok(());
        }
        let Some(mut command) = self.command() else {
            let place = shell_word(&self.location.to_string());
            return Err(Failure::new(
                Exit::Unreachable,
                format!(
                    "{} archived and must be thawed to be read",
                    counted(found.len(), "pack is", "packs are")
                ),
            )
            .hint(format!("lifeboat restore -r {place} ... --thaw-command COMMAND; -n lists the packs")));
        };
        ask(&mut command, &found)?;
        let out = &self.session.out;
        let patience = self.configured.and_then(|thaw| thaw.wait).map_or(self.args.thaw_wait, |wait| wait.0);
        let options =
            ThawOptions { look_every: self.args.thaw_look, patience, wait: Arc::new(self.waiting()) };
        await_thaw(&**store, found, &options, &mut |left| {
            if left > 0 {
                out.info(counted(left, "pack is", "packs are") + " still archived");
            }
        })?;
        out.info("everything can be read now");
        Ok(())
    }

    fn command(&self) -> Option<Command> {
        if let Some(line) = &self.args.thaw_command {
            let mut command = Command::new("sh");
            command.args(["-c", line]);
            return Some(command);
        }
        let (program, arguments) = self.configured?.command.split_first()?;
        let mut command = Command::new(program);
        command.args(arguments);
        Some(command)
    }

    /// Says which packs are archived, and how long they are: that is what thawing is paid for.
    fn name(&self, reader: &Arc<Reader>, found: &[ObjectName], needed: usize) -> Outcome<()> {
        let listing = PackListing::read(reader.repo())?;
        let len = |name: &ObjectName| {
            let pack = ::repo::names::parse_pack(name);
            pack.and_then(|(kind, id)| listing.len_bytes(kind, &id)).unwrap_or(0)
        };
        let total: u64 = found.iter().map(len).sum();
        let out = &self.session.out;
        for name in found {
            match out.json {
                true => out.object(&json!({
                    "message_type": "archived", "object": name.as_str(), "size": len(name),
                }))?,
                false if out.verbose > 0 => out.line(format!("archived  {name}"))?,
                false => {}
            }
        }
        out.info(format!(
            "{} of {needed} packs ({}) are archived in {}",
            found.len(),
            sizes::shown(total),
            safe(&self.location.to_string())
        ));
        Ok(())
    }

    /// Waits in small steps, so that a signal ends it.
    fn waiting(&self) -> impl Fn(Duration) -> ControlFlow<()> + Send + Sync + use<> {
        let cancel = self.session.cancel.clone();
        move |time| {
            let until = Instant::now() + time;
            while Instant::now() < until {
                if cancel.is_set() {
                    return ControlFlow::Break(());
                }
                std::thread::sleep(
                    Duration::from_millis(50).min(until.saturating_duration_since(Instant::now())),
                );
            }
            ControlFlow::Continue(())
        }
    }
}

/// Runs the command that asks the place to thaw these objects.
fn ask(command: &mut Command, objects: &[ObjectName]) -> Outcome<()> {
    let failed = |e| local("cannot run the command that thaws", e);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().map_err(failed)?;
    let list: String = objects.iter().map(|name| format!("{name}\n")).collect();
    let mut input = child.stdin.take().expect("its input is a pipe");
    // A command that needs no list may end without reading it.
    match input.write_all(list.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => return Err(failed(e)),
        _ => drop(input),
    }
    let status = child.wait().map_err(failed)?;
    match status.success() {
        true => Ok(()),
        false => Err(Failure::new(Exit::Failed, format!("the command that thaws failed: {status}"))),
    }
}
