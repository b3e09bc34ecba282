//! Telling people, as the configuration says.

use crate::display::safe;
use crate::error::{Exit, Failure, Outcome, local};
use crate::folders;
use crate::session::Session;
use crate::session::machine_of;
use crate::time;
use format::kind::Timestamp;
use service::alarms::Delivery;
use service::catalog::Catalog;
use service::config::Loaded;
use service::notify::{self, Message, Post};
use service::watching::{self, Found, Tellers, Voice};

fn post(session: &Session) -> Outcome<Post> {
    let pem = session.global.cacert.as_ref().map(std::fs::read).transpose();
    let extra_roots_pem = pem.map_err(|e| local("cannot read the certificates", e))?;
    Ok(Post { extra_roots_pem, ..Post::default() })
}

/// Who can be told; who cannot is said.
fn tellers(session: &Session, loaded: &Loaded) -> Tellers {
    let machine = machine_of(&loaded.config);
    let tellers = watching::tellers(&loaded.config, &machine, &folders::environment(), &loaded.home);
    for (name, why) in &tellers.broken {
        session.out.warn(format!("notifier {} cannot be used: {}", safe(name), safe(why)));
    }
    tellers
}

/// Brings what people know up to date, and sends the report when it is due or wanted.
pub(super) fn tell(
    session: &Session,
    catalog: &Catalog,
    loaded: &Loaded,
    found: &Found,
    report_now: bool,
) -> Outcome<()> {
    let (tellers, post) = (tellers(session, loaded), post(session)?);
    let shown = |secs| time::shown(Timestamp { secs, nanos: 0 });
    let voice = Voice { tellers: &tellers, post: &post, shown: &shown, version: env!("CARGO_PKG_VERSION") };
    told(session, &watching::tell(&loaded.config, catalog, found, &voice, report_now)?)
}

fn told(session: &Session, deliveries: &[Delivery]) -> Outcome<()> {
    for delivery in deliveries {
        let (notifier, subject) = (safe(&delivery.notifier), safe(&delivery.subject));
        match &delivery.error {
            None => session.out.info(format!("told {notifier}: {} {subject}", delivery.kind)),
            Some(why) => session.out.warn(format!(
                "could not tell {notifier} ({} {subject}): {}",
                delivery.kind,
                safe(why)
            )),
        }
    }
    Ok(())
}

/// Sends a test message.
pub(super) fn test(
    session: &Session,
    catalog: &Catalog,
    loaded: &Loaded,
    name: &str,
    now: Timestamp,
) -> Outcome<Exit> {
    if !loaded.config.notify.contains_key(name) {
        let names: Vec<_> = loaded.config.notify.keys().map(|name| safe(name)).collect();
        return Err(Failure::usage(format!("there is no notifier {}", safe(name)))
            .hint(format!("the configuration has: {}", names.join(", "))));
    }
    let (all, post) = (tellers(session, loaded), post(session)?);
    let Some(teller) = all.tellers.iter().find(|teller| teller.name == name) else {
        return Err(Failure::new(Exit::Failed, format!("notifier {} cannot be used", safe(name))));
    };
    let message = Message::test(&machine_of(&loaded.config), now.secs);
    let sent = notify::send(&teller.channel, &message, &post).map_err(|e| e.to_string());
    catalog.record_notifier(name, now.secs, sent.as_ref().err().map(String::as_str))?;
    match sent {
        Ok(()) => session.out.info(format!("{} took the test message; see whether it arrives", safe(name))),
        Err(why) => {
            return Err(Failure::new(
                Exit::Failed,
                format!("{} did not take the message: {why}", safe(name)),
            ));
        }
    }
    Ok(Exit::Ok)
}
