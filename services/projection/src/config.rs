//! The settings of projection: `PROJECTION_*`.

use std::time::Duration;

use service::Reader;

use crate::core::custom::CustomTypes;

/// The service's own settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Time between writes of changed prices to Redis.
    pub redis_interval: Duration,
    /// Time between commits of changed prices and the position to Postgres.
    pub postgres_interval: Duration,
    /// Values that are made of prices.
    pub custom: CustomTypes,
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
        custom: CustomTypes::read(r),
    }
}
