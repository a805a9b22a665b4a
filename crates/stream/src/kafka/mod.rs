//! The only module of the services that calls rdkafka: client settings, group consumer, ordered producer, admin, readers.

pub(crate) mod access;
pub mod admin;
mod assignment;
pub mod brokers;
mod connect;
pub mod consumer;
pub(crate) mod consumption;
pub mod describe;
pub(crate) mod examine;
pub mod follow;
pub mod groups;
pub(crate) mod headers;
mod lists;
pub mod membership;
pub mod passthrough;
mod presence;
pub mod probe;
pub mod producer;
pub mod publisher;
mod push;
pub(crate) mod questions;
pub mod reader;
mod refused_topic;
pub mod replicas;
pub mod settings;
mod standing;
pub mod timed;
pub mod token;
pub mod topic_settings;
pub mod trouble;
mod watch;

use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use crate::StreamError;

/// Code of a request for a topic or a partition that does not exist.
pub const NO_SUCH_PARTITION: &str = "no_such_partition";

/// Code of a call that no broker has answered.
pub(crate) const UNAVAILABLE: &str = "kafka_unavailable";
/// Code of a refusal because a right (an ACL) is missing.
pub const MISSING_RIGHT: &str = "kafka_right_missing";

/// Sorts a client error: temporary ones are transient, those that only an operator can correct are fatal.
pub(crate) fn classify(what: &str, error: &KafkaError) -> StreamError {
    use RDKafkaErrorCode as Code;
    let code = error.rdkafka_error_code();
    if let Some(right) = code.and_then(trouble::missing_right) {
        let message = format!("{what}: {error}: {right} (docs/security.md lists what each program needs)");
        return StreamError::fatal(MISSING_RIGHT, message);
    }
    let fatal = match code {
        Some(Code::SaslAuthenticationFailed | Code::InvalidArgument | Code::UnsupportedVersion) => true,
        _ => matches!(error, KafkaError::ClientConfig(..) | KafkaError::ClientCreation(..)),
    };
    let code = match error.rdkafka_error_code() {
        Some(Code::UnknownPartition | Code::UnknownTopic | Code::UnknownTopicOrPartition) => NO_SUCH_PARTITION,
        Some(
            Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::CoordinatorNotAvailable
            | Code::CoordinatorLoadInProgress
            | Code::NotCoordinator,
        ) => "kafka_moves",
        _ => UNAVAILABLE,
    };
    let remedy = match (error.rdkafka_error_code(), error) {
        (Some(Code::MessageSizeTooLarge), _) => {
            ": the record is larger than the topic's max.message.bytes: run `dp topics create`, or have the limit raised"
        }
        (_, KafkaError::ClientCreation(why)) => setting_of(why),
        _ => "",
    };
    if fatal {
        StreamError::fatal("kafka_refused", format!("{what}: {error}{remedy}"))
    } else {
        StreamError::transient(code, format!("{what}: {error}{remedy}"))
    }
}

/// Names our setting for the library setting that was refused.
fn setting_of(why: &str) -> &'static str {
    let settings = [
        ("ssl.ca.location", ": check the file of DATA_PROC_KAFKA_SSL_CA"),
        (
            "ssl.certificate.location",
            ": check the file of DATA_PROC_KAFKA_SSL_CERTIFICATE",
        ),
        (
            "ssl.key.location",
            ": check the file of DATA_PROC_KAFKA_SSL_KEY, which must belong to DATA_PROC_KAFKA_SSL_CERTIFICATE, and \
             DATA_PROC_KAFKA_SSL_KEY_PASSWORD",
        ),
    ];
    let found = settings.iter().find(|(name, _)| why.contains(name));
    found.map_or("", |(_, remedy)| remedy)
}
