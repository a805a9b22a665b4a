//! Takes what another program posts, for a command that is no service: one route, one thread, small bodies.
//!
//! Failure: a body over the limit is refused with 413, another path with 404; the rest is what `take` answers.

use std::io;
use std::net::TcpListener;

use actix_web::http::StatusCode;
use actix_web::{App, HttpResponse, HttpServer, web};
use serde_json::Value;

/// Largest body that is read.
const MOST_BYTES: usize = 1 << 20;

/// Answers each `POST path` with the status and body that `take` returns for its body, and `GET /health/live` with 200. Never ends by itself.
///
/// # Errors
/// The listener cannot be used.
pub async fn hook(
    listener: TcpListener,
    path: &'static str,
    take: impl Fn(&[u8]) -> (u16, Value) + Clone + Send + 'static,
) -> io::Result<()> {
    let app = move || {
        let take = take.clone();
        let answer = move |body: web::Bytes| {
            let (status, value) = take(&body);
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            async move { HttpResponse::build(status).json(value) }
        };
        App::new()
            .app_data(web::PayloadConfig::new(MOST_BYTES))
            .route(path, web::post().to(answer))
            .route("/health/live", web::get().to(HttpResponse::Ok))
    };
    HttpServer::new(app)
        .workers(1)
        .disable_signals()
        .listen(listener)?
        .run()
        .await
}
