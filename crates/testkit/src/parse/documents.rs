//! What the formats of documents have in common: which are read, and from their rows to ticks.

use super::{MEBIBYTE, Parser, Refusal, Sound, Tick, miso, pjm};
use crate::kafka::Record;
use crate::products::furthest;

/// No time is before 1990, in microseconds.
pub(super) const EARLIEST: i64 = 631_152_000_000_000;
const LONGEST_ID: usize = 256;

/// The price of one row. A row without one is rejected.
pub(super) struct Row {
    /// The part of the instrument id between market and product.
    pub key: String,
    /// Start of the interval in microseconds.
    pub start: i64,
    /// Scale 8.
    pub price: i128,
    pub version: Option<String>,
}

/// A document that could be opened: market, product and rows by index.
pub(super) struct Document {
    pub market: &'static str,
    pub product: &'static str,
    /// Whether it says that it is not the complete set that it belongs to.
    pub is_part: bool,
    pub rows: Vec<Option<Row>>,
}

/// The tick of each row, or its rejection.
pub(super) fn parse(parser: &Parser, record: &Record, format: &str) -> Result<Sound, Refusal> {
    if record.payload.len() > 50 * MEBIBYTE {
        return Err("oversize");
    }
    if record.payload.is_empty() {
        return Err("broken_json");
    }
    let document = match format {
        miso::REAL_TIME => miso::read(&record.payload)?,
        pjm::FIVE_MINUTES | pjm::HOURLY | pjm::DAY_AHEAD => pjm::read(&record.payload, format, &parser.eastern)?,
        _ => return Err("unsupported_format"),
    };
    let tenant = record
        .header("dp.tenant_id")
        .unwrap_or_else(|| parser.default_tenant.clone());
    let mut sound = Sound {
        id: [
            tenant.clone().into_bytes(),
            format.as_bytes().to_vec(),
            record.payload.clone(),
        ],
        facts: String::new(),
        ticks: Vec::new(),
        rejected: Vec::new(),
    };
    let appended = record.timestamp * 1000;
    let (market, product) = (document.market, document.product);
    for (index, row) in (0..).zip(document.rows) {
        let in_time = |row: &Row| row.start >= EARLIEST && row.start - appended <= furthest(market, product);
        let instrument = |row: &Row| format!("{market}.{}.{}", percent(&row.key), product.to_uppercase());
        let row = row.filter(in_time).map(|row| (instrument(&row), row));
        let Some((instrument, row)) = row.filter(|(id, _)| id.len() <= LONGEST_ID) else {
            sound.rejected.push(index);
            continue;
        };
        sound.ticks.push(Tick {
            feed: record.topic.clone(),
            partition: record.partition,
            offset: record.offset,
            index,
            tenant: tenant.clone(),
            instrument,
            event_id: None,
            price: row.price,
            volume: None,
            time: row.start,
            end: None,
            sequence: None,
            product: product.to_owned(),
            version: row.version,
            is_part: document.is_part,
            appended,
            reused_id: false,
        });
    }
    Ok(sound)
}

/// The energy component, if it is not published: it must be in range like any other number.
pub(super) fn has_energy(price: i128, congestion: i128, loss: i128) -> bool {
    (price - congestion - loss).abs() < 1_000_000_000_000_000_000
}

/// What the market writes for a component that it does not have.
pub(super) fn is_nothing(text: &str) -> bool {
    ["", "none", "null", "n/a", "na", "nan", "-"].contains(&text.to_lowercase().as_str())
}

fn percent(node: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    node.bytes()
        .map(|byte| {
            if keep(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}
