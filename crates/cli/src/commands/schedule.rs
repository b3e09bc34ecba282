//! `lifeboat schedule`: what is due when, and the timers of systemd or lines of cron that do it.

use super::daemon;
use crate::display::safe;
use crate::error::{Exit, Failure, Outcome, local};
use crate::folders;
use crate::session::{Session, machine_of};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use service::catalog::Duty;
use service::conditions::PauseFile;
use service::config::{Config, Loaded};
use service::daemon::plan::{DutyPlan, Key};
use service::schedule::{Schedule, in_words, relative, upcoming};
use service::units::{self, Ground, Rights, Scope, Unit};
use service::{duties, watching};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use storage::Location;

/// Show and install what runs by itself
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  lifeboat schedule show              everything that runs by itself, and when it does next
  lifeboat schedule next daily -n 5   the next five times of a job, in words
  lifeboat schedule next '*-*~1 22:00'
  lifeboat schedule install           a timer of systemd for each duty; nothing stays in memory
  lifeboat schedule install --daemon  one service that does it all, and a timer that tells when it is dead
  lifeboat schedule install --cron    lines in your crontab
  lifeboat schedule remove")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Show everything that runs by itself, and when it does next
    #[command(after_help = "\
Examples:
  lifeboat schedule show
  lifeboat schedule show --json")]
    Show,
    /// Show the next times of a job, or of a schedule
    #[command(after_help = "\
Examples:
  lifeboat schedule next daily -n 5
  lifeboat schedule next 'Mon..Fri 13:00'
  lifeboat schedule next 'every 6h'")]
    Next {
        /// A job, or a schedule: "Mon..Fri 13:00", "every 6h", "30 2 * * *"
        #[arg(value_name = "JOB|SCHEDULE")]
        of: String,
        /// How many
        #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
        count: u16,
    },
    /// Let systemd or cron run it all
    #[command(after_help = "\
Examples:
  lifeboat schedule install
  lifeboat schedule install --daemon
  lifeboat schedule install --into ./units     only to look at")]
    Install(Install),
    /// Remove what was installed
    #[command(after_help = "\
Examples:
  lifeboat schedule remove
  lifeboat schedule remove --cron")]
    Remove(Install),
}

#[derive(clap::Args)]
struct Install {
    /// One service that does it all, instead of timers
    #[arg(long, conflicts_with = "cron")]
    daemon: bool,
    /// Lines in the crontab of this user
    #[arg(long)]
    cron: bool,
    /// Units of this user, also for root [default: of the system for root, of the user for others]
    #[arg(long, conflicts_with = "cron")]
    user: bool,
    /// Only write the units into this folder; enable nothing
    #[arg(long, value_name = "FOLDER", conflicts_with = "cron")]
    into: Option<PathBuf>,
    /// Say what would be done; change nothing
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    match args.what {
        What::Show => show(session),
        What::Next { of, count } => next(session, &of, count.into()),
        What::Install(how) => install(session, &how),
        What::Remove(how) => remove(session, &how),
    }
}

fn plans(config: &Config) -> Vec<DutyPlan> {
    let machine = machine_of(config);
    duties::plans(config, &machine)
}

fn show(session: &Session) -> Outcome<Exit> {
    let loaded = session.configuration()?;
    let (zone, now) = (watching::zone(&loaded.config), Timestamp::now());
    let status: Option<Value> = daemon::client()
        .and_then(|client| client.ask("GET", "/v1/status", &[]).ok())
        .and_then(|answer| answer.object().ok());
    let pause = PauseFile::of(&folders::folders().state).read(now);
    let mut rows = Vec::new();
    for plan in plans(&loaded.config) {
        let key = plan.key();
        let of_daemon = status.as_ref().and_then(|status| next_of_daemon(status, &key));
        let next = of_daemon.or_else(|| {
            let times = upcoming(&plan.schedules, now, &zone, 1);
            times.first().and_then(|time| time.checked_add(plan.delay).ok())
        });
        let meaning: Vec<String> = plan.schedules.iter().map(|schedule| schedule.meaning()).collect();
        let meaning = if meaning.is_empty() { "only when you ask".to_string() } else { meaning.join("; ") };
        let state = status.as_ref().and_then(|status| state_of(status, &key));
        if session.out.json {
            session.out.object(&json!({
                "message_type": "scheduled", "duty": key.duty, "subject": key.subject, "schedule": meaning,
                "next": next.map(|next| next.to_string()), "state": state,
            }))?;
        }
        let when = next.map_or("-".to_string(), |next| {
            format!("{}, {}", in_words(next, now, &zone), relative(next, now))
        });
        rows.push([safe(&key.to_string()), safe(&meaning), state.map_or(when, |state| safe(&state))]);
    }
    if session.out.json {
        return Ok(Exit::Ok);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (first, second) = (width(0), width(1));
    for [what, schedule, when] in &rows {
        session.out.line(format!("{what:first$}  {schedule:second$}  {when}"))?;
    }
    if let Some(pause) = pause {
        session.out.line(match pause.until {
            Some(until) => format!("paused until {}", in_words(until, now, &zone)),
            None => "paused until you say: lifeboat resume".to_string(),
        })?;
    }
    session.out.info(match status {
        Some(_) => "the daemon is running",
        None => "no daemon is running; see: lifeboat schedule install --help",
    });
    Ok(Exit::Ok)
}

fn of_key<'v>(list: &'v Value, key: &Key) -> Option<&'v Value> {
    let fits =
        |entry: &&Value| entry["duty"] == key.duty.as_str() && entry["subject"] == key.subject.as_str();
    list.as_array()?.iter().find(fits)
}

fn next_of_daemon(status: &Value, key: &Key) -> Option<Timestamp> {
    of_key(&status["duties"], key)?["next"].as_str()?.parse().ok()
}

fn state_of(status: &Value, key: &Key) -> Option<String> {
    if of_key(&status["running"], key).is_some() {
        return Some("running".to_string());
    }
    of_key(&status["waiting"], key)?["why"].as_str().map(str::to_string)
}

fn next(session: &Session, of: &str, count: usize) -> Outcome<Exit> {
    let loaded = session.loaded()?;
    let job = loaded.as_ref().and_then(|loaded| Some((loaded, loaded.config.jobs.get(of)?)));
    let (schedules, zone) = match (&job, &loaded) {
        (Some((loaded, job)), _) => {
            let whens = loaded.config.schedule_of(job);
            (whens.iter().map(|when| when.schedule()).collect(), watching::zone(&loaded.config))
        }
        (None, loaded) => {
            let schedule = of.parse().map_err(|e: service::schedule::ScheduleError| {
                Failure::usage(e.to_string()).hint(service::schedule::ScheduleError::HINT)
            })?;
            let zone = loaded.as_ref().map_or_else(TimeZone::system, |l| watching::zone(&l.config));
            (vec![schedule], zone)
        }
    };
    let now = Timestamp::now();
    let meaning: Vec<String> = schedules.iter().map(|schedule| schedule.meaning()).collect();
    session.out.human(safe(&meaning.join("; ")))?;
    let times = upcoming(&schedules, now, &zone, count);
    if times.is_empty() {
        session.out.human("  never")?;
    }
    for time in times {
        match session.out.json {
            true => session.out.object(&json!({
                "message_type": "next", "time": time.to_string(), "words": in_words(time, now, &zone),
            }))?,
            false => {
                session.out.line(format!("  {}, {}", in_words(time, now, &zone), relative(time, now)))?
            }
        }
    }
    Ok(Exit::Ok)
}

fn scope(session: &Session, loaded: &Loaded, how: &Install) -> Outcome<Scope> {
    let config = &loaded.config;
    let places = config.repositories.values().filter_map(|r| Location::parse(&r.url).ok());
    let own = folders::folders();
    let mut writes = vec![own.state, own.cache, own.configuration, own.runtime];
    let (mut network, mut drives) = (!config.notify.is_empty(), false);
    for place in places {
        match place {
            Location::Local(path) => writes.push(path),
            Location::Removable(_) => drives = true,
            _ => network = true,
        }
    }
    let names = ["HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"];
    let value = |name: &&str| Some((name.to_string(), folders::variable(name)?));
    let environment = names.iter().filter_map(value).collect();
    let path = session.configuration_path().expect("a configuration was read");
    Ok(Scope {
        program: std::env::current_exe().map_err(|e| local("cannot find this program", e))?,
        configuration: std::path::absolute(&path).unwrap_or(path),
        of_user: how.user || !rustix::process::getuid().is_root(),
        environment,
        writes,
        network,
        drives,
    })
}

/// Says which services may do more than read files, and where it is seen what that costs.
fn tell_rights(session: &Session, rights: &[(String, Rights)]) {
    for (unit, rights) in rights {
        if let Some(words) = rights.in_words() {
            session.out.info(format!("the {} may also {words}; see: systemd-analyze security", safe(unit)));
        }
    }
}

fn folder(how: &Install) -> PathBuf {
    let of_user = how.user || !rustix::process::getuid().is_root();
    let own = || {
        let base = folders::path_variable("XDG_CONFIG_HOME").filter(|path| path.is_absolute());
        base.unwrap_or_else(|| folders::folders().home.join(".config")).join("systemd/user")
    };
    how.into.clone().unwrap_or_else(|| if of_user { own() } else { PathBuf::from("/etc/systemd/system") })
}

fn install(session: &Session, how: &Install) -> Outcome<Exit> {
    let loaded = session.configuration()?;
    let scope = scope(session, &loaded, how)?;
    let plans: Vec<DutyPlan> =
        plans(&loaded.config).into_iter().filter(|plan| !plan.schedules.is_empty()).collect();
    if how.cron {
        let (lines, impossible) = units::cron(&scope, &by_clock_of_cron(&loaded.config, plans));
        for key in impossible {
            session.out.warn(format!(
                "cron cannot say when the {} is due{}; use timers of systemd",
                safe(&key.to_string()),
                other_clock(&loaded.config)
            ));
        }
        return change_crontab(session, how, &lines);
    }
    if !how.dry_run && how.into.is_none() {
        // Nothing is written where nobody would read it.
        systemctl(how, &["show", "--property=Version"])?;
    }
    let plans = in_zone(&loaded.config, plans);
    let mounts = host::freeze::mounts::read().map_err(|e| local("cannot see what is mounted", e))?;
    let home = folders::folders().home;
    let ground = Ground { home: &home, mounts: &mounts };
    let rights = |key: &Key| Rights::of_duty(&loaded.config, key, &ground);
    let all = Rights::of_all(&loaded.config, &ground);
    for name in Rights::unmet(&loaded.config, &ground) {
        session.out.warn(format!(
            "{} lies on nothing now of which such a snapshot can be taken; install again when it does",
            safe(name)
        ));
    }
    if !scope.of_user {
        tell_rights(
            session,
            &match how.daemon {
                true => vec![("daemon".to_string(), all.clone())],
                false => plans.iter().map(|plan| (plan.key().to_string(), rights(&plan.key()))).collect(),
            },
        );
    }
    let units = match how.daemon {
        // A dead daemon tells nobody: the watch has a timer of its own.
        true => {
            let watch: Vec<DutyPlan> = plans.into_iter().filter(|plan| plan.duty == Duty::Watch).collect();
            [vec![units::daemon(&scope, &all)], units::timers(&scope, &watch, &rights)].concat()
        }
        false => {
            let drives = service::daemon::drives::drives(&loaded.config);
            [units::timers(&scope, &plans, &rights), units::plugged_in(&scope, &drives, &rights)].concat()
        }
    };
    let folder = folder(how);
    let wanted: Vec<PathBuf> = units.iter().map(|unit| folder.join(&unit.name)).collect();
    let stale: Vec<PathBuf> = installed(&folder).into_iter().filter(|path| !wanted.contains(path)).collect();
    disable(session, how, &stale)?;
    if !how.dry_run {
        // A service may write to folders that are there.
        for own in scope.writes.iter().take(4) {
            service::durable::create_private(own)
                .map_err(|e| local(format!("cannot make {}", own.display()), e))?;
        }
    }
    for unit in &units {
        write(session, how, &folder, unit)?;
    }
    enable(session, how, &scope, &units)?;
    Ok(Exit::Ok)
}

fn with_schedules(plans: Vec<DutyPlan>, change: impl Fn(&Schedule) -> Schedule) -> Vec<DutyPlan> {
    let changed =
        |plan: DutyPlan| DutyPlan { schedules: plan.schedules.iter().map(&change).collect(), ..plan };
    plans.into_iter().map(changed).collect()
}

/// Schedules with the zone that the configuration names: systemd's clock may show another.
fn in_zone(config: &Config, plans: Vec<DutyPlan>) -> Vec<DutyPlan> {
    match config.machine.timezone {
        Some(_) => with_schedules(plans, |schedule| schedule.in_zone(&watching::zone(config))),
        None => plans,
    }
}

/// Schedules as cron's clock, which is the machine's, shows them.
fn by_clock_of_cron(config: &Config, plans: Vec<DutyPlan>) -> Vec<DutyPlan> {
    let (zone, clock, now) = (watching::zone(config), TimeZone::system(), Timestamp::now());
    with_schedules(plans, |schedule| schedule.by_clock(&zone, &clock, now))
}

/// Why cron cannot say what it could by another clock.
fn other_clock(config: &Config) -> String {
    match &config.machine.timezone {
        Some(zone) if TimeZone::system() != watching::zone(config) => {
            format!(" by the clock of {zone}: its own is the machine's")
        }
        _ => String::new(),
    }
}

fn write(session: &Session, how: &Install, folder: &Path, unit: &Unit) -> Outcome<()> {
    let path = folder.join(&unit.name);
    if path.exists() && !units::is_own(&path) {
        return Err(Failure::usage(format!("{} was not written by lifeboat", path.display()))
            .hint("move it away, then install again"));
    }
    if !how.dry_run {
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&path, &unit.text))
            .map_err(|e| local(format!("cannot write {}", path.display()), e))?;
    }
    tell(session, how, "write", &path)
}

fn tell(session: &Session, how: &Install, what: &str, path: &Path) -> Outcome<()> {
    match session.out.json {
        true => session.out.object(&json!({
            "message_type": "unit", "action": what, "path": path.display().to_string(), "dry_run": how.dry_run,
        })),
        false => session.out.line(format!("{}{what} {}", if how.dry_run { "would " } else { "" }, path.display())),
    }
}

/// Units of ours in a folder.
fn installed(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| units::is_own(path)).collect();
    paths.sort();
    paths
}

const WITHOUT_SYSTEMD: &str = "without systemd: lifeboat schedule install --cron; only the files: lifeboat schedule install --into FOLDER";

fn systemctl(how: &Install, arguments: &[&str]) -> Outcome<()> {
    let of_user = how.user || !rustix::process::getuid().is_root();
    let mut command = Command::new("systemctl");
    command.args(of_user.then_some("--user")).args(arguments).stdin(Stdio::null());
    let ran = command.output().map_err(|e| local("cannot ask systemd", e).hint(WITHOUT_SYSTEMD))?;
    if ran.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&ran.stderr).trim().to_string();
    Err(Failure::new(Exit::Failed, format!("systemctl {}: {}", arguments.join(" "), safe(&why)))
        .hint(WITHOUT_SYSTEMD))
}

fn enable(session: &Session, how: &Install, scope: &Scope, units: &[Unit]) -> Outcome<()> {
    if how.dry_run || how.into.is_some() {
        return Ok(());
    }
    systemctl(how, &["daemon-reload"])?;
    let begins = |unit: &&Unit| unit.name.ends_with(".timer") || how.daemon;
    for unit in units.iter().filter(begins) {
        systemctl(how, &["enable", "--now", &unit.name])?;
    }
    for unit in units.iter().filter(|unit| units::waits_for_drive(&unit.name)) {
        systemctl(how, &["enable", &unit.name])?;
    }
    if scope.of_user {
        session.out.info("they run while you are logged in; always with: loginctl enable-linger");
    }
    Ok(())
}

/// Takes units out of systemd's hands and removes their files: all that can be, whatever becomes of one. The first
/// thing that went wrong is the error.
fn disable(session: &Session, how: &Install, paths: &[PathBuf]) -> Outcome<()> {
    let mut wrong = None;
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let begins = name.ends_with(".timer") || name == "lifeboat.service" || units::waits_for_drive(&name);
        if begins && !how.dry_run && how.into.is_none() {
            let disabled = systemctl(how, &["disable", "--now", &name]);
            wrong = wrong.or(disabled.err());
        }
        let removed = if how.dry_run { Ok(()) } else { std::fs::remove_file(path) };
        match removed {
            Ok(()) => tell(session, how, "remove", path)?,
            Err(e) => wrong = wrong.or(Some(local(format!("cannot remove {}", path.display()), e))),
        }
    }
    wrong.map_or(Ok(()), Err)
}

fn remove(session: &Session, how: &Install) -> Outcome<Exit> {
    if how.cron {
        return change_crontab(session, how, "");
    }
    let paths = installed(&folder(how));
    let disabled = disable(session, how, &paths).map_err(|failure| {
        failure.during("the files are removed as far as they can be, but systemd was not told of all of it")
    });
    if !paths.is_empty() && !how.dry_run && how.into.is_none() {
        let reloaded = systemctl(how, &["daemon-reload"]);
        disabled.and(reloaded)?;
    } else {
        disabled?;
    }
    if paths.is_empty() {
        session.out.info("nothing was installed");
    }
    Ok(Exit::Ok)
}

/// The table that `crontab -l` printed. Where there is none it fails, too; any other failure must not replace a
/// table that is there by an empty one.
fn table_of(listed: &Output) -> Outcome<String> {
    let error = String::from_utf8_lossy(&listed.stderr);
    if listed.status.success() {
        Ok(String::from_utf8_lossy(&listed.stdout).into_owned())
    } else if error.contains("no crontab") || error.contains("No such file") {
        Ok(String::new())
    } else {
        Err(Failure::new(Exit::Failed, "cannot read the crontab").because(safe(error.trim()).to_string()))
    }
}

fn change_crontab(session: &Session, how: &Install, lines: &str) -> Outcome<Exit> {
    let absent = |e| local("cannot ask cron", e).hint("install cron, or use: lifeboat schedule install");
    let listed =
        Command::new("crontab").arg("-l").env("LC_ALL", "C").stdin(Stdio::null()).output().map_err(absent)?;
    let before = table_of(&listed)?;
    let after = units::in_crontab(&before, lines);
    if !how.dry_run && after != before {
        let mut child = Command::new("crontab").arg("-").stdin(Stdio::piped()).spawn().map_err(absent)?;
        let written = child.stdin.take().expect("it was asked for").write_all(after.as_bytes());
        let status = child.wait().map_err(absent)?;
        if written.is_err() || !status.success() {
            return Err(Failure::new(Exit::Failed, "crontab did not take the lines"));
        }
    }
    match session.out.json {
        true => session
            .out
            .object(&json!({ "message_type": "crontab", "lines": lines, "dry_run": how.dry_run }))?,
        false => lines.lines().try_for_each(|line| session.out.line(safe(line)))?,
    }
    Ok(Exit::Ok)
}
