#!/usr/bin/env bash
# The cluster of test_k8s.sh, which sources this file: a real control plane, nodes of kwok, Prometheus with the server of external
# metrics, and what stands in for containers: a local stack, whose programs run on this machine.
# Its argument is the folder of dp and the services. Everything that is started ends with the script; KEEP=1 keeps the logs.
# Failure: the script ends, as with any command that fails.

bin=$(scripts/k8s_tools.sh cluster)
command -v prometheus >/dev/null || {
  echo "prometheus is missing: apt-get install --no-install-recommends prometheus" >&2
  exit 1
}
programs=$(realpath "$1")
[ -x "$programs/dp" ] || {
  echo "$1/dp is missing: cargo build --release -p dp -p localstack -p normalization -p enrichment -p aggregation -p projection --bins" >&2
  exit 1
}
work=$(mktemp -d)
pids=()
export KUBECONFIG=$work/kubeconfig

# A local stack beside any other: its services, log files and ports are those of the containers.
STACK_OFFSET=5000
stack_folder=/var/tmp/254carbon-$EUID/stack-$STACK_OFFSET
stack_runs=
# What `dp` in a container has for its servers.
stack_env=(DATA_PROC_KAFKA_BOOTSTRAP="127.0.0.1:$((9092 + STACK_OFFSET))" DATA_PROC_CLICKHOUSE_URL="http://127.0.0.1:$((8123 + STACK_OFFSET))"
  DATA_PROC_POSTGRES_DSN="postgresql://user:password@127.0.0.1:$((5432 + STACK_OFFSET))/db"
  DATA_PROC_REDIS_URL="redis://127.0.0.1:$((6379 + STACK_OFFSET))/0")

finish() {
  local pid
  for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
    pid=${pids[i]}
    kill "$pid" 2>/dev/null || continue
    timeout 20 tail --pid="$pid" -f /dev/null || kill -9 "$pid" 2>/dev/null || true
  done
  if [ -n "$stack_runs" ]; then stack down || echo "the local stack in $stack_folder still runs" >&2; fi
  if [ -n "${KEEP:-}" ]; then
    echo "logs: $work" >&2
    return
  fi
  if [ -n "$stack_runs" ]; then stack clean-data --yes; fi
  rm -rf "$work"
}
trap finish EXIT

start() { # start NAME COMMAND...: in the background, its output in $work/NAME.log
  local name=$1
  shift
  "$@" >"$work/$name.log" 2>&1 &
  pids+=($!)
}

kubectl() { "$bin/kubectl" "$@"; }
stack() { "$programs/dp" --port-offset "$STACK_OFFSET" "$@" >/dev/null; }

until_true() { # until_true SECONDS COMMAND...
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 1
  done
}

# ---- the cluster ----

start_control_plane() {
  local ports etcd peer api kwok
  # Ports that are free now: of etcd (2), the API, kwok, Prometheus, metrics and the adapter.
  ports=$(python3 -c 'import socket
sockets = [socket.socket() for _ in range(7)]
for one in sockets: one.bind(("127.0.0.1", 0))
print(*[one.getsockname()[1] for one in sockets])')
  read -r etcd peer api kwok prometheus_port metrics_port adapter_port <<<"$ports"
  local token
  token=$(openssl rand -hex 16)
  echo "$token,admin,admin,system:masters" >"$work/tokens"
  openssl genrsa -out "$work/accounts.key" 2048 2>/dev/null
  cat >"$KUBECONFIG" <<END
apiVersion: v1
kind: Config
clusters: [{ name: trial, cluster: { server: "https://127.0.0.1:$api", insecure-skip-tls-verify: true } }]
users: [{ name: admin, user: { token: $token } }]
contexts: [{ name: trial, context: { cluster: trial, user: admin } }]
current-context: trial
END
  start etcd "$bin/etcd" --data-dir "$work/etcd" --unsafe-no-fsync \
    --listen-client-urls "http://127.0.0.1:$etcd" --advertise-client-urls "http://127.0.0.1:$etcd" \
    --listen-peer-urls "http://127.0.0.1:$peer" --initial-advertise-peer-urls "http://127.0.0.1:$peer" \
    --initial-cluster "default=http://127.0.0.1:$peer"
  start apiserver "$bin/kube-apiserver" --etcd-servers "http://127.0.0.1:$etcd" --bind-address 127.0.0.1 --secure-port "$api" \
    --cert-dir "$work/certificates" --token-auth-file "$work/tokens" --authorization-mode Node,RBAC \
    --service-account-key-file "$work/accounts.key" --service-account-signing-key-file "$work/accounts.key" \
    --service-account-issuer https://kubernetes.default.svc --service-cluster-ip-range 10.96.0.0/16 \
    --kubelet-preferred-address-types InternalIP
  until_true 180 kubectl get --raw /readyz >/dev/null 2>&1
  # The autoscaler looks every 5 s instead of 15, to keep the trial short. The nodes of kwok send no heartbeats.
  start controllers "$bin/kube-controller-manager" --kubeconfig "$KUBECONFIG" --leader-elect=false --secure-port 0 \
    --service-account-private-key-file "$work/accounts.key" --horizontal-pod-autoscaler-sync-period 5s \
    --node-monitor-grace-period 1h
  start scheduler "$bin/kube-scheduler" --kubeconfig "$KUBECONFIG" --leader-elect=false --secure-port 0
  start_kwok "$kwok"
  add_nodes
}

start_kwok() { # start_kwok PORT: the kubelet of all nodes, without a certificate of its own: the API server does not compare it
  kubectl create -f "$bin/kwok-definitions.yaml" >/dev/null
  kubectl wait --for=condition=Established customresourcedefinition --all --timeout=60s >/dev/null
  # `kubectl exec` runs a program of this folder: what the image has in PATH, and nothing else.
  mkdir "$work/programs"
  ln -s "$programs"/{dp,normalization,enrichment,aggregation,projection} "$work/programs/"
  cat >"$work/kwok.yaml" <<END
apiVersion: kwok.x-k8s.io/v1alpha1
kind: ClusterExec
metadata: { name: programs }
spec: { execs: [{ containers: [service, dp], local: { workDir: / } }] }
END
  start kwok env "${stack_env[@]}" PATH="$work/programs" "$bin/kwok" --kubeconfig "$KUBECONFIG" --manage-all-nodes \
    --config "$bin/kwok-stages.yaml" --config "$work/kwok.yaml" --enable-crds Logs,PortForward \
    --node-ip 127.0.0.1 --node-port "$1" --server-address "127.0.0.1:$1"
}

add_nodes() { # two in each of three zones, and a volume for each server of overlay local
  local n
  for n in 1 2 3 4 5 6; do
    cat <<END
apiVersion: v1
kind: Node
metadata:
  name: node-$n
  labels: { kubernetes.io/hostname: node-$n, topology.kubernetes.io/zone: zone-$((n % 3 + 1)) }
status:
  allocatable: &size { cpu: "8", memory: 32Gi, ephemeral-storage: 100Gi, pods: "110" }
  capacity: *size
---
END
  done | kubectl create -f - >/dev/null
  for n in 1 2 3 4; do
    cat <<END
apiVersion: v1
kind: PersistentVolume
metadata: { name: volume-$n }
spec:
  capacity: { storage: 5Gi }
  accessModes: [ReadWriteOnce]
  hostPath: { path: /data-$n }
---
END
  done | kubectl create -f - >/dev/null
  kubectl wait --for=condition=Ready node --all --timeout=120s >/dev/null
}

lag() { # lag MESSAGES: what the services would export for normalization
  printf 'kafka_consumer_lag{service="%s",group="normalization-prod",topic="ingestion.market.raw.v1",partition="0"} %s\n' \
    normalization "$1" projection "$1" enrichment NaN >"$work/metrics/metrics"
}

start_metrics() { # a file with the lag, Prometheus, and the server of external metrics
  mkdir -p "$work/metrics"
  lag 0
  start metrics python3 -m http.server --bind 127.0.0.1 --directory "$work/metrics" "$metrics_port"
  cat >"$work/prometheus.yml" <<END
global: { scrape_interval: 1s }
scrape_configs: [{ job_name: services, honor_labels: true, static_configs: [{ targets: ["127.0.0.1:$metrics_port"] }] }]
END
  start prometheus prometheus --config.file "$work/prometheus.yml" --storage.tsdb.path "$work/tsdb" \
    --web.listen-address "127.0.0.1:$prometheus_port"
  openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -keyout "$work/adapter.key" -out "$work/adapter.crt" 2>/dev/null
  cat "$work/adapter.key" "$work/adapter.crt" >"$work/adapter.pem"
  start adapter python3 scripts/k8s_external_metrics.py "$adapter_port" "$work/adapter.pem" "http://127.0.0.1:$prometheus_port"
}

start_containers() { # from now on, pods have logs and ports
  stack clean-data --yes
  stack_runs=yes
  stack up
  mkdir "$work/containers"
  start containers env "${stack_env[@]}" PATH="$bin:$PATH" scripts/k8s_containers.py --port-offset "$STACK_OFFSET" \
    --stack "$stack_folder" --programs "$programs" "$work/containers"
}
