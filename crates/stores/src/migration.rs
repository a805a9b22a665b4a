//! The numbered files of `schemas/`, embedded in the binary.

/// One migration: a file, or what is made from the registry of markets.
#[derive(Clone, Copy)]
pub(crate) struct Migration {
    /// The number at the beginning of the file's name.
    pub version: u32,
    /// The file's name without the number.
    pub name: &'static str,
    /// Its content, with placeholders in braces.
    pub sql: &'static str,
}

pub(crate) const CLICKHOUSE: &[Migration] = &[
    Migration {
        version: 1,
        name: "writers",
        sql: include_str!("../../../schemas/clickhouse/001_writers.sql"),
    },
    Migration {
        version: 2,
        name: "market_data",
        sql: include_str!("../../../schemas/clickhouse/002_market_data.sql"),
    },
    Migration {
        version: 3,
        name: "merges",
        sql: include_str!("../../../schemas/clickhouse/003_merges.sql"),
    },
    Migration {
        version: 4,
        name: "positions",
        sql: include_str!("../../../schemas/clickhouse/004_positions.sql"),
    },
    Migration {
        version: 5,
        name: "accepted_gaps",
        sql: include_str!("../../../schemas/clickhouse/005_accepted_gaps.sql"),
    },
    Migration {
        version: 6,
        name: "enriched_columns",
        sql: include_str!("../../../schemas/clickhouse/006_enriched_columns.sql"),
    },
    Migration {
        version: 7,
        name: "time_weighted_bars",
        sql: include_str!("../../../schemas/clickhouse/007_time_weighted_bars.sql"),
    },
    Migration {
        version: 8,
        name: "market_days",
        sql: include_str!("../../../schemas/clickhouse/008_market_days.sql"),
    },
    Migration {
        version: 9,
        name: "completeness",
        sql: include_str!("../../../schemas/clickhouse/009_completeness.sql"),
    },
    Migration {
        version: 10,
        name: "bars_asof",
        sql: include_str!("../../../schemas/clickhouse/010_bars_asof.sql"),
    },
    Migration {
        version: 11,
        name: "derived_prices",
        sql: include_str!("../../../schemas/clickhouse/011_derived_prices.sql"),
    },
    Migration {
        version: 12,
        name: "curve_snapshots",
        sql: include_str!("../../../schemas/clickhouse/012_curve_snapshots.sql"),
    },
    Migration {
        version: 13,
        name: "bar_causes",
        sql: include_str!("../../../schemas/clickhouse/013_bar_causes.sql"),
    },
    Migration {
        version: 14,
        name: "derived_versions",
        sql: include_str!("../../../schemas/clickhouse/014_derived_versions.sql"),
    },
    Migration {
        version: 15,
        name: "bar_lengths",
        sql: include_str!("../../../schemas/clickhouse/015_bar_lengths.sql"),
    },
    Migration {
        version: 16,
        name: "curve_clocks",
        sql: include_str!("../../../schemas/clickhouse/016_curve_clocks.sql"),
    },
    Migration {
        version: 17,
        name: "outranked_prices",
        sql: include_str!("../../../schemas/clickhouse/017_outranked_prices.sql"),
    },
    Migration {
        version: 18,
        name: "superseded_prices",
        sql: include_str!("../../../schemas/clickhouse/018_superseded_prices.sql"),
    },
    Migration {
        version: 19,
        name: "four_hours",
        sql: include_str!("../../../schemas/clickhouse/019_four_hours.sql"),
    },
    Migration {
        version: 20,
        name: "curve_inputs_asof",
        sql: include_str!("../../../schemas/clickhouse/020_curve_inputs_asof.sql"),
    },
];

pub(crate) const POSTGRES: &[Migration] = &[
    Migration {
        version: 1,
        name: "reference",
        sql: include_str!("../../../schemas/postgres/001_reference.sql"),
    },
    Migration {
        version: 2,
        name: "projections",
        sql: include_str!("../../../schemas/postgres/002_projections.sql"),
    },
    Migration {
        version: 3,
        name: "latest_prices_by_time",
        sql: include_str!("../../../schemas/postgres/003_latest_prices_by_time.sql"),
    },
    Migration {
        version: 4,
        name: "latest_prices_by_sequence",
        sql: include_str!("../../../schemas/postgres/004_latest_prices_by_sequence.sql"),
    },
    Migration {
        version: 5,
        name: "verify_runs",
        sql: include_str!("../../../schemas/postgres/005_verify_runs.sql"),
    },
    Migration {
        version: 6,
        name: "latest_prices_by_vintage",
        sql: include_str!("../../../schemas/postgres/006_latest_prices_by_vintage.sql"),
    },
    Migration {
        version: 7,
        name: "projection_rebuilds",
        sql: include_str!("../../../schemas/postgres/007_projection_rebuilds.sql"),
    },
    Migration {
        version: 8,
        name: "curve_instruments",
        sql: include_str!("../../../schemas/postgres/008_curve_instruments.sql"),
    },
    Migration {
        version: 9,
        name: "served_curves",
        sql: include_str!("../../../schemas/postgres/009_served_curves.sql"),
    },
    Migration {
        version: 10,
        name: "curve_shapes",
        sql: include_str!("../../../schemas/postgres/010_curve_shapes.sql"),
    },
];

/// Seed of the reference tables; `{tenant}` is replaced by an SQL literal.
pub(crate) const POSTGRES_SEED: &str = include_str!("../../../schemas/postgres/seed/reference.sql");

/// The statements of a file, without comments and empty lines; a statement ends with `;` at the end of a line.
pub(crate) fn statements(sql: &str) -> Vec<String> {
    let mut statements = Vec::new();
    let mut current = String::new();
    for line in sql.lines().filter(|line| !line.trim_start().starts_with("--")) {
        current.push_str(line);
        current.push('\n');
        if line.trim_end().ends_with(';') {
            statements.push(current.trim().trim_end_matches(';').to_owned());
            current.clear();
        }
    }
    if !current.trim().is_empty() {
        statements.push(current.trim().to_owned());
    }
    statements
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_at_a_semicolon_that_ends_a_line() {
        let sql = "-- a; comment;\nCREATE TABLE a\n(\n  b String\n);\n\nSELECT ';' AS c;\n";
        assert_eq!(statements(sql), ["CREATE TABLE a\n(\n  b String\n)", "SELECT ';' AS c"]);
    }

    #[test]
    fn versions_count_up_from_one() {
        for list in [CLICKHOUSE, POSTGRES] {
            let versions: Vec<u32> = list.iter().map(|migration| migration.version).collect();
            assert_eq!(versions, (1..=list.len() as u32).collect::<Vec<_>>());
        }
    }

    /// During a rolling upgrade an older service runs next to a newer one, so everything it reads and writes must be kept. A
    /// file that removes something is listed here, with the release in which nothing uses it any more.
    const TAKEN_AWAY_LATER: [(&str, u32); 0] = [];

    #[test]
    fn a_file_adds_and_widens_and_removes_nothing_that_an_older_service_uses() {
        for (store, list) in [("clickhouse", CLICKHOUSE), ("postgres", POSTGRES)] {
            for migration in list {
                let is_allowed = TAKEN_AWAY_LATER.contains(&(store, migration.version));
                for statement in statements(migration.sql) {
                    let upper = statement.to_uppercase();
                    let takes = [
                        "DROP COLUMN",
                        "RENAME COLUMN",
                        "DROP TABLE",
                        "RENAME TABLE",
                        "MODIFY COLUMN",
                        "SET NOT NULL",
                    ];
                    let found = takes.iter().find(|words| upper.contains(**words));
                    assert!(
                        is_allowed || found.is_none(),
                        "{store} {}: {found:?}",
                        migration.version
                    );
                }
            }
        }
    }
}
