//! Why a partition delivers no messages although its log continues (INV-9).

use domain::Micros;

use crate::Partition;

/// A partition whose consumption has stopped although its log continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stall {
    /// Partition.
    pub partition: Partition,
    /// The position of the reader.
    pub position: i64,
    /// Offset after the newest record.
    pub end: i64,
    /// Why.
    pub cause: Cause,
}

/// What was found at the position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// Only records that a reader does not see: aborted transactions and transaction markers. Skipped without a log line.
    NothingReadable,
    /// A transaction that is neither committed nor aborted.
    OpenTransaction {
        /// Its first offset: readers stop there.
        offset: i64,
        /// When its first record was appended, if that is visible.
        since: Option<Micros>,
    },
    /// A batch that the client cannot unpack.
    Unreadable {
        /// The error of the client.
        reason: String,
        /// The next offset that can be read; the end of the log if there is none.
        next: i64,
    },
    /// The broker sends neither records nor an error.
    Silent,
}

impl Stall {
    /// Whether an operator must act: the partition does not continue by itself.
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

    /// For operators: what happened, where, and what to do next. `skip` returns the command that skips to an offset.
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
                    "{partition} cannot be read at offset {offset}: a producer's open transaction blocks it{since}, with \
                     everything up to {end}; it ends with the transaction's time-out, or abort it: kafka-transactions.sh \
                     abort --topic {} --partition {} --start-offset {offset}",
                    partition.topic, partition.number
                )
            }
            Cause::Unreadable { reason, next } => format!(
                "{partition} cannot be read at offset {position}: {reason}; the next readable offset is {next}, skip to \
                 it with: {}",
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
            "raw[2] cannot be read at offset 7: bad compression; the next readable offset is 9, skip to \
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
