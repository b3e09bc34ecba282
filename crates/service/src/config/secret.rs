//! Where a secret is, as the configuration names it. The secret itself is only held between finding and use.
//!
//! A [`Secret`] has no `Debug`: one that is written out in the file must not reach a log. Written back, as
//! `config show` does, it says where the secret is, never what it is.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// What stands where a written-out secret was.
pub const HIDDEN: &str = "***";

/// Where a secret is.
#[derive(Clone)]
pub enum Secret {
    /// A credential that systemd hands over: a file of this name in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// The first line of a file.
    File(PathBuf),
    /// The first line that a command prints; the program and its arguments, no shell.
    Command(Vec<String>),
    /// A variable of the environment.
    Env(String),
    /// An entry of the desktop's keyring: its attributes.
    Keyring(Vec<(String, String)>),
    /// Written out in the file, which `config check` warns about.
    Literal(Zeroizing<String>),
    /// Was written out in a file that was stored without it.
    Missing,
}

impl Secret {
    /// Whether it stands in the file itself.
    pub fn is_literal(&self) -> bool {
        matches!(self, Secret::Literal(_))
    }

    fn read(value: Value) -> Result<Self, String> {
        let table = match value {
            Value::String(text) => return Ok(Secret::Literal(Zeroizing::new(text))),
            Value::Object(table) if table.len() == 1 => table,
            _ => return Err(EXPECTED.to_string()),
        };
        let (key, value) = table.into_iter().next().expect("the table has one key");
        let text = |value: Value| value.as_str().map(str::to_string).ok_or_else(|| EXPECTED.to_string());
        match (key.as_str(), value) {
            ("credential", value) => text(value).map(Secret::Credential),
            ("file", value) => text(value).map(|path| Secret::File(path.into())),
            ("env", value) => text(value).map(Secret::Env),
            ("command", Value::Array(words)) if !words.is_empty() => {
                words.into_iter().map(text).collect::<Result<_, _>>().map(Secret::Command)
            }
            ("keyring", Value::Object(attributes)) if !attributes.is_empty() => {
                let pairs = attributes.into_iter().map(|(name, value)| text(value).map(|v| (name, v)));
                pairs.collect::<Result<_, _>>().map(Secret::Keyring)
            }
            ("missing", Value::Bool(true)) => Ok(Secret::Missing),
            _ => Err(EXPECTED.to_string()),
        }
    }
}

const EXPECTED: &str = "a secret is one of { credential = \"NAME\" }, { file = \"PATH\" }, { command = [\"PROGRAM\", ...] }, \
                        { env = \"VARIABLE\" } and { keyring = { ATTRIBUTE = \"VALUE\" } }";

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Secret::read(Value::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = match self {
            Secret::Credential(name) => json!({ "credential": name }),
            Secret::File(path) => json!({ "file": path }),
            Secret::Command(words) => json!({ "command": words }),
            Secret::Env(name) => json!({ "env": name }),
            Secret::Keyring(attributes) => {
                let attributes: serde_json::Map<String, Value> =
                    attributes.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
                json!({ "keyring": attributes })
            }
            Secret::Literal(_) => json!(HIDDEN),
            Secret::Missing => json!({ "missing": true }),
        };
        value.serialize(serializer)
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let text = json!({ "type": "string", "minLength": 1 });
        json_schema!({
            "description": "Where a secret is; never the secret itself",
            "x-secret": true,
            "anyOf": [
                { "type": "string", "description": "the secret itself, which `config check` warns about" },
                {
                    "type": "object",
                    "minProperties": 1,
                    "maxProperties": 1,
                    "additionalProperties": false,
                    "properties": {
                        "credential": text,
                        "file": text,
                        "command": { "type": "array", "items": text, "minItems": 1 },
                        "env": text,
                        "keyring": { "type": "object", "additionalProperties": text, "minProperties": 1 },
                        "missing": { "type": "boolean", "const": true },
                    },
                },
            ],
        })
    }
}
