#!/usr/bin/env python3
"""Checks the schemas, or messages of a topic or of files: `dp schema validate` with the same arguments."""

from dp_command import become

become("schema", "validate")
