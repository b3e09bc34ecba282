//! Where a session's randomness comes from: one seed, drawn in a fixed order.
//!
//! Equal seeds and equal input make equal objects, whatever threads do meanwhile. The seed itself comes
//! from outside: the operating system in the program, a number in a simulation.

/// A stream of random values.
#[derive(Clone)]
pub struct Seed {
    reader: blake3::OutputReader,
}

impl Seed {
    /// The stream of this seed.
    pub fn new(seed: [u8; 32]) -> Self {
        Seed {
            reader: blake3::Hasher::new_derive_key("lifeboat 2026 session randomness")
                .update(&seed)
                .finalize_xof(),
        }
    }

    /// The next `N` bytes.
    pub fn draw<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.reader.fill(&mut out);
        out
    }
}
