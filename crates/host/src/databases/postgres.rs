//! PostgreSQL by its own dumps: `pg_dump`, `pg_restore`, `pg_dumpall --globals-only`, `psql`.
//!
//! Dumps are in the custom format without compression: the repository compresses better, and recognises what it
//! has. While a dump passes, its beginning is read by `pg_restore --list`, which must understand it. The way back
//! goes through a database made anew from the dump; one that is in the way is set aside under another name first
//! and dropped only when the new one is whole, or given its name back when it is not.

use std::io::{self, Read};
use std::path::Path;

use super::about::{About, Database};
use super::tool::{Judge, Secret, Tail, Tool};
use super::{Databases, Files, Restore, Restored, Server, not_empty, split_nul};
use crate::produce::{Contents, Facts, Grain, Producer, Sink, file_name};

/// Name of the file with roles and tablespaces.
const GLOBALS: &str = "globals.sql";
/// Where the dumps stand.
const FOLDER: &str = "databases";
/// What a database that was in the way is called until the new one is whole.
const ASIDE: &str = "_before_restore";
/// Names are cut after so many bytes.
const NAME_BYTES_MAX: usize = 63;

/// A PostgreSQL server as a source.
pub struct Postgres {
    /// The server.
    pub server: Server,
    /// Which databases.
    pub databases: Databases,
    /// Keep roles and tablespaces, too.
    pub globals: bool,
    /// Further options of `pg_dump`.
    pub options: Vec<String>,
}

impl Producer for Postgres {
    fn produce(&mut self, sink: &mut dyn Sink) -> io::Result<()> {
        let client = Client::connect(&self.server)?;
        let databases = self.databases.choose(client.databases()?)?;
        let mut about = About {
            server: client.version.clone(),
            tool: client.tool("pg_dump").arg("--version").text()?.trim().into(),
            place: self.server.url.shown(),
            ..About::new("postgres")
        };
        if self.globals {
            client.dump_globals(sink)?;
        }
        for name in databases {
            about.databases.push(client.dump(&name, &self.options, sink)?);
        }
        about.keep(sink)
    }
}

/// A server that was asked for its version.
pub(super) struct Client<'s> {
    server: &'s Server,
    version: String,
    major: u32,
    /// Databases that are about to be renamed: nobody may be connected to them.
    away_from: Vec<String>,
}

impl<'s> Client<'s> {
    pub(super) fn connect(server: &'s Server) -> io::Result<Client<'s>> {
        let mut client = Client { server, version: String::new(), major: 0, away_from: Vec::new() };
        let database = client.maintenance();
        let number = client.query(&database, "show server_version_num")?;
        client.major = number.trim().parse::<u32>().map_err(|_| io::Error::other("no version"))? / 10_000;
        client.version = client.query(&database, "show server_version")?.trim().to_string();
        Ok(client)
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// The database to be connected to for what concerns the whole server.
    fn maintenance(&self) -> String {
        self.server.url.database.clone().unwrap_or_else(|| "postgres".into())
    }

    /// A tool of the server's own version where the distribution keeps several.
    pub(super) fn tool(&self, name: &str) -> Tool {
        let versioned = [
            format!("/usr/lib/postgresql/{}/bin/{name}", self.major),
            format!("/usr/pgsql-{}/bin/{name}", self.major),
        ];
        let own = versioned.iter().find(|path| self.server.tools.is_none() && Path::new(path).exists());
        let tool = own.map_or_else(
            || self.server.tool(name),
            |p| Tool::new(p).account(self.server.account).patience(&self.server.patience),
        );
        tool.secret_in_variable("PGPASSFILE", self.server.secret().as_ref().map(pgpass))
            .variable("PGCLIENTENCODING", "UTF8")
            .variable("LC_ALL", "C.UTF-8")
    }

    /// The settings of a connection, without the password.
    pub(super) fn connection(&self, database: &str) -> String {
        let url = &self.server.url;
        let mut pairs: Vec<(&str, String)> = Vec::new();
        if !url.hosts.is_empty() {
            let hosts: Vec<&str> = url.hosts.iter().map(|(name, _)| name.as_str()).collect();
            pairs.push(("host", hosts.join(",")));
            if url.hosts.iter().any(|(_, port)| port.is_some()) {
                let port = |(_, port): &(_, Option<u16>)| port.unwrap_or(5432).to_string();
                pairs.push(("port", url.hosts.iter().map(port).collect::<Vec<_>>().join(",")));
            }
        }
        pairs.extend(url.user.iter().map(|user| ("user", user.clone())));
        pairs.push(("dbname", database.to_string()));
        pairs.extend(url.settings.iter().map(|(name, value)| (name.as_str(), value.clone())));
        let quoted = |(name, value): &(&str, String)| {
            format!("{name}='{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
        };
        pairs.iter().map(quoted).collect::<Vec<_>>().join(" ")
    }

    fn psql(&self, database: &str) -> Tool {
        let tool = self.tool("psql").args(["--no-psqlrc", "--no-password", "--quiet", "--no-align"]);
        tool.args(["--tuples-only", "--record-separator-zero", "--set=ON_ERROR_STOP=1"])
            .arg(format!("--dbname={}", self.connection(database)))
    }

    fn query(&self, database: &str, sql: &str) -> io::Result<String> {
        let bytes = self.psql(database).arg(format!("--command={sql}")).answer()?;
        let bytes = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
        Ok(String::from_utf8_lossy(bytes).trim_end_matches(['\n', '\0']).to_string())
    }

    fn execute(&self, sql: &str) -> io::Result<()> {
        self.query(&self.elsewhere(), sql).map(|_| ())
    }

    fn databases(&self) -> io::Result<Vec<String>> {
        let sql = "select datname from pg_database where datallowconn and not datistemplate order by datname";
        split_nul(&self.psql(&self.maintenance()).arg(format!("--command={sql}")).answer()?)
    }

    fn dump_globals(&self, sink: &mut dyn Sink) -> io::Result<()> {
        let tool = self.tool("pg_dumpall").args(["--globals-only", "--no-password"]);
        let tool = tool.arg(format!("--dbname={}", self.connection(&self.maintenance())));
        let mut stream = Tail::new(tool.stream()?);
        sink.file(&[GLOBALS], Facts::PRIVATE, Contents::Stream(&mut stream, Grain::Fine))?;
        if !stream.has_line(b"-- PostgreSQL database cluster dump complete") {
            return Err(io::Error::other("pg_dumpall ended without the mark of its end"));
        }
        Ok(())
    }

    fn dump(&self, name: &str, options: &[String], sink: &mut dyn Sink) -> io::Result<Database> {
        let tool = self.tool("pg_dump").args(["--format=custom", "--compress=0", "--no-password"]);
        let tool = tool.args(options).arg(format!("--dbname={}", self.connection(name)));
        let path = [FOLDER.to_string(), format!("{}.pgdump", file_name(name))];
        let mut stream = Listed::new(tool.stream()?, &self.tool("pg_restore"))?;
        sink.file(&[&path[0], &path[1]], Facts::PRIVATE, Contents::Stream(&mut stream, Grain::Fine))?;
        let tables = stream.tables().map_err(|e| io::Error::other(format!("the dump of {name:?}: {e}")))?;
        let create = self.query(name, CREATE)?;
        Ok(Database { name: name.into(), path: path.into(), tables: Some(tables), create })
    }
}

/// What an empty database under another name needs to be like the one that is connected to.
const CREATE: &str = "select format('encoding %L lc_collate %L lc_ctype %L', pg_encoding_to_char(encoding), \
                      datcollate, datctype) from pg_database where datname = current_database()";

/// A line for the password file that fits whatever is asked.
fn pgpass(password: &Secret) -> Secret {
    Secret::new(format!("*:*:*:*:{}\n", password.text().replace('\\', "\\\\").replace(':', "\\:")))
}

/// A dump whose list of contents is read by `pg_restore` while it passes.
struct Listed<R> {
    dump: R,
    judge: Judge,
}

impl<R: Read> Listed<R> {
    fn new(dump: R, pg_restore: &Tool) -> io::Result<Listed<R>> {
        Ok(Listed { dump, judge: pg_restore.clone().arg("--list").judge()? })
    }

    /// Waits for the judgement; the number of tables with data.
    fn tables(self) -> io::Result<u64> {
        let list = self.judge.verdict()?;
        let is_data = |line: &&str| !line.starts_with(';') && line.contains(" TABLE DATA ");
        Ok(String::from_utf8_lossy(&list).lines().filter(is_data).count() as u64)
    }
}

impl<R: Read> Read for Listed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.dump.read(buffer)?;
        self.judge.give(&buffer[..len])?;
        Ok(len)
    }
}

/// Brings databases back into a server, see the head of this module.
///
/// All that could stand in the way is looked for before anything is changed.
pub fn restore(
    server: &Server,
    about: &About,
    files: &mut dyn Files,
    what: &Restore,
    tell: &mut dyn FnMut(&str),
) -> io::Result<Vec<Restored>> {
    let mut client = Client::connect(server)?;
    // The names in the address lead to the server; which database is meant is in the dump.
    let there = client.query_all_names()?;
    let chosen = what.choose(about)?;
    let mut places = Vec::new();
    for database in chosen {
        places.push(client.place(database, what, &there)?);
    }
    if what.dry_run {
        return Ok(places.iter().map(Place::planned).collect());
    }
    client.go_where_nothing_is_replaced(&places);
    if what.databases.is_empty() {
        client.restore_globals(files, tell)?;
    }
    places.iter().map(|place| client.restore(place, files)).collect()
}

/// Whether a server answers.
pub fn answers(server: &Server) -> io::Result<()> {
    Client::connect(server).map(drop)
}

/// The databases of a server, without templates.
pub fn names(server: &Server) -> io::Result<Vec<String>> {
    Client::connect(server)?.databases()
}

/// Asks a database for one value; what it is asked changes nothing.
pub fn ask(server: &Server, database: &str, sql: &str) -> io::Result<String> {
    let client = Client::connect(server)?;
    let tool = client.psql(database).variable("PGOPTIONS", "-c default_transaction_read_only=on");
    let bytes = tool.arg("--field-separator-zero").arg(format!("--command={sql}")).answer()?;
    let text = String::from_utf8_lossy(bytes.strip_suffix(b"\0").unwrap_or(&bytes)).into_owned();
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\0').unwrap_or(text);
    super::one_value(text, !text.contains('\0'))
}

/// Removes a database with all in it, if it is there.
pub fn remove(server: &Server, name: &str) -> io::Result<()> {
    Client::connect(server)?.execute(&format!("drop database if exists {}", quoted(name)))
}

/// Where a dump goes.
struct Place<'a> {
    database: &'a Database,
    name: &'a str,
    /// A database of this name is there.
    exists: bool,
    /// It holds something.
    replaced: bool,
}

impl Place<'_> {
    fn planned(&self) -> Restored {
        let tables = self.database.tables.unwrap_or(0);
        Restored { name: self.name.into(), tables, rows: None, replaced: self.replaced }
    }

    /// What a database that is in the way is called until the new one is whole.
    fn aside(&self) -> String {
        let mut name = self.name.to_string();
        while name.len() + ASIDE.len() > NAME_BYTES_MAX {
            name.pop();
        }
        name + ASIDE
    }
}

impl Client<'_> {
    /// Looks at what is in the way of a database.
    fn place<'a>(
        &self,
        database: &'a Database,
        what: &'a Restore,
        there: &[String],
    ) -> io::Result<Place<'a>> {
        let mut place = Place { database, name: what.name_of(database), exists: false, replaced: false };
        let aside = place.aside();
        if there.contains(&aside) {
            let why = format!("{aside:?} is there from a restore that did not end: look at it, then drop it");
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
        }
        place.exists = there.iter().any(|other| other == place.name);
        let tables = if place.exists { self.tables(place.name)? } else { 0 };
        place.replaced = tables > 0;
        match place.replaced && !what.replace {
            true => Err(not_empty(place.name, &format!("it has tables ({tables})"))),
            false => Ok(place),
        }
    }

    fn query_all_names(&self) -> io::Result<Vec<String>> {
        let sql = "--command=select datname from pg_database order by datname";
        split_nul(&self.psql(&self.maintenance()).arg(sql).answer()?)
    }

    /// Tables, views, sequences and the like that belong to nobody's extension or to the server itself.
    fn tables(&self, database: &str) -> io::Result<u64> {
        let sql = "select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace \
                   where c.relkind in ('r', 'p', 'v', 'm', 'S', 'f') and n.nspname not like 'pg\\_%' \
                   and n.nspname <> 'information_schema'";
        let count = self.query(database, sql)?;
        count.trim().parse().map_err(|_| io::Error::other(format!("no number of tables: {count:?}")))
    }

    /// Tables with rows of their own, and how many rows they have.
    fn count_rows(&self, database: &str) -> io::Result<(u64, u64)> {
        let sql = "select format('select count(*) from only %I.%I', n.nspname, c.relname) from pg_class c \
                   join pg_namespace n on n.oid = c.relnamespace where c.relkind = 'r' \
                   and n.nspname not like 'pg\\_%' and n.nspname <> 'information_schema' \\gexec\n";
        let tool = self.psql(database).arg("--file=-");
        let counts = split_nul(&tool.feed(&mut |input| input.write_all(sql.as_bytes()))?)?;
        let rows: Result<Vec<u64>, _> = counts.iter().map(|count| count.trim().parse::<u64>()).collect();
        let rows = rows.map_err(|_| io::Error::other(format!("{database:?}: no number of rows")))?;
        Ok((rows.len() as u64, rows.iter().sum()))
    }

    /// Makes sure that commands for the whole server do not come through a database that is about to be renamed.
    fn go_where_nothing_is_replaced(&mut self, places: &[Place<'_>]) {
        self.away_from = places.iter().map(|place| place.name.to_string()).collect();
    }

    /// Runs the statements about roles that are not there yet; those of existing roles, above all their
    /// passwords, are left alone.
    fn restore_globals(&self, files: &mut dyn Files, tell: &mut dyn FnMut(&str)) -> io::Result<()> {
        let globals = match files.small(&[GLOBALS]) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let roles = split_nul(
            &self.psql(&self.maintenance()).arg("--command=select rolname from pg_roles").answer()?,
        )?;
        let globals = String::from_utf8_lossy(&globals).into_owned();
        let (kept, left) = for_missing_roles(&globals, &roles);
        let tool = self.psql(&self.maintenance()).arg("--set=ON_ERROR_STOP=0").arg("--file=-");
        tool.feed(&mut |input| input.write_all(kept.as_bytes()))?;
        let now = split_nul(
            &self.psql(&self.maintenance()).arg("--command=select rolname from pg_roles").answer()?,
        )?;
        for role in created_roles(&globals).filter(|role| !now.contains(role)) {
            tell(&format!("the role {role:?} could not be made"));
        }
        if left > 0 {
            tell(&format!("{left} statements about roles that exist already were left out"));
        }
        Ok(())
    }

    fn restore(&self, place: &Place<'_>, files: &mut dyn Files) -> io::Result<Restored> {
        let aside = place.exists.then(|| place.aside());
        if let Some(aside) = &aside {
            self.set_aside(place.name, aside)?;
        }
        match self.load(place, files) {
            Ok((tables, rows)) => {
                if let Some(aside) = &aside {
                    self.execute(&format!("drop database {}", quoted(aside)))?;
                }
                Ok(Restored { rows: Some(rows), tables, ..place.planned() })
            }
            Err(e) => Err(self.put_back(place.name, aside.as_deref(), e)),
        }
    }

    /// Gives a database another name, under which nobody can be connected to it.
    fn set_aside(&self, name: &str, aside: &str) -> io::Result<()> {
        self.execute(&allow_connections(name, false))?;
        let renamed = self.execute(&disconnect(name)).and_then(|()| {
            self.execute(&format!("alter database {} rename to {}", quoted(name), quoted(aside)))
        });
        if renamed.is_err() {
            self.execute(&allow_connections(name, true))?;
        }
        renamed
    }

    fn load(&self, place: &Place<'_>, files: &mut dyn Files) -> io::Result<(u64, u64)> {
        let Place { database, name, .. } = place;
        let path: Vec<&str> = database.path.iter().map(String::as_str).collect();
        let tool = self.tool("pg_restore").args(["--exit-on-error", "--no-password"]);
        let tool = match *name == database.name {
            true => tool.arg("--create").arg(format!("--dbname={}", self.connection(&self.elsewhere()))),
            false => {
                self.execute(&format!(
                    "create database {} template template0 {}",
                    quoted(name),
                    database.create
                ))?;
                tool.arg(format!("--dbname={}", self.connection(name)))
            }
        };
        tool.feed(&mut |input| files.write(&path, input).map(|_| ()))?;
        let (tables, rows) = self.count_rows(name)?;
        match database.tables {
            Some(dumped) if tables < dumped => {
                Err(io::Error::other(format!("{name:?} has {tables} of {dumped} tables after it was loaded")))
            }
            _ => Ok((tables, rows)),
        }
    }

    /// Takes what was loaded in part away and gives the old database its name back.
    fn put_back(&self, name: &str, aside: Option<&str>, why: io::Error) -> io::Error {
        let server = self.server.patiently();
        let patient = Client {
            server: &server,
            version: self.version.clone(),
            major: self.major,
            away_from: self.away_from.clone(),
        };
        let dropped = patient
            .execute(&disconnect(name))
            .and_then(|()| patient.execute(&format!("drop database if exists {}", quoted(name))));
        let back = dropped.and_then(|()| match aside {
            Some(aside) => patient
                .execute(&format!("alter database {} rename to {}", quoted(aside), quoted(name)))
                .and_then(|()| patient.execute(&allow_connections(name, true))),
            None => Ok(()),
        });
        match (back, aside) {
            (Ok(()), Some(_)) => io::Error::new(why.kind(), format!("{why}; {name:?} is as it was")),
            (Ok(()), None) => why,
            (Err(e), Some(aside)) => {
                io::Error::new(why.kind(), format!("{why}; the old database is now called {aside:?}: {e}"))
            }
            (Err(e), None) => {
                io::Error::new(why.kind(), format!("{why}; what was loaded is still there: {e}"))
            }
        }
    }

    /// A database to be connected to while the chosen ones are made.
    fn elsewhere(&self) -> String {
        let maintenance = self.server.url.database.clone();
        let free = |name: &String| !self.away_from.contains(name);
        let candidates = maintenance.into_iter().chain(["postgres".into(), "template1".into()]);
        candidates.into_iter().find(free).unwrap_or_else(|| "template1".into())
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn allow_connections(name: &str, allowed: bool) -> String {
    format!("alter database {} with allow_connections {allowed}", quoted(name))
}

/// Ends the sessions of others, which would keep the database from being renamed.
fn disconnect(name: &str) -> String {
    format!(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{}' and pid <> pg_backend_pid()",
        name.replace('\'', "''")
    )
}

/// The statements of `pg_dumpall --globals-only`, one a line, without those that concern existing roles; and
/// how many were left out.
fn for_missing_roles(globals: &str, roles: &[String]) -> (String, usize) {
    let concerns_existing = |line: &&str| {
        let role = ["CREATE ROLE ", "ALTER ROLE "].iter().find_map(|start| line.strip_prefix(start));
        role.and_then(identifier).is_some_and(|role| roles.contains(&role))
    };
    let left = globals.lines().filter(concerns_existing).count();
    let kept: Vec<&str> = globals.lines().filter(|line| !concerns_existing(line)).collect();
    (kept.join("\n") + "\n", left)
}

fn created_roles(globals: &str) -> impl Iterator<Item = String> + '_ {
    globals.lines().filter_map(|line| line.strip_prefix("CREATE ROLE ").and_then(identifier))
}

/// The identifier a text begins with, without its quotes.
fn identifier(text: &str) -> Option<String> {
    let Some(rest) = text.strip_prefix('"') else {
        let end = text.find([' ', ';']).unwrap_or(text.len());
        return Some(text[..end].to_string()).filter(|name| !name.is_empty());
    };
    let mut name = String::new();
    let mut chars = rest.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if chars.peek() == Some(&'"') => {
                chars.next();
                name.push('"');
            }
            '"' => return Some(name),
            c => name.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_about_existing_roles_are_left_out() {
        let globals = "CREATE ROLE postgres;\nALTER ROLE postgres WITH PASSWORD 'x';\nCREATE ROLE \"a \"\"b\";\n\
                       ALTER ROLE \"a \"\"b\" WITH LOGIN;\nGRANT postgres TO shop;\n";
        let (kept, left) = for_missing_roles(globals, &["postgres".into()]);
        assert_eq!(left, 2);
        assert!(kept.starts_with("CREATE ROLE \"a \"\"b\";\nALTER ROLE"), "{kept}");
        assert_eq!(created_roles(globals).collect::<Vec<_>>(), ["postgres", "a \"b"]);
    }

    #[test]
    fn connections_are_quoted_and_hold_no_password() {
        let server = Server::at("postgresql://me:secret@h:1,i/it's?sslmode=require").unwrap();
        let client = Client { server: &server, version: String::new(), major: 15, away_from: Vec::new() };
        assert_eq!(
            client.connection("it's"),
            "host='h,i' port='1,5432' user='me' dbname='it\\'s' sslmode='require'"
        );
        assert_eq!(pgpass(&Secret::new("a:b\\c")).text(), "*:*:*:*:a\\:b\\\\c\n");
    }
}
