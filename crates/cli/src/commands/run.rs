//! `lifeboat run`: runs jobs of the configuration, and the duties of its repositories.

use super::delegate;
use super::version::PROGRAM;
use crate::counts::{count, counted};
use crate::display::safe;
use crate::error::{Exit, Failure, Outcome, local};
use crate::folders;
use crate::progress::Reporter;
use crate::session::{Session, host_name, processors, seed};
use crate::{sizes, time};
use engine::Monitor;
use format::snapshot::Snapshot;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use service::catalog::{CATALOG_FILE, Catalog, Duty, NewRun, RunId, RunResult, SourceResult};
use service::conditions::{PauseFile, Verdict, judge};
use service::config::Config;
use service::logging::Logged;
use service::runner::{DutyReport, JobReport, Observer, Runner, Step, Trigger};
use service::turns::{self, Turns};
use service::{duties, watching};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Run jobs of the configuration: sources into all their repositories, with hooks
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  lifeboat run daily
  lifeboat run --all                     every job, one after the other
  lifeboat run --maintain                forget by the policies and free space, in every repository
  lifeboat run --verify nas              read again the share that is due
  lifeboat run --all -n                  say what would be done

Exit code 3: some source data could not be read, or a source is missing or suspiciously small; 75: nothing
was done on purpose.")]
pub(crate) struct Args {
    /// Names of jobs; of repositories with --maintain and --verify
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Every job; with --maintain and --verify every repository
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// Forget what no policy keeps, and free its space
    #[arg(long)]
    maintain: bool,
    /// Read stored data again, and compare it
    #[arg(long)]
    verify: bool,
    /// Say what would be done; do nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Why the run begins, for the record: manual, schedule, catch-up, plugged-in
    #[arg(long, value_name = "WORD", default_value = "manual", value_parser = trigger, hide_short_help = true)]
    trigger: Trigger,
    /// Do it here and now, though a daemon runs, there is a pause or a condition is not met
    #[arg(long, hide_short_help = true)]
    alone: bool,
}

fn trigger(word: &str) -> Result<Trigger, String> {
    let all = [Trigger::Manual, Trigger::Schedule, Trigger::CatchUp, Trigger::PluggedIn];
    all.into_iter()
        .find(|trigger| trigger.as_str() == word)
        .ok_or_else(|| "there is no such reason".to_string())
}

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    let loaded = session.configuration()?;
    let names = names(&loaded.config, &args)?;
    if args.dry_run {
        return tell_plan(session, &loaded.config, &args, &names).map(|()| Exit::Ok);
    }
    if args.alone {
        end_with_parent();
    }
    let runner = runner(session, teller(session))?;
    let mut exit = Exit::Ok;
    for name in &names {
        if session.cancel.is_set() {
            break;
        }
        if let Some(ended) = elsewhere_or_not_now(session, &loaded.config, &args, name)? {
            exit = worse(exit, ended);
            continue;
        }
        let Some(_turns) = turns(session, &loaded.config, &args, name)? else { break };
        if !args.maintain && !args.verify {
            give_way(session, &loaded.config, name);
            exit = worse(exit, runner.run_job(name, args.trigger)?.exit);
            continue;
        }
        if args.maintain {
            exit = worse(exit, runner.maintain(name, args.trigger)?.exit);
        }
        if args.verify {
            exit = worse(exit, runner.verify(name, args.trigger)?.exit);
        }
    }
    if let Some(ended) = session.cancel.exit() {
        session.out.info("cancelled; what was stored so far stays and is used again");
        return Ok(ended);
    }
    Ok(exit)
}

/// Ends well when the daemon that began it is gone: the next one begins it again.
pub(super) fn end_with_parent() {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM)).ok();
}

/// A daemon does it, or this is no moment for what begins by itself. `None`: it is done here.
fn elsewhere_or_not_now(
    session: &Session,
    config: &Config,
    args: &Args,
    name: &str,
) -> Outcome<Option<Exit>> {
    if args.alone {
        return Ok(None);
    }
    let duty = match (args.maintain, args.verify) {
        (false, false) => Duty::Run,
        (true, false) => Duty::Maintenance,
        (false, true) => Duty::Verify,
        (true, true) => return Ok(None),
    };
    let by_itself = args.trigger != Trigger::Manual;
    if by_itself && let Some(why) = not_now(session, config, duty, name) {
        session.out.info(format!("{}: {why}", safe(name)));
        return Ok(Some(Exit::Skipped));
    }
    match by_itself {
        // A timer's own run shows in its own log.
        true => Ok(None),
        false => delegate::run(session, duty.as_str(), name),
    }
}

/// Why nothing that begins by itself may begin now.
fn not_now(session: &Session, config: &Config, duty: Duty, name: &str) -> Option<String> {
    let now = jiff::Timestamp::now();
    let state = folders::folders().state;
    if PauseFile::of(&state).read(now).is_some() {
        return Some("paused; end it with: lifeboat resume".into());
    }
    let plan =
        duties::plans(config, "").into_iter().find(|plan| plan.duty == duty && plan.subject == name)?;
    let record = catalog(session).and_then(|catalog| catalog.duty(duty, name).ok().flatten());
    let last = record.map(|record| record.succeeded.unwrap_or(record.first_due));
    let age = last.map(|last| Duration::from_secs(u64::try_from(now.as_second() - last).unwrap_or(0)));
    let local = now.to_zoned(watching::zone(config)).datetime();
    match judge(&plan.wanted, &duties::look(config, &plan.wanted, local), age) {
        wait @ Verdict::Wait(_) => Some(wait.to_string()),
        _ => None,
    }
}

/// The turns at the repositories it writes to; `None` when somebody wants it to end.
fn turns(session: &Session, config: &Config, args: &Args, name: &str) -> Outcome<Option<Turns>> {
    let repositories = match (args.maintain, args.verify) {
        (true, _) => vec![name.to_string()],
        (false, true) => Vec::new(),
        (false, false) => config.jobs[name].to.clone(),
    };
    let waits = |repository: &str| {
        session
            .out
            .info(format!("waiting for another run on this machine that writes to {}", safe(repository)));
    };
    let taken = turns::take(&folders::folders().state, &repositories, &waits, &|| !session.cancel.is_set());
    taken.map_err(|e| local("cannot take a turn at the repositories", e))
}

/// The worse end counts; where nothing was done anywhere, that is the end.
pub(super) fn worse(a: Exit, b: Exit) -> Exit {
    match (a, b) {
        (Exit::Ok | Exit::Skipped, b) => b,
        (a, Exit::Ok | Exit::Skipped) => a,
        (Exit::Damage, _) => a,
        (_, Exit::Damage) => b,
        (Exit::Partial, b) => b,
        (a, _) => a,
    }
}

fn names(config: &Config, args: &Args) -> Outcome<Vec<String>> {
    let (what, known): (&str, Vec<String>) = match args.maintain || args.verify {
        true => ("repository", config.repositories.keys().cloned().collect()),
        false => ("job", config.jobs.keys().cloned().collect()),
    };
    if args.all || (args.names.is_empty() && (args.maintain || args.verify)) {
        return Ok(known);
    }
    if args.names.is_empty() {
        return Err(Failure::usage("no job is named")
            .hint(format!("lifeboat run --all, or one of: {}", known.join(", "))));
    }
    match args.names.iter().find(|name| !known.contains(name)) {
        Some(name) => Err(Failure::usage(format!("there is no {what} {name:?} in the configuration"))
            .hint(format!("there are: {}", known.join(", ")))),
        None => Ok(args.names.clone()),
    }
}

/// Lets other programs have the processor first, where the job says so.
fn give_way(session: &Session, config: &Config, job: &str) {
    let nice = config.jobs[job].nice.or(config.daemon.nice).unwrap_or(0);
    if nice > 0
        && let Err(e) = rustix::process::setpriority_process(None, nice)
    {
        session.out.warn(format!("cannot lower the priority: {e}"));
    }
}

/// What runs jobs for this program.
pub(crate) fn runner(session: &Session, observer: Arc<dyn Observer>) -> Outcome<Runner> {
    let loaded = session.configuration()?;
    let machine = &loaded.config.machine;
    let zone = match &machine.timezone {
        Some(name) => TimeZone::get(name).expect("the configuration names a zone that exists"),
        None => TimeZone::system(),
    };
    Ok(Runner {
        opener: session.opener(),
        unlocks: session.unlocks(),
        host: machine.name.clone().unwrap_or_else(host_name),
        node: host_name(),
        program: PROGRAM.to_string(),
        own_program: Arc::new(super::kit::own_program_for_plans),
        zone,
        clock: Arc::new(time::now),
        seeds: Arc::new(seed),
        processors: processors(),
        memory: session.global.memory,
        observer: match session.out.logs {
            true => Arc::new(Logged(observer)),
            false => observer,
        },
        catalog: catalog(session),
        loaded,
    })
}

/// Where runs are recorded. A run without a record is better than none.
fn catalog(session: &Session) -> Option<Arc<Catalog>> {
    let folder = folders::folders().state;
    let made = service::durable::create_private(&folder);
    let opened = made
        .map_err(|e| e.to_string())
        .and_then(|()| Catalog::open(&folder.join(CATALOG_FILE)).map_err(|e| e.to_string()));
    match opened {
        Ok(catalog) => {
            if let Some(why) = catalog.replaced() {
                session.out.warn(format!("the catalog was begun anew: {why}"));
            }
            Some(Arc::new(catalog))
        }
        Err(e) => {
            session.out.warn(format!("this run is not recorded: {e}"));
            None
        }
    }
}

fn tell_plan(session: &Session, config: &Config, args: &Args, names: &[String]) -> Outcome<()> {
    for name in names {
        let steps: Vec<String> = match args.maintain || args.verify {
            true => duties_of(config, args, name),
            false => steps_of(config, name),
        };
        match session.out.json {
            true => session
                .out
                .object(&json!({ "message_type": "plan", "name": name, "steps": steps, "dry_run": true }))?,
            false => {
                session.out.line(format!("{name}:"))?;
                steps.iter().try_for_each(|step| session.out.line(format!("  {step}")))?;
            }
        }
    }
    Ok(())
}

fn steps_of(config: &Config, name: &str) -> Vec<String> {
    use service::config::HookEvent;
    let job = &config.jobs[name];
    let hook = |event: HookEvent| {
        let of_job = move |hook: &&service::config::Hook| {
            hook.on == event && hook.jobs.as_ref().is_none_or(|jobs| jobs.iter().any(|job| job == name))
        };
        config.hooks.iter().filter(of_job).map(|hook| format!("run {}", safe(&hook.run.join(" "))))
    };
    let mut steps: Vec<String> = hook(HookEvent::Before).collect();
    for source in &job.sources {
        let kind = config.sources[source].kind();
        steps.push(format!("back up {source} ({kind}) to {}", job.to.join(", ")));
    }
    steps.extend(hook(HookEvent::After));
    steps.extend(hook(HookEvent::Finally));
    steps
}

fn duties_of(config: &Config, args: &Args, repository: &str) -> Vec<String> {
    let mut steps = Vec::new();
    if args.maintain {
        for source in config.sources.keys().filter(|s| config.repositories_of(s).contains(&repository)) {
            let (name, policy) = config.retention_of(source, repository);
            steps.push(format!("forget snapshots of {source} by {name}: {}", policy.policy()));
        }
        steps.push("free the space of what nothing needs".into());
    }
    if args.verify {
        steps.push(format!("read {} of what is stored, what was read longest ago first", config.verify.read));
    }
    steps
}

/// Tells a user what a run does.
pub(super) fn teller(session: &Session) -> Arc<dyn Observer> {
    Arc::new(Teller::new(session))
}

struct Teller {
    session: Session,
    reporter: Mutex<Option<Arc<Reporter>>>,
    bar: Mutex<Option<ProgressBar>>,
}

impl Teller {
    fn new(session: &Session) -> Self {
        Teller { session: session.clone(), reporter: Mutex::new(None), bar: Mutex::new(None) }
    }

    fn reporter(&self) -> MutexGuard<'_, Option<Arc<Reporter>>> {
        self.reporter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bar(&self) -> MutexGuard<'_, Option<ProgressBar>> {
        self.bar.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends what moves, and names the problems of the step.
    fn settle(&self) {
        if let Some(reporter) = self.reporter().take() {
            reporter.conclude();
        }
        if let Some(bar) = self.bar().take() {
            bar.finish_and_clear();
        }
    }

    fn object(&self, value: &Value) {
        // A reader that went away is noticed when the program ends.
        // Whoever follows the run wants it now.
        self.session.out.object(value).and_then(|()| self.session.out.flush()).ok();
    }

    fn line(&self, text: String) {
        if !self.session.out.quiet {
            self.session.out.line(text).ok();
        }
    }
}

impl Observer for Teller {
    fn began(&self, run: &NewRun) {
        if self.session.out.json {
            self.object(&json!({
                "message_type": "run_started", "run_id": run.id, "job": run.job, "what": run.what,
                "trigger": run.trigger, "time": time::rfc3339(time::now()),
            }));
        }
    }

    fn step(&self, run: &RunId, step: &Step<'_>) {
        self.settle();
        let text = words(step);
        match self.session.out.json {
            true => self
                .object(&json!({ "message_type": "phase", "run_id": run, "name": text, "state": "started" })),
            false => self.session.out.info(text),
        }
    }

    fn monitor(&self) -> Arc<dyn Monitor> {
        let reporter = Arc::new(Reporter::new(&self.session.out, &self.session.cancel));
        *self.reporter() = Some(reporter.clone());
        reporter
    }

    fn progress(&self, done: u64, total: u64) {
        let out = &self.session.out;
        if !out.draws_progress {
            return;
        }
        let mut bar = self.bar();
        let bar = bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("[{elapsed}] {percent}%  ETA {eta}");
            out.bars().add(ProgressBar::new(0).with_style(style.expect("the template is well-formed")))
        });
        bar.set_length(total);
        bar.set_position(done);
    }

    fn copied(&self, result: &SourceResult, snapshot: Option<&Snapshot>) {
        self.settle();
        if self.session.out.json {
            let mut object = serde_json::to_value(result).expect("a result can be written");
            object["message_type"] = "copy".into();
            object["mode"] = snapshot.map(|snapshot| snapshot.mode.as_str()).into();
            return self.object(&object);
        }
        let (source, repository) = (&result.source, &result.repository);
        let text = match (&result.error, &result.snapshot) {
            (None, Some(id)) => format!(
                "{source} into {repository}: snapshot {}, {}, {} ({} stored)",
                &id[..8],
                count(result.files, "file"),
                sizes::shown(result.bytes),
                sizes::shown(result.uploaded_bytes)
            ),
            (None, None) => format!("{source} into {repository}: nothing changed, no snapshot was made"),
            (Some(error), _) if result.result == RunResult::Skipped => {
                format!("{source} into {repository}: skipped: {}", safe(error))
            }
            (Some(error), _) => {
                let text = format!("{source} into {repository}: {}: {}", result.result.as_str(), safe(error));
                return self.session.out.warn(text);
            }
        };
        self.line(text);
    }

    fn duty(&self, report: &DutyReport) {
        self.settle();
        let (kind, repository) = (report.kind.as_str(), &report.repository);
        if self.session.out.json {
            for (id, policy) in &report.forgotten {
                self.object(&json!({
                    "message_type": "retention", "run_id": report.run, "repository": repository,
                    "snapshot_id": id, "decision": "forget", "reasons": [format!("policy {policy}")],
                }));
            }
            return self.object(&json!({
                "message_type": "duty", "run_id": report.run, "what": kind, "repository": repository,
                "exit": report.exit as i32, "error": report.error, "forgotten": report.forgotten.len(),
                "kept": report.kept, "bytes_freed": report.freed_bytes, "verification": report.verified,
                "findings": report.findings,
            }));
        }
        report
            .findings
            .iter()
            .for_each(|finding| self.session.out.warn(format!("damaged: {}", safe(finding))));
        if let Some(error) = &report.error {
            return self.session.out.warn(format!("{kind} of {repository}: {}", safe(error)));
        }
        self.line(match &report.verified {
            Some(v) => format!(
                "{repository}: read {} ({:.0}% of the packs), all of it right",
                sizes::shown(v.bytes),
                v.ratio * 100.0
            ),
            None => format!(
                "{repository}: {}, {} forgotten, {} freed",
                counted(report.kept, "snapshot stays", "snapshots stay"),
                report.forgotten.len(),
                sizes::shown(report.freed_bytes)
            ),
        });
    }

    fn ended(&self, report: &JobReport) {
        self.settle();
        if self.session.out.json {
            return self.object(&json!({
                "message_type": "summary", "run_id": report.run, "job": report.job,
                "result": report.result().as_str(), "exit": report.exit as i32, "errors": report.all_errors(),
                "copies": report.results,
            }));
        }
        report.errors.iter().for_each(|error| self.session.out.warn(safe(error)));
        self.line(format!("job {}: {}", report.job, report.result().as_str()));
    }
}

fn words(step: &Step<'_>) -> String {
    match step {
        Step::Backup { source, repositories } => {
            format!("backing up {source} into {}", repositories.join(", "))
        }
        Step::Copy { source, from, to } => format!("bringing {source} from {from} to {to}"),
        Step::Hook { command } => format!("running {}", safe(&command.join(" "))),
        Step::Forget { repository } => format!("forgetting by the policies in {repository}"),
        Step::Prune { repository } => format!("freeing space in {repository}"),
        Step::Verify { repository } => format!("reading again in {repository}"),
        Step::Wait { why, secs } => format!("trying again in {secs} s: {}", safe(why)),
    }
}
