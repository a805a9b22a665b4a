//! The options of every profile.

use std::path::PathBuf;

use ops::present::duration;
use service::http::MAX_PROFILE_SECONDS;

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Common {
    /// normalization, enrichment, aggregation, projection, or a replica such as normalization-2
    pub(super) service: String,
    /// How long, in whole seconds up to one minute
    #[arg(long = "for", alias = "seconds", value_name = "TIME", default_value = "10s", value_parser = seconds)]
    pub(super) seconds: u32,
    /// The picture: an SVG file, or folded stacks if the name ends with .folded; - is standard output
    /// [default: SERVICE-cpu-TIME.svg or SERVICE-heap-TIME.svg]
    #[arg(long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
}

/// A service counts in whole seconds.
fn seconds(text: &str) -> Result<u32, String> {
    let time = duration(text)?;
    let whole = u32::try_from(time.as_secs()).ok().filter(|_| time.subsec_nanos() == 0);
    whole
        .filter(|seconds| (1..=MAX_PROFILE_SECONDS).contains(seconds))
        .ok_or_else(|| format!("it must be whole seconds from 1s to {MAX_PROFILE_SECONDS}s"))
}
