//! Shows the recorded runs of `dp verify` as metrics, since the command has ended before anything can scrape it.
//!
//! Failure: while the table cannot be read, the gauges keep their values; the first failure of each kind is logged.

use std::sync::Arc;
use std::time::Duration;

use domain::Classified as _;
use service::Breaker;
use service::breaker::Denied;
use stores::postgres::VerifyRuns;
use tokio::time::{MissedTickBehavior, interval};

use crate::metrics;

/// A run takes minutes, and its alert may wait as long as one scrape.
const PERIOD: Duration = Duration::from_secs(30);

/// Reads the last runs now and then, without end.
pub async fn watch(runs: VerifyRuns, breaker: Arc<Breaker>) {
    let mut period = interval(PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failed = None;
    loop {
        period.tick().await;
        match breaker.call(runs.last()).await {
            Ok(last) => {
                failed = None;
                last.iter().for_each(metrics::show_verify);
            }
            Err(Denied::Failed(error)) if failed != Some(error.code()) => {
                failed = Some(error.code());
                tracing::warn!(
                    error = %error,
                    "the runs of `dp verify` cannot be read: alerts VerifyFailed and VerifyMissing do not see new ones"
                );
            }
            Err(_) => (),
        }
    }
}
