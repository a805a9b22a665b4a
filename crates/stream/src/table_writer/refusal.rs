//! Whether the table refuses a lane until an operator corrects something, for health.
//!
//! Invariant: a takeover that succeeds says nothing of a refused insert, which asks for other rights: only an insert that
//! succeeds ends that, or a log of which nothing is left to insert.

use delivery::table_writer::{InsertError, SinkError, Takeover};

/// What was refused last, in words for operators.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Refusal {
    takeover: Option<String>,
    insert: Option<String>,
}

impl Refusal {
    pub(super) fn taken_over(&mut self, result: &Result<Takeover, SinkError>) {
        match result {
            Ok(_) => self.takeover = None,
            Err(SinkError::Refused(error)) => self.takeover = Some(format!("takeover refused: {error}")),
            // The table may be away for another reason in between.
            Err(SinkError::Transient(_) | SinkError::Fenced | SinkError::Fatal { .. }) => {}
        }
    }

    pub(super) fn inserted(&mut self, result: &Result<(), InsertError>, table: &str) {
        match result {
            Ok(()) | Err(InsertError::Fenced) => self.insert = None,
            Err(InsertError::Refused(error)) => self.insert = Some(format!("insert into {table} refused: {error}")),
            Err(InsertError::Unknown(_)) => {}
        }
    }

    /// The table holds everything that the log holds.
    pub(super) fn nothing_waits(&mut self) {
        self.insert = None;
    }

    pub(super) fn text(&self) -> Option<String> {
        self.takeover.clone().or_else(|| self.insert.clone())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use domain::Claim;

    fn taken() -> Result<Takeover, SinkError> {
        let claim = Claim {
            topic: "t".into(),
            partition: 0,
            epoch: 1,
            writer: uuid::Uuid::nil(),
        };
        Ok(Takeover { claim, position: None })
    }

    #[test]
    fn a_refused_insert_is_shown_until_an_insert_succeeds_or_nothing_is_left() {
        let mut refusal = Refusal::default();
        let refused = Err(InsertError::Refused("Code: 497".to_owned()));
        refusal.inserted(&refused, "market_ticks");
        refusal.taken_over(&taken());
        assert_eq!(refusal.text().unwrap(), "insert into market_ticks refused: Code: 497");
        refusal.inserted(&Err(InsertError::Unknown("away".to_owned())), "market_ticks");
        assert!(refusal.text().is_some());
        refusal.inserted(&Ok(()), "market_ticks");
        assert_eq!(refusal.text(), None);
        refusal.inserted(&refused, "market_ticks");
        refusal.nothing_waits();
        assert_eq!(refusal.text(), None);
    }

    #[test]
    fn a_refused_takeover_is_shown_until_one_succeeds() {
        let mut refusal = Refusal::default();
        refusal.taken_over(&Err(SinkError::Refused("Code: 516".to_owned())));
        refusal.taken_over(&Err(SinkError::Transient("away".to_owned())));
        assert_eq!(refusal.text().unwrap(), "takeover refused: Code: 516");
        refusal.taken_over(&taken());
        assert_eq!(refusal.text(), None);
    }
}
