WITH
    -- One price of each leg and time: the largest sequence, then the last origin. What is appended a day late or two days ahead does not count.
    prices AS
    (
        SELECT tenant_id, instrument_id, timestamp, price, currency, ifNull(instrument_unit, unit) AS per
        FROM enriched_ticks
        WHERE instrument_id IN ('PJM.WESTERN%20HUB.SPOT', 'NG_HH_M1')
          AND timestamp BETWEEN appended_at - INTERVAL 1 DAY AND appended_at + INTERVAL 2 DAY
        ORDER BY sequence DESC NULLS LAST, feed DESC, raw_partition DESC, raw_offset DESC, raw_index DESC
        LIMIT 1 BY tenant_id, instrument_id, timestamp
    ),
    times AS (SELECT DISTINCT tenant_id, timestamp FROM prices),
    power AS (SELECT * FROM prices WHERE instrument_id = 'PJM.WESTERN%20HUB.SPOT'),
    gas AS (SELECT * FROM prices WHERE instrument_id = 'NG_HH_M1')
SELECT
    times.tenant_id AS tenant_id,
    times.timestamp AS timestamp,
    -- The quotient has 30 decimal places: rounded half to even. Null at a gas price of zero or less.
    if(gas.price > 0, toDecimal64(roundBankers(divideDecimal(power.price, gas.price, 30), 8), 8), NULL) AS value
FROM times
-- At each time, the newest price of each leg at or before it, if there is one.
ASOF JOIN power ON power.tenant_id = times.tenant_id AND power.timestamp <= times.timestamp
ASOF JOIN gas ON gas.tenant_id = times.tenant_id AND gas.timestamp <= times.timestamp
-- It counts until the maximum age has passed.
WHERE times.timestamp <= power.timestamp + INTERVAL 1 HOUR
  AND times.timestamp <= gas.timestamp + INTERVAL 1 HOUR
  AND power.currency = gas.currency
  AND (power.per, gas.per) = ('MWh', 'MMBtu')
