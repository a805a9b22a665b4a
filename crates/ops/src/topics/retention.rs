//! Applies the retention that somebody has chosen to the topics that exist.
//!
//! Invariant: a shorter one, with which the broker removes records at once, is applied only with the user's consent.
//! Failure: a topic whose setting cannot be read is left to the change itself, whose error names the missing right.

use anyhow::Context as _;
use stream::kafka::admin::TopicSpec;
use stream::kafka::topic_settings::{Changed, set_where_different, values};

use super::specs::{RETENTION_MS, with_chosen_retention};
use crate::connection::Connection;

/// What became of the chosen times.
#[derive(Debug)]
pub(super) struct Applied {
    pub(super) changed: Vec<Changed>,
    /// A sentence for each topic that keeps its longer time.
    pub(super) kept: Vec<String>,
}

/// Sets the chosen times of these topics; shorter ones only if it `may_shorten`.
///
/// # Errors
/// Kafka does not answer, or refuses.
pub(super) async fn apply(connection: &Connection, specs: &[TopicSpec], may_shorten: bool) -> anyhow::Result<Applied> {
    let bootstrap = &connection.settings.kafka_bootstrap;
    let mut chosen = with_chosen_retention(&connection.names, &connection.settings, specs);
    let mut kept = Vec::new();
    if !may_shorten && !chosen.is_empty() {
        let names: Vec<String> = chosen.iter().map(|spec| spec.name.clone()).collect();
        let now = values(bootstrap, &names, RETENTION_MS).await;
        let now = now.context("read how long the topics keep their records")?;
        (chosen, kept) = without_shorter(chosen, &now);
    }
    let changed = match chosen.is_empty() {
        true => Vec::new(),
        false => set_where_different(bootstrap, &chosen, RETENTION_MS)
            .await
            .context("set how long the topics keep their records")?,
    };
    Ok(Applied { changed, kept })
}

/// The topics whose time does not become shorter, and a sentence for each other one. `now` has their times in the same order.
fn without_shorter(specs: Vec<TopicSpec>, now: &[Option<String>]) -> (Vec<TopicSpec>, Vec<String>) {
    let (mut others, mut kept) = (Vec::new(), Vec::new());
    for (spec, now) in specs.into_iter().zip(now) {
        let wanted = spec.config.iter().find(|(name, _)| name == RETENTION_MS);
        match (wanted, now) {
            (Some((_, wanted)), Some(now)) if is_shorter(wanted, now) => kept.push(format!(
                "topic {} keeps {RETENTION_MS}={now}: {wanted} is shorter, and the broker would remove the records before it. \
                 `dp topics create --yes` applies it",
                spec.name
            )),
            _ => others.push(spec),
        }
    }
    (others, kept)
}

/// Whether a topic with the wanted time may lack records that it keeps now. A negative time is no limit.
fn is_shorter(wanted: &str, now: &str) -> bool {
    let time = |text: &str| {
        let time: Option<i64> = text.trim().parse().ok();
        time.map(|time| if time < 0 { i64::MAX } else { time })
    };
    match (time(wanted), time(now)) {
        (Some(wanted), Some(now)) => wanted < now,
        // Nobody knows what a time means that is no number.
        _ => wanted != now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, retention: Option<&str>) -> TopicSpec {
        let retention = retention.map(|time| (RETENTION_MS.to_owned(), time.to_owned()));
        TopicSpec {
            name: name.to_owned(),
            partitions: 1,
            replication: 1,
            config: retention.into_iter().collect(),
        }
    }

    #[test]
    fn only_a_shorter_time_is_held_back_and_the_command_that_applies_it_is_named() {
        let specs = ["shorter", "equal", "longer", "for ever", "unknown"].map(|name| spec(name, Some("100")));
        let specs = specs.into_iter().chain([spec("compacted", None)]).collect();
        let now = [Some("101"), Some("100"), Some("99"), Some("-1"), None, Some("101")];
        let (others, kept) = without_shorter(specs, &now.map(|now| now.map(str::to_owned)));
        let others: Vec<&str> = others.iter().map(|spec| spec.name.as_str()).collect();
        assert_eq!(others, ["equal", "longer", "unknown", "compacted"]);
        for (sentence, topic) in kept.iter().zip(["shorter", "for ever"]) {
            assert!(
                sentence.starts_with(&format!("topic {topic} keeps retention.ms=")) && sentence.contains("--yes"),
                "{sentence}"
            );
        }
        assert_eq!(kept.len(), 2);
    }

    #[test]
    fn no_limit_is_the_longest_time() {
        for (wanted, now, expected) in [
            ("-1", "100", false),
            ("-1", "-1", false),
            ("0", "-1", true),
            ("1", "x", true),
        ] {
            assert_eq!(is_shorter(wanted, now), expected, "{wanted} {now}");
        }
    }
}
