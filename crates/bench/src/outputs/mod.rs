//! What the pipeline has written, and what its processes have used: read from outside, for the benchmarks and for `dp demo`.

pub mod counts;
pub mod scrape;
