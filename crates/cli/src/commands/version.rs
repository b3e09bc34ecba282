//! `lifeboat version`: which program this is, and what it was built with.

use crate::error::{Exit, Outcome};
use crate::session::Session;
use serde_json::json;

/// Show the version
#[derive(clap::Args)]
#[command(after_help = "Example:\n  lifeboat version --json")]
pub(crate) struct Args {}

/// The name and version, as snapshots record it.
pub(crate) const PROGRAM: &str = concat!("lifeboat ", env!("CARGO_PKG_VERSION"));

pub(crate) fn run(session: &Session, _: Args) -> Outcome<Exit> {
    let features: Vec<&str> = [(cfg!(feature = "remote"), "remote"), (cfg!(feature = "sftp"), "sftp")]
        .into_iter()
        .filter_map(|(built, name)| built.then_some(name))
        .collect();
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let format = format::limits::FORMAT_VERSION;
    if session.out.json {
        session.out.object(&json!({
            "message_type": "version", "version": env!("CARGO_PKG_VERSION"), "format": format,
            "os": os, "arch": arch, "features": features,
        }))?;
    } else {
        let places = if features.is_empty() { "local only".to_string() } else { features.join(", ") };
        session.out.line(format!("{PROGRAM}, format {format}, {os} {arch}, places: {places}"))?;
    }
    Ok(Exit::Ok)
}
