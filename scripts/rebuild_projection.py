#!/usr/bin/env python3
"""Writes the latest prices again from the log: `dp projection rebuild latest_price` with the same arguments."""

from dp_command import become

become("projection", "rebuild", "latest_price")
