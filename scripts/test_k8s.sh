#!/usr/bin/env bash
# Tries the Kubernetes manifests on a real control plane: etcd, kube-apiserver, kube-controller-manager, kube-scheduler. kwok
# stands in for the kubelets of six nodes: it reports pods ready and runs no container. Prometheus is real; a small server
# evaluates the rule of the Prometheus adapter with it. At the end the kubectl commands of the docs run (check_cluster_guide.py); for them a
# local stack with the programs of FOLDER stands in for the containers. Not tried: images, probes, enforcement of NetworkPolicies.
#
#   scripts/test_k8s.sh [FOLDER]     FOLDER contains dp and the services; default: target/release
#
# Prints one line for each trial. Everything that it starts is stopped at its end; KEEP=1 keeps the logs.
# Time: 10 minutes on 2 cores; the first run also builds the programs (k8s_tools.sh): 12 minutes of CPU time.
# Failure: the trial's line says FAILED and the end of its output follows; exit code 1.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/k8s_cluster.sh
. scripts/k8s_cluster.sh "${1:-target/release}"
root=$PWD
failed=0
NAMESPACE=data-processing-prod

in_prod() { kubectl --namespace "$NAMESPACE" "$@"; }

# trial NAME FUNCTION: a function fails with its last command or with `return 1`; what it prints last is the line's text.
trial() {
  local from=$SECONDS status
  set +e # not `if (...)`: bash would ignore failures inside
  (
    set -e
    "$2"
  ) >"$work/trial" 2>&1
  status=$?
  set -e
  if [ "$status" = 0 ]; then
    printf 'ok      %-22s %4d s  %s\n' "$1" $((SECONDS - from)) "$(tail -n 1 "$work/trial")"
  else
    printf 'FAILED  %-22s %4d s\n' "$1" $((SECONDS - from))
    tail -n 15 "$work/trial" | sed 's/^/        /'
    failed=$((failed + 1))
  fi
}

copy_with_secrets() { # the manifests, with contents for the secrets that the repository does not contain
  cp -r k8s "$work/"
  manifests=$work/k8s/overlays
  sed -n 's|^ *- secrets/||p' k8s/overlays/prod/kustomization.yaml | while read -r name; do
    echo "content of $name" >"$manifests/prod/secrets/$name"
  done
}

# ---- the trials ----

ready() { in_prod get deployment "$1" --output 'jsonpath={.status.readyReplicas}'; }
image() { in_prod get deployment normalization-service --output 'jsonpath={.spec.template.spec.containers[0].image}'; }
has_ready() { [ "$(ready "$1")" = "$2" ]; }
settled() { in_prod rollout status deployment --timeout=180s >/dev/null; }

least_ready() { # least_ready DEPLOYMENT COMMAND...: runs the command, prints the smallest number of ready pods meanwhile
  local deployment=$1 least now pid
  shift
  least=$(ready "$deployment")
  "$@" >&2 &
  pid=$!
  while kill -0 $pid 2>/dev/null; do
    now=$(ready "$deployment")
    [ "${now:-0}" -ge "$least" ] || least=${now:-0}
    sleep 0.2
  done
  wait $pid
  echo "$least"
}

local_overlay() { # the two commands of docs/deployment-kubernetes.md
  kubectl apply --server-side -k k8s/overlays/local
  kubectl rollout status --namespace data-processing-local deployment --timeout=15m
  kubectl wait --namespace data-processing-local --for=condition=Complete --timeout=60s job --all
  kubectl rollout status --namespace data-processing-local statefulset --timeout=60s
  kubectl get pods --namespace data-processing-local
  kubectl delete namespace data-processing-local --wait=false
  echo "4 services available, 4 servers ready, jobs complete"
}

prod_overlay() {
  kubectl apply --server-side --force-conflicts -k "$manifests/prod"
  settled
  local kind
  for kind in pods services deployments ingress networkpolicies hpa; do # as the troubleshooting guide lists them
    [ -n "$(kubectl get "$kind" -n "$NAMESPACE" --output name)" ] || return 1
  done
  until_true 60 has_ready normalization-service 2 # minReplicas of the autoscaler
  settled
  [ "$(kubectl get pods -n "$NAMESPACE" --selector prometheus.io/scrape=true,prometheus.io/port=8080 --output name | wc -l)" = 8 ]
  echo "two ready pods of each service, with the labels of the scraper"
}

standby_overlay() {
  kubectl apply --server-side --force-conflicts -k "$manifests/prod-backup"
  settled
  kubectl apply --server-side --force-conflicts -k "$manifests/prod-backup"
  [ "$(in_prod get deployment --output 'jsonpath={.items[*].metadata.generation}' | tr ' ' '\n' | sort -n | tail -n 1)" -le 2 ]
  echo "standby of each service ready; applied twice without a change"
}

changed_setting() { # as docs/deployment-kubernetes.md describes: the Jobs first, because they cannot be changed
  echo DATA_PROC_LOG_LEVEL=debug >>"$manifests/prod/settings.env"
  in_prod delete job --selector part-of=setup --ignore-not-found
  kubectl apply --server-side --force-conflicts -k "$manifests/prod-backup"
  settled
  local names
  names=$(in_prod get deployment --output 'jsonpath={.items[*].spec.template.spec.containers[0].envFrom[0].configMapRef.name}' | tr ' ' '\n' | sort -u)
  [ "$(in_prod get configmap "$names" --output 'jsonpath={.data.DATA_PROC_LOG_LEVEL}')" = debug ]
  echo "every pod replaced, with the new setting"
}

keda_overlay() {
  kubectl kustomize "$manifests/prod-keda" |
    awk 'BEGIN { RS = "---\n"; ORS = "---\n" } !/kind: ScaledObject/' | kubectl apply --server-side --dry-run=server -f -
  echo "accepted (dry run, without the four ScaledObjects)"
}

upgrade() { # the order of docs/deployment-kubernetes.md, with the standby as canary
  in_prod set image deployment/normalization-service-backup service=data-processing:9.9.9
  settled
  sed -i 's/newTag: .*/newTag: 9.9.9/' "$work/k8s/components/release/kustomization.yaml"
  in_prod delete job --selector part-of=setup --ignore-not-found
  kubectl apply --server-side --force-conflicts -k "$manifests/prod-backup"
  local least
  least=$(least_ready normalization-service in_prod rollout status deployment --timeout=300s)
  [ "$(in_prod get deployment --output 'jsonpath={.items[*].spec.template.spec.containers[0].image}' | tr ' ' '\n' | sort -u)" = data-processing:9.9.9 ]
  [ "$least" -ge 2 ]
  echo "new image on every pod, never less than $least of 2 ready"
}

undo() {
  in_prod rollout undo deployment/normalization-service
  settled
  cp k8s/components/release/kustomization.yaml "$work/k8s/components/release/kustomization.yaml"
  in_prod delete job --selector part-of=setup --ignore-not-found
  kubectl apply --server-side --force-conflicts -k "$manifests/prod-backup"
  settled
  echo "$(image) again"
}

scale() {
  kubectl scale deployment/normalization-service --replicas=6 -n "$NAMESPACE"
  until_true 60 has_ready normalization-service 6
  local pods
  pods=$(in_prod get pods --selector app=normalization-service,version=primary --output 'jsonpath={range .items[*]}{.spec.nodeName}{"\n"}{end}')
  local nodes
  nodes=$(sort -u <<<"$pods" | wc -l)
  [ "$nodes" -ge 4 ]
  echo "6 replicas on $nodes nodes"
}

drain() {
  local least
  least=$(least_ready normalization-service kubectl drain node-1 --ignore-daemonsets --delete-emptydir-data --timeout=180s)
  kubectl uncordon node-1
  [ "$least" -ge 5 ]
  echo "node drained, never less than $least of 6 ready"
}

evict() { # evict POD
  printf '{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"%s","namespace":"%s"}}' "$1" "$NAMESPACE" |
    kubectl create --raw "/api/v1/namespaces/$NAMESPACE/pods/$1/eviction" -f -
}

budget() {
  settled
  local pods
  mapfile -t pods < <(in_prod get pods --selector app=projection-service --output 'jsonpath={range .items[*]}{.metadata.name}{"\n"}{end}')
  kubectl cordon --selector kubernetes.io/hostname # the evicted pod is not replaced meanwhile
  evict "${pods[0]}"
  if evict "${pods[1]}" 2>"$work/refused"; then return 1; fi
  kubectl uncordon --selector kubernetes.io/hostname
  settled
  grep -o "Cannot evict pod.*" "$work/refused"
}

served_by() { # served_by primary|backup: all pods behind normalization-service have this version
  local pods expected
  pods=$(in_prod get endpointslices --selector kubernetes.io/service-name=normalization-service \
    --output 'jsonpath={range .items[*].endpoints[*]}{.targetRef.name}{"\n"}{end}' | sort)
  expected=$(in_prod get pods --selector "app=normalization-service,version=$1" \
    --output 'jsonpath={range .items[*]}{.metadata.name}{"\n"}{end}' | sort)
  [ -n "$pods" ] && [ "$pods" = "$expected" ]
}

failover() { # the command of the troubleshooting guide, and back
  until_true 30 served_by primary
  kubectl config set-context --current --namespace="$NAMESPACE"
  kubectl patch service normalization-service -p '{"spec":{"selector":{"version":"backup"}}}'
  until_true 30 served_by backup
  kubectl patch service normalization-service -p '{"spec":{"selector":{"version":"primary"}}}'
  until_true 30 served_by primary
  kubectl config set-context --current --namespace=default
  echo "endpoints are the standby's, then the primary's again"
}

over_quota() {
  in_prod get events --field-selector reason=FailedCreate --output 'jsonpath={.items[*].message}' | grep -q "exceeded quota: data-processing"
}

quota() {
  kubectl scale deployment/normalization-service-backup --replicas=80 -n "$NAMESPACE"
  until_true 60 over_quota
  kubectl scale deployment/normalization-service-backup --replicas=1 -n "$NAMESPACE"
  echo "pods above the quota are refused"
}

pod_security() {
  if cat <<'END' | in_prod create -f - >"$work/refused" 2>&1; then return 1; fi
apiVersion: v1
kind: Pod
metadata: { name: unrestricted }
spec:
  containers:
    - name: unrestricted
      image: data-processing
      resources: { requests: { cpu: 1m, memory: 1Mi }, limits: { memory: 1Mi } }
END
  cat "$work/refused"
  grep -o 'violates PodSecurity "restricted:latest"' "$work/refused"
}

tokens() { # no pod gets a token of the API
  local volumes
  volumes=$(in_prod get pods --output 'jsonpath={.items[*].spec.volumes[*].projected.sources[*].serviceAccountToken}')
  [ -z "$volumes" ]
  echo "no pod has a token of the API server"
}

replicas() { in_prod get deployment normalization-service --output 'jsonpath={.spec.replicas}'; }
more_than_two() { [ "$(replicas)" -gt 2 ]; }
lag_per_pod() { # lag_per_pod VALUE: what the autoscaler reports
  in_prod get hpa normalization-service --output 'jsonpath={.status.currentMetrics[*].external.current.averageValue}' | grep -qx "$1"
}

autoscaler() {
  [ "$(in_prod get hpa --output 'jsonpath={range .items[*]}{.spec.metrics[1].external.metric.name}{"\n"}{end}' | sort | uniq -c | xargs)" = "4 kafka_consumer_lag" ]
  kubectl scale deployment/normalization-service --replicas=2 -n "$NAMESPACE"
  sed "s/ADAPTER_PORT/$adapter_port/" <<'END' | kubectl apply -f -
apiVersion: v1
kind: Service
metadata: { name: adapter, namespace: default }
spec: { type: ExternalName, externalName: localhost, ports: [{ port: ADAPTER_PORT }] }
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: { name: v1beta1.external.metrics.k8s.io }
spec:
  group: external.metrics.k8s.io
  version: v1beta1
  groupPriorityMinimum: 100
  versionPriority: 100
  insecureSkipTLSVerify: true
  service: { name: adapter, namespace: default, port: ADAPTER_PORT }
END
  kubectl wait --for=condition=Available apiservice/v1beta1.external.metrics.k8s.io --timeout=60s
  until_true 60 lag_per_pod 0
  lag 400000
  until_true 60 lag_per_pod 200k
  until_true 180 more_than_two
  echo "lag of 400,000 with 2 replicas: scaled to $(replicas)"
}

pages() { # in the copy, which has secrets; overlay local is applied again, so its first one must be gone
  lag 0
  kubectl wait --for=delete namespace/data-processing-local --timeout=120s
  cd "$work"
  PATH=$bin:$PATH "$root/scripts/check_cluster_guide.py"
}

start_control_plane
copy_with_secrets
trial "apply local" local_overlay
trial "apply prod" prod_overlay
trial "apply prod-backup" standby_overlay
trial "apply prod-keda" keda_overlay
trial "changed setting" changed_setting
trial "upgrade" upgrade
trial "undo" undo
trial "scale" scale
trial "drain" drain
trial "disruption budget" budget
trial "failover" failover
trial "quota" quota
trial "pod security" pod_security
trial "no tokens" tokens
start_metrics
trial "autoscaler on lag" autoscaler
start_containers
trial "commands of the docs" pages
[ "$failed" = 0 ] || exit 1
echo "kubernetes: all trials passed on $("$bin/kube-apiserver" --version)"
