//! `lifeboat restore-db`: databases of a snapshot back into a server.

use crate::counts::count;
use crate::display::safe;
use crate::error::{Exit, Outcome};
use crate::progress::Reporter;
use crate::session::{Session, machine_of, processors};
use crate::snapspec::Filter;
use host::databases::{Restore, Restored};
use serde_json::json;
use service::config::{Loaded, Secret};
use service::restore_db::{self, Brought, Target, Way};
use service::runner::SOURCE_TAG;
use std::ffi::OsString;
use std::path::PathBuf;

/// Bring databases back into a server
#[derive(clap::Args)]
#[command(after_help = "\
Databases go to where they came from, as the configuration says, or to another place with --into. One that holds
something is left alone unless --replace is given; what replaces it is loaded whole before.

Examples:
  lifeboat restore-db shop -n                                  the newest snapshot of [sources.shop]: what would be done
  lifeboat restore-db shop --database orders --as orders_old   beside the one that is in use
  lifeboat restore-db shop~1 --replace                         the one before, in place
  lifeboat restore-db 4f21c09a --into postgresql://me@new:5432 --into-password-file pw
  lifeboat restore-db vault --into /tmp/look                   SQLite files into a folder")]
pub(crate) struct Args {
    /// A source of the configuration (NAME, NAME~1), or a snapshot: latest, the beginning of an id
    #[arg(value_name = "SOURCE|SNAPSHOT")]
    what: OsString,
    /// Into this server (postgresql://, mysql://, redis://, mongodb://) or folder instead
    #[arg(long, value_name = "URL")]
    into: Option<String>,
    /// Password of that server, in the first line of this file [env: LIFEBOAT_INTO_PASSWORD]
    #[arg(long, value_name = "FILE", requires = "into")]
    into_password_file: Option<PathBuf>,
    /// Only this database; may be given several times
    #[arg(long, value_name = "NAME")]
    database: Vec<String>,
    /// Under this name (one database of PostgreSQL, MySQL or MariaDB)
    #[arg(long = "as", value_name = "NAME")]
    new_name: Option<String>,
    /// Replace what is there
    #[arg(long)]
    replace: bool,
    /// Say what would be done; change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    #[command(flatten)]
    filter: Filter,
}

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    let loaded = session.loaded()?;
    let (session, spec, filter) = meant(session, &args, loaded.as_deref());
    let target = target(&session, &args)?;
    let (nearest, _) = session.open_nearest(&spec, &filter)?;
    let what = Restore {
        databases: args.database.clone(),
        replace: args.replace,
        name: args.new_name.clone(),
        dry_run: args.dry_run,
    };
    let (opener, reporter) = (session.opener(), Reporter::new(&session.out, &session.cancel));
    let way = Way {
        config: loaded.as_deref().map(|loaded| &loaded.config),
        opener: &opener,
        workers: processors(),
        memory: session.global.memory,
        monitor: &reporter,
    };
    let snapshot = &nearest.snapshot;
    let brought = restore_db::bring_back(&nearest.reader, snapshot, target, &what, &way);
    let brought = brought.inspect_err(|_| reporter.finish())?;
    reporter.conclude();
    session.tell_healed(&nearest)?;
    match session.out.json {
        true => session.out.object(&json!({
            "message_type": "summary", "result": "success", "dry_run": args.dry_run,
            "snapshot_id": snapshot.id.hex(), "kind": brought.kind, "into": brought.place,
            "total_duration": reporter.elapsed().as_secs_f64(),
            "databases": brought.databases.iter().map(object).collect::<Vec<_>>(),
        }))?,
        false => tell(&session, &args, &brought)?,
    }
    Ok(Exit::Ok)
}

/// The repositories, the snapshot and the filter that are meant: those of a source if one has this name.
fn meant(session: &Session, args: &Args, loaded: Option<&Loaded>) -> (Session, OsString, Filter) {
    let (mut session, mut filter) = (session.clone(), args.filter.clone());
    let text = args.what.to_str().unwrap_or_default();
    let (name, back) = text.split_once('~').map_or((text, None), |(name, back)| (name, Some(back)));
    let Some(loaded) = loaded.filter(|loaded| loaded.config.sources.contains_key(name)) else {
        return (session, args.what.clone(), filter);
    };
    if session.global.repo.is_empty() {
        session.global.repo = loaded.config.repositories_of(name).into_iter().map(OsString::from).collect();
    }
    // Another machine may have a source of the same name in the same repository.
    if filter.host.is_empty() {
        filter.host.push(machine_of(&loaded.config));
    }
    let tag = format!("{SOURCE_TAG}{name}");
    match filter.tag.is_empty() {
        true => filter.tag.push(tag),
        false => filter.tag.iter_mut().for_each(|list| *list = format!("{list},{tag}")),
    }
    let spec = back.map_or_else(|| "latest".into(), |back| format!("latest~{back}"));
    (session, spec.into(), filter)
}

fn target(session: &Session, args: &Args) -> Outcome<Target> {
    let Some(into) = &args.into else { return Ok(Target::Origin) };
    let password = match &args.into_password_file {
        Some(file) => {
            let (secret, opener) = (Secret::File(file.clone()), session.opener());
            let what = "the password of the target";
            Some(service::secrets::find(&secret, what, &opener.environment, &opener.folders.home)?)
        }
        None => session.opener().environment.variable("LIFEBOAT_INTO_PASSWORD").map(Into::into),
    };
    Target::parse(into, password)
}

fn object(restored: &Restored) -> serde_json::Value {
    json!({
        "name": restored.name, "tables": restored.tables, "rows": restored.rows, "replaced": restored.replaced,
    })
}

fn tell(session: &Session, args: &Args, brought: &Brought) -> Outcome<()> {
    let would = if args.dry_run { "would be " } else { "" };
    for Restored { name, tables, rows, replaced } in &brought.databases {
        let done = if *replaced { "replaced" } else { "brought back" };
        let what = match (&*brought.kind, rows) {
            ("postgres-files", _) if args.dry_run => String::new(),
            ("postgres-files", _) => format!(": {}", count(*tables, "file")),
            ("redis", _) => format!(": {}", count(*tables, "key")),
            ("command" | "mongodb", _) => String::new(),
            (_, Some(rows)) => format!(": {}, {}", count(*tables, "table"), count(*rows, "row")),
            (_, None) => format!(": {}", count(*tables, "table")),
        };
        session.out.line(format!("{} {would}{done}{what}", safe(name)))?;
    }
    session.out.info(format!("into {}", safe(&brought.place)));
    if args.dry_run {
        session.out.line("nothing was changed: this was a dry run")?;
    }
    Ok(())
}
