//! The configuration as users write it: the sample parses, mistakes are told with their lines, several files
//! are joined, and the reference page says what the schema says.

mod errors;
mod files;
mod followed;
mod hostile;
mod lints;
mod meaning;

use service::config::load::understand;
use service::config::problem::SourceFile;
use service::config::{Broken, Loaded};
use std::path::Path;

/// Understands one text.
fn read(text: &str) -> Result<Loaded, Broken> {
    let file = SourceFile { path: "lifeboat.toml".into(), text: text.into() };
    understand(vec![file], Path::new("/home/me"))
}

/// A text that must be right.
fn right(text: &str) -> Loaded {
    read(text).unwrap_or_else(|broken| panic!("{}", told(&broken)))
}

/// What is said about a text that is wrong.
fn wrong(text: &str) -> String {
    match read(text) {
        Err(broken) => told(&broken),
        Ok(_) => panic!("this was taken for right:\n{text}"),
    }
}

fn told(broken: &Broken) -> String {
    let lines = broken.problems.iter().flat_map(|problem| problem.lines(&broken.files));
    lines.collect::<Vec<_>>().join("\n")
}

/// The least that does something.
const LEAST: &str = "\
[repositories.main]
url = \"/mnt/b\"
[sources.home]
paths = [\"~\"]
[jobs.daily]
sources = [\"home\"]
to = [\"main\"]
schedule = \"daily\"
";
