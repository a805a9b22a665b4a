"""Serves external.metrics.k8s.io for test_k8s.sh: evaluates the rule of k8s/prometheus-adapter with a real Prometheus.

Usage: k8s_external_metrics.py PORT CERTIFICATE PROMETHEUS_URL. It stands in for the Prometheus adapter and knows only
rules without namespace. Failure: an answer with status 404 or 500, which the autoscaler reports.
"""

import datetime
import http.server
import json
import pathlib
import re
import ssl
import sys
import urllib.parse
import urllib.request

GROUP = "external.metrics.k8s.io"
ROOT = f"/apis/{GROUP}/v1beta1"


def rule():
    """Name and query of the shipped rule."""
    text = pathlib.Path("k8s/prometheus-adapter/config.yaml").read_text()
    name = re.search(r'__name__="(\w+)"', text)[1]
    return name, re.search(r"metricsQuery: (.*)", text)[1]


def values(prometheus, metric, selector):
    """The result of the rule's query, as items of an ExternalMetricValueList."""
    _, query = rule()
    matchers = ",".join(f'{key}="{value}"' for key, value in (pair.split("=", 1) for pair in selector.split(",") if pair))
    query = query.replace("<<.Series>>", metric).replace("<<.LabelMatchers>>", matchers)
    url = f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    with urllib.request.urlopen(url, timeout=5) as answer:
        result = json.load(answer)["data"]["result"]
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return [
        {"metricName": metric, "metricLabels": one["metric"], "timestamp": now, "value": one["value"][1]} for one in result
    ]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        url = urllib.parse.urlparse(self.path)
        name, _ = rule()
        found = re.fullmatch(rf"{ROOT}/namespaces/[^/]+/{name}", url.path)
        if url.path == ROOT:
            resource = {"name": name, "namespaced": True, "kind": "ExternalMetricValueList", "verbs": ["get"]}
            body = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{GROUP}/v1beta1", "resources": [resource]}
        elif found:
            selector = urllib.parse.parse_qs(url.query).get("labelSelector", [""])[0]
            items = values(sys.argv[3], name, selector)
            body = {"kind": "ExternalMetricValueList", "apiVersion": f"{GROUP}/v1beta1", "metadata": {}, "items": items}
        else:
            self.send_error(404)
            return
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
