//! The tenants whose messages normalization holds, for its workers.
//!
//! Role: [`Control`](super::Control) writes the orders, a worker asks with each message. While no tenant is paused, that is one comparison.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};

use domain::Micros;
use parking_lot::Mutex;

use super::order::{Book, Order};

/// The orders for tenants.
#[derive(Debug, Default)]
pub struct HeldTenants {
    /// No message that was appended at this time or later is held.
    before: AtomicI64,
    orders: Mutex<BTreeMap<String, Order>>,
}

impl HeldTenants {
    /// Follows these orders from now on.
    pub fn follow(&self, book: &Book) {
        self.orders.lock().clone_from(book.tenants());
        self.before.store(book.holds_before(), Ordering::Release);
    }

    /// Whether a message of this tenant that was appended at this time is held.
    pub fn holds(&self, tenant: &str, appended_at: Micros) -> bool {
        if appended_at >= self.before.load(Ordering::Acquire) {
            return false;
        }
        let orders = self.orders.lock();
        orders.get(tenant).is_some_and(|order| order.holds(appended_at))
    }
}
