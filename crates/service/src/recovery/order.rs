//! The order of recovery: what comes first, and why.
//!
//! A source comes after everything it depends on. Among those that may come next the one with the smallest
//! `priority` is first, then the most critical; what others need is as urgent as the most urgent of these.

use crate::config::{Config, Criticality};
use std::collections::{BTreeMap, BTreeSet};

/// A source and why it has its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed<'c> {
    /// Its name.
    pub name: &'c str,
    /// Why, in words.
    pub why: String,
}

/// How urgent: the smaller the sooner.
type Rank = (u32, u8);

/// All sources in the order of recovery.
pub fn order(config: &Config) -> Vec<Placed<'_>> {
    let ranks: BTreeMap<&str, (Rank, Option<&str>)> =
        config.sources.keys().map(|name| (name.as_str(), urgency(config, name))).collect();
    let mut left: BTreeSet<&str> = ranks.keys().copied().collect();
    let mut placed = Vec::new();
    while !left.is_empty() {
        let waits = |name: &&&str| {
            let needs = &config.sources[**name].common().depends_on;
            needs.iter().any(|other| other != **name && left.contains(other.as_str()))
        };
        // A circle is refused when the configuration is read; if there is one, its members come in any order.
        let ready = left.iter().filter(|name| !waits(name)).min_by_key(|name| (ranks[**name].0, **name));
        let next = *ready.or_else(|| left.first()).expect("something is left");
        left.remove(next);
        placed.push(Placed { name: next, why: why(config, next, ranks[next].1) });
    }
    placed
}

fn own_rank(config: &Config, name: &str) -> Rank {
    let common = config.sources[name].common();
    let by_loss = match common.criticality.unwrap_or_default() {
        Criticality::High => 0,
        Criticality::Normal => 1,
        Criticality::Low => 2,
    };
    (common.priority.unwrap_or(u32::MAX), by_loss)
}

/// The rank of a source, and whose rank it is where others need it sooner.
fn urgency<'c>(config: &'c Config, name: &'c str) -> (Rank, Option<&'c str>) {
    let mut best = (own_rank(config, name), None);
    let mut seen = BTreeSet::from([name]);
    let mut todo = vec![name];
    while let Some(needed) = todo.pop() {
        for (other, source) in &config.sources {
            if source.common().depends_on.iter().any(|n| n == needed) && seen.insert(other) {
                let rank = own_rank(config, other);
                if rank < best.0 {
                    best = (rank, Some(other.as_str()));
                }
                todo.push(other);
            }
        }
    }
    best
}

fn why(config: &Config, name: &str, sooner_for: Option<&str>) -> String {
    let common = config.sources[name].common();
    let own = match (common.priority, common.criticality.unwrap_or_default()) {
        (Some(priority), _) => format!("priority {priority}"),
        (None, Criticality::High) => "losing a day of it would be bad".into(),
        (None, Criticality::Normal) => "losing a week of it would be bad".into(),
        (None, Criticality::Low) => "losing a month of it would be bearable".into(),
    };
    let mut parts = vec![own];
    parts.extend(sooner_for.map(|other| format!("{other} needs it")));
    if !common.depends_on.is_empty() {
        parts.push(format!("needs {}", common.depends_on.join(", ")));
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::understand;
    use crate::config::problem::SourceFile;
    use std::path::Path;

    fn names(text: &str) -> Vec<String> {
        let file = SourceFile { path: "lifeboat.toml".into(), text: text.into() };
        let loaded =
            understand(vec![file], Path::new("/")).unwrap_or_else(|broken| panic!("{:?}", broken.problems));
        order(&loaded.config).into_iter().map(|placed| format!("{}: {}", placed.name, placed.why)).collect()
    }

    #[test]
    fn what_others_need_comes_first_and_urgent_things_early() {
        let source = |name: &str, more: &str| format!("[sources.{name}]\npaths = [\"/{name}\"]\n{more}\n");
        let text = [
            source("photos", "criticality = \"low\""),
            source("mail", "criticality = \"high\""),
            source("home", ""),
            source("shop", "priority = 1\ndepends_on = [\"database\"]"),
            source("database", "criticality = \"low\"\ndepends_on = [\"system\"]"),
            source("system", ""),
            source("wiki", "priority = 2"),
        ];
        assert_eq!(
            names(&text.concat()),
            [
                "system: losing a week of it would be bad; shop needs it",
                "database: losing a month of it would be bearable; shop needs it; needs system",
                "shop: priority 1; needs database",
                "wiki: priority 2",
                "mail: losing a day of it would be bad",
                "home: losing a week of it would be bad",
                "photos: losing a month of it would be bearable",
            ]
        );
        assert_eq!(names(""), [""; 0]);
    }
}
