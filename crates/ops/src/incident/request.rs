//! What a bundle is asked to hold.

use super::mask::Masker;
use crate::connection::Connection;
use crate::place::Place;

/// What to collect.
pub struct Request<'a> {
    /// The local stack, if it is used.
    pub place: &'a Place,
    /// The servers.
    pub connection: &'a Connection,
    /// Names and local ports of the services to fall back to.
    pub usual: &'a [(&'static str, u16)],
    /// The configuration in effect, without secrets.
    pub configuration: serde_json::Value,
    /// Hides secrets in everything.
    pub masker: &'a Masker,
    /// Logs and slow queries from this time on.
    pub since: jiff::Timestamp,
    /// Why the bundle is taken: names of alerts, or empty.
    pub alerts: &'a [String],
}
