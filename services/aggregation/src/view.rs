//! Read access of HTTP to the windows, without a lock on the data path.
//!
//! Role: a question is a closure that a worker runs on its own thread between two batches, for each of its partitions.
//! Totals need no question; workers publish them.
//! Failure: a worker that does not answer in time is left out, and the answer contains the number of such workers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use domain::Interval;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::core::partition_state::{PartitionState, WindowCounts};
use crate::metrics::{self, Tally};

/// Run by a worker for its partitions.
pub type Question = Box<dyn FnOnce(&mut dyn Iterator<Item = (i32, &PartitionState)>) + Send>;

/// Most questions that wait for a worker.
const WAITING: usize = 16;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// The windows and totals of all workers of this process.
#[derive(Default)]
pub struct Views {
    next_desk: AtomicU64,
    desks: Mutex<BTreeMap<u64, SyncSender<Question>>>,
    windows: Mutex<BTreeMap<u64, [WindowCounts; Interval::ALL.len()]>>,
    totals: Mutex<Tally>,
}

/// The answers to a question.
pub struct Answers<T> {
    /// One per partition, with its number.
    pub answers: Vec<(i32, T)>,
    /// Workers that did not answer in time.
    pub silent_workers: usize,
}

impl Views {
    /// Adds a worker to the view, until its desk is dropped.
    pub fn open_desk(self: &Arc<Views>) -> Desk {
        let (sender, questions) = sync_channel(WAITING);
        let number = self.next_desk.fetch_add(1, Ordering::Relaxed);
        self.desks.lock().insert(number, sender);
        Desk {
            number,
            views: Arc::clone(self),
            questions,
        }
    }

    /// Asks all partitions of all workers.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl Fn(&PartitionState) -> T + Clone + Send + 'static,
    ) -> Answers<T> {
        let desks: Vec<SyncSender<Question>> = self.desks.lock().values().cloned().collect();
        let mut waiting = Vec::new();
        let mut answers = Answers {
            answers: Vec::new(),
            silent_workers: 0,
        };
        for desk in desks {
            let (reply, answer) = oneshot::channel::<Vec<(i32, T)>>();
            let question = question.clone();
            let asked = desk.try_send(Box::new(move |partitions| {
                // Fails only if the request was cancelled.
                let _ = reply.send(partitions.map(|(number, state)| (number, question(state))).collect());
            }));
            match asked {
                Ok(()) => waiting.push(answer),
                Err(_) => answers.silent_workers += 1,
            }
        }
        for answer in waiting {
            match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
                Ok(Ok(mut of_worker)) => answers.answers.append(&mut of_worker),
                _ => answers.silent_workers += 1,
            }
        }
        answers.answers.sort_by_key(|(number, _)| *number);
        answers
    }

    /// Window counts of all workers.
    pub fn windows(&self) -> [WindowCounts; Interval::ALL.len()] {
        let mut sum = [WindowCounts::default(); Interval::ALL.len()];
        for counts in self.windows.lock().values() {
            for (sum, count) in sum.iter_mut().zip(counts) {
                sum.open += count.open;
                sum.closed += count.closed;
            }
        }
        sum
    }

    /// Totals since the process started.
    pub fn totals(&self) -> Tally {
        *self.totals.lock()
    }
}

/// A worker's end of the view.
pub struct Desk {
    number: u64,
    views: Arc<Views>,
    questions: Receiver<Question>,
}

impl Desk {
    /// The next question, if one waits.
    pub fn question(&self) -> Option<Question> {
        self.questions.try_recv().ok()
    }

    /// Publishes the window counts of this worker.
    pub fn show_windows(&self, counts: [WindowCounts; Interval::ALL.len()]) {
        self.views.windows.lock().insert(self.number, counts);
        metrics::show_windows(&self.views.windows());
    }

    /// Adds to the totals.
    pub fn add(&self, tally: &Tally) {
        let mut totals = self.views.totals.lock();
        totals.duplicates += tally.duplicates;
        totals.late += tally.late;
        totals.closings_by_table += tally.closings_by_table;
        totals.checkpoints += tally.checkpoints;
        totals.state_records += tally.state_records;
        for (total, count) in totals.revisions.iter_mut().zip(tally.revisions) {
            *total += count;
        }
        for (total, count) in totals.bars.iter_mut().zip(tally.bars) {
            *total += count;
        }
        for (total, count) in totals.bars_closed.iter_mut().zip(tally.bars_closed) {
            *total += count;
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.views.desks.lock().remove(&self.number);
        self.views.windows.lock().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::log_clock::{Times, WindowRules};
    use crate::core::partition_state::Writer;
    use crate::core::records::WriterId;

    fn state() -> PartitionState {
        let never = Times {
            close_after: 0,
            forget_after: 0,
        };
        let rules = WindowRules {
            intervals: 1,
            at_once: never,
            after_interval: never,
            idle_close: 0,
            without: None,
        };
        let id = WriterId { ordinal: 1, random: 1 };
        PartitionState::new(
            rules,
            Writer {
                id,
                topic_id: String::new(),
            },
            Vec::new(),
            0,
        )
    }

    #[tokio::test]
    async fn all_partitions_answer_and_a_worker_that_has_ended_is_not_asked() {
        let views = Arc::new(Views::default());
        let (desk, gone) = (views.open_desk(), views.open_desk());
        drop(gone);
        let asked = views.ask(PartitionState::instrument_count);
        let worker = async {
            let states = [(3, state()), (1, state())];
            loop {
                if let Some(question) = desk.question() {
                    return question(&mut states.iter().map(|(number, state)| (*number, state)));
                }
                tokio::task::yield_now().await;
            }
        };
        let (answers, ()) = tokio::join!(asked, worker);
        assert_eq!(answers.answers, [(1, 0), (3, 0)]);
        assert_eq!(answers.silent_workers, 0);
    }

    #[test]
    fn window_counts_of_all_workers_are_added_until_a_worker_ends() {
        let views = Arc::new(Views::default());
        let (one, two) = (views.open_desk(), views.open_desk());
        one.show_windows([WindowCounts { open: 1, closed: 2 }; 5]);
        two.show_windows([WindowCounts { open: 10, closed: 20 }; 5]);
        assert_eq!(views.windows(), [WindowCounts { open: 11, closed: 22 }; 5]);
        drop(two);
        assert_eq!(views.windows(), [WindowCounts { open: 1, closed: 2 }; 5]);
    }
}
