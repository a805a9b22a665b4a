"""Replaces this process by `dp`: for scripts with names that users know."""

import os
import sys


def become(*words: str) -> None:
    """Runs `dp WORDS` with the arguments of this script. Exit code 2 if there is no `dp`."""
    try:
        os.execvp("dp", ["dp", *words, *sys.argv[1:]])
    except FileNotFoundError:
        print("dp is not in PATH: make demo builds it, then export PATH=$PWD/target/release:$PATH", file=sys.stderr)
        sys.exit(2)
