//! The hourly reports of markets against the means of their fine prices, kept current for the metrics.
//!
//! Role: [`statements`] asks `market_ticks`, for this watch and for `dp check-market`; [`ledger`] decides which hours are due, and adds
//! up what was found. The rule itself is `markets::hourly`.
//! Invariants: nothing is done for a tick. An hour is compared when a price of it has come and the market has an hourly report that
//! reaches it, so a market whose reports come once a day is compared once a day. The counts are a function of the stored rows: a
//! restart changes none.
//! Failure: while ClickHouse does not answer, the metrics are `NaN`; the next round, a minute later, asks for the same rows again.

mod ledger;
pub mod statements;

use std::time::Duration;

use domain::Micros;
use markets::hourly::pairs;
use stores::{ClickHouse, StoreError};
use stream::Shutdown;
use stream::status::wall_clock;

use crate::metrics;
use ledger::Ledger;
pub(crate) use ledger::Totals;
use statements::{Arrivals, Question};

const HOUR: Micros = 3_600_000_000;
const DAY: Micros = 24 * HOUR;
/// Hours that began earlier are not compared. MISO publishes its final report about a week later.
const WINDOW: Micros = 9 * DAY;
/// Time between two rounds, and after one that failed.
const INTERVAL: Duration = Duration::from_secs(600);
const AFTER_FAILURE: Duration = Duration::from_secs(60);
/// A batch has its time before its rows can be seen, so rows of the last minutes before a round are asked for again.
const OVERLAP: Micros = HOUR / 6;

/// Whose prices, and where they are.
struct Watched {
    clickhouse: ClickHouse,
    table: String,
    tenant: String,
}

/// Compares until shutdown.
pub(crate) async fn watch(clickhouse: ClickHouse, table: String, tenant: String, shutdown: Shutdown) {
    let watched = Watched {
        clickhouse,
        table,
        tenant,
    };
    let mut ledger = Ledger::new(pairs());
    let mut seen_until = None;
    metrics::market_checks_unknown(pairs());
    while !shutdown.is_requested() {
        let now = wall_clock();
        let wait = match watched.round(&mut ledger, seen_until, now).await {
            Ok(()) => {
                seen_until = Some(now - OVERLAP);
                metrics::market_checks(&ledger.totals(now - DAY));
                INTERVAL
            }
            Err(error) => {
                tracing::debug!(error = %error, "hourly prices cannot be compared with fine ones; retrying");
                metrics::market_checks_unknown(pairs());
                AFTER_FAILURE
            }
        };
        tokio::time::sleep(wait).await;
    }
}

impl Watched {
    /// Compares the hours of the prices that have come since.
    async fn round(&self, ledger: &mut Ledger, seen_until: Option<Micros>, now: Micros) -> Result<(), StoreError> {
        let begin = now - WINDOW;
        ledger.forget_before(begin);
        let arrivals = Arrivals {
            table: &self.table,
            tenant: &self.tenant,
            from: begin,
            stored_since: seen_until.unwrap_or(begin),
        };
        let arrived = arrivals.ask(&self.clickhouse).await?;
        for due in ledger.due(&arrived) {
            for (from, to) in due.parts() {
                let question = Question {
                    table: &self.table,
                    tenant: &self.tenant,
                    market: due.market,
                    fine: due.fine,
                    from,
                    to,
                    // Prices are stored after their interval has begun, apart from differences of clocks.
                    stored_since: Some(from - HOUR),
                };
                let hours = question.hours(&self.clickhouse).await?;
                ledger.replace(&due, (from, to), hours);
            }
        }
        Ok(())
    }
}
