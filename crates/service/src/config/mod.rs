//! `lifeboat.toml`: everything that is protected, described in one file.
//!
//! The types here are the file; their comments are its reference; their schema is what editors get and what
//! a file is compared with. A [`Config`] has passed all of that: what it names exists in it, what it says
//! can be read. See [`load`] for how it comes about.

pub mod derived;
pub mod document;
pub mod jobs;
pub mod last_good;
mod later;
pub mod lint;
pub mod load;
pub mod place;
pub mod places;
pub mod problem;
pub mod redact;
pub mod reference_page;
mod references;
pub mod secret;
pub mod sources;
pub(crate) mod tagged;
pub mod values;
mod versions;
mod walk;
pub mod watch;

pub use derived::Derived;
pub use jobs::{
    Hook, HookEvent, Job, Maintenance, ModeChoice, OnFailure, Retention, RetentionPolicy, Verify,
};
pub use last_good::LastGood;
pub use load::{Broken, Loaded, find, load};
pub use places::{Goals, Machine, Repository, Thaw};
pub use problem::{Grade, Problem};
pub use secret::Secret;
pub use sources::{Criticality, Defaults, Source};
pub use watch::{Alerts, Contact, Daemon, Drill, Notify, Plan};

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// The version of the file format that this program reads and writes.
pub const VERSION: i64 = versions::NEWEST;

/// The whole configuration.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// Version of the file format.
    #[schemars(range(min = 1, max = 1))]
    pub version: i64,
    /// Who this machine is.
    pub machine: Machine,
    /// What "protected" means.
    pub goals: Goals,
    /// Where copies lie, by name.
    pub repositories: BTreeMap<String, Repository>,
    /// What holds for all sources of a kind.
    pub defaults: Defaults,
    /// What is protected, by name.
    pub sources: BTreeMap<String, Source>,
    /// What is read together, and where its copies go, by name.
    pub jobs: BTreeMap<String, Job>,
    /// What is kept of what.
    pub retention: Retention,
    /// Forgetting and freeing space.
    pub maintenance: Maintenance,
    /// Reading again what is stored.
    pub verify: Verify,
    /// Test restores, by name.
    pub drills: BTreeMap<String, Drill>,
    /// Who is told, by name.
    pub notify: BTreeMap<String, Notify>,
    /// Who is told of what.
    pub alerts: Alerts,
    /// Commands around runs.
    pub hooks: Vec<Hook>,
    /// The program that runs all this.
    pub daemon: Daemon,
    /// What the recovery plan says besides.
    pub plan: Plan,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            version: VERSION,
            machine: Machine::default(),
            goals: Goals::default(),
            repositories: BTreeMap::new(),
            defaults: Defaults::default(),
            sources: BTreeMap::new(),
            jobs: BTreeMap::new(),
            retention: Retention::default(),
            maintenance: Maintenance::default(),
            verify: Verify::default(),
            drills: BTreeMap::new(),
            notify: BTreeMap::new(),
            alerts: Alerts::default(),
            hooks: Vec::new(),
            daemon: Daemon::default(),
            plan: Plan::default(),
        }
    }
}

/// The JSON schema of the file, with nothing in it that this version does not do.
pub fn schema() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(make_schema)
}

fn make_schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = false);
    let mut schema: Value = settings.into_generator().into_root_schema_for::<Config>().into();
    close(&mut schema);
    for path in later::all() {
        remove(&mut schema, path);
    }
    schema["title"] = "lifeboat.toml".into();
    schema
}

/// Lets every table hold only what it names.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if object.get("properties").is_some_and(Value::is_object) {
                object.entry("additionalProperties").or_insert(false.into());
                object.remove("unevaluatedProperties");
            }
            // A value that may be absent is left out in TOML; nothing is ever null.
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|word| word != "null");
                if let [one] = &types[..] {
                    let one = one.clone();
                    object.insert("type".into(), one);
                }
            }
            for word in ["anyOf", "oneOf"] {
                let Some(Value::Array(kinds)) = object.get_mut(word) else { continue };
                kinds.retain(|kind| kind.get("type").and_then(Value::as_str) != Some("null"));
            }
            if object.get("default") == Some(&Value::Null) {
                object.remove("default");
            }
            object.retain(|key, value| key != "format" || is_ours(value));
            object.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// Formats such as `uint32` say nothing to an editor.
fn is_ours(format: &Value) -> bool {
    format.is_object()
        || matches!(
            format.as_str(),
            Some("duration" | "size" | "rate" | "share" | "parity" | "schedule" | "window")
        )
}

/// Takes a key out of the schema.
fn remove(schema: &mut Value, path: &str) {
    let keys: Vec<&str> = path.split('.').collect();
    let (last, above) = keys.split_last().expect("a path has a key");
    let mut pointer = String::new();
    for key in above {
        pointer = resolve(schema, &pointer);
        pointer +=
            &if *key == "*" { "/additionalProperties".to_string() } else { format!("/properties/{key}") };
    }
    pointer = resolve(schema, &pointer);
    let table = schema.pointer_mut(&pointer).expect("a key of a later version is in the schema");
    // What no type knows yet is not in the schema either.
    table["properties"].as_object_mut().and_then(|table| table.remove(*last));
}

/// The pointer of what a schema refers to.
fn resolve(schema: &Value, pointer: &str) -> String {
    let here = schema.pointer(pointer).expect("the schema has this table");
    let only = here.get("anyOf").and_then(|kinds| kinds.get(0)).unwrap_or(here);
    match only.get("$ref").and_then(Value::as_str) {
        Some(reference) => reference.trim_start_matches('#').to_string(),
        None => pointer.to_string(),
    }
}

impl Config {
    /// The configuration as it may be shown: where each secret is, and no password in an address.
    pub fn shown(&self) -> Value {
        let mut value = serde_json::to_value(self).expect("every value of the configuration can be written");
        redact::hide_in_addresses(&mut value);
        value
    }

    /// The configuration as TOML, with everything that is not at its default, and where each secret is.
    pub fn to_toml(&self) -> String {
        let mut value = self.shown();
        strip(&mut value);
        toml::to_string_pretty(&value).expect("every value of the configuration can be written as TOML")
    }
}

/// Takes away what is absent.
fn strip(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.values_mut().for_each(strip);
            object.retain(|_, value| match value {
                Value::Null => false,
                Value::Object(object) => !object.is_empty(),
                Value::Array(items) => !items.is_empty(),
                _ => true,
            });
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}
