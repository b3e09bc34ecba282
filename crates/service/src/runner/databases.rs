//! From `[sources.NAME]` of a database to what makes its dumps.

use super::sources::{Captured, patience};
use crate::config::sources::{Databases as Chosen, PostgresMode, SqliteSource};
use crate::config::{Secret, Source as Described};
use crate::failure::{Failure, Outcome, local};
use crate::open::Opener;
use engine::Source;
use host::databases::mongodb::Mongodb;
use host::databases::mysql::Mysql;
use host::databases::postgres::Postgres;
use host::databases::postgres_files::PostgresFiles;
use host::databases::redis::Redis;
use host::databases::sqlite::{self, Sqlite};
use host::databases::{self, Account, Databases, Patience, Server};
use host::files_from;
use host::produce::Producer;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Where copies of SQLite databases are while they are checked, below the cache.
const COPIES: &str = "copies";

/// The dumps of a source that is a database.
pub(super) fn capture(
    name: &str,
    described: &Described,
    opener: &Opener,
    until: Option<Instant>,
) -> Outcome<Captured> {
    let patience = patience(opener, until);
    let producer = match described {
        Described::Sqlite(sqlite) => Box::new(sqlite_files(sqlite, opener, patience)?),
        other => of_server(other, server(name, other, opener, patience)?),
    };
    Ok(Captured::made(Source::Produced { name: name.to_string(), producer, paths: Vec::new() }))
}

fn of_server(described: &Described, server: Server) -> Box<dyn Producer> {
    match described {
        Described::Postgres(db) if db.mode == PostgresMode::Physical => {
            Box::new(PostgresFiles { server, fast_checkpoint: true })
        }
        Described::Postgres(db) => Box::new(Postgres {
            server,
            databases: chosen(&db.databases),
            globals: db.globals,
            options: db.options.clone(),
        }),
        Described::Mysql(db) | Described::Mariadb(db) => Box::new(Mysql {
            server,
            databases: chosen(&db.databases),
            users: matches!(db.databases, Chosen::All(_)),
            options: db.options.clone(),
        }),
        Described::Mongodb(db) => {
            Box::new(Mongodb { server, databases: chosen(&db.databases), oplog: false })
        }
        _ => Box::new(Redis { server }),
    }
}

fn chosen(databases: &Chosen) -> Databases {
    match databases {
        Chosen::All(_) => Databases::All,
        Chosen::Named(names) => Databases::Named(names.clone()),
    }
}

/// The server of a source, as the configuration describes it.
///
/// # Errors
/// Where the source is no server, its address cannot be read, or its password cannot be found.
pub(crate) fn server(
    name: &str,
    described: &Described,
    opener: &Opener,
    patience: Patience,
) -> Outcome<Server> {
    let (url, user, password) = match described {
        Described::Postgres(db) => (&db.url, &db.user, &db.password),
        Described::Mysql(db) | Described::Mariadb(db) => (&db.url, &db.user, &db.password),
        Described::Mongodb(db) => (&db.url, &db.user, &db.password),
        Described::Redis(db) => (&db.url, &db.user, &db.password),
        other => return Err(Failure::usage(format!("a source of the type {} is no server", other.kind()))),
    };
    let bad = |e| local(format!("cannot use the address of {name}"), e);
    let mut server = Server::at(url).map_err(bad)?;
    if let Some(user) = user {
        server.url.user.get_or_insert_with(|| user.clone());
    }
    if let Some(secret) = password {
        server.password = Some(find(secret, name, opener)?);
    }
    server.patience = patience;
    Ok(match described {
        Described::Postgres(_) => with_own_account(server),
        _ => server,
    })
}

fn find(secret: &Secret, name: &str, opener: &Opener) -> Outcome<databases::Secret> {
    let what = format!("the password of {name}");
    let text = crate::secrets::find(secret, &what, &opener.environment, &opener.folders.home)?;
    Ok(databases::Secret::new(text.as_str()))
}

/// PostgreSQL lets an account of this machine in as the user of the same name, without a password, through its
/// socket alone. Root is such an account, too, but seldom such a user: it takes the place of the user.
pub(crate) fn with_own_account(server: Server) -> Server {
    if !(is_let_in_by_account(&server) && rustix::process::geteuid().is_root()) {
        return server;
    }
    let account = Account::named(server.url.user.as_deref().unwrap_or("postgres")).ok();
    Server { account, ..server }
}

fn is_let_in_by_account(server: &Server) -> bool {
    let through_socket =
        server.url.hosts.is_empty() && server.url.setting("host").is_none_or(|host| host.starts_with('/'));
    through_socket && server.password.is_none() && server.url.password.is_none()
}

/// Whether a run as root reads this source as another account of this machine.
pub fn changes_account(described: &Described) -> bool {
    match described {
        Described::Postgres(db) if db.password.is_none() => {
            Server::at(&db.url).is_ok_and(|server| is_let_in_by_account(&server))
        }
        _ => false,
    }
}

fn sqlite_files(source: &SqliteSource, opener: &Opener, patience: Patience) -> Outcome<Sqlite> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for written in &source.paths {
        let path = crate::config::load::full_path(&opener.folders.home, written);
        let found = files_from::expand(path.as_os_str().as_encoded_bytes(), Path::new("/"));
        paths.extend(found.map_err(|e| Failure::usage("cannot find a database").because(e))?);
    }
    paths.sort();
    paths.dedup();
    let scratch = opener.folders.cache.join(COPIES);
    let made = std::fs::create_dir_all(&scratch).and_then(|()| sqlite::clean(&scratch));
    made.map_err(|e| local(format!("cannot use {}", scratch.display()), e))?;
    Ok(Sqlite { paths, scratch, patience })
}
