//! The configuration as it may be kept elsewhere: without the secrets that stand in it.
//!
//! Everything else stays as it was written, comments too. Where a secret was stands `{ missing = true }`, which
//! says so when it is used.

use super::document::{Kind, Node};
use super::later::names_a_secret;
use super::load::Loaded;
use std::ops::Range;

/// What stands where a secret was.
const MISSING: &str = "{ missing = true }";

/// The texts of the files, the main one first, without secrets.
pub fn without_secrets(loaded: &Loaded) -> Vec<String> {
    let mut found: Vec<(usize, Range<usize>, String)> = Vec::new();
    collect(&loaded.document, false, &mut found);
    // From the end, so that what was found stays where it is.
    found.sort_by_key(|(file, span, _)| (*file, span.start));
    let mut texts: Vec<String> = loaded.files.iter().map(|file| file.text.clone()).collect();
    for (file, span, instead) in found.into_iter().rev() {
        texts[file].replace_range(span, &instead);
    }
    texts
}

fn collect(node: &Node, is_secret: bool, found: &mut Vec<(usize, Range<usize>, String)>) {
    match &node.kind {
        Kind::Table(table) => {
            // A table where a secret may be says where it is; its own texts are names and paths.
            let holds_secrets = |key: &str| names_a_secret(key) && key != "key_file";
            table.iter().for_each(|(key, (_, below))| {
                let is_header = is_secret && !WHERE.contains(&key.as_str());
                collect(below, holds_secrets(key) || is_header, found);
            });
        }
        Kind::List(items) => items.iter().for_each(|item| collect(item, false, found)),
        Kind::Text(_) if is_secret => found.push((node.at.file, node.at.span.clone(), MISSING.to_string())),
        Kind::Text(text) => {
            if let Some(url) = without_password(text) {
                found.push((node.at.file, node.at.span.clone(), format!("{url:?}")));
            }
        }
        _ => {}
    }
}

/// The keys that say where a secret is.
const WHERE: [&str; 6] = ["credential", "file", "command", "env", "keyring", "missing"];

/// `scheme://user:password@host` as `scheme://user@host`.
fn without_password(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (login, host) = authority.rsplit_once('@')?;
    let (user, _) = login.split_once(':')?;
    Some(format!("{scheme}://{user}@{host}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::understand;
    use crate::config::problem::SourceFile;
    use std::path::Path;

    #[test]
    fn secrets_are_gone_and_the_rest_is_as_it_was() {
        let text = "# mine\n[repositories.a]\nurl = \"/a\" # here\npassword = \"hunter2\"\n[repositories.b]\nurl = \"/b\"\n\
                    password = { file = \"/etc/secret\" }\n[sources.db]\ntype = \"mysql\"\nurl = \"mysql://me:hunter2@db/x\"\n\
                    [notify.w]\ntype = \"webhook\"\nurl = \"https://x/\"\nheaders = { Authorization = \"hunter2\", X = { env = \"HUNTER\" } }\n";
        let read = |text: &str| {
            let file = SourceFile { path: "lifeboat.toml".into(), text: text.into() };
            understand(vec![file], Path::new("/")).unwrap_or_else(|broken| panic!("{:?}", broken.problems))
        };
        let [kept] = &without_secrets(&read(text))[..] else { panic!("one file") };
        assert!(!kept.contains("hunter2"), "{kept}");
        assert!(
            kept.starts_with(
                "# mine\n[repositories.a]\nurl = \"/a\" # here\npassword = { missing = true }\n"
            )
        );
        assert!(
            kept.contains("{ file = \"/etc/secret\" }") && kept.contains("{ env = \"HUNTER\" }"),
            "{kept}"
        );
        assert!(kept.contains("\"mysql://me@db/x\""), "{kept}");
        assert!(matches!(read(kept).config.repositories["a"].password, Some(crate::config::Secret::Missing)));
    }
}
