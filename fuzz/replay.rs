//! How tests replay the corpora: every kept input, every beginning of it, and every byte of it changed, each
//! within its bounds. What a campaign finds is added to `corpus/<target>/`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What is fed.
pub(crate) type Target = fn(&[u8]);

/// None may take longer for one input.
const TIME_MAX: Duration = Duration::from_secs(5);
/// Nor may they, all together, ever hold more.
const MEMORY_MAX_KIB: u64 = 256 << 10;
/// Changed inputs tried of one kept input.
const CHANGES_MAX: usize = 400;
/// Inputs made by chance of each target.
const ROUNDS: usize = 1_000;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

/// Where the inputs are.
pub(crate) fn corpus() -> PathBuf {
    fuzz().join("corpus")
}

fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

/// The targets that feed functions of a module of the fuzz crate.
fn targets_of(module: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(fuzz().join("fuzz_targets")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mark = format!("fuzz::{module}::");
    let fits = |path: &PathBuf| std::fs::read_to_string(path).unwrap().contains(&mark);
    paths.filter(fits).map(|path| path.file_stem().unwrap().to_str().unwrap().to_string()).collect()
}

/// Replays the corpora of all targets of a module.
pub(crate) fn all(module: &str, targets: &[(&str, Target)]) {
    let named: BTreeSet<String> = targets.iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(targets_of(module), named, "a target without a replay, or the other way round");
    for (name, target) in targets {
        let entries = std::fs::read_dir(corpus().join(name)).unwrap();
        let mut inputs: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        inputs.sort();
        assert!(!inputs.is_empty(), "{name} has no inputs");
        let kept: Vec<Vec<u8>> = inputs.iter().map(|path| std::fs::read(path).unwrap()).collect();
        for (path, input) in inputs.iter().zip(&kept) {
            replay(path, *target, input);
        }
        stir(name, *target, &kept);
    }
    let peak = peak_memory_kib();
    assert!(peak < MEMORY_MAX_KIB, "{peak} KiB at most");
}

/// Changed and mixed inputs of each target, by chance that is the same each time. More with
/// `LIFEBOAT_FUZZ_ROUNDS=1000000`: no match for a fuzzer that sees which lines run, but at hand everywhere.
fn stir(name: &str, target: Target, kept: &[Vec<u8>]) {
    let rounds = std::env::var("LIFEBOAT_FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok());
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    for _ in 0..rounds.unwrap_or(ROUNDS) {
        let mut input = kept[chance.below(kept.len())].clone();
        for _ in 0..=chance.below(4) {
            change(&mut input, &kept[chance.below(kept.len())], &mut chance);
        }
        input.truncate(1 << 16);
        let start = Instant::now();
        let ended = std::panic::catch_unwind(|| target(&input));
        assert!(ended.is_ok(), "{name} fails with {}", input.escape_ascii());
        assert!(start.elapsed() < TIME_MAX, "{name} takes long for {}", input.escape_ascii());
    }
}

/// Cuts out, doubles, mixes in, or overwrites a part.
fn change(input: &mut Vec<u8>, other: &[u8], chance: &mut Chance) {
    let from = chance.below(input.len() + 1);
    let len = chance.below(input.len() - from + 1).min(1 << chance.below(8));
    let part: Vec<u8> = match chance.below(4) {
        0 => Vec::new(),
        1 => input[from..from + len].repeat(2),
        2 => {
            let at = chance.below(other.len() + 1);
            other[at..].iter().copied().take(1 << chance.below(8)).collect()
        }
        _ => (0..len.max(1)).map(|_| ODD_BYTES[chance.below(ODD_BYTES.len())]).collect(),
    };
    input.splice(from..from + len, part);
}

/// Bytes that mean something to one reader or another.
const ODD_BYTES: &[u8] = b"\0\x01\x7f\x80\xff \t\r\n!\"#$%&'*+,-./0123456789:;=?@AZ[\\]^_`az{|}~";

/// Numbers without a pattern, always the same (xorshift64*, Vigna 2016).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as usize % limit
    }
}

fn replay(path: &Path, target: Target, input: &[u8]) {
    let call = |bytes: &[u8], what: &str| {
        let start = Instant::now();
        target(bytes);
        let took = start.elapsed();
        assert!(took < TIME_MAX, "{} {what} took {took:?}", path.display());
    };
    call(input, "as it is");
    let step = input.len().div_ceil(CHANGES_MAX).max(1);
    for at in (0..input.len()).step_by(step) {
        call(&input[..at], "cut");
        for change in [0xff, 0x80, 0x01] {
            let mut changed = input.to_vec();
            changed[at] ^= change;
            call(&changed, "changed");
        }
    }
}
