//! The configuration as it may be kept elsewhere: without the secrets that stand in it.
//!
//! Everything else stays as it was written, comments too. Where a secret was stands `{ missing = true }`, which
//! says so when it is used. The addresses of who is told end with their host, also where they are only shown.

use super::document::{Kind, Node};
use super::later::names_a_secret;
use super::load::Loaded;
use super::secret::HIDDEN;
use serde_json::Value;
use std::ops::Range;

/// What stands where a secret was.
const MISSING: &str = "{ missing = true }";

/// The texts of the files, the main one first, without secrets.
pub fn without_secrets(loaded: &Loaded) -> Vec<String> {
    let mut found: Vec<(usize, Range<usize>, String)> = Vec::new();
    collect(&loaded.document, false, &mut found);
    for name in loaded.config.notify.keys() {
        if let Some(node) = loaded.document.find(&["notify", name, "url"])
            && let Kind::Text(url) = &node.kind
            && let Some(host) = without_path(url)
        {
            found.retain(|(file, span, _)| (*file, span) != (node.at.file, &node.at.span));
            found.push((
                node.at.file,
                node.at.span.clone(),
                format!("{:?}", without_password(&host, "").unwrap_or(host)),
            ));
        }
    }
    // From the end, so that what was found stays where it is.
    found.sort_by_key(|(file, span, _)| (*file, span.start));
    let mut texts: Vec<String> = loaded.files.iter().map(|file| file.text.clone()).collect();
    for (file, span, instead) in found.into_iter().rev() {
        texts[file].replace_range(span, &instead);
    }
    texts
}

/// Hides what is secret in the addresses of a configuration that is shown: passwords everywhere, and of who is told
/// everything behind the host.
pub(super) fn hide_in_addresses(config: &mut Value) {
    let notify = config.get_mut("notify").and_then(Value::as_object_mut);
    for url in notify.into_iter().flat_map(|all| all.values_mut()).filter_map(|one| one.get_mut("url")) {
        if let Some(host) = url.as_str().and_then(without_path) {
            *url = host.into();
        }
    }
    hide_passwords(config);
}

fn hide_passwords(value: &mut Value) {
    match value {
        Value::Object(object) => object.values_mut().for_each(hide_passwords),
        Value::Array(items) => items.iter_mut().for_each(hide_passwords),
        Value::String(text) => {
            if let Some(hidden) = without_password(text, HIDDEN) {
                *text = hidden;
            }
        }
        _ => {}
    }
}

/// Whether the address of a notifier was shown or stored without what is secret in it, and so leads nowhere.
pub fn lacks_its_path(url: &str) -> bool {
    url.ends_with(&format!("/{HIDDEN}"))
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
            if let Some(url) = without_password(text, "") {
                found.push((node.at.file, node.at.span.clone(), format!("{url:?}")));
            }
        }
        _ => {}
    }
}

/// The keys that say where a secret is.
const WHERE: [&str; 6] = ["credential", "file", "command", "env", "keyring", "missing"];

/// `scheme://user:password@host` as `scheme://user@host`, or with something instead of the password.
fn without_password(text: &str, instead: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (login, host) = authority.rsplit_once('@')?;
    let (user, _) = login.split_once(':').filter(|(_, password)| !password.is_empty())?;
    let colon = if instead.is_empty() { "" } else { ":" };
    Some(format!("{scheme}://{user}{colon}{instead}@{host}{path}"))
}

/// An address of the web with nothing behind its host: who is told is often named by a token there.
fn without_path(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://").filter(|(scheme, _)| scheme.starts_with("http"))?;
    let end = rest.find(['/', '?', '#'])?;
    (rest[end..].len() > 1).then(|| format!("{scheme}://{}/{HIDDEN}", &rest[..end]))
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
                    [notify.w]\ntype = \"webhook\"\nurl = \"https://x/T0/hunter2?k=hunter2\"\nheaders = { Authorization = \"hunter2\", X = { env = \"HUNTER\" } }\n";
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
        assert!(kept.contains("url = \"https://x/***\""), "{kept}");
        assert!(lacks_its_path("https://x/***") && !lacks_its_path("https://x/hook"));
        assert!(matches!(read(kept).config.repositories["a"].password, Some(crate::config::Secret::Missing)));
    }

    #[test]
    fn what_is_shown_hides_passwords_in_addresses_and_what_names_who_is_told() {
        let hidden = |url: &str| {
            let mut value = serde_json::json!({ "notify": { "n": { "url": url } }, "sources": [url] });
            hide_in_addresses(&mut value);
            let text = |value: &Value| value.as_str().unwrap().to_string();
            (text(&value["notify"]["n"]["url"]), text(&value["sources"][0]))
        };
        let of = |a: &str, b: &str| (a.to_string(), b.to_string());
        let told = "http://u:hunter2@h:8080/hook?x=1";
        assert_eq!(hidden(told), of("http://u:***@h:8080/***", "http://u:***@h:8080/hook?x=1"));
        let database = "postgresql://u:hunter2@h/x";
        assert_eq!(hidden(database), of("postgresql://u:***@h/x", "postgresql://u:***@h/x"));
        for plain in ["smtps://u@h:465", "https://h", "https://h/", "/a:b@c", "sftp://u@h/x"] {
            assert_eq!(hidden(plain), of(plain, plain));
        }
        assert_eq!(hidden("http://h/***").0, "http://h/***");
    }
}
