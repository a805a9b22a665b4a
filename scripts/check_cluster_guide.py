#!/usr/bin/env python3
"""Runs the cluster commands of README.md and docs/**/*.md against the cluster that KUBECONFIG names. scripts/test_k8s.sh calls it, in a folder
with a copy of k8s that has secrets, and with overlay prod-backup applied.

A cluster command is a line of a fenced block that begins with `kubectl`, unless the block is marked `sh local`. Notes beside a command
(`exit N or M`, `soon`, `→ PATTERN`) mean what they mean in check_guide.py. A command that several pages have is run once: it changes the
cluster, or tells nothing new. Runbooks come last, because one of them stops everything.
A command that selects objects and finds none fails, although kubectl ends with 0: the page names a label or namespace that does not exist.
`logs` and `port-forward` of a service must show that service. `port-forward` takes a free port of this machine instead of the page's, gets
one request for `/health`, and is ended; `logs --follow` is ended as soon as it shows its pattern. A pod that has just begun is asked again.
EXCEPTIONS are not run. With those of check_guide.py they may be MOST_EXCEPTIONS lines of the pages.
Failure: each command that failed, timed out or found nothing, with its output; an exception that no page needs; too many lines that are
not run; exit code 1.
"""

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO

import check_guide
from check_guide import LOCAL, MOST_EXCEPTIONS, SOON, Command, block_lines, command, commands, guide_pages, mismatch

# Seconds for one command: pods are replaced one by one, and each must be ready for a while.
LIMIT = 300
# A command as the page writes it → why it is not run.
EXCEPTIONS: dict[str, str] = {
    "kubectl get secret,certificate -n data-processing-prod": "certificates are objects of cert-manager, which the manifests do not contain",
    "kubectl logs deployment/alertmanager --tail 50": "the manifests do not contain Alertmanager",
}
# A word that stands for a value in the pages → a command that prints one.
PLACEHOLDERS = {
    "SERVICE": "echo enrichment",
    "PORT": "echo 8081",
    # The newest: an older one may be about to end.
    "POD": "kubectl get pods -n data-processing-prod -l app=enrichment-service --sort-by=.metadata.creationTimestamp"
    " -o jsonpath='{.items[-1:].metadata.name}'",
    "NAME": "kubectl get jobs -n data-processing-prod -o name | sed -n 's|^job.batch/verify|verify|p' | tail -n 1",
}
# A word in capitals, but not the end of a name or a word in quotes such as JSON.
PLACEHOLDER = re.compile(r"(?<![\w$\"'.=])[A-Z]{3,}(?![\w\"'])")
NOTHING = "No resources found"
# kubectl's own error, in front of a program that hides its exit code.
REFUSED = re.compile(r"^(error: |Error from server)", re.M)
# A container that does not run yet, or that kwok knows nothing of yet.
STARTING = re.compile(r"ContainerCreating|is waiting to start|pod is not running|no (logs|forward|exec) found for")
# What goes on until its reader ends it.
GOES_ON = re.compile(r"kubectl (port-forward |logs .*--follow )")
FORWARDED = re.compile(r"^Forwarding from 127\.0\.0\.1:(\d+) ", re.M)

# A command and the pattern of its output → exit code (None: not within the limit) and output.
Run = Callable[[str, str | None], tuple[int | None, str]]


def cluster_commands(page: Path) -> list[Command]:
    lines = block_lines(page)
    return [command(page, number, line) for block, number, line in lines if block != LOCAL and line.startswith("kubectl ")]


def in_order(pages: list[Path]) -> list[Path]:
    return sorted(pages, key=lambda page: page.parent.name == "runbooks")


def filled(text: str, run: Run) -> str:
    for word, source in PLACEHOLDERS.items():
        found = re.compile(rf"(?<![\w$]){word}(?!\w)")
        if not found.search(text):
            continue
        code, value = run(source, None)
        if code != 0 or not value.strip():
            raise LookupError(f"no value for {word}, exit code {code}: {value}")
        text = found.sub(value.strip(), text)
    if left := PLACEHOLDER.search(text):
        raise LookupError(f"no value for {left[0]}: add it to PLACEHOLDERS of {Path(__file__).name}")
    return text


def same(text: str) -> str:
    """Equal for two spellings of the same command."""
    return " ".join(sorted(re.sub(r"--namespace[ =]", "-n ", text).split()))


def promised(text: str) -> str | None:
    """A pattern for what logs and answers of a service contain, unless they go to a file or another program."""
    service = re.match(r"kubectl (?:logs|port-forward) [^|>]*?\b([a-z]+)-service\b[^|>]*$", text)
    return service and rf'"service": ?"{service[1]}"'


def problem(wanted: Command, text: str, run: Run) -> str | None:
    """What is wrong with a command, with its output."""
    pattern = wanted.pattern and filled(wanted.pattern, run)
    until = time.monotonic() + SOON
    while True:
        code, output = run(text, pattern)
        wrong = mismatch(wanted, pattern, code, output, LIMIT) or mismatch(wanted, promised(text), code, output, LIMIT)
        if not wrong and NOTHING in output and "--ignore-not-found" not in text:
            wrong = "found nothing: is the label or the namespace right?"
        if not wrong and "|" in text and REFUSED.search(output):
            wrong = "kubectl failed"
        if not wrong:
            return None
        if code is None or not (wanted.soon or STARTING.search(output)) or time.monotonic() > until:
            return f"{wrong}\n{output}"
        time.sleep(0.5)


def run_here(text: str, pattern: str | None) -> tuple[int | None, str]:
    if GOES_ON.match(text):
        return run_until_shown(text, pattern)
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


def run_until_shown(text: str, pattern: str | None) -> tuple[int | None, str]:
    """Runs what goes on by itself until it shows the pattern (without one: anything), and ends it: exit code 0."""
    is_forward = text.startswith("kubectl port-forward ")
    if is_forward:
        text, pattern = re.sub(r" \d+:(\d+)\b", r" :\1", text).rstrip(" &"), FORWARDED.pattern
    with tempfile.TemporaryFile() as file:
        process = subprocess.Popen(
            ["bash", "-o", "pipefail", "-c", text],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            until = time.monotonic() + LIMIT
            while True:
                code, output = process.poll(), written(file)
                if code is not None or time.monotonic() > until:
                    return code, output
                if found := re.search(pattern or ".", output, re.M):
                    break
                time.sleep(0.1)
            answer = health(int(found[1])) if is_forward else ""
            return 0, written(file) + answer
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def written(file: IO[bytes]) -> str:
    """What the file contains, although another process writes it."""
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode(errors="replace")


def health(port: int) -> str:
    """What a service answers at this port: also that it is not healthy."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.read().decode()
    except OSError as error:
        return f"no answer to /health: {error}"


def check(wanted: list[Command], run: Run) -> tuple[int, list[str]]:
    """How many commands ran, and what is wrong."""
    known: set[str] = set()
    failures = []
    for found in wanted:
        if reason := EXCEPTIONS.get(found.text):
            print(f"not run  {found.place}: {found.text} ({reason})", flush=True)
            continue
        begun = time.monotonic()
        try:
            text = filled(found.text, run)
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
    texts = {found.text for found in wanted}
    return [f"exception that no page needs: {text}" for text in EXCEPTIONS if text not in texts]


def too_many(wanted: list[Command], local: list[Command]) -> list[str]:
    """More lines that are not run than may be, of both kinds of commands."""
    left = [found for found in wanted if found.text in EXCEPTIONS] + [found for found in local if found.text in check_guide.EXCEPTIONS]
    if len(left) <= MOST_EXCEPTIONS:
        return []
    return [f"{len(left)} lines are not run, at most {MOST_EXCEPTIONS} may be: {', '.join(found.place for found in left)}"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="show the commands with what is not run, and run none")
    parser.add_argument("pages", nargs="*", type=Path, help="only these pages")
    args = parser.parse_args()

    pages = in_order([page.resolve() for page in args.pages] or guide_pages())
    wanted = [found for page in pages for found in cluster_commands(page)]
    failures = [] if args.pages else unneeded(wanted)
    failures += too_many(wanted, [found for page in pages for found in commands(page)])
    if args.list:
        _, wrong = check(wanted, lambda text, pattern: (0, "value"))
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
