#!/usr/bin/env bash
# Prometheus and Alertmanager (Debian's packages) for a running local stack, on loopback, until Ctrl-C. Exporters for the machine,
# PostgreSQL and Redis are started too if they are installed. Notifications are printed, not sent.
# Usage: monitoring/run.sh [--port-offset N] [--dir DIR]     the stack, as for dp
# Failure: what is missing and how to get it; exit code 2.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dp="${CARGO_TARGET_DIR:-$here/../target}/release/dp"

offset=0
arguments=("$@")
while [ $# -gt 0 ]; do
  [ "$1" = --port-offset ] && offset="${2:?--port-offset needs a number}"
  shift
done

fail() {
  echo "$1" >&2
  exit 2
}
[ -x "$dp" ] || fail "$dp does not exist: make demo builds it"
if ! command -v prometheus prometheus-alertmanager >/dev/null; then
  fail "apt-get install --no-install-recommends prometheus prometheus-alertmanager"
fi
stack=$("$dp" "${arguments[@]}" --json ps) || fail "no local stack: dp up"
port() { python3 -c 'import json, sys; print(next((p["port"] for p in json.loads(sys.argv[1]) if p["name"] == sys.argv[2]), ""))' "$stack" "$1"; }
[ -n "$(port projection)" ] || fail "the services of the local stack do not run: dp up"

work=$(mktemp -d)
pids=()
# shellcheck disable=SC2317 # the traps call it
finish() {
  trap - EXIT INT TERM
  [ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null || true
  wait
  rm -rf "$work"
}
trap finish EXIT
trap 'exit 0' INT TERM

run() { # run NAME COMMAND…
  "${@:2}" >"$work/$1.log" 2>&1 &
  pids+=($!)
}

# 9093 is the port of Kafka's controller in the local stack.
prometheus=$((9090 + offset)) alertmanager=$((9095 + offset)) receiver=$((9096 + offset))
targets=(--target "prometheus=$prometheus" --target "alertmanager=$alertmanager")
if command -v prometheus-node-exporter >/dev/null; then
  targets+=(--target "node=$((9100 + offset))")
  run node prometheus-node-exporter --web.listen-address="127.0.0.1:$((9100 + offset))"
fi
if command -v prometheus-redis-exporter >/dev/null; then
  targets+=(--target "redis=$((9121 + offset))")
  run redis prometheus-redis-exporter --web.listen-address="127.0.0.1:$((9121 + offset))" --redis.addr="redis://127.0.0.1:$(port redis)"
fi
if command -v prometheus-postgres-exporter >/dev/null; then
  targets+=(--target "postgres=$((9187 + offset))")
  DATA_SOURCE_NAME="postgresql://user:password@127.0.0.1:$(port postgres)/db?sslmode=disable" \
    run postgres prometheus-postgres-exporter --web.listen-address="127.0.0.1:$((9187 + offset))"
fi

python3 "$here/local_config.py" --out "$work" --alertmanager "$alertmanager" --receiver "http://127.0.0.1:$receiver" "${targets[@]}" <<<"$stack"
python3 "$here/notifications.py" "$receiver" &
pids+=($!)
run alertmanager prometheus-alertmanager --config.file="$work/alertmanager.yml" --storage.path="$work/alertmanager" \
  --cluster.listen-address= --web.listen-address="127.0.0.1:$alertmanager"
run prometheus prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/prometheus" \
  --web.listen-address="127.0.0.1:$prometheus" --web.enable-lifecycle

for url in "http://127.0.0.1:$prometheus" "http://127.0.0.1:$alertmanager"; do
  if ! curl --silent --fail --retry 30 --retry-delay 1 --retry-connrefused --output /dev/null "$url/-/ready"; then
    tail -n 5 "$work"/*.log >&2
    fail "no answer at $url"
  fi
done
echo "Prometheus    http://127.0.0.1:$prometheus"
echo "Alertmanager  http://127.0.0.1:$alertmanager"
echo "Logs          $work    (Ctrl-C ends both)"

# A program that ends is a failure.
wait -n "${pids[@]}" || true
tail -n 5 "$work"/*.log >&2
exit 1
