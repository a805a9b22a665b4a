#!/usr/bin/env python3
"""Runs the commands of README.md and docs/**/*.md that are marked as local, against a running local stack.

A fenced block with the info string `sh local` holds such commands, one a line (a backslash at the end continues it). A comment beside
a command may say what its output contains, as a regular expression:

    dp groups                                  # lag of every group → normalization-local
    dp dlq stats                               # rejected messages; exit 1 → schema_violation
    dp gaps                                    # exit 0 or 1
    price=$((RANDOM % 900)).25                 # a variable for the next lines and their patterns
    dp tail raw --limit 1                      # exit 0; soon → $price

`exit N or M` names the exit codes that are right (0 without it). `soon` repeats the command until all of this holds.
The ports of the guide (8080 to 8083 and those of the servers) are moved by --port-offset. `dp` is that of --bin, on this stack.
Failure: each command that failed, timed out or lacks its pattern, with its output; an exception that no page needs; exit code 1.
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Seconds for one command, and for one that `soon` repeats.
LIMIT = 120
SOON = 30
MOST_EXCEPTIONS = 10
# A command as the page writes it → why it is not run.
EXCEPTIONS: dict[str, str] = {
    "dp restart clickhouse": "the local ClickHouse has no query log after a restart, so dp clickhouse slow could not run",
    "dp down": "stops ClickHouse: see dp restart clickhouse",
}
PORTS = ("8080", "8081", "8082", "8083", "9092", "8123", "5432", "6379")
NOTE = re.compile(
    r"\s#\s.*?(?:\bexit (?P<codes>\d(?: or \d)*)(?:;\s+|\s+|$))?(?P<soon>\bsoon(?:\s+|$))?(?:→\s(?P<pattern>.+))?$"
)


@dataclass
class Command:
    page: Path
    line: int
    text: str
    codes: tuple[int, ...] = (0,)
    pattern: str | None = None
    soon: bool = False

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def commands(page: Path) -> list[Command]:
    """The commands of the local blocks of a page, in order."""
    found, inside, begun = [], None, ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("```"):
            inside = (line[3:].strip() == "sh local") if inside is None else None
            continue
        if not inside or not line.strip() or line.startswith("#"):
            continue
        begun += line
        if line.endswith("\\"):
            begun = begun[:-1]
            continue
        found.append(command(page, number, begun))
        begun = ""
    return found


def command(page: Path, number: int, line: str) -> Command:
    note = NOTE.search(line)
    if not note:
        return Command(page, number, line.strip())
    codes = tuple(int(code) for code in note["codes"].split(" or ")) if note["codes"] else (0,)
    return Command(page, number, line[: note.start()].strip(), codes, note["pattern"], bool(note["soon"]))


class Shell:
    """Runs command lines one after the other; variables that a line sets are there for the next ones."""

    def __init__(self, folder: Path, binaries: Path, stack: list[str], offset: int):
        self.folder, self.offset = folder, offset
        wrapper = folder / "dp"
        wrapper.write_text(f'#!/bin/sh\nexec {shlex.join([str(binaries / "dp"), *stack])} "$@"\n')
        wrapper.chmod(0o755)
        # Addresses of this shell would name other servers than the stack.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DATA_PROC_") or name == "DATA_PROC_CACHE"}
        self.variables = kept | {"PATH": f"{folder}:{binaries}:{kept['PATH']}", "NO_COLOR": "1"}

    def run(self, text: str) -> tuple[int | None, str]:
        """Exit code (None: not within the limit) and output."""
        script = re.sub(
            r"\b(localhost|127\.0\.0\.1):(%s)\b" % "|".join(PORTS), lambda m: f"{m[1]}:{int(m[2]) + self.offset}", text
        )
        after = self.folder / "variables"
        body = f"set -a -o pipefail\n{script}\nstatus=$?\nenv -0 >{shlex.quote(str(after))}\nexit $status\n"
        try:
            done = subprocess.run(
                ["timeout", str(LIMIT), "bash", "-c", body],
                cwd=ROOT,
                env=self.variables,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=LIMIT + 10,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            return None, (late.stdout or b"").decode(errors="replace")
        if after.exists():
            pairs = (pair.partition("=") for pair in after.read_text(errors="replace").split("\0") if pair)
            self.variables = {name: value for name, _, value in pairs if name not in ("status", "_", "SHLVL")}
        return (None if done.returncode == 124 else done.returncode), done.stdout.decode(errors="replace")

    def pattern(self, text: str) -> str:
        known = self.variables
        return re.sub(r"\$([a-z_]+)", lambda m: re.escape(known[m[1]]) if m[1] in known else m[0], text)


def problem(shell: Shell, wanted: Command) -> str | None:
    """What is wrong with a command, with its output."""
    until = time.monotonic() + SOON
    while True:
        code, output = shell.run(wanted.text)
        pattern = wanted.pattern and shell.pattern(wanted.pattern)
        if code is None:
            wrong = f"was not done after {LIMIT} s"
        elif code not in wanted.codes:
            wrong = f"exit code {code}, not {' or '.join(map(str, wanted.codes))}"
        elif pattern and not re.search(pattern, output, re.M):
            wrong = f"output lacks {pattern}"
        else:
            return None
        if code is None or not wanted.soon or time.monotonic() > until:
            return f"{wrong}\n{output}"
        time.sleep(0.5)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=ROOT / "target/release", help="folder of the programs")
    parser.add_argument("--dir", help="folder of the stack, as for dp")
    parser.add_argument("--port-offset", type=int, default=0, help="as for dp")
    parser.add_argument("--list", action="store_true", help="show the commands, and run none")
    parser.add_argument("pages", nargs="*", type=Path, help="only these pages")
    args = parser.parse_args()

    pages = [page.resolve() for page in args.pages] or [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    wanted = [found for page in pages for found in commands(page)]
    texts = {found.text for found in wanted}
    failures = [f"exception that no page needs: {text}" for text in EXCEPTIONS if not args.pages and text not in texts]
    if len(EXCEPTIONS) > MOST_EXCEPTIONS:
        failures.append(f"{len(EXCEPTIONS)} exceptions; at most {MOST_EXCEPTIONS} are allowed")
    if args.list:
        print("\n".join(f"{found.place}: {found.text}" for found in wanted))
        return int(bool(failures))

    stack = ["--port-offset", str(args.port_offset), *(["--dir", args.dir] if args.dir else [])]
    ran = 0
    with tempfile.TemporaryDirectory() as folder:
        shell = Shell(Path(folder), args.bin.resolve(), stack, args.port_offset)
        for found in wanted:
            if reason := EXCEPTIONS.get(found.text):
                print(f"not run  {found.place}: {found.text} ({reason})", flush=True)
                continue
            begun = time.monotonic()
            wrong = problem(shell, found)
            ran += 1
            print(f"{'FAILED' if wrong else 'ok':7}{time.monotonic() - begun:5.1f} s  {found.place}: {found.text}", flush=True)
            if wrong:
                failures.append(f"{found.place}: {found.text}\n  {wrong}")
    print("\n".join(failures), file=sys.stderr)
    print(f"{ran} commands ran, {len(wanted) - ran} did not, {len(failures)} problems")
    if not wanted:
        print("no page has a block of local commands", file=sys.stderr)
    return int(bool(failures) or not wanted)


if __name__ == "__main__":
    sys.exit(main())
