#!/usr/bin/env bash
# Runs all tests in three lanes side by side: `pipeline`, the longest program; the other test programs given as arguments
# (`--test NAME`), which start the whole pipeline and mostly wait for servers; and all others. One lane after the other would take
# twice as long. Prints the first lane as it runs, then the output of the others. `make test` builds the programs before.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
LONGEST=pipeline
run() { cargo test --release --no-fail-fast --workspace "$@"; }

# The arguments without the longest program, which has its own lane.
stacks=()
for argument in "$@"; do
  case $argument in
    --test) ;;
    "$LONGEST") ;;
    *) stacks+=(--test "$argument") ;;
  esac
done

outputs=$(mktemp -d)
run "${stacks[@]}" >"$outputs/stacks" 2>&1 &
lanes=($!)
run --lib --bins --tests >"$outputs/others" 2>&1 &
lanes+=($!)
# An interrupt must not leave the other lanes running.
trap 'kill "${lanes[@]}" 2>/dev/null || true; rm -rf "$outputs"' EXIT

status=0
run --test "$LONGEST" || status=$?
echo "The test program $LONGEST has ended. Waiting for the other tests, whose output follows."
for lane in "${lanes[@]}"; do
  wait "$lane" || status=$?
done
cat "$outputs/stacks" "$outputs/others"
exit "$status"
