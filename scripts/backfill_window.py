#!/usr/bin/env python3
"""Processes a folder of documents, or a time range of the raw topic, again: `dp backfill` with the same arguments."""

from dp_command import become

become("backfill")
