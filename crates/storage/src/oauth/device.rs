//! The way without a browser on this machine: the user types a short code elsewhere (RFC 8628).

use super::answers::{self, TokenAnswer};
use super::client::{FormClient, login_of, refusal};
use super::{ClientId, Login, Provider};
use crate::{ErrorKind, StoreError, StoreResult, Wait};
use std::ops::ControlFlow;
use std::time::Duration;

/// So much longer between two questions after each "slow down" (RFC 8628, 3.5).
const SLOWER_BY: Duration = Duration::from_secs(5);
const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// What the user is told. Texts from outside: escape them before printing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevicePrompt {
    /// Where the code is typed.
    pub url: String,
    /// The code.
    pub code: String,
    /// How long it is good.
    pub expires_in: Duration,
}

/// Gets a login by a code that `tell` shows; `wait` passes the time between questions and may end it.
///
/// # Errors
/// [`ErrorKind::Denied`] when the user says no, [`ErrorKind::Unauthenticated`] when the code runs out or the
/// client is not known, [`ErrorKind::Config`] at a service that has no such way.
pub fn by_device(
    forms: &FormClient,
    provider: &Provider,
    client: &ClientId,
    tell: &dyn Fn(&DevicePrompt),
    wait: &Wait,
) -> StoreResult<Login> {
    let what = "get a login by a device code";
    let Some(url) = &provider.device_url else {
        let why = format!("{} has no device codes", provider.service.shown());
        return Err(StoreError::new(ErrorKind::Config, what).because(why));
    };
    let (status, body) = forms.send(url, &[("client_id", client.id.as_str()), ("scope", provider.scope)])?;
    let asked = answers::device(status, &body).map_err(|answer| refusal(what, answer))?;
    let expires_in = Duration::from_secs(asked.expires_in_s);
    tell(&DevicePrompt { url: asked.verification_url.clone(), code: asked.user_code.clone(), expires_in });
    let mut fields = vec![
        ("grant_type", GRANT),
        ("device_code", asked.device_code.as_str()),
        ("client_id", client.id.as_str()),
    ];
    if let Some(secret) = &client.secret {
        fields.push(("client_secret", secret));
    }
    let mut interval = Duration::from_secs(asked.interval_s);
    let mut waited = Duration::ZERO;
    while waited < expires_in {
        if wait(interval) == ControlFlow::Break(()) {
            return Err(StoreError::new(ErrorKind::Other, what).because("it was given up"));
        }
        waited += interval;
        // The longer pause after a cut line is the RFC's advice, too.
        match forms.send(&provider.token_url, &fields).map(|(status, body)| answers::token(status, &body)) {
            Ok(TokenAnswer::Pending) => {}
            Ok(TokenAnswer::SlowDown | TokenAnswer::Busy) => interval += SLOWER_BY,
            Err(error) if error.kind().is_transient() => interval += SLOWER_BY,
            Err(error) => return Err(error),
            Ok(answer) => return login_of(provider, client, answer),
        }
    }
    Err(refusal(what, TokenAnswer::Expired))
}
