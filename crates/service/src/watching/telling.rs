//! Bringing what people know up to date, as the configuration says.

use super::{Found, Tellers, report_due, routes};
use crate::alarms::{self, Delivery, Telling};
use crate::catalog::{Catalog, Duty};
use crate::config::Config;
use crate::failure::{Failure, Outcome};
use crate::notify::{self, Post};
use crate::posture;

/// What telling needs besides what was found.
pub struct Voice<'v> {
    /// Who can be told.
    pub tellers: &'v Tellers,
    /// How requests are made.
    pub post: &'v Post,
    /// Puts a moment into words.
    pub shown: &'v dyn Fn(i64) -> String,
    /// Version of the program.
    pub version: &'v str,
}

/// Tells people what changed, and sends the regular report when it is due, or at once.
pub fn tell(
    config: &Config,
    catalog: &Catalog,
    found: &Found,
    voice: &Voice<'_>,
    report_now: bool,
) -> Outcome<Vec<Delivery>> {
    let now = found.posture.now;
    for (name, why) in &voice.tellers.broken {
        catalog.record_notifier(name, now, Some(why))?;
    }
    let outlook = found.headline();
    let send = |channel: &_, message: &_| notify::send(channel, message, voice.post);
    let telling = Telling {
        catalog,
        routes: &routes(config),
        tellers: &voice.tellers.tellers,
        send: &send,
        secrets: &voice.tellers.secrets,
        machine: &found.posture.machine,
        now,
        outlook: &outlook,
    };
    let mut deliveries = alarms::tell(&telling, &found.problems)?;
    report(&telling, config, catalog, found, voice, report_now, &mut deliveries)?;
    catalog.record_duty(Duty::Watch, "", now, None)?;
    Ok(deliveries)
}

fn report(
    telling: &Telling<'_>,
    config: &Config,
    catalog: &Catalog,
    found: &Found,
    voice: &Voice<'_>,
    report_now: bool,
    deliveries: &mut Vec<Delivery>,
) -> Outcome<()> {
    let Some(report) = &config.alerts.report else {
        return match report_now {
            true => Err(Failure::usage("the configuration names nobody who gets a report")
                .hint("add `report = { to = [\"NOTIFIER\"] }` under [alerts]: lifeboat config edit")),
            false => Ok(()),
        };
    };
    let record = catalog.duty(Duty::Report, "")?;
    let last = record.map_or(telling.now, |r| r.succeeded.unwrap_or(r.first_due));
    if !report_now && !report_due(config, last, telling.now) {
        return Ok(());
    }
    let besides = found.besides();
    let page = posture::page(&found.posture, &besides, voice.shown, voice.version);
    let message = telling.report(&found.posture, &besides, page);
    let mut delivered = true;
    for name in &report.to {
        delivered &= telling.deliver(name, &message, deliveries)?;
    }
    let error = (!delivered).then_some("not everybody got it");
    Ok(catalog.record_duty(Duty::Report, "", telling.now, error)?)
}
