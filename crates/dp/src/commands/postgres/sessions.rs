//! The table of sessions of PostgreSQL.

use ops::inspect::postgres::SessionRow;
use ops::present::{milliseconds, printable, table};

use crate::cells::shortened;

/// Characters of a statement in a table; `--json` shows more.
pub(super) const SHOWN_CHARACTERS: usize = 70;

pub(super) fn sessions_text(sessions: &[SessionRow], none: &str) -> String {
    if sessions.is_empty() {
        return none.to_owned();
    }
    let rows = sessions.iter().map(|session| {
        vec![
            printable(&session.user),
            printable(&session.application),
            session.state.clone(),
            session.waits_for.clone(),
            shortened(&session.query, SHOWN_CHARACTERS),
            session.pid.to_string(),
            milliseconds(session.state_ms),
            session.transaction_ms.map_or_else(String::new, milliseconds),
        ]
    });
    let headers = [
        "user",
        "application",
        "state",
        "waits for",
        "statement",
        "pid",
        "in state",
        "transaction",
    ];
    table(&headers, 5, rows)
}
