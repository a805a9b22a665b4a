//! How far every group of the pipeline is behind, asked of the broker: also a group whose service is stopped is seen, and a
//! partition that was given up shows what its new owner does.
//!
//! Each service exports all groups, so that any of them that runs is enough; over several scrape targets take `max by
//! (group, topic, partition)`. Failure: while the broker does not answer, the lag is not known and shown as `NaN`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use domain::{Classified as _, ErrorClass};
use stream::Shutdown;
use stream::kafka::groups::PartitionLag;
use stream::kafka::probe::Probe;

use crate::health::Health;
use crate::metrics;

const INTERVAL: Duration = Duration::from_secs(10);
/// Bounds each of the questions.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Groups with the topics that each reads.
pub(crate) type Groups = Vec<(String, Vec<String>)>;

/// Asks until shutdown. Health is told of the groups of this service.
pub(crate) async fn watch(probe: Arc<Probe>, groups: Groups, service: &str, health: Arc<Health>, shutdown: Shutdown) {
    let prefix = format!("{service}-");
    let (mut known, mut is_told) = (Vec::<(String, PartitionLag)>::new(), false);
    while !shutdown.is_requested() {
        let (asking, asked) = (Arc::clone(&probe), groups.clone());
        let answer = tokio::task::spawn_blocking(move || asking.lags(&asked, TIMEOUT)).await;
        match answer {
            Ok(Ok(lags)) => {
                (known, is_told) = (lags, false);
                known
                    .iter()
                    .for_each(|(group, lag)| metrics::consumer_lag(group, lag, lag.lag() as f64));
                let mut own = BTreeMap::new();
                for (group, lag) in known.iter().filter(|(group, _)| group.starts_with(&prefix)) {
                    *own.entry(group.clone()).or_default() += lag.lag();
                }
                health.set_lag(own);
            }
            Ok(Err(error)) => {
                if error.class() == ErrorClass::Fatal && !std::mem::replace(&mut is_told, true) {
                    tracing::warn!(code = error.code(), error = %error, "the lag of the groups cannot be shown");
                }
                tracing::debug!(error = %error, "the lag of the groups is not known; asked again");
                known
                    .iter()
                    .for_each(|(group, lag)| metrics::consumer_lag(group, lag, f64::NAN));
                health.set_lag(BTreeMap::new());
            }
            Err(error) => tracing::error!(error = %error, "asking for the lag of the groups ended early; asked again"),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
