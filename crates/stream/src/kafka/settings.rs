//! Client settings, each with the reason for it. `dp bench` uses the same ones.

use rdkafka::ClientConfig;

/// Settings of a group consumer.
pub fn consumer(bootstrap: &str, group: &str, client_id: &str) -> ClientConfig {
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
        .set("statistics.interval.ms", "5000");
    fetch(&mut config);
    config
}

/// Settings of a reader that assigns partitions itself and has no group.
pub fn reader(bootstrap: &str, client_id: &str) -> ClientConfig {
    let mut config = base(bootstrap, client_id);
    config
        .set("group.id", "dp-reader")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "true");
    fetch(&mut config);
    config
}

fn fetch(config: &mut ClientConfig) {
    config
        // The default of 1000 ms stalls a partition for a second whenever its queue was full.
        .set("fetch.queue.backoff.ms", "10")
        .set("fetch.wait.max.ms", "20")
        .set("fetch.min.bytes", "1")
        .set("fetch.error.backoff.ms", "100")
        // Bounds memory: what is fetched ahead, of all partitions together.
        .set("queued.max.messages.kbytes", "16384")
        .set("queued.min.messages", "20000");
}

/// Settings of the ordered producer (INV-7).
pub fn producer(bootstrap: &str, client_id: &str) -> ClientConfig {
    let mut config = base(bootstrap, client_id);
    config
        .set("enable.idempotence", "true")
        // Without it one failed message leaves a gap, and its replay would be taken for a repetition.
        .set("enable.gapless.guarantee", "true")
        // An outage is waited out; a record is never given up by time.
        .set("message.timeout.ms", "0")
        .set("linger.ms", "2")
        .set("batch.num.messages", "10000")
        .set("batch.size", "524288")
        .set("queue.buffering.max.messages", "200000")
        .set("queue.buffering.max.kbytes", "65536")
        .set("message.max.bytes", MAX_MESSAGE_BYTES_TEXT)
        .set("compression.type", "lz4");
    config
}

/// Largest record that is sent (checked before sending, INV-7). Raw topics and `dlq` allow as much.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;
const MAX_MESSAGE_BYTES_TEXT: &str = "67200000";

fn base(bootstrap: &str, client_id: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("client.id", client_id)
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("retry.backoff.ms", "50")
        .set("topic.metadata.refresh.interval.ms", "30000")
        .set("socket.keepalive.enable", "true")
        .set("log.connection.close", "false");
    config
}
