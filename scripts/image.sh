#!/usr/bin/env bash
# Builds the container image with docker or buildah, whichever is available, and prints its size.
# Usage: scripts/image.sh [ARGUMENT OF docker build]…   for example --target debug, or --build-arg CPU=x86-64-v3
# IMAGE overrides the tag, BUILDER the program.
# Failure: the builder's message and exit code.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
version=$(sed -n '/^\[workspace.package\]/,/^\[/ s/^version = "\(.*\)"/\1/p' Cargo.toml)
image=${IMAGE:-data-processing:$version}
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)

if [ -z "${BUILDER:-}" ]; then
  if docker info >/dev/null 2>&1; then
    BUILDER=docker
  elif command -v buildah >/dev/null 2>&1; then
    BUILDER=buildah
  else
    echo "neither a docker daemon nor buildah is available: start docker, or apt-get install buildah" >&2
    exit 1
  fi
fi

DOCKER_BUILDKIT=1 "$BUILDER" build --build-arg "VERSION=$version" --build-arg "REVISION=$revision" --tag "$image" "$@" .

case "$BUILDER" in
  docker) docker image ls --format '{{.Repository}}:{{.Tag}}  {{.Size}}' "$image" ;;
  buildah) buildah images --format '{{.Name}}:{{.Tag}}  {{.Size}}' "$image" ;;
esac
