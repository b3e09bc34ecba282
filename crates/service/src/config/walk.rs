//! Compares what is written with the schema, and says of every difference where it stands and what was
//! probably meant.
//!
//! The schema that editors get is the one that decides here, so the two cannot say different things. All
//! mistakes are found at once, not only the first.

use super::document::{Kind, Node};
use super::later;
use super::problem::Problem;
use super::values::check_format;
use serde_json::{Map, Value};

/// Compares a document with a schema.
pub(super) fn compare(document: &Node, schema: &Value) -> Vec<Problem> {
    let mut walk = Walk { root: schema, path: Vec::new(), problems: Vec::new() };
    walk.node(document, schema);
    walk.problems.sort_by_key(|problem| problem.at.as_ref().map(|at| (at.file, at.span.start)));
    walk.problems
}

struct Walk<'s> {
    root: &'s Value,
    path: Vec<String>,
    problems: Vec<Problem>,
}

type Object = Map<String, Value>;

/// So many keys of a table are told at most to whoever wrote one that is not there.
const KEYS_SAID_MAX: usize = 12;

impl<'s> Walk<'s> {
    fn wrong(&mut self, node: &Node, text: String) {
        let hides_line = self.may_be_secret();
        self.problems.push(Problem { hides_line, ..Problem::error(node.at.clone(), text) });
    }

    fn may_be_secret(&self) -> bool {
        self.path.iter().any(|key| later::names_a_secret(key))
    }

    /// The name of what is looked at, for messages.
    fn name(&self) -> String {
        self.path.join(".")
    }

    fn resolve(&self, mut schema: &'s Value) -> &'s Value {
        while let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let pointer = reference.trim_start_matches('#');
            schema = self.root.pointer(pointer).expect("the schema's references lead somewhere");
        }
        schema
    }

    fn node(&mut self, node: &Node, schema: &'s Value) {
        let schema = self.resolve(schema);
        if schema.get("x-chosen-by").is_some() {
            return self.chosen(node, schema);
        }
        if let Some(kinds) = kinds_of(schema) {
            return self.one_of(node, kinds);
        }
        let Some(object) = schema.as_object() else { return };
        if !self.is_of_type(node, object) {
            let expected = self.expected(object);
            self.wrong(node, format!("{} is {expected}, not {}", self.name(), node.word()));
            return self.help_with_table(object);
        }
        match &node.kind {
            Kind::Text(text) => self.text(node, text, object),
            Kind::Integer(n) => self.number(node, *n as f64, object),
            Kind::Float(n) => self.number(node, *n, object),
            Kind::Bool(yes) => self.same(node, object, &Value::Bool(*yes)),
            Kind::List(items) => self.list(node, items, object),
            Kind::Table(_) => self.table(node, object),
            Kind::Time(_) => {}
        }
    }

    /// A table whose kind is told by one of its own keys.
    fn chosen(&mut self, node: &Node, schema: &'s Value) {
        let chosen_by = &schema["x-chosen-by"];
        let key = chosen_by["key"].as_str().expect("the key is a text");
        let tags: Vec<&str> =
            chosen_by["tags"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let kinds = schema["oneOf"].as_array().expect("the kinds are a list");
        let Kind::Table(table) = &node.kind else {
            return self.wrong(node, format!("{} is a table, not {}", self.name(), node.word()));
        };
        let tag = match (table.get(key).map(|(_, node)| node), chosen_by["usual"].as_str()) {
            (Some(Node { kind: Kind::Text(tag), .. }), _) => tag.as_str(),
            (Some(other), _) => {
                return self.wrong(other, format!("{}.{key} is one of {}", self.name(), tags.join(", ")));
            }
            (None, Some(usual)) => usual,
            (None, None) => {
                let text = format!("{} needs {key}: one of {}", self.name(), tags.join(", "));
                return self.wrong(node, text);
            }
        };
        match tags.iter().position(|known| *known == tag) {
            Some(at) => self.node(node, &kinds[at]),
            None => {
                let at = table[key].1.at.clone();
                let text = format!("{}.{key} is one of {}, not {tag:?}", self.name(), tags.join(", "));
                let problem = Problem::error(at, text);
                self.problems.push(with_guess(problem, tag, tags.iter().copied()));
            }
        }
    }

    /// Follows the kinds that fit by their type; with several, the one that fits best.
    fn one_of(&mut self, node: &Node, kinds: &'s [Value]) {
        let fitting: Vec<&'s Value> = kinds.iter().filter(|kind| self.fits(node, kind)).collect();
        if fitting.is_empty() {
            let mut expected: Vec<String> = Vec::new();
            for word in kinds.iter().flat_map(|kind| self.all_expected(kind)) {
                if word != "nothing" && !expected.contains(&word) {
                    expected.push(word);
                }
            }
            let text = format!("{} is {}, not {}", self.name(), expected.join(" or "), node.word());
            return self.wrong(node, text);
        }
        let mut best: Option<Vec<Problem>> = None;
        for kind in fitting {
            let mut walk = Walk { root: self.root, path: self.path.clone(), problems: Vec::new() };
            walk.node(node, kind);
            if best.as_ref().is_none_or(|best| walk.problems.len() < best.len()) {
                best = Some(walk.problems);
            }
        }
        let words: Vec<&str> = kinds.iter().flat_map(words_of).collect();
        match (best, &node.kind) {
            // An enum whose words have a description each is a list of constants.
            (Some(found), Kind::Text(text)) if !found.is_empty() && words.len() == kinds.len() => {
                let text_ = format!("{} is one of {}, not {text:?}", self.name(), words.join(", "));
                self.wrong(node, text_);
                let problem = self.problems.pop().expect("one was just added");
                self.problems.push(with_guess(problem, text, words.iter().copied()));
            }
            (found, _) => self.problems.extend(found.into_iter().flatten()),
        }
    }

    /// Whether a kind, or one of those it may be, has the type of what is written.
    fn fits(&self, node: &Node, kind: &'s Value) -> bool {
        let schema = self.resolve(kind);
        match kinds_of(schema) {
            Some(kinds) => kinds.iter().any(|kind| self.fits(node, kind)),
            None => schema.as_object().is_some_and(|object| self.is_of_type(node, object)),
        }
    }

    /// What a kind, or each of those it may be, expects.
    fn all_expected(&self, kind: &'s Value) -> Vec<String> {
        let schema = self.resolve(kind);
        match kinds_of(schema) {
            Some(kinds) => kinds.iter().flat_map(|kind| self.all_expected(kind)).collect(),
            None => schema.as_object().map(|object| self.expected(object)).into_iter().collect(),
        }
    }

    fn is_of_type(&self, node: &Node, schema: &Object) -> bool {
        let types = types_of(schema);
        if types.is_empty() {
            return true;
        }
        types.iter().any(|word| {
            matches!(
                (*word, &node.kind),
                ("string", Kind::Text(_) | Kind::Time(_))
                    | ("integer", Kind::Integer(_))
                    | ("number", Kind::Integer(_) | Kind::Float(_))
                    | ("boolean", Kind::Bool(_))
                    | ("array", Kind::List(_))
                    | ("object", Kind::Table(_))
            )
        })
    }

    /// Says what stands in a table, to whoever wrote something else.
    fn help_with_table(&mut self, schema: &Object) {
        let keys: Vec<&str> =
            match (schema.get("properties").and_then(Value::as_object), &types_of(schema)[..]) {
                (Some(properties), ["object"]) => properties.keys().map(String::as_str).collect(),
                _ => return,
            };
        if let (1..=KEYS_SAID_MAX, Some(problem)) = (keys.len(), self.problems.last_mut()) {
            problem.help = Some(format!("a table is {{ KEY = VALUE }}, and there are {}", keys.join(", ")));
        }
    }

    fn expected(&self, schema: &Object) -> String {
        let words = types_of(schema).into_iter().filter_map(|word| match word {
            "string" => Some(match schema.get("format").and_then(Value::as_str) {
                Some("duration") => "a length of time like \"26h\"",
                Some("size") => "a number of bytes like \"10G\"",
                Some("rate") => "a speed like \"20 MB/s\"",
                Some("share") => "a share like \"5%\" or \"1/30\"",
                _ => "a text",
            }),
            "integer" => Some("a whole number"),
            "number" => Some("a number"),
            "boolean" => Some("true or false"),
            "array" => Some("a list"),
            "object" => Some("a table"),
            _ => None,
        });
        let words: Vec<&str> = words.collect();
        if words.is_empty() { "nothing".to_string() } else { words.join(" or ") }
    }

    fn text(&mut self, node: &Node, text: &str, schema: &Object) {
        self.same(node, schema, &Value::String(text.to_string()));
        let words: Vec<&str> = schema
            .get("enum")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if !words.is_empty() && !words.contains(&text) {
            let problem = format!("{} is one of {}, not {text:?}", self.name(), words.join(", "));
            let problem = Problem::error(node.at.clone(), problem);
            self.problems.push(with_guess(problem, text, words.iter().copied()));
        }
        if text.is_empty() && schema.get("minLength").is_some() {
            self.wrong(node, format!("{} is empty", self.name()));
        }
        if let Some(format) = schema.get("format").and_then(Value::as_str)
            && let Err(why) = check_format(format, text)
        {
            self.wrong(node, format!("{}: {why}", self.name()));
        }
    }

    fn same(&mut self, node: &Node, schema: &Object, value: &Value) {
        if let Some(only) = schema.get("const").filter(|only| *only != value) {
            self.wrong(node, format!("{} can only be {only}", self.name()));
        }
    }

    fn number(&mut self, node: &Node, n: f64, schema: &Object) {
        let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
        if bound("minimum").is_some_and(|least| n < least) || bound("maximum").is_some_and(|most| n > most) {
            let text = match (bound("minimum"), bound("maximum")) {
                (Some(least), Some(most)) => format!("between {least} and {most}"),
                (Some(least), None) => format!("at least {least}"),
                (_, most) => format!("at most {}", most.unwrap_or_default()),
            };
            self.wrong(node, format!("{} is {text}", self.name()));
        }
    }

    fn list(&mut self, node: &Node, items: &[Node], schema: &'s Object) {
        if items.is_empty() && schema.get("minItems").and_then(Value::as_u64).is_some_and(|least| least > 0) {
            self.wrong(node, format!("{} is empty", self.name()));
        }
        let Some(kind) = schema.get("items") else { return };
        for (at, item) in items.iter().enumerate() {
            self.path.push(at.to_string());
            self.node(item, kind);
            self.path.pop();
        }
    }

    fn table(&mut self, node: &Node, schema: &'s Object) {
        let Kind::Table(table) = &node.kind else { return };
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties");
        for (key, (at, value)) in table {
            self.path.push(key.clone());
            match (properties.and_then(|properties| properties.get(key)), others) {
                _ if later::is_not_in_this_version(&self.path) => {
                    let text = format!("{} is not in this version", self.name());
                    self.problems.push(Problem::error(at.clone(), text));
                }
                (Some(kind), _) => self.node(value, kind),
                (None, Some(kind)) if kind.is_object() => self.node(value, kind),
                (None, None | Some(Value::Bool(true))) => {}
                (None, _) => {
                    let known: Vec<&str> =
                        properties.into_iter().flat_map(Map::keys).map(String::as_str).collect();
                    let text = format!("there is no {}", self.name());
                    let hides_line = self.may_be_secret();
                    let problem = Problem { hides_line, ..Problem::error(at.clone(), text) };
                    let problem = with_guess(problem, key, known.iter().copied());
                    self.problems.push(match known.len() {
                        1..=KEYS_SAID_MAX if problem.help.is_none() => {
                            problem.help(format!("there are {}", known.join(", ")))
                        }
                        _ => problem,
                    });
                }
            }
            self.path.pop();
        }
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        for key in required.filter_map(Value::as_str).filter(|key| !table.contains_key(*key)) {
            let name = if self.path.is_empty() { key.to_string() } else { format!("{}.{key}", self.name()) };
            self.wrong(node, format!("{name} is missing"));
        }
        if schema.get("minProperties").and_then(Value::as_u64).is_some_and(|n| (table.len() as u64) < n) {
            self.wrong(node, format!("{} is empty", self.name()));
        }
        if schema.get("maxProperties").and_then(Value::as_u64).is_some_and(|n| (table.len() as u64) > n) {
            self.wrong(node, format!("{} says more than one thing", self.name()));
        }
    }
}

/// The kinds between which a schema leaves the choice.
fn kinds_of(schema: &Value) -> Option<&Vec<Value>> {
    ["anyOf", "oneOf"].iter().find_map(|word| schema.get(*word)?.as_array())
}

fn types_of(schema: &Object) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(word)) => vec![word],
        Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).collect(),
        _ => match (schema.get("const"), schema.get("enum")) {
            (Some(Value::String(_)), _) | (_, Some(_)) => vec!["string"],
            _ => Vec::new(),
        },
    }
}

/// The words that a kind allows.
fn words_of(kind: &Value) -> Vec<&str> {
    match (kind.get("const"), kind.get("enum")) {
        (Some(Value::String(word)), _) => vec![word],
        (_, Some(Value::Array(words))) => words.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Adds what was probably meant.
pub(super) fn with_guess<'k>(
    problem: Problem,
    written: &str,
    known: impl Iterator<Item = &'k str>,
) -> Problem {
    match guess(written, known) {
        Some(meant) => problem.help(format!("did you mean {meant}?")),
        None => problem,
    }
}

/// The known word that is nearest: up to a third of its letters may differ.
pub(super) fn guess<'k>(written: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let distance = |word: &str| strsim::osa_distance(&plain(written), &plain(word));
    let near = known.map(|word| (distance(word), word)).filter(|(n, word)| *n <= (word.len() / 3).max(1));
    near.min().map(|(_, word)| word)
}
