//! Which packs a restore will read, before it reads any: packs in a cold class must be thawed first.

use super::{Context, RestoreRequest, plan};
use crate::monitor::Silent;
use crate::restore::tell::Teller;
use format::id::PackId;
use repo::RepoResult;
use repo::reader::Reader;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The packs of contents that a restore would read now, at most: what the target holds already needs none, and a
/// file that is there and differs may need fewer. Reads trees and the target, none of these packs.
///
/// # Errors
/// As [`super::restore`], for what is read here.
pub fn packs_needed(reader: &Arc<Reader>, request: &RestoreRequest<'_>) -> RepoResult<BTreeSet<PackId>> {
    let request = RestoreRequest { dry_run: true, ..request.clone() };
    let ctx = Context::open(reader, &request, None, Teller::new(&Silent, 0, 0))?;
    let top = ctx.target.as_ref().map(|target| target.top().clone());
    let needed = plan::Planner::start(&ctx, top, false)?.packs()?;
    ctx.tell.take_fatal()?;
    Ok(needed)
}
