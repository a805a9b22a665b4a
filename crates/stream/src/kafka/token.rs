//! Access tokens for OAUTHBEARER: the client credentials grant (RFC 6749, 4.4) with one endpoint.
//!
//! Role: one background thread per process gets a token and renews it after four fifths of its lifetime. All clients of the
//! process share the token. The thread starts with the first client, so a process with another login has no such thread. It
//! ends with the last owner.
//! Failure: the error of the last attempt is kept for every caller that waits for a token. Attempts continue with a growing
//! pause, and the old token stays in use until it expires.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::{Condvar, Mutex, MutexGuard};
use security::{Secret, Trust, causes, http_client};
use serde::Deserialize;

use crate::StreamError;

/// Time limit of one request to the endpoint.
const REQUEST_WITHIN: Duration = Duration::from_secs(10);
/// How long the first client waits for the first token.
const FIRST_TOKEN_WITHIN: Duration = Duration::from_secs(15);
/// Lifetime of a token whose response does not state it.
const DEFAULT_LIFE_SECONDS: u64 = 300;
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Bytes of a response that an error shows.
const SHOWN: usize = 300;

/// Where tokens come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokensFrom {
    /// The token endpoint.
    pub url: String,
    /// Client id; also the principal's name towards the client library.
    pub client_id: String,
    /// Client secret.
    pub client_secret: Secret,
    /// Scope; empty = none is requested.
    pub scope: String,
}

/// An access token.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(super) value: String,
    pub(super) principal: String,
    /// Expiry, in milliseconds since the epoch.
    pub(super) ends_at_ms: i64,
}

#[derive(Default)]
struct Held {
    token: Option<Token>,
    problem: Option<String>,
    has_thread: bool,
}

#[derive(Default)]
struct Shared {
    held: Mutex<Held>,
    changed: Condvar,
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock()
    }
}

/// The token of a process.
pub(crate) struct Tokens {
    from: TokensFrom,
    trust: Trust,
    shared: Arc<Shared>,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: Option<u64>,
}

impl Tokens {
    pub(super) fn new(from: TokensFrom, trust: Trust) -> Tokens {
        Tokens {
            from,
            trust,
            shared: Arc::default(),
        }
    }

    /// The token in use; waits for the first one.
    ///
    /// # Errors
    /// `kafka_token_refused`: the endpoint grants none. Fatal if there was never a token.
    pub(super) fn wait(&self) -> Result<Token, StreamError> {
        self.start_thread();
        let deadline = Instant::now() + FIRST_TOKEN_WITHIN;
        let mut held = self.shared.held();
        loop {
            if let Some(token) = &held.token {
                return Ok(token.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if let Some(problem) = &held.problem {
                return Err(StreamError::fatal("kafka_token_refused", problem.clone()));
            }
            if left.is_zero() {
                let problem = format!(
                    "token endpoint {} did not answer within {} s: check DATA_PROC_KAFKA_SASL_OAUTH_TOKEN_URL",
                    self.from.url,
                    FIRST_TOKEN_WITHIN.as_secs()
                );
                return Err(StreamError::fatal("kafka_token_refused", problem));
            }
            self.shared.changed.wait_for(&mut held, left);
        }
    }

    /// The token in use, without waiting.
    pub(super) fn current(&self) -> Option<Token> {
        self.shared.held().token.clone()
    }

    fn start_thread(&self) {
        let mut held = self.shared.held();
        if held.has_thread {
            return;
        }
        let (from, trust, shared) = (self.from.clone(), self.trust.clone(), Arc::downgrade(&self.shared));
        let renew = move || {
            let mut pause = SHORTEST_PAUSE;
            while let Some(shared) = shared.upgrade() {
                let granted = get(&from, &trust);
                let wait = keep(&shared, granted, &mut pause);
                // While this thread sleeps, the owners may be dropped.
                drop(shared);
                std::thread::sleep(wait);
            }
        };
        match std::thread::Builder::new().name("kafka-token".to_owned()).spawn(renew) {
            Ok(_) => held.has_thread = true,
            Err(error) => held.problem = Some(format!("start the token thread: {error}")),
        }
    }
}

/// Stores the result for the clients; returns how long to wait before the next attempt.
fn keep(shared: &Shared, granted: Result<(Token, Duration), String>, pause: &mut Duration) -> Duration {
    let mut held = shared.held();
    let wait = match granted {
        Ok((token, life)) => {
            (held.token, held.problem) = (Some(token), None);
            *pause = SHORTEST_PAUSE;
            (life * 4 / 5).max(SHORTEST_PAUSE)
        }
        Err(problem) => {
            tracing::warn!(
                error = problem,
                wait_ms = pause.as_millis() as u64,
                "no new token for kafka; the old one stays in use until it expires"
            );
            held.problem = Some(problem);
            let wait = *pause;
            *pause = (*pause * 2).min(LONGEST_PAUSE);
            wait
        }
    };
    drop(held);
    shared.changed.notify_all();
    wait
}

fn get(from: &TokensFrom, trust: &Trust) -> Result<(Token, Duration), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("start the async runtime: {error}"))?;
    runtime.block_on(ask(from, trust))
}

async fn ask(from: &TokensFrom, trust: &Trust) -> Result<(Token, Duration), String> {
    let url = &from.url;
    let client = http_client(trust, Some(REQUEST_WITHIN)).map_err(|error| error.to_string())?;
    let mut form = vec![("grant_type", "client_credentials")];
    if !from.scope.is_empty() {
        form.push(("scope", &from.scope));
    }
    let request = client
        .post(url)
        .basic_auth(&from.client_id, Some(from.client_secret.expose()))
        .form(&form);
    let response = request.send().await.map_err(|error| {
        format!(
            "token endpoint {url} cannot be reached: {}; check DATA_PROC_KAFKA_SASL_OAUTH_TOKEN_URL, and DATA_PROC_TLS_CA \
             if a private authority signed its certificate",
            causes(&error.without_url())
        )
    })?;
    let status = response.status();
    let body = response
        .text()
        .await
        .map_err(|error| format!("token endpoint {url}: {}", error.without_url()))?;
    if !status.is_success() {
        return Err(format!(
            "token endpoint {url} grants no token, status {status}: {}; check DATA_PROC_KAFKA_SASL_OAUTH_CLIENT_ID, \
             DATA_PROC_KAFKA_SASL_OAUTH_CLIENT_SECRET and DATA_PROC_KAFKA_SASL_OAUTH_SCOPE",
            shown(&body)
        ));
    }
    // The body is not shown: it may contain a token.
    let granted: Granted = serde_json::from_str(&body).map_err(|_| {
        format!(
            "token endpoint {url} returned no access_token; check DATA_PROC_KAFKA_SASL_OAUTH_TOKEN_URL, which must be the \
             token endpoint itself"
        )
    })?;
    let life = Duration::from_secs(granted.expires_in.unwrap_or(DEFAULT_LIFE_SECONDS).clamp(1, 86_400));
    let ends = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + life;
    let token = Token {
        value: granted.access_token,
        principal: from.client_id.clone(),
        ends_at_ms: i64::try_from(ends.as_millis()).unwrap_or(i64::MAX),
    };
    Ok((token, life))
}

fn shown(body: &str) -> String {
    let body: String = body.chars().take(SHOWN).collect();
    body.escape_debug().to_string()
}
