//! Asks the services for what `/stats` says of their calls and their machine.
//!
//! Failure: a service that gives no answer has neither; its health says why.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use serde::Deserialize;
use service::machine::Machine;
use stores::calls::Summary;

use super::{Call, Measured, machine};
use crate::connection::Connection;
use crate::health;
use crate::place::Place;
use crate::targets::{self, Target, Where};

/// The answers of all services at one moment, by name.
pub type Stats = BTreeMap<String, StatsOf>;

/// The answer of one service.
#[derive(Debug, Clone, Deserialize)]
pub struct StatsOf {
    #[serde(default)]
    calls: Vec<Summary>,
    machine: Option<Machine>,
}

/// Asks the services that are named, else the usual ones.
///
/// # Errors
/// An address cannot be parsed, or no services are named.
pub async fn stats(
    place: &Place,
    connection: &Connection,
    named: &[Target],
    usual: &[(&str, u16)],
) -> anyhow::Result<Stats> {
    let targets = targets::find(place, connection, named, usual)?;
    let client = health::http_client(connection)?;
    let answers = join_all(targets.into_iter().map(|target| ask(&client, target))).await;
    Ok(answers.into_iter().flatten().collect())
}

async fn ask(client: &reqwest::Client, target: Target) -> Option<(String, StatsOf)> {
    let Where::Url(url) = &target.at else { return None };
    let url = format!("{}/stats", url.trim_end_matches('/'));
    let answer = client.get(url).send().await.ok()?.error_for_status().ok()?;
    Some((target.name, answer.json().await.ok()?))
}

/// What two answers say, with the seconds between them.
pub fn measured(before: &Stats, now: Stats, seconds: f64) -> Measured {
    let (mut calls, mut readings) = (Vec::new(), Vec::new());
    for (service, stats) in now {
        let earlier = before.get(&service).and_then(|stats| stats.machine.clone());
        calls.extend(stats.calls.into_iter().map(|newest| Call {
            service: service.clone(),
            newest,
        }));
        readings.extend(stats.machine.map(|machine| (service, earlier, machine)));
    }
    Measured {
        calls,
        machines: machine::uses(&readings, seconds),
    }
}
