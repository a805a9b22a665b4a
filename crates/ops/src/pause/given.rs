//! A published order, and what a service answers.

use serde::Serialize;
use serde_json::Value;
use service::control::order::{Order, Subject};

/// A published order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Given {
    #[serde(flatten)]
    pub subject: Subject,
    pub offset: i64,
    #[serde(flatten)]
    pub order: Order,
}

/// The name of a service, and the body of its `/stats` or why there is none.
pub(super) type Answer = (String, Result<Value, String>);
