package peer;

import java.util.Arrays;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;

/** Creates topics with four partitions, as those of the pipeline: {@code Topics BOOTSTRAP NAME...}. */
public final class Topics {
    private Topics() {}

    public static void main(String[] arguments) throws Exception {
        var names = Arrays.stream(arguments).skip(1).map(name -> new NewTopic(name, 4, (short) 1));
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", arguments[0]))) {
            admin.createTopics(names.toList()).all().get();
        }
    }
}
