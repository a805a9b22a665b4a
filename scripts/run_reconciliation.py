#!/usr/bin/env python3
"""Compares every store with the raw log: `dp verify` with the same arguments."""

from dp_command import become

become("verify")
