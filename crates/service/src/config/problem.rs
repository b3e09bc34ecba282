//! What is wrong in a configuration file, and where: `file:line:column`, the line, and a mark below it.

use crate::display::safe;
use std::ops::Range;
use std::path::PathBuf;

/// A file of the configuration and its text.
pub struct SourceFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

impl SourceFile {
    /// `file:line:column`, both counted from 1, columns in characters.
    pub fn position(&self, offset: usize) -> String {
        let (line, column, _) = self.line_of(offset);
        format!("{}:{line}:{column}", safe(&self.path.display().to_string()))
    }

    /// Line and column of a byte, counted from 1, and the text of the line.
    fn line_of(&self, offset: usize) -> (usize, usize, &str) {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let start = self.text[..offset].rfind('\n').map_or(0, |newline| newline + 1);
        let end = self.text[offset..].find('\n').map_or(self.text.len(), |newline| offset + newline);
        let line = self.text[..start].matches('\n').count() + 1;
        (line, self.text[start..offset].chars().count() + 1, self.text[start..end].trim_end_matches('\r'))
    }
}

/// A place in one of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    /// Which file.
    pub file: usize,
    /// Which bytes of it.
    pub span: Range<usize>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// The configuration cannot be used.
    Error,
    /// It can, and is probably not what was wanted.
    Warning,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub grade: Grade,
    /// Where; nowhere for what is missing altogether.
    pub at: Option<At>,
    /// What.
    pub text: String,
    /// What helps.
    pub help: Option<String>,
    /// Whether the line may hold a secret and is not shown.
    pub hides_line: bool,
}

impl Problem {
    /// What makes the configuration unusable.
    pub fn error(at: At, text: impl Into<String>) -> Self {
        Problem { grade: Grade::Error, at: Some(at), text: text.into(), help: None, hides_line: false }
    }

    /// What is probably not what was wanted.
    pub fn warning(at: Option<At>, text: impl Into<String>) -> Self {
        Problem { grade: Grade::Warning, at, text: text.into(), help: None, hides_line: false }
    }

    /// With what helps.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The problem as a person reads it, in lines.
    pub fn lines(&self, files: &[SourceFile]) -> Vec<String> {
        let word = match self.grade {
            Grade::Error => "error",
            Grade::Warning => "warning",
        };
        let mut lines = Vec::new();
        match &self.at {
            None => lines.push(format!("{word}: {}", self.text)),
            Some(at) => {
                lines.push(format!("{}: {word}: {}", files[at.file].position(at.span.start), self.text));
                if !self.hides_line {
                    lines.extend(self.shown_line(at, files));
                }
            }
        }
        lines.extend(self.help.iter().map(|help| format!("  help: {help}")));
        lines
    }

    /// The line with a mark below what is meant.
    fn shown_line(&self, at: &At, files: &[SourceFile]) -> Vec<String> {
        let file = &files[at.file];
        let (number, column, line) = file.line_of(at.span.start);
        let number = number.to_string();
        let marked = file.text.get(at.span.clone()).unwrap_or_default();
        let marked = marked.lines().next().unwrap_or_default().chars().count().max(1);
        let before: String =
            line.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let gap = " ".repeat(number.len());
        vec![
            format!("  {number} | {}", safe(&line.replace('\t', "    "))),
            format!("  {gap} | {}{}", before.replace('\t', "    "), "^".repeat(marked)),
        ]
    }

    /// The problem for programs.
    pub fn object(&self, files: &[SourceFile]) -> serde_json::Value {
        let mut object = serde_json::json!({
            "message_type": if self.grade == Grade::Error { "error" } else { "warning" },
            "error": { "message": self.text },
        });
        if let Some(at) = &self.at {
            let (line, column, _) = files[at.file].line_of(at.span.start);
            object["file"] = files[at.file].path.display().to_string().into();
            object["line"] = line.into();
            object["column"] = column.into();
        }
        if let Some(help) = &self.help {
            object["hint"] = help.clone().into();
        }
        object
    }
}
