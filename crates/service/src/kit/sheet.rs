//! The sheets of a kit, as text and as a page, and how the program reads one again.

use super::{AbsentPlace, KitPlace, MARK, Program};
use crate::display::shell_word;
use crate::page::{escape, page, qr, table};
use crate::time;
use format::keys::Key;
use format::kind::Timestamp;
use format::shares::Share;
use format::{textkey, words};
use zeroize::Zeroizing;

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
    /// The copies that its key opens.
    pub places: &'a [KitPlace],
    /// Those that were away.
    pub absent: &'a [AbsentPlace],
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
                format!("{} of the shares, line by line, when it asks", share.needed())
            }
        };
        let options = match &self.secret {
            KitSecret::Key(_) => "--recovery-key".to_string(),
            KitSecret::Share(_) => "--recovery-share -".to_string(),
        };
        let libraries = match self.program.is_static {
            true => "",
            false => ", not older than the machine this was printed on (the program needs its libraries)",
        };
        let new_kit = match &self.secret {
            KitSecret::Key(_) => "Then make a new kit: ./{program} kit --html kit.html --retire.".to_string(),
            KitSecret::Share(share) => format!(
                "Then make new shares: ./{{program}} kit split --shares {} --threshold {} --out shares --retire.",
                share.of(),
                share.needed()
            ),
        }
        .replace("{program}", program);
        vec![
            format!(
                "Take a computer with 64-bit Linux{libraries}, and one of the copies: plug the disk in and mount it, or connect to the \
                 network and have at hand what the copy needs."
            ),
            get,
            format!(
                "Check it: sha256sum {} must print the SHA-256 below. Then: chmod +x {}",
                self.program.file, self.program.file
            ),
            format!(
                "Run: ./{program} recover {place} {options}  - and give {secret}. It brings the configuration back, makes keys for the \
                     computer, and lists what can come back, in which order, and how long it takes. If this copy is gone, use the next."
            ),
            format!(
                "Bring it back: ./{program} recover {place} --all --in-place  (or --target FOLDER). {new_kit}"
            ),
        ]
    }

    /// What the program reads from the file of a kit.
    fn hidden(&self) -> Zeroizing<String> {
        let key = match &self.secret {
            KitSecret::Key(key) => Some(textkey::encode(key)),
            KitSecret::Share(_) => None,
        };
        // What was away may have got the key since.
        let absent = self.absent.iter().map(|place| &*place.location);
        let places: Vec<&str> = self.places.iter().map(|place| &*place.location).chain(absent).collect();
        let mut line = Zeroizing::new(serde_json::json!({ "places": places }).to_string());
        let share = match &self.secret {
            KitSecret::Key(_) => None,
            KitSecret::Share(share) => Some(Zeroizing::new(share.text().replace('\n', " "))),
        };
        for (name, secret) in [("key", key.as_deref()), ("share", share.as_deref())] {
            let Some(secret) = secret else { continue };
            line.pop();
            line.push_str(&format!(",\"{name}\":\""));
            line.push_str(secret);
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
            place.login.iter().for_each(|login| line(&format!("    needs {}", crate::display::safe(login))));
        }
        if !self.absent.is_empty() {
            line("\nAWAY WHEN THIS WAS PRINTED (this key opens them after lifeboat kit --add)");
        }
        for place in self.absent {
            line(&format!("  {}: {}", place.name, crate::display::safe(&place.location)));
            place.login.iter().for_each(|login| line(&format!("    needs {}", crate::display::safe(login))));
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
                    escape(place.login.as_deref().unwrap_or("")),
                    format!("<code>{}</code>", escape(&place.repository)),
                    format!("<code>{}</code>", escape(&place.family)),
                ]
            })
            .collect();
        add(&table(&["name", "place", "needs", "repository", "family"], &rows));
        if !self.absent.is_empty() {
            add(
                "<p>Away when this was printed; this key opens them after <code>lifeboat kit --add</code>:</p>",
            );
            let rows: Vec<Vec<String>> = self
                .absent
                .iter()
                .map(|place| {
                    vec![
                        escape(&place.name),
                        format!("<code>{}</code>", escape(&place.location)),
                        escape(place.login.as_deref().unwrap_or("")),
                    ]
                })
                .collect();
            add(&table(&["name", "place", "needs"], &rows));
        }
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
    /// The share, as it is written on its sheet.
    pub share: Option<Zeroizing<String>>,
}

/// Finds the hidden line in the text of a file. `None` if it is no kit.
pub fn read(text: &str) -> Option<ReadKit> {
    let line =
        text.lines().find_map(|line| line.trim().trim_start_matches("<!--").trim().strip_prefix(MARK))?;
    let line = line.trim().trim_end_matches("-->").trim();
    let mut value: serde_json::Value = serde_json::from_str(line).ok()?;
    let places = value["places"].as_array()?.iter().filter_map(|p| p.as_str().map(str::to_string)).collect();
    let mut secret = |name: &str| match value[name].take() {
        serde_json::Value::String(text) => Some(Zeroizing::new(text)),
        _ => None,
    };
    let key = secret("key").map(|text| textkey::decode(&text)).transpose().ok()?;
    let share = secret("share");
    Some(ReadKit { places, key, share })
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
            login: Some("the SSH key of me at nas.lan".into()),
            slot: Some("11".repeat(8)),
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
        Kit { machine: "atlas", made, places, absent: &[], program, secret, contacts: &[] }
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
        for text in [kit.text(), kit.html()] {
            assert!(text.contains("the SSH key of me at nas.lan") && text.contains(&"01".repeat(16)));
            assert!(!text.contains("kit --add"));
        }
        let absent =
            [AbsentPlace { name: "usb".into(), location: "removable:1234-ABCD/b".into(), login: None }];
        let with_absent = Kit { absent: &absent, secret: KitSecret::Key(&key), ..kit };
        for text in [with_absent.text(), with_absent.html()] {
            assert!(text.contains("removable:1234-ABCD/b") && text.contains("kit --add"));
            assert_eq!(read(&text).unwrap().places.len(), 3, "it may have got the key since");
        }
        let kit = with_absent;
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
            assert!(Share::from_text(&read.share.unwrap()).unwrap().text() == shares[0].text());
            assert!(text.contains("kit split --shares 3 --threshold 2") && !text.contains("kit --html"));
        }
    }
}
