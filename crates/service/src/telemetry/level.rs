//! The log level of a running service, changed for a limited time.
//!
//! Role: [`Change`] is what an operator asks for; [`Levels`] holds the base filter and the temporary one, and puts them into
//! effect. A newer change replaces an older one, and its time with it.
//! Invariant: a temporary filter always has an end, after which the filter of the settings is back without a request.
//! Failure: a text that is no filter is rejected with the valid names, before anything changes.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::Notify;
use tracing::Level;
use tracing_subscriber::EnvFilter;

/// Names of levels, from the fewest lines to the most.
pub const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
/// How long a change lasts if the request does not say.
pub const DEFAULT_SECONDS: u64 = 900;
/// The longest time of a change.
pub const MAX_SECONDS: u64 = 86_400;
/// Longest text of a filter, in bytes.
const MAX_FILTER: usize = 512;

/// A body of `PUT /log-level`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    level: Option<String>,
    for_seconds: Option<u64>,
    #[serde(default)]
    reset: bool,
}

/// A valid request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The filter of the settings.
    Reset,
    /// This filter, for this time.
    Set(String, Duration),
}

impl Asked {
    /// The change that is asked for.
    ///
    /// # Errors
    /// What is wrong with the request, and what is valid.
    pub fn change(self) -> Result<Change, String> {
        match self {
            Asked {
                level: None,
                for_seconds: None,
                reset: true,
            } => Ok(Change::Reset),
            Asked { reset: true, .. } => Err("reset needs no level and no for_seconds".to_owned()),
            Asked { level: None, .. } => Err(format!("level is missing: {}, or \"reset\": true", known())),
            Asked {
                level: Some(level),
                for_seconds,
                ..
            } => {
                let seconds = for_seconds.unwrap_or(DEFAULT_SECONDS);
                if !(1..=MAX_SECONDS).contains(&seconds) {
                    return Err(format!("for_seconds must be from 1 to {MAX_SECONDS}, got {seconds}"));
                }
                Ok(Change::Set(filter(&level)?, Duration::from_secs(seconds)))
            }
        }
    }
}

/// A level, or a list such as `info,stream=debug`, as a filter.
///
/// # Errors
/// The text is neither; the message has the valid names.
pub fn filter(text: &str) -> Result<String, String> {
    let lower = text.to_ascii_lowercase();
    if LEVELS.contains(&lower.as_str()) {
        return Ok(lower);
    }
    let shown: String = text.chars().take(64).collect();
    let invalid = |reason: &str| format!("'{}' is not a log level{reason}; use {}", shown.escape_debug(), known());
    // A bare word that is no level would be the name of a module, and nothing else would be logged.
    let is_item = |item: &str| item.contains('=') || LEVELS.contains(&item.to_ascii_lowercase().as_str());
    // The parser of filters panics on some texts that have spaces and characters of several bytes.
    let is_plain = text.len() <= MAX_FILTER && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_plain || !text.split(',').all(is_item) {
        return Err(invalid(""));
    }
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(invalid(&format!(" or list of levels: {error}"))),
    }
}

fn known() -> String {
    format!("{}, or a list such as info,stream=debug", LEVELS.join(", "))
}

/// The filter in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The present one.
    pub level: String,
    /// That of the settings.
    pub base_level: String,
    /// When the one of the settings comes back; `None` if it is in effect.
    pub until: Option<Timestamp>,
}

/// What is in effect. Pure.
#[derive(Debug)]
struct State {
    base: String,
    temporary: Option<Temporary>,
}

#[derive(Debug)]
struct Temporary {
    filter: String,
    /// For the timer: wall clocks jump.
    ends: Instant,
    /// For people.
    until: Timestamp,
}

impl State {
    fn shown(&self) -> Shown {
        let temporary = self.temporary.as_ref();
        Shown {
            level: temporary.map_or(&self.base, |temporary| &temporary.filter).clone(),
            base_level: self.base.clone(),
            until: temporary.map(|temporary| temporary.until),
        }
    }

    fn apply(&mut self, change: &Change, now: Instant, clock: Timestamp) {
        self.temporary = match change {
            Change::Reset => None,
            Change::Set(filter, time) => Some(Temporary {
                filter: filter.clone(),
                ends: now + *time,
                until: clock.saturating_add(*time).unwrap_or(Timestamp::MAX),
            }),
        };
    }

    fn ends(&self) -> Option<Instant> {
        self.temporary.as_ref().map(|temporary| temporary.ends)
    }
}

/// Puts a filter into effect; the reason if it cannot.
type Apply = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// The filter of this process, and how it is changed.
pub struct Levels {
    state: Mutex<State>,
    apply: Apply,
    changed: Notify,
}

impl Levels {
    /// `base` is the filter of the settings, in effect already.
    pub fn new(base: &str, apply: Apply) -> Levels {
        Levels {
            state: Mutex::new(State {
                base: base.to_owned(),
                temporary: None,
            }),
            apply,
            changed: Notify::new(),
        }
    }

    /// The filter in effect.
    pub fn shown(&self) -> Shown {
        self.state.lock().shown()
    }

    /// Makes a change.
    ///
    /// # Errors
    /// The filter cannot be put into effect; the old one stays.
    pub fn change(&self, change: &Change) -> Result<Shown, String> {
        let shown = self.put(change, &mut self.state.lock())?;
        self.changed.notify_one();
        Ok(shown)
    }

    /// Brings the base filter back whenever the time of a change is over. Never ends.
    pub async fn keep(&self) {
        loop {
            let ends = self.state.lock().ends();
            match ends {
                None => self.changed.notified().await,
                Some(ends) => {
                    // Either a newer change has another end, or the time is over: both are looked at again.
                    _ = tokio::time::timeout_at(ends.into(), self.changed.notified()).await;
                    self.expire(Instant::now());
                }
            }
        }
    }

    fn expire(&self, now: Instant) {
        let mut state = self.state.lock();
        if state.ends().is_none_or(|ends| now < ends) {
            return;
        }
        if let Err(error) = self.put(&Change::Reset, &mut state) {
            tracing::error!(
                error,
                "the log level of the settings cannot be restored; restart the service"
            );
            // A second attempt would fail the same way, and at once.
            state.temporary = None;
        }
    }

    fn put(&self, change: &Change, state: &mut State) -> Result<Shown, String> {
        let new = match change {
            Change::Reset => &state.base,
            Change::Set(filter, _) => filter,
        };
        let new = EnvFilter::try_new(new).map_err(|error| format!("'{new}' is not a log level: {error}"))?;
        let before = state.shown();
        // Under a filter that hides warnings the line is written on the other side of the change.
        let is_written = tracing::enabled!(Level::WARN);
        let mut after = State {
            base: state.base.clone(),
            temporary: None,
        };
        after.apply(change, Instant::now(), Timestamp::now());
        if is_written {
            report(&before, &after.shown());
        }
        (self.apply)(new)?;
        if !is_written {
            report(&before, &after.shown());
        }
        *state = after;
        Ok(state.shown())
    }
}

fn report(before: &Shown, after: &Shown) {
    let until = after.until.map(|until| format!("{until:.3}"));
    tracing::warn!(
        event = "log_level",
        from = before.level,
        // The log counts lines of one kind by this field.
        to = after.level,
        until,
        "log level changed"
    );
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn change(body: &str) -> Result<Change, String> {
        serde_json::from_str::<Asked>(body)
            .map_err(|error| error.to_string())
            .and_then(Asked::change)
    }

    fn set(filter: &str, seconds: u64) -> Change {
        Change::Set(filter.to_owned(), Duration::from_secs(seconds))
    }

    #[test]
    fn a_body_is_a_level_with_a_time_or_a_reset() {
        for (body, expected) in [
            (r#"{"level":"debug"}"#, set("debug", DEFAULT_SECONDS)),
            (r#"{"level":"TRACE","for_seconds":1}"#, set("trace", 1)),
            (
                r#"{"level":"info,stream=debug","for_seconds":86400}"#,
                set("info,stream=debug", MAX_SECONDS),
            ),
            (r#"{"reset":true}"#, Change::Reset),
        ] {
            assert_eq!(change(body), Ok(expected), "{body}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_body_is_named() {
        for (body, reason) in [
            ("{}", "level is missing: error, warn, info, debug, trace"),
            (
                r#"{"level":"loud"}"#,
                "'loud' is not a log level; use error, warn, info",
            ),
            (r#"{"level":""}"#, "'' is not a log level"),
            (r#"{"level":"infoo,stream=debug"}"#, "is not a log level"),
            (r#"{"level":" ü=debug"}"#, "is not a log level"),
            (r#"{"level":"stream=loud"}"#, "is not a log level or list of levels"),
            (r#"{"level":"debug","for_seconds":0}"#, "from 1 to 86400, got 0"),
            (r#"{"level":"debug","for_seconds":86401}"#, "from 1 to 86400, got 86401"),
            (r#"{"level":"debug","reset":true}"#, "reset needs no level"),
            (r#"{"level":"debug","minutes":1}"#, "unknown field `minutes`"),
        ] {
            let refused = change(body).unwrap_err();
            assert!(refused.contains(reason), "{body}: {refused}");
        }
        let long = format!("stream={}", "x".repeat(MAX_FILTER));
        assert!(filter(&long).unwrap_err().len() < 300);
    }

    #[test]
    fn a_newer_change_replaces_an_older_one_and_its_time() {
        let mut state = State {
            base: "info".to_owned(),
            temporary: None,
        };
        let (now, clock) = (Instant::now(), Timestamp::UNIX_EPOCH);
        state.apply(&set("debug", 60), now, clock);
        state.apply(&set("trace", 10), now, clock);
        assert_eq!(state.ends(), Some(now + Duration::from_secs(10)));
        let shown = state.shown();
        assert_eq!((shown.level.as_str(), shown.base_level.as_str()), ("trace", "info"));
        assert_eq!(shown.until.unwrap().as_second(), 10);
        state.apply(&Change::Reset, now, clock);
        assert_eq!(state.shown().level, "info");
        assert_eq!((state.shown().until, state.ends()), (None, None));
    }

    /// Levels whose filters are recorded as they come into effect.
    fn recorded() -> (Levels, Arc<Mutex<Vec<String>>>) {
        let applied = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&applied);
        let apply = move |filter: EnvFilter| {
            log.lock().push(filter.to_string());
            Ok(())
        };
        (Levels::new("warn", Box::new(apply)), applied)
    }

    #[test]
    fn the_base_is_back_after_the_time_and_not_before() {
        let (levels, applied) = recorded();
        let asked = Instant::now();
        levels.change(&set("debug", 60)).unwrap();
        levels.expire(asked + Duration::from_secs(59));
        assert_eq!(levels.shown().level, "debug");
        levels.expire(Instant::now() + Duration::from_secs(60));
        assert_eq!(levels.shown().level, "warn");
        assert_eq!(*applied.lock(), ["debug", "warn"]);
    }

    #[test]
    fn a_filter_that_cannot_be_put_into_effect_changes_nothing() {
        let levels = Levels::new("info", Box::new(|_| Err("no subscriber".to_owned())));
        assert_eq!(levels.change(&set("debug", 60)).unwrap_err(), "no subscriber");
        assert_eq!(levels.shown().level, "info");
    }

    #[test]
    fn the_timer_follows_the_newest_change() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let (levels, _) = recorded();
        let levels = Arc::new(levels);
        runtime.block_on(async {
            let kept = Arc::clone(&levels);
            let timer = tokio::spawn(async move { kept.keep().await });
            levels.change(&set("debug", MAX_SECONDS)).unwrap();
            // The timer waits for the end of the first change when the second one comes.
            tokio::task::yield_now().await;
            let short = Change::Set("trace".to_owned(), Duration::from_millis(20));
            levels.change(&short).unwrap();
            let back = async {
                while levels.shown().until.is_some() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(20), back).await.unwrap();
            timer.abort();
        });
        assert_eq!(levels.shown().level, "warn");
    }
}
