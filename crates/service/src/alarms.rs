//! What is wrong, and who hears of it when.
//!
//! [`problems`] is pure: from the posture, the duties, the suspicions and the notifiers to a list of what is
//! wrong right now. [`tell`] compares that list with what the catalog remembers and speaks on a change of state,
//! again while it stays bad, and once when it is over; a notifier that failed is tried again each time until it
//! delivered. Nothing is told because a run went well.
//!
//! Because problems are found by looking for what is *absent*, it does not matter who died: any run of
//! `status --check --notify` from a timer raises the alarm of a dead daemon.

use crate::catalog::{Alarm, Catalog, CatalogResult, Duty, DutyRecord, ErasedLeft, NotifierState, Suspicion};
use crate::counts::counted;
use crate::display::safe;
use crate::notify::{Channel, Message, NotifyError, Priority};
use crate::posture::{Besides, GoalKind, Posture, State, age_words, attempts_failed, span_words};
use serde::Serialize;
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// What kind of problem: the keys of `[alerts]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Stored data is damaged.
    Damaged,
    /// Something looks like an attack.
    Suspicious,
    /// Something did not happen in time.
    Stale,
    /// A test restore failed.
    DrillFailed,
    /// Something was tried and failed.
    Failed,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 5] =
        [Kind::Damaged, Kind::Suspicious, Kind::Stale, Kind::DrillFailed, Kind::Failed];

    /// As it is written everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Damaged => "damaged",
            Kind::Suspicious => "suspicious",
            Kind::Stale => "stale",
            Kind::DrillFailed => "drill_failed",
            Kind::Failed => "failed",
        }
    }

    fn priority(self) -> Priority {
        match self {
            Kind::Damaged | Kind::Suspicious => Priority::Urgent,
            Kind::Stale | Kind::DrillFailed | Kind::Failed => Priority::High,
        }
    }
}

/// Something that is wrong right now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What kind.
    pub kind: Kind,
    /// What about: `home@nas`, `verify:nas`, `notifier:mail`.
    pub subject: String,
    /// In words.
    pub text: String,
    /// The command that helps.
    pub fix: String,
    /// How often in a row, where that is counted.
    pub count: u32,
}

/// A duty that must be done, and how long it may stay undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DutyWanted {
    /// Which.
    pub duty: Duty,
    /// Of what.
    pub subject: String,
    /// It must have gone well within so many seconds.
    pub within: i64,
    /// The command that does it.
    pub fix: String,
}

/// What problems are found in.
pub struct Findings<'f> {
    /// How things are.
    pub posture: &'f Posture,
    /// The duties, with what is known of each.
    pub duties: &'f [(DutyWanted, Option<DutyRecord>)],
    /// Suspicions nobody acknowledged.
    pub suspicions: &'f [Suspicion],
    /// The notifiers.
    pub notifiers: &'f [NotifierState],
}

/// Everything that is wrong right now.
pub fn problems(findings: &Findings<'_>) -> Vec<Problem> {
    let now = findings.posture.now;
    let mut found = of_posture(findings.posture);
    for (wanted, record) in findings.duties {
        found.extend(of_duty(wanted, record.as_ref(), now));
    }
    found.extend(of_suspicions(findings.suspicions));
    found.extend(findings.notifiers.iter().filter_map(of_notifier));
    found.sort_by(|a, b| (a.kind, &a.subject).cmp(&(b.kind, &b.subject)));
    found.dedup_by(|a, b| (a.kind, &a.subject) == (b.kind, &b.subject));
    found
}

fn problem(kind: Kind, subject: String, text: String, fix: &str) -> Problem {
    Problem { kind, subject, text, fix: fix.to_string(), count: 1 }
}

fn of_posture(posture: &Posture) -> Vec<Problem> {
    let mut found = Vec::new();
    for source in &posture.sources {
        let fix = |goal: GoalKind| {
            let goal = source.goals.iter().find(|g| g.goal == goal);
            goal.map(|g| g.fix.clone()).unwrap_or_default()
        };
        for pair in &source.pairs {
            let subject = format!("{}@{}", pair.source, pair.repository);
            let text = format!("{}: {}", pair.source, pair.reason);
            match pair.state {
                State::Good | State::Waiting => {}
                // Told once for the repository, below.
                State::Damaged => {}
                State::Unseen | State::Stale | State::Never => {
                    found.push(problem(Kind::Stale, subject.clone(), text, &fix(GoalKind::MaxAge)));
                }
            }
            if let Some(text) = pair.last_attempts() {
                let fix = format!("lifeboat log --source {}", pair.source);
                let failed = problem(Kind::Failed, subject, text, &fix);
                found.push(Problem { count: pair.failures, ..failed });
            }
        }
        let unmet = |kind| source.goals.iter().find(|g| g.goal == kind && !g.met);
        let damaged = posture.places.iter().any(|place| place.damaged.is_some());
        if let Some(goal) = unmet(GoalKind::Verified).filter(|_| !damaged) {
            let text = format!("{}: {}", source.source, goal.reason);
            found.push(problem(Kind::Stale, format!("verified:{}", source.source), text, &goal.fix));
        }
        if let Some(goal) = unmet(GoalKind::Drilled) {
            let text = format!("{}: {}", source.source, goal.reason);
            let kind = if goal.reason.contains("failed") { Kind::DrillFailed } else { Kind::Stale };
            found.push(problem(kind, format!("drilled:{}", source.source), text, &goal.fix));
        }
    }
    for place in &posture.places {
        if let Some(at) = place.damaged {
            let text = format!("{}: damage was found {}", place.repository, age_words(at, posture.now));
            let fix = format!("lifeboat repair -r {}", place.repository);
            found.push(problem(Kind::Damaged, place.repository.clone(), text, &fix));
        }
        if place.missed {
            let since = place.seen.map_or_else(|| "never".into(), |at| age_words(at, posture.now));
            let text = format!("{}: was last here {since}", place.repository);
            let fix = format!("plug {} in; the rest happens by itself", place.repository);
            found.push(problem(Kind::Stale, format!("place:{}", place.repository), text, &fix));
        }
        if let Some(left) = place.erased {
            let what = match left {
                ErasedLeft::Missed => "was away when paths were erased, and holds them still".to_string(),
                ErasedLeft::Snapshots(n) => {
                    format!("{} erased paths still", counted(n, "snapshot holds", "snapshots hold"))
                }
            };
            let text = format!("{}: {what}", place.repository);
            let fix = format!("lifeboat rewrite --reapply -r {}", place.repository);
            found.push(problem(Kind::Stale, format!("erased:{}", place.repository), text, &fix));
        }
    }
    found
}

fn of_duty(wanted: &DutyWanted, record: Option<&DutyRecord>, now: i64) -> Vec<Problem> {
    let Some(record) = record else { return Vec::new() };
    let name = match wanted.subject.is_empty() {
        true => wanted.duty.as_str().to_string(),
        false => format!("{}:{}", wanted.duty.as_str(), wanted.subject),
    };
    let because = record.error.as_ref().map(|e| format!(" ({})", safe(e))).unwrap_or_default();
    let mut found = Vec::new();
    let since = record.succeeded.unwrap_or(record.first_due);
    if now - since > wanted.within {
        let how = if record.succeeded.is_some() { "last went well" } else { "was never done, since" };
        let text = format!("{name} {how} {}{because}", age_words(since, now));
        found.push(problem(Kind::Stale, name.clone(), text, &wanted.fix));
    }
    // Runs tell their failures by source and repository.
    if record.failures > 0 && wanted.duty != Duty::Run {
        let text =
            format!("{name}: {}{because}", attempts_failed(record.failures.try_into().unwrap_or(u32::MAX)));
        let count = record.failures.try_into().unwrap_or(u32::MAX);
        found.push(Problem { count, ..problem(Kind::Failed, name, text, &wanted.fix) });
    }
    found
}

fn of_suspicions(suspicions: &[Suspicion]) -> Vec<Problem> {
    let mut by_source: BTreeMap<&str, Vec<&Suspicion>> = BTreeMap::new();
    for s in suspicions.iter().filter(|s| s.acknowledged.is_none()) {
        by_source.entry(&s.source).or_default().push(s);
    }
    let told = by_source.into_iter().map(|(source, all)| {
        let first = all.iter().min_by_key(|s| s.at).expect("a group has one");
        let short = first.snapshot.get(..8).unwrap_or(&first.snapshot);
        let text = format!("{source}, snapshot {short}: {}", first.text);
        let fix = format!("lifeboat status --acknowledge {source}");
        problem(Kind::Suspicious, source.to_string(), text, &fix)
    });
    told.collect()
}

fn of_notifier(state: &NotifierState) -> Option<Problem> {
    let why = state.error.as_deref().unwrap_or("it did not say why");
    let text = format!("notifier {} delivers nothing: {}", state.name, safe(why));
    let fix = format!("lifeboat status --test-notify {}", state.name);
    let count = state.failures.try_into().unwrap_or(u32::MAX);
    let failed = problem(Kind::Failed, format!("notifier:{}", state.name), text, &fix);
    (state.failures > 0).then_some(Problem { count, ..failed })
}

/// Who is told of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The notifiers' names.
    pub to: Vec<String>,
    /// From so many times in a row on.
    pub after: u32,
    /// Again after so many seconds.
    pub repeat: i64,
}

/// Said again once a day where nothing else is wanted.
pub const REPEAT_DEFAULT: i64 = 86_400;
/// The end of a problem is tried to be told for so long.
const RECOVERY_TRIED: i64 = 7 * 86_400;

/// Who is told of what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// By kind.
    pub kinds: BTreeMap<Kind, Route>,
    /// What has no route of its own.
    pub all: Option<Route>,
    /// Who hears that something is over; who heard of it, where this is absent.
    pub recovered: Option<Route>,
}

impl Routes {
    fn of(&self, kind: Kind) -> Option<&Route> {
        self.kinds.get(&kind).or(self.all.as_ref())
    }
}

/// Somebody who can be told.
#[derive(Clone)]
pub struct Teller {
    /// Its name.
    pub name: String,
    /// The way there.
    pub channel: Channel,
}

/// What came of telling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Delivery {
    /// Through whom.
    pub notifier: String,
    /// What kind of message.
    pub kind: String,
    /// What about.
    pub subject: String,
    /// Why it was not delivered.
    pub error: Option<String>,
}

/// How a message is sent; [`crate::notify::send`] with its settings, except in tests.
pub type Send<'s> = dyn Fn(&Channel, &Message) -> Result<(), NotifyError> + 's;

/// Everything telling needs.
pub struct Telling<'t> {
    /// What was told, and whether it arrived.
    pub catalog: &'t Catalog,
    /// Who is told of what.
    pub routes: &'t Routes,
    /// The ways there.
    pub tellers: &'t [Teller],
    /// Sends.
    pub send: &'t Send<'t>,
    /// What no message may hold.
    pub secrets: &'t [Zeroizing<String>],
    /// The machine.
    pub machine: &'t str,
    /// The time.
    pub now: i64,
    /// How things are, for the end of each message.
    pub outlook: &'t str,
}

/// Brings what people know up to date with what is wrong.
pub fn tell(telling: &Telling<'_>, problems: &[Problem]) -> CatalogResult<Vec<Delivery>> {
    let mut known: BTreeMap<(String, String), Alarm> = BTreeMap::new();
    for alarm in telling.catalog.alarms()? {
        known.insert((alarm.kind.clone(), alarm.subject.clone()), alarm);
    }
    let mut deliveries = Vec::new();
    for problem in problems {
        let key = (problem.kind.as_str().to_string(), problem.subject.clone());
        let alarm = known.remove(&key).unwrap_or_else(|| new_alarm(problem, telling.now));
        telling.bad(problem, alarm, &mut deliveries)?;
    }
    for alarm in known.into_values() {
        telling.over(alarm, &mut deliveries)?;
    }
    Ok(deliveries)
}

fn new_alarm(problem: &Problem, now: i64) -> Alarm {
    Alarm {
        kind: problem.kind.as_str().to_string(),
        subject: problem.subject.clone(),
        since: now,
        text: problem.text.clone(),
        fix: problem.fix.clone(),
        told: None,
        recovered: None,
        silenced_until: None,
        sent: Vec::new(),
    }
}

impl Telling<'_> {
    /// Something is wrong: tells who does not know yet, or has heard of it long ago.
    fn bad(&self, problem: &Problem, mut alarm: Alarm, out: &mut Vec<Delivery>) -> CatalogResult<()> {
        alarm.text.clone_from(&problem.text);
        alarm.fix.clone_from(&problem.fix);
        alarm.recovered = None;
        let silent = alarm.silenced_until.is_some_and(|until| self.now < until);
        let route = self.routes.of(problem.kind).filter(|route| problem.count >= route.after && !silent);
        if let Some(route) = route {
            let again = alarm.told.is_some_and(|told| self.now - told >= route.repeat);
            if again {
                alarm.sent.clear();
            }
            let message = self.message(problem, &alarm, again);
            for name in &route.to {
                if alarm.sent.contains(name) {
                    continue;
                }
                // Who is broken cannot tell of it.
                if problem.subject == format!("notifier:{name}") {
                    continue;
                }
                if self.deliver(name, &message, out)? {
                    alarm.sent.push(name.clone());
                    alarm.told = Some(self.now);
                }
            }
        }
        self.catalog.put_alarm(&alarm)
    }

    /// Something is not wrong any more: tells who has heard of it.
    fn over(&self, mut alarm: Alarm, out: &mut Vec<Delivery>) -> CatalogResult<()> {
        let since = *alarm.recovered.get_or_insert(self.now);
        let to: Vec<String> = match &self.routes.recovered {
            _ if alarm.told.is_none() => Vec::new(),
            Some(route) if alarm.recovered == Some(self.now) => route.to.clone(),
            // On a second try `sent` holds who still has to hear of it.
            Some(_) | None => alarm.sent.clone(),
        };
        let message = self.recovery(&alarm);
        let mut left = Vec::new();
        for name in to {
            if !self.deliver(&name, &message, out)? {
                left.push(name);
            }
        }
        alarm.sent = left;
        if alarm.sent.is_empty() || self.now - since > RECOVERY_TRIED {
            return self.catalog.drop_alarm(&alarm.kind, &alarm.subject);
        }
        self.catalog.put_alarm(&alarm)
    }

    /// Sends to one notifier and remembers whether it arrived.
    pub fn deliver(&self, name: &str, message: &Message, out: &mut Vec<Delivery>) -> CatalogResult<bool> {
        // A server that is down is not waited for again with each message; the next telling tries anew.
        if out.iter().any(|delivery| delivery.notifier == name && delivery.error.is_some()) {
            return Ok(false);
        }
        let error = match self.tellers.iter().find(|teller| teller.name == name) {
            None => Some("there is no notifier of this name".to_string()),
            Some(teller) => {
                let sent = (self.send)(&teller.channel, &message.without(self.secrets));
                sent.err().map(|e| e.to_string())
            }
        };
        self.catalog.record_notifier(name, self.now, error.as_deref())?;
        let delivered = error.is_none();
        out.push(Delivery {
            notifier: name.to_string(),
            kind: message.kind.clone(),
            subject: message.subject.clone(),
            error,
        });
        Ok(delivered)
    }

    fn message(&self, problem: &Problem, alarm: &Alarm, again: bool) -> Message {
        let still = match again {
            true => format!("Still so, since {}.\n\n", span_words(self.now - alarm.since)),
            false => String::new(),
        };
        Message {
            kind: problem.kind.as_str().to_string(),
            subject: problem.subject.clone(),
            title: safe(&problem.text),
            text: format!("{still}{}\n\n{}", safe(&problem.text), self.outlook),
            fix: problem.fix.clone(),
            priority: problem.kind.priority(),
            machine: self.machine.to_string(),
            time: self.now,
            html: None,
        }
    }

    fn recovery(&self, alarm: &Alarm) -> Message {
        let lasted = span_words(self.now - alarm.since);
        Message {
            kind: "recovered".into(),
            subject: alarm.subject.clone(),
            title: format!("good again: {}", safe(&alarm.subject)),
            text: format!("Over after {lasted}: {}\n\n{}", safe(&alarm.text), self.outlook),
            fix: String::new(),
            priority: Priority::Low,
            machine: self.machine.to_string(),
            time: self.now,
            html: None,
        }
    }

    /// The regular report: what needs doing, then everything, then the page.
    pub fn report(&self, posture: &Posture, besides: &[Besides<'_>], html: String) -> Message {
        let mut text = self.outlook.to_string();
        for (source, goal) in posture.unmet() {
            text.push_str(&format!("\n- {}: {}", safe(source), safe(&goal.reason)));
            if !goal.fix.is_empty() {
                text.push_str(&format!("\n    {}", goal.fix));
            }
        }
        for thing in besides {
            text.push_str(&format!("\n- {}", safe(thing.text)));
            if !thing.fix.is_empty() {
                text.push_str(&format!("\n    {}", thing.fix));
            }
        }
        text.push('\n');
        for pair in posture.sources.iter().flat_map(|s| &s.pairs) {
            let age = pair.age.map_or_else(|| "none".into(), |age| format!("{} old", span_words(age)));
            let (source, repository) = (safe(&pair.source), safe(&pair.repository));
            text.push_str(&format!("\n{source} in {repository}: {age}, {} good copies", pair.copies));
        }
        Message {
            kind: "report".into(),
            subject: "report".into(),
            title: self.outlook.to_string(),
            text,
            fix: String::new(),
            priority: Priority::Low,
            machine: self.machine.to_string(),
            time: self.now,
            html: Some(html),
        }
    }
}
