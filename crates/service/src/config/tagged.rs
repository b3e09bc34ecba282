//! Tables whose kind is told by one of their own keys (`type = "postgres"`).
//!
//! serde's tagged enums know no usual kind and forget where a mistake stands. Here every kind is a table of
//! its own, and the schema says which key chooses among them.

use serde_json::{Value, json};

/// Makes an enum of tables, chosen by a key; the kind without the key is the one named as usual.
macro_rules! tagged {
    (
        $(#[$meta:meta])*
        pub enum $name:ident by $key:literal $(or $usual:literal)? {
            $( $(#[$doc:meta])* $variant:ident($table:ident) = $tag:literal, )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone)]
        pub enum $name {
            $( $(#[$doc])* $variant($table), )+
        }

        impl $name {
            /// The word that chooses this kind.
            pub fn kind(&self) -> &'static str {
                match self { $( $name::$variant(_) => $tag, )+ }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::Error;
                let table = match self { $( $name::$variant(table) => serde_json::to_value(table), )+ };
                let mut table = table.map_err(S::Error::custom)?;
                table[$key] = self.kind().into();
                table.serialize(serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                use serde::de::Error;
                let mut value = serde_json::Value::deserialize(deserializer)?;
                let usual: Option<&str> = [$($usual)?].first().copied();
                let kind = value.get($key).and_then(serde_json::Value::as_str).or(usual);
                let kind = kind.unwrap_or_default().to_string();
                if let Some(table) = value.as_object_mut() {
                    table.insert($key.to_string(), kind.clone().into());
                }
                match kind.as_str() {
                    $( $tag => serde_json::from_value(value).map($name::$variant).map_err(D::Error::custom), )+
                    other => Err(D::Error::custom(format!("there is no {} {other:?}", $key))),
                }
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let usual: Option<&str> = [$($usual)?].first().copied();
                let mut kinds: Vec<serde_json::Value> = Vec::new();
                $(
                    let table = <$table as schemars::JsonSchema>::json_schema(generator);
                    kinds.push($crate::config::tagged::of_kind(table.into(), $key, $tag, usual));
                )+
                let tags = vec![$( $tag ),+];
                schemars::json_schema!({
                    "oneOf": kinds,
                    "x-chosen-by": { "key": $key, "tags": tags, "usual": usual },
                })
            }
        }
    };
}

pub(super) use tagged;

/// The schema of one kind of table: with the key that chooses it.
pub(super) fn of_kind(mut table: Value, key: &str, tag: &str, usual: Option<&str>) -> Value {
    table["properties"][key] = json!({ "type": "string", "const": tag });
    if usual != Some(tag) {
        let required = table.as_object_mut().expect("a table's schema is an object").entry("required");
        if let Some(names) = required.or_insert_with(|| json!([])).as_array_mut() {
            names.push(key.into());
        }
    }
    table
}
