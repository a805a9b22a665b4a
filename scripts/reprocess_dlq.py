#!/usr/bin/env python3
"""Sends rejected messages to their raw topics again: `dp dlq replay` with the same arguments."""

from dp_command import become

become("dlq", "replay")
