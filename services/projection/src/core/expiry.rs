//! When the prices of a book become too old: a queue by time, in which each price stands at most once.
//!
//! Invariant: a look costs at most as many steps as it is allowed, however many prices wait. A price that is renewed keeps its place;
//! only when its old time has come is it moved to the new one.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use domain::Micros;

/// Places of a book by the time after which their price is too old.
#[derive(Debug, Default)]
pub struct Expiries(BinaryHeap<Reverse<(Micros, u32)>>);

impl Expiries {
    /// Adds a place that is not in the queue.
    pub fn add(&mut self, due: Micros, place: u32) {
        self.0.push(Reverse((due, place)));
    }

    /// Takes the places whose time is past, after at most `most` steps. `due_of` is the time of a place by its price now.
    pub fn take(&mut self, now: Micros, most: usize, due_of: impl Fn(u32) -> Micros) -> Vec<u32> {
        let mut taken = Vec::new();
        for _ in 0..most {
            let Some(mut first) = self.0.peek_mut() else { break };
            let Reverse((due, place)) = *first;
            if due >= now {
                break;
            }
            let renewed = due_of(place);
            if renewed >= now {
                *first = Reverse((renewed, place));
            } else {
                PeekMut::pop(first);
                taken.push(place);
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_taken_after_their_time_and_renewed_ones_later() {
        let mut expiries = Expiries::default();
        for (due, place) in [(30, 3), (10, 1), (20, 2)] {
            expiries.add(due, place);
        }
        let renewed = |place: u32| if place == 1 { 50 } else { Micros::from(place) * 10 };
        assert!(expiries.take(10, 9, renewed).is_empty());
        assert_eq!(expiries.take(21, 9, renewed), [2]);
        assert_eq!(expiries.take(50, 9, renewed), [3]);
        assert_eq!(expiries.take(51, 9, renewed), [1]);
        assert!(expiries.take(Micros::MAX, 9, renewed).is_empty());
    }

    #[test]
    fn a_look_takes_a_bounded_number_of_steps() {
        let mut expiries = Expiries::default();
        (0..5).for_each(|place| expiries.add(0, place));
        let taken = [(); 4].map(|()| expiries.take(1, 2, |_| 0).len());
        assert_eq!(taken, [2, 2, 1, 0]);
    }
}
