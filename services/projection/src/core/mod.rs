//! The decisions of projection, without clock, I/O or metrics: the newest price, what to write where, what an answer means.

pub mod ages;
pub mod book;
pub mod custom;
pub mod expiry;
pub mod invalidation;
pub mod lane;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod model;
mod names;
pub mod newest;
pub mod pending;
pub mod rules;
pub mod served_lane;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod served_model;
pub mod work;
