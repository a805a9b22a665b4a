"""What must come out, computed from the formula of the load, and what is lost, repeated or wrong. Shares no code with any side."""

import base64
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass

MINUTE = 60_000_000
# Units of a hundredth, and of one, in the eighth decimal.
CENT, ONE = 10**6, 10**8
EVENT = re.compile(rb"peer-(\d{9})")

# open, high, low, close, volume (in the eighth decimal), ticks
Bar = tuple[int, int, int, int, int, int]
Bars = dict[tuple[str, int], Bar]


@dataclass(frozen=True)
class Load:
    """Message i is of instrument i mod `instruments`, at `first` + i * `step` microseconds."""

    messages: int
    instruments: int
    first: int
    step: int

    def bars(self) -> Bars:
        """The one-minute bars by instrument and start in microseconds. Times of an instrument ascend."""
        bars: dict[tuple[int, int], list[int]] = {}
        for number in range(self.messages):
            instrument = number % self.instruments
            time = self.first + number * self.step
            price = (3_000 + (number // self.instruments * 37 + instrument * 11) % 200) * CENT
            volume = (1 + number * 31 % 500) * ONE
            bar = bars.setdefault((instrument, time - time % MINUTE), [price, price, price, price, 0, 0])
            bar[1] = max(bar[1], price)
            bar[2] = min(bar[2], price)
            bar[3] = price
            bar[4] += volume
            bar[5] += 1
        return {(f"MISO.PEER{key[0]:03}.SPOT", key[1]): tuple(bar) for key, bar in bars.items()}


def compare_bars(expected: Bars, found: Bars) -> dict[str, int]:
    """Ticks lost and repeated in the final bars, and bars with any other wrong value."""
    nothing: Bar = (0, 0, 0, 0, 0, 0)
    differences = [found.get(key, nothing)[5] - expected.get(key, nothing)[5] for key in expected.keys() | found.keys()]
    return {
        "lost": -sum(difference for difference in differences if difference < 0),
        "repeated": sum(difference for difference in differences if difference > 0),
        "wrong_bars": sum(found.get(key) != bar for key, bar in expected.items()) + len(found.keys() - expected.keys()),
    }


def count_events(messages: int, dump: Iterable[str]) -> dict[str, int]:
    """Messages lost and repeated in a topic of ticks, whatever their encoding: it contains the event's id as text."""
    seen = bytearray(messages)
    repeated = 0
    for line in dump:
        found = EVENT.search(base64.b64decode(line.rstrip("\n").split("\t")[2]))
        if found is None:
            raise ValueError(f"a record without an event id: {line}")
        number = int(found[1])
        repeated += seen[number]
        seen[number] = 1
    return {"lost": messages - sum(seen), "repeated": repeated}


def bars_of_dump(dump: Iterable[str]) -> Bars:
    """The last bar of each key. A value is eight big-endian integers (Bar.java)."""
    bars: Bars = {}
    for line in dump:
        _, key, value = line.rstrip("\n").split("\t")
        instrument, start = base64.b64decode(key).decode().split("|")
        _, opened, high, low, _, closed, volume, count = struct.unpack(">8q", base64.b64decode(value))
        bars[instrument, int(start) * 1_000] = (opened, high, low, closed, volume, count)
    return bars


def bars_of_rows(rows: list[list[str]]) -> Bars:
    """Rows of instrument, start in microseconds, then the values of a bar as integers."""
    return {(row[0], int(row[1])): tuple(int(value) for value in row[2:8]) for row in rows}
