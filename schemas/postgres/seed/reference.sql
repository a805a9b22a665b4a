-- Real hubs and zones of all markets, a few traded products, and their aliases, for one tenant. Existing rows are not changed, so that
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

-- Curves of quotes: each contract whose instrument id fits a pattern.
INSERT INTO curve_metadata (tenant_id, curve_id, curve_name, commodity, region, interpolation_method, instruments) VALUES
    ({tenant}, 'NG_HENRY_HUB', 'Henry Hub natural gas', 'natural_gas', 'texas', 'monotone', '{GAS.HENRY_HUB.*.SETTLEMENT}'),
    ({tenant}, 'POWER_PJM_WESTERN_HUB', 'PJM Western Hub', 'electricity', 'northeast', 'flat', '{PJM.WESTERN%20HUB.*.SETTLEMENT}')
ON CONFLICT DO NOTHING;

INSERT INTO curve_metadata (tenant_id, curve_id, curve_name, commodity, region, contract_months) VALUES
    ({tenant}, 'WTI', 'West Texas Intermediate', 'crude_oil', 'national', '{1,2,3,6,12}'),
    ({tenant}, 'BRENT', 'Brent', 'crude_oil', 'global', '{1,2,3,6,12}'),
    ({tenant}, 'POWER_MISO', 'MISO balance of month', 'electricity', 'midwest', '{1}'),
    ({tenant}, 'POWER_CAISO', 'CAISO balance of month', 'electricity', 'west', '{1}'),
    ({tenant}, 'POWER_ERCOT', 'ERCOT balance of month', 'electricity', 'texas', '{1}')
ON CONFLICT DO NOTHING;

-- Hubs, zones and interfaces of the markets registry: instrument ids are MARKET.<node>.<PRODUCT>, the node percent-encoded.
INSERT INTO taxonomy_instruments
    (tenant_id, instrument_id, commodity, region, product_tier, unit, contract_size, tick_size, metadata)
SELECT {tenant}, market || '.' || replace(node, ' ', '%20') || '.' || product, commodity, region, 'standard', unit, 1,
       CASE unit WHEN 'MMBtu' THEN 0.001 ELSE 0.01 END,
       jsonb_build_object('market', market, 'node', node, 'name', node, 'location_type', location_type,
                          'zone', CASE location_type WHEN 'zone' THEN node END, 'currency', currency, 'time_zone', time_zone)
FROM (VALUES
-- places: begin (written by the test `the_seed_has_the_places_of_the_registry`)
    ('MISO', 'midwest', 'hub', 'electricity', 'MWh', 'USD', 'Etc/GMT+5', ARRAY['RT5', 'EXANTE', 'DA', 'RTH'],
     ARRAY['ARKANSAS.HUB', 'ILLINOIS.HUB', 'INDIANA.HUB', 'LOUISIANA.HUB', 'MICHIGAN.HUB', 'MINN.HUB', 'MS.HUB', 'TEXAS.HUB']),
    ('MISO', 'midwest', 'interface', 'electricity', 'MWh', 'USD', 'Etc/GMT+5', ARRAY['RT5', 'EXANTE', 'DA', 'RTH'],
     ARRAY['PJMC', 'SWPP', 'MHEB', 'ONT', 'TVA', 'SOCO', 'LGEE', 'AECI']),
    ('CAISO', 'west', 'hub', 'electricity', 'MWh', 'USD', 'America/Los_Angeles', ARRAY['RT5', 'RT15', 'DA'],
     ARRAY['TH_NP15_GEN-APND', 'TH_SP15_GEN-APND', 'TH_ZP26_GEN-APND']),
    ('CAISO', 'west', 'zone', 'electricity', 'MWh', 'USD', 'America/Los_Angeles', ARRAY['RT5', 'RT15', 'DA'],
     ARRAY['DLAP_PGAE-APND', 'DLAP_SCE-APND', 'DLAP_SDGE-APND', 'DLAP_VEA-APND']),
    ('ERCOT', 'texas', 'hub', 'electricity', 'MWh', 'USD', 'America/Chicago', ARRAY['RT5', 'RT15', 'DA'],
     ARRAY['HB_HOUSTON', 'HB_NORTH', 'HB_SOUTH', 'HB_WEST', 'HB_PAN', 'HB_BUSAVG', 'HB_HUBAVG']),
    ('ERCOT', 'texas', 'zone', 'electricity', 'MWh', 'USD', 'America/Chicago', ARRAY['RT5', 'RT15', 'DA'],
     ARRAY['LZ_AEN', 'LZ_CPS', 'LZ_HOUSTON', 'LZ_LCRA', 'LZ_NORTH', 'LZ_RAYBN', 'LZ_SOUTH', 'LZ_WEST']),
    ('ERCOT', 'texas', 'interface', 'electricity', 'MWh', 'USD', 'America/Chicago', ARRAY['RT5', 'RT15', 'DA'],
     ARRAY['DC_E', 'DC_L', 'DC_N', 'DC_R']),
    ('PJM', 'northeast', 'hub', 'electricity', 'MWh', 'USD', 'America/New_York', ARRAY['RT5', 'RTH', 'DA'],
     ARRAY['WESTERN HUB', 'EASTERN HUB', 'N ILLINOIS HUB', 'AEP-DAYTON HUB', 'AEP GEN HUB', 'ATSI GEN HUB', 'CHICAGO HUB', 'CHICAGO GEN HUB', 'DOMINION HUB', 'NEW JERSEY HUB', 'OHIO HUB', 'WEST INT HUB']),
    ('PJM', 'northeast', 'zone', 'electricity', 'MWh', 'USD', 'America/New_York', ARRAY['RT5', 'RTH', 'DA'],
     ARRAY['PJM-RTO']),
    ('NYISO', 'northeast', 'zone', 'electricity', 'MWh', 'USD', 'America/New_York', ARRAY['RT5', 'RTH', 'DA'],
     ARRAY['CAPITL', 'CENTRL', 'DUNWOD', 'GENESE', 'HUD VL', 'LONGIL', 'MHK VL', 'MILLWD', 'N.Y.C.', 'NORTH', 'WEST']),
    ('NYISO', 'northeast', 'interface', 'electricity', 'MWh', 'USD', 'America/New_York', ARRAY['RT5', 'RTH', 'DA'],
     ARRAY['H Q', 'NPX', 'O H', 'PJM']),
    ('ISONE', 'northeast', 'hub', 'electricity', 'MWh', 'USD', 'America/New_York', ARRAY['RTH', 'DA'],
     ARRAY['.H.INTERNAL_HUB']),
    ('ISONE', 'northeast', 'zone', 'electricity', 'MWh', 'USD', 'America/New_York', ARRAY['RTH', 'DA'],
     ARRAY['.Z.MAINE', '.Z.NEWHAMPSHIRE', '.Z.VERMONT', '.Z.CONNECTICUT', '.Z.RHODEISLAND', '.Z.SEMASS', '.Z.WCMASS', '.Z.NEMASSBOST']),
    ('SPP', 'midwest', 'hub', 'electricity', 'MWh', 'USD', 'America/Chicago', ARRAY['DA'],
     ARRAY['SPPNORTH_HUB', 'SPPSOUTH_HUB']),
    ('GAS', 'southeast', 'hub', 'natural_gas', 'MMBtu', 'USD', 'America/Chicago', ARRAY['SPOT'],
     ARRAY['HENRY_HUB']),
    ('GAS', 'texas', 'hub', 'natural_gas', 'MMBtu', 'USD', 'America/Chicago', ARRAY['SPOT'],
     ARRAY['WAHA', 'HOUSTON_SHIP_CHANNEL', 'KATY']),
    ('GAS', 'midwest', 'hub', 'natural_gas', 'MMBtu', 'USD', 'America/Chicago', ARRAY['SPOT'],
     ARRAY['CHICAGO_CITYGATE']),
    ('GAS', 'northeast', 'hub', 'natural_gas', 'MMBtu', 'USD', 'America/Chicago', ARRAY['SPOT'],
     ARRAY['DOMINION_SOUTH', 'TETCO_M3', 'TRANSCO_Z6_NY', 'ALGONQUIN_CITYGATE']),
    ('GAS', 'west', 'hub', 'natural_gas', 'MMBtu', 'USD', 'America/Chicago', ARRAY['SPOT'],
     ARRAY['SOCAL_CITYGATE', 'PGE_CITYGATE', 'OPAL', 'AECO', 'SUMAS'])
-- places: end
) AS listed (market, region, location_type, commodity, unit, currency, time_zone, products, nodes),
     unnest(products) AS product, unnest(nodes) AS node
ON CONFLICT DO NOTHING;

-- Their prices become quotes of their curves if the tier is a relative tenor, such as M1 (docs/curves.md).
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

-- Other names of the same instruments.
INSERT INTO instrument_aliases (tenant_id, alias, instrument_id) VALUES
    ({tenant}, 'NG', 'NG_HH_M1'),
    ({tenant}, 'HENRY_HUB', 'NG_HH_M1'),
    ({tenant}, 'NG_HH_PROMPT_MONTH', 'NG_HH_PROMPT'),
    ({tenant}, 'WTI', 'CRUDE_WTI'),
    ({tenant}, 'CL', 'CRUDE_WTI'),
    ({tenant}, 'BRENT', 'BRENT_ICE'),
    ({tenant}, 'RBOB', 'RBOB_GASOLINE'),
    ({tenant}, 'HO', 'HEATING_OIL'),
    ({tenant}, 'ERCOT_NORTH', 'ERCOT.HB_NORTH.RT15'),
    ({tenant}, 'PJM_WEST', 'PJM.WESTERN%20HUB.RTH')
ON CONFLICT DO NOTHING;
