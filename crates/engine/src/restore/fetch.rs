//! Fetching blocks from places where every request costs a round trip: near ranges are merged.

use super::Context;
use super::execute::Ticket;
use super::window::{BlockRange, NOWHERE, Window};
use format::id::{BlobKind, PackId};
use repo::names;
use std::collections::HashMap;
use std::ops::Range;

/// Reading this much for nothing is cheaper than another request.
const GAP_BYTES_MAX: u64 = 256 << 10;
/// A pack of which this share is wanted is read through.
const WHOLE_PACK_PERCENT: u64 = 60;
/// Largest request: several are in flight, and all are in memory.
const REQUEST_BYTES_MAX: u64 = 4 << 20;

/// Blocks that lie near each other.
pub(super) struct Wanted {
    pack: Option<PackId>,
    /// Where in the pack; `None` for pieces that are in no known pack.
    pub(super) range: Option<Range<u64>>,
    pub(super) blocks: Vec<BlockRange>,
}

/// A request to make.
pub(super) struct Fetch {
    pub(super) ticket: Ticket,
    pub(super) wanted: Wanted,
}

/// Bytes of a pack from an offset on.
pub(super) struct FetchedBytes {
    pub(super) from: u64,
    pub(super) bytes: Vec<u8>,
}

/// Fetched blocks. Without bytes each block is read on its own, which tells what is wrong.
pub(super) struct Stored {
    pub(super) ticket: Ticket,
    pub(super) bytes: Option<FetchedBytes>,
    pub(super) blocks: Vec<BlockRange>,
}

/// Merges the blocks of a window into requests, in order.
pub(super) fn plan_fetches(ctx: &Context<'_>, window: &Window) -> Vec<Wanted> {
    let blocks = window.blocks();
    let mut wanted_bytes: HashMap<u32, u64> = HashMap::new();
    for block in &blocks {
        let piece = &window.pieces[block.start as usize];
        *wanted_bytes.entry(piece.pack).or_default() += piece.block.stored_bytes as u64;
    }
    let pack_bytes = ctx.reader.repo().parameters().pack_bytes;
    let mut requests: Vec<Wanted> = Vec::new();
    for block in blocks {
        let piece = &window.pieces[block.start as usize];
        let from = piece.block.offset as u64;
        let range = from..from + piece.block.stored_bytes as u64;
        let pack = (piece.pack != NOWHERE).then(|| window.packs[piece.pack as usize]);
        let through = wanted_bytes[&piece.pack] * 100 >= pack_bytes * WHOLE_PACK_PERCENT;
        let gap_max = if through { u64::MAX } else { GAP_BYTES_MAX };
        match requests.last_mut() {
            Some(Wanted { pack: last, range: Some(open), blocks }) if *last == pack => {
                let near = range.start.saturating_sub(open.end) <= gap_max;
                if near && range.start >= open.end && range.end - open.start <= REQUEST_BYTES_MAX {
                    open.end = range.end;
                    blocks.push(block);
                    continue;
                }
            }
            _ => {}
        }
        let range = pack.is_some().then_some(range);
        requests.push(Wanted { pack, range, blocks: vec![block] });
    }
    requests
}

/// Makes a request.
pub(super) fn fetch(ctx: &Context<'_>, fetch: Fetch) -> Stored {
    let Fetch { ticket, wanted } = fetch;
    let mut bytes = None;
    if let (Some(pack), Some(range), false) = (&wanted.pack, wanted.range, ctx.tell.stopped()) {
        let name = names::pack(BlobKind::Data, pack);
        let from = range.start;
        let fetched = match ctx.reader.is_away() {
            true => None,
            false => ctx.reader.repo().store().get_range(&name, range).ok(),
        };
        bytes = fetched.map(|bytes| FetchedBytes { from, bytes });
    }
    Stored { ticket, bytes, blocks: wanted.blocks }
}
