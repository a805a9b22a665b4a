#!/usr/bin/env python3
"""Compares every store with the log, and repairs lost rows with --repair: `dp reconcile` with the same arguments."""

from dp_command import become

become("reconcile")
