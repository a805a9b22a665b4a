//! The enrichment service; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::run(&enrichment::DEFINITION)
}
