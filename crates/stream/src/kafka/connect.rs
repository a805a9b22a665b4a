//! Creates every client of the client library, logs it in, and keeps its login fresh.
//!
//! Role: the only calls of `create` in the project. A client gets its token before its first request, so no call waits for a
//! callback that is never served. A password in a file is read again, and passed to the client when it has changed. A client that has
//! forgotten every broker gets the bootstrap addresses again: a broker that starts may list no broker, and the library then forgets
//! all it knows, and does not always start again by itself (librdkafka 2.12, its issue 5301).
//! Invariant: only the password and the token change without a new client. A renewed certificate is used by the next client
//! that is created, at the latest after a restart.
//! Failure: settings that the library refuses and a token that is not granted are fatal for the first client. Later the old
//! password or token stays in use.
//!
//! The client crate has no call for either, so this file calls librdkafka directly.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::ptr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::admin::AdminClient;
use rdkafka::bindings as sys;
use rdkafka::client::Client;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};

use super::brokers::{Brokers, Login};
use super::probe::Probe;
use super::settings::{self, Compression};
use super::watch::{Watch, Watched};
use super::{classify, token};
use crate::StreamError;

/// How long the access check before an administrator's calls may take.
const ACCESS_WITHIN: Duration = Duration::from_secs(10);
/// Maximum number of callbacks that are served at once.
const EVENTS: usize = 1_000;
/// How often a client looks for a new password or token.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A consumer with these settings.
pub(super) fn consumer<C: ConsumerContext + Watched>(
    brokers: &Brokers,
    config: &ClientConfig,
    context: C,
) -> Result<(BaseConsumer<C>, Renewal), StreamError> {
    let consumer: BaseConsumer<C> = config
        .create_with_context(context)
        .map_err(|e| classify("create consumer", &e))?;
    let renewal = Renewal::begin(brokers, consumer.client(), consumer.context().watch())?;
    Ok((consumer, renewal))
}

/// A producer with these settings.
pub(super) fn producer<C: ProducerContext + Watched>(
    brokers: &Brokers,
    config: &ClientConfig,
    context: C,
) -> Result<(BaseProducer<C>, Renewal), StreamError> {
    let producer: BaseProducer<C> = config
        .create_with_context(context)
        .map_err(|e| classify("create producer", &e))?;
    let renewal = Renewal::begin(brokers, producer.client(), producer.context().watch())?;
    Ok((producer, renewal))
}

/// Serves the callbacks that are due, for clients that are not polled: connection problems are reported there only.
pub(super) fn serve_callbacks<C: ConsumerContext>(brokers: &Brokers, consumer: &BaseConsumer<C>) {
    for _ in 0..EVENTS {
        if brokers.is_refused() || consumer.poll(Duration::ZERO).is_none() {
            return;
        }
    }
}

/// A client for admin requests, used for a few calls.
///
/// It never serves callbacks, so a refused login would only show as a time-out: access is checked first.
pub(super) async fn admin(brokers: &Brokers) -> Result<AdminClient<Watch>, StreamError> {
    let asked = brokers.clone();
    tokio::task::spawn_blocking(move || Probe::new(&asked)?.check_access(ACCESS_WITHIN))
        .await
        .map_err(|e| StreamError::transient("kafka_unavailable", format!("check access: {e}")))??;
    let watch = brokers.watch();
    let admin: AdminClient<Watch> = settings::producer(brokers, "dp-admin", Compression::None)
        .create_with_context(watch.clone())
        .map_err(|e| classify("create admin client", &e))?;
    Renewal::begin(brokers, admin.inner(), &watch)?;
    Ok(admin)
}

/// Keeps the login and the addresses of one client fresh.
pub(super) struct Renewal {
    brokers: Brokers,
    watch: Watch,
    /// The password and the token do not change while the process runs.
    is_idle: bool,
    state: Mutex<State>,
}

struct State {
    next_look: Instant,
    given: Option<String>,
}

impl Renewal {
    fn begin<C: ClientContext>(brokers: &Brokers, client: &Client<C>, watch: &Watch) -> Result<Renewal, StreamError> {
        let (given, is_idle) = match &brokers.security().login {
            Some(Login::Password { password, .. }) => (Some(password.expose()), !password.is_in_file()),
            Some(Login::Token(_)) => match brokers.tokens() {
                Some(tokens) => {
                    let token = tokens.wait()?;
                    give_token(client, &token).map_err(|why| StreamError::fatal("kafka_token_refused", why))?;
                    (Some(token.value), false)
                }
                None => (None, true),
            },
            None => (None, true),
        };
        Ok(Renewal {
            brokers: brokers.clone(),
            watch: watch.clone(),
            is_idle,
            state: Mutex::new(State {
                next_look: Instant::now() + LOOK_EVERY,
                given,
            }),
        })
    }

    /// Passes a new password or token to the client, if there is one, and the addresses, if it has forgotten them. To be called once
    /// a round, or before a request.
    pub(super) fn renew<C: ClientContext>(&self, client: &Client<C>) {
        if self.watch.take_forgotten() {
            give_addresses(client, self.brokers.addresses());
        }
        if self.is_idle {
            return;
        }
        let mut state = self.state.lock();
        let now = Instant::now();
        if now < state.next_look {
            return;
        }
        state.next_look = now + LOOK_EVERY;
        let given = match &self.brokers.security().login {
            Some(Login::Password { username, password, .. }) => {
                let password = password.expose();
                if state.given.as_ref() == Some(&password) {
                    return;
                }
                give_password(client, username, &password).map(|()| password)
            }
            _ => match self.brokers.tokens().and_then(|tokens| tokens.current()) {
                Some(token) if state.given.as_ref() != Some(&token.value) => {
                    give_token(client, &token).map(|()| token.value)
                }
                _ => return,
            },
        };
        match given {
            Ok(given) => {
                state.given = Some(given);
                tracing::debug!("kafka client has a new password or token");
            }
            Err(error) => tracing::warn!(error, "kafka client refused the new password or token; will try again"),
        }
    }
}

fn give_addresses<C: ClientContext>(client: &Client<C>, addresses: &str) {
    let Ok(list) = CString::new(addresses) else {
        tracing::warn!("the addresses of the brokers contain a zero byte");
        return;
    };
    // SAFETY: the client is alive and copies the string.
    let added = unsafe { sys::rd_kafka_brokers_add(client.native_ptr(), list.as_ptr()) };
    tracing::warn!(
        added,
        "kafka client knew no broker any more; it starts again from the bootstrap addresses"
    );
}

fn give_password<C: ClientContext>(client: &Client<C>, username: &str, password: &str) -> Result<(), String> {
    let zero = |_| "user name or password contains a zero byte".to_owned();
    let (username, password) = (
        CString::new(username).map_err(zero)?,
        CString::new(password).map_err(zero)?,
    );
    // SAFETY: the client is alive and copies both strings; an error is destroyed here after it is copied.
    unsafe {
        let error = sys::rd_kafka_sasl_set_credentials(client.native_ptr(), username.as_ptr(), password.as_ptr());
        if error.is_null() {
            return Ok(());
        }
        let why = CStr::from_ptr(sys::rd_kafka_error_string(error))
            .to_string_lossy()
            .into_owned();
        sys::rd_kafka_error_destroy(error);
        Err(why)
    }
}

fn give_token<C: ClientContext>(client: &Client<C>, token: &token::Token) -> Result<(), String> {
    let zero = |_| "the token or the client id contains a zero byte".to_owned();
    let (value, principal) = (
        CString::new(token.value.as_str()).map_err(zero)?,
        CString::new(token.principal.as_str()).map_err(zero)?,
    );
    let mut why = [0; 512];
    // SAFETY: the client is alive and copies both strings; `why` has the length that is passed.
    unsafe {
        let code = sys::rd_kafka_oauthbearer_set_token(
            client.native_ptr(),
            value.as_ptr(),
            token.ends_at_ms,
            principal.as_ptr(),
            ptr::null_mut(),
            0,
            why.as_mut_ptr(),
            why.len(),
        );
        match code {
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
            _ => Err(CStr::from_ptr(why.as_ptr()).to_string_lossy().into_owned()),
        }
    }
}
