//! `lifeboat repo`: what a repository is, and what its place keeps.

use super::snapshots::columns;
use crate::credentials;
use crate::display::safe;
use crate::error::{Exit, Outcome};
use crate::session::Session;
use crate::{sizes, time};
use ::repo::index::PackListing;
use ::repo::snapshots::SnapshotList;
use clap::Subcommand;
use format::id::hex;
use serde_json::json;
use storage::conformance::{self, Outcome as Kept, Scope};

/// Show a repository, or test its place
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  lifeboat repo info
  lifeboat repo test -r s3://bucket/machine     does this place keep what a repository relies on?")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Show what it is and how it works
    Info,
    Test(Test),
}

/// Try what a repository relies on, with objects that are removed again
#[derive(clap::Args)]
#[command(after_help = "Example:\n  lifeboat repo test -r sftp://me@nas/backup --full")]
struct Test {
    /// Also with 20 MiB in one object and 1,100 objects
    #[arg(long)]
    full: bool,
}

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    match args.action {
        Action::Info => info(session),
        Action::Test(args) => test(session, &args),
    }
}

fn info(session: &Session) -> Outcome<Exit> {
    let opened = session.open()?;
    let (repo, p) = (&opened.repo, opened.repo.parameters());
    let identity = repo.identity();
    let list = SnapshotList::read(repo)?;
    let listing = PackListing::read(repo)?;
    let (packs, stored) = super::stats::stored(&listing);
    let slots = repo.slots()?;
    let snapshots = list.visible().count();
    if session.out.json {
        session.out.object(&json!({
            "message_type": "repository", "id": identity.repo.hex(), "family": identity.family.hex(),
            "repository": repo.location(), "created": time::rfc3339(identity.created),
            "format": format::limits::FORMAT_VERSION, "role": repo.capability().as_str(),
            "snapshots": snapshots, "packs": packs, "bytes_stored": stored, "keys": slots.len(),
            "block_bytes": p.block_bytes, "pack_bytes": p.pack_bytes, "tree_pack_bytes": p.tree_pack_bytes,
            "whole_file_bytes_max": p.whole_file_bytes_max, "data_parity": p.data_parity, "probed": p.probed,
        }))?;
        return Ok(Exit::Ok);
    }
    let row = |name: &str, value: String| [name.to_string(), value];
    let rows = [
        row("repository", safe(&repo.location())),
        row("id", identity.repo.hex()),
        row("family", identity.family.hex()),
        row("created", time::shown(identity.created)),
        row("format", format::limits::FORMAT_VERSION.to_string()),
        row("unlocked as", repo.capability().as_str().to_string()),
        row("keys", slots.len().to_string()),
        row("snapshots", snapshots.to_string()),
        row("stored", format!("{} in {} packs", sizes::shown(stored), packs)),
        row("blocks, packs", format!("{}, {}", sizes::shown(p.block_bytes), sizes::shown(p.pack_bytes))),
        row("data parity", if p.data_parity { "yes" } else { "no" }.to_string()),
        row("place", safe(&p.probed.join(" "))),
    ];
    columns(&rows).into_iter().try_for_each(|line| session.out.line(line))?;
    Ok(Exit::Ok)
}

/// Needs no key: nothing of the repository is read.
fn test(session: &Session, args: &Test) -> Outcome<Exit> {
    let store = session.store(&session.location()?, false)?;
    let scratch = format!("maint/test-{}", hex(&credentials::random::<8>()?));
    let scope = if args.full { Scope::Full } else { Scope::Quick };
    let report = conformance::run(&*store, &scratch, scope);
    for check in &report.checks {
        let (word, detail) = match &check.outcome {
            Kept::Kept => ("kept", String::new()),
            Kept::Broken(how) => ("BROKEN", how.clone()),
            Kept::NotTried(why) => ("not tried", (*why).to_string()),
        };
        if session.out.json {
            session.out.object(&json!({
                "message_type": "promise", "promise": check.promise, "outcome": word.to_lowercase(), "detail": detail,
            }))?;
        } else {
            let detail = if detail.is_empty() { detail } else { format!(" ({})", safe(&detail)) };
            session.out.line(format!("{word:<9}  {}{detail}", check.promise))?;
        }
    }
    let broken = report.broken().count();
    session.out.human(match broken {
        0 => "this place keeps what a repository relies on".to_string(),
        n => format!("{n} promises are broken: do not keep a repository here"),
    })?;
    Ok(if report.is_good() { Exit::Ok } else { Exit::Failed })
}
