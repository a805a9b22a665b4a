//! The lag of every group of the pipeline, queried from the broker. This also shows groups whose service is stopped, and the
//! progress of a revoked partition under its new owner.
//!
//! Each service exports all groups, so one running service is enough. With several scrape targets, use `max by (group,
//! topic, partition)`. Failure: while the broker does not respond, the lag is unknown and shown as `NaN`.

use std::sync::Arc;
use std::time::Duration;

use domain::{Classified as _, ErrorClass};
use stream::Shutdown;
use stream::kafka::groups::PartitionLag;
use stream::kafka::probe::Probe;

use crate::health::Health;
use crate::metrics;

/// Each query takes a request for each group, and each service sends them.
const INTERVAL: Duration = Duration::from_secs(30);
/// Bounds each query.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Groups with the topics that each reads.
pub(crate) type Groups = Vec<(String, Vec<String>)>;

/// Queries the lag until shutdown, and passes the lag of this service's groups to health.
pub(crate) async fn watch(probe: Arc<Probe>, groups: Groups, service: &str, health: Arc<Health>, shutdown: Shutdown) {
    let prefix = format!("{service}-");
    let (mut known, mut is_reported) = (Vec::<(String, PartitionLag)>::new(), false);
    while !shutdown.is_requested() {
        let (asking, asked) = (Arc::clone(&probe), groups.clone());
        let answer = tokio::task::spawn_blocking(move || asking.lags(&asked, TIMEOUT)).await;
        match answer {
            Ok(Ok(lags)) => {
                (known, is_reported) = (lags, false);
                known
                    .iter()
                    .for_each(|(group, lag)| metrics::consumer_lag(group, lag, lag.lag() as f64));
                let own: Vec<(String, PartitionLag)> = known
                    .iter()
                    .filter(|(group, _)| group.starts_with(&prefix))
                    .cloned()
                    .collect();
                health.set_lag(&own);
            }
            Ok(Err(error)) => {
                if error.class() == ErrorClass::Fatal && !std::mem::replace(&mut is_reported, true) {
                    tracing::warn!(code = error.code(), error = %error, "the lag of the groups is not available");
                }
                tracing::debug!(error = %error, "the lag of the groups is unknown; retrying");
                known
                    .iter()
                    .for_each(|(group, lag)| metrics::consumer_lag(group, lag, f64::NAN));
                health.set_lag(&[]);
            }
            Err(error) => tracing::error!(error = %error, "the query for the lag of the groups failed; retrying"),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
