//! Rate limit per client address: a fixed window, counted in memory.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Counts requests per client in the current window.
#[derive(Debug)]
pub struct RateLimit {
    maximum: u64,
    window: Duration,
    counts: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    requests: HashMap<IpAddr, u64>,
}

impl RateLimit {
    /// Allows `maximum` requests per client in each `window`.
    pub fn new(maximum: u64, window: Duration) -> RateLimit {
        RateLimit {
            maximum,
            window,
            counts: Mutex::new(Window {
                began: Instant::now(),
                requests: HashMap::new(),
            }),
        }
    }

    /// Counts a request. `Err` contains the seconds until the next window begins.
    pub fn admit(&self, client: IpAddr, now: Instant) -> Result<(), u64> {
        let mut counts = self.counts.lock();
        let age = now.saturating_duration_since(counts.began);
        if age >= self.window {
            counts.began = now;
            // A new window discards all clients, which bounds the memory.
            counts.requests.clear();
        }
        let requests = counts.requests.entry(client).or_insert(0);
        *requests += 1;
        if *requests <= self.maximum {
            return Ok(());
        }
        Err(self.window.saturating_sub(age).as_secs() + 1)
    }
}

/// As messages to clients name it.
impl std::fmt::Display for RateLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} requests in {:?}", self.maximum, self.window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn one_client_is_refused_until_the_next_window_and_others_are_not() {
        let limit = RateLimit::new(2, Duration::from_secs(60));
        let (one, other) = (
            IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
            IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)),
        );
        let now = Instant::now();
        assert_eq!([limit.admit(one, now), limit.admit(one, now)], [Ok(()), Ok(())]);
        assert!(matches!(limit.admit(one, now), Err(seconds) if (59..=61).contains(&seconds)));
        assert_eq!(limit.admit(other, now), Ok(()));
        assert_eq!(limit.admit(one, now + Duration::from_secs(61)), Ok(()));
    }
}
