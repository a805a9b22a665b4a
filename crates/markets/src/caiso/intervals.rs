//! The intervals of a report, by the texts that name them.
//!
//! Role: a report names the same intervals, in the same order, for each node and component. So a row nearly always has the interval
//! that followed that of the row before the last time, and its texts are compared instead of read again.
//! Invariant: only intervals that have been checked are kept; another one with the same hash takes the place.

use domain::Micros;
use xxhash_rust::xxh3::xxh3_64;

use crate::rejection::Rejection;

/// The checked intervals of one report.
pub(super) struct Intervals {
    places: Vec<Option<Named>>,
    /// The place of the last row's interval.
    last: usize,
}

struct Named {
    text: String,
    start: Micros,
    end: Micros,
    /// The place of the interval that followed.
    next: usize,
}

impl Intervals {
    /// A day has 300 intervals of five minutes.
    const PLACES: usize = 512;

    pub(super) fn new() -> Intervals {
        Intervals {
            places: std::iter::repeat_with(|| None).take(Intervals::PLACES).collect(),
            last: 0,
        }
    }

    /// Forgets all of them, because texts now mean something else.
    pub(super) fn clear(&mut self) {
        self.places.iter_mut().for_each(|place| *place = None);
    }

    /// The text of the interval that is expected next.
    pub(super) fn expected(&self) -> Option<&str> {
        let next = self.places.get(self.likely())?.as_ref();
        next.map(|next| next.text.as_str())
    }

    fn likely(&self) -> usize {
        let last = self.places.get(self.last).and_then(Option::as_ref);
        last.map_or(0, |last| last.next)
    }

    /// Start and end of the interval with this text; `read` reads and checks one that is not known.
    pub(super) fn read(
        &mut self,
        text: &str,
        read: impl FnOnce() -> Result<(Micros, Micros), Rejection>,
    ) -> Result<(Micros, Micros), Rejection> {
        let known = |place: usize| {
            let known = self.places.get(place)?.as_ref();
            known.filter(|known| known.text == text)
        };
        let likely = self.likely();
        if let Some(known) = known(likely) {
            self.last = likely;
            return Ok((known.start, known.end));
        }
        let place = xxh3_64(text.as_bytes()) as usize % Intervals::PLACES;
        let (start, end) = match known(place) {
            Some(known) => (known.start, known.end),
            None => {
                let (start, end) = read()?;
                let text = text.to_owned();
                if let Some(free) = self.places.get_mut(place) {
                    *free = Some(Named {
                        text,
                        start,
                        end,
                        next: place,
                    });
                }
                (start, end)
            }
        };
        if let Some(Some(last)) = self.places.get_mut(self.last) {
            last.next = place;
        }
        self.last = place;
        Ok((start, end))
    }
}
