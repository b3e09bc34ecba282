//! Counted things in words: `1 file`, `2 files`.

use std::fmt::Display;

/// So many of a thing whose plural has an s at its end, or `ies` for a `y` after a consonant.
///
/// ```
/// use service::counts::count;
/// assert_eq!(count(1, "file"), "1 file");
/// assert_eq!(count(0, "copy"), "0 copies");
/// assert_eq!(count(2, "key"), "2 keys");
/// ```
pub fn count(n: impl Display + PartialEq + From<u8>, one: &str) -> String {
    if n == From::from(1) {
        return format!("{n} {one}");
    }
    let stem = one.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'o', 'u']));
    match stem {
        Some(stem) => format!("{n} {stem}ies"),
        None => format!("{n} {one}s"),
    }
}

/// So many of a thing with all that changes with the number.
///
/// ```
/// use service::counts::counted;
/// assert_eq!(counted(1, "snapshot stays", "snapshots stay"), "1 snapshot stays");
/// ```
pub fn counted(n: impl Display + PartialEq + From<u8>, one: &str, many: &str) -> String {
    let what = if n == From::from(1) { one } else { many };
    format!("{n} {what}")
}
