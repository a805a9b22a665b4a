#!/usr/bin/env bash
# Compiles programs as the container image has them, with profile `image` (Cargo.toml), into target/image. The Dockerfile calls it.
# Usage: [CPU=x86-64-v3] [LTO=fat] scripts/image_programs.sh PACKAGE…   for example normalization dp
#
# CPU is the oldest processor that has to run them, where this machine is an x86-64. x86-64-v2 (SSE 4.2, POPCNT) is every server since 2009,
# and every virtual machine. x86-64-v3 (AVX2) is nearly every server since 2015, but a virtual machine may hide it, and then a program
# ends with an illegal instruction and says nothing: choose it for machines that you know. `generic` sets nothing.
# LTO is `thin`, `fat` or `off`: optimization across crates.
# Failure: cargo's message and exit code.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ "$#" -eq 0 ]; then
  echo "usage: scripts/image_programs.sh PACKAGE…" >&2
  exit 2
fi

cpu=${CPU:-x86-64-v2}
if [ "$(uname -m)" = x86_64 ] && [ "$cpu" != generic ]; then
  export RUSTFLAGS="-C target-cpu=$cpu"
fi
export CARGO_PROFILE_IMAGE_LTO="${LTO:-thin}"

chosen=()
for program in "$@"; do
  chosen+=(-p "$program" --bin "$program")
done
exec cargo build --profile image --locked "${chosen[@]}"
