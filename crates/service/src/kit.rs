//! The recovery kit: one sheet of paper that, with one surviving copy, is enough to come back.
//!
//! It says where the copies are, holds a recovery key of its own (as words, groups and QR code) or a share
//! of one, the fingerprints to compare, the program's hash, and five steps. A kit is text and HTML made
//! here; where it goes is the caller's: a file that only its owner may read, or a terminal. What is
//! remembered of it on this machine ([`Remembered`]) tells neither the key nor anything that helps to guess it.

use crate::config::Contact;
use crate::display::shell_word;
use crate::durable;
use crate::failure::Outcome;
use crate::folders::Folders;
use crate::page::{escape, page, qr, table};
use crate::time;
use format::keys::Key;
use format::kind::Timestamp;
use format::shares::Share;
use format::{textkey, words};
use repo::Repo;
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// What the hidden line of a kit begins with, by which the program knows it.
pub const MARK: &str = "lifeboat-kit-1";
/// Groups of the recovery key's text.
const GROUPS: usize = 14;

/// A copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KitPlace {
    /// Its name in the configuration, if it has one.
    pub name: Option<String>,
    /// Its location as it is given to `-r`; holds no secret.
    pub location: String,
    /// The repository's id.
    pub repository: String,
    /// The family's id.
    pub family: String,
    /// The fingerprint of the family's keys.
    pub keys: String,
    /// Ids of the ways to unlock that were made on purpose.
    pub slots: Vec<String>,
}

/// The program that brings everything back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its version.
    pub version: String,
    /// The name of its file beside each copy.
    pub file: String,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
    /// Whether it runs without any library of the system.
    pub is_static: bool,
    /// Whether it lies beside the copies.
    pub is_stored: bool,
}

/// This very program as it can be stored beside a copy.
pub struct OwnProgram {
    /// What is said of it.
    pub facts: Program,
    /// The file.
    pub contents: Vec<u8>,
}

const README: &str = "\
This folder belongs to a lifeboat repository: the folder or bucket above it is a backup.

To get files back you need the recovery kit (a printed sheet), or the password.
  1. copy the file lifeboat-... of this folder to a computer with 64-bit Linux
  2. compare its SHA-256 with the kit:   sha256sum lifeboat-...
  3. chmod +x lifeboat-...
  4. ./lifeboat-... recover PLACE --recovery-key           PLACE is where this backup lies
  5. do what it prints
";

/// Stores the program and a page of text beside a copy.
pub fn store_program(repo: &Repo, program: &OwnProgram) -> Outcome<()> {
    repo::tools::store_tool(repo, "readme.txt", README.as_bytes())?;
    repo::tools::store_tool(repo, &program.facts.file, &program.contents)?;
    Ok(())
}

/// The secret on the sheet.
pub enum KitSecret<'a> {
    /// The whole recovery key.
    Key(&'a Key),
    /// One share of it.
    Share(&'a Share),
}

/// A kit.
pub struct Kit<'a> {
    /// The machine that made it.
    pub machine: &'a str,
    /// When.
    pub made: Timestamp,
    /// The copies.
    pub places: &'a [KitPlace],
    /// The program.
    pub program: &'a Program,
    /// The secret.
    pub secret: KitSecret<'a>,
    /// Who to ask, as the configuration says.
    pub contacts: &'a [String],
}

impl Kit<'_> {
    fn title(&self) -> String {
        match &self.secret {
            KitSecret::Key(_) => format!("Recovery kit of {}", self.machine),
            KitSecret::Share(share) => {
                format!("Recovery kit of {}, share {} of {}", self.machine, share.number(), share.of())
            }
        }
    }

    fn warning(&self) -> String {
        match &self.secret {
            KitSecret::Key(_) => {
                "Whoever holds this sheet and one of the copies can read everything. Keep it where \
                 you keep a passport, not beside the copies, and never as a file on this machine."
                    .into()
            }
            KitSecret::Share(share) => format!(
                "Any {} of {} such sheets open the copies; this one alone tells nothing. Keep them in different places.",
                share.needed(),
                share.of()
            ),
        }
    }

    /// The five steps.
    fn steps(&self) -> Vec<String> {
        let place = self.places.first().map_or("PLACE".into(), |place| shell_word(&place.location));
        let program = &self.program.file;
        let get = match self.program.is_stored {
            true => format!(
                "Get the program: the file tools/{} lies beside every copy listed here. Copy it to the computer.",
                self.program.file
            ),
            false => format!("Get the program lifeboat, version {} or later.", self.program.version),
        };
        let secret = match &self.secret {
            KitSecret::Key(_) => "the recovery key of this sheet (words or groups) when it asks".to_string(),
            KitSecret::Share(share) => {
                format!("{} of the shares, each typed into a file of its own", share.needed())
            }
        };
        let options = match &self.secret {
            KitSecret::Key(_) => "--recovery-key".to_string(),
            KitSecret::Share(share) => {
                let each = (1..=share.needed()).map(|n| format!("--recovery-share share-{n}.txt"));
                each.collect::<Vec<_>>().join(" ")
            }
        };
        vec![
            "Take a computer with 64-bit Linux, and one of the copies: plug the disk in, or connect to the network.".into(),
            get,
            format!(
                "Check it: sha256sum {} must print the SHA-256 below. Then: chmod +x {}",
                self.program.file, self.program.file
            ),
            format!("Run: ./{program} recover {place} {options}  - and give {secret}. It brings the configuration back, makes keys for the \
                     computer, and lists what can come back, in which order, and how long it takes. If this copy is gone, use the next."),
            format!("Bring it back: ./{program} recover {place} --all --in-place  (or --target FOLDER). Then make a new kit: ./{program} kit \
                     --html kit.html --retire."),
        ]
    }

    /// What the program reads from the file of a kit. Of a share only the places.
    fn hidden(&self) -> Zeroizing<String> {
        let key = match &self.secret {
            KitSecret::Key(key) => Some(textkey::encode(key)),
            KitSecret::Share(_) => None,
        };
        let places: Vec<&str> = self.places.iter().map(|place| place.location.as_str()).collect();
        let mut line = Zeroizing::new(serde_json::json!({ "places": places }).to_string());
        if let Some(key) = key {
            line.pop();
            line.push_str(",\"key\":\"");
            line.push_str(&key);
            line.push_str("\"}");
        }
        // Two dashes would end a comment of HTML.
        Zeroizing::new(format!("{MARK} {}", line.replace("--", "-\\u002d")))
    }

    fn facts(&self) -> Vec<(String, String)> {
        let p = self.program;
        let mut facts = vec![
            ("made".to_string(), time::shown(self.made)),
            (
                "program".to_string(),
                format!("lifeboat {}{}", p.version, if p.is_static { ", static" } else { "" }),
            ),
            ("its SHA-256".to_string(), p.sha256.clone()),
        ];
        let mut keys: Vec<&str> = self.places.iter().map(|place| place.keys.as_str()).collect();
        keys.dedup();
        keys.into_iter().for_each(|print| facts.push(("key fingerprint".to_string(), print.to_string())));
        facts
    }

    /// As plain text.
    pub fn text(&self) -> Zeroizing<String> {
        let mut out = Zeroizing::new(String::with_capacity(8 << 10));
        let title = self.title();
        let mut line = |text: &str| {
            out.push_str(text);
            out.push('\n');
        };
        line(&title.to_uppercase());
        line(&"=".repeat(title.chars().count()));
        line("");
        line(&wrapped(&self.warning()).join("\n"));
        line("\nWHERE THE COPIES ARE");
        for place in self.places {
            let name = place.name.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
            line(&format!("  {name}{}", crate::display::safe(&place.location)));
            line(&format!("    repository {}  family {}", place.repository, place.family));
        }
        match &self.secret {
            KitSecret::Key(key) => {
                line("\nTHE RECOVERY KEY, IN GROUPS");
                let text = textkey::encode(key);
                let groups: Vec<&str> = text.split('-').collect();
                groups.chunks(7).for_each(|row| line(&format!("  {}", row.join("-"))));
                line("\nTHE SAME KEY, IN WORDS");
                for (n, row) in words::encode(key).chunks(6).enumerate() {
                    let numbered =
                        row.iter().enumerate().map(|(i, word)| format!("{:2} {word:<9}", n * 6 + i + 1));
                    line(&format!("  {}", numbered.collect::<Vec<_>>().join(" ").trim_end()));
                }
            }
            KitSecret::Share(share) => {
                line(&format!("\nSHARE {} OF {}", share.number(), share.of()));
                share.lines().iter().for_each(|text| line(&format!("  {}", **text)));
            }
        }
        line("\nFIVE STEPS");
        for (i, step) in self.steps().iter().enumerate() {
            line(&format!("  {}. {}", i + 1, wrapped(step).join("\n     ")));
        }
        if !self.contacts.is_empty() {
            line("\nWHO TO ASK");
            self.contacts.iter().for_each(|contact| line(&format!("  {}", crate::display::safe(contact))));
        }
        line("\nFACTS TO COMPARE");
        self.facts().iter().for_each(|(name, value)| line(&format!("  {name:<16} {value}")));
        line("");
        line(&self.hidden());
        out
    }

    /// As one page of HTML, made to be printed.
    pub fn html(&self) -> Zeroizing<String> {
        let mut body = Zeroizing::new(String::with_capacity(64 << 10));
        let mut add = |text: &str| body.push_str(text);
        add(&format!("<h1>{}</h1><p>{}</p>", escape(&self.title()), escape(&self.warning())));
        add("<h2>Where the copies are</h2>");
        let rows: Vec<Vec<String>> = self
            .places
            .iter()
            .map(|place| {
                let name = place.name.as_deref().unwrap_or("");
                vec![
                    escape(name),
                    format!("<code>{}</code>", escape(&place.location)),
                    format!("<code>{}</code>", escape(&place.repository)),
                ]
            })
            .collect();
        add(&table(&["name", "place", "repository"], &rows));
        match &self.secret {
            KitSecret::Key(key) => {
                let text = textkey::encode(key);
                add("<h2>The recovery key</h2><div class=\"secret\"><div class=\"qr\">");
                add(&qr(&text));
                add("</div><div class=\"key\">");
                let groups: Vec<&str> = text.split('-').collect();
                groups.chunks(4).for_each(|row| add(&format!("{}<br>", row.join("-"))));
                add("</div><p class=\"note\">The same key in words; either will do:</p><ol class=\"words\">");
                words::encode(key).iter().for_each(|word| add(&format!("<li>{word}</li>")));
                add("</ol></div>");
            }
            KitSecret::Share(share) => {
                let text = share.text();
                add(&format!(
                    "<h2>Share {} of {}</h2><div class=\"secret\"><div class=\"qr\">",
                    share.number(),
                    share.of()
                ));
                add(&qr(&text));
                add("</div><div class=\"key\">");
                share.lines().iter().for_each(|text| add(&format!("{}<br>", **text)));
                add("</div></div>");
            }
        }
        add("<h2>Five steps</h2><ol>");
        self.steps().iter().for_each(|step| add(&format!("<li>{}</li>", escape(step))));
        add("</ol>");
        if !self.contacts.is_empty() {
            add("<h2>Who to ask</h2><ul>");
            self.contacts.iter().for_each(|contact| add(&format!("<li>{}</li>", escape(contact))));
            add("</ul>");
        }
        add("<h2>Facts to compare</h2>");
        let facts: Vec<Vec<String>> = self
            .facts()
            .iter()
            .map(|(name, value)| vec![escape(name), format!("<code>{}</code>", escape(value))])
            .collect();
        add(&table(&["", ""], &facts));
        add(&format!("\n<!-- {} -->", *self.hidden()));
        Zeroizing::new(page(&self.title(), &body))
    }
}

/// What the file of a kit says to the program.
pub struct ReadKit {
    /// The places, in order.
    pub places: Vec<String>,
    /// The key, unless it is the kit of a share.
    pub key: Option<Key>,
}

/// Finds the hidden line in the text of a file. `None` if it is no kit.
pub fn read(text: &str) -> Option<ReadKit> {
    let line =
        text.lines().find_map(|line| line.trim().trim_start_matches("<!--").trim().strip_prefix(MARK))?;
    let line = line.trim().trim_end_matches("-->").trim();
    let mut value: serde_json::Value = serde_json::from_str(line).ok()?;
    let places = value["places"].as_array()?.iter().filter_map(|p| p.as_str().map(str::to_string)).collect();
    let key = match value["key"].take() {
        serde_json::Value::String(text) => {
            let text = Zeroizing::new(text);
            Some(textkey::decode(&text).ok()?)
        }
        _ => None,
    };
    Some(ReadKit { places, key })
}

/// What this machine remembers of the kit that was printed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Remembered {
    /// When it was made: Unix seconds.
    pub made: i64,
    /// When somebody typed part of it back: Unix seconds.
    pub confirmed: Option<i64>,
    /// What it says of the copies, hashed: another hash now means that the sheet is out of date.
    facts: String,
    /// The two groups (from 1) that are asked for; 40 of the key's 280 bits. None of a kit in shares.
    pub asks: Vec<usize>,
    salt: String,
    answer: String,
    /// The places it names.
    pub places: Vec<String>,
    /// How many shares it was split into, and how many are needed.
    pub shares: Option<(u8, u8)>,
    /// The file of the program that was stored beside the copies, if it was.
    #[serde(default)]
    pub program: Option<String>,
}

/// How the kit stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// None was ever made here.
    Missing,
    /// Made, and nobody has typed part of it back.
    Unconfirmed,
    /// Printed, and copies or keys changed since.
    OutOfDate,
    /// As it should be.
    Good,
}

impl Standing {
    /// In one word or three.
    pub fn word(&self) -> &'static str {
        match self {
            Standing::Missing => "missing",
            Standing::Unconfirmed => "unconfirmed",
            Standing::OutOfDate => "out of date",
            Standing::Good => "good",
        }
    }

    /// What is to be done about it, as `status` says it.
    pub fn reminder(&self) -> Option<&'static str> {
        match self {
            Standing::Missing => Some("there is no recovery kit: print one with lifeboat kit --html FILE"),
            Standing::Unconfirmed => {
                Some("the recovery kit is not confirmed: type part of it with lifeboat kit --confirm")
            }
            Standing::OutOfDate => Some(
                "the printed recovery kit is out of date: make a new one with lifeboat kit --html FILE --retire",
            ),
            Standing::Good => None,
        }
    }
}

fn path(folders: &Folders) -> PathBuf {
    folders.state.join("kit.json")
}

/// A text in lines that fit a sheet of paper; a longer word has a line of its own.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is a line");
        match last.is_empty() || last.chars().count() + word.chars().count() < 90 {
            true => last.push_str(if last.is_empty() { "" } else { " " }),
            false => lines.push(String::new()),
        }
        lines.last_mut().expect("there is a line").push_str(word);
    }
    lines
}

/// What a kit says of copies and keys, as one hash.
fn facts_hash(places: &[KitPlace]) -> String {
    let mut sorted: Vec<KitPlace> = places.to_vec();
    sorted.iter_mut().for_each(|place| place.slots.sort());
    sorted.sort_by(|a, b| (&a.repository, &a.location).cmp(&(&b.repository, &b.location)));
    let text = serde_json::to_string(&sorted).expect("texts can be written");
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

fn answer_hash(salt: &str, answer: &str) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("lifeboat 2026 kit confirmation");
    hasher.update(salt.as_bytes()).update(answer.as_bytes());
    hasher.finalize().to_hex().to_string()
}

impl Remembered {
    /// What is to be remembered of a new kit. `random` chooses the groups that will be asked for.
    pub fn of(
        made: Timestamp,
        places: &[KitPlace],
        key: &Key,
        shares: Option<(u8, u8)>,
        random: [u8; 16],
    ) -> Self {
        let first = random[0] as usize % GROUPS;
        let second = (first + 1 + random[1] as usize % (GROUPS - 1)) % GROUPS;
        let asks = if shares.is_some() { vec![] } else { vec![first.min(second) + 1, first.max(second) + 1] };
        let text = textkey::encode(key);
        let groups: Vec<&str> = text.split('-').collect();
        let answer = Zeroizing::new(asks.iter().map(|n| groups[n - 1]).collect::<String>());
        let salt = format::id::hex(&random);
        Remembered {
            made: made.secs,
            confirmed: None,
            facts: facts_hash(places),
            answer: answer_hash(&salt, &answer),
            asks,
            salt,
            places: places.iter().map(|place| place.location.clone()).collect(),
            shares,
            program: None,
        }
    }

    /// What is remembered here, if anything is.
    pub fn read(folders: &Folders) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path(folders)).ok()?).ok()
    }

    /// Keeps it.
    pub fn keep(&self, folders: &Folders) -> Outcome<()> {
        let text = serde_json::to_vec_pretty(self).expect("texts and numbers can be written");
        durable::replace(&path(folders), &text)
            .map_err(|e| crate::failure::local("cannot remember the recovery kit", e))
    }

    /// Whether these are the groups that were asked for, however they were typed.
    pub fn is_answered_by(&self, typed: &str) -> bool {
        let plain: Zeroizing<String> = Zeroizing::new(
            typed
                .chars()
                .filter(|c| c.is_ascii_alphanumeric())
                .map(|c| match c.to_ascii_uppercase() {
                    'O' => '0',
                    'I' | 'L' => '1',
                    c => c,
                })
                .collect(),
        );
        !self.asks.is_empty()
            && plain.len() == 4 * self.asks.len()
            && answer_hash(&self.salt, &plain) == self.answer
    }

    /// How the kit stands, given the copies as they are now; without them only what is remembered is judged.
    pub fn standing(remembered: Option<&Self>, places: Option<&[KitPlace]>) -> Standing {
        match (remembered, places) {
            (None, _) => Standing::Missing,
            (Some(kit), Some(places)) if kit.facts != facts_hash(places) => Standing::OutOfDate,
            (Some(kit), _) if kit.confirmed.is_none() => Standing::Unconfirmed,
            _ => Standing::Good,
        }
    }

    /// How the kit stands, where only the locations of the copies are known.
    pub fn standing_of_locations(remembered: Option<&Self>, locations: &[String]) -> Standing {
        let same = |kit: &Self| {
            let (mut a, mut b) = (kit.places.clone(), locations.to_vec());
            a.sort();
            b.sort();
            a == b
        };
        match remembered {
            Some(kit) if !same(kit) => Standing::OutOfDate,
            kit => Self::standing(kit, None),
        }
    }
}

/// Whether a program needs nothing of the system it runs on: an ELF file without an interpreter.
pub fn is_static(program: &[u8]) -> bool {
    let number = |at: usize, len: usize| -> Option<u64> {
        let bytes = program.get(at..at + len)?;
        Some(bytes.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte)))
    };
    let is_elf64 = program.starts_with(b"\x7fELF\x02\x01");
    let headers = || -> Option<bool> {
        let (at, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
        for i in 0..count {
            let header = usize::try_from(at.checked_add(i * size)?).ok()?;
            if number(header, 4)? == 3 {
                return Some(false); // PT_INTERP
            }
        }
        Some(true)
    };
    is_elf64 && headers().unwrap_or(false)
}

/// Somebody to ask, in one line.
pub fn contact_line(contact: &Contact) -> String {
    let parts = [Some(&contact.name), contact.role.as_ref(), contact.phone.as_ref(), contact.email.as_ref()];
    parts.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// A short summary of where kits stand, for lists.
pub fn describe(remembered: &Remembered) -> String {
    let mut text = format!("made {}", time::shown(Timestamp { secs: remembered.made, nanos: 0 }));
    match remembered.confirmed {
        Some(at) => {
            write!(text, ", confirmed {}", time::shown(Timestamp { secs: at, nanos: 0 }))
                .expect("strings grow");
        }
        None => text.push_str(", not confirmed"),
    }
    if let Some((needed, of)) = remembered.shares {
        write!(text, ", split: {needed} of {of} shares open it").expect("strings grow");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(location: &str) -> KitPlace {
        KitPlace {
            name: Some("nas".into()),
            location: location.into(),
            repository: "03".repeat(16),
            family: "01".repeat(16),
            keys: "ab".repeat(16),
            slots: vec!["11".repeat(8)],
        }
    }

    fn program() -> Program {
        Program {
            version: "0.1.0".into(),
            file: "lifeboat-0.1.0-x86_64".into(),
            sha256: "cd".repeat(32),
            bytes: 9,
            is_static: true,
            is_stored: true,
        }
    }

    fn kit<'a>(places: &'a [KitPlace], program: &'a Program, secret: KitSecret<'a>) -> Kit<'a> {
        let made = Timestamp { secs: 1_800_000_000, nanos: 0 };
        Kit { machine: "atlas", made, places, program, secret, contacts: &[] }
    }

    #[test]
    fn both_forms_hold_all_that_is_needed_and_are_read_back() {
        let places = [place("sftp://nas.lan/a--b"), place("/mnt/<b>\"usb")];
        let (program, key) = (program(), Key::new([7; 32]));
        let kit = kit(&places, &program, KitSecret::Key(&key));
        for text in [kit.text(), kit.html()] {
            let groups = textkey::encode(&key);
            assert!(groups.split('-').all(|group| text.contains(group)));
            assert!(words::encode(&key).iter().all(|word| text.contains(word)));
            assert!(text.contains(&program.sha256) && text.contains(&program.file));
            assert!(text.contains("sftp://nas.lan/a--b"));
            let read = read(&text).unwrap();
            assert_eq!(read.places, ["sftp://nas.lan/a--b", "/mnt/<b>\"usb"]);
            assert!(read.key.unwrap().bytes() == key.bytes());
        }
        assert!(kit.html().contains("<svg") && !kit.html().contains("/mnt/<b>\"usb</code>"));
        assert!(kit.text().lines().all(|line| line.chars().count() < 110 || line.starts_with(MARK)));
    }

    #[test]
    fn a_share_tells_its_holder_nothing_of_the_key() {
        let (places, program, key) = ([place("/mnt/b")], program(), Key::new([7; 32]));
        let shares = format::shares::split(&key, 2, 3, [1; 8], &[2; 32]).unwrap();
        let kit = kit(&places, &program, KitSecret::Share(&shares[0]));
        for text in [kit.text(), kit.html()] {
            let groups = textkey::encode(&key);
            assert!(groups.split('-').all(|group| !text.contains(group)));
            let read = read(&text).unwrap();
            assert!(read.key.is_none() && read.places == ["/mnt/b"]);
            assert!(text.contains(&**shares[0].lines()[3]));
        }
    }

    #[test]
    fn a_kit_is_reminded_of_until_it_is_confirmed_and_when_anything_changes() {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().as_os_str().to_owned();
        let look = move |name: &str| (name == "HOME").then(|| home.clone());
        let folders = Folders::of(&crate::environment::Environment::new(look));
        let (places, key) = (vec![place("/mnt/b")], Key::new([7; 32]));
        assert_eq!(Remembered::standing(None, None), Standing::Missing);
        let mut kit = Remembered::of(Timestamp::default(), &places, &key, None, [9; 16]);
        assert_eq!(Remembered::standing(Some(&kit), Some(&places)), Standing::Unconfirmed);
        let text = textkey::encode(&key);
        let groups: Vec<&str> = text.split('-').collect();
        let answer: Vec<&str> = kit.asks.iter().map(|n| groups[n - 1]).collect();
        assert!(kit.is_answered_by(&answer.join(" ").to_lowercase()));
        assert!(!kit.is_answered_by(groups[kit.asks[0] % 14]) && !kit.is_answered_by(""));
        kit.confirmed = Some(5);
        kit.keep(&folders).unwrap();
        let kept = Remembered::read(&folders).unwrap();
        assert_eq!(Remembered::standing(Some(&kept), Some(&places)), Standing::Good);
        let stored = std::fs::read_to_string(path(&folders)).unwrap();
        assert!(groups.iter().all(|group| !stored.contains(group)), "no part of the key is kept");
        let mut more = places.clone();
        more.push(place("/mnt/c"));
        assert_eq!(Remembered::standing(Some(&kept), Some(&more)), Standing::OutOfDate);
        let mut other = places;
        other[0].slots.push("22".repeat(8));
        assert_eq!(Remembered::standing(Some(&kept), Some(&other)), Standing::OutOfDate);
    }

    #[test]
    fn a_static_program_is_told_from_one_that_is_not() {
        assert!(!is_static(b"#!/bin/sh"));
        assert!(!is_static(b"\x7fELF\x02\x01"));
        let own = std::fs::read("/proc/self/exe").unwrap();
        let text = own.windows(9).any(|w| w == b"ld-linux-" || w == b"/ld-musl-");
        assert!(!is_static(&own) || !text, "the test itself is dynamic on glibc");
    }
}
