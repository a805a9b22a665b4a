//! The normalization service: see the library of the same name.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::run(&normalization::DEFINITION)
}
