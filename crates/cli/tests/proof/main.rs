//! The program itself, killed, refused and short of space, thousands of times: whatever it acknowledged can be
//! restored bit for bit, and nobody had to help it.
//!
//! `cargo test` runs hundreds of kills. `LIFEBOAT_PROOF_KILLS=1000` runs that many, injects a failure at every
//! single system call instead of a choice of them, and fills 200 MB instead of a smaller place;
//! `LIFEBOAT_PROOF_SEED` runs another history. docs/reliability.md has what a campaign said.

mod dice;
mod full;
mod kills;
mod ledger;
mod nth_call;
mod operations;
#[path = "../cli/support.rs"]
#[allow(dead_code)] // the other tests of the program need all of it
mod support;
mod tree;
mod world;

/// What the environment asks for.
struct Campaign {
    /// Kills to reach in the random loop.
    kills: usize,
    /// Whether everything is tried instead of a choice.
    is_whole: bool,
    seed: u64,
}

impl Campaign {
    fn from_environment() -> Self {
        let number = |name: &str| {
            let text = std::env::var(name).ok()?;
            Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name}={text:?} is no number")))
        };
        let kills = number("LIFEBOAT_PROOF_KILLS");
        Campaign {
            kills: kills.unwrap_or(200) as usize,
            is_whole: kills.is_some(),
            seed: number("LIFEBOAT_PROOF_SEED").unwrap_or(1),
        }
    }
}

/// Prints a line past the capture of test output, so that a run leaves its figures in the log.
fn say(line: &str) {
    use std::io::Write;
    writeln!(std::io::stderr(), "proof: {line}").ok();
}
