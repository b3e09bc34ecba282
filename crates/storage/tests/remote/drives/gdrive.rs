//! Google Drive v3: files have ids, names may be there twice, and what was just made is found late.

use super::{Asked, Service, answer, content, time_of};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use storage::WireAnswer;

const FOLDER: &str = "application/vnd.google-apps.folder";
/// Files in one page; the real one has 1,000.
const PAGE: usize = 100;

#[derive(Clone)]
struct File {
    name: String,
    parent: String,
    is_folder: bool,
    is_trashed: bool,
    bytes: Vec<u8>,
    /// Number of the change that made or replaced it.
    changed: usize,
    /// Searches see it from this one on.
    found_from: usize,
}

/// Everything on the drive.
#[derive(Default)]
pub(crate) struct Drive {
    files: Mutex<BTreeMap<String, File>>,
    changes: AtomicUsize,
    searches: AtomicUsize,
    /// So many searches pass before a new file is found.
    pub(crate) found_late: AtomicUsize,
}

impl Drive {
    /// Names of all files that are not in the trash, folders left out.
    pub(crate) fn names(&self) -> Vec<String> {
        let files = self.files.lock().unwrap();
        files
            .values()
            .filter(|file| !file.is_folder && !file.is_trashed)
            .map(|file| file.name.clone())
            .collect()
    }

    /// Makes a second file with the name and contents of the first that has this name.
    pub(crate) fn double(&self, name: &str) {
        let file = self.files.lock().unwrap().values().find(|file| file.name == name).unwrap().clone();
        self.add(File { found_from: 0, ..file });
    }

    fn add(&self, mut file: File) -> String {
        file.changed = self.changes.fetch_add(1, Ordering::SeqCst) + 1;
        let id = format!("id{:06}", file.changed);
        self.files.lock().unwrap().insert(id.clone(), file);
        id
    }

    fn fresh(&self, name: &str, parent: &str, is_folder: bool, bytes: Vec<u8>) -> String {
        let found_from = self.searches.load(Ordering::SeqCst) + self.found_late.load(Ordering::SeqCst);
        let (name, parent) = (name.to_owned(), parent.to_owned());
        self.add(File { name, parent, is_folder, is_trashed: false, bytes, changed: 0, found_from })
    }

    fn shown(&self, id: &str) -> Value {
        let files = self.files.lock().unwrap();
        let file = &files[id];
        let mut shown = json!({
            "id": id, "name": file.name, "parents": [file.parent], "modifiedTime": time_of(file.changed),
            "mimeType": if file.is_folder { FOLDER } else { "application/octet-stream" },
        });
        if !file.is_folder {
            shown["size"] = json!(file.bytes.len().to_string());
        }
        shown
    }

    fn search(&self, asked: &Asked) -> WireAnswer {
        let now = self.searches.fetch_add(1, Ordering::SeqCst);
        let wanted = Query::read(asked.option("q").unwrap());
        let mut found: Vec<(usize, String)> = {
            let files = self.files.lock().unwrap();
            let fits = |file: &File| file.found_from <= now && wanted.fits(file);
            files.iter().filter(|(_, file)| fits(file)).map(|(id, file)| (file.changed, id.clone())).collect()
        };
        // In no order that anybody could rely on, unless one was asked for.
        found.sort_by_key(|(changed, _)| changed.wrapping_mul(0x9e37_79b9) % 1_000_003);
        if asked.option("orderBy").is_some_and(|order| order.starts_with("modifiedTime desc")) {
            found.sort_by_key(|(changed, _)| std::cmp::Reverse(*changed));
        }
        let page: usize = asked.option("pageToken").map_or(0, |token| token.parse().unwrap());
        let size: usize = asked.option("pageSize").unwrap().parse().unwrap();
        let size = size.min(PAGE);
        let files: Vec<Value> = found.iter().skip(page).take(size).map(|(_, id)| self.shown(id)).collect();
        let mut shown = json!({ "files": files });
        if page + size < found.len() {
            shown["nextPageToken"] = json!((page + size).to_string());
        }
        answer(200, &shown)
    }

    fn create(&self, asked: &Asked) -> WireAnswer {
        let about = asked.json();
        assert_eq!(about["mimeType"], FOLDER, "only folders are made without contents");
        answer(
            200,
            &self.shown(&self.fresh(text(&about["name"]), text(&about["parents"][0]), true, Vec::new())),
        )
    }

    fn upload_new(&self, asked: &Asked) -> WireAnswer {
        let (about, bytes) = parts(asked);
        let about: Value = serde_json::from_slice(&about).unwrap();
        answer(200, &self.shown(&self.fresh(text(&about["name"]), text(&about["parents"][0]), false, bytes)))
    }

    fn with(&self, id: &str, change: impl FnOnce(&mut File)) -> WireAnswer {
        let changed = self.changes.fetch_add(1, Ordering::SeqCst) + 1;
        match self.files.lock().unwrap().get_mut(id).filter(|file| !file.is_trashed) {
            None => return missing(id),
            Some(file) => {
                file.changed = changed;
                change(file);
            }
        }
        answer(200, &self.shown(id))
    }

    fn read(&self, id: &str, asked: &Asked) -> WireAnswer {
        let file = self.files.lock().unwrap().get(id).cloned();
        match (file, asked.option("alt")) {
            (None, _) => missing(id),
            (Some(file), Some("media")) => content(&file.bytes, asked.header("range")),
            _ => answer(200, &self.shown(id)),
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn missing(id: &str) -> WireAnswer {
    answer(
        404,
        &json!({"error": {"code": 404, "message": format!("File not found: {id}."), "errors": [{"reason": "notFound"}]}}),
    )
}

/// The two parts of an upload that brings a name along.
fn parts(asked: &Asked) -> (Vec<u8>, Vec<u8>) {
    let kind = asked.header("content-type").unwrap();
    let boundary = kind.split("boundary=").nth(1).unwrap().trim_matches('"');
    let mark = format!("--{boundary}").into_bytes();
    let at = |from: usize| {
        asked.body[from..].windows(mark.len()).position(|bytes| bytes == mark).map(|at| at + from)
    };
    let first = at(0).unwrap();
    let second = at(first + 1).unwrap();
    let third = (0..asked.body.len()).rev().find(|at| asked.body[*at..].starts_with(&mark)).unwrap();
    let part = |from: usize, to: usize| {
        let bytes = &asked.body[from + mark.len() + 2..to - 2];
        let start = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        bytes[start..].to_vec()
    };
    (part(first, second), part(second, third))
}

/// `name = 'x' and 'id' in parents and trashed = false and mimeType = '...'`
struct Query {
    name: Option<String>,
    parents: Vec<String>,
    folders_only: bool,
}

impl Query {
    fn read(text: &str) -> Self {
        let mut query = Self { name: None, parents: Vec::new(), folders_only: false };
        for term in text.split(" and ").flat_map(|term| term.trim_matches(['(', ')']).split(" or ")) {
            let quoted = || term.split('\'').nth(1).unwrap().to_owned();
            match term {
                _ if term.starts_with("name = ") => query.name = Some(quoted()),
                _ if term.ends_with(" in parents") => query.parents.push(quoted()),
                _ if term.starts_with("mimeType = ") => query.folders_only = true,
                "trashed = false" => {}
                _ => panic!("the drive does not know the term {term:?}"),
            }
        }
        query
    }

    fn fits(&self, file: &File) -> bool {
        !file.is_trashed
            && self.name.as_ref().is_none_or(|name| *name == file.name)
            && self.parents.contains(&file.parent)
            && (!self.folders_only || file.is_folder)
    }
}

impl Service for Arc<Drive> {
    fn answer(&self, asked: &Asked) -> WireAnswer {
        assert_eq!(asked.host, "www.googleapis.com");
        let id = asked.path.rsplit('/').next().unwrap();
        match (asked.method.as_str(), asked.path.as_str()) {
            ("GET", "/drive/v3/files") => self.search(asked),
            ("POST", "/drive/v3/files") => self.create(asked),
            ("POST", "/upload/drive/v3/files") => self.upload_new(asked),
            ("PATCH", path) if path.starts_with("/upload/") => {
                self.with(id, |file| file.bytes = asked.body.clone())
            }
            ("PATCH", _) => {
                assert_eq!(asked.json(), json!({"trashed": true}));
                self.with(id, |file| file.is_trashed = true)
            }
            ("GET", _) => self.read(id, asked),
            other => panic!("the drive does not know {other:?}"),
        }
    }

    fn too_fast(&self) -> WireAnswer {
        let reason = json!({"domain": "usageLimits", "reason": "userRateLimitExceeded"});
        let message = "User Rate Limit Exceeded. Rate of requests for user exceed configured project quota.";
        answer(403, &json!({"error": {"code": 403, "message": message, "errors": [reason]}}))
    }

    fn full(&self) -> WireAnswer {
        let reason = json!({"domain": "global", "reason": "storageQuotaExceeded"});
        let message = "The user's Drive storage quota has been exceeded.";
        answer(403, &json!({"error": {"code": 403, "message": message, "errors": [reason]}}))
    }

    fn is_upload(&self, asked: &Asked) -> bool {
        asked.path.starts_with("/upload/")
    }
}
