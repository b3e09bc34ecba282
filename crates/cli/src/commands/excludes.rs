//! `lifeboat excludes explain`: which rule leaves a path out, and where it is written.

use super::rules::RuleArgs;
use crate::display::{DisplayName, insert_path, safe};
use crate::error::{Exit, Outcome, local};
use crate::session::Session;
use clap::Subcommand;
use host::{Explanation, sources};
use serde_json::Map;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Find out why a path is saved or left out
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  lifeboat excludes explain ~/src/target/debug --source ~ --exclude target --exclude-caches")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    Explain(Explain),
}

/// Say which rule leaves a path out, and where it is written
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  lifeboat excludes explain ~/src/target/debug --source ~ --exclude target --exclude-caches")]
struct Explain {
    /// The paths to explain
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// What would be backed up
    #[arg(short, long, value_name = "SOURCE", default_value = "/")]
    source: Vec<PathBuf>,
    #[command(flatten)]
    rules: RuleArgs,
}

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    let Action::Explain(args) = args.action;
    let folder = std::env::current_dir().map_err(|e| local("cannot find the current folder", e))?;
    let full = |path: &PathBuf| {
        sources::absolute(&folder, path).map_err(|e| local(format!("cannot find {}", path.display()), e))
    };
    let given = args.source.iter().map(full).collect::<Outcome<Vec<_>>>()?;
    let rules = args.rules.rules()?;
    for path in &args.paths {
        let path = full(path)?;
        let explained = rules.explain(&given, &path);
        let explained = explained.map_err(|e| local(format!("cannot explain {}", path.display()), e))?;
        let is_saved = matches!(explained, Explanation::Saved | Explanation::TakenBack(_));
        if session.out.json {
            let mut object = Map::new();
            object.insert("message_type".into(), "explanation".into());
            insert_path(&mut object, "path", path.as_os_str().as_bytes());
            object.insert("saved".into(), is_saved.into());
            object.insert("why".into(), explained.to_string().into());
            session.out.object(&object.into())?;
        } else {
            let name = DisplayName(path.as_os_str().as_bytes());
            session.out.line(format!("{name}: {}", safe(&explained.to_string())))?;
        }
    }
    Ok(Exit::Ok)
}
