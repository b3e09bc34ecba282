//! MySQL and MariaDB by their own dumps: `mariadb-dump` or `mysqldump`, and the client for the way back.
//!
//! Each database is dumped in one transaction, rows in the order of the primary key, and the dump must end with
//! the line the tool writes last. Before something that exists is replaced, the dump is loaded whole into a
//! database of its own next to it: what cannot be loaded replaces nothing.

use std::io;
use std::path::Path;

use super::about::{About, Database};
use super::tool::{Secret, Tail, Tool};
use super::{Databases, Files, Restore, Restored, Server, not_empty};
use crate::produce::{Contents, Facts, Grain, Producer, Sink, file_name};

/// Name of the file with users and their rights.
const USERS: &str = "users.sql";
/// Where the dumps stand.
const FOLDER: &str = "databases";
/// What stands before the name of an account, on a line of its own.
const ACCOUNT: &str = "-- account ";
/// The role that every account of MariaDB 10.11 and newer has: it is there, and cannot be made.
const EVERYBODY: &str = "`PUBLIC`";
/// Beginning of the name of a database into which a dump is loaded to see whether it can be.
const TRIAL: &str = "lifeboat_trial_";
/// Where systems keep their programs.
const PROGRAMS: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];
/// Databases that belong to the server itself.
const OWN: [&str; 4] = ["information_schema", "performance_schema", "sys", "mysql"];

/// A MySQL or MariaDB server as a source.
pub struct Mysql {
    /// The server.
    pub server: Server,
    /// Which databases.
    pub databases: Databases,
    /// Keep users and their rights, too.
    pub users: bool,
    /// Further options of the dump tool.
    pub options: Vec<String>,
}

impl Producer for Mysql {
    fn produce(&mut self, sink: &mut dyn Sink) -> io::Result<()> {
        let client = Client::connect(&self.server)?;
        let databases = self.databases.choose(client.databases()?)?;
        let mut about = About {
            server: client.version.clone(),
            tool: client.tool("dump").arg("--version").text()?.trim().into(),
            place: self.server.url.shown(),
            ..About::new("mysql")
        };
        if self.users {
            client.dump_users(sink)?;
        }
        for name in databases {
            about.databases.push(client.dump(&name, &self.options, sink)?);
        }
        about.keep(sink)
    }
}

/// A user or role; its name as statements write it.
struct Account {
    name: String,
    is_role: bool,
}

struct Client<'s> {
    server: &'s Server,
    version: String,
}

impl<'s> Client<'s> {
    fn connect(server: &'s Server) -> io::Result<Client<'s>> {
        let mut client = Client { server, version: String::new() };
        client.version = client.query("select version()")?.trim().to_string();
        Ok(client)
    }

    fn is_mariadb(&self) -> bool {
        self.version.contains("MariaDB")
    }

    /// The client (`""`) or the dump tool (`"dump"`): MariaDB's where it is there, else MySQL's.
    fn tool(&self, which: &str) -> Tool {
        let (ours, old) = match which {
            "dump" => ("mariadb-dump", "mysqldump"),
            _ => ("mariadb", "mysql"),
        };
        let is_there = |name: &str| match &self.server.tools {
            Some(folder) => folder.join(name).is_file(),
            None => PROGRAMS.iter().any(|folder| Path::new(folder).join(name).is_file()),
        };
        let name = if !is_there(ours) && is_there(old) { old } else { ours };
        let tool = self.server.tool(name);
        // The options file must be the first argument; it also keeps other files from being read.
        tool.secret_in_first_option("--defaults-file=", Some(self.options())).variable("LC_ALL", "C.UTF-8")
    }

    /// The options of a connection as the tools read them from a file.
    fn options(&self) -> Secret {
        let url = &self.server.url;
        let mut out = String::from("[client]\n");
        let mut set = |name: &str, value: &str| {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            out += &format!("{name}=\"{value}\"\n");
        };
        if let Some((host, port)) = url.hosts.first() {
            set("host", host);
            if let Some(port) = port {
                set("port", &port.to_string());
                set("protocol", "tcp");
            }
        }
        if let Some(user) = &url.user {
            set("user", user);
        }
        if let Some(password) = self.server.secret() {
            set("password", password.text());
        }
        for (name, value) in &url.settings {
            set(name, value);
        }
        Secret::new(out)
    }

    fn client(&self) -> Tool {
        self.tool("").args(["--batch", "--raw", "--skip-column-names", "--default-character-set=utf8mb4"])
    }

    fn query(&self, sql: &str) -> io::Result<String> {
        Ok(self.client().arg(format!("--execute={sql}")).text()?.trim_end_matches('\n').to_string())
    }

    fn databases(&self) -> io::Result<Vec<String>> {
        // Names come as hexadecimal digits: whatever they hold, a line is a name.
        let sql = "select hex(schema_name) from information_schema.schemata order by schema_name";
        let names: io::Result<Vec<String>> = self.query(sql)?.lines().map(unhex).collect();
        Ok(names?.into_iter().filter(|name| !OWN.contains(&name.as_str())).collect())
    }

    /// Keeps roles, users and their rights as statements, each account below a line of its own. The dump tools'
    /// own way fails as a whole at one account that the server knows and does not use.
    fn dump_users(&self, sink: &mut dyn Sink) -> io::Result<()> {
        let (mut makes, mut grants) = (String::new(), String::new());
        let accounts = match self.accounts() {
            Ok(accounts) => accounts,
            Err(e) => {
                sink.tell(USERS, &format!("accounts and their rights cannot be read, and are not kept: {e}"));
                return Ok(());
            }
        };
        for account in accounts {
            if account.name.contains(char::is_control) {
                sink.tell(USERS, "an account has a line end or the like in its name: it was left out");
                continue;
            }
            let kept = self.statements(&account).map(|(make, granted)| {
                if account.name == EVERYBODY {
                    let granted = granted.lines().filter(|line| !line.starts_with("GRANT USAGE ON *.* "));
                    let lines: String =
                        granted.map(|line| line.replace(EVERYBODY, "PUBLIC") + ";\n").collect();
                    if !lines.is_empty() {
                        grants += &format!("{ACCOUNT}{}\n{lines}", account.name);
                    }
                    return;
                }
                makes += &format!("{ACCOUNT}{}\n{make};\n", account.name);
                grants += &format!("{ACCOUNT}{}\n", account.name);
                granted.lines().for_each(|line| grants += &format!("{line};\n"));
            });
            if let Err(e) = kept {
                sink.tell(USERS, &format!("the account {} was left out: {e}", account.name));
            }
        }
        let text = format!("{makes}{grants}");
        sink.file(&[USERS], Facts::PRIVATE, Contents::Bytes(text.as_bytes())).map(|_| ())
    }

    /// Roles first, since users are given them.
    fn accounts(&self) -> io::Result<Vec<Account>> {
        let mut accounts = Vec::new();
        if self.is_mariadb() {
            let roles = "select hex(user) from mysql.user where is_role = 'Y' order by user";
            for name in self.query(roles)?.lines() {
                accounts.push(Account { name: quoted(&unhex(name)?), is_role: true });
            }
        }
        let users = match self.is_mariadb() {
            true => "select hex(user), hex(host) from mysql.user where is_role = 'N' order by user, host",
            false => "select hex(user), hex(host) from mysql.user order by user, host",
        };
        for line in self.query(users)?.lines() {
            let (user, host) = line.split_once('\t').unwrap_or((line, ""));
            let name = format!("{}@{}", quoted(&unhex(user)?), quoted(&unhex(host)?));
            accounts.push(Account { name, is_role: false });
        }
        Ok(accounts)
    }

    /// The statement that makes an account, and those that give it its rights, a line each.
    fn statements(&self, account: &Account) -> io::Result<(String, String)> {
        let name = &account.name;
        let make = match account.is_role {
            true => format!("CREATE ROLE IF NOT EXISTS {name}"),
            false => {
                let make = self.query(&format!("show create user {name}"))?;
                let rest = make.strip_prefix("CREATE USER ");
                let rest = rest.ok_or_else(|| io::Error::other("the server gave no statement"))?;
                format!("CREATE USER IF NOT EXISTS {rest}")
            }
        };
        Ok((make, self.query(&format!("show grants for {name}"))?))
    }

    fn dump(&self, name: &str, options: &[String], sink: &mut dyn Sink) -> io::Result<Database> {
        let unsafe_tables = self.query(&format!(
            "select count(*) from information_schema.tables where table_schema = '{}' and table_type = 'BASE TABLE' \
             and engine not in ('InnoDB', 'ROCKSDB', 'TokuDB')",
            text(name)
        ))?;
        if unsafe_tables.trim() != "0" {
            let why = "tables without transactions may be dumped at another moment than the rest";
            sink.tell(name, &format!("{} {why}", unsafe_tables.trim()));
        }
        let tool =
            self.tool("dump").args(["--single-transaction", "--quick", "--order-by-primary", "--hex-blob"]);
        let tool = tool.args(["--routines", "--events", "--triggers", "--skip-dump-date", "--tz-utc"]);
        let tool = tool.args(["--default-character-set=utf8mb4", "--skip-lock-tables"]);
        let tool = tool.args(options).args(["--", name]);
        let path = [FOLDER.to_string(), format!("{}.sql", file_name(name))];
        let mut stream = Tail::new(tool.stream()?);
        sink.file(&[&path[0], &path[1]], Facts::PRIVATE, Contents::Stream(&mut stream, Grain::Fine))?;
        ends_well(&stream, name)?;
        let create = self.query(&format!("show create database {}", quoted(name)))?;
        let create = create.split_once('\t').map_or("", |(_, statement)| statement).to_string();
        Ok(Database { name: name.into(), path: path.into(), tables: Some(self.tables(name)?), create })
    }

    fn tables(&self, name: &str) -> io::Result<u64> {
        let sql = format!(
            "select count(*) from information_schema.tables where table_schema = '{}' and table_type in \
             ('BASE TABLE', 'VIEW', 'SEQUENCE', 'SYSTEM VERSIONED')",
            text(name)
        );
        let count = self.query(&sql)?;
        count.trim().parse().map_err(|_| io::Error::other(format!("no number of tables: {count:?}")))
    }

    fn count_rows(&self, name: &str) -> io::Result<u64> {
        let sql = format!(
            "select hex(table_name) from information_schema.tables where table_schema = '{}' and table_type in \
             ('BASE TABLE', 'SYSTEM VERSIONED')",
            text(name)
        );
        let mut rows = 0;
        for table in self.query(&sql)?.lines() {
            let table = unhex(table)?;
            let sql = format!("select count(*) from {}.{}", quoted(name), quoted(&table));
            rows += self.query(&sql)?.trim().parse::<u64>().map_err(io::Error::other)?;
        }
        Ok(rows)
    }
}

fn ends_well<R>(stream: &Tail<R>, name: &str) -> io::Result<()> {
    match stream.last_line().starts_with(b"-- Dump completed") {
        true => Ok(()),
        false => Err(io::Error::other(format!("the dump of {name:?} lacks the mark of its end"))),
    }
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn text(value: &str) -> String {
    value.replace('\\', "\\\\").replace('\'', "''")
}

fn unhex(line: &str) -> io::Result<String> {
    let bad = || io::Error::other(format!("the server gave no name: {line:?}"));
    let digits = line.trim().as_bytes();
    let pairs = digits.chunks(2).map(|pair| {
        std::str::from_utf8(pair).ok().filter(|p| p.len() == 2).and_then(|p| u8::from_str_radix(p, 16).ok())
    });
    let bytes: Option<Vec<u8>> = pairs.collect();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(bad)
}

/// Brings databases back into a server, see the head of this module.
pub fn restore(
    server: &Server,
    about: &About,
    files: &mut dyn Files,
    what: &Restore,
    tell: &mut dyn FnMut(&str),
) -> io::Result<Vec<Restored>> {
    let client = Client::connect(server)?;
    let there = client.databases()?;
    let chosen = what.choose(about)?;
    let mut occupied = Vec::new();
    for database in &chosen {
        let name = what.name_of(database);
        let exists = there.iter().any(|other| other == name);
        let tables = if exists { client.tables(name)? } else { 0 };
        if tables > 0 && !what.replace {
            return Err(not_empty(name, &format!("it has tables ({tables})")));
        }
        occupied.push((exists, tables > 0));
    }
    let mut restored = Vec::new();
    if !what.dry_run && what.databases.is_empty() {
        client.restore_users(files, tell)?;
    }
    for (database, (exists, replaced)) in chosen.into_iter().zip(occupied) {
        let name = what.name_of(database);
        let (mut tables, mut rows) = (database.tables.unwrap_or(0), None);
        if !what.dry_run {
            if replaced {
                client.try_to_load(database, name, files)?;
            }
            client.put(database, name, (exists, replaced), files)?;
            (tables, rows) = (client.tables(name)?, Some(client.count_rows(name)?));
        }
        restored.push(Restored { name: name.into(), tables, rows, replaced });
    }
    Ok(restored)
}

/// Whether a server answers.
pub fn answers(server: &Server) -> io::Result<()> {
    Client::connect(server).map(drop)
}

/// Asks a database for one value; what it is asked changes nothing.
pub fn ask(server: &Server, database: &str, sql: &str) -> io::Result<String> {
    let client = Client::connect(server)?;
    let tool = client.client().arg("--init-command=set session transaction read only");
    let answer = tool.arg(format!("--database={database}")).arg(format!("--execute={sql}")).text()?;
    let answer = answer.strip_suffix('\n').unwrap_or(&answer);
    super::one_value(answer, !answer.contains(['\n', '\t']))
}

/// Removes a database with all in it, if it is there.
pub fn remove(server: &Server, name: &str) -> io::Result<()> {
    Client::connect(server)?.query(&format!("drop database if exists {}", quoted(name))).map(drop)
}

/// The parts of the file with accounts: the name, and the statements.
fn parts(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let parts = text.split(ACCOUNT).filter(|part| !part.is_empty());
    parts.map(|part| part.split_once('\n').unwrap_or((part, "")))
}

impl Client<'_> {
    /// Makes the accounts that are not there; those that are stay as they are, above all their passwords.
    fn restore_users(&self, files: &mut dyn Files, tell: &mut dyn FnMut(&str)) -> io::Result<()> {
        let users = match files.small(&[USERS]) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let text = String::from_utf8_lossy(&users).into_owned();
        let there: Vec<String> = self.accounts()?.into_iter().map(|account| account.name).collect();
        for (name, statements) in parts(&text) {
            if there.iter().any(|other| other == name) {
                continue;
            }
            if let Err(e) = self.client().feed(&mut |input| input.write_all(statements.as_bytes())) {
                // Behind this word stands a piece of the statement, which may hold a password.
                let why = e.to_string();
                let why = why.split(" near ").next().unwrap_or_default();
                tell(&format!("the account {name} could not be made as it was: {why}"));
            }
        }
        let known = parts(&text).filter(|(name, _)| there.iter().any(|other| other == name)).count() / 2;
        if known > 0 {
            tell(&format!("{known} accounts are there already and stay as they are"));
        }
        Ok(())
    }

    /// Loads a dump in place of what is there. From here on it is not given up.
    fn put(
        &self,
        database: &Database,
        name: &str,
        (exists, replaced): (bool, bool),
        files: &mut dyn Files,
    ) -> io::Result<()> {
        let (server, version) = (self.server.patiently(), self.version.clone());
        let patient = Client { server: &server, version };
        let drop = format!("drop database if exists {}", quoted(name));
        if exists {
            patient.query(&drop)?;
        }
        let Err(e) = patient.load(database, name, files) else { return Ok(()) };
        if replaced {
            let why = format!("{e}; the old {name:?} is gone and the new one is not whole: do it again");
            return Err(io::Error::new(e.kind(), why));
        }
        patient.query(&drop)?;
        if exists {
            patient.query(&create(database, name))?;
        }
        Err(e)
    }

    /// Loads a dump into a database beside the one that is to be replaced, and takes it away again.
    fn try_to_load(&self, database: &Database, name: &str, files: &mut dyn Files) -> io::Result<()> {
        let trial = format!("{TRIAL}{}", std::process::id());
        self.query(&format!("drop database if exists {}", quoted(&trial)))?;
        let loaded = self.load(database, &trial, files);
        let (server, version) = (self.server.patiently(), self.version.clone());
        let patient = Client { server: &server, version };
        let dropped = patient.query(&format!("drop database if exists {}", quoted(&trial)));
        loaded.map_err(|e| io::Error::new(e.kind(), format!("{e}; {name:?} is as it was")))?;
        dropped.map(|_| ())
    }

    fn load(&self, database: &Database, name: &str, files: &mut dyn Files) -> io::Result<()> {
        self.query(&create(database, name))?;
        let path: Vec<&str> = database.path.iter().map(String::as_str).collect();
        let tool = self.tool("").args(["--batch", "--default-character-set=utf8mb4"]);
        let tool = tool.arg(format!("--database={name}"));
        tool.feed(&mut |input| files.write(&path, input).map(|_| ()))?;
        let tables = self.tables(name)?;
        match database.tables {
            Some(dumped) if tables < dumped => {
                Err(io::Error::other(format!("{name:?} has {tables} of {dumped} tables after it was loaded")))
            }
            _ => Ok(()),
        }
    }
}

/// The statement that makes the empty database under a name.
fn create(database: &Database, name: &str) -> String {
    match database.create.is_empty() || name != database.name {
        true => format!("create database {}{}", quoted(name), character_set(&database.create)),
        false => database.create.clone(),
    }
}

/// The character set and collation of a `CREATE DATABASE` statement.
fn character_set(create: &str) -> String {
    let Some(from) = create.find("DEFAULT CHARACTER SET ") else { return String::new() };
    let words = create[from..].split(' ').take_while(|word| !word.starts_with("*/"));
    let text: Vec<&str> = words.collect();
    let plain = text.iter().all(|w| w.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
    if plain { format!(" {}", text.join(" ")) } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_quoted() {
        let mut server = Server::at("mysql://me@127.0.0.1:3307/?ssl-ca=/ca.pem").unwrap();
        server.password = Some(Secret::new("a\"b\\c#"));
        let client = Client { server: &server, version: "10.11.1-MariaDB".into() };
        let expected = "[client]\nhost=\"127.0.0.1\"\nport=\"3307\"\nprotocol=\"tcp\"\nuser=\"me\"\n\
                        password=\"a\\\"b\\\\c#\"\nssl-ca=\"/ca.pem\"\n";
        assert_eq!(client.options().text(), expected);
    }

    #[test]
    fn names_survive_their_way() {
        assert_eq!(unhex("73C3B670").unwrap(), "söp");
        assert!(unhex("7").is_err() && unhex("zz").is_err());
        assert_eq!(quoted("a`b"), "`a``b`");
        let create = "CREATE DATABASE `a` /*!40100 DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin */";
        assert_eq!(character_set(create), " DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin");
    }

    #[test]
    fn a_dump_without_its_last_line_is_cut_off() {
        let mut whole = Tail::new(&b"insert;\n-- Dump completed\n"[..]);
        io::copy(&mut whole, &mut io::sink()).unwrap();
        assert!(ends_well(&whole, "x").is_ok());
        let mut cut = Tail::new(&b"-- Dump completed\ninsert"[..]);
        io::copy(&mut cut, &mut io::sink()).unwrap();
        assert!(ends_well(&cut, "x").is_err());
    }
}
