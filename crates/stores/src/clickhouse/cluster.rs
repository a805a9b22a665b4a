//! A cluster of one shard with several replicas behind one address (`DATA_PROC_CLICKHOUSE_CLUSTER`).
//!
//! Role: what changes in our statements there. Tables are created `ON CLUSTER` with replicated engines; a takeover ends the
//! inserts of an earlier owner on every replica.
//! Invariants: INV-6 and INV-8 hold on every replica, because each insert waits for a majority (one insert at a time per table),
//! and each query reads only from a replica that has all such inserts.
//! Failure: a cluster without a majority refuses inserts and queries; the writer waits for it like for a server that is down.

use std::borrow::Cow;
use std::sync::Arc;

use super::literal;

/// Sequential consistency: a query sees every insert that was confirmed before it, on whichever replica it runs.
const CONSISTENT: [(&str, &str); 3] = [
    ("insert_quorum", "auto"),
    ("insert_quorum_parallel", "0"),
    ("select_sequential_consistency", "1"),
];

/// The statements that name what `ON CLUSTER` follows.
const DEFINITIONS: [&str; 5] = [
    "CREATE DATABASE IF NOT EXISTS ",
    "CREATE TABLE IF NOT EXISTS ",
    "CREATE VIEW IF NOT EXISTS ",
    "CREATE OR REPLACE VIEW ",
    "ALTER TABLE ",
];

/// The cluster's name; none for a single server. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Cluster {
    name: Option<Arc<str>>,
}

impl Cluster {
    /// An empty name is a single server.
    pub(super) fn new(name: &str) -> Cluster {
        Cluster {
            name: (!name.is_empty()).then(|| Arc::from(name)),
        }
    }

    /// Settings of every statement.
    pub(super) fn settings(&self) -> &'static [(&'static str, &'static str)] {
        match self.name {
            Some(_) => &CONSISTENT,
            None => &[],
        }
    }

    /// A statement of a migration, as the cluster takes it.
    pub(super) fn definition<'a>(&self, statement: &'a str) -> Cow<'a, str> {
        let Some(on_cluster) = self.on_cluster() else {
            return Cow::Borrowed(statement);
        };
        let defined = DEFINITIONS
            .iter()
            .find_map(|beginning| Some((*beginning, statement.strip_prefix(*beginning)?)));
        let Some((beginning, rest)) = defined else {
            return Cow::Borrowed(statement);
        };
        let end = rest.find(|c: char| c.is_whitespace() || c == '(').unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        let rest = rest
            .replacen("ENGINE = MergeTree", "ENGINE = ReplicatedMergeTree", 1)
            .replacen(
                "ENGINE = ReplacingMergeTree",
                "ENGINE = ReplicatedReplacingMergeTree",
                1,
            );
        Cow::Owned(format!("{beginning}{name}{on_cluster}{rest}"))
    }

    /// Ends the queries that meet this condition, on all replicas, and waits for their end.
    pub(super) fn kill_queries(&self, condition: &str) -> String {
        let on_cluster = self.on_cluster().unwrap_or_default();
        format!("KILL QUERY{on_cluster} WHERE {condition} SYNC FORMAT Null")
    }

    /// The table of running queries, of all replicas.
    pub(super) fn processes(&self) -> Cow<'static, str> {
        match &self.name {
            Some(name) => Cow::Owned(format!("clusterAllReplicas({}, system.processes)", literal(name))),
            None => Cow::Borrowed("system.processes"),
        }
    }

    /// ` ON CLUSTER …` for a statement that is not one of a migration.
    pub(super) fn on_cluster(&self) -> Option<String> {
        self.name.as_ref().map(|name| format!(" ON CLUSTER {}", literal(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clickhouse::migrations::all;
    use crate::migration::statements;

    #[test]
    fn a_single_server_gets_every_statement_as_it_is_written() {
        let server = Cluster::new("");
        assert!(server.settings().is_empty());
        for statement in all().flat_map(|migration| statements(migration.sql)) {
            assert_eq!(server.definition(&statement), statement);
        }
        assert_eq!(server.kill_queries("a = 1"), "KILL QUERY WHERE a = 1 SYNC FORMAT Null");
        assert_eq!(server.processes(), "system.processes");
    }

    /// A statement that is forgotten would create a table on one replica only, or one that is not replicated.
    #[test]
    fn every_statement_of_every_migration_is_run_on_the_cluster_with_a_replicated_engine() {
        let cluster = Cluster::new("prices");
        for statement in all().flat_map(|migration| statements(migration.sql)) {
            let sql = cluster.definition(&statement);
            assert!(sql.contains(" ON CLUSTER 'prices'"), "{sql}");
            let plain = sql.contains("ENGINE = MergeTree") || sql.contains("ENGINE = ReplacingMergeTree");
            assert!(!plain, "{sql}");
            assert_eq!(
                sql.matches("ENGINE = Replicated").count(),
                statement.matches("ENGINE = ").count()
            );
        }
    }

    #[test]
    fn the_cluster_follows_the_name_of_the_table() {
        let cluster = Cluster::new("it's");
        assert_eq!(
            cluster.definition("ALTER TABLE a.b MODIFY SETTING c = 1"),
            "ALTER TABLE a.b ON CLUSTER 'it\\'s' MODIFY SETTING c = 1"
        );
        assert_eq!(
            cluster.definition("CREATE TABLE IF NOT EXISTS a.b(c String) ENGINE = ReplacingMergeTree(c) ORDER BY c"),
            "CREATE TABLE IF NOT EXISTS a.b ON CLUSTER 'it\\'s'(c String) ENGINE = ReplicatedReplacingMergeTree(c) ORDER BY c"
        );
        assert_eq!(cluster.processes(), "clusterAllReplicas('it\\'s', system.processes)");
    }
}
