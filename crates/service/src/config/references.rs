//! What the schema cannot say: that what is named exists, that addresses and patterns can be read, that
//! nothing waits for itself.

use super::document::Node;
use super::problem::{At, Problem};
use super::sources::Source;
use super::walk::with_guess;
use super::{Config, derived};
use format::chunk::FIXED_CHUNK_BYTES;
use host::Rules;
use std::collections::{BTreeMap, BTreeSet};
use storage::Location;

/// Checks a configuration that fits the schema.
pub(super) fn check(config: &Config, document: &Node) -> Vec<Problem> {
    let mut check = Check { config, document, problems: Vec::new() };
    check.names();
    check.machine();
    check.repositories();
    check.sources();
    check.jobs();
    check.retention();
    check.drills();
    check.alerts();
    check.daemon();
    check.problems
}

struct Check<'c> {
    config: &'c Config,
    document: &'c Node,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn at(&self, path: &[&str]) -> At {
        let place = self.document.find(path).map(|node| node.at.clone());
        place.or_else(|| self.document.place(path)).unwrap_or(At { file: 0, span: 0..0 })
    }

    fn wrong(&mut self, path: &[&str], text: impl Into<String>) {
        let problem = Problem::error(self.at(path), text);
        self.problems.push(problem);
    }

    /// A name that must be one of the known ones.
    fn named<'k>(
        &mut self,
        path: &[&str],
        table: &str,
        name: &str,
        known: impl Iterator<Item = &'k String> + Clone,
    ) {
        if !known.clone().any(|known| known == name) {
            let problem = Problem::error(self.at(path), format!("there is no [{table}.{name}]"));
            let problem = with_guess(problem, name, known.map(String::as_str));
            self.problems.push(problem);
        }
    }

    /// Names go into addresses, rules and files: letters, digits, `.`, `_` and `-`.
    fn names(&mut self) {
        let config = self.config;
        let tables: [(&str, Vec<&String>); 5] = [
            ("repositories", config.repositories.keys().collect()),
            ("sources", config.sources.keys().collect()),
            ("jobs", config.jobs.keys().collect()),
            ("drills", config.drills.keys().collect()),
            ("notify", config.notify.keys().collect()),
        ];
        for (table, names) in tables {
            for name in names {
                let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
                if name.is_empty()
                    || !name.chars().all(plain)
                    || name.starts_with(['.', '-'])
                    || name.len() > 64
                {
                    let at = self.document.place(&[table, name]).unwrap_or_else(|| self.at(&[table, name]));
                    let text = format!("{name:?} is no name: letters, digits, . _ and -, at most 64");
                    self.problems.push(Problem::error(at, text));
                }
            }
        }
    }

    fn machine(&mut self) {
        if let Some(zone) = &self.config.machine.timezone
            && jiff::tz::TimeZone::get(zone).is_err()
        {
            self.wrong(&["machine", "timezone"], format!("there is no time zone {zone:?}"));
        }
        if self.config.machine.name.as_deref() == Some("") {
            self.wrong(&["machine", "name"], "machine.name is empty");
        }
    }

    fn repositories(&mut self) {
        let mut urls: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, repository) in &self.config.repositories {
            let path = ["repositories", name, "url"];
            match Location::parse(&repository.url) {
                Err(e) => self.wrong(&path, repo::reader::chain(&e)),
                Ok(Location::Local(folder)) if !is_full(&folder.to_string_lossy()) => {
                    self.wrong(&path, "write the whole path, beginning with / or ~");
                }
                Ok(place) => {
                    let class = repository.storage_class.as_ref();
                    if let Some(Err(e)) = class.map(|class| place.with_storage_class(class)) {
                        self.wrong(&["repositories", name, "storage_class"], repo::reader::chain(&e));
                    }
                }
            }
            if let Some(other) = urls.insert(&repository.url, name) {
                self.wrong(&path, format!("[repositories.{other}] is the same place"));
            }
            if repository.password.is_some() && repository.key_file.is_some() {
                self.wrong(
                    &["repositories", name, "key_file"],
                    "a password is named already: one of them opens it",
                );
            }
        }
    }

    fn sources(&mut self) {
        for (name, source) in &self.config.sources {
            self.source(name, source);
            for other in &source.common().depends_on {
                self.named(&["sources", name, "depends_on"], "sources", other, self.config.sources.keys());
            }
        }
        if let Some(name) = self.waits_for_itself() {
            self.wrong(
                &["sources", &name, "depends_on"],
                format!("{name} would have to be back before itself"),
            );
        }
        self.rules(&["defaults", "files", "exclude"], &self.config.defaults.files.exclude);
    }

    fn source(&mut self, name: &str, source: &Source) {
        let need = |check: &mut Self, key: &str, is_there: bool| {
            if !is_there {
                let at =
                    check.document.place(&["sources", name]).unwrap_or_else(|| check.at(&["sources", name]));
                check.problems.push(Problem::error(at, format!("sources.{name}.{key} is missing")));
            }
        };
        match source {
            Source::Files(files) => {
                need(self, "paths", !files.paths.is_empty());
                self.paths(name, &files.paths);
                self.rules(&["sources", name, "exclude"], &files.rules.exclude);
            }
            Source::Sqlite(files) => {
                need(self, "paths", !files.paths.is_empty());
                self.paths(name, &files.paths);
            }
            Source::Postgres(db) => need(self, "url", !db.url.is_empty()),
            Source::Mysql(db) | Source::Mariadb(db) => need(self, "url", !db.url.is_empty()),
            Source::Mongodb(db) => need(self, "url", !db.url.is_empty()),
            Source::Redis(db) => need(self, "url", !db.url.is_empty()),
            Source::Command(command) => need(self, "command", !command.command.is_empty()),
            Source::Block(block) => {
                need(self, "device", block.device.is_absolute());
                if let Some(chunk) = block.chunk.filter(|chunk| chunk.0 != FIXED_CHUNK_BYTES as u64) {
                    let text =
                        format!("sources.{name}.chunk: pieces of {chunk} are not in this version, only 64K");
                    self.wrong(&["sources", name, "chunk"], text);
                }
            }
            Source::System(_) => {}
        }
    }

    fn paths(&mut self, name: &str, paths: &[String]) {
        for (at, path) in paths.iter().enumerate() {
            if !is_full(path) {
                let text = format!("{path:?}: write the whole path, beginning with / or ~");
                self.wrong(&["sources", name, "paths", &at.to_string()], text);
            }
        }
    }

    fn rules(&mut self, path: &[&str], patterns: &[String]) {
        for (at, pattern) in patterns.iter().enumerate() {
            if let Err(e) = Rules::default().exclude(pattern.as_bytes(), "exclude", false) {
                let number = at.to_string();
                let path: Vec<&str> = path.iter().copied().chain([number.as_str()]).collect();
                self.wrong(&path, format!("{pattern:?}: {e}"));
            }
        }
    }

    fn waits_for_itself(&self) -> Option<String> {
        let sources = &self.config.sources;
        sources
            .keys()
            .find(|start| {
                let mut seen = BTreeSet::new();
                let mut next: Vec<&String> = sources[*start].common().depends_on.iter().collect();
                while let Some(name) = next.pop() {
                    if name == *start {
                        return true;
                    }
                    if seen.insert(name) {
                        next.extend(
                            sources.get(name).into_iter().flat_map(|source| &source.common().depends_on),
                        );
                    }
                }
                false
            })
            .cloned()
    }

    fn jobs(&mut self) {
        let config = self.config;
        for (name, job) in &config.jobs {
            for (at, source) in job.sources.iter().enumerate() {
                self.named(
                    &["jobs", name, "sources", &at.to_string()],
                    "sources",
                    source,
                    config.sources.keys(),
                );
            }
            for (at, to) in job.to.iter().enumerate() {
                self.named(
                    &["jobs", name, "to", &at.to_string()],
                    "repositories",
                    to,
                    config.repositories.keys(),
                );
                if job.to[..at].contains(to) {
                    self.wrong(&["jobs", name, "to", &at.to_string()], format!("{to} is named twice"));
                }
            }
        }
        for (at, hook) in config.hooks.iter().enumerate() {
            for job in hook.jobs.iter().flatten() {
                self.named(&["hooks", &at.to_string(), "jobs"], "jobs", job, config.jobs.keys());
            }
        }
        for (name, notify) in &config.notify {
            let super::watch::Notify::Healthchecks(checks) = notify else { continue };
            for job in checks.jobs.iter().flatten() {
                self.named(&["notify", name, "jobs"], "jobs", job, config.jobs.keys());
            }
        }
    }

    /// What the daemon would refuse when it starts.
    fn daemon(&mut self) {
        let Some(listen) = &self.config.daemon.listen else { return };
        let path = ["daemon", "listen"];
        match listen.parse::<std::net::SocketAddr>() {
            Err(_) => self.wrong(&path, format!("{listen:?} is no address: write it like 127.0.0.1:7450")),
            Ok(address) if !address.ip().is_loopback() => {
                let text = "metrics are served on a loopback address only: 127.0.0.1:PORT or [::1]:PORT";
                self.wrong(&path, text);
            }
            Ok(_) => {}
        }
    }

    fn retention(&mut self) {
        let config = self.config;
        for (rule, policy) in &config.retention.rules {
            let path = ["retention", "rules", rule];
            let known = config.retention.policies.keys();
            if !derived::BUILT_IN.contains(&policy.as_str()) {
                self.named(&path, "retention", policy, known);
            }
            let (source, repository) = derived::rule_parts(rule);
            if let Some(source) = source {
                self.named(&path, "sources", source, config.sources.keys());
            }
            if let Some(repository) = repository {
                self.named(&path, "repositories", repository, config.repositories.keys());
            }
        }
        for (name, policy) in &config.retention.policies {
            let at =
                self.document.place(&["retention", name]).unwrap_or_else(|| self.at(&["retention", name]));
            if policy.policy().is_empty() {
                let problem = Problem::error(at.clone(), format!("retention.{name} would keep nothing"));
                self.problems.push(problem.help("say what stays: keep_daily = 14, or max_age = \"1y\""));
            }
            if policy.min_age.zip(policy.max_age).is_some_and(|(least, most)| least > most) {
                let text = format!("retention.{name}: max_age is less than min_age");
                self.problems.push(Problem::error(at, text));
            }
        }
    }

    fn drills(&mut self) {
        let config = self.config;
        for (name, drill) in &config.drills {
            if let Some(source) = drill.source() {
                self.named(&["drills", name, "source"], "sources", source, config.sources.keys());
            }
            if drill.from() != "rotate" {
                self.named(
                    &["drills", name, "from"],
                    "repositories",
                    drill.from(),
                    config.repositories.keys(),
                );
            }
        }
    }

    fn alerts(&mut self) {
        let config = self.config;
        let alerts = &config.alerts;
        let routes = [
            ("stale", &alerts.stale),
            ("failed", &alerts.failed),
            ("damaged", &alerts.damaged),
            ("drill_failed", &alerts.drill_failed),
            ("suspicious", &alerts.suspicious),
            ("recovered", &alerts.recovered),
            ("all", &alerts.all),
        ];
        for (key, route) in routes {
            for to in route.iter().flat_map(|route| route.to()) {
                self.named(&["alerts", key], "notify", to, config.notify.keys());
            }
        }
        for to in alerts.report.iter().flat_map(|report| &report.to) {
            self.named(&["alerts", "report"], "notify", to, config.notify.keys());
        }
    }
}

fn is_full(path: &str) -> bool {
    path.starts_with('/') || path == "~" || path.starts_with("~/")
}
