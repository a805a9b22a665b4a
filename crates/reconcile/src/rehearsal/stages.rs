//! The stages of the pipeline under their settings.

use enrichment::core::taxonomy::RuleBook;
use markets::{MarketDescription, NormalizerConfig, describe};
use service::{Env, Reader};

use crate::products::Products;

/// The stages under their settings.
pub struct Stages {
    /// Normalization's parser.
    pub(super) normalizer: NormalizerConfig,
    /// The guesses of an enrichment without reference data.
    pub(super) guesses: RuleBook,
    /// Confidence below it is flagged, in hundredths.
    pub(super) threshold_percent: i32,
    /// The windows of aggregation.
    pub(super) products: Products,
    /// The markets, for their time zones.
    pub(super) markets: Vec<MarketDescription>,
    /// Partitions of the topics after the raw ones.
    pub(super) partitions: i32,
}

impl Stages {
    /// Reads the settings of all stages. `tenant_id` is that of documents without a tenant.
    ///
    /// # Errors
    /// A variable cannot be read.
    pub fn read(env: &Env, tenant_id: &str, partitions: i32) -> anyhow::Result<Stages> {
        let mut reader = Reader::new(env);
        let normalization = normalization::config::read(&mut reader);
        let products = Products::read(&mut reader);
        let enrichment = enrichment::config::read(&mut reader);
        reader.finish()?;
        // Not the frames of a schema registry: it is a server.
        let normalizer = normalization.normalizer(tenant_id, codec::Wire::single_object());
        Ok(Stages {
            guesses: RuleBook::default(),
            threshold_percent: enrichment.threshold_percent,
            products,
            markets: describe(&normalizer.venues),
            partitions,
            normalizer,
        })
    }
}
