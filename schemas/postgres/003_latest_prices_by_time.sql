-- The newest prices of a tenant are read in this order: without the index every request sorts all of the tenant's.
CREATE INDEX served_latest_prices_by_time
    ON served_latest_prices (generation, tenant_id, event_time DESC, instrument_id);
