#!/usr/bin/env python3
"""Runs all tests in three lanes side by side: the program `pipeline`, in parts; the other test programs given as arguments (`--test
NAME`), which start the whole pipeline and mostly wait for servers; and all others. One lane after the other would take twice as long.
A lane that has ended takes the next parts of `pipeline`. The output of each program is printed when it ends. `make test` builds the
programs before.

TEST_UNTIL=SECONDS (since 1970) bounds the time: what has not begun by then is left out and named at the end. Each lane begins with
what finds most. Without it, everything runs.
TEST_ZONE=NAME is the time zone of the unit tests and parsers, which no result may depend on; without it, one is chosen at random and
named. Tests that were skipped, for lack of documents or programs, are named at the end.
TEST_LANES=2 leaves out the lane that begins with `pipeline`, for a machine on which three stacks at a time would answer too late.
Failure: exit code 1 if a program fails or cannot be started, or if none has run.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CARGO = ["cargo", "test", "--release", "--workspace"]
# A test that needs the programs builds them, unless this says that it was done.
BUILT = os.environ | {"PROGRAMS_ARE_BUILT": "yes"}
LONGEST = "pipeline"
# Its modules, in parts that take some minutes each, those that find most first; the last part is everything else.
PARTS = [
    ["under_faults"],
    ["corruption", "curve", "derived"],
    ["repair", "stopping"],
    ["disorder", "events", "tenants"],
    ["documents", "marker", "served"],
    ["backfill", "demo", "evictions", "replays"],
    ["explain", "health", "operator"],
    ["pause", "rebuilds", "signals"],
    ["under_load"],
]
# The end-to-end programs that find most come first, and the slowest of the others last.
FIRST = ["faults", "positions", "harmless", "scenarios"]
LAST = ["instructions", "memory", "history_cost"]
# Programs whose tests start servers and wait for what they answer. Two of them at a time, beside the other lanes, would be more than two
# cores can do in the time that a user is promised.
ONE_BY_ONE = ["commands", "kafka", "servers"]
# Half hours with a change of half an hour, and a zone without a name on the other side of the date line.
ZONES = ["UTC", "Australia/Lord_Howe", "<-11>11"]
ZONE = os.environ.get("TEST_ZONE") or random.choice(ZONES)
LINES_OF_A_PANIC = 25
# Test programs without servers, beside the unit tests.
WITHOUT_SERVERS = ["parsers", "repricing", "published", "horizons", "by_hand", "usual"]


@dataclass
class Program:
    """A test program, or a part of one."""

    name: str
    argv: list[str]
    folder: str

    def is_zoned(self) -> bool:
        """Whether it runs in ZONE."""
        return self.name.endswith(" (unit tests)") or self.name.split(": ")[1] in WITHOUT_SERVERS


@dataclass
class Run:
    """What all lanes share."""

    deadline: float | None
    lock: threading.Lock = field(default_factory=threading.Lock)
    failed: list[str] = field(default_factory=list)
    # What the failed tests said, for the end of a long output.
    said: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    is_ended: bool = False
    programs: int = 0

    def lane(self, programs: deque[Program], then: deque[Program] | None = None) -> None:
        """Runs `programs`, and when none is left those of another lane."""
        while not self.is_ended:
            with self.lock:
                program = programs.popleft() if programs else then.popleft() if then else None
            if program is None:
                return
            if self.deadline is not None and time.time() > self.deadline:
                self.left_out.append(program.name)
                continue
            try:
                self.one(program)
            except OSError as error:
                print(f"cannot run {program.name}: {error}", flush=True)
                self.failed.append(program.name)

    def one(self, program: Program) -> None:
        began = time.monotonic()
        process = subprocess.Popen(
            program.argv,
            cwd=program.folder,
            env=BUILT | ({"TZ": ZONE} if program.is_zoned() else {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.running.append(process)
        output, _ = process.communicate()
        with self.lock:
            self.programs += 1
            print(f"\n     Running {program.name} ({time.monotonic() - began:.0f} s)", flush=True)
            sys.stdout.buffer.write(output)
            sys.stdout.flush()
            lines = output.decode(errors="replace").splitlines()
            self.skipped += [line[line.index("SKIPPED ") :] for line in lines if "SKIPPED " in line]
            if process.returncode != 0:
                self.failed.append(program.name)
                self.said += [f"{program.name}: {line}" for line in panics(lines)]


def panics(lines: list[str]) -> list[str]:
    """Where each failed test stopped and what it said: some lines from its panic to the stack."""
    found = []
    for at, line in enumerate(lines):
        if " panicked at " in line:
            end = next((end for end in range(at, len(lines)) if lines[end].startswith(("note: ", "stack backtrace"))), len(lines))
            found += lines[at : min(end, at + LINES_OF_A_PANIC)]
    return found


def built(arguments: list[str]) -> list[Program]:
    """The programs that cargo builds for these arguments."""
    command = [*CARGO, "--no-run", "--message-format=json-render-diagnostics", *arguments]
    lines = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout.splitlines()
    found = []
    for message in map(json.loads, lines):
        if message.get("reason") == "compiler-artifact" and message["executable"] and message["profile"]["test"]:
            folder = str(Path(message["manifest_path"]).parent)
            target = message["target"]
            kind = "" if target["kind"] == ["test"] else " (unit tests)"
            name = f"{Path(folder).name}: {target['name']}{kind}"
            threads = ["--test-threads=1"] if target["name"] in ONE_BY_ONE else []
            found.append(Program(name, [message["executable"], *threads], folder))
    return sorted(found, key=lambda program: program.name)


def in_parts(program: Program) -> list[Program]:
    def part(names: list[str], option: list[str]) -> Program:
        chosen = [word for name in names for word in [*option, f"{name}::"]]
        title = f"{program.name}: {' '.join(names)}" if not option else f"{program.name}: all other modules"
        return Program(title, [*program.argv, *chosen], program.folder)

    everything = [name for names in PARTS for name in names]
    return [*(part(names, []) for names in PARTS), part(everything, ["--skip"])]


def place(program: Program) -> int:
    name = program.name.split(": ")[1]
    return FIRST.index(name) if name in FIRST else len(FIRST) + (name in LAST)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--test", action="append", default=[], metavar="NAME", help="an end-to-end program")
    names = parser.parse_args().test
    until = os.environ.get("TEST_UNTIL")
    run = Run(float(until) if until else None)

    stacks = built([word for name in names for word in ["--test", name]])
    longest = deque(part for program in stacks if program.name.endswith(f": {LONGEST}") for part in in_parts(program))
    waiting = deque(sorted((program for program in stacks if not program.name.endswith(f": {LONGEST}")), key=place))
    others = deque(sorted(built(["--lib", "--bins", "--tests"]), key=place))
    queues = [[longest], [waiting, longest], [others, longest]]
    if os.environ.get("TEST_LANES") == "2":
        queues = queues[1:]
    lanes = [threading.Thread(target=run.lane, args=arguments) for arguments in queues]
    for lane in lanes:
        lane.start()
    try:
        for lane in lanes:
            lane.join()
    except KeyboardInterrupt:
        # An interrupt reaches the programs, too; this must not start the next ones.
        run.is_ended = True
        for process in run.running:
            process.terminate()
        return 130
    print(f"unit tests and parsers ran with TZ={ZONE}")
    for line in sorted(set(run.skipped)):
        print(line)
    for line in run.said:
        print(line)
    for name in run.failed:
        print(f"FAILED: {name}")
    if run.left_out:
        print(f"left out, because they had not begun by TEST_UNTIL={until}: {', '.join(run.left_out)}")
    # A run that had time for nothing has shown nothing.
    return 1 if run.failed or run.programs == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
