//! Walks the given paths and says how many entries a second that was: `walk_speed THREADS PATH... [-x PATTERN]...`.
//! `0` threads means inline; `-x` leaves out what a pattern matches.
#![expect(clippy::print_stdout, reason = "an example that reports")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use host::{Rules, Walk, WalkOptions, sources};

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let threads = arguments.next().and_then(|n| n.to_str()?.parse().ok()).unwrap_or(2);
    let folder = std::env::current_dir()?;
    let (mut paths, mut rules) = (Vec::<PathBuf>::new(), Rules::default());
    while let Some(argument) = arguments.next() {
        if argument == "-x" {
            let pattern = arguments.next().unwrap_or_default();
            rules.exclude(pattern.as_encoded_bytes(), "-x", false).map_err(std::io::Error::other)?;
        } else {
            paths.push(sources::absolute(&folder, Path::new(&argument))?);
        }
    }
    let started = Instant::now();
    let options = WalkOptions { threads, inline: threads == 0, ..Default::default() };
    let mut walk = Walk::start(&paths, Arc::new(rules), options)?;
    let (mut entries, mut listings, mut faults, mut bytes) = (0u64, 0u64, 0usize, 0u64);
    while let Some(listing) = walk.next() {
        listings += 1;
        entries += listing.entries.len() as u64;
        faults += listing.faults.len();
        bytes += listing.entries.iter().map(|entry| entry.stat.size_bytes).sum::<u64>();
    }
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{entries} entries in {listings} listings, {bytes} bytes, {faults} faults: {seconds:.3} s, {:.0} entries/s",
        entries as f64 / seconds
    );
    Ok(())
}
