-- Real hubs and zones of five markets, and a few traded products, for one tenant. Existing rows are not changed, so that
-- the seed can be applied again.

INSERT INTO taxonomy_commodities (commodity, description) VALUES
    ('electricity', 'Electric power'),
    ('natural_gas', 'Natural gas'),
    ('crude_oil', 'Crude oil'),
    ('refined_products', 'Gasoline, diesel, heating oil'),
    ('coal', 'Thermal coal')
ON CONFLICT DO NOTHING;

INSERT INTO taxonomy_regions (region, description) VALUES
    ('northeast', 'PJM, NYISO, ISO New England'),
    ('southeast', 'Southeastern United States'),
    ('midwest', 'MISO'),
    ('west', 'CAISO and the western states'),
    ('texas', 'ERCOT'),
    ('national', 'Delivered or quoted for the whole country'),
    ('global', 'Seaborne and international')
ON CONFLICT DO NOTHING;

INSERT INTO curve_metadata (tenant_id, curve_id, curve_name, commodity, region, contract_months) VALUES
    ({tenant}, 'NG_HENRY_HUB', 'Henry Hub natural gas', 'natural_gas', 'texas', '{1,2,3,6,12}'),
    ({tenant}, 'WTI', 'West Texas Intermediate', 'crude_oil', 'national', '{1,2,3,6,12}'),
    ({tenant}, 'BRENT', 'Brent', 'crude_oil', 'global', '{1,2,3,6,12}'),
    ({tenant}, 'POWER_MISO', 'MISO balance of month', 'electricity', 'midwest', '{1}'),
    ({tenant}, 'POWER_CAISO', 'CAISO balance of month', 'electricity', 'west', '{1}'),
    ({tenant}, 'POWER_ERCOT', 'ERCOT balance of month', 'electricity', 'texas', '{1}')
ON CONFLICT DO NOTHING;

-- Hubs and zones: instrument ids are MARKET.<node>.<PRODUCT>, the node percent-encoded.
INSERT INTO taxonomy_instruments
    (tenant_id, instrument_id, commodity, region, product_tier, unit, contract_size, tick_size, metadata)
SELECT {tenant}, market || '.' || replace(node, ' ', '%20') || '.' || product, 'electricity', region, 'standard', 'MWh',
       1, 0.01, jsonb_build_object('market', market, 'node', node, 'location_type', location_type)
FROM (VALUES
    ('MISO', 'midwest', 'hub', ARRAY['RT5', 'EXANTE', 'DA'],
     ARRAY['ARKANSAS.HUB', 'ILLINOIS.HUB', 'INDIANA.HUB', 'LOUISIANA.HUB', 'MICHIGAN.HUB', 'MINN.HUB', 'MS.HUB', 'TEXAS.HUB']),
    ('CAISO', 'west', 'hub', ARRAY['RT5', 'RT15', 'DA'],
     ARRAY['TH_NP15_GEN-APND', 'TH_SP15_GEN-APND', 'TH_ZP26_GEN-APND']),
    ('CAISO', 'west', 'zone', ARRAY['RT5', 'RT15', 'DA'],
     ARRAY['DLAP_PGAE-APND', 'DLAP_SCE-APND', 'DLAP_SDGE-APND', 'DLAP_VEA-APND']),
    ('ERCOT', 'texas', 'hub', ARRAY['RT15', 'DA'],
     ARRAY['HB_HOUSTON', 'HB_NORTH', 'HB_SOUTH', 'HB_WEST', 'HB_PAN', 'HB_BUSAVG', 'HB_HUBAVG']),
    ('ERCOT', 'texas', 'zone', ARRAY['RT15', 'DA'],
     ARRAY['LZ_AEN', 'LZ_CPS', 'LZ_HOUSTON', 'LZ_LCRA', 'LZ_NORTH', 'LZ_RAYBN', 'LZ_SOUTH', 'LZ_WEST']),
    ('PJM', 'northeast', 'hub', ARRAY['RT5', 'RTH', 'DA'],
     ARRAY['WESTERN HUB', 'EASTERN HUB', 'N ILLINOIS HUB', 'AEP-DAYTON HUB', 'AEP GEN HUB', 'ATSI GEN HUB', 'CHICAGO HUB',
           'CHICAGO GEN HUB', 'DOMINION HUB', 'NEW JERSEY HUB', 'OHIO HUB', 'WEST INT HUB']),
    ('NYISO', 'northeast', 'zone', ARRAY['RT5', 'DA'],
     ARRAY['CAPITL', 'CENTRL', 'DUNWOD', 'GENESE', 'HUD VL', 'LONGIL', 'MHK VL', 'MILLWD', 'N.Y.C.', 'NORTH', 'WEST'])
) AS listed (market, region, location_type, products, nodes),
     unnest(products) AS product, unnest(nodes) AS node
ON CONFLICT DO NOTHING;

INSERT INTO taxonomy_instruments
    (tenant_id, instrument_id, commodity, region, product_tier, unit, contract_size, tick_size, curve_id)
VALUES
    ({tenant}, 'NG_HH_BALMO', 'natural_gas', 'texas', 'premium', 'MMBtu', 10000, 0.001, 'NG_HENRY_HUB'),
    ({tenant}, 'NG_HH_PROMPT', 'natural_gas', 'texas', 'standard', 'MMBtu', 10000, 0.001, 'NG_HENRY_HUB'),
    ({tenant}, 'NG_HH_M1', 'natural_gas', 'texas', 'standard', 'MMBtu', 10000, 0.001, 'NG_HENRY_HUB'),
    ({tenant}, 'NG_HH_M2', 'natural_gas', 'texas', 'standard', 'MMBtu', 10000, 0.001, 'NG_HENRY_HUB'),
    ({tenant}, 'NG_HH_PROMO', 'natural_gas', 'texas', 'premium', 'MMBtu', 10000, 0.001, 'NG_HENRY_HUB'),
    ({tenant}, 'NG_HH_STD', 'natural_gas', 'texas', 'standard', 'MMBtu', 10000, 0.001, 'NG_HENRY_HUB'),
    ({tenant}, 'POWER_PEAK_DAY_AHEAD', 'electricity', 'northeast', 'standard', 'MWh', 1, 0.01, NULL),
    ({tenant}, 'POWER_PEAK_REAL_TIME', 'electricity', 'northeast', 'standard', 'MWh', 1, 0.01, NULL),
    ({tenant}, 'POWER_OFF_PEAK_DAY_AHEAD', 'electricity', 'northeast', 'standard', 'MWh', 1, 0.01, NULL),
    ({tenant}, 'POWER_OFF_PEAK_REAL_TIME', 'electricity', 'northeast', 'standard', 'MWh', 1, 0.01, NULL),
    ({tenant}, 'ELEC_MISO_BALMO', 'electricity', 'midwest', 'premium', 'MWh', 1, 0.01, 'POWER_MISO'),
    ({tenant}, 'ELEC_CAISO_BALMO', 'electricity', 'west', 'premium', 'MWh', 1, 0.01, 'POWER_CAISO'),
    ({tenant}, 'ELEC_ERCOT_BALMO', 'electricity', 'texas', 'premium', 'MWh', 1, 0.01, 'POWER_ERCOT'),
    ({tenant}, 'CRUDE_WTI', 'crude_oil', 'national', 'standard', 'bbl', 1000, 0.01, 'WTI'),
    ({tenant}, 'CRUDE_BRENT_BALMO', 'crude_oil', 'global', 'premium', 'bbl', 1000, 0.01, 'BRENT'),
    ({tenant}, 'BRENT_ICE', 'crude_oil', 'global', 'standard', 'bbl', 1000, 0.01, 'BRENT'),
    ({tenant}, 'RBOB_GASOLINE', 'refined_products', 'national', 'standard', 'bbl', 1000, 0.0001, NULL),
    ({tenant}, 'HEATING_OIL', 'refined_products', 'national', 'standard', 'bbl', 1000, 0.0001, NULL)
ON CONFLICT DO NOTHING;
