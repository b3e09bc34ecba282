//! The plan as text, as Markdown, and as one page for any browser or printer.
//!
//! All three are made from the same [`Part`]s, so that they say the same. Names come from outside: control characters
//! are escaped everywhere, markup where there is any.

use super::{Called, Disaster, Held, Instruction, Plan, PlanPlace, Returning};
use crate::counts::count;
use crate::display::safe;
use crate::page::{escape, page, table};
use crate::posture::span_words;
use crate::sizes;
use crate::time;
use format::kind::Timestamp;
use std::fmt::Write;

/// A piece of the plan.
enum Part {
    Title(String),
    Section(String),
    Heading(String),
    Say(String),
    /// Something that is wrong.
    Warn(String),
    Table(Vec<&'static str>, Vec<Vec<String>>),
    Step(usize, String),
    /// Lines whose values a person puts right.
    Fill(Vec<String>),
    Commands(Vec<String>),
}

use Part::{Commands, Fill, Heading, Say, Section, Step, Table, Title, Warn};

fn when(secs: i64) -> String {
    time::shown(Timestamp { secs, nanos: 0 })
}

fn takes(seconds: f64) -> String {
    format!("about {}", span_words(seconds.ceil() as i64))
}

fn called(called: &Called) -> Vec<String> {
    let more = |text: &Option<String>| text.clone().unwrap_or_default();
    vec![called.name.clone(), more(&called.role), more(&called.phone), more(&called.email)]
}

/// Who does it, in one line.
fn who(plan: &Plan) -> String {
    let one = |c: &Called| {
        let reached: Vec<&str> = c.phone.iter().chain(&c.email).map(String::as_str).collect();
        let role = c.role.as_ref().map(|role| format!(" ({role})")).unwrap_or_default();
        match reached.is_empty() {
            true => format!("{}{role}", c.name),
            false => format!("{}{role}, {}", c.name, reached.join(", ")),
        }
    };
    match plan.contacts.is_empty() {
        true => "Who does it: NOBODY IS NAMED.".into(),
        false => {
            format!("Who does it: {}.", plan.contacts.iter().map(one).collect::<Vec<_>>().join("; else "))
        }
    }
}

fn held(held: &Held) -> String {
    let mut text = format!("{}, as of {}", held.repository, when(held.time));
    if let Some(drilled) = held.drilled {
        write!(text, ", proven by a drill {}", when(drilled)).expect("strings grow");
    } else if let Some(verified) = held.verified {
        write!(text, ", read and right {}", when(verified)).expect("strings grow");
    }
    if let Some(doubt) = &held.doubt {
        write!(text, "; BUT {doubt}").expect("strings grow");
    }
    text
}

fn returning(at: usize, back: &Returning) -> Vec<String> {
    let from = back.from.as_ref().map_or_else(|| "NO COPY".into(), held);
    let otherwise: Vec<&str> = back.otherwise.iter().map(|held| held.repository.as_str()).collect();
    let from = match otherwise.is_empty() {
        true => from,
        false => format!("{from}; else {}", otherwise.join(", ")),
    };
    let size = back.from.as_ref().map_or(String::new(), |held| {
        let files = count(held.files, "file");
        format!("{files}, {}", sizes::shown(held.bytes))
    });
    let time = match &back.takes {
        Some(t) => format!("{} ({})", takes(t.seconds), t.basis.words()),
        None => String::new(),
    };
    let late = back.rto_seconds.zip(back.takes.as_ref()).is_some_and(|(rto, takes)| takes.seconds > rto);
    let mut goals = Vec::new();
    if let Some(rto) = back.rto_seconds {
        let not = if late { " IS NOT MET" } else { "" };
        goals.push(format!("back within {}{not}", span_words(rto as i64)));
    }
    if let Some(rpo) = back.rpo_seconds {
        goals.push(format!("loses at most {}", span_words(rpo as i64)));
    }
    let name = match &back.description {
        Some(description) => format!("{} ({}): {description}", back.name, back.kind),
        None => format!("{} ({})", back.name, back.kind),
    };
    let command = back.command.clone().unwrap_or_default();
    vec![(at + 1).to_string(), name, back.why.clone(), from, size, time, goals.join("; "), command]
}

fn place(place: &PlanPlace) -> Vec<String> {
    use super::Distance;
    let distance = match place.distance {
        Distance::Disk => "on this machine",
        Distance::Drive => "a drive that comes and goes",
        Distance::Server => "in this building",
        Distance::Away => "in another building",
    };
    let mut facts = vec![distance.to_string()];
    facts.extend(place.stands.clone());
    facts.extend(place.is_immutable.then(|| "refuses to delete for a while".to_string()));
    facts.extend(place.is_on_same_disk.then(|| "ON THE SAME DISK as what it protects".to_string()));
    facts.extend(place.is_damaged.then(|| "DAMAGE WAS FOUND THERE".to_string()));
    vec![
        place.name.clone(),
        place.location.clone(),
        place.medium.clone(),
        facts.join("; "),
        place.login.clone().unwrap_or_else(|| "nothing".into()),
    ]
}

impl Plan {
    fn parts(&self) -> Vec<Part> {
        let mut parts = vec![Title(format!("Recovery plan of {}", self.machine))];
        let of = self.organisation.as_ref().map(|name| format!("{name}. ")).unwrap_or_default();
        parts.push(Say(format!(
            "{of}Made {} by lifeboat {} from the configuration, the catalog and the last drills.",
            when(self.made),
            env!("CARGO_PKG_VERSION")
        )));
        parts.extend(self.review_by.map(|by| Say(format!("To be looked through before {}.", when(by)))));
        parts.extend(self.gaps.iter().map(|gap| Warn(gap.clone())));
        self.people(&mut parts);
        parts.push(Section("What comes back, in this order".into()));
        let rows = self.order.iter().enumerate().map(|(at, back)| returning(at, back)).collect();
        parts.push(Table(vec!["", "what", "why here", "from", "size", "takes", "goal", "command"], rows));
        self.uncovered_parts(&mut parts);
        parts.push(Section("Where the copies are".into()));
        let rows = self.places.iter().map(place).collect();
        parts.push(Table(vec!["name", "address", "on", "where", "needed besides the key"], rows));
        parts.push(match &self.program {
            Some(program) => Say(format!(
                "The program lies beside each of them: tools/{}, version {}, SHA-256 {}.{}",
                program.file,
                program.version,
                program.sha256,
                if program.is_static { "" } else { " It needs libraries of the system." }
            )),
            None => Warn("the program does not lie beside the copies: lifeboat kit stores it there".into()),
        });
        for disaster in &self.disasters {
            self.disaster(disaster, &mut parts);
        }
        parts
    }

    fn people(&self, parts: &mut Vec<Part>) {
        parts.push(Section("Who does it".into()));
        match self.contacts.is_empty() {
            true => parts.push(Say("Nobody is named.".into())),
            false => parts.push(Table(
                vec!["name", "does", "phone", "mail"],
                self.contacts.iter().map(called).collect(),
            )),
        }
        parts.extend(self.keys.as_ref().map(|keys| Say(format!("The kit and the keys: {keys}"))));
        parts.extend(self.notes.as_ref().map(|notes| Say(notes.clone())));
    }

    fn uncovered_parts(&self, parts: &mut Vec<Part>) {
        parts.push(Section("What does not come back".into()));
        if self.uncovered.things.is_empty() {
            parts.push(Say("Everything that was looked for on this machine is in a source.".into()));
        } else {
            let (bytes, more) = self.uncovered.bytes();
            let least = if more { "at least " } else { "" };
            parts.push(Say(format!("In no source, together {least}{}:", sizes::shown(bytes))));
            let rows = self.uncovered.things.iter().map(|thing| {
                let least = if thing.at_least { "at least " } else { "" };
                let size = thing.bytes.map_or_else(|| "unknown".into(), sizes::shown);
                let partly = if thing.partly { "the rest of it; a part is in a source" } else { "" };
                vec![thing.kind.clone(), thing.name.clone(), format!("{least}{size}"), partly.to_string()]
            });
            parts.push(Table(vec!["kind", "what", "size", ""], rows.collect()));
        }
        if !self.uncovered.left_out.is_empty() {
            let of =
                |(source, patterns): (&String, &Vec<String>)| format!("{source}: {}", patterns.join("  "));
            let all: Vec<String> = self.uncovered.left_out.iter().map(of).collect();
            parts.push(Say(format!("Left out on purpose, by patterns: {}", all.join("; "))));
        }
    }

    fn disaster(&self, disaster: &Disaster, parts: &mut Vec<Part>) {
        parts.push(Section(disaster.title.into()));
        let mut means = disaster.means.clone();
        if let Some(from) = &disaster.from {
            write!(means, " What is taken: {from}.").expect("strings grow");
        }
        if let Some(seconds) = disaster.seconds {
            write!(means, " Restoring all takes {}.", takes(seconds)).expect("strings grow");
        }
        parts.push(Say(means));
        parts.push(Say(who(self)));
        if !disaster.lost.is_empty() {
            parts.push(Warn(format!("lost for good: {}", disaster.lost.join(", "))));
        }
        parts.push(Heading("Step by step, in one shell".into()));
        for (at, Instruction { say, fill, commands }) in disaster.steps.iter().enumerate() {
            parts.push(Step(at + 1, say.clone()));
            parts.extend((!fill.is_empty()).then(|| Fill(fill.clone())));
            parts.extend((!commands.is_empty()).then(|| Commands(commands.clone())));
        }
    }

    /// The plan as plain text.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for part in self.parts() {
            text_part(&mut out, &part);
        }
        out
    }

    /// The plan as Markdown. Commands are blocks marked `sh`; lines to put right are blocks of their own, marked `sh fill`.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        for part in self.parts() {
            markdown_part(&mut out, &part);
        }
        out
    }

    /// The plan as one page with everything in it.
    pub fn html(&self) -> String {
        let mut out = String::new();
        for part in self.parts() {
            html_part(&mut out, &part);
        }
        page(&format!("Recovery plan of {}", self.machine), &out)
    }
}

const TEXT_WIDTH: usize = 100;

/// Lines of this width at most; a longer word has a line of its own.
fn wrapped(text: &str, first: &str, rest: &str) -> String {
    let mut out = String::new();
    let mut line = first.to_string();
    let mut empty = true;
    for word in safe(text).split_whitespace() {
        if !empty && line.chars().count() + 1 + word.chars().count() > TEXT_WIDTH {
            out.push_str(&line);
            out.push('\n');
            line = rest.to_string();
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    out + &line + "\n"
}

fn text_part(out: &mut String, part: &Part) {
    let under = |text: &str, c: &str| format!("{}\n{}\n", safe(text), c.repeat(safe(text).chars().count()));
    match part {
        Title(text) => out.push_str(&under(&text.to_uppercase(), "=")),
        Section(text) => out.push_str(&format!("\n{}", under(&text.to_uppercase(), "-"))),
        Heading(text) => out.push_str(&format!("\n{}:\n", safe(text))),
        Say(text) => out.push_str(&wrapped(text, "", "")),
        Warn(text) => out.push_str(&wrapped(text, "!! ", "   ")),
        // Cells below each other: a table of sentences fits no sheet of paper.
        Table(head, rows) => rows.iter().for_each(|row| text_row(out, head, row)),
        Step(at, text) => out.push_str(&wrapped(text, &format!("{at:>3}. "), "     ")),
        Fill(lines) => {
            lines
                .iter()
                .for_each(|line| out.push_str(&format!("       {line}     # put this right first\n")));
        }
        Commands(lines) => lines.iter().for_each(|line| out.push_str(&format!("       {line}\n"))),
    }
}

/// A row: its first cell, or its number and the next one, as a heading for the others.
fn text_row(out: &mut String, head: &[&str], row: &[String]) {
    let named = head.first().is_some_and(|name| !name.is_empty());
    let (mark, skipped) = if named { ("* ".into(), 0) } else { (format!("{:>3}. ", row[0]), 1) };
    let cells = head.iter().zip(row).skip(skipped).filter(|(_, cell)| !cell.is_empty());
    for (at, (name, cell)) in cells.enumerate() {
        match (at, name.is_empty()) {
            (0, _) => out.push_str(&wrapped(cell, &mark, "     ")),
            (_, true) => out.push_str(&wrapped(cell, "     ", "       ")),
            (_, false) => out.push_str(&wrapped(&format!("{name}: {cell}"), "     ", "       ")),
        }
    }
}

/// Text of unknown origin as it stands in Markdown.
fn marked(text: &str) -> String {
    let mut out = String::new();
    for c in safe(text).chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|' | '~' | '&' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

fn markdown_part(out: &mut String, part: &Part) {
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    match part {
        Title(text) => out.push_str(&format!("# {}\n\n", marked(text))),
        Section(text) => out.push_str(&format!("## {}\n\n", marked(text))),
        Heading(text) => out.push_str(&format!("### {}\n\n", marked(text))),
        Say(text) => out.push_str(&format!("{}\n\n", marked(text))),
        Warn(text) => out.push_str(&format!("> **{}**\n\n", marked(text))),
        Table(head, rows) => {
            out.push_str(&row(head.iter().map(|cell| cell.to_string()).collect()));
            out.push_str(&row(head.iter().map(|_| "---".to_string()).collect()));
            rows.iter().for_each(|cells| out.push_str(&row(cells.iter().map(|cell| marked(cell)).collect())));
            out.push('\n');
        }
        Step(at, text) => out.push_str(&format!("{at}. {}\n\n", marked(text))),
        Fill(lines) => {
            out.push_str(&format!(
                "   Put right first:\n   ```sh fill\n   {}\n   ```\n\n",
                lines.join("\n   ")
            ));
        }
        Commands(lines) => out.push_str(&format!("   ```sh\n   {}\n   ```\n\n", lines.join("\n   "))),
    }
}

fn html_part(out: &mut String, part: &Part) {
    let text = |text: &str| escape(&safe(text));
    let lines = |lines: &[String]| escape(&lines.join("\n"));
    let html = match part {
        Title(title) => format!("<h1>{}</h1>", text(title)),
        Section(title) => format!("<h2>{}</h2>", text(title)),
        Heading(title) => format!("<h3>{}</h3>", text(title)),
        Say(said) => format!("<p>{}</p>", text(said)),
        Warn(said) => format!("<p class=\"bad\">{}</p>", text(said)),
        Table(head, rows) => {
            let rows: Vec<Vec<String>> =
                rows.iter().map(|row| row.iter().map(|cell| text(cell)).collect()).collect();
            table(head, &rows)
        }
        Step(at, said) => format!("<p><b>{at}.</b> {}</p>", text(said)),
        Fill(fill) => {
            format!("<p class=\"note\">Put right first:</p><pre class=\"fill\">{}</pre>", lines(fill))
        }
        Commands(commands) => format!("<pre class=\"sh\">{}</pre>", lines(commands)),
    };
    out.push_str(&html);
    out.push('\n');
}
