-- Which instruments are the quotes of a curve: patterns of instrument ids, in which `*` stands for any text, such as
-- `GAS.HENRY_HUB.*.SETTLEMENT`. A curve without patterns has no quotes of its own. `contract_months` limits the monthly contracts
-- that count: months after today's prompt, 1 for the prompt itself; none listed means all.
ALTER TABLE curve_metadata ADD COLUMN IF NOT EXISTS instruments text[] NOT NULL DEFAULT '{}';
