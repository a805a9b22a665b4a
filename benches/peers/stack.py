"""The servers of a comparison (a local stack of `dp` with its own folder and ports), and the processes that run on it."""

import json
import os
import subprocess
import urllib.request
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
RAW = "ingestion.market.raw.v1"
SERVICES = ("normalization", "enrichment", "aggregation", "projection")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# Fields 14 and 15 of /proc/PID/stat, counted from the one after the name in parentheses.
USER, SYSTEM = 11, 12


def cpu_seconds(pid: int) -> float:
    """CPU time of a process with all its threads since its start; 0 if it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    fields = text.rpartition(")")[2].split()
    return (int(fields[USER]) + int(fields[SYSTEM])) / TICKS_PER_SECOND


@dataclass
class Stack:
    program: Path
    # Contains the stack itself, and beside it the logs and the state of the peers.
    work: Path
    port_offset: int

    @property
    def kafka(self) -> str:
        return f"127.0.0.1:{9092 + self.port_offset}"

    @property
    def clickhouse(self) -> str:
        return f"http://127.0.0.1:{8123 + self.port_offset}"

    def dp(self, *words: str, generation: str = "") -> str:
        """Runs `dp WORDS` on this stack and returns its output. Its errors go to stderr and end the run."""
        environment = os.environ | {"DATA_PROC_GENERATION": generation, "DATA_PROC_LOG_LEVEL": "warn"}
        place = ["--dir", str(self.work / "stack"), "--port-offset", str(self.port_offset)]
        command = [str(self.program), *place, *words]
        return subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True).stdout

    def pids(self) -> dict[str, int]:
        return {process["name"]: process["pid"] for process in json.loads(self.dp("--json", "ps")) if process["pid"]}

    def sql(self, statement: str) -> list[list[str]]:
        """The rows of a statement on ClickHouse, as text."""
        request = urllib.request.Request(self.clickhouse, data=statement.encode())
        with urllib.request.urlopen(request, timeout=120) as answer:
            return [line.split("\t") for line in answer.read().decode().splitlines()]

    def number(self, statement: str) -> int:
        return int(self.sql(statement)[0][0])


def java(main: str, *arguments: str, heap: str = "256m") -> list[str]:
    """The command of one of the Java programs."""
    built = HERE / "windows" / "target"
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
    return ["java", f"-Xmx{heap}", quiet, "-cp", f"{built}/classes:{built}/lib/*", f"peer.{main}", *arguments]
