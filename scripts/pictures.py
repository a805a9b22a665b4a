#!/usr/bin/env python3
"""Draws what `dp top` prints on a running local stack under load, then `dp doctor` and `dp curve show`, as SVG in docs/pictures.

pictures.py [--bin DIR] [--port-offset N] [--dir DIR]

The stack needs the sample curves and their quotes, as `dp demo` leaves them. It publishes ticks, waits until every service has
processed some, runs each command in a pseudo terminal, and turns the characters and styles that arrive there into text elements. Fonts
are those of the reader; each run of characters has its place and width, so that columns stay columns in any font.
Failure: a command that fails, or a pipeline without a rate within two minutes; exit code 1, and no picture is changed.
"""

import argparse
import fcntl
import html
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

CURVE = ["curve", "show", "NG_HENRY_HUB", "--horizon", "1y"]
OUT = Path(__file__).resolve().parent.parent / "docs" / "pictures"
COLUMNS, PATIENCE = 80, 120
WIDTH, HEIGHT, MARGIN = 8.4, 18, 14
PALETTE = ("#2e3440", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#d8dee9")
GROUND, TEXT, FAINT = "#1e222a", "#d8dee9", "#8b93a1"
SEQUENCE = re.compile(r"\x1b\[([0-9;]*)m")
# The options that name a stack, as commands in messages have them: `dp --dir DIR --port-offset N status`.
PLACE = re.compile(r"\s+--(?:dir|port-offset)\s+(?:'[^']*'|[^\s`'\x1b]+)")
OTHER = re.compile(r"\x1b\[[0-9;?]*[A-Za-ln-z]")


def in_terminal(command):
    """What the command writes to a terminal, and its exit code."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    env = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {"TERM": "xterm-256color"}
    # Its progress is not part of the picture.
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=subprocess.DEVNULL, env=env) as process:
        os.close(slave)
        written = b""
        while True:
            try:
                part = os.read(master, 65536)
            except OSError:
                break
            if not part:
                break
            written += part
        code = process.wait()
    os.close(master)
    return written.decode("utf-8", "replace").replace("\r\n", "\n"), code


def styled(style, codes):
    """The style after these codes: a dictionary of attributes."""
    numbers = [int(code or 0) for code in codes.split(";")]
    while numbers:
        code = numbers.pop(0)
        if code == 0:
            style = {}
        elif code == 1:
            style = style | {"font-weight": "bold"}
        elif code == 2:
            style = style | {"fill": FAINT}
        elif code == 4:
            style = style | {"text-decoration": "underline"}
        elif code == 38 and numbers[:1] == [5]:
            style = style | {"fill": PALETTE[numbers[1] % 8]}
            numbers = numbers[2:]
        elif 30 <= code <= 37:
            style = style | {"fill": PALETTE[code - 30]}
        elif code == 39:
            style = {name: value for name, value in style.items() if name != "fill"}
    return style


def picture(title, written):
    """The SVG of a text with styles."""
    lines = [f"$ {title}"] + OTHER.sub("", written).rstrip("\n").split("\n")
    width, height = COLUMNS * WIDTH + 2 * MARGIN, len(lines) * HEIGHT + 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" height="{height}" '
        f'font-family="ui-monospace, monospace" font-size="14" fill="{TEXT}" role="img">',
        f"<title>Output of {html.escape(title)}</title>",
        f'<rect width="100%" height="100%" rx="8" fill="{GROUND}"/>',
    ]
    style = {}
    for number, line in enumerate(lines):
        column, y = 0, MARGIN + number * HEIGHT + 13
        # Text and codes take turns.
        for index, part in enumerate(SEQUENCE.split(line)):
            if index % 2:
                style = styled(style, part)
                continue
            # Spaces between words of a table keep their width without an element.
            for word in re.finditer(r"\S+(?: \S+)*", part):
                x, length = MARGIN + (column + word.start()) * WIDTH, len(word.group()) * WIDTH
                attributes = "".join(f' {name}="{value}"' for name, value in sorted(style.items()))
                parts.append(
                    f'<text x="{x:.1f}" y="{y}" textLength="{length:.1f}" lengthAdjust="spacingAndGlyphs"{attributes}>'
                    f"{html.escape(word.group())}</text>"
                )
            column += len(part)
    return "\n".join(parts) + "\n</svg>\n"


def has_rates(dp):
    """Whether every service processes messages."""
    asked = subprocess.run([*dp, "top", "--once", "--json"], capture_output=True, check=False)
    if asked.returncode:
        return False
    services = [process for process in json.loads(asked.stdout)["processes"] if process["kind"] == "service"]
    return all(service["messages_per_second"] for service in services)


def drawn(program, place, words):
    """The output of a command, in which the commands that it names are those of a stack in its usual place."""
    written, code = in_terminal([program, *place, *words])
    # The doctor ends with 1 if it has found something.
    if code not in (0, 1):
        sys.exit(f"dp {' '.join(words)} ended with {code}: {written}")
    return PLACE.sub("", written)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default="target/release", metavar="DIR")
    parser.add_argument("--port-offset", default="0", metavar="N")
    parser.add_argument("--dir", metavar="DIR")
    arguments = parser.parse_args()
    program = str(Path(arguments.bin) / "dp")
    place = ["--port-offset", arguments.port_offset] if arguments.port_offset != "0" else []
    place += ["--dir", arguments.dir] if arguments.dir else []
    dp = [program, *place]
    load = subprocess.Popen([*dp, "simulate", "--ticks", "500000", "--rate", "800"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE
        while not has_rates(dp):
            if time.monotonic() > deadline or load.poll() is not None:
                sys.exit("the services process nothing: does the stack run (`dp status`)?")
        top = drawn(program, place, ["top", "--once", "--every", "10s"])
    finally:
        load.terminate()
        load.wait()
    pictures = {
        "dp-top": picture("dp top", top),
        "dp-doctor": picture("dp doctor", drawn(program, place, ["doctor"])),
        "dp-curve-show": picture("dp " + " ".join(CURVE), drawn(program, place, CURVE)),
    }
    OUT.mkdir(exist_ok=True)
    for name, svg in pictures.items():
        (OUT / f"{name}.svg").write_text(svg, encoding="utf-8")
        print(OUT / f"{name}.svg")


if __name__ == "__main__":
    main()
