//! The normalization service.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::run(&normalization::DEFINITION)
}
