//! The first run of every job, and some files of it brought back.

use super::super::run;
use crate::counts::{count, counted};
use crate::display::safe;
use crate::error::{Exit, Outcome, local};
use crate::folders;
use crate::session::Session;
use serde_json::json;
use service::runner::Trigger;

/// Files brought back to prove a backup.
const PROOF_FILES: usize = 10;

/// Runs every job once, and brings a few files of each source back.
pub(super) fn first_run(session: &Session) -> Outcome<Exit> {
    let loaded = session.configuration()?;
    let runner = run::runner(session, run::teller(session))?;
    let mut exit = Exit::Ok;
    for (name, job) in &loaded.config.jobs {
        let report = runner.run_job(name, Trigger::Manual)?;
        exit = run::worse(exit, report.exit);
        for source in &job.sources {
            let stored = report.results.iter().find(|r| &r.source == source && r.snapshot.is_some());
            let is_files = loaded.config.sources[source].kind() == "files";
            if let Some(result) = stored.filter(|_| is_files) {
                exit = run::worse(exit, prove(session, &runner, source, &result.repository)?);
            }
        }
    }
    Ok(exit)
}

fn prove(
    session: &Session,
    runner: &service::runner::Runner,
    source: &str,
    repository: &str,
) -> Outcome<Exit> {
    let random: [u8; 8] = crate::credentials::random()?;
    let folder = folders::folders().state.join(format!("proof-{}", format::id::hex(&random)));
    service::durable::create_private(&folder)
        .map_err(|e| local(format!("cannot make {}", folder.display()), e))?;
    let proof = runner.prove(source, repository, PROOF_FILES, &folder);
    // What was brought back is a copy of somebody's files.
    std::fs::remove_dir_all(&folder).ok();
    let proof = proof?;
    if session.out.json {
        session.out.object(&json!({
            "message_type": "proof", "source": source, "repository": repository, "files": proof.files,
            "bytes": proof.bytes, "same_as_live": proof.same_as_live, "wrong": proof.wrong,
        }))?;
    } else if !session.out.quiet {
        session.out.line(format!(
            "brought {} of {source} back from {repository} and read them again: {} the same as the originals byte for byte",
            count(proof.files, "file"),
            counted(proof.same_as_live, "is", "are")
        ))?;
    }
    match &proof.wrong[..] {
        [] => Ok(Exit::Ok),
        [first, ..] => {
            session.out.warn(format!(
                "{} did not come back as it should: {}",
                count(proof.wrong.len(), "file"),
                safe(&first.display().to_string())
            ));
            Ok(Exit::DrillFailed)
        }
    }
}
