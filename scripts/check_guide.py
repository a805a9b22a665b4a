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
A word of PLACEHOLDERS, such as SERVICE, is replaced by a value of this run, in commands and in patterns.
Pages of docs/runbooks have many commands in common. There a command that only reads is not run again before something has changed, and
a restart or a replay of dead letters that another page has run is not run again: the output of the first time counts. If that lacks the
pattern, the command is run after all.
Each command has a pattern, except those that print nothing (SILENT) and those that are not run (EXCEPTIONS).
The ports of the guide (8080 to 8083 and those of the servers) are moved by --port-offset. `dp` is that of --bin, on this stack.
Failure: each command that failed, timed out or lacks its pattern, with its output; a command without a pattern, also with --list; an exception
that no page needs; exit code 1.
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
# The info string of the blocks that are run.
LOCAL = "sh local"
# Seconds for one command, and for one that `soon` repeats.
LIMIT = 120
SOON = 60
# Lines of the pages that may be exceptions, together with those of check_cluster_guide.py.
MOST_EXCEPTIONS = 10
# A command as the page writes it → why it is not run.
EXCEPTIONS: dict[str, str] = {
    "dp alerts list": "needs Alertmanager, which make monitor starts; crates/dp/tests/commands/alerts.rs has a stub",
    "dp position skip SERVICE --topic TOPIC --partition N --to OFFSET --dry-run": "needs a partition that is blocked; tests/positions has one",
    "dp position skip SERVICE --topic TOPIC --partition N --to OFFSET --yes": "needs a partition that is blocked; tests/positions has one",
    "DATA_PROC_GENERATION=g2 dp topics create && DATA_PROC_GENERATION=g2 dp restart": "later pages would meet the topics and groups of"
    " another generation; tests/positions tries it",
}
# Why a command needs no pattern → the whole command. It must print nothing.
SILENT = {
    "sets a variable": re.compile(r"[a-z_]+=(\$\(.*\)|\S)*"),
    "sends a signal": re.compile(r"kill -\w+ \$\(.*\)"),
}
# A word that stands for a value in the pages → a command that prints one of this run, when a page first needs it. $RUN is a folder.
PLACEHOLDERS = {
    "SERVICE": "echo enrichment",
    "STAGE": "echo enrichment",
    "PORT": "echo 8081",
    "INSTRUMENT": "dp sql --json \"SELECT instrument_id FROM bars_latest WHERE interval = '1h' ORDER BY window_start DESC, 1 LIMIT 1\""
    " | jq -r '.[].instrument_id'",
    "TIME": "dp sql --json \"SELECT replace(toString(window_start), ' ', 'T') || 'Z' AS start FROM bars_latest WHERE interval = '1h'"
    " AND instrument_id = 'INSTRUMENT' ORDER BY window_start DESC LIMIT 1\" | jq -r '.[].start'",
    "TICK_ID": "dp sql --json \"SELECT tick_id FROM market_ticks ORDER BY ingested_at DESC, 1 LIMIT 1\" | jq -r '.[].tick_id'",
    "CODE": "(dp dlq stats --by code --json || true) | jq -er '.groups[0].code'",
    "DATE": "date -u +%F",
    "FILE": "echo examples/documents/henry_hub_daily_spot.csv",
    "DOCUMENTS": "echo examples/documents",
    "BACKUPS": 'dp backup create --folder "$RUN/backups" >"$RUN/created" 2>&1 && echo "$RUN/backups"',
    "BACKUP": "ls BACKUPS",
}
PLACEHOLDER = re.compile(r"(?<![\w$])(%s)(?!\w)" % "|".join(PLACEHOLDERS))
# What changes nothing; and what may be left out if it has been run.
READS = re.compile(
    r"(dp (alerts list|backup (list|verify)|check-market|clickhouse|config|curve|dlq (list|stats)|doctor|explain|gaps|groups|health"
    r"|incident collect|kafka (groups|lag|offsets|tail|topics)|logs (?!level)|pause$|position show|postgres (?!terminate)|profile|projection (list|silent)|reconcile$"
    r"|redis|retention show|sql (?!--write)|status|tail|topics list|top|verify)|curl -s |df |du |kill -USR1 |ss |.*--dry-run)"
)
ONCE = re.compile(r"dp (restart \w+|dlq replay)$")
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
    def is_runbook(self) -> bool:
        return self.page.parent.name == "runbooks"

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def commands(page: Path) -> list[Command]:
    """The commands of the local blocks of a page, in order."""
    return [command(page, number, line) for block, number, line in block_lines(page) if block == LOCAL]


def block_lines(page: Path) -> list[tuple[str, int, str]]:
    """The info string of the block, number and text of each line of the fenced blocks; continued lines are joined."""
    found, inside, begun = [], None, ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("```"):
            inside, begun = (line[3:].strip() if inside is None else None), ""
            continue
        if inside is None or not line.strip() or line.startswith("#"):
            continue
        begun += line
        if line.endswith("\\"):
            begun = begun[:-1]
            continue
        found.append((inside, number, begun))
        begun = ""
    return found


def guide_pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def command(page: Path, number: int, line: str) -> Command:
    note = NOTE.search(line)
    if not note:
        return Command(page, number, line.strip())
    codes = tuple(int(code) for code in note["codes"].split(" or ")) if note["codes"] else (0,)
    return Command(page, number, line[: note.start()].strip(), codes, note["pattern"], bool(note["soon"]))


def silence(text: str) -> str | None:
    """Why this command prints nothing; `None` if it prints something."""
    return next((why for why, whole in SILENT.items() if whole.fullmatch(text)), None)


def unchecked(wanted: list[Command]) -> list[Command]:
    """The commands that would be right whatever they print."""
    return [found for found in wanted if not found.pattern and found.text not in EXCEPTIONS and not silence(found.text)]


class Shell:
    """Runs command lines one after the other; variables that a line sets are there for the next ones.

    Remembers exit code and output of what may be left out the next time.
    """

    def __init__(self, folder: Path, binaries: Path, stack: list[str], offset: int):
        self.folder, self.offset = folder, offset
        wrapper = folder / "dp"
        wrapper.write_text(f'#!/bin/sh\nexec {shlex.join([str(binaries / "dp"), *stack])} "$@"\n')
        wrapper.chmod(0o755)
        # Addresses of this shell would name other servers than the stack.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DATA_PROC_") or name == "DATA_PROC_CACHE"}
        self.variables = kept | {"PATH": f"{folder}:{binaries}:{kept['PATH']}", "NO_COLOR": "1", "RUN": str(folder)}
        self.values: dict[str, str] = {}
        self.read: dict[str, tuple[int | None, str]] = {}
        self.once: dict[str, tuple[int | None, str]] = {}

    def filled(self, text: str) -> str:
        """The text with a value of this run in the place of each placeholder."""
        return PLACEHOLDER.sub(lambda m: self.value(m[1]), text)

    def value(self, placeholder: str) -> str:
        if placeholder not in self.values:
            code, output = self.run(self.filled(PLACEHOLDERS[placeholder]))
            if code != 0 or not output.strip():
                raise LookupError(f"no value for {placeholder}, exit code {code}: {output}")
            self.values[placeholder] = output.strip()
        return self.values[placeholder]

    def known(self, text: str) -> tuple[int | None, str] | None:
        """Exit code and output of this command, if running it again would tell nothing new."""
        return self.read.get(text) or self.once.get(text)

    def run_and_remember(self, text: str) -> tuple[int | None, str]:
        done = self.run(text)
        if ONCE.match(text):
            self.once[text] = done
        if READS.match(text) and "$" not in text:
            self.read[text] = done
        elif not READS.match(text):
            self.read.clear()
        return done

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
        text = PLACEHOLDER.sub(lambda m: re.escape(self.value(m[1])), text)
        return re.sub(r"\$([a-z_]+)", lambda m: re.escape(known[m[1]]) if m[1] in known else m[0], text)


def problem(shell: Shell, wanted: Command) -> str | None:
    """What is wrong with a command, with its output."""
    try:
        text = shell.filled(wanted.text)
        pattern = wanted.pattern and shell.pattern(wanted.pattern)
    except LookupError as missing:
        return str(missing)
    if wanted.is_runbook and (known := shell.known(text)) and not mismatch(wanted, pattern, *known):
        return None
    until = time.monotonic() + SOON
    while True:
        code, output = shell.run_and_remember(text)
        # A variable that the command sets may be in its pattern.
        pattern = wanted.pattern and shell.pattern(wanted.pattern)
        wrong = mismatch(wanted, pattern, code, output)
        if not wrong:
            return None
        if code is None or not wanted.soon or time.monotonic() > until:
            return f"{wrong}\n{output}"
        time.sleep(0.5)


def mismatch(wanted: Command, pattern: str | None, code: int | None, output: str, limit: int = LIMIT) -> str | None:
    if code is None:
        return f"was not done after {limit} s"
    if code not in wanted.codes:
        return f"exit code {code}, not {' or '.join(map(str, wanted.codes))}"
    if pattern and not re.search(pattern, output, re.M):
        return f"output lacks {pattern}"
    if not pattern and (why := silence(wanted.text)) and output.strip():
        return f"it {why}, and has printed something"
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=ROOT / "target/release", help="folder of the programs")
    parser.add_argument("--dir", help="folder of the stack, as for dp")
    parser.add_argument("--port-offset", type=int, default=0, help="as for dp")
    parser.add_argument("--list", action="store_true", help="show the commands, and run none")
    parser.add_argument("pages", nargs="*", type=Path, help="only these pages")
    args = parser.parse_args()

    pages = [page.resolve() for page in args.pages] or guide_pages()
    wanted = [found for page in pages for found in commands(page)]
    texts = {found.text for found in wanted}
    failures = [f"exception that no page needs: {text}" for text in EXCEPTIONS if not args.pages and text not in texts]
    failures += [f"{found.place}: {found.text}\n  no pattern says what its output contains" for found in unchecked(wanted)]
    exceptions = [found.place for found in wanted if found.text in EXCEPTIONS]
    if len(exceptions) > MOST_EXCEPTIONS:
        failures.append(f"{len(exceptions)} lines are not run, at most {MOST_EXCEPTIONS} may be: {', '.join(exceptions)}")
    if args.list:
        print("\n".join(f"{found.place}: {found.text}" for found in wanted))
        print("\n".join(failures), end="\n" if failures else "", file=sys.stderr)
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
    silent = sum(bool(silence(found.text)) for found in wanted)
    print(f"{ran} commands ran ({silent} print nothing), {len(wanted) - ran} did not, {len(failures)} problems")
    if not wanted:
        print("no page has a block of local commands", file=sys.stderr)
    return int(bool(failures) or not wanted)


if __name__ == "__main__":
    sys.exit(main())
