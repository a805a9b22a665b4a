package peer;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.time.OffsetDateTime;

/** What a window needs of a raw message. Price and volume are exact, in units of the eighth decimal. */
record Tick(long micros, long price, long volume) {
    private static final JsonFactory JSON = new JsonFactory();
    private static final int SCALE = 8;

    static Tick parse(byte[] message) {
        String time = null;
        long price = 0;
        long volume = 0;
        boolean inside = false;
        try (JsonParser parser = JSON.createParser(message)) {
            for (JsonToken token = parser.nextToken(); token != null; token = parser.nextToken()) {
                if (token != JsonToken.FIELD_NAME) {
                    continue;
                }
                String name = parser.currentName();
                parser.nextToken();
                if (name.equals("raw_data")) {
                    inside = true;
                } else if (inside && name.equals("timestamp")) {
                    time = parser.getText();
                } else if (inside && name.equals("price")) {
                    price = decimal(parser);
                } else if (inside && name.equals("volume")) {
                    volume = decimal(parser);
                }
            }
        } catch (IOException error) {
            throw new UncheckedIOException("a raw message is not JSON", error);
        }
        if (time == null) {
            throw new IllegalArgumentException("a raw message has no timestamp");
        }
        return new Tick(micros(time), price, volume);
    }

    /** Digit by digit, from the parser's own buffer. */
    private static long decimal(JsonParser parser) throws IOException {
        char[] text = parser.getTextCharacters();
        int from = parser.getTextOffset();
        int end = from + parser.getTextLength();
        boolean negative = text[from] == '-';
        long value = 0;
        int decimals = -1;
        for (int at = negative ? from + 1 : from; at < end; at++) {
            char digit = text[at];
            if (digit == '.') {
                decimals = 0;
            } else if (digit < '0' || digit > '9' || decimals == SCALE) {
                throw new NumberFormatException(parser.getText());
            } else {
                value = Math.addExact(Math.multiplyExact(value, 10L), digit - '0');
                decimals += decimals < 0 ? 0 : 1;
            }
        }
        for (int more = Math.max(decimals, 0); more < SCALE; more++) {
            value = Math.multiplyExact(value, 10L);
        }
        return negative ? -value : value;
    }

    /** The form of the load is read by position; any other by the library. */
    private static long micros(String text) {
        if (text.length() != 27 || text.charAt(19) != '.' || text.charAt(26) != 'Z') {
            var instant = OffsetDateTime.parse(text).toInstant();
            return Math.addExact(Math.multiplyExact(instant.getEpochSecond(), 1_000_000L), instant.getNano() / 1_000);
        }
        long days = java.time.LocalDate.of(number(text, 0, 4), number(text, 5, 7), number(text, 8, 10)).toEpochDay();
        long seconds = days * 86_400 + number(text, 11, 13) * 3_600L + number(text, 14, 16) * 60L + number(text, 17, 19);
        return seconds * 1_000_000 + number(text, 20, 26);
    }

    private static int number(String text, int from, int to) {
        return Integer.parseInt(text, from, to, 10);
    }
}
