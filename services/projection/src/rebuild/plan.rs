//! What a rebuild reads, what it replaces, and whether it does so.

use domain::Micros;
use stores::postgres::Scope;

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// The whole log.
    Full,
    /// Events that were appended at or after this time, and those that the service has not stored yet. Prices of instruments without
    /// such an event stay as they are, and so do prices that are newer than those of these events.
    Since(Micros),
}

impl Strategy {
    /// As it is stored and shown: `full, tenant acme`, or `since 2026-10-02T00:00:00.000000Z`.
    pub fn text(self, scope: &Scope) -> String {
        let strategy = match self {
            Strategy::Full => "full".to_owned(),
            Strategy::Since(time) => format!("since {}", codec::json::time(time).as_str().unwrap_or_default()),
        };
        match scope.is_all() {
            true => strategy,
            false => format!("{strategy}, {}", scope.text()),
        }
    }
}

/// Whether prices are exchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// They are.
    Exchange {
        /// The copy of an interrupted rebuild is discarded.
        restart: bool,
        /// The replaced rows are kept.
        keep_backup: bool,
    },
    /// Each exchange is rolled back: the report says what it would change.
    DryRun,
}

/// A rebuild of the latest prices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What is read.
    pub strategy: Strategy,
    /// Whose prices are replaced. All others stay, apart from what events do that the service has not stored yet.
    pub scope: Scope,
    /// Whether they are.
    pub mode: Mode,
}

impl Plan {
    /// Its strategy and scope, as stored and shown.
    pub fn text(&self) -> String {
        self.strategy.text(&self.scope)
    }

    /// Whether the copy gets every event of the log. Otherwise it has what it leaves out from the served prices.
    pub(super) fn reads_all(&self) -> bool {
        self.strategy == Strategy::Full && self.scope.is_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_strategy_and_scope_so_that_only_the_same_rebuild_is_continued() {
        let scope = Scope {
            tenant: Some("acme".to_owned()),
            instrument: Some("PJM.X".to_owned()),
        };
        let since = Strategy::Since(1_790_812_800_000_000);
        assert_eq!(Strategy::Full.text(&Scope::default()), "full");
        assert_eq!(Strategy::Full.text(&scope), "full, tenant acme, instrument PJM.X");
        assert_eq!(since.text(&Scope::default()), "since 2026-10-01T00:00:00.000000Z");
        let plan = |strategy, scope| Plan {
            strategy,
            scope,
            mode: Mode::DryRun,
        };
        assert!(plan(Strategy::Full, Scope::default()).reads_all());
        assert!(!plan(Strategy::Full, scope).reads_all());
        assert!(!plan(since, Scope::default()).reads_all());
    }
}
