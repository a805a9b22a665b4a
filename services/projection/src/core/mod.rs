//! What the newest price is, what has to be written where, and what an answer means: without I/O or clock.

pub mod book;
pub mod lane;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod model;
mod names;
pub mod pending;
pub mod work;
