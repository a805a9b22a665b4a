//! Names of topics, consumer groups and tables, with the suffix of the generation.
//!
//! Invariant: all names after the raw topics have the suffix, so that two generations can run in parallel. Raw topics and
//! `dlq` never have it.

use crate::settings::{Environment, Settings};

/// Dead letters of every stage and generation.
pub const DLQ: &str = "dlq";

/// Base names of the topics that stages write.
const WRITTEN: [&str; 10] = [
    "normalized.market.ticks.v1",
    "enriched.market.ticks.v1",
    "aggregation.bars.v1",
    "aggregation.curves.v1",
    "aggregation.derived.v1",
    "aggregation.late.v1",
    "aggregation.legs.v1",
    "aggregation.state.v1",
    "projection.invalidation.v1",
    "pipeline.control.v1",
];

/// The stages that an operator can pause, in the order of the pipeline: a service, or a part of it that has a consumer group of
/// its own. [`Names::group_of`] is that group.
pub const STAGES: [&str; 12] = [
    "normalization",
    "normalization-clickhouse",
    "enrichment",
    "enrichment-clickhouse",
    "aggregation",
    "aggregation-restate",
    "aggregation-derived",
    "aggregation-curves",
    "aggregation-clickhouse",
    "projection",
    "projection-served",
    "projection-invalidation",
];

/// The service of a stage.
pub fn service_of(stage: &str) -> &str {
    stage.split_once('-').map_or(stage, |(service, _)| service)
}

/// Whether the pipeline writes this topic, in any generation.
pub(crate) fn is_internal(topic: &str) -> bool {
    let is_of = |base: &str| {
        let rest = topic.strip_prefix(base);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    topic == DLQ || WRITTEN.into_iter().any(is_of)
}

/// The names in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Names {
    pub raw: Vec<String>,
    pub normalized: String,
    pub enriched: String,
    pub bars: String,
    pub curves: String,
    pub derived: String,
    pub late: String,
    pub legs: String,
    pub state: String,
    pub invalidation: String,
    pub control: String,
    pub dlq: String,
    environment: Environment,
    generation: String,
}

impl Names {
    /// The names for these settings.
    pub fn new(settings: &Settings) -> Names {
        let generation = settings.generation.clone();
        let [
            normalized,
            enriched,
            bars,
            curves,
            derived,
            late,
            legs,
            state,
            invalidation,
            control,
        ] = WRITTEN.map(|base| suffixed(base, '-', &generation));
        Names {
            raw: settings.raw_topics.clone(),
            normalized,
            enriched,
            bars,
            curves,
            derived,
            late,
            legs,
            state,
            invalidation,
            control,
            dlq: DLQ.to_owned(),
            environment: settings.environment,
            generation,
        }
    }

    /// Whether the pipeline reads or writes this topic, in any generation, or Kafka keeps it for itself.
    pub fn owns(&self, topic: &str) -> bool {
        is_internal(topic) || topic.starts_with("__") || self.raw.iter().any(|raw| raw == topic)
    }

    /// The raw topic of this name, or without a name the first one; `raw` stands for the first one too.
    ///
    /// # Errors
    /// It is none of the raw topics: a message there would be lost, or corrupt an output of the pipeline.
    pub fn raw_topic(&self, name: Option<&str>) -> Result<&str, String> {
        let found = match name {
            None | Some("raw") => self.raw.first(),
            Some(name) => self.raw.iter().find(|raw| *raw == name),
        };
        found.map(String::as_str).ok_or_else(|| {
            format!(
                "{} is not a raw topic: use one of {} (DATA_PROC_RAW_TOPICS)",
                name.unwrap_or_default(),
                self.raw.join(", ")
            )
        })
    }

    /// Consumer group of a service: `normalization-local`, `normalization-local-g2`.
    pub fn group(&self, service: &str) -> String {
        suffixed(&format!("{service}-{}", self.environment.name()), '-', &self.generation)
    }

    /// Consumer group of a service's ClickHouse writer: `normalization-local-clickhouse`.
    pub fn writer_group(&self, service: &str) -> String {
        suffixed(
            &format!("{service}-{}-clickhouse", self.environment.name()),
            '-',
            &self.generation,
        )
    }

    /// Consumer group of the second stage of a service: `aggregation-local-restate`.
    pub fn restate_group(&self, service: &str) -> String {
        suffixed(
            &format!("{service}-{}-restate", self.environment.name()),
            '-',
            &self.generation,
        )
    }

    /// Consumer group of the stage of a service that computes derived prices: `aggregation-local-derived`.
    pub fn derived_group(&self, service: &str) -> String {
        suffixed(
            &format!("{service}-{}-derived", self.environment.name()),
            '-',
            &self.generation,
        )
    }

    /// Consumer group of the stage of a service that serves the newest curve snapshots and derived prices: `projection-local-served`.
    pub fn served_group(&self, service: &str) -> String {
        suffixed(
            &format!("{service}-{}-served", self.environment.name()),
            '-',
            &self.generation,
        )
    }

    /// Consumer group of the stage of a service that computes curves: `aggregation-local-curves`.
    pub fn curves_group(&self, service: &str) -> String {
        suffixed(
            &format!("{service}-{}-curves", self.environment.name()),
            '-',
            &self.generation,
        )
    }

    /// Consumer group of projection's third stage, which carries out invalidations: `projection-local-invalidation`. A request
    /// may be carried out again, so it has no position to protect, and [`Names::groups`] leaves it out.
    pub fn invalidation_group(&self, service: &str) -> String {
        suffixed(
            &format!("{service}-{}-invalidation", self.environment.name()),
            '-',
            &self.generation,
        )
    }

    /// Consumer group of a stage: `enrichment-local` of `enrichment`, `enrichment-local-clickhouse` of `enrichment-clickhouse`.
    pub fn group_of(&self, stage: &str) -> String {
        let (service, part) = stage.split_once('-').unwrap_or((stage, ""));
        let group = format!("{service}-{}", self.environment.name());
        suffixed(&suffixed(&group, '-', part), '-', &self.generation)
    }

    /// The stage of a consumer group; `None` if it is none of [`STAGES`].
    pub fn stage_of(&self, group: &str) -> Option<&'static str> {
        STAGES.into_iter().find(|stage| self.group_of(stage) == group)
    }

    /// Every group of the pipeline whose position decides what is stored, with the topics that it reads.
    pub fn groups(&self) -> Vec<(String, Vec<String>)> {
        let one = |topic: &String| vec![topic.clone()];
        vec![
            (self.group("normalization"), self.raw.clone()),
            (self.writer_group("normalization"), one(&self.normalized)),
            (self.group("enrichment"), one(&self.normalized)),
            (self.writer_group("enrichment"), one(&self.enriched)),
            (self.group("aggregation"), one(&self.enriched)),
            (
                self.writer_group("aggregation"),
                vec![
                    self.bars.clone(),
                    self.late.clone(),
                    self.derived.clone(),
                    self.curves.clone(),
                ],
            ),
            (self.restate_group("aggregation"), one(&self.late)),
            (self.derived_group("aggregation"), one(&self.legs)),
            (self.curves_group("aggregation"), one(&self.legs)),
            (self.group("projection"), one(&self.enriched)),
            (
                self.served_group("projection"),
                vec![self.curves.clone(), self.derived.clone()],
            ),
        ]
    }

    /// The groups of stages that a setting may switch off, each with a group of the same service whose stage always runs.
    pub fn optional_groups(&self) -> Vec<(String, String)> {
        vec![(self.derived_group("aggregation"), self.curves_group("aggregation"))]
    }

    /// ClickHouse table: `market_ticks`, `market_ticks_g2`.
    pub fn table(&self, base: &str) -> String {
        suffixed(base, '_', &self.generation)
    }

    /// The suffix that [`Names::table`] appends: empty, or `_g2`.
    pub fn table_suffix(&self) -> String {
        suffixed("", '_', &self.generation)
    }

    /// The generation, empty for the first.
    pub fn generation(&self) -> &str {
        &self.generation
    }

    /// Topics that every service needs: it checks the ids of the raw ones and compares the partitions of the others, and its
    /// dead letters must have a place.
    pub fn needed_topics(&self) -> Vec<String> {
        let others = self.aligned_topics().into_iter().chain([self.dlq.as_str()]);
        self.raw
            .iter()
            .map(String::as_str)
            .chain(others)
            .map(str::to_owned)
            .collect()
    }

    /// Topics of this generation whose offsets the stores keep beside rows.
    pub fn stored_topics(&self) -> [&str; 7] {
        let [normalized, enriched, bars, late, state] = self.aligned_topics();
        [normalized, enriched, bars, late, state, &self.derived, &self.curves]
    }

    /// Topics that are written with the partition number of the input: their partition counts must agree (INV-4).
    pub fn aligned_topics(&self) -> [&str; 5] {
        [&self.normalized, &self.enriched, &self.bars, &self.late, &self.state]
    }
}

fn suffixed(base: &str, separator: char, generation: &str) -> String {
    if generation.is_empty() {
        base.to_owned()
    } else {
        format!("{base}{separator}{generation}")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::settings::{Env, load};

    fn names(generation: &str) -> Names {
        let env = Env::from([("DATA_PROC_GENERATION".to_owned(), generation.to_owned())]);
        Names::new(&load(&env, 8080, |_| ()).unwrap().settings)
    }

    #[test]
    fn the_first_generation_has_the_public_names() {
        let names = names("");
        assert_eq!(names.normalized, "normalized.market.ticks.v1");
        assert_eq!(names.group("normalization"), "normalization-local");
        assert_eq!(names.writer_group("normalization"), "normalization-local-clickhouse");
        assert_eq!(names.restate_group("aggregation"), "aggregation-local-restate");
        assert_eq!(names.derived_group("aggregation"), "aggregation-local-derived");
        assert_eq!(names.served_group("projection"), "projection-local-served");
        assert_eq!(names.curves_group("aggregation"), "aggregation-local-curves");
        assert_eq!(names.invalidation_group("projection"), "projection-local-invalidation");
        assert_eq!(names.table("market_ticks"), "market_ticks");
        assert_eq!(names.table_suffix(), "");
    }

    #[test]
    fn every_group_is_that_of_one_stage() {
        for names in [names(""), names("g2")] {
            let groups = names.groups().into_iter().map(|(group, _)| group);
            let mut groups: Vec<String> = groups.chain([names.invalidation_group("projection")]).collect();
            for group in &groups {
                let stage = names.stage_of(group).unwrap();
                assert_eq!(names.group_of(stage), *group);
                assert!(group.starts_with(service_of(stage)), "{group} {stage}");
            }
            groups.sort();
            groups.dedup();
            assert_eq!(groups.len(), STAGES.len());
        }
        assert_eq!(
            names("").stage_of("enrichment-local-clickhouse"),
            Some("enrichment-clickhouse")
        );
        assert_eq!(names("").stage_of("enrichment-local-g2"), None);
    }

    #[test]
    fn health_looks_for_every_topic_without_which_the_service_stops() {
        let needed = names("g2").needed_topics();
        for name in ["ingestion.market.raw.v1", "enriched.market.ticks.v1-g2", "dlq"] {
            assert!(needed.iter().any(|topic| topic == name), "{name}: {needed:?}");
        }
    }

    #[test]
    fn a_later_generation_shares_only_raw_topics_and_dead_letters() {
        let (first, second) = (names(""), names("g2"));
        assert_eq!(second.normalized, "normalized.market.ticks.v1-g2");
        assert_eq!(second.group("normalization"), "normalization-local-g2");
        assert_eq!(
            second.writer_group("normalization"),
            "normalization-local-clickhouse-g2"
        );
        assert_eq!(second.table("market_ticks"), "market_ticks_g2");
        assert_eq!((&first.raw, &first.dlq), (&second.raw, &second.dlq));
        for (one, other) in first.aligned_topics().iter().zip(second.aligned_topics()) {
            assert_ne!(*one, other);
        }
    }

    #[test]
    fn only_raw_topics_are_for_producers() {
        let names = names("g2");
        assert_eq!(names.raw_topic(None), Ok("ingestion.market.raw.v1"));
        assert_eq!(names.raw_topic(Some("raw")), names.raw_topic(None));
        for topic in ["dlq", "normalized.market.ticks.v1-g2", "other"] {
            let refused = names.raw_topic(Some(topic)).unwrap_err();
            assert!(
                refused.contains(topic) && refused.contains("ingestion.market.raw.v1"),
                "{refused}"
            );
        }
        for topic in [
            "dlq",
            "aggregation.state.v1",
            "aggregation.bars.v1-g2",
            "pipeline.control.v1",
        ] {
            assert!(is_internal(topic), "{topic}");
        }
        assert!(!is_internal("ingestion.market.raw.v1") && !is_internal("dlq2"));
        for topic in [
            "ingestion.market.raw.v1",
            "dlq",
            "aggregation.bars.v1",
            "__consumer_offsets",
        ] {
            assert!(names.owns(topic), "{topic}");
        }
        assert!(!names.owns("test-topic"));
    }
}
