-- The newest prices of a tenant are read in this order: without the index every request would sort all of the tenant's rows.
CREATE INDEX IF NOT EXISTS served_latest_prices_by_time
    ON served_latest_prices (generation, tenant_id, event_time DESC, instrument_id);
