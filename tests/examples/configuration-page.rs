//! Prints `docs/configuration.md`, made from the settings of the services.

use std::io::Write as _;

use service::settings::{Part, document};

fn main() -> std::io::Result<()> {
    let parts = [
        Part::of(&normalization::DEFINITION),
        Part::of(&enrichment::DEFINITION),
        Part::of(&aggregation::DEFINITION),
        Part::of(&projection::DEFINITION),
    ];
    std::io::stdout().write_all(document(&parts).as_bytes())
}
