//! The second stage: carries out the messages of `projection.invalidation.v1`.
//!
//! Role: a group of its own; the first stage neither waits for it nor shares state with it.
//! Invariant: at least once. A position is committed after its requests were carried out ([`Requests`]).
//! Failure: while a store does not answer, the requests wait and are tried again. What is no request is a dead letter.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use delivery::StartAt;
use domain::{Micros, RetryPolicy, Waits};
use stores::StoreError;
use stream::offload::Offload;
use stream::{Handler, Io, Message, Outcome, Partition, StreamError};
use tokio::runtime::Handle;

use crate::core::invalidation::{BROKEN_JSON, INVALID_VALUE, Request, Requests};
use crate::freshness::Freshness;
use crate::rewrite::Rewriter;

/// Name for metrics and dead letters.
pub const NAME: &str = "invalidate";
/// Codes of its dead letters.
pub const DEAD_LETTER_CODES: &[&str] = &[BROKEN_JSON, INVALID_VALUE];

struct Lane {
    requests: Requests,
    /// Distinguishes results of this assignment from those of an earlier one.
    assignment: u64,
    waits: Waits,
    retry_at: Micros,
    /// What a store refuses until an operator corrects it.
    refused: Option<String>,
}

struct Done {
    partition: Partition,
    assignment: u64,
    requests: usize,
    result: Result<u64, StoreError>,
}

/// The worker's handler of invalidations.
pub struct Invalidator {
    rewriter: Rewriter,
    freshness: Arc<Freshness>,
    lanes: BTreeMap<Partition, Lane>,
    offload: Offload<Done>,
    assignments: u64,
}

impl Invalidator {
    /// A handler without partitions.
    pub fn new(rewriter: Rewriter, freshness: Arc<Freshness>, runtime: Handle) -> Invalidator {
        Invalidator {
            rewriter,
            freshness,
            lanes: BTreeMap::new(),
            offload: Offload::new(runtime),
            assignments: 0,
        }
    }

    fn finish(&mut self, done: Done, now: Micros) {
        let lane = self.lanes.get_mut(&done.partition);
        let Some(lane) = lane.filter(|lane| lane.assignment == done.assignment) else {
            return;
        };
        lane.requests.finished(done.result.is_ok());
        match done.result {
            Ok(dropped) => {
                lane.waits.succeeded();
                lane.refused = None;
                self.freshness.invalidated(done.requests as u64);
                tracing::info!(event = "cache_invalidated", partition = %done.partition, requests = done.requests, keys = dropped, "copies were dropped or written again");
            }
            Err(error) => {
                lane.refused = error.is_refusal().then(|| error.with_code());
                lane.retry_at = now + lane.waits.after_failure().as_micros() as Micros;
                tracing::warn!(partition = %done.partition, requests = done.requests, error = %error, "copies could not be written again; will retry");
            }
        }
    }

    fn begin(&mut self, now: Micros) {
        for (partition, lane) in &mut self.lanes {
            if now < lane.retry_at {
                continue;
            }
            let Some(requests) = lane.requests.begin() else {
                continue;
            };
            let (rewriter, partition, assignment) = (self.rewriter.clone(), partition.clone(), lane.assignment);
            self.offload.begin(async move {
                Done {
                    partition,
                    assignment,
                    requests: requests.len(),
                    result: carry_out(&rewriter, &requests).await,
                }
            });
        }
    }

    fn commit(&self, io: &mut Io<'_>) {
        let acked_through = io.acked_through();
        for (partition, lane) in &self.lanes {
            if let Some(position) = lane.requests.durable(acked_through) {
                io.commit(partition, position);
            }
        }
    }
}

async fn carry_out(rewriter: &Rewriter, requests: &[Request]) -> Result<u64, StoreError> {
    let mut dropped = 0;
    for request in requests {
        dropped += rewriter.apply(request).await?;
    }
    rewriter.settle(requests).await?;
    Ok(dropped)
}

impl Handler for Invalidator {
    fn assigned(&mut self, io: &mut Io<'_>, partitions: &[Partition]) -> Result<(), StreamError> {
        for (partition, committed) in io.committed(partitions)? {
            let (oldest, end) = io.log_range(&partition)?;
            // Requests that retention has removed are past; reading one again is harmless.
            let start = committed
                .filter(|offset| (oldest..=end).contains(offset))
                .unwrap_or(oldest);
            self.assignments += 1;
            let lane = Lane {
                requests: Requests::from(start),
                assignment: self.assignments,
                waits: RetryPolicy::SOON.waits(),
                retry_at: 0,
                refused: None,
            };
            self.lanes.insert(partition.clone(), lane);
            io.start(&partition, StartAt::Offset(start));
        }
        Ok(())
    }

    fn message(&mut self, io: &mut Io<'_>, message: &Message<'_>) -> Result<Outcome, StreamError> {
        let is_its =
            |partition: &Partition| partition.number == message.partition && *partition.topic == *message.topic;
        let lane = self.lanes.iter_mut().find(|(partition, _)| is_its(partition));
        let Some((_, lane)) = lane else {
            return Ok(Outcome::NotOurs);
        };
        match Request::parse(message.payload.unwrap_or_default()) {
            Ok(request) => {
                lane.requests.take(message.offset, request);
                Ok(Outcome::Success)
            }
            Err((code, reason)) => {
                let letter = io.refuse(message, NAME, code, &reason, "")?;
                lane.requests.refuse(message.offset, letter);
                Ok(Outcome::DeadLettered)
            }
        }
    }

    fn turn(&mut self, io: &mut Io<'_>) -> Result<(), StreamError> {
        let now = io.now();
        while let Some(done) = self.offload.take() {
            self.finish(done, now);
        }
        self.begin(now);
        self.commit(io);
        Ok(())
    }

    fn patience(&self) -> Duration {
        self.offload.patience()
    }

    fn refused(&self) -> BTreeMap<Partition, String> {
        let refused = |(partition, lane): (&Partition, &Lane)| Some((partition.clone(), lane.refused.clone()?));
        self.lanes.iter().filter_map(refused).collect()
    }

    fn revoked(&mut self, io: &mut Io<'_>, partitions: &[Partition]) -> Result<(), StreamError> {
        self.commit(io);
        // The next owner carries out again what is not committed.
        self.lanes.retain(|partition, _| !partitions.contains(partition));
        Ok(())
    }
}
