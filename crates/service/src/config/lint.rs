//! What can be used and is probably not what was wanted.

use super::document::Node;
use super::load::Loaded;
use super::problem::{At, Problem};
use super::sources::Source;
use super::values::When;
use super::{Config, Hook, HookEvent, Notify, later};
use crate::display::safe;
use crate::drill::database::Questions;
use crate::schedule::{next_of, upcoming};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use storage::Location;

/// What is known of earlier runs.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// How long the last run of each job took.
    pub durations: BTreeMap<String, Duration>,
    /// The time; without it no schedule is looked at.
    pub now: Option<Timestamp>,
    /// Folders in which programs are looked for.
    pub programs: Vec<PathBuf>,
}

/// Looks for what is probably a mistake. `interval` tells the shortest time between two runs of a schedule,
/// where it can be told.
pub fn lint(loaded: &Loaded, seen: &Seen, interval: impl Fn(&str) -> Option<Duration>) -> Vec<Problem> {
    let mut lint = Lint { loaded, config: &loaded.config, problems: Vec::new() };
    lint.unused();
    lint.unserved();
    lint.copies();
    lint.secrets(&loaded.document, &mut Vec::new());
    lint.files();
    lint.overlaps();
    lint.hooks();
    lint.told();
    lint.programs(&seen.programs);
    lint.schedules(seen, interval);
    if let Some(now) = seen.now {
        lint.times(now);
        lint.ages(now);
    }
    lint.problems
}

struct Lint<'l> {
    loaded: &'l Loaded,
    config: &'l Config,
    problems: Vec<Problem>,
}

impl Lint<'_> {
    fn at(&self, path: &[&str]) -> Option<At> {
        self.loaded.document.place(path)
    }

    fn warn(&mut self, path: &[&str], text: String, help: &str) {
        let problem = Problem::warning(self.at(path), text);
        self.problems.push(if help.is_empty() { problem } else { problem.help(help) });
    }

    fn unused(&mut self) {
        let config = self.config;
        if config.sources.is_empty() {
            self.warn(
                &[],
                "nothing is protected: there is no source".into(),
                "[sources.home] paths = [\"~\"]",
            );
        }
        for name in config.sources.keys() {
            if config.jobs_of(name).next().is_none() {
                let text = format!("source {name} is in no job: it is never backed up");
                self.warn(&["sources", name], text, "");
            }
        }
        for name in config.repositories.keys() {
            if !config.jobs.values().any(|job| job.to.contains(name)) {
                self.warn(&["repositories", name], format!("no job copies to repository {name}"), "");
            }
        }
        for (name, job) in &config.jobs {
            if config.schedule_of(job).is_empty() {
                self.warn(&["jobs", name], format!("job {name} has no schedule: it runs by hand alone"), "");
            }
        }
    }

    /// What the file may say and this version does not do.
    fn unserved(&mut self) {
        for (name, source) in &self.config.sources {
            if let Some(what) = crate::runner::unserved(source) {
                self.warn(
                    &["sources", name],
                    format!("every run of {name} fails: this version cannot {what}"),
                    "",
                );
            }
        }
        for (name, drill) in &self.config.drills {
            let source = drill.source().and_then(|source| self.config.sources.get(source));
            let why = match Questions::of(drill, self.config) {
                Err(e) => Some(e.message()),
                Ok(Some(questions)) => source.filter(|source| !questions.fit(source)).map(|source| {
                    format!(
                        "it is of the kind {}, and the source of the type {}",
                        drill.kind(),
                        source.kind()
                    )
                }),
                Ok(None) => None,
            };
            if let Some(why) = why {
                self.warn(&["drills", name], format!("drill {name} always fails: {why}"), "");
            }
        }
    }

    /// Goals that cannot be met, whatever happens.
    fn copies(&mut self) {
        let config = self.config;
        let mut at_home: Vec<&str> = Vec::new();
        for name in config.sources.keys().filter(|name| config.jobs_of(name).next().is_some()) {
            let goals = config.goals_of(name);
            let places: Vec<_> =
                config.repositories_of(name).into_iter().filter_map(|r| config.repositories.get(r)).collect();
            let mut locations: Vec<String> =
                places.iter().map(|p| p.location.clone().unwrap_or_else(|| p.url.clone())).collect();
            locations.sort();
            locations.dedup();
            let offsite = places.iter().filter(|place| place.is_offsite()).count() as u32;
            if offsite == 0 && goals.offsite.unwrap_or_default() > 0 {
                at_home.push(name);
            } else if offsite < goals.offsite.unwrap_or_default() {
                let text = format!(
                    "{offsite} copies of {name} are in another building, not {}",
                    goals.offsite.unwrap_or_default()
                );
                self.warn(&["sources", name], text, "");
            }
            let copies = places.len() as u32 + 1;
            if copies < goals.copies.unwrap_or_default() {
                let text = format!(
                    "there are {copies} copies of {name}, the live data counted, and {} are wanted",
                    goals.copies.unwrap_or_default()
                );
                self.warn(&["sources", name], text, "add a repository to the job, or say goals.copies");
            }
            let immutable = places.iter().filter(|place| place.immutable.is_some()).count() as u32;
            if immutable < goals.immutable.unwrap_or_default() {
                let text = format!(
                    "{immutable} copies of {name} are immutable, and {} are wanted",
                    goals.immutable.unwrap_or_default()
                );
                self.warn(&["sources", name], text, "");
            }
        }
        // One cause, one repository missing, however many sources it is missing for.
        if let Some(first) = at_home.first() {
            let names = at_home.join(", ");
            let text = format!("no copy of {names} is in another building: a fire or a thief takes them all");
            let help = "add a repository elsewhere, or say offsite = true where it is";
            self.warn(&["sources", first], text, help);
        }
    }

    /// Secrets that stand in the file, and logins in addresses.
    fn secrets(&mut self, node: &Node, path: &mut Vec<String>) {
        use super::document::Kind;
        match &node.kind {
            Kind::Table(table) => {
                for (key, (at, below)) in table {
                    let is_header = path.last().is_some_and(|above| above == "headers");
                    path.push(key.clone());
                    let is_secret = match is_header {
                        true => names_a_login(key),
                        false => later::names_a_secret(key) && key != "key_file",
                    };
                    if is_secret && matches!(below.kind, Kind::Text(_)) {
                        let text = format!("{} stands in the file for everybody to read", path.join("."));
                        let problem = Problem::warning(Some(at.clone()), text);
                        let help = "write where it is: { file = \"/etc/lifeboat/secrets/NAME\" } or { credential = \"NAME\" }";
                        self.problems.push(Problem { hides_line: true, ..problem.help(help) });
                    }
                    self.secrets(below, path);
                    path.pop();
                }
            }
            Kind::List(items) => items.iter().for_each(|item| self.secrets(item, path)),
            Kind::Text(text) if has_login(text) => {
                let text = format!("{} holds a password for everybody to read", path.join("."));
                let problem = Problem::warning(Some(node.at.clone()), text);
                self.problems.push(Problem {
                    hides_line: true,
                    ..problem.help("write it as password = { file = ... }")
                });
            }
            _ => {}
        }
    }

    /// Who else may write the files decides what runs as this user.
    fn files(&mut self) {
        for (at, file) in self.loaded.files.iter().enumerate() {
            let Ok(metadata) = std::fs::metadata(&file.path) else { continue };
            if metadata.permissions().mode() & 0o022 != 0 {
                let at = At { file: at, span: 0..0 };
                let text = "others may write this file, and so decide which commands run".to_string();
                let help = format!("chmod go-w {}", crate::display::shell_word(&file.path.to_string_lossy()));
                self.problems
                    .push(Problem { hides_line: true, ..Problem::warning(Some(at), text).help(help) });
            }
        }
        for (name, repository) in &self.config.repositories {
            let Some(super::Secret::File(path)) = &repository.password else { continue };
            let path = self.loaded.full_path(&path.to_string_lossy());
            let Ok(metadata) = std::fs::metadata(&path) else { continue };
            if metadata.permissions().mode() & 0o077 != 0 {
                let text = format!("others may read {}", path.display());
                let help = format!("chmod 600 {}", crate::display::shell_word(&path.to_string_lossy()));
                self.warn(&["repositories", name, "password"], text, &help);
            }
        }
    }

    /// Backing up a repository into itself, and sources that are not there.
    fn overlaps(&mut self) {
        for (name, source) in &self.config.sources {
            let Source::Files(files) = source else { continue };
            for (at, written) in files.paths.iter().enumerate() {
                let path = self.loaded.full_path(written);
                let number = at.to_string();
                if !written.contains(['*', '?', '[']) && std::fs::symlink_metadata(&path).is_err() {
                    let text = format!("{} is not there now", crate::display::safe(&path.to_string_lossy()));
                    self.warn(&["sources", name, "paths", &number], text, "");
                }
                for (repository, place) in &self.config.repositories {
                    let Ok(Location::Local(folder)) = Location::parse(&place.url) else { continue };
                    let folder = self.loaded.full_path(&folder.to_string_lossy());
                    if folder.starts_with(&path) && !is_excluded(&files.rules.exclude, &folder) {
                        let text = format!(
                            "source {name} holds the repository {repository}, which would be copied into itself"
                        );
                        let help = format!("exclude = [\"{}\"]", folder.display());
                        self.warn(&["sources", name, "paths", &number], text, &help);
                    }
                }
            }
        }
    }

    fn hooks(&mut self) {
        for (at, hook) in self.config.hooks.iter().enumerate() {
            let number = at.to_string();
            if let Some(other) = answer_of(hook)
                && !self
                    .config
                    .hooks
                    .iter()
                    .any(|answer| answer.run == other && answer.on != HookEvent::Before)
            {
                let text =
                    format!("this stops something, and nothing starts it again: {}", hook.run.join(" "));
                let help = format!("[[hooks]] on = \"finally\", run = {other:?}");
                self.warn(&["hooks", &number], text, &help);
            } else if let Some(other) = answer_of(hook)
                && !self.config.hooks.iter().any(|a| a.run == other && a.on == HookEvent::Finally)
            {
                let text = format!(
                    "what starts again after {:?} does not run when the job fails",
                    hook.run.join(" ")
                );
                self.warn(&["hooks", &number], text, "say on = \"finally\" there");
            }
        }
    }

    fn told(&mut self) {
        if self.config.notify.is_empty() && !self.config.jobs.is_empty() {
            let text = "nobody is told when backups fail: there is no [notify]".to_string();
            self.warn(&["jobs"], text, "[notify.mail] type = \"smtp\" ..., and [alerts] all = [\"mail\"]");
        }
    }

    fn schedules(&mut self, seen: &Seen, interval: impl Fn(&str) -> Option<Duration>) {
        for (name, job) in &self.config.jobs {
            let Some(took) = seen.durations.get(name) else { continue };
            for when in self.config.schedule_of(job) {
                if interval(&when.0).is_some_and(|between| between <= *took) {
                    let text = format!(
                        "job {name} is to run {when}, and the last run took {}",
                        crate::durations::shown(Duration::from_secs(took.as_secs().max(1)))
                    );
                    self.warn(&["jobs", name, "schedule"], text, "run it less often, or make it two jobs");
                }
            }
        }
    }
}

/// Of what a schedule is, and where it is written.
struct Times<'t> {
    what: String,
    path: Vec<&'t str>,
    when: Vec<When>,
}

impl Lint<'_> {
    /// Programs and templates that are not there: what needs them fails when it is needed.
    fn programs(&mut self, folders: &[PathBuf]) {
        let config = self.config;
        for (at, hook) in config.hooks.iter().enumerate() {
            if let Some(text) = absent(&hook.run, folders) {
                self.warn(&["hooks", &at.to_string(), "run"], text, "");
            }
        }
        for (name, notify) in &config.notify {
            match notify {
                Notify::Command(command) => {
                    if let Some(text) = absent(&command.run, folders) {
                        self.warn(&["notify", name, "run"], text, "");
                    }
                }
                Notify::Webhook(hook) if !["generic", "slack", "discord"].contains(&&*hook.template) => {
                    let path = self.loaded.full_path(&hook.template);
                    if let Err(e) = std::fs::read_to_string(&path) {
                        let text = format!("cannot read the template {}: {e}", safe(&path.to_string_lossy()));
                        self.warn(&["notify", name, "template"], text, "");
                    }
                }
                _ => {}
            }
        }
    }

    /// Schedules that never come.
    fn times(&mut self, now: Timestamp) {
        let config = self.config;
        let zone = crate::watching::zone(config);
        let jobs = config.jobs.iter().map(|(name, job)| Times {
            what: format!("job {name}"),
            path: vec!["jobs", name, "schedule"],
            when: config.schedule_of(job),
        });
        let drills = config.drills.iter().map(|(name, drill)| Times {
            what: format!("drill {name}"),
            path: vec!["drills", name, "schedule"],
            when: config.schedule_of_drill(drill),
        });
        let duties = [("maintenance", &config.maintenance.schedule), ("verify", &config.verify.schedule)];
        let duties = duties.map(|(what, when)| Times {
            what: what.to_string(),
            path: vec![what, "schedule"],
            when: when.as_slice().to_vec(),
        });
        for times in jobs.chain(drills).chain(duties) {
            for when in &times.when {
                if when.schedule().next(now, &zone).is_none() {
                    let text = format!("{}: {when} never comes", times.what);
                    self.warn(&times.path, text, "see when it would be with: lifeboat schedule next");
                }
            }
        }
    }

    /// Copies that are too old before the next one can be made.
    fn ages(&mut self, now: Timestamp) {
        let config = self.config;
        let zone = crate::watching::zone(config);
        for source in config.sources.keys() {
            for repository in config.repositories_of(source) {
                let jobs = config.jobs_of(source).filter(|(_, job)| job.to.iter().any(|to| to == repository));
                let schedules: Vec<_> =
                    jobs.flat_map(|(_, job)| config.schedule_of(job)).map(|when| when.schedule()).collect();
                if next_of(&schedules, now, &zone).is_none() {
                    continue;
                }
                let times = upcoming(&schedules, now, &zone, GAPS + 1);
                let gaps = times.windows(2).map(|pair| pair[1].as_second() - pair[0].as_second());
                let may_be = config.max_age_of(source, repository);
                let Some(least) = gaps.min().and_then(|gap| u64::try_from(gap).ok()) else { continue };
                if may_be.0.as_secs() < least {
                    let text = format!(
                        "a copy of {source} in {repository} may be {may_be} old, and the next is made only {} later",
                        crate::durations::shown(Duration::from_secs(least))
                    );
                    let help = "run the job more often, or say a greater max_age";
                    self.warn(&["sources", source], text, help);
                }
            }
        }
    }
}

/// Times between runs that are looked at.
const GAPS: usize = 8;

/// That a program is not there, in words.
fn absent(run: &[String], folders: &[PathBuf]) -> Option<String> {
    let program = run.first()?;
    let is_there = match program.contains('/') {
        true => Path::new(program).exists(),
        false => folders.is_empty() || folders.iter().any(|folder| folder.join(program).exists()),
    };
    (!is_there).then(|| format!("there is no program {}", safe(program)))
}

/// Whether the value of a header line of this name lets somebody in.
fn names_a_login(header: &str) -> bool {
    let header = header.to_ascii_lowercase();
    ["auth", "token", "key", "secret", "password", "cookie", "signature"]
        .iter()
        .any(|word| header.contains(word))
}

/// `scheme://user:password@host`.
fn has_login(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let authority = rest.split('/').next().unwrap_or_default();
    scheme.chars().all(|c| c.is_ascii_alphanumeric() || c == '+')
        && authority
            .rsplit_once('@')
            .is_some_and(|(login, _)| login.split_once(':').is_some_and(|(_, p)| !p.is_empty()))
}

fn is_excluded(patterns: &[String], folder: &Path) -> bool {
    let folder = folder.to_string_lossy();
    patterns.iter().any(|pattern| {
        let pattern = pattern.trim_end_matches('/').trim_end_matches("/**").trim_end_matches("/*");
        folder == pattern || folder.starts_with(&format!("{pattern}/"))
    })
}

/// The command that takes back what a hook before a job does.
fn answer_of(hook: &Hook) -> Option<Vec<String>> {
    if hook.on != HookEvent::Before {
        return None;
    }
    let pairs = [("stop", "start"), ("pause", "unpause"), ("suspend", "resume"), ("disable", "enable")];
    let answer =
        |word: &String| pairs.iter().find(|(away, _)| away == word).map(|(_, back)| back.to_string());
    let at = hook.run.iter().position(|word| answer(word).is_some())?;
    let mut run = hook.run.clone();
    run[at] = answer(&run[at])?;
    Some(run)
}
