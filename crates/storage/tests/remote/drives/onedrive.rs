//! OneDrive over Microsoft Graph: paths between colons, large uploads and all downloads at other addresses.

use super::{Asked, Service, answer, content, time_of};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Mutex;
use storage::WireAnswer;

/// Entries in one page; the real one has 200.
const PAGE: usize = 100;
const ROOT: &str = "/v1.0/me/drive/root";

/// Everything in it, by path; folders have none of their own.
#[derive(Default)]
pub(crate) struct OneDrive {
    files: Mutex<BTreeMap<String, (usize, Vec<u8>)>>,
    sessions: Mutex<BTreeMap<String, Vec<u8>>>,
}

fn item(path: &str, changed: usize, facet: (&str, Value), len: usize) -> Value {
    let (parent, name) = path.rsplit_once('/').unwrap();
    let mut shown = json!({
        "id": path, "name": name, "lastModifiedDateTime": time_of(changed), "eTag": format!("\"{changed}\""),
        "size": len, "parentReference": {"path": format!("/drive/root:{parent}"), "driveId": "d", "id": parent},
    });
    shown[facet.0] = facet.1;
    shown
}

fn file(path: &str, changed: usize, len: usize) -> Value {
    item(path, changed, ("file", json!({"mimeType": "application/octet-stream"})), len)
}

fn folder(path: &str) -> Value {
    item(path, 0, ("folder", json!({"childCount": 1})), 0)
}

fn missing() -> WireAnswer {
    answer(404, &json!({"error": {"code": "itemNotFound", "message": "The resource could not be found."}}))
}

impl OneDrive {
    fn put(&self, path: &str, bytes: Vec<u8>) -> WireAnswer {
        let mut files = self.files.lock().unwrap();
        let (changed, len) = (files.len() + 1, bytes.len());
        let status = if files.insert(path.to_owned(), (changed, bytes)).is_some() { 200 } else { 201 };
        answer(status, &file(path, changed, len))
    }

    fn look(&self, path: &str) -> WireAnswer {
        let files = self.files.lock().unwrap();
        let below = format!("{path}/");
        match files.get(path) {
            Some((changed, bytes)) => answer(200, &file(path, *changed, bytes.len())),
            None if files.keys().any(|known| known.starts_with(&below)) => answer(200, &folder(path)),
            None => missing(),
        }
    }

    fn children(&self, path: &str, page: usize) -> WireAnswer {
        let files = self.files.lock().unwrap();
        let below = format!("{path}/");
        let mut entries: BTreeMap<String, Value> = BTreeMap::new();
        for (known, (changed, bytes)) in files.iter().filter(|(known, _)| known.starts_with(&below)) {
            let shown = match known[below.len()..].split_once('/') {
                Some((first, _)) => folder(&format!("{below}{first}")),
                None => file(known, *changed, bytes.len()),
            };
            entries.insert(shown["id"].as_str().unwrap().to_owned(), shown);
        }
        if entries.is_empty() {
            return missing();
        }
        let shown: Vec<&Value> = entries.values().rev().skip(page).take(PAGE).collect();
        let mut list = json!({ "value": shown });
        let next = page + PAGE;
        if next < entries.len() {
            list["@odata.nextLink"] =
                json!(format!("https://graph.microsoft.com{ROOT}:{path}:/children?$skiptoken={next}"));
        }
        answer(200, &list)
    }

    fn send_to_download(&self, path: &str) -> WireAnswer {
        match self.files.lock().unwrap().contains_key(path) {
            false => missing(),
            true => WireAnswer {
                status: 302,
                headers: vec![("location".to_owned(), format!("https://one.download.test{path}"))],
                body: Vec::new(),
            },
        }
    }

    fn upload_part(&self, asked: &Asked) -> WireAnswer {
        let range = asked.header("content-range").unwrap().strip_prefix("bytes ").unwrap();
        let (part, total) = range.split_once('/').unwrap();
        let (start, end) = part.split_once('-').unwrap();
        let (start, end): (usize, usize) = (start.parse().unwrap(), end.parse().unwrap());
        let total: usize = total.parse().unwrap();
        assert_eq!(end + 1 - start, asked.body.len());
        let mut sessions = self.sessions.lock().unwrap();
        let gathered = sessions.entry(asked.path.clone()).or_default();
        assert_eq!(gathered.len(), start, "parts come in order");
        gathered.extend(&asked.body);
        match gathered.len() == total {
            false => answer(202, &json!({"nextExpectedRanges": [format!("{}-", end + 1)]})),
            true => self.put(&asked.path, sessions.remove(&asked.path).unwrap()),
        }
    }
}

impl Service for OneDrive {
    fn answer(&self, asked: &Asked) -> WireAnswer {
        match asked.host.as_str() {
            "one.download.test" => {
                return content(&self.files.lock().unwrap()[&asked.path].1, asked.header("range"));
            }
            "one.upload.test" => return self.upload_part(asked),
            host => assert_eq!(host, "graph.microsoft.com"),
        }
        let rest = asked.path.strip_prefix(ROOT).unwrap().trim_start_matches(':');
        let (path, action) = rest.split_once(":/").unwrap_or((rest, ""));
        match (asked.method.as_str(), action) {
            ("GET", "") => self.look(path),
            ("GET", "children") => {
                self.children(path, asked.option("$skiptoken").map_or(0, |page| page.parse().unwrap()))
            }
            ("GET", "content") => self.send_to_download(path),
            ("PUT", "content") => self.put(path, asked.body.clone()),
            ("POST", "createUploadSession") => {
                let url = format!("https://one.upload.test{path}");
                answer(200, &json!({"uploadUrl": url, "expirationDateTime": time_of(0)}))
            }
            ("DELETE", "") => match self.files.lock().unwrap().remove(path) {
                Some(_) => WireAnswer { status: 204, headers: Vec::new(), body: Vec::new() },
                None => missing(),
            },
            other => panic!("OneDrive does not know {other:?}"),
        }
    }

    fn too_fast(&self) -> WireAnswer {
        let mut answer =
            answer(429, &json!({"error": {"code": "activityLimitReached", "message": "Too many requests"}}));
        answer.headers.push(("retry-after".to_owned(), "1".to_owned()));
        answer
    }

    fn full(&self) -> WireAnswer {
        answer(
            507,
            &json!({"error": {"code": "quotaLimitReached", "message": "Insufficient Space Available"}}),
        )
    }

    fn is_upload(&self, asked: &Asked) -> bool {
        asked.method == "PUT"
    }
}
