//! The aggregation service: see the library of the same name.

use std::process::ExitCode;

/// That of the system; observed while `POST /profile/heap` runs.
#[global_allocator]
static ALLOCATOR: service::Allocator = service::Allocator;

fn main() -> ExitCode {
    service::run(&aggregation::DEFINITION)
}
