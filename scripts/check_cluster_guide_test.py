#!/usr/bin/env python3
"""Tests of check_cluster_guide.py and k8s_containers.py without a cluster.

Failure: the tests that failed; exit code 1.
"""

import contextlib
import http.server
import io
import os
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import check_cluster_guide
import k8s_containers
from check_cluster_guide import EXCEPTIONS, check, cluster_commands, filled, in_order, promised, run_here, same, too_many, unneeded
from check_guide import MOST_EXCEPTIONS, ROOT, command

PAGE = """```sh local
kubectl get local
```

`kubectl get inline`

```
docker compose ps
kubectl get pods \\
  -n prod  # one for each; exit 0 or 1 → Running
kubectl logs job/NAME
```

```sh
kubectl get nodes
```
"""


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'{"service": "aggregation"}'
        self.send_response(503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *parts):
        pass


def value(text: str, pattern: str | None) -> tuple[int, str]:
    return 0, "enrichment\n"


class ClusterGuide(unittest.TestCase):
    def checked(self, *lines: str, page: str = "docs/a.md", outputs: dict | None = None) -> tuple[list[str], list[str]]:
        """The commands that ran, and what is wrong."""
        ran = []

        def run(text: str, pattern: str | None):
            ran.append(text)
            answer = (outputs or {}).get(text, (0, "did it"))
            return answer.pop(0) if isinstance(answer, list) else answer

        with contextlib.redirect_stdout(io.StringIO()):
            _, wrong = check([command(ROOT / page, 1, line) for line in lines], run)
        return ran, wrong

    def test_the_kubectl_lines_of_all_blocks_but_the_local_ones_are_read(self):
        with tempfile.TemporaryDirectory() as folder:
            page = Path(folder) / "page.md"
            page.write_text(PAGE)
            found = cluster_commands(page)
        self.assertEqual([one.text for one in found], ["kubectl get pods   -n prod", "kubectl logs job/NAME", "kubectl get nodes"])
        self.assertEqual((found[0].codes, found[0].pattern, found[1].codes), ((0, 1), "Running", (0,)))

    def shell(self, kubectl: str) -> Path:
        """A folder with this program as kubectl, in front of PATH."""
        folder = self.enterContext(tempfile.TemporaryDirectory())
        program = Path(folder) / "kubectl"
        program.write_text(f"#!/bin/sh\n{kubectl}\n")
        program.chmod(0o755)
        self.addCleanup(os.environ.__setitem__, "PATH", os.environ["PATH"])
        os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"
        return Path(folder)

    def test_an_exception_is_not_run_and_is_of_one_line(self):
        line = next(iter(EXCEPTIONS))
        ran, wrong = self.checked(line, f"{line} --all-namespaces", "kubectl get pods")
        self.assertEqual((ran, wrong), ([f"{line} --all-namespaces", "kubectl get pods"], []))

    def test_an_exception_that_no_page_needs_is_named(self):
        first, *others = EXCEPTIONS
        found = [command(ROOT / "README.md", 1, line) for line in (first, "kubectl get nodes")]
        self.assertEqual(unneeded(found), [f"exception that no page needs: {other}" for other in others])

    def test_lines_that_are_not_run_are_counted_on_all_pages_together(self):
        cluster = [command(ROOT / f"docs/{number}.md", 1, next(iter(EXCEPTIONS))) for number in range(MOST_EXCEPTIONS - 1)]
        local = [command(ROOT / "README.md", number, "dp alerts list") for number in (1, 2)]
        ran = [command(ROOT / "README.md", 3, "kubectl get nodes")]
        self.assertEqual(too_many(cluster + ran, local[:1]), [])
        wrong = too_many(cluster + ran, local)
        self.assertIn(f"{MOST_EXCEPTIONS + 1} lines are not run", wrong[0])
        self.assertIn("docs/0.md:1", wrong[0])
        self.assertIn("README.md:2", wrong[0])
        self.assertNotIn("README.md:3", wrong[0])

    def test_a_log_or_a_forwarded_port_must_show_the_service_that_is_named(self):
        logs = "kubectl logs -n prod deployment/aggregation-service --tail 100"
        outputs = {logs: (0, '{"service":"aggregation","level":"INFO"}')}
        self.assertEqual(self.checked(logs, outputs=outputs)[1], [])
        _, wrong = self.checked(logs, outputs={logs: (0, '{"service":"projection"}')})
        self.assertIn('output lacks "service": ?"aggregation"', wrong[0])
        self.assertIsNone(promised("kubectl logs -l app=aggregation-service > incident.log"))
        self.assertIsNone(promised("kubectl logs -n prod deployment/aggregation-service | grep x"))
        self.assertIsNone(promised("kubectl get pods -l app=aggregation-service"))

    def test_an_error_of_kubectl_in_front_of_a_program_that_finds_nothing_is_a_problem(self):
        line = "kubectl logs deployment/x | grep y  # exit 0 or 1"
        text = "kubectl logs deployment/x | grep y"
        self.assertEqual(self.checked(line, outputs={text: (1, "")})[1], [])
        _, wrong = self.checked(line, outputs={text: (1, "Error from server (NotFound): no such deployment")})
        self.assertIn("kubectl failed", wrong[0])

    def test_a_pod_that_has_just_begun_is_asked_again(self):
        starting = (1, "container is waiting to start: ContainerCreating")
        ran, wrong = self.checked("kubectl logs a", outputs={"kubectl logs a": [starting, (0, "line")]})
        self.assertEqual((ran, wrong), (["kubectl logs a"] * 2, []))

    def test_a_port_is_forwarded_from_a_free_one_asked_and_ended(self):
        server = self.enterContext(http.server.HTTPServer(("127.0.0.1", 0), Answer))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.shutdown)
        folder = self.shell(f'echo "$@" >$0.args; echo $$ >$0.pid; echo "Forwarding from 127.0.0.1:{server.server_port} -> 8080"; exec sleep 100')
        code, output = run_here("kubectl port-forward deployment/aggregation-service 8082:8080 &", None)
        self.assertEqual((folder / "kubectl.args").read_text(), "port-forward deployment/aggregation-service :8080\n")
        self.assertEqual(code, 0)
        self.assertIn('{"service": "aggregation"}', output)
        self.assertFalse(Path(f"/proc/{(folder / 'kubectl.pid').read_text().strip()}").exists())

    def test_a_followed_log_is_ended_when_it_shows_its_pattern(self):
        self.shell("echo begun; sleep 0.3; echo no difference; exec sleep 100")
        begun = time.monotonic()
        self.assertEqual(run_here("kubectl logs --follow job/verify", "no difference"), (0, "begun\nno difference\n"))
        self.assertLess(time.monotonic() - begun, 50)
        self.shell("echo not found; exit 1")
        self.assertEqual(run_here("kubectl logs --follow job/verify", "no difference"), (1, "not found\n"))

    def test_a_placeholder_without_a_value_is_a_problem(self):
        self.assertEqual(filled("kubectl get deployment/SERVICE-service", value), "kubectl get deployment/enrichment-service")
        ran, wrong = self.checked("kubectl describe node NODE")
        self.assertEqual(ran, [])
        self.assertIn("no value for NODE", wrong[0])
        whole = """kubectl patch service a -p '{"spec":{"SPEC":"BACKUP"}}' --for=condition=READY"""
        self.assertEqual(filled(whole, value), whole)
        with self.assertRaises(LookupError):
            filled("kubectl logs POD", lambda text, pattern: (0, ""))

    def test_a_command_of_several_pages_runs_once_however_it_is_spelled(self):
        lines = "kubectl create job verify-now --namespace prod --from=cronjob/verify", "kubectl create job verify-now -n prod --from=cronjob/verify"
        ran, wrong = self.checked(*lines)
        self.assertEqual((ran, wrong), ([lines[0]], []))
        self.assertNotEqual(same("kubectl get pods -n prod"), same("kubectl get pods -n local"))

    def test_a_wrong_exit_code_a_missing_pattern_and_a_late_command_are_problems(self):
        outputs = {"kubectl a": (1, "refused"), "kubectl b": (0, "Pending"), "kubectl c": (None, ""), "kubectl d": (1, "refused")}
        ran, wrong = self.checked("kubectl a", "kubectl b  # → Running", "kubectl c", "kubectl d  # exit 0 or 1", outputs=outputs)
        self.assertEqual(len(ran), 4)
        for line, part in zip(wrong, ["exit code 1, not 0\nrefused", "output lacks Running", "was not done after 300 s"], strict=True):
            self.assertIn(part, line)

    def test_a_selection_that_finds_nothing_is_a_problem(self):
        nothing = (0, "No resources found in prod namespace.")
        delete = "kubectl delete job -l part-of=setup --ignore-not-found"
        _, wrong = self.checked("kubectl get pods -l app=x", delete, outputs={"kubectl get pods -l app=x": nothing, delete: nothing})
        self.assertEqual(len(wrong), 1)
        self.assertIn("found nothing", wrong[0])

    def test_runbooks_come_last(self):
        pages = [ROOT / "docs/runbooks/incident-security.md", ROOT / "docs/security.md", ROOT / "README.md"]
        self.assertEqual([page.name for page in in_order(pages)], ["security.md", "README.md", "incident-security.md"])

    def test_a_failure_before_a_pipe_counts_and_time_is_limited(self):
        self.assertEqual(run_here("(echo refused; exit 3) | cat", None), (3, "refused\n"))
        self.addCleanup(setattr, check_cluster_guide, "LIMIT", check_cluster_guide.LIMIT)
        check_cluster_guide.LIMIT = 0.1
        self.assertEqual(run_here("sleep 20", None)[0], None)

    def test_a_pod_has_log_and_port_of_the_program_that_its_container_runs(self):
        container = {"name": "service", "command": ["/usr/local/bin/aggregation"], "ports": [{"name": "http", "containerPort": 8080}]}
        pod = {"metadata": {"name": "enrichment-1", "namespace": "prod", "uid": "1"}, "spec": {"containers": [container]}}
        logs, forward = k8s_containers.objects(pod, Path("/logs/a.log"), 5000)
        self.assertEqual(logs["spec"], {"logs": [{"containers": ["service"], "logsFile": "/logs/a.log"}]})
        self.assertEqual(logs["metadata"], {"name": "enrichment-1", "namespace": "prod"})
        self.assertEqual(forward["spec"], {"forwards": [{"ports": [8080], "target": {"address": "127.0.0.1", "port": 13082}}]})
        pod["spec"]["containers"] = [{"name": "dp", "command": ["/usr/local/bin/dp"]}]
        self.assertEqual([one["kind"] for one in k8s_containers.objects(pod, Path("/logs/a.log"), 5000)], ["Logs"])
        self.assertRegex(k8s_containers.log_line("a b\n"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z stdout F a b\n$")


if __name__ == "__main__":
    unittest.main()
