//! Which intervals of market days have a price, and which lack one: for `GET /completeness`, the metrics, and `dp gaps`.
//!
//! Role: [`survey`] asks the view `market_intervals` what is there, [`days`] computes what is due from the days of the markets.
//! Invariant: a count is of the rows of `market_ticks`, so nothing that is written again changes it.
//! Failure: while ClickHouse does not answer, the route answers 503, and the metrics are `NaN`; the next survey is a minute later.

pub mod days;
pub mod survey;

use std::time::Duration;

use domain::Micros;
use jiff::ToSpan as _;
use jiff::civil::Date;
use stores::{ClickHouse, StoreError};
use stream::Shutdown;
use stream::status::wall_clock;

use crate::metrics;
use days::DayReport;
use survey::Asked;

/// How long after the end of its interval a real-time price is due.
const DUE_AFTER: Micros = 15 * 60_000_000;
/// Time between two surveys for the metrics, and after one that failed.
const INTERVAL: Duration = Duration::from_secs(600);
const AFTER_FAILURE: Duration = Duration::from_secs(60);

/// Whose days, and which.
#[derive(Debug, Clone)]
pub struct Question {
    /// Tenant.
    pub tenant: String,
    /// Only this market.
    pub market: Option<String>,
    /// Only this product.
    pub product: Option<String>,
    /// The first and the last market day.
    pub days: (Date, Date),
}

/// The last `count` market days, today included. Midnight comes last in the west; a day that has not begun there has nothing due.
pub fn last_days(count: i64, now: Micros) -> Option<(Date, Date)> {
    let today = markets::date_in("PJM", now)?;
    Some((today.saturating_sub((count - 1).days()), today))
}

/// One report for each market, product and day.
///
/// # Errors
/// ClickHouse does not answer, or the view is missing.
pub async fn report(clickhouse: &ClickHouse, view: &str, question: &Question) -> Result<Vec<DayReport>, StoreError> {
    let asked = Asked {
        tenant: &question.tenant,
        market: question.market.as_deref(),
        product: question.product.as_deref(),
        days: question.days,
        due_until: wall_clock() - DUE_AFTER,
    };
    let seen = survey::seen(clickhouse, view, &asked).await?;
    Ok(days::reports(&asked, seen))
}

/// Keeps the metrics of yesterday and today current until shutdown.
pub(crate) async fn watch(clickhouse: ClickHouse, view: String, tenant: String, shutdown: Shutdown) {
    let mut known = Vec::new();
    while !shutdown.is_requested() {
        let mut wait = INTERVAL;
        if let Some(days) = last_days(2, wall_clock()) {
            let question = Question {
                tenant: tenant.clone(),
                market: None,
                product: None,
                days,
            };
            match report(&clickhouse, &view, &question).await {
                Ok(reports) => known = metrics::completeness(&reports),
                Err(error) => {
                    tracing::debug!(error = %error, "the completeness of the market days is unknown; retrying");
                    metrics::completeness_unknown(&known);
                    wait = AFTER_FAILURE;
                }
            }
        }
        tokio::time::sleep(wait).await;
    }
}
