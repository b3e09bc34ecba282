//! docs/reference/config.md, made from the schema: every table, every key, what it means and what it is when
//! it is not written.

use serde_json::Value;
use std::fmt::Write;

/// The page.
pub fn page(schema: &Value) -> String {
    let mut page = Page { root: schema, text: HEAD.to_string() };
    page.table("", "the file", schema, 0);
    page.text
}

const HEAD: &str = "\
# lifeboat.toml

The reference of the configuration, made from its schema (`lifeboat config schema` prints that for editors,
`lifeboat config reference` this page). Every key has a value when it is not written; the least that does
something is one repository, one source and one job. What does not fit is an error with its line; nothing is
ignored.

Lengths of time are written `90s`, `5min`, `26h`, `35d`, `2w`, `6mo`, `10y`; sizes `512K`, `10M`, `50 GB` (powers of
1024); speeds `20 MB/s`; shares `5%`, `1/30` or a size. A schedule is a calendar expression of systemd
(`hourly`, `Sun 03:00`, `*-*-01 06:00`), five fields of cron, or `every 6h`. A secret says where it is:
`{ credential = \"NAME\" }` (systemd), `{ file = \"PATH\" }`, `{ command = [\"PROGRAM\", ...] }`, `{ env = \"VARIABLE\" }`
or `{ keyring = { service = \"lifeboat\" } }` (asked with `secret-tool`).

The file is the one named by `-c`, or by `LIFEBOAT_CONFIG`, or `~/.config/lifeboat/lifeboat.toml`, or
`/etc/lifeboat/lifeboat.toml`. Files in `conf.d/*.toml` beside it add to its tables by name; a value in two
places is an error.
";

struct Page<'s> {
    root: &'s Value,
    text: String,
}

impl<'s> Page<'s> {
    fn resolve(&self, mut schema: &'s Value) -> &'s Value {
        loop {
            let only = schema.get("anyOf").and_then(Value::as_array).filter(|kinds| kinds.len() == 1);
            match (schema.get("$ref").and_then(Value::as_str), only) {
                (Some(reference), _) => {
                    schema = self
                        .root
                        .pointer(reference.trim_start_matches('#'))
                        .expect("a reference leads somewhere");
                }
                (None, Some(kinds)) => schema = &kinds[0],
                (None, None) => return schema,
            }
        }
    }

    fn line(&mut self, text: &str) {
        writeln!(self.text, "{text}").expect("a text takes everything");
    }

    /// One table: its keys as a list, then the tables in it.
    fn table(&mut self, path: &str, description: &str, schema: &'s Value, depth: usize) {
        let schema = self.resolve(schema);
        if !path.is_empty() {
            let level = "#".repeat((depth + 1).min(4));
            let title = if depth == 1 { format!("[{path}]") } else { path.to_string() };
            self.line(&format!("\n{level} `{title}`\n\n{}", sentence(description)));
        }
        if schema.get("x-chosen-by").is_some() {
            return self.kinds(schema, depth);
        }
        let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let mut below = Vec::new();
        let mut began = false;
        for (key, value) in properties {
            let full = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let description = self.description(value);
            match self.table_of(value) {
                Some((suffix, table)) => below.push((format!("{full}{suffix}"), description, table)),
                None => {
                    if !began {
                        self.line("");
                        began = true;
                    }
                    let line = self.key_line(key, value, &description, required.contains(&key.as_str()));
                    self.line(&line);
                }
            }
        }
        if let (Some(others), false) = (schema.get("additionalProperties"), path.is_empty())
            && others.is_object()
            && let Some((suffix, table)) = self.table_of(others)
        {
            below.push((format!("{path}.NAME{suffix}"), self.description(others), table));
        }
        for (path, description, table) in below {
            self.table(&path, &description, table, depth + 1);
        }
    }

    /// The kinds of a table that is chosen by one of its keys. What all have in common is told once.
    fn kinds(&mut self, schema: &'s Value, depth: usize) {
        let by = &schema["x-chosen-by"];
        let key = by["key"].as_str().unwrap_or_default();
        let tags: Vec<&str> = by["tags"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let kinds: Vec<&'s Value> = schema["oneOf"].as_array().into_iter().flatten().collect();
        let usual =
            by["usual"].as_str().map(|usual| format!("; {usual} when it is not written")).unwrap_or_default();
        self.line(&format!("\n- `{key}`: one of {}{usual}.", tags.join(", ")));
        let has = |kind: &&Value, name: &String| kind["properties"].get(name).is_some();
        let first = kinds[0]["properties"].as_object().expect("a kind is a table");
        let common: Vec<&String> = first
            .keys()
            .filter(|name| *name != key && kinds.len() > 1 && kinds.iter().all(|kind| has(kind, name)))
            .collect();
        for name in &common {
            let value = &first[*name];
            let line = self.key_line(name, value, &self.description(value), false);
            self.line(&line);
        }
        for (kind, tag) in kinds.iter().zip(&tags) {
            let level = "#".repeat((depth + 2).min(4));
            let description = kind["description"].as_str().unwrap_or_default();
            self.line(&format!("\n{level} `{key} = \"{tag}\"`\n\n{}\n", sentence(description)));
            let required: Vec<&str> = kind
                .get("required")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            for (name, value) in kind["properties"].as_object().into_iter().flatten() {
                if name == key || common.contains(&name) {
                    continue;
                }
                let line =
                    self.key_line(name, value, &self.description(value), required.contains(&name.as_str()));
                self.line(&line);
                if let Some((_, table)) = self.table_of(value) {
                    for (inner, value) in table["properties"].as_object().into_iter().flatten() {
                        let line =
                            self.key_line(&format!("{name}.{inner}"), value, &self.description(value), false);
                        self.line(&format!("  {line}"));
                    }
                }
            }
        }
    }

    /// The table that a value is, with what stands between its name and its keys.
    fn table_of(&self, value: &'s Value) -> Option<(&'static str, &'s Value)> {
        let value = self.resolve(value);
        if value.get("x-secret").is_some() {
            return None;
        }
        if value.get("properties").is_some() || value.get("x-chosen-by").is_some() {
            return Some(("", value));
        }
        if let Some(others) = value.get("additionalProperties").filter(|others| others.is_object()) {
            let others = self.resolve(others);
            return (others.get("properties").is_some() || others.get("x-chosen-by").is_some())
                .then_some((".NAME", others));
        }
        let items = self.resolve(value.get("items")?);
        items.get("properties").is_some().then_some(("[]", items))
    }

    fn description(&self, value: &Value) -> String {
        let own = value.get("description").and_then(Value::as_str);
        let reference = value.get("$ref").and_then(Value::as_str);
        let referred = reference.and_then(|r| self.root.pointer(r.trim_start_matches('#')));
        own.or_else(|| referred?.get("description")?.as_str()).unwrap_or_default().to_string()
    }

    fn key_line(&self, key: &str, value: &'s Value, description: &str, required: bool) -> String {
        let kind = self.kind(value);
        let default = match value.get("default") {
            _ if required => "; must be written".to_string(),
            Some(Value::Null) | None => String::new(),
            Some(Value::Array(items)) if items.is_empty() => String::new(),
            Some(Value::Object(_)) => String::new(),
            Some(default) => format!("; `{}` when it is not written", toml_text(default)),
        };
        format!("- `{key}` ({kind}{default}): {}", sentence(description))
    }

    /// What a value is, in a few words.
    fn kind(&self, value: &'s Value) -> String {
        let value = self.resolve(value);
        if value.get("x-secret").is_some() {
            return "secret".into();
        }
        for word in ["anyOf", "oneOf"] {
            if let Some(kinds) = value.get(word).and_then(Value::as_array) {
                let words: Vec<&str> = kinds.iter().filter_map(|kind| kind["const"].as_str()).collect();
                if words.len() == kinds.len() {
                    return words.join(" | ");
                }
                let kinds: Vec<String> = kinds.iter().map(|kind| self.kind(kind)).collect();
                return kinds.join(", or ");
            }
        }
        if let Some(words) = value.get("enum").and_then(Value::as_array) {
            return words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" | ");
        }
        match (value["type"].as_str(), value["format"].as_str()) {
            (_, Some("duration")) => "length of time".into(),
            (_, Some("rate")) => "speed".into(),
            (_, Some(format)) => format.to_string(),
            (Some("array"), _) => format!("list of {}", plural(&self.kind(&value["items"]))),
            (Some("object"), _) => "table".into(),
            (Some("boolean"), _) => "true or false".into(),
            (Some("integer"), _) => "number".into(),
            (Some("string"), _) => "text".into(),
            (Some(other), _) => other.to_string(),
            (None, _) => "value".into(),
        }
    }
}

fn plural(kind: &str) -> String {
    if kind == "text" { "texts".into() } else { format!("{kind}s") }
}

/// On one line, with a stop at its end.
fn sentence(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.is_empty() || text.ends_with('.') { text } else { format!("{text}.") }
}

fn toml_text(value: &Value) -> String {
    value.to_string()
}
