//! `lifeboat stats`: how much snapshots would restore, and how much the repository stores.

use super::snapshots::columns;
use crate::counts::{count, counted};
use crate::error::{Exit, Outcome};
use crate::session::Session;
use crate::sizes;
use crate::snapspec::{Filter, SnapSpec};
use crate::time;
use ::repo::index::PackListing;
use format::snapshot::Snapshot;
use serde_json::json;
use std::ffi::OsString;

/// Show how much is saved and stored
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  lifeboat stats\n  lifeboat stats latest --json")]
pub(crate) struct Args {
    /// Only these: latest, latest~2, or the beginning of an id
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<OsString>,
    #[command(flatten)]
    filter: Filter,
}

fn files(s: &Snapshot) -> u64 {
    s.stats.files_new + s.stats.files_changed + s.stats.files_unmodified
}

/// How many packs there are, and their bytes.
pub(crate) fn stored(listing: &PackListing) -> (u64, u64) {
    listing.packs().fold((0, 0), |(packs, bytes), (_, _, pack_bytes)| (packs + 1, bytes + pack_bytes))
}

pub(crate) fn run(session: &Session, args: Args) -> Outcome<Exit> {
    let opened = session.open()?;
    let list = session.snapshots(&opened.repo)?;
    let mut chosen = Vec::new();
    for spec in &args.snapshots {
        chosen.push(SnapSpec::parse(spec)?.find(&list, &args.filter)?);
    }
    if args.snapshots.is_empty() {
        chosen.extend(list.visible().filter(|s| args.filter.accepts(s)));
    }
    let reader = opened.reader()?;
    let listing = PackListing::read(&opened.repo)?;
    let totals = reader.with_index_read(|index| index.totals());
    let (packs, stored) = stored(&listing);
    let restored: u64 = chosen.iter().map(|s| s.stats.source_bytes).sum();
    if session.out.json {
        let each = chosen.iter().map(|s| {
            json!({"snapshot_id": s.id.hex(), "time": time::rfc3339(s.time), "total_size": s.stats.source_bytes,
                   "total_file_count": files(s), "bytes_stored": s.stats.stored_bytes})
        });
        session.out.object(&json!({
            "message_type": "stats", "snapshots_count": chosen.len(), "total_size": restored,
            "total_file_count": chosen.iter().map(|s| files(s)).sum::<u64>(),
            "bytes_stored": stored, "packs": packs, "total_blob_count": totals.blobs,
            "index_segments": totals.segments, "snapshots": each.collect::<Vec<_>>(),
        }))?;
        return Ok(Exit::Ok);
    }
    let mut rows = vec![["snapshot", "time", "files", "restores", "stored then"].map(String::from)];
    rows.extend(chosen.iter().map(|s| {
        let (size, stored) = (sizes::shown(s.stats.source_bytes), sizes::shown(s.stats.stored_bytes));
        [s.short_id(), time::shown(s.time), files(s).to_string(), size, stored]
    }));
    columns(&rows).into_iter().try_for_each(|line| session.out.line(line))?;
    let ratio = match restored > stored && stored > 0 {
        true => format!(", {:.1} times what is stored", restored as f64 / stored as f64),
        false => String::new(),
    };
    session.out.line(format!(
        "\n{} {}{ratio}",
        counted(chosen.len(), "snapshot restores", "snapshots restore"),
        sizes::shown(restored)
    ))?;
    session.out.line(format!(
        "the repository stores {} in {} with {}",
        sizes::shown(stored),
        count(packs, "pack"),
        count(totals.blobs, "blob")
    ))?;
    Ok(Exit::Ok)
}
