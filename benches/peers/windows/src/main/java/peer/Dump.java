package peer;

import java.io.BufferedOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Base64;
import java.util.Map;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Prints the committed records of a topic, oldest first within each partition, as a line of partition, key and value, the last
 * two in Base64: {@code Dump BOOTSTRAP TOPIC}.
 */
public final class Dump {
    private Dump() {}

    public static void main(String[] arguments) {
        Map<String, Object> settings = Map.of(
                "bootstrap.servers", arguments[0], "isolation.level", "read_committed", "fetch.min.bytes", 65_536);
        var bytes = new ByteArrayDeserializer();
        var base64 = Base64.getEncoder();
        try (var consumer = new KafkaConsumer<>(settings, bytes, bytes);
                var out = new PrintStream(new BufferedOutputStream(System.out, 1 << 16), false, StandardCharsets.US_ASCII)) {
            var partitions = consumer.partitionsFor(arguments[1]).stream()
                    .map(info -> new TopicPartition(info.topic(), info.partition()))
                    .toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            var ends = consumer.endOffsets(partitions);
            while (partitions.stream().anyMatch(partition -> consumer.position(partition) < ends.get(partition))) {
                for (var record : consumer.poll(Duration.ofMillis(500))) {
                    String key = record.key() == null ? "" : base64.encodeToString(record.key());
                    String value = record.value() == null ? "" : base64.encodeToString(record.value());
                    out.append(Integer.toString(record.partition())).append('\t').append(key).append('\t').append(value).append('\n');
                }
            }
        }
    }
}
