//! A check of one area, and what it may ask.

use std::pin::Pin;
use std::time::Duration;

use super::{Area, Finding};
use crate::connection::Connection;
use crate::migrations::Stores;
use crate::place::Place;

/// What every check may ask.
pub(super) struct Asked<'a> {
    pub(super) connection: &'a Connection,
    pub(super) stores: Stores,
    pub(super) place: &'a Place,
    /// Whether this is a stack on this machine.
    pub(super) is_local: bool,
    /// A check that takes longer is given up; the check of the lag waits for a second look besides.
    pub(super) limit: Duration,
}

pub(super) type Running<'a> = Pin<Box<dyn Future<Output = anyhow::Result<Vec<Finding>>> + 'a>>;

/// A check of one area.
pub(super) struct Check<'a> {
    pub(super) area: Area,
    /// The servers without which it cannot run.
    pub(super) needs: &'static [&'static str],
    pub(super) limit: Duration,
    pub(super) run: Running<'a>,
}
