//! `GET` and `PUT /log-level`: the log level of the running process, for operators.
//!
//! Invariant: only programs on the same machine (in the same container or pod) get an answer, under a name of this machine.
//! Failure: 403 for another machine, 422 for a level that does not exist; the present level stays.

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::{Problem, Routes, State, body, host, openapi};
use crate::telemetry::level::{Asked, Shown};

pub(super) fn routes() -> Routes {
    Routes::default()
        .of_service(
            Method::GET,
            "/log-level",
            "Log level of the running service, for clients on its machine",
            show,
        )
        .returning(&openapi::LOG_LEVEL)
        .of_service(
            Method::PUT,
            "/log-level",
            "Change the log level for a limited time, for clients on its machine",
            change,
        )
        .accepting("application/json")
        .returning(&openapi::LOG_LEVEL)
}

async fn show(request: HttpRequest, state: web::Data<State>) -> Result<HttpResponse, Problem> {
    host::check_client(&request)?;
    Ok(answer(&state, state.shown.levels.shown()))
}

async fn change(request: HttpRequest, state: web::Data<State>, payload: web::Payload) -> Result<HttpResponse, Problem> {
    host::check_client(&request)?;
    let asked: Asked = body::json(payload).await?;
    let change = asked.change().map_err(Problem::unprocessable)?;
    let shown = state.shown.levels.change(&change).map_err(Problem::unavailable)?;
    Ok(answer(&state, shown))
}

fn answer(state: &State, shown: Shown) -> HttpResponse {
    HttpResponse::Ok().json(json!({
        "service": state.shown.service,
        "level": shown.level,
        "base_level": shown.base_level,
        "until": shown.until.map(|until| format!("{until:.3}")),
    }))
}
