#!/usr/bin/env bash
# Licences, banned crates, sources and advisories of all dependencies (cargo-deny, deny.toml), and unused dependencies
# (cargo-machete). Both tools are built once, at pinned versions, into the cache folder.
# Failure: the findings of the tool, exit code 1. Without the advisory database (no network), advisories are skipped with a message.
set -euo pipefail

DENY=0.20.2
MACHETE=0.9.2

cd "$(dirname "${BASH_SOURCE[0]}")/.."
tools="${DATA_PROC_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/254carbon}/tools"
bin="$tools/bin"

need() { # need NAME VERSION
  if [ "$("$bin/$1" --version 2>/dev/null | grep -o '[0-9][0-9.]*' | head -n 1)" != "$2" ]; then
    echo "building $1 $2 (once, takes some minutes)" >&2
    # Unoptimized builds take half the time, and are fast enough.
    CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --debug --locked --root "$tools" "$1@$2"
  fi
}

need cargo-machete "$MACHETE"
need cargo-deny "$DENY"

"$bin/cargo-machete" --with-metadata
"$bin/cargo-deny" --all-features check --hide-inclusion-graph licenses bans sources

log=$(mktemp)
trap 'rm -f "$log"' EXIT
if "$bin/cargo-deny" --all-features check advisories >"$log" 2>&1; then
  cat "$log"
elif grep -qi 'advisory database' "$log"; then
  echo "advisories were not checked: their database is unreachable" >&2
else
  cat "$log" >&2
  exit 1
fi
