#!/usr/bin/env python3
"""Tests of check_cluster_guide.py without a cluster.

Failure: the tests that failed; exit code 1.
"""

import contextlib
import io
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import check_cluster_guide
from check_cluster_guide import check, cluster_commands, exception, filled, in_order, run_here, same, unneeded
from check_guide import ROOT, command

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


class ClusterGuide(unittest.TestCase):
    def checked(self, *lines: str, page: str = "docs/a.md", outputs: dict | None = None) -> tuple[list[str], list[str]]:
        """The commands that ran, and what is wrong."""
        ran = []

        def run(text: str):
            ran.append(text)
            return (outputs or {}).get(text, (0, "did it"))

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

    def test_what_needs_a_container_is_not_run(self):
        ran, wrong = self.checked("kubectl logs job/NAME", "kubectl exec x -- dp groups", "kubectl port-forward POD PORT:8080", "kubectl get pods")
        self.assertEqual((ran, wrong), (["kubectl get pods"], []))
        self.assertIsNone(exception("kubectl get pods -l app=logs"))

    def test_an_exception_that_no_page_needs_is_named(self):
        found = [command(ROOT / "README.md", 1, line) for line in ("kubectl logs x", "kubectl exec x", "kubectl get nodes")]
        self.assertEqual([line.split(": ")[1] for line in unneeded(found)], ["kubectl port-forward ", "kubectl get secret,certificate "])

    def test_a_placeholder_without_a_value_is_a_problem(self):
        self.assertEqual(filled("kubectl get deployment/SERVICE-service"), "kubectl get deployment/enrichment-service")
        ran, wrong = self.checked("kubectl describe pod POD")
        self.assertEqual(ran, [])
        self.assertIn("no value for POD", wrong[0])
        whole = """kubectl patch service a -p '{"spec":{"NAME":"BACKUP"}}' --for=condition=READY"""
        self.assertEqual(filled(whole), whole)

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
        self.assertEqual(run_here("(echo refused; exit 3) | cat"), (3, "refused\n"))
        self.addCleanup(setattr, check_cluster_guide, "LIMIT", check_cluster_guide.LIMIT)
        check_cluster_guide.LIMIT = 0.1
        self.assertEqual(run_here("sleep 20")[0], None)


if __name__ == "__main__":
    unittest.main()
