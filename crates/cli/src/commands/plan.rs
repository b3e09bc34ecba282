//! `lifeboat plan`: the recovery plan, made anew from what is known now, or as it is stored in a repository.

use super::status::open_catalog;
use crate::display::safe;
use crate::error::{Exit, Failure, Outcome, local};
use crate::session::{Session, host_name, machine_of};
use crate::time;
use ::repo::snapshots::SnapshotList;
use format::snapshot::Snapshot;
use serde_json::{Value, json};
use service::kit::Remembered;
use service::plan::{self, Kept, Plan, Program};
use service::stored_config;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Write the recovery plan: what comes back, from where, how, and who does it
#[derive(clap::Args)]
#[command(after_help = "\
Each run stores the plan in every repository when it changed, beside the configuration and the program. Print it, too: it
holds no secret, and is read best before it is needed.

Examples:
  lifeboat plan                              read it
  lifeboat plan --html plan.html             one page to print
  lifeboat plan --check                      is anything missing from it? exit code 4
  lifeboat plan --reviewed                   somebody has read it today
  lifeboat plan --stored -r sftp://nas/backup --recovery-key      as it is stored there, on a machine that has nothing")]
pub(crate) struct Args {
    /// Write it as a page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write it as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write it as plain text
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Take the plan that is stored in the repository, instead of making one
    #[arg(long, conflicts_with_all = ["check", "reviewed", "store"])]
    stored: bool,
    /// The machine whose stored plan it is, where the repository holds several
    #[arg(long, value_name = "NAME", requires = "stored")]
    machine: Option<String>,
    /// Store it in every repository of the configuration now
    #[arg(long)]
    store: bool,
    /// Say what is missing from it; exit code 4 if anything is
    #[arg(long)]
    check: bool,
    /// Remember that somebody has looked it through
    #[arg(long)]
    reviewed: bool,
}

/// Looking for what no source holds takes no longer when somebody waits for it; it is done once a day.
const LOOK_TIME: Duration = Duration::from_secs(30);

/// A plan in all its forms.
struct Written {
    text: String,
    markdown: String,
    html: String,
    json: Value,
}

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    if args.stored {
        let written = stored(session, args.machine.as_deref())?;
        return give(session, &args, &written).map(|()| Exit::Ok);
    }
    let loaded = session.configuration()?;
    let folders = session.opener().folders;
    if args.reviewed {
        let mut kept = Kept::read(&folders);
        kept.reviewed = Some(time::now().secs);
        kept.keep(&folders)?;
    }
    if args.store {
        store(session)?;
    }
    let catalog = open_catalog(session)?;
    let machine = machine_of(&loaded.config);
    let stored = Remembered::read(&folders).is_some_and(|kit| kit.program.is_some());
    let program = super::kit::own_program_for_plans(stored).map(|own| Program::of(&own.facts));
    let facts = plan::kept::Facts {
        machine: &machine,
        node: &host_name(),
        program: program.as_ref(),
        now: time::now().secs,
        time: LOOK_TIME,
    };
    let plan = plan::kept::plan(&loaded.config, &folders, Some(&catalog), &facts)?;
    if args.check {
        return check(session, &plan);
    }
    let json = serde_json::to_value(&plan).expect("a plan can be written");
    let written = Written { text: plan.text(), markdown: plan.markdown(), html: plan.html(), json };
    let files_named = args.html.is_some() || args.markdown.is_some() || args.text.is_some();
    if (args.reviewed || args.store) && !files_named && !session.out.json {
        return Ok(Exit::Ok);
    }
    give(session, &args, &written)?;
    Ok(Exit::Ok)
}

/// Stores configuration and plan wherever a job brings copies.
fn store(session: &Session) -> Outcome<()> {
    let failed = super::run::runner(session, super::run::teller(session))?.store_plan()?;
    for (repository, failure) in &failed {
        session.out.warn(format!("{}: not stored there: {}", safe(repository), failure.in_one_line()));
    }
    match failed.into_iter().next() {
        Some((_, failure)) => Err(failure),
        None => {
            session.out.info("configuration and plan are stored in every repository");
            Ok(())
        }
    }
}

fn check(session: &Session, plan: &Plan) -> Outcome<Exit> {
    if session.out.json {
        let gaps = &plan.gaps;
        session
            .out
            .object(&json!({"message_type": "plan_check", "complete": gaps.is_empty(), "gaps": gaps}))?;
    } else if plan.gaps.is_empty() {
        session.out.line("the plan is complete")?;
    } else {
        plan.gaps.iter().try_for_each(|gap| session.out.line(safe(gap)))?;
    }
    Ok(if plan.gaps.is_empty() { Exit::Ok } else { Exit::GoalNotMet })
}

/// Writes the files that were named; where none was, the plan goes to standard output.
fn give(session: &Session, args: &Args, written: &Written) -> Outcome<()> {
    let files =
        [(&args.html, &written.html), (&args.markdown, &written.markdown), (&args.text, &written.text)];
    let mut names = Vec::new();
    for (path, text) in files {
        let Some(path) = path else { continue };
        write(path, text)?;
        names.push(path.display().to_string());
    }
    if session.out.json {
        let mut object = written.json.clone();
        object["message_type"] = "recovery_plan".into();
        object["files"] = names.into();
        return session.out.object(&object);
    }
    if names.is_empty() {
        return written.text.lines().try_for_each(|line| session.out.line(safe(line)));
    }
    names.iter().try_for_each(|name| session.out.line(format!("wrote {}", safe(name))))
}

fn write(path: &Path, text: &str) -> Outcome<()> {
    service::durable::replace(path, text.as_bytes())
        .map_err(|e| local(format!("cannot write {}", path.display()), e))
}

/// The plan as it is stored.
fn stored(session: &Session, machine: Option<&str>) -> Outcome<Written> {
    let place = session.place()?;
    let opened = session.opener().open(&place)?;
    let list = session.opener().snapshots(&place, &opened.repo)?;
    let snapshot = of_machine(&list, machine)?;
    let mut files = stored_config::read_plan(&*opened.reader()?, snapshot)?;
    let mut take = |ending: &str| take(&mut files, &format!("{}.{ending}", plan::kept::NAME));
    let json = take("json")?;
    Ok(Written {
        text: take("txt")?,
        markdown: take("md")?,
        html: take("html")?,
        json: serde_json::from_str(&json).map_err(|e| {
            Failure::new(Exit::Failed, "the stored plan is not as this program writes it").because(e)
        })?,
    })
}

fn take(files: &mut BTreeMap<String, String>, name: &str) -> Outcome<String> {
    files.remove(name).ok_or_else(|| {
        Failure::new(Exit::Failed, "no recovery plan is stored there")
            .hint("each run of a job stores it; or: lifeboat plan --store")
    })
}

fn of_machine<'l>(list: &'l SnapshotList, machine: Option<&str>) -> Outcome<&'l Snapshot> {
    let mut found = stored_config::newest(list);
    found.retain(|snapshot| machine.is_none_or(|name| snapshot.host == name));
    match &found[..] {
        [one] => Ok(one),
        [] => Err(Failure::new(Exit::Failed, "no recovery plan is stored there")
            .hint("each run of a job stores it; or: lifeboat plan --store")),
        several => {
            let names: Vec<String> = several.iter().map(|snapshot| safe(&snapshot.host)).collect();
            Err(Failure::usage("plans of several machines are stored there")
                .hint(format!("say which with --machine: {}", names.join(", "))))
        }
    }
}
