-- Of two prices of one interval the more certain vintage is the latest price (`domain::Vintage::rank`). Existing rows count as
-- prices without a vintage until the next tick of the instrument.
ALTER TABLE served_latest_prices ADD COLUMN IF NOT EXISTS vintage integer NOT NULL DEFAULT 0;
