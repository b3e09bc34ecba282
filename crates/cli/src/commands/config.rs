//! `lifeboat config`: looks at the configuration, shows it, and edits it.

use crate::counts::count;
use crate::display::{safe, shell_word};
use crate::error::{Exit, Failure, Outcome, local};
use crate::session::Session;
use crate::{folders, prompt, time};
use clap::Subcommand;
use serde_json::json;
use service::catalog::{CATALOG_FILE, Catalog};
use service::config::document::Kind;
use service::config::lint::{Seen, lint};
use service::config::problem::SourceFile;
use service::config::{Broken, Loaded, load, reference_page, schema};
use service::schedule::{Schedule, upcoming};
use service::stored_config;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Look at the configuration, show it, or edit it
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  lifeboat config check
  lifeboat config show                    all of it, with what follows from it; no secrets
  lifeboat config edit                    nothing is saved that could not be used
  lifeboat config set repositories.nas.url sftp://new/backup
  lifeboat config schema > lifeboat.schema.json
  lifeboat config stored -r sftp://nas/backup     what the runs of a lost machine left beside its copies

Exit code 2: the configuration cannot be used; every mistake is named with its line.")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Say what is wrong, and what is probably not what was wanted
    #[command(after_help = "\
Examples:
  lifeboat config check
  lifeboat config check -c ./lifeboat.toml      before it takes the place of the one in use")]
    Check,
    /// Print the configuration with what follows from it
    #[command(after_help = "\
Example:
  lifeboat config show")]
    Show,
    /// Print the JSON schema, for editors
    #[command(after_help = "\
Example:
  lifeboat config schema > lifeboat.schema.json")]
    Schema,
    /// Print what every key means
    #[command(after_help = "\
Example:
  lifeboat config reference | less")]
    Reference,
    /// Edit the configuration with $VISUAL or $EDITOR
    #[command(after_help = "\
Examples:
  lifeboat config edit
  EDITOR=nano lifeboat config edit")]
    Edit,
    /// Write another text in the place of one that is written, and leave everything else as it is
    #[command(after_help = "\
Examples:
  lifeboat config set repositories.nas.url sftp://new/backup
  lifeboat config set jobs.daily.schedule daily")]
    Set {
        /// Which: table.name.key
        key: String,
        /// The new text
        value: String,
    },
    /// Print the configuration that is stored in the repository, without its secrets
    #[command(after_help = "\
Examples:
  lifeboat config stored -r sftp://nas/backup
  lifeboat config stored -r sftp://nas/backup laptop > lifeboat.toml")]
    Stored {
        /// Of this machine [default: of the only one]
        machine: Option<String>,
    },
}

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    match args.action {
        Action::Check => check(session),
        Action::Show => show(session),
        Action::Schema => {
            let text = serde_json::to_string_pretty(schema()).expect("a schema can be written");
            session.out.line(text).map(|()| Exit::Ok)
        }
        Action::Reference => session.out.line(reference_page::page(schema()).trim_end()).map(|()| Exit::Ok),
        Action::Edit => edit(session),
        Action::Set { key, value } => set(session, &key, &value),
        Action::Stored { machine } => stored(session, machine.as_deref()),
    }
}

fn stored(session: &Session, machine: Option<&str>) -> Outcome<Exit> {
    let opened = session.open()?;
    let list = session.snapshots(&opened.repo)?;
    let all = stored_config::newest(&list);
    let found: Vec<_> = all.iter().filter(|s| machine.is_none_or(|name| s.host == name)).collect();
    let snapshot = match &found[..] {
        [one] => one,
        [] => return Err(Failure::new(Exit::Failed, "no configuration is stored there")),
        several => {
            let names: Vec<String> = several.iter().map(|snapshot| safe(&snapshot.host)).collect();
            return Err(Failure::usage("configurations of several machines are stored there")
                .hint(format!("name one of them: {}", names.join(", "))));
        }
    };
    let files = stored_config::read(&*opened.reader()?, snapshot)?;
    if session.out.json {
        let time = time::rfc3339(snapshot.time);
        session.out.object(
            &json!({ "message_type": "config", "machine": snapshot.host, "time": time, "files": files }),
        )?;
        return Ok(Exit::Ok);
    }
    for (name, text) in &files {
        session.out.line(format!(
            "# {} of {}, as of {}",
            safe(name),
            safe(&snapshot.host),
            time::shown(snapshot.time)
        ))?;
        // It comes from a repository: control characters in it must not reach the terminal.
        text.lines().try_for_each(|line| session.out.line(safe(&line.replace('\t', "    "))))?;
    }
    Ok(Exit::Ok)
}

fn path(session: &Session) -> Outcome<PathBuf> {
    // The failure that names where one may be.
    session.configuration_path().map_or_else(|| session.configuration().map(|l| l.path().into()), Ok)
}

fn check(session: &Session) -> Outcome<Exit> {
    let path = path(session)?;
    let loaded = match load(&path, &folders::folders())? {
        Ok(loaded) => loaded,
        Err(broken) => return tell_broken(session, &broken).map(|()| Exit::Usage),
    };
    let problems = lint(&loaded, &seen(), shortest);
    for problem in &problems {
        match session.out.json {
            true => session.out.object(&problem.object(&loaded.files))?,
            false => problem.lines(&loaded.files).iter().try_for_each(|line| session.out.line(line))?,
        }
    }
    let config = &loaded.config;
    if session.out.json {
        session.out.object(&json!({
            "message_type": "summary", "file": loaded.path(), "usable": true, "warnings": problems.len(),
            "sources": config.sources.len(), "repositories": config.repositories.len(), "jobs": config.jobs.len(),
        }))?;
    } else if !session.out.quiet {
        session.out.line(format!(
            "{} can be used: {}, {}, {}; {}",
            safe(&loaded.path().display().to_string()),
            count(config.sources.len(), "source"),
            count(config.repositories.len(), "repository"),
            count(config.jobs.len(), "job"),
            count(problems.len(), "warning")
        ))?;
    }
    Ok(Exit::Ok)
}

fn tell_broken(session: &Session, broken: &Broken) -> Outcome<()> {
    for problem in &broken.problems {
        match session.out.json {
            true => session.out.object(&problem.object(&broken.files))?,
            false => problem.lines(&broken.files).iter().try_for_each(|line| session.out.line(line))?,
        }
    }
    if session.out.json {
        session.out.object(&json!({
            "message_type": "summary", "file": broken.files[0].path, "usable": false,
            "errors": broken.problems.len(),
        }))?;
    }
    Ok(())
}

/// How long jobs took. Without a catalog nothing is known, and nothing is made.
fn seen() -> Seen {
    let path = folders::folders().state.join(CATALOG_FILE);
    let programs = folders::variable("PATH").unwrap_or_default();
    let mut seen = Seen {
        now: Some(jiff::Timestamp::now()),
        programs: std::env::split_paths(&programs).collect(),
        ..Seen::default()
    };
    if !path.exists() {
        return seen;
    }
    let runs = Catalog::open(&path).and_then(|catalog| catalog.runs(None, 500)).unwrap_or_default();
    for run in runs.into_iter().filter(|run| run.what == "backup") {
        if let Some(end) = run.end {
            let took = Duration::from_secs(end.saturating_sub(run.start).max(0) as u64);
            seen.durations.entry(run.job).or_insert(took);
        }
    }
    seen
}

/// The shortest time between two of the next times of a schedule.
fn shortest(when: &str) -> Option<Duration> {
    let schedule: Schedule = when.parse().ok()?;
    if let Some(interval) = schedule.interval() {
        return Some(interval);
    }
    let times = upcoming(&[schedule], jiff::Timestamp::now(), &jiff::tz::TimeZone::system(), 8);
    let gaps = times.windows(2).map(|pair| pair[1].as_second().saturating_sub(pair[0].as_second()));
    gaps.min().map(|secs| Duration::from_secs(secs.max(0) as u64))
}

fn show(session: &Session) -> Outcome<Exit> {
    let loaded = session.configuration()?;
    if session.out.json {
        let value = loaded.config.shown();
        let derived: serde_json::Map<_, _> =
            loaded.config.sources.keys().map(|name| (name.clone(), derived_object(&loaded, name))).collect();
        session.out.object(&json!({ "message_type": "config", "config": value, "derived": derived }))?;
        return Ok(Exit::Ok);
    }
    session.out.line(loaded.config.to_toml().trim_end())?;
    for name in loaded.config.sources.keys() {
        derived_lines(&loaded, name).iter().try_for_each(|line| session.out.line(line))?;
    }
    Ok(Exit::Ok)
}

/// What follows for a source, as comments.
fn derived_lines(loaded: &Loaded, name: &str) -> Vec<String> {
    let config = &loaded.config;
    let criticality = config.criticality(name).name();
    let mut lines = vec![String::new(), format!("# source {name} ({criticality}):")];
    for (job, described) in config.jobs_of(name) {
        let when: Vec<String> =
            config.schedule_of(described).iter().map(|when| when.schedule().meaning()).collect();
        let when = if when.is_empty() { "by hand alone".to_string() } else { when.join("; ") };
        lines.push(format!("#   job {job}: {when}"));
    }
    for repository in config.repositories_of(name) {
        let (policy, rules) = config.retention_of(name, repository);
        lines.push(format!(
            "#   in {repository}: retention {policy} ({}); may be {} old",
            rules.policy(),
            config.max_age_of(name, repository)
        ));
    }
    let goals = config.goals_of(name);
    lines.push(format!(
        "#   wanted: {} copies, {} media, {} in another building; read again within {}, restored on trial within {}",
        goals.copies.unwrap_or_default(),
        goals.media.unwrap_or_default(),
        goals.offsite.unwrap_or_default(),
        goals.verified_within.map(|time| time.to_string()).unwrap_or_default(),
        goals.drilled_within.map(|time| time.to_string()).unwrap_or_default(),
    ));
    lines
}

fn derived_object(loaded: &Loaded, name: &str) -> serde_json::Value {
    let config = &loaded.config;
    let retention: serde_json::Map<_, _> = config
        .repositories_of(name)
        .into_iter()
        .map(|repository| {
            let (policy, rules) = config.retention_of(name, repository);
            let max_age = config.max_age_of(name, repository);
            (repository.to_string(), json!({ "policy": policy, "keep": rules, "max_age": max_age }))
        })
        .collect();
    let jobs: serde_json::Map<_, _> =
        config.jobs_of(name).map(|(job, d)| (job.clone(), json!(config.schedule_of(d)))).collect();
    json!({
        "criticality": config.criticality(name), "goals": config.goals_of(name), "repositories": retention,
        "schedules": jobs,
    })
}

fn edit(session: &Session) -> Outcome<Exit> {
    let named = path(session)?;
    if !prompt::is_possible() {
        return Err(Failure::usage("there is no terminal to edit at").hint(format!(
            "change {} and look at it with: lifeboat config check",
            safe(&named.display().to_string())
        )));
    }
    // What a link points to is edited; the link stays.
    let path = named.canonicalize().map_err(|e| local(format!("cannot read {}", named.display()), e))?;
    let copy = path.with_file_name(format!(".{}.edit-{}", load::FILE_NAME, std::process::id()));
    copy_as_owned(&path, &copy).map_err(|e| local(format!("cannot write {}", copy.display()), e))?;
    let edited = edit_copy(session, &named, &path, &copy);
    std::fs::remove_file(&copy).ok();
    edited
}

/// Copies a file with its rights, and for the same owner where that is allowed.
fn copy_as_owned(path: &Path, copy: &Path) -> std::io::Result<()> {
    std::fs::copy(path, copy)?;
    let owner = std::fs::metadata(path)?;
    if owner.uid() != std::fs::metadata(copy)?.uid() {
        std::os::unix::fs::chown(copy, Some(owner.uid()), Some(owner.gid())).ok();
    }
    Ok(())
}

/// Writes another text where one is written already, and nothing else; the result must be a configuration that can be
/// used.
fn set(session: &Session, key: &str, value: &str) -> Outcome<Exit> {
    let loaded = session.configuration()?;
    let path: Vec<&str> = key.split('.').collect();
    let node =
        loaded.document.find(&path).filter(|node| matches!(node.kind, Kind::Text(_))).ok_or_else(|| {
            Failure::usage(format!("no text is written for {}", safe(key))).hint("lifeboat config edit")
        })?;
    let copy = |file: &SourceFile| SourceFile { path: file.path.clone(), text: file.text.clone() };
    let mut files: Vec<SourceFile> = loaded.files.iter().map(copy).collect();
    let file = &mut files[node.at.file];
    file.text.replace_range(node.at.span.clone(), &toml_text(value));
    let (path, text) = (file.path.clone(), file.text.clone());
    let understood = load::understand(files, &loaded.home);
    if let Err(broken) = understood {
        tell_broken(session, &broken)?;
        return Err(Failure::new(Exit::Usage, "nothing was changed"));
    }
    // What a link points to is changed; the link stays.
    let path = path.canonicalize().map_err(|e| local(format!("cannot read {}", path.display()), e))?;
    let copy = path.with_file_name(format!(".{}.set-{}", load::FILE_NAME, std::process::id()));
    let written = copy_as_owned(&path, &copy).and_then(|()| std::fs::write(&copy, text));
    let saved = written.map_err(|e| local(format!("cannot write {}", copy.display()), e));
    let saved = saved.and_then(|()| put_back(session, &path, &copy));
    std::fs::remove_file(&copy).ok();
    saved
}

/// A text as TOML takes it.
fn toml_text(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out + "\""
}

fn edit_copy(session: &Session, named: &Path, path: &Path, copy: &Path) -> Outcome<Exit> {
    let read =
        |path: &Path| std::fs::read(path).map_err(|e| local(format!("cannot read {}", path.display()), e));
    let before = read(path)?;
    loop {
        run_editor(copy)?;
        if read(copy)? == before {
            session.out.info("nothing was changed");
            return Ok(Exit::Ok);
        }
        match load::load_edited(named, copy, &folders::folders())? {
            Ok(_) if read(path)? == before => return put_back(session, path, copy),
            Ok(_) => {
                let text =
                    format!("{} was changed by somebody else meanwhile", safe(&path.display().to_string()));
                session.out.warn(text);
                if !prompt::yes("Replace it with what you wrote?")? {
                    return Err(Failure::new(Exit::Failed, "nothing was saved"));
                }
                return put_back(session, path, copy);
            }
            Err(broken) => {
                tell_broken(session, &broken)?;
                if !prompt::yes("This cannot be used. Edit it again?")? {
                    return Err(Failure::new(Exit::Usage, "nothing was saved"));
                }
            }
        }
    }
}

/// The edited copy takes the place of the file, at once or not at all.
fn put_back(session: &Session, path: &Path, copy: &Path) -> Outcome<Exit> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let replaced = std::fs::File::open(copy)
        .and_then(|file| file.sync_all())
        .and_then(|()| std::fs::rename(copy, path))
        .and_then(|()| std::fs::File::open(folder)?.sync_all());
    replaced.map_err(|e| local(format!("cannot replace {}", path.display()), e))?;
    session.out.info(format!(
        "saved; look at it with: lifeboat config check -c {}",
        shell_word(&path.to_string_lossy())
    ));
    Ok(Exit::Ok)
}

fn run_editor(file: &Path) -> Outcome<()> {
    let editor =
        folders::variable("VISUAL").or_else(|| folders::variable("EDITOR")).unwrap_or_else(|| "vi".into());
    // Editors are given with their options, as a shell reads them; the file is an argument, not text.
    let status = Command::new("sh").args(["-c", &format!("{editor} \"$1\""), "sh"]).arg(file).status();
    let status = status.map_err(|e| local(format!("cannot start the editor {editor}"), e))?;
    match status.success() {
        true => Ok(()),
        false => {
            Err(Failure::new(Exit::Failed, format!("the editor {editor} failed")).because(status.to_string()))
        }
    }
}
