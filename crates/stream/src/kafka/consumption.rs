//! What a consumer's errors mean: one table for group consumers and readers.
//!
//! The client reports three kinds of errors through one call: those that it repairs by itself (an unavailable broker), those that
//! end the client, and those that block one partition. The last kind names no partition, so the reader looks again (`examine`).

use rdkafka::types::RDKafkaErrorCode as Code;

/// The consequence of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consumption {
    /// The client continues by itself: brokers are unavailable, leaders move.
    Passing,
    /// The records at a position cannot be read, and a retry does not help.
    Unreadable,
    /// The topic or partition does not exist.
    Unknown,
    /// The position lies outside of the log.
    OutOfRange,
    /// The broker refuses this client.
    Refused,
}

/// Sorts an error. An unlisted code counts as [`Consumption::Unreadable`], which makes the reader examine the partition: the
/// error is never ignored silently.
pub(crate) fn of(code: Code) -> Consumption {
    match code {
        Code::AutoOffsetReset | Code::OffsetOutOfRange => Consumption::OutOfRange,
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => Consumption::Unknown,
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::SaslAuthenticationFailed => Consumption::Refused,
        Code::AllBrokersDown
        | Code::BrokerTransportFailure
        | Code::Resolve
        | Code::OperationTimedOut
        | Code::RequestTimedOut
        | Code::TimedOutQueue
        | Code::WaitingForCoordinator
        | Code::WaitCache
        | Code::Retry
        | Code::NetworkException
        | Code::BrokerNotAvailable
        | Code::ReplicaNotAvailable
        | Code::LeaderNotAvailable
        | Code::NotLeaderForPartition
        | Code::PreferredLeaderNotAvailable
        | Code::FencedLeaderEpoch
        | Code::UnknownLeaderEpoch
        | Code::OffsetNotAvailable
        | Code::FetchSessionIdNotFound
        | Code::InvalidFetchSessionEpoch
        | Code::CoordinatorLoadInProgress
        | Code::CoordinatorNotAvailable
        | Code::NotCoordinator
        | Code::RebalanceInProgress
        | Code::IllegalGeneration
        | Code::UnknownMemberId
        | Code::MemberIdRequired
        | Code::FencedInstanceId
        | Code::PollExceeded
        | Code::AssignmentLost
        | Code::AssignPartitions
        | Code::RevokePartitions
        | Code::PartitionEOF
        | Code::NoOffset
        | Code::Authentication
        | Code::SSL
        | Code::NoError => Consumption::Passing,
        _ => Consumption::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_is_temporary_fatal_or_blocks_a_partition() {
        for (code, meaning) in [
            (Code::AllBrokersDown, Consumption::Passing),
            (Code::BrokerTransportFailure, Consumption::Passing),
            (Code::NotLeaderForPartition, Consumption::Passing),
            (Code::PollExceeded, Consumption::Passing),
            (Code::BadCompression, Consumption::Unreadable),
            (Code::BadMessage, Consumption::Unreadable),
            (Code::NotImplemented, Consumption::Unreadable),
            (Code::MessageSizeTooLarge, Consumption::Unreadable),
            (Code::InvalidMessage, Consumption::Unreadable),
            (Code::CriticalSystemResource, Consumption::Unreadable),
            (Code::KafkaStorageError, Consumption::Unreadable),
            (Code::Underflow, Consumption::Unreadable),
            (Code::UnknownTopicOrPartition, Consumption::Unknown),
            (Code::AutoOffsetReset, Consumption::OutOfRange),
            (Code::TopicAuthorizationFailed, Consumption::Refused),
        ] {
            assert_eq!(of(code), meaning, "{code}");
        }
    }
}
