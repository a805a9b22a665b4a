#!/bin/sh
# For monitors that call a script: prints OK, or FAIL with the reason, exit code 0 or 1. In the image, which has no shell, it is
# `dp ping -s HOST:PORT`.
# Usage: scripts/health-check.sh [SERVICE | HOST:PORT]     SERVICE of the local stack; default localhost:8080
exec dp ping -s "${1:-localhost:8080}"
