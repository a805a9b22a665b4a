-- The seasonal shape of a curve, from January to December: ratios multiply the level of a contract, spreads are added to it, in the unit of the
-- price. A curve has one of them or none. A list with a null in it would pass the comparisons, which are then unknown.
ALTER TABLE curve_metadata
    ADD COLUMN IF NOT EXISTS seasonal_ratios float8[],
    ADD COLUMN IF NOT EXISTS seasonal_spreads float8[];

ALTER TABLE curve_metadata
    DROP CONSTRAINT IF EXISTS seasonal_ratios_are_twelve_numbers_from_0_1_to_10,
    ADD CONSTRAINT seasonal_ratios_are_twelve_numbers_from_0_1_to_10 CHECK (
        seasonal_ratios IS NULL
        OR (array_ndims(seasonal_ratios) = 1 AND cardinality(seasonal_ratios) = 12
            AND array_position(seasonal_ratios, NULL::float8) IS NULL
            AND 0.1::float8 <= ALL (seasonal_ratios) AND 10::float8 >= ALL (seasonal_ratios))),
    DROP CONSTRAINT IF EXISTS seasonal_spreads_are_twelve_numbers_within_100000,
    ADD CONSTRAINT seasonal_spreads_are_twelve_numbers_within_100000 CHECK (
        seasonal_spreads IS NULL
        OR (array_ndims(seasonal_spreads) = 1 AND cardinality(seasonal_spreads) = 12
            AND array_position(seasonal_spreads, NULL::float8) IS NULL
            AND '-100000'::float8 <= ALL (seasonal_spreads) AND 100000::float8 >= ALL (seasonal_spreads))),
    DROP CONSTRAINT IF EXISTS seasonal_shape_is_ratios_or_spreads_not_both,
    ADD CONSTRAINT seasonal_shape_is_ratios_or_spreads_not_both CHECK (seasonal_ratios IS NULL OR seasonal_spreads IS NULL);
