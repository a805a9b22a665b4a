//! The colours of lines on a terminal, by what a line reports: success green, failure red, something to act on amber, health cyan.

use std::io::IsTerminal as _;

use tracing::Level;

const GREEN: &str = "\u{1b}[32m";
const RED: &str = "\u{1b}[31m";
const AMBER: &str = "\u{1b}[33m";
const CYAN: &str = "\u{1b}[36m";
const END: &str = "\u{1b}[0m";

/// Whether colours may be used: stdout is a terminal, and `NO_COLOR` has no value.
pub(super) fn is_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && std::io::stdout().is_terminal()
}

/// The line in the colour of its level and of the event that it reports. Lines for debugging have none.
pub(super) fn painted(line: &str, level: Level, event: Option<&str>) -> String {
    let colour = match (level, event) {
        (Level::ERROR, _) => RED,
        (Level::WARN, _) => AMBER,
        (Level::INFO, Some("health" | "circuit_breaker" | "state_dump")) => CYAN,
        (Level::INFO, _) => GREEN,
        _ => return line.to_owned(),
    };
    format!("{colour}{line}{END}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_colour_tells_what_a_line_reports() {
        for (level, event, colour) in [
            (Level::ERROR, Some("health"), RED),
            (Level::WARN, Some("circuit_breaker"), AMBER),
            (Level::INFO, Some("health"), CYAN),
            (Level::INFO, Some("started"), GREEN),
            (Level::INFO, None, GREEN),
        ] {
            assert_eq!(painted("a line", level, event), format!("{colour}a line{END}"));
        }
        assert_eq!(painted("a line", Level::DEBUG, Some("health")), "a line");
    }
}
