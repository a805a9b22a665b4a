#!/usr/bin/env bash
# Prepares the machine to build, test and run the pipeline; fast if it is already prepared.
#
# Toolchains (Rust, Java and Maven, Node, a C compiler) are only checked, since users install those in different ways.
# Missing Debian packages are installed if the user is root; otherwise one line shows the command to run.
# Failure: one line for each missing item, exit code 1. A failed installation is reported with its log.
set -euo pipefail

NEEDED_MB=9000 # a release build with all tests is about 7 GB, Kafka and ClickHouse 0.6 GB
POLICY=/usr/sbin/policy-rc.d

cd "$(dirname "${BASH_SOURCE[0]}")/.."
problems=()

need() { # need PROGRAM REMEDY
  command -v "$1" >/dev/null 2>&1 || problems+=("$1 is missing: $2")
}

check_toolchains() {
  need cargo "install Rust with rustup, https://rustup.rs (rust-toolchain.toml names the version)"
  need cc "apt-get install build-essential"
  need make "apt-get install build-essential"
  need mvn "apt-get install maven"
  need npm "apt-get install nodejs npm"
  if command -v java >/dev/null 2>&1; then
    local version
    # openjdk version "17.0.15" 2025-04-15, or before Java 9: java version "1.8.0_402"
    version=$(java -version 2>&1 | sed -n 's/.* version "\(1\.\)\{0,1\}\([0-9]*\).*/\2/p' | head -n 1)
    if [ "${version:-0}" -lt 17 ]; then
      problems+=("java is version ${version:-unknown}, but 17 or newer is needed: apt-get install openjdk-17-jdk-headless")
    fi
  else
    problems+=("java is missing: apt-get install openjdk-17-jdk-headless")
  fi
}

check_machine() {
  local free_mb
  if [ "$(uname -s)-$(uname -m)" != Linux-x86_64 ]; then
    problems+=("this is $(uname -s) on $(uname -m): the local stack runs on Linux on x86-64 only (elsewhere: docker compose)")
  fi
  free_mb=$(df -Pm . | awk 'NR == 2 { print $4 }')
  if [ ! -d "${CARGO_TARGET_DIR:-target}" ] && [ "$free_mb" -lt "$NEEDED_MB" ]; then
    problems+=("$PWD has $free_mb MB free, a build needs $NEEDED_MB MB: free some space")
  fi
}

has_postgres() {
  local program
  for program in /usr/lib/postgresql/*/bin/initdb; do
    [ -x "$program" ] && return 0
  done
  command -v initdb >/dev/null 2>&1
}

missing_packages() {
  has_postgres || echo postgresql
  command -v redis-server >/dev/null 2>&1 || echo redis-server
  # A pooler in front of PostgreSQL, for the tests of secured servers.
  command -v pgbouncer >/dev/null 2>&1 || [ -x /usr/sbin/pgbouncer ] || echo pgbouncer
  # Counts the instructions of the hot path in `make test`.
  command -v valgrind >/dev/null 2>&1 || echo valgrind
  # The build of librdkafka also compiles its C++ part.
  command -v c++ >/dev/null 2>&1 || echo g++
  # Prometheus, Alertmanager and exporters, for the tests and checks of monitoring/.
  local program
  for program in prometheus prometheus-alertmanager prometheus-{blackbox,node,postgres,redis}-exporter; do
    command -v "$program" >/dev/null 2>&1 || echo "$program"
  done
  # Checks the gateway of docker compose in `make check`.
  command -v haproxy >/dev/null 2>&1 || [ -x /usr/sbin/haproxy ] || echo haproxy
  # Checks the scripts in `make check`.
  command -v shellcheck >/dev/null 2>&1 || echo shellcheck
  # For the virtual environment of the spelling checker in `make check`.
  python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || echo python3-venv
  # TLS of librdkafka.
  command -v pkg-config >/dev/null 2>&1 || echo pkg-config
  [ -e /usr/include/openssl/ssl.h ] || echo libssl-dev
}

# Installs packages without starting their servers, which would occupy the ports of our stack.
install_packages() {
  if [ ! -e "$POLICY" ]; then
    trap 'rm -f "$POLICY"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$POLICY"
    chmod 755 "$POLICY"
  fi
  echo "installing Debian packages: $*" >&2
  export DEBIAN_FRONTEND=noninteractive
  local log
  log=$(mktemp)
  if ! { apt-get install -y --no-install-recommends "$@" || { apt-get update && apt-get install -y --no-install-recommends "$@"; }; } >"$log" 2>&1; then
    problems+=("apt-get install $* failed: $(grep -E '^(E|Err|dpkg)' "$log" | tail -n 1) (log: $log)")
    return
  fi
  rm -f "$log"
  # They must not start after a reboot either.
  if command -v systemctl >/dev/null 2>&1; then
    local unit
    for unit in postgresql pgbouncer redis-server haproxy prometheus prometheus-{alertmanager,blackbox-exporter,node-exporter,postgres-exporter,redis-exporter}; do
      case " $* " in *" $unit "*) systemctl disable --quiet "$unit" >/dev/null 2>&1 || true ;; esac
    done
  fi
}

check_toolchains
check_machine
if [ "${#problems[@]}" -eq 0 ]; then
  mapfile -t packages < <(missing_packages)
  if [ "${#packages[@]}" -gt 0 ]; then
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
      install_packages "${packages[@]}"
    else
      problems+=("Debian packages are missing: sudo apt-get install --no-install-recommends ${packages[*]}")
    fi
  fi
fi
if [ "${#problems[@]}" -gt 0 ]; then
  printf 'bootstrap: %s\n' "${problems[@]}" >&2
  exit 1
fi
