//! The oldest event that waits to be stored: its age is the lag of a store.

use domain::Micros;

/// The oldest event that one store does not have yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pending {
    waiting: Option<Micros>,
    under_way: Option<Micros>,
}

impl Pending {
    /// Adds an event with this time.
    pub fn take_in(&mut self, at: Micros) {
        self.waiting = earlier(self.waiting, Some(at));
    }

    /// A write of all waiting events begins.
    pub fn begin(&mut self) {
        self.under_way = earlier(self.under_way, self.waiting.take());
    }

    /// The write has ended; events that were not stored wait again.
    pub fn ended(&mut self, stored: bool) {
        let was = self.under_way.take();
        if !stored {
            self.waiting = earlier(self.waiting, was);
        }
    }

    /// Time of the oldest event that is not stored.
    pub fn oldest(&self) -> Option<Micros> {
        earlier(self.under_way, self.waiting)
    }
}

/// The earlier of two times that may be unknown.
pub fn earlier(one: Option<Micros>, other: Option<Micros>) -> Option<Micros> {
    one.into_iter().chain(other).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_event_is_pending_until_a_write_has_stored_it() {
        let mut pending = Pending::default();
        assert_eq!(pending.oldest(), None);
        pending.take_in(5);
        pending.take_in(3);
        pending.begin();
        pending.take_in(9);
        assert_eq!(pending.oldest(), Some(3));
        pending.ended(false);
        assert_eq!(pending.oldest(), Some(3));
        pending.begin();
        pending.take_in(11);
        pending.ended(true);
        assert_eq!(pending.oldest(), Some(11));
    }
}
