//! Exports the spans of the workers to a collector: OTLP over HTTP, as protobuf.
//!
//! Role: [`Traces`] gives each stage a recorder. One task collects spans for up to a second and sends them. Without a collector
//! there is no task and no recorder.
//! Invariants: workers never wait. What the queue has no room for, or the collector does not take, is dropped and counted.
//! Failure: the first failed request is a warning, the next one that succeeds a message; those between are only counted. No error
//! reaches the data path.

mod otlp;

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use security::{Secret, causes, http_client};
use stream::metrics::spans_dropped;
use stream::spans::{Recorder, Span};
use stream::trace::Traceparent;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

use crate::declared::SPANS_LOST;
use crate::life::StartError;
use crate::metrics;
use crate::settings::{Settings, mask};

/// Spans that may wait: some seconds of a load in which each message has a trace.
const QUEUE: usize = 8_192;
/// Most spans of a request.
const BATCH: usize = 512;
/// How long the first span of a request waits for others.
const LINGER: Duration = Duration::from_secs(1);
/// How long the collector may take to answer.
const LIMIT: Duration = Duration::from_secs(10);
/// How long the end of the process waits for the last request.
const LAST: Duration = Duration::from_secs(2);

/// A trace that nobody else knows of.
pub fn random(is_sampled: bool) -> Traceparent {
    let span = Uuid::new_v4().as_u64_pair().0;
    Traceparent::new(Uuid::new_v4().as_u128(), span, is_sampled)
}

/// The export of a process, if it has one.
#[derive(Default)]
pub(crate) struct Traces(Option<Running>);

struct Running {
    queue: mpsc::Sender<Span>,
    task: JoinHandle<()>,
}

impl Traces {
    /// Starts the export to the collector that the settings name.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub(crate) fn start(
        runtime: &Runtime,
        service: &str,
        run_id: &str,
        settings: &Settings,
    ) -> Result<Traces, StartError> {
        let Some(endpoint) = settings.otlp_endpoint.clone() else {
            return Ok(Traces::default());
        };
        let exporter = Exporter {
            client: http_client(&settings.trust, Some(LIMIT))?,
            endpoint,
            resource: otlp::resource(service, run_id, settings.environment.name()),
            is_failing: false,
        };
        let (queue, spans) = mpsc::channel(QUEUE);
        let task = runtime.spawn(exporter.run(spans));
        Ok(Traces(Some(Running { queue, task })))
    }

    /// A recorder for the spans of this stage; `None` without an export.
    pub(crate) fn recorder(&self, stage: &str) -> Option<Recorder> {
        let running = self.0.as_ref()?;
        Some(Recorder::new(stage, running.queue.clone()))
    }

    /// Sends what is left, after the workers have ended.
    pub(crate) fn finish(self, runtime: &Runtime) {
        let Some(Running { queue, task }) = self.0 else { return };
        // The task ends when nothing can be sent to it any more.
        drop(queue);
        if runtime.block_on(async { timeout(LAST, task).await }).is_err() {
            tracing::warn!("the last spans were not exported in time");
        }
    }
}

struct Exporter {
    client: reqwest::Client,
    endpoint: Secret,
    resource: Resource,
    is_failing: bool,
}

impl Exporter {
    async fn run(mut self, mut queue: mpsc::Receiver<Span>) {
        let mut spans = Vec::new();
        while queue.recv_many(&mut spans, BATCH).await > 0 {
            let deadline = Instant::now() + LINGER;
            while let Some(room @ 1..) = BATCH.checked_sub(spans.len()) {
                match timeout_at(deadline, queue.recv_many(&mut spans, room)).await {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => break,
                }
            }
            self.export(std::mem::take(&mut spans)).await;
        }
    }

    async fn export(&mut self, spans: Vec<Span>) {
        let count = spans.len() as u64;
        let request = otlp::request(&self.resource, spans);
        let problem = match self.send(request.encode_to_vec()).await {
            Ok(answer) => {
                let refused = answer.partial_success.filter(|part| part.rejected_spans > 0);
                let lost = refused.as_ref().map_or(0, |part| part.rejected_spans.unsigned_abs());
                let lost = lost.min(count);
                metrics::spans_exported(count - lost);
                spans_dropped(SPANS_LOST[1], lost);
                refused.map(|part| format!("it refused {lost} of {count} spans: {}", part.error_message))
            }
            Err(problem) => {
                spans_dropped(SPANS_LOST[0], count);
                Some(problem)
            }
        };
        self.tell(problem.as_deref());
    }

    async fn send(&self, body: Vec<u8>) -> Result<ExportTraceServiceResponse, String> {
        let url = otlp::url(&self.endpoint.expose());
        let request = self.client.post(url).header("content-type", "application/x-protobuf");
        // The URL may contain a password.
        let said = |error: reqwest::Error| causes(&error.without_url());
        let answer = request.body(body).send().await.map_err(said)?;
        let status = answer.status();
        if !status.is_success() {
            return Err(format!("it answered with status {status}"));
        }
        // A collector that has taken everything may answer with nothing.
        let body = answer.bytes().await.map_err(said)?;
        Ok(ExportTraceServiceResponse::decode(body).unwrap_or_default())
    }

    /// Logs that the export begins to fail, or works again.
    fn tell(&mut self, problem: Option<&str>) {
        let was_failing = std::mem::replace(&mut self.is_failing, problem.is_some());
        let collector = mask(&self.endpoint.expose());
        match problem {
            Some(problem) if !was_failing => tracing::warn!(
                event = "spans_not_exported",
                collector,
                error = problem,
                "the collector does not take the spans, which are dropped: check DATA_PROC_OTLP_ENDPOINT and the collector; OTLP over HTTP usually has port 4318"
            ),
            None if was_failing => {
                tracing::info!(
                    event = "spans_exported",
                    collector,
                    "the collector takes the spans again"
                );
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
