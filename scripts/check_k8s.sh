#!/usr/bin/env bash
# Checks the Kubernetes manifests without a cluster: every overlay builds, matches the schemas of Kubernetes, follows the rules of
# kube-score, and agrees with itself and with the code (check_k8s.py). Overlay prod fails without its secrets and names the file.
# The first run builds kubectl and kube-score (k8s_tools.sh); later runs take seconds. BUILD_TOOLS=no builds nothing.
# Failure: object and problem; exit code 1.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ "${BUILD_TOOLS:-yes}" != yes ] && ! scripts/k8s_tools.sh built >/dev/null; then
  echo "kubernetes manifests were not checked: their tools are not built, and BUILD_TOOLS=no" >&2
  exit 0
fi
bin=$(scripts/k8s_tools.sh check)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A copy, with contents for the secrets that the repository does not contain.
cp -r k8s "$work/"
secrets=$work/k8s/overlays/prod/secrets
mapfile -t names < <(sed -n 's|^ *- secrets/||p' k8s/overlays/prod/kustomization.yaml)
for name in "${names[@]}"; do echo "content of $name" >"$secrets/$name"; done

for overlay in local prod prod-backup prod-keda; do
  "$bin/kubectl" kustomize "$work/k8s/overlays/$overlay" >"$work/$overlay.yaml"
  # Objects of KEDA have no schema here.
  "$bin/kubernetes-validate" -k 1.36 --strict --quiet --no-warn "$work/$overlay.yaml"
done

# Tags are never reused, so a node need not pull an image that it has. deployment.yaml explains the missing CPU limit.
for overlay in prod prod-backup; do
  "$bin/kube-score" score --kubernetes-version v1.36 --exit-one-on-warning --ignore-container-cpu-limit \
    --ignore-test container-image-pull-policy -o ci "$work/$overlay.yaml" >"$work/score" || {
    grep -E '^\[(CRITICAL|WARNING)' "$work/score" >&2
    exit 1
  }
done

for name in "${names[@]}"; do
  rm "$secrets/$name"
  if "$bin/kubectl" kustomize "$work/k8s/overlays/prod" >/dev/null 2>"$work/error" || ! grep -q "secrets/$name: no such file" "$work/error"; then
    echo "overlay prod without secrets/$name: the build must fail and name the file, got: $(cat "$work/error")" >&2
    exit 1
  fi
  echo "content of $name" >"$secrets/$name"
done

"$(dirname "$(readlink -f "$bin/kubernetes-validate")")/python" scripts/check_k8s.py "$work"
echo "kubernetes manifests: 4 overlays built and checked"
