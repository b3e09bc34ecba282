//! What every event of the JSON stream carries besides what it is about: `v`, `seq`, `time`, `machine` and `run_id`.
//!
//! Whoever reads several streams, or one that was cut off, can tell them apart and put them into order. Lists and entries of
//! snapshots are results and no events: they have what restic gives them, and no envelope.

use crate::session::host_name;
use crate::{credentials, time};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The version of the stream. Fields and types that a reader does not know are to be passed over.
const VERSION: u64 = 1;

/// Entries of lists, of which there may be millions.
const RESULTS: [&str; 4] = ["node", "version", "change", "explanation"];

/// Numbers the events of a run of the program.
#[derive(Clone)]
pub(crate) struct Envelope {
    run: Arc<str>,
    machine: Arc<str>,
    next: Arc<AtomicU64>,
}

impl Envelope {
    /// A run begins.
    pub(crate) fn new() -> Self {
        // One without randomness is still told apart by its time.
        let run: [u8; 8] = credentials::random().unwrap_or_default();
        Envelope {
            run: format::id::hex(&run).into(),
            machine: host_name().into(),
            next: Arc::new(AtomicU64::new(1)),
        }
    }

    /// An event in its envelope; what an object says itself stays.
    pub(crate) fn around(&self, value: &Value) -> Value {
        let Value::Object(object) = value else { return value.clone() };
        match object.get("message_type").and_then(Value::as_str) {
            None => value.clone(),
            Some(kind) if RESULTS.contains(&kind) => value.clone(),
            Some(_) => self.around_event(object),
        }
    }

    fn around_event(&self, object: &Map<String, Value>) -> Value {
        let mut event = Map::new();
        event.insert("v".into(), VERSION.into());
        event.insert("seq".into(), self.next.fetch_add(1, Ordering::Relaxed).into());
        event.insert("time".into(), time::rfc3339(time::now()).into());
        event.insert("machine".into(), self.machine.as_ref().into());
        // A run of a job has a name of its own in the catalog.
        let run = object.get("run").and_then(Value::as_str).unwrap_or(&self.run);
        event.insert("run_id".into(), run.into());
        event.extend(object.clone());
        event.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_are_numbered_and_results_stay_as_they_are() {
        let envelope = Envelope::new();
        for result in [json!([1]), json!({"id": "x"}), json!({"message_type": "node", "name": "a"})] {
            assert_eq!(envelope.around(&result), result);
        }
        let first = envelope.around(&json!({"message_type": "status", "machine": "other"}));
        let second = envelope.around(&json!({"message_type": "summary"}));
        assert_eq!((&first["seq"], &second["seq"], &first["v"]), (&1.into(), &2.into(), &1.into()));
        assert_eq!((&first["machine"], &first["run_id"]), (&"other".into(), &second["run_id"]));
        assert!(second["time"].as_str().is_some_and(|time| time.contains('T')));
    }
}
