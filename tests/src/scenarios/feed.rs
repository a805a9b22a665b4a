//! A producer that sends one kind of message until it is stopped.
//!
//! Failure: a message that the broker does not accept within two minutes is an error of [`Feed::end`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::bail;
use testkit::kafka::{Outgoing, Publisher};

use crate::RAW;

/// What the producer sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// A tick as it should be.
    Good,
    /// Text that is no message of any kind.
    Garbage,
    /// A tick of a producer whose clock is an hour fast.
    FastClock,
    /// A tick in a version of the envelope that does not exist yet.
    NextVersion,
}

/// A running producer; it stops when dropped.
pub struct Feed {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Feed {
    /// Starts sending, `rate` messages a second. `name` is part of every event id.
    ///
    /// # Errors
    /// If the client cannot be created.
    pub fn start(bootstrap: &str, message: Message, rate: u32, name: &str) -> anyhow::Result<Feed> {
        let mut publisher = Publisher::new(bootstrap, RAW)?;
        let (stop, name) = (Arc::new(AtomicBool::new(false)), name.to_owned());
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            for number in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                publisher.send(&outgoing(message, &name, number)?)?;
                // A pace, not a wait for something.
                std::thread::sleep(Duration::from_secs(1) / rate);
            }
            publisher.finish()
        });
        Ok(Feed {
            stop,
            thread: Some(thread),
        })
    }

    /// Stops it after every message is acknowledged.
    ///
    /// # Errors
    /// If one was not acknowledged.
    pub fn end(mut self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(ended)) => ended,
            _ => bail!("the producer ended with a panic"),
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn outgoing(message: Message, name: &str, number: u32) -> anyhow::Result<Outgoing> {
    let instrument = format!("MISO.NODE{}.RT5", number % 50);
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let (time, version) = match message {
        Message::FastClock => (now + Duration::from_secs(3_600), "1.0"),
        Message::NextVersion => (now, "2.0"),
        Message::Good | Message::Garbage => (now, "1.0"),
    };
    let (time, price) = (time.as_millis(), 20 + number % 30);
    let payload = match message {
        Message::Garbage => format!("no market data {name} {number}"),
        _ => format!(
            r#"{{"envelope":{{"event_type":"market.tick","event_id":"{name}-{number}","timestamp":"2026-01-01T00:00:00Z","tenant_id":"default","source":"{name}","version":"{version}"}},"payload":{{"market":"MISO","instrument_id":"{instrument}","raw_data":{{"timestamp":{time},"price":{price}.25,"volume":1}}}}}}"#
        ),
    };
    Ok(Outgoing {
        key: Some(instrument),
        payload: payload.into_bytes(),
        ..Outgoing::default()
    })
}
