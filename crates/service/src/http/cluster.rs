//! `GET /health/cluster`: whether the services of the pipeline work, and whether they are more than half.
//!
//! Failure: 503 if half of the services or fewer work; the body names each. Unlike the probes it asks others, so the rate
//! limit applies to it.

use actix_web::http::Method;
use actix_web::{HttpResponse, web};
use serde::Serialize;

use super::{Routes, State, now, openapi};
use crate::cluster::Overview;

/// Path of the route.
pub(super) const PATH: &str = "/health/cluster";

const ALONE: &str = "DATA_PROC_CLUSTER_PEERS is not set, so this is the state of this process alone";

pub(super) fn routes() -> Routes {
    Routes::default()
        .of_service(
            Method::GET,
            PATH,
            "State of each replica of the services that DATA_PROC_CLUSTER_PEERS names, and whether more than half of the services work",
            cluster,
        )
        .returning(&openapi::CLUSTER)
}

#[derive(Serialize)]
struct Answer {
    service: &'static str,
    /// `cluster`, or `process` without peers.
    scope: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
    #[serde(flatten)]
    overview: Overview,
    timestamp: String,
}

async fn cluster(state: web::Data<State>) -> HttpResponse {
    let shown = &state.shown;
    let overview = shown.cluster.ask(shown.service, &shown.health.report()).await;
    let mut response = match overview.has_quorum() {
        true => HttpResponse::Ok(),
        false => HttpResponse::ServiceUnavailable(),
    };
    let has_peers = shown.cluster.has_peers();
    response.json(Answer {
        service: shown.service,
        scope: if has_peers { "cluster" } else { "process" },
        note: (!has_peers).then_some(ALONE),
        overview,
        timestamp: now(),
    })
}
