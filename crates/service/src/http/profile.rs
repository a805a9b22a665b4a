//! `POST /profile/cpu` and `POST /profile/heap`: profiles of the running process, for operators.
//!
//! Invariants: only programs on the same machine (in the same container or pod) get an answer. One profile at a time, of at most
//! [`MAX_SECONDS`]; it ends when the service stops. The thread that answers probes does not compute names.
//! Failure: 403 for another machine, 409 while another one runs, 422 for numbers out of range, 503 if the system cannot do it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use profile::cpu::{FREQUENCY, MAX_FREQUENCY, Sampler};
use profile::growth::{HeapProfile, Moment};
use profile::heap::Recorder;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::openapi::Shape;
use super::{Problem, Routes, State, host, now};
use crate::declared::{HTTP_CONNECTIONS, POOL};

/// Longest profile.
pub const MAX_SECONDS: u32 = 60;
/// Longest time from the end of the profile to the answer.
const NAMING: Duration = Duration::from_secs(30);
/// How often it is looked at for new threads, and for the end of the service.
const STEP: Duration = Duration::from_millis(200);
/// Gauges that count what the service keeps in memory.
const KEPT: [&str; 7] = [
    stream::metrics::IN_FLIGHT,
    "bar_windows_open",
    "reference_entries",
    "restate_windows_waiting",
    "websocket_subscribers",
    HTTP_CONNECTIONS[0],
    POOL[0],
];

const STACKS: Shape = Shape::Object(&[
    ("names", Shape::List(&Shape::Text)),
    (
        "stacks",
        Shape::List(&Shape::Object(&[
            ("thread", Shape::Nullable(&Shape::Integer)),
            ("frames", Shape::List(&Shape::Integer)),
            ("weight", Shape::Integer),
        ])),
    ),
]);

/// Answer of `/profile/cpu`.
pub(super) const CPU_PROFILE: Shape = Shape::Object(&[
    ("service", Shape::Text),
    ("seconds", Shape::Number),
    ("cpu_seconds", Shape::Number),
    ("frequency", Shape::Integer),
    ("lost", Shape::Integer),
    (
        "threads",
        Shape::List(&Shape::Object(&[
            ("name", Shape::Text),
            ("cpu_seconds", Shape::Number),
            ("is_sampled", Shape::Flag),
        ])),
    ),
    ("stacks", STACKS),
]);

const MOMENT: Shape = Shape::Object(&[
    ("at", Shape::Time),
    ("resident_bytes", Shape::Nullable(&Shape::Integer)),
    ("anonymous_bytes", Shape::Nullable(&Shape::Integer)),
    ("heap_used_bytes", Shape::Integer),
    ("heap_free_bytes", Shape::Integer),
    ("kept", Shape::Map(&Shape::Number)),
]);

/// Answer of `/profile/heap`.
pub(super) const HEAP_PROFILE: Shape = Shape::Object(&[
    ("service", Shape::Text),
    ("seconds", Shape::Number),
    ("before", MOMENT),
    ("after", MOMENT),
    (
        "allocated",
        Shape::Nullable(&Shape::Object(&[
            ("allocations", Shape::Integer),
            ("allocated_bytes", Shape::Integer),
            ("freed_bytes", Shape::Integer),
            ("sample_bytes", Shape::Integer),
            ("lost", Shape::Integer),
            ("grown", STACKS),
            ("all", STACKS),
        ])),
    ),
]);

pub(super) fn routes() -> Routes {
    let longest = Duration::from_secs(MAX_SECONDS.into()) + NAMING;
    Routes::default()
        .of_service(
            Method::POST,
            "/profile/cpu",
            "Which functions use CPU time during these seconds, for clients on the machine of the service",
            cpu,
        )
        .asking(&["seconds", "frequency"])
        .lasting(longest)
        .returning(&CPU_PROFILE)
        .of_service(
            Method::POST,
            "/profile/heap",
            "How memory grows during these seconds, and which functions allocate it, for clients on the machine of the service",
            heap,
        )
        .asking(&["seconds"])
        .lasting(longest)
        .returning(&HEAP_PROFILE)
}

#[derive(Debug, Deserialize)]
struct AskedCpu {
    seconds: u32,
    frequency: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct AskedHeap {
    seconds: u32,
}

async fn cpu(request: HttpRequest, state: web::Data<State>) -> Result<HttpResponse, Problem> {
    host::check_client(&request)?;
    let asked: AskedCpu = query(&request)?;
    let seconds = within("seconds", asked.seconds, MAX_SECONDS)?;
    let frequency = within("frequency", asked.frequency.unwrap_or(FREQUENCY), MAX_FREQUENCY)?;
    let _only = Only::begin()?;
    let mut sampler = Sampler::start(frequency).map_err(Problem::unavailable)?;
    tracing::info!(event = "profile", kind = "cpu", seconds, frequency, "profile started");
    wait(&state, seconds, || sampler.follow_threads()).await?;
    let (sampled, service) = (sampler.finish(), state.shown.service);
    let profile = compute(move || sampled.named(service)).await?;
    Ok(HttpResponse::Ok().json(profile))
}

async fn heap(request: HttpRequest, state: web::Data<State>) -> Result<HttpResponse, Problem> {
    host::check_client(&request)?;
    let asked: AskedHeap = query(&request)?;
    let seconds = within("seconds", asked.seconds, MAX_SECONDS)?;
    let _only = Only::begin()?;
    let recorder = Recorder::start().map_err(Problem::unavailable)?;
    tracing::info!(event = "profile", kind = "heap", seconds, "profile started");
    let before = moment(&state);
    wait(&state, seconds, || Ok(())).await?;
    let after = moment(&state);
    let (recorded, service) = (recorder.finish(), state.shown.service.to_owned());
    let profile = compute(move || HeapProfile {
        service,
        seconds: recorded.seconds(),
        before,
        after,
        allocated: recorded.named(),
    });
    Ok(HttpResponse::Ok().json(profile.await?))
}

/// The only profile of the process, until it is dropped.
struct Only;

static RUNS: AtomicBool = AtomicBool::new(false);

impl Only {
    fn begin() -> Result<Only, Problem> {
        match RUNS.swap(true, Ordering::AcqRel) {
            false => Ok(Only),
            true => Err(Problem::conflict(
                "another profile of this service runs; try again when it is over, at most a minute later",
            )),
        }
    }
}

impl Drop for Only {
    fn drop(&mut self) {
        RUNS.store(false, Ordering::Release);
    }
}

fn query<T: DeserializeOwned>(request: &HttpRequest) -> Result<T, Problem> {
    let query = web::Query::from_query(request.query_string());
    query
        .map(web::Query::into_inner)
        .map_err(|error| Problem::of_query(&error))
}

fn within(name: &str, number: u32, most: u32) -> Result<u32, Problem> {
    match (1..=most).contains(&number) {
        true => Ok(number),
        false => Err(Problem::unprocessable(format!(
            "{name} must be from 1 to {most}, got {number}"
        ))),
    }
}

/// Waits so long, and calls `step` meanwhile.
async fn wait(state: &State, seconds: u32, mut step: impl FnMut() -> Result<(), String>) -> Result<(), Problem> {
    let until = Instant::now() + Duration::from_secs(seconds.into());
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        actix_web::rt::time::sleep(left.min(STEP)).await;
        if state.shown.health.is_ending() {
            return Err(Problem::unavailable("the service is stopping"));
        }
        step().map_err(Problem::unavailable)?;
    }
}

/// On a thread that may compute.
async fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    let done = web::block(work).await;
    done.map_err(|error| Problem::unavailable(format!("the profile was not evaluated: {error}; try again")))
}

fn moment(state: &State) -> Moment {
    Moment::now(now(), kept(&state.shown.metrics.render()))
}

/// The sums of the gauges [`KEPT`] in a scrape.
fn kept(scrape: &str) -> BTreeMap<String, f64> {
    let mut kept = BTreeMap::new();
    for line in scrape.lines() {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let value = line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
        if let (true, Some(value)) = (KEPT.contains(&name), value.filter(|value| value.is_finite())) {
            *kept.entry(name.to_owned()).or_default() += value;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_summed_over_labels() {
        let scrape = "# HELP bar_windows_open Windows.\n# TYPE bar_windows_open gauge\n\
                      bar_windows_open{interval=\"1m\"} 3\nbar_windows_open{interval=\"1 h\"} 4\n\
                      bar_windows_open_total 9\nuptime_seconds 5\nreference_entries NaN\n";
        assert_eq!(kept(scrape), [("bar_windows_open".to_owned(), 7.0)].into());
    }
}
