#!/usr/bin/env bash
# The files of monitoring/: valid for Prometheus, Alertmanager and the blackbox exporter, rule tests, routes, the bodies for pager and
# chat, generated files, and their agreement with docs/metrics.md, docs/runbooks and schemas/clickhouse. Two minutes, most of them for
# the rule tests.
# Debian packages: prometheus, prometheus-alertmanager, prometheus-blackbox-exporter, python3.
# Failure: what the tool found; exit code 1.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

for tool in promtool amtool prometheus-alertmanager prometheus-blackbox-exporter python3; do
  if ! command -v "$tool" >/dev/null; then
    echo "$tool is missing: apt-get install --no-install-recommends prometheus prometheus-alertmanager prometheus-blackbox-exporter python3" >&2
    exit 1
  fi
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

quiet() { # prints the output of a command only if it fails
  "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2 && exit 1; }
}

quiet promtool check config monitoring/prometheus.yml
# Debian builds Prometheus without discovery by Kubernetes, so a file with DNS discovery in its place shows whether the rest is valid.
cp monitoring/{recording,alert}_rules.yml "$work"
sed -e 's/kubernetes_sd_configs:/dns_sd_configs:/' -e 's/- role: .*/- names: [any]/' -e '/namespaces: {names:/d' -e '/serviceaccount/d' \
  monitoring/prometheus.kubernetes.yml >"$work/prometheus.yml"
quiet promtool check config "$work/prometheus.yml"
rules=$(promtool check rules monitoring/*_rules.yml | awk '/rules found/ { n += $2 } END { print n }')

quiet prometheus-blackbox-exporter --config.check --config.file monitoring/blackbox.yml
quiet amtool check-config monitoring/alertmanager.yml
route() { # route RECEIVERS LABEL…
  quiet amtool config routes test --config.file monitoring/alertmanager.yml --verify.receivers="$1" "${@:2}"
}
route escalation,pager,chat severity=critical alertname=ServiceDown
route chat severity=warning alertname=ServiceDegraded
route log severity=info alertname=LateTicksMany
route chat alertname=WithoutSeverity

python3 monitoring/check_notifiers.py

python3 monitoring/generate.py --check
python3 monitoring/check.py "$rules"
quiet promtool test rules monitoring/tests/objectives.yml monitoring/tests/alerts.yml
shellcheck monitoring/run.sh
