#!/usr/bin/env python3
"""Runs the cluster commands of README.md and docs/**/*.md against the cluster that KUBECONFIG names. scripts/test_k8s.sh calls it, in a folder
with a copy of k8s that has secrets, and with overlay prod-backup applied.

A cluster command is a line of a fenced block that begins with `kubectl`, unless the block is marked `sh local`. Notes beside a command
(`exit N or M`, `soon`, `→ PATTERN`) mean what they mean in check_guide.py. A command that several pages have is run once: it changes the
cluster, or tells nothing new. Runbooks come last, because one of them stops everything.
A command that selects objects and finds none fails, although kubectl ends with 0: the page names a label or namespace that does not exist.
EXCEPTIONS are not run: pattern and reason.
Failure: each command that failed, timed out or found nothing, with its output; an exception that no page needs; exit code 1.
"""

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from check_guide import LOCAL, SOON, Command, block_lines, command, guide_pages, mismatch

# Seconds for one command: pods are replaced one by one, and each must be ready for a while.
LIMIT = 300
NO_CONTAINER = "kwok runs no container"
EXCEPTIONS: dict[str, str] = {
    r"kubectl exec ": NO_CONTAINER,
    r"kubectl logs ": NO_CONTAINER,
    r"kubectl port-forward ": NO_CONTAINER,
    r"kubectl get secret,certificate ": "certificates are objects of cert-manager, which is not part of the manifests",
}
# A word that stands for a value in the pages → the value here.
PLACEHOLDERS = {"SERVICE": "enrichment"}
# A word in capitals, but not the end of a name or a word in quotes such as JSON.
PLACEHOLDER = re.compile(r"(?<![\w$\"'.=])[A-Z]{3,}(?![\w\"'])")
NOTHING = "No resources found"

Run = Callable[[str], tuple[int | None, str]]


def cluster_commands(page: Path) -> list[Command]:
    lines = block_lines(page)
    return [command(page, number, line) for block, number, line in lines if block != LOCAL and line.startswith("kubectl ")]


def in_order(pages: list[Path]) -> list[Path]:
    return sorted(pages, key=lambda page: page.parent.name == "runbooks")


def exception(text: str) -> str | None:
    """The pattern of the exception that a command is."""
    return next((pattern for pattern in EXCEPTIONS if re.match(pattern, text)), None)


def filled(text: str) -> str:
    for word, value in PLACEHOLDERS.items():
        text = re.sub(rf"(?<![\w$]){word}(?!\w)", value, text)
    if left := PLACEHOLDER.search(text):
        raise LookupError(f"no value for {left[0]}: add it to PLACEHOLDERS of {Path(__file__).name}")
    return text


def same(text: str) -> str:
    """Equal for two spellings of the same command."""
    return " ".join(sorted(re.sub(r"--namespace[ =]", "-n ", text).split()))


def problem(wanted: Command, text: str, run: Run) -> str | None:
    """What is wrong with a command, with its output."""
    until = time.monotonic() + SOON
    while True:
        code, output = run(text)
        wrong = mismatch(wanted, wanted.pattern and filled(wanted.pattern), code, output, LIMIT)
        if not wrong and NOTHING in output and "--ignore-not-found" not in text:
            wrong = "found nothing: is the label or the namespace right?"
        if not wrong:
            return None
        if code is None or not wanted.soon or time.monotonic() > until:
            return f"{wrong}\n{output}"
        time.sleep(0.5)


def run_here(text: str) -> tuple[int | None, str]:
    """Exit code (None: not within the limit) and output."""
    if text.startswith("kubectl rollout restart"):
        time.sleep(1)  # a second restart of a deployment within a second is refused, and no reader is as fast
    done = subprocess.run(
        ["timeout", str(LIMIT), "bash", "-o", "pipefail", "-c", text],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return (None if done.returncode == 124 else done.returncode), done.stdout.decode(errors="replace")


def check(wanted: list[Command], run: Run) -> tuple[int, list[str]]:
    """How many commands ran, and what is wrong."""
    known: set[str] = set()
    failures = []
    for found in wanted:
        if pattern := exception(found.text):
            print(f"not run  {found.place}: {found.text} ({EXCEPTIONS[pattern]})", flush=True)
            continue
        begun = time.monotonic()
        try:
            text = filled(found.text)
            if same(text) in known:
                continue
            known.add(same(text))
            wrong = problem(found, text, run)
        except LookupError as missing:
            wrong = str(missing)
        print(f"{'FAILED' if wrong else 'ok':7}{time.monotonic() - begun:5.1f} s  {found.place}: {found.text}", flush=True)
        if wrong:
            failures.append(f"{found.place}: {found.text}\n  {wrong}")
    return len(known), failures


def unneeded(wanted: list[Command]) -> list[str]:
    needed = {exception(found.text) for found in wanted}
    return [f"exception that no page needs: {pattern}" for pattern in EXCEPTIONS if pattern not in needed]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="show the commands with what is not run, and run none")
    parser.add_argument("pages", nargs="*", type=Path, help="only these pages")
    args = parser.parse_args()

    pages = in_order([page.resolve() for page in args.pages] or guide_pages())
    wanted = [found for page in pages for found in cluster_commands(page)]
    failures = [] if args.pages else unneeded(wanted)
    if args.list:
        _, wrong = check(wanted, lambda text: (0, ""))
        failures += [line for line in wrong if "no value for" in line]
        print("\n".join(failures), file=sys.stderr)
        return int(bool(failures) or not wanted)
    ran, wrong = check(wanted, run_here)
    failures += wrong
    print("\n".join(failures))
    print(f"{ran} commands of the pages ran, {len(failures)} problems")
    return int(bool(failures) or not ran)


if __name__ == "__main__":
    sys.exit(main())
