//! Whether reading stops at the first error (the data path) or collects all errors (`POST /validate`).

use crate::rejection::Rejection;

/// How to handle a value that cannot be read.
pub(crate) trait Problems {
    /// Returns the value, or `otherwise` if reading continues without it.
    ///
    /// # Errors
    /// The rejection, if it stops the reading.
    fn keep<T>(&mut self, read: Result<T, Rejection>, otherwise: T) -> Result<T, Rejection>;
}

/// Stops at the first problem.
pub(crate) struct First;

impl Problems for First {
    #[inline(always)]
    fn keep<T>(&mut self, read: Result<T, Rejection>, _: T) -> Result<T, Rejection> {
        read
    }
}

/// Collects all problems.
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
