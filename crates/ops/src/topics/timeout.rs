//! How long a call of Kafka about topics may take.

use std::time::Duration;

pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(15);
