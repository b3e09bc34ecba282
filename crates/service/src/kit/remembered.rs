//! What this machine remembers of the kit it printed, and how that kit stands now.
//!
//! A kit is out of date when a sheet says something that is not so any more (where the copies are, their family
//! and keys, whom to ask), or when its key opens a copy no longer. Other keys that come and go are no concern of it.

use super::{AbsentPlace, GROUPS, KitPlace, contact_line};
use crate::config::{Config, place};
use crate::durable;
use crate::failure::Outcome;
use crate::folders::Folders;
use crate::time;
use format::id::{RepoId, SlotId};
use format::keys::Key;
use format::kind::Timestamp;
use format::textkey;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// What this machine remembers of the kit that was printed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Remembered {
    /// When it was made: Unix seconds.
    pub made: i64,
    /// When somebody typed part of it back: Unix seconds.
    pub confirmed: Option<i64>,
    /// The copies that its key opens.
    #[serde(default)]
    opens: Vec<Opens>,
    /// The locations of those it names and does not open yet.
    #[serde(default)]
    pub absent: Vec<String>,
    /// Whom it names, hashed.
    #[serde(default)]
    contacts: String,
    /// The two groups (from 1) that are asked for; 40 of the key's 280 bits. None of a kit in shares.
    pub asks: Vec<usize>,
    salt: String,
    answer: String,
    /// How many shares are needed, and how many there are.
    pub shares: Option<(u8, u8)>,
    /// The file of the program that was stored beside the copies, if it was.
    #[serde(default)]
    pub program: Option<String>,
}

/// A copy that the kit's key opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Opens {
    location: String,
    repository: String,
    /// The slot of its key there.
    slot: String,
    /// What the sheet says of it, hashed.
    says: String,
    /// Whether the slot was taken away.
    #[serde(default)]
    is_gone: bool,
}

impl Opens {
    fn of(place: &KitPlace) -> Option<Self> {
        Some(Opens {
            location: place.location.clone(),
            repository: place.repository.clone(),
            slot: place.slot.clone()?,
            says: hash_of(place),
            is_gone: false,
        })
    }
}

/// A new kit, to be remembered.
pub struct Issued<'i> {
    /// When it was made.
    pub made: Timestamp,
    /// The copies that its key opens.
    pub places: &'i [KitPlace],
    /// Those that were away.
    pub absent: &'i [AbsentPlace],
    /// Whom it names.
    pub contacts: &'i [String],
    /// Its key.
    pub key: &'i Key,
    /// How many shares are needed, and how many there are.
    pub shares: Option<(u8, u8)>,
    /// The file of the program beside the copies.
    pub program: Option<String>,
}

/// How the kit stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// None was ever made here.
    Missing,
    /// Made, and nobody has typed part of it back.
    Unconfirmed,
    /// Printed, and what it says is not so any more, or its key was taken away.
    OutOfDate,
    /// Its key does not open every copy it names.
    Incomplete,
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
            Standing::Incomplete => "incomplete",
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
            Standing::Incomplete => Some(
                "the printed recovery kit does not open a copy that was away when it was made: when that is there, lifeboat kit --add",
            ),
            Standing::Good => None,
        }
    }
}

fn path(folders: &Folders) -> PathBuf {
    folders.state.join("kit.json")
}

fn hash_of(said: &impl Serialize) -> String {
    let text = serde_json::to_string(said).expect("texts can be written");
    blake3::hash(text.as_bytes()).to_hex()[..32].to_string()
}

fn answer_hash(salt: &str, answer: &str) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("lifeboat 2026 kit confirmation");
    hasher.update(salt.as_bytes()).update(answer.as_bytes());
    hasher.finalize().to_hex().to_string()
}

impl Remembered {
    /// What is to be remembered of a new kit. `random` chooses the groups that will be asked for.
    pub fn of(issued: &Issued<'_>, random: [u8; 16]) -> Self {
        let first = random[0] as usize % GROUPS;
        let second = (first + 1 + random[1] as usize % (GROUPS - 1)) % GROUPS;
        let asks =
            if issued.shares.is_some() { vec![] } else { vec![first.min(second) + 1, first.max(second) + 1] };
        let text = textkey::encode(issued.key);
        let groups: Vec<&str> = text.split('-').collect();
        let answer = Zeroizing::new(asks.iter().map(|n| groups[n - 1]).collect::<String>());
        let salt = format::id::hex(&random);
        Remembered {
            made: issued.made.secs,
            confirmed: None,
            opens: issued.places.iter().filter_map(Opens::of).collect(),
            absent: issued.absent.iter().map(|place| place.location.clone()).collect(),
            contacts: hash_of(&issued.contacts),
            answer: answer_hash(&salt, &answer),
            asks,
            salt,
            shares: issued.shares,
            program: issued.program.clone(),
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

    /// The id of the slot that its key was given in a repository.
    pub fn slot_in(&self, repository: &RepoId) -> Option<&str> {
        self.opens.iter().find(|opens| opens.repository == repository.hex()).map(|opens| &*opens.slot)
    }

    /// The places that it opens.
    pub fn places(&self) -> impl Iterator<Item = &str> {
        self.opens.iter().map(|opens| &*opens.location)
    }

    /// Its key opens a further copy now.
    pub fn add(&mut self, place: &KitPlace) {
        self.absent.retain(|location| *location != place.location);
        self.opens.retain(|opens| opens.repository != place.repository);
        self.opens.extend(Opens::of(place));
    }

    /// Notes that slots of a repository were taken away, in case its key was among them.
    pub fn note_removed(folders: &Folders, repository: &RepoId, slot: &SlotId) -> Outcome<()> {
        let Some(mut kit) = Self::read(folders) else { return Ok(()) };
        let is_its = |opens: &&mut Opens| opens.repository == repository.hex() && opens.slot == slot.hex();
        let Some(opens) = kit.opens.iter_mut().find(is_its) else { return Ok(()) };
        opens.is_gone = true;
        kit.keep(folders)
    }

    fn standing_apart_from_places(&self) -> Standing {
        match () {
            () if self.opens.iter().any(|opens| opens.is_gone) => Standing::OutOfDate,
            () if !self.absent.is_empty() => Standing::Incomplete,
            () if self.confirmed.is_none() => Standing::Unconfirmed,
            () => Standing::Good,
        }
    }

    /// How the kit stands, given the copies as they are now; without them only what is remembered is judged.
    pub fn standing(remembered: Option<&Self>, places: Option<&[KitPlace]>) -> Standing {
        Self::standing_while(remembered, places, &[])
    }

    /// The same while some copies are `away`: what is remembered of them is believed.
    pub fn standing_while(
        remembered: Option<&Self>,
        places: Option<&[KitPlace]>,
        away: &[AbsentPlace],
    ) -> Standing {
        let Some(kit) = remembered else { return Standing::Missing };
        let is_away = |opens: &Opens| away.iter().any(|place| place.location == opens.location);
        let is_known = |place: &KitPlace| {
            kit.absent.contains(&place.location)
                || Opens::of(place).is_some_and(|now| kit.opens.contains(&now))
        };
        let are_there = |places: &[KitPlace]| {
            let there: BTreeSet<&str> = places.iter().map(|place| &*place.repository).collect();
            kit.opens.iter().all(|opens| there.contains(&*opens.repository) || is_away(opens))
        };
        match places {
            Some(places) if !places.iter().all(is_known) || !are_there(places) => Standing::OutOfDate,
            _ => kit.standing_apart_from_places(),
        }
    }

    /// How the kit stands by what the configuration says and by what is remembered; nothing is opened.
    pub fn standing_in(remembered: Option<&Self>, config: &Config, folders: &Folders) -> Standing {
        let Some(kit) = remembered else { return Standing::Missing };
        let configured = config.repositories.values().filter_map(|r| place::location(r, folders).ok());
        let configured: BTreeSet<String> = configured.map(|location| location.to_string()).collect();
        let named: BTreeSet<String> =
            kit.places().map(str::to_string).chain(kit.absent.iter().cloned()).collect();
        let contacts: Vec<String> = config.plan.contacts.iter().map(contact_line).collect();
        match named == configured && kit.contacts == hash_of(&&contacts[..]) {
            true => kit.standing_apart_from_places(),
            false => Standing::OutOfDate,
        }
    }
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
            repository: format!("repository of {location}"),
            family: "01".repeat(16),
            keys: "ab".repeat(16),
            login: None,
            slot: Some("11".repeat(8)),
        }
    }

    fn issued<'i>(places: &'i [KitPlace], absent: &'i [AbsentPlace], key: &'i Key) -> Issued<'i> {
        let made = Timestamp::default();
        Issued { made, places, absent, contacts: &[], key, shares: None, program: None }
    }

    #[test]
    fn a_kit_is_reminded_of_until_it_is_confirmed_and_when_what_it_says_changes() {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().as_os_str().to_owned();
        let look = move |name: &str| (name == "HOME").then(|| home.clone());
        let folders = Folders::of(&crate::environment::Environment::new(look));
        let (places, key) = (vec![place("/mnt/b")], Key::new([7; 32]));
        let standing = |kit: &Remembered, places: &[KitPlace]| Remembered::standing(Some(kit), Some(places));
        assert_eq!(Remembered::standing(None, None), Standing::Missing);
        let mut kit = Remembered::of(&issued(&places, &[], &key), [9; 16]);
        assert_eq!(standing(&kit, &places), Standing::Unconfirmed);
        let text = textkey::encode(&key);
        let groups: Vec<&str> = text.split('-').collect();
        let answer: Vec<&str> = kit.asks.iter().map(|n| groups[n - 1]).collect();
        assert!(kit.is_answered_by(&answer.join(" ").to_lowercase()));
        assert!(!kit.is_answered_by(groups[kit.asks[0] % 14]) && !kit.is_answered_by(""));
        kit.confirmed = Some(5);
        kit.keep(&folders).unwrap();
        let kept = Remembered::read(&folders).unwrap();
        assert_eq!(standing(&kept, &places), Standing::Good);
        let stored = std::fs::read_to_string(path(&folders)).unwrap();
        assert!(groups.iter().all(|group| !stored.contains(group)), "no part of the key is kept");
        let more = [places.clone(), vec![place("/mnt/c")]].concat();
        assert_eq!(standing(&kept, &more), Standing::OutOfDate);
        assert_eq!(standing(&kept, &[]), Standing::OutOfDate, "it names one that is no copy any more");
        let without_slot = KitPlace { slot: None, ..places[0].clone() };
        assert_eq!(standing(&kept, &[without_slot]), Standing::OutOfDate);
        let away = AbsentPlace { name: "nas".into(), location: "/mnt/b".into(), login: None };
        let while_away = |places: &[KitPlace]| {
            Remembered::standing_while(Some(&kept), Some(places), std::slice::from_ref(&away))
        };
        assert_eq!(while_away(&[]), Standing::Good, "it is away, and believed");
        assert_eq!(
            while_away(&[place("/mnt/c")]),
            Standing::OutOfDate,
            "what is there is judged all the same"
        );
        let of_others = KitPlace { login: Some("an SSH key".into()), ..places[0].clone() };
        assert_eq!(standing(&kept, &[of_others]), Standing::OutOfDate);
    }

    #[test]
    fn a_copy_that_was_away_is_asked_for_until_the_key_opens_it() {
        let (places, key) = (vec![place("/mnt/b")], Key::new([7; 32]));
        let absent = AbsentPlace { name: "usb".into(), location: "/mnt/c".into(), login: None };
        let mut kit = Remembered::of(&issued(&places, &[absent], &key), [9; 16]);
        kit.confirmed = Some(5);
        assert_eq!(Remembered::standing(Some(&kit), None), Standing::Incomplete);
        let there = [places[0].clone(), KitPlace { slot: None, ..place("/mnt/c") }];
        assert_eq!(Remembered::standing(Some(&kit), Some(&there)), Standing::Incomplete);
        kit.add(&place("/mnt/c"));
        let there = [places[0].clone(), place("/mnt/c")];
        assert_eq!(Remembered::standing(Some(&kit), Some(&there)), Standing::Good);
    }

    #[test]
    fn a_key_that_was_taken_away_is_noted() {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().as_os_str().to_owned();
        let look = move |name: &str| (name == "HOME").then(|| home.clone());
        let folders = Folders::of(&crate::environment::Environment::new(look));
        let (repository, slot) = (RepoId([3; 16]), SlotId([1; 8]));
        let of = KitPlace { repository: repository.hex(), slot: Some(slot.hex()), ..place("/mnt/b") };
        let key = Key::new([7; 32]);
        let mut kit = Remembered::of(&issued(&[of], &[], &key), [9; 16]);
        kit.confirmed = Some(5);
        kit.keep(&folders).unwrap();
        let standing = || Remembered::standing(Remembered::read(&folders).as_ref(), None);
        Remembered::note_removed(&folders, &repository, &SlotId([2; 8])).unwrap();
        assert_eq!(standing(), Standing::Good);
        Remembered::note_removed(&folders, &repository, &slot).unwrap();
        assert_eq!(standing(), Standing::OutOfDate);
    }
}
