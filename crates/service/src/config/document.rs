//! The configuration as it is written: values that know their place in a file, merged from several files.
//!
//! Files of `conf.d` add to the tables of the main file by their names. A value that is written in two places
//! is a mistake, not a question of order: a backup that silently follows another line than the one you read
//! is how files go missing. Lists of tables (`[[hooks]]`) are joined.

use super::problem::{At, Problem, SourceFile};
use serde_json::{Map, Number, Value};
use std::collections::BTreeMap;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value and where it is written.
pub struct Node {
    /// Where.
    pub at: At,
    /// What.
    pub kind: Kind,
}

/// What is written.
pub enum Kind {
    /// A text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number.
    Float(f64),
    /// Yes or no.
    Bool(bool),
    /// A date or time.
    Time(String),
    /// A list.
    List(Vec<Node>),
    /// A table: each key with its place.
    Table(BTreeMap<String, (At, Node)>),
}

/// Tables inside each other at most. The TOML reader itself allows no more.
const DEPTH_MAX: usize = 64;

impl Node {
    /// An empty table that is written nowhere.
    pub fn empty() -> Self {
        Node { at: At { file: 0, span: 0..0 }, kind: Kind::Table(BTreeMap::new()) }
    }

    /// The value as the schema and serde take it.
    pub fn value(&self) -> Value {
        match &self.kind {
            Kind::Text(text) | Kind::Time(text) => text.clone().into(),
            Kind::Integer(n) => (*n).into(),
            Kind::Float(n) => Number::from_f64(*n).map_or(Value::Null, Value::Number),
            Kind::Bool(yes) => (*yes).into(),
            Kind::List(items) => items.iter().map(Node::value).collect(),
            Kind::Table(table) => {
                let entries = table.iter().map(|(key, (_, node))| (key.clone(), node.value()));
                Value::Object(entries.collect::<Map<_, _>>())
            }
        }
    }

    /// What it is, in a word.
    pub fn word(&self) -> &'static str {
        match &self.kind {
            Kind::Text(_) => "a text",
            Kind::Integer(_) | Kind::Float(_) => "a number",
            Kind::Bool(_) => "true or false",
            Kind::Time(_) => "a time",
            Kind::List(_) => "a list",
            Kind::Table(_) => "a table",
        }
    }

    /// The node below, by keys and (for lists) numbers.
    pub fn find(&self, path: &[&str]) -> Option<&Node> {
        let Some((first, rest)) = path.split_first() else { return Some(self) };
        match &self.kind {
            Kind::Table(table) => table.get(*first)?.1.find(rest),
            Kind::List(items) => items.get(first.parse::<usize>().ok()?)?.find(rest),
            _ => None,
        }
    }

    /// Where the key of a table stands, or the value where there is no key.
    pub fn place(&self, path: &[&str]) -> Option<At> {
        let (last, above) = path.split_last()?;
        match &self.find(above)?.kind {
            Kind::Table(table) => table.get(*last).map(|(at, _)| at.clone()),
            Kind::List(_) => self.find(path).map(|node| node.at.clone()),
            _ => None,
        }
    }

    /// Adds what another file says. Tables are joined; a value in both is a problem.
    pub fn merge(&mut self, other: Node, path: &str, problems: &mut Vec<Problem>, files: &[SourceFile]) {
        match (&mut self.kind, other.kind) {
            (Kind::Table(mine), Kind::Table(theirs)) => {
                for (key, (at, node)) in theirs {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    match mine.get_mut(&key) {
                        Some((_, present)) => present.merge(node, &path, problems, files),
                        None => _ = mine.insert(key, (at, node)),
                    }
                }
            }
            (Kind::List(mine), Kind::List(theirs)) if is_of_tables(mine) && is_of_tables(&theirs) => {
                mine.extend(theirs);
            }
            // The version of each file is its own.
            (Kind::Integer(mine), Kind::Integer(theirs)) if path == "version" && *mine == theirs => {}
            _ => {
                let first = files[self.at.file].position(self.at.span.start);
                let text = format!("{path} is written a second time; the first time in {first}");
                problems.push(Problem::error(other.at, text));
            }
        }
    }
}

fn is_of_tables(list: &[Node]) -> bool {
    list.iter().all(|node| matches!(node.kind, Kind::Table(_)))
}

/// Reads the text of a file.
///
/// # Errors
/// Every mistake in it that the reader can tell apart.
pub fn parse(file: usize, text: &str) -> Result<Node, Vec<Problem>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let end = text.len();
        let problem = |error: &toml::de::Error| {
            let span = error.span().unwrap_or(end..end);
            Problem::error(At { file, span }, error.message().to_string())
        };
        return Err(errors.iter().map(problem).collect());
    }
    let span = table.span();
    let mut problems = Vec::new();
    let kind = table_of(file, table.get_ref(), 0, &mut problems);
    if problems.is_empty() { Ok(Node { at: At { file, span }, kind }) } else { Err(problems) }
}

fn table_of(file: usize, table: &DeTable<'_>, depth: usize, problems: &mut Vec<Problem>) -> Kind {
    let entries = table.iter().map(|(key, value)| {
        let at = At { file, span: key.span() };
        (key.get_ref().to_string(), (at, node_of(file, value, depth + 1, problems)))
    });
    Kind::Table(entries.collect())
}

fn node_of(file: usize, value: &Spanned<DeValue<'_>>, depth: usize, problems: &mut Vec<Problem>) -> Node {
    let at = At { file, span: value.span() };
    let mut wrong = |span: Range<usize>, text: &str| {
        problems.push(Problem::error(At { file, span }, text.to_string()));
        Kind::Bool(false)
    };
    let kind = match value.get_ref() {
        _ if depth > DEPTH_MAX => wrong(value.span(), "tables are inside each other too deeply"),
        DeValue::String(text) => Kind::Text(text.to_string()),
        DeValue::Integer(n) => match i64::from_str_radix(n.as_str(), n.radix()) {
            Ok(n) => Kind::Integer(n),
            Err(_) => wrong(value.span(), "this number is too large"),
        },
        DeValue::Float(n) => match n.as_str().parse::<f64>().ok().filter(|n| n.is_finite()) {
            Some(n) => Kind::Float(n),
            None => wrong(value.span(), "this is no finite number"),
        },
        DeValue::Boolean(yes) => Kind::Bool(*yes),
        DeValue::Datetime(time) => Kind::Time(time.to_string()),
        DeValue::Array(items) => {
            Kind::List(items.iter().map(|item| node_of(file, item, depth + 1, problems)).collect())
        }
        DeValue::Table(table) => table_of(file, table, depth, problems),
    };
    Node { at, kind }
}
