//! The enrichment service: see the library of the same name.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::run(&enrichment::DEFINITION)
}
