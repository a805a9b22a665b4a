#!/usr/bin/env bash
# Installs scipy, in the versions of crates/curves/tests/requirements.txt, into a virtual environment beside the programs. The test
# `against_scipy` needs it. Fast if it is there.
# Failure: what pip says, and one line; exit code 1.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
wanted=crates/curves/tests/requirements.txt
home="${CARGO_TARGET_DIR:-target}/scipy"

# The copy of the list is written last, so an interrupted installation is made again.
if cmp -s "$wanted" "$home/requirements.txt"; then
  exit 0
fi
echo "installing scipy for the tests of curves (once)" >&2
if ! { python3 -m venv --clear "$home" && "$home/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted"; }; then
  echo "scipy cannot be installed: apt-get install python3-venv, and see what pip says above" >&2
  exit 1
fi
cp "$wanted" "$home/requirements.txt"
