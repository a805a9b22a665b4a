#!/usr/bin/env python3
"""Measures peers of the pipeline on the same servers, messages and hour, undisturbed and with kill -9, and counts what is lost.

    run.py                                    # all steps
    run.py build                              # Spate (cargo) and the Java programs (Maven), in folders of their own
    run.py up load                            # servers of a local stack, and the messages
    run.py spate-hop our-hop                  # any of the sides: also spate-table, our-table, streams, our-pipeline
    run.py report down                        # the table; then the servers and their data are removed

Peers: Spate for the hop and for Kafka → ClickHouse, Kafka Streams (exactly_once_v2) for one-minute bars. Counted by oracle.py from
the formula of the load. Each step keeps its results in results.json of its folder, so that a run can be continued.
Failure: the error of the step that failed; the servers go on, `run.py down` removes them. Exit code 1.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import measure
import oracle
import report
import sides
from report import STORES
from stack import HERE, RAW, Stack, java

SIDES = ("spate-hop", "our-hop", "spate-table", "our-table", "streams", "our-pipeline")
STEPS = ("build", "up", "load", *SIDES, "report", "down")
# The load has two minutes of event time, until now, as that of `dp bench`.
SPAN_MICROS = 120_000_000


class Run:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.stack = Stack(options.dp, options.dir, options.port_offset)
        self.file = options.dir / "results.json"
        self.results: dict = json.loads(self.file.read_text()) if self.file.exists() else {}

    def keep(self, name: str, result: object) -> None:
        self.results[name] = result
        self.file.write_text(json.dumps(self.results, indent=1))
        print(name, json.dumps(result), flush=True)

    @property
    def load_of_run(self) -> oracle.Load:
        return oracle.Load(**self.results["load"])

    def build(self) -> None:
        windows = HERE / "windows"
        target = windows / "target"
        copied = ["dependency:copy-dependencies", f"-DoutputDirectory={target}/lib", "-DincludeScope=runtime"]
        subprocess.run(["mvn", "-q", "-B", *copied], cwd=windows, check=True)
        sources = sorted(str(source) for source in windows.glob("src/main/java/peer/*.java"))
        compiler = ["javac", "--release", "17", "-d", f"{target}/classes", "-cp", f"{target}/lib/*"]
        subprocess.run([*compiler, *sources], check=True)
        cargo = ["cargo", "build", "--release", "--locked", "--target-dir", "target"]
        subprocess.run(cargo, cwd=HERE / "spate", check=True)

    def up(self) -> None:
        self.results = {}
        self.options.dir.mkdir(parents=True, exist_ok=True)
        self.keep("machine", {"cores": os.cpu_count(), "load": os.getloadavg()[0], "time": time.strftime("%FT%TZ", time.gmtime())})
        self.stack.dp("up", "--no-services")

    def load(self) -> None:
        messages = self.options.messages
        first = time.time_ns() // 1_000 - SPAN_MICROS
        load = oracle.Load(messages, self.options.instruments, first, max(SPAN_MICROS // messages, 1))
        numbers = [str(number) for number in (load.messages, load.instruments, load.first, load.step)]
        subprocess.run(java("Load", self.stack.kafka, RAW, *numbers), check=True)
        # A broker is several times slower right after its start, so the messages are read once before anything is measured.
        subprocess.run(java("Dump", self.stack.kafka, RAW), check=True, stdout=subprocess.DEVNULL)
        self.keep("load", vars(load))

    def measure(self, name: str, make: Callable[[str], measure.Side], *servers: str) -> None:
        """Both runs of a side: the first for its costs, the second with kills."""
        messages, pids = self.load_of_run.messages, self.stack.pids()
        for run in ("clean", "kills"):
            if self.options.only not in (None, run):
                continue
            side = make(f"{run}{time.time_ns() // 10**9 % 10**6}")
            try:
                if run == "clean":
                    figures = measure.undisturbed(side, messages, {server: pids[server] for server in servers})
                else:
                    figures = measure.killed(side, messages, self.options.kills, random.Random(self.options.seed))
            finally:
                side.stop()
            self.keep(f"{name}, {run}", figures | {"counted": side.counted()})

    def spate_hop(self) -> None:
        self.measure("spate-hop", lambda run: sides.Spate(self.stack, "hop", run, self.load_of_run), "kafka")

    def spate_table(self) -> None:
        self.measure("spate-table", lambda run: sides.Spate(self.stack, "table", run, self.load_of_run), *STORES[:2])

    def streams(self) -> None:
        store = self.options.store
        self.measure("streams", lambda run: sides.Streams(self.stack, run, self.load_of_run, store), "kafka")

    def our_hop(self) -> None:
        self.measure("our-hop", lambda run: sides.OurHop(self.stack, run, self.load_of_run), "kafka")

    def our_table(self) -> None:
        self.measure("our-table", lambda run: sides.OurTable(self.stack, run, self.load_of_run), *STORES[:2])

    def our_pipeline(self) -> None:
        self.measure("our-pipeline", lambda run: sides.OurPipeline(self.stack, run, self.load_of_run), *STORES)

    def report(self) -> None:
        print(report.shown(self.results))

    def down(self) -> None:
        """Only the results stay."""
        self.stack.dp("--yes", "clean-data")
        shutil.rmtree(self.options.dir / "state", ignore_errors=True)
        for log in self.options.dir.glob("*.log"):
            log.unlink()


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = HERE.parent.parent
    built = Path(os.environ.get("CARGO_TARGET_DIR", root / "target")) / "release" / "dp"
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"{', '.join(STEPS)} [default: all]")
    parser.add_argument("--dp", type=Path, default=built, help="the program dp")
    folder = Path(f"/var/tmp/254carbon-{os.getuid()}/peers")
    parser.add_argument("--dir", type=Path, default=folder, help=f"folder of servers, logs and results [default: {folder}]")
    parser.add_argument("--port-offset", type=int, default=200, help="of the servers [default: 200]")
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--instruments", type=int, default=100)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=254, help="of the times of the kills")
    parser.add_argument("--only", choices=["clean", "kills"], help="one of the two runs of each side")
    parser.add_argument("--store", default="memory", choices=["memory", "rocksdb"], help="of Kafka Streams")
    chosen = parser.parse_args()
    wrong = [step for step in chosen.steps if step not in STEPS]
    if wrong:
        parser.error(f"no such step: {', '.join(wrong)}")
    chosen.steps = chosen.steps or list(STEPS)
    return chosen


def main() -> int:
    chosen = options()
    run = Run(chosen)
    for step in chosen.steps:
        try:
            getattr(run, step.replace("-", "_"))()
        except (subprocess.CalledProcessError, OSError, RuntimeError, TimeoutError, KeyError, ValueError) as error:
            print(f"{step} failed: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
