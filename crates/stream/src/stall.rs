//! Why nothing comes from a partition whose log continues (INV-9).

use domain::Micros;

use crate::Partition;

/// A partition that does not continue by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stall {
    /// Partition.
    pub partition: Partition,
    /// Where the reader stands.
    pub position: i64,
    /// Offset after the newest record.
    pub end: i64,
    /// Why.
    pub cause: Cause,
}

/// What was found at the position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// Nothing that a reader may see: aborted transactions, marks of transactions. Passed without a word.
    NothingReadable,
    /// A transaction that is neither committed nor aborted.
    OpenTransaction {
        /// Its first offset: nobody reads from there on.
        offset: i64,
        /// When its first record was appended, where that can be seen.
        since: Option<Micros>,
    },
    /// A batch that the client cannot unpack.
    Unreadable {
        /// What the client says.
        reason: String,
        /// The next offset that can be read; the end of the log where there is none.
        next: i64,
    },
    /// The broker sends nothing, and no error either.
    Silent,
}

impl Stall {
    /// Whether people have to know: the partition does not continue.
    pub fn is_blocked(&self) -> bool {
        self.cause != Cause::NothingReadable
    }

    /// One word for logs.
    pub fn kind(&self) -> &'static str {
        match self.cause {
            Cause::NothingReadable => "nothing_readable",
            Cause::OpenTransaction { .. } => "open_transaction",
            Cause::Unreadable { .. } => "unreadable_batch",
            Cause::Silent => "silent",
        }
    }

    /// For people: what, where, and what to do next. `skip` is the command that passes everything before an offset.
    pub fn explain(&self, skip: impl Fn(i64) -> String) -> String {
        let Stall {
            partition,
            position,
            end,
            cause,
        } = self;
        match cause {
            Cause::NothingReadable => format!("{partition}: nothing to read from offset {position} to {end}"),
            Cause::OpenTransaction { offset, since } => {
                let since = since
                    .and_then(time)
                    .map_or(String::new(), |since| format!(" since {since}"));
                format!(
                    "{partition} cannot be read at offset {offset}: a producer's open transaction holds it{since}, with \
                     everything up to {end}; it ends with the transaction's time-out, or abort it: kafka-transactions.sh \
                     abort --topic {} --partition {} --start-offset {offset}",
                    partition.topic, partition.number
                )
            }
            Cause::Unreadable { reason, next } => format!(
                "{partition} cannot be read at offset {position}: {reason}; what begins at offset {next} can be read, pass \
                 what lies before it with: {}",
                skip(*next)
            ),
            Cause::Silent => format!(
                "{partition} cannot be read at offset {position}: the log continues to {end}, but the broker sends nothing; see \
                 the log of the broker (`dp logs kafka`)"
            ),
        }
    }
}

fn time(micros: Micros) -> Option<String> {
    let time = jiff::Timestamp::from_microsecond(micros).ok()?;
    Some(format!("{time:.3}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn stall(cause: Cause) -> Stall {
        let partition = Partition {
            topic: "raw".into(),
            number: 2,
        };
        Stall {
            partition,
            position: 7,
            end: 12,
            cause,
        }
    }

    #[test]
    fn each_cause_names_the_position_and_what_to_do() {
        let skip = |to| format!("dp position skip normalization --topic raw --partition 2 --to {to}");
        let unreadable = stall(Cause::Unreadable {
            reason: "bad compression".to_owned(),
            next: 9,
        });
        assert_eq!(
            unreadable.explain(skip),
            "raw[2] cannot be read at offset 7: bad compression; what begins at offset 9 can be read, pass what lies before \
             it with: dp position skip normalization --topic raw --partition 2 --to 9"
        );
        let open = stall(Cause::OpenTransaction {
            offset: 8,
            since: Some(1_700_000_000_000_000),
        })
        .explain(skip);
        assert!(
            open.contains("offset 8") && open.contains("2023-11-14T22:13:20.000Z"),
            "{open}"
        );
        assert!(
            open.contains("abort --topic raw --partition 2 --start-offset 8"),
            "{open}"
        );
        assert!(
            stall(Cause::Silent)
                .explain(skip)
                .contains("raw[2] cannot be read at offset 7")
        );
        assert!(stall(Cause::Silent).is_blocked() && !stall(Cause::NothingReadable).is_blocked());
    }
}
