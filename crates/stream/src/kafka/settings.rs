//! Client settings, each with the reason for it. `dp bench` uses the same ones.

use std::time::Duration;

use rdkafka::ClientConfig;

use super::brokers::Brokers;

/// How long messages may wait to be batched. Every fetch and every batch that is sent has a price for the broker, which a
/// quiet market pays for a tick or two at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Latency counts: whatever is there is fetched at once, and sent soon.
    Prompt,
    /// Fetches wait this long for a large one, and outputs linger.
    Within(Duration),
}

/// Settings of a group consumer.
pub fn consumer(bootstrap: &Brokers, group: &str, client_id: &str, pace: Pace) -> ClientConfig {
    let mut config = base(bootstrap, client_id);
    config
        .set("group.id", group)
        // Positions are ours: nothing is committed or reset behind our back.
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", "10000")
        .set("heartbeat.interval.ms", "2000")
        .set("max.poll.interval.ms", "300000")
        // What the watch over stalled partitions sees of the log's end is as old as this.
        .set("statistics.interval.ms", "2000");
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
    fetch(&mut config, Pace::Prompt);
    // What cannot be read is tried a few times in a row (`examine`).
    config.set("fetch.error.backoff.ms", "1");
    config
}

fn fetch(config: &mut ClientConfig, pace: Pace) {
    // Prompt answers as soon as a batch is there: how many there are depends on the producer, whose
    // linger makes them large under load; an idle topic is asked twenty times a second. Who can wait spares the broker
    // and this client most of the fetches.
    let (min_bytes, wait) = match pace {
        Pace::Prompt => ("1", Duration::from_millis(50)),
        // Half of what a fetch may bring of one partition: else every one of them would wait for its time.
        Pace::Within(wait) => ("524288", wait),
    };
    config
        .set("fetch.min.bytes", min_bytes)
        .set("fetch.wait.max.ms", wait.as_millis().to_string())
        .set("receive.message.max.bytes", LARGEST_UNPACKED.to_string())
        // The default of 1000 ms stalls a partition for a second whenever its queue was full.
        .set("fetch.queue.backoff.ms", "10")
        .set("fetch.error.backoff.ms", "100")
        // Bounds memory: what is fetched ahead, of all partitions together. The client keeps as much again for each small
        // message.
        .set("queued.max.messages.kbytes", "2048")
        .set("queued.min.messages", "5000");
}

/// How records are packed on their way and in the log. The broker unpacks every batch once, and so does each reader: it
/// costs a third of a whole pipeline where disk and network are not what is short (docs/performance.md).
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
        // Without it one failed message leaves a gap, and its replay would be taken for a repetition.
        .set("enable.gapless.guarantee", "true")
        // An outage is waited out; a record is never given up by time.
        .set("message.timeout.ms", "0")
        // Large batches under load; where little comes, the worker pushes after some milliseconds (`kafka::push`).
        .set("linger.ms", "10")
        .set("batch.num.messages", "10000")
        .set("batch.size", "524288")
        // Some hundred milliseconds of a full load; more is memory without speed.
        .set("queue.buffering.max.messages", "20000")
        // It has to hold the largest record.
        .set("queue.buffering.max.kbytes", (MAX_SENT_BYTES / 1024).to_string())
        .set("message.max.bytes", MAX_SENT_BYTES.to_string())
        .set("compression.type", compression.name());
    config
}

/// Largest record of a raw topic (INV-9): its `max.message.bytes`, so headers and the framing count.
pub const MAX_RAW_BYTES: usize = 64 * 1024 * 1024;
/// Largest record of every topic that a stage writes to: a raw record fits into a dead letter, with room for what the
/// letter says of itself.
pub const MAX_SENT_BYTES: usize = MAX_RAW_BYTES + 8 * 1024 * 1024;

/// Largest answer of a broker, and largest batch that the client unpacks from zstd. It guesses the size in steps of three, so
/// three times the largest record.
const LARGEST_UNPACKED: usize = 4 * MAX_RAW_BYTES;

fn base(bootstrap: &Brokers, client_id: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    bootstrap.apply(&mut config);
    config
        .set("client.id", client_id)
        // A broker that was frozen lists no broker for a moment, and the client forgets all that it knew. Then it has to begin
        // again with the bootstrap addresses, else it never connects again. The price: while no broker is there, it tries them
        // without back-off, some 40 times a second, under 1 % of a core for each client.
        .set("metadata.recovery.strategy", "rebootstrap")
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("retry.backoff.ms", "50")
        .set("topic.metadata.refresh.interval.ms", "30000")
        .set("socket.keepalive.enable", "true")
        .set("log.connection.close", "false");
    config
}
