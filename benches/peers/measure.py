"""Runs one side over the loaded messages: once undisturbed, for CPU time and rate, and once with kill -9."""

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from stack import Stack, cpu_seconds, java

LOOK = 0.1
# Seconds without progress after which a run has failed.
STALLED = 90.0
# Seconds without progress after which the processes are looked for.
QUIET = 5.0
# Seconds without any change after which a run with kills has ended.
SETTLED = 3.0


class Side(Protocol):
    """What is measured: a peer or the pipeline."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...
    def pids(self) -> dict[str, int]:
        """Fails if one of the processes has ended."""
        ...

    def progress(self) -> int: ...

    def complete(self, progress: int) -> bool:
        """Whether everything is in the output, if nothing is repeated."""
        ...

    def done(self) -> bool:
        """Whether all input is worked on and committed, whatever was repeated."""
        ...


class Watch:
    """How many offsets a topic has, and how many offsets a group has committed, ten times a second."""

    def __init__(self, stack: Stack, topic: str, group: str) -> None:
        self.ends = self.committed = 0
        command = java("Watch", stack.kafka, topic, group, heap="64m")
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.child.stdout or []:
            ends, committed = line.split()
            self.ends, self.committed = int(ends), int(committed)

    def close(self) -> None:
        self.child.kill()
        self.child.wait()


@dataclass
class Mark:
    """Where a run was at a time, and what its processes had used."""

    progress: int
    time: float
    cpu: dict[str, float]

    @staticmethod
    def of(side: Side, progress: int, servers: dict[str, int]) -> "Mark":
        pids = side.pids() | servers
        return Mark(progress, time.monotonic(), {name: cpu_seconds(pid) for name, pid in pids.items()})

    def per_message(self, later: "Mark") -> dict[str, float]:
        """CPU microseconds a message until the later mark."""
        messages = max(later.progress - self.progress, 1)
        return {name: (cpu - self.cpu.get(name, 0.0)) * 1e6 / messages for name, cpu in later.cpu.items()}


def undisturbed(side: Side, messages: int, servers: dict[str, int]) -> dict:
    """Rate since the first output, seconds and CPU time a message since the start, and CPU time of the second half alone."""
    before = Mark(0, time.monotonic(), {name: cpu_seconds(pid) for name, pid in servers.items()})
    side.start()
    first = Mark.of(side, until(side, lambda progress: progress > 0, "the first output"), servers)
    half = Mark.of(side, until(side, lambda progress: progress >= messages // 2, "half of the output"), servers)
    last = Mark.of(side, until(side, side.complete, "all output"), servers)
    until(side, lambda _: side.done(), "the last commit")
    side.stop()
    rate = (last.progress - first.progress) / max(last.time - first.time, LOOK)
    return {
        "per_second": round(rate),
        "seconds": round(last.time - before.time, 1),
        "cpu_us": rounded(before.per_message(last)),
        "cpu_us_second_half": rounded(half.per_message(last)),
    }


def killed(side: Side, messages: int, kills: int, random_: random.Random) -> dict:
    """Kills the side with SIGKILL while it works on the backlog, starts it again at once, and lets it finish."""
    step = messages // (kills + 2)
    gaps: list[float] = []
    side.start()
    for _ in range(kills):
        base = side.progress()
        until(side, lambda progress, base=base: progress >= base + step or side.done(), "output before a kill")
        time.sleep(random_.uniform(0.0, 0.3))
        if side.done():
            break
        side.kill()
        # What the servers had received before the kill becomes visible.
        time.sleep(LOOK * 2)
        base, began = side.progress(), time.monotonic()
        side.start()
        until(side, lambda progress, base=base: progress > base or side.done(), "output after a kill")
        gaps.append(round(time.monotonic() - began, 1))
    until(side, lambda _: side.done(), "all output")
    settle(side)
    side.stop()
    return {"kills": len(gaps), "seconds_to_output": gaps}


def until(side: Side, condition: Callable[[int], bool], what: str) -> int:
    """Waits until the progress meets a condition, and returns it; fails if nothing moves for long or a process has ended."""
    progress = newest = side.progress()
    since = time.monotonic()
    while not condition(progress):
        time.sleep(LOOK)
        progress = side.progress()
        if progress != newest:
            newest, since = progress, time.monotonic()
        elif time.monotonic() - since > STALLED:
            raise TimeoutError(f"no progress for {STALLED:.0f} s while waiting for {what}: {newest} so far")
        elif time.monotonic() - since > QUIET:
            side.pids()
    return progress


def settle(side: Side) -> None:
    newest, since = side.progress(), time.monotonic()
    while time.monotonic() - since < SETTLED:
        time.sleep(LOOK)
        if side.progress() != newest:
            newest, since = side.progress(), time.monotonic()


def rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 2) for name, value in values.items()}


@dataclass
class Process:
    """A peer: one process, its log in a file."""

    name: str
    command: list[str]
    log: str
    environment: dict[str, str] = field(default_factory=dict)
    child: subprocess.Popen | None = None

    def start(self) -> None:
        with open(self.log, "ab") as log:
            environment = os.environ | self.environment
            self.child = subprocess.Popen(self.command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def pids(self) -> dict[str, int]:
        if self.child is None or self.child.poll() is not None:
            raise RuntimeError(f"{self.name} is not running: see {self.log}")
        return {self.name: self.child.pid}

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, how: int) -> None:
        if self.child is not None and self.child.poll() is None:
            self.child.send_signal(how)
            try:
                self.child.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
