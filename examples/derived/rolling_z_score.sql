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
    gas AS (SELECT * FROM prices WHERE instrument_id = 'NG_HH_M1'),
    spark AS
    (
        SELECT times.tenant_id AS tenant_id, times.timestamp AS timestamp,
               toDecimal64(roundBankers(power.price - toDecimal128('7.5', 8) * gas.price, 8), 8) AS value
        FROM times
        ASOF JOIN power ON power.tenant_id = times.tenant_id AND power.timestamp <= times.timestamp
        ASOF JOIN gas ON gas.tenant_id = times.tenant_id AND gas.timestamp <= times.timestamp
        WHERE times.timestamp <= power.timestamp + INTERVAL 1 HOUR
          AND times.timestamp <= gas.timestamp + INTERVAL 1 HOUR
          AND power.currency = gas.currency
          AND (power.per, gas.per) = ('MWh', 'MMBtu')
    ),
    -- At each time the last 20 values, this one included: whole numbers of 10^-8, so that their squares are exact.
    windows AS
    (
        SELECT tenant_id, timestamp, toInt256(value * 100000000) AS units, count() OVER last AS number, min(timestamp) OVER last AS since,
               sum(units) OVER last AS total, 20 * sum(units * units) OVER last - total * total AS spread,
               toInt256(roundBankers(divideDecimal(toDecimal256(total, 0), toDecimal256(20, 0), 10), 0)) AS mean
        FROM spark
        WINDOW last AS (PARTITION BY tenant_id ORDER BY timestamp ROWS BETWEEN 19 PRECEDING AND CURRENT ROW)
    ),
    -- The standard deviation of a sample is the root of spread / (20 * 19). A root of floats is one of three whole numbers next to it.
    deviations AS
    (
        SELECT *, toInt256(sqrt(toFloat64(spread) / 380)) AS near,
               arrayFirst(d -> 4 * spread <= (2 * d + 1) * (2 * d + 1) * 380, [near - 1, near, near + 1]) AS deviation
        FROM windows
    )
SELECT
    tenant_id,
    timestamp,
    -- Null unless there are 20 that vary, none of them older than a day. Rounded half to even.
    if(number = 20 AND since > timestamp - INTERVAL 1 DAY AND deviation > 0,
       toDecimal64(roundBankers(divideDecimal(toDecimal256(units - mean, 0), toDecimal256(deviation, 0), 20), 8), 8), NULL) AS value
FROM deviations
