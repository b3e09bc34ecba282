//! Untrusted names as text: what a terminal may show, and what JSON may hold.
//!
//! Names come from other people's disks. Control characters, what turns the direction of text round, and
//! bytes that are no UTF-8 are escaped, so that a name can neither steer a terminal nor look like another.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use std::fmt;

/// A name or path made safe for terminals.
pub struct DisplayName<'a>(pub &'a [u8]);

impl fmt::Display for DisplayName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            let mut plain_from = 0;
            for (at, c) in chunk.valid().char_indices() {
                if is_treacherous(c) {
                    f.write_str(&chunk.valid()[plain_from..at])?;
                    escape(f, c)?;
                    plain_from = at + c.len_utf8();
                }
            }
            f.write_str(&chunk.valid()[plain_from..])?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

fn escape(f: &mut fmt::Formatter<'_>, c: char) -> fmt::Result {
    match c {
        '\n' => f.write_str("\\n"),
        '\t' => f.write_str("\\t"),
        '\r' => f.write_str("\\r"),
        c if c.is_ascii() => write!(f, "\\x{:02x}", u32::from(c)),
        c => write!(f, "\\u{{{:x}}}", u32::from(c)),
    }
}

/// Control characters (C0, DEL, C1), marks that turn the direction of text, line and paragraph separators,
/// and characters that show as nothing.
fn is_treacherous(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Text of unknown origin made safe for terminals.
pub fn safe(text: &str) -> String {
    DisplayName(text.as_bytes()).to_string()
}

/// Puts a path into an object: as text under `key`, and in full under `key_bytes` where it is not UTF-8.
pub fn insert_path(object: &mut Map<String, Value>, key: &str, path: &[u8]) {
    object.insert(key.into(), String::from_utf8_lossy(path).into());
    if std::str::from_utf8(path).is_err() {
        object.insert(format!("{key}_bytes"), STANDARD.encode(path).into());
    }
}

/// A word as a shell takes it.
pub fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:@%+=,~".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_string(),
        false => format!("'{}'", safe(text).replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_steer_a_terminal() {
        let shown = |name: &[u8]| DisplayName(name).to_string();
        assert_eq!(shown(b"plain \xc3\xa4"), "plain ä");
        assert_eq!(shown(b"a\x1b[31mred\x07\n\x7f"), "a\\x1b[31mred\\x07\\n\\x7f");
        assert_eq!(shown("exe.\u{202e}txt\u{9b}1m".as_bytes()), "exe.\\u{202e}txt\\u{9b}1m");
        assert_eq!(shown(b"latin\xe4one"), "latin\\xe4one");
    }

    #[test]
    fn json_keeps_every_byte() {
        let mut object = Map::new();
        insert_path(&mut object, "path", b"/a\xff");
        assert_eq!(Value::Object(object).to_string(), r#"{"path":"/a�","path_bytes":"L2H/"}"#);
    }

    #[test]
    fn words_are_quoted_for_shells() {
        assert_eq!(shell_word("/srv/backup"), "/srv/backup");
        assert_eq!(shell_word("my disk's"), r"'my disk'\''s'");
    }
}
