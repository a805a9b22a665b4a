//! Whether reading ends at the first thing that is wrong (the data path), or continues to collect them all (`POST /validate`).

use crate::rejection::Rejection;

/// What to do about a value that cannot be read.
pub(crate) trait Problems {
    /// The value, or what reading continues with in its place.
    ///
    /// # Errors
    /// The rejection that ends the reading.
    fn keep<T>(&mut self, read: Result<T, Rejection>, otherwise: T) -> Result<T, Rejection>;
}

/// The first problem ends the reading.
pub(crate) struct First;

impl Problems for First {
    #[inline(always)]
    fn keep<T>(&mut self, read: Result<T, Rejection>, _: T) -> Result<T, Rejection> {
        read
    }
}

/// Every problem is noted.
#[derive(Default)]
pub(crate) struct All(pub Vec<Rejection>);

impl Problems for All {
    fn keep<T>(&mut self, read: Result<T, Rejection>, otherwise: T) -> Result<T, Rejection> {
        Ok(read.unwrap_or_else(|rejection| {
            self.0.push(rejection);
            otherwise
        }))
    }
}
