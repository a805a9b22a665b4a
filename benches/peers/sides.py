"""The sides of the comparison: Spate between two topics and into ClickHouse, Kafka Streams with windows, and the pipeline."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import oracle
from measure import Process, Watch
from stack import HERE, RAW, SERVICES, Stack, java

NORMALIZED = "normalized.market.ticks.v1"
# The values of a bar as integers: instrument, start, then as in oracle.Bar.
BARS = """SELECT instrument_id, toUnixTimestamp64Micro(window_start), toInt64(open * 100000000), toInt64(high * 100000000),
toInt64(low * 100000000), toInt64(close * 100000000), toInt64(volume * 100000000), trade_count
FROM market_data.{table} WHERE interval = '1m'"""
# Its columns and order of rows are those of market_ticks, as far as Spate's rows have them. Without the window ClickHouse
# ignores the tokens with which Spate repeats an insert.
TABLE = """CREATE TABLE market_data.{table} (event_id String, tenant_id LowCardinality(String),
source LowCardinality(String), market LowCardinality(String), instrument_id LowCardinality(String),
product LowCardinality(String), timestamp DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)), price Decimal(18, 8) CODEC(ZSTD(1)),
volume Nullable(Decimal(18, 8)) CODEC(ZSTD(1)), bid Nullable(Decimal(18, 8)) CODEC(ZSTD(1)),
ask Nullable(Decimal(18, 8)) CODEC(ZSTD(1)), node LowCardinality(Nullable(String)), hub LowCardinality(Nullable(String)),
zone LowCardinality(Nullable(String))) ENGINE = MergeTree ORDER BY (tenant_id, instrument_id, timestamp)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1"""


def dump(stack: Stack, topic: str) -> Iterator[str]:
    """The committed records of a topic."""
    with subprocess.Popen(java("Dump", stack.kafka, topic), stdout=subprocess.PIPE, text=True) as child:
        yield from child.stdout or []
    if child.returncode != 0:
        raise RuntimeError(f"topic {topic} cannot be read: see the error above")


def rows_counted(stack: Stack, table: str, messages: int, event: str) -> dict[str, int]:
    """Messages lost and repeated in a table of ticks."""
    count, distinct = stack.sql(f"SELECT count(), uniqExact({event}) FROM market_data.{table}")[0]
    return {"lost": messages - int(distinct), "repeated": int(count) - int(distinct)}


def rows_of(stack: Stack, *tables: str) -> int:
    """The rows of the table that has the fewest, without reading them."""
    count = "sumIf(rows, table = '{}')"
    counts = ", ".join(count.format(table) for table in tables)
    answer = stack.sql(f"SELECT {counts} FROM system.parts WHERE active AND database = 'market_data'")
    return min(int(value) for value in answer[0])


class Spate(Process):
    """One process of Spate. `what` is hop or table."""

    def __init__(self, stack: Stack, what: str, run: str, load: oracle.Load) -> None:
        self.stack, self.what, self.load = stack, what, load
        self.output = f"peers.spate.{run}" if what == "hop" else f"peers_spate_{run}"
        group = f"peers-spate-{what}-{run}"
        if what == "hop":
            subprocess.run(java("Topics", stack.kafka, self.output), check=True)
        else:
            stack.sql(TABLE.format(table=self.output))
        super().__init__(
            name="spate",
            command=[str(spate_program()), what, str(HERE / "spate" / f"{what}.yaml")],
            log=str(stack.work / f"spate-{what}-{run}.log"),
            environment={
                "PEER_BROKERS": stack.kafka,
                "PEER_CLICKHOUSE": stack.clickhouse,
                "PEER_RAW": RAW,
                "PEER_GROUP": group,
                "PEER_OUTPUT": self.output if what == "hop" else f"market_data.{self.output}",
            },
        )
        self.watch = Watch(stack, self.output if what == "hop" else RAW, group)

    def progress(self) -> int:
        return self.watch.ends if self.what == "hop" else rows_of(self.stack, self.output)

    def complete(self, progress: int) -> bool:
        return progress >= self.load.messages

    def done(self) -> bool:
        # With kills there are more records than messages, so the committed offsets tell.
        return self.watch.committed >= self.load.messages

    def counted(self) -> dict[str, int]:
        self.watch.close()
        if self.what == "hop":
            return oracle.count_events(self.load.messages, dump(self.stack, self.output))
        return rows_counted(self.stack, self.output, self.load.messages, "event_id")


class Streams(Process):
    """One process of Kafka Streams that keeps one-minute bars."""

    def __init__(self, stack: Stack, run: str, load: oracle.Load, store: str) -> None:
        self.stack, self.load, self.output = stack, load, f"peers.windows.{run}"
        application = f"peers-windows-{run}"
        subprocess.run(java("Topics", stack.kafka, self.output), check=True)
        state = stack.work / "state"
        arguments = [stack.kafka, RAW, self.output, application, str(state), store]
        super().__init__(
            name="kafka-streams",
            command=java("Windows", *arguments, heap="1g"),
            log=str(stack.work / f"windows-{run}.log"),
        )
        self.watch = Watch(stack, self.output, application)

    def progress(self) -> int:
        return self.watch.committed

    def complete(self, progress: int) -> bool:
        return progress >= self.load.messages

    def done(self) -> bool:
        return self.watch.committed >= self.load.messages

    def counted(self) -> dict[str, int]:
        self.watch.close()
        return oracle.compare_bars(self.load.bars(), oracle.bars_of_dump(dump(self.stack, self.output)))


class Ours:
    """Services of the pipeline, in a generation of their own: same raw topic, other topics and tables."""

    services = SERVICES

    def __init__(self, stack: Stack, run: str, load: oracle.Load) -> None:
        self.stack, self.load, self.generation = stack, load, f"peers{run}"
        self.running: dict[str, int] = {}
        stack.dp("up", "--no-services", generation=self.generation)

    def table(self, name: str) -> str:
        return f"{name}_{self.generation}"

    def start(self) -> None:
        self.stack.dp("start", "--no-wait", *self.services, generation=self.generation)
        self.running = {name: pid for name, pid in self.stack.pids().items() if name in self.services}

    def stop(self) -> None:
        self.stack.dp("stop", *self.services, generation=self.generation)

    def kill(self) -> None:
        for pid in self.pids().values():
            os.kill(pid, signal.SIGKILL)

    def pids(self) -> dict[str, int]:
        ended = [name for name in self.services if not Path(f"/proc/{self.running.get(name, 0)}/stat").exists()]
        if ended:
            raise RuntimeError(f"not running: {', '.join(ended)}; see {self.stack.work}/stack/logs")
        return dict(self.running)


class OurHop(Ours):
    """Normalization alone: from the raw topic to its topic. ClickHouse is stopped meanwhile, so its writer waits."""

    services = ("normalization",)

    def __init__(self, stack: Stack, run: str, load: oracle.Load) -> None:
        super().__init__(stack, run, load)
        stack.dp("stop", "clickhouse")
        self.topic = f"{NORMALIZED}-{self.generation}"
        self.watch = Watch(stack, self.topic, f"normalization-local-{self.generation}")

    def stop(self) -> None:
        super().stop()
        self.stack.dp("start", "clickhouse")

    def progress(self) -> int:
        return self.watch.ends

    def complete(self, progress: int) -> bool:
        return progress >= self.load.messages

    def done(self) -> bool:
        return self.watch.committed >= self.load.messages

    def counted(self) -> dict[str, int]:
        self.watch.close()
        return oracle.count_events(self.load.messages, dump(self.stack, self.topic))


class OurTable(Ours):
    """Normalization with its ClickHouse writer: from the raw topic to its topic and from there to `market_ticks`."""

    services = ("normalization",)

    def progress(self) -> int:
        return rows_of(self.stack, self.table("market_ticks"))

    def complete(self, progress: int) -> bool:
        return progress >= self.load.messages

    def done(self) -> bool:
        return self.complete(self.progress())

    def counted(self) -> dict[str, int]:
        return rows_counted(self.stack, self.table("market_ticks"), self.load.messages, "source_event_id")


class OurPipeline(Ours):
    """All four services: two tables of ticks, bars of five intervals, latest prices."""

    def progress(self) -> int:
        return rows_of(self.stack, self.table("market_ticks"), self.table("enriched_ticks"))

    def complete(self, progress: int) -> bool:
        return progress >= self.load.messages and self.done()

    def done(self) -> bool:
        bars = f"market_data.{self.table('bars')} FINAL WHERE interval = '1m'"
        ticks = self.stack.number(f"SELECT sum(trade_count) FROM {bars}")
        return min(ticks, self.progress()) >= self.load.messages

    def counted(self) -> dict[str, dict[str, int]]:
        messages, bars = self.load.messages, self.stack.sql(BARS.format(table=self.table("bars_latest")))
        return {
            "market_ticks": rows_counted(self.stack, self.table("market_ticks"), messages, "source_event_id"),
            "enriched_ticks": rows_counted(self.stack, self.table("enriched_ticks"), messages, "tick_id"),
            "bars": oracle.compare_bars(self.load.bars(), oracle.bars_of_rows(bars)),
        }


def spate_program() -> Path:
    return HERE / "spate" / "target" / "release" / "peer-spate"
