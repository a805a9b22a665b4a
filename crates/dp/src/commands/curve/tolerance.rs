//! The largest difference of quotes that `dp curve` accepts.

use anyhow::bail;

/// Refuses what is not a difference of prices.
pub(super) fn check_tolerance(tolerance: f64) -> anyhow::Result<()> {
    if !tolerance.is_finite() || tolerance < 0.0 {
        bail!("--tolerance {tolerance} is not a difference of prices: use 0 or more, such as 0.005");
    }
    Ok(())
}
