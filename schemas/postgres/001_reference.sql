-- Reference data of instruments: commodity, region, unit, contract. Instruments, aliases, curves and rules are per
-- tenant. Every change of these tables notifies the channel `reference_changed` with the table's name, once per statement.

CREATE TABLE IF NOT EXISTS taxonomy_commodities (
    commodity   text PRIMARY KEY,
    description text NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS taxonomy_regions (
    region      text PRIMARY KEY,
    description text NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS curve_metadata (
    tenant_id            text NOT NULL,
    curve_id             text NOT NULL,
    curve_name           text NOT NULL,
    commodity            text NOT NULL REFERENCES taxonomy_commodities,
    region               text NOT NULL REFERENCES taxonomy_regions,
    contract_months      integer[] NOT NULL DEFAULT '{}',
    interpolation_method text NOT NULL DEFAULT 'linear',
    created_at           timestamptz NOT NULL DEFAULT now(),
    updated_at           timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, curve_id)
);

CREATE TABLE IF NOT EXISTS taxonomy_instruments (
    tenant_id     text NOT NULL,
    instrument_id text NOT NULL,
    commodity     text NOT NULL REFERENCES taxonomy_commodities,
    region        text NOT NULL REFERENCES taxonomy_regions,
    product_tier  text NOT NULL DEFAULT 'standard',
    unit          text,
    contract_size numeric(18,8),
    tick_size     numeric(18,8),
    curve_id      text,
    metadata      jsonb NOT NULL DEFAULT '{}',
    active        boolean NOT NULL DEFAULT true,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, instrument_id),
    FOREIGN KEY (tenant_id, curve_id) REFERENCES curve_metadata
);

-- A rule matches when one of its keywords is a whole token of an instrument id; the lowest priority number wins.
CREATE TABLE IF NOT EXISTS taxonomy_commodity_rules (
    tenant_id text NOT NULL,
    commodity text NOT NULL REFERENCES taxonomy_commodities,
    keywords  text[] NOT NULL,
    priority  integer NOT NULL DEFAULT 100,
    PRIMARY KEY (tenant_id, commodity)
);

CREATE TABLE IF NOT EXISTS taxonomy_region_rules (
    tenant_id text NOT NULL,
    region    text NOT NULL REFERENCES taxonomy_regions,
    keywords  text[] NOT NULL,
    priority  integer NOT NULL DEFAULT 100,
    PRIMARY KEY (tenant_id, region)
);

CREATE TABLE IF NOT EXISTS instrument_aliases (
    tenant_id     text NOT NULL,
    alias         text NOT NULL,
    instrument_id text NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, alias),
    FOREIGN KEY (tenant_id, instrument_id) REFERENCES taxonomy_instruments ON DELETE CASCADE
);

CREATE TABLE IF NOT EXISTS api_keys (
    key_id       text PRIMARY KEY,
    key_hash     text NOT NULL UNIQUE,
    tenant_id    text NOT NULL,
    name         text NOT NULL,
    status       text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'revoked')),
    expires_at   timestamptz,
    last_used_at timestamptz,
    permissions  text[] NOT NULL DEFAULT '{}',
    created_at   timestamptz NOT NULL DEFAULT now()
);

CREATE OR REPLACE FUNCTION notify_reference_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('reference_changed', TG_TABLE_NAME);
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER reference_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON taxonomy_instruments
    FOR EACH STATEMENT EXECUTE FUNCTION notify_reference_changed();
CREATE OR REPLACE TRIGGER reference_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON taxonomy_commodity_rules
    FOR EACH STATEMENT EXECUTE FUNCTION notify_reference_changed();
CREATE OR REPLACE TRIGGER reference_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON taxonomy_region_rules
    FOR EACH STATEMENT EXECUTE FUNCTION notify_reference_changed();
CREATE OR REPLACE TRIGGER reference_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON instrument_aliases
    FOR EACH STATEMENT EXECUTE FUNCTION notify_reference_changed();
CREATE OR REPLACE TRIGGER reference_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON curve_metadata
    FOR EACH STATEMENT EXECUTE FUNCTION notify_reference_changed();
