//! `dp logs level`: the log level of a running service, shown or changed for a limited time.

use std::time::Duration;

use ops::connection::Connection;
use ops::definitions::DEFAULT_PORTS;
use ops::log_level::{LogLevel, ask};
use ops::own_route::Asked;
use ops::place::Place;
use ops::present::{print_either, printable};
use serde_json::{Value, json};
use service::telemetry::level::{MAX_SECONDS, filter};

/// Show the log level of a running service, or change it for a limited time
///
/// Needs no restart. After the time the level of the settings comes back by itself; a newer change replaces an older one. A service
/// answers only on its own machine: in a cluster, run this inside the pod. Each replica has its own level.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Exit codes: 0 done; 2 the service gives no answer or refuses, or wrong usage\n\n\
    Examples:\n  dp logs level normalization\n  dp logs level normalization debug --for 10m\n  \
    dp logs level aggregation info,stream=debug\n  dp logs level normalization --reset --json"
)]
pub struct Args {
    /// normalization, enrichment, aggregation, projection, or a replica such as normalization-2
    service: String,
    /// error, warn, info, debug, trace, or a list such as info,stream=debug; without it, the present one is shown
    #[arg(value_parser = filter, conflicts_with = "reset")]
    level: Option<String>,
    /// How long, up to 24h
    #[arg(long = "for", value_name = "TIME", default_value = "15m", value_parser = limited, requires = "level")]
    time: Duration,
    /// Bring the level of the settings back now
    #[arg(long)]
    reset: bool,
}

fn limited(text: &str) -> Result<Duration, String> {
    let time = ops::present::duration(text)?;
    match (1..=MAX_SECONDS).contains(&time.as_secs()) {
        true => Ok(time),
        false => Err("it must be from 1s to 24h".to_owned()),
    }
}

impl Args {
    /// Whether the level is changed.
    pub fn writes(&self) -> bool {
        self.body().is_some()
    }

    /// The body of the request; `None` if the level is only shown.
    fn body(&self) -> Option<Value> {
        match &self.level {
            Some(level) => Some(json!({ "level": level, "for_seconds": self.time.as_secs() })),
            None => self.reset.then(|| json!({ "reset": true })),
        }
    }
}

/// Runs `dp logs level`.
///
/// # Errors
/// The service is not known, gives no answer, or refuses.
pub async fn run(place: &Place, args: &Args, json: bool) -> anyhow::Result<()> {
    let connection = Connection::resolve(place, json)?;
    let asked = Asked {
        place,
        connection: &connection,
        service: &args.service,
        usual: &DEFAULT_PORTS,
    };
    let found = ask(asked, args.body().as_ref()).await?;
    print_either(json, &found, || text(&found))
}

fn text(found: &LogLevel) -> String {
    let LogLevel {
        service,
        level,
        base_level,
        until,
    } = found;
    let rest = until.as_ref().map(|until| format!(" until {until}, then {base_level}"));
    printable(&format!("{service}: {level}{}", rest.unwrap_or_default()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn body(words: &[&str]) -> Result<Option<Value>, String> {
        Line::try_parse_from([&["level"], words].concat())
            .map(|line| line.args.body())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_level_is_shown_set_for_a_time_or_reset() {
        for (words, expected) in [
            (&["projection"][..], None),
            (
                &["projection", "DEBUG"],
                Some(json!({"level": "debug", "for_seconds": 900})),
            ),
            (
                &["projection", "info,stream=debug", "--for", "10m"],
                Some(json!({"level": "info,stream=debug", "for_seconds": 600})),
            ),
            (&["projection", "--reset"], Some(json!({"reset": true}))),
        ] {
            assert_eq!(body(words), Ok(expected), "{words:?}");
        }
    }

    #[test]
    fn a_wrong_level_or_time_is_refused_with_what_is_valid() {
        for (words, reason) in [
            (&["projection", "loud"][..], "error, warn, info, debug, trace"),
            (&["projection", "debug", "--for", "25h"], "from 1s to 24h"),
            (&["projection", "debug", "--for", "0s"], "from 1s to 24h"),
            (&["projection", "--for", "1m"], "required arguments were not provided"),
            (&["projection", "debug", "--reset"], "cannot be used with"),
        ] {
            let refused = body(words).unwrap_err();
            assert!(refused.contains(reason), "{words:?}: {refused}");
        }
    }

    #[test]
    fn the_text_says_until_when() {
        let mut found = LogLevel {
            service: "projection".to_owned(),
            level: "debug".to_owned(),
            base_level: "info".to_owned(),
            until: Some("2026-10-01T00:00:00.000Z".to_owned()),
        };
        assert_eq!(
            text(&found),
            "projection: debug until 2026-10-01T00:00:00.000Z, then info"
        );
        found.until = None;
        assert_eq!(text(&found), "projection: debug");
    }
}
