//! Reference data of instruments, and the rules that tenants add to the built-in ones.

use domain::Decimal;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::{CALL_TIMEOUT, Postgres, within};
use crate::{Store, StoreError};

/// A row of `taxonomy_instruments`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ReferenceInstrument {
    pub tenant_id: String,
    pub instrument_id: String,
    pub commodity: String,
    pub region: String,
    pub product_tier: String,
    pub unit: Option<String>,
    pub contract_size: Option<Decimal>,
    pub tick_size: Option<Decimal>,
    pub curve_id: Option<String>,
}

/// A row of `taxonomy_commodity_rules` or `taxonomy_region_rules`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Rule {
    pub tenant_id: String,
    /// The resulting commodity or region.
    pub name: String,
    /// Complete tokens of an instrument id.
    pub keywords: Vec<String>,
    /// The lowest number wins.
    pub priority: i32,
}

/// A row of `curve_metadata`: a curve, and which instruments are its quotes.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct CurveRow {
    pub tenant_id: String,
    pub curve_id: String,
    pub curve_name: String,
    pub commodity: String,
    pub region: String,
    /// Months after the prompt whose monthly contracts count, 1 for the prompt; none means all.
    pub contract_months: Vec<i32>,
    pub interpolation_method: String,
    /// Patterns of instrument ids.
    pub instruments: Vec<String>,
    /// Twelve from January to December; none if not set.
    pub seasonal_ratios: Vec<f64>,
    /// Twelve from January to December, in the unit of the prices; none if not set. Not both are set.
    pub seasonal_spreads: Vec<f64>,
}

/// All reference data.
#[derive(Debug, Clone, PartialEq, Default)]
#[allow(missing_docs)]
pub struct ReferenceData {
    pub instruments: Vec<ReferenceInstrument>,
    /// Ordered by priority.
    pub commodity_rules: Vec<Rule>,
    /// Ordered by priority.
    pub region_rules: Vec<Rule>,
    /// Ordered by tenant and id.
    pub curves: Vec<CurveRow>,
}

/// Reads reference data. Cheap to clone.
#[derive(Clone)]
pub struct ReferenceStore {
    postgres: Postgres,
}

const COLUMNS: &str = "tenant_id, instrument_id, commodity, region, product_tier, unit, \
                       (contract_size * 100000000)::bigint, (tick_size * 100000000)::bigint, curve_id";

const CURVES: &str = "SELECT tenant_id, curve_id, curve_name, commodity, region, contract_months, interpolation_method, instruments, \
                      seasonal_ratios, seasonal_spreads FROM curve_metadata";

impl ReferenceStore {
    /// Uses this pool.
    pub fn new(postgres: Postgres) -> ReferenceStore {
        ReferenceStore { postgres }
    }

    /// Every active instrument, by its id and its aliases, and every rule.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn load_all(&self) -> Result<ReferenceData, StoreError> {
        let client = self.postgres.client("load reference data").await?;
        let instruments = format!(
            "SELECT {COLUMNS} FROM taxonomy_instruments WHERE active UNION ALL \
             SELECT a.tenant_id, a.alias, i.commodity, i.region, i.product_tier, i.unit, \
                    (i.contract_size * 100000000)::bigint, (i.tick_size * 100000000)::bigint, i.curve_id \
             FROM instrument_aliases a JOIN taxonomy_instruments i USING (tenant_id, instrument_id) WHERE i.active"
        );
        let commodities = "SELECT tenant_id, commodity, keywords, priority FROM taxonomy_commodity_rules ORDER BY priority, commodity";
        let regions =
            "SELECT tenant_id, region, keywords, priority FROM taxonomy_region_rules ORDER BY priority, region";
        let curves = format!("{CURVES} ORDER BY tenant_id, curve_id");
        let all = async {
            Ok((
                client.query_typed(&instruments, &[]).await?,
                client.query_typed(commodities, &[]).await?,
                client.query_typed(regions, &[]).await?,
                client.query_typed(&curves, &[]).await?,
            ))
        };
        let (instruments, commodities, regions, curves) = within("load reference data", CALL_TIMEOUT, all).await?;
        Ok(ReferenceData {
            instruments: instruments.iter().map(instrument).collect::<Result<_, _>>()?,
            commodity_rules: commodities.iter().map(rule).collect::<Result<_, _>>()?,
            region_rules: regions.iter().map(rule).collect::<Result<_, _>>()?,
            curves: curves.iter().map(curve).collect::<Result<_, _>>()?,
        })
    }

    /// The curves of a tenant, by id.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn curves(&self, tenant_id: &str) -> Result<Vec<CurveRow>, StoreError> {
        let client = self.postgres.client("read curves").await?;
        let sql = format!("{CURVES} WHERE tenant_id = $1 ORDER BY curve_id");
        let parameters: [super::Parameter<'_>; 1] = [(&tenant_id, Type::TEXT)];
        let call = client.query_typed(&sql, &parameters);
        let rows = within("read curves", CALL_TIMEOUT, call).await?;
        rows.iter().map(curve).collect()
    }

    /// The active instruments of a tenant that are members of a curve, by id.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn of_curves(&self, tenant_id: &str) -> Result<Vec<ReferenceInstrument>, StoreError> {
        let client = self.postgres.client("read the instruments of curves").await?;
        let sql = format!(
            "SELECT {COLUMNS} FROM taxonomy_instruments WHERE active AND tenant_id = $1 AND curve_id IS NOT NULL ORDER BY instrument_id"
        );
        let parameters: [super::Parameter<'_>; 1] = [(&tenant_id, Type::TEXT)];
        let call = client.query_typed(&sql, &parameters);
        let rows = within("read the instruments of curves", CALL_TIMEOUT, call).await?;
        rows.iter().map(instrument).collect()
    }

    /// The active instruments among these `(tenant_id, instrument_id)`, found by id or alias. Unknown ones are omitted.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn lookup(&self, keys: &[(&str, &str)]) -> Result<Vec<ReferenceInstrument>, StoreError> {
        let (tenants, ids): (Vec<&str>, Vec<&str>) = keys.iter().copied().unzip();
        let client = self.postgres.client("look up reference data").await?;
        let sql = "SELECT k.tenant_id, k.id, i.commodity, i.region, i.product_tier, i.unit, \
                          (i.contract_size * 100000000)::bigint, (i.tick_size * 100000000)::bigint, i.curve_id \
                   FROM UNNEST($1::text[], $2::text[]) AS k (tenant_id, id) \
                   LEFT JOIN instrument_aliases a ON a.tenant_id = k.tenant_id AND a.alias = k.id \
                   JOIN taxonomy_instruments i ON i.tenant_id = k.tenant_id AND i.active \
                        AND i.instrument_id = COALESCE(a.instrument_id, k.id)";
        let parameters: [super::Parameter<'_>; 2] = [(&tenants, Type::TEXT_ARRAY), (&ids, Type::TEXT_ARRAY)];
        let call = client.query_typed(sql, &parameters);
        let rows = within("look up reference data", CALL_TIMEOUT, call).await?;
        rows.iter().map(instrument).collect()
    }
}

fn instrument(row: &Row) -> Result<ReferenceInstrument, StoreError> {
    let read = || -> Result<ReferenceInstrument, tokio_postgres::Error> {
        Ok(ReferenceInstrument {
            tenant_id: row.try_get(0)?,
            instrument_id: row.try_get(1)?,
            commodity: row.try_get(2)?,
            region: row.try_get(3)?,
            product_tier: row.try_get(4)?,
            unit: row.try_get(5)?,
            contract_size: None,
            tick_size: None,
            curve_id: row.try_get(8)?,
        })
    };
    let instrument = read().map_err(|error| StoreError::postgres("read reference data", &error))?;
    Ok(ReferenceInstrument {
        contract_size: decimal(row, 6)?,
        tick_size: decimal(row, 7)?,
        ..instrument
    })
}

fn decimal(row: &Row, column: usize) -> Result<Option<Decimal>, StoreError> {
    let unscaled: Option<i64> = row
        .try_get(column)
        .map_err(|error| StoreError::postgres("read reference data", &error))?;
    let value = unscaled.map(Decimal::from_unscaled).transpose();
    value.map_err(|error| StoreError::unexpected(Store::Postgres, "read reference data", error))
}

fn curve(row: &Row) -> Result<CurveRow, StoreError> {
    let read = || -> Result<CurveRow, tokio_postgres::Error> {
        Ok(CurveRow {
            tenant_id: row.try_get(0)?,
            curve_id: row.try_get(1)?,
            curve_name: row.try_get(2)?,
            commodity: row.try_get(3)?,
            region: row.try_get(4)?,
            contract_months: row.try_get(5)?,
            interpolation_method: row.try_get(6)?,
            instruments: row.try_get(7)?,
            seasonal_ratios: row.try_get::<_, Option<_>>(8)?.unwrap_or_default(),
            seasonal_spreads: row.try_get::<_, Option<_>>(9)?.unwrap_or_default(),
        })
    };
    read().map_err(|error| StoreError::postgres("read curves", &error))
}

fn rule(row: &Row) -> Result<Rule, StoreError> {
    let read = || -> Result<Rule, tokio_postgres::Error> {
        Ok(Rule {
            tenant_id: row.try_get(0)?,
            name: row.try_get(1)?,
            keywords: row.try_get(2)?,
            priority: row.try_get(3)?,
        })
    };
    read().map_err(|error| StoreError::postgres("read reference rules", &error))
}
