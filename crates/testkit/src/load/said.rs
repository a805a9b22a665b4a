//! The content of a message, and its encoding as shape A or B.

use super::times::Price;

/// An encoded message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Made {
    pub key: Option<Vec<u8>>,
    pub payload: Option<Vec<u8>>,
    pub headers: Vec<(&'static str, Option<Vec<u8>>)>,
    /// The partition; `None` if the key decides.
    pub partition: Option<i32>,
}

/// The content of a message, independent of when it is sent.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub event: String,
    pub tenant: &'static str,
    pub what: Price,
    /// In hundredths; `None` makes the message poison.
    pub price: Option<i64>,
    pub volume: u64,
    pub sequence: u64,
    pub is_flat: bool,
    /// Whether its event id must not be used again.
    pub is_settled: bool,
}

impl Said {
    /// The slow instruments are the gas of the load's derived series.
    fn unit(&self) -> &'static str {
        match self.what.instrument.contains(".SLOW") {
            true => "\"unit\":\"MMBtu\",",
            false => "",
        }
    }

    /// Encodes the message as sent at this time. A retry of a producer differs in its transport fields.
    pub(super) fn sent_at(&self, now: i64) -> Made {
        let price = self.price.map_or("\"n/a\"".to_owned(), |price| {
            let sign = if price < 0 { "-" } else { "" };
            format!("{sign}{}.{:02}", price.abs() / 100, price.abs() % 100)
        });
        // Milliseconds since 1970 are one of the accepted forms of a time.
        let tick = format!(
            "{{\"product\":\"{}\",{}\"timestamp\":{},\"price\":{price},\"volume\":{}.{:02}}}",
            self.what.product,
            self.unit(),
            self.what.time,
            self.volume / 100,
            self.volume % 100
        );
        let Said {
            event,
            tenant,
            what: Price { market, instrument, .. },
            sequence,
            ..
        } = self;
        let payload = if self.is_flat {
            let raw = tick.replace('"', "\\\"");
            format!(
                "{{\"event_id\":\"{event}\",\"trace_id\":null,\"schema_version\":\"1.0.0\",\"tenant_id\":\"{tenant}\",\
                 \"producer\":\"load\",\"published_at\":{now}000,\"occurred_at\":{now}000,\"ingested_at\":{now}000,\
                 \"payload\":{{\"source_system\":\"load\",\"market\":\"{market}\",\"symbol\":\"{instrument}\",\
                 \"sequence\":{sequence},\"received_at\":{now}000,\"raw_payload\":\"{raw}\",\
                 \"metadata\":{{\"instrument_id\":\"{instrument}\"}}}}}}"
            )
        } else {
            format!(
                "{{\"envelope\":{{\"event_type\":\"market.tick\",\"event_id\":\"{event}\",\"timestamp\":\"{now}\",\
                 \"tenant_id\":\"{tenant}\",\"source\":\"load\",\"version\":\"1.0\",\"correlation_id\":\"c-{now}\"}},\
                 \"payload\":{{\"market\":\"{market}\",\"instrument_id\":\"{instrument}\",\"raw_data\":{tick}}}}}"
            )
        };
        Made {
            key: Some(instrument.clone().into_bytes()),
            payload: Some(payload.into_bytes()),
            headers: Vec::new(),
            partition: self.what.partition,
        }
    }
}
