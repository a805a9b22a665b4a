//! What a dead letter says about itself: the headers of blueprint section 3.

use crate::Message;

/// Why a message could not be used. The original key, bytes and headers go along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter<'a> {
    /// Service that gave up on it.
    pub service: &'a str,
    /// Stage inside the service.
    pub stage: &'a str,
    /// Code from the closed set of the stage.
    pub code: &'a str,
    /// For people: what is wrong and where.
    pub message: &'a str,
    /// Rows of a document that were refused while others were taken; empty means the whole message.
    pub rejected_rows: &'a [i32],
    /// How often it has been tried (1 = first time).
    pub attempts: u32,
    /// Carried from the message, where it could be read.
    pub correlation_id: &'a str,
}

/// Header names, ours and Kafka Connect's, which existing tools look for.
pub mod header {
    #![allow(missing_docs)]
    pub const TOPIC: &str = "__connect.errors.topic";
    pub const PARTITION: &str = "__connect.errors.partition";
    pub const OFFSET: &str = "__connect.errors.offset";
    pub const STAGE: &str = "__connect.errors.stage";
    pub const CLASS: &str = "__connect.errors.class.name";
    pub const MESSAGE: &str = "__connect.errors.exception.message";
    pub const CODE: &str = "dp.error.code";
    pub const SERVICE: &str = "dp.service";
    pub const CORRELATION_ID: &str = "dp.correlation_id";
    pub const ATTEMPTS: &str = "dp.attempts";
    pub const FAILED_AT: &str = "dp.failed_at";
    pub const REJECTED_ROWS: &str = "dp.rejected_rows";
}

/// The headers of the dead letter, after the original ones. `failed_at` is the wall clock in microseconds.
pub fn headers(message: &Message<'_>, letter: &DeadLetter<'_>, failed_at: i64) -> Vec<(String, Vec<u8>)> {
    let mut headers: Vec<(String, Vec<u8>)> = message
        .headers()
        .filter(|(name, _)| !is_ours(name))
        .map(|(name, value)| (name.to_owned(), value.unwrap_or_default().to_vec()))
        .collect();
    let rows: Vec<String> = letter.rejected_rows.iter().map(i32::to_string).collect();
    let ours = [
        (header::TOPIC, message.topic.to_owned()),
        (header::PARTITION, message.partition.to_string()),
        (header::OFFSET, message.offset.to_string()),
        (header::STAGE, letter.stage.to_owned()),
        (header::CLASS, letter.code.to_owned()),
        (header::MESSAGE, letter.message.to_owned()),
        (header::CODE, letter.code.to_owned()),
        (header::SERVICE, letter.service.to_owned()),
        (header::CORRELATION_ID, letter.correlation_id.to_owned()),
        (header::ATTEMPTS, letter.attempts.to_string()),
        (header::FAILED_AT, failed_at.to_string()),
        (header::REJECTED_ROWS, rows.join(",")),
    ];
    headers.extend(
        ours.into_iter()
            .map(|(name, value)| (name.to_owned(), value.into_bytes())),
    );
    headers
}

// A replayed dead letter that fails again must describe the new failure, not both.
fn is_ours(name: &str) -> bool {
    name.starts_with("__connect.errors.")
        || [
            header::CODE,
            header::SERVICE,
            header::CORRELATION_ID,
            header::ATTEMPTS,
            header::FAILED_AT,
            header::REJECTED_ROWS,
        ]
        .contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_header_says_what_its_name_promises() {
        let message = Message {
            topic: "ingestion.market.raw.v1",
            partition: 3,
            offset: 42,
            timestamp: 0,
            key: None,
            payload: Some(b"{"),
            headers: None,
        };
        let letter = DeadLetter {
            service: "normalization",
            stage: "normalize",
            code: "broken_json",
            message: "line 1 column 2: end of input",
            rejected_rows: &[1, 5],
            attempts: 2,
            correlation_id: "c-7",
        };
        let headers: Vec<(String, String)> = headers(&message, &letter, 1_700_000_000_000_000)
            .into_iter()
            .map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned()))
            .collect();
        let expected = [
            ("__connect.errors.topic", "ingestion.market.raw.v1"),
            ("__connect.errors.partition", "3"),
            ("__connect.errors.offset", "42"),
            ("__connect.errors.stage", "normalize"),
            ("__connect.errors.class.name", "broken_json"),
            ("__connect.errors.exception.message", "line 1 column 2: end of input"),
            ("dp.error.code", "broken_json"),
            ("dp.service", "normalization"),
            ("dp.correlation_id", "c-7"),
            ("dp.attempts", "2"),
            ("dp.failed_at", "1700000000000000"),
            ("dp.rejected_rows", "1,5"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(headers, expected);
    }
}
