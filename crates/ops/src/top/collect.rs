//! Takes samples: asks services, servers, Kafka and Alertmanager at the same time, over connections that it keeps.
//!
//! Failure: what gives no answer in time is part of the sample. Only what cannot be asked at all, such as an address that cannot be
//! parsed, is an error.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::future::join_all;
use localstack::{Condition, FROZEN, ProcessStatus};
use parking_lot::Mutex;
use service::Names;
use service::writer::{TABLES, TableSpec};

use super::figures::{LATEST_PRICE, STAGE_SERVICES};
use super::sample::{Alerts, GroupSeen, Sample, Seen};
use crate::alerts::Alertmanager;
use crate::connection::{Connection, uses_stack};
use crate::health::{self, Servers};
use crate::lag::{Lag, LagWatch, Subscription};
use crate::place::Place;
use crate::targets::{self, Target};
use crate::threads::blocking;

/// Kafka takes longer only if it does not work.
const LAG_LIMIT: Duration = Duration::from_secs(5);

/// Asks repeatedly.
pub struct Collector {
    place: Place,
    connection: Connection,
    named: Vec<Target>,
    usual: Vec<(&'static str, u16)>,
    /// Topics that the first stage of each service reads.
    inputs: BTreeMap<String, Vec<String>>,
    http: reqwest::Client,
    servers: Servers,
    alertmanager: Option<Alertmanager>,
    lag: Arc<Mutex<Option<LagWatch>>>,
    began: Instant,
}

impl Collector {
    /// Connects. `usual` are names and local ports of the services to fall back to, in the order of the pipeline.
    ///
    /// # Errors
    /// An address cannot be parsed, or no services are named.
    pub fn new(
        place: &Place,
        connection: &Connection,
        named: &[Target],
        usual: &[(&'static str, u16)],
    ) -> anyhow::Result<Collector> {
        // Names what is missing before the screen is cleared.
        targets::find(place, connection, named, usual)?;
        let groups: BTreeMap<String, Vec<String>> = connection.names.groups().into_iter().collect();
        let input = |name: &str| groups.get(&connection.names.group(name)).cloned();
        let inputs = usual
            .iter()
            .filter_map(|(name, _)| Some(((*name).to_owned(), input(name)?)));
        Ok(Collector {
            place: place.clone(),
            connection: connection.clone(),
            named: named.to_vec(),
            usual: usual.to_vec(),
            inputs: inputs.collect(),
            http: health::http_client(connection)?,
            servers: Servers::connect(connection)?,
            alertmanager: Alertmanager::find(place, connection)?,
            lag: Arc::default(),
            began: Instant::now(),
        })
    }

    /// Asks everything once.
    ///
    /// # Errors
    /// The local stack was removed meanwhile.
    pub async fn sample(&self) -> anyhow::Result<Sample> {
        let targets = targets::find(&self.place, &self.connection, &self.named, &self.usual)?;
        let scraping = join_all(targets.iter().map(|target| target.scrape(&self.http)));
        let asking = health::ask_services(&self.http, targets.clone());
        let (scrapes, lines, servers, groups, alerts, processes) = tokio::join!(
            scraping,
            asking,
            self.servers.ask(),
            self.groups(),
            self.alerts(),
            self.processes()
        );
        let services = lines.iter().zip(scrapes).map(|(line, scrape)| match scrape {
            Some(scrape) => Seen::of(line).exporting(&scrape, &self.inputs),
            None => Seen::of(line),
        });
        let mut seen: Vec<Seen> = services.chain(servers.iter().map(Seen::of)).collect();
        let processes = processes?;
        for one in &mut seen {
            if let Some(process) = processes.get(&one.name) {
                one.runs_as(process);
            }
        }
        let place = |seen: &Seen| (seen.is_server, self.place_of(&seen.name));
        seen.sort_by_key(place);
        Ok(Sample {
            time: jiff::Timestamp::now(),
            elapsed: self.began.elapsed(),
            processes: seen,
            groups,
            alerts,
        })
    }

    /// Services in the order of the pipeline, replicas beside each other.
    fn place_of(&self, name: &str) -> usize {
        let is_of = |usual: &&'static str| {
            name.strip_prefix(*usual)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        let names = self.usual.iter().map(|(usual, _)| usual);
        names
            .copied()
            .position(|usual| is_of(&usual))
            .unwrap_or(self.usual.len())
    }

    async fn groups(&self) -> Result<Vec<GroupSeen>, String> {
        let (lag, brokers, names) = (
            self.lag.clone(),
            self.connection.settings.kafka_bootstrap.clone(),
            self.connection.names.clone(),
        );
        let reading = blocking(move || {
            // A thread that still waits holds the lock: another one would wait as well.
            let mut watch = lag.try_lock().context("Kafka has not answered the question before")?;
            let known = match watch.take() {
                Some(known) => known,
                None => LagWatch::new(&brokers, &names)?,
            };
            let lags = known.lags()?;
            *watch = Some(known);
            let stage = |lag: &Lag| stage_of(&names, &lag.subscription);
            Ok(lags
                .iter()
                .map(|lag| GroupSeen::of(lag, stage(lag).as_deref()))
                .collect())
        });
        match tokio::time::timeout(LAG_LIMIT, reading).await {
            Ok(read) => read.map_err(|error: anyhow::Error| format!("{error:#}")),
            Err(_) => Err(format!("Kafka has not answered within {} s", LAG_LIMIT.as_secs())),
        }
    }

    async fn alerts(&self) -> Alerts {
        let Some(alertmanager) = &self.alertmanager else {
            return Alerts::NotConfigured;
        };
        match alertmanager.alerts().await {
            Ok((alerts, _)) => Alerts::Found(alerts),
            Err(_) if alertmanager.is_usual() => Alerts::NotConfigured,
            Err(error) => Alerts::Unknown(format!("{error:#}")),
        }
    }

    /// The processes of the local stack, if it is used.
    async fn processes(&self) -> anyhow::Result<BTreeMap<String, ProcessStatus>> {
        if !uses_stack(&self.place, &self.connection.env) {
            return Ok(BTreeMap::new());
        }
        let stack = self.place.open()?;
        let processes = blocking(move || Ok(stack.status()?)).await?;
        let named = processes.into_iter().map(|process| (process.name.to_string(), process));
        Ok(named.collect())
    }
}

/// The label `stage` of the latency that a service reports for what this group does with its messages.
fn stage_of(names: &Names, of: &Subscription) -> Option<String> {
    let (group, topic) = (&of.group, &of.topic);
    if let Some(service) = STAGE_SERVICES
        .into_iter()
        .find(|service| *group == names.group(service))
    {
        return Some(service.to_owned());
    }
    let is_written = |table: &&TableSpec| *group == names.writer_group(table.service) && (table.topic)(names) == topic;
    if let Some(table) = TABLES.into_iter().find(is_written) {
        return Some(table.stage());
    }
    (*group == names.group("projection")).then(|| LATEST_PRICE.to_owned())
}

impl Seen {
    /// With what the system says of its process, children included.
    fn runs_as(&mut self, process: &ProcessStatus) {
        self.pid = process.pid;
        self.cpu_seconds = process.usage.map(|usage| usage.cpu_seconds);
        self.uptime_seconds = process.uptime_seconds;
        self.memory_bytes = process.usage.map(|usage| usage.resident_bytes).or(self.memory_bytes);
        if process.condition == Condition::Frozen {
            self.reason.get_or_insert_with(|| FROZEN.to_owned());
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::lag::subscriptions;

    #[test]
    fn each_group_of_ticks_bars_or_prices_has_a_stage() {
        let settings = service::settings::load(&service::Env::new(), 0, |_| ())
            .unwrap()
            .settings;
        let names = Names::new(&settings);
        let without: Vec<String> = subscriptions(&names)
            .into_iter()
            .filter(|one| stage_of(&names, one).is_none())
            .map(|one| one.group)
            .collect();
        let of_aggregation =
            ["restate", "derived", "curves"].map(|part| names.group_of(&format!("aggregation-{part}")));
        let served = names.served_group("projection");
        let expected: Vec<String> = of_aggregation.into_iter().chain([served.clone(), served]).collect();
        assert_eq!(without, expected);
    }
}
