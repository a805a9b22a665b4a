//! Reads where spans are exported to.

use super::{Reader, Secret, is_http_url};

pub(super) const ENDPOINT: &str = "DATA_PROC_OTLP_ENDPOINT";
const FALLBACK: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// Base URL of the collector; `None` if spans are not exported.
pub(super) fn endpoint(r: &mut Reader<'_>) -> Option<Secret> {
    // Set to nothing, it hides the other variable.
    let fallback = if r.is_blank(ENDPOINT) { None } else { r.lookup(FALLBACK) };
    let url = r.secret(
        ENDPOINT,
        fallback.as_deref().unwrap_or_default(),
        "base URL of a collector for spans, OTLP over HTTP (falls back to OTEL_EXPORTER_OTLP_ENDPOINT); empty = no spans are exported",
    );
    if url.is_empty() {
        return None;
    }
    if !is_http_url(&url.expose()) {
        let name = if r.is_set(ENDPOINT) { ENDPOINT } else { FALLBACK };
        r.problem(format!(
            "{name} must begin with http:// or https:// and name a host, got '{url}'"
        ));
    }
    Some(url)
}
