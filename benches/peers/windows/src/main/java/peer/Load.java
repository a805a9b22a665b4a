package peer;

import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Publishes raw messages of shape A whose content is a function of their number, so that the oracle can compute what was loaded
 * without reading it: {@code Load BOOTSTRAP TOPIC MESSAGES INSTRUMENTS FIRST_MICROS STEP_MICROS}.
 *
 * <p>Message i is of instrument i mod INSTRUMENTS, at FIRST + i * STEP. The key is the instrument, so the times of a partition
 * ascend. Failure: a record that Kafka rejects ends the program with an error.
 */
public final class Load {
    private static final DateTimeFormatter TIME =
            DateTimeFormatter.ofPattern("uuuu-MM-dd'T'HH:mm:ss.SSSSSS'Z'").withZone(ZoneOffset.UTC);

    private Load() {}

    public static void main(String[] arguments) throws Exception {
        String topic = arguments[1];
        long messages = Long.parseLong(arguments[2]);
        long instruments = Long.parseLong(arguments[3]);
        long first = Long.parseLong(arguments[4]);
        long step = Long.parseLong(arguments[5]);
        Properties settings = new Properties();
        settings.put("bootstrap.servers", arguments[0]);
        settings.put("linger.ms", 20);
        settings.put("batch.size", 256 * 1024);
        settings.put("buffer.memory", 64 * 1024 * 1024);
        AtomicReference<Exception> failure = new AtomicReference<>();
        var bytes = new ByteArraySerializer();
        try (var producer = new KafkaProducer<>(settings, bytes, bytes)) {
            for (long number = 0; number < messages && failure.get() == null; number++) {
                String instrument = String.format("MISO.PEER%03d.SPOT", number % instruments);
                byte[] value = message(number, instrument, first + number * step, instruments).getBytes(StandardCharsets.UTF_8);
                byte[] key = instrument.getBytes(StandardCharsets.UTF_8);
                producer.send(new ProducerRecord<>(topic, key, value), (where, error) -> {
                    if (error != null) {
                        failure.compareAndSet(null, error);
                    }
                });
            }
        }
        if (failure.get() != null) {
            throw failure.get();
        }
    }

    private static String message(long number, String instrument, long micros, long instruments) {
        String time = TIME.format(Instant.ofEpochSecond(micros / 1_000_000, micros % 1_000_000 * 1_000));
        long cents = 3_000 + (number / instruments * 37 + number % instruments * 11) % 200;
        return "{\"envelope\":{\"event_type\":\"ingestion.market.raw.v1\",\"event_id\":\"" + String.format("peer-%09d", number)
                + "\",\"timestamp\":\"" + time + "\",\"tenant_id\":\"default\",\"source\":\"ingestion.miso\",\"version\":\"1.0\"},"
                + "\"payload\":{\"market\":\"MISO\",\"instrument_id\":\"" + instrument
                + "\",\"raw_data\":{\"product\":\"spot\",\"timestamp\":\"" + time + "\",\"price\":" + decimal(cents)
                + ",\"volume\":" + (1 + number * 31 % 500) + ",\"bid\":" + decimal(cents - 3) + ",\"ask\":" + decimal(cents + 4)
                + ",\"node\":\"INDIANA.HUB\",\"hub\":\"INDIANA.HUB\",\"zone\":\"Z1\"}}}";
    }

    private static String decimal(long cents) {
        return cents / 100 + "." + cents % 100 / 10 + cents % 10;
    }
}
