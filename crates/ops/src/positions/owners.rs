//! Who reads a partition now, and what the services say of it: whether its reader has stopped there, and why.
//!
//! Role: Kafka names the owner. A service exports the partitions that it reads at `/metrics`, and says at `/health` why one is blocked.
//! Invariant: a partition is blocked only if both say so. The series of a partition stays after its owner has lost it.
//! Failure: a service that gives no answer is [`Reading::Unknown`] with the reason, never an error and never "reads".

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use futures_util::future::join_all;
use serde::Serialize;
use serde_json::Value;
use stream::Partition;
use stream::kafka::groups::{GroupReader, GroupState};
use stream::metrics::{CONSUMER_PAUSED, PARTITION_BLOCKED};

use super::Consumer;
use crate::connection::Connection;
use crate::health::{Line, ask_services, checks, http_client};
use crate::lag::Owner;
use crate::place::Place;
use crate::scrape::Scrape;
use crate::targets::{self, Target};
use crate::threads::reading;

/// The words of a service for a partition that is blocked follow its name.
const BLOCKED: &str = " cannot be read at offset ";

/// What the reader of a partition does there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Reading {
    /// It reads.
    Reads,
    /// An operator has paused it.
    Paused,
    /// The settings of the service leave this stage out, so nobody reads it.
    NotRun,
    /// A record cannot be fetched; the service says which one, and what to do.
    Blocked {
        /// In the words of the service.
        reason: String,
    },
    /// No service says it.
    Unknown {
        /// Why not.
        reason: String,
    },
}

/// What one service or replica answers.
pub struct Answer {
    line: Line,
    scrape: Option<Scrape>,
}

/// What all services answer.
pub struct Answers(Result<Vec<Answer>, String>);

impl Answers {
    /// Asks all services at the same time. `usual` are the names and local ports to fall back to.
    pub async fn ask(place: &Place, connection: &Connection, usual: &[(&str, u16)]) -> Answers {
        let asked = async {
            let targets = targets::find(place, connection, &[], usual)?;
            let client = http_client(connection)?;
            let scrapes = join_all(targets.iter().map(|target: &Target| target.scrape(&client)));
            let (scrapes, lines) = tokio::join!(scrapes, ask_services(&client, targets.clone()));
            let answers = lines.into_iter().zip(scrapes);
            anyhow::Ok(answers.map(|(line, scrape)| Answer { line, scrape }).collect())
        };
        Answers(asked.await.map_err(|error| format!("{error:#}")))
    }

    /// What they say of a partition of this consumer.
    pub fn of(&self, consumer: &Consumer, partition: &Partition) -> Reading {
        let unknown = |reason: String| Reading::Unknown { reason };
        let answers = match &self.0 {
            Ok(answers) => answers,
            Err(reason) => return unknown(reason.clone()),
        };
        let service = consumer.service;
        let replicas: Vec<&Answer> = answers.iter().filter(|answer| answer.is_of(service)).collect();
        let readers: Vec<&&Answer> = replicas
            .iter()
            .filter(|answer| answer.blocked(&consumer.group, partition).is_some())
            .collect();
        if let Some(reason) = readers
            .iter()
            .find_map(|answer| answer.reason(&consumer.group, partition))
        {
            return Reading::Blocked { reason };
        }
        if readers.iter().any(|answer| answer.is_paused(&consumer.group)) {
            return Reading::Paused;
        }
        // A replica that is silent may be the one that reads it, while another one still exports that it once did.
        match replicas.iter().find_map(|answer| answer.silence()) {
            Some(reason) => unknown(reason),
            None if !readers.is_empty() => Reading::Reads,
            None if !replicas.is_empty() && replicas.iter().all(|answer| answer.leaves_out(&consumer.group)) => {
                Reading::NotRun
            }
            None => unknown(format!("no {service} that answers reads it")),
        }
    }

    /// What is wrong with the services of these consumers, with the names of the services.
    pub fn problems(&self, services: &BTreeSet<&str>) -> Vec<String> {
        let answers = self.0.iter().flatten();
        let meant = answers.filter(|answer| services.iter().any(|service| answer.is_of(service)));
        let wrong = meant.filter(|answer| answer.line.report.is_some());
        wrong
            .filter_map(|answer| {
                let Line {
                    name, state, reason, ..
                } = &answer.line;
                reason
                    .as_ref()
                    .map(|reason| format!("{name} is {}: {reason}", state.name()))
            })
            .collect()
    }
}

impl Answer {
    /// A replica has a number after the name of its service.
    fn is_of(&self, service: &str) -> bool {
        let rest = self.line.name.strip_prefix(service);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }

    fn silence(&self) -> Option<String> {
        let name = &self.line.name;
        match (&self.line.report, &self.scrape) {
            (Some(_), Some(_)) => None,
            (Some(_), None) => Some(format!("{name} does not show its metrics")),
            (None, _) => {
                let reason = self.line.reason.as_deref().unwrap_or("no reason is known");
                Some(format!("{name} gives no answer: {reason}"))
            }
        }
    }

    /// Whether the service counts a partition as blocked; `None` if it does not read it.
    fn blocked(&self, group: &str, partition: &Partition) -> Option<bool> {
        let number = partition.number.to_string();
        let groups = self.scrape.as_ref()?.sums(PARTITION_BLOCKED, "group", |sample| {
            let is = |label: &str, value: &str| sample.labels.get(label) == Some(value);
            is("topic", &partition.topic) && is("partition", &number)
        });
        groups.get(group).map(|value| *value > 0.0)
    }

    /// Why it is blocked.
    fn reason(&self, group: &str, partition: &Partition) -> Option<String> {
        self.blocked(group, partition).filter(|is_blocked| *is_blocked)?;
        let (_, check) = checks(self.line.report.as_ref()?).find(|(name, _)| *name == "partitions")?;
        named(check.get("error").and_then(Value::as_str)?, partition).map(str::to_owned)
    }

    fn is_paused(&self, group: &str) -> bool {
        self.stages().get(group).is_some_and(|value| *value > 0.0)
    }

    /// Whether the service runs stages, and none with this group. A build that does not export its stages says nothing.
    fn leaves_out(&self, group: &str) -> bool {
        let stages = self.stages();
        !stages.is_empty() && !stages.contains_key(group)
    }

    /// The groups of the stages that it runs, above zero if one is paused. A stage has its series from the start.
    fn stages(&self) -> BTreeMap<String, f64> {
        let scrape = self.scrape.as_ref();
        scrape.map_or_else(BTreeMap::new, |scrape| scrape.sums(CONSUMER_PAUSED, "group", |_| true))
    }
}

/// The part of a check's text that begins with this partition. It ends where the next partition begins.
fn named<'t>(text: &'t str, partition: &Partition) -> Option<&'t str> {
    let begin = format!("{partition}{BLOCKED}");
    let is_begin = |at: &usize| *at == 0 || text[..*at].ends_with("; ");
    let at = text.match_indices(&begin).map(|(at, _)| at).find(is_begin)?;
    let (first, rest) = text[at..].split_at(begin.len());
    let next = rest.find(BLOCKED).and_then(|next| rest[..next].rfind("; "));
    Some(&text[at..at + first.len() + next.unwrap_or(rest.len())])
}

/// The members that own the partitions of these consumers, by group and partition. None while a group has no members or rebalances.
///
/// # Errors
/// Kafka does not answer.
pub async fn owners(
    connection: &Connection,
    groups: BTreeSet<String>,
) -> anyhow::Result<BTreeMap<(String, Partition), Owner>> {
    let bootstrap = connection.settings.kafka_bootstrap.clone();
    let at = format!("read the owners of partitions from Kafka at {bootstrap}: is it running (`dp status`)?");
    let read = reading(move || {
        let mut owners = BTreeMap::new();
        for group in groups {
            let state = GroupReader::new(&bootstrap, &group)?.state()?;
            for member in state.as_ref().map_or(&[][..], |state: &GroupState| &state.members) {
                for partition in &member.partitions {
                    owners.insert((group.clone(), partition.clone()), Owner::of(member));
                }
            }
        }
        Ok(owners)
    });
    read.await.context(at)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::health::State;
    use crate::positions::Home;

    const UNREADABLE: &str = "raw[2] cannot be read at offset 7: bad compression; the next readable offset is 9, skip to it with: \
                              dp position skip normalization --topic raw --partition 2 --to 9";

    fn partition(number: i32) -> Partition {
        let topic = "raw".into();
        Partition { topic, number }
    }

    fn consumer() -> Consumer {
        Consumer {
            service: "normalization",
            group: "n".to_owned(),
            topic: "raw".to_owned(),
            home: Home::Group,
        }
    }

    /// A replica that reads partitions 1 and 2.
    fn answer(name: &str, [first, second]: [u8; 2], error: Option<&str>) -> Answer {
        let series = |number: u8, value: u8| {
            format!("kafka_partition_blocked{{group=\"n\",topic=\"raw\",partition=\"{number}\"}} {value}\n")
        };
        Answer {
            line: Line {
                name: name.to_owned(),
                kind: "service",
                state: State::Degraded,
                duration_ms: 1,
                target: String::new(),
                reason: error.map(|error| format!("partitions: {error}")),
                not_ready: None,
                report: Some(json!({"checks": {"partitions": {"error": error}}})),
            },
            scrape: Some(Scrape::parse(&(series(1, first) + &series(2, second)))),
        }
    }

    fn silent(name: &str) -> Answer {
        let mut answer = answer(name, [0, 0], Some("refused"));
        (answer.line.report, answer.scrape) = (None, None);
        answer
    }

    fn of(answers: Vec<Answer>, number: i32) -> Reading {
        Answers(Ok(answers)).of(&consumer(), &partition(number))
    }

    #[test]
    fn a_blocked_partition_has_the_words_of_its_reader_and_no_others() {
        let both = format!("raw[1] cannot be read at offset 3: the log continues to 5; see the log; {UNREADABLE}");
        let answers = || vec![answer("normalization-2", [1, 1], Some(&both))];
        let blocked = |reason: &str| Reading::Blocked {
            reason: reason.to_owned(),
        };
        assert_eq!(of(answers(), 2), blocked(UNREADABLE));
        let first = "raw[1] cannot be read at offset 3: the log continues to 5; see the log";
        assert_eq!(of(answers(), 1), blocked(first));
        // Another group of the same topic reads on.
        let other = Consumer {
            group: "other".to_owned(),
            ..consumer()
        };
        let said = Answers(Ok(answers())).of(&other, &partition(2));
        assert!(matches!(said, Reading::Unknown { .. }), "{said:?}");
    }

    #[test]
    fn a_series_that_remains_after_its_owner_lost_the_partition_is_no_block() {
        assert_eq!(of(vec![answer("normalization", [0, 1], None)], 2), Reading::Reads);
        let of_eleven = UNREADABLE.replace("raw[2]", "raw[1]").replace("raw", "xraw");
        assert_eq!(named(&of_eleven, &partition(1)), None, "{of_eleven}");
    }

    #[test]
    fn what_no_service_says_is_unknown_with_the_reason() {
        let reason = |reading: Reading| match reading {
            Reading::Unknown { reason } => reason,
            other => format!("{other:?}"),
        };
        let said = reason(of(vec![silent("normalization")], 1));
        assert!(
            said.contains("normalization gives no answer: partitions: refused"),
            "{said}"
        );
        // The replica that is silent may read it by now.
        let replicas = vec![answer("normalization", [0, 0], None), silent("normalization-2")];
        assert!(reason(of(replicas, 1)).contains("normalization-2"));
        assert!(reason(of(vec![answer("enrichment", [0, 0], None)], 1)).contains("no normalization"));
        let said = reason(Answers(Err("no services are named".to_owned())).of(&consumer(), &partition(1)));
        assert_eq!(said, "no services are named");
    }

    #[test]
    fn a_paused_reader_does_not_read() {
        let mut paused = answer("normalization", [0, 0], None);
        let text = "kafka_partition_blocked{group=\"n\",topic=\"raw\",partition=\"1\"} 0\n\
                    kafka_consumer_paused{group=\"n\",stage=\"normalization\"} 1\n";
        paused.scrape = Some(Scrape::parse(text));
        assert_eq!(of(vec![paused], 1), Reading::Paused);
    }

    #[test]
    fn a_stage_that_every_replica_leaves_out_is_not_unknown() {
        let running = |groups: &[&str]| {
            let mut running = answer("normalization", [0, 0], None);
            let series = |group: &&str| format!("kafka_consumer_paused{{group=\"{group}\",stage=\"s\"}} 0\n");
            running.scrape = Some(Scrape::parse(&groups.iter().map(series).collect::<String>()));
            running
        };
        assert_eq!(of(vec![running(&["other"])], 1), Reading::NotRun);
        for answers in [
            // It runs the stage and does not read the partition yet; it says nothing of its stages; another one is silent.
            vec![running(&["other"]), running(&["n"])],
            vec![running(&[])],
            vec![running(&["other"]), silent("normalization-2")],
        ] {
            assert!(matches!(of(answers, 1), Reading::Unknown { .. }));
        }
    }

    #[test]
    fn problems_are_those_of_the_services_that_are_shown() {
        let answers = Answers(Ok(vec![
            answer("normalization", [0, 1], Some(UNREADABLE)),
            answer("enrichment", [0, 1], Some(UNREADABLE)),
            silent("normalization-2"),
        ]));
        let problems = answers.problems(&BTreeSet::from(["normalization"]));
        assert_eq!(
            problems,
            [format!("normalization is degraded: partitions: {UNREADABLE}")]
        );
    }
}
