package peer;

import java.time.Duration;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.state.Stores;

/**
 * Kafka Streams as a peer: one-minute bars of raw messages, exactly once: {@code Windows BOOTSTRAP RAW OUTPUT APPLICATION
 * STATE_DIR memory|rocksdb}.
 *
 * <p>The raw messages are keyed by instrument, so no repartition is needed. Each commit, once a second, writes the bars that
 * changed. An error ends the program; it runs until it is told to stop.
 */
public final class Windows {
    private static final Duration MINUTE = Duration.ofMinutes(1);
    private static final Duration GRACE = Duration.ofHours(1);

    private Windows() {}

    public static void main(String[] arguments) {
        String raw = arguments[1];
        String output = arguments[2];
        Serde<Tick> ticks = Serdes.serdeFrom((topic, tick) -> new byte[0], (topic, bytes) -> Tick.parse(bytes));
        Serde<Bar> bars = Serdes.serdeFrom(
                (topic, bar) -> bar == null ? null : bar.toBytes(),
                (topic, bytes) -> bytes == null ? null : Bar.fromBytes(bytes));
        Duration kept = MINUTE.plus(GRACE);
        var store = arguments[5].equals("rocksdb")
                ? Stores.persistentWindowStore("bars", kept, MINUTE, false)
                : Stores.inMemoryWindowStore("bars", kept, MINUTE, false);
        Consumed<String, Tick> consumed = Consumed.with(Serdes.String(), ticks)
                .withTimestampExtractor((record, highest) -> ((Tick) record.value()).micros() / 1_000);

        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(raw, consumed)
                .groupByKey(Grouped.with(Serdes.String(), ticks))
                .windowedBy(TimeWindows.ofSizeAndGrace(MINUTE, GRACE))
                .aggregate(
                        () -> Bar.EMPTY,
                        (instrument, tick, bar) -> bar.with(tick),
                        Materialized.<String, Bar>as(store)
                                .withKeySerde(Serdes.String())
                                .withValueSerde(bars)
                                .withCachingEnabled())
                .toStream()
                .map((window, bar) -> KeyValue.pair(window.key() + "|" + window.window().start(), bar))
                .to(output, Produced.with(Serdes.String(), bars));

        KafkaStreams streams = new KafkaStreams(builder.build(), settings(arguments));
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            return StreamThreadExceptionResponse.SHUTDOWN_APPLICATION;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(10))));
        streams.start();
    }

    private static Properties settings(String[] arguments) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, arguments[3]);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, arguments[4]);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        // The pipeline shows open bars once a second; the default under exactly once is ten times as often, and costs more.
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 1_000);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
        settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        settings.put("auto.offset.reset", "earliest");
        // As in the pipeline: a process that starts again after a kill gets its partitions at once.
        settings.put("group.instance.id", "peer");
        return settings;
    }
}
