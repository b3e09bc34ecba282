//! Documents of older versions, brought to the newest in memory, one step for each version. The file itself stays
//! as it is, so that an older program on another machine can still read it, and mistakes keep their lines.

use super::document::{Kind, Node};
use super::problem::{At, Problem};
use std::collections::BTreeMap;

/// Changes the top table of one version into that of the next.
type Step = fn(&mut BTreeMap<String, (At, Node)>);

/// From version 1 to 2, from 2 to 3, and so on. There is one version so far.
const STEPS: &[Step] = &[];

/// The newest version.
pub(super) const NEWEST: i64 = newest(STEPS);

const fn newest(steps: &[Step]) -> i64 {
    steps.len() as i64 + 1
}

/// Brings a document to the newest version; tells what is wrong with the one it says it is of. A document that
/// says nothing is of the first.
pub(super) fn bring_up_to_date(document: &mut Node) -> Option<Problem> {
    follow(STEPS, document)
}

fn follow(steps: &[Step], document: &mut Node) -> Option<Problem> {
    let newest = newest(steps);
    let Kind::Table(table) = &mut document.kind else { return None };
    let written = match table.get("version") {
        None => 1,
        Some((_, Node { kind: Kind::Integer(n), .. })) if (1..=newest).contains(n) => *n,
        Some((_, Node { kind: Kind::Integer(n), at })) if *n > newest => {
            let text = format!("this file is of version {n}; this program reads version {newest}");
            return Some(Problem::error(at.clone(), text).help("install the newest version of lifeboat"));
        }
        Some((_, node)) => {
            let text = match newest {
                1 => "version is 1".to_string(),
                _ => format!("version is 1 to {newest}"),
            };
            return Some(Problem::error(node.at.clone(), text));
        }
    };
    steps.iter().skip(written as usize - 1).for_each(|step| step(table));
    if let Some((_, version)) = table.get_mut("version") {
        version.kind = Kind::Integer(newest);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::document::parse;
    use super::*;

    fn rename(table: &mut BTreeMap<String, (At, Node)>) {
        if let Some(places) = table.remove("places") {
            table.insert("repositories".into(), places);
        }
    }

    /// Hours became days.
    fn days(table: &mut BTreeMap<String, (At, Node)>) {
        if let Some((_, Node { kind: Kind::Integer(n), .. })) = table.get_mut("age") {
            *n /= 24;
        }
    }

    #[test]
    fn older_documents_take_each_step_and_keep_their_lines() {
        let steps: &[Step] = &[rename, days];
        let after = |text: &str| {
            let mut document = parse(0, text).ok().unwrap();
            let problem = follow(steps, &mut document).map(|problem| problem.text);
            (document.value(), problem, document.place(&["repositories", "a"]).map(|at| at.span.start))
        };
        let first = after("version = 1\nage = 48\n[places.a]\nurl = \"/x\"\n");
        assert_eq!(
            first.0,
            serde_json::json!({"version": 3, "age": 2, "repositories": {"a": {"url": "/x"}}})
        );
        assert_eq!((first.1, first.2.is_some_and(|at| at > 20)), (None, true));
        let second = after("version = 2\nage = 48\n[places.a]\n");
        assert_eq!(second.0, serde_json::json!({"version": 3, "age": 2, "places": {"a": {}}}));
        assert_eq!(after("version = 3\nage = 48\n").0["age"], 48);
        assert_eq!(after("age = 48\n").0["age"], 2, "what says nothing is of the first version");
        for (text, told) in [
            ("version = 4", "this file is of version 4; this program reads version 3"),
            ("version = 0", "version is 1 to 3"),
            ("version = \"1\"", "version is 1 to 3"),
        ] {
            assert_eq!(after(text).1.as_deref(), Some(told));
        }
    }
}
