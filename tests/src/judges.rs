//! The two judges: `dp verify`, and the independent oracle.

use anyhow::{Context as _, bail};
use serde_json::Value;
use testkit::check::{self, Comparison, Placement};
use testkit::curves;
use testkit::derived;
use testkit::expect::Expected;
use testkit::kafka;
use testkit::parse::Parser;

use crate::{Pipeline, RAW, root};

/// The result of `dp verify`.
#[derive(Debug, Clone)]
pub struct Verified {
    /// Its exit code.
    pub code: i32,
    /// Its report.
    pub report: Value,
}

impl Verified {
    /// Names of the failed checks.
    pub fn failed(&self) -> Vec<String> {
        let checks = self.report["checks"].as_array().into_iter().flatten();
        checks
            .filter(|check| check["ok"] == false)
            .filter_map(|check| check["name"].as_str().map(str::to_owned))
            .collect()
    }

    /// Every difference that it reports.
    pub fn differences(&self) -> Vec<String> {
        let checks = self.report["checks"].as_array().into_iter().flatten();
        checks
            .flat_map(|check| check["differences"]["named"].as_array().into_iter().flatten())
            .filter_map(|difference| difference.as_str().map(str::to_owned))
            .collect()
    }

    /// Whether one difference contains all of these strings.
    pub fn names(&self, texts: &[&str]) -> bool {
        self.differences()
            .iter()
            .any(|difference| texts.iter().all(|text| difference.contains(text)))
    }
}

/// The oracle's reader of raw messages.
pub(crate) fn parser() -> anyhow::Result<Parser> {
    let schema = std::fs::read_to_string(root().join("schemas/avro/raw_market_tick.avsc"))?;
    Parser::new(&schema, "default")
}

impl Pipeline {
    /// Runs `dp verify`, which waits until no messages are in flight.
    ///
    /// # Errors
    /// If it prints no report, for example because a server is unreachable.
    pub fn verify(&self) -> anyhow::Result<Verified> {
        let output = self
            .dp(&["--json", "verify", "--wait", "120"])
            .output()
            .context("run dp verify")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let report = serde_json::from_str(&text).with_context(|| {
            format!(
                "dp verify printed no report: {text}{}",
                String::from_utf8_lossy(&output.stderr)
            )
        })?;
        Ok(Verified {
            code: output.status.code().unwrap_or(-1),
            report,
        })
    }

    /// The expected state, from the oracle's own reading of the raw topic.
    ///
    /// # Errors
    /// If Kafka does not answer.
    pub fn expected(&self) -> anyhow::Result<Expected> {
        let letters = kafka::read_all(&self.bootstrap(), "dlq")?;
        Ok(Expected::of(
            &kafka::read_all(&self.bootstrap(), RAW)?,
            letters,
            &parser()?,
        ))
    }

    /// Compares every store with the expected state.
    ///
    /// # Errors
    /// If a store does not answer.
    pub fn compared_with(&self, expected: &Expected) -> anyhow::Result<Vec<Comparison>> {
        let placement = Placement::read(&self.clickhouse, "enriched_ticks")?;
        let placed = placement.of(expected, &self.times);
        let mut compared = vec![
            check::ticks(&self.clickhouse, "market_ticks", expected)?,
            check::ticks(&self.clickhouse, "enriched_ticks", expected)?,
            check::late(&self.clickhouse, check::LATE, &placed)?,
            check::bars(&self.clickhouse, check::BARS, &placed)?,
            check::postgres(&self.postgres, "", expected)?,
            check::redis(&self.redis, expected)?,
            check::dead_letters(&kafka::read_all(&self.bootstrap(), "dlq")?, expected)?,
        ];
        let of_load = derived::setting(&derived::OF_THE_LOAD);
        if self.stack.config().service_env.get(derived::SETTING) == Some(&of_load) {
            let table = check::DERIVED;
            compared.push(check::derived(
                &self.clickhouse,
                table,
                expected,
                &derived::OF_THE_LOAD,
            )?);
        }
        let interval = curves::INTERVAL_S.to_string();
        if self.stack.config().service_env.get(curves::SETTING) == Some(&interval) {
            let stores = (&self.clickhouse, &self.postgres);
            compared.extend(check::curves(stores, check::CURVES, &placed, &curves::OF_THE_LOAD)?);
        }
        Ok(compared)
    }

    /// Checks that both judges find nothing lost, doubled or wrong; returns the number of ticks.
    ///
    /// # Errors
    /// If one of them finds a difference, with its findings.
    pub fn agree(&self) -> anyhow::Result<usize> {
        let verified = self.verify()?;
        if verified.code != 0 {
            bail!(
                "dp verify: exit code {}, {:?}, {}",
                verified.code,
                verified.differences(),
                verified.report
            );
        }
        let compared = self.compared_with(&self.expected()?)?;
        let wrong: Vec<String> = compared
            .iter()
            .filter(|one| !one.is_ok())
            .map(ToString::to_string)
            .collect();
        if !wrong.is_empty() {
            bail!("the oracle: {}", wrong.join("\n"));
        }
        Ok(compared.first().map_or(0, |ticks| ticks.found))
    }
}
