//! The settings of projection: `PROJECTION_*`.

use std::time::Duration;

use service::Reader;

/// The service's own settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Time between writes of changed prices to Redis.
    pub redis_interval: Duration,
    /// Time between commits of changed prices and the position to Postgres.
    pub postgres_interval: Duration,
}

/// Reads the settings.
pub fn read(r: &mut Reader<'_>) -> Config {
    Config {
        redis_interval: r.duration(
            "PROJECTION_REDIS_INTERVAL",
            "10ms",
            "time between writes of changed prices to Redis",
        ),
        postgres_interval: r.duration(
            "PROJECTION_POSTGRES_INTERVAL",
            "1s",
            "time between commits of changed prices and their position to Postgres",
        ),
    }
}
