//! Compares each ClickHouse table with the raw log and with its source topic (INV-5, INV-6), as its row in `comparisons` says.

use std::sync::Arc;

use anyhow::Context as _;
use codec::Wire;
use service::Names;
use service::writer::TableSpec;
use service::writer::tables::ENRICHED_TICKS;
use stores::ClickHouse;
use stream::StreamError;

use super::bars_sql::Expired;
use super::blocks::{self, BlockKey, Blocks, Hashed, Row};
use super::canonical::{Column, RawText, SourceText};
use super::comparisons::comparison::{Basis, Compare, Comparison};
use super::cut::Cut;
use super::depth::Depth;
use super::gaps::{Gaps, Hole};
use super::logs::{RawExpectation, RawLog, SourceLog};
use super::ranges::{self, Range};
use super::report::{Check, Differences, Subject, VerifyReport};
use super::tables::{self, Place, Table};
use super::versions::Versions;
use ops::connection::Connection;
use ops::threads::reading;

/// The checks of the tables.
pub(crate) struct TableChecks<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) clickhouse: &'a ClickHouse,
    pub(crate) gaps: &'a Gaps,
    pub(crate) cut: &'a Cut,
    pub(crate) depth: Depth,
}

/// Passes (tick id, text) of the rows that the log requires in these blocks.
type InLog = dyn Fn(&[BlockKey], &mut dyn FnMut(&str, &str)) -> Result<(), StreamError> + Send + Sync;

/// Largest number of rows of a table whose differences are counted without looking at them one by one. A row needs 32 bytes.
const COUNTED: u64 = 2_000_000;

impl TableChecks<'_> {
    fn names(&self) -> &Names {
        &self.connection.names
    }

    fn source_topic(&self, table: &TableSpec) -> &String {
        (table.topic)(self.names())
    }

    /// Every check of a table.
    pub(super) async fn all_of(
        &self,
        comparison: &Comparison,
        raw: &Arc<RawLog>,
        expected: &RawExpectation,
        report: &mut VerifyReport,
    ) -> anyhow::Result<()> {
        let table = comparison.table;
        if let Some(text) = comparison.raw_text() {
            self.by_raw_log(table, text, (raw, expected), report).await?;
        }
        match comparison.basis {
            Basis::Tick(text) | Basis::Record(text) => self.by_source(table, text, report).await,
            Basis::ManyTicks(compare) => self.by_ticks(table, compare, report).await,
        }
    }

    /// Compares origins and contents of a tick table with the raw log.
    async fn by_raw_log(
        &self,
        spec: &'static TableSpec,
        text: RawText,
        (raw, expected): (&Arc<RawLog>, &RawExpectation),
        report: &mut VerifyReport,
    ) -> anyhow::Result<()> {
        let base = spec.name;
        let name = self.names().table(base);
        let (holes, columns) = (self.holes(spec).await?, text.columns());
        let table = Table {
            holes: &holes,
            ..self.table(spec, &name, &columns, (Place::Raw, &raw.ranges)).await?
        };
        let found = table.blocks().await?;
        let mut expected = expected.blocks.get(base).cloned().unwrap_or_default();
        if !holes.is_empty() {
            let (log, text, holes) = (Arc::clone(raw), text.clone(), holes.clone());
            expected = reading(move || log.outside(&text, &holes))
                .await
                .context("read the raw log")?;
        }
        let (log, in_holes) = (Arc::clone(raw), holes.clone());
        let in_log: Arc<InLog> = Arc::new(move |blocks, show| log.each_in(&text, blocks, &in_holes, show));
        let differences = self.compare(&table, &expected, &found, in_log).await?;
        let title = format!("{name}: ticks match the raw log");
        let check = Check::new(title, expected.rows(), found.rows(), differences);
        report.checks.push(check.about(Subject::RawRows(base)));
        let outside = table.outside(async || self.ranges(&self.names().raw).await).await?;
        let title = format!("{name}: rows without a raw message");
        let check = Check::new(title, 0, outside.total, outside);
        report.checks.push(check.about(Subject::Positions(base)));
        Ok(())
    }

    /// Compares a table with its source topic: source offsets, and values that are only in the records.
    async fn by_source(
        &self,
        spec: &'static TableSpec,
        text: SourceText,
        report: &mut VerifyReport,
    ) -> anyhow::Result<()> {
        let name = self.names().table(spec.name);
        let topic = self.source_topic(spec);
        let columns = text.columns();
        let log = self.source_log(spec, text).await?;
        let ranges = log.ranges.clone();
        let table = self.table(spec, &name, &columns, (Place::Source, &ranges)).await?;
        let (log, (expected, foreign)) = reading(move || {
            let expected = log.expect()?;
            Ok((log, expected))
        })
        .await
        .with_context(|| format!("read {topic}"))?;
        let found = table.blocks().await?;
        let in_log: Arc<InLog> =
            Arc::new(move |blocks, show| log.each_in(blocks, &mut |_, _, id, text| show(id, text)));
        let differences = self.compare(&table, &expected, &found, in_log).await?;
        let title = format!("{name}: rows match the records of {topic}");
        let check = Check::new(title, expected.rows(), found.rows(), differences);
        report.checks.push(check.about(Subject::SourceRows(spec.name)));
        report.checks.push(Check::new(
            format!("{topic}: records that are unreadable or have no raw message"),
            0,
            foreign,
            Differences::counted(foreign),
        ));
        self.positions(spec, &table, report).await
    }

    /// The current ranges of these topics.
    async fn ranges(&self, topics: &[String]) -> anyhow::Result<Vec<Range>> {
        let (bootstrap, topics) = (self.connection.settings.kafka_bootstrap.clone(), topics.to_vec());
        reading(move || ranges::ranges(&bootstrap, &topics)).await
    }

    /// The source topic of a table as far as it is compared now.
    pub(crate) async fn source_log(&self, spec: &'static TableSpec, text: SourceText) -> anyhow::Result<SourceLog> {
        let name = self.names().table(spec.name);
        let bootstrap = self.connection.settings.kafka_bootstrap.clone();
        let wire: Wire = self.connection.wire().await?;
        let topics = vec![self.source_topic(spec).clone()];
        let asked = (bootstrap.clone(), topics, self.names().raw.clone());
        // The raw topics come last, so that their ends cover every tick that is read below.
        let (mut ranges, raw) =
            reading(move || Ok((ranges::ranges(&asked.0, &asked.1)?, ranges::ranges(&asked.0, &asked.2)?))).await?;
        self.cut.shorten(&mut ranges);
        self.gaps
            .leave_out(&self.names().writer_group(spec.service), &mut ranges);
        let accepted_before = self
            .table(spec, &name, &[], (Place::Source, &ranges))
            .await?
            .accepted_before()
            .await?;
        Ok(SourceLog {
            bootstrap,
            wire,
            record: spec.record,
            text,
            ranges,
            accepted_before,
            raw_ends: raw.iter().map(|range| (range.partition(), range.end)).collect(),
        })
    }

    /// Ticks that accepted gaps have kept from a table, as ranges of origins.
    /// The gap may be of the table's writer, or of its service, which reads the ticks of the table before.
    async fn holes(&self, spec: &'static TableSpec) -> anyhow::Result<Vec<Hole>> {
        let names = self.names();
        let passed_by = |group: String, of: &TableSpec| (group, (of.topic)(names).clone(), names.table(of.name));
        let mut passed: Vec<(String, String, String)> = Vec::new();
        for &before in spec.made_of {
            passed.push(passed_by(names.group(spec.service), before));
        }
        passed.push(passed_by(names.writer_group(spec.service), spec));
        self.gaps.holes(self.clickhouse, &passed).await
    }

    /// Compares a table of versions with the ticks that they follow from, and checks their source offsets.
    async fn by_ticks(
        &self,
        spec: &'static TableSpec,
        compare: Compare,
        report: &mut VerifyReport,
    ) -> anyhow::Result<()> {
        let name = self.names().table(spec.name);
        let ranges = self.ranges(std::slice::from_ref(self.source_topic(spec))).await?;
        let table = self.table(spec, &name, &[], (Place::Source, &ranges)).await?;
        self.positions(spec, &table, report).await?;
        let expired = self.expired(&self.names().table(ENRICHED_TICKS.name)).await?;
        let versions = Versions {
            connection: self.connection,
            clickhouse: self.clickhouse,
            gaps: self.gaps,
            cut: self.cut,
            expired: &expired,
            named: self.depth.bars,
            spec,
        };
        let outcome = compare(versions).await?;
        report.checks.extend(outcome.checks);
        report.notes.extend(outcome.notes);
        Ok(())
    }

    /// Partitions that have expired rows. A partition counts only if retention has cut its log too: while the log has the
    /// record, a row is missing, not expired.
    async fn expired(&self, table: &str) -> anyhow::Result<Vec<Expired>> {
        let ranges = self.ranges(std::slice::from_ref(&self.names().enriched)).await?;
        let mut expired = tables::expired(self.clickhouse, table).await?;
        expired.retain(|one| {
            let cut = ranges.iter().find(|range| range.lane.partition == one.partition);
            one.first_offset > 0 && cut.is_some_and(|range| range.is_cut)
        });
        Ok(expired)
    }

    /// The differences between two sides: compares blocks, then the rows of differing blocks. Of the first blocks they are named, of the
    /// others only counted.
    async fn compare(
        &self,
        table: &Table<'_>,
        expected: &Blocks,
        found: &Blocks,
        in_log: Arc<InLog>,
    ) -> anyhow::Result<Differences> {
        let mut differing = expected.differing(found);
        let mut differences = Differences {
            blocks: differing.clone(),
            ..Differences::default()
        };
        if differing.is_empty() {
            return Ok(differences);
        }
        let rest = differing.split_off(differing.len().min(self.depth.blocks));
        let in_table = table.rows(&differing).await?;
        let read = Arc::clone(&in_log);
        let wanted = reading(move || {
            let mut rows = Vec::new();
            read(&differing, &mut |id, text| {
                rows.push(Row {
                    id: id.to_owned(),
                    text: text.to_owned(),
                });
            })?;
            Ok(rows)
        })
        .await?;
        differences.extend(blocks::compare_rows(table.columns, &wanted, &in_table));
        let (counted, estimated) = blocks::divided(rest, expected, found, COUNTED);
        if !counted.is_empty() {
            let in_table = table.hashed(&counted).await?;
            let wanted = reading(move || {
                let mut rows = Vec::new();
                in_log(&counted, &mut |id, text| rows.push(Hashed::of(id, text)))?;
                Ok(rows)
            })
            .await?;
            differences.total += blocks::count_differences(wanted, in_table);
        }
        differences.at_least = !estimated.is_empty();
        differences.total += blocks::at_least(&estimated, expected, found);
        Ok(differences)
    }

    async fn table<'t>(
        &'t self,
        spec: &'static TableSpec,
        name: &'t str,
        columns: &'t [Column],
        (place, ranges): (Place, &'t [Range]),
    ) -> anyhow::Result<Table<'t>> {
        let parts = tables::parts(tables::count(self.clickhouse, name).await?);
        Ok(Table {
            clickhouse: self.clickhouse,
            spec,
            name,
            columns,
            place,
            ranges,
            holes: &[],
            parts,
        })
    }

    /// Checks that no source offset has two rows, and that none is beyond the end of the topic.
    async fn positions(
        &self,
        spec: &'static TableSpec,
        table: &Table<'_>,
        report: &mut VerifyReport,
    ) -> anyhow::Result<()> {
        let doubled = table.doubled().await?;
        let title = format!("{}: source offsets with more than one row", table.name);
        let check = Check::new(title, 0, doubled.total, doubled);
        report.checks.push(check.about(Subject::Positions(spec.name)));
        let topic = std::slice::from_ref(self.source_topic(spec));
        let outside = table.outside(async || self.ranges(topic).await).await?;
        let title = format!("{}: rows beyond the end of the topic", table.name);
        let check = Check::new(title, 0, outside.total, outside);
        report.checks.push(check.about(Subject::Positions(spec.name)));
        Ok(())
    }
}
