//! Lists of patterns in the syntax of gitignore: `!` takes back, a slash at the end means folders only, one
//! at the beginning or in the middle ties the pattern to a base folder, `**` stands for any number of
//! folders, and the last pattern that matches decides.
//!
//! Knows no files: paths come as components together with the bases that count.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::glob::{Glob, after_class};

/// Where a pattern was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An option or a setting; the text says which.
    Option(Arc<str>),
    /// A line of a file.
    File {
        /// The path of the file as bytes.
        path: Arc<[u8]>,
        /// Its line, counted from 1.
        line: u32,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Option(name) => f.write_str(name),
            Origin::File { path, line } => write!(f, "{}:{line}", path.escape_ascii()),
        }
    }
}

/// One pattern.
#[derive(Debug, PartialEq, Eq)]
pub struct Pattern {
    /// As it was written.
    pub text: Box<[u8]>,
    /// Where it was written.
    pub origin: Origin,
    /// True if it takes back what an earlier one left out.
    pub negated: bool,
    folders_only: bool,
    any_case: bool,
    shape: Shape,
}

#[derive(Debug, PartialEq, Eq)]
enum Shape {
    /// No slash: a name at any depth.
    Name(Glob),
    /// Components from a base folder on.
    Path(Box<[Step]>),
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Component(Glob),
    /// `**`: any number of folders; as the last step, everything inside.
    AnyFolders,
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" ({})", self.text.escape_ascii(), self.origin)
    }
}

impl Pattern {
    /// Compiles one line, `None` for blank lines and comments.
    pub fn parse(line: &[u8], origin: Origin, any_case: bool) -> Option<Pattern> {
        let text = trim_end(line);
        if text.is_empty() || text[0] == b'#' {
            return None;
        }
        let (negated, rest) = match text {
            [b'!', rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        let (folders_only, rest) = match rest {
            [rest @ .., b'/'] => (true, rest),
            rest => (false, rest),
        };
        let body = if any_case { lower(rest) } else { Cow::Borrowed(rest) };
        let shape =
            if body.contains(&b'/') { Shape::Path(steps(&body)) } else { Shape::Name(Glob::new(&body)) };
        let nothing = rest.is_empty();
        (!nothing).then(|| Pattern { text: text.into(), origin, negated, folders_only, any_case, shape })
    }

    /// Whether nothing can ever match, because a bracket is never closed.
    pub(crate) fn is_malformed(&self) -> bool {
        match &self.shape {
            Shape::Name(glob) => *glob == Glob::Nothing,
            Shape::Path(steps) => steps.contains(&Step::Component(Glob::Nothing)),
        }
    }

    /// Turns an exclusion into its opposite.
    pub(crate) fn negate(mut self) -> Pattern {
        self.negated = !self.negated;
        self
    }

    /// Says whether a path matches. `bases` are the depths of the folders that patterns with a slash start from.
    fn matches(&self, path: &[&[u8]], bases: &[u32], is_directory: bool) -> bool {
        if self.folders_only && !is_directory {
            return false;
        }
        if self.any_case {
            let lower: Vec<_> = path.iter().map(|name| lower(name)).collect();
            let lower: Vec<&[u8]> = lower.iter().map(|name| &**name).collect();
            return self.matches_exactly(&lower, bases);
        }
        self.matches_exactly(path, bases)
    }

    fn matches_exactly(&self, path: &[&[u8]], bases: &[u32]) -> bool {
        let Some(name) = path.last() else { return false };
        match &self.shape {
            Shape::Name(glob) => glob.matches(name),
            Shape::Path(steps) => {
                // The last component decides against most paths at once.
                if let Some(Step::Component(last)) = steps.last()
                    && !last.matches(name)
                {
                    return false;
                }
                bases.iter().any(|&base| matches_steps(steps, &path[base as usize..]))
            }
        }
    }
}

/// Drops a carriage return and trailing blanks, except a blank after a backslash, as git does.
fn trim_end(line: &[u8]) -> &[u8] {
    let mut text = line.strip_suffix(b"\r").unwrap_or(line);
    while let [rest @ .., b' '] = text {
        let backslashes = rest.iter().rev().take_while(|byte| **byte == b'\\').count();
        if backslashes % 2 == 1 {
            break;
        }
        text = rest;
    }
    text
}

fn lower(text: &[u8]) -> Cow<'_, [u8]> {
    if text.is_ascii() && !text.iter().any(u8::is_ascii_uppercase) {
        return Cow::Borrowed(text);
    }
    match std::str::from_utf8(text) {
        Ok(text) => Cow::Owned(text.to_lowercase().into_bytes()),
        Err(_) => Cow::Owned(text.to_ascii_lowercase()),
    }
}

fn steps(body: &[u8]) -> Box<[Step]> {
    let body = body.strip_prefix(b"/").unwrap_or(body);
    let mut steps: Vec<Step> = Vec::new();
    for component in split_components(body).unwrap_or_else(|| vec![b"["]) {
        // Git takes three stars for two.
        let any_folders = component.len() > 1 && component.iter().all(|&byte| byte == b'*');
        match (any_folders, steps.last()) {
            (true, Some(Step::AnyFolders)) => {}
            (true, _) => steps.push(Step::AnyFolders),
            (false, _) => steps.push(Step::Component(Glob::new(component))),
        }
    }
    steps.into()
}

/// Splits at slashes, except those in brackets. An escaped slash is still one. `None` if a bracket does not close.
fn split_components(body: &[u8]) -> Option<Vec<&[u8]>> {
    let mut components = Vec::new();
    let (mut start, mut at) = (0, 0);
    while at < body.len() {
        match &body[at..] {
            [b'\\', b'/', ..] | [b'/', ..] => {
                components.push(&body[start..at]);
                at += if body[at] == b'/' { 1 } else { 2 };
                start = at;
            }
            [b'\\', _, ..] => at += 2,
            [b'[', rest @ ..] => at = body.len() - after_class(rest)?.len(),
            _ => at += 1,
        }
    }
    components.push(&body[start..]);
    Some(components)
}

/// As for one component: only the last `**` ever has to take one folder more.
fn matches_steps(steps: &[Step], path: &[&[u8]]) -> bool {
    let (mut s, mut p) = (0, 0);
    let mut again: Option<(usize, usize)> = None;
    while p < path.len() {
        let fits = match steps.get(s) {
            // At the end it stands for everything inside: at least one component, which there is.
            Some(Step::AnyFolders) if s + 1 == steps.len() => return true,
            Some(Step::AnyFolders) => {
                again = Some((s, p));
                s += 1;
                continue;
            }
            Some(Step::Component(glob)) => glob.matches(path[p]),
            None => false,
        };
        if fits {
            (s, p) = (s + 1, p + 1);
        } else if let Some((any, from)) = again {
            again = Some((any, from + 1));
            (s, p) = (any + 1, from + 1);
        } else {
            return false;
        }
    }
    s == steps.len()
}

/// Patterns in order; the last that matches decides.
#[derive(Debug, Default)]
pub struct PatternList {
    patterns: Vec<Arc<Pattern>>,
    /// Plain names, found by one look-up however many there are; positions in ascending order.
    names: HashMap<Box<[u8]>, Vec<u32>>,
    /// Positions of all other patterns, ascending.
    others: Vec<u32>,
}

impl PatternList {
    /// Adds a pattern at the end, where it overrules all others.
    pub fn push(&mut self, pattern: Pattern) {
        let position = self.patterns.len() as u32;
        match &pattern.shape {
            Shape::Name(Glob::Literal(name)) if !pattern.any_case => {
                self.names.entry(name.clone()).or_default().push(position);
            }
            _ => self.others.push(position),
        }
        self.patterns.push(Arc::new(pattern));
    }

    /// Adds all lines of a file in gitignore syntax.
    pub fn push_lines(&mut self, contents: &[u8], path: &[u8], any_case: bool) {
        let path: Arc<[u8]> = path.into();
        let contents = contents.strip_prefix(b"\xef\xbb\xbf").unwrap_or(contents);
        for (i, line) in contents.split(|&byte| byte == b'\n').enumerate() {
            let origin = Origin::File { path: path.clone(), line: i as u32 + 1 };
            if let Some(pattern) = Pattern::parse(line, origin, any_case) {
                self.push(pattern);
            }
        }
    }

    /// Says whether the list has no patterns.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Returns the pattern that decides about a path, `None` if no pattern matches. The last of `path` is the
    /// entry, the others are its folders from `/` down. Patterns with a slash are tried from each of `bases`:
    /// the number of leading components to skip.
    pub fn decide(&self, path: &[&[u8]], bases: &[u32], is_directory: bool) -> Option<&Arc<Pattern>> {
        let by_name = path.last().and_then(|name| self.names.get(*name));
        let fits = |position: &u32| !self.patterns[*position as usize].folders_only || is_directory;
        let best = by_name.and_then(|positions| positions.iter().rev().copied().find(fits));
        let better =
            self.others.iter().rev().take_while(|position| best.is_none_or(|best| **position > best));
        let found = better
            .copied()
            .find(|position| self.patterns[*position as usize].matches(path, bases, is_directory));
        found.or(best).map(|position| &self.patterns[position as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excluded(lines: &str, path: &str) -> bool {
        let mut list = PatternList::default();
        list.push_lines(lines.as_bytes(), b"test", false);
        let (path, is_directory) = match path.strip_suffix('/') {
            Some(path) => (path, true),
            None => (path, false),
        };
        let components: Vec<&[u8]> = path.split('/').map(str::as_bytes).collect();
        list.decide(&components, &[0], is_directory).is_some_and(|pattern| !pattern.negated)
    }

    #[test]
    fn the_last_match_decides() {
        assert!(excluded("*.log", "a/b.log"));
        assert!(!excluded("*.log\n!keep.log", "a/keep.log"));
        assert!(excluded("!keep.log\n*.log", "a/keep.log"));
        assert!(excluded("keep.log\n!*.log\nkeep.log", "keep.log"));
        assert!(!excluded("keep.log\n!*.log\nkeep.log/", "keep.log"));
        assert!(excluded("\\!odd\n# comment\n\\#odd\n", "#odd"));
        assert!(excluded("\\!odd", "!odd"));
    }

    #[test]
    fn slashes_tie_to_the_base_and_double_stars_span_folders() {
        assert!(excluded("/a", "a") && !excluded("/a", "b/a"));
        assert!(excluded("a/b", "a/b") && !excluded("a/b", "x/a/b"));
        assert!(excluded("a/", "x/a/") && !excluded("a/", "x/a"));
        assert!(excluded("**/a/b", "x/y/a/b") && excluded("**/a/b", "a/b"));
        assert!(excluded("a/**/b", "a/b") && excluded("a/**/b", "a/x/y/b") && !excluded("a/**/b", "a/x"));
        assert!(excluded("a/**", "a/x/y") && !excluded("a/**", "a/"));
        assert!(excluded("a/*/c", "a/b/c") && !excluded("a/*/c", "a/b/b/c"));
        assert!(excluded("a/[/[bc]", "a/b") && !excluded("a/[/b", "a/b") && excluded("a\\/b", "a/b"));
        assert!(excluded("/**/x", "x") && excluded("**", "anything/at all"));
    }

    #[test]
    fn trailing_blanks_and_carriage_returns_do_not_count() {
        assert!(excluded("name  \r\n", "name"));
        assert!(excluded("name\\ \n", "name "));
        assert!(excluded("\u{feff}name", "name"));
        assert!(!excluded("\n   \n/\n", "name"));
    }

    #[test]
    fn case_is_ignored_only_where_asked() {
        let origin = || Origin::Option("--iexclude".into());
        let mut list = PatternList::default();
        list.push(Pattern::parse("*.ÄÖ/Thumbs.[D-F]b".as_bytes(), origin(), true).unwrap());
        let path: [&[u8]; 2] = ["x.äÖ".as_bytes(), b"THUMBS.DB"];
        let pattern = list.decide(&path, &[0], false).unwrap();
        assert_eq!(pattern.to_string(), r#""*.\xc3\x84\xc3\x96/Thumbs.[D-F]b" (--iexclude)"#);
        assert!(list.decide(&[b"x", b"THUMBS.DB"], &[0], false).is_none());
    }

    #[test]
    fn every_base_counts() {
        let mut list = PatternList::default();
        list.push_lines(b"/cache\n/home/*/tmp", b"f", false);
        let path: [&[u8]; 3] = [b"home", b"ann", b"cache"];
        assert!(list.decide(&path, &[0], true).is_none());
        assert!(list.decide(&path, &[0, 2], true).is_some());
        assert!(list.decide(&[b"home", b"ann", b"tmp"], &[0, 2], true).is_some());
    }
}
