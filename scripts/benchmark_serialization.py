#!/usr/bin/env python3
"""Measures parsing and serialization, one stage against the bare Kafka client: `dp bench hop` with the same arguments."""

from dp_command import become

become("bench", "hop")
