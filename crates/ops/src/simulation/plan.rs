//! The parameters of a simulation and their valid values.

use domain::Micros;
use domain::instrument::check_identifier;

/// The earliest start. Ticks that are weeks late are still after 1990.
const EARLIEST_START: Micros = 820_454_400_000_000;
/// The latest start, in the year 2200.
const LATEST_START: Micros = 7_258_118_400_000_000;

/// The parameters of a simulation. They determine every byte of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Number of messages.
    pub messages: u64,
    /// Seed of the random numbers.
    pub seed: u64,
    /// Current time at the start of the run, in microseconds since 1970.
    pub start: Micros,
    /// Messages a second; event times continue from `start` at this rate. Without a rate they are spread over the two minutes
    /// before `start`.
    pub rate: Option<u64>,
    /// Percentage of repeated events, 0 to 100.
    pub duplicate_percent: f64,
    /// Percentage of ticks that are minutes, hours or days late, 0 to 100.
    pub late_percent: f64,
    /// Percentage of messages that must become dead letters, 0 to 100.
    pub poison_percent: f64,
    /// Tenant of every message.
    pub tenant_id: String,
}

impl Plan {
    /// Checks the plan; the error names the option that is invalid.
    pub fn check(&self) -> Result<(), String> {
        let shares = [
            ("--duplicate-percent", self.duplicate_percent),
            ("--late-percent", self.late_percent),
            ("--poison-percent", self.poison_percent),
        ];
        for (name, share) in shares {
            if !(0.0..=100.0).contains(&share) {
                return Err(format!("{name} must be between 0 and 100, got {share}"));
            }
        }
        if self.messages == 0 {
            return Err("--ticks must be at least 1".to_owned());
        }
        if self.rate == Some(0) {
            return Err("--rate must be at least 1 message a second; omit it for full speed".to_owned());
        }
        if !(EARLIEST_START..=LATEST_START).contains(&self.start) {
            return Err("--start-time must be between 1996 and 2200".to_owned());
        }
        check_identifier(&self.tenant_id)
            .map_err(|error| format!("--tenant {error}, got '{}'", self.tenant_id.escape_debug()))
    }
}
