//! The page `docs/metrics.md`, generated from the declarations.

use std::fmt::Write as _;

use super::{Declared, SHARED};

/// The page `docs/metrics.md` for these services and their own metrics.
pub fn document(services: &[(&str, &[Declared])]) -> String {
    let mut page = "# Metrics\n\n\
        `GET /metrics` of every service, in the Prometheus text format. In addition to the labels listed, every series \
        carries label `service`. Counters exist from the start with value 0. Histograms export `_bucket`, `_sum` and `_count`.\n\n\
        This page is generated from the declarations in the code: \
        `cargo run -p e2e --example metrics-page > docs/metrics.md`; a test compares it.\n"
        .to_owned();
    section(&mut page, "Every service", SHARED);
    for (service, own) in services {
        section(&mut page, service, own);
    }
    page
}

fn section(page: &mut String, title: &str, metrics: &[Declared]) {
    // Writing to a string cannot fail.
    _ = write!(
        page,
        "\n## {title}\n\n| name | kind | unit | labels | meaning |\n|---|---|---|---|---|\n"
    );
    for declared in metrics {
        let labels: Vec<String> = declared.labels.iter().map(|label| format!("`{label}`")).collect();
        _ = writeln!(
            page,
            "| `{}` | {} | {} | {} | {} |",
            declared.name,
            declared.kind.name(),
            declared.unit,
            labels.join(", "),
            declared.help
        );
    }
}
