//! Profiles of one running service, over HTTP.
//!
//! Failure: the error names the service, and has the service's own reason if it refuses.

use std::time::Duration;

use anyhow::Context as _;
use profile::cpu::CpuProfile;
use profile::growth::HeapProfile;
use reqwest::Method;

use crate::own_route::Asked;

/// How long a service may take to name the functions of a profile.
const NAMING: Duration = Duration::from_secs(30);

/// Where the CPU time of the service goes during these seconds.
///
/// # Errors
/// The service is not known, gives no answer, or refuses.
pub async fn cpu(asked: Asked<'_>, seconds: u32, frequency: u32) -> anyhow::Result<CpuProfile> {
    let route = format!("/profile/cpu?seconds={seconds}&frequency={frequency}");
    let answer = asked.answer(Method::POST, &route, None, lasts(seconds)).await;
    answer.with_context(|| format!("the CPU profile of {}", asked.service))
}

/// How the memory of the service grows during these seconds.
///
/// # Errors
/// The service is not known, gives no answer, or refuses.
pub async fn heap(asked: Asked<'_>, seconds: u32) -> anyhow::Result<HeapProfile> {
    let route = format!("/profile/heap?seconds={seconds}");
    let answer = asked.answer(Method::POST, &route, None, lasts(seconds)).await;
    answer.with_context(|| format!("the heap profile of {}", asked.service))
}

fn lasts(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into()) + NAMING
}
