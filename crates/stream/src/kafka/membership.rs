//! Static membership of a consumer group (`group.instance.id`), for processes whose name outlives a restart.
//!
//! Role: a killed process that starts again under its id gets its partitions at once, without a rebalance; the group does not
//! wait until the session of the dead one expires. A process that ends in an orderly way leaves the group, so its partitions do
//! not wait either.
//! Invariant: the broker lets the newest holder of an id in and fences the one before, which may still be alive. Until that one
//! notices, both write: INV-8 and the sequencers cover that. A fenced member joins again once ([`Fencings`]), then its process
//! ends, since two processes would fence each other for ever.
//!
//! The client crate has no call for the member id, so this file calls librdkafka directly.
#![allow(unsafe_code)]

use std::time::{Duration, Instant};

use rdkafka::bindings as sys;
use rdkafka::client::Client;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, ClientContext};

use crate::StreamError;

/// Code: another process has joined the group with the instance id of this one.
pub const INSTANCE_ID_TAKEN: &str = "instance_id_taken";

const INSTANCE_ID: &str = "group.instance.id";
/// Enough for one request. After it, the partitions wait for the end of the session.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(5);
/// Two processes with one id fence each other within seconds. A broker takes longer to end and start again.
const EXCHANGE: Duration = Duration::from_secs(15);

/// When the members of a worker were fenced.
///
/// A member may fence itself: if the broker ends while it joins, its second request to join replaces the first, and the
/// answer to the first says that it was fenced.
#[derive(Debug, Default)]
pub struct Fencings(Option<Instant>);

impl Fencings {
    /// Whether this fencing is the second of an exchange: another process has the id, and the worker must end.
    pub fn is_by_another(&mut self, now: Instant) -> bool {
        let before = self.0.replace(now);
        before.is_some_and(|before| now.duration_since(before) < EXCHANGE)
    }
}

/// Makes the member static; `None` leaves it dynamic.
pub fn join_as(config: &mut ClientConfig, instance_id: Option<&str>) {
    if let Some(id) = instance_id {
        config.set(INSTANCE_ID, id);
    }
}

/// A static member of a group.
pub(super) struct StaticMember {
    group: String,
    id: String,
}

impl StaticMember {
    /// The member of this configuration; `None` if it is dynamic.
    pub(super) fn of(config: &ClientConfig) -> Option<StaticMember> {
        Some(StaticMember {
            id: config.get(INSTANCE_ID)?.to_owned(),
            group: config.get("group.id").unwrap_or_default().to_owned(),
        })
    }

    /// The error that ends this member, once another process has its id. Costs nothing otherwise.
    pub(super) fn fenced<C: ClientContext>(&self, client: &Client<C>) -> Option<StreamError> {
        let (code, _) = client.fatal_error()?;
        (code == RDKafkaErrorCode::FencedInstanceId).then(|| {
            let StaticMember { group, id } = self;
            StreamError::fatal(
                INSTANCE_ID_TAKEN,
                format!(
                    "another process has joined group {group} with the instance id {id}, and has the partitions now. If it \
                     replaces this process, nothing is to be done. If both are to run, give each its own \
                     DATA_PROC_INSTANCE_ID, or unset it"
                ),
            )
        })
    }

    /// Leaves the group. The client keeps a static membership when it is closed, but not when it unsubscribes before that.
    /// `answer` gives up what the group takes back: the client sends its request only after that.
    pub(super) fn leave<C: ConsumerContext>(&self, consumer: &BaseConsumer<C>, mut answer: impl FnMut()) {
        if self.fenced(consumer.client()).is_some() {
            return;
        }
        consumer.unsubscribe();
        let deadline = Instant::now() + LEAVE_WITHIN;
        while is_member(consumer.client()) {
            if Instant::now() >= deadline {
                tracing::warn!(
                    group = self.group,
                    instance_id = self.id,
                    "did not leave the group in time: its partitions wait until the session ends, or until a process with this id starts"
                );
                return;
            }
            drop(consumer.poll(POLL));
            answer();
        }
    }
}

/// Whether the client has a member id; it gives it up when it sends the request to leave.
fn is_member<C: ClientContext>(client: &Client<C>) -> bool {
    // SAFETY: the client is alive; the returned string is ours, is read once and is freed here.
    unsafe {
        let id = sys::rd_kafka_memberid(client.native_ptr());
        if id.is_null() {
            return false;
        }
        let is_set = *id != 0;
        sys::rd_kafka_mem_free(client.native_ptr(), id.cast());
        is_set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_fencing_of_an_exchange_ends_the_member_and_one_after_a_restart_of_the_broker_does_not() {
        let (mut fencings, began) = (Fencings::default(), Instant::now());
        assert!(!fencings.is_by_another(began));
        assert!(!fencings.is_by_another(began + EXCHANGE));
        assert!(fencings.is_by_another(began + EXCHANGE + Duration::from_secs(3)));
    }
}
