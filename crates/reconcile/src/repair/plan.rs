//! What a repair writes where, decided from what a comparison has found. Pure.
//!
//! Invariants: only rows that the log still has are written. Bars, derived prices, snapshots of curves and latest prices follow from ticks:
//! while a table of ticks lacks rows that can be written again, they are left, and compared again afterwards. Copies in Redis follow from
//! PostgreSQL. While messages that are compared are in flight, only missing rows are written, and nothing is called wrong: it may be right soon.
//! What is not repaired is named with the reason.

use serde::Serialize;

use super::findings::{Findings, OfTable, OfVersions};
use crate::verify::blocks::BlockKey;
use crate::verify::by_name::COPIES_CURE;
use crate::verify::merged::CURE;
use crate::verify::{Subject, Wrong, WrongRow};

/// The stores that are reported and repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Stores {
    pub clickhouse: bool,
    pub postgres: bool,
    pub redis: bool,
}

impl Stores {
    /// All.
    pub const ALL: Stores = Stores {
        clickhouse: true,
        postgres: true,
        redis: true,
    };

    /// Whether the subject of a check belongs to one of them. The log belongs to all.
    pub fn contain(self, subject: Subject) -> bool {
        match subject {
            Subject::Log => true,
            Subject::RawRows(_)
            | Subject::SourceRows(_)
            | Subject::Positions(_)
            | Subject::Versions(_)
            | Subject::View => self.clickhouse,
            Subject::Postgres | Subject::Newest(_) => self.postgres,
            Subject::Redis | Subject::NewestCopies => self.redis,
        }
    }
}

/// The order of the steps: the later ones follow from what the earlier ones write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Rows of ticks.
    Ticks,
    /// Rows with versions and latest prices, which follow from ticks.
    Results,
    /// Copies of prices.
    Copies,
}

/// One thing to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The rows of these blocks of the table's topic that the table lacks.
    Rows {
        /// The table without the suffix of a generation.
        table: &'static str,
        /// Blocks of offsets.
        blocks: Vec<BlockKey>,
        /// Missing rows that are known one by one.
        rows: u64,
    },
    /// The versions of these rows that their table lacks.
    Versions {
        /// The table without the suffix of a generation.
        table: &'static str,
        /// The rows.
        rows: Vec<WrongRow>,
    },
    /// Latest prices in PostgreSQL.
    Prices(Vec<WrongRow>),
    /// Copies in Redis.
    Copies {
        /// Tenant and instrument of copies that are missing.
        refresh: Vec<(String, String)>,
        /// Copies that are dropped first: tenant and instrument, or the key.
        replace: Vec<Vec<String>>,
    },
}

impl Step {
    /// When it runs.
    pub fn stage(&self) -> Stage {
        match self {
            Step::Rows { .. } => Stage::Ticks,
            Step::Versions { .. } | Step::Prices(_) => Stage::Results,
            Step::Copies { .. } => Stage::Copies,
        }
    }
}

/// A wrong row that is not repaired.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Left {
    /// Table or store.
    pub place: String,
    /// The row, and what is wrong with it.
    pub row: String,
    /// Why, and what to do.
    pub why: String,
}

/// The decision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// What is written.
    pub steps: Vec<Step>,
    /// What is not.
    pub left: Vec<Left>,
}

const CHANGED_TICK: &str = "rows of ticks are never replaced: delete this one (`dp sql --write`), and the next repair writes it as the log has it";
const SURPLUS_TICK: &str = "rows are only added: delete every copy of it (`dp sql --write`); if the log has the row, the next repair writes it once";
const UNDECIDED: &str = "ticks were in flight, so that nothing proves that it is wrong: leave it as it is, and run the command again \
    (--wait; `dp health` shows what falls behind)";
const FOLLOWS: &str = "it follows from ticks that a table lacks: it is compared again once they are written (--store all, without --from and --to)";
const PRICE_IN_FLIGHT: &str = "ticks were in flight, so that nothing proves that it is wrong: run the command again \
    (--wait), or `dp projection rebuild latest_price --full`, which does not wait";
const COPY_IN_FLIGHT: &str = "ticks were in flight, so that nothing proves that it is wrong: run the command again \
    (--wait), or `dp cache refresh`, which does not wait";
const COPY_FOLLOWS: &str = "it is a copy of PostgreSQL, where the price is wrong, too: repair that first (--store all)";

/// Decides what is repaired.
pub fn plan(findings: &Findings, stores: Stores) -> Plan {
    let mut plan = Plan::default();
    if stores.clickhouse {
        for (table, of) in &findings.tables {
            plan.ticks(table, of, findings.in_flight);
        }
        for (table, of) in &findings.versions {
            plan.versions(table, of, (findings.waits(table), findings.in_flight));
        }
    }
    if stores.postgres {
        plan.prices(findings);
    }
    if stores.redis {
        plan.copies(findings);
    }
    for other in findings.others.iter().filter(|other| stores.contain(other.subject)) {
        let why = match other.subject {
            Subject::Log => "a repair writes to stores, never to the log",
            Subject::View => CURE,
            _ if findings.in_flight => UNDECIDED,
            Subject::Newest(kind) => kind.cure(),
            Subject::NewestCopies => COPIES_CURE,
            _ => SURPLUS_TICK,
        };
        plan.left.extend(other.named.iter().map(|row| Left {
            place: other.check.clone(),
            row: row.clone(),
            why: why.to_owned(),
        }));
        if other.named.is_empty() {
            plan.leave(&other.check, &format!("{} difference(s)", other.total.max(1)), why);
        }
    }
    plan
}

impl Plan {
    fn leave(&mut self, place: &str, row: &str, why: &str) {
        self.left.push(Left {
            place: place.to_owned(),
            row: row.to_owned(),
            why: why.to_owned(),
        });
    }

    fn ticks(&mut self, table: &'static str, of: &OfTable, in_flight: bool) {
        let missing = of.repairable().count() as u64;
        if missing > 0 || of.unseen > 0 {
            self.steps.push(Step::Rows {
                table,
                blocks: of.blocks.clone(),
                rows: missing,
            });
        }
        for row in of.all() {
            let is_in_topic = || of.repairable().any(|known| known.key == row.key);
            match row.wrong {
                Wrong::Missing if is_in_topic() || of.unseen > 0 => {}
                _ if in_flight => self.leave(table, &row.text, UNDECIDED),
                Wrong::Missing => self.leave(
                    table,
                    &row.text,
                    "the topic of the table no longer holds its record, or never did (`dp trace` follows a message)",
                ),
                Wrong::Different => self.leave(table, &row.text, CHANGED_TICK),
                Wrong::Surplus => self.leave(table, &row.text, SURPLUS_TICK),
            }
        }
    }

    fn versions(&mut self, table: &'static str, of: &OfVersions, (waits, in_flight): (bool, bool)) {
        let mut rows = Vec::new();
        for row in &of.rows {
            match row.wrong {
                _ if waits => self.leave(table, &row.text, FOLLOWS),
                Wrong::Different | Wrong::Surplus if in_flight => self.leave(table, &row.text, UNDECIDED),
                // A row that nothing explains may have a newer version in the log.
                _ => rows.push(row.clone()),
            }
        }
        if !rows.is_empty() {
            self.steps.push(Step::Versions { table, rows });
        }
        if of.unseen > 0 {
            let more = format!("{} more rows", of.unseen);
            self.leave(table, &more, "they were not looked at one by one: run the repair again");
        }
    }

    fn prices(&mut self, findings: &Findings) {
        if findings.postgres.is_empty() {
            return;
        }
        let why = match (findings.prices_wait(), findings.in_flight) {
            (true, _) => FOLLOWS,
            (false, true) => PRICE_IN_FLIGHT,
            (false, false) => {
                self.steps.push(Step::Prices(findings.postgres.clone()));
                return;
            }
        };
        for row in &findings.postgres {
            self.leave("PostgreSQL", &row.text, why);
        }
    }

    fn copies(&mut self, findings: &Findings) {
        let (mut refresh, mut replace) = (Vec::new(), Vec::new());
        for row in &findings.redis {
            let is_wrong_there = || findings.postgres.iter().any(|price| price.key == row.key);
            match (row.wrong, row.key.as_slice()) {
                _ if findings.prices_wait() => self.leave("Redis", &row.text, FOLLOWS),
                _ if findings.in_flight => self.leave("Redis", &row.text, COPY_IN_FLIGHT),
                _ if is_wrong_there() => self.leave("Redis", &row.text, COPY_FOLLOWS),
                (Wrong::Missing, [tenant, instrument]) => refresh.push((tenant.clone(), instrument.clone())),
                _ => replace.push(row.key.clone()),
            }
        }
        if !refresh.is_empty() || !replace.is_empty() {
            self.steps.push(Step::Copies { refresh, replace });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use service::writer::tables::{ENRICHED_TICKS, MARKET_TICKS};

    use super::super::findings::Other;
    use super::super::findings::tests::row;
    use super::*;
    use crate::verify::blocks::Lane;
    use crate::verify::by_name::Kind;

    const TICK: &str = "raw/0/1/0";

    fn block() -> BlockKey {
        BlockKey {
            lane: Lane {
                topic: "t".into(),
                partition: 0,
            },
            number: 3,
        }
    }

    fn table(by_raw_log: Vec<WrongRow>, by_topic: Vec<WrongRow>, unseen: u64) -> OfTable {
        OfTable {
            by_raw_log,
            by_topic,
            blocks: vec![block()],
            unseen,
            at_least: false,
        }
    }

    fn of_table(name: &'static str, table: OfTable) -> Findings {
        let lacking = table.repairable().next().map(|_| name).into_iter().collect();
        Findings {
            lacking,
            tables: [(name, table)].into(),
            ..Findings::default()
        }
    }

    fn versions(table: &'static str, rows: Vec<WrongRow>) -> BTreeMap<&'static str, OfVersions> {
        [(table, OfVersions { rows, unseen: 0 })].into()
    }

    #[test]
    fn while_ticks_are_in_flight_nothing_is_named_for_deletion() {
        let wrong = |wrong| row(wrong, &["raw/0/1/0"], TICK);
        let rows = || vec![wrong(Wrong::Different), wrong(Wrong::Surplus)];
        let other = Other {
            subject: Subject::Positions("market_ticks"),
            check: "rows beyond the end of the topic".to_owned(),
            total: 1,
            named: vec!["raw/0/1/0".to_owned()],
        };
        let mut findings = Findings {
            tables: [("market_ticks", table(rows(), Vec::new(), 0))].into(),
            versions: versions("bars", rows()),
            others: vec![other],
            in_flight: true,
            ..Findings::default()
        };
        let found = plan(&findings, Stores::ALL);
        assert!(found.steps.is_empty());
        assert_eq!(found.left.len(), 5);
        assert!(found.left.iter().all(|left| left.why == UNDECIDED), "{:?}", found.left);
        findings.in_flight = false;
        let found = plan(&findings, Stores::ALL);
        assert!(found.left.iter().any(|left| left.why == SURPLUS_TICK));
        assert_eq!(found.steps.len(), 1);
    }

    #[test]
    fn derived_prices_wait_for_bids_and_asks_too() {
        let rows = || {
            let wrong = |wrong, year| row(wrong, &["t", "s", year], TICK);
            vec![wrong(Wrong::Missing, "2026"), wrong(Wrong::Surplus, "2027")]
        };
        let mut findings = Findings {
            versions: [versions("derived_prices", rows()), versions("curve_snapshots", rows())]
                .into_iter()
                .flatten()
                .collect(),
            lacking: [MARKET_TICKS.name].into(),
            ..Findings::default()
        };
        let step = |table| Step::Versions { table, rows: rows() };
        let first = plan(&findings, Stores::ALL);
        assert_eq!(first.steps, [step("curve_snapshots")]);
        let left = first
            .left
            .iter()
            .filter(|left| left.place == "derived_prices" && left.why == FOLLOWS);
        assert_eq!((left.count(), first.left.len()), (2, 2));

        findings.lacking.clear();
        let second = plan(&findings, Stores::ALL);
        let both = vec![step("curve_snapshots"), step("derived_prices")];
        assert_eq!((second.steps, second.left), (both, Vec::new()));
    }

    #[test]
    fn a_missing_row_is_written_if_its_topic_has_the_record_and_named_if_not() {
        let missing = |tick: &str| row(Wrong::Missing, &[tick], tick);
        let found = table(vec![missing(TICK), missing("raw/0/2/0")], vec![missing(TICK)], 0);
        let plan = plan(&of_table("market_ticks", found), Stores::ALL);
        let expected = Step::Rows {
            table: "market_ticks",
            blocks: vec![block()],
            rows: 1,
        };
        assert_eq!(plan.steps, [expected]);
        assert!(
            matches!(&plan.left[..], [left] if left.row.starts_with("raw/0/2/0") && left.why.contains("no longer holds")),
            "{:?}",
            plan.left
        );
    }

    #[test]
    fn changed_and_surplus_rows_are_named_and_nothing_is_written_for_them() {
        let found = table(
            vec![row(Wrong::Different, &[TICK], TICK)],
            vec![row(Wrong::Surplus, &["raw/0/5/0"], "raw/0/5/0")],
            0,
        );
        let plan = plan(&of_table("market_ticks", found), Stores::ALL);
        assert!(plan.steps.is_empty(), "{:?}", plan.steps);
        assert_eq!(plan.left.len(), 2);
        assert!(plan.left.iter().all(|left| left.why.contains("dp sql --write")));
    }

    #[test]
    fn blocks_beyond_the_depth_are_repaired_as_a_whole() {
        let plan = plan(&of_table("late_ticks", table(Vec::new(), Vec::new(), 7)), Stores::ALL);
        assert!(
            matches!(&plan.steps[..], [Step::Rows { rows: 0, .. }]),
            "{:?}",
            plan.steps
        );
    }

    #[test]
    fn bars_and_prices_wait_for_the_ticks_that_they_follow_from() {
        let missing = || row(Wrong::Missing, &["t", "i"], TICK);
        let mut findings = Findings {
            versions: versions("bars", vec![row(Wrong::Missing, &["t", "i", "5m", "2026"], TICK)]),
            postgres: vec![missing()],
            redis: vec![missing()],
            ..of_table(
                ENRICHED_TICKS.name,
                table(Vec::new(), vec![row(Wrong::Missing, &[TICK], TICK)], 0),
            )
        };
        let first = plan(&findings, Stores::ALL);
        assert_eq!(first.steps.iter().map(Step::stage).collect::<Vec<_>>(), [Stage::Ticks]);
        assert_eq!(first.left.len(), 3);

        findings.tables.clear();
        findings.lacking.clear();
        let second = plan(&findings, Stores::ALL);
        assert_eq!(
            second.steps.iter().map(Step::stage).collect::<Vec<_>>(),
            [Stage::Results, Stage::Results]
        );
        assert!(
            second.left.iter().all(|left| left.place == "Redis"),
            "{:?}",
            second.left
        );

        findings.in_flight = true;
        let busy = plan(&findings, Stores::ALL);
        assert!(matches!(busy.steps[..], [Step::Versions { .. }]), "{:?}", busy.steps);
        assert!(
            busy.left.iter().all(|left| left.why.contains("in flight")),
            "{:?}",
            busy.left
        );

        findings.in_flight = false;
        findings.postgres.clear();
        findings.versions.clear();
        let third = plan(&findings, Stores::ALL);
        let expected = Step::Copies {
            refresh: vec![("t".to_owned(), "i".to_owned())],
            replace: Vec::new(),
        };
        assert_eq!((third.steps, third.left), (vec![expected], Vec::new()));
    }

    #[test]
    fn copies_that_are_wrong_are_replaced_and_other_stores_are_left_alone() {
        let findings = Findings {
            redis: vec![
                row(Wrong::Different, &["t", "i"], TICK),
                row(Wrong::Surplus, &["served:latest_price:t:x"], ""),
            ],
            versions: versions("bars", vec![row(Wrong::Missing, &["t", "i", "5m", "2026"], TICK)]),
            ..Findings::default()
        };
        let only = |clickhouse, redis| Stores {
            clickhouse,
            postgres: false,
            redis,
        };
        let expected = Step::Copies {
            refresh: Vec::new(),
            replace: vec![
                vec!["t".to_owned(), "i".to_owned()],
                vec!["served:latest_price:t:x".to_owned()],
            ],
        };
        assert_eq!(plan(&findings, only(false, true)).steps, [expected]);
        assert!(matches!(
            plan(&findings, only(true, false)).steps[..],
            [Step::Versions { table: "bars", .. }]
        ));
    }

    #[test]
    fn rows_that_are_served_by_name_are_left_with_the_command_that_writes_them_again() {
        let other = |subject| Other {
            subject,
            check: "check".to_owned(),
            total: 1,
            named: vec!["curve C".to_owned()],
        };
        let findings = Findings {
            others: vec![
                other(Subject::Newest(Kind::CurveSnapshot)),
                other(Subject::Newest(Kind::DerivedPrice)),
                other(Subject::NewestCopies),
            ],
            ..Findings::default()
        };
        let found = plan(&findings, Stores::ALL);
        assert!(found.steps.is_empty());
        let commands = [
            "dp projection rebuild curve_snapshot",
            "dp projection rebuild derived_price",
            "dp cache refresh",
        ];
        assert_eq!(found.left.len(), commands.len());
        for (left, command) in found.left.iter().zip(commands) {
            assert!(left.why.contains(command), "{left:?}");
        }
        let in_flight = Findings {
            in_flight: true,
            ..findings
        };
        assert!(
            plan(&in_flight, Stores::ALL)
                .left
                .iter()
                .all(|left| left.why == UNDECIDED)
        );
    }

    #[test]
    fn a_difference_of_the_log_is_named_for_every_store_and_one_of_a_table_only_for_its_own() {
        let other = |subject| Other {
            subject,
            check: "check".to_owned(),
            total: 2,
            named: Vec::new(),
        };
        let findings = Findings {
            others: vec![other(Subject::Log), other(Subject::Positions("bars"))],
            ..Findings::default()
        };
        let only_redis = Stores {
            clickhouse: false,
            postgres: false,
            redis: true,
        };
        assert_eq!(plan(&findings, only_redis).left.len(), 1);
        assert_eq!(plan(&findings, Stores::ALL).left.len(), 2);
        let of_a_view = Findings {
            others: vec![other(Subject::View)],
            in_flight: true,
            ..Findings::default()
        };
        let left = plan(&of_a_view, Stores::ALL).left;
        assert!(
            left.iter().all(|left| left.why.contains("DROP VIEW")) && left.len() == 1,
            "{left:?}"
        );
    }
}
