package peer;

import java.nio.ByteBuffer;

/** A one-minute bar. Open and close are the first and the last price by event time, as in the pipeline. */
record Bar(long openAt, long open, long high, long low, long closeAt, long close, long volume, long count) {
    private static final int BYTES = 8 * Long.BYTES;
    static final Bar EMPTY = new Bar(Long.MAX_VALUE, 0, Long.MIN_VALUE, Long.MAX_VALUE, Long.MIN_VALUE, 0, 0, 0);

    Bar with(Tick tick) {
        boolean first = tick.micros() < openAt;
        boolean last = tick.micros() >= closeAt;
        return new Bar(
                first ? tick.micros() : openAt,
                first ? tick.price() : open,
                Math.max(high, tick.price()),
                Math.min(low, tick.price()),
                last ? tick.micros() : closeAt,
                last ? tick.price() : close,
                Math.addExact(volume, tick.volume()),
                count + 1);
    }

    byte[] toBytes() {
        ByteBuffer buffer = ByteBuffer.allocate(BYTES);
        buffer.putLong(openAt).putLong(open).putLong(high).putLong(low);
        return buffer.putLong(closeAt).putLong(close).putLong(volume).putLong(count).array();
    }

    static Bar fromBytes(byte[] bytes) {
        ByteBuffer buffer = ByteBuffer.wrap(bytes);
        return new Bar(
                buffer.getLong(),
                buffer.getLong(),
                buffer.getLong(),
                buffer.getLong(),
                buffer.getLong(),
                buffer.getLong(),
                buffer.getLong(),
                buffer.getLong());
    }
}
