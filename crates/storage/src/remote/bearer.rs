//! Opens drives with a token that lasts an hour, and gets another one in time.
//!
//! The services below are given a placeholder; what really goes out is set here. So a token that the
//! service renews is kept for the next run, one that ran out early is replaced without a word, and refusals
//! whose status says less than their text are put right: Google answers "too fast" and "full" with 403.

use super::WireAnswer;
use super::wire::{Line, answer_of, bounded};
use crate::oauth::{Granted, KeepLogin, Login, renew};
use crate::{ErrorKind, StoreError, StoreResult};
use http::{HeaderValue, Request, Response, StatusCode, header};
use opendal::{Buffer, HttpBody, HttpTransport};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// What the services below are given instead of a token.
pub(super) const PLACEHOLDER: &str = "set-by-lifeboat";
/// The servers that a token is for. Upload and download addresses elsewhere carry their own right, and an
/// address that an answer names must not be able to draw the token to itself.
const HOSTS: [&str; 4] =
    ["www.googleapis.com", "api.dropboxapi.com", "content.dropboxapi.com", "graph.microsoft.com"];
/// A token is replaced this long before it runs out.
const MARGIN: Duration = Duration::from_secs(120);
/// Text of a refusal that is looked at (bytes).
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// A line whose requests are signed with a token.
pub(super) struct Bearer {
    line: Line,
    keeper: Arc<dyn KeepLogin>,
    state: Arc<Mutex<State>>,
}

struct State {
    login: Login,
    /// What opens the drive, and until when; none before the first request.
    access: Option<(HeaderValue, Instant)>,
}

impl Bearer {
    pub(super) fn new(line: Line, keeper: Arc<dyn KeepLogin>, login: Login) -> Self {
        Self { line, keeper, state: Arc::new(Mutex::new(State { login, access: None })) }
    }

    /// The token to use; `refused` is one that was just turned down.
    async fn token(&self, refused: Option<&HeaderValue>) -> StoreResult<HeaderValue> {
        let mut state = self.state.lock().await;
        if let Some((token, until)) = &state.access
            && Instant::now() < *until
            && refused != Some(token)
        {
            return Ok(token.clone());
        }
        let granted = match renew(&self.line, &state.login).await {
            // Another process may have been given a new one in the meantime.
            Err(error) if error.kind() == ErrorKind::Unauthenticated => {
                self.renew_anew(&mut state, error).await?
            }
            other => other?,
        };
        self.adopt(&mut state, granted)
    }

    async fn renew_anew(&self, state: &mut State, error: StoreError) -> StoreResult<Granted> {
        match self.keeper.read() {
            Ok(kept) if kept != state.login => {
                state.login = kept;
                renew(&self.line, &state.login).await
            }
            _ => Err(error),
        }
    }

    fn adopt(&self, state: &mut State, granted: Granted) -> StoreResult<HeaderValue> {
        let mut token = HeaderValue::from_str(&format!("Bearer {}", granted.access_token))
            .map_err(|_| StoreError::new(ErrorKind::Other, "use the token of the service"))?;
        token.set_sensitive(true);
        let lifetime = Duration::from_secs(granted.expires_in_s);
        state.access = Some((token.clone(), Instant::now() + lifetime.saturating_sub(MARGIN)));
        if let Some(renewed) = granted.refresh_token.filter(|renewed| *renewed != state.login.refresh_token) {
            state.login.refresh_token = renewed;
            // A service that renews its tokens may stop to accept the old one: this must not be lost.
            self.keeper.keep(&state.login)?;
        }
        Ok(token)
    }

    async fn signed(
        &self,
        request: &Request<Buffer>,
        token: HeaderValue,
    ) -> opendal::Result<Response<HttpBody>> {
        let mut request = request.clone();
        request.headers_mut().insert(header::AUTHORIZATION, token);
        self.line.fetch(request).await
    }
}

impl HttpTransport for Bearer {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let is_for_token = request.uri().scheme_str() == Some("https")
            && request.uri().host().is_some_and(|host| HOSTS.contains(&host));
        if !request.headers().contains_key(header::AUTHORIZATION) || !is_for_token {
            let mut request = request;
            request.headers_mut().remove(header::AUTHORIZATION);
            return self.line.fetch(request).await;
        }
        let token = self.token(None).await.map_err(|error| refused(&error))?;
        let mut answer = self.signed(&request, token.clone()).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            let token = self.token(Some(&token)).await.map_err(|error| refused(&error))?;
            answer = self.signed(&request, token).await?;
        }
        put_right(answer).await
    }
}

/// The error in OpenDAL's terms, so that it comes out again as what it is.
fn refused(error: &StoreError) -> opendal::Error {
    let kind = match error.kind() {
        ErrorKind::Denied => opendal::ErrorKind::PermissionDenied,
        ErrorKind::Config => opendal::ErrorKind::ConfigInvalid,
        _ => opendal::ErrorKind::Unexpected,
    };
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    let words = match error.kind() {
        ErrorKind::Unauthenticated => super::errors::LOGIN_REFUSED,
        _ => "the login could not be renewed",
    };
    let made = opendal::Error::new(kind, format!("{words}: {cause}"));
    if error.kind().is_transient() { made.set_temporary() } else { made }
}

/// Gives refusals the status that says what they mean.
async fn put_right(answer: Response<HttpBody>) -> opendal::Result<Response<HttpBody>> {
    if !matches!(answer.status(), StatusCode::FORBIDDEN | StatusCode::CONFLICT) {
        return Ok(answer);
    }
    let (parts, body) = answer.into_parts();
    let body = bounded(body, REFUSAL_BYTES_MAX).await?.unwrap_or_default();
    let status = meant(parts.status.as_u16(), &String::from_utf8_lossy(&body));
    let headers = parts.headers.iter().filter(|(name, _)| **name != header::CONTENT_LENGTH);
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = headers.map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    let mut made = answer_of(WireAnswer { status, headers, body })?;
    *made.extensions_mut() = parts.extensions;
    Ok(made)
}

/// Reasons of Google (`rateLimitExceeded`), Dropbox (`too_many_write_operations`) and Microsoft.
fn meant(status: u16, text: &str) -> u16 {
    let says = |reasons: &[&str]| reasons.iter().any(|reason| text.contains(reason));
    if says(&["ateLimitExceeded", "too_many_write_operations", "too_many_requests", "activityLimitReached"]) {
        429
    } else if says(&[
        "storageQuotaExceeded",
        "teamDriveFileLimitExceeded",
        "insufficient_space",
        "quotaLimitReached",
    ]) {
        507
    } else {
        status
    }
}

#[cfg(test)]
mod tests {
    use super::meant;

    #[test]
    fn refusals_mean_what_they_say() {
        assert_eq!(meant(403, r#"{"error":{"errors":[{"reason":"userRateLimitExceeded"}]}}"#), 429);
        assert_eq!(meant(403, r#"{"error":{"errors":[{"reason":"rateLimitExceeded"}]}}"#), 429);
        assert_eq!(meant(403, r#"{"error":{"errors":[{"reason":"storageQuotaExceeded"}]}}"#), 507);
        assert_eq!(meant(409, r#"{"error_summary":"path/insufficient_space/.."}"#), 507);
        assert_eq!(meant(403, r#"{"error":{"errors":[{"reason":"insufficientPermissions"}]}}"#), 403);
        assert_eq!(meant(409, r#"{"error_summary":"path/not_found/.."}"#), 409);
    }
}
