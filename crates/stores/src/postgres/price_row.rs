//! A latest price as a row of `served_latest_prices`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use domain::{Decimal, Micros};
use tokio_postgres::Row;

use crate::price::{LatestPrice, OwnedOrigin, flags_of};
use crate::{Store, StoreError};

pub(super) fn system_time(time: Micros) -> SystemTime {
    let distance = Duration::from_micros(time.unsigned_abs());
    if time < 0 {
        UNIX_EPOCH - distance
    } else {
        UNIX_EPOCH + distance
    }
}

pub(super) fn micros(time: SystemTime) -> Micros {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_micros() as Micros,
        Err(before) => -(before.duration().as_micros() as Micros),
    }
}

/// Parses a row of the columns in `SELECT` of [`super::latest`].
pub(super) fn price(row: &Row) -> Result<LatestPrice, StoreError> {
    const OPERATION: &str = "read prices";
    let odd = |error: &dyn std::fmt::Display| StoreError::unexpected(Store::Postgres, OPERATION, error);
    let decimal = |unscaled: i64| Decimal::from_unscaled(unscaled).map_err(|error| odd(&error));
    let read = || -> Result<_, tokio_postgres::Error> {
        let origin = OwnedOrigin {
            feed: row.try_get(5)?,
            partition: row.try_get(6)?,
            offset: row.try_get(7)?,
            index: row.try_get(8)?,
        };
        let price = LatestPrice {
            tenant_id: row.try_get(0)?,
            instrument_id: row.try_get(1)?,
            price: Decimal::ZERO,
            volume: None,
            event_time: micros(row.try_get(4)?),
            vintage: domain::Vintage::from_rank(row.try_get(17)?),
            sequence: row.try_get(16)?,
            origin,
            src_partition: row.try_get(9)?,
            market: row.try_get(10)?,
            product: row.try_get(11)?,
            currency: row.try_get(12)?,
            unit: row.try_get(13)?,
            quality_flags: domain::QualityFlags::NONE,
            appended_at: micros(row.try_get(15)?),
        };
        Ok((price, row.try_get(2)?, row.try_get(3)?, row.try_get(14)?))
    };
    let (price, unscaled, volume, flags): (LatestPrice, i64, Option<i64>, Vec<String>) =
        read().map_err(|error| StoreError::postgres(OPERATION, &error))?;
    Ok(LatestPrice {
        price: decimal(unscaled)?,
        volume: volume.map(decimal).transpose()?,
        quality_flags: flags_of(&flags).ok_or_else(|| odd(&format!("unknown quality flag in {flags:?}")))?,
        ..price
    })
}
