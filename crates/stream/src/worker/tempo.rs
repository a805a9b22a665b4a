//! When a worker takes messages: at once under load, in groups in a quiet market.
//!
//! A tick that travels alone costs the broker more than all other work on it: a produce request, a fetch by each reader of the
//! output, and so on at each stage. So a worker rests after it took messages, and takes all that arrived meanwhile.

use std::time::{Duration, Instant};

use super::{Handler, Io};
use crate::StreamError;
use crate::kafka::consumer::{GroupConsumer, borrow};
use crate::kafka::settings::Pace;
use crate::metrics::StageSignals;

/// Messages a second below which the market is quiet.
const QUIET_BELOW: f64 = 10_000.0;
/// After fewer messages than this a worker rests half as long again: at such a rate nearly all that a tick costs is its share of
/// a burst.
const FEW: u64 = 25;
/// The rate is measured over at least this time.
const MEASURE: Duration = Duration::from_millis(20);
/// The outputs of a stage reach the partitions of their topic within this time of each other, and are taken together.
const GATHER: Duration = Duration::from_millis(2);
/// Messages passed to the handler before its turn.
const BATCH: usize = 1000;
/// How long a poll waits for the first message while acknowledgements are outstanding, or partitions are restored or given up,
/// since that is served between polls.
const POLL_WAIT: Duration = Duration::from_millis(10);
/// How long a poll of a paused worker waits at most, so that it goes on soon after the order ends.
const PAUSED_WAIT: Duration = Duration::from_millis(100);
/// How long a handler without room waits.
const ROOM_WAIT: Duration = Duration::from_millis(2);

/// The tempo of one session.
pub(super) struct Tempo {
    rest: Option<Duration>,
    taken: Instant,
    is_quiet: bool,
    took_few: bool,
    count: u64,
    since: Instant,
}

impl Tempo {
    pub(super) fn new(pace: Pace, now: Instant) -> Tempo {
        let rest = match pace {
            Pace::Prompt(rest) => Some(rest),
            Pace::Within(_) => None,
        };
        Tempo {
            rest,
            taken: now,
            is_quiet: true,
            took_few: true,
            count: 0,
            since: now,
        }
    }

    /// How long to let messages arrive before the first is taken.
    pub(super) fn rest(&self, now: Instant) -> Duration {
        match (self.rest, self.is_quiet) {
            (Some(rest), true) => {
                let rest = if self.took_few { rest * 3 / 2 } else { rest };
                rest.saturating_sub(now.duration_since(self.taken))
            }
            _ => Duration::ZERO,
        }
    }

    /// How long to let others arrive after the first.
    pub(super) fn gather(&self) -> Duration {
        match (self.rest, self.is_quiet) {
            (Some(_), true) => GATHER,
            _ => Duration::ZERO,
        }
    }

    /// So many messages were taken. A full batch is a backlog.
    pub(super) fn took(&mut self, messages: u64, is_full: bool, now: Instant) {
        if messages > 0 {
            (self.taken, self.took_few) = (now, messages < FEW);
        }
        self.count += messages;
        let elapsed = now.duration_since(self.since);
        if is_full {
            self.is_quiet = false;
        } else if elapsed >= MEASURE {
            self.is_quiet = self.count as f64 / elapsed.as_secs_f64() < QUIET_BELOW;
        }
        if is_full || elapsed >= MEASURE {
            (self.count, self.since) = (0, now);
        }
    }

    /// Whether outputs are sent as soon as the messages that were taken are processed.
    pub(super) fn sends_at_once(&self) -> bool {
        self.rest.is_some() && self.is_quiet
    }
}

/// Passes the available messages to the handler, up to one batch; waits only for the first message.
pub(super) fn hand_over(
    consumer: &GroupConsumer,
    handler: &mut dyn Handler,
    io: &mut Io<'_>,
    signals: &mut StageSignals,
    tempo: &mut Tempo,
) -> Result<(), StreamError> {
    let mut count = 0;
    let is_waiting = io.acked_through() < io.last_ticket() || io.is_restoring() || io.is_leaving();
    let mut patience = handler.patience();
    if io.is_paused() {
        patience = patience.min(PAUSED_WAIT);
    }
    let mut wait = if is_waiting { patience.min(POLL_WAIT) } else { patience };
    if !handler.has_room() {
        std::thread::sleep(ROOM_WAIT);
    }
    while count < BATCH as u64 && handler.has_room() {
        let Some(message) = consumer.poll(wait)? else {
            break;
        };
        let message = borrow(&message);
        io.saw(&message);
        io.traced.begin(&message);
        let outcome = handler.message(io, &message)?;
        io.traced.end(&message, outcome);
        signals.message(&message, outcome);
        io.hold_restored(handler)?;
        if count == 0 {
            std::thread::sleep(tempo.gather());
        }
        count += 1;
        wait = Duration::ZERO;
    }
    tempo.took(count, count == BATCH as u64, Instant::now());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_millis(40);

    #[test]
    fn a_quiet_market_rests_after_each_group_and_the_first_message_after_silence_does_not_wait() {
        let began = Instant::now();
        let mut tempo = Tempo::new(Pace::Prompt(REST), began);
        let later = began + Duration::from_millis(30);
        tempo.took(FEW, false, later);
        assert_eq!(tempo.rest(later + Duration::from_millis(10)), Duration::from_millis(30));
        assert_eq!(tempo.rest(later + REST), Duration::ZERO);
        tempo.took(FEW - 1, false, later);
        assert_eq!(tempo.rest(later + REST), REST / 2);
        assert!(tempo.sends_at_once());
    }

    #[test]
    fn load_and_a_backlog_end_the_rest() {
        let began = Instant::now();
        let mut tempo = Tempo::new(Pace::Prompt(REST), began);
        tempo.took(1_000, true, began);
        assert!(tempo.rest(began).is_zero() && tempo.gather().is_zero() && !tempo.sends_at_once());
        let later = began + Duration::from_millis(30);
        tempo.took(900, false, later);
        assert!(tempo.rest(later).is_zero(), "30,000 a second");
        let silence = later + Duration::from_secs(1);
        tempo.took(0, false, silence);
        tempo.took(3, false, silence);
        assert_eq!(tempo.rest(silence), REST * 3 / 2);
    }

    #[test]
    fn a_reader_that_waits_for_large_fetches_does_not_rest() {
        let now = Instant::now();
        let mut tempo = Tempo::new(Pace::Within(REST), now);
        tempo.took(1, false, now);
        assert!(tempo.rest(now).is_zero() && tempo.gather().is_zero() && !tempo.sends_at_once());
    }
}
