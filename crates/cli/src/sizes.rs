//! Numbers of bytes as people read and write them.

use crate::error::{Failure, Outcome};

/// `1.234 GiB`, as restic shows it; whole bytes below 1 KiB.
pub(crate) fn shown(bytes: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    UNITS
        .iter()
        .find(|(_, shift)| bytes >> shift > 0)
        .map(|(unit, shift)| format!("{:.3} {unit}", bytes as f64 / (1u64 << shift) as f64))
        .unwrap_or_else(|| format!("{bytes} B"))
}

/// Reads `500`, `10K`, `1.5M`, `2GiB`, `1T`: powers of 1024, whatever the letters' case.
pub(crate) fn parse(text: &str) -> Outcome<u64> {
    let wrong =
        || Failure::usage(format!("{text:?} is not a number of bytes")).hint("write it like 512K, 10M or 2G");
    let lower = text.trim().to_ascii_lowercase();
    let number = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match lower[number.len()..].trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(wrong()),
    };
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    let bytes = number * (1u64 << shift) as f64;
    if number.is_finite() && (0.0..1.8e19).contains(&bytes) { Ok(bytes as u64) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        assert_eq!(parse("10K").unwrap(), 10 << 10);
        assert_eq!(parse("1.5GiB").unwrap(), 3 << 29);
        assert_eq!(parse("7b").unwrap(), 7);
        assert!(parse("ten").is_err() && parse("-1").is_err() && parse("1x").is_err());
        assert_eq!(shown(1023), "1023 B");
        assert_eq!(shown(3 << 29), "1.500 GiB");
    }
}
