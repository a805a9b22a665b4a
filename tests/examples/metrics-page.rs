//! Prints `docs/metrics.md`, generated from the metric declarations of the services.

use std::io::Write as _;

fn main() -> std::io::Result<()> {
    let own = [
        ("normalization", normalization::metrics::DECLARED),
        ("enrichment", enrichment::metrics::DECLARED),
        ("aggregation", aggregation::metrics::DECLARED),
        ("projection", projection::metrics::DECLARED),
    ];
    std::io::stdout().write_all(service::metrics::document(&own).as_bytes())
}
