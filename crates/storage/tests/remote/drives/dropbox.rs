//! Dropbox v2: one tree of paths, arguments in a header, refusals with 409 and a summary.

use super::{Asked, Service, answer, content, time_of};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Mutex;
use storage::WireAnswer;

/// Entries in one page; the real one has up to 2,000.
const PAGE: usize = 100;

/// Everything in it, by path; folders have none of their own.
#[derive(Default)]
pub(crate) struct Dropbox {
    files: Mutex<BTreeMap<String, (usize, Vec<u8>)>>,
}

fn refusal(summary: &str) -> WireAnswer {
    answer(409, &json!({"error_summary": format!("{summary}/..."), "error": {".tag": "path"}}))
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}

fn file(path: &str, changed: usize, len: usize, tag: bool) -> Value {
    let mut shown = json!({
        "name": name(path), "id": format!("id:{path}"), "path_lower": path, "path_display": path, "rev": "1",
        "client_modified": time_of(changed), "server_modified": time_of(changed), "size": len,
        "is_downloadable": true,
    });
    if tag {
        shown[".tag"] = json!("file");
    }
    shown
}

fn folder(path: &str) -> Value {
    json!({".tag": "folder", "name": name(path), "id": format!("id:{path}"), "path_lower": path, "path_display": path})
}

impl Dropbox {
    fn upload(&self, asked: &Asked) -> WireAnswer {
        let about: Value = serde_json::from_str(asked.header("dropbox-api-arg").unwrap()).unwrap();
        assert_eq!(about["mode"], "overwrite");
        let path = about["path"].as_str().unwrap().to_owned();
        let mut files = self.files.lock().unwrap();
        let changed = files.len() + 1;
        files.insert(path.clone(), (changed, asked.body.clone()));
        answer(200, &file(&path, changed, asked.body.len(), false))
    }

    fn download(&self, asked: &Asked) -> WireAnswer {
        let about: Value = serde_json::from_str(asked.header("dropbox-api-arg").unwrap()).unwrap();
        match self.files.lock().unwrap().get(about["path"].as_str().unwrap()) {
            Some((_, bytes)) => content(bytes, asked.header("range")),
            None => refusal("path/not_found"),
        }
    }

    fn metadata(&self, path: &str) -> WireAnswer {
        let files = self.files.lock().unwrap();
        let below = format!("{path}/");
        match files.get(path) {
            Some((changed, bytes)) => answer(200, &file(path, *changed, bytes.len(), true)),
            None if files.keys().any(|known| known.starts_with(&below)) => answer(200, &folder(path)),
            None => refusal("path/not_found"),
        }
    }

    fn delete(&self, path: &str) -> WireAnswer {
        match self.files.lock().unwrap().remove(path) {
            Some((changed, bytes)) => {
                answer(200, &json!({"metadata": file(path, changed, bytes.len(), true)}))
            }
            None => refusal("path_lookup/not_found"),
        }
    }

    fn list(&self, path: &str, page: usize) -> WireAnswer {
        let files = self.files.lock().unwrap();
        let below = format!("{path}/");
        let mut entries: BTreeMap<String, Value> = BTreeMap::new();
        for (known, (changed, bytes)) in files.iter().filter(|(known, _)| known.starts_with(&below)) {
            match known[below.len()..].split_once('/') {
                Some((first, _)) => {
                    entries.insert(format!("{below}{first}"), folder(&format!("{below}{first}")));
                }
                None => {
                    entries.insert(known.clone(), file(known, *changed, bytes.len(), true));
                }
            }
        }
        if entries.is_empty() {
            return refusal("path/not_found");
        }
        // Newest names first: nobody promises an order.
        let shown: Vec<&Value> = entries.values().rev().skip(page).take(PAGE).collect();
        let next = page + PAGE;
        answer(
            200,
            &json!({"entries": shown, "cursor": format!("{path}|{next}"), "has_more": next < entries.len()}),
        )
    }
}

impl Service for Dropbox {
    fn answer(&self, asked: &Asked) -> WireAnswer {
        let about = asked.json();
        let path = || about["path"].as_str().unwrap();
        match (asked.host.as_str(), asked.path.as_str()) {
            ("content.dropboxapi.com", "/2/files/upload") => self.upload(asked),
            ("content.dropboxapi.com", "/2/files/download") => self.download(asked),
            ("api.dropboxapi.com", "/2/files/get_metadata") => self.metadata(path()),
            ("api.dropboxapi.com", "/2/files/delete_v2") => self.delete(path()),
            ("api.dropboxapi.com", "/2/files/list_folder") => {
                assert_eq!(about["recursive"], false);
                self.list(path(), 0)
            }
            ("api.dropboxapi.com", "/2/files/list_folder/continue") => {
                let (path, page) = about["cursor"].as_str().unwrap().rsplit_once('|').unwrap();
                self.list(path, page.parse().unwrap())
            }
            other => panic!("Dropbox does not know {other:?}"),
        }
    }

    fn too_fast(&self) -> WireAnswer {
        answer(
            429,
            &json!({"error_summary": "too_many_requests/..", "error": {"reason": {".tag": "too_many_requests"}, "retry_after": 1}}),
        )
    }

    fn full(&self) -> WireAnswer {
        refusal("path/insufficient_space")
    }

    fn is_upload(&self, asked: &Asked) -> bool {
        asked.path == "/2/files/upload"
    }
}
