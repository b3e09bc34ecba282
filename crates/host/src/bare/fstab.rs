//! The table of file systems, read and adapted: pure.

use std::collections::BTreeMap;

/// A line that names a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Where it is: `UUID=...`, `LABEL=...`, `/dev/...`.
    pub device: String,
    /// Where it is mounted; `none` for swap.
    pub mounted_at: String,
    /// Its type.
    pub kind: String,
    /// Options of the mount.
    pub options: String,
}

/// The lines that name file systems, without comments. Octal escapes in paths are undone.
pub fn parse(table: &str) -> Vec<Line> {
    let line = |line: &str| {
        let text = line.trim();
        if text.starts_with('#') {
            return None;
        }
        let mut words = text.split_whitespace();
        let mut next = || words.next();
        let (device, mounted_at, kind) = (next()?, next()?, next()?);
        let options = next().unwrap_or("defaults").to_string();
        Some(Line { device: unquoted(device), mounted_at: unescaped(mounted_at), kind: kind.into(), options })
    };
    table.lines().filter_map(line).collect()
}

fn unquoted(device: &str) -> String {
    device.replace('"', "")
}

fn unescaped(text: &str) -> String {
    let mut out = Vec::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let octal = bytes.get(at + 1..at + 4).and_then(|digits| std::str::from_utf8(digits).ok());
        match (bytes[at], octal.and_then(|digits| u8::from_str_radix(digits, 8).ok())) {
            (b'\\', Some(byte)) => {
                out.push(byte);
                at += 4;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The table with devices renamed as `new` says (old name to new one), and with the lines of devices in `gone` made
/// comments; everything else stays as it is written.
pub fn adapted(table: &str, new: &BTreeMap<String, String>, gone: &[String]) -> String {
    let mut out = String::new();
    for line in table.lines() {
        let device = line.split_whitespace().next().map(unquoted).filter(|word| !word.starts_with('#'));
        match device {
            Some(device) if gone.contains(&device) => {
                out.push_str("# not on this machine: ");
                out.push_str(line);
            }
            Some(device) if new.contains_key(&device) => {
                let rest = line.trim_start().split_once(char::is_whitespace).map_or("", |(_, rest)| rest);
                out.push_str(&format!("# was {device}\n{} {}", new[&device], rest.trim_start()));
            }
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "# /etc/fstab\nUUID=\"11-22\" / ext4 errors=remount-ro 0 1\n  /dev/sda2\tnone swap sw 0 0\n\
                         LABEL=old /mnt/my\\040disk xfs nofail 0 2\nproc /proc proc\n\n";

    #[test]
    fn a_table_is_read_and_only_what_must_change_is_changed() {
        let lines = parse(TABLE);
        let shown: Vec<(&str, &str)> =
            lines.iter().map(|line| (line.device.as_str(), line.mounted_at.as_str())).collect();
        assert_eq!(
            shown,
            [("UUID=11-22", "/"), ("/dev/sda2", "none"), ("LABEL=old", "/mnt/my disk"), ("proc", "/proc")]
        );
        assert_eq!(lines[3].options, "defaults");
        let new = BTreeMap::from([("/dev/sda2".to_string(), "UUID=33".to_string())]);
        assert_eq!(
            adapted(TABLE, &new, &["LABEL=old".to_string()]),
            "# /etc/fstab\nUUID=\"11-22\" / ext4 errors=remount-ro 0 1\n# was /dev/sda2\nUUID=33 none swap sw 0 0\n\
             # not on this machine: LABEL=old /mnt/my\\040disk xfs nofail 0 2\nproc /proc proc\n\n"
        );
        assert_eq!(adapted(TABLE, &BTreeMap::new(), &[]), TABLE);
    }
}
