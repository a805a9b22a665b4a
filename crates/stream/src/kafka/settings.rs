//! Client settings, each with the reason for it. `dp bench` uses the same ones.

use std::time::Duration;

use rdkafka::ClientConfig;

use super::brokers::Brokers;
use super::follow::FOLLOW_WAIT;

/// How long messages may wait to be batched. Every fetch and every sent batch costs the broker time. In a quiet market that
/// time is spent on one or two ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Optimized for latency: available messages are fetched at once. In a quiet market they are taken at most once in this time,
    /// and their outputs are sent together.
    Prompt(Duration),
    /// Fetches wait this long to become large, and outputs linger.
    Within(Duration),
}

impl Pace {
    /// For readers of a stage's output, which arrives in bursts anyway.
    pub const PROMPT: Pace = Pace::Prompt(Duration::from_millis(20));
}

/// Settings of a group consumer.
pub fn consumer(bootstrap: &Brokers, group: &str, client_id: &str, pace: Pace) -> ClientConfig {
    let mut config = base(bootstrap, client_id);
    config
        .set("group.id", group)
        // Positions are set explicitly: the client must not commit or reset them by itself.
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", "10000")
        // A member hears of a rebalance with its next heartbeat, and partitions that move wait for that.
        .set("heartbeat.interval.ms", heartbeat(pace).as_millis().to_string())
        .set("max.poll.interval.ms", "300000")
        // The watch over stalled partitions sees the log's end with at most this delay. Shorter ones cost an idle stack more.
        .set("statistics.interval.ms", "4000");
    fetch(&mut config, pace);
    config
}

/// Settings of a reader that assigns partitions itself and has no group.
pub fn reader(bootstrap: &Brokers, client_id: &str) -> ClientConfig {
    let mut config = base(bootstrap, client_id);
    config
        .set("group.id", "dp-reader")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "true");
    fetch(&mut config, Pace::PROMPT);
    // Its partitions change often, and each waits for the fetch before it. It never waits at the end of a log.
    config.set("fetch.wait.max.ms", "5");
    // Unreadable offsets are tried a few times in a row (`examine`).
    config.set("fetch.error.backoff.ms", "1");
    config
}

/// Settings of a reader that waits for rare records: it costs the broker one request in this time, and the client few wake-ups.
pub fn follower(bootstrap: &Brokers, client_id: &str) -> ClientConfig {
    let mut config = reader(bootstrap, client_id);
    config
        .set("fetch.wait.max.ms", FOLLOW_WAIT.as_millis().to_string())
        .set("fetch.error.backoff.ms", "1000")
        .set("topic.metadata.refresh.interval.ms", "300000");
    report(&mut config);
    config
}

/// For a client that lives long and is polled: it reports whether it knows a broker (`Watch::on_statistics`).
pub(super) fn report(config: &mut ClientConfig) {
    config.set("statistics.interval.ms", "10000");
}

/// How often a member tells the group that it lives. A rebalance waits for it: the partitions that move stand still for one.
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(500);

/// A reader that may fetch late may also hear late of a rebalance: each heartbeat of an idle member costs the broker as much as
/// a fetch.
fn heartbeat(pace: Pace) -> Duration {
    match pace {
        Pace::Prompt(_) => HEARTBEAT,
        Pace::Within(wait) => HEARTBEAT.max(2 * wait),
    }
}

fn fetch(config: &mut ClientConfig, pace: Pace) {
    // A prompt fetch returns as soon as a batch is available, so its wait is the pause between two fetches of an idle topic. A
    // partition that is started while a fetch waits must wait for it, too: partitions are started together (`Io::start`).
    let (min_bytes, wait) = match pace {
        Pace::Prompt(_) => ("1", Duration::from_secs(1)),
        // Half of what a fetch may return for one partition: otherwise each fetch would wait for its full time.
        Pace::Within(wait) => ("524288", wait),
    };
    config
        .set("fetch.min.bytes", min_bytes)
        .set("fetch.wait.max.ms", wait.as_millis().to_string())
        .set("receive.message.max.bytes", LARGEST_UNPACKED.to_string())
        // The default of 1000 ms stalls a partition for a second whenever its queue was full.
        .set("fetch.queue.backoff.ms", "10")
        .set("fetch.error.backoff.ms", "100")
        // Bounds the memory for messages fetched ahead, for all partitions together. For small messages the client needs as much
        // again.
        .set("queued.max.messages.kbytes", "2048")
        .set("queued.min.messages", "5000");
}

/// Compression of records on the wire and in the log. The broker and each reader decompress every batch once. This costs a third
/// of a whole pipeline's time if disk and network are not the bottleneck (docs/performance.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Compression {
    None,
    Lz4,
    Zstd,
}

impl Compression {
    /// All of them.
    pub const ALL: [Compression; 3] = [Compression::None, Compression::Lz4, Compression::Zstd];

    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}

/// Settings of the ordered producer (INV-7).
pub fn producer(bootstrap: &Brokers, client_id: &str, compression: Compression) -> ClientConfig {
    let mut config = base(bootstrap, client_id);
    config
        .set("enable.idempotence", "true")
        // Without it one failed message leaves a gap, and its retry would be taken for a repetition.
        .set("enable.gapless.guarantee", "true")
        // The producer waits through an outage; records never expire.
        .set("message.timeout.ms", "0")
        // Large batches under load; with few records, the worker pushes them (`kafka::push`).
        .set("linger.ms", "10")
        .set("batch.num.messages", "10000")
        .set("batch.size", "524288")
        // A few hundred milliseconds of full load; more costs memory and gains no speed.
        .set("queue.buffering.max.messages", "20000")
        // The queue must have room for the largest record.
        .set("queue.buffering.max.kbytes", (MAX_SENT_BYTES / 1024).to_string())
        .set("message.max.bytes", MAX_SENT_BYTES.to_string())
        .set("compression.type", compression.name());
    report(&mut config);
    config
}

/// Largest record of a raw topic (INV-9): its `max.message.bytes`, so headers and the framing count.
pub const MAX_RAW_BYTES: usize = 64 * 1024 * 1024;
/// Largest record of every topic that a stage writes to: a raw record fits into a dead letter, with room for the letter's own
/// headers.
pub const MAX_SENT_BYTES: usize = MAX_RAW_BYTES + 8 * 1024 * 1024;

/// Largest response of a broker, and largest batch that the client decompresses from zstd. The client guesses that size in steps
/// of three, so the limit is above three times the largest record.
const LARGEST_UNPACKED: usize = 4 * MAX_RAW_BYTES;

fn base(bootstrap: &Brokers, client_id: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    bootstrap.apply(&mut config);
    config
        .set("client.id", client_id)
        // A broker that was frozen may briefly list no broker, and the client then forgets all brokers. It must start again
        // with the bootstrap addresses, or it never reconnects (`kafka::connect` sees to it where the client does not). The cost: while no broker is available, it tries them without
        // back-off, some 40 times a second, at under 1 % of a core for each client.
        .set("metadata.recovery.strategy", "rebootstrap")
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("retry.backoff.ms", "50")
        .set("topic.metadata.refresh.interval.ms", "60000")
        .set("socket.keepalive.enable", "true")
        .set("log.connection.close", "false");
    config
}
