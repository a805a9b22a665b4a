//! Which instruments have had no tick for a while: the names behind metric `instruments_silent`, which only counts.
//!
//! Failure: PostgreSQL does not answer.

use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use stores::Postgres;
use stores::postgres::copies::text;

/// An instrument without a tick for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Silent {
    pub tenant_id: String,
    pub instrument_id: String,
    pub market: String,
    /// Since the raw message of its latest price was appended.
    pub silent_seconds: i64,
}

/// Silent instruments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Silence {
    /// All of them.
    pub total: u64,
    /// Some of them: the last to fall silent first, because contracts that have expired are silent forever.
    pub instruments: Vec<Silent>,
}

/// The instruments with a latest price but no tick for longer than `over`, of one tenant or of all; at most `most` are named.
///
/// # Errors
/// PostgreSQL does not answer.
pub async fn silent(
    postgres: &Postgres,
    generation: &str,
    (over, tenant): (Duration, Option<&str>),
    most: u16,
) -> anyhow::Result<Silence> {
    let rows = postgres
        .query_text(&query(generation, (over, tenant), most))
        .await
        .context("look for silent instruments: is PostgreSQL running (`dp status`)?")?;
    let mut silence = Silence {
        total: 0,
        instruments: Vec::new(),
    };
    for row in rows {
        let [tenant_id, instrument_id, market, seconds, total] = <[Option<String>; 5]>::try_from(row)
            .ok()
            .context("PostgreSQL returned other columns than were asked for")?
            .map(Option::unwrap_or_default);
        silence.total = total.parse().context("PostgreSQL returned no count")?;
        silence.instruments.push(Silent {
            tenant_id,
            instrument_id,
            market,
            silent_seconds: seconds.parse().context("PostgreSQL returned no age")?,
        });
    }
    Ok(silence)
}

fn query(generation: &str, (over, tenant): (Duration, Option<&str>), most: u16) -> String {
    let tenant = tenant.map_or_else(String::new, |tenant| format!(" AND tenant_id = {}", text(tenant)));
    format!(
        "SELECT tenant_id, instrument_id, market, floor(extract(epoch FROM now() - appended_at))::bigint, count(*) OVER () \
         FROM served_latest_prices WHERE generation = {} AND appended_at < now() - interval '{} milliseconds'{tenant} \
         ORDER BY appended_at DESC, tenant_id, instrument_id LIMIT {most}",
        text(generation),
        over.as_millis()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_names_what_is_asked_for() {
        let asked = query("g2", (Duration::from_secs(3_600), Some("a'b")), 7);
        for part in [
            "generation = 'g2' AND",
            "interval '3600000 milliseconds' AND tenant_id = 'a''b' ORDER",
            "LIMIT 7",
        ] {
            assert!(asked.contains(part), "{asked}");
        }
        assert!(!query("", (Duration::from_secs(1), None), 1).contains("tenant_id ="));
    }
}
