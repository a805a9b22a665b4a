#!/usr/bin/env bash
# Builds the programs that try the Kubernetes manifests, once for each version, and prints the folder that contains them.
#
#   scripts/k8s_tools.sh check     kubectl, kube-score, kubernetes-validate: enough for scripts/check_k8s.sh
#   scripts/k8s_tools.sh built     builds nothing; exit code 1 if one of these does not exist
#   scripts/k8s_tools.sh cluster   in addition etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kwok with its stages and definitions
#
# Needs Go and python3-venv. The first build takes 12 minutes of CPU time; a program that exists is not built again. The Go
# programs come from their modules, verified by Go's checksum database.
# Failure: one line names the missing tool or the log of the failed build; exit code 1.
set -euo pipefail

KUBERNETES=1.36.3
KWOK=0.8.0
KUBE_SCORE=1.20.0
KUBERNETES_VALIDATE=1.36.0

home=${DATA_PROC_CACHE:-$HOME/.cache/254carbon}/tools/kubernetes-$KUBERNETES
bin=$home/bin
mkdir -p "$bin"
exec 9>"$home.lock"
flock 9 # two runs at once build each program once

fail() {
  echo "k8s_tools: $*" >&2
  exit 1
}

# module FOLDER MODULE VERSION: an empty module that requires MODULE.
module() {
  [ -e "$1/go.mod" ] && return
  mkdir -p "$1"
  (cd "$1" && go mod init build && go mod edit -require "$2@v$3") >/dev/null 2>&1
}

# pin FOLDER: every dependency in the version of the Kubernetes release, so that all programs share compiled packages. Its
# staging modules are published as v0.x of the same release.
pin() {
  local release
  release=$(cd "$1" && go mod download -json "k8s.io/kubernetes@v$KUBERNETES" | sed -n 's/^\t"GoMod": "\(.*\)",$/\1/p')
  {
    sed -n 's|^\t\([^ ]*\) \(v[^ ]*\).*|-replace=\1=\1@\2|p' "$release" | grep -v '@v0\.0\.0$'
    sed -n "s|^\t\(.*\) => \./staging/.*|-replace=\1=\1@v0.${KUBERNETES#1.}|p" "$release"
  } | (cd "$1" && xargs go mod edit -require "k8s.io/kubernetes@v$KUBERNETES")
}

# build NAME FOLDER PACKAGE [go build flags]: compiles PACKAGE into $bin/NAME in the module of FOLDER.
build() {
  local name=$1 folder=$2 package=$3
  shift 3
  [ -x "$bin/$name" ] && return
  command -v go >/dev/null 2>&1 || fail "go is missing: install Go 1.26 or newer"
  echo "building $name (a few minutes, once)" >&2
  (cd "$folder" && CGO_ENABLED=0 nice -n 19 go build -mod=mod -trimpath "$@" -o "$bin/$name.new" "$package") \
    >"$home/$name.log" 2>&1 || fail "$name was not built: $(tail -n 1 "$home/$name.log") (log: $home/$name.log)"
  mv "$bin/$name.new" "$bin/$name"
}

kubernetes() { # kubernetes PROGRAM: one of the programs of the Kubernetes release
  local version=k8s.io/component-base/version
  build "$1" "$home/kubernetes" "k8s.io/kubernetes/cmd/$1" \
    -ldflags "-s -w -X $version.gitVersion=v$KUBERNETES -X $version.gitMajor=1 -X $version.gitMinor=${KUBERNETES:2:2}"
}

check_tools() {
  if [ ! -x "$bin/kubectl" ]; then
    module "$home/kubernetes" k8s.io/kubernetes "$KUBERNETES"
    pin "$home/kubernetes"
  fi
  kubernetes kubectl
  module "$home/kube-score" github.com/zegl/kube-score "$KUBE_SCORE"
  build kube-score "$home/kube-score" github.com/zegl/kube-score/cmd/kube-score -ldflags "-s -w"
  if [ ! -x "$bin/kubernetes-validate" ]; then
    if ! { python3 -m venv "$home/validate" &&
      "$home/validate/bin/pip" install --quiet "kubernetes-validate==$KUBERNETES_VALIDATE"; } >"$home/validate.log" 2>&1; then
      fail "kubernetes-validate was not installed (log: $home/validate.log)"
    fi
    ln -sf ../validate/bin/kubernetes-validate "$bin/kubernetes-validate"
  fi
}

documents() { awk 'FNR == 1 { print "---" } { print }' "$@"; } # files of YAML as one

cluster_tools() {
  local program
  for program in kube-apiserver kube-controller-manager kube-scheduler; do kubernetes "$program"; done
  if [ ! -x "$bin/kwok" ]; then
    module "$home/kwok" sigs.k8s.io/kwok "$KWOK"
    pin "$home/kwok"
  fi
  build kwok "$home/kwok" sigs.k8s.io/kwok/cmd/kwok -ldflags "-s -w"
  local source
  if [ ! -s "$bin/kwok-stages.yaml" ] || [ ! -s "$bin/kwok-definitions.yaml" ]; then
    source=$(cd "$home/kwok" && go mod download -json "sigs.k8s.io/kwok@v$KWOK" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')/kustomize
    # How its nodes and pods behave: ready at once, Jobs complete at once.
    documents "$source"/stage/node/fast/node-*.yaml "$source"/stage/pod/fast/pod-*.yaml >"$bin/kwok-stages.yaml"
    # The objects that say what `kubectl logs` and `kubectl port-forward` give for a pod.
    documents "$source"/crd/bases/kwok.x-k8s.io_{logs,portforwards}.yaml >"$bin/kwok-definitions.yaml"
  fi
  if [ ! -x "$bin/etcd" ]; then
    command -v etcd >/dev/null 2>&1 || fail "etcd is missing: apt-get install --no-install-recommends etcd-server"
    ln -sf "$(command -v etcd)" "$bin/etcd"
  fi
}

case ${1:-} in
  built) [ -x "$bin/kubectl" ] && [ -x "$bin/kube-score" ] && [ -x "$bin/kubernetes-validate" ] || exit 1 ;;
  check) check_tools ;;
  cluster)
    check_tools
    cluster_tools
    ;;
  *) fail "usage: scripts/k8s_tools.sh check|built|cluster" ;;
esac
echo "$bin"
