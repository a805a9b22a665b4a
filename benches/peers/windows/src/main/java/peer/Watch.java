package peer;

import java.io.IOException;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.ExecutionException;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.GroupIdNotFoundException;

/**
 * Prints every 100 ms how many offsets a topic has and how many of another topic a group has committed, both over all
 * partitions: {@code Watch BOOTSTRAP TOPIC GROUP}. It ends with its standard input, so it does not outlive the
 * driver.
 */
public final class Watch {
    private Watch() {}

    public static void main(String[] arguments) throws Exception {
        Thread input = new Thread(Watch::exitWithInput);
        input.setDaemon(true);
        input.start();
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", arguments[0]))) {
            int count = admin.describeTopics(List.of(arguments[1])).allTopicNames().get().get(arguments[1]).partitions().size();
            var partitions = IntStream.range(0, count).mapToObj(number -> new TopicPartition(arguments[1], number)).toList();
            var latest = partitions.stream().collect(Collectors.toMap(partition -> partition, partition -> OffsetSpec.latest()));
            while (true) {
                long ends = admin.listOffsets(latest).all().get().values().stream().mapToLong(end -> end.offset()).sum();
                long committed = committed(admin, arguments[2]);
                System.out.println(ends + " " + committed);
                System.out.flush();
                Thread.sleep(100);
            }
        }
    }

    private static void exitWithInput() {
        try {
            while (System.in.read() >= 0) {}
        } catch (IOException error) {
            error.printStackTrace();
        }
        System.exit(0);
    }

    private static long committed(Admin admin, String group) throws Exception {
        try {
            return admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().values().stream()
                    .filter(Objects::nonNull)
                    .mapToLong(offset -> offset.offset())
                    .sum();
        } catch (ExecutionException error) {
            if (error.getCause() instanceof GroupIdNotFoundException) {
                return 0;
            }
            throw error;
        }
    }
}
