//! Numbers of bytes as people read and write them.

use crate::failure::{Failure, Outcome};
use engine::MemoryBudget;
use format::parity::PERCENT_MAX;

/// `1.234 GiB`, as restic shows it; whole bytes below 1 KiB.
pub fn shown(bytes: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    UNITS
        .iter()
        .find(|(_, shift)| bytes >> shift > 0)
        .map(|(unit, shift)| format!("{:.3} {unit}", bytes as f64 / (1u64 << shift) as f64))
        .unwrap_or_else(|| format!("{bytes} B"))
}

/// The number as [`parse`] reads it, without loss.
pub fn written(bytes: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("T", 40), ("G", 30), ("M", 20), ("K", 10)];
    let fits = |shift: u32| bytes > 0 && bytes.trailing_zeros() >= shift;
    match UNITS.iter().find(|(_, shift)| fits(*shift)) {
        Some((unit, shift)) => format!("{}{unit}", bytes >> shift),
        None => bytes.to_string(),
    }
}

/// Reads `500`, `10K`, `1.5M`, `2GiB`, `1T`: powers of 1024, whatever the letters' case.
pub fn parse(text: &str) -> Outcome<u64> {
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

/// Reads what a run may hold; too little is said, not silently raised.
pub fn parse_memory(text: &str) -> Result<MemoryBudget, String> {
    let bytes = parse(text).map_err(|failure| failure.to_string())?;
    if bytes < MemoryBudget::BYTES_MIN {
        return Err(format!("at least {} MiB are needed", MemoryBudget::BYTES_MIN >> 20));
    }
    Ok(MemoryBudget::new(bytes))
}

/// Reads `off`, `6%` or `6`: what share of a pack may be damaged and still be mended.
pub fn parse_parity(text: &str) -> Result<u8, String> {
    if text == "off" {
        return Ok(0);
    }
    let percent = text.trim_end_matches('%').trim().parse().ok().filter(|p| *p <= PERCENT_MAX);
    percent.ok_or_else(|| format!("write it like off, 3%, 6%, 10% or at most {PERCENT_MAX}%"))
}

/// The same in words.
pub fn shown_parity(percent: u8) -> String {
    match percent {
        0 => "off".to_string(),
        percent => format!("{percent}%"),
    }
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
        assert_eq!(
            ["off", "6%", "20", "21%", "-1", ""].map(|t| parse_parity(t).ok()),
            [Some(0), Some(6), Some(20), None, None, None]
        );
        assert_eq!([0, 6].map(shown_parity), ["off", "6%"]);
        assert_eq!(shown(1023), "1023 B");
        assert_eq!(shown(3 << 29), "1.500 GiB");
    }
}
