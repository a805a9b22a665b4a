//! `dp down`: stops all processes of the stack and keeps its data.

use ops::threads::blocking;

use super::report::{is_stack, report};
use ops::place::Place;

/// Runs `dp down`. Succeeds without a stack: nothing runs, as requested.
pub async fn down(place: &Place, json: bool) -> anyhow::Result<()> {
    if !is_stack(&place.folder()) {
        return report("stopped", &[], json);
    }
    let stack = place.open()?;
    let stopped = blocking(move || Ok(stack.down()?)).await?;
    report("stopped", &stopped, json)
}
