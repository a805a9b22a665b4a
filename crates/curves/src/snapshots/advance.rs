//! When the snapshots of a time are computed and sent.
//!
//! Invariants: times are computed in their order, as soon as the clock has reached them; what has not changed is not sent again.
//! Failure: quotes that give no curve are counted with a reason; if the curve was sent before, it is sent without points.

use domain::{CurveSnapshot as Record, DerivedCause, Micros};

use super::content::{self, Made};
use super::{Due, Sent, Snapshots};
use crate::Horizon;
use crate::layouts::Layouts;

impl Snapshots {
    /// Computes the times that the clock has reached, in their order, and passes each snapshot that is new or has changed to `send`.
    /// `version` is the offset of the record that moved the clock or brought the quote.
    pub fn advance(&mut self, clock: Micros, version: i64, send: &mut dyn FnMut(&Record<'_>)) {
        let mut layouts = std::mem::take(&mut self.layouts);
        self.advance_with(&mut layouts, clock, version, send);
        self.layouts = layouts;
    }

    /// As [`Snapshots::advance`], with layouts that other curves use too.
    pub fn advance_with(
        &mut self,
        layouts: &mut Layouts,
        clock: Micros,
        version: i64,
        send: &mut dyn FnMut(&Record<'_>),
    ) {
        while let Some(first) = self.due.first_entry().filter(|first| *first.key() <= clock) {
            let (time, due) = first.remove_entry();
            self.compute(layouts, (time, due), version, send);
        }
        self.prune(clock);
    }

    fn compute(
        &mut self,
        layouts: &mut Layouts,
        (at, due): (Micros, Due),
        version: i64,
        send: &mut dyn FnMut(&Record<'_>),
    ) {
        let Some(time) = self.times.get(&at) else {
            return;
        };
        let (newest, sent) = (time.newest.clone(), time.sent);
        let prices = self.quotes_at(at, &newest);
        let made = self.content(&newest, &prices);
        for left in made.iter().flat_map(|made| &made.left_out) {
            self.counts.skip(left.reason);
        }
        let content = content::fingerprint(&newest, &made);
        let times = sent.map_or(0, |sent| sent.times);
        let was_shown = sent.is_some_and(|sent| sent.has_points);
        if sent.is_some_and(|sent| sent.content == content) {
            return;
        }
        let made = match made.and_then(|selected| self.made(layouts, at, &newest, selected)) {
            Ok(made) => Some(made),
            Err(reason) => {
                self.counts.skip(reason);
                // Without a curve there is nothing to send, unless it takes back what was sent.
                was_shown.then(|| self.withdrawn(at, &newest)).flatten()
            }
        };
        let cause = if times == 0 { DerivedCause::First } else { due.cause };
        if let Some(made) = &made {
            let head = content::Head {
                tenant_id: &self.tenant_id,
                curve_id: &self.curve_id,
                origin: newest.place.origin(),
                definition: &newest.definition,
                log_clock: due.known_at,
                version,
                revision: times,
                cause,
            };
            made.send(&head, send);
        }
        let residual = made.as_ref().map_or(0.0, Made::residual_ratio);
        self.count(made.is_some(), cause, residual);
        if let Some(time) = self.times.get_mut(&at) {
            time.sent = Some(Sent {
                content,
                times: times.saturating_add(i32::from(made.is_some())),
                has_points: made.is_some_and(|made| made.has_points()),
                residual,
            });
        }
    }

    /// Counts the snapshots of a time, one for each horizon.
    fn count(&mut self, is_sent: bool, cause: DerivedCause, residual: f64) {
        let snapshots = if is_sent { Horizon::ALL.len() as u64 } else { 0 };
        if let Some(count) = self.counts.sent.get_mut(cause as usize) {
            *count += snapshots;
        }
        if residual > 0.0 {
            self.counts.contradictory += snapshots;
        }
    }
}
