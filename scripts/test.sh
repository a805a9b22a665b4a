#!/usr/bin/env bash
# Runs all tests in two lanes side by side: the test programs given as arguments (`--test NAME`), which start the whole pipeline and
# mostly wait for servers, and all others. One lane after the other would take half as long again. Prints the first lane as it runs,
# then the output of the second. `make test` builds the programs before and gives the names.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
others=$(mktemp)
run() { cargo test --release --no-fail-fast --workspace "$@"; }

run --lib --bins --tests >"$others" 2>&1 &
lane=$!
# An interrupt must not leave the other lane running.
trap 'kill "$lane" 2>/dev/null || true; rm -f "$others"' EXIT

status=0
run "$@" || status=$?
echo "The tests of the whole pipeline have ended. Waiting for the other tests, whose output follows."
wait "$lane" || status=$?
cat "$others"
exit "$status"
