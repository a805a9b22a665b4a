//! [`super::source`] implemented with Postgres and Redis.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use curves::{Interpolation, Method, Shape};
use domain::instrument::IdPattern;
use futures_util::future::BoxFuture;
use service::StartError;
use service::clients::Clients;
use stores::postgres::{CurveRow, Notices, REFERENCE_CHANGED, ReferenceInstrument, Rule};
use stores::{Postgres, Redis, ReferenceStore};

use crate::core::taxonomy::{CurveRule, CustomRule, TenantRules};
use crate::lookup::refresh::Refresher;
use crate::lookup::source::{Loaded, LookupError, ReferenceCache, ReferenceSource};
use crate::lookup::{Key, Reference};

/// Reference data in Postgres.
pub struct PostgresReference {
    store: ReferenceStore,
    postgres: Postgres,
    clients: Clients,
}

impl PostgresReference {
    /// Uses the Postgres of these clients; missing tables are created at the first load.
    ///
    /// # Errors
    /// The service does not use Postgres.
    pub fn new(clients: &Clients) -> Result<PostgresReference, StartError> {
        let postgres = clients.postgres()?;
        Ok(PostgresReference {
            store: ReferenceStore::new(postgres.clone()),
            postgres,
            clients: clients.clone(),
        })
    }

    /// Requests a full load when the tables change, and after every gap in the notifications.
    /// `interval` is that of the loads by time.
    pub async fn follow_changes(self: Arc<PostgresReference>, refresher: Arc<Refresher>, interval: Duration) {
        let mut notices = Notices::listen(&self.postgres, REFERENCE_CHANGED, interval);
        while notices.next().await.is_some() {
            refresher.request();
        }
    }
}

impl ReferenceSource for PostgresReference {
    fn load(&self) -> BoxFuture<'_, Result<Loaded, LookupError>> {
        Box::pin(async {
            self.clients.migrate_postgres().await?;
            let data = self.store.load_all().await?;
            Ok(Loaded {
                rows: data.instruments.into_iter().map(reference).collect(),
                rules: by_tenant(data.commodity_rules, data.region_rules, data.curves),
            })
        })
    }

    fn lookup<'a>(&'a self, keys: &'a [Key]) -> BoxFuture<'a, Result<Vec<Reference>, LookupError>> {
        Box::pin(async {
            let keys: Vec<(&str, &str)> = keys
                .iter()
                .map(|key| (key.tenant_id.as_str(), key.instrument_id.as_str()))
                .collect();
            let rows = self.store.lookup(&keys).await?;
            Ok(rows.into_iter().map(reference).collect())
        })
    }
}

/// Copies of reference data in Redis.
pub struct RedisCopies {
    redis: Redis,
}

impl RedisCopies {
    /// Uses this client.
    pub fn new(redis: Redis) -> RedisCopies {
        RedisCopies { redis }
    }
}

impl ReferenceCache for RedisCopies {
    fn get_many<'a>(&'a self, keys: &'a [String]) -> BoxFuture<'a, Result<Vec<Option<String>>, LookupError>> {
        Box::pin(async { Ok(self.redis.get_many(keys).await?) })
    }

    fn set_many<'a>(&'a self, pairs: &'a [(String, String)], ttl: Duration) -> BoxFuture<'a, Result<(), LookupError>> {
        Box::pin(async move { Ok(self.redis.set_many(pairs, ttl).await?) })
    }
}

fn reference(row: ReferenceInstrument) -> Reference {
    Reference {
        tenant_id: row.tenant_id,
        instrument_id: row.instrument_id,
        commodity: row.commodity,
        region: row.region,
        product_tier: row.product_tier,
        unit: row.unit,
        contract_size: row.contract_size,
        tick_size: row.tick_size,
        curve_id: row.curve_id,
        curve_definition: None,
    }
}

fn by_tenant(commodities: Vec<Rule>, regions: Vec<Rule>, curves: Vec<CurveRow>) -> Vec<TenantRules> {
    let mut tenants: BTreeMap<String, TenantRules> = BTreeMap::new();
    for rule in commodities {
        let (tenant_id, custom) = custom(rule);
        rules_of(&mut tenants, tenant_id).commodities.push(custom);
    }
    for rule in regions {
        let (tenant_id, custom) = custom(rule);
        rules_of(&mut tenants, tenant_id).regions.push(custom);
    }
    for curve in curves {
        let rule = CurveRule {
            definition: definition(&curve),
            curve_id: curve.curve_id,
            instruments: curve.instruments.iter().map(|text| IdPattern::new(text)).collect(),
        };
        rules_of(&mut tenants, curve.tenant_id).curves.push(rule);
    }
    tenants.values().for_each(overlaps);
    tenants.into_values().collect()
}

/// Tells which curves of a tenant share instruments: one tick is a quote of one curve.
fn overlaps(rules: &TenantRules) {
    for first in &rules.curves {
        let is_beside = |later: &&CurveRule| first.curve_id < later.curve_id && first.overlaps(later);
        for later in rules.curves.iter().filter(is_beside) {
            tracing::warn!(
                event = "curves_overlap",
                tenant_id = %rules.tenant_id,
                curve_id = %first.curve_id,
                other_curve_id = %later.curve_id,
                "an instrument can fit the patterns of both curves: its new ticks are quotes of the first by id only, and snapshots of the other \
                 lack them; narrow column instruments of curve_metadata"
            );
        }
    }
}

/// The definition as ticks carry it. `None` for a method or a seasonal shape that is none: the quotes of this curve give no snapshots.
fn definition(curve: &CurveRow) -> Option<String> {
    let method = curve.interpolation_method.parse::<Method>().inspect_err(|error| {
        tracing::warn!(
            event = "curve_method_unknown",
            tenant_id = %curve.tenant_id,
            curve_id = %curve.curve_id,
            error = %error,
            "correct column interpolation_method of curve_metadata"
        );
    });
    // The constraints of the table refuse it too; a copy of the rows may have been loaded without them.
    let shape = Shape::of_lists(&curve.seasonal_ratios, &curve.seasonal_spreads).inspect_err(|error| {
        tracing::warn!(
            event = "curve_shape_refused",
            tenant_id = %curve.tenant_id,
            curve_id = %curve.curve_id,
            error = %error,
            "correct columns seasonal_ratios and seasonal_spreads of curve_metadata"
        );
    });
    let interpolation = Interpolation {
        method: method.ok()?,
        shape: shape.ok()?,
        contract_months: curve.contract_months.clone(),
        instruments: curve.instruments.iter().map(|text| IdPattern::new(text)).collect(),
    };
    Some(interpolation.to_string())
}

fn rules_of(tenants: &mut BTreeMap<String, TenantRules>, tenant_id: String) -> &mut TenantRules {
    tenants.entry(tenant_id.clone()).or_insert_with(|| TenantRules {
        tenant_id,
        ..TenantRules::default()
    })
}

fn custom(rule: Rule) -> (String, CustomRule) {
    let custom = CustomRule {
        name: rule.name,
        keywords: rule.keywords,
        priority: rule.priority,
    };
    (rule.tenant_id, custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> CurveRow {
        CurveRow {
            tenant_id: "t".to_owned(),
            curve_id: "C".to_owned(),
            curve_name: "C".to_owned(),
            commodity: "electricity".to_owned(),
            region: "northeast".to_owned(),
            contract_months: vec![1, 2],
            interpolation_method: "smooth".to_owned(),
            instruments: vec!["PJM.W.*.SETTLEMENT".to_owned()],
            seasonal_ratios: Vec::new(),
            seasonal_spreads: Vec::new(),
        }
    }

    #[test]
    fn ticks_carry_the_seasonal_shape_of_their_curve_and_without_one_the_text_of_before() {
        let of = |row: &CurveRow| definition(row).unwrap_or_default();
        assert_eq!(of(&row()), "smooth;1,2;PJM.W.*.SETTLEMENT");
        let with_ratios = CurveRow {
            seasonal_ratios: vec![1.5; 12],
            ..row()
        };
        let ratios = ["1.5"; 12].join(",");
        assert_eq!(
            of(&with_ratios),
            format!("smooth;ratios={ratios};1,2;PJM.W.*.SETTLEMENT")
        );
        let with_spreads = CurveRow {
            seasonal_spreads: vec![-2.0; 12],
            contract_months: Vec::new(),
            ..row()
        };
        let spreads = ["-2"; 12].join(",");
        assert_eq!(
            of(&with_spreads),
            format!("smooth;spreads={spreads};;PJM.W.*.SETTLEMENT")
        );
    }

    #[test]
    fn a_curve_with_an_unknown_method_or_a_shape_that_is_none_has_no_definition() {
        let method = CurveRow {
            interpolation_method: "spline".to_owned(),
            ..row()
        };
        let eleven = CurveRow {
            seasonal_spreads: vec![1.0; 11],
            ..row()
        };
        let both = CurveRow {
            seasonal_ratios: vec![1.0; 12],
            seasonal_spreads: vec![1.0; 12],
            ..row()
        };
        for refused in [method, eleven, both] {
            assert_eq!(definition(&refused), None, "{refused:?}");
        }
    }
}
