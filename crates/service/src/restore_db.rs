//! Databases of a snapshot back into a server: the original, or another one.
//!
//! What the snapshot holds is told by its own `about.json`; where it goes by the configuration, unless another
//! target is named. Nothing that holds data is replaced unless that is asked for, and what was loaded is counted
//! afterwards.

use crate::config::{Config, Source as Described};
use crate::display::shell_word;
use crate::failure::{Exit, Failure, Outcome, local};
use crate::open::Opener;
use crate::runner::{self, SOURCE_TAG};
use engine::contents::StoredFiles;
use engine::{MemoryBudget, Monitor, Overwrite, RestoreRequest};
use format::kind::Kind;
use format::snapshot::Snapshot;
use host::databases::{
    About, Restore, Restored, Secret, Server, command, mongodb, mysql, postgres, postgres_files, redis,
    sqlite,
};
use repo::reader::Reader;
use repo::workers::Workers;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Where a snapshot goes.
pub enum Target {
    /// Where it came from, as the configuration says.
    Origin,
    /// Into this server.
    Server(Box<Server>),
    /// Into this folder, as files.
    Folder(PathBuf),
}

impl Target {
    /// Takes the address of a server or a folder.
    ///
    /// # Errors
    /// An address with a password in it: whoever lists processes would see it.
    pub fn parse(text: &str, password: Option<Zeroizing<String>>) -> Outcome<Self> {
        if !text.contains("://") {
            return Ok(Target::Folder(std::path::absolute(text).unwrap_or_else(|_| PathBuf::from(text))));
        }
        let mut server = Server::at(text).map_err(|e| local("cannot use the target", e))?;
        if server.url.password.is_some() {
            return Err(Failure::usage("a password in the address shows in the list of processes")
                .hint("write it into a file, and name that with --into-password-file"));
        }
        server.password = password.map(|password| Secret::new(password.as_str()));
        Ok(Target::Server(Box::new(server)))
    }
}

/// What a way back needs besides the snapshot.
pub struct Way<'w> {
    /// The configuration, if there is one.
    pub config: Option<&'w Config>,
    /// Finds secrets, and knows whether somebody wants it to end.
    pub opener: &'w Opener,
    /// Threads that write files.
    pub workers: Workers,
    /// What may be held.
    pub memory: MemoryBudget,
    /// Who is told.
    pub monitor: &'w dyn Monitor,
}

/// What was brought back.
#[derive(Debug)]
pub struct Brought {
    /// What kind of databases they are.
    pub kind: String,
    /// Where they went, without any password.
    pub place: String,
    /// Each of them.
    pub databases: Vec<Restored>,
}

/// Brings the databases of a snapshot back.
pub fn bring_back(
    reader: &Arc<Reader>,
    snapshot: &Snapshot,
    target: Target,
    what: &Restore,
    way: &Way<'_>,
) -> Outcome<Brought> {
    let files = StoredFiles::of(reader, snapshot, None).ok_or_else(|| no_database(snapshot))?;
    let mut files = files.telling(way.monitor);
    let described = described(snapshot, way.config);
    let is_output = files.entry(&[])?.is_some_and(|entry| entry.kind() == Kind::File);
    if is_output {
        return give_back(&mut files, described, target, what, way);
    }
    let about = About::read(&mut files).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => no_database(snapshot),
        _ => local("cannot read what the snapshot holds", e),
    })?;
    if matches!(&*about.kind, "system" | "block") {
        return Err(no_database(snapshot));
    }
    if about.kind == "postgres-files" {
        return data_files(reader, snapshot, &files, target, what, way);
    }
    let (place, brought) = load(&about, &mut files, described, target, what, way)?;
    let databases = brought.map_err(|e| failure(e, files, &about.kind))?;
    Ok(Brought { kind: about.kind, place, databases })
}

fn no_database(snapshot: &Snapshot) -> Failure {
    Failure::usage(format!("snapshot {} holds no database", snapshot.short_id()))
        .hint(format!("bring its files back with: lifeboat restore {} --target FOLDER", snapshot.short_id()))
}

/// The source of the configuration that a snapshot is of.
fn described<'c>(snapshot: &Snapshot, config: Option<&'c Config>) -> Option<(&'c str, &'c Described)> {
    let name = snapshot.tags.iter().find_map(|tag| tag.strip_prefix(SOURCE_TAG))?;
    config?.sources.get_key_value(name).map(|(name, source)| (name.as_str(), source))
}

/// What stopped it: the repository, if it was that, with its own exit code.
fn failure(e: io::Error, files: StoredFiles<'_>, kind: &str) -> Failure {
    if let Some(e) = files.failure() {
        return e.into();
    }
    let failure = Failure::new(Exit::Failed, "cannot bring the databases back");
    match e.kind() {
        io::ErrorKind::AlreadyExists => failure
            .hint(format!("--replace replaces it; lifeboat restore-db with {} leaves it alone", beside(kind)))
            .because(e),
        io::ErrorKind::InvalidInput => Failure::usage("this cannot be done").because(e),
        _ => failure.because(e),
    }
}

/// What leaves alone what is there, for databases of a kind.
fn beside(kind: &str) -> &'static str {
    match kind {
        "postgres" | "mysql" => "--as NAME or --into URL",
        "sqlite" => "--into FOLDER",
        "redis" => "--into FOLDER or --into URL",
        _ => "--into URL",
    }
}

type Loaded = (String, io::Result<Vec<Restored>>);

fn load(
    about: &About,
    files: &mut StoredFiles<'_>,
    described: Option<(&str, &Described)>,
    target: Target,
    what: &Restore,
    way: &Way<'_>,
) -> Outcome<Loaded> {
    let mut tell = |text: &str| way.opener.person.warn(text);
    if about.kind == "sqlite" {
        let folder = match target {
            Target::Origin => None,
            Target::Folder(folder) => Some(folder),
            Target::Server(_) => return Err(wrong_target(&about.kind, "a folder")),
        };
        let place = folder.as_ref().map_or("where they were".into(), |folder| folder.display().to_string());
        return Ok((place, sqlite::restore(folder.as_deref(), about, files, what)));
    }
    if let (Target::Folder(folder), "redis") = (&target, &*about.kind) {
        let place = folder.display().to_string();
        return Ok((place, redis::restore(&redis::Target::Folder(folder), folder, about, files, what)));
    }
    let server = server(&about.kind, described, target, way)?;
    let brought = match &*about.kind {
        "postgres" => postgres::restore(&server, about, files, what, &mut tell),
        "mysql" => mysql::restore(&server, about, files, what, &mut tell),
        "mongodb" => mongodb::restore(&server, about, files, what),
        "redis" => {
            let scratch = &way.opener.folders.cache;
            std::fs::create_dir_all(scratch).map_err(|e| local("cannot make the folder of the cache", e))?;
            redis::restore(&redis::Target::Server(&server), scratch, about, files, what)
        }
        other => Err(io::Error::other(format!("this version knows no databases of the kind {other:?}"))),
    };
    Ok((server.url.shown(), brought))
}

fn wrong_target(kind: &str, wanted: &str) -> Failure {
    Failure::usage(format!("databases of the kind {kind} go into {wanted}"))
}

/// Schemes of addresses, and the kinds of databases behind them.
const SCHEMES: [(&str, &[&str]); 4] = [
    ("postgres", &["postgresql", "postgres"]),
    ("mysql", &["mysql", "mariadb"]),
    ("mongodb", &["mongodb", "mongodb+srv"]),
    ("redis", &["redis", "rediss"]),
];

fn server(
    kind: &str,
    described: Option<(&str, &Described)>,
    target: Target,
    way: &Way<'_>,
) -> Outcome<Server> {
    let patience = runner::patience(way.opener, None);
    let server = match target {
        Target::Server(server) => Server { patience, ..*server },
        Target::Folder(_) => return Err(wrong_target(kind, "a server: --into URL")),
        Target::Origin => {
            let (name, source) = described.ok_or_else(|| {
                Failure::usage("the configuration does not say where this snapshot came from")
                    .hint("name the server with --into URL")
            })?;
            return runner::server(name, source, way.opener, patience);
        }
    };
    let fits = |(of, schemes): &(&str, &[&str])| *of == kind && schemes.contains(&&*server.url.scheme);
    match SCHEMES.iter().any(fits) {
        true if kind == "postgres" => Ok(runner::with_own_account(server)),
        true => Ok(server),
        false => {
            let scheme = &server.url.scheme;
            Err(Failure::usage(format!("the snapshot holds databases of the kind {kind}, not {scheme}")))
        }
    }
}

/// The output of a command, back to the command that takes it.
fn give_back(
    files: &mut StoredFiles<'_>,
    described: Option<(&str, &Described)>,
    target: Target,
    what: &Restore,
    way: &Way<'_>,
) -> Outcome<Brought> {
    let (name, command) = match described {
        Some((name, Described::Command(command))) if !command.restore_command.is_empty() => (name, command),
        _ => {
            return Err(Failure::usage("no command is configured that takes this output back")
                .hint("write restore_command into the source, or: lifeboat dump SNAPSHOT | COMMAND"));
        }
    };
    if !matches!(target, Target::Origin) || !what.databases.is_empty() || what.name.is_some() {
        return Err(Failure::usage("the command that takes the output back says where it goes"));
    }
    let patience = runner::patience(way.opener, None);
    let given = command::restore(&command.restore_command, &[], files, what, &patience);
    let restored = given.map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => Failure::usage("nobody knows what the command replaces").hint(
            format!("if it may replace what is there: lifeboat restore-db {} --replace", shell_word(name)),
        ),
        _ => Failure::new(Exit::Failed, "cannot give the output back").because(e),
    })?;
    Ok(Brought {
        kind: "command".into(),
        place: command.restore_command.join(" "),
        databases: vec![restored],
    })
}

/// The data files of a PostgreSQL server into a folder, judged by PostgreSQL's own tool.
fn data_files(
    reader: &Arc<Reader>,
    snapshot: &Snapshot,
    files: &StoredFiles<'_>,
    target: Target,
    what: &Restore,
    way: &Way<'_>,
) -> Outcome<Brought> {
    let Target::Folder(folder) = target else {
        return Err(Failure::usage("the snapshot holds the data files of a whole server")
            .hint("name a folder for them, --into FOLDER, and start a server on it"));
    };
    if !what.databases.is_empty() || what.name.is_some() {
        return Err(Failure::usage("the data files of a server come back as a whole"));
    }
    let replaced = is_occupied(&folder, what.replace)?;
    let request = RestoreRequest {
        snapshot,
        path: files.components(&[postgres_files::FOLDER]),
        target: folder.clone(),
        rules: Arc::default(),
        overwrite: Overwrite::Always,
        delete: what.replace,
        kept: None,
        dry_run: what.dry_run,
        verify: true,
        sync: true,
        numeric_ids: true,
        workers: way.workers,
        memory: way.memory,
    };
    let outcome = engine::restore(reader, &request, way.monitor)?;
    if outcome.problems > 0 {
        let exit = if outcome.damaged > 0 { Exit::Damage } else { Exit::Partial };
        return Err(Failure::new(
            exit,
            format!("{} data files did not come back as they were", outcome.problems),
        )
        .hint("do not start a server on this folder"));
    }
    if !what.dry_run {
        judge(&folder, way)?;
    }
    let count = outcome.files_restored + outcome.files_unchanged;
    let databases = vec![Restored { name: "cluster".into(), tables: count, rows: None, replaced }];
    Ok(Brought { kind: "postgres-files".into(), place: folder.display().to_string(), databases })
}

fn judge(folder: &Path, way: &Way<'_>) -> Outcome<()> {
    match postgres_files::verify_folder(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            way.opener.person.warn(&format!("PostgreSQL's own check did not run: {e}"));
            Ok(())
        }
        other => other.map_err(|e| Failure::new(Exit::Failed, "the data files are not whole").because(e)),
    }
}

/// Whether a folder holds something, which must be allowed to be replaced and not be in use.
fn is_occupied(folder: &Path, replace: bool) -> Outcome<bool> {
    let occupied = std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    let shown = crate::display::safe(&folder.display().to_string()).to_string();
    if folder.join("postmaster.pid").exists() {
        return Err(Failure::new(Exit::Refused, format!("a server runs on {shown}, or ended badly there"))
            .hint("stop it; if it does not run, remove postmaster.pid"));
    }
    match occupied && !replace {
        true => Err(Failure::new(Exit::Failed, format!("{shown} is not empty"))
            .hint("--replace replaces what is there")),
        false => Ok(occupied),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_name_is_offered_only_where_databases_have_names() {
        for kind in ["sqlite", "redis", "mongodb"] {
            assert!(!beside(kind).contains("--as"), "{kind}");
        }
        assert!(beside("postgres").contains("--as NAME") && beside("sqlite").contains("--into FOLDER"));
    }
}
