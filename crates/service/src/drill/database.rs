//! Drills of databases: loaded into a server of the same kind that is started for the trial and thrown away, counted,
//! and asked the questions of the configuration.
//!
//! Every blob that is read is compared with its id, so damage shows; a dump that was cut off without anybody noticing
//! shows when it is loaded, in the number of its tables, or in the answers.

use super::proof::Leaves;
use super::{Asserted, DrillOutcome};
use crate::config::{Config, Drill, Source as Described};
use crate::counts::count;
use crate::failure::{Exit, Failure, Outcome, local};
use crate::restore_db::{Brought, Target, Way, bring_back};
use engine::contents::StoredFiles;
use format::snapshot::Snapshot;
use host::databases::scratch::{Kind, Scratch, reachable};
use host::databases::{About, Restore, Restored, Server, mysql, postgres, sqlite};
use repo::reader::Reader;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What is to be asked of which databases, and where.
#[derive(Clone, Debug)]
pub struct Questions {
    /// `postgres`, `mysql`, `mariadb` or `sqlite`.
    pub kind: String,
    /// A server that is there already; else one of its own is started.
    pub into: Option<Box<Server>>,
    /// Questions whose answer must be true, each with the database it is about before a colon, or about the only one.
    pub asserts: Vec<String>,
}

impl Questions {
    /// As a drill of the configuration says; none for drills of other kinds.
    ///
    /// # Errors
    /// The server that is named is one that databases come from, or no server.
    pub fn of(drill: &Drill, config: &Config) -> Outcome<Option<Self>> {
        let (Drill::Postgres(d) | Drill::Mysql(d) | Drill::Mariadb(d) | Drill::Sqlite(d)) = drill else {
            return Ok(None);
        };
        let into = match &*d.into {
            "scratch" => None,
            url => Some(Box::new(other_server(url, config)?)),
        };
        if into.is_some() && drill.kind() == "sqlite" {
            return Err(Failure::usage("databases of SQLite need no server: leave `into` out"));
        }
        Ok(Some(Questions { kind: drill.kind().into(), into, asserts: d.asserts.clone() }))
    }
}

impl Questions {
    /// Whether a source holds databases of this kind.
    pub fn fit(&self, source: &Described) -> bool {
        match source {
            Described::Postgres(_) => self.kind == "postgres",
            Described::Mysql(_) | Described::Mariadb(_) => matches!(&*self.kind, "mysql" | "mariadb"),
            Described::Sqlite(_) => self.kind == "sqlite",
            _ => false,
        }
    }
}

/// A drill never touches a server that databases are backed up from.
fn other_server(url: &str, config: &Config) -> Outcome<Server> {
    let server = Server::at(url).map_err(|e| local("cannot use the server of the drill", e))?;
    let place = |server: &Server| {
        let host = server.url.setting("host").map(str::to_string);
        (server.url.hosts.clone(), host, server.url.setting("port").map(str::to_string))
    };
    for (name, source) in &config.sources {
        let url = match source {
            Described::Postgres(db) => &db.url,
            Described::Mysql(db) | Described::Mariadb(db) => &db.url,
            _ => continue,
        };
        if Server::at(url).is_ok_and(|own| place(&own) == place(&server)) {
            return Err(Failure::usage(format!("the server of the drill is the one that {name} comes from"))
                .hint("into = \"scratch\" starts one that is thrown away"));
        }
    }
    Ok(server)
}

/// A trial of databases.
pub struct Trial<'t> {
    /// The snapshot.
    pub snapshot: &'t Snapshot,
    /// What is asked.
    pub questions: &'t Questions,
    /// A folder for the server and its data is made below this one.
    pub below: &'t Path,
    /// Its name there.
    pub folder: &'t str,
    /// Leave the folder.
    pub keep: bool,
    /// How databases come back.
    pub way: &'t Way<'t>,
    /// Time since some moment; measures the restore.
    pub clock: &'t dyn Fn() -> Duration,
}

/// Brings the databases back and asks. An error means that the drill could not be held, not that it failed.
pub fn run(reader: &Arc<Reader>, trial: &Trial<'_>) -> Outcome<DrillOutcome> {
    let stats = &trial.snapshot.stats;
    let files = stats.files_new + stats.files_changed + stats.files_unmodified;
    let mut outcome = DrillOutcome { whole: (files, stats.source_bytes), ..DrillOutcome::default() };
    let Some(about) = about(reader, trial, &mut outcome)? else { return Ok(outcome) };
    let below = match trial.questions.kind.as_str() {
        "sqlite" => trial.below.to_path_buf(),
        _ => reachable(trial.below).map_err(|e| local("there is no place for a server", e))?,
    };
    super::remove_leftovers(&below);
    let folder = below.join(trial.folder);
    super::make_scratch(&folder)?;
    let done = try_it(reader, trial, &about, &folder, &mut outcome);
    match trial.keep {
        true => outcome.kept = Some(folder),
        false => super::remove_scratch(&folder)?,
    }
    done.map(|()| outcome)
}

/// What the snapshot says that it holds.
fn about(reader: &Arc<Reader>, trial: &Trial<'_>, outcome: &mut DrillOutcome) -> Outcome<Option<About>> {
    let wrong = |kind: &str| {
        let what = format!(
            "snapshot {} holds {kind}, and the drill is of the kind {}",
            trial.snapshot.short_id(),
            trial.questions.kind
        );
        Failure::new(Exit::Failed, what).hint("lifeboat config edit")
    };
    let Some(mut files) = StoredFiles::of(reader, trial.snapshot, None) else { return Err(wrong("files")) };
    let about = match About::read(&mut files) {
        Ok(about) => about,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(wrong("no databases")),
        Err(e) => {
            let (repo, text) = (files.failure(), e.to_string());
            return match repo {
                Some(e) if !e.is_damage() => Err(e.into()),
                damage => {
                    let text = damage.map_or(text, |e| repo::reader::chain(&e));
                    outcome.tell(b"about.json", text, true);
                    Ok(None)
                }
            };
        }
    };
    let fits = match trial.questions.kind.as_str() {
        "postgres" => matches!(&*about.kind, "postgres" | "postgres-files"),
        "mysql" | "mariadb" => about.kind == "mysql",
        other => about.kind == other,
    };
    if fits { Ok(Some(about)) } else { Err(wrong(&format!("databases of the kind {}", about.kind))) }
}

fn try_it(
    reader: &Arc<Reader>,
    trial: &Trial<'_>,
    about: &About,
    folder: &Path,
    outcome: &mut DrillOutcome,
) -> Outcome<()> {
    let place = match (&*about.kind, &trial.questions.into) {
        ("sqlite", _) => Tried::Files(folder.join("databases")),
        ("postgres-files", _) => Tried::DataFiles(folder.join("data")),
        (_, Some(server)) => Tried::Lent(Server { patience: patience(trial), ..(**server).clone() }),
        (_, None) => Tried::Own(start(trial, about, folder)?),
    };
    let start = (trial.clock)();
    let brought = place.load(reader, trial, about, outcome);
    outcome.restore = (trial.clock)().saturating_sub(start);
    if patience(trial).is_over() {
        place.clear(trial.folder, about.databases.len());
        return Ok(());
    }
    let start = (trial.clock)();
    match brought {
        Ok(all) => {
            let all: Vec<(String, Restored)> = all;
            // What was read was compared with its ids on the way.
            outcome.leaves = Leaves::of_tree(reader, trial.snapshot.root)?;
            (outcome.files, outcome.bytes) = outcome.whole;
            (outcome.entries, outcome.bytes_hashed) = outcome.whole;
            judge(&place, trial, about, folder, all, outcome)?;
        }
        Err(failure) => note(failure, outcome)?,
    }
    place.clear(trial.folder, about.databases.len());
    outcome.comparing = (trial.clock)().saturating_sub(start);
    Ok(())
}

/// What stopped it: damage, or a dump that does not load. Whatever else it is, nothing was tried.
fn note(failure: Failure, outcome: &mut DrillOutcome) -> Outcome<()> {
    match failure.exit {
        Exit::Damage => outcome.tell(b"databases", failure.in_one_line(), true),
        Exit::Failed | Exit::Partial => outcome.tell(b"databases", failure.in_one_line(), false),
        _ => return Err(failure),
    }
    Ok(())
}

/// Servers are waited for until somebody wants it to end.
fn patience(trial: &Trial<'_>) -> host::databases::Patience {
    crate::runner::patience(trial.way.opener, None)
}

fn start(trial: &Trial<'_>, about: &About, folder: &Path) -> Outcome<Scratch> {
    let kind = match trial.questions.kind.as_str() {
        "postgres" => Kind::Postgres,
        "mysql" => Kind::Mysql,
        _ => Kind::Mariadb,
    };
    Scratch::start(kind, folder, &about.server, &patience(trial)).map_err(no_server)
}

fn no_server(e: io::Error) -> Failure {
    let failure = Failure::new(Exit::Failed, "cannot start a server for the drill");
    match e.kind() {
        io::ErrorKind::NotFound => {
            failure.because(e).hint("install it, or name another server in the drill: into = \"URL\"")
        }
        _ => failure.because(e),
    }
}

/// Where databases are tried.
enum Tried {
    /// In a server that was started for it.
    Own(Scratch),
    /// In a server that is there already, under names of the drill.
    Lent(Server),
    /// In a folder.
    Files(PathBuf),
    /// The data files of a whole server, on which one is then started.
    DataFiles(PathBuf),
}

impl Tried {
    /// Brings everything back: each database with the name it has here.
    fn load(
        &self,
        reader: &Arc<Reader>,
        trial: &Trial<'_>,
        about: &About,
        outcome: &mut DrillOutcome,
    ) -> Outcome<Vec<(String, Restored)>> {
        let whole = |target: Target| -> Outcome<Vec<(String, Restored)>> {
            let Brought { databases, .. } =
                bring_back(reader, trial.snapshot, target, &Restore::default(), trial.way)?;
            Ok(databases.into_iter().map(|database| (database.name.clone(), database)).collect())
        };
        match self {
            Tried::Own(scratch) => whole(Target::Server(Box::new(scratch.server().clone()))),
            Tried::Files(folder) | Tried::DataFiles(folder) => whole(Target::Folder(folder.clone())),
            Tried::Lent(server) => {
                let mut all = Vec::new();
                for (n, database) in about.databases.iter().enumerate() {
                    let name = lent_name(trial.folder, n);
                    let what = Restore {
                        databases: vec![database.name.clone()],
                        name: Some(name),
                        ..Restore::default()
                    };
                    let target = Target::Server(Box::new(server.clone()));
                    match bring_back(reader, trial.snapshot, target, &what, trial.way) {
                        Ok(brought) => {
                            all.extend(brought.databases.into_iter().map(|d| (database.name.clone(), d)));
                        }
                        Err(e) => note(e, outcome)?,
                    }
                }
                Ok(all)
            }
        }
    }

    /// What was put into a server that stays goes out of it again.
    fn clear(&self, folder: &str, databases: usize) {
        let Tried::Lent(server) = self else { return };
        for n in 0..databases {
            let name = lent_name(folder, n);
            // What stays has the name of a drill, and the next look at the server shows it.
            match &*server.url.scheme {
                "mysql" | "mariadb" => mysql::remove(server, &name).ok(),
                _ => postgres::remove(server, &name).ok(),
            };
        }
    }
}

fn lent_name(folder: &str, n: usize) -> String {
    format!("lifeboat_{}_{n}", folder.replace('-', "_"))
}

/// Counts what came back, and asks.
fn judge(
    place: &Tried,
    trial: &Trial<'_>,
    about: &About,
    folder: &Path,
    all: Vec<(String, Restored)>,
    outcome: &mut DrillOutcome,
) -> Outcome<()> {
    for database in &about.databases {
        if let Some((_, restored)) = all.iter().find(|(name, _)| *name == database.name) {
            outcome.asserts.push(is_whole(database, restored));
        } else if outcome.problems_count == 0 {
            outcome.tell(database.name.as_bytes(), "it did not come back", false);
        }
    }
    let files_server = match place {
        Tried::DataFiles(_) => {
            let started = Scratch::on_files(folder, &about.server, &patience(trial));
            Some(started.map_err(|e| match e.kind() {
                io::ErrorKind::NotFound => no_server(e),
                _ => Failure::new(Exit::Failed, "no server starts on the data files").because(e),
            }))
        }
        _ => None,
    };
    let asked = match (place, files_server) {
        (_, Some(Err(e))) if e.exit == Exit::Failed && e.message().starts_with("cannot start") => {
            return Err(e);
        }
        (_, Some(Err(e))) => return note(e, outcome),
        (_, Some(Ok(scratch))) => {
            let names = postgres::names(scratch.server());
            let names = names
                .map_err(|e| Failure::new(Exit::Failed, "the data files hold no databases").because(e))?;
            outcome.asserts.push(Asserted {
                question: "does a server start on the data files?".into(),
                answer: format!("it has {}", count(names.len(), "database")),
                ok: true,
            });
            let there: Vec<There> = names.into_iter().map(|name| There { at: name.clone(), name }).collect();
            ask_all(trial, &there, &mut |there, sql| postgres::ask(scratch.server(), &there.at, sql))
        }
        (Tried::Own(scratch), None) => ask_server(trial, scratch.server(), &all),
        (Tried::Lent(server), None) => ask_server(trial, server, &all),
        (Tried::Files(folder), None) => {
            let there: Vec<There> = all
                .iter()
                .map(|(name, _)| {
                    let file = Path::new(name).file_name().unwrap_or_default();
                    There { name: name.clone(), at: folder.join(file).display().to_string() }
                })
                .collect();
            ask_all(trial, &there, &mut |there, sql| sqlite::ask(Path::new(&there.at), sql))
        }
        (Tried::DataFiles(_), None) => Vec::new(),
    };
    outcome.asserts.extend(asked);
    Ok(())
}

fn is_whole(dumped: &host::databases::Database, restored: &Restored) -> Asserted {
    let rows = restored.rows.map(|rows| format!(", {}", count(rows, "row"))).unwrap_or_default();
    let (ok, expected) = match dumped.tables {
        // Tables of extensions may have nothing to dump, so there can be more.
        Some(tables) if tables > restored.tables => (false, format!(", and {tables} were saved")),
        _ => (true, String::new()),
    };
    Asserted {
        question: format!("did {} come back whole?", dumped.name),
        answer: format!("{}{rows}{expected}", count(restored.tables, "table")),
        ok,
    }
}

/// A database as it is called, and where it is here.
struct There {
    name: String,
    at: String,
}

fn ask_server(trial: &Trial<'_>, server: &Server, all: &[(String, Restored)]) -> Vec<Asserted> {
    let there: Vec<There> =
        all.iter().map(|(name, restored)| There { name: name.clone(), at: restored.name.clone() }).collect();
    let is_postgres = trial.questions.kind == "postgres";
    ask_all(trial, &there, &mut |there, sql| match is_postgres {
        true => postgres::ask(server, &there.at, sql),
        false => mysql::ask(server, &there.at, sql),
    })
}

type Ask<'a> = dyn FnMut(&There, &str) -> io::Result<String> + 'a;

fn ask_all(trial: &Trial<'_>, there: &[There], ask: &mut Ask<'_>) -> Vec<Asserted> {
    let one = |question: &String| {
        let (answer, ok) = match meant(question, there) {
            Err(why) => (why, false),
            Ok((database, sql)) => match ask(database, sql) {
                Ok(value) => (shortened(&value), is_true(&value)),
                Err(e) => (shortened(&e.to_string()), false),
            },
        };
        Asserted { question: question.clone(), answer, ok }
    };
    trial.questions.asserts.iter().map(one).collect()
}

/// Which database a question is about: the one named before the colon, else the only one.
fn meant<'q>(question: &'q str, there: &'q [There]) -> Result<(&'q There, &'q str), String> {
    let named = question.split_once(':').and_then(|(name, sql)| {
        let is_it = |there: &&There| {
            there.name == name.trim() || Path::new(&there.name).file_name() == Some(name.trim().as_ref())
        };
        Some((there.iter().find(is_it)?, sql.trim()))
    });
    match (named, there) {
        (Some(named), _) => Ok(named),
        (None, [only]) => Ok((only, question)),
        (None, []) => Err("there is no database to ask".into()),
        (None, several) => {
            let names: Vec<&str> = several.iter().map(|there| there.name.as_str()).collect();
            Err(format!("write which database is asked, NAME: QUESTION; there are {}", names.join(", ")))
        }
    }
}

/// Servers say yes as `t`, `true` or a number other than 0.
fn is_true(value: &str) -> bool {
    let value = value.trim().to_ascii_lowercase();
    matches!(&*value, "t" | "true" | "yes") || value.parse::<f64>().is_ok_and(|n| n != 0.0 && !n.is_nan())
}

/// So much of an answer becomes evidence.
const ANSWER_CHARS_MAX: usize = 200;

fn shortened(text: &str) -> String {
    let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match one_line.char_indices().nth(ANSWER_CHARS_MAX) {
        Some((at, _)) => format!("{}...", &one_line[..at]),
        None => one_line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there(names: &[&str]) -> Vec<There> {
        names.iter().map(|name| There { name: name.to_string(), at: name.to_string() }).collect()
    }

    #[test]
    fn a_question_is_about_the_database_it_names_or_the_only_one() {
        let (one, two) = (there(&["shop"]), there(&["shop", "/var/lib/app/users.db"]));
        assert_eq!(
            meant("select a::text", &one).map(|(t, sql)| (&*t.name, sql)),
            Ok(("shop", "select a::text"))
        );
        assert_eq!(meant("shop: select 1", &two).map(|(t, sql)| (&*t.name, sql)), Ok(("shop", "select 1")));
        assert!(meant("users.db: select 1", &two).is_ok_and(|(t, _)| t.name.ends_with("users.db")));
        assert!(meant("select 1", &two).is_err() && meant("select 1", &[]).is_err());
    }

    #[test]
    fn yes_is_said_in_several_ways_and_nothing_is_no() {
        assert!(["t", "true", "1", "2.5", " T\n", "-1"].iter().all(|yes| is_true(yes)));
        assert!(["f", "false", "0", "0.0", "", "NULL", "nan", "maybe"].iter().all(|no| !is_true(no)));
    }

    #[test]
    fn long_answers_are_cut() {
        assert_eq!(shortened("a\n  b"), "a b");
        assert_eq!(shortened(&"ü".repeat(500)).chars().count(), ANSWER_CHARS_MAX + 3);
    }
}
